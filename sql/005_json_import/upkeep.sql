-- What is kept for a time; probes.

create function json_import.drop_kept_bytes(p_keep interval)
returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_files  integer;
begin
    with old as (
        update json_import.file as f
        set must_reread = true
        where f.status = 'quarantined' and f.imported_at < now() - p_keep
          and exists (select from json_import.kept_bytes as k
                      where k.bot_id = f.bot_id and k.file_id = f.file_id)
        returning f.file_id, f.bot_id
    ), dropped as (
        delete from json_import.kept_bytes as k
        using old
        where k.bot_id = old.bot_id and k.file_id = old.file_id
    ), told as (
        select audit.log_event('quarantine_ended', 'notice', jsonb_build_object(
                   'files', count(*), 'kept', p_keep), bot_id), count(*) as files
        from old
        group by bot_id
    )
    select coalesce(sum(files), 0)::integer into v_files from told;
    return format('bytes of %s files dropped', v_files);
end
$func$;

comment on function json_import.drop_kept_bytes(interval) is
    'Drops the bytes of files that have been in quarantine for longer than p_keep, and puts it on
record; what is wrong with them stays listed, and an import that meets such a file keeps it again.';

create function json_import.drop_resolved()
returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_rejects  integer;
begin
    delete from json_import.kept_bytes as k
    using json_import.file as f
    where f.bot_id = k.bot_id and f.file_id = k.file_id and f.status <> 'quarantined';
    delete from json_import.reject as r
    using json_import.file as f
    where f.bot_id = r.bot_id and f.file_id = r.file_id and f.status <> 'quarantined';
    get diagnostics v_rejects = row_count;
    return format('%s resolved rejects dropped', v_rejects);
end
$func$;

comment on function json_import.drop_resolved() is
    'Drops what is kept of files that are in quarantine no longer.';

create function json_import.preview_rollback()
returns table (what text, row_count bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select 'files in the ledger', count(*) filter (where status <> 'quarantined')
from json_import.file
union all
select 'files in quarantine, with their bytes', count(*) filter (where status = 'quarantined')
from json_import.file
$func$;

comment on function json_import.preview_rollback() is
    'What the rollback of 005_json_import would throw away: (what, row_count). What was imported
stays in schema core.';

create function json_import.preview_drop_kept_bytes(p_keep interval)
returns table (what text, row_count bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select 'files in quarantine whose bytes go', count(*)
from json_import.file as f
where f.status = 'quarantined' and f.imported_at < now() - p_keep
  and exists (
      select from json_import.kept_bytes as k where k.bot_id = f.bot_id and k.file_id = f.file_id)
$func$;

comment on function json_import.preview_drop_kept_bytes(interval) is
    'What json_import.drop_kept_bytes would drop, of which it does nothing: (what, row_count).';

create function json_import.preview_drop_resolved()
returns table (what text, row_count bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select 'resolved rejects to drop', count(*)
from json_import.reject as r
join json_import.file as f using (bot_id, file_id)
where f.status <> 'quarantined'
$func$;

comment on function json_import.preview_drop_resolved() is
    'What json_import.drop_resolved would drop, of which it does nothing: (what, row_count).';

insert into performance.task (task, routine, preview, every, keep, description) values
    ('quarantine', 'json_import.drop_kept_bytes(interval)',
        'json_import.preview_drop_kept_bytes(interval)', '1 day', '90 days',
        'Drops the bytes of files that have been in quarantine for too long.'),
    ('resolved_rejects', 'json_import.drop_resolved()', 'json_import.preview_drop_resolved()',
        '1 day', null, 'Drops what is kept of files that are in quarantine no longer.');

create function json_import.probe_quarantined_files()
returns table (labels jsonb, value float8, note text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select jsonb_build_object('bot_id', bot_id::text), count(*), null
from json_import.file
where status = 'quarantined'
group by bot_id
$func$;

comment on function json_import.probe_quarantined_files() is 'The probe quarantined_files.';

create function json_import.probe_quarantine_size()
returns table (labels jsonb, value float8, note text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select '{}'::jsonb, pg_total_relation_size('json_import.kept_bytes')::float8, null
$func$;

comment on function json_import.probe_quarantine_size() is 'The probe quarantine_size.';

insert into performance.probe
    (probe, routine, unit, warning, critical, what_to_do, help) values
    ('quarantined_files', 'json_import.probe_quarantined_files()', '', 1, null,
        'See what is wrong with them: runner.py rejects.', 'Files of a bot in quarantine.'),
    ('quarantine_size', 'json_import.probe_quarantine_size()', 'bytes', 1073741824, null,
        'Export the files (runner.py export-rejects), mend and import them.',
        'Size of the bytes kept of files in quarantine.');
