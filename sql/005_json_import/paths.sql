-- What a path says: the kind of the file, the chat, the day.

create function json_import.to_chat_id(p_text text)
returns bigint
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case
    when p_text ~ '^-?[1-9][0-9]{0,18}$'
     and p_text::numeric between -9223372036854775808 and 9223372036854775807
    then p_text::bigint
end
$func$;

comment on function json_import.to_chat_id(text) is
    'A chat''s id in its one spelling (no plus, no leading zero, not 0), else null.';

create function json_import.is_date(p_text text)
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case
    when p_text ~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$' and left(p_text, 4) > '0000'
    then right(p_text, 2)::integer <= extract(day from
        make_date(left(p_text, 4)::integer, substr(p_text, 6, 2)::integer, 1)
        + interval '1 month' - interval '1 day')
    else false
end
$func$;

comment on function json_import.is_date(text) is 'Whether YYYY-MM-DD is a day of the calendar.';

create function json_import.classify(p_paths text[])
returns table (ordinal bigint, kind text, chat_id bigint, reason text)
language sql immutable parallel safe
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select
    e.ordinal,
    case
        when r.reason is not null then 'other'
        when e.path = 'girls_data.json' then 'profiles'
        when c.chat_id is null then 'other'
        when s.part[1] = 'girls_data' and cardinality(s.part) = 2 then 'profile'
        when s.part[1] = 'conversations' and cardinality(s.part) = 2 then 'conversation'
        when s.part[1] = 'backups' and cardinality(s.part) = 3
         and json_import.is_date(s.part[3]) then 'backup'
        else 'other'
    end,
    c.chat_id,
    r.reason
from unnest(p_paths) with ordinality as e (path, ordinal)
-- each once: folded in, they would be made again at every mention
cross join lateral (
    select string_to_array(
        case when e.path like '%.json' then left(e.path, -5) else e.path end, '/')
    offset 0) as s (part)
cross join lateral (
    -- plain digits, as nearly all are, without the cost of a call
    select case
        when length(s.part[2]) between 1 and 18 and left(s.part[2], 1) <> '0'
         and ltrim(s.part[2], '0123456789') = ''
        then s.part[2]::bigint
        else json_import.to_chat_id(s.part[2])
    end
    offset 0) as c (chat_id)
cross join lateral (
    select case
        when e.path like '%.tmp' then 'leftover of an interrupted write'
        when e.path like '%.backup.%.json' and e.path ~ e'\\.backup\\.[^/]*\\.json$'
            then 'copy made by the bot'
        when e.path not like '%.json' then 'no .json file'
    end
    offset 0) as r (reason)
$func$;

comment on function json_import.classify(text[]) is
    'What each file of a bot''s folder is, by its path: (ordinal, kind, chat_id, reason to ignore
it or null). kind other without a reason is an unknown JSON file, which is quarantined (MB423).';
