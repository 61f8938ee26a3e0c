-- 001_core_schema: is it there, and is it whole? Reads only; one row per check.

set local search_path = pg_catalog, pg_temp;

with leaf as (
    select t.oid as root, l.leaf::oid as leaf, l.bound
    from core.bot_tables() as t (oid)
    cross join lateral core.leaves(t.oid) as l
), expected_key as (
    select format('core.%I', k.child)::regclass as root, l.leaf, k.parent || '_fk' as key_name,
           to_regclass(core.leaf_name(
               format('core.%I', k.parent),
               'p' || substring(l.bound from 'remainder (\d)'))) as parent_leaf
    from core.foreign_keys() as k
    join leaf as l on l.root = format('core.%I', k.child)::regclass
), result (place, check_name, offenders) as (
    select 1, 'all five tables are partitioned by hash of bot_id', (
        select string_agg(t::text, ', ')
        from core.bot_tables() as t
        where not exists (
            select
            from pg_partitioned_table as p
            join pg_attribute as a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
            where p.partrelid = t and p.partstrat = 'h' and p.partnatts = 1
              and a.attname = 'bot_id'))
    union all
    select 2, 'every table has its ten leaves, in schema core_partitions', (
        select string_agg(format('%s p%s', t, r), ', ')
        from core.bot_tables() as t
        cross join generate_series(0, 9) as r
        where not exists (
            select
            from leaf as l
            where l.root = t
              and l.leaf = to_regclass(core.leaf_name(t, 'p' || r))
              and l.bound = format('FOR VALUES WITH (modulus 10, remainder %s)', r)))
    union all
    select 3, 'every leaf has its foreign key to the parent''s leaf, enforced and validated', (
        select string_agg(e.leaf::regclass::text, ', ')
        from expected_key as e
        where not exists (
            select
            from pg_constraint as c
            where c.conrelid = e.leaf and c.contype = 'f' and c.conname = e.key_name
              and c.confrelid = e.parent_leaf and c.convalidated
              and not exists (
                select
                from pg_trigger as g
                where g.tgconstraint = c.oid and g.tgenabled <> 'O')))
    union all
    select 4, 'every index leads with bot_id', (
        select string_agg(i.indexrelid::regclass::text, ', ')
        from core.bot_tables() as t
        join pg_index as i on i.indrelid = t
        join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where a.attname <> 'bot_id')
    union all
    select 5, 'every index is valid', (
        select string_agg(i.indexrelid::regclass::text, ', ')
        from pg_index as i
        join pg_class as c on c.oid = i.indrelid
        where c.relnamespace in ('core'::regnamespace, 'core_partitions'::regnamespace)
          and not (i.indisvalid and i.indisready))
    union all
    select 6, 'every trigger of the tables is enabled', (
        select string_agg(format('%s on %s', g.tgname, g.tgrelid::regclass), ', ')
        from pg_trigger as g
        join pg_class as c on c.oid = g.tgrelid
        where c.relnamespace in ('core'::regnamespace, 'core_partitions'::regnamespace)
          and not g.tgisinternal and g.tgenabled not in ('O', 'A'))
    union all
    select 7, 'the triggers that keep updated_at, names and counters are there', (
        select string_agg(format('%s on %s', e.tgname, e.tgrelid), ', ')
        from (
            select t, 'touch_updated_at' from core.bot_tables() as t
            union all values
                ('core.bots'::regclass, 'claim_bot_name'),
                ('core.messages'::regclass, 'count_new_messages'),
                ('core.messages'::regclass, 'count_deleted_messages')
        ) as e (tgrelid, tgname)
        where not exists (
            select from pg_trigger as g where g.tgrelid = e.tgrelid and g.tgname = e.tgname))
    union all
    select 8, 'every check constraint of the tables is there and validated on every leaf', (
        select string_agg(format('%s on %s', c.conname, l.leaf::regclass), ', ')
        from leaf as l
        join pg_constraint as c on c.conrelid = l.root and c.contype = 'c'
        where not exists (
            select
            from pg_constraint as k
            where k.conrelid = l.leaf and k.conname = c.conname and k.contype = 'c'
              and k.convalidated))
    union all
    select 9, 'the claimed names are the bots'' names', (
        select string_agg(coalesce(b.bot_id, n.bot_id)::text, ', ')
        from core.bots as b
        full join core.bot_names as n on n.bot_id = b.bot_id
        where b.name is distinct from n.name)
    union all
    select 10, 'every function pins its search path', (
        select string_agg(p.oid::regprocedure::text, ', ')
        from pg_proc as p
        where p.pronamespace = 'core'::regnamespace
          and not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false))
    union all
    select 11, 'no function can be executed by everybody', (
        select string_agg(p.oid::regprocedure::text, ', ')
        from pg_proc as p
        cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as g
        where p.pronamespace = 'core'::regnamespace and g.grantee = 0)
)
select check_name, offenders is null as ok, offenders as detail
from result
order by place;
