-- Indexes on the tables of core.

-- It costs what HOT would save: last_message_at changes with each message. In steps of half a
-- minute it would change half as often, and say the wrong time.
-- squawk-ignore require-concurrent-index-creation
create index conversations_last_message_idx
    on core.conversations (bot_id, last_message_at desc nulls last);

comment on index core.conversations_last_message_idx is
    'A bot''s list of chats: where bot_id = $1 order by last_message_at desc nulls last limit 50.';
