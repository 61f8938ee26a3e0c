-- The rows of a file's profiles.

create function json_import.profiles_of(p_doc jsonb, p_kind text, p_chat_id bigint)
returns table (chat_id bigint, telegram_id bigint, name text, last_activity timestamptz,
               message_count integer, summary jsonb, profile jsonb, previous_response_id text,
               extra jsonb, has_no_zone boolean)
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
       e.entry - '{chat_id,telegram_id,name,last_activity,message_count}'::text[]
               - '{summary,profile,previous_response_id}'::text[],
       jsonb_typeof(e.entry -> 'last_activity') = 'string'
       and e.entry ->> 'last_activity' !~ '(Z|[+-][0-9:]+)$'
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
