-- Recording a message, with its contact and its conversation.

create function core.check_message(
    p_chat_id    bigint,
    p_direction  text,
    p_body       text,
    p_at         timestamptz,
    p_time       text         default 'sent_at',
    p_function   text         default 'core.record_message'
)
returns void
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_fault  text := case
        when p_chat_id is null then 'chat_id is null'
        when p_body is null then 'body is null'
        when p_direction is null or p_direction not in ('in', 'out')
            then format('direction is %s, not in or out', quote_nullable(left(p_direction, 100)))
        when p_at < core.first_time() or p_at >= core.end_time()
            then format('%s is %s, not between %s', p_time, p_at, core.storable_years())
    end;
begin
    if v_fault is not null then
        raise exception using
            errcode = 'MB004',
            message = v_fault,
            detail  = format('Chat %s.', coalesce(p_chat_id::text, 'null')),
            hint    = format('Correct this argument of %s.', p_function);
    end if;
end
$func$;

comment on function core.check_message(bigint, text, text, timestamptz, text, text) is
    'Raises MB004 with the value if no message can have it, so that a bot gets our error and not a
constraint''s name. p_time, p_function: the arguments'' names, of p_at and of what was called.';

create function core.make_conversation(
    p_bot_id             bigint,
    p_chat_id            bigint,
    p_thread_id          bigint,
    p_name               text,
    p_started_at         timestamptz,
    out conversation_id  bigint,
    out profile_id       bigint
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
#variable_conflict use_column
begin
    insert into core.conversations as c (bot_id, profile_id, chat_id, thread_id, started_at)
    values (p_bot_id, core.ensure_contact(p_bot_id, p_chat_id, p_name, p_started_at), p_chat_id,
            p_thread_id, least(p_started_at, now()))
    on conflict (bot_id, chat_id, thread_id) do nothing
    returning c.conversation_id, c.profile_id into conversation_id, profile_id;
    if not found then
        select c.conversation_id, c.profile_id into conversation_id, profile_id
        from core.conversations as c
        where c.bot_id = p_bot_id and c.chat_id = p_chat_id and c.thread_id = p_thread_id;
    end if;
end
$func$;

comment on function core.make_conversation(bigint, bigint, bigint, text, timestamptz) is
    'Makes the conversation of a chat, or of a thread of it, and its contact; takes those that
another process has made in the same instant. It began at p_started_at, or now if that is later.
(conversation_id, profile_id). MB003: unknown bot.';

create function core.ensure_conversation(
    p_bot_id      bigint,
    p_chat_id     bigint,
    p_name        text,
    p_started_at  timestamptz  default now(),
    p_thread_id   bigint       default 0
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_conversation_id  bigint;
begin
    select conversation_id into v_conversation_id
    from core.conversations
    where bot_id = p_bot_id and chat_id = p_chat_id and thread_id = p_thread_id;
    if not found then
        select m.conversation_id into v_conversation_id
        from core.make_conversation(
            p_bot_id, p_chat_id, p_thread_id, p_name, p_started_at) as m;
    end if;
    return v_conversation_id;
end
$func$;

comment on function core.ensure_conversation(bigint, bigint, text, timestamptz, bigint) is
    'conversation_id of a chat (p_thread_id: of a thread of it), made with its contact if there is
none: see core.make_conversation. MB003: unknown bot.';

create function core.recorded_message(
    p_bot_id           bigint,
    p_conversation_id  bigint,
    p_external_id      text
)
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
begin
    if length(p_external_id) > 255 then
        raise exception using
            errcode = 'MB004',
            message = format('external_id has %s characters, not up to 255', length(p_external_id)),
            hint    = 'Pass the messenger''s own id of the message.';
    end if;
    return (
        select message_id
        from core.messages
        where bot_id = p_bot_id and conversation_id = p_conversation_id
          and external_id = p_external_id);
end
$func$;

comment on function core.recorded_message(bigint, bigint, text) is
    'message_id of what was recorded with this external id; null: nothing was. MB004: too long.';

create function core.record_message(
    p_chat_id      bigint,
    p_direction    text,
    p_body         text,
    p_sent_at      timestamptz  default now(),
    p_name         text         default null,
    p_bot_id       bigint       default core.current_bot_id(),
    p_external_id  text         default null,
    p_sender_id    bigint       default null,
    p_reply_to     text         default null,
    p_kind         text         default null,
    p_metadata     jsonb        default null,
    p_username     text         default null,
    p_language     text         default null,
    p_thread_id    bigint       default 0
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_sent_at          timestamptz := coalesce(p_sent_at, now());
    v_kind             text;
    v_metadata         jsonb       := p_metadata;
    v_conversation_id  bigint;
    v_profile_id       bigint;
    v_sender_id        bigint;
    v_message_id       bigint;
begin
    if p_chat_id is null or p_body is null or p_direction is null
       or p_direction not in ('in', 'out')
       or v_sent_at < core.first_time() or v_sent_at >= core.end_time() then
        perform core.check_message(p_chat_id, p_direction, p_body, v_sent_at);
    end if;
    select conversation_id, profile_id into v_conversation_id, v_profile_id
    from core.conversations
    where bot_id = p_bot_id and chat_id = p_chat_id and thread_id = coalesce(p_thread_id, 0);
    if not found then
        select * into v_conversation_id, v_profile_id
        from core.make_conversation(
            p_bot_id, p_chat_id, coalesce(p_thread_id, 0),
            case when p_sender_id is null then p_name end, v_sent_at);
    end if;

    if p_external_id is not null then
        v_message_id := core.recorded_message(p_bot_id, v_conversation_id, p_external_id);
        if v_message_id is not null then
            return v_message_id;
        end if;
    end if;
    if coalesce(p_sender_id::text, p_name, p_username, p_language) is not null then
        v_sender_id := core.note_sender(
            p_bot_id, v_profile_id, p_sender_id, p_name, p_username, p_language, v_sent_at);
    end if;
    if p_kind is not null then
        select * into v_kind, v_metadata from core.kind_of(p_kind, p_metadata);
    end if;

    if p_external_id is null then  -- ON CONFLICT costs a sixth of it all
        insert into core.messages (
            bot_id, conversation_id, direction, body, sent_at, sender_id, reply_to, kind, metadata)
        values (p_bot_id, v_conversation_id, p_direction, p_body, v_sent_at, v_sender_id,
                p_reply_to, v_kind, v_metadata)
        returning message_id into v_message_id;
    else
        insert into core.messages (
            bot_id, conversation_id, direction, body, sent_at, external_id, sender_id, reply_to,
            kind, metadata)
        values (p_bot_id, v_conversation_id, p_direction, p_body, v_sent_at, p_external_id,
                v_sender_id, p_reply_to, v_kind, v_metadata)
        on conflict (bot_id, conversation_id, external_id) where external_id is not null
        do nothing
        returning message_id into v_message_id;
    end if;
    if v_message_id is null then  -- another process was faster
        v_message_id := core.recorded_message(p_bot_id, v_conversation_id, p_external_id);
    end if;
    return v_message_id;
end
$func$;

comment on function core.record_message(
    bigint, text, text, timestamptz, text, bigint, text, bigint, text, text, jsonb, text, text,
    bigint) is
    'Records one message and returns its message_id; makes the contact and the conversation if the
chat is new. Fifty concurrent first messages make one contact. With p_external_id, the messenger''s
id of the message, a second delivery writes nothing and returns the same message_id. p_sender_id:
who said it in a group, by the messenger''s number. p_name, p_username and p_language are the
sender''s, or without one the chat''s own contact''s, and are written down when they changed.
p_reply_to: the external id of what it answers. p_kind: a row of core.message_kind; any other word
becomes other, and stays in metadata.kind. p_thread_id: a topic of the group. A bot leaves p_bot_id
out. MB003: unknown bot; MB004: a value no message can have.';

create function core.set_chat(
    p_chat_id    bigint,
    p_type       text    default null,
    p_title      text    default null,
    p_thread_id  bigint  default 0,
    p_bot_id     bigint  default core.current_bot_id()
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_conversation_id  bigint;
    v_chat             core.conversations;
begin
    if p_chat_id is null or p_type not in ('private', 'group', 'supergroup', 'channel') then
        raise exception using
            errcode = 'MB013',
            message = case when p_chat_id is null then 'chat_id is null'
                           else format('type is %L, not private, group, supergroup or channel',
                                       left(p_type, 100)) end,
            hint    = 'Correct this argument of core.set_chat.';
    end if;
    v_conversation_id := core.ensure_conversation(
        p_bot_id, p_chat_id, null, now(), coalesce(p_thread_id, 0));
    select * into v_chat
    from core.conversations
    where bot_id = p_bot_id and conversation_id = v_conversation_id;
    if (coalesce(p_type, v_chat.type), coalesce(p_title, v_chat.title))
       is distinct from (v_chat.type, v_chat.title) then
        update core.conversations
        set type = coalesce(p_type, type), title = coalesce(p_title, title)
        where bot_id = p_bot_id and conversation_id = v_conversation_id;
    end if;
    return v_conversation_id;
end
$func$;

comment on function core.set_chat(bigint, text, text, bigint, bigint) is
    'conversation_id of a chat, made if it is new; its type (private, group, supergroup, channel)
and title are written down if they became different, null leaves what is there. MB003: unknown bot;
MB013: an impossible argument.';
