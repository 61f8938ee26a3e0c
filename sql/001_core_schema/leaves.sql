-- Hash leaves: making them, their foreign keys, what later migrations add to them.

create table core.leaf_hook (
    hook  text  not null,

    constraint leaf_hook_pk primary key (hook)
);

comment on table core.leaf_hook is
    'Functions (leaf regclass) that a new leaf is given to: later migrations add what every leaf
needs and does not inherit, and remove their rows again.';
comment on column core.leaf_hook.hook is
    'Signature; runs with the rights of whoever owns the leaf. Text, not regprocedure: pg_upgrade
refuses a database that has such a column.';

create function core.run_leaf_hooks(p_leaf regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_hook  regproc;
begin
    for v_hook in
        select core.routine_name(h.hook) from core.leaf_hook as h order by h.hook
    loop
        execute format('select %s($1)', v_hook) using p_leaf;
    end loop;
end
$func$;

comment on function core.run_leaf_hooks(regclass) is 'Gives a new leaf to every core.leaf_hook.';

create function core.ensure_keys(p_table regclass, p_remainder integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_leaf  regclass := core.leaf_name(p_table, 'p' || p_remainder)::regclass;
    v_key   record;
begin
    for v_key in
        select k.parent, k.key_columns, k.parent_columns
        from core.foreign_keys() as k
        where format('core.%I', k.child)::regclass = p_table
          and not exists (
            select
            from pg_constraint as c
            where c.conrelid = v_leaf and c.conname = k.parent || '_fk')
    loop
        execute format(
            'alter table %s add constraint %I foreign key (%s) references %s (%s)',
            v_leaf, v_key.parent || '_fk', v_key.key_columns,
            core.leaf_name(format('core.%I', v_key.parent), 'p' || p_remainder)::regclass,
            v_key.parent_columns);
    end loop;
end
$func$;

comment on function core.ensure_keys(regclass, integer) is
    'Gives a hash leaf the foreign keys that it lacks. The parents'' leaves must exist.';

create function core.make_leaf(p_table regclass, p_remainder integer)
returns regclass
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_leaf  text := core.leaf_name(p_table, 'p' || p_remainder);
begin
    execute format(
        'create table %s partition of %s for values with (modulus 10, remainder %s) '
        'with (fillfactor = %s)',
        v_leaf, p_table, p_remainder,
        -- room on the page for the versions that the counters' updates leave until they are pruned
        case when p_table = 'core.conversations'::regclass then 80 else 100 end);
    perform core.ensure_keys(p_table, p_remainder);
    perform core.run_leaf_hooks(v_leaf::regclass);
    return v_leaf::regclass;
end
$func$;

comment on function core.make_leaf(regclass, integer) is
    'Makes the hash leaf of a table for one remainder (0 to 9), with its foreign key; returns it.
The parent''s leaf must exist. 42P07: the leaf is there already.';

create function core.missing_leaves(p_remainder integer)
returns table (relation regclass, has_leaf boolean)
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select t.relation, l.leaf is not null
from core.hash_tables() with ordinality as t (relation, place)
left join lateral (
    select leaf from core.leaves(t.relation) where bound like '% remainder ' || p_remainder || ')'
) as l on true
where l.leaf is null or exists (
    select
    from core.foreign_keys() as k
    where format('core.%I', k.child)::regclass = t.relation and not exists (
        select from pg_constraint as c where c.conrelid = l.leaf and c.conname = k.parent || '_fk'))
order by t.place
$func$;

comment on function core.missing_leaves(integer) is
    'The tables, parents first, that have no leaf for this remainder, or one that lacks a foreign
key.';

create function core.ensure_leaves(p_bot_id bigint)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_remainder  integer;
    v_table      record;
    v_made       integer := 0;
begin
    select r into v_remainder
    from generate_series(0, 9) as r
    where satisfies_hash_partition('core.bots'::regclass, 10, r, p_bot_id);

    if not exists (select from core.missing_leaves(v_remainder)) then  -- without a lock
        return 0;
    end if;
    -- One maker at a time, who sees what the one before has made.
    lock table only core.bots in share update exclusive mode;
    for v_table in select * from core.missing_leaves(v_remainder) loop
        if v_table.has_leaf then
            perform core.ensure_keys(v_table.relation, v_remainder);
        else
            perform core.make_leaf(v_table.relation, v_remainder);
            v_made := v_made + 1;
        end if;
    end loop;
    return v_made;
end
$func$;

comment on function core.ensure_leaves(bigint) is
    'Makes the leaves that this bot''s rows belong in, and their foreign keys, where they are
missing; returns how many leaves it made. Takes ACCESS EXCLUSIVE on each table it makes one for.';
