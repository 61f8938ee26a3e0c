-- 004_performance: is it there, and does it reach what it needs, and no more? Reads only; one row
-- per check. How the database is, is another question: performance.health_check().

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local jit = off;

with result (place, check_name, offenders) as (
    select 2, 'new bots find their partitions', (
        select 'follow_bots on core.bots'
        where not exists (
            select
            from pg_trigger
            -- 5: after insert, for each row
            where tgrelid = 'core.bots'::regclass and tgname = 'follow_bots' and tgtype = 5
              and tgenabled = 'O' and tgqual is null
              and tgfoid = to_regprocedure('performance.follow_bots()')))
    union all
    select 3, 'every table partitioned by time has its months made', (
        select string_agg(coalesce(t.relation, m.relation)::text, ', ')
        from (
            select p.partrelid::regclass as relation
            from pg_partitioned_table as p
            join pg_class as c on c.oid = p.partrelid
            join pg_roles as o on o.oid = c.relowner
            join security.roles() as r on r.role = o.oid
            where p.partstrat = 'r'
        ) as t
        full join performance.monthly_table as m on m.relation = t.relation
        where t.relation is null or m.relation is null
           or to_regprocedure(m.ensure_month) is null
           or not has_function_privilege('app_maintainer', to_regprocedure(m.ensure_month)::oid,
                                         'execute'))
    union all
    select 4, 'app_maintainer is let in where roll-ups read and write', (
        select string_agg(format('%s on %s', e.policy, e.relation), ', ')
        from (values
            ('core.bots', 'app_maintainer_select'), ('core.bots', 'app_maintainer_update'),
            ('core.girls_profiles', 'app_maintainer_select'),
            ('core.conversations', 'app_maintainer_select'),
            ('core.messages', 'app_maintainer_select'),
            ('core.bot_metrics', 'app_maintainer_all'),
            ('core.stale_days', 'app_maintainer_select'),
            ('core.stale_days', 'app_maintainer_delete'),
            ('core.stale_days', 'app_maintainer_insert'),
            ('performance.bot_fault', 'app_maintainer_all'),
            ('performance.bot_total', 'app_maintainer_all')
        ) as e (relation, policy)
        where not exists (
            select from pg_policy
            where polrelid = to_regclass(e.relation) and polname = e.policy))
    union all
    select 5, 'app_maintainer reads no text and no profile', (
        select string_agg(format('%s.%s', a.attrelid::regclass, a.attname), ', ')
        from pg_attribute as a
        where a.attrelid in ('core.messages'::regclass, 'core.girls_profiles'::regclass,
                             'core.conversations'::regclass)
          and a.attname in ('body', 'name', 'summary', 'profile', 'extra', 'metadata',
                            'telegram_id')
          and has_column_privilege('app_maintainer', a.attrelid, a.attnum, 'select'))
    union all
    select 6, 'app_maintainer owns schema performance', (
        select r.rolname
        from pg_namespace as n
        join pg_roles as r on r.oid = n.nspowner
        where n.nspname = 'performance' and r.rolname <> 'app_maintainer')
    union all
    select 7, 'the totals of a bot are its own', (
        select string_agg(e.policy, ', ')
        from (values ('own_rows'), ('app_admin_select'), ('app_super_admin_select'),
                     ('app_backup_select'), ('app_maintainer_all')) as e (policy)
        where not exists (
            select from pg_policy
            where polrelid = to_regclass('performance.bot_total') and polname = e.policy))
    union all
    select 8, 'each level reads what it may', (
        select string_agg(format('%s: %s', e.level, f.name), ', ')
        from (values
            ('app_bot', 'bot_activity_summary bot_total daily_metrics_summary'),
            ('app_admin', 'bot_activity_summary bot_fault bot_total daily_metrics_summary'),
            ('app_super_admin', 'bot_activity_summary bot_fault bot_total daily_metrics_summary '
             'last_roll_up metrics monthly_table partition_health probe slow_queries task'),
            ('app_backup', 'bot_activity_summary bot_fault bot_total daily_metrics_summary '
             'last_roll_up metrics monthly_table partition_health probe slow_queries task')
        ) as e (level, relations)
        cross join lateral string_to_table(e.relations, ' ') as f (name)
        where not coalesce(has_any_column_privilege(
            e.level, to_regclass('performance.' || f.name), 'select'), false))
    union all
    select 9, 'nobody writes here but app_maintainer', (
        select string_agg(format('%s on %s to %s', g.privilege_type, c.oid::regclass,
                                 g.grantee::regrole), ', ')
        from pg_class as c
        cross join lateral (
            select * from aclexplode(c.relacl)
            union all
            select x.* from pg_attribute as a cross join lateral aclexplode(a.attacl) as x
            where a.attrelid = c.oid) as g
        where c.relnamespace = to_regnamespace('performance') and g.grantee <> c.relowner
          and g.privilege_type <> 'SELECT'
          -- security.drop_bot takes its rows along
          and not (c.relname in ('bot_fault', 'bot_total') and g.privilege_type = 'DELETE'
                   and g.grantee = to_regrole(security.provisioner()::text)))
    union all
    select 10, 'each level may call its functions here', (
        select string_agg(format('%s: %s', e.level, f.name), ', ')
        from (values
            ('app_backup', 'metric_rows slow_query_rows'),
            ('app_super_admin', 'due_tasks health_check maintain make_months metric_rows '
             'refuse_failures roll_up_metrics run_task slow_query_rows')
        ) as e (level, functions)
        cross join lateral string_to_table(e.functions, ' ') as f (name)
        where not exists (
            select from pg_proc
            where pronamespace = to_regnamespace('performance') and proname = f.name
              and has_function_privilege(e.level, oid, 'execute')))
    union all
    select 11, 'every task and probe has its function, and may call it', (
        select string_agg(e.routine, ', ')
        from (select routine from performance.task union all select routine from performance.probe
             ) as e
        where to_regprocedure(e.routine) is null
           or not has_function_privilege('app_maintainer', to_regprocedure(e.routine)::oid,
                                         'execute'))
    union all
    select 12, 'the tasks and probes of 004 are there', (
        select string_agg(e.name, ', ')
        from (
            select t, exists (select from performance.task where task = t)
            from unnest(array['months', 'roll_up', 'seal', 'audit_retention', 'statistics',
                              'stale_locks']) as t
            union all
            select p, exists (select from performance.probe where probe = p)
            from unnest(array[
                'bots', 'bot_messages', 'bot_last_message', 'bot_reply', 'bot_faults',
                'partition_rows', 'partition_size', 'database_size', 'dead_rows', 'connections',
                'login_connections',
                'oldest_transaction', 'unseen_sessions', 'lock_wait', 'wraparound',
                'unused_indexes', 'invalid_indexes', 'months_ahead', 'unsealed',
                'setting_shortfall', 'task_delay', 'task_failed']) as p
        ) as e (name, is_there)
        where not e.is_there)
    union all
    select 13, 'there is one last roll-up', (
        select 'not so' where (select count(*) from performance.last_roll_up) <> 1)
    union all
    select 14, 'only maintenance by the caller''s own rights runs without a pinned path', (
        select string_agg(p.oid::regprocedure::text, ', ')
        from pg_proc as p
        where p.pronamespace = to_regnamespace('performance')
          and (coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false)
                   = (p.prokind = 'p')
               or p.prokind = 'p' and p.prosecdef))
    union all
    select 15, 'every code that performance raises is in core.error_code', (
        select string_agg(format('%s in %s', m.code[1], p.oid::regprocedure), ', ')
        from pg_proc as p
        cross join lateral regexp_matches(p.prosrc, e'''(MB\\d{3})''', 'g') as m (code)
        where p.pronamespace = to_regnamespace('performance')
          and not exists (select from core.error_code as e where e.code = m.code[1]))
)
select check_name, offenders is null as ok, offenders as detail
from result
order by place;
