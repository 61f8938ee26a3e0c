-- security.check(), part 2: logins and strangers.

create function security.check_strangers()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with stranger as (
    select format('%s of %s', r.rolname, o.rolname) as shown, o.kind,
           r.oid in (select datdba from pg_database) as is_sister
    from pg_auth_members as m
    join pg_roles as r on r.oid = m.member
    join security.roles() as o on o.role = m.roleid
    join pg_database as d on d.datname = current_database()
    where not r.rolsuper and r.oid <> d.datdba and r.oid not in (
        select role from security.roles() union all select role from security.marked_logins())
      and r.oid in (select * from security.connecting_roles())
)
select 'nobody who can connect acts for an owner of ours, but the database''s owner', count(*) = 0,
       'critical', string_agg(shown, ', ')
from stranger where kind = 'owner' and not is_sister
union all
select 'no owner of another database acts for an owner of ours', count(*) = 0, 'notice',
       string_agg(shown, ', ')
from stranger where kind = 'owner' and is_sister
union all
select 'every login with a level, or that backs up, was made here', count(*) = 0, 'notice',
       string_agg(shown, ', ')
from stranger where kind <> 'owner'
union all
select 'no function elsewhere runs as a superuser, or as a role of ours, for a level', count(*) = 0,
       'notice', string_agg(p.oid::regprocedure::text, ', ')
from pg_proc as p
join pg_roles as r on r.oid = p.proowner
join pg_namespace as n on n.oid = p.pronamespace
where p.prosecdef and not security.is_server_schema(n.nspname)
  and n.nspname not in (select schema_name from security.schema_owner)
  and (r.rolsuper or r.rolbypassrls or r.oid in (select role from security.roles()))
  and has_function_privilege('app_super_admin', p.oid, 'execute')
union all
-- it would see rows before the policy hides them
select 'no function but the server''s is declared leakproof', count(*) = 0, 'notice',
       string_agg(oid::regprocedure::text, ', ')
from pg_proc where proleakproof and pronamespace <> 'pg_catalog'::regnamespace
$func$;

comment on function security.check_strangers() is
    'The part of security.check() about what others made in the cluster and in this database.';

create function security.check_logins()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with login as (
    select r.rolname, r.oid, r.rolsuper, m.kind, 'bot_' || b.bot_id as expected,
           coalesce(m.kind = 'bot ' || b.bot_id, false) as is_marked
    from pg_roles as r
    full join core.bots as b on r.rolname = 'bot_' || b.bot_id
    left join security.marked_logins() as m on m.role = r.oid
), granted as materialized (
    -- a paused bot's is closed, and keeps its right
    select a.*, r.rolname, coalesce(r.rolcanlogin or m.role is not null, false) as is_login
    from security.database_rights() as a
    left join pg_roles as r on r.oid = a.grantee
    left join security.marked_logins() as m on m.role = a.grantee
), maker as materialized (
    select grantee from granted where privilege_type in ('CREATE', 'TEMPORARY')
    union
    select a.grantee
    from pg_namespace as n
    cross join lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) as a
    where a.privilege_type = 'CREATE'
)
-- one that can't connect is another database's affair
select 'every bot''s login bears the mark of this database and this bot', count(*) = 0, 'critical',
       string_agg(format('%s: %s', rolname,
                         coalesce(shobj_description(oid, 'pg_authid'), 'no mark')), ', ')
from login
where rolname ~ '^bot_[1-9][0-9]*$' and not is_marked
  and oid in (select * from security.connecting_roles())
union all
select 'no login is left over from a bot that is gone', count(*) = 0, 'notice',
       string_agg(format('%s (%s): drop role %1$I', rolname,
                         shobj_description(oid, 'pg_authid')), ', ')
from login where kind ~ '^bot ' and not is_marked
union all
select 'every bot has a login', count(*) = 0, 'notice', string_agg(expected, ', ')
from login where expected is not null and not is_marked
union all
select 'nobody gets anything on the database by being public', count(*) = 0, 'critical',
       string_agg(privilege_type, ', ')
from granted where grantee = 0 and not is_owners
union all
select 'CONNECT is each login''s own, and only the provisioner hands it on', count(*) = 0,
       'critical', string_agg(format('%s to %s', privilege_type, grantee::regrole), ', ')
from granted
where grantee <> 0 and not is_owners and not (privilege_type = 'CONNECT' and (
    rolname = (select security.provisioner()) or is_login and not is_grantable))
union all
select 'no bot, admin or worker may make a schema, or anything in one, or a temporary table',
       count(*) = 0, 'critical', string_agg(rolname, ', ')
from login
where kind is not null
  and (exists (select from maker where grantee = 0)
       or (rolsuper
           or oid in (select * from security.with_members(array(select grantee from maker))))
          and exists (select from maker where pg_has_role(login.oid, grantee, 'usage')))
$func$;

comment on function security.check_logins() is
    'The part of security.check() about logins and the rights on the database.';
