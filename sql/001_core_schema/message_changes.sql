-- What becomes of a message later: edited, deleted, delivered.

create function core.find_message(
    p_bot_id       bigint,
    p_chat_id      bigint,
    p_thread_id    bigint,
    p_external_id  text
)
returns core.messages
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_message  core.messages;
begin
    select m.* into v_message
    from core.conversations as c
    join core.messages as m using (bot_id, conversation_id)
    where c.bot_id = p_bot_id and c.chat_id = p_chat_id and c.thread_id = coalesce(p_thread_id, 0)
      and m.external_id = p_external_id
    for no key update of m;
    if not found then
        raise exception using
            errcode = 'MB014',
            message = format('chat %s has no message %s', coalesce(p_chat_id::text, 'null'),
                             quote_nullable(left(p_external_id, 255))),
            detail  = format('Bot %s, thread %s.', coalesce(p_bot_id::text, 'null'),
                             coalesce(p_thread_id, 0)),
            hint    = 'Record it first, with its p_external_id: core.record_message.';
    end if;
    return v_message;
end
$func$;

comment on function core.find_message(bigint, bigint, bigint, text) is
    'A message by the messenger''s id, locked against other changes. MB014: there is none.';

create function core.record_edit(
    p_chat_id      bigint,
    p_external_id  text,
    p_body         text,
    p_edited_at    timestamptz  default now(),
    p_metadata     jsonb        default null,
    p_bot_id       bigint       default core.current_bot_id(),
    p_thread_id    bigint       default 0
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_edited_at  timestamptz   := coalesce(p_edited_at, now());
    v_message    core.messages := core.find_message(
        p_bot_id, p_chat_id, p_thread_id, p_external_id);
begin
    perform core.check_message(p_chat_id, v_message.direction, p_body, v_edited_at, 'edited_at',
                               'core.record_edit');
    -- what is deleted stays so, and news that overtook this one stands
    if v_message.deleted_at is null and v_edited_at >= coalesce(v_message.edited_at, '-infinity')
       and (v_message.body <> p_body
            or p_metadata is not null and v_message.metadata is distinct from p_metadata) then
        update core.messages
        set body = p_body, edited_at = v_edited_at, metadata = coalesce(p_metadata, metadata)
        where bot_id = p_bot_id and conversation_id = v_message.conversation_id
          and message_id = v_message.message_id;
    end if;
    return v_message.message_id;
end
$func$;

comment on function core.record_edit(
    bigint, text, text, timestamptz, jsonb, bigint, bigint) is
    'Gives a message another text, as its sender did; returns its message_id. The earlier one stays
in the audit log. Writes nothing if the message has this text, was edited later, or was deleted.
MB014: there is no such message; MB004: a value no message can have.';

create function core.record_deletion(
    p_chat_id      bigint,
    p_external_id  text,
    p_deleted_at   timestamptz  default now(),
    p_bot_id       bigint       default core.current_bot_id(),
    p_thread_id    bigint       default 0
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_deleted_at  timestamptz   := coalesce(p_deleted_at, now());
    v_message     core.messages := core.find_message(
        p_bot_id, p_chat_id, p_thread_id, p_external_id);
begin
    perform core.check_message(p_chat_id, v_message.direction, '', v_deleted_at, 'deleted_at',
                               'core.record_deletion');
    if v_message.deleted_at is null then
        update core.messages
        set body = '', metadata = null, deleted_at = v_deleted_at
        where bot_id = p_bot_id and conversation_id = v_message.conversation_id
          and message_id = v_message.message_id;
    end if;
    return v_message.message_id;
end
$func$;

comment on function core.record_deletion(bigint, text, timestamptz, bigint, bigint) is
    'Marks a message as deleted by its sender and takes its text and metadata away; returns its
message_id. The row stays, and counts. Writes nothing the second time. MB014: there is no such
message; MB004: an impossible time.';

create function core.record_delivery(
    p_chat_id      bigint,
    p_external_id  text,
    p_delivery     text,
    p_bot_id       bigint  default core.current_bot_id(),
    p_thread_id    bigint  default 0
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_message  core.messages := core.find_message(
        p_bot_id, p_chat_id, p_thread_id, p_external_id);
begin
    if p_delivery is null or v_message.direction <> 'out'
       or p_delivery not in ('queued', 'sent', 'delivered', 'read', 'failed') then
        raise exception using
            errcode = 'MB004',
            message = case when v_message.direction <> 'out' then 'the message came in'
                           else format('delivery is %s, not queued, sent, delivered, read or '
                                       'failed', quote_nullable(left(p_delivery, 100))) end,
            detail  = format('Chat %s, message %s.', p_chat_id, p_external_id),
            hint    = 'Correct this argument of core.record_delivery.';
    end if;
    if v_message.delivery is distinct from p_delivery then
        update core.messages
        set delivery = p_delivery
        where bot_id = p_bot_id and conversation_id = v_message.conversation_id
          and message_id = v_message.message_id;
    end if;
    return v_message.message_id;
end
$func$;

comment on function core.record_delivery(bigint, text, text, bigint, bigint) is
    'Notes how far an outgoing message came: queued, sent, delivered, read, failed; returns its
message_id. Writes nothing if that is known. MB014: there is no such message; MB004: a message that
came in, or another word.';
