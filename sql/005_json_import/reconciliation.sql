-- Files against tables, by another road than the import's.

-- A second road from a file to what its rows should be: json instead of jsonb, times by arithmetic,
-- md5 instead of hashtext. It calls nothing that the loader calls, so that a fault of the loader
-- can't hide itself.

create function json_import.reread_micros(p_type text, p_value text)
returns bigint
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when p_type = 'number'
    then floor(0.5 + p_value::numeric
                     * case when p_value::numeric < 1e11 then 1000000 else 1000 end)
    else ((make_date(t[1]::integer, t[2]::integer, t[3]::integer) - date '1970-01-01')
          * 86400::bigint
          + t[4]::integer * 3600 + t[5]::integer * 60 + t[6]::integer
          - case when t[8] = '-' then -60 else 60 end
            * (coalesce(t[9], '0')::integer * 60 + coalesce(t[10], '0')::integer)) * 1000000
         + round(coalesce(t[7], '0')::float8 * 1000000)::bigint
    end::bigint
from (select regexp_match(
          p_value, e'^(\\d{4})-(\\d\\d)-(\\d\\d)[T ](\\d\\d):(\\d\\d):(\\d\\d)(\\.\\d+)?'
                   '(?:Z|([+-])(\\d\\d):?(\\d\\d)?)?$')) as u (t)
$func$;

comment on function json_import.reread_micros(text, text) is
    'Microseconds since 1970 of a time as a file has it (json type, text).';

create function json_import.reread_messages(p_bytes bytea)
returns table (ordinal bigint, direction text, body text, micros bigint, metadata text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select e.ordinal, e.value ->> 'direction', coalesce(e.value ->> 'text', e.value ->> 'content'),
       json_import.reread_micros(json_typeof(e.value -> 'ts'), e.value ->> 'ts'),
       nullif((e.value::jsonb - '{text,content,direction,ts}'::text[])::text, '{}')
from (select ltrim(convert_from(p_bytes, 'UTF8'), chr(65279))::json) as d (doc)
cross join lateral json_array_elements(
    case json_typeof(d.doc) when 'object' then d.doc -> 'messages' else d.doc end)
    with ordinality as e (value, ordinal)
$func$;

comment on function json_import.reread_messages(bytea) is
    'The messages of a conversation or backup, read by the second road.';

create function json_import.reconcile_messages(p_file json_import.file, p_bytes bytea)
returns table (records bigint, octets numeric, digest numeric, difference text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with source as (
    select m.*, row_number() over (
        partition by m.direction, m.micros, m.body, m.metadata order by m.ordinal) as nth
    from json_import.reread_messages(p_bytes) as m
), stored as (
    select m.message_id, m.source_file_id, m.direction, m.body,
           (extract(epoch from m.sent_at) * 1000000)::bigint as micros, m.metadata::text as metadata
    from core.conversations as c
    join core.messages as m using (bot_id, conversation_id)
    where c.bot_id = p_file.bot_id and c.chat_id = p_file.chat_id and c.thread_id = 0
      -- a conversation's rows are its own; a backup's messages may have come from anywhere
      and (p_file.kind = 'backup' or m.source_file_id = p_file.file_id)
), counted as (
    select s.*, row_number() over (
        partition by s.direction, s.micros, s.body,
                     case when p_file.kind = 'conversation' then s.metadata end
        order by s.message_id) as nth
    from stored as s
), missing as (
    select format('/%s: %s, %s bytes, is in the file and not in the table',
                  s.ordinal - 1, s.direction, octet_length(s.body)) as fact, s.ordinal as place
    from (
        select s.*, case when p_file.kind = 'backup' then row_number() over (
            partition by s.direction, s.micros, s.body order by s.ordinal) else s.nth end as want
        from source as s
    ) as s
    where not exists (
        select
        from counted as c
        where c.direction = s.direction and c.micros = s.micros and c.body = s.body
          and c.nth = s.want
          and (p_file.kind = 'backup' or c.metadata is not distinct from s.metadata))
), surplus as (
    select format('message_id %s: %s, %s bytes, is in the table and not in the file',
                  c.message_id, c.direction, octet_length(c.body)) as fact, c.message_id as place
    from counted as c
    where p_file.kind = 'conversation' and not exists (
        select
        from source as s
        where c.direction = s.direction and c.micros = s.micros and c.body = s.body
          and c.nth = s.nth and c.metadata is not distinct from s.metadata)
)
select count(*), coalesce(sum(octet_length(body)), 0),
       coalesce(sum(('x' || left(md5(concat_ws('|', direction, micros, body)), 16)
                    )::bit(64)::bigint), 0),
       coalesce((select fact from missing order by place limit 1),
                (select fact from surplus order by place limit 1))
from source
$func$;

comment on function json_import.reconcile_messages(json_import.file, bytea) is
    'Compares a conversation or backup with the table: messages, bytes of text, sum of hashes, and
the first difference (null: none). A backup''s messages must all be in the conversation.';

create function json_import.reconcile_contacts(p_file json_import.file, p_bytes bytea)
returns table (records bigint, octets numeric, digest numeric, difference text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with document as (
    select ltrim(convert_from(p_bytes, 'UTF8'), chr(65279))::json as doc
    where p_bytes is not null
), source as (
    select e.value as entry, coalesce(e.value ->> 'chat_id', e.name)::numeric::bigint as chat_id
    from (
        select null::text as name, doc as value from document where p_file.kind = 'profile'
        union all
        select o.key, o.value
        from document
        cross join lateral json_each(
            case when p_file.kind = 'profiles' and json_typeof(doc) = 'object' then doc end) as o
        union all
        select null, a.value
        from document
        cross join lateral json_array_elements(
            case when p_file.kind = 'profiles' and json_typeof(doc) = 'array' then doc end) as a
    ) as e
), difference as (
    select format('chat %s: %s', s.chat_id, case
               when g.profile_id is null then 'is in the file and not in the table'
               when g.name is distinct from s.entry ->> 'name' then 'name differs'
               when g.telegram_id <> coalesce((s.entry ->> 'telegram_id')::numeric, s.chat_id)
                   then 'telegram_id differs'
               when (extract(epoch from g.last_activity) * 1000000)::bigint is distinct from
                    json_import.reread_micros(json_typeof(s.entry -> 'last_activity'),
                                              s.entry ->> 'last_activity')
                   then 'last_activity differs'
               when g.message_count <> coalesce((s.entry ->> 'message_count')::numeric, 0)
                   then 'message_count differs'
               when g.summary <> coalesce((s.entry ->> 'summary')::jsonb, '{}')
                   then 'summary differs'
               when g.profile <> coalesce((s.entry ->> 'profile')::jsonb, '{}')
                   then 'profile differs'
               when g.previous_response_id is distinct from s.entry ->> 'previous_response_id'
                   then 'previous_response_id differs'
           end) as fact,
           s.chat_id
    from source as s
    left join lateral (
        select c.*
        from core.girls_profiles as c
        where c.bot_id = p_file.bot_id and c.chat_id = s.chat_id
        order by c.profile_id
        limit 1
    ) as g on true
    left join json_import.profile_source as o
        on o.bot_id = p_file.bot_id and o.profile_id = g.profile_id
    -- a contact of another file, or that a bot made or changed, is not this file's to vouch for
    where g.profile_id is null
       or (o.file_id = p_file.file_id and o.digest <> 0 and g.updated_at <= p_file.imported_at)
)
select (select count(*) from source),
       (select coalesce(sum(octet_length(s.entry::text)), 0) from source as s),
       (select coalesce(sum(('x' || left(md5(s.entry::text), 16))::bit(64)::bigint), 0)
        from source as s),
       (select fact from difference where fact !~ ': $' order by chat_id limit 1)
$func$;

comment on function json_import.reconcile_contacts(json_import.file, bytea) is
    'The same for a profile, or a file of profiles: the first contact whose row says something
else.';

create function json_import.reconcile(p_bot_id bigint, p_paths text[], p_docs bytea[])
returns table (path text, chat_id bigint, verdict text, records bigint, octets numeric,
               digest numeric, difference text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select u.path, f.chat_id,
       case when f.file_id is null or f.sha256 is distinct from sha256(u.bytes)
              or coalesce(m.difference, c.difference) is not null then 'different'
            when f.status = 'quarantined' then 'quarantined'
            else 'equal' end,
       coalesce(m.records, c.records, 0), coalesce(m.octets, c.octets, 0),
       coalesce(m.digest, c.digest, 0),
       case when f.file_id is null then 'the file was never imported'
            when f.sha256 is distinct from sha256(u.bytes) then 'the file changed since its import'
            else coalesce(m.difference, c.difference) end
from unnest(p_paths, p_docs) as u (path, bytes)
left join json_import.file as f on f.bot_id = p_bot_id and f.path = u.path
-- only what was loaded can be read again: the bytes of anything else are not passed on
left join lateral json_import.reconcile_messages(f, case
        when f.status = 'loaded' and f.kind in ('conversation', 'backup')
         and f.sha256 = sha256(u.bytes) then u.bytes end) as m
    on f.kind in ('conversation', 'backup')
left join lateral json_import.reconcile_contacts(f, case
        when f.status = 'loaded' and f.kind in ('profile', 'profiles')
         and f.sha256 = sha256(u.bytes) then u.bytes end) as c
    on f.kind in ('profile', 'profiles')
$func$;

comment on function json_import.reconcile(bigint, text[], bytea[]) is
    'Compares files, as they are now, with what the tables hold: one row per file, verdict equal,
different (difference names the first one) or quarantined.';
