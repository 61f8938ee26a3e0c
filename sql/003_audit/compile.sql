-- A table's trigger functions: named, made, made anew.

create function audit.capture_source(p_table regclass, p_operation text, p_policy text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select case
           when p_policy = 'off' then e'\nbegin\n    return null;  -- see audit.capture\nend\n'
           when p_operation = 'UPDATE' then audit.update_source(p_table, p_policy)
           else audit.row_source(p_table, p_operation, p_policy)
       end
$func$;

comment on function audit.capture_source(regclass, text, text) is
    'Body that the function for INSERT, UPDATE or DELETE on a table must have under a policy.';

create function audit.capture_name(p_table regclass, p_operation text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select format('audit.%I', lower(p_operation) || '_of_' || n.nspname || '_' || c.relname)
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where c.oid = p_table
$func$;

comment on function audit.capture_name(regclass, text) is
    'Quoted name of the function that records INSERT, UPDATE or DELETE on a table.';

create function audit.stale_captures(p_table regclass default null)
returns table (relation regclass, operation text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
select c.relation, o.operation
from audit.capture as c
join pg_class as t on t.oid = c.relation  -- a table may have been dropped since
cross join unnest(array['INSERT', 'UPDATE', 'DELETE']) as o (operation)
left join pg_proc as p on p.oid = to_regproc(audit.capture_name(c.relation, o.operation))
where c.relation = coalesce(p_table, c.relation)
  and (p.prosrc is distinct from audit.capture_source(c.relation, o.operation, c.policy)
       -- or how values are written is the session's affair
       or not p.proconfig
              @> array['extra_float_digits=1', 'IntervalStyle=postgres', 'bytea_output=hex'])
order by c.relation::text, o.operation
$func$;

comment on function audit.stale_captures(regclass) is
    'The tables (or this one) whose columns, marks or policy are not those that their functions
record: call audit.refresh().';

create function audit.require_auditable(p_table regclass)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_fault  text := (
        select case
                   when c.relkind not in ('r', 'p') or c.relispartition
                       then 'is no table, or a partition of one'
                   when n.nspname in ('audit', 'audit_partitions') then 'is the log''s own'
                   when n.nspname in ('pg_catalog', 'pg_toast', 'information_schema')
                        or c.relpersistence = 't'
                       then 'is the server''s own, or a session''s'
                   when audit.key_sql(p_table) is null then 'has no primary key'
                   when c.relnatts > 49 then 'has more than 49 columns'
                   when length(n.nspname || c.relname) > 51 then 'has too long a name'
                   when exists (
                       select from pg_attribute as a
                       where a.attrelid = p_table and a.attname in ('audit_row', 'audit_block'))
                       then 'has a column named audit_row or audit_block'
               end
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where c.oid = p_table);
begin
    if v_fault is not null or not exists (select from pg_class where oid = p_table) then
        raise exception using
            errcode = 'MB201',
            message = format('table %s can''t be audited: it %s', coalesce(p_table::text, 'null'),
                             coalesce(v_fault, 'is not there')),
            hint    = 'Name a table of yours with a primary key, at most 49 columns, and at most '
                      '51 characters in its name and its schema''s.';
    end if;
end
$func$;

comment on function audit.require_auditable(regclass) is 'MB201 unless the table can be audited.';

create function audit.require_owned(p_table regclass, p_hint text)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    if not exists (select from audit.capture where relation = p_table)
       and not pg_has_role(security.caller(), (
           select relowner from pg_class where oid = p_table), 'usage') then
        raise exception using
            errcode = 'MB208',
            message = format('table %s is not audited, and %s does not own it', p_table,
                             security.caller()),
            hint    = p_hint;
    end if;
end
$func$;

comment on function audit.require_owned(regclass, text) is
    'MB208, with this hint, unless a table is audited already, or the caller''s.';

create function audit.compile(p_table regclass, p_policy text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_operation  text;
begin
    perform audit.require_auditable(p_table);
    if p_policy is null or p_policy not in ('changed', 'keys', 'off') then
        raise exception using
            errcode = 'MB205',
            message = format('there is no audit policy %s', quote_nullable(p_policy)),
            hint    = 'Pass changed, or keys.';
    end if;
    -- or a table would count as audited whose owner has given it no trigger
    perform audit.require_owned(p_table, 'Have its owner call audit.enable.');
    foreach v_operation in array array['INSERT', 'UPDATE', 'DELETE'] loop
        execute format(
            'create or replace function %s() returns trigger language plpgsql security definer '
            'set search_path = pg_catalog, pg_temp set row_security = on set work_mem = ''64MB'' '
            'set datestyle = ''ISO, MDY'' set intervalstyle = postgres '
            'set extra_float_digits = 1 set bytea_output = hex set jit = off as %L',
            audit.capture_name(p_table, v_operation),
            audit.capture_source(p_table, v_operation, p_policy));
        execute format('comment on function %s() is %L', audit.capture_name(p_table, v_operation),
            format('Trigger on %s; generated by audit.compile, policy %s.', p_table, p_policy));
        execute format('revoke execute on function %s() from public',
                       audit.capture_name(p_table, v_operation));
        execute format('grant execute on function %s() to app_owner',
                       audit.capture_name(p_table, v_operation));
        perform security.grant_to_provisioner(
            format('execute on function %s()', audit.capture_name(p_table, v_operation)));
    end loop;
    insert into audit.capture (relation, policy) values (p_table, p_policy)
    on conflict (relation) do update set policy = excluded.policy;
    perform audit.note_capture(jsonb_build_object('table', p_table::text, 'policy', p_policy));
    perform security.accept_facts(
        'audit.compile',
        array_agg(format('routine %s()', f)) || array_agg(format('comment on function %s()', f))
        || format('row %s of audit.capture', p_table))
    from unnest(array['INSERT', 'UPDATE', 'DELETE']) as o
    cross join lateral audit.capture_name(p_table, o) as f;
end
$func$;

comment on function audit.compile(regclass, text) is
    'Generates the functions that record a table''s changes under a policy, anew if they are there;
the first time for the table''s owner only. MB201, MB205, MB208.';

create function audit.note_capture(p_detail jsonb)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    -- what the migration itself sets up is where the log begins
    if exists (select from audit.seal where seal_id > 0)
       or exists (select from audit.security_audit_log
                  where kind is distinct from 'inventory_accepted') then
        perform audit.record_event('capture', 'notice', p_detail);
    end if;
end
$func$;

comment on function audit.note_capture(jsonb) is
    'Puts a change of what is captured on record; audit.verify_seals names those without an entry.';
