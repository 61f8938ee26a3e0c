-- Which leaves there are, and how they are called.

create function core.foreign_keys()
returns table (child text, parent text, key_columns text, parent_columns text)
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
values
    ('girls_profiles', 'bots',           'bot_id',                  'bot_id'),
    ('conversations',  'girls_profiles', 'bot_id, profile_id',      'bot_id, profile_id'),
    ('messages',       'conversations',  'bot_id, conversation_id', 'bot_id, conversation_id'),
    ('messages',       'girls_profiles', 'bot_id, sender_id',       'bot_id, profile_id'),
    ('bot_metrics',    'bots',           'bot_id',                  'bot_id')
$func$;

comment on function core.foreign_keys() is
    'The foreign keys of schema core, parents first: (child, parent, key_columns, parent_columns).
They run from leaf to leaf, which guarantees the same as keys between the parents at half of their
cost.';

create function core.leaf_name(p_table regclass, p_suffix text)
returns text
language sql stable strict parallel safe
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select format('%I.%I', n.nspname || '_partitions', c.relname || '_' || p_suffix)
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where c.oid = p_table
$func$;

comment on function core.leaf_name(regclass, text) is
    'Quoted name of a partition: <schema>_partitions.<table>_<suffix>. The only place that knows
it.';

create function core.leaves(p_table regclass)
returns table (leaf regclass, bound text)
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    if not exists (select from pg_partitioned_table where partrelid = p_table) then
        raise exception using
            errcode = 'MB002',
            message = format('table %s is not partitioned', coalesce(p_table::text, 'null')),
            hint    = 'Pass the partitioned table itself, not one of its partitions.';
    end if;
    return query
        select c.oid::regclass, pg_get_expr(c.relpartbound, c.oid)
        from pg_inherits as i
        join pg_class as c on c.oid = i.inhrelid
        where i.inhparent = p_table
        order by c.relname;
end
$func$;

comment on function core.leaves(regclass) is
    'The partitions of a table, by name: (leaf, bound as in CREATE TABLE). MB002: not partitioned.';
