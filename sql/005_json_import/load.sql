-- A batch of files: json_import.load().

create function json_import.load(
    p_run_id    bigint,
    p_bot_id    bigint,
    p_kind      text,
    p_paths     text[],
    p_chat_ids  bigint[],
    p_docs      bytea[],
    p_strict    boolean  default false,
    p_is_rest   boolean  default false,
    p_patience  interval default null,
    p_sha256s   bytea[]  default null
)
returns table (loaded integer, quarantined integer, rest integer[], busy integer[])
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
set lock_timeout = '2s'
as $func$
declare
    v_until    timestamptz := clock_timestamp() + p_patience;
    v_sha256s  bytea[] := coalesce(p_sha256s, array(select sha256(d) from unnest(p_docs) as d));
    v_left     integer[] := array(select generate_subscripts(p_paths, 1));
    v_rest     integer[] := array[]::integer[];
    v_busy     integer[] := array[]::integer[];
    v_ordinal  integer;
    v_chat_id  bigint;
begin
    if p_is_rest then
        perform set_config('lock_timeout', '10ms', true);
    end if;
    begin
        if p_kind = 'conversation' and not p_is_rest then
            v_left := json_import.load_conversations(
                p_run_id, p_bot_id, p_paths, p_chat_ids, p_docs, v_sha256s);
        elsif p_kind = 'profile' and not p_is_rest and not p_strict then
            v_left := json_import.load_profiles(
                p_run_id, p_bot_id, p_paths, p_chat_ids, p_docs, v_sha256s);
        end if;
    exception when integrity_constraint_violation or data_exception or program_limit_exceeded
                   or lock_not_available or sqlstate 'MB012' then
        null;  -- nothing of the batch is in: each file is looked at by itself
    end;
    while v_left <> '{}' loop
        foreach v_ordinal in array v_left loop
            -- a chat's backups stay together, and a call gets somewhere
            if clock_timestamp() > v_until and p_chat_ids[v_ordinal] is distinct from v_chat_id
               and not (p_is_rest and v_ordinal = v_left[1]) then
                v_rest := v_rest || v_ordinal;
                continue;
            end if;
            v_chat_id := p_chat_ids[v_ordinal];
            if not json_import.load_file(
                p_run_id, p_bot_id, p_paths[v_ordinal], p_kind, v_chat_id, p_docs[v_ordinal],
                p_strict)
            then
                v_busy := v_busy || v_ordinal;
                -- waited long enough: this one holds other files' rows, too
                perform set_config('lock_timeout', '10ms', true);
            end if;
        end loop;
        -- backups of which another one, read after them, has changed
        v_left := array(
            select o.ordinal
            from generate_subscripts(p_paths, 1) as o (ordinal)
            join json_import.file as f
                on f.bot_id = p_bot_id and f.path = p_paths[o.ordinal] and f.must_reread
            where p_kind = 'backup' and o.ordinal <> all (v_rest || v_busy)
            order by o.ordinal);
        v_until := null;
    end loop;
    return query
        select count(*) filter (where f.status = 'loaded')::integer,
               count(*) filter (where f.status = 'quarantined')::integer, v_rest, v_busy
        from generate_subscripts(p_paths, 1) as o (ordinal)
        join json_import.file as f on f.bot_id = p_bot_id and f.path = p_paths[o.ordinal]
        where o.ordinal <> all (v_rest || v_busy);
end
$func$;

comment on function json_import.load(
    bigint, bigint, text, text[], bigint[], bytea[], boolean, boolean, interval, bytea[]) is
    'Loads a batch of files of one kind and one bot, in the caller''s transaction: how many were
loaded, how many put into quarantine, and (ordinals, from 1) the rest, for which the patience did
not last: bots wait for the rows that a transaction holds. To be called for the rest again. And the
busy ones: another session held their rows for longer than 2 s (then 10 ms for each further file),
and nothing of them is in; json_import.busy_sessions says which session.
p_sha256s spares the server hashing what the caller has hashed already, to ask wanted().';
