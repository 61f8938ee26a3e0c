-- The inventory, part 2: schemas, routines, types, comments, and what is given away by default.

create function security.routine_facts()
returns table (kind text, object text, definition text, version text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with routine as materialized (
    select p.*, p.xmin::text as version, r.name,
           case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' when 'w' then 'window'
               else 'function' end as word
    from security.covered_routines() as r
    join pg_proc as p on p.oid = r.routine
)
select 'routine', r.name,
       concat_ws(' ', r.word || '(' || pg_get_function_arguments(r.oid) || ')',
           'returns ' || pg_get_function_result(r.oid), 'language ' || l.lanname,
           case r.provolatile when 'i' then 'immutable' when 's' then 'stable' end,
           case when r.proisstrict then 'strict' end,
           case when r.proleakproof then 'leakproof' end,
           case r.proparallel when 's' then 'parallel safe' when 'r' then 'parallel restricted' end,
           case when r.prosecdef then 'security definer' end,
           -- it is set where whoever migrated may do so; a rule says where it may be
           'set ' || array_to_string(
               case when r.oid in (select * from security.exceptions('replica mode'))
                    then array_remove(r.proconfig, 'session_replication_role=replica')
                    else r.proconfig end, ' set '),
           case when r.prorows not in (0, 1000) then 'rows ' || r.prorows end,
           case when r.procost not in (1, 100) then 'cost ' || r.procost end,
           case when r.prosupport <> 0 then 'support ' || r.prosupport::regproc end,
           security.body_digest(coalesce(pg_get_function_sqlbody(r.oid), r.prosrc)),
           nullif(r.probin, '')),
       r.version
from routine as r
join pg_language as l on l.oid = r.prolang
union all
select 'owner', r.name, coalesce(w.name, security.role_name(r.proowner)), null
from routine as r
left join security.known_names() as w on w.role = r.proowner
union all
select 'right', format('to %s on %s', coalesce(w.name, security.role_name(a.grantee)), r.name),
       a.privileges, null
from routine as r
cross join lateral security.in_words(
    coalesce(r.proacl, acldefault('f', r.proowner)), r.proowner) as a
left join security.known_names() as w on w.role = a.grantee
$func$;

comment on function security.routine_facts() is
    'Facts about routines, their owners and who may execute them: (kind, object, definition,
version). A body goes by its digest.';

create function security.schema_facts()
returns table (kind text, object text, definition text, version text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with covered as materialized (
    select n.oid, n.nspname, n.nspowner, n.nspacl, o.schema_name is not null as is_ours
    from pg_namespace as n
    left join security.schema_owner as o on o.schema_name = n.nspname
    where not security.is_server_schema(n.nspname)
)
select 'schema', s.nspname::text,
       'owned by ' || coalesce(w.name, security.role_name(s.nspowner)), null
from covered as s
left join security.known_names() as w on w.role = s.nspowner
where s.is_ours
union all
select 'right',
       format('to %s on schema %I', coalesce(w.name, security.role_name(a.grantee)), s.nspname),
       a.privileges, null
from covered as s
cross join lateral security.in_words(s.nspacl, s.nspowner) as a
left join security.known_names() as w on w.role = a.grantee
where s.is_ours or a.grantee in (select * from security.bot_grantees())
union all
select 'default right',
       format('to %s on %s made by %s%s', security.role_name(a.grantee),
              case d.defaclobjtype when 'f' then 'routines' when 'r' then 'tables'
                  when 'S' then 'sequences' when 'T' then 'types' else 'schemas' end,
              security.role_name(d.defaclrole), ' in schema ' || n.nspname),
       a.privileges, null
from pg_default_acl as d
left join pg_namespace as n on n.oid = d.defaclnamespace
cross join lateral security.in_words(d.defaclacl, d.defaclrole) as a
where a.grantee in (select * from security.bot_grantees())
   or d.defaclrole in (select role from security.roles())
   or n.oid in (select oid from covered where is_ours)
union all
select 'default right', 'routines made by ' || security.role_name(d.defaclrole),
       'not executed by PUBLIC', null
from pg_default_acl as d
where d.defaclobjtype = 'f' and d.defaclnamespace = 0
  and d.defaclrole in (select role from security.roles())
  and not exists (select from aclexplode(d.defaclacl) as a where a.grantee = 0)
union all
select 'extension', x.extname::text,
       format('version %s, %s objects', x.extversion,
              (select count(*) from pg_depend
               where refclassid = 'pg_extension'::regclass and refobjid = x.oid and deptype = 'e'))
       || coalesce(', owned by ' || r.name, ''), null
from pg_extension as x
left join (select role, purpose from security.roles() union all
           select role, kind from security.marked_logins()) as r (role, name) on r.role = x.extowner
$func$;

comment on function security.schema_facts() is
    'Facts about schemas, default privileges and extensions; as security.routine_facts().';

create function security.type_facts()
returns table (kind text, object text, definition text, version text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with type as materialized (
    select t.*, t.xmin::text as version, format_type(t.oid, null) as name
    from pg_type as t
    join pg_namespace as n on n.oid = t.typnamespace
    join security.schema_owner as o on o.schema_name = n.nspname
    where t.typtype in ('d', 'e', 'r')
)
select 'type', t.name,
       concat_ws(' ', case t.typtype when 'd' then 'domain' when 'e' then 'enum' else 'range' end,
           case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) end,
           case when t.typnotnull then 'not null' end, 'default ' || t.typdefault,
           (select string_agg(pg_get_constraintdef(k.oid), ' ' order by k.conname)
            from pg_constraint as k where k.contypid = t.oid and k.contype = 'c'),
           (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
            from pg_enum as e where e.enumtypid = t.oid)), t.version
from type as t
union all
select 'owner', t.name, coalesce(w.name, security.role_name(t.typowner)), null
from type as t
left join security.known_names() as w on w.role = t.typowner
$func$;

comment on function security.type_facts() is
    'Facts about domains with their checks, enums, ranges, and their owners; as
security.routine_facts().';

create function security.comment_facts(p_relations oid[])
returns table (kind text, object text, definition text, version text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with commented as (
    select d.classoid, d.objoid, d.objsubid, d.description
    from pg_description as d
    join pg_class as c on d.classoid = 'pg_class'::regclass and c.oid = d.objoid
    where not c.relispartition
      and (c.oid in (select unnest(p_relations))
           or c.oid in (select indexrelid from pg_index
                        where indrelid in (select unnest(p_relations))))
    union all
    select d.classoid, d.objoid, d.objsubid, d.description
    from pg_description as d
    where d.classoid = 'pg_proc'::regclass
      and d.objoid in (select r.routine from security.covered_routines() as r)
    union all
    select d.classoid, d.objoid, d.objsubid, d.description
    from pg_description as d
    join pg_namespace as n on d.classoid = 'pg_namespace'::regclass and n.oid = d.objoid
    where n.nspname in (select schema_name from security.schema_owner)
    union all
    select d.classoid, d.objoid, d.objsubid, d.description
    from pg_description as d
    join pg_type as t on d.classoid = 'pg_type'::regclass and t.oid = d.objoid
    join pg_namespace as n on n.oid = t.typnamespace
    where n.nspname in (select schema_name from security.schema_owner)
    union all
    select d.classoid, d.objoid, d.objsubid, d.description
    from pg_description as d
    join pg_trigger as g on d.classoid = 'pg_trigger'::regclass and g.oid = d.objoid
    where g.tgrelid in (select unnest(p_relations)) and g.tgparentid = 0
    union all
    select d.classoid, d.objoid, d.objsubid, d.description
    from pg_description as d
    join pg_constraint as k on d.classoid = 'pg_constraint'::regclass and k.oid = d.objoid
    where k.conrelid in (select unnest(p_relations))
    union all
    select d.classoid, d.objoid, d.objsubid, d.description
    from pg_description as d
    join pg_policy as p on d.classoid = 'pg_policy'::regclass and p.oid = d.objoid
    where p.polrelid in (select unnest(p_relations))
)
select 'comment',
       -- 17 and older write pg_catalog.json as json
       format('on %s %s', i.type, replace(i.identity, 'pg_catalog.', '')), c.description, null
from commented as c
cross join lateral pg_identify_object(c.classoid, c.objoid, c.objsubid) as i
$func$;

comment on function security.comment_facts(oid[]) is
    'The comments on what the inventory covers; as security.routine_facts().';
