-- What a bot reads of a chat.

create function core.read_messages(
    p_chat_id    bigint,
    p_before     bigint   default null,
    p_limit      integer  default 50,
    p_bot_id     bigint   default core.current_bot_id(),
    p_thread_id  bigint   default 0
)
returns setof core.messages
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_conversation_id  bigint;
begin
    select conversation_id into v_conversation_id
    from core.conversations
    where bot_id = p_bot_id and chat_id = p_chat_id and thread_id = p_thread_id;
    return query
        select *
        from core.messages
        where bot_id = p_bot_id and conversation_id = v_conversation_id
          and message_id < coalesce(p_before, 9223372036854775807)
        order by message_id desc
        limit p_limit;
end
$func$;

comment on function core.read_messages(bigint, bigint, integer, bigint, bigint) is
    'The latest p_limit messages of a chat, newest first; with p_before those recorded before that
message_id, so that the least message_id of a page asks for the next. None of a chat that is not
there.';
