-- What the tables say, whoever filled them: for each a count and a sum of hashes, ids left out.
with chat as (
    select bot_id, conversation_id, concat_ws('|', b.name, c.chat_id) as chat,
           concat_ws('|', c.message_count, c.last_message_at) as counted
    from core.chats as c
    join core.bots as b using (bot_id)
)
select 'contacts', count(*), coalesce(sum(hashtextextended(concat_ws(
           '|', b.name, p.chat_id, p.telegram_id, p.name, p.last_activity, p.message_count,
           p.summary, p.profile, p.previous_response_id, p.extra), 0)), 0)
from core.girls_profiles as p
join core.bots as b using (bot_id)
union all
select 'conversations', count(*),
       coalesce(sum(hashtextextended(concat_ws('|', chat, counted), 0)), 0)
from chat
union all
select 'messages', count(*), coalesce(sum(hashtextextended(concat_ws(
           '|', chat, m.direction, m.body, m.sent_at, m.metadata), 0)), 0)
from core.messages as m
join chat using (bot_id, conversation_id)
