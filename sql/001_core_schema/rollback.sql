-- 001_core_schema: undo.
-- depends: every later migration is rolled back
-- locks:   ACCESS EXCLUSIVE on everything in core
-- undo:    apply.sql; the rows are gone

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';

do $guard$
declare
    v_table  regclass;
begin
    for v_table in select core.hash_tables() loop
        -- or a row that is committed between the look and the drop would go unseen
        execute format('lock table %s in access exclusive mode', v_table);
    end loop;
    perform core.refuse_loss(
        'table %s holds rows that this rollback would throw away',
        (select json_object_agg(what, row_count) from core_upkeep.preview_rollback()));
end
$guard$;

-- Who may call what -----------------------------------------------------------

-- Rights go with what they are on.

-- What a bot reads and calls --------------------------------------------------

drop function core.read_messages(bigint, bigint, integer, bigint, bigint);
drop function core.record_delivery(bigint, text, text, bigint, bigint);
drop function core.record_deletion(bigint, text, timestamptz, bigint, bigint);
drop function core.record_edit(bigint, text, text, timestamptz, jsonb, bigint, bigint);
drop function core.find_message(bigint, bigint, bigint, text);
drop function core.set_chat(bigint, text, text, bigint, bigint);
drop function core.record_message(
    bigint, text, text, timestamptz, text, bigint, text, bigint, text, text, jsonb, text, text,
    bigint);
drop function core.recorded_message(bigint, bigint, text);
drop function core.ensure_conversation(bigint, bigint, text, timestamptz, bigint);
drop function core.make_conversation(bigint, bigint, bigint, text, timestamptz);
drop function core.check_message(bigint, text, text, timestamptz, text, text);
drop function core.note_sender(bigint, bigint, bigint, text, text, text, timestamptz);
drop function core.set_contact(bigint, text, text, text, boolean, text, timestamptz, bigint);
drop function core.renew_contact(bigint, bigint, text, text, text, boolean, text);
drop function core.ensure_contact(bigint, bigint, text, timestamptz);
drop function core.make_contact(bigint, bigint, text, text, text, boolean, text, timestamptz);
drop function core.require_bot(bigint);
drop view core.chats;

-- What a rollback throws away -------------------------------------------------

drop function core_upkeep.preview_rollback();
drop function core.refuse_loss(text, json);

-- What the triggers keep true -------------------------------------------------

do $triggers$
declare
    v_trigger  record;
begin
    for v_trigger in
        select t.tgname, t.tgrelid::regclass as relation
        from pg_trigger as t
        join pg_proc as p on p.oid = t.tgfoid
        where p.pronamespace in ('core'::regnamespace, 'core_upkeep'::regnamespace)
          and not t.tgisinternal and t.tgparentid = 0
    loop
        execute format('drop trigger %I on %s', v_trigger.tgname, v_trigger.relation);
    end loop;
end
$triggers$;

drop function core_upkeep.note_started();
drop function core_upkeep.check_message_state();
drop function core_upkeep.fold_if_many(bigint);
drop function core_upkeep.recount(bigint);
drop function core_upkeep.fold_counts(bigint, integer);
drop function core_upkeep.count_moved_messages();
drop function core_upkeep.note_moving();
drop function core_upkeep.count_deleted_messages();
drop function core_upkeep.count_new_messages();
drop function core_upkeep.end_counting();
drop function core_upkeep.begin_counting();
drop function core_upkeep.misnamed_bots();
drop function core_upkeep.claim_bot_name();
drop function core.touch_updated_at();

-- How the tables are partitioned ----------------------------------------------

drop function core.analyze_tables();
drop function core.ensure_partition(regclass, timestamptz);
drop function core.require_months(regclass);
drop function core.ensure_leaves(bigint);
drop function core.missing_leaves(integer);
drop function core.make_leaf(regclass, integer);
drop function core.ensure_keys(regclass, integer);
drop function core.run_leaf_hooks(regclass);
drop table core.leaf_hook;
drop function core.leaves(regclass);
drop function core.leaf_name(regclass, text);
drop function core.foreign_keys();
-- What a bot keeps ------------------------------------------------------------

drop table core.stale_days;
drop table core.uncounted;
drop table core.conversation_totals;
drop table core.bot_metrics;
drop table core.messages;
drop function core.kind_of(text, jsonb);
drop table core.message_kind;
drop table core.conversations;
drop table core.girls_profiles;
drop table core.bot_names;
drop table core.bots;
drop function core.days_of(timestamptz[]);
drop function core.hash_tables();
drop function core.bot_tables();
drop table core.bot_table;

-- What everything else names --------------------------------------------------

drop view core.bounds;

do $domains$
declare
    v_domain  regtype;
begin
    for v_domain in
        select oid from pg_type where typnamespace = 'core'::regnamespace and typtype = 'd'
    loop
        execute format('drop domain %s', v_domain);
    end loop;
end
$domains$;

drop function core.check_json(jsonb, text, integer);
drop function core.json_excess(jsonb, integer);
drop function core.check_time(timestamptz, text);
drop function core.check_text(text, text, integer);
drop function core.refuse_value(text, text, text);
drop function core.base_type(oid);
drop function core.storable_years();
drop function core.end_time();
drop function core.first_time();
drop function core.routine_name(text);
drop function core.current_bot_id();

drop table core.error_code;

drop schema core_upkeep;
drop schema core_partitions;
drop schema core;
