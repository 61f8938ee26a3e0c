-- Many files in one statement.

create function json_import.bom_warning(p_bytes bytea)
returns jsonb
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when substr(p_bytes, 1, 3) = e'\\xefbbbf' then jsonb '{"bom": 1}' else jsonb '{}' end
$func$;

comment on function json_import.bom_warning(bytea) is 'Counts a byte order mark as a warning.';

create function json_import.count_warning(p_warning text, p_times bigint)
returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when p_times > 0 then jsonb_build_object(p_warning, p_times) else '{}' end
$func$;

comment on function json_import.count_warning(text, bigint) is 'A warning''s count, if any.';

create function json_import.new_conversations(
    p_bot_id    bigint,
    p_paths     text[],
    p_chat_ids  bigint[],
    p_docs      bytea[]
)
returns table (ordinal bigint, path text, chat_id bigint, octets integer, warnings jsonb,
               messages jsonb, strings bigint, file_id bigint, conversation_id bigint,
               profile_id bigint)
language sql
set search_path = pg_catalog, pg_temp
as $func$
select u.ordinal, u.path, u.chat_id, octet_length(u.bytes), json_import.bom_warning(u.bytes),
       case jsonb_typeof(d.content)
           when 'array' then d.content
           when 'object' then
               case when d.content -> 'chat_id' = to_jsonb(u.chat_id)
                    then d.content -> 'messages' end
       end,
       d.strings - case jsonb_typeof(d.content)
           when 'object' then cardinality(json_import.column_keys('wrapper')) else 0 end,
       nextval('json_import.file_file_id_seq'),
       nextval((select json_import.sequence_for('core.conversations_conversation_id_seq'))),
       -- locked, which is what the foreign key's trigger would do, but once per file
       (select g.profile_id
        from core.girls_profiles as g
        where g.bot_id = p_bot_id and g.chat_id = u.chat_id
        order by g.profile_id
        limit 1
        for key share)
from unnest(p_paths, p_chat_ids, p_docs) with ordinality as u (path, chat_id, bytes, ordinal)
cross join lateral json_import.read_document(u.bytes) as d
where not exists (
    select from json_import.file as f where f.bot_id = p_bot_id and f.path = u.path)
  and not exists (
    select from core.conversations as c
    where c.bot_id = p_bot_id and c.chat_id = u.chat_id and c.thread_id = 0)
$func$;

comment on function json_import.new_conversations(bigint, text[], bigint[], bytea[]) is
    'Of a batch the files that are new, with a chat that is new, each parsed once: its array of
messages (null: of another shape), how many strings are in it if nothing else is in the file, the
ids it will get, and its contact, locked.';

create function json_import.load_conversations(
    p_run_id    bigint,
    p_bot_id    bigint,
    p_paths     text[],
    p_chat_ids  bigint[],
    p_docs      bytea[],
    p_sha256s   bytea[]
)
returns integer[]
language sql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set jit = off
set enable_nestloop = off  -- how many messages a document holds, the planner can't know
as $func$
with document as materialized (
    select d.*, row_number() over (order by d.ordinal) as list
    from json_import.new_conversations(p_bot_id, p_paths, p_chat_ids, p_docs) as d
), message as materialized (
    -- numbered here, where they come in order: no join keeps one
    select m.*, nextval((select json_import.sequence_for('core.messages_message_id_seq'))
           ) as message_id
    from json_import.plain_messages(
        (select array_agg(d.messages order by d.list) from document as d)) as m
), total as (
    select m.list, count(*) as messages, count(*) filter (where m.is_iso) as iso_times,
           count(*) filter (where m.has_no_zone) as no_zone, bool_and(m.is_sound) as is_sound,
           min(m.sent_at) as first_at, max(m.sent_at) as last_at,
           sum(octet_length(m.body)) as body_octets, sum(m.digest) as digest,
           sum(hashint8extended(m.digest, m.place)) as sequence
    from message as m group by m.list
), plain as materialized (
    select d.list, d.ordinal, d.path, d.chat_id, d.octets, d.warnings, d.file_id, d.conversation_id,
           d.profile_id, t.first_at, t.last_at, coalesce(t.messages, 0)::integer as records,
           coalesce(t.body_octets, 0) as body_octets, coalesce(t.digest, 0) as digest,
           coalesce(t.sequence, 0) as sequence, coalesce(t.no_zone, 0) as no_zone
    from document as d left join total as t using (list)
    where d.profile_id is not null
      and coalesce(t.messages, 0) = jsonb_array_length(
              case when jsonb_typeof(d.messages) = 'array' then d.messages end)
      and t.is_sound is not false
      -- one string more, and there is an unknown or a repeated key somewhere
      and d.strings = json_import.strings_per_message() * coalesce(t.messages, 0)
                      + coalesce(t.iso_times, 0)
), stored_conversation as (
    insert into core.conversations (bot_id, conversation_id, profile_id, chat_id, started_at)
    overriding system value
    select p_bot_id, conversation_id, profile_id, chat_id, least(first_at, now()) from plain
), total_of_chat as (
    insert into core.conversation_totals (bot_id, conversation_id, message_count, last_message_at)
    select p_bot_id, conversation_id, records, last_at from plain
    where current_setting('session_replication_role') = 'replica'  -- no trigger does it
), stored_message as (
    insert into core.messages (
        bot_id, conversation_id, message_id, source_file_id, direction, body, sent_at)
    overriding system value
    select p_bot_id, p.conversation_id, m.message_id, p.file_id, m.direction, m.body, m.sent_at
    from message as m join plain as p using (list)
), stale as (
    insert into core.stale_days (bot_id, days)
    select p_bot_id, core.days_of(array_agg(m.sent_at)) from message as m having bool_or(m.is_sound)
), stored_file as (
    insert into json_import.file (
        file_id, bot_id, path, kind, chat_id, status, sha256, octets, records, row_count,
        body_octets, digest, sequence, warnings, run_id)
    overriding system value
    select file_id, p_bot_id, path, 'conversation', chat_id, 'loaded', p_sha256s[ordinal],
           octets, records, records, body_octets, digest, sequence,
           warnings || json_import.count_warning('no_zone', no_zone), p_run_id
    from plain
)
select coalesce(array_agg(o.ordinal order by o.ordinal), '{}')
from generate_subscripts(p_paths, 1) as o (ordinal)
where o.ordinal not in (select p.ordinal from plain as p)
$func$;

comment on function json_import.load_conversations(
    bigint, bigint, text[], bigint[], bytea[], bytea[]) is
    'Loads the conversations that are new and of the common shape, all in one statement; returns the
ordinals of the others. Any error leaves nothing behind and is the caller''s to look into.';

create function json_import.is_plain_profile(p_doc jsonb, p_chat_id bigint)
returns boolean
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
select coalesce(
    jsonb_typeof(p_doc) = 'object' and not json_import.has_huge_number(p_doc)
    and p_doc -> 'chat_id' = to_jsonb(p_chat_id)
    and not exists (
        select
        from jsonb_each(p_doc) as m
        where jsonb_typeof(m.value) <> 'null'
          and case json_import.key_rules('profile') ->> m.key
              when 'chat' then false
              when 'string' then jsonb_typeof(m.value) <> 'string'
              when 'object' then jsonb_typeof(m.value) <> 'object'
              when 'count' then m.value::text !~ '^[0-9]{1,9}$'
              when 'person' then m.value::text !~ '^[1-9][0-9]{0,17}$'
              when 'time' then json_import.time_fault(m.value) is not null
              else json_import.key_rules('profile') ? m.key end)
    and not coalesce(p_doc -> 'summary' @? 'strict $.* ? (@.type() != "string")', false)
    -- a level takes eight octets; and in what takes so few, no text is larger than its column
    and (pg_column_size(p_doc || '{}') <= 4096 or not json_import.is_too_deep(null, p_doc))
    and pg_column_size(p_doc || '{}') <= 65536,
    false)
$func$;

comment on function json_import.is_plain_profile(jsonb, bigint) is
    'Whether a profile is sound at a glance; what is not may still be, and gets a diagnosis.';

create function json_import.load_profiles(
    p_run_id    bigint,
    p_bot_id    bigint,
    p_paths     text[],
    p_chat_ids  bigint[],
    p_docs      bytea[],
    p_sha256s   bytea[]
)
returns integer[]
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set jit = off
as $func$
declare
    v_ordinals  integer[];
    v_file_ids  bigint[];
    v_rows      json_import.profile_row[];
begin
    with document as materialized (
        select u.ordinal, u.path, u.chat_id, u.bytes, d.content, d.strings,
               nextval('json_import.file_file_id_seq') as file_id
        from unnest(p_paths, p_chat_ids, p_docs)
            with ordinality as u (path, chat_id, bytes, ordinal)
        cross join lateral json_import.read_document(u.bytes) as d
        where not exists (
            select from json_import.file as f where f.bot_id = p_bot_id and f.path = u.path)
          and not exists (
            select from core.girls_profiles as g
            where g.bot_id = p_bot_id and g.chat_id = u.chat_id)
    ), plain as materialized (
        select d.ordinal, d.path, d.bytes, d.file_id, r as profile
        from document as d
        cross join lateral json_import.profiles_of(d.content, 'profile', d.chat_id) as r
        where case when json_import.is_plain_profile(d.content, d.chat_id)
                   then d.strings = json_import.string_count(d.content::text) end
    ), stored_file as (
        insert into json_import.file (
            file_id, bot_id, path, kind, chat_id, status, sha256, octets, records, row_count,
            warnings, run_id)
        overriding system value
        select file_id, p_bot_id, path, 'profile', (profile).chat_id, 'loaded', p_sha256s[ordinal],
               octet_length(bytes), 1, 1,
               json_import.bom_warning(bytes)
               || json_import.count_warning('no_zone', (profile).has_no_zone::integer)
               || json_import.count_warning(
                      'unknown_key', (select count(*) from jsonb_object_keys((profile).extra))),
               p_run_id
        from plain
    )
    select array_agg(ordinal::integer), array_agg(file_id), array_agg(profile)
    into v_ordinals, v_file_ids, v_rows
    from plain;
    perform json_import.insert_profiles(p_bot_id, v_file_ids, v_rows);
    return array(
        select o.ordinal
        from generate_subscripts(p_paths, 1) as o (ordinal)
        where o.ordinal not in (select unnest(v_ordinals))
        order by o.ordinal);
end
$func$;

comment on function json_import.load_profiles(
    bigint, bigint, text[], bigint[], bytea[], bytea[]) is
    'The same for profiles of new contacts, one to a file.';
