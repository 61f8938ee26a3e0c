-- Indexes beyond the keys.

create index girls_profiles_chat_idx on core.girls_profiles (bot_id, chat_id);
create index conversations_profile_idx on core.conversations (bot_id, profile_id);
create index messages_sent_at_idx on core.messages (bot_id, sent_at);
create unique index messages_external_uq
    on core.messages (bot_id, conversation_id, external_id) where external_id is not null;
create index conversation_totals_last_idx
    on core.conversation_totals (bot_id, last_message_at desc nulls last);

comment on index core.girls_profiles_chat_idx is
    'Contact of a chat: where bot_id = $1 and chat_id = $2 (record_message, import).';
comment on index core.conversations_profile_idx is
    'Conversations of a contact: where bot_id = $1 and profile_id = $2; the foreign key''s side.';
comment on index core.messages_sent_at_idx is
    'Messages by time: where bot_id = $1 and sent_at >= $2 (metrics, last days).';
comment on index core.messages_external_uq is
    'A message by the messenger''s id: where bot_id = $1 and conversation_id = $2 and external_id =
$3 (record_message, record_edit).';
comment on index core.conversation_totals_last_idx is
    'The list of chats in core.chats: where bot_id = $1 order by last_message_at desc nulls last.';
