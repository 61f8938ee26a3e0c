-- Contacts: found, made, kept up to date.

create function core.require_bot(p_bot_id bigint)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
begin
    if not exists (select from core.bots where bot_id = p_bot_id) then
        raise exception using
            errcode = 'MB003',
            message = format('there is no bot %s', coalesce(p_bot_id::text, '(null)')),
            detail  = format('Login %s, role %s.', session_user, current_user),
            hint    = 'Log in as a bot, or pass p_bot_id; bots are listed in core.bots.';
    end if;
end
$func$;

comment on function core.require_bot(bigint) is 'MB003 unless there is such a bot.';

create function core.make_contact(
    p_bot_id       bigint,
    p_telegram_id  bigint,
    p_name         text,
    p_username     text,
    p_language     text,
    p_is_bot       boolean,
    p_standing     text,
    p_seen_at      timestamptz
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_profile_id  bigint;
begin
    perform core.require_bot(p_bot_id);
    -- in a private chat Telegram's chat_id is the person's own id
    insert into core.girls_profiles (
        bot_id, telegram_id, chat_id, name, username, language, is_bot, standing, first_seen_at)
    values (
        p_bot_id, p_telegram_id, p_telegram_id, p_name, p_username, p_language, p_is_bot,
        coalesce(p_standing, 'reachable'), p_seen_at)
    on conflict (bot_id, telegram_id) do nothing
    returning profile_id into v_profile_id;
    if not found then
        select profile_id into v_profile_id
        from core.girls_profiles
        where bot_id = p_bot_id and telegram_id = p_telegram_id;
    end if;
    return v_profile_id;
end
$func$;

comment on function core.make_contact(
    bigint, bigint, text, text, text, boolean, text, timestamptz) is
    'profile_id of a new contact, or, as it is, of the one that another process has made in the same
instant. MB003: unknown bot.';

create function core.ensure_contact(
    p_bot_id   bigint,
    p_chat_id  bigint,
    p_name     text,
    p_seen_at  timestamptz  default null
)
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
    if not found then
        v_profile_id := core.make_contact(
            p_bot_id, p_chat_id, p_name, null, null, null, null, p_seen_at);
    end if;
    return v_profile_id;
end
$func$;

comment on function core.ensure_contact(bigint, bigint, text, timestamptz) is
    'profile_id of the contact of a chat, made if there is none (name and p_seen_at are for a new
one only). Safe against a concurrent first message. MB003: unknown bot.';

create function core.renew_contact(
    p_bot_id      bigint,
    p_profile_id  bigint,
    p_name        text,
    p_username    text,
    p_language    text,
    p_is_bot      boolean default null,
    p_standing    text    default null
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_contact  record;
begin
    -- asked first: an UPDATE of no row costs as much as one of a row that is on record
    select name, username, language, is_bot, standing into v_contact
    from core.girls_profiles
    where bot_id = p_bot_id and profile_id = p_profile_id;
    if (coalesce(p_name, v_contact.name), coalesce(p_username, v_contact.username),
        coalesce(p_language, v_contact.language), coalesce(p_is_bot, v_contact.is_bot),
        coalesce(p_standing, v_contact.standing))
       is distinct from (v_contact.name, v_contact.username, v_contact.language,
                         v_contact.is_bot, v_contact.standing) then
        update core.girls_profiles
        set name     = coalesce(p_name, name),
            username = coalesce(p_username, username),
            language = coalesce(p_language, language),
            is_bot   = coalesce(p_is_bot, is_bot),
            standing = coalesce(p_standing, standing)
        where bot_id = p_bot_id and profile_id = p_profile_id;
    end if;
end
$func$;

comment on function core.renew_contact(bigint, bigint, text, text, text, boolean, text) is
    'Writes down what became different of a contact; null: not told, hence the same. Writes nothing
if nothing did.';

create function core.set_contact(
    p_telegram_id  bigint,
    p_name         text         default null,
    p_username     text         default null,
    p_language     text         default null,
    p_is_bot       boolean      default null,
    p_standing     text         default null,
    p_seen_at      timestamptz  default now(),
    p_bot_id       bigint       default core.current_bot_id()
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_profile_id  bigint;
begin
    if p_telegram_id is null
       or p_standing not in ('reachable', 'blocked', 'left') then
        raise exception using
            errcode = 'MB013',
            message = case when p_telegram_id is null then 'telegram_id is null'
                           else format('standing is %L, not reachable, blocked or left',
                                       left(p_standing, 100)) end,
            hint    = 'Correct this argument of core.set_contact.';
    end if;
    select profile_id into v_profile_id
    from core.girls_profiles
    where bot_id = p_bot_id and telegram_id = p_telegram_id;
    if not found then
        v_profile_id := core.make_contact(p_bot_id, p_telegram_id, p_name, p_username, p_language,
                                          p_is_bot, p_standing, p_seen_at);
    end if;
    -- one that another process has made in this instant, too
    perform core.renew_contact(
        p_bot_id, v_profile_id, p_name, p_username, p_language, p_is_bot, p_standing);
    return v_profile_id;
end
$func$;

comment on function core.set_contact(
    bigint, text, text, text, boolean, text, timestamptz, bigint) is
    'profile_id of a person, by the messenger''s number; made if there is none, seen first at
p_seen_at. What is told and became different is written down, null leaves what is there; p_standing:
reachable, blocked, left. MB003: unknown bot; MB013: an impossible argument.';

create function core.note_sender(
    p_bot_id      bigint,
    p_profile_id  bigint,
    p_sender_id   bigint,
    p_name        text,
    p_username    text,
    p_language    text,
    p_seen_at     timestamptz
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    if p_sender_id is null then
        perform core.renew_contact(p_bot_id, p_profile_id, p_name, p_username, p_language);
        return null;
    end if;
    return nullif(core.set_contact(p_sender_id, p_name, p_username, p_language, null, null,
                                   p_seen_at, p_bot_id), p_profile_id);
end
$func$;

comment on function core.note_sender(bigint, bigint, bigint, text, text, text, timestamptz) is
    'What core.messages.sender_id has for a sender, by the messenger''s number, in the conversation
of a contact (p_profile_id): null if it is that contact. Makes and renews the sender''s contact, or
without a sender renews the conversation''s.';
