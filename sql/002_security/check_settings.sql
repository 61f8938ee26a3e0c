-- security.check_rules(), part 7: what was set for logins and databases, and what is half-way.

create function security.check_settings()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with setting as (
    select s.setrole as role, c.setting,
           concat_ws(' ', c.setting, 'for', nullif(s.setrole, 0)::regrole) as shown
    from pg_db_role_setting as s
    cross join lateral unnest(s.setconfig) as c (setting)
    where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
    union all
    select 0, format('%s=%s', name, reset_val), format('%s=%s for this session', name, reset_val)
    from pg_settings where name = 'session_replication_role'
)
select 'no setting lets triggers rest', count(*) = 0, 'critical', string_agg(shown, ', ')
from setting where setting ~ '^session_replication_role=(?!origin)'
union all
select 'every login made here begins as itself', count(*) = 0, 'critical', string_agg(shown, ', ')
from setting
where setting ~ '^(role|session_authorization)='
  and (role = 0 or role in (select m.role from security.marked_logins() as m))
union all
select 'every login made here has a limit of temporary files', count(*) = 0, 'notice',
       concat_ws('; ', string_agg(r.rolname, ', '),
                 case when not has_parameter_privilege('app_provisioner', 'temp_file_limit', 'set')
                      then 'as a superuser: grant set on parameter temp_file_limit to '
                           'app_provisioner; then security.set_limits for each login' end)
from security.marked_logins() as m
join pg_roles as r on r.oid = m.role
where m.role not in (
    select role from setting
    where setting = 'temp_file_limit=' || security.temp_file_limit())
union all
select 'every migration that began came to its end', count(*) = 0, 'notice',
       string_agg(migration, ', ')
from security.unfinished
$func$;

comment on function security.check_settings() is
    'The part of security.check_rules() about settings, and migrations that stopped half-way.';
