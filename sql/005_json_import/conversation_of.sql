-- One file: the conversation it belongs to.

create function json_import.lacks_profile(p_bot_id bigint, p_chat_id bigint, p_file_id bigint)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select not exists (
    select
    from core.girls_profiles as g
    left join json_import.profile_source as s using (bot_id, profile_id)
    where g.bot_id = p_bot_id and (g.chat_id = p_chat_id or g.telegram_id = p_chat_id)
      and (s.file_id = p_file_id and s.digest = json_import.profile_digest(g)) is not true)
$func$;

comment on function json_import.lacks_profile(bigint, bigint, bigint) is
    'Whether a chat has no contact, or none but the placeholder that this file had made.';

create function json_import.ensure_conversation(
    p_bot_id   bigint,
    p_chat_id  bigint,
    p_file_id  bigint
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_conversation_id  bigint;
begin
    if json_import.lacks_profile(p_bot_id, p_chat_id, null) then
        -- known as ours and empty, so that the profile may still come and fill it
        with made as (
            insert into core.girls_profiles as g (bot_id, profile_id, telegram_id, chat_id)
            overriding system value
            values (p_bot_id,
                    nextval(json_import.sequence_for('core.girls_profiles_profile_id_seq')),
                    p_chat_id, p_chat_id)
            on conflict (bot_id, telegram_id) do nothing
            returning g.bot_id, g.profile_id, json_import.profile_digest(g) as digest
        )
        insert into json_import.profile_source (bot_id, profile_id, file_id, digest)
        select bot_id, profile_id, p_file_id, digest
        from made;
    end if;
    insert into core.conversations (bot_id, conversation_id, profile_id, chat_id)
    overriding system value
    select p_bot_id, nextval(json_import.sequence_for('core.conversations_conversation_id_seq')),
           core.ensure_contact(p_bot_id, p_chat_id, null), p_chat_id
    where not exists (
        select from core.conversations
        where bot_id = p_bot_id and chat_id = p_chat_id and thread_id = 0)
    on conflict (bot_id, chat_id, thread_id) do nothing;
    -- one writer of history at a time per conversation
    select conversation_id into v_conversation_id
    from core.conversations
    where bot_id = p_bot_id and chat_id = p_chat_id and thread_id = 0
    for no key update;
    return v_conversation_id;
end
$func$;

comment on function json_import.ensure_conversation(bigint, bigint, bigint) is
    'conversation_id of a chat, locked; a chat without profile gets a placeholder.';

create function json_import.sequence_of(p_doc jsonb, p_records bigint)
returns numeric
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(sum(hashint8extended(
           json_import.message_digest(m.direction, m.body, m.sent_at, m.metadata), m.ordinal)), 0)
from json_import.messages_of(p_doc) as m
where m.ordinal <= p_records
having count(*) = p_records
$func$;

comment on function json_import.sequence_of(jsonb, bigint) is
    'json_import.file.sequence of the first messages of a document; null if it has fewer.';

create function json_import.same_head(p_file json_import.file, p_doc jsonb)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select p_file.row_count > 0 and p_file.row_count = p_file.records
   and json_import.sequence_of(p_doc, p_file.records) = p_file.sequence
$func$;

comment on function json_import.same_head(json_import.file, jsonb) is
    'Whether a changed file begins with exactly the messages that it brought before: an append.';
