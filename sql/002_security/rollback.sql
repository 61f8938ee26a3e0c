-- 002_security: undo. The bots' rows stay, without anything that keeps one bot from another's.
-- depends: every later migration is rolled back
-- locks:   ACCESS EXCLUSIVE on every table in core
-- undo:    apply.sql; logins, passwords, tokens and memberships are gone

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';

do $guard$
begin
    perform core.refuse_loss(
        (select format('this rollback would drop the logins %s (pg_dumpall --roles-only keeps '
                       'them)', string_agg(r.rolname, ', ' order by r.rolname))
         from security.marked_logins() as m
         join pg_roles as r on r.oid = m.role),
        (select json_object_agg(what, row_count) from security.preview_rollback()));
    perform security.drop_logins();
end
$guard$;

-- Who may call what -----------------------------------------------------------

delete from core.leaf_hook where hook = 'security.protect_leaf(regclass)';

-- What the provisioner owns and granted goes back first: the rest of this is the caller's to undo.
do $owners$
begin
    perform security.hand_over(s, current_user)
    from unnest(array['security', 'core_upkeep', 'core', 'core_partitions']) as s;
end
$owners$;

-- Whether all of it holds -----------------------------------------------------

drop function security.check();
drop function security.check_rules();
drop function security.check_settings();
drop function security.check_calls();
drop function security.check_reach();
drop function security.check_owners();
drop function security.check_routines();
drop function security.check_entries();
drop function security.check_grants();
drop function security.check_pair();
drop function security.check_bounds();
drop function security.check_policies();
drop function security.check_tables();
drop function security.kept_tables();
drop function security.check_installation();
drop function security.check_logins();
drop function security.check_strangers();
drop function security.check_members();
drop function security.check_roles();
drop function security.act_as(bigint);
drop function security.exceptions(text);
drop table security.rule_exception;

-- Who may do what -------------------------------------------------------------

do $database$
declare
    v_privileges  text := (select string_agg(privilege, ', ') from security.public_right);
    v_what        text;
begin
    execute format('revoke all on database %I from %I', current_database(),
                   security.provisioner());
    -- not DROP OWNED: a clone has the same provisioner, and its logins are members by its grant
    foreach v_what in array array['all tables in schema core', 'all sequences in schema core',
                                  'all functions in schema core', 'schema core'] loop
        execute format('revoke all on %s from %I', v_what, security.provisioner());
    end loop;
    if v_privileges is not null then
        execute format('grant %s on database %I to public', v_privileges, current_database());
    end if;
end
$database$;

do $tables$
declare
    v_table    record;
    v_policy   record;
begin
    for v_table in
        select c.oid::regclass as name, c.relispartition
        from pg_class as c
        where c.relnamespace in ('core'::regnamespace, 'core_partitions'::regnamespace)
          and c.relkind in ('r', 'p') and c.relrowsecurity
    loop
        for v_policy in select polname from pg_policy where polrelid = v_table.name loop
            execute format('drop policy %I on %s', v_policy.polname, v_table.name);
        end loop;
        execute format('alter table %s disable row level security, no force row level security',
                       v_table.name);
        execute format('drop trigger refuse_truncate on %s', v_table.name);
        if not v_table.relispartition then
            execute format('drop trigger refuse_new_bot_id on %s', v_table.name);
        end if;
    end loop;
end
$tables$;

revoke all on all tables in schema core, core_partitions
    from app_bot, app_super_admin, app_backup, app_upkeep;
revoke all on all functions in schema core, core_upkeep
    from app_bot, app_backup, app_owner, app_upkeep;
revoke all on schema core, core_partitions, core_upkeep
    from app_base, app_owner, app_upkeep, app_backup;

drop function security.lost_logins();
drop function security.claim_logins();
drop function security.let_provisioner_administer();
drop function security.take_over_logins();
drop function security.copy_settings(name[], oid);
drop function security.claimable_logins();
drop function security.protect_database();
drop function security.admit_logins();
drop function security.connecting_roles();
drop function security.database_rights();
drop table security.public_right;

-- What is there, and what was accepted ----------------------------------------

drop function security.accept_cluster(text);
drop function security.accept_inventory(text);
drop function security.accept(text, text);
drop function security.run_acceptance_hooks();
drop table security.acceptance_hook;
drop function security.expect_inventory(text);
drop table security.unfinished;
drop function security.require_reason(text);
drop function security.require_acceptor();
drop function security.check_bodies();
drop function security.refuse_syntax_errors(regprocedure[]);
drop function security.body_faults(regprocedure[]);
drop function security.validate_body(regprocedure);
drop function security.accept_facts(text, text[]);
drop function security.write_acceptance(text, jsonb, boolean);
drop function security.acceptance_record(security.acceptance);
drop function security.in_migration();
drop function security.differences();
drop function security.acceptance_differences();
drop function security.fact_differences();
drop function security.accepted_digest();
drop table security.acceptance;
drop table security.accepted_fact;
drop function security.inventory();
drop function security.relation_facts(oid[]);
drop function security.catalog_facts();
drop function security.other_facts(oid[]);
drop function security.server_right_facts();
drop function security.row_facts();
drop function security.inventory_rows(regclass, name[], name[]);
drop table security.inventoried_table;
drop function security.replication_facts();
drop function security.setting_facts();
drop function security.role_facts();
drop function security.strong_roles();
drop function security.comment_facts(oid[]);
drop function security.type_facts();
drop function security.schema_facts();
drop function security.routine_facts();
drop function security.access_facts(oid[]);
drop function security.attached_facts(oid[]);
drop function security.trigger_facts(oid[]);
drop function security.table_facts(oid[]);
drop function security.view_digest(oid);
drop function security.body_digest(text);
drop function security.in_words(aclitem[], oid);
drop function security.covered_routines();
drop function security.covered_relations();
drop function security.is_server_schema(name);
drop function security.bot_grantees();
drop function security.role_name(oid);
drop function security.known_names();

-- Who logs in -----------------------------------------------------------------

drop function security.set_id_range(bigint, bigint);
drop function security.set_id_range_of(core.bot_table, bigint, bigint);
drop function security.hold_sequence(regclass);
drop function security.has_ids(regclass, name, bigint, bigint);
drop function security.find_bot(text);
drop function security.find_login(text);
drop function security.list_logins();
drop function security.level_of(text);
drop function security.list_bots();
drop function security.sessions_now();
drop function security.get_bot_token();
drop function security.set_bot_token(bigint, text);
drop function security.set_bot_config(jsonb);
drop function security.resume_bot(bigint);
drop function security.retire_bot(bigint);
drop function security.pause_bot(bigint);
drop function security.close_bot(bigint, text);
drop function security.set_bot_status(bigint, text);
drop function security.end_sessions_as(bigint, text);
drop function security.suspend_grants(bigint, text);
drop function security.suspend_grant(bigint, text, timestamptz);
drop function security.refuse_retired(bigint);
drop function security.status_of(bigint);
drop function security.preview_rollback();
drop function security.drop_logins();
drop function security.drop_login(text);
drop function security.revoke_bot_from_admin(bigint, text);
drop function security.revoke_bot(bigint, text);
drop function security.grant_bot_to_admin(bigint, text);
drop function security.create_worker(text, bigint[], text, integer, interval, interval, interval);
drop function security.create_admin(text, text, boolean, integer, interval, interval, interval);
drop function security.grant_bot(bigint, text);
drop function security.require_login(text);
drop function security.create_login(text, text, text, security.login_limit);
drop function security.login_differences();
drop function security.set_bot_limits(bigint, integer, interval, interval);
drop function security.set_limits(text, integer, interval, interval, interval);
drop function security.note_bot_limits(bigint, security.login_limit);
drop function security.limits_of_bot(bigint);
drop function security.note_limits(security.login_limit);
drop function security.limit_login(security.login_limit);
drop function security.settings_of(security.login_limit);
drop function security.temp_file_limit();
drop function security.changed_limits(
    security.login_limit, integer, interval, interval, interval);
drop function security.first_login_limits(text, text);
drop function security.drop_bot(bigint, boolean);
drop function security.preview_drop_bot(bigint);
drop function security.refuse_drop(bigint, regclass, text);
drop function security.discard_rows(bigint, text[]);
drop function security.delete_rows(bigint, text[]);
drop function security.has_rows(bigint);
drop function security.drop_role(text);
drop function security.end_connections(text);
drop function security.refuse_to_wait(text, text);
drop function security.end_sessions(text, timestamptz);
drop function security.clear_the_way_to(bigint, text);
drop function security.clear_the_way(regclass[], text, bigint);
drop function security.holders(regclass[], bigint);
drop function security.rotate_bot_password(bigint, text);
drop function security.require_bot(bigint);
drop function security.create_bot_login(bigint, text);
drop function security.preview_create_bot(text, text);
drop function security.create_bot(text, text);
drop function security.complete_bot_login(bigint);
drop function security.next_bot_id();
drop sequence security.trial_bot_id_seq;
drop function security.require_bot_name(text);
drop function security.set_password(text, text);
drop function security.set_up_login(text, text, security.login_limit);
drop function security.make_role(text, integer, text);
drop function security.await_turn();
drop function security.require_verifier(text);
drop table security.made_login;
drop function security.marks();
drop function security.login_kind(oid);
drop function security.marked_logins();
drop function security.mark(text);
drop function security.run_event_hooks(text, jsonb, bigint);
drop table security.event_hook;
delete from core.bot_table
where relation in ('security.bot_limit'::regclass, 'security.bot_token'::regclass,
                   'security.suspended_grant'::regclass);
drop table security.suspended_grant;
drop table security.bot_limit;
drop table security.login_limit;
drop function security.are_possible_limits(integer, interval, interval, interval);
drop table security.bot_token;

-- What protects a table -------------------------------------------------------

drop function security.admit_provisioner(core.bot_table);
drop function security.admit_admins(regclass);
drop function security.admit_bots(regclass);
drop function security.admit(regclass, text, text);
drop function security.require_protected(regclass);
drop function security.protect(regclass);
drop function security.require_keyed(regclass);
drop function security.protect_leaf(regclass);
drop function security.give_to_owner(regclass);
drop function security.revoke_from_bots(regclass);
drop function security.set_policy(regclass, text, text);
drop function security.refuse_truncate(regclass);
drop function security.refuse_write();

-- Who there is ----------------------------------------------------------------

drop function security.may_see(bigint);
drop function security.calling_bot(text);
drop function security.caller();
drop function security.policy_user();
drop function security.policy_bot_id();
drop function security.hand_over(text, text);
drop function security.with_members(oid[]);
drop function security.roles();
drop table security.schema_owner;
drop function security.grant_to_provisioner(text[]);

revoke all on schema security from app_bot, app_owner, app_provisioner;
revoke all on security.installation from app_owner;
revoke all on function security.provisioner() from app_owner;
do $roles$
begin
    perform security.let_go(r)
    from unnest(array[security.provisioner(), 'app_provisioner', 'app_backup', 'app_upkeep',
                      'app_owner', 'app_super_admin', 'app_admin', 'app_bot', 'app_base']) as r;
end
$roles$;

drop function security.let_go(text);
drop function security.ensure_owner(text, boolean);
drop function security.ensure_member(text, text, boolean);
drop function security.ensure_role(text, boolean);
drop function security.require_shared_roles();
drop function security.sister_provisioners();
drop function security.provisioner();
drop table security.installation;

-- What everything else names --------------------------------------------------

delete from core.error_code where code between 'MB101' and 'MB139';

drop schema security;
