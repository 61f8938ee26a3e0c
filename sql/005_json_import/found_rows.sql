-- Rows that an earlier ledger brought: listed, then taken over by the file that they came from.

create function json_import.list_found_rows()
returns table (files bigint, messages bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
as $func$
declare
    v_run_id  bigint;
begin
    if not exists (select from core.messages where source_file_id is not null) then
        return query select 0::bigint, 0::bigint;
        return;
    end if;
    insert into json_import.run (source, options, finished_at)
    values ('(found in core.messages)', '{"found": true}', clock_timestamp())
    returning run_id into v_run_id;
    insert into json_import.file (
        bot_id, file_id, path, kind, chat_id, status, octets, records, row_count, body_octets,
        digest, run_id)
    overriding system value
    select m.bot_id, m.source_file_id, e'\\file ' || m.source_file_id, 'backup', min(c.chat_id),
           'loaded', 0, count(*), count(*), sum(octet_length(m.body)),
           sum(json_import.message_digest(m.direction, m.body, m.sent_at, m.metadata)), v_run_id
    from core.messages as m
    join core.conversations as c using (bot_id, conversation_id)
    where m.source_file_id is not null
    group by m.bot_id, m.source_file_id
    on conflict (bot_id, file_id) do nothing;
    -- a contact of whom nothing is known was made for the messages, by the first file that had some
    insert into json_import.profile_source (bot_id, profile_id, file_id, digest)
    select g.bot_id, g.profile_id, min(f.file_id), json_import.profile_digest(g)
    from json_import.file as f
    join core.conversations as c using (bot_id, chat_id)
    join core.girls_profiles as g using (bot_id, profile_id)
    where f.run_id = v_run_id and c.thread_id = 0
      and g.telegram_id = g.chat_id and g.message_count = 0
      and num_nonnulls(g.name, g.last_activity, g.previous_response_id) = 0
      and array[g.summary, g.profile, g.extra] = '{"{}", "{}", "{}"}'
    group by g.bot_id, g.profile_id, g.*
    on conflict do nothing;
    -- no new file gets the id of one of these
    perform setval(s.seqrelid, f.last_id)
    from pg_sequence as s
    cross join lateral (
        select max(file_id) as last_id
        from json_import.file
        where file_id between s.seqmin and s.seqmax) as f
    where s.seqrelid = 'json_import.file_file_id_seq'::regclass
      and f.last_id > coalesce(pg_sequence_last_value(s.seqrelid), 0);
    return query
        select count(*), sum(row_count) from json_import.file where run_id = v_run_id;
end
$func$;

comment on function json_import.list_found_rows() is
    e'Lists in the ledger the files that core.messages names and the ledger doesn''t know, since a
rollback took it and left the rows. Such a file has no name yet (path \\file 17), and counts as a
backup that lies in no folder: what a conversation says, too, moves to that. (how many files, their
messages).';

create function json_import.compare_found(p_file json_import.file, p_doc jsonb)
returns table (is_all boolean, is_head boolean, same bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with held as (
    select m.direction, m.sent_at, m.body, m.metadata, m.updated_at > m.created_at as is_changed,
           row_number() over (order by m.message_id) as place
    from core.messages as m
    join core.conversations as c using (bot_id, conversation_id)
    where m.bot_id = p_file.bot_id and c.chat_id = p_file.chat_id and c.thread_id = 0
      and m.source_file_id = p_file.file_id
), line as (
    select *, true as is_held from held
    union all
    select direction, sent_at, body, metadata, false, ordinal, false
    from json_import.messages_of(p_doc)
), wording as (
    select count(*) filter (where is_held) as held, count(*) filter (where not is_held) as said,
           count(*) filter (where is_held and not is_changed) as unchanged
    from line
    group by direction, sent_at, body, metadata
), moment as (
    select count(*) filter (where is_held) as held, count(*) filter (where not is_held) as said
    from line
    group by direction, sent_at
)
select (select bool_and(unchanged <= said) from wording)
       and (select bool_and(held <= said) from moment),
       not exists (
           select
           from held as h
           left join json_import.messages_of(p_doc) as m on m.ordinal = h.place
           where (h.direction, h.sent_at) is distinct from (m.direction, m.sent_at)
              or not h.is_changed
                 and (h.body, h.metadata) is distinct from (m.body, m.metadata)),
       (select sum(least(held, said))::bigint from wording)
$func$;

comment on function json_import.compare_found(json_import.file, jsonb) is
    'The rows of a file without a name beside the messages of a document: whether all of them are in
it (a bot may have changed what one says, not when it was sent), whether they are its first ones, in
order, and how many say the same.';

create function json_import.take_over(
    p_old      json_import.file,
    p_bot_id   bigint,
    p_path     text,
    p_kind     text,
    p_chat_id  bigint,
    p_bytes    bytea
)
returns json_import.file
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_doc       jsonb;
    v_file_id   bigint;
    v_sequence  numeric;
    v_reread    boolean;
    v_found     json_import.file;
begin
    if p_kind not in ('conversation', 'backup') or p_old.row_count > 0
       or not exists (
           select
           from json_import.file
           where bot_id = p_bot_id and chat_id = p_chat_id and status = 'loaded'
             and sha256 is null) then
        return p_old;
    end if;
    v_doc := json_import.parse(p_bytes);
    select f.file_id, r.same < f.records,
           -- what a bot changed since stays as it is: the file is as it was
           case when r.is_head then json_import.sequence_of(v_doc, f.records) else 0 end
    into v_file_id, v_reread, v_sequence
    from json_import.file as f
    cross join lateral json_import.compare_found(f, v_doc) as r
    where f.bot_id = p_bot_id and f.chat_id = p_chat_id and f.status = 'loaded'
      and f.sha256 is null and r.is_all
    order by r.is_head and p_kind = 'conversation' desc, r.same desc, f.file_id
    limit 1;
    if not found then
        return p_old;
    end if;
    -- the entry that it may have had in quarantine
    delete from json_import.file where bot_id = p_bot_id and path = p_path;
    update json_import.file
    set path = p_path, kind = p_kind, sequence = v_sequence, must_reread = v_reread
    where bot_id = p_bot_id and file_id = v_file_id
    returning * into v_found;
    return v_found;
end
$func$;

comment on function json_import.take_over(
    json_import.file, bigint, text, text, bigint, bytea) is
    'The ledger''s row of a file (p_old, if there is one) that brought nothing so far: if all rows
of a file without a name are in it, it is that file, and they are found in place.';
