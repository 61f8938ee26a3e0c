-- Who may call what is in this schema.

revoke execute on all functions in schema audit from public;

grant usage on schema audit
    to app_bot, app_backup, app_owner, app_upkeep;
grant usage on schema audit_partitions to app_backup;
grant select on audit.security_audit_log, audit.events to app_bot, app_backup;
grant select on audit.capture, audit.marked_column, audit.setting to app_super_admin;
grant select on all tables in schema audit to app_backup;
grant execute on function
    audit.block_rows(json, json, json), audit.row_history(regclass, jsonb),
    audit.by_correlation(uuid), audit.require_auditable(regclass), audit.key_sql(regclass, text)
to app_bot, app_backup;
grant execute on function
    audit.enable(regclass, text), audit.compile(regclass, text), audit.refresh(regclass),
    audit.mark_column(regclass, name, text), audit.stale_captures(regclass),
    audit.log_event(text, text, jsonb, bigint), audit.seal(integer),
    audit.verify_seals(bigint, text), audit.set_retention(integer), audit.drop_expired(),
    audit.preview_drop_expired(), audit.erase(bigint, bigint, text),
    audit.preview_erase(bigint, bigint)
to app_super_admin, app_owner;
grant execute on function audit.disable(regclass) to app_super_admin;
grant execute on function audit.preview_rollback() to app_owner;
-- who owns an audited table attaches its triggers
do $attach$
declare
    v_right  text := 'execute on function '
        'audit.attach(regclass), audit.guard_leaf(regclass), audit.capture_name(regclass, text), '
        'audit.note_capture(jsonb), audit.capture_condition(regclass, text), '
        'audit.record_truncate(), audit.refuse_leaf_write(), audit.require_auditable(regclass), '
        'audit.key_sql(regclass, text)';
begin
    execute format('grant %s to app_owner', v_right);
    perform security.grant_to_provisioner(v_right);
end
$attach$;
select security.grant_to_provisioner(
    'usage on schema audit',
    'execute on function audit.hear_event(text, text, jsonb, bigint), audit.refresh(regclass)');

grant usage on schema core, security to app_auditor;
grant select (bot_id, profile_id, telegram_id) on core.girls_profiles to app_auditor;
grant select (bot_id, conversation_id, profile_id) on core.conversations to app_auditor;
grant select on core.leaf_hook, core.bot_table to app_auditor;
grant execute on function
    core.leaf_name(regclass, text), core.leaves(regclass), core.require_months(regclass),
    core.ensure_partition(regclass, timestamptz), core.run_leaf_hooks(regclass),
    core.routine_name(text), core.current_bot_id(), core.base_type(oid),
    security.protect_leaf(regclass), security.refuse_truncate(regclass), security.refuse_write(),
    security.give_to_owner(regclass), security.revoke_from_bots(regclass),
    security.set_policy(regclass, text, text), security.policy_bot_id(), security.policy_user(),
    security.accept_facts(text, text[]), security.in_migration(), security.accepted_digest(),
    security.caller(), security.clear_the_way(regclass[], text, bigint),
    security.refuse_to_wait(text, text), security.require_reason(text),
    security.provisioner(), security.grant_to_provisioner(text[])
to app_auditor;
grant select on security.accepted_fact, security.inventoried_table, security.installation
    to app_auditor;
