-- The importer that everybody writes first: a loop, a block with an exception handler per message.

create function pg_temp.to_moment(p_ts jsonb)
returns timestamptz
language sql
stable
as $func$
select case jsonb_typeof(p_ts)
    when 'number' then
        to_timestamp(p_ts::float8 / case when p_ts::float8 < 100000000000 then 1 else 1000 end)
    else (p_ts #>> '{}')::timestamptz
end
$func$;

create function pg_temp.load_profile(p_bot_id bigint, p_chat_id bigint, p_bytes bytea)
returns void
language plpgsql
as $func$
declare
    v_doc  jsonb := convert_from(p_bytes, 'UTF8')::jsonb;
begin
    insert into core.girls_profiles (
        bot_id, telegram_id, chat_id, name, last_activity, message_count, summary, profile,
        previous_response_id)
    values (
        p_bot_id, coalesce((v_doc ->> 'telegram_id')::bigint, p_chat_id), p_chat_id,
        v_doc ->> 'name', pg_temp.to_moment(nullif(v_doc -> 'last_activity', 'null')),
        coalesce((v_doc ->> 'message_count')::integer, 0), coalesce(v_doc -> 'summary', '{}'),
        coalesce(v_doc -> 'profile', '{}'), v_doc ->> 'previous_response_id');
end
$func$;

create function pg_temp.load_conversation(p_bot_id bigint, p_chat_id bigint, p_bytes bytea)
returns void
language plpgsql
as $func$
declare
    v_doc              jsonb := convert_from(p_bytes, 'UTF8')::jsonb;
    v_message          jsonb;
    v_conversation_id  bigint;
begin
    if jsonb_typeof(v_doc) = 'object' then
        v_doc := v_doc -> 'messages';
    end if;
    insert into core.conversations (bot_id, profile_id, chat_id)
    select p_bot_id, profile_id, p_chat_id
    from core.girls_profiles
    where bot_id = p_bot_id and chat_id = p_chat_id
    returning conversation_id into v_conversation_id;

    for v_message in select value from jsonb_array_elements(v_doc) loop
        begin
            insert into core.messages (bot_id, conversation_id, direction, body, sent_at)
            values (
                p_bot_id, v_conversation_id, v_message ->> 'direction',
                coalesce(v_message ->> 'text', v_message ->> 'content'),
                pg_temp.to_moment(v_message -> 'ts'));
        exception when others then
            raise warning 'chat %: %', p_chat_id, sqlerrm;
        end;
    end loop;
end
$func$;
