-- The triggers that call the functions above.

do $triggers$
declare
    v_table  regclass;
begin
    for v_table in select core.hash_tables() loop
        execute format(
            'create trigger touch_updated_at before update on %s for each row '
            'when (old.* is distinct from new.*) execute function core.touch_updated_at()',
            v_table);
    end loop;
end
$triggers$;

create trigger claim_bot_name
    after insert or delete or update of bot_id, name on core.bots
    for each row execute function core_upkeep.claim_bot_name();

create trigger count_new_messages
    after insert on core.messages
    referencing new table as new_rows
    for each statement execute function core_upkeep.count_new_messages();

create trigger count_deleted_messages
    after delete on core.messages
    referencing old table as old_rows
    for each statement execute function core_upkeep.count_deleted_messages();

create trigger note_moving
    before update of bot_id, conversation_id, message_id, sent_at, direction on core.messages
    for each statement execute function core_upkeep.note_moving();

create trigger count_moved_messages
    after update on core.messages
    referencing old table as old_rows new table as new_rows
    for each statement execute function core_upkeep.count_moved_messages();

create trigger check_message_state
    before update of edited_at, deleted_at, delivery on core.messages
    for each row execute function core_upkeep.check_message_state();

create trigger begin_counting
    after insert on core.conversations
    referencing new table as new_rows
    for each statement execute function core_upkeep.begin_counting();

create trigger end_counting
    after delete on core.conversations
    referencing old table as old_rows
    for each statement execute function core_upkeep.end_counting();

create trigger note_new_start
    after insert on core.conversations
    for each row when (
        new.started_at >= timestamptz '2100-01-01 00:00:00+00'  -- for health to find
        or new.started_at < date_trunc('day', now(), 'UTC'))
    execute function core_upkeep.note_started();

create trigger note_moved_start
    after update of started_at on core.conversations
    for each row when (old.started_at <> new.started_at)
    execute function core_upkeep.note_started();

create trigger note_lost_start
    after delete on core.conversations
    for each row execute function core_upkeep.note_started();
