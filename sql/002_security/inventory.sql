-- The inventory: every fact that our promises rest on, a row each.

create function security.relation_facts(p_relations oid[])
returns table (kind text, object text, definition text, version text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with covered as materialized (
    select * from security.covered_relations() where relation in (select unnest(p_relations))
), fact as (
    select * from security.table_facts(p_relations)
    union all
    select * from security.attached_facts(p_relations)
    union all
    select * from security.access_facts(p_relations)
), named as (
    -- the partitions of a table are alike: what differs by their names only is one fact
    select f.kind, c.name, c.root, c.suffix, s.part, s.definition, f.version
    from fact as f
    join covered as c using (relation)
    cross join lateral (
        select case when strpos(f.part, c.suffix) > 0
                    then regexp_replace(f.part, '_' || c.suffix || e'(?!\\d)', '_*')
                    else f.part end,
               case when strpos(f.definition, c.suffix) > 0
                    then regexp_replace(f.definition, '_' || c.suffix || e'(?!\\d)', '_*', 'g')
                    else f.definition end
    ) as s (part, definition)
), partitions as (
    select root, count(*) as number from covered where root is not null group by root
), folded as (
    select n.kind, n.name, n.part, n.definition,
           case when n.root is not null then ' (each partition)' end as of_each,
           case when n.root is not null and count(*) <> max(p.number)
                then ' in ' || string_agg(n.suffix, ', ' order by n.suffix) end as only_in,
           string_agg(n.version, ' ' order by n.suffix) as version
    from named as n
    left join partitions as p using (root)
    group by n.kind, n.name, n.root, n.part, n.definition
)
select kind,
       concat(case kind when 'column' then name || '.' || part
                        else coalesce(part || ' on ', '') || name end, of_each),
       string_agg(concat(definition, only_in), '; ' order by definition, only_in),
       string_agg(version, ' ' order by definition)
from folded
-- a partition's columns are its table's
where (kind, of_each) is distinct from ('column', ' (each partition)')
   or only_in is not null
   or (name, part, definition) not in (
       select name, part, definition from folded where kind = 'column' and of_each is null)
group by kind, name, part, of_each
$func$;

comment on function security.relation_facts(oid[]) is
    'Facts about relations and what hangs on them; as security.routine_facts(). A fact that is not
the same in each partition of a table names those where it is so.';

create function security.inventory()
returns table (scope text, kind text, object text, definition text, version text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
set standard_conforming_strings = on
set extra_float_digits = 1
set bytea_output = hex
set datestyle = 'ISO, MDY'
set intervalstyle = postgres
set timezone = 'UTC'
set jit = off
as $func$
with covered as materialized (
    select array_agg(relation) as relations from security.covered_relations()
)
select 'database', f.kind, f.object, f.definition, f.version
from covered as c
cross join lateral security.relation_facts(c.relations) as f
union all
select 'database', f.kind, f.object, f.definition, f.version
from security.routine_facts() as f
union all
select 'database', f.kind, f.object, f.definition, f.version
from security.schema_facts() as f
union all
select 'database', f.kind, f.object, f.definition, f.version
from security.type_facts() as f
union all
select 'database', f.kind, f.object, f.definition, f.version
from covered as c
cross join lateral security.comment_facts(c.relations) as f
union all
select 'database', f.kind, f.object, f.definition, null from security.replication_facts() as f
union all
select 'database', f.kind, f.object, f.definition, null from security.server_right_facts() as f
union all
select 'database', f.kind, f.object, f.definition, null
from covered as c
cross join lateral security.other_facts(c.relations) as f
union all
select 'database', f.kind, f.object, f.definition, null from security.row_facts() as f
union all
select 'cluster', f.kind, f.object, f.definition, null from security.catalog_facts() as f
union all
select 'cluster', f.kind, f.object, f.definition, null from security.role_facts() as f
union all
select 'cluster', f.kind, f.object, f.definition, null from security.setting_facts() as f
$func$;

comment on function security.inventory() is
    'Every fact that our promises rest on, a row each: (scope: database, or cluster for what a dump
of the database leaves behind; kind; object: unique within its kind; definition; version: changes
whenever the catalog''s row is written, null where that is not kept). The same on every version of
the server and for every login. Of pg_catalog and of extensions only what was changed. Bots are not
in it: their partitions go by their tables, their logins by security.login_differences().';
