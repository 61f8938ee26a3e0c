-- 002_security: is every bot inside its own rows? Reads only; one row per check.

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local jit = off;

with result (place, check_name, offenders) as (
    select 1, 'every table of core lets in who belongs there', (
        select string_agg(format('%s on %s', p.name, e.relation), ', ')
        from (values
            ('core.bots', 'app_admin_select app_backup_select provisioner_all '
                          'app_super_admin_select app_upkeep_select own_rows'),
            ('core.girls_profiles', 'app_backup_select provisioner_all '
                                    'app_super_admin_select own_rows'),
            ('core.conversations', 'app_backup_select provisioner_all app_super_admin_select '
                                   'app_upkeep_select own_rows'),
            ('core.messages', 'app_backup_select provisioner_all app_super_admin_select '
                              'app_upkeep_select own_rows'),
            ('core.bot_metrics', 'app_admin_select app_backup_select provisioner_all '
                                 'app_super_admin_select own_rows'),
            ('core.stale_days', 'app_backup_select provisioner_all app_upkeep_insert'),
            ('core.conversation_totals', 'app_backup_select provisioner_all app_super_admin_select '
                                         'app_upkeep_all own_rows'),
            ('core.uncounted', 'app_backup_select provisioner_all app_super_admin_select '
                               'app_upkeep_all own_rows'),
            ('core.bot_names', 'app_backup_select provisioner_all app_super_admin_select '
                               'app_upkeep_all'),
            ('security.bot_token', 'provisioner_all'),
            ('security.suspended_grant', 'provisioner_all')
        ) as e (relation, policies)
        cross join lateral string_to_table(e.policies, ' ') as p (name)
        where not exists (
            select from pg_policy where polrelid = to_regclass(e.relation) and polname = p.name))
    union all
    select 2, 'the bots have these rights, by column', (
        select string_agg(format('%s %s.%s', e.privilege, e.relation, c.name), ', ')
        from (values
            ('core.girls_profiles', 'INSERT', 'bot_id chat_id extra first_seen_at is_bot language '
             'last_activity name previous_response_id profile standing summary telegram_id '
             'username'),
            ('core.girls_profiles', 'UPDATE', 'chat_id extra is_bot language last_activity name '
             'previous_response_id profile standing summary username'),
            ('core.conversations', 'INSERT', 'bot_id chat_id metadata profile_id started_at '
             'thread_id title type'),
            ('core.conversations', 'UPDATE', 'chat_id metadata title type'),
            ('core.messages', 'INSERT', 'body bot_id conversation_id direction external_id kind '
             'metadata reply_to sender_id sent_at'),
            ('core.messages', 'UPDATE', 'body deleted_at delivery edited_at external_id kind '
             'metadata')
        ) as e (relation, privilege, columns)
        cross join lateral string_to_table(e.columns, ' ') as c (name)
        where not coalesce(has_column_privilege('app_bot', to_regclass(e.relation), c.name,
                                                e.privilege), false))
    union all
    select 3, 'a bot may read its tables and call what it needs', (
        select string_agg(e.name, ', ')
        from (
            select t, coalesce(has_table_privilege('app_bot', to_regclass(t), 'select'), false)
            from unnest(array['core.bots', 'core.girls_profiles', 'core.conversations',
                              'core.messages', 'core.bot_metrics']) as t
            union all
            select f, coalesce(has_function_privilege('app_bot', to_regprocedure(f), 'execute'),
                               false)
            from unnest(array[
                'core.record_message(bigint, text, text, timestamptz, text, bigint, text, bigint, '
                'text, text, jsonb, text, text, bigint)',
                'core.check_message(bigint, text, text, timestamptz, text, text)',
                'core.ensure_contact(bigint, bigint, text, timestamptz)',
                'core.ensure_conversation(bigint, bigint, text, timestamptz, bigint)',
                'core.current_bot_id()',
                'core.first_time()', 'core.end_time()', 'core.storable_years()',
                'security.policy_bot_id()', 'security.policy_user()', 'security.get_bot_token()',
                'security.set_bot_config(jsonb)'
            ]) as f
        ) as e (name, may)
        where not e.may)
    union all
    select 4, 'each level may call its functions', (
        select string_agg(format('%s: %s', e.level, f.name), ', ')
        from (values
            ('app_backup', 'policy_bot_id policy_user'),
            ('app_bot', 'check_message current_bot_id ensure_contact ensure_conversation '
             'get_bot_token policy_bot_id policy_user record_message set_bot_config'),
            ('app_admin', 'caller check_message current_bot_id ensure_contact ensure_conversation '
             'find_bot get_bot_token list_bots may_see policy_bot_id policy_user record_message '
             'set_bot_config'),
            ('app_super_admin', 'caller check check_message check_rules create_admin create_bot '
             'create_worker current_bot_id drop_bot drop_login ensure_contact ensure_conversation '
             'find_bot get_bot_token grant_bot_to_admin list_bots may_see policy_bot_id '
             'pause_bot policy_user record_message resume_bot retire_bot revoke_bot_from_admin '
             'rotate_bot_password set_bot_config set_bot_token')
        ) as e (level, functions)
        cross join lateral string_to_table(e.functions, ' ') as f (name)
        where not exists (
            select
            from pg_proc as p
            join pg_namespace as n on n.oid = p.pronamespace
            where n.nspname in ('core', 'security') and p.proname = f.name
              and has_function_privilege(e.level, p.oid, 'execute')))
    union all
    select 5, 'each level reads its tables', (
        select string_agg(format('%s: %s', e.level, f.name), ', ')
        from (values
            ('app_bot', 'bot_metrics bots chats conversations error_code girls_profiles '
             'message_kind messages'),
            ('app_admin', 'bot_metrics bots conversations error_code girls_profiles messages'),
            ('app_super_admin', 'bot_metrics bot_names bots conversations error_code '
             'girls_profiles messages'),
            ('app_backup', 'bot_metrics bot_names bot_table bots conversations error_code '
             'girls_profiles leaf_hook messages stale_days')
        ) as e (level, relations)
        cross join lateral string_to_table(e.relations, ' ') as f (name)
        where not coalesce(has_any_column_privilege(
            e.level, to_regclass('core.' || f.name), 'select'), false))
    union all
    select 6, 'each level is a member of the one below', (
        select string_agg(format('%s of %s', e.member, e.level), ', ')
        from (values ('app_super_admin', 'app_admin'), ('app_admin', 'app_bot'),
                     ('app_bot', 'app_base')) as e (member, level)
        where not exists (
            select
            from pg_auth_members as m
            where m.member = to_regrole(e.member) and m.roleid = to_regrole(e.level)))
    union all
    select 7, 'a new leaf is closed', (
        select 'no hook'
        where not exists (
            select from core.leaf_hook
            where to_regprocedure(hook) = to_regprocedure('security.protect_leaf(regclass)')))
    union all
    select 8, 'every code that security raises is in core.error_code', (
        select string_agg(format('%s in %s', m.code[1], p.oid::regprocedure), ', ')
        from pg_proc as p
        cross join lateral regexp_matches(p.prosrc, e'''(MB\\d{3})''', 'g') as m (code)
        where p.pronamespace = 'security'::regnamespace
          and not exists (select from core.error_code as e where e.code = m.code[1]))
    union all
    select 9 + row_number() over (), c.check_name,
           case when not c.ok and c.severity = 'critical' then coalesce(c.detail, 'not so') end
    from security.check_rules() as c
)
select check_name, offenders is null as ok, offenders as detail
from result
order by place;
