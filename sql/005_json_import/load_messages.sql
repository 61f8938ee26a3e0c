-- One file of messages, looked at closely.

create function json_import.drop_backup_messages(
    p_bot_id           bigint,
    p_chat_id          bigint,
    p_conversation_id  bigint,
    p_doc              jsonb,
    p_known            bigint
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    if not exists (
        select
        from json_import.file as f
        where f.bot_id = p_bot_id and f.chat_id = p_chat_id and f.kind = 'backup'
          and f.row_count > 0) then
        return;
    end if;
    with incoming as (
        select direction, body, sent_at,
               row_number() over (partition by direction, body, sent_at) as nth
        from json_import.messages_of(p_doc)
        where ordinal > p_known
    ), held as (
        select m.message_id, m.direction, m.body, m.sent_at,
               row_number() over (partition by m.direction, m.body, m.sent_at) as nth
        from core.messages as m
        join json_import.file as f
            on f.bot_id = m.bot_id and f.file_id = m.source_file_id and f.kind = 'backup'
        where m.bot_id = p_bot_id and m.conversation_id = p_conversation_id
    )
    delete from core.messages as m
    using held as h
    join incoming as i using (direction, body, sent_at, nth)
    where m.bot_id = p_bot_id and m.conversation_id = p_conversation_id
      and m.message_id = h.message_id;
    if found then
        perform json_import.recount(f.file_id, p_bot_id, p_conversation_id)
        from json_import.file as f
        where f.bot_id = p_bot_id and f.chat_id = p_chat_id and f.kind = 'backup';
        -- a file without a name that has no rows any more
        delete from json_import.file
        where bot_id = p_bot_id and chat_id = p_chat_id and status = 'loaded' and sha256 is null
          and row_count = 0;
    end if;
end
$func$;

comment on function json_import.drop_backup_messages(bigint, bigint, bigint, jsonb, bigint) is
    'Removes what backups had added of the messages that now come from the conversation itself.';

create function json_import.wrapper_of(p_doc jsonb)
returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when jsonb_typeof(p_doc) = 'object'
            then nullif(p_doc - json_import.column_keys('wrapper'), '{}') end
$func$;

comment on function json_import.wrapper_of(jsonb) is
    'What the object around the messages says besides them; null if nothing.';

create function json_import.merge_wrapper(p_held jsonb, p_old jsonb, p_new jsonb)
returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select p_held - array(
           select o.key
           from jsonb_each(p_old) as o
           where p_held -> o.key = o.value and not coalesce(p_new ? o.key, false))
       || coalesce((
           select jsonb_object_agg(n.key, n.value)
           from jsonb_each(p_new) as n
           where n.value is distinct from p_old -> n.key
             and p_held -> n.key is not distinct from p_old -> n.key), '{}')
$func$;

comment on function json_import.merge_wrapper(jsonb, jsonb, jsonb) is
    'What a conversation''s metadata becomes when its file says p_new where it said p_old: a key
that a bot changed meanwhile keeps what the bot says.';

create function json_import.store_conversation(
    p_old      json_import.file,
    p_file_id  bigint,
    p_bot_id   bigint,
    p_chat_id  bigint,
    p_doc      jsonb
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_conversation_id  bigint := json_import.ensure_conversation(p_bot_id, p_chat_id, p_file_id);
    v_known            bigint := 0::bigint;  -- messages at the head that are in already
begin
    if json_import.same_head(p_old, p_doc) then
        v_known := p_old.records::bigint;
    elsif p_old.row_count > 0 then
        delete from core.messages
        where bot_id = p_bot_id and conversation_id = v_conversation_id
          and source_file_id = p_file_id;
        update json_import.file set must_reread = true
        where bot_id = p_bot_id and chat_id = p_chat_id and kind = 'backup';
    end if;
    perform json_import.drop_backup_messages(
        p_bot_id, p_chat_id, v_conversation_id, p_doc, v_known);

    perform json_import.insert_messages(p_file_id, p_bot_id, v_conversation_id, array(
        select m from json_import.messages_of(p_doc) as m where m.ordinal > v_known));

    update core.conversations as c
    set metadata = w.merged
    from (
        select json_import.merge_wrapper(k.metadata, p_old.wrapper, json_import.wrapper_of(p_doc))
        from core.conversations as k
        where k.bot_id = p_bot_id and k.conversation_id = v_conversation_id
    ) as w (merged)
    where c.bot_id = p_bot_id and c.conversation_id = v_conversation_id
      and c.metadata <> w.merged;
end
$func$;

comment on function json_import.store_conversation(
    json_import.file, bigint, bigint, bigint, jsonb) is
    'Stores a conversation''s messages: the tail if the file only grew, else all anew in place of
those that came from it before. Messages of bots are not touched.';

create function json_import.recount(p_file_id bigint, p_bot_id bigint, p_conversation_id bigint)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
update json_import.file as f
set row_count = t.row_count, body_octets = t.body_octets, digest = t.digest
from (
    select count(*) as row_count, coalesce(sum(octet_length(body)), 0) as body_octets,
           coalesce(sum(json_import.message_digest(direction, body, sent_at, metadata)), 0)
               as digest
    from core.messages
    where bot_id = p_bot_id and conversation_id = p_conversation_id
      and source_file_id = p_file_id
) as t
where f.bot_id = p_bot_id and f.file_id = p_file_id
$func$;

comment on function json_import.recount(bigint, bigint, bigint) is
    'Brings a file''s counts and digest in the ledger in line with its rows in core.messages.';

create function json_import.store_backup(
    p_file_id   bigint,
    p_bot_id    bigint,
    p_chat_id   bigint,
    p_doc       jsonb,
    p_is_found  boolean
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_conversation_id  bigint := json_import.ensure_conversation(p_bot_id, p_chat_id, p_file_id);
begin
    delete from core.messages
    where bot_id = p_bot_id and conversation_id = v_conversation_id and source_file_id = p_file_id
      and not p_is_found;

    perform json_import.insert_messages(p_file_id, p_bot_id, v_conversation_id, array(
        select i.message
        from (
            select m as message, m.direction, m.body, m.sent_at, row_number() over (
                partition by m.direction, m.body, m.sent_at order by m.ordinal) as nth
            from json_import.messages_of(p_doc) as m
        ) as i
        left join (
            select direction, body, sent_at, count(*) as times
            from core.messages
            where bot_id = p_bot_id and conversation_id = v_conversation_id
            group by direction, body, sent_at
        ) as h using (direction, body, sent_at)
        where i.nth > coalesce(h.times, 0)));
end
$func$;

comment on function json_import.store_backup(bigint, bigint, bigint, jsonb, boolean) is
    'Adds those messages of a backup that the conversation doesn''t hold as often, in place of those
that came from it before (p_is_found: all of these are in it, and stay).';
