-- A fleet's rows for the bots that are there: the setting bench.messages says how many messages, in
-- the year before bench.until (a timestamptz). The first bot has the most, the nth an nth of that
-- (Zipf). Messages of all bots lie mixed, as they would have come in.

set session_replication_role = replica;  -- no trigger: the rows are right by construction

create temp table chat as
select row_number() over (order by hashint8(bot_id * 100000 + number), bot_id, number) as id, bot_id
from (
    select bot_id, greatest(1, round(
               current_setting('bench.messages')::bigint / 50.0 / place / sum(1.0 / place) over ()
           )::integer) as chats
    from (select bot_id, row_number() over (order by bot_id) as place from core.bots) as b
) as b
cross join lateral generate_series(1, chats) as number;

insert into core.messages (bot_id, conversation_id, direction, sent_at, body)
select bot_id, id, case i % 2 when 0 then 'in' else 'out' end,
       current_setting('bench.until')::timestamptz
           - interval '366 days' * (1 - i::float8 / current_setting('bench.messages')::bigint)
           - interval '1 second',
       i || repeat(' Привет! Как дела?', 1 + i % 5)
from generate_series(1, current_setting('bench.messages')::integer) as i
join chat on chat.id = 1 + abs(hashint8(i)::bigint) % (select count(*) from chat);

insert into core.girls_profiles (
    bot_id, profile_id, telegram_id, chat_id, name, last_activity, summary, profile)
overriding system value
select bot_id, id, 1000000 + id, 1000000 + id, 'Contact ' || id,
       current_setting('bench.until')::timestamptz,
       jsonb_build_object('20241231120000', repeat('Любит музыку. ', 10)),
       jsonb_build_object('20241231120000', jsonb_build_object('age', 20 + id % 30, 'city', 'Тула'))
from chat
order by id;

insert into core.conversations (bot_id, conversation_id, profile_id, chat_id, started_at)
overriding system value
select chat.bot_id, id, id, 1000000 + id,
       coalesce(min(sent_at), current_setting('bench.until')::timestamptz - interval '366 days')
from chat
left join core.messages as m on m.bot_id = chat.bot_id and m.conversation_id = chat.id
group by chat.bot_id, id
order by id;

insert into core.conversation_totals (bot_id, conversation_id, message_count, last_message_at)
select chat.bot_id, id, count(m), max(sent_at)
from chat
left join core.messages as m on m.bot_id = chat.bot_id and m.conversation_id = chat.id
group by chat.bot_id, id
order by id;

insert into core.bot_metrics (bot_id, day, messages_in, messages_out)
select bot_id, (sent_at at time zone 'utc')::date, count(*) filter (where direction = 'in'),
       count(*) filter (where direction = 'out')
from core.messages
group by 1, 2
order by 2, 1;

reset session_replication_role;
drop table chat;
