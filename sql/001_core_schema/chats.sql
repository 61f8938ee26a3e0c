-- The chats as a bot lists them.

create view core.chats
with (security_invoker = true)
as
select c.bot_id, c.conversation_id, c.profile_id, c.chat_id, c.thread_id, c.type, c.title,
       c.started_at, l.message_count, l.last_message_at, c.metadata
from (
    -- as bare as it is: the first page of a list is read from the index in the list's order
    select t.bot_id, t.conversation_id, t.message_count, t.last_message_at, false as is_newer
    from core.conversation_totals as t
    union all
    select u.bot_id, u.conversation_id, t.message_count + u.change,
           case when u.is_unsure then (
                    select max(m.sent_at)
                    from core.messages as m
                    where m.bot_id = u.bot_id and m.conversation_id = u.conversation_id)
                else greatest(t.last_message_at, u.last_at) end,
           true
    from (
        select bot_id, conversation_id, sum(change)::bigint as change, max(last_at) as last_at,
               bool_or(last_at is null) as is_unsure
        from core.uncounted
        group by bot_id, conversation_id
    ) as u
    join core.conversation_totals as t using (bot_id, conversation_id)
) as l
join core.conversations as c using (bot_id, conversation_id)
where l.is_newer or not exists (
    select
    from core.uncounted as u
    where u.bot_id = l.bot_id and u.conversation_id = l.conversation_id);

comment on view core.chats is
    'The conversations with how many messages each has and the time of the latest, exact at any
moment. A bot''s list: select … from core.chats order by last_message_at desc nulls last limit 50.';
comment on column core.chats.message_count is 'Number of messages.';
comment on column core.chats.last_message_at is
    'Time of the latest message, null before the first.';
