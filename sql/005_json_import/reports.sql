-- What is wrong with which file; what the import brought.

create view json_import.rejects with (security_invoker = true) as
select b.name as bot, f.path, r.pointer, r.code, c.name, r.message, c.remedy as hint, r.excerpt,
       r.bot_id, f.run_id, r.ordinal
from json_import.reject as r
join json_import.file as f using (bot_id, file_id)
join core.bots as b using (bot_id)
join core.error_code as c on c.code = r.code;

comment on view json_import.rejects is
    'Every defect in quarantine with its file and the next step.';
comment on column json_import.rejects.hint is 'The next step.';

create function json_import.list_rejects(p_bot_id bigint default null, p_code text default null)
returns table (bot text, path text, pointer text, code text, message text, hint text, excerpt text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select r.bot, r.path, r.pointer, r.code, r.message, r.hint, r.excerpt
from json_import.rejects as r
where (p_bot_id is null or r.bot_id = p_bot_id)
  and (p_code is null or r.code = p_code)
  and security.may_see(r.bot_id)
order by r.bot, r.path, r.ordinal
$func$;

comment on function json_import.list_rejects(bigint, text) is
    'Every defect in quarantine, of the bots that the caller may see, with the next step.';

create function json_import.list_changes(p_run_id bigint)
returns table (bot text, path text, status text, row_count integer, defects integer)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select b.name, f.path, f.status, f.row_count, f.defects
from json_import.file as f
join core.bots as b using (bot_id)
where f.run_id = p_run_id
order by b.name, f.path
$func$;

comment on function json_import.list_changes(bigint) is
    'What a run made of each file that it did not find unchanged.';

create function json_import.list_kept(p_bot_id bigint default null)
returns table (bot text, path text, bot_id bigint, file_id bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select b.name, f.path, f.bot_id, f.file_id
from json_import.file as f
join core.bots as b using (bot_id)
where f.status = 'quarantined'
  and (p_bot_id is null or f.bot_id = p_bot_id)
  and exists (select from json_import.kept_bytes as k
              where k.bot_id = f.bot_id and k.file_id = f.file_id)
order by b.name, f.path
$func$;

comment on function json_import.list_kept(bigint) is 'The quarantined files whose bytes are kept.';

create function json_import.kept_parts(p_bot_id bigint, p_file_id bigint)
returns setof bytea
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select bytes from json_import.kept_bytes
where bot_id = p_bot_id and file_id = p_file_id
order by part
$func$;

comment on function json_import.kept_parts(bigint, bigint) is
    'The bytes of a quarantined file, in order; only a very large one has several parts.';

create function json_import.report(p_bot_id bigint default null)
returns table (bot text, bot_id bigint, loaded bigint, quarantined bigint, ignored bigint,
               contacts bigint, messages bigint, octets numeric, warnings jsonb)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select b.name, b.bot_id,
       count(*) filter (where f.status = 'loaded'),
       count(*) filter (where f.status = 'quarantined'),
       count(*) filter (where f.status = 'ignored'),
       coalesce(sum(f.row_count) filter (where f.kind in ('profile', 'profiles')), 0),
       coalesce(sum(f.row_count) filter (where f.kind in ('conversation', 'backup')), 0),
       coalesce(sum(f.octets), 0),
       (select coalesce(jsonb_object_agg(w.key, w.times), '{}')
        from (select e.key, sum(e.value::numeric) as times
              from json_import.file as k
              cross join lateral jsonb_each_text(k.warnings) as e
              where k.bot_id = b.bot_id
              group by e.key) as w)
from core.bots as b
join json_import.file as f on f.bot_id = b.bot_id
where p_bot_id is null or b.bot_id = p_bot_id
group by b.name, b.bot_id
order by b.name
$func$;

comment on function json_import.report(bigint) is
    'Per bot: files by outcome, rows that came from them, bytes read, warnings by kind.';

create function json_import.rejects_by_code(p_bot_id bigint default null)
returns table (code text, name text, files bigint, defects bigint, remedy text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select r.code, r.name, count(distinct (r.bot_id, r.path)), count(*), min(r.hint)
from json_import.rejects as r
where p_bot_id is null or r.bot_id = p_bot_id
group by r.code, r.name
order by r.code
$func$;

comment on function json_import.rejects_by_code(bigint) is
    'What is in quarantine, by code: files, defects, and the next step.';

create function json_import.messages_by_month(p_bot_id bigint default null)
returns table (month text, messages_in bigint, messages_out bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select to_char(date_trunc('month', m.sent_at, 'UTC') at time zone 'UTC', 'YYYY-MM'),
       count(*) filter (where m.direction = 'in'), count(*) filter (where m.direction = 'out')
from core.messages as m
where m.source_file_id is not null and (p_bot_id is null or m.bot_id = p_bot_id)
group by date_trunc('month', m.sent_at, 'UTC')
order by date_trunc('month', m.sent_at, 'UTC')
$func$;

comment on function json_import.messages_by_month(bigint) is
    'Imported messages by month (UTC): (YYYY-MM, messages_in, messages_out).';

create function json_import.recent_runs(p_limit integer default 10)
returns table (run_id bigint, source text, started_at timestamptz, seconds numeric, files bigint,
               octets numeric, octets_per_second numeric, unchanged bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select r.run_id, r.source, r.started_at, round(s.seconds, 1), f.files, f.octets,
       round(f.octets / nullif(s.seconds, 0)), r.unchanged
from json_import.run as r
cross join lateral (select extract(epoch from r.finished_at - r.started_at)) as s (seconds)
cross join lateral (
    select count(*), coalesce(sum(k.octets), 0)
    from json_import.file as k
    where k.run_id = r.run_id
) as f (files, octets)
order by r.run_id desc
limit p_limit
$func$;

comment on function json_import.recent_runs(integer) is
    'The latest runs with their throughput, as far as the ledger still names them as a file''s last;
seconds is null for a run that was killed.';
