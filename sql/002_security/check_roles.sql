-- security.check(), part 1: roles and their members.

create function security.check_roles()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with role as (
    select r.*, r.oid = d.datdba as is_owner, m.kind as made_as
    from pg_roles as r
    join pg_database as d on d.datname = current_database()
    left join security.marked_logins() as m on m.role = r.oid
), maker as (
    select rolname, oid in (select datdba from pg_database) as is_some_owner,
           has_database_privilege(oid, current_database(), 'connect') as may_connect
    from role
    where rolcreaterole and not rolsuper and rolname <> (select security.provisioner())
      and oid not in (select * from security.sister_provisioners())
)
select 'no role but a superuser bypasses row level security', count(*) = 0, 'critical',
       string_agg(rolname, ', ')
from role where rolbypassrls and not rolsuper
union all
select 'nobody who can connect makes roles, but the provisioner and owners of databases',
       count(*) = 0, 'critical', string_agg(rolname, ', ')
from maker where may_connect and not is_some_owner
union all
select 'nobody else in the cluster makes roles', count(*) = 0, 'notice',
       string_agg(rolname, ', ')
       || case when current_setting('server_version_num')::integer < 160000
               then ': before 16, CREATEROLE may grant itself any role but a superuser''s'
               else ': roles that they made, and no others' end
from maker where is_some_owner or not may_connect
union all
select 'the roles of ours can''t log in and have no power beyond their grants', count(*) = 0,
       'critical', string_agg(r.rolname, ', ')
from role as r
join security.roles() as o on o.role = r.oid
where rolcanlogin or rolsuper or rolbypassrls or rolreplication or rolcreatedb
   or rolcreaterole <> (r.rolname = (select security.provisioner()))
union all
select 'every login made here is plain', count(*) = 0, 'critical', string_agg(rolname, ', ')
from role
where made_as is not null and (
    rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls or is_owner)
union all
select 'no level and no login made here may set what is a superuser''s to set', count(*) = 0,
       'critical', string_agg(format('%s: %s', p.parname, a.grantee::regrole), ', ')
from pg_parameter_acl as p
cross join lateral aclexplode(p.paracl) as a
where a.grantee = 0 or a.grantee in (
    select role from security.marked_logins()
    union all
    select role from security.roles() where kind <> 'owner')
$func$;

comment on function security.check_roles() is 'The part of security.check() about roles.';

create function security.check_members()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with made as (
    select r.oid, r.rolname, r.rolinherit, m.kind
    from security.marked_logins() as m
    join pg_roles as r on r.oid = m.role
), edge as materialized (
    select m.roleid, m.member, m.grantor, m.admin_option, p.rolname as role, b.kind as role_kind,
           coalesce(a.kind, '') as kind, o.kind as own_kind, o.rolname,
           o.rolname = (select security.provisioner()) as is_maker
    from pg_auth_members as m
    join pg_roles as p on p.oid = m.roleid
    left join made as b on b.oid = m.roleid
    left join made as a on a.oid = m.member
    left join security.roles() as o on o.role = m.member
), member as not materialized (  -- put in words is only what breaks a rule
    select e.*, format('%s of %s', e.member::regrole, e.roleid::regrole) as shown
    from edge as e
)
select 'a bot is a member of app_bot and of nothing else', count(*) = 0, 'critical',
       string_agg(u.shown, ', ')
from (
    select shown from member where kind ~ '^bot ' and role <> 'app_bot'
    union all
    select rolname || ' of nothing'
    from made where kind ~ '^bot ' and oid not in (select member from member where role = 'app_bot')
) as u (shown)
union all
select 'an admin is a member of a level and of bots made here, a worker of bots', count(*) = 0,
       'critical', string_agg(shown, ', ')
from member
where kind in ('admin', 'worker') and coalesce(role_kind !~ '^bot ', true)
  and not (kind = 'admin' and role in ('app_admin', 'app_super_admin'))
union all
select 'only admins and workers made here may become a bot', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from member where role_kind ~ '^bot ' and kind not in ('admin', 'worker') and is_maker is not true
union all
select 'nobody may become an admin or a worker', count(*) = 0, 'critical', string_agg(shown, ', ')
from member where role_kind in ('admin', 'worker') and is_maker is not true
union all
select 'a worker may do nothing before SET ROLE', count(*) = 0, 'critical',
       string_agg(w.rolname, ', ')
from made as w
where w.kind = 'worker' and (w.rolinherit or exists (
    select from pg_auth_members where member = w.oid and pg_has_role(w.oid, roleid, 'usage')))
union all
select 'a level is a member of the one below, who backs up of nothing', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from member
where own_kind in ('level', 'reader')
  and (rolname, role) not in (('app_super_admin', 'app_admin'), ('app_admin', 'app_bot'),
                              ('app_bot', 'app_base'))
union all
select 'a function of ours gave every membership that a login made here has', count(*) = 0,
       'critical', string_agg(shown, ', ')
from member where kind <> '' and grantor <> (select to_regrole(security.provisioner()::text))
union all
select 'no level and no login made here hands out a role', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from member where admin_option and (kind <> '' or own_kind <> 'owner')
$func$;

comment on function security.check_members() is
    'The part of security.check() about who is a member of what.';
