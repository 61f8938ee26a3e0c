-- The rows of a file's profiles.

create type json_import.profile_row as (
    chat_id               bigint,
    telegram_id           bigint,
    name                  text,
    last_activity         timestamptz,
    message_count         integer,
    summary               jsonb,
    profile               jsonb,
    previous_response_id  text,
    extra                 jsonb,
    has_no_zone           boolean
);

comment on type json_import.profile_row is
    'What a profile in a file becomes in core.girls_profiles; has_no_zone: its last_activity is
taken for UTC.';

create function json_import.profiles_of(p_doc jsonb, p_kind text, p_chat_id bigint)
returns setof json_import.profile_row
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
select c.chat_id, coalesce((e.entry ->> 'telegram_id')::numeric::bigint, c.chat_id),
       e.entry ->> 'name', json_import.to_time(nullif(e.entry -> 'last_activity', 'null')),
       coalesce((e.entry ->> 'message_count')::numeric::integer, 0),
       coalesce(nullif(e.entry -> 'summary', 'null'), '{}'),
       coalesce(nullif(e.entry -> 'profile', 'null'), '{}'),
       e.entry ->> 'previous_response_id',
       e.entry - json_import.column_keys('profile'),
       jsonb_typeof(e.entry -> 'last_activity') = 'string'
       and e.entry ->> 'last_activity' !~ json_import.zone_pattern()
from json_import.profile_entries(p_doc, p_kind, p_chat_id) as e
cross join lateral (
    select coalesce((e.entry ->> 'chat_id')::numeric::bigint, e.expected)) as c (chat_id)
$func$;

comment on function json_import.profiles_of(jsonb, text, bigint) is
    'The rows that a sound profile, or file of profiles, makes.';

create function json_import.profile_digest(p_row core.girls_profiles)
returns bigint
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select hashtextextended(jsonb_build_array(
    p_row.telegram_id, p_row.chat_id, p_row.name, p_row.last_activity, p_row.message_count,
    p_row.summary, p_row.profile, p_row.previous_response_id, p_row.extra)::text, 0)
$func$;

comment on function json_import.profile_digest(core.girls_profiles) is
    'Hash of what a contact''s row says: equal while nobody changes it.';

create function json_import.insert_profiles(
    p_bot_id    bigint,
    p_file_ids  bigint[],
    p_rows      json_import.profile_row[]
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
with inserted as (
    insert into core.girls_profiles as g (
        bot_id, profile_id, telegram_id, chat_id, name, last_activity, message_count, summary,
        profile, previous_response_id, extra)
    overriding system value
    select p_bot_id,
           nextval((select json_import.sequence_for('core.girls_profiles_profile_id_seq'))),
           r.telegram_id, r.chat_id, r.name, r.last_activity, r.message_count,
           r.summary, r.profile, r.previous_response_id, r.extra
    from unnest(p_rows) as r
    returning g.profile_id, g.telegram_id, json_import.profile_digest(g) as digest
)
insert into json_import.profile_source (bot_id, profile_id, file_id, digest)
select p_bot_id, i.profile_id, r.file_id, i.digest
from inserted as i
join rows from (unnest(p_file_ids), unnest(p_rows)) as r (
    file_id, chat_id, telegram_id) using (telegram_id)
$func$;

comment on function json_import.insert_profiles(
    bigint, bigint[], json_import.profile_row[]) is
    'Stores new contacts, each with the file that it is from. 23505: another contact of the bot has
the telegram_id.';
