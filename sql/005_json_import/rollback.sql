-- 005_json_import: undo. What was imported stays in schema core.
-- depends: every later migration is rolled back
-- locks:   ACCESS EXCLUSIVE on everything in json_import
-- undo:    apply.sql, then the import of the same folders: each file finds its rows in place. What
--          was in quarantine is gone

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';

select security.expect_inventory();

do $guard$
begin
    -- or a file that is committed between the look and the drop would go unseen
    lock table json_import.file in access exclusive mode;
    perform core.refuse_loss(
        'schema json_import holds the ledger of an import, or quarantined files, that this '
        'rollback would throw away; what was imported stays',
        (select json_object_agg(what, row_count) from json_import.preview_rollback()));
end
$guard$;

-- Back to the caller.
do $owner$
declare
    v_policy  record;
begin
    perform security.hand_over('json_import', current_user);
    for v_policy in
        select polname, polrelid::regclass as relation
        from pg_policy
        where to_regrole('app_importer') = any (polroles)
    loop
        execute format('drop policy %I on %s', v_policy.polname, v_policy.relation);
    end loop;
end
$owner$;

-- Who may call what -----------------------------------------------------------

delete from security.rule_exception where strpos(object, 'json_import') > 0;
revoke all on all tables in schema core from app_importer;
revoke all on all sequences in schema core from app_importer;
revoke all on all functions in schema core, security, audit, performance from app_importer;
revoke all on schema core, security, audit, performance from app_importer;
select audit.note_capture('{"by": "005_json_import, undone"}');

-- What maintenance and others call --------------------------------------------

delete from performance.probe where probe in ('quarantined_files', 'quarantine_size');
delete from performance.task where task in ('quarantine', 'resolved_rejects');
drop function json_import.probe_quarantine_size();
drop function json_import.probe_quarantined_files();
drop function json_import.preview_rollback();
drop function json_import.preview_drop_resolved();
drop function json_import.preview_drop_kept_bytes(interval);
drop function json_import.drop_resolved();
drop function json_import.drop_kept_bytes(interval);

-- Whether it is all there -----------------------------------------------------

drop function json_import.check();
drop function json_import.check_files();
drop function json_import.check_messages();
drop function json_import.reconcile(bigint, text[], bytea[]);
drop function json_import.reconcile_contacts(json_import.file, bytea);
drop function json_import.reconcile_messages(json_import.file, bytea);
drop function json_import.reread_messages(bytea);
drop function json_import.reread_micros(text, text);
-- What a run is, and what it brought ------------------------------------------

drop function json_import.kept_parts(bigint, bigint);
drop function json_import.list_kept(bigint);
drop function json_import.list_changes(bigint);
drop function json_import.list_rejects(bigint, text);
drop view json_import.rejects;
drop function json_import.recent_runs(integer);
drop function json_import.messages_by_month(bigint);
drop function json_import.rejects_by_code(bigint);
drop function json_import.report(bigint);
drop function json_import.retry(bigint, bigint, text, text);
drop function json_import.note_entry(bigint, bigint, text, text, bigint, bigint, text, text);
drop function json_import.wanted(bigint, bigint, text[], bytea[]);
drop function json_import.ensure_bot(text, boolean);
drop function json_import.finish_run(bigint);
drop function json_import.busy_sessions(bigint);
drop function json_import.start_run(text, jsonb);
drop function json_import.hold_ids();
drop trigger refuse_commit on json_import.run;
drop function json_import.refuse_commit();
drop function json_import.sequence_for(regclass);
drop sequence json_import.trial_id_seq;
drop function json_import.claim_turn();
drop view json_import.turn;
-- How it becomes rows ---------------------------------------------------------

drop function json_import.load(
    bigint, bigint, text, text[], bigint[], bytea[], boolean, boolean, interval, bytea[]);
drop function json_import.load_file(bigint, bigint, text, text, bigint, bytea, boolean);
drop function json_import.quarantine(
    bigint, bigint, text, text, bigint, bytea, json_import.defect[]);
drop function json_import.store(bigint, bigint, text, text, bigint, bytea, json_import.file);
drop function json_import.take_over(
    json_import.file, bigint, text, text, bigint, bytea);
drop function json_import.compare_found(json_import.file, jsonb);
drop function json_import.list_found_rows();
drop function json_import.recount_profiles(bigint, bigint[]);
drop function json_import.record_count(jsonb, text);
drop function json_import.warnings_of(jsonb, text, bigint, bigint, bigint);
drop function json_import.add_profiles(bigint, bigint, text, bigint, jsonb);
drop function json_import.refill_profiles(bigint, bigint, text, bigint, jsonb);
drop function json_import.store_backup(bigint, bigint, bigint, jsonb, boolean);
drop function json_import.recount(bigint, bigint, bigint);
drop function json_import.store_conversation(json_import.file, bigint, bigint, bigint, jsonb);
drop function json_import.merge_wrapper(jsonb, jsonb, jsonb);
drop function json_import.wrapper_of(jsonb);
drop function json_import.drop_backup_messages(bigint, bigint, bigint, jsonb, bigint);
drop function json_import.same_head(json_import.file, jsonb);
drop function json_import.sequence_of(jsonb, bigint);
drop function json_import.ensure_conversation(bigint, bigint, bigint);
drop function json_import.lacks_profile(bigint, bigint, bigint);
drop function json_import.load_profiles(bigint, bigint, text[], bigint[], bytea[], bytea[]);
drop function json_import.is_plain_profile(jsonb, bigint);
drop function json_import.load_conversations(bigint, bigint, text[], bigint[], bytea[], bytea[]);
drop function json_import.new_conversations(bigint, text[], bigint[], bytea[]);
drop function json_import.count_warning(text, bigint);
drop function json_import.bom_warning(bytea);
drop function json_import.insert_profiles(bigint, bigint[], json_import.profile_row[]);
drop function json_import.profile_digest(core.girls_profiles);
drop function json_import.profiles_of(jsonb, text, bigint);
drop type json_import.profile_row;
drop function json_import.insert_messages(
    bigint, bigint, bigint, json_import.message_row[]);
drop function json_import.messages_of(jsonb);
drop type json_import.message_row;
drop function json_import.are_plain(jsonb);
drop function json_import.plain_messages(jsonb[]);
drop function json_import.parse_rarer_time(text);
drop function json_import.message_digest(text, text, timestamptz, jsonb);
-- What is wrong with it -------------------------------------------------------

drop function json_import.defects(bytea, text, bigint, boolean);
drop function json_import.content_defects(text, text, bigint, boolean);
drop function json_import.is_too_deep(text, jsonb);
drop function json_import.message_defects(jsonb, boolean);
drop function json_import.wrapper_defects(jsonb, bigint, boolean);
drop function json_import.message_elements(jsonb);
drop function json_import.message_list(jsonb);
drop function json_import.messages_path(jsonb);
drop function json_import.duplicate_contacts(jsonb);
drop function json_import.profile_defects(jsonb, text, bigint, boolean);
drop function json_import.profile_entries(jsonb, text, bigint);
drop function json_import.chat_defects(jsonb, text, bigint, boolean);
drop function json_import.field_defects(jsonb, text, text);
drop function json_import.duplicate_keys(json);
drop function json_import.bound_defects(jsonb, text);
drop function json_import.bound_fault(jsonb, text, integer);
drop function json_import.bound_of(text);
drop function json_import.may_be_large(text, jsonb);
drop function json_import.excerpt_of(jsonb);
drop function json_import.has_huge_number(jsonb);
drop function json_import.value_defects(json);
drop function json_import.real_step(text);
drop function json_import.value_fault(json);
drop function json_import.children(json, text);
drop function json_import.unmask_escapes(text);
drop function json_import.mask_escapes(text);
drop function json_import.syntax_defects(text);
drop function json_import.is_cut_token(text, text);
drop function json_import.byte_defects(bytea);
drop function json_import.excerpt(bytea, integer);
drop function json_import.valid_octets(bytea);
drop function json_import.is_utf8(bytea);
drop function json_import.parse(bytea);
drop function json_import.read_document(bytea);
drop function json_import.decode(bytea);
drop function json_import.string_count(text);
drop function json_import.to_step(text);
drop type json_import.defect;

-- What a file is --------------------------------------------------------------

drop function json_import.to_time(jsonb);
drop function json_import.time_fault(jsonb);
drop function json_import.unix_micros(numeric);
drop function json_import.zone_pattern();
drop function json_import.key_rules(text);
drop function json_import.strings_per_message();
drop function json_import.column_keys(text);
drop function json_import.key_names(text);
drop function json_import.known_keys();
drop function json_import.classify(text[]);
drop function json_import.is_date(text);
drop function json_import.to_chat_id(text);

-- What is kept of a file ------------------------------------------------------

delete from core.bot_table
where relation in (
    select oid from pg_class where relnamespace = 'json_import'::regnamespace);
select audit.forget('json_import.file');
drop table json_import.profile_source;
drop table json_import.kept_bytes;
drop table json_import.reject;
drop table json_import.file;
drop table json_import.run;

-- What everything else names --------------------------------------------------

delete from core.error_code where code between 'MB400' and 'MB499';

drop schema json_import;

select security.let_go('app_importer');

select security.accept_inventory('005_json_import, undone');
