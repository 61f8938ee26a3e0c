-- One file: stored, or put in quarantine.

create function json_import.store(
    p_run_id   bigint,
    p_bot_id   bigint,
    p_path     text,
    p_kind     text,
    p_chat_id  bigint,
    p_bytes    bytea,
    p_old      json_import.file
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_doc      jsonb := json_import.parse(p_bytes);
    v_sources  bigint[];
    v_file_id  bigint;
begin
    insert into json_import.file as f (
        bot_id, path, kind, chat_id, status, sha256, octets, records, sequence, warnings, wrapper,
        run_id)
    values (
        p_bot_id, p_path, p_kind, p_chat_id, 'loaded', sha256(p_bytes), octet_length(p_bytes),
        json_import.record_count(v_doc, p_kind),
        case when p_kind = 'conversation'
             then json_import.sequence_of(v_doc, json_import.record_count(v_doc, p_kind))
             else 0 end,
        json_import.warnings_of(v_doc, p_kind, p_chat_id, p_bot_id, p_old.file_id)
            || json_import.bom_warning(p_bytes),
        case when p_kind in ('conversation', 'backup') then json_import.wrapper_of(v_doc) end,
        p_run_id)
    on conflict (bot_id, path) do update
        set kind = excluded.kind, chat_id = excluded.chat_id, status = 'loaded', reason = null,
            sha256 = excluded.sha256, octets = excluded.octets,
            records = excluded.records, sequence = excluded.sequence, defects = 0,
            warnings = excluded.warnings, wrapper = excluded.wrapper, must_reread = false,
            run_id = excluded.run_id, imported_at = excluded.imported_at
    returning f.file_id into v_file_id;

    if p_kind = 'conversation' then
        perform json_import.store_conversation(p_old, v_file_id, p_bot_id, p_chat_id, v_doc);
    elsif p_kind = 'backup' then
        perform json_import.store_backup(
            v_file_id, p_bot_id, p_chat_id, v_doc,
            p_old.status is not distinct from 'loaded' and p_old.sha256 is null
            and not p_old.must_reread);
        if p_old.row_count > 0 and (p_old.status, p_old.sha256) <> ('loaded', sha256(p_bytes)) then
            -- another backup may hold what this one no longer says
            update json_import.file
            set must_reread = true
            where bot_id = p_bot_id and chat_id = p_chat_id and kind = 'backup'
              and file_id <> v_file_id;
        end if;
    else
        v_sources := array(
            select s.file_id
            from core.girls_profiles as g
            join json_import.profile_source as s using (bot_id, profile_id)
            where g.bot_id = p_bot_id and g.chat_id = p_chat_id);
        perform json_import.refill_profiles(v_file_id, p_bot_id, p_kind, p_chat_id, v_doc);
        perform json_import.add_profiles(v_file_id, p_bot_id, p_kind, p_chat_id, v_doc);
    end if;

    if p_kind in ('conversation', 'backup') then
        perform json_import.recount(v_file_id, p_bot_id, c.conversation_id)
        from core.conversations as c
        where c.bot_id = p_bot_id and c.chat_id = p_chat_id and c.thread_id = 0;
    else
        perform json_import.recount_profiles(p_bot_id, v_sources || v_file_id);
    end if;
    delete from json_import.reject where bot_id = p_bot_id and file_id = v_file_id;
    delete from json_import.kept_bytes where bot_id = p_bot_id and file_id = v_file_id;
end
$func$;

comment on function json_import.store(
    bigint, bigint, text, text, bigint, bytea, json_import.file) is
    'Stores a sound file: its ledger row (p_old is the one before, or null) and its rows.';

create function json_import.quarantine(
    p_run_id   bigint,
    p_bot_id   bigint,
    p_path     text,
    p_kind     text,
    p_chat_id  bigint,
    p_bytes    bytea,
    p_defects  json_import.defect[]
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_file_id  bigint;
begin
    insert into json_import.file as f (
        bot_id, path, kind, chat_id, status, sha256, octets, defects, run_id)
    values (
        p_bot_id, p_path, p_kind, p_chat_id, 'quarantined', sha256(p_bytes),
        coalesce(octet_length(p_bytes), 0), cardinality(p_defects), p_run_id)
    on conflict (bot_id, path) do update
        set kind = excluded.kind, chat_id = excluded.chat_id, status = 'quarantined', reason = null,
            sha256 = excluded.sha256, octets = excluded.octets, defects = excluded.defects,
            must_reread = false, run_id = excluded.run_id, imported_at = excluded.imported_at
    returning f.file_id into v_file_id;

    delete from json_import.reject where bot_id = p_bot_id and file_id = v_file_id;
    insert into json_import.reject (bot_id, file_id, ordinal, pointer, code, message, excerpt)
    select p_bot_id, v_file_id, d.ordinal, d.pointer, d.code, d.message, d.excerpt
    from unnest(p_defects) with ordinality as d (pointer, code, message, excerpt, ordinal)
    where d.ordinal <= 1000;

    delete from json_import.kept_bytes where bot_id = p_bot_id and file_id = v_file_id;
    insert into json_import.kept_bytes (bot_id, file_id, part, bytes)
    select p_bot_id, v_file_id, 0, p_bytes
    where p_bytes is not null;
    return v_file_id;
end
$func$;

comment on function json_import.quarantine(
    bigint, bigint, text, text, bigint, bytea, json_import.defect[]) is
    'Keeps a file that can''t be loaded, whole (p_bytes null: it could not even be read), with its
defects; returns its file_id. What an earlier, good version of it brought stays.';

create function json_import.load_file(
    p_run_id   bigint,
    p_bot_id   bigint,
    p_path     text,
    p_kind     text,
    p_chat_id  bigint,
    p_bytes    bytea,
    p_strict   boolean
)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_old      json_import.file;
    v_defects  json_import.defect[];
    v_state    text;
    v_message  text;
    v_detail   text;
begin
    for v_attempt in 1 .. 2 loop
        begin
            v_state := null;
            select * into v_old
            from json_import.file
            where bot_id = p_bot_id and path = p_path
            for update;
            v_defects := array(
                select d from json_import.defects(p_bytes, p_kind, p_chat_id, p_strict) as d);
            if v_defects = '{}' then
                v_old := json_import.take_over(
                    v_old, p_bot_id, p_path, p_kind, p_chat_id, p_bytes);
            end if;
            if v_defects = '{}' and p_strict and p_kind in ('conversation', 'backup')
               and json_import.lacks_profile(p_bot_id, p_chat_id, v_old.file_id) then
                v_defects := array[row(
                    '', 'MB425', format('chat %s has no profile', p_chat_id), null
                )::json_import.defect];
            end if;
            if v_defects = '{}' then
                perform json_import.store(
                    p_run_id, p_bot_id, p_path, p_kind, p_chat_id, p_bytes, v_old);
                return true;
            end if;
        exception
            when lock_not_available then
                return false;
            -- what the file's content can cause; the server's own trouble is not blamed on it
            when integrity_constraint_violation or data_exception or program_limit_exceeded
              or sqlstate 'MB012' then
                get stacked diagnostics v_state = returned_sqlstate, v_message = message_text,
                                        v_detail = pg_exception_detail;
                v_defects := array[row(
                    '', case v_state when 'MB012' then 'MB427' else 'MB422' end,
                    concat_ws('; ', v_message, nullif(v_detail, '')), null
                )::json_import.defect];
        end;
        -- a bot may have made the same contact in this very moment: then look again
        exit when v_state is distinct from '23505';
    end loop;
    perform json_import.quarantine(
        p_run_id, p_bot_id, p_path, p_kind, p_chat_id, p_bytes, v_defects);
    return true;
end
$func$;

comment on function json_import.load_file(bigint, bigint, text, text, bigint, bytea, boolean) is
    'Loads one file or puts it into quarantine; there is no third way. False, and nothing is done,
if another session held its rows for longer than lock_timeout.';
