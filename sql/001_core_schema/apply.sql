-- 001_core_schema: the tables that every bot's data lives in, and the code that partitions them.
-- depends: none
-- locks:   new objects only; safe on a live database
-- undo:    rollback.sql drops schemas core, core_partitions, core_upkeep; refuses while they hold
--          rows

set local search_path = pg_catalog, pg_temp;
set local lock_timeout = '3s';

create schema core;
create schema core_partitions;
create schema core_upkeep;

comment on schema core is 'What the bots keep: bots, contacts, conversations, messages, metrics.';
comment on schema core_partitions is
    'The leaves of the tables in core. Read and write through the tables in core, never here.';
comment on schema core_upkeep is
    'What the triggers of core do beyond the rights of whoever fires them: counters, names.';

-- Error codes -----------------------------------------------------------------

create table core.error_code (
    code     text  not null,
    name     text  not null,
    meaning  text  not null,
    remedy   text  not null,

    constraint error_code_pk      primary key (code),
    constraint error_code_name_uq unique (name),
    constraint error_code_code_ck check (code ~ '^MB[0-9]{3}$')
);

comment on table core.error_code is
    'Every SQLSTATE of ours (class MB). Each migration adds its own rows and removes them again.';
comment on column core.error_code.remedy is 'The next step, as an imperative.';

insert into core.error_code (code, name, meaning, remedy) values
    ('MB001', 'data_would_be_lost',  'A rollback would throw rows away.',
        'Take a backup, then repeat with --discard-data (psql, yoyo: set app.discard_data = on).'),
    ('MB002', 'wrong_partitioning',  'The table is not partitioned in the way this function needs.',
        'Pass a table of schema core, or one that is partitioned by range of one timestamptz.'),
    ('MB003', 'unknown_bot',         'There is no bot with this id, or the caller is no bot.',
        'Log in as a bot, or pass p_bot_id; select bot_id, name from core.bots lists them.'),
    ('MB004', 'invalid_message',     'A message lacks a value, or has an impossible one.',
        'Correct the value that the message names.'),
    ('MB005', 'bot_name_taken',      'Another bot of the fleet has this name.',
        'Choose another name.'),
    ('MB006', 'no_such_month',       'A partition was asked for at no finite time.',
        'Pass a finite timestamptz.'),
    ('MB900', 'usage',               'The command line can''t be carried out as written.',
        'Read the message; runner.py COMMAND --help lists what the command takes.'),
    ('MB901', 'no_connection',       'The server can''t be reached, or refuses this login.',
        'Check the connection with runner.py setup --show.'),
    ('MB902', 'embedded_server',     'The embedded server does not start or stop.',
        'Read the last lines of .pgdata/server.log.'),
    ('MB903', 'bad_configuration',   'A setting has a value that can''t be used.',
        'Correct the variable that the message names; runner.py setup --show tells its source.'),
    ('MB904', 'missing_right',       'The login lacks a right, or the server is too old.',
        'Grant what the message names, or migrate as another login.'),
    ('MB905', 'sql_failed',          'The server refused a statement; nothing of it was kept.',
        'Correct the file at the line named, then repeat the command.'),
    ('MB906', 'verification_failed', 'A check of a verify.sql is not true.',
        'Compare the database with the migration; the row''s detail says what differs.'),
    ('MB907', 'drift',               'Files, yoyo''s marks and the history contradict each other.',
        'Read the line for each migration in runner.py status and do what it says.'),
    ('MB908', 'locked',              'Another runner or yoyo is migrating this database.',
        'Wait for it; after a crash of yoyo: make yoyo CMD=break-lock.'),
    ('MB909', 'unknown_migration',   'No migration has this name, or one is missing a file.',
        'List them with runner.py status.'),
    ('MB910', 'not_confirmed',       'The command needs a yes and did not get it.',
        'Answer yes, or pass --yes.'),
    ('MB911', 'bot_not_allowed',     'This installation is set to one bot, and another was named.',
        'Correct CURRENT_BOT_ID, or set MULTI_BOT_ENABLED=true.'),
    ('MB912', 'runner_failed',       'The runner met something it was not written for.',
        'Repeat with --log FILE and report what the file holds.');

-- Who is asking ---------------------------------------------------------------

create function core.current_bot_id()
returns bigint
language plpgsql  -- an SQL function is planned anew by every insert that takes the default (15)
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    return substring(current_user::text from '^bot_([1-9][0-9]{0,17})$')::bigint;
end
$func$;

comment on function core.current_bot_id() is
    'The bot whose login this is (bot_<id>), null for every other role. The login is the tenant: a
setting could be changed by anyone who runs SQL.';

-- Tables ----------------------------------------------------------------------

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
    'active, paused or retired; a claim by the fleet''s operator.';
comment on column core.bots.config is 'What the bot''s program keeps. Never a token or a password.';

-- A unique constraint on a partitioned table must hold the partition key: hence a table of its own.
create table core.bot_names (
    name    text    not null,
    bot_id  bigint  not null,

    constraint bot_names_pk     primary key (name),
    constraint bot_names_bot_uq unique (bot_id)
);

comment on table core.bot_names is
    'Makes bots.name unique in the whole fleet; written by a trigger on core.bots only. Bots have no
right to it: a name would tell one bot that another exists.';

create table core.girls_profiles (
    bot_id                bigint       not null default core.current_bot_id(),
    profile_id            bigint       generated always as identity,
    telegram_id           bigint       not null,
    chat_id               bigint       not null,
    last_activity         timestamptz,
    created_at            timestamptz  not null default now(),
    updated_at            timestamptz  not null default now(),
    message_count         integer      not null default 0,
    name                  text,
    previous_response_id  text,
    summary               jsonb        not null default '{}',
    profile               jsonb        not null default '{}',
    extra                 jsonb        not null default '{}',

    constraint girls_profiles_pk               primary key (bot_id, profile_id),
    constraint girls_profiles_telegram_uq      unique (bot_id, telegram_id),
    constraint girls_profiles_activity_ck      check (
        last_activity >= timestamptz '1970-01-01 00:00:00+00'
        and last_activity < timestamptz '2100-01-01 00:00:00+00'),
    constraint girls_profiles_message_count_ck check (message_count >= 0),
    constraint girls_profiles_summary_ck       check (jsonb_typeof(summary) = 'object'),
    constraint girls_profiles_profile_ck       check (jsonb_typeof(profile) = 'object'),
    constraint girls_profiles_extra_ck         check (jsonb_typeof(extra) = 'object')
) partition by hash (bot_id);

comment on table core.girls_profiles is 'The contacts: one row per person that a bot talks with.';
comment on column core.girls_profiles.telegram_id is
    'The person. In a private chat equal to chat_id.';
comment on column core.girls_profiles.chat_id is 'The chat in which the bot met the person.';
comment on column core.girls_profiles.last_activity is
    'When the bot last noted the person as active; the time of the last message is in
conversations.';
comment on column core.girls_profiles.message_count is
    'What the bot noted when it last wrote this row; the count of messages is in conversations.';
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
    started_at       timestamptz  not null default now(),
    last_message_at  timestamptz,
    created_at       timestamptz  not null default now(),
    updated_at       timestamptz  not null default now(),
    message_count    integer      not null default 0,
    metadata         jsonb        not null default '{}',

    constraint conversations_pk               primary key (bot_id, conversation_id),
    constraint conversations_chat_uq          unique (bot_id, chat_id),
    constraint conversations_started_at_ck    check (isfinite(started_at)),
    constraint conversations_last_message_ck  check (
        last_message_at >= started_at and isfinite(last_message_at)),
    constraint conversations_message_count_ck check (message_count >= 0),
    constraint conversations_metadata_ck      check (jsonb_typeof(metadata) = 'object')
) partition by hash (bot_id);

comment on table core.conversations is 'One row per chat; its messages are in core.messages.';
comment on column core.conversations.started_at is
    'Time of the first message, or when the row was made, whichever is earlier.';
comment on column core.conversations.last_message_at is
    'Time of the latest message, null before the first; kept by a trigger on core.messages.';
comment on column core.conversations.message_count is
    'Number of messages; kept by a trigger on core.messages.';
comment on column core.conversations.metadata is
    'What the bot or an imported file says of the chat.';

-- Eight-byte columns first: no padding between them, on the table that has the most rows.
create table core.messages (
    bot_id           bigint       not null default core.current_bot_id(),
    conversation_id  bigint       not null,
    message_id       bigint       generated always as identity,
    sent_at          timestamptz  not null default now(),
    created_at       timestamptz  not null default now(),
    updated_at       timestamptz  not null default now(),
    source_file_id   bigint,
    direction        text         not null,
    body             text         not null,
    metadata         jsonb,

    constraint messages_pk           primary key (bot_id, conversation_id, message_id),
    constraint messages_sent_at_ck   check (
        sent_at >= timestamptz '1970-01-01 00:00:00+00'
        and sent_at < timestamptz '2100-01-01 00:00:00+00'),
    constraint messages_direction_ck check (direction in ('in', 'out')),
    constraint messages_metadata_ck  check (jsonb_typeof(metadata) = 'object')
) partition by hash (bot_id);

comment on table core.messages is
    'One row per message. Within a conversation message_id gives the order of recording.';
comment on column core.messages.source_file_id is
    'The imported file that this row came from, null for a row that a bot wrote.';
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

-- No key: writers must not wait for each other.
create table core.stale_days (
    bot_id  bigint          not null,
    days    datemultirange  not null
);

comment on table core.stale_days is
    'Days before today (UTC) whose messages or conversations changed, so that bot_metrics may say
something else: one row for each statement that changed some. Whoever rolls the days up deletes
it.';

comment on column core.stale_days.days is 'As a multirange.';

create function core.days_of(p_times timestamptz[])
returns datemultirange
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select range_agg(daterange(d.day, d.day + 1))
from (select distinct (t at time zone 'UTC')::date from unnest(p_times) as t) as d (day)
where d.day is not null
$func$;

comment on function core.days_of(timestamptz[]) is
    'The days (UTC) that these times are in, for core.stale_days; null if there is none.';

create function core.bot_tables()
returns setof regclass
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select t::regclass
from unnest(array[
    'core.bots', 'core.girls_profiles', 'core.conversations', 'core.messages', 'core.bot_metrics'
]) with ordinality as u (t, place)
order by place
$func$;

comment on function core.bot_tables() is
    'The tables partitioned by bot, parents first: the order to fill them in; reversed, to empty.';

do $comments$
declare
    v_table  regclass;
begin
    for v_table in select core.bot_tables() loop
        execute format('comment on column %s.created_at is %L', v_table, 'When the row was made.');
        execute format('comment on column %s.updated_at is %L', v_table,
            'When the row last changed; kept by a trigger.');
    end loop;
end
$comments$;

-- Indexes ---------------------------------------------------------------------

create index girls_profiles_chat_idx on core.girls_profiles (bot_id, chat_id);
create index conversations_profile_idx on core.conversations (bot_id, profile_id);
create index messages_sent_at_idx on core.messages (bot_id, sent_at);

comment on index core.girls_profiles_chat_idx is
    'Contact of a chat: where bot_id = $1 and chat_id = $2 (record_message, import).';
comment on index core.conversations_profile_idx is
    'Conversations of a contact: where bot_id = $1 and profile_id = $2; the foreign key''s side.';
comment on index core.messages_sent_at_idx is
    'Messages by time: where bot_id = $1 and sent_at >= $2 (metrics, last days).';

-- Leaves and partitions -------------------------------------------------------

create function core.foreign_keys()
returns table (child text, parent text, key_columns text)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
values
    ('girls_profiles', 'bots',           'bot_id'),
    ('conversations',  'girls_profiles', 'bot_id, profile_id'),
    ('messages',       'conversations',  'bot_id, conversation_id'),
    ('bot_metrics',    'bots',           'bot_id')
$func$;

comment on function core.foreign_keys() is
    'The foreign keys of schema core, parents first: (child, parent, key_columns). They run from
leaf to leaf, which guarantees the same as keys between the parents at half of their cost.';

create function core.leaf_name(p_table regclass, p_suffix text)
returns text
language sql
stable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select format('%I.%I', n.nspname || '_partitions', c.relname || '_' || p_suffix)
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where c.oid = p_table
$func$;

comment on function core.leaf_name(regclass, text) is
    'Quoted name of a partition: <schema>_partitions.<table>_<suffix>. The only place that knows
it.';

create function core.leaves(p_table regclass)
returns table (leaf regclass, bound text)
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    if not exists (select from pg_partitioned_table where partrelid = p_table) then
        raise exception using
            errcode = 'MB002',
            message = format('table %s is not partitioned', coalesce(p_table::text, 'null')),
            hint    = 'Pass the partitioned table itself, not one of its partitions.';
    end if;
    return query
        select c.oid::regclass, pg_get_expr(c.relpartbound, c.oid)
        from pg_inherits as i
        join pg_class as c on c.oid = i.inhrelid
        where i.inhparent = p_table
        order by c.relname;
end
$func$;

comment on function core.leaves(regclass) is
    'The partitions of a table, by name: (leaf, bound as in CREATE TABLE). MB002: not partitioned.';

create table core.leaf_hook (
    hook  text  not null,

    constraint leaf_hook_pk primary key (hook)
);

comment on table core.leaf_hook is
    'Functions (leaf regclass) that a new leaf is given to: later migrations add what every leaf
needs and does not inherit, and remove their rows again.';
comment on column core.leaf_hook.hook is
    'Signature; runs with the rights of whoever owns the leaf. Text, not regprocedure: pg_upgrade
refuses a database that has such a column.';

create function core.equip_leaf(p_leaf regclass)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_hook  regproc;
begin
    for v_hook in
        select h.hook::regprocedure::oid::regproc from core.leaf_hook as h order by h.hook
    loop
        execute format('select %s($1)', v_hook) using p_leaf;
    end loop;
end
$func$;

comment on function core.equip_leaf(regclass) is 'Gives a new leaf to every core.leaf_hook.';

create function core.ensure_keys(p_table regclass, p_remainder integer)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_leaf  regclass := core.leaf_name(p_table, 'p' || p_remainder)::regclass;
    v_key   record;
begin
    for v_key in
        select k.parent, k.key_columns
        from core.foreign_keys() as k
        where format('core.%I', k.child)::regclass = p_table
          and not exists (
            select
            from pg_constraint as c
            where c.conrelid = v_leaf and c.conname = k.parent || '_fk')
    loop
        execute format(
            'alter table %1$s add constraint %2$I foreign key (%3$s) references %4$s (%3$s)',
            v_leaf, v_key.parent || '_fk', v_key.key_columns,
            core.leaf_name(format('core.%I', v_key.parent), 'p' || p_remainder)::regclass);
    end loop;
end
$func$;

comment on function core.ensure_keys(regclass, integer) is
    'Gives a hash leaf the foreign keys that it lacks. The parent''s leaf must exist.';

create function core.make_leaf(p_table regclass, p_remainder integer)
returns regclass
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_leaf  text := core.leaf_name(p_table, 'p' || p_remainder);
begin
    execute format(
        'create table %s partition of %s for values with (modulus 10, remainder %s) '
        'with (fillfactor = %s)',
        v_leaf, p_table, p_remainder,
        -- room on the page for the versions that the counters' updates leave until they are pruned
        case when p_table = 'core.conversations'::regclass then 80 else 100 end);
    perform core.ensure_keys(p_table, p_remainder);
    perform core.equip_leaf(v_leaf::regclass);
    return v_leaf::regclass;
end
$func$;

comment on function core.make_leaf(regclass, integer) is
    'Makes the hash leaf of a table for one remainder (0 to 9), with its foreign key; returns it.
The parent''s leaf must exist. 42P07: the leaf is there already.';

create function core.lacking(p_remainder integer)
returns table (relation regclass, has_leaf boolean)
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select t.relation, l.leaf is not null
from core.bot_tables() with ordinality as t (relation, place)
left join lateral (
    select leaf from core.leaves(t.relation) where bound like '% remainder ' || p_remainder || ')'
) as l on true
left join core.foreign_keys() as k on format('core.%I', k.child)::regclass = t.relation
left join pg_constraint as c on c.conrelid = l.leaf and c.conname = k.parent || '_fk'
where l.leaf is null or k.parent is not null and c.oid is null
order by t.place
$func$;

comment on function core.lacking(integer) is
    'The tables, parents first, that have no leaf for this remainder, or one without its foreign
key.';

create function core.ensure_leaves(p_bot_id bigint)
returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_remainder  integer;
    v_table      record;
    v_made       integer := 0;
begin
    select r into v_remainder
    from generate_series(0, 9) as r
    where satisfies_hash_partition('core.bots'::regclass, 10, r, p_bot_id);

    if not exists (select from core.lacking(v_remainder)) then  -- nearly always: without a lock
        return 0;
    end if;
    -- One maker at a time, who sees what the one before has made.
    lock table only core.bots in share update exclusive mode;
    for v_table in select * from core.lacking(v_remainder) loop
        if v_table.has_leaf then
            perform core.ensure_keys(v_table.relation, v_remainder);
        else
            perform core.make_leaf(v_table.relation, v_remainder);
            v_made := v_made + 1;
        end if;
    end loop;
    return v_made;
end
$func$;

comment on function core.ensure_leaves(bigint) is
    'Makes the leaves that this bot''s rows belong in, and their foreign keys, where they are
missing; returns how many leaves it made. Takes ACCESS EXCLUSIVE on each table it makes one for.';

create function core.ensure_partition(p_table regclass, p_at timestamptz)
returns regclass
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $func$
declare
    -- in the time zone above: a month added in another one ends at another hour or day
    v_from    timestamptz := date_trunc('month', p_at);
    v_to      timestamptz := date_trunc('month', p_at) + interval '1 month';
    v_leaf    text := core.leaf_name(p_table, to_char(v_from, '"y"YYYY"m"MM'));
    v_column  name := core.month_column(p_table);
    v_bound   text := format('for values from (%L) to (%L)', v_from, v_to);
    v_found   regclass;
begin
    if p_at is null or not isfinite(p_at) then
        raise exception using
            errcode = 'MB006',
            message = format('no month holds the time %s', coalesce(p_at::text, 'null')),
            detail  = format('Table %s.', p_table),
            hint    = 'Pass a finite timestamptz.';
    end if;
    select leaf into v_found from core.leaves(p_table) where lower(bound) = v_bound;
    if found then
        return v_found;
    end if;

    -- One maker per table, by the lock that ATTACH will need anyway: another one beside it, per
    -- month or advisory, would deadlock two sessions that make several. Who waited finds the
    -- partition made, by a query: to_regclass() may answer from what the session remembers.
    execute format('lock table only %s in share update exclusive mode', p_table);
    select leaf into v_found from core.leaves(p_table) where lower(bound) = v_bound;
    if found then
        return v_found;
    end if;

    -- Not PARTITION OF, which locks the parent against everybody. The CHECK spares ATTACH the scan,
    -- and identity is inherited where the server knows how (17 and newer) and not needed elsewhere.
    execute format('create table %s (like %s including all excluding identity)', v_leaf, p_table);
    execute format(
        'alter table %s add constraint month_ck '
        'check (%I is not null and %2$I >= %L and %2$I < %L)',
        v_leaf, v_column, v_from, v_to);
    execute format('alter table %s attach partition %s %s', p_table, v_leaf, v_bound);
    execute format('alter table %s drop constraint month_ck', v_leaf);
    perform core.equip_leaf(v_leaf::regclass);
    return v_leaf::regclass;
end
$func$;

comment on function core.ensure_partition(regclass, timestamptz) is
    'The partition for the month (UTC) that holds the given time, made if it is missing, without
blocking readers or writers of the others; for the table''s owner to call. MB002: not partitioned by
one timestamptz; MB006: no finite time.';

create function core.month_column(p_table regclass)
returns name
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_column  name;
begin
    select a.attname into v_column
    from pg_partitioned_table as p
    join pg_attribute as a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
    where p.partrelid = p_table
      and p.partstrat = 'r'
      and p.partnatts = 1
      and a.atttypid = 'timestamptz'::regtype;
    if not found then
        raise exception using
            errcode = 'MB002',
            message = format('table %s is not partitioned by range of one timestamptz column',
                             coalesce(p_table::text, 'null')),
            hint    = 'Declare it as: partition by range (<a timestamptz column>).';
    end if;
    return v_column;
end
$func$;

comment on function core.month_column(regclass) is
    'The column by whose months a table is partitioned. MB002: it is not.';

do $leaves$
declare
    v_table  regclass;
begin
    for v_table in select core.bot_tables() loop
        perform core.make_leaf(v_table, r) from generate_series(0, 9) as r;
    end loop;
end
$leaves$;

create function core.analyze_tables()
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_table  regclass;
begin
    for v_table in select core.bot_tables() loop
        -- before 18 a partitioned table is analyzed with its leaves only
        execute format('analyze %s %s', case when current_setting('server_version_num')::integer
                       >= 180000 then 'only' else '' end, v_table);
    end loop;
end
$func$;

comment on function core.analyze_tables() is
    'Statistics over all bots, for whoever reads the rows of several: autovacuum makes them for the
leaves only. Takes SHARE UPDATE EXCLUSIVE on the tables, to the end of the transaction.';

-- Row upkeep ------------------------------------------------------------------

create function core.touch_updated_at()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    new.updated_at := now();
    return new;
end
$func$;

comment on function core.touch_updated_at() is
    'Trigger: the row changed now, whatever it was told.';

create function core_upkeep.claim_bot_name()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    if tg_op in ('UPDATE', 'DELETE') then
        delete from core.bot_names where bot_id = old.bot_id;
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        -- waits for a concurrent claim of the same name to end, so two can't both win
        insert into core.bot_names (name, bot_id) values (new.name, new.bot_id)
        on conflict (name) do nothing;
        if not found then
            raise exception using
                errcode = 'MB005',
                message = format('bot name %L is taken', new.name),
                hint    = 'Choose another name.';
        end if;
    end if;
    return null;
end
$func$;

comment on function core_upkeep.claim_bot_name() is
    'Trigger on core.bots: keeps core.bot_names. MB005: another bot has the name.';

create function core_upkeep.misnamed_bots()
returns setof bigint
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select coalesce(b.bot_id, n.bot_id)
from core.bots as b
full join core.bot_names as n on n.bot_id = b.bot_id
where b.name is distinct from n.name
$func$;

comment on function core_upkeep.misnamed_bots() is
    'The bots whose claimed name is not their name, or that only a claim knows; for verify.sql.';

create function core_upkeep.count_new_messages()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set plan_cache_mode = force_generic_plan  -- or each message would cost planning
as $func$
declare
    v_new  record;
begin
    select min(bot_id) as bot_id, min(conversation_id) as conversation_id,
           (min(bot_id), min(conversation_id)) = (max(bot_id), max(conversation_id)) as is_one,
           count(*)::integer as messages, min(sent_at) as first_at, max(sent_at) as last_at
    into v_new
    from new_rows;

    if v_new.is_one then  -- what a bot does; the general form makes its insert half as dear again
        update core.conversations as c
        set message_count   = c.message_count + v_new.messages,
            started_at      = least(c.started_at, v_new.first_at),
            last_message_at = greatest(c.last_message_at, v_new.last_at)
        where c.bot_id = v_new.bot_id and c.conversation_id = v_new.conversation_id;
    elsif v_new.messages > 0 then
        with added as (
            select bot_id, conversation_id,
                   count(*)::integer as messages, min(sent_at) as first_at, max(sent_at) as last_at
            from new_rows
            group by bot_id, conversation_id
        ), locked as (
            -- always in key order: two bulk statements can't wait for each other
            select c.bot_id, c.conversation_id, a.messages, a.first_at, a.last_at
            from core.conversations as c
            join added as a using (bot_id, conversation_id)
            order by c.bot_id, c.conversation_id
            for no key update of c
        )
        update core.conversations as c
        set message_count   = c.message_count + l.messages,
            started_at      = least(c.started_at, l.first_at),
            last_message_at = greatest(c.last_message_at, l.last_at)
        from locked as l
        where c.bot_id = l.bot_id and c.conversation_id = l.conversation_id;
    end if;

    if v_new.first_at < date_trunc('day', now(), 'UTC') then
        insert into core.stale_days (bot_id, days)
        select bot_id, core.days_of(array_agg(sent_at)) from new_rows group by bot_id;
    end if;
    return null;
end
$func$;

comment on function core_upkeep.count_new_messages() is
    'Trigger on core.messages: one update per conversation and statement, not one per message; notes
days that are over.';

create function core_upkeep.recount(
    p_bots           bigint[],
    p_conversations  bigint[],
    p_changes        bigint[]
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    -- Two statements: the second one's snapshot is younger than the locks, so it sees the messages
    -- of whoever was waited for.
    perform
    from core.conversations as c
    join unnest(p_bots, p_conversations) as t (bot_id, conversation_id)
        using (bot_id, conversation_id)
    order by c.bot_id, c.conversation_id
    for no key update of c;

    update core.conversations as c
    set message_count   = c.message_count + t.change,
        started_at      = least(c.started_at, m.first_at),
        last_message_at = m.last_at
    from unnest(p_bots, p_conversations, p_changes) as t (bot_id, conversation_id, change)
    cross join lateral (
        select min(l.sent_at) as first_at, max(l.sent_at) as last_at
        from core.messages as l
        where l.bot_id = t.bot_id and l.conversation_id = t.conversation_id
    ) as m
    where c.bot_id = t.bot_id and c.conversation_id = t.conversation_id;
end
$func$;

comment on function core_upkeep.recount(bigint[], bigint[], bigint[]) is
    'Adds p_changes to the counts of conversations and reads their last time from what messages they
have left. started_at only ever moves back.';

create function core_upkeep.count_deleted_messages()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform core_upkeep.recount(array_agg(bot_id), array_agg(conversation_id), array_agg(-messages))
    from (
        select bot_id, conversation_id, count(*) as messages
        from old_rows
        group by bot_id, conversation_id
    ) as removed
    having count(*) > 0;

    insert into core.stale_days (bot_id, days)
    select bot_id, core.days_of(array_agg(sent_at)) from old_rows group by bot_id;
    return null;
end
$func$;

comment on function core_upkeep.count_deleted_messages() is
    'Trigger on core.messages: the conversations that lost messages are counted anew, their days
noted.';

create function core_upkeep.count_moved_messages()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_moved  record;
begin
    -- what two versions of a message have in common cancels out
    for v_moved in
        select array_agg(bot_id) as bots, array_agg(conversation_id) as conversations,
               array_agg(change) as changes, array_agg(days) as days
        from (
            select bot_id, conversation_id, sum(change)::bigint as change,
                   core.days_of(array_agg(sent_at)) as days
            from (
                select bot_id, conversation_id, sent_at, sum(change) as change
                from (
                    select *, -1 as change from old_rows
                    union all
                    select *, 1 from new_rows
                ) as r
                group by bot_id, conversation_id, message_id, sent_at, direction
                having sum(change) <> 0
            ) as moved
            group by bot_id, conversation_id
        ) as touched
        having count(*) > 0
    loop
        perform core_upkeep.recount(v_moved.bots, v_moved.conversations, v_moved.changes);
        insert into core.stale_days (bot_id, days)
        select * from unnest(v_moved.bots, v_moved.days);
    end loop;
    return null;
end
$func$;

comment on function core_upkeep.count_moved_messages() is
    'Trigger on core.messages: an UPDATE may move messages in time or to another conversation, or
turn their direction.';

create function core_upkeep.note_started()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    -- of an insert old is null, of a delete new
    insert into core.stale_days (bot_id, days)
    values (coalesce(new.bot_id, old.bot_id), core.days_of(array[old.started_at, new.started_at]));
    return null;
end
$func$;

comment on function core_upkeep.note_started() is
    'Trigger on core.conversations: notes the days on which there are now more or fewer new ones.';

do $triggers$
declare
    v_table  regclass;
begin
    for v_table in select core.bot_tables() loop
        execute format(
            'create trigger touch_updated_at before update on %s for each row '
            'when (old.* is distinct from new.*) execute function core.touch_updated_at()',
            v_table);
    end loop;
end
$triggers$;

create trigger claim_bot_name
    after insert or delete or update of bot_id, name on core.bots
    for each row execute function core_upkeep.claim_bot_name();

create trigger count_new_messages
    after insert on core.messages
    referencing new table as new_rows
    for each statement execute function core_upkeep.count_new_messages();

create trigger count_deleted_messages
    after delete on core.messages
    referencing old table as old_rows
    for each statement execute function core_upkeep.count_deleted_messages();

create trigger count_moved_messages
    after update on core.messages
    referencing old table as old_rows new table as new_rows
    for each statement execute function core_upkeep.count_moved_messages();

create trigger note_new_start
    after insert on core.conversations
    for each row when (new.started_at < date_trunc('day', now(), 'UTC'))
    execute function core_upkeep.note_started();

create trigger note_moved_start
    after update of started_at on core.conversations
    for each row when (old.started_at <> new.started_at)
    execute function core_upkeep.note_started();

create trigger note_lost_start
    after delete on core.conversations
    for each row execute function core_upkeep.note_started();

-- Recording a message ---------------------------------------------------------

create function core.ensure_contact(p_bot_id bigint, p_chat_id bigint, p_name text)
returns bigint
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_profile_id  bigint;
begin
    select profile_id into v_profile_id
    from core.girls_profiles
    where bot_id = p_bot_id and chat_id = p_chat_id
    order by profile_id
    limit 1;
    if found then
        return v_profile_id;
    end if;

    if not exists (select from core.bots where bot_id = p_bot_id) then
        raise exception using
            errcode = 'MB003',
            message = format('there is no bot %s', coalesce(p_bot_id::text, '(null)')),
            detail  = format('Login %s, role %s.', session_user, current_user),
            hint    = 'Log in as a bot, or pass p_bot_id; bots are listed in core.bots.';
    end if;

    -- in a private chat Telegram's chat_id is the person's own id
    insert into core.girls_profiles (bot_id, telegram_id, chat_id, name)
    values (p_bot_id, p_chat_id, p_chat_id, p_name)
    on conflict (bot_id, telegram_id) do nothing
    returning profile_id into v_profile_id;
    if not found then
        select profile_id into v_profile_id
        from core.girls_profiles
        where bot_id = p_bot_id and telegram_id = p_chat_id;
    end if;
    return v_profile_id;
end
$func$;

comment on function core.ensure_contact(bigint, bigint, text) is
    'profile_id of the contact of a chat, made if there is none (the name is for a new one only).
Safe against a concurrent first message. MB003: unknown bot.';

create function core.ensure_conversation(p_bot_id bigint, p_chat_id bigint, p_name text)
returns bigint
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_conversation_id  bigint;
begin
    select conversation_id into v_conversation_id
    from core.conversations
    where bot_id = p_bot_id and chat_id = p_chat_id;
    if found then
        return v_conversation_id;
    end if;

    insert into core.conversations (bot_id, profile_id, chat_id)
    values (p_bot_id, core.ensure_contact(p_bot_id, p_chat_id, p_name), p_chat_id)
    on conflict (bot_id, chat_id) do nothing
    returning conversation_id into v_conversation_id;
    if not found then
        select conversation_id into v_conversation_id
        from core.conversations
        where bot_id = p_bot_id and chat_id = p_chat_id;
    end if;
    return v_conversation_id;
end
$func$;

comment on function core.ensure_conversation(bigint, bigint, text) is
    'conversation_id of a chat, made with its contact if there is none. MB003: unknown bot.';

create function core.record_message(
    p_chat_id    bigint,
    p_direction  text,
    p_body       text,
    p_sent_at    timestamptz default now(),
    p_name       text        default null,
    p_bot_id     bigint      default core.current_bot_id()
)
returns bigint
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_sent_at     timestamptz := coalesce(p_sent_at, now());
    v_message_id  bigint;
begin
    perform core.check_message(p_chat_id, p_direction, p_body, v_sent_at);
    insert into core.messages (bot_id, conversation_id, direction, body, sent_at)
    values (
        p_bot_id, core.ensure_conversation(p_bot_id, p_chat_id, p_name),
        p_direction, p_body, v_sent_at)
    returning message_id into v_message_id;
    return v_message_id;
end
$func$;

comment on function core.record_message(bigint, text, text, timestamptz, text, bigint) is
    'Records one message and returns its message_id; makes the contact (named p_name) and the
conversation if the chat is new. Fifty concurrent first messages make one contact. A bot leaves
p_bot_id out. MB003: unknown bot; MB004: a value no message can have.';

create function core.check_message(
    p_chat_id    bigint,
    p_direction  text,
    p_body       text,
    p_sent_at    timestamptz
)
returns void
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_fault  text := case
        when p_chat_id is null then 'chat_id is null'
        when p_body is null then 'body is null'
        when p_direction is null or p_direction not in ('in', 'out')
            then format('direction is %s, not in or out', quote_nullable(p_direction))
        when p_sent_at < timestamptz '1970-01-01 00:00:00+00'
          or p_sent_at >= timestamptz '2100-01-01 00:00:00+00'
            then format('sent_at is %s, not between 1970 and 2099', p_sent_at)
    end;
begin
    if v_fault is not null then
        raise exception using
            errcode = 'MB004',
            message = v_fault,
            detail  = format('Chat %s.', coalesce(p_chat_id::text, 'null')),
            hint    = 'Correct this argument of core.record_message.';
    end if;
end
$func$;

comment on function core.check_message(bigint, text, text, timestamptz) is
    'Raises MB004 with the value if no message can have it, so that a bot gets our error and not a
constraint''s name.';

-- Grants ----------------------------------------------------------------------

revoke execute on all functions in schema core, core_upkeep from public;
