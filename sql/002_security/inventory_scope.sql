-- What the inventory covers, and what it calls roles.

create function security.known_names()
returns table (role oid, name text)
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select 0::oid, 'PUBLIC'
union all
select role, purpose from security.roles()
union all
select datdba, 'owner of the database'
from pg_database
where datname = current_database() and datdba not in (select role from security.roles())
$func$;

comment on function security.known_names() is
    'What roles are to us, whatever they are called: PUBLIC, level bot, owner of core …, owner of
the database. For joins; security.role_name() names every role.';

create function security.role_name(p_role oid)
returns text
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select coalesce(
    (select name from security.known_names() where role = p_role),
    (select case when oid = 10 then 'first superuser' else 'role ' || quote_ident(rolname) end
     from pg_roles where oid = p_role),
    'role ' || p_role)
$func$;

comment on function security.role_name(oid) is
    'What a role is to us (security.known_names), or role NAME for anybody else''s. Names of our own
roles may differ between installations, what they are does not.';

create function security.bot_grantees()
returns setof oid
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select 0::oid
union all
select role from security.roles() where kind = 'level'
union all
select role from security.marked_logins()
$func$;

comment on function security.bot_grantees() is
    'The roles by which a bot, an admin or a worker may be given a right: PUBLIC, the levels, and
the logins that were made here.';

create function security.is_server_schema(p_schema name)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select p_schema in ('pg_catalog', 'information_schema') or p_schema ~ '^pg_(toast|temp)'
$func$;

comment on function security.is_server_schema(name) is
    'Whether a schema is the server''s own, or holds temporary or toasted rows.';

create function security.covered_relations()
returns table (relation oid, name text, root oid, suffix text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with recursive covered as (
    select c.oid
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c') and c.relpersistence <> 't'
      and not security.is_server_schema(n.nspname)
      and not exists (
          select from pg_depend
          where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e')
      and (n.nspname in (select schema_name from security.schema_owner)
           or c.relowner in (select * from security.bot_grantees())
           or c.oid in (
               select u.relation
               from (
                   select oid, relacl from pg_class where relacl is not null
                   union all
                   select attrelid, attacl from pg_attribute where attacl is not null
               ) as u (relation, acl)
               cross join lateral aclexplode(u.acl) as a
               where a.grantee in (select * from security.bot_grantees())))
    union
    select i.inhrelid from covered as o join pg_inherits as i on i.inhparent = o.oid
    where i.inhrelid in (select oid from pg_class where relkind in ('r', 'p', 'f'))
)
select c.oid, o.oid::regclass::text, case when c.relispartition then o.oid end,
       case when c.relispartition then substr(c.relname, length(o.relname) + 2) end
from covered as v
join pg_class as c on c.oid = v.oid
join pg_class as o on o.oid = case when c.relispartition then pg_partition_root(c.oid)
                                   else c.oid end
$func$;

comment on function security.covered_relations() is
    'The relations that the inventory looks at: all in our schemas, the partitions and children of
these, and those elsewhere that a bot owns or has a right on: (relation, name, root: of a partition,
suffix: what a partition''s name adds to its table''s). A partition goes by its table''s name.';

create function security.covered_routines()
returns table (routine oid, name text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select p.oid, p.oid::regprocedure::text
from pg_proc as p
join pg_namespace as n on n.oid = p.pronamespace
where p.oid >= 16384 and (n.nspname = 'pg_catalog' or not security.is_server_schema(n.nspname))
  and not exists (
      select from pg_depend
      where classid = 'pg_proc'::regclass and objid = p.oid and deptype = 'e')
  and (n.nspname in (select schema_name from security.schema_owner union all select 'pg_catalog')
       or p.oid in (select tgfoid from pg_trigger
                    where tgrelid in (select relation from security.covered_relations()))
       or exists (
           select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
           where a.grantee in (select * from security.bot_grantees())))
$func$;

comment on function security.covered_routines() is
    'The routines that the inventory looks at: all in our schemas, those put among the server''s
own, what triggers of our tables call, and those elsewhere that a bot may execute: (routine, name:
its signature).';
