-- 000_registry: how yoyo's marks and our history are written, and yoyo's lock taken: the rules.
-- depends: create.sql (the runner makes both on its first run)
-- locks:   new functions; safe on a live database
-- undo:    drop function public._migration_mark, public._migration_claim

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';

create function public._migration_mark(
    p_migration_id text, p_operation text, p_sha256 text[], p_duration interval, p_actor text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_hash       text := encode(sha256(convert_to(p_migration_id, 'UTF8')), 'hex');
    v_now        timestamp := clock_timestamp() at time zone 'UTC';
    v_marked_at  timestamp;
    v_is_new     boolean;
begin
    if p_operation = 'rollback' then
        delete from public._yoyo_migration where migration_id = p_migration_id;
        v_is_new := found;
    else
        insert into public._yoyo_migration (migration_hash, migration_id, applied_at_utc)
        values (v_hash, p_migration_id, v_now)
        on conflict do nothing;
        v_is_new := found;
        select applied_at_utc into v_marked_at
        from public._yoyo_migration
        where migration_id = p_migration_id;
    end if;
    if v_is_new then
        insert into public._yoyo_log (id, migration_hash, migration_id, operation, username,
                                      hostname, created_at_utc)
        values (gen_random_uuid()::text, v_hash, p_migration_id,
                case when p_operation in ('apply', 'rollback') then p_operation else 'mark' end,
                split_part(p_actor, '@', 1), substr(p_actor, strpos(p_actor, '@') + 1), v_now);
    elsif p_operation in ('apply', 'rollback') then
        raise exception using
            errcode = 'MB907',
            message = format('somebody else applied or undid %s meanwhile', p_migration_id),
            hint    = 'Nothing of it was kept. See runner.py status, then repeat.';
    end if;
    insert into public._migration_history (
        migration_id, operation, apply_sha256, rollback_sha256, verify_sha256, marked_at, duration)
    values (p_migration_id, p_operation, p_sha256[1], p_sha256[2], p_sha256[3], v_marked_at,
            p_duration);
end
$func$;

comment on function public._migration_mark(text, text, text[], interval, text) is
    'Writes yoyo''s mark and a line of its log, unless yoyo did, and a row of our history; rollback
takes the mark away. p_sha256: of apply, rollback and verify.sql; p_actor: user@host. MB907 where
somebody else was faster.';

create function public._migration_claim(p_holder integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_row  public.yoyo_lock;
begin
    delete from public.yoyo_lock where pid < 0;
    insert into public.yoyo_lock (locked, ctime, pid)
    values (1, now() at time zone 'UTC', -p_holder)
    on conflict do nothing;
    if not found then
        select * into v_row from public.yoyo_lock;
        raise exception using
            errcode = 'MB908',
            message = format('yoyo is at work: process %s since %s UTC', coalesce(v_row.pid, 0),
                             coalesce(v_row.ctime::text, '?')),
            hint    = 'Wait for it; if that process is gone: make yoyo CMD=break-lock';
    end if;
end
$func$;

comment on function public._migration_claim(integer) is
    'Takes yoyo''s lock row, so that a parallel `yoyo apply` refuses; MB908 where yoyo has it. Our
rows carry the pid of the backend that holds public._migration_lock, negated: the next runner may
remove what a killed one left, and never touches a row of yoyo''s.';

revoke execute on function public._migration_mark(text, text, text[], interval, text),
                           public._migration_claim(integer) from public;
