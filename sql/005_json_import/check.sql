-- Ledger against tables.

create function json_import.check_messages()
returns table (check_name text, ok boolean, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with result (place, check_name, offenders) as (
    select 1, 'every loaded file has exactly its messages in core.messages', (
        select string_agg(f.path, ', ')
        from (
            select f.bot_id, f.path
            from json_import.file as f
            left join (
                select m.bot_id, m.source_file_id, c.chat_id, count(*) as row_count,
                       sum(octet_length(m.body)) as body_octets,
                       sum(json_import.message_digest(m.direction, m.body, m.sent_at, m.metadata))
                           as digest
                from core.messages as m
                join core.conversations as c using (bot_id, conversation_id)
                where m.source_file_id is not null
                group by m.bot_id, m.source_file_id, c.chat_id
            ) as t on t.bot_id = f.bot_id and t.source_file_id = f.file_id
                  and t.chat_id = f.chat_id
            where f.kind in ('conversation', 'backup')
              and (f.row_count, f.body_octets, f.digest)
                  is distinct from (coalesce(t.row_count, 0)::integer,
                                    coalesce(t.body_octets, 0)::bigint, coalesce(t.digest, 0))
            order by f.bot_id, f.path
            limit 20
        ) as f)
    union all
    select 2, 'every imported message belongs to a file of the ledger', (
        select string_agg(format('bot %s file %s', m.bot_id, m.source_file_id), ', ')
        from (
            select distinct bot_id, source_file_id
            from core.messages
            where source_file_id is not null
        ) as m
        where not exists (
            select
            from json_import.file as f
            where f.bot_id = m.bot_id and f.file_id = m.source_file_id))
)
select check_name, offenders is null as ok, offenders as detail
from result
order by place
$func$;

comment on function json_import.check_messages() is 'The part of check() about messages.';

create function json_import.check_files()
returns table (check_name text, ok boolean, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with result (place, check_name, offenders) as (
    select 3, 'every loaded file has its contacts', (
        select string_agg(f.path, ', ')
        from json_import.file as f
        where f.kind in ('profile', 'profiles')
          and f.row_count <> (
            select count(*)
            from json_import.profile_source as s
            join core.girls_profiles as g using (bot_id, profile_id)
            where s.bot_id = f.bot_id and s.file_id = f.file_id))
    union all
    select 4, 'every imported message has its conversation, and that its contact', (
        select string_agg(format('bot %s conversation %s', m.bot_id, m.conversation_id), ', ')
        from (
            select bot_id, conversation_id
            from core.messages
            where source_file_id is not null
            group by bot_id, conversation_id
        ) as m
        where not exists (
            select
            from core.conversations as c
            join core.girls_profiles as g using (bot_id, profile_id)
            where c.bot_id = m.bot_id and c.conversation_id = m.conversation_id))
    union all
    select 5, 'every quarantined file says why', (
        select string_agg(f.path, ', ')
        from json_import.file as f
        where f.status = 'quarantined'
          and least(f.defects, 1000) <> (
            select count(*)
            from json_import.reject as r
            where r.bot_id = f.bot_id and r.file_id = f.file_id))
    union all
    select 6, 'the bytes kept are the bytes read', (
        select string_agg(f.path, ', ')
        from json_import.file as f
        where f.sha256 is not null and f.status = 'quarantined'
          and f.sha256 is distinct from (
            select sha256(string_agg(k.bytes, '' order by k.part))
            from json_import.kept_bytes as k
            where k.bot_id = f.bot_id and k.file_id = f.file_id))
    union all
    select 7, 'every code of a defect is explained', (
        select string_agg(distinct r.code, ', ')
        from json_import.reject as r
        where not exists (select from core.error_code as c where c.code = r.code))
)
select check_name, offenders is null as ok, offenders as detail
from result
order by place
$func$;

comment on function json_import.check_files() is
    'The part of check() about contacts, and about what was not loaded.';

create function json_import.check()
returns table (check_name text, ok boolean, detail text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
as $func$
select * from json_import.check_messages()
union all
select * from json_import.check_files()
$func$;

comment on function json_import.check() is
    'Whether the tables hold what the ledger says: (check_name, ok, detail), for verify.sql.';
