-- Runs: one at a time, start, finish, which files are wanted.

create view json_import.turn with (security_invoker = true) as
select 'locked while an import runs' as purpose;

comment on view json_import.turn is
    'For locking, not for reading: an import holds SHARE UPDATE EXCLUSIVE on the view while it
works. A view, because vacuum locks tables.';

create function json_import.claim_turn()
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set lock_timeout = '1s'
as $func$
begin
    -- not an advisory lock, which any login could hold
    lock table json_import.turn in share update exclusive mode;
end
$func$;

comment on function json_import.claim_turn() is
    'Keeps other imports out until the transaction ends, which need not be the one that imports.
SQLSTATE 55P03 (lock_not_available) if another import runs.';

create sequence json_import.trial_id_seq minvalue 4611686018427387904;
comment on sequence json_import.trial_id_seq is
    'Ids of contacts, conversations and messages that a dry run loads and takes back: it uses up
none of those that bots get.';

create function json_import.sequence_for(p_sequence regclass)
returns regclass
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select case when current_setting('app.dry_run', true) = 'on'
            then 'json_import.trial_id_seq'::regclass else p_sequence end
$func$;

comment on function json_import.sequence_for(regclass) is
    'The sequence itself; with app.dry_run = on json_import.trial_id_seq. Ask it once a statement.';

create function json_import.refuse_commit()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    raise exception using
        errcode = 'MB433',
        message = format('run %s is a dry run, which can''t be committed', new.run_id),
        hint    = 'rollback; to import, leave out set app.dry_run = on.';
end
$func$;

comment on function json_import.refuse_commit() is
    'Trigger, when a transaction that began a run under app.dry_run = on commits. MB433.';

create constraint trigger refuse_commit after insert on json_import.run
    deferrable initially deferred for each row
    when (current_setting('app.dry_run', true) = 'on')
    execute function json_import.refuse_commit();
alter table json_import.run enable always trigger refuse_commit;

create function json_import.hold_ids()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_sequence  regclass;
begin
    foreach v_sequence in array
        array['json_import.run_run_id_seq', 'json_import.file_file_id_seq']::regclass[]
    loop
        execute format('alter sequence %s restart %s', v_sequence,
                       security.hold_sequence(v_sequence));
    end loop;
end
$func$;

comment on function json_import.hold_ids() is
    'The numbers of runs and files that this transaction draws are given back when it is rolled
back: ALTER SEQUENCE RESTART is. Only imports draw them, and of these there is one at a time.';

create function json_import.busy_sessions(p_bot_id bigint)
returns text
language sql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select security.clear_the_way_to(p_bot_id)
$func$;

comment on function json_import.busy_sessions(bigint) is
    'Which sessions hold locks on the tables of a bot and may hold its rows, in words: pid, login,
lock, since when; null: none.';

create function json_import.start_run(p_source text, p_options jsonb default '{}')
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_run_id  bigint;
begin
    if current_setting('app.dry_run', true) = 'on' then
        perform json_import.hold_ids();
    end if;
    insert into json_import.run (source, options) values (p_source, p_options)
    returning run_id into v_run_id;
    return v_run_id;
end
$func$;

comment on function json_import.start_run(text, jsonb) is
    'Opens a run; returns run_id. For a dry run set app.dry_run = on first: bots, contacts,
conversations and messages get ids that nothing else uses, and the transaction can''t be committed
(MB433).';

create function json_import.finish_run(p_run_id bigint)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select performance.roll_up_metrics();
update json_import.run set finished_at = clock_timestamp() where run_id = p_run_id;

-- for each bot by itself: a bot reads what is on record about it, and nothing of its sisters
select audit.log_event('import', 'notice', jsonb_build_object(
           'run_id', p_run_id, 'loaded', count(*) filter (where status = 'loaded'),
           'quarantined', count(*) filter (where status = 'quarantined'),
           'ignored', count(*) filter (where status = 'ignored'), 'rows', sum(row_count)), bot_id)
from json_import.file
where run_id = p_run_id
group by bot_id
$func$;

comment on function json_import.finish_run(bigint) is
    'Closes a run: rolls up the days it touched, and puts on record what it brought each bot.';

create function json_import.ensure_bot(p_name text, p_create boolean default true)
returns table (bot_id bigint, is_new boolean)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    return query select n.bot_id, false from core.bot_names as n where n.name = p_name;
    if found then
        return;
    end if;
    if not p_create then
        raise exception using
            errcode = 'MB430',
            message = format('there is no bot named %L', p_name),
            hint    = 'Leave --no-create out to have it made, or correct the folder''s name.';
    end if;
    return query select security.create_bot(p_name), true;
end
$func$;

comment on function json_import.ensure_bot(text, boolean) is
    'The bot of this name, made if it may be (security.create_bot, with a login that has no password
yet): (bot_id, is_new). MB430: there is none.';

create function json_import.wanted(
    p_run_id   bigint,
    p_bot_id   bigint,
    p_paths    text[],
    p_sha256s  bytea[]
)
returns bigint[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_wanted  bigint[];
begin
    with given as (
        select u.ordinal, f.kind, f.chat_id, f.row_count,
               coalesce(f.sha256 = u.sha256 and not f.must_reread, false) as is_known
        from unnest(p_paths, p_sha256s) with ordinality as u (path, sha256, ordinal)
        left join json_import.file as f on f.bot_id = p_bot_id and f.path = u.path
    )
    select coalesce(array_agg(g.ordinal order by g.ordinal), '{}') into v_wanted
    from given as g
    where not g.is_known
       -- what a changed backup no longer says another of the chat may hold
       or g.kind = 'backup' and g.chat_id in (
           select c.chat_id from given as c where not c.is_known and c.row_count > 0);
    update json_import.run
    set unchanged = unchanged + cardinality(p_paths) - cardinality(v_wanted)
    where run_id = p_run_id and cardinality(v_wanted) < cardinality(p_paths);
    return v_wanted;
end
$func$;

comment on function json_import.wanted(bigint, bigint, text[], bytea[]) is
    'Which files (ordinals, from 1) the ledger doesn''t know with these bytes, or has to read again;
the others are counted as unchanged.';

create function json_import.note_entry(
    p_run_id   bigint,
    p_bot_id   bigint,
    p_path     text,
    p_kind     text,
    p_chat_id  bigint,
    p_octets   bigint,
    p_reason   text,
    p_code     text
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    if p_code is not null then
        perform json_import.quarantine(
            p_run_id, p_bot_id, p_path, p_kind, p_chat_id, null,
            array[row('', p_code, p_reason, null)::json_import.defect]);
        return;
    end if;
    insert into json_import.file (bot_id, path, kind, status, octets, reason, run_id)
    values (p_bot_id, p_path, 'other', 'ignored', p_octets, p_reason, p_run_id)
    on conflict (bot_id, path) do update
        set run_id = excluded.run_id, octets = excluded.octets, imported_at = excluded.imported_at;
end
$func$;

comment on function json_import.note_entry(
    bigint, bigint, text, text, bigint, bigint, text, text) is
    'Notes an entry that is not read: ignored for a reason or, with a code, put into quarantine
without bytes (unreadable, too large).';
