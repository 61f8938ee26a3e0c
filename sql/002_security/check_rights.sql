-- security.check(), part 5: rights; and the whole check.

create function security.check_grants()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with granted as (
    select c.oid::regclass as relation, c.relkind = 'S' as is_sequence, t.attname as column_name,
           a.privilege_type, a.is_grantable, a.grantee, o.rolname, coalesce(o.kind, '') as kind,
           format('%s on %s to %s', a.privilege_type, c.oid::regclass, a.grantee::regrole) as shown
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    join security.schema_owner as r on r.schema_name = n.nspname
    cross join lateral (
        select null::name, c.relacl
        union all
        select attname, attacl from pg_attribute where attrelid = c.oid) as t (attname, acl)
    cross join lateral aclexplode(t.acl) as a
    left join security.roles() as o on o.role = a.grantee
    where a.grantee <> c.relowner
)
select 'rights on tables are those of the roles, and of nobody else', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from granted where kind = '' or is_grantable
union all
select 'no level may delete, truncate, refer to or watch a table, or use a sequence', count(*) = 0,
       'critical', string_agg(shown, ', ')
from granted
where kind in ('level', 'reader') and privilege_type <> 'SELECT'
      and not (rolname = 'app_bot' and privilege_type in ('INSERT', 'UPDATE')
               and column_name is not null)
   or kind = 'level' and is_sequence
union all
select 'no bot writes an id, a counter, or the bot of a row that is there', count(*) = 0,
       'critical', string_agg(format('%s of %s.%s', privilege_type, relation, column_name), ', ')
from granted
where kind = 'level'
  and (privilege_type = 'UPDATE' and column_name in (
           'bot_id', 'profile_id', 'conversation_id', 'message_id', 'sender_id', 'message_count',
           'last_message_at', 'started_at', 'created_at', 'updated_at', 'source_file_id')
       or privilege_type = 'INSERT' and column_name in (
           'message_id', 'message_count', 'last_message_at', 'created_at', 'updated_at',
           'source_file_id'))
union all
select 'nobody has a right on the tokens', count(*) = 0, 'critical', string_agg(shown, ', ')
from granted
where relation = 'security.bot_token'::regclass
  and grantee <> to_regrole(security.provisioner()::text)
union all
select 'nobody enters core_partitions, but app_backup', count(*) = 0, 'critical',
       string_agg(format('%s to %s', a.privilege_type, a.grantee::regrole), ', ')
from pg_namespace as n
cross join lateral aclexplode(n.nspacl) as a
where n.nspname = 'core_partitions' and a.grantee <> n.nspowner
  and not (a.grantee = 'app_backup'::regrole and a.privilege_type = 'USAGE')
$func$;

comment on function security.check_grants() is
    'The part of security.check() about rights on tables and columns.';

create function security.check_entries()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select 'a schema of ours lets roles of ours in, and nobody make things there', count(*) = 0,
       'critical', string_agg(format('%s on %s to %s', a.privilege_type, n.nspname,
                                     a.grantee::regrole), ', ')
from pg_namespace as n
join security.schema_owner as r on r.schema_name = n.nspname
cross join lateral aclexplode(n.nspacl) as a
where a.grantee <> n.nspowner
  and (a.privilege_type <> 'USAGE' or a.is_grantable
       or a.grantee not in (select role from security.roles())
          and not (a.grantee = 0 and exists (
              select
              from security.exceptions('public routine') as e
              join pg_proc as p on p.oid = e and p.pronamespace = n.oid)))
union all
select 'no level and no login made here has a right on what the server keeps to itself',
       count(*) = 0, 'critical',
       string_agg(format('%s on %s to %s', a.privilege_type,
                         pg_describe_object(u.class, u.object, u.part), a.grantee::regrole), ', ')
from (
    select 'pg_class'::regclass, oid, 0, relacl
    from pg_class where relnamespace = 'pg_catalog'::regnamespace
    union all
    select 'pg_class'::regclass, attrelid, attnum, attacl
    from pg_attribute
    where attacl is not null and attrelid in (
        select oid from pg_class where relnamespace = 'pg_catalog'::regnamespace)
    union all
    select 'pg_proc'::regclass, oid, 0, proacl
    from pg_proc where pronamespace = 'pg_catalog'::regnamespace
) as u (class, object, part, acl)
cross join lateral aclexplode(u.acl) as a
where a.grantee in (
    select role from security.roles() union all select role from security.marked_logins())
$func$;

comment on function security.check_entries() is
    'The part of security.check() about rights on schemas, and on the server''s own catalogs.';

create function security.check_rules()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
as $func$
select * from security.check_roles()
union all
select * from security.check_members()
union all
select * from security.check_strangers()
union all
select * from security.check_logins()
union all
select * from security.check_installation()
union all
select * from security.check_tables()
union all
select * from security.check_bounds()
union all
select * from security.check_policies()
union all
select * from security.check_pair()
union all
select * from security.check_grants()
union all
select * from security.check_entries()
union all
select * from security.check_routines()
union all
select * from security.check_owners()
union all
select * from security.check_reach()
union all
select * from security.check_calls()
union all
select * from security.check_settings()
$func$;

comment on function security.check_rules() is
    'Whether the rules of this schema hold, whatever was accepted, one row each: (check_name, ok,
severity critical or notice, detail: what breaks it). A notice names what only the cluster''s
operator can change.';

create function security.check()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select * from security.check_rules()
union all
select format('%s %s is as accepted', d.kind, d.object), false, 'difference',
       format('accepted: %s; live: %s', coalesce(d.accepted, 'not there'),
              coalesce(d.live, 'not there'))
from security.differences() as d
$func$;

comment on function security.check() is
    'Whether the rules hold (security.check_rules), then what is not as it was last accepted
(security.differences), a row each of severity difference.';
