-- Recording a message, with its contact and its conversation.

create function core.ensure_contact(p_bot_id bigint, p_chat_id bigint, p_name text)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_profile_id  bigint;
begin
    select profile_id into v_profile_id
    from core.girls_profiles
    where bot_id = p_bot_id and chat_id = p_chat_id
    order by profile_id
    limit 1;
    if found then
        return v_profile_id;
    end if;

    if not exists (select from core.bots where bot_id = p_bot_id) then
        raise exception using
            errcode = 'MB003',
            message = format('there is no bot %s', coalesce(p_bot_id::text, '(null)')),
            detail  = format('Login %s, role %s.', session_user, current_user),
            hint    = 'Log in as a bot, or pass p_bot_id; bots are listed in core.bots.';
    end if;

    -- in a private chat Telegram's chat_id is the person's own id
    insert into core.girls_profiles (bot_id, telegram_id, chat_id, name)
    values (p_bot_id, p_chat_id, p_chat_id, p_name)
    on conflict (bot_id, telegram_id) do nothing
    returning profile_id into v_profile_id;
    if not found then
        select profile_id into v_profile_id
        from core.girls_profiles
        where bot_id = p_bot_id and telegram_id = p_chat_id;
    end if;
    return v_profile_id;
end
$func$;

comment on function core.ensure_contact(bigint, bigint, text) is
    'profile_id of the contact of a chat, made if there is none (the name is for a new one only).
Safe against a concurrent first message. MB003: unknown bot.';

create function core.ensure_conversation(
    p_bot_id      bigint,
    p_chat_id     bigint,
    p_name        text,
    p_started_at  timestamptz default now()
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
    where bot_id = p_bot_id and chat_id = p_chat_id;
    if found then
        return v_conversation_id;
    end if;

    insert into core.conversations (bot_id, profile_id, chat_id, started_at)
    values (p_bot_id, core.ensure_contact(p_bot_id, p_chat_id, p_name), p_chat_id,
            least(p_started_at, now()))
    on conflict (bot_id, chat_id) do nothing
    returning conversation_id into v_conversation_id;
    if not found then
        select conversation_id into v_conversation_id
        from core.conversations
        where bot_id = p_bot_id and chat_id = p_chat_id;
    end if;
    return v_conversation_id;
end
$func$;

comment on function core.ensure_conversation(bigint, bigint, text, timestamptz) is
    'conversation_id of a chat, made with its contact if there is none; a new one began at
p_started_at, or now if that is later. MB003: unknown bot.';

create function core.record_message(
    p_chat_id    bigint,
    p_direction  text,
    p_body       text,
    p_sent_at    timestamptz default now(),
    p_name       text        default null,
    p_bot_id     bigint      default core.current_bot_id()
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_sent_at     timestamptz := coalesce(p_sent_at, now());
    v_message_id  bigint;
begin
    perform core.check_message(p_chat_id, p_direction, p_body, v_sent_at);
    insert into core.messages (bot_id, conversation_id, direction, body, sent_at)
    values (
        p_bot_id, core.ensure_conversation(p_bot_id, p_chat_id, p_name, v_sent_at),
        p_direction, p_body, v_sent_at)
    returning message_id into v_message_id;
    return v_message_id;
end
$func$;

comment on function core.record_message(bigint, text, text, timestamptz, text, bigint) is
    'Records one message and returns its message_id; makes the contact (named p_name) and the
conversation if the chat is new. Fifty concurrent first messages make one contact. A bot leaves
p_bot_id out. MB003: unknown bot; MB004: a value no message can have.';

create function core.check_message(
    p_chat_id    bigint,
    p_direction  text,
    p_body       text,
    p_sent_at    timestamptz
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
            then format('direction is %s, not in or out', quote_nullable(p_direction))
        when p_sent_at < core.first_time() or p_sent_at >= core.end_time()
            then format('sent_at is %s, not between %s', p_sent_at, core.storable_years())
    end;
begin
    if v_fault is not null then
        raise exception using
            errcode = 'MB004',
            message = v_fault,
            detail  = format('Chat %s.', coalesce(p_chat_id::text, 'null')),
            hint    = 'Correct this argument of core.record_message.';
    end if;
end
$func$;

comment on function core.check_message(bigint, text, text, timestamptz) is
    'Raises MB004 with the value if no message can have it, so that a bot gets our error and not a
constraint''s name.';
