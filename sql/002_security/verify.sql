-- 002_security: is every bot inside its own rows? Reads only; one row per check.

set local search_path = pg_catalog, pg_temp;
set local jit = off;

with result (place, check_name, offenders) as (
    select 1, 'every table of core lets in exactly who belongs there', (
        select string_agg(format('%s: %s', e.relation, f.policies), '; ')
        from (values
            ('core.bots', 'app_admin_select app_backup_select app_provisioner_all '
                          'app_super_admin_select app_upkeep_select own_rows'),
            ('core.girls_profiles', 'app_backup_select app_provisioner_all '
                                    'app_super_admin_select own_rows'),
            ('core.conversations', 'app_backup_select app_provisioner_all app_super_admin_select '
                                   'app_upkeep_select app_upkeep_update own_rows'),
            ('core.messages', 'app_backup_select app_provisioner_all app_super_admin_select '
                              'app_upkeep_select own_rows'),
            ('core.bot_metrics', 'app_backup_select app_provisioner_all app_super_admin_select '
                                 'own_rows'),
            ('core.bot_names', 'app_backup_select app_super_admin_select app_upkeep_all'),
            ('security.bot_token', 'app_provisioner_all')
        ) as e (relation, policies)
        left join lateral (
            select string_agg(p.polname, ' ' order by p.polname::text collate "C") as policies
            from pg_policy as p
            where p.polrelid = to_regclass(e.relation)
              -- later migrations let their own definers in
              and p.polname !~ '^app_(importer|auditor)_'
        ) as f on true
        where f.policies is distinct from e.policies)
    union all
    select 2, 'the bots'' rights are these, by column', (
        select string_agg(format('%s %s: %s', e.privilege, e.relation, f.columns), '; ')
        from (values
            ('core.girls_profiles', 'INSERT', 'bot_id chat_id extra last_activity name '
             'previous_response_id profile summary telegram_id'),
            ('core.girls_profiles', 'UPDATE', 'chat_id extra last_activity name '
             'previous_response_id profile summary'),
            ('core.conversations', 'INSERT', 'bot_id chat_id metadata profile_id started_at'),
            ('core.conversations', 'UPDATE', 'chat_id metadata'),
            ('core.messages', 'INSERT', 'body bot_id conversation_id direction metadata sent_at'),
            ('core.messages', 'UPDATE', 'body metadata'),
            ('core.bots', 'INSERT', null), ('core.bots', 'UPDATE', null),
            ('core.bot_metrics', 'INSERT', null), ('core.bot_metrics', 'UPDATE', null)
        ) as e (relation, privilege, columns)
        left join lateral (
            select string_agg(a.attname, ' ' order by a.attname::text collate "C") as columns
            from pg_attribute as a
            where a.attrelid = to_regclass(e.relation) and a.attnum > 0 and not a.attisdropped
              and has_column_privilege('app_bot', a.attrelid, a.attnum, e.privilege)
        ) as f on true
        where f.columns is distinct from e.columns)
    union all
    select 3, 'a bot may read its tables and call what it needs', (
        select string_agg(e.name, ', ')
        from (
            select t::text, has_table_privilege('app_bot', t, 'select') from core.bot_tables() as t
            union all
            select f, coalesce(has_function_privilege('app_bot', to_regprocedure(f), 'execute'),
                               false)
            from unnest(array[
                'core.record_message(bigint, text, text, timestamptz, text, bigint)',
                'core.check_message(bigint, text, text, timestamptz)',
                'core.ensure_contact(bigint, bigint, text)',
                'core.ensure_conversation(bigint, bigint, text)', 'core.current_bot_id()',
                'security.policy_bot_id()', 'security.policy_user()', 'security.get_bot_token()'
            ]) as f
        ) as e (name, may)
        where not e.may)
    union all
    select 4, 'a bot may call no other function of ours', (
        select string_agg(p.oid::regprocedure::text, ', ')
        from pg_proc as p
        join pg_namespace as n on n.oid = p.pronamespace
        join security.rooms() as r on r.room = n.nspname
        where has_function_privilege('app_bot', p.oid, 'execute')
          and p.proname not in (
              'record_message', 'check_message', 'ensure_contact', 'ensure_conversation',
              'current_bot_id', 'policy_bot_id', 'policy_user', 'get_bot_token')
          -- later migrations say themselves what a bot may call there
          and r.room in ('core', 'core_partitions', 'core_upkeep', 'security'))
    union all
    select 5, 'each level is a member of the one below', (
        select string_agg(format('%s of %s', e.member, e.level), ', ')
        from (values ('app_super_admin', 'app_admin'), ('app_admin', 'app_bot'),
                     ('app_bot', 'app_base')) as e (member, level)
        where not exists (
            select
            from pg_auth_members as m
            where m.member = to_regrole(e.member) and m.roleid = to_regrole(e.level)))
    union all
    select 6, 'no level is a member of more', (
        select string_agg(format('%s of %s', m.member::regrole, m.roleid::regrole), ', ')
        from pg_auth_members as m
        where (m.member::regrole::text, m.roleid::regrole::text) not in (
                  ('app_super_admin', 'app_admin'), ('app_admin', 'app_bot'),
                  ('app_bot', 'app_base'))
          and m.member::regrole::text in (
              'app_base', 'app_bot', 'app_admin', 'app_super_admin', 'app_backup', 'app_owner',
              'app_upkeep'))
    union all
    select 7, 'a new leaf is closed', (
        select 'no hook'
        where not exists (
            select from core.leaf_hook
            where hook = to_regprocedure('security.protect_leaf(regclass)')))
    union all
    select 8, 'every code that security raises is in core.error_code', (
        select string_agg(format('%s in %s', m.code[1], p.oid::regprocedure), ', ')
        from pg_proc as p
        cross join lateral regexp_matches(p.prosrc, '''(MB\d{3})''', 'g') as m (code)
        where p.pronamespace = 'security'::regnamespace
          and not exists (select from core.error_code as e where e.code = m.code[1]))
    union all
    select 9 + row_number() over (), c.check_name,
           case when not c.ok and c.severity = 'critical' then coalesce(c.detail, 'not so') end
    from security.check() as c
)
select check_name, offenders is null as ok, offenders as detail
from result
order by place;
