-- What an UPDATE may say of a message's state.

create function core_upkeep.check_message_state()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform core.check_time(new.edited_at, 'core.messages.edited_at'),
            core.check_time(new.deleted_at, 'core.messages.deleted_at');
    if new.delivery not in ('queued', 'sent', 'delivered', 'read', 'failed') then
        perform core.refuse_value(
            'core.messages.delivery', 'queued, sent, delivered, read or failed',
            quote_literal(new.delivery));
    end if;
    return new;
end
$func$;

comment on function core_upkeep.check_message_state() is
    'Trigger on core.messages: bounds the columns that only an UPDATE writes. A domain would be
asked by every INSERT. MB012: an odd time, or another word.';
