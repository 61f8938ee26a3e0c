-- 003_audit: undo. The bots' rows stay; what changes them from now on is on no record.
-- depends: every later migration is rolled back
-- locks:   ACCESS EXCLUSIVE on every table in core and on the log
-- undo:    apply.sql; the log begins anew, its salt is another one

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';

select security.expect_inventory();

-- Where it begins -------------------------------------------------------------

delete from security.rule_exception where object ~ '^event trigger record_schema_';
delete from core.leaf_hook where hook = 'audit.guard_leaf(regclass)';
delete from security.inventoried_table
where relation in ('audit.capture'::regclass, 'audit.marked_column'::regclass);
delete from security.acceptance_hook where hook = 'audit.refresh(regclass)';
delete from security.event_hook
where hook = 'audit.hear_event(text, text, jsonb, bigint)';

-- What is attached to tables of others, wherever audit.enable put it.
do $triggers$
declare
    v_trigger  record;
begin
    for v_trigger in
        select t.tgname, t.tgrelid::regclass as relation
        from pg_trigger as t
        join pg_proc as p on p.oid = t.tgfoid
        where p.pronamespace = 'audit'::regnamespace and not t.tgisinternal
    loop
        execute format('drop trigger %I on %s', v_trigger.tgname, v_trigger.relation);
    end loop;
end
$triggers$;

-- Back to the caller, unprotected, so that the guard sees what is there.
do $owner$
declare
    v_policy  record;
begin
    perform security.hand_over(s, current_user)
    from unnest(array['audit', 'audit_partitions']) as s;
    for v_policy in
        select polname, polrelid::regclass as relation
        from pg_policy
        where polrelid = 'audit.security_audit_log'::regclass
           or to_regrole('app_auditor') = any (polroles)
    loop
        execute format('drop policy %I on %s', v_policy.polname, v_policy.relation);
    end loop;
end
$owner$;

drop function audit.record_schema_change() cascade;  -- its event triggers may be a superuser's
drop function audit.has_month(timestamptz);
alter table audit.security_audit_log disable row level security, no force row level security;

do $guard$
declare
    v_export  text := 'security_audit_log_'
                      || to_char(now() at time zone 'UTC', 'YYYYMMDDHH24MISS');
begin
    perform core.refuse_loss(
        'audit.security_audit_log holds rows that this rollback would throw away, or leave as a '
        'table in public that nothing seals',
        (select json_object_agg(what, row_count) from audit.preview_rollback()));
    -- what was accepted is on record in security.acceptance, too
    if not exists (select from audit.security_audit_log
                   where kind is distinct from 'inventory_accepted') then
        return;
    end if;
    execute format('create table public.%I as select * from audit.events order by entry_id, place',
                   v_export);
    execute format('comment on table public.%I is %L', v_export,
                   'What audit.events showed when 003_audit was rolled back. Nothing seals it.');
    raise notice 'the audit log is kept as table public.%', v_export;
end
$guard$;

do $captures$
declare
    v_function  text;
begin
    for v_function in
        select audit.capture_name(c.relation, o)
        from audit.capture as c
        cross join unnest(array['INSERT', 'UPDATE', 'DELETE']) as o
    loop
        execute format('drop function %s()', v_function);
    end loop;
end
$captures$;

-- Who may call what -----------------------------------------------------------

revoke all on core.girls_profiles, core.conversations, core.leaf_hook, core.bot_table,
    security.accepted_fact, security.inventoried_table, security.installation
from app_auditor;
revoke all on all functions in schema core, security from app_auditor;
revoke all on schema core, security from app_auditor;

-- How an entry ends -----------------------------------------------------------

drop function audit.erase(bigint, bigint, text);
drop function audit.preview_erase(bigint, bigint);
drop function audit.redact_entries(bigint, bigint);
drop function audit.contents_of(bigint[]);
drop function audit.renew_salts(bigint[]);
drop function audit.person_entries(bigint, bigint);
drop function audit.match_values(bigint, text[], text[]);
drop function audit.match_rows(audit.security_audit_log, text[], text[]);
drop function audit.redact_values(json, boolean, boolean[]);
drop function audit.person_ids(bigint, bigint);
drop function audit.drop_expired();
drop function audit.preview_drop_expired();
drop function audit.expired_months();
drop function audit.months();
drop function audit.preview_rollback();
drop function audit.set_retention(integer);
drop function audit.claim_seals(text);
drop function audit.claim_month(regclass);
-- What proves it --------------------------------------------------------------

drop function audit.verify_seals(bigint, text);
drop function audit.check_acceptance();
drop function audit.check_machinery();
drop function audit.check_times();
drop function audit.preview_seal();
drop function audit.unsealed_since();
drop function audit.check_unsealed();
drop function audit.sealed_before(timestamptz);
drop function audit.check_sealed();
drop function audit.check_chain();
drop function audit.sealed_entries(audit.seal);
drop function audit.entries_in(int8multirange);
drop function audit.ended_entries();
drop function audit.ended_months();
drop function audit.retention_at(bigint);
drop function audit.is_blanked(json, boolean, integer);
drop function audit.erasures();
drop function audit.check_events();
drop function audit.unread_text(json, text);
drop function audit.is_readable(text, json);
drop function audit.seal(integer);
drop function audit.next_seal(audit.seal, integer, timestamptz);
drop function audit.collect_entries(audit.seal, integer);
drop function audit.seal_root(audit.seal, bytea);
drop function audit.machinery();
drop function audit.watched();
drop function audit.cluster();
drop view audit.sealable;
drop table audit.seal;
-- How it is read --------------------------------------------------------------

drop function audit.by_correlation(uuid);
drop function audit.row_history(regclass, jsonb);
drop view audit.events;
drop function audit.block_rows(json, json, json);
-- What writes it --------------------------------------------------------------

drop function audit.mark_column(regclass, name, text);
drop function audit.disable(regclass);
drop function audit.refresh(regclass);
drop function audit.enable(regclass, text);
drop function audit.record_truncate();
drop function audit.forget(regclass);
drop function audit.capture_condition(regclass, text);
drop function audit.attach(regclass);
drop function audit.note_capture(jsonb);
drop function audit.compile(regclass, text);
drop function audit.require_owned(regclass, text);
drop function audit.require_auditable(regclass);
drop function audit.stale_captures(regclass);
drop function audit.capture_name(regclass, text);
drop function audit.capture_source(regclass, text, text);
drop function audit.update_source(regclass, text);
drop function audit.update_of_one_row();
drop function audit.update_changes(regclass, text);
drop function audit.update_sides(regclass, text);
drop function audit.update_parts(regclass, text);
drop function audit.update_columns(regclass, text);
drop function audit.row_source(regclass, text, text);
drop function audit.row_parts(regclass, boolean);
drop function audit.block_sql(text);
drop function audit.weight_sql(regclass, text);
drop function audit.fill_source(regclass, text, text, jsonb);
drop function audit.key_sql(regclass, text);
drop function audit.row_digest_sql(regclass, text);
drop function audit.captured_columns(regclass, text);
drop function audit.digest_sql(text);
drop function audit.salt_octets();
drop table audit.marked_column;
drop table audit.capture;
-- What is on record -----------------------------------------------------------

drop function audit.guard_leaf(regclass);
drop function audit.refuse_leaf_write();
drop function audit.refuse_change();
drop function audit.hear_event(text, text, jsonb, bigint);
drop function audit.log_event(text, text, jsonb, bigint);
drop function audit.record_event(text, text, jsonb, bigint);
drop function audit.ensure_month(timestamptz);
drop table audit.salt;
drop table audit.setting;
delete from core.bot_table where relation = 'audit.security_audit_log'::regclass;
drop table audit.security_audit_log;
drop function audit.to_correlation_id(text);

-- What everything else names --------------------------------------------------

delete from core.error_code where code between 'MB201' and 'MB212';

drop schema audit;
drop schema audit_partitions;

select security.let_go('app_auditor');

select security.accept_inventory('003_audit, undone');
