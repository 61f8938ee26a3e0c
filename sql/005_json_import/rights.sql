-- Who may call what is in this schema, and what its owner may write.

revoke execute on all functions in schema json_import from public;

-- Whoever calls these acts as app_importer, which sees every bot's rows; nobody else gets in.
grant usage on schema json_import to app_admin, app_owner, app_backup;
grant execute on function
    json_import.list_rejects(bigint, text)
to app_admin, app_owner;
grant execute on function
    json_import.classify(text[]),
    json_import.claim_turn(), json_import.start_run(text, jsonb), json_import.finish_run(bigint),
    json_import.ensure_bot(text, boolean),
    json_import.wanted(bigint, bigint, text[], bytea[]), json_import.busy_sessions(bigint),
    json_import.load(
        bigint, bigint, text, text[], bigint[], bytea[], boolean, boolean, interval, bytea[]),
    json_import.note_entry(bigint, bigint, text, text, bigint, bigint, text, text),
    json_import.list_changes(bigint),
    json_import.retry(bigint, bigint, text, text),
    json_import.list_kept(bigint), json_import.kept_parts(bigint, bigint),
    json_import.report(bigint), json_import.rejects_by_code(bigint),
    json_import.messages_by_month(bigint), json_import.recent_runs(integer),
    json_import.reconcile(bigint, text[], bytea[]), json_import.check()
to app_super_admin, app_owner;
grant execute on function json_import.list_found_rows(), json_import.preview_rollback()
to app_owner;
grant select on all tables in schema json_import to app_backup;

do $importer$
declare
    v_table  regclass;
begin
    perform security.ensure_owner('app_importer');
    for v_table in
        select t from core.bot_tables() as t join pg_class as c on c.oid = t
        where c.relnamespace = 'json_import'::regnamespace
    loop
        perform security.protect(v_table);
        perform security.admit(v_table, 'app_importer', 'all');
        perform security.admit(v_table, 'app_backup', 'select');
    end loop;
    perform security.admit(t, 'app_importer', 'select')
    from unnest(array['core.bots', 'core.bot_names']) as t;
    perform security.admit(t, 'app_importer', 'insert')
    from unnest(array['core.stale_days', 'core.conversation_totals']) as t;
    perform security.admit(t, 'app_importer', 'all')
    from unnest(array['core.girls_profiles', 'core.conversations', 'core.messages']) as t;
end
$importer$;

grant usage on schema core, security, audit, performance to app_importer;
grant select on core.bots, core.bot_names, core.error_code, core.bounds to app_importer;
grant select, insert, update on core.girls_profiles, core.conversations to app_importer;
grant select, insert, delete on core.messages to app_importer;
grant insert on core.stale_days, core.conversation_totals to app_importer;
grant usage on sequence core.girls_profiles_profile_id_seq, core.messages_message_id_seq,
                        core.conversations_conversation_id_seq to app_importer;
grant execute on function
    core.first_time(), core.end_time(), core.storable_years(),
    core.refuse_value(text, text, text), core.check_text(text, text, integer),
    core.check_time(timestamptz, text), core.json_excess(jsonb, integer),
    core.check_json(jsonb, text, integer),
    core.current_bot_id(), core.require_bot(bigint),
    core.make_contact(bigint, bigint, text, text, text, boolean, text, timestamptz),
    core.ensure_contact(bigint, bigint, text, timestamptz),
    core.days_of(timestamptz[]),
    security.create_bot(text, text), security.caller(), security.may_see(bigint),
    security.refuse_write(), security.policy_bot_id(), security.policy_user(),
    security.clear_the_way_to(bigint, text), security.hold_sequence(regclass),
    audit.log_event(text, text, jsonb, bigint), performance.roll_up_metrics(date)
to app_importer;
grant usage on schema json_import to app_maintainer;
grant execute on function
    json_import.drop_kept_bytes(interval), json_import.preview_drop_kept_bytes(interval),
    json_import.drop_resolved(), json_import.preview_drop_resolved(),
    json_import.probe_quarantined_files(), json_import.probe_quarantine_size()
to app_maintainer;

insert into security.rule_exception (rule, object, reason) values
    ('replica mode',
     'json_import.load_conversations(bigint, bigint, text[], bigint[], bytea[], bytea[])',
     'it proves the foreign keys of a file at once, not row by row'),
    ('superuser''s grant',
     'right to owner of json_import on parameter session_replication_role: SET',
     'load_conversations lets with it the foreign keys'' triggers rest');

-- A contact's row is locked and a conversation is stored with its messages, in one statement: that
-- proves the foreign keys once per file, and the trigger that would prove them per row can rest.
-- The right to say so is a superuser's to give (grant set on parameter), to app_importer.
do $replica$
begin
    -- not again where a sister database did: nobody waits for somebody who looks at what files make
    if (select rolsuper from pg_roles where rolname = current_user)
       and not has_parameter_privilege('app_importer', 'session_replication_role', 'set') then
        grant set on parameter session_replication_role to app_importer;
    end if;
    if has_parameter_privilege(current_user, 'session_replication_role', 'set')
       and has_parameter_privilege('app_importer', 'session_replication_role', 'set') then
        alter function json_import.load_conversations(
            bigint, bigint, text[], bigint[], bytea[], bytea[])
            set session_replication_role = 'replica';
    else
        raise notice 'without the right to set session_replication_role an import checks each '
                     'message''s foreign key by itself: slower, equally safe';
    end if;
    -- a path names a chat: that it changed is on record, not what it was
    perform audit.mark_column('json_import.file', c, 'secret')
    from unnest(array['path', 'chat_id', 'wrapper', 'reason']) as c;
    perform audit.enable('json_import.file');
    update core.bot_table set is_audited = true where relation = 'json_import.file'::regclass;
    perform audit.note_capture('{"by": "005_json_import"}');  -- one of its functions was granted
    perform security.hand_over('json_import', 'app_importer');
end
$replica$;

-- Rows of an earlier ledger
do $found$
declare
    v_found  record;
begin
    select * into v_found from json_import.list_found_rows();
    if v_found.files > 0 then
        raise notice '% messages of % files were imported before: import the same folders again, '
                     'and each file finds its rows in place', v_found.messages, v_found.files;
    end if;
end
$found$;
