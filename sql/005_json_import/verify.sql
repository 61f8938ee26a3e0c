-- 005_json_import: do the tables hold what the ledger says? Reads only; one row per check.

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local jit = off;

with result (place, check_name, offenders) as (
    select 1, 'every function pins its search path or is bound at its creation', (
        select string_agg(p.oid::regprocedure::text, ', ')
        from pg_proc as p
        where p.pronamespace = 'json_import'::regnamespace and p.prosqlbody is null
          and not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false))
    union all
    select 2, 'no function can be executed by everybody', (
        select string_agg(p.oid::regprocedure::text, ', ')
        from pg_proc as p
        cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as g
        where p.pronamespace = 'json_import'::regnamespace and g.grantee = 0)
    union all
    select 3, 'app_importer is let in where the import writes', (
        select string_agg(format('%s on %s', e.policy, e.relation), ', ')
        from (values
            ('core.bots', 'app_importer_select'), ('core.bot_names', 'app_importer_select'),
            ('core.girls_profiles', 'app_importer_all'), ('core.conversations', 'app_importer_all'),
            ('core.messages', 'app_importer_all'), ('json_import.file', 'app_importer_all'),
            ('json_import.reject', 'app_importer_all'),
            ('json_import.kept_bytes', 'app_importer_all'),
            ('json_import.profile_source', 'app_importer_all'),
            ('core.stale_days', 'app_importer_insert'),
            ('core.conversation_totals', 'app_importer_insert')
        ) as e (relation, policy)
        where not exists (
            select from pg_policy
            where polrelid = to_regclass(e.relation) and polname = e.policy))
    union all
    select 4, 'app_importer owns schema json_import', (
        select r.rolname
        from pg_namespace as n
        join pg_roles as r on r.oid = n.nspowner
        where n.nspname = 'json_import' and r.rolname <> 'app_importer')
    union all
    select 5, 'nobody has a right on the tables of json_import, but app_backup to read', (
        select string_agg(format('%s on %s to %s', g.privilege_type, c.oid::regclass,
                                 g.grantee::regrole), ', ')
        from pg_class as c
        cross join lateral (
            select * from aclexplode(c.relacl)
            union all
            select x.* from pg_attribute as a cross join lateral aclexplode(a.attacl) as x
            where a.attrelid = c.oid) as g
        where c.relnamespace = 'json_import'::regnamespace and g.grantee <> c.relowner
          and not (g.grantee = to_regrole('app_backup') and g.privilege_type = 'SELECT')
          -- for security.drop_bot
          and not (g.grantee = to_regrole(security.provisioner()::text)
                   and g.privilege_type in ('SELECT', 'DELETE')
                   and c.oid in (select t from core.bot_tables() as t)))
    union all
    select 6, 'a bot that is dropped takes its files along', (
        select string_agg(e.name, ', ')
        from unnest(array['json_import.file', 'json_import.reject', 'json_import.kept_bytes',
                          'json_import.profile_source']) as e (name)
        where not exists (
            select
            from core.bot_table as t
            where t.relation = to_regclass(e.name) and t.on_bot_drop = 'refuse'))
    union all
    select 7, 'a bot calls nothing of json_import, an admin what shows rejects', (
        select string_agg(p.oid::regprocedure::text, ', ')
        from pg_proc as p
        where p.pronamespace = 'json_import'::regnamespace
          and (has_function_privilege('app_bot', p.oid, 'execute')
               or p.proname = 'list_rejects'
                  and not has_function_privilege('app_admin', p.oid, 'execute')))
)
select check_name, offenders is null as ok, offenders as detail
from (
    select place, check_name, offenders from result
    union all
    select 7 + row_number() over (), check_name,
           case when not ok then coalesce(detail, 'not so') end
    from json_import.check()
) as r
order by place;
