-- The quarantine, tried again.

create function json_import.retry(
    p_run_id  bigint,
    p_bot_id  bigint default null,
    p_path    text default null,
    p_code    text default null
)
returns table (bot text, path text, status text, defects integer)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
set lock_timeout = '2s'
as $func$
declare
    v_file     record;
    v_is_done  boolean;
begin
    for v_file in
        select f.*, k.bytes
        from json_import.file as f
        join json_import.kept_bytes as k
            on k.bot_id = f.bot_id and k.file_id = f.file_id and k.part = 0
        where f.status = 'quarantined'
          and (p_bot_id is null or f.bot_id = p_bot_id)
          and (p_path is null or f.path = p_path)
          and (p_code is null or exists (
              select from json_import.reject as r
              where r.bot_id = f.bot_id and r.file_id = f.file_id and r.code = p_code))
        order by f.bot_id, array_position('{profiles,profile,conversation,backup}', f.kind), f.path
    loop
        v_is_done := json_import.load_file(
            p_run_id, v_file.bot_id, v_file.path, v_file.kind, v_file.chat_id, v_file.bytes, false);
        if not v_is_done then
            perform set_config('lock_timeout', '10ms', true);
        end if;
        return query
            select b.name, f.path, case when v_is_done then f.status else 'busy' end, f.defects
            from json_import.file as f
            join core.bots as b on b.bot_id = f.bot_id
            where f.bot_id = v_file.bot_id and f.file_id = v_file.file_id;
    end loop;
end
$func$;

comment on function json_import.retry(bigint, bigint, text, text) is
    'Tries the quarantined files again from the bytes kept, after a code, a limit or a profile has
changed: (bot, path, status, defects) of each. Status busy: another session held its rows for
longer than 2 s, json_import.busy_sessions says which.';
