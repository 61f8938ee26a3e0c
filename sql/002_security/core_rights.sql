-- The tables of core: who may do what.

do $protect$
declare
    v_table  regclass;
begin
    for v_table in select core.hash_tables() loop
        perform security.protect(v_table);
        perform security.admit_bots(v_table);
        perform security.admit(v_table, r, 'select')
        from unnest(array['app_super_admin', 'app_backup']) as r;
        execute format('grant select on %s to app_bot, app_backup', v_table);
        perform security.grant_to_provisioner(
            format('select, update (updated_at) on %s', v_table));
    end loop;
    perform security.admit_admins(t) from unnest(array['core.bots', 'core.bot_metrics']) as t;
    perform security.protect(t) from unnest(array['core.bot_names', 'core.stale_days']) as t;
    perform security.admit('core.bot_names', r, 'select')
    from unnest(array['app_super_admin', 'app_backup']) as r;
    perform security.admit('core.stale_days', 'app_backup', 'select');
    -- read through core.chats
    perform security.protect(t), security.admit_bots(t),
            security.admit(t, 'app_super_admin', 'select'),
            security.admit(t, 'app_backup', 'select')
    from unnest(array['core.conversation_totals', 'core.uncounted']::regclass[]) as t;
    perform security.protect(t)
    from unnest(array['security.bot_token', 'security.bot_limit',
                      'security.suspended_grant']::regclass[]) as t;
end
$protect$;

grant usage on schema core to app_base, app_upkeep, app_backup;
grant usage on schema core_partitions to app_backup;
-- app_provisioner: what has a right in a database no sister's rollback drops
grant usage on schema security to app_bot, app_owner, app_provisioner;
grant select on core.error_code, core.message_kind, core.bounds to app_bot, app_backup;
grant select on core.bot_names to app_super_admin, app_backup;
grant select on core.leaf_hook, core.bot_table, core.stale_days to app_backup;
grant select on core.chats, core.conversation_totals, core.uncounted to app_bot, app_backup;

-- By column: no id, no counter, no bot_id of an existing row, no delete.
grant insert (bot_id, telegram_id, chat_id, last_activity, first_seen_at, is_bot, standing, name,
              username, language, previous_response_id, summary, profile, extra),
      update (chat_id, last_activity, is_bot, standing, name, username, language,
              previous_response_id, summary, profile, extra)
    on core.girls_profiles to app_bot;
grant insert (bot_id, profile_id, chat_id, thread_id, started_at, type, title, metadata),
      update (chat_id, type, title, metadata)
    on core.conversations to app_bot;
grant insert (bot_id, conversation_id, sender_id, sent_at, direction, body, external_id, reply_to,
              kind, metadata),
      update (edited_at, deleted_at, body, external_id, kind, delivery, metadata)
    on core.messages to app_bot;

grant execute on function
    core.current_bot_id(),
    core.record_message(bigint, text, text, timestamptz, text, bigint, text, bigint, text, text,
                        jsonb, text, text, bigint),
    core.check_message(bigint, text, text, timestamptz, text, text), core.kind_of(text, jsonb),
    core.require_bot(bigint), core.ensure_contact(bigint, bigint, text, timestamptz),
    core.make_contact(bigint, bigint, text, text, text, boolean, text, timestamptz),
    core.renew_contact(bigint, bigint, text, text, text, boolean, text),
    core.set_contact(bigint, text, text, text, boolean, text, timestamptz, bigint),
    core.note_sender(bigint, bigint, bigint, text, text, text, timestamptz),
    core.ensure_conversation(bigint, bigint, text, timestamptz, bigint),
    core.make_conversation(bigint, bigint, bigint, text, timestamptz),
    core.recorded_message(bigint, bigint, text), core.find_message(bigint, bigint, bigint, text),
    core.set_chat(bigint, text, text, bigint, bigint),
    core.record_edit(bigint, text, text, timestamptz, jsonb, bigint, bigint),
    core.record_deletion(bigint, text, timestamptz, bigint, bigint),
    core.record_delivery(bigint, text, text, bigint, bigint),
    core.read_messages(bigint, bigint, integer, bigint, bigint),
    security.policy_bot_id(),
    security.policy_user(),
    security.set_bot_config(jsonb),
    security.get_bot_token()
to app_bot;
-- Whoever writes a column, or names a row by its key, calls what bounds it.
grant execute on function
    core.refuse_value(text, text, text), core.check_text(text, text, integer),
    core.check_time(timestamptz, text), core.json_excess(jsonb, integer),
    core.check_json(jsonb, text, integer), core.first_time(), core.end_time(),
    core.storable_years()
to app_bot, app_backup, app_upkeep;
-- own_rows is asked for everybody who reads: whoever is no bot gets nothing by it.
grant execute on function
    security.policy_bot_id(), security.policy_user()
to app_backup, app_owner, app_upkeep;

-- What the triggers keep: for every bot, by column.
do $upkeep$
begin
    perform security.admit(t, 'app_upkeep', c)
    from (values ('core.bots', 'select'), ('core.messages', 'select'),
                 ('core.conversations', 'select'), ('core.girls_profiles', 'select'),
                 ('core.bot_metrics', 'select'), ('core.bot_names', 'all'),
                 ('core.conversation_totals', 'all'), ('core.uncounted', 'all'),
                 ('core.stale_days', 'insert')) as u (t, c);
end
$upkeep$;

grant select (bot_id, name) on core.bots to app_upkeep;
grant select (bot_id, conversation_id, sent_at) on core.messages to app_upkeep;
grant select (bot_id, conversation_id) on core.conversations to app_upkeep;
grant select (bot_id) on core.girls_profiles, core.bot_metrics to app_upkeep;
grant select, insert, delete, update (name) on core.bot_names to app_upkeep;  -- to lock it
grant select, insert, delete, update (message_count, last_message_at)
    on core.conversation_totals to app_upkeep;
grant select, insert, delete on core.uncounted to app_upkeep;
grant insert on core.stale_days to app_upkeep;
grant execute on function core.days_of(timestamptz[]), core.hash_tables(), core.bot_tables()
to app_upkeep;
grant select on core.bot_table to app_upkeep;

-- Whoever asks what a column is made of.
grant execute on function core.base_type(oid) to app_bot, app_backup, app_owner, app_upkeep;

select security.grant_to_provisioner(
    'usage on schema core',
    'select on core.bot_table',
    'insert (bot_id, name), update (status, config) on core.bots',
    'usage, select on sequence core.bots_bot_id_seq',
    'execute on function core.ensure_leaves(bigint), core.bot_tables(), core.routine_name(text),
                         core.base_type(oid), core.refuse_value(text, text, text),
                         core.check_json(jsonb, text, integer), core.json_excess(jsonb, integer)');
