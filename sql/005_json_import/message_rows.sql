-- The rows of a file's messages.

create function json_import.message_digest(
    p_direction  text,
    p_body       text,
    p_sent_at    timestamptz,
    p_metadata   jsonb
)
returns bigint
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select hashtextextended(
           p_body, (date_part('epoch', p_sent_at) * 1000000)::bigint # ascii(p_direction))
     # coalesce(hashtextextended(p_metadata::text, 1), 0)
$func$;

comment on function json_import.message_digest(text, text, timestamptz, jsonb) is
    'A 64-bit hash of what a message says; their sum tells two sets of messages apart.';

create function json_import.parse_rarer_time(p_ts text)
returns timestamptz
language sql stable strict parallel safe
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
select case
    when s.shape = '--T::Z' and p_ts like '____-__-__T__:__:__Z'
      or s.shape = '--T::.Z' and p_ts like '____-__-__T__:__:__._%Z' and length(p_ts) <= 30
      or s.shape = '--T::' and p_ts like '____-__-__T__:__:__'
      or s.shape = '--T::.' and p_ts like '____-__-__T__:__:__._%' and length(p_ts) <= 29
      or s.shape in ('--T::+:', '--T::-:') and length(p_ts) = 25
         and p_ts similar to '____-__-__T__:__:__[+-](0_|1[0-5]):[0-5]_'
      or s.shape in ('--T::.+:', '--T::.-:') and length(p_ts) <= 35
         and p_ts similar to '____-__-__T__:__:__._%[+-](0_|1[0-5]):[0-5]_'
    then case when substr(p_ts, 12, 2) < '24' and substr(p_ts, 18, 2) < '60'
              then p_ts::timestamptz end
    -- float8 is exact to the microsecond for up to six decimals
    when s.shape = '.' and p_ts like '__________._%' and length(p_ts) <= 17
    then to_timestamp(case when p_ts::float8 < 100000000000
                           then p_ts::float8 else p_ts::float8 / 1000 end)
end
-- a number may print as 131,072 digits
from (select case when octet_length(p_ts) <= 40 then translate(p_ts, '0123456789', '') end)
    as s (shape)
$func$;

comment on function json_import.parse_rarer_time(text) is
    'A message''s time of a less usual spelling; null where it needs to_time, or is none.';

create function json_import.plain_messages(p_lists jsonb[])
returns table (list bigint, place bigint, direction text, body text, sent_at timestamptz,
               digest bigint, is_iso boolean, has_no_zone boolean, is_sound boolean)
language sql stable rows 10000
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $func$
select m.list, m.place, m.direction, m.body, m.sent_at,
       -- message_digest, written out: a call per row would cost more than the hash
       hashtextextended(m.body, (date_part('epoch', m.sent_at) * 1000000)::bigint
                                # ascii(m.direction)),
       m.is_iso,
       case when m.usual is null then m.is_iso and m.ts !~ json_import.zone_pattern()
            else length(m.usual) > length(m.ts) end,  -- by the Z
       -- what is longer may fit all the same, and gets a closer look
       coalesce(octet_length(m.body) <= 65536 and m.direction in ('in', 'out')
                and m.sent_at >= core.first_time() and m.sent_at < core.end_time(), false)
from (
    select m.list, m.place, m.direction, coalesce(m.text, m.content) as body, m.ts, m.usual,
           m.ts like '____-%' as is_iso,
           case
               -- what the server writes again as it stands there, it has read right
               when replace(replace(m.clock::text, ' ', 'T'), '+00', 'Z') = m.usual
               then case when m.usual = m.ts then m.clock else m.ts::timestamptz end
               when length(m.ts) between 1 and 13 and ltrim(m.ts, '0123456789') = ''
               then to_timestamp(case when m.ts::float8 < 100000000000
                                      then m.ts::float8 else m.ts::float8 / 1000 end)
               else json_import.parse_rarer_time(m.ts)
           end as sent_at
    from (
        select m.*, m.usual::timestamptz as clock
        from (
            select l.list, m.*, case
                       when m.ts like '____-__-__T__:__:__Z'
                         or m.ts like '____-__-__T__:__:__.___Z' then m.ts
                       when m.ts like '____-__-__T__:__:__'
                         or m.ts like '____-__-__T__:__:__.______'
                            and ltrim(right(m.ts, 6), '0123456789') = '' then m.ts || 'Z'
                       when m.ts like '____-__-__T__:__:__%' and right(m.ts, 6) in (
                           '+00:00', '+01:00', '+02:00', '+03:00', '+04:00', '+05:00', '+05:30',
                           '+06:00', '+07:00', '+08:00', '+09:00', '+10:00', '-03:00', '-04:00',
                           '-05:00', '-06:00', '-07:00', '-08:00')
                       then left(m.ts, -6) || 'Z'
                   end as usual
            from unnest(p_lists) with ordinality as l (messages, list)
            cross join lateral rows from (
                jsonb_to_recordset(
                    case when jsonb_typeof(l.messages) = 'array'
                          and not l.messages @? '$[*] ? (@.type() != "object"
                              || @.text.type() != "string" || @.content.type() != "string"
                              || @.ts.type() != "string" && @.ts.type() != "number")'
                         then l.messages end) as (text text, content text, direction text, ts text)
            ) with ordinality as m (text, content, direction, ts, place)
            offset 0  -- or each step would be taken again wherever its result is mentioned
        ) as m
        offset 0
    ) as m
    offset 0
) as m
$func$;

comment on function json_import.plain_messages(jsonb[]) is
    'The messages of arrays, read at a glance, in their order, with the array''s number and their
place in it, both from 1: sent_at is null where the time needs a closer look. None at all of an
array in which an element is no object, a text no string, or a time neither string nor number.';

create function json_import.are_plain(p_messages jsonb)
returns boolean
language plpgsql stable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    -- a time of digits is one only without quotes, which plain_messages does not see
    return not p_messages @? '$[*] ? (exists(@.text) && exists(@.content)
                                      || @.ts like_regex "^[0-9.]*$")' and (
        select count(*) = jsonb_array_length(p_messages) and coalesce(bool_and(m.is_sound), true)
        from json_import.plain_messages(array[p_messages]) as m);
exception
    when data_exception then
        return false;  -- no object, or no day of the calendar
end
$func$;

comment on function json_import.are_plain(jsonb) is
    'Whether messages are sound at a glance; what are not may still be, and get a diagnosis.';

create type json_import.message_row as (
    ordinal      bigint,
    direction    text,
    body         text,
    sent_at      timestamptz,
    metadata     jsonb,
    has_no_zone  boolean
);

comment on type json_import.message_row is
    'What a message in a file becomes in core.messages; ordinal: its place in the file, from 1;
has_no_zone: its time is taken for UTC.';

create function json_import.messages_of(p_doc jsonb)
returns setof json_import.message_row
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
select e.ordinal, m.direction, m.body, coalesce(m.sent_at, json_import.to_time(e.value -> 'ts')),
       nullif(e.value - json_import.column_keys('message'), '{}'),
       m.has_no_zone
from json_import.message_elements(p_doc) as e
join json_import.plain_messages(array[json_import.message_list(p_doc)]) as m
    on m.place = e.ordinal
$func$;

comment on function json_import.messages_of(jsonb) is
    'The rows that a sound conversation or backup makes, in its order, from 1.';

create function json_import.insert_messages(
    p_file_id          bigint,
    p_bot_id           bigint,
    p_conversation_id  bigint,
    p_rows             json_import.message_row[]
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
insert into core.messages (
    bot_id, conversation_id, message_id, source_file_id, direction, body, sent_at, metadata)
overriding system value
select p_bot_id, p_conversation_id,
       nextval((select json_import.sequence_for('core.messages_message_id_seq'))),
       p_file_id, r.direction, r.body, r.sent_at, r.metadata
from (select * from unnest(p_rows) as r order by r.ordinal) as r;

update core.conversations as c
set started_at = f.first_at
from (select min(r.sent_at) from unnest(p_rows) as r) as f (first_at)
where c.bot_id = p_bot_id and c.conversation_id = p_conversation_id and c.started_at > f.first_at
$func$;

comment on function json_import.insert_messages(
    bigint, bigint, bigint, json_import.message_row[]) is
    'Stores messages of a file in a conversation, in the order of the file. It began with the first
of them, if not earlier.';
