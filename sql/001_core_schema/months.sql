-- Partitions by month.

create function core.ensure_partition(p_table regclass, p_at timestamptz)
returns regclass
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
set timezone = 'UTC'
set datestyle = 'ISO'
as $func$
declare
    -- in the time zone above: a month added in another one ends at another hour or day
    v_from   timestamptz := date_trunc('month', p_at);
    v_to     timestamptz := date_trunc('month', p_at) + interval '1 month';
    v_leaf   text := core.leaf_name(p_table, to_char(v_from, '"y"YYYY"m"MM'));
    v_bound  text := format('for values from (%L) to (%L)', v_from, v_to);
    v_found  regclass;
begin
    perform core.require_months(p_table);
    if p_at is null or not isfinite(p_at) then
        raise exception using
            errcode = 'MB006',
            message = format('no month holds the time %s', coalesce(p_at::text, 'null')),
            detail  = format('Table %s.', p_table),
            hint    = 'Pass a finite timestamptz.';
    end if;
    select leaf into v_found from core.leaves(p_table) where lower(bound) = v_bound;
    if found then
        return v_found;
    end if;

    -- One maker per table, by the lock that ATTACH will need anyway: another one beside it, per
    -- month or advisory, would deadlock two sessions that make several. Who waited finds the
    -- partition made, by a query: to_regclass() may answer from what the session remembers.
    execute format('lock table only %s in share update exclusive mode', p_table);
    select leaf into v_found from core.leaves(p_table) where lower(bound) = v_bound;
    if found then
        return v_found;
    end if;

    -- Not PARTITION OF, which locks the parent against everybody. Identity is inherited where the
    -- server knows how (17 and newer) and not needed elsewhere.
    execute format('create table %s (like %s including all excluding identity)', v_leaf, p_table);
    execute format('alter table %s attach partition %s %s', p_table, v_leaf, v_bound);
    perform core.run_leaf_hooks(v_leaf::regclass);
    return v_leaf::regclass;
end
$func$;

comment on function core.ensure_partition(regclass, timestamptz) is
    'The partition for the month (UTC) that holds the given time, made if it is missing, without
blocking readers or writers of the others; for the table''s owner to call. MB002: not partitioned by
one timestamptz; MB006: no finite time.';

create function core.require_months(p_table regclass)
returns void
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    if not exists (
        select
        from pg_partitioned_table as p
        join pg_attribute as a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
        where p.partrelid = p_table
          and p.partstrat = 'r'
          and p.partnatts = 1
          and a.atttypid = 'timestamptz'::regtype) then
        raise exception using
            errcode = 'MB002',
            message = format('table %s is not partitioned by range of one timestamptz column',
                             coalesce(p_table::text, 'null')),
            hint    = 'Declare it as: partition by range (<a timestamptz column>).';
    end if;
end
$func$;

comment on function core.require_months(regclass) is
    'MB002 unless a table is partitioned by the range of one timestamptz.';
