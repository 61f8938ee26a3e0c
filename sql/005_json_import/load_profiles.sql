-- One file of profiles, looked at closely.

create function json_import.refill_profiles(
    p_file_id  bigint,
    p_bot_id   bigint,
    p_kind     text,
    p_chat_id  bigint,
    p_doc      jsonb
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
with incoming as (
    select r.*, g.profile_id,
           not e.is_same and s.digest is distinct from json_import.profile_digest(g) as is_live
    from json_import.profiles_of(p_doc, p_kind, p_chat_id) as r
    cross join lateral (
        select *
        from core.girls_profiles as c
        where c.bot_id = p_bot_id and c.chat_id = r.chat_id
        order by c.telegram_id = r.telegram_id desc, c.profile_id
        limit 1
    ) as g
    cross join lateral (
        select (g.telegram_id, g.chat_id, g.name, g.last_activity, g.message_count, g.summary,
                g.profile, g.previous_response_id, g.extra)
               is not distinct from
               (r.telegram_id, r.chat_id, r.name, r.last_activity, r.message_count, r.summary,
                r.profile, r.previous_response_id, r.extra)) as e (is_same)
    left join json_import.profile_source as s
        on s.bot_id = p_bot_id and s.profile_id = g.profile_id
    left join json_import.file as f on f.bot_id = p_bot_id and f.file_id = s.file_id
    -- a contact's own file is newer than the file of all contacts; of a contact that is older than
    -- this ledger nobody knows whether it has one
    where not (p_kind = 'profiles' and coalesce(
        f.kind = 'profile',
        not e.is_same and g.created_at < (
            select max(n.started_at) from json_import.run as n where n.options ? 'found')))
), updated as (
    update core.girls_profiles as g
    set telegram_id   = case when i.is_live then g.telegram_id else i.telegram_id end,
        name          = case when i.is_live then coalesce(g.name, i.name) else i.name end,
        last_activity = case when i.is_live then greatest(g.last_activity, i.last_activity)
                             else i.last_activity end,
        message_count = case when i.is_live then greatest(g.message_count, i.message_count)
                             else i.message_count end,
        summary       = case when i.is_live then i.summary || g.summary else i.summary end,
        profile       = case when i.is_live then i.profile || g.profile else i.profile end,
        previous_response_id =
            case when i.is_live then coalesce(g.previous_response_id, i.previous_response_id)
                 else i.previous_response_id end,
        extra         = case when i.is_live then i.extra || g.extra else i.extra end
    from incoming as i
    where g.bot_id = p_bot_id and g.profile_id = i.profile_id
    returning g.profile_id,
              case when i.is_live then 0 else json_import.profile_digest(g) end as digest
)
insert into json_import.profile_source as s (bot_id, profile_id, file_id, digest)
select p_bot_id, profile_id, p_file_id, digest
from updated
on conflict (bot_id, profile_id) do update
    set file_id = excluded.file_id, digest = excluded.digest
$func$;

comment on function json_import.refill_profiles(bigint, bigint, text, bigint, jsonb) is
    'Brings contacts that are here already in line with a file. A row as the import left it is
replaced; one that a bot made or changed keeps what it says, and only its blanks are filled.';

create function json_import.add_profiles(
    p_file_id  bigint,
    p_bot_id   bigint,
    p_kind     text,
    p_chat_id  bigint,
    p_doc      jsonb
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
select json_import.insert_profiles(p_bot_id, array_agg(p_file_id), array_agg(r))
from json_import.profiles_of(p_doc, p_kind, p_chat_id) as r
where not exists (
    select
    from core.girls_profiles as c
    where c.bot_id = p_bot_id and c.chat_id = r.chat_id)
$func$;

comment on function json_import.add_profiles(bigint, bigint, text, bigint, jsonb) is
    'Stores the contacts that are new. 23505: another contact of the bot has the telegram_id.';

create function json_import.warnings_of(
    p_doc      jsonb,
    p_kind     text,
    p_chat_id  bigint,
    p_bot_id   bigint,
    p_file_id  bigint
)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
select coalesce(jsonb_object_agg(w.warning, w.times) filter (where w.times > 0), '{}')
from (
    select 'no_zone', count(*)
    from json_import.messages_of(p_doc) as m
    where p_kind in ('conversation', 'backup') and m.has_no_zone
    having p_kind in ('conversation', 'backup')
    union all
    select 'no_zone', count(*)
    from json_import.profiles_of(p_doc, p_kind, p_chat_id) as p
    where p.has_no_zone
    having p_kind in ('profile', 'profiles')
    union all
    select 'unknown_key',
           (select count(*)
            from json_import.messages_of(p_doc) as m
            cross join lateral jsonb_object_keys(m.metadata))
           + (select count(*)
              from jsonb_object_keys(case when jsonb_typeof(p_doc) = 'object' then p_doc end) as k
              where k <> all (json_import.key_names('wrapper')))
    where p_kind in ('conversation', 'backup')
    union all
    select 'unknown_key', count(*)
    from json_import.profiles_of(p_doc, p_kind, p_chat_id) as p
    cross join lateral jsonb_object_keys(p.extra)
    having p_kind in ('profile', 'profiles')
    union all
    select 'no_profile', 1
    where p_kind in ('conversation', 'backup')
      and json_import.lacks_profile(p_bot_id, p_chat_id, p_file_id)
) as w (warning, times)
$func$;

comment on function json_import.warnings_of(jsonb, text, bigint, bigint, bigint) is
    'Counts of what was accepted but is odd: no_zone, unknown_key, no_profile; to be asked before
the file''s rows are stored.';

create function json_import.record_count(p_doc jsonb, p_kind text)
returns integer
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case
    when p_kind = 'profile' then 1
    when p_kind = 'profiles' and jsonb_typeof(p_doc) = 'object' then
        (select count(*) from jsonb_object_keys(p_doc))
    when p_kind = 'profiles' then jsonb_array_length(p_doc)
    else (select count(*) from json_import.message_elements(p_doc))
end
$func$;

comment on function json_import.record_count(jsonb, text) is 'Messages or profiles in a document.';

create function json_import.recount_profiles(p_bot_id bigint, p_file_ids bigint[])
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
update json_import.file as f
set row_count = (
    select count(*)
    from json_import.profile_source as s
    where s.bot_id = f.bot_id and s.file_id = f.file_id)
where f.bot_id = p_bot_id and f.file_id = any (p_file_ids) and f.kind in ('profile', 'profiles')
$func$;

comment on function json_import.recount_profiles(bigint, bigint[]) is
    'Brings files'' counts of contacts in the ledger in line: a file of its own takes a contact
over.';
