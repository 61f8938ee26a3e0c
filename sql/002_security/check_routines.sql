-- security.check(), part 4: routines and owners.

create function security.check_routines()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with routine as (
    select p.oid, p.oid::regprocedure::text as shown, p.proowner, p.prosecdef, p.proconfig,
           coalesce(p.proacl, acldefault('f', p.proowner)) as acl
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    join security.schema_owner as r on r.schema_name = n.nspname
)
select 'no function of ours can be executed by everybody', count(*) = 0, 'critical',
       string_agg(r.shown, ', ')
from routine as r
cross join lateral aclexplode(r.acl) as a
where a.grantee = 0
  and not exists (select from security.exceptions('public routine') as e where e = r.oid)
union all
select 'rights on functions are those of the roles, and of nobody else', count(*) = 0, 'critical',
       string_agg(format('%s to %s', r.shown, a.grantee::regrole), ', ')
from routine as r
cross join lateral aclexplode(r.acl) as a
where a.grantee not in (0, r.proowner)
  and (a.is_grantable or a.grantee not in (select role from security.roles()))
union all
select 'every function of ours pins its search path', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from routine
where not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)
  and not exists (select from security.exceptions('unpinned path') as e where e = oid)
union all
select 'every definer runs with row level security on', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from routine
where prosecdef and not coalesce('row_security=on' = any (proconfig), false)
union all
select 'no definer is a superuser or a login', count(*) = 0, 'critical', string_agg(r.shown, ', ')
from routine as r
join pg_roles as o on o.oid = r.proowner
where r.prosecdef and (o.rolsuper or o.rolcanlogin)
union all
select 'triggers rest where that was registered only', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from routine
where array_to_string(proconfig, ',') ~* 'session_replication_role'
  and not exists (select from security.exceptions('replica mode') as e where e = oid)
$func$;

comment on function security.check_routines() is
    'The part of security.check() about functions.';

create function security.check_owners()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with relation as (
    select c.oid, c.relkind, c.relowner, c.relacl, c.reloptions, n.nspowner,
           r.schema_name is not null as is_ours
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    left join security.schema_owner as r on r.schema_name = n.nspname
)
select 'each schema has its owner', count(*) = 0, 'critical',
       string_agg(format('%s: %s', s.schema_name, coalesce(r.rolname, 'nobody')), ', ')
from security.schema_owner as s
left join pg_namespace as n on n.nspname = s.schema_name
left join pg_roles as r on r.oid = n.nspowner
where r.rolname is distinct from s.owner
union all
select 'everything in a schema is its owner''s', count(*) = 0, 'critical',
       string_agg(u.object, ', ')
from (
    select oid::regclass::text from relation where is_ours and relowner <> nspowner
    union all
    select p.oid::regprocedure::text
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    join security.schema_owner as r on r.schema_name = n.nspname
    where p.proowner <> n.nspowner
) as u (object)
union all
select 'views see with the eyes of whoever reads them', count(*) = 0, 'critical',
       string_agg(v.oid::regclass::text, ', ')
from relation as v
where v.relkind in ('v', 'm')
  and not coalesce(v.reloptions && array['security_invoker=true', 'security_invoker=on'], false)
  -- somebody's view of our tables, elsewhere, as soon as others may read it
  and (v.is_ours or exists (select from aclexplode(v.relacl) where grantee <> v.relowner)
       and exists (
           select
           from pg_rewrite as w
           join pg_depend as d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
           join relation as t on t.oid = d.refobjid and d.refclassid = 'pg_class'::regclass
           where w.ev_class = v.oid and t.is_ours))
union all
select 'what is made later is nobody else''s', count(*) = 0, 'critical',
       string_agg(o.rolname, ', ')
from security.roles() as o
where o.kind = 'owner' and o.rolname in (select owner from security.schema_owner) and (
    not exists (
        select from pg_default_acl
        where defaclrole = o.role and defaclnamespace = 0 and defaclobjtype = 'f')
    or exists (
        select from pg_default_acl as d cross join lateral aclexplode(d.defaclacl) as a
        where d.defaclrole = o.role and a.grantee <> o.role))
$func$;

comment on function security.check_owners() is
    'The part of security.check() about owners, and views, which see what their owner sees.';
