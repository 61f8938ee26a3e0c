-- Who may call what is in this schema; who owns which schema.

revoke execute on all functions in schema security from public;
grant execute on function security.act_as(bigint) to public;

grant execute on function
    security.caller(), security.may_see(bigint), security.list_bots(), security.find_bot(text)
to app_admin, app_owner;
grant execute on function
    security.create_bot(text, text), security.preview_create_bot(text, text),
    security.create_bot_login(bigint, text),
    security.drop_bot(bigint, boolean), security.preview_drop_bot(bigint),
    security.rotate_bot_password(bigint, text),
    security.pause_bot(bigint), security.resume_bot(bigint), security.retire_bot(bigint),
    security.create_admin(text, text, boolean, integer, interval, interval, interval),
    security.create_worker(text, bigint[], text, integer, interval, interval, interval),
    security.list_logins(), security.find_login(text),
    security.set_limits(text, integer, interval, interval, interval),
    security.drop_login(text),
    security.grant_bot_to_admin(bigint, text),
    security.revoke_bot_from_admin(bigint, text),
    security.set_bot_token(bigint, text),
    security.set_bot_limits(bigint, integer, interval, interval),
    security.check(), security.check_rules(), security.inventory(), security.differences(),
    security.lost_logins()
to app_super_admin, app_owner;
grant execute on function
    security.drop_logins(), security.preview_rollback(), security.admit_logins(),
    security.claim_logins(), security.take_over_logins(),
    security.expect_inventory(text),
    security.accept_inventory(text), security.accept_cluster(text), security.accept(text, text),
    security.accept_facts(text, text[]), security.in_migration(),
    security.set_id_range(bigint, bigint),
    security.set_id_range_of(core.bot_table, bigint, bigint),
    security.has_ids(regclass, name, bigint, bigint)
to app_owner;
grant execute on function
    security.refuse_write(), security.refuse_truncate(regclass),
    security.protect(regclass), security.protect_leaf(regclass),
    security.set_policy(regclass, text, text), security.admit(regclass, text, text),
    security.admit_bots(regclass), security.admit_admins(regclass),
    security.require_keyed(regclass), security.require_protected(regclass),
    security.revoke_from_bots(regclass), security.give_to_owner(regclass),
    security.provisioner(), security.grant_to_provisioner(text[]),
    security.admit_provisioner(core.bot_table)
to app_owner;
grant select on security.installation to app_owner;
grant execute on function
    core_upkeep.claim_bot_name(), core_upkeep.begin_counting(), core_upkeep.end_counting(),
    core_upkeep.count_new_messages(), core_upkeep.count_deleted_messages(),
    core_upkeep.note_moving(), core_upkeep.count_moved_messages(),
    core_upkeep.fold_counts(bigint, integer), core_upkeep.recount(bigint),
    core_upkeep.check_message_state(), core_upkeep.note_started(), core_upkeep.misnamed_bots(),
    core_upkeep.preview_rollback()
to app_owner;
grant usage on schema core_upkeep to app_owner;

insert into core.leaf_hook (hook) values ('security.protect_leaf(regclass)');

-- Rows on which promises rest
do $rows$
begin
    perform security.inventory_rows('core.error_code', '{code}');
    perform security.inventory_rows('core.message_kind', '{kind}');
    perform security.inventory_rows('core.leaf_hook', '{hook}');
    perform security.inventory_rows('core.bot_table', '{relation}', '{place}');
    perform security.inventory_rows('security.event_hook', '{hook}');
    perform security.inventory_rows('security.acceptance_hook', '{hook}');
    perform security.inventory_rows('security.schema_owner', '{schema_name}');
    perform security.inventory_rows('security.rule_exception', '{rule,object}');
    perform security.inventory_rows('security.inventoried_table', '{relation}');
end
$rows$;

do $owners$
begin
    perform security.hand_over(s, 'app_owner') from unnest(array['core_partitions', 'core']) as s;
    perform security.hand_over('core_upkeep', 'app_upkeep');
    execute format('comment on role %I is %L', security.provisioner(),
                   security.mark('provisioner'));
    perform security.protect_database();
    perform security.hand_over('security', security.provisioner());
end
$owners$;
