-- The six tables of a bot's data, and what they need beside them.

-- Every key and every index leads with bot_id: a bot's rows lie in one leaf of each table.

create table core.bots (
    bot_id             bigint       generated always as identity,
    name               text         not null,
    owner_telegram_id  bigint,
    status             text         not null default 'active',
    config             jsonb        not null default '{}',
    created_at         timestamptz  not null default now(),
    updated_at         timestamptz  not null default now(),

    constraint bots_pk        primary key (bot_id),
    constraint bots_id_ck     check (bot_id between 1 and 999999999999999999),
    constraint bots_name_ck   check (
        name = btrim(name) and length(name) between 1 and 100 and name !~ '[[:cntrl:]]'),
    constraint bots_owner_ck  check (owner_telegram_id > 0),
    constraint bots_status_ck check (status in ('active', 'paused', 'retired')),
    constraint bots_config_ck check (jsonb_typeof(config) = 'object')
) partition by hash (bot_id);

comment on table core.bots is 'One row per bot of the fleet.';
comment on column core.bots.name is 'Unique in the fleet, kept so by core.bot_names.';
comment on column core.bots.owner_telegram_id is 'Telegram user who answers for this bot.';
comment on column core.bots.status is
    'active, paused or retired: security.pause_bot, resume_bot and retire_bot change it.';
comment on column core.bots.config is 'What the bot''s program keeps. Never a token or a password.';

-- A unique constraint on a partitioned table must hold the partition key: hence a table of its own.
create table core.bot_names (
    bot_id  bigint  not null,
    name    text    not null,

    constraint bot_names_pk      primary key (bot_id),
    constraint bot_names_name_uq unique (name)
);

comment on table core.bot_names is
    'Makes bots.name unique in the whole fleet; written by a trigger on core.bots only. Bots have no
right to it: a name would tell one bot that another exists.';

create table core.girls_profiles (
    bot_id                bigint       not null default core.current_bot_id(),
    profile_id            bigint       generated always as identity,
    telegram_id           bigint       not null,
    chat_id               bigint       not null,
    last_activity         core.girls_profiles_last_activity,
    first_seen_at         core.girls_profiles_first_seen_at,
    created_at            timestamptz  not null default now(),
    updated_at            timestamptz  not null default now(),
    message_count         integer      not null default 0,
    is_bot                boolean,
    standing              core.girls_profiles_standing not null default 'reachable',
    name                  core.girls_profiles_name,
    username              core.girls_profiles_username,
    language              core.girls_profiles_language,
    previous_response_id  core.girls_profiles_previous_response_id,
    summary               core.girls_profiles_summary  not null default '{}',
    profile               core.girls_profiles_profile  not null default '{}',
    extra                 core.girls_profiles_extra    not null default '{}',

    constraint girls_profiles_pk               primary key (bot_id, profile_id),
    constraint girls_profiles_telegram_uq      unique (bot_id, telegram_id),
    constraint girls_profiles_message_count_ck check (message_count >= 0)
) partition by hash (bot_id);

comment on table core.girls_profiles is 'The contacts: one row per person that a bot talks with.';
comment on column core.girls_profiles.telegram_id is
    'The person. In a private chat equal to chat_id.';
comment on column core.girls_profiles.chat_id is 'The chat in which the bot met the person.';
comment on column core.girls_profiles.last_activity is
    'When the bot last noted the person as active; the time of the last message is in
core.chats.';
comment on column core.girls_profiles.first_seen_at is
    'Time of the first message that made the contact known; null of one that came by a file.';
comment on column core.girls_profiles.is_bot is 'Whether it is a program; null: not told.';
comment on column core.girls_profiles.standing is
    'reachable; blocked: the contact blocked the bot; left: the contact left, or removed the bot.';
comment on column core.girls_profiles.username is
    'The contact''s public name in the messenger, without @; the contact may change it.';
comment on column core.girls_profiles.language is
    'What the contact''s program says of its language, as an IETF tag: de, pt-br.';
comment on column core.girls_profiles.message_count is
    'What the bot noted when it last wrote this row; the count of messages is in core.chats.';
comment on column core.girls_profiles.previous_response_id is
    'Where the bot''s language model picks the thread up again.';
comment on column core.girls_profiles.summary is 'Texts by time, {"YYYYMMDDHHMMSS": text}.';
comment on column core.girls_profiles.profile is
    'What is known, by time, {"YYYYMMDDHHMMSS": object}.';
comment on column core.girls_profiles.extra is 'Keys of an imported file that have no column here.';

create table core.conversations (
    bot_id           bigint       not null default core.current_bot_id(),
    conversation_id  bigint       generated always as identity,
    profile_id       bigint       not null,
    chat_id          bigint       not null,
    thread_id        bigint       not null default 0,
    started_at       core.conversations_started_at  not null default now(),
    created_at       timestamptz  not null default now(),
    updated_at       timestamptz  not null default now(),
    type             core.conversations_type,
    title            core.conversations_title,
    metadata         core.conversations_metadata    not null default '{}',

    constraint conversations_pk      primary key (bot_id, conversation_id),
    constraint conversations_chat_uq unique (bot_id, chat_id, thread_id)
) partition by hash (bot_id);

comment on table core.conversations is
    'One row per chat, or thread of a chat; its messages are in core.messages, how many they are
core.chats says.';
comment on column core.conversations.profile_id is
    'The contact whom the chat is with; of a group the one that stands for the group.';
comment on column core.conversations.thread_id is
    'Topic of a group that has topics, by the messenger''s number; 0: the chat itself.';
comment on column core.conversations.type is
    'private, group, supergroup or channel; null: not told.';
comment on column core.conversations.title is 'What a group or channel calls itself.';
comment on column core.conversations.started_at is
    'When the chat began: when the row was made, or what the bot or an imported file says.';
comment on column core.conversations.metadata is
    'What the bot or an imported file says of the chat.';

-- Eight-byte columns first: no padding between them, on the table that has the most rows.
create table core.messages (
    bot_id           bigint       not null default core.current_bot_id(),
    conversation_id  bigint       not null,
    message_id       bigint       generated always as identity,
    sent_at          core.messages_sent_at    not null default now(),
    created_at       timestamptz  not null default now(),
    updated_at       timestamptz  not null default now(),
    source_file_id   bigint,
    sender_id        bigint,
    edited_at        timestamptz,
    deleted_at       timestamptz,
    direction        core.messages_direction  not null,
    body             core.messages_body       not null,
    external_id      varchar(255),
    reply_to         varchar(255),
    kind             varchar(32),
    delivery         varchar(16),
    metadata         core.messages_metadata,

    constraint messages_pk primary key (bot_id, conversation_id, message_id)
) partition by hash (bot_id);

comment on table core.messages is
    'One row per message. Within a conversation message_id gives the order of recording.';
comment on column core.messages.source_file_id is
    'The imported file that this row came from, null for a row that a bot wrote.';
comment on column core.messages.sender_id is
    'profile_id of the contact who sent it; null: the conversation''s own contact, or the bot.';
comment on column core.messages.edited_at is
    'When its text last changed, by the messenger''s word; null: never.';
comment on column core.messages.deleted_at is
    'When it was deleted; its text is gone then, here.';
comment on column core.messages.external_id is
    'The messenger''s own id of the message: unique within the conversation, so that what is
delivered twice is recorded once.';
comment on column core.messages.reply_to is
    'external_id of the message of the same conversation that this one answers; it need not be
here.';
comment on column core.messages.kind is
    'A row of core.message_kind, by core.record_message''s doing; null: text.';
comment on column core.messages.delivery is
    'Of an outgoing message: queued, sent, delivered, read or failed; null: not told.';
comment on column core.messages.direction is 'in: from the contact to the bot; out: from the bot.';
comment on column core.messages.body is 'The text as sent; may be empty (a picture without words).';
comment on column core.messages.metadata is
    'Further facts about the message, null if there are none.';

create table core.bot_metrics (
    bot_id             bigint       not null default core.current_bot_id(),
    day                date         not null,
    messages_in        integer      not null default 0,
    messages_out       integer      not null default 0,
    new_conversations  integer      not null default 0,
    active_contacts    integer      not null default 0,
    reply_p50          interval,
    reply_p95          interval,
    created_at         timestamptz  not null default now(),
    updated_at         timestamptz  not null default now(),

    constraint bot_metrics_pk        primary key (bot_id, day),
    constraint bot_metrics_day_ck    check (isfinite(day)),
    constraint bot_metrics_counts_ck check (
        least(messages_in, messages_out, new_conversations, active_contacts) >= 0),
    constraint bot_metrics_reply_ck  check (
        (reply_p50 is null) = (reply_p95 is null)
        and reply_p50 >= interval '0' and reply_p95 >= reply_p50 and isfinite(reply_p95))
) partition by hash (bot_id);

comment on table core.bot_metrics is 'One row per bot and day (UTC), derived from messages.';
comment on column core.bot_metrics.active_contacts is
    'Contacts with at least one message that day.';
comment on column core.bot_metrics.new_conversations is 'Conversations that started that day.';
comment on column core.bot_metrics.reply_p50 is
    'Median time from a contact''s message to the bot''s answer, if that is the next message and
comes within a day; counted on the day of the answer; null without one.';
comment on column core.bot_metrics.reply_p95 is '95th percentile of the same.';

-- Narrow: a fold changes a row once, however many messages came.
create table core.conversation_totals (
    bot_id           bigint       not null,
    conversation_id  bigint       not null,
    message_count    bigint       not null default 0,
    last_message_at  timestamptz,

    constraint conversation_totals_pk primary key (bot_id, conversation_id)
) with (fillfactor = 70);

comment on table core.conversation_totals is
    'How many messages each chat had, and the time of the latest, when what was appended to
core.uncounted was last folded in. core.chats says how it is now.';
comment on column core.conversation_totals.message_count is 'Number of messages then.';
comment on column core.conversation_totals.last_message_at is 'Time of the latest one then.';

create table core.uncounted (
    bot_id           bigint       not null,
    conversation_id  bigint       not null,
    note_id          bigint       generated always as identity,
    change           integer      not null,
    last_at          timestamptz,

    constraint uncounted_pk primary key (bot_id, conversation_id, note_id)
);

comment on table core.uncounted is
    'What happened to the chats and is not in core.conversation_totals yet: one row for each
statement and chat, appended by triggers, taken away by core_upkeep.fold_counts.';
comment on column core.uncounted.note_id is
    'Another one for each row: writers share none.';
comment on column core.uncounted.change is 'How many messages more.';
comment on column core.uncounted.last_at is
    'Time of the latest new message; null: look at the messages, some went or moved.';

create table core.stale_days (
    bot_id    bigint          not null,
    stale_id  bigint          generated always as identity,
    days      datemultirange  not null,

    constraint stale_days_pk primary key (bot_id, stale_id)
);

comment on table core.stale_days is
    'Days before today (UTC) whose messages or conversations changed, so that bot_metrics may say
something else: one row for each statement that changed some. Whoever rolls the days up deletes
it.';
comment on column core.stale_days.stale_id is
    'Another one for each row: a key by the day would make writers wait for each other.';
comment on column core.stale_days.days is 'As a multirange.';

create function core.days_of(p_times timestamptz[])
returns datemultirange
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select range_agg(daterange(d.day, d.day + 1))
from (select distinct (t at time zone 'UTC')::date from unnest(p_times) as t) as d (day)
where d.day is not null
$func$;

comment on function core.days_of(timestamptz[]) is
    'The days (UTC) that these times are in, for core.stale_days; null if there is none.';

insert into core.bot_table (relation, is_derived, is_audited, on_bot_drop, ranged_id) values
    ('core.bots',           false, true,  'delete', 'bot_id'),
    ('core.bot_names',      true,  false, 'delete', null),
    -- before the tables whose triggers fill it: emptied after them
    ('core.stale_days',     true,  false, 'delete', null),
    ('core.conversation_totals', true, false, 'delete', null),
    ('core.uncounted',      true,  false, 'delete', null),
    ('core.girls_profiles', false, true,  'refuse', null),
    ('core.conversations',  false, true,  'refuse', null),
    ('core.messages',       false, true,  'refuse', null),
    ('core.bot_metrics',    true,  true,  'refuse', null);

do $comments$
declare
    v_table  regclass;
begin
    for v_table in select core.hash_tables() loop
        execute format('comment on column %s.created_at is %L', v_table, 'When the row was made.');
        execute format('comment on column %s.updated_at is %L', v_table,
            'When the row last changed; kept by a trigger.');
    end loop;
end
$comments$;
