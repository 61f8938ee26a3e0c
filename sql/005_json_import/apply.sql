-- 005_json_import: the bots' JSON files become rows; a file is loaded or quarantined, never half.
-- depends: 004_performance
-- locks:   new policies on the tables of core (ACCESS EXCLUSIVE, for a moment)
-- undo:    rollback.sql drops schema json_import; refuses while it holds quarantined bytes

set local search_path = pg_catalog, pg_temp;
set local lock_timeout = '3s';
set local row_security = on;  -- or no function could name a table whose rows are filtered

create schema json_import;

comment on schema json_import is
    'Reads the bots'' JSON files: the ledger of what was loaded, the quarantine of what was not, and
the functions that tell one from the other.';

insert into core.error_code (code, name, meaning, remedy) values
    ('MB401', 'empty_file',          'The file holds nothing.',
        'Export it again, or delete it.'),
    ('MB402', 'bad_encoding',        'The bytes are not UTF-8 from the offset named.',
        'Find the real encoding (often cp1251) and convert with iconv.'),
    ('MB403', 'utf16',               'The file is UTF-16.',
        'Convert it: iconv -f UTF-16 -t UTF-8.'),
    ('MB404', 'nul_byte',            'The file holds a zero byte, as after a crash while writing.',
        'Restore the file from a backup.'),
    ('MB405', 'bad_syntax',          'The text is not JSON at the line named.',
        'Correct that line.'),
    ('MB406', 'truncated',           'The JSON ends early, as after an interrupted write.',
        'Restore the file, or close its last record by hand.'),
    ('MB407', 'too_deep',            'Objects and arrays are nested deeper than 512 levels.',
        'Find out what wrote it; no bot does.'),
    ('MB408', 'too_large',           'The file is larger than the limit.',
        'Split it, or raise --max-bytes.'),
    ('MB409', 'nul_escape',          'A string holds \u0000, which no text in PostgreSQL can.',
        'Remove it from the string.'),
    ('MB410', 'lone_surrogate',      'A string holds half a character (an emoji cut in two).',
        'Complete or remove it.'),
    ('MB411', 'number_range',        'A number is outside what its column can hold.',
        'Correct the number.'),
    ('MB412', 'wrong_shape',         'The value is not of the shape that belongs here.',
        'Compare with a file that loads; examples/legacy has one of each kind.'),
    ('MB413', 'chat_id_missing',     'The profile names no chat_id.',
        'Add it.'),
    ('MB414', 'chat_id_mismatch',    'chat_id is another than the file''s name or key says.',
        'Find out which is right and correct the other.'),
    ('MB415', 'wrong_type',          'The value has another JSON type than belongs here.',
        'Correct the value.'),
    ('MB416', 'missing_key',         'A key that every message has is absent or null.',
        'Add it.'),
    ('MB417', 'bad_direction',       'direction is neither in nor out.',
        'Correct it.'),
    ('MB418', 'timestamp_format',    'The value is no ISO 8601 time, nor unix seconds.',
        'Write it like 2024-05-01T10:20:30Z.'),
    ('MB419', 'timestamp_range',     'No such date or time, or it is not between 1970 and 2099.',
        'Correct it.'),
    ('MB420', 'duplicate_key',       'A key stands twice in one object: one value would be lost.',
        'Remove one of the two.'),
    ('MB421', 'duplicate_contact',   'The file holds a chat or a person twice.',
        'Remove one of the two.'),
    ('MB422', 'refused_by_database', 'A constraint refuses the file''s rows.',
        'Read the message: it is the server''s.'),
    ('MB423', 'unknown_file',        'A JSON file with a name, or at a place, of no known kind.',
        'Move it away, or name it like a file that loads.'),
    ('MB424', 'unknown_key',         'A key has no column (with --strict only).',
        'Import without --strict to keep it in extra or metadata.'),
    ('MB425', 'no_profile',          'The chat has no profile (with --strict only).',
        'Add the profile, or import without --strict to have one made.'),
    ('MB426', 'unreadable',          'The entry can''t be read as a file inside the folder.',
        'Replace the link or device by the file itself, and allow reading it.'),
    ('MB430', 'no_such_bot_folder',  'No bot has this name, and making one was forbidden.',
        'Leave --no-create out, or correct the folder''s name.'),
    ('MB431', 'nothing_to_import',   'The folder is not there, or holds no bot''s files.',
        'Name a bot''s folder (with --bot) or a folder of such folders.');

-- Tables ----------------------------------------------------------------------

create table json_import.run (
    run_id          bigint       generated always as identity,
    source          text         not null,
    options         jsonb        not null default '{}',
    login           name         not null default session_user,
    correlation_id  text         default nullif(current_setting('app.correlation_id', true), ''),
    started_at      timestamptz  not null default clock_timestamp(),
    finished_at     timestamptz,
    unchanged       bigint       not null default 0,

    constraint run_pk primary key (run_id)
);

comment on table json_import.run is 'One row per import, retry included.';
comment on column json_import.run.source is 'The folder as the client named it.';
comment on column json_import.run.options is 'The client''s flags.';
comment on column json_import.run.login is 'session_user: a fact, not a claim.';
comment on column json_import.run.started_at is 'When it began.';
comment on column json_import.run.finished_at is
    'When it ended; null while it runs, or was killed.';
comment on column json_import.run.unchanged is 'Files that were as the ledger knows them.';

create table json_import.file (
    file_id      bigint       generated always as identity,
    bot_id       bigint       not null,
    path         text         not null,
    kind         text         not null,
    chat_id      bigint,
    status       text         not null,
    sha256       bytea,
    octets       bigint       not null,
    records      integer      not null default 0,
    row_count    integer      not null default 0,
    body_octets  bigint       not null default 0,
    digest       numeric      not null default 0,
    sequence     numeric      not null default 0,
    defects      integer      not null default 0,
    warnings     jsonb        not null default '{}',
    wrapper      jsonb,
    reason       text,
    must_reread  boolean      not null default false,
    run_id       bigint       not null,
    imported_at  timestamptz  not null default clock_timestamp(),

    constraint file_pk         primary key (file_id),
    constraint file_path_uq    unique (bot_id, path),
    constraint file_run_fk     foreign key (run_id) references json_import.run (run_id),
    constraint file_kind_ck    check (
        kind in ('profiles', 'profile', 'conversation', 'backup', 'other')),
    constraint file_status_ck  check (status in ('loaded', 'quarantined', 'ignored')),
    constraint file_defects_ck check ((status = 'quarantined') = (defects > 0)),
    constraint file_reason_ck  check ((status = 'ignored') = (reason is not null))
);

comment on table json_import.file is
    'The ledger: one row per file of a bot''s folder, as last read. It commits with the rows it
counts.';
comment on column json_import.file.path is
    'Relative to the bot''s folder; \xNN for a byte that is no UTF-8, \\ for a backslash.';
comment on column json_import.file.kind is 'profiles, profile, conversation, backup, or other.';
comment on column json_import.file.chat_id is 'As the file''s name says; null for the single file.';
comment on column json_import.file.status is
    'loaded, quarantined or ignored. Rows that an earlier, good version brought stay.';
comment on column json_import.file.sha256 is 'Of the bytes; null if they could not be read.';
comment on column json_import.file.octets is 'Size in bytes.';
comment on column json_import.file.records is 'Messages or profiles that the file holds.';
comment on column json_import.file.row_count is
    'Rows that came from it; fewer than records where the conversation had a backup''s messages.';
comment on column json_import.file.body_octets is 'Bytes of text in those rows.';
comment on column json_import.file.digest is
    'Sum of a 64-bit hash of each of those rows: independent of order, aware of equal rows.';
comment on column json_import.file.sequence is
    'The same sum with the place of each row hashed in: aware of order, proves an append.';
comment on column json_import.file.defects is 'How many were found; the first 1,000 are in reject.';
comment on column json_import.file.warnings is
    'Counts by kind: no_zone, bom, no_profile, unknown_key, …';
comment on column json_import.file.wrapper is
    'What the object around the messages says besides them (date, name, unknown keys).';
comment on column json_import.file.reason is 'Why it was ignored.';
comment on column json_import.file.must_reread is
    'Not to be taken for known, though the bytes are the same: a backup whose conversation was
edited since, a quarantined file whose bytes are kept no longer.';
comment on column json_import.file.imported_at is 'When it was read.';

create index file_chat_idx on json_import.file (bot_id, chat_id);
comment on index json_import.file_chat_idx is
    'Files of a chat: where bot_id = $1 and chat_id = $2.';

create table json_import.reject (
    file_id  bigint   not null,
    ordinal  integer  not null,
    pointer  text     not null,
    code     text     not null,
    message  text     not null,
    excerpt  text,

    constraint reject_pk      primary key (file_id, ordinal),
    constraint reject_file_fk foreign key (file_id) references json_import.file (file_id)
        on delete cascade
);

comment on table json_import.reject is 'Why a file is in quarantine: one row per defect.';
comment on column json_import.reject.ordinal is 'Order of the defects in the file, from 1.';
comment on column json_import.reject.pointer is
    'RFC 6901, leads to the value; empty for the whole file.';
comment on column json_import.reject.code is 'core.error_code.code; the remedy is there.';
comment on column json_import.reject.message is 'The fact, with the value.';
comment on column json_import.reject.excerpt is 'Up to 200 characters of what is there.';

create table json_import.kept_bytes (
    file_id  bigint   not null,
    part     integer  not null,
    bytes    bytea    not null,

    constraint kept_bytes_pk      primary key (file_id, part),
    constraint kept_bytes_file_fk foreign key (file_id) references json_import.file (file_id)
        on delete cascade
);

comment on table json_import.kept_bytes is 'Every quarantined file as it was: nothing is lost.';
comment on column json_import.kept_bytes.part is 'From 0; only a very large file has several.';
comment on column json_import.kept_bytes.bytes is 'As read; the file''s sha256 is over all parts.';

create table json_import.profile_source (
    bot_id      bigint  not null,
    profile_id  bigint  not null,
    file_id     bigint  not null,
    digest      bigint  not null,

    constraint profile_source_pk      primary key (bot_id, profile_id),
    constraint profile_source_file_fk foreign key (file_id) references json_import.file (file_id)
        on delete cascade
);

comment on table json_import.profile_source is 'Which file a contact''s row was last filled from.';
comment on column json_import.profile_source.digest is
    'Hash of the row as loaded: while it still holds, no bot has changed the row.';

create index profile_source_file_idx on json_import.profile_source (file_id);
comment on index json_import.profile_source_file_idx is 'Contacts from a file: where file_id = $1.';

-- Names -----------------------------------------------------------------------

create function json_import.to_chat_id(p_text text)
returns bigint
language sql
immutable
strict
parallel safe
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
language sql
immutable
strict
parallel safe
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
language sql
immutable
parallel safe
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
        when e.path like '%.backup.%.json' and e.path ~ '\.backup\.[^/]*\.json$'
            then 'copy made by the bot'
        when e.path not like '%.json' then 'no .json file'
    end
    offset 0) as r (reason)
$func$;

comment on function json_import.classify(text[]) is
    'What each file of a bot''s folder is, by its path: (ordinal, kind, chat_id, reason to ignore
it or null). kind other without a reason is an unknown JSON file, which is quarantined (MB423).';

-- Times -----------------------------------------------------------------------

create function json_import.time_fault(p_value jsonb)
returns text
language sql
stable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case
    when jsonb_typeof(p_value) = 'number' then
        -- what to_time would round up to the year 2100 is no time either
        case when p_value::numeric < 0 or p_value::numeric >= 4102444799999.9995
               or (p_value::numeric >= 4102444799.9999995 and p_value::numeric < 100000000000)
             then 'MB419' end
    when jsonb_typeof(p_value) <> 'string' then 'MB415'
    when s !~ ('^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?'
               '(Z|[+-][0-9]{2}(:?[0-9]{2})?)?$') then 'MB418'
    when not json_import.is_date(left(s, 10))
      or substr(s, 12, 2) > '23' or substr(s, 15, 2) > '59' or substr(s, 18, 2) > '59'
      or coalesce(substring(s from '[+-]([0-9]{2})(?::?[0-9]{2})?$'
                  ) > '15' and substr(s, 20) ~ '[+-]', false)
      or coalesce(substring(substr(s, 20) from '[+-][0-9]{2}:?([0-9]{2})$') > '59', false)
      then 'MB419'
    when s::timestamptz < timestamptz '1970-01-01 00:00:00+00'
      or s::timestamptz >= timestamptz '2100-01-01 00:00:00+00' then 'MB419'
end
from (select p_value #>> '{}' offset 0) as u (s)
$func$;

comment on function json_import.time_fault(jsonb) is
    'The code of what is wrong with a time (MB415, MB418, MB419), null if nothing is. Call it with
time zone UTC: a text without zone means UTC.';

create function json_import.to_time(p_value jsonb)
returns timestamptz
language sql
stable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case jsonb_typeof(p_value)
    when 'string' then (p_value #>> '{}')::timestamptz
    when 'number' then to_timestamp(trunc(seconds)::float8)
        + floor((seconds - trunc(seconds)) * 1000000 + 0.5)::integer * interval '1 microsecond'
end
from (select case when jsonb_typeof(p_value) = 'number' then
        case when p_value::numeric >= 100000000000 then p_value::numeric / 1000
             else p_value::numeric end end) as u (seconds)
$func$;

comment on function json_import.to_time(jsonb) is
    'ISO 8601, unix seconds, or (from 10^11 on) milliseconds as timestamptz, to the microsecond.
Only for values without a time_fault, and with time zone UTC.';

-- Defects ---------------------------------------------------------------------

create type json_import.defect as (pointer text, code text, message text, excerpt text);
comment on type json_import.defect is
    'One thing wrong with a file: RFC 6901 pointer, code of core.error_code, the fact, what is
there.';

create function json_import.to_step(p_key text)
returns text
language sql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select '/' || replace(replace(p_key, '~', '~0'), '/', '~1')
$func$;

comment on function json_import.to_step(text) is 'A key as one step of an RFC 6901 pointer.';

create function json_import.string_count(p_json text)
returns bigint
language sql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select (octet_length(s) - octet_length(replace(s, '"', ''))) / 2
from (
    -- a pair of backslashes before a quote does not escape it
    select replace(
        case when strpos(p_json, '\\"') > 0 then replace(p_json, '\\', '') else p_json end,
        '\"', '')
    offset 0  -- or it would be made once for each mention
) as u (s)
$func$;

comment on function json_import.string_count(text) is
    'Number of strings, keys included, in a JSON text, by its unescaped quotes: one pass. jsonb
drops repeated keys, so a text with more strings than its jsonb has a key twice.';

create function json_import.decode(p_bytes bytea)
returns text
language sql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select convert_from(
    case when substr(p_bytes, 1, 3) = '\xefbbbf' then substr(p_bytes, 4) else p_bytes end, 'UTF8')
$func$;

comment on function json_import.decode(bytea) is 'UTF-8 bytes as text, without a byte order mark.';

create function json_import.read_document(
    p_bytes      bytea,
    out content  jsonb,
    out strings  bigint
)
returns record
language plpgsql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_text  text;
begin
    v_text := json_import.decode(p_bytes);
    content := v_text::jsonb;
    strings := json_import.string_count(v_text);
exception
    -- bad encoding, bad JSON, \u0000, numbers, depth: the diagnosis says which
    when character_not_in_repertoire or invalid_text_representation or untranslatable_character
      or numeric_value_out_of_range or statement_too_complex or program_limit_exceeded
      or invalid_parameter_value then
        content := null;
end
$func$;

comment on function json_import.read_document(bytea) is
    'The document and how many strings its text holds, decoded once for both; null where it is
none.';

create function json_import.parse(p_bytes bytea)
returns jsonb
language sql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select content from json_import.read_document(p_bytes)
$func$;

comment on function json_import.parse(bytea) is 'The document, or null where it is none.';

create function json_import.is_utf8(p_bytes bytea)
returns boolean
language plpgsql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform convert_from(p_bytes, 'UTF8');
    return true;
exception
    when character_not_in_repertoire then
        return false;
end
$func$;

comment on function json_import.is_utf8(bytea) is 'Whether bytes are UTF-8.';

create function json_import.valid_octets(p_bytes bytea)
returns integer
language plpgsql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_good  integer := 0;                        -- so many octets are valid
    v_bad   integer := octet_length(p_bytes);    -- so many are not
    v_try   integer;
begin
    while v_bad - v_good > 8 loop
        -- cut before a character: among four octets of valid text one begins a character
        select max(i) into v_try
        from generate_series((v_good + v_bad) / 2 - 3, (v_good + v_bad) / 2) as i
        where get_byte(p_bytes, i) not between 128 and 191;
        if v_try is null then
            v_bad := (v_good + v_bad) / 2 + 1;
        elsif json_import.is_utf8(substr(p_bytes, v_good + 1, v_try - v_good)) then
            v_good := v_try;
        else
            v_bad := v_try;
        end if;
    end loop;
    loop
        select min(n) into v_try
        from generate_series(1, 4) as n
        where json_import.is_utf8(substr(p_bytes, v_good + 1, n));
        exit when v_try is null or v_good + v_try > v_bad;
        v_good := v_good + v_try;
    end loop;
    return v_good;
end
$func$;

comment on function json_import.valid_octets(bytea) is
    'Offset (from 0) of the first byte that is not UTF-8, in bytes that are not; by bisection.';

create function json_import.excerpt(p_bytes bytea, p_at integer)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select regexp_replace(
    encode(substr(p_bytes, greatest(p_at - 15, 1), 32), 'escape'), '\s+', ' ', 'g')
$func$;

comment on function json_import.excerpt(bytea, integer) is
    'Some bytes around an offset on one line, those that are not ASCII as \ooo.';

create function json_import.byte_defects(p_bytes bytea)
returns setof json_import.defect
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_at  integer;
begin
    if substr(p_bytes, 1, 2) in ('\xfffe', '\xfeff')
       or (octet_length(p_bytes) >= 4
           and (select array_agg(get_byte(p_bytes, i) = 0 order by i)
                from generate_series(0, 3) as i)
               in ('{t,f,t,f}', '{f,t,f,t}')) then
        return query values ('', 'MB403', 'the file is UTF-16, by its first bytes',
                             encode(substr(p_bytes, 1, 16), 'hex'));
        return;
    end if;
    v_at := position('\x00'::bytea in p_bytes) - 1;
    if v_at >= 0 then
        return query values ('', 'MB404', format('zero byte at offset %s', v_at),
                             json_import.excerpt(p_bytes, v_at));
        return;
    end if;
    begin
        if json_import.decode(p_bytes) !~ '[^ \t\n\r]' then
            return query values ('', 'MB401', format('the file is empty (%s bytes)',
                                                     octet_length(p_bytes)), null::text);
        end if;
    exception when character_not_in_repertoire then
        v_at := json_import.valid_octets(p_bytes);
        return query values ('', 'MB402', format('no UTF-8 at byte offset %s', v_at),
                             json_import.excerpt(p_bytes, v_at));
    end;
end
$func$;

comment on function json_import.byte_defects(bytea) is
    'What is wrong with the bytes as text (MB401 to MB404); none if they can be read.';

create function json_import.is_cut_token(p_token text, p_text text)
returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(
    p_token <> '' and right(p_text, length(p_token)) = p_token
    and (p_token ~ '^"'
         or p_token ~ '^-?((0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]*)?)?$'
         or starts_with('true', p_token) or starts_with('false', p_token)
         or starts_with('null', p_token)),
    false)
$func$;

comment on function json_import.is_cut_token(text, text) is
    'Whether an invalid token is the beginning of a valid one and the end of the text.';

create function json_import.syntax_defects(p_text text)
returns setof json_import.defect
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_detail   text;
    v_context  text;
    v_token    text;
begin
    perform p_text::json;
exception
    when statement_too_complex then
        return query values ('', 'MB407', 'nested deeper than 512 levels', null::text);
    when program_limit_exceeded then
        return query values ('', 'MB408', 'larger than jsonb can hold', null::text);
    when invalid_text_representation or untranslatable_character then
        get stacked diagnostics
            v_detail = pg_exception_detail, v_context = pg_exception_context;
        v_token := substring(v_detail from '^Token "(.*)" is invalid');
        return query select
            '', case when v_detail ~ 'ended unexpectedly'
                       or json_import.is_cut_token(v_token, p_text)
                          -- and a whole token of its kind might stand there
                          and not exists (
                              select
                              from json_import.syntax_defects(
                                  left(p_text, -length(v_token))
                                  || case when v_token ~ '^"' then '""'
                                          when v_token ~ '^[-0-9]' then '0' else 'null' end) as d
                              where d.code <> 'MB406')
                     then 'MB406' else 'MB405' end,
            concat_ws('; ', format('not JSON at line %s',
                                   substring(v_context from 'JSON data, line (\d+)')), v_detail),
            left(substring(v_context from 'JSON data, line \d+: ([^\n]*)'), 200);
end
$func$;

comment on function json_import.syntax_defects(text) is
    'Where a text stops being JSON: MB405 with its line, MB406 at its end, MB407, MB408.';

create function json_import.tame(p_json text)
returns text
language sql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select regexp_replace(
    p_json, '(?<!\\)((?:\\\\)*)\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})',
    '\1' || chr(1114110) || '\2', 'g')
$func$;

comment on function json_import.tame(text) is
    'A JSON text in which \u0000 and surrogates are harmless: the server''s functions refuse to
walk a document that holds such an escape anywhere. U+10FFFE, which is no character, stands for the
\u.';

create function json_import.untame(p_json text)
returns text
language sql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select regexp_replace(p_json, chr(1114110) || '([0-9a-fA-F]{4})', '\\u\1', 'g')
$func$;

comment on function json_import.untame(text) is 'The text that was tamed.';

create function json_import.children(p_json json, p_pointer text)
returns table (pointer text, value json)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select p_pointer || json_import.to_step(e.key), e.value
from json_each(case when json_typeof(p_json) = 'object' then p_json end) as e
union all
select p_pointer || '/' || (e.ordinal - 1), e.value
from json_array_elements(case when json_typeof(p_json) = 'array' then p_json end)
    with ordinality as e (value, ordinal)
$func$;

comment on function json_import.children(json, text) is 'Members or elements with their pointers.';

create function json_import.value_fault(p_json json)
returns text
language plpgsql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform json_import.untame(p_json::text)::jsonb;
    return null;
exception
    when untranslatable_character then
        return 'MB409';
    when numeric_value_out_of_range then
        return 'MB411';
    when invalid_text_representation then
        return 'MB410';
end
$func$;

comment on function json_import.value_fault(json) is
    'Why jsonb can''t hold a tamed string or number (MB409 to MB411); null if it can.';

create function json_import.real_step(p_step text)
returns text
language sql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case
    when strpos(p_step, chr(1114110)) = 0 then p_step
    when json_import.value_fault(to_json(p_step)) is null
        then json_import.untame(to_json(p_step)::text)::jsonb #>> '{}'
end
$func$;

comment on function json_import.real_step(text) is
    'A step of a pointer through a tamed document as it really is; null if the key is no text.';

create function json_import.value_defects(p_json json)
returns setof json_import.defect
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with recursive node as (
    select '' as pointer, p_json as value
    union all
    select n.pointer || s.step, c.value
    from node as n
    cross join lateral json_import.children(n.value, '') as c
    cross join lateral (select json_import.real_step(c.pointer)) as s (step)
    where json_typeof(n.value) in ('object', 'array') and s.step is not null
), suspect as (
    select n.pointer, n.value
    from node as n
    where json_typeof(n.value) = 'string' and strpos(n.value::text, chr(1114110)) > 0
       or json_typeof(n.value) = 'number'
          and (n.value::text ~ '[eE]' or length(n.value::text) > 999)
    union all
    select n.pointer, to_json(k.key)
    from node as n
    cross join lateral json_object_keys(
        case when json_typeof(n.value) = 'object' then n.value end) as k (key)
    where strpos(k.key, chr(1114110)) > 0
)
select s.pointer, f.code,
       case f.code when 'MB409' then '\u0000 in a string'
                   when 'MB410' then 'half a surrogate pair in a string'
                   else 'a number that numeric can''t hold' end,
       left(json_import.untame(s.value::text), 200)
from suspect as s
cross join lateral (select json_import.value_fault(s.value)) as f (code)
where f.code is not null
$func$;

comment on function json_import.value_defects(json) is
    'The strings and numbers, at any depth of a tamed document, that jsonb can''t hold (MB409 to
MB411). A key that is one names its object.';

create function json_import.duplicate_keys(p_json json)
returns setof json_import.defect
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with recursive node as (
    -- of two values under one key each has a place of its own
    select '' as pointer, '' as place, p_json as value
    union all
    select c.pointer, n.place || ' ' || c.ordinal, c.value
    from node as n
    cross join lateral json_import.children(n.value, n.pointer)
        with ordinality as c (pointer, value, ordinal)
    where json_typeof(n.value) in ('object', 'array')
)
select n.pointer || json_import.to_step(k.key), 'MB420',
       format('key %s stands %s times', to_json(k.key), count(*)), min(left(n.value::text, 200))
from node as n
cross join lateral json_object_keys(
    case when json_typeof(n.value) = 'object' then n.value end) as k (key)
group by n.pointer, n.place, k.key
having count(*) > 1
$func$;

comment on function json_import.duplicate_keys(json) is
    'The keys, at any depth, that stand more than once in their object (MB420).';

create function json_import.field_defects(
    p_value    jsonb,
    p_pointer  text,
    p_rule     text
)
returns json_import.defect
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when f.code is not null then
    row(p_pointer, f.code,
        case f.code
            when 'MB411' then format('the number %s is out of range', left(p_value::text, 80))
            when 'MB418' then format('%s is no time', left(p_value::text, 80))
            when 'MB419' then format('%s is no time between 1970 and 2099', left(p_value::text, 80))
            else format('expected %s, found %s', p_rule, jsonb_typeof(p_value))
        end,
        left(p_value::text, 200))::json_import.defect end
from (
    select case
        when p_value is null or p_value = 'null' then null
        when p_rule = 'time' then json_import.time_fault(p_value)
        when p_rule in ('string', 'object', 'array') then
            case when jsonb_typeof(p_value) <> p_rule then 'MB415' end
        when jsonb_typeof(p_value) <> 'number' or p_value::numeric <> trunc(p_value::numeric)
            then 'MB415'
        when p_rule = 'count' and p_value::numeric not between 0 and 2147483647
          or p_rule = 'person' and p_value::numeric not between 1 and 9223372036854775807
            then 'MB411'
    end) as f (code)
$func$;

comment on function json_import.field_defects(jsonb, text, text) is
    'The defect of a value that should be a string, object, array, time, count (0 to 2^31-1) or
person (1 to 2^63-1), or null. An absent value and a JSON null are fine.';

create function json_import.chat_defects(
    p_object    jsonb,
    p_pointer   text,
    p_expected  bigint,
    p_required  boolean
)
returns setof json_import.defect
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select p_pointer || '/chat_id', f.code,
       case f.code
           when 'MB413' then 'chat_id is missing'
           when 'MB414'
               then format('chat_id is %s, but the name says %s', left(v::text, 80), p_expected)
           when 'MB411' then format('chat_id %s is out of range', left(v::text, 80))
           else format('expected a whole number, found %s', left(v::text, 80))
       end,
       left(v::text, 200)
from (select nullif(p_object -> 'chat_id', 'null')) as u (v)
cross join lateral (
    select case
        when v is null then case when p_required then 'MB413' end
        when jsonb_typeof(v) <> 'number' or v::numeric <> trunc(v::numeric) then 'MB415'
        when v::numeric <> p_expected then 'MB414'
        when v::numeric = 0
          or v::numeric not between -9223372036854775808 and 9223372036854775807 then 'MB411'
    end) as f (code)
where f.code is not null
$func$;

comment on function json_import.chat_defects(jsonb, text, bigint, boolean) is
    'What is wrong with an object''s chat_id, which the file''s name or the key must confirm
(MB411, MB413 to MB415).';

create function json_import.profile_entries(p_doc jsonb, p_kind text, p_chat_id bigint)
returns table (pointer text, expected bigint, is_keyed boolean, entry jsonb)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select '', p_chat_id, false, p_doc
where p_kind = 'profile'
union all
select json_import.to_step(e.key), json_import.to_chat_id(e.key), true, e.value
from jsonb_each(
    case when p_kind = 'profiles' and jsonb_typeof(p_doc) = 'object' then p_doc end) as e
union all
select '/' || (e.ordinal - 1), null, false, e.value
from jsonb_array_elements(
    case when p_kind = 'profiles' and jsonb_typeof(p_doc) = 'array' then p_doc end)
    with ordinality as e (value, ordinal)
$func$;

comment on function json_import.profile_entries(jsonb, text, bigint) is
    'The profiles of a document: pointer, chat_id by file name or key (null in an array), whether it
stands under a key, and the object.';

create function json_import.is_profile_key(p_key text)
returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select p_key in ('chat_id', 'telegram_id', 'name', 'last_activity', 'message_count', 'summary',
                 'profile', 'previous_response_id')
$func$;

comment on function json_import.is_profile_key(text) is 'Whether a profile''s key has a column.';

create function json_import.profile_defects(
    p_doc      jsonb,
    p_kind     text,
    p_chat_id  bigint,
    p_strict   boolean
)
returns setof json_import.defect
language sql
stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
with entry as (
    select * from json_import.profile_entries(p_doc, p_kind, p_chat_id)
), member as (
    select e.pointer, e.expected, e.is_keyed, e.entry, m.key, m.value
    from entry as e
    left join lateral jsonb_each(
        case when jsonb_typeof(e.entry) = 'object' then e.entry end) as m on true
)
select '', 'MB412', format('expected profiles, found %s', jsonb_typeof(p_doc)),
       left(p_doc::text, 200)
where p_kind = 'profiles' and jsonb_typeof(p_doc) not in ('object', 'array')
union all
select e.pointer, 'MB414', 'the key is no chat id', left(e.entry::text, 200)
from entry as e
where e.is_keyed and e.expected is null
union all
select e.pointer, 'MB412', format('expected a profile, found %s', jsonb_typeof(e.entry)),
       left(e.entry::text, 200)
from entry as e
where jsonb_typeof(e.entry) <> 'object' and (e.expected is not null or not e.is_keyed)
union all
select d.*
from entry as e
cross join lateral json_import.chat_defects(e.entry, e.pointer, e.expected, not e.is_keyed) as d
where jsonb_typeof(e.entry) = 'object' and (e.expected is not null or not e.is_keyed)
union all
select d.*
from member as m
cross join lateral json_import.field_defects(
    m.value, m.pointer || json_import.to_step(m.key),
    case m.key
        when 'telegram_id' then 'person' when 'message_count' then 'count'
        when 'last_activity' then 'time' when 'name' then 'string'
        when 'previous_response_id' then 'string'
        when 'summary' then 'object' when 'profile' then 'object' end) as d
where m.key in ('telegram_id', 'message_count', 'last_activity', 'name', 'previous_response_id',
                'summary', 'profile')
  and (m.expected is not null or not m.is_keyed) and d.code is not null
union all
select m.pointer || '/summary' || json_import.to_step(s.key), 'MB415',
       format('expected string, found %s', jsonb_typeof(s.value)), left(s.value::text, 200)
from member as m
cross join lateral jsonb_each(
    case when m.key = 'summary' and jsonb_typeof(m.value) = 'object' then m.value end) as s
where jsonb_typeof(s.value) <> 'string' and (m.expected is not null or not m.is_keyed)
union all
select m.pointer || json_import.to_step(m.key), 'MB424',
       format('key %s is unknown', to_json(m.key)), left(m.value::text, 200)
from member as m
where p_strict and not json_import.is_profile_key(m.key)
$func$;

comment on function json_import.profile_defects(jsonb, text, bigint, boolean) is
    'Everything wrong with a profile, or a file of profiles, that is JSON (MB411 to MB419, MB424).';

create function json_import.duplicate_contacts(p_doc jsonb)
returns setof json_import.defect
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with entry as (
    select e.pointer, e.ordinal, e.entry,
           coalesce((e.entry ->> 'chat_id')::numeric, e.expected) as chat_id,
           coalesce((e.entry ->> 'telegram_id')::numeric, (e.entry ->> 'chat_id')::numeric,
                    e.expected) as telegram_id
    from json_import.profile_entries(p_doc, 'profiles', null)
        with ordinality as e (pointer, expected, is_keyed, entry, ordinal)
), numbered as (
    select e.*, row_number() over (partition by chat_id order by ordinal) as nth_chat,
           row_number() over (partition by telegram_id order by ordinal) as nth_person
    from entry as e
)
select pointer, 'MB421',
       case when nth_chat > 1 then format('chat_id %s stands twice', chat_id)
            else format('telegram_id %s stands twice', telegram_id) end,
       left(entry::text, 200)
from numbered
where nth_chat > 1 or nth_person > 1
$func$;

comment on function json_import.duplicate_contacts(jsonb) is
    'The profiles of a single file, otherwise sound, that name a chat or a person again (MB421).';

create function json_import.messages_path(p_doc jsonb)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when jsonb_typeof(p_doc) = 'object' then '/messages' else '' end
$func$;

comment on function json_import.messages_path(jsonb) is 'Pointer of the array of messages.';

create function json_import.message_list(p_doc jsonb)
returns jsonb
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select l.list
from (select case when jsonb_typeof(p_doc) = 'object' then p_doc -> 'messages' else p_doc end)
    as l (list)
where jsonb_typeof(l.list) = 'array'
$func$;

comment on function json_import.message_list(jsonb) is
    'The array of messages of a conversation or backup; null if there is none.';

create function json_import.message_elements(p_doc jsonb)
returns table (ordinal bigint, value jsonb)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select e.ordinal, e.value
from jsonb_array_elements(json_import.message_list(p_doc)) with ordinality as e (value, ordinal)
$func$;

comment on function json_import.message_elements(jsonb) is
    'The messages of a conversation or backup, in their order, from 1.';

create function json_import.wrapper_defects(p_doc jsonb, p_chat_id bigint, p_strict boolean)
returns setof json_import.defect
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select '', 'MB412', format('expected messages, found %s', jsonb_typeof(p_doc)),
       left(p_doc::text, 200)
where jsonb_typeof(p_doc) not in ('array', 'object')
union all
select d.*
from json_import.chat_defects(p_doc, '', p_chat_id, false) as d
where jsonb_typeof(p_doc) = 'object'
union all
select '/messages', 'MB416', 'messages is missing', null
where jsonb_typeof(p_doc) = 'object' and coalesce(p_doc -> 'messages', 'null') = 'null'
union all
select d.*
from json_import.field_defects(p_doc -> 'messages', '/messages', 'array') as d
where jsonb_typeof(p_doc) = 'object' and d.code is not null
union all
select json_import.to_step(m.key), 'MB424', format('key %s is unknown', to_json(m.key)),
       left(m.value::text, 200)
from jsonb_each(case when p_strict and jsonb_typeof(p_doc) = 'object' then p_doc end) as m
where m.key not in ('chat_id', 'messages', 'date', 'name')
$func$;

comment on function json_import.wrapper_defects(jsonb, bigint, boolean) is
    'What is wrong around the messages (MB411, MB412, MB414 to MB416, MB424).';

create function json_import.message_defects(p_doc jsonb, p_strict boolean)
returns setof json_import.defect
language sql
stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
with message as (
    select json_import.messages_path(p_doc) || '/' || (ordinal - 1) as pointer, value as m,
           case when value ? 'content' then 'content' else 'text' end as body_key,
           jsonb_typeof(value) = 'object' and not (value ? 'text' and value ? 'content') as is_whole
    from json_import.message_elements(p_doc)
)
select pointer, 'MB412',
       case when jsonb_typeof(m) = 'object' then 'text and content: which of the two was said?'
            else format('expected a message, found %s', jsonb_typeof(m)) end,
       left(m::text, 200)
from message
where not is_whole
union all
select pointer || '/' || k.key, 'MB416', format('%s is missing', k.key), left(m::text, 200)
from message
cross join lateral unnest(array[body_key, 'direction', 'ts']) as k (key)
where is_whole and coalesce(m -> k.key, 'null') = 'null'
union all
select d.*
from message
cross join lateral (
    values (body_key, 'string'), ('direction', 'string'), ('ts', 'time')) as k (key, rule)
cross join lateral json_import.field_defects(m -> k.key, pointer || '/' || k.key, k.rule) as d
where is_whole and d.code is not null
union all
select pointer || '/direction', 'MB417', format('direction is %s', left(m ->> 'direction', 80)),
       left(m ->> 'direction', 200)
from message
where is_whole and jsonb_typeof(m -> 'direction') = 'string'
  and m ->> 'direction' not in ('in', 'out')
union all
select pointer || json_import.to_step(k.key), 'MB424', format('key %s is unknown', to_json(k.key)),
       left(k.value::text, 200)
from message
cross join lateral jsonb_each(case when p_strict and is_whole then m end) as k
where k.key not in ('text', 'content', 'direction', 'ts')
$func$;

comment on function json_import.message_defects(jsonb, boolean) is
    'Everything wrong with the messages of a conversation or backup (MB412, MB415 to MB419,
MB424).';

create function json_import.is_too_deep(p_text text, p_doc jsonb)
returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
-- strict: a lax filter would look into an array instead of at it
select case when p_doc is not null
    then p_doc @? 'strict $.**{512} ? (@.type() == "object" || @.type() == "array")'
    else coalesce((
        select max(depth)
        from (
            select sum(case when bracket[1] in ('[', '{') then 1 else -1 end)
                       over (order by ordinal) as depth
            from regexp_matches(p_text, '"(?:[^"\\]|\\.)*"|([][{}])', 'g')
                with ordinality as m (bracket, ordinal)
            where bracket[1] is not null
        ) as d), 0) > 512
end
$func$;

comment on function json_import.is_too_deep(text, jsonb) is
    'Whether JSON, given as text and, where jsonb can hold it, as jsonb, has more than 512 levels.';

create function json_import.content_defects(
    p_text     text,
    p_kind     text,
    p_chat_id  bigint,
    p_strict   boolean
)
returns setof json_import.defect
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_doc  jsonb := json_import.parse(convert_to(p_text, 'UTF8'));
begin
    if json_import.is_too_deep(p_text, v_doc) then
        return query values ('', 'MB407', 'nested deeper than 512 levels', null::text);
        return;
    end if;
    if v_doc is null then
        return query select * from json_import.value_defects(json_import.tame(p_text)::json);
        return;
    end if;
    if json_import.string_count(p_text) <> json_import.string_count(v_doc::text) then
        return query select * from json_import.duplicate_keys(p_text::json);
    end if;
    if p_kind in ('profile', 'profiles') then
        return query select * from json_import.profile_defects(v_doc, p_kind, p_chat_id, p_strict);
        if p_kind = 'profiles' and not found then
            return query select * from json_import.duplicate_contacts(v_doc);
        end if;
    else
        return query select * from json_import.wrapper_defects(v_doc, p_chat_id, p_strict);
        if p_strict or json_import.are_plain(json_import.message_list(v_doc)) is not true then
            return query select * from json_import.message_defects(v_doc, p_strict);
        end if;
    end if;
end
$func$;

comment on function json_import.content_defects(text, text, bigint, boolean) is
    'Everything wrong with a JSON text of the given kind.';

create function json_import.defects(
    p_bytes    bytea,
    p_kind     text,
    p_chat_id  bigint,
    p_strict   boolean default false
)
returns setof json_import.defect
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_text  text;
begin
    if p_kind = 'other' then
        return query values ('', 'MB423', 'a JSON file of no known kind', null::text);
        return;
    end if;
    return query select * from json_import.byte_defects(p_bytes);
    if found then
        return;
    end if;
    v_text := json_import.decode(p_bytes);
    return query select * from json_import.syntax_defects(v_text);
    if found then
        return;
    end if;
    return query select * from json_import.content_defects(v_text, p_kind, p_chat_id, p_strict);
end
$func$;

comment on function json_import.defects(bytea, text, bigint, boolean) is
    'The diagnosis: every defect of a file''s bytes, none if it can be loaded. Bytes first, then
syntax, then content; a phase that finds something is the last.';

-- Rows ------------------------------------------------------------------------

create function json_import.message_digest(
    p_direction  text,
    p_body       text,
    p_sent_at    timestamptz,
    p_metadata   jsonb
)
returns bigint
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select hashtextextended(
           p_body, (date_part('epoch', p_sent_at) * 1000000)::bigint # ascii(p_direction))
     # coalesce(hashtextextended(p_metadata::text, 1), 0)
$func$;

comment on function json_import.message_digest(text, text, timestamptz, jsonb) is
    'A 64-bit hash of what a message says; their sum tells two sets of messages apart.';

create function json_import.closer_time(p_ts text)
returns timestamptz
language sql
stable
strict
parallel safe
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
from (select translate(p_ts, '0123456789', '')) as s (shape)
$func$;

comment on function json_import.closer_time(text) is
    'A message''s time of a less usual spelling; null where it needs to_time, or is none.';

create function json_import.plain_messages(p_lists jsonb[])
returns table (list bigint, place bigint, direction text, body text, sent_at timestamptz,
               digest bigint, is_iso boolean, has_no_zone boolean, is_sound boolean)
language sql
stable
rows 10000
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $func$
select m.list, m.place, m.direction, m.body, m.sent_at,
       -- message_digest, written out: a call per row would cost more than the hash
       hashtextextended(m.body, (date_part('epoch', m.sent_at) * 1000000)::bigint
                                # ascii(m.direction)),
       m.is_iso,
       m.is_iso and right(m.ts, 1) <> 'Z' and left(right(m.ts, 6), 1) not in ('+', '-'),
       coalesce(m.body is not null and m.direction in ('in', 'out')
                and m.sent_at >= timestamptz '1970-01-01 00:00:00+00'
                and m.sent_at < timestamptz '2100-01-01 00:00:00+00', false)
from (
    select m.list, m.place, m.direction, coalesce(m.text, m.content) as body, m.ts,
           m.ts like '____-%' as is_iso,
           case
               -- what the server writes again as it stands there, it has read right
               when replace(replace(m.clock::text, ' ', 'T'), '+00', 'Z') = m.usual
               then case when m.usual = m.ts then m.clock else m.ts::timestamptz end
               when length(m.ts) between 1 and 13 and ltrim(m.ts, '0123456789') = ''
               then to_timestamp(case when m.ts::float8 < 100000000000
                                      then m.ts::float8 else m.ts::float8 / 1000 end)
               else json_import.closer_time(m.ts)
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
                              || @.text.type() != "string" || @.content.type() != "string")'
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
array in which an element is no object, or a text no string.';

create function json_import.are_plain(p_messages jsonb)
returns boolean
language plpgsql
stable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    -- a time of digits is one only without quotes, which plain_messages does not see
    return not p_messages @? '$[*] ? (exists(@.text) && exists(@.content)
                                      || @.ts like_regex "^[0-9.]*$")' and (
        select count(*) = jsonb_array_length(p_messages) and coalesce(bool_and(coalesce(
                   m.body is not null and m.direction in ('in', 'out')
                   and m.sent_at >= timestamptz '1970-01-01 00:00:00+00'
                   and m.sent_at < timestamptz '2100-01-01 00:00:00+00', false)), true)
        from json_import.plain_messages(array[p_messages]) as m);
exception
    when data_exception then
        return false;  -- no object, or no day of the calendar
end
$func$;

comment on function json_import.are_plain(jsonb) is
    'Whether messages are sound at a glance; what are not may still be, and get a diagnosis.';

create function json_import.messages_of(p_doc jsonb)
returns table (ordinal bigint, direction text, body text, sent_at timestamptz, metadata jsonb,
               has_no_zone boolean)
language sql
stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
select e.ordinal, m.direction, m.body, coalesce(m.sent_at, json_import.to_time(e.value -> 'ts')),
       nullif(e.value - '{text,content,direction,ts}'::text[], '{}'),
       jsonb_typeof(e.value -> 'ts') = 'string' and e.value ->> 'ts' !~ '(Z|[+-][0-9:]+)$'
from json_import.message_elements(p_doc) as e
join json_import.plain_messages(array[json_import.message_list(p_doc)]) as m
    on m.place = e.ordinal
$func$;

comment on function json_import.messages_of(jsonb) is
    'The rows that a sound conversation or backup makes, in its order, from 1.';

create function json_import.profiles_of(p_doc jsonb, p_kind text, p_chat_id bigint)
returns table (chat_id bigint, telegram_id bigint, name text, last_activity timestamptz,
               message_count integer, summary jsonb, profile jsonb, previous_response_id text,
               extra jsonb, has_no_zone boolean)
language sql
stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
select c.chat_id, coalesce((e.entry ->> 'telegram_id')::numeric::bigint, c.chat_id),
       e.entry ->> 'name', json_import.to_time(nullif(e.entry -> 'last_activity', 'null')),
       coalesce((e.entry ->> 'message_count')::numeric::integer, 0),
       coalesce(nullif(e.entry -> 'summary', 'null'), '{}'),
       coalesce(nullif(e.entry -> 'profile', 'null'), '{}'),
       e.entry ->> 'previous_response_id',
       e.entry - '{chat_id,telegram_id,name,last_activity,message_count}'::text[]
               - '{summary,profile,previous_response_id}'::text[],
       jsonb_typeof(e.entry -> 'last_activity') = 'string'
       and e.entry ->> 'last_activity' !~ '(Z|[+-][0-9:]+)$'
from json_import.profile_entries(p_doc, p_kind, p_chat_id) as e
cross join lateral (
    select coalesce((e.entry ->> 'chat_id')::numeric::bigint, e.expected)) as c (chat_id)
$func$;

comment on function json_import.profiles_of(jsonb, text, bigint) is
    'The rows that a sound profile, or file of profiles, makes.';

create function json_import.profile_digest(p_row core.girls_profiles)
returns bigint
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select hashtextextended(jsonb_build_array(
    p_row.telegram_id, p_row.chat_id, p_row.name, p_row.last_activity, p_row.message_count,
    p_row.summary, p_row.profile, p_row.previous_response_id, p_row.extra)::text, 0)
$func$;

comment on function json_import.profile_digest(core.girls_profiles) is
    'Hash of what a contact''s row says: equal while nobody changes it.';

-- Loading: many files in one statement ------------------------------------------

create function json_import.bom_warning(p_bytes bytea)
returns jsonb
language sql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when substr(p_bytes, 1, 3) = '\xefbbbf' then jsonb '{"bom": 1}' else jsonb '{}' end
$func$;

comment on function json_import.bom_warning(bytea) is 'Counts a byte order mark as a warning.';

create function json_import.count_warning(p_warning text, p_times bigint)
returns jsonb
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when p_times > 0 then jsonb_build_object(p_warning, p_times) else '{}' end
$func$;

comment on function json_import.count_warning(text, bigint) is 'A warning''s count, if any.';

create function json_import.new_conversations(
    p_bot_id    bigint,
    p_paths     text[],
    p_chat_ids  bigint[],
    p_docs      bytea[]
)
returns table (ordinal bigint, path text, chat_id bigint, octets integer, warnings jsonb,
               messages jsonb, strings bigint, file_id bigint, conversation_id bigint,
               profile_id bigint)
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
select u.ordinal, u.path, u.chat_id, octet_length(u.bytes), json_import.bom_warning(u.bytes),
       case jsonb_typeof(d.content)
           when 'array' then d.content
           when 'object' then
               case when d.content -> 'chat_id' = to_jsonb(u.chat_id)
                    then d.content -> 'messages' end
       end,
       d.strings - case jsonb_typeof(d.content) when 'object' then 2 else 0 end,
       nextval('json_import.file_file_id_seq'),
       nextval('core.conversations_conversation_id_seq'),
       -- locked, which is what the foreign key's trigger would do, but once per file
       (select g.profile_id
        from core.girls_profiles as g
        where g.bot_id = p_bot_id and g.chat_id = u.chat_id
        order by g.profile_id
        limit 1
        for key share)
from unnest(p_paths, p_chat_ids, p_docs) with ordinality as u (path, chat_id, bytes, ordinal)
cross join lateral json_import.read_document(u.bytes) as d
where not exists (
    select from json_import.file as f where f.bot_id = p_bot_id and f.path = u.path)
  and not exists (
    select from core.conversations as c where c.bot_id = p_bot_id and c.chat_id = u.chat_id)
$func$;

comment on function json_import.new_conversations(bigint, text[], bigint[], bytea[]) is
    'Of a batch the files that are new, with a chat that is new, each parsed once: its array of
messages (null: of another shape), how many strings are in it if nothing else is in the file, the
ids it will get, and its contact, locked.';

create function json_import.load_conversations(
    p_run_id    bigint,
    p_bot_id    bigint,
    p_paths     text[],
    p_chat_ids  bigint[],
    p_docs      bytea[],
    p_sha256s   bytea[]
)
returns integer[]
language sql
volatile
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set jit = off
set enable_nestloop = off  -- how many messages a document holds, the planner can't know
as $func$
with document as materialized (
    select d.*, row_number() over (order by d.ordinal) as list
    from json_import.new_conversations(p_bot_id, p_paths, p_chat_ids, p_docs) as d
), message as materialized (
    -- numbered here, where they come in order: no join keeps one
    select m.*, nextval('core.messages_message_id_seq') as message_id
    from json_import.plain_messages(
        (select array_agg(d.messages order by d.list) from document as d)) as m
), total as (
    select m.list, count(*) as messages, count(*) filter (where m.is_iso) as iso_times,
           count(*) filter (where m.has_no_zone) as no_zone, bool_and(m.is_sound) as is_sound,
           min(m.sent_at) as first_at, max(m.sent_at) as last_at,
           sum(octet_length(m.body)) as body_octets, sum(m.digest) as digest,
           sum(hashint8extended(m.digest, m.place)) as sequence
    from message as m group by m.list
), plain as materialized (
    select d.list, d.ordinal, d.path, d.chat_id, d.octets, d.warnings, d.file_id, d.conversation_id,
           d.profile_id, t.first_at, t.last_at, coalesce(t.messages, 0)::integer as records,
           coalesce(t.body_octets, 0) as body_octets, coalesce(t.digest, 0) as digest,
           coalesce(t.sequence, 0) as sequence, coalesce(t.no_zone, 0) as no_zone,
           current_setting('session_replication_role') = 'replica' as has_no_trigger
    from document as d left join total as t using (list)
    where d.profile_id is not null
      and coalesce(t.messages, 0) = jsonb_array_length(
              case when jsonb_typeof(d.messages) = 'array' then d.messages end)
      and t.is_sound is not false
      -- n messages of exactly three keys hold 3n + 2n strings and one per ISO time: one more
      -- and there is an unknown or a repeated key somewhere
      and d.strings = 5 * coalesce(t.messages, 0) + coalesce(t.iso_times, 0)
), stored_conversation as (
    insert into core.conversations (
        bot_id, conversation_id, profile_id, chat_id, started_at, last_message_at, message_count)
    overriding system value
    select p_bot_id, conversation_id, profile_id, chat_id, least(first_at, now()),
           case when has_no_trigger then last_at end, has_no_trigger::integer * records
    from plain
), stored_message as (
    insert into core.messages (
        bot_id, conversation_id, message_id, source_file_id, direction, body, sent_at)
    overriding system value
    select p_bot_id, p.conversation_id, m.message_id, p.file_id, m.direction, m.body, m.sent_at
    from message as m join plain as p using (list)
), stale as (
    insert into core.stale_days (bot_id, days)
    select p_bot_id, core.days_of(array_agg(m.sent_at)) from message as m having bool_or(m.is_sound)
), stored_file as (
    insert into json_import.file (
        file_id, bot_id, path, kind, chat_id, status, sha256, octets, records, row_count,
        body_octets, digest, sequence, warnings, run_id)
    overriding system value
    select file_id, p_bot_id, path, 'conversation', chat_id, 'loaded', p_sha256s[ordinal],
           octets, records, records, body_octets, digest, sequence,
           warnings || json_import.count_warning('no_zone', no_zone), p_run_id
    from plain
)
select coalesce(array_agg(o.ordinal order by o.ordinal), '{}')
from generate_subscripts(p_paths, 1) as o (ordinal)
where o.ordinal not in (select p.ordinal from plain as p)
$func$;

comment on function json_import.load_conversations(
    bigint, bigint, text[], bigint[], bytea[], bytea[]) is
    'Loads the conversations that are new and of the common shape, all in one statement; returns the
ordinals of the others. Any error leaves nothing behind and is the caller''s to look into.';

create function json_import.is_plain_profile(p_doc jsonb, p_chat_id bigint)
returns boolean
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
select coalesce(
    jsonb_typeof(p_doc) = 'object'
    and p_doc -> 'chat_id' = to_jsonb(p_chat_id)
    and coalesce(jsonb_typeof(p_doc -> 'name'), 'null') in ('string', 'null')
    and coalesce(jsonb_typeof(p_doc -> 'previous_response_id'), 'null') in ('string', 'null')
    and coalesce(jsonb_typeof(p_doc -> 'summary'), 'null') in ('object', 'null')
    and not coalesce(p_doc -> 'summary' @? 'strict $.* ? (@.type() != "string")', false)
    and coalesce(jsonb_typeof(p_doc -> 'profile'), 'null') in ('object', 'null')
    and coalesce((p_doc -> 'message_count')::text ~ '^([0-9]{1,9}|null)$', true)
    and coalesce((p_doc -> 'telegram_id')::text ~ '^([1-9][0-9]{0,17}|null)$', true)
    and json_import.time_fault(nullif(p_doc -> 'last_activity', 'null')) is null
    -- so many levels take so many brackets
    and (length(p_doc::text) < 1024 or not json_import.is_too_deep(null, p_doc)),
    false)
$func$;

comment on function json_import.is_plain_profile(jsonb, bigint) is
    'Whether a profile is sound at a glance; what is not may still be, and gets a diagnosis.';

create function json_import.load_profiles(
    p_run_id    bigint,
    p_bot_id    bigint,
    p_paths     text[],
    p_chat_ids  bigint[],
    p_docs      bytea[],
    p_sha256s   bytea[]
)
returns integer[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set jit = off
as $func$
declare
    v_left  integer[];
begin
    with document as materialized (
        select u.ordinal, u.path, u.chat_id, u.bytes, d.content, d.strings,
               nextval('json_import.file_file_id_seq') as file_id,
               nextval('core.girls_profiles_profile_id_seq') as profile_id
        from unnest(p_paths, p_chat_ids, p_docs)
            with ordinality as u (path, chat_id, bytes, ordinal)
        cross join lateral json_import.read_document(u.bytes) as d
        where not exists (
            select from json_import.file as f where f.bot_id = p_bot_id and f.path = u.path)
          and not exists (
            select from core.girls_profiles as g
            where g.bot_id = p_bot_id and g.chat_id = u.chat_id)
    ), plain as materialized (
        select d.ordinal, d.path, d.bytes, d.file_id, d.profile_id, r.*
        from document as d
        cross join lateral json_import.profiles_of(d.content, 'profile', d.chat_id) as r
        where json_import.is_plain_profile(d.content, d.chat_id)
          and d.strings = json_import.string_count(d.content::text)
    ), stored_profile as (
        insert into core.girls_profiles as g (
            bot_id, profile_id, telegram_id, chat_id, name, last_activity, message_count, summary,
            profile, previous_response_id, extra)
        overriding system value
        select p_bot_id, profile_id, telegram_id, chat_id, name, last_activity, message_count,
               summary, profile, previous_response_id, extra
        from plain
        returning g.profile_id, json_import.profile_digest(g) as digest
    ), stored_file as (
        insert into json_import.file (
            file_id, bot_id, path, kind, chat_id, status, sha256, octets, records, row_count,
            warnings, run_id)
        overriding system value
        select file_id, p_bot_id, path, 'profile', chat_id, 'loaded', p_sha256s[ordinal],
               octet_length(bytes), 1, 1,
               json_import.bom_warning(bytes)
               || json_import.count_warning('no_zone', has_no_zone::integer)
               || case when extra <> '{}' then jsonb_build_object(
                      'unknown_key', (select count(*) from jsonb_object_keys(extra))) else '{}' end,
               p_run_id
        from plain
    ), stored_source as (
        insert into json_import.profile_source (bot_id, profile_id, file_id, digest)
        select p_bot_id, p.profile_id, p.file_id, s.digest
        from plain as p
        join stored_profile as s using (profile_id)
    )
    select array_agg(o.ordinal order by o.ordinal) into v_left
    from generate_subscripts(p_paths, 1) as o (ordinal)
    where not exists (select from plain as p where p.ordinal = o.ordinal);
    return coalesce(v_left, '{}');
end
$func$;

comment on function json_import.load_profiles(
    bigint, bigint, text[], bigint[], bytea[], bytea[]) is
    'The same for profiles of new contacts, one to a file.';

-- Loading: one file, looked at closely -------------------------------------------

create function json_import.lacks_profile(p_bot_id bigint, p_chat_id bigint, p_file_id bigint)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select not exists (
    select
    from core.girls_profiles as g
    left join json_import.profile_source as s using (bot_id, profile_id)
    where g.bot_id = p_bot_id and (g.chat_id = p_chat_id or g.telegram_id = p_chat_id)
      and (s.file_id = p_file_id and s.digest = json_import.profile_digest(g)) is not true)
$func$;

comment on function json_import.lacks_profile(bigint, bigint, bigint) is
    'Whether a chat has no contact, or none but the placeholder that this file had made.';

create function json_import.ensure_conversation(
    p_bot_id   bigint,
    p_chat_id  bigint,
    p_file_id  bigint
)
returns bigint
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_conversation_id  bigint;
begin
    if json_import.lacks_profile(p_bot_id, p_chat_id, null) then
        -- known as ours and empty, so that the profile may still come and fill it
        with made as (
            insert into core.girls_profiles as g (bot_id, telegram_id, chat_id)
            values (p_bot_id, p_chat_id, p_chat_id)
            on conflict (bot_id, telegram_id) do nothing
            returning g.bot_id, g.profile_id, json_import.profile_digest(g) as digest
        )
        insert into json_import.profile_source (bot_id, profile_id, file_id, digest)
        select bot_id, profile_id, p_file_id, digest
        from made;
    end if;
    v_conversation_id := core.ensure_conversation(p_bot_id, p_chat_id, null);
    -- one writer of history at a time per conversation
    perform 1
    from core.conversations
    where bot_id = p_bot_id and conversation_id = v_conversation_id
    for no key update;
    return v_conversation_id;
end
$func$;

comment on function json_import.ensure_conversation(bigint, bigint, bigint) is
    'conversation_id of a chat, locked; a chat without profile gets a placeholder.';

create function json_import.same_head(p_file json_import.file, p_doc jsonb)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select p_file.row_count > 0
   and p_file.row_count = p_file.records
   and count(*) = p_file.records
   and sum(hashint8extended(
           json_import.message_digest(m.direction, m.body, m.sent_at, m.metadata), m.ordinal))
       = p_file.sequence
from json_import.messages_of(p_doc) as m
where m.ordinal <= p_file.records
$func$;

comment on function json_import.same_head(json_import.file, jsonb) is
    'Whether a changed file begins with exactly the messages that it brought before: an append.';

create function json_import.take_over(
    p_bot_id           bigint,
    p_chat_id          bigint,
    p_conversation_id  bigint,
    p_doc              jsonb,
    p_known            bigint
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    if not exists (
        select
        from json_import.file as f
        where f.bot_id = p_bot_id and f.chat_id = p_chat_id and f.kind = 'backup'
          and f.row_count > 0) then
        return;
    end if;
    with incoming as (
        select direction, body, sent_at,
               row_number() over (partition by direction, body, sent_at) as nth
        from json_import.messages_of(p_doc)
        where ordinal > p_known
    ), held as (
        select m.message_id, m.direction, m.body, m.sent_at,
               row_number() over (partition by m.direction, m.body, m.sent_at) as nth
        from core.messages as m
        join json_import.file as f on f.file_id = m.source_file_id and f.kind = 'backup'
        where m.bot_id = p_bot_id and m.conversation_id = p_conversation_id
    )
    delete from core.messages as m
    using held as h
    join incoming as i using (direction, body, sent_at, nth)
    where m.bot_id = p_bot_id and m.conversation_id = p_conversation_id
      and m.message_id = h.message_id;
    if found then
        perform json_import.recount(f.file_id, p_bot_id, p_conversation_id)
        from json_import.file as f
        where f.bot_id = p_bot_id and f.chat_id = p_chat_id and f.kind = 'backup';
    end if;
end
$func$;

comment on function json_import.take_over(bigint, bigint, bigint, jsonb, bigint) is
    'Removes what backups had added of the messages that now come from the conversation itself.';

create function json_import.wrapper_of(p_doc jsonb)
returns jsonb
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when jsonb_typeof(p_doc) = 'object'
            then nullif(p_doc - '{chat_id,messages}'::text[], '{}') end
$func$;

comment on function json_import.wrapper_of(jsonb) is
    'What the object around the messages says besides them; null if nothing.';

create function json_import.merge_wrapper(p_held jsonb, p_old jsonb, p_new jsonb)
returns jsonb
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select p_held - array(
           select o.key
           from jsonb_each(p_old) as o
           where p_held -> o.key = o.value and not coalesce(p_new ? o.key, false))
       || coalesce((
           select jsonb_object_agg(n.key, n.value)
           from jsonb_each(p_new) as n
           where n.value is distinct from p_old -> n.key
             and p_held -> n.key is not distinct from p_old -> n.key), '{}')
$func$;

comment on function json_import.merge_wrapper(jsonb, jsonb, jsonb) is
    'What a conversation''s metadata becomes when its file says p_new where it said p_old: a key
that a bot changed meanwhile keeps what the bot says.';

create function json_import.store_conversation(
    p_old      json_import.file,
    p_file_id  bigint,
    p_bot_id   bigint,
    p_chat_id  bigint,
    p_doc      jsonb
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_conversation_id  bigint := json_import.ensure_conversation(p_bot_id, p_chat_id, p_file_id);
    v_known            bigint := 0::bigint;  -- messages at the head that are in already
begin
    if json_import.same_head(p_old, p_doc) then
        v_known := p_old.records::bigint;
    elsif p_old.row_count > 0 then
        delete from core.messages
        where bot_id = p_bot_id and conversation_id = v_conversation_id
          and source_file_id = p_file_id;
        update json_import.file set must_reread = true
        where bot_id = p_bot_id and chat_id = p_chat_id and kind = 'backup';
    end if;
    perform json_import.take_over(p_bot_id, p_chat_id, v_conversation_id, p_doc, v_known);

    insert into core.messages (
        bot_id, conversation_id, source_file_id, direction, body, sent_at, metadata)
    select p_bot_id, v_conversation_id, p_file_id, direction, body, sent_at, metadata
    from json_import.messages_of(p_doc)
    where ordinal > v_known
    order by ordinal;

    update core.conversations as c
    set metadata = w.merged
    from (
        select json_import.merge_wrapper(k.metadata, p_old.wrapper, json_import.wrapper_of(p_doc))
        from core.conversations as k
        where k.bot_id = p_bot_id and k.conversation_id = v_conversation_id
    ) as w (merged)
    where c.bot_id = p_bot_id and c.conversation_id = v_conversation_id
      and c.metadata <> w.merged;
end
$func$;

comment on function json_import.store_conversation(
    json_import.file, bigint, bigint, bigint, jsonb) is
    'Stores a conversation''s messages: the tail if the file only grew, else all anew in place of
those that came from it before. Messages of bots are not touched.';

create function json_import.recount(p_file_id bigint, p_bot_id bigint, p_conversation_id bigint)
returns void
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
update json_import.file as f
set row_count = t.row_count, body_octets = t.body_octets, digest = t.digest, sequence = t.sequence
from (
    select count(*) as row_count, coalesce(sum(octet_length(m.body)), 0) as body_octets,
           coalesce(sum(m.digest), 0) as digest,
           coalesce(sum(hashint8extended(m.digest, m.place)), 0) as sequence
    from (
        select body, json_import.message_digest(direction, body, sent_at, metadata) as digest,
               row_number() over (order by message_id) as place
        from core.messages
        where bot_id = p_bot_id and conversation_id = p_conversation_id
          and source_file_id = p_file_id
    ) as m
) as t
where f.file_id = p_file_id
$func$;

comment on function json_import.recount(bigint, bigint, bigint) is
    'Brings a file''s counts and digest in the ledger in line with its rows in core.messages.';

create function json_import.store_backup(
    p_file_id  bigint,
    p_bot_id   bigint,
    p_chat_id  bigint,
    p_doc      jsonb
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_conversation_id  bigint := json_import.ensure_conversation(p_bot_id, p_chat_id, p_file_id);
begin
    delete from core.messages
    where bot_id = p_bot_id and conversation_id = v_conversation_id and source_file_id = p_file_id;

    with held as (
        select direction, body, sent_at, count(*) as times
        from core.messages
        where bot_id = p_bot_id and conversation_id = v_conversation_id
        group by direction, body, sent_at
    ), incoming as (
        select m.*, row_number() over (
            partition by m.direction, m.body, m.sent_at order by m.ordinal) as nth
        from json_import.messages_of(p_doc) as m
    )
    insert into core.messages (
        bot_id, conversation_id, source_file_id, direction, body, sent_at, metadata)
    select p_bot_id, v_conversation_id, p_file_id, i.direction, i.body, i.sent_at, i.metadata
    from incoming as i
    left join held as h using (direction, body, sent_at)
    where i.nth > coalesce(h.times, 0)
    order by i.ordinal;
end
$func$;

comment on function json_import.store_backup(bigint, bigint, bigint, jsonb) is
    'Adds those messages of a backup that the conversation doesn''t hold as often.';

create function json_import.refill_profiles(
    p_file_id  bigint,
    p_bot_id   bigint,
    p_kind     text,
    p_chat_id  bigint,
    p_doc      jsonb
)
returns void
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
with incoming as (
    select r.*, g.profile_id,
           s.digest is distinct from json_import.profile_digest(g) as is_live
    from json_import.profiles_of(p_doc, p_kind, p_chat_id) as r
    cross join lateral (
        select *
        from core.girls_profiles as c
        where c.bot_id = p_bot_id and c.chat_id = r.chat_id
        order by c.telegram_id = r.telegram_id desc, c.profile_id
        limit 1
    ) as g
    left join json_import.profile_source as s
        on s.bot_id = p_bot_id and s.profile_id = g.profile_id
    left join json_import.file as f on f.file_id = s.file_id
    -- a contact's own file is newer than the file of all contacts
    where not (p_kind = 'profiles' and coalesce(f.kind = 'profile', false))
), updated as (
    update core.girls_profiles as g
    set telegram_id   = case when i.is_live then g.telegram_id else i.telegram_id end,
        name          = case when i.is_live then coalesce(g.name, i.name) else i.name end,
        last_activity = case when i.is_live then greatest(g.last_activity, i.last_activity)
                             else i.last_activity end,
        message_count = case when i.is_live then greatest(g.message_count, i.message_count)
                             else i.message_count end,
        summary       = case when i.is_live then i.summary || g.summary else i.summary end,
        profile       = case when i.is_live then i.profile || g.profile else i.profile end,
        previous_response_id =
            case when i.is_live then coalesce(g.previous_response_id, i.previous_response_id)
                 else i.previous_response_id end,
        extra         = case when i.is_live then i.extra || g.extra else i.extra end
    from incoming as i
    where g.bot_id = p_bot_id and g.profile_id = i.profile_id
    returning g.profile_id,
              case when i.is_live then 0 else json_import.profile_digest(g) end as digest
)
insert into json_import.profile_source as s (bot_id, profile_id, file_id, digest)
select p_bot_id, profile_id, p_file_id, digest
from updated
on conflict (bot_id, profile_id) do update
    set file_id = excluded.file_id, digest = excluded.digest
$func$;

comment on function json_import.refill_profiles(bigint, bigint, text, bigint, jsonb) is
    'Brings contacts that are here already in line with a file. A row as the import left it is
replaced; one that a bot made or changed keeps what it says, and only its blanks are filled.';

create function json_import.add_profiles(
    p_file_id  bigint,
    p_bot_id   bigint,
    p_kind     text,
    p_chat_id  bigint,
    p_doc      jsonb
)
returns void
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
with inserted as (
    insert into core.girls_profiles as g (
        bot_id, telegram_id, chat_id, name, last_activity, message_count, summary, profile,
        previous_response_id, extra)
    select p_bot_id, r.telegram_id, r.chat_id, r.name, r.last_activity, r.message_count,
           r.summary, r.profile, r.previous_response_id, r.extra
    from json_import.profiles_of(p_doc, p_kind, p_chat_id) as r
    where not exists (
        select
        from core.girls_profiles as c
        where c.bot_id = p_bot_id and c.chat_id = r.chat_id)
    returning g.profile_id, json_import.profile_digest(g) as digest
)
insert into json_import.profile_source (bot_id, profile_id, file_id, digest)
select p_bot_id, profile_id, p_file_id, digest
from inserted
$func$;

comment on function json_import.add_profiles(bigint, bigint, text, bigint, jsonb) is
    'Stores the contacts that are new. 23505: another contact of the bot has the telegram_id.';

create function json_import.warnings_of(
    p_doc      jsonb,
    p_kind     text,
    p_chat_id  bigint,
    p_bot_id   bigint,
    p_file_id  bigint
)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
select coalesce(jsonb_object_agg(w.warning, w.times) filter (where w.times > 0), '{}')
from (
    select 'no_zone', count(*)
    from json_import.messages_of(p_doc) as m
    where p_kind in ('conversation', 'backup') and m.has_no_zone
    having p_kind in ('conversation', 'backup')
    union all
    select 'no_zone', count(*)
    from json_import.profiles_of(p_doc, p_kind, p_chat_id) as p
    where p.has_no_zone
    having p_kind in ('profile', 'profiles')
    union all
    select 'unknown_key',
           (select count(*)
            from json_import.messages_of(p_doc) as m
            cross join lateral jsonb_object_keys(m.metadata))
           + (select count(*)
              from jsonb_object_keys(case when jsonb_typeof(p_doc) = 'object' then p_doc end) as k
              where k not in ('chat_id', 'messages', 'date', 'name'))
    where p_kind in ('conversation', 'backup')
    union all
    select 'unknown_key', count(*)
    from json_import.profiles_of(p_doc, p_kind, p_chat_id) as p
    cross join lateral jsonb_object_keys(p.extra)
    having p_kind in ('profile', 'profiles')
    union all
    select 'no_profile', 1
    where p_kind in ('conversation', 'backup')
      and json_import.lacks_profile(p_bot_id, p_chat_id, p_file_id)
) as w (warning, times)
$func$;

comment on function json_import.warnings_of(jsonb, text, bigint, bigint, bigint) is
    'Counts of what was accepted but is odd: no_zone, unknown_key, no_profile; to be asked before
the file''s rows are stored.';

create function json_import.record_count(p_doc jsonb, p_kind text)
returns integer
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case
    when p_kind = 'profile' then 1
    when p_kind = 'profiles' and jsonb_typeof(p_doc) = 'object' then
        (select count(*) from jsonb_object_keys(p_doc))
    when p_kind = 'profiles' then jsonb_array_length(p_doc)
    else (select count(*) from json_import.message_elements(p_doc))
end
$func$;

comment on function json_import.record_count(jsonb, text) is 'Messages or profiles in a document.';

create function json_import.recount_profiles(p_file_ids bigint[])
returns void
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
update json_import.file as f
set row_count = (
    select count(*) from json_import.profile_source as s where s.file_id = f.file_id)
where f.file_id = any (p_file_ids) and f.kind in ('profile', 'profiles')
$func$;

comment on function json_import.recount_profiles(bigint[]) is
    'Brings files'' counts of contacts in the ledger in line: a file of its own takes a contact
over.';

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
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_doc      jsonb := json_import.parse(p_bytes);
    v_sources  bigint[];
    v_file_id  bigint;
begin
    insert into json_import.file as f (
        bot_id, path, kind, chat_id, status, sha256, octets, records, warnings, wrapper, run_id)
    values (
        p_bot_id, p_path, p_kind, p_chat_id, 'loaded', sha256(p_bytes), octet_length(p_bytes),
        json_import.record_count(v_doc, p_kind),
        json_import.warnings_of(v_doc, p_kind, p_chat_id, p_bot_id, p_old.file_id)
            || json_import.bom_warning(p_bytes),
        case when p_kind in ('conversation', 'backup') then json_import.wrapper_of(v_doc) end,
        p_run_id)
    on conflict (bot_id, path) do update
        set kind = excluded.kind, chat_id = excluded.chat_id, status = 'loaded', reason = null,
            sha256 = excluded.sha256, octets = excluded.octets,
            records = excluded.records, defects = 0, warnings = excluded.warnings,
            wrapper = excluded.wrapper, must_reread = false, run_id = excluded.run_id,
            imported_at = excluded.imported_at
    returning f.file_id into v_file_id;

    if p_kind = 'conversation' then
        perform json_import.store_conversation(p_old, v_file_id, p_bot_id, p_chat_id, v_doc);
    elsif p_kind = 'backup' then
        perform json_import.store_backup(v_file_id, p_bot_id, p_chat_id, v_doc);
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
        where c.bot_id = p_bot_id and c.chat_id = p_chat_id;
    else
        perform json_import.recount_profiles(v_sources || v_file_id);
    end if;
    delete from json_import.reject where file_id = v_file_id;
    delete from json_import.kept_bytes where file_id = v_file_id;
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
volatile
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

    delete from json_import.reject where file_id = v_file_id;
    insert into json_import.reject (file_id, ordinal, pointer, code, message, excerpt)
    select v_file_id, d.ordinal, d.pointer, d.code, d.message, d.excerpt
    from unnest(p_defects) with ordinality as d (pointer, code, message, excerpt, ordinal)
    where d.ordinal <= 1000;

    delete from json_import.kept_bytes where file_id = v_file_id;
    insert into json_import.kept_bytes (file_id, part, bytes)
    select v_file_id, 0, p_bytes
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
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_old      json_import.file;
    v_defects  json_import.defect[];
    v_state    text;
    v_message  text;
    v_detail   text;
begin
    select * into v_old from json_import.file where bot_id = p_bot_id and path = p_path for update;
    for v_attempt in 1 .. 2 loop
        begin
            v_state := null;
            v_defects := array(
                select d from json_import.defects(p_bytes, p_kind, p_chat_id, p_strict) as d);
            if v_defects = '{}' and p_strict and p_kind in ('conversation', 'backup')
               and json_import.lacks_profile(p_bot_id, p_chat_id, v_old.file_id) then
                v_defects := array[row(
                    '', 'MB425', format('chat %s has no profile', p_chat_id), null
                )::json_import.defect];
            end if;
            if v_defects = '{}' then
                perform json_import.store(
                    p_run_id, p_bot_id, p_path, p_kind, p_chat_id, p_bytes, v_old);
                return;
            end if;
        exception
            -- what the file's content can cause; the server's own trouble is not blamed on it
            when integrity_constraint_violation or data_exception or program_limit_exceeded then
                get stacked diagnostics v_state = returned_sqlstate, v_message = message_text,
                                        v_detail = pg_exception_detail;
                v_defects := array[row(
                    '', 'MB422', concat_ws('; ', v_message, nullif(v_detail, '')), null
                )::json_import.defect];
        end;
        -- a bot may have made the same contact in this very moment: then look again
        exit when v_state is distinct from '23505';
    end loop;
    perform json_import.quarantine(
        p_run_id, p_bot_id, p_path, p_kind, p_chat_id, p_bytes, v_defects);
end
$func$;

comment on function json_import.load_file(bigint, bigint, text, text, bigint, bytea, boolean) is
    'Loads one file or puts it into quarantine; there is no third way.';

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
returns table (loaded integer, quarantined integer, rest integer[])
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
as $func$
declare
    v_until    timestamptz := clock_timestamp() + p_patience;
    v_sha256s  bytea[] := coalesce(p_sha256s, array(select sha256(d) from unnest(p_docs) as d));
    v_left     integer[] := array(select generate_subscripts(p_paths, 1));
    v_rest     integer[] := array[]::integer[];
    v_ordinal  integer;
    v_chat_id  bigint;
begin
    begin
        if p_kind = 'conversation' and not p_is_rest then
            v_left := json_import.load_conversations(
                p_run_id, p_bot_id, p_paths, p_chat_ids, p_docs, v_sha256s);
        elsif p_kind = 'profile' and not p_is_rest and not p_strict then
            v_left := json_import.load_profiles(
                p_run_id, p_bot_id, p_paths, p_chat_ids, p_docs, v_sha256s);
        end if;
    exception when integrity_constraint_violation or data_exception or program_limit_exceeded then
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
            perform json_import.load_file(
                p_run_id, p_bot_id, p_paths[v_ordinal], p_kind, v_chat_id, p_docs[v_ordinal],
                p_strict);
        end loop;
        -- backups of which another one, read after them, has changed
        v_left := array(
            select o.ordinal
            from generate_subscripts(p_paths, 1) as o (ordinal)
            join json_import.file as f
                on f.bot_id = p_bot_id and f.path = p_paths[o.ordinal] and f.must_reread
            where p_kind = 'backup' and o.ordinal <> all (v_rest)
            order by o.ordinal);
        v_until := null;
    end loop;
    return query
        select count(*) filter (where f.status = 'loaded')::integer,
               count(*) filter (where f.status = 'quarantined')::integer, v_rest
        from generate_subscripts(p_paths, 1) as o (ordinal)
        join json_import.file as f on f.bot_id = p_bot_id and f.path = p_paths[o.ordinal]
        where o.ordinal <> all (v_rest);
end
$func$;

comment on function json_import.load(
    bigint, bigint, text, text[], bigint[], bytea[], boolean, boolean, interval, bytea[]) is
    'Loads a batch of files of one kind and one bot, in the caller''s transaction: how many were
loaded, how many put into quarantine, and (ordinals, from 1) the rest, for which the patience did
not last: bots wait for the rows that a transaction holds. To be called for the rest again.
p_sha256s spares the server hashing what the caller has hashed already, to ask wanted().';

-- Runs ------------------------------------------------------------------------

create function json_import.start_run(p_source text, p_options jsonb default '{}')
returns bigint
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
insert into json_import.run (source, options) values (p_source, p_options) returning run_id
$func$;

comment on function json_import.start_run(text, jsonb) is 'Opens a run; returns run_id.';

create function json_import.finish_run(p_run_id bigint)
returns void
language sql
volatile
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
volatile
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
volatile
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
volatile
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

create function json_import.retry(
    p_run_id  bigint,
    p_bot_id  bigint default null,
    p_path    text default null,
    p_code    text default null
)
returns table (bot text, path text, status text, defects integer)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
as $func$
declare
    v_file  record;
begin
    for v_file in
        select f.*, k.bytes
        from json_import.file as f
        join json_import.kept_bytes as k on k.file_id = f.file_id and k.part = 0
        where f.status = 'quarantined'
          and (p_bot_id is null or f.bot_id = p_bot_id)
          and (p_path is null or f.path = p_path)
          and (p_code is null or exists (
              select from json_import.reject as r where r.file_id = f.file_id and r.code = p_code))
        order by f.bot_id, array_position('{profiles,profile,conversation,backup}', f.kind), f.path
    loop
        perform json_import.load_file(
            p_run_id, v_file.bot_id, v_file.path, v_file.kind, v_file.chat_id, v_file.bytes, false);
        return query
            select b.name, f.path, f.status, f.defects
            from json_import.file as f
            join core.bots as b on b.bot_id = f.bot_id
            where f.file_id = v_file.file_id;
    end loop;
end
$func$;

comment on function json_import.retry(bigint, bigint, text, text) is
    'Tries the quarantined files again from the bytes kept, after a code, a limit or a profile has
changed: (bot, path, status, defects) of each.';

create view json_import.rejects with (security_invoker = true) as
select b.name as bot, f.path, r.pointer, r.code, c.name, r.message, c.remedy as hint, r.excerpt,
       f.bot_id, f.run_id, r.ordinal
from json_import.reject as r
join json_import.file as f using (file_id)
join core.bots as b on b.bot_id = f.bot_id
join core.error_code as c on c.code = r.code;

comment on view json_import.rejects is
    'Every defect in quarantine with its file and the next step.';
comment on column json_import.rejects.hint is 'The next step.';

create function json_import.list_rejects(p_bot_id bigint default null, p_code text default null)
returns table (bot text, path text, pointer text, code text, message text, hint text, excerpt text)
language sql
stable
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
language sql
stable
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
returns table (bot text, path text, file_id bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select b.name, f.path, f.file_id
from json_import.file as f
join core.bots as b using (bot_id)
where f.status = 'quarantined'
  and (p_bot_id is null or f.bot_id = p_bot_id)
  and exists (select from json_import.kept_bytes as k where k.file_id = f.file_id)
order by b.name, f.path
$func$;

comment on function json_import.list_kept(bigint) is 'The quarantined files whose bytes are kept.';

create function json_import.kept_parts(p_file_id bigint)
returns setof bytea
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select bytes from json_import.kept_bytes where file_id = p_file_id order by part
$func$;

comment on function json_import.kept_parts(bigint) is
    'The bytes of a quarantined file, in order; only a very large one has several parts.';

create function json_import.report(p_bot_id bigint default null)
returns table (bot text, bot_id bigint, loaded bigint, quarantined bigint, ignored bigint,
               contacts bigint, messages bigint, octets numeric, warnings jsonb)
language sql
stable
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
language sql
stable
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
language sql
stable
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
language sql
stable
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

-- Reconciliation ----------------------------------------------------------------

-- A second road from a file to what its rows should be: json instead of jsonb, times by arithmetic,
-- md5 instead of hashtext. It calls nothing that the loader calls, so that a fault of the loader
-- can't hide itself.

create function json_import.reread_micros(p_type text, p_value text)
returns bigint
language sql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when p_type = 'number'
    then floor(0.5 + p_value::numeric
                     * case when p_value::numeric < 1e11 then 1000000 else 1000 end)
    else ((make_date(t[1]::integer, t[2]::integer, t[3]::integer) - date '1970-01-01')
          * 86400::bigint
          + t[4]::integer * 3600 + t[5]::integer * 60 + t[6]::integer
          - case when t[8] = '-' then -60 else 60 end
            * (coalesce(t[9], '0')::integer * 60 + coalesce(t[10], '0')::integer)) * 1000000
         + round(coalesce(t[7], '0')::float8 * 1000000)::bigint
    end::bigint
from (select regexp_match(p_value, '^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(\.\d+)?'
                                   '(?:Z|([+-])(\d\d):?(\d\d)?)?$')) as u (t)
$func$;

comment on function json_import.reread_micros(text, text) is
    'Microseconds since 1970 of a time as a file has it (json type, text).';

create function json_import.reread_messages(p_bytes bytea)
returns table (ordinal bigint, direction text, body text, micros bigint, metadata text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select e.ordinal, e.value ->> 'direction', coalesce(e.value ->> 'text', e.value ->> 'content'),
       json_import.reread_micros(json_typeof(e.value -> 'ts'), e.value ->> 'ts'),
       nullif((e.value::jsonb - '{text,content,direction,ts}'::text[])::text, '{}')
from (select ltrim(convert_from(p_bytes, 'UTF8'), chr(65279))::json) as d (doc)
cross join lateral json_array_elements(
    case json_typeof(d.doc) when 'object' then d.doc -> 'messages' else d.doc end)
    with ordinality as e (value, ordinal)
$func$;

comment on function json_import.reread_messages(bytea) is
    'The messages of a conversation or backup, read by the second road.';

create function json_import.reconcile_messages(p_file json_import.file, p_bytes bytea)
returns table (records bigint, octets numeric, digest numeric, difference text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with source as (
    select m.*, row_number() over (
        partition by m.direction, m.micros, m.body, m.metadata order by m.ordinal) as nth
    from json_import.reread_messages(p_bytes) as m
), stored as (
    select m.message_id, m.source_file_id, m.direction, m.body,
           (extract(epoch from m.sent_at) * 1000000)::bigint as micros, m.metadata::text as metadata
    from core.conversations as c
    join core.messages as m using (bot_id, conversation_id)
    where c.bot_id = p_file.bot_id and c.chat_id = p_file.chat_id
      -- a conversation's rows are its own; a backup's messages may have come from anywhere
      and (p_file.kind = 'backup' or m.source_file_id = p_file.file_id)
), counted as (
    select s.*, row_number() over (
        partition by s.direction, s.micros, s.body,
                     case when p_file.kind = 'conversation' then s.metadata end
        order by s.message_id) as nth
    from stored as s
), missing as (
    select format('/%s: %s, %s bytes, is in the file and not in the table',
                  s.ordinal - 1, s.direction, octet_length(s.body)) as fact, s.ordinal as place
    from (
        select s.*, case when p_file.kind = 'backup' then row_number() over (
            partition by s.direction, s.micros, s.body order by s.ordinal) else s.nth end as want
        from source as s
    ) as s
    where not exists (
        select
        from counted as c
        where c.direction = s.direction and c.micros = s.micros and c.body = s.body
          and c.nth = s.want
          and (p_file.kind = 'backup' or c.metadata is not distinct from s.metadata))
), surplus as (
    select format('message_id %s: %s, %s bytes, is in the table and not in the file',
                  c.message_id, c.direction, octet_length(c.body)) as fact, c.message_id as place
    from counted as c
    where p_file.kind = 'conversation' and not exists (
        select
        from source as s
        where c.direction = s.direction and c.micros = s.micros and c.body = s.body
          and c.nth = s.nth and c.metadata is not distinct from s.metadata)
)
select count(*), coalesce(sum(octet_length(body)), 0),
       coalesce(sum(('x' || left(md5(concat_ws('|', direction, micros, body)), 16)
                    )::bit(64)::bigint), 0),
       coalesce((select fact from missing order by place limit 1),
                (select fact from surplus order by place limit 1))
from source
$func$;

comment on function json_import.reconcile_messages(json_import.file, bytea) is
    'Compares a conversation or backup with the table: messages, bytes of text, sum of hashes, and
the first difference (null: none). A backup''s messages must all be in the conversation.';

create function json_import.reconcile_contacts(p_file json_import.file, p_bytes bytea)
returns table (records bigint, octets numeric, digest numeric, difference text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with document as (
    select ltrim(convert_from(p_bytes, 'UTF8'), chr(65279))::json as doc
    where p_bytes is not null
), source as (
    select e.value as entry, coalesce(e.value ->> 'chat_id', e.name)::numeric::bigint as chat_id
    from (
        select null::text as name, doc as value from document where p_file.kind = 'profile'
        union all
        select o.key, o.value
        from document
        cross join lateral json_each(
            case when p_file.kind = 'profiles' and json_typeof(doc) = 'object' then doc end) as o
        union all
        select null, a.value
        from document
        cross join lateral json_array_elements(
            case when p_file.kind = 'profiles' and json_typeof(doc) = 'array' then doc end) as a
    ) as e
), difference as (
    select format('chat %s: %s', s.chat_id, case
               when g.profile_id is null then 'is in the file and not in the table'
               when g.name is distinct from s.entry ->> 'name' then 'name differs'
               when g.telegram_id <> coalesce((s.entry ->> 'telegram_id')::numeric, s.chat_id)
                   then 'telegram_id differs'
               when (extract(epoch from g.last_activity) * 1000000)::bigint is distinct from
                    json_import.reread_micros(json_typeof(s.entry -> 'last_activity'),
                                              s.entry ->> 'last_activity')
                   then 'last_activity differs'
               when g.message_count <> coalesce((s.entry ->> 'message_count')::numeric, 0)
                   then 'message_count differs'
               when g.summary <> coalesce((s.entry ->> 'summary')::jsonb, '{}')
                   then 'summary differs'
               when g.profile <> coalesce((s.entry ->> 'profile')::jsonb, '{}')
                   then 'profile differs'
               when g.previous_response_id is distinct from s.entry ->> 'previous_response_id'
                   then 'previous_response_id differs'
           end) as fact,
           s.chat_id
    from source as s
    left join lateral (
        select c.*
        from core.girls_profiles as c
        where c.bot_id = p_file.bot_id and c.chat_id = s.chat_id
        order by c.profile_id
        limit 1
    ) as g on true
    left join json_import.profile_source as o
        on o.bot_id = p_file.bot_id and o.profile_id = g.profile_id
    -- a contact of another file, or changed by a bot since, is not this file's to vouch for
    where g.profile_id is null
       or (o.file_id = p_file.file_id and g.updated_at <= p_file.imported_at)
)
select (select count(*) from source),
       (select coalesce(sum(octet_length(s.entry::text)), 0) from source as s),
       (select coalesce(sum(('x' || left(md5(s.entry::text), 16))::bit(64)::bigint), 0)
        from source as s),
       (select fact from difference where fact !~ ': $' order by chat_id limit 1)
$func$;

comment on function json_import.reconcile_contacts(json_import.file, bytea) is
    'The same for a profile, or a file of profiles: the first contact whose row says something
else.';

create function json_import.reconcile(p_bot_id bigint, p_paths text[], p_docs bytea[])
returns table (path text, chat_id bigint, verdict text, records bigint, octets numeric,
               digest numeric, difference text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select u.path, f.chat_id,
       case when f.file_id is null or f.sha256 is distinct from sha256(u.bytes)
              or coalesce(m.difference, c.difference) is not null then 'different'
            when f.status = 'quarantined' then 'quarantined'
            else 'equal' end,
       coalesce(m.records, c.records, 0), coalesce(m.octets, c.octets, 0),
       coalesce(m.digest, c.digest, 0),
       case when f.file_id is null then 'the file was never imported'
            when f.sha256 is distinct from sha256(u.bytes) then 'the file changed since its import'
            else coalesce(m.difference, c.difference) end
from unnest(p_paths, p_docs) as u (path, bytes)
left join json_import.file as f on f.bot_id = p_bot_id and f.path = u.path
-- only what was loaded can be read again: the bytes of anything else are not passed on
left join lateral json_import.reconcile_messages(f, case
        when f.status = 'loaded' and f.kind in ('conversation', 'backup')
         and f.sha256 = sha256(u.bytes) then u.bytes end) as m
    on f.kind in ('conversation', 'backup')
left join lateral json_import.reconcile_contacts(f, case
        when f.status = 'loaded' and f.kind in ('profile', 'profiles')
         and f.sha256 = sha256(u.bytes) then u.bytes end) as c
    on f.kind in ('profile', 'profiles')
$func$;

comment on function json_import.reconcile(bigint, text[], bytea[]) is
    'Compares files, as they are now, with what the tables hold: one row per file, verdict equal,
different (difference names the first one) or quarantined.';

create function json_import.check_messages()
returns table (check_name text, ok boolean, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with result (place, check_name, offenders) as (
    select 1, 'every loaded file has exactly its messages in core.messages', (
        select string_agg(f.path, ', ')
        from (
            select f.bot_id, f.path
            from json_import.file as f
            left join (
                select m.bot_id, m.source_file_id, c.chat_id, count(*) as row_count,
                       sum(octet_length(m.body)) as body_octets,
                       sum(json_import.message_digest(m.direction, m.body, m.sent_at, m.metadata))
                           as digest
                from core.messages as m
                join core.conversations as c using (bot_id, conversation_id)
                where m.source_file_id is not null
                group by m.bot_id, m.source_file_id, c.chat_id
            ) as t on t.bot_id = f.bot_id and t.source_file_id = f.file_id
                  and t.chat_id = f.chat_id
            where f.kind in ('conversation', 'backup')
              and (f.row_count, f.body_octets, f.digest)
                  is distinct from (coalesce(t.row_count, 0)::integer,
                                    coalesce(t.body_octets, 0)::bigint, coalesce(t.digest, 0))
            order by f.bot_id, f.path
            limit 20
        ) as f)
    union all
    select 2, 'every imported message belongs to a file of the ledger', (
        select string_agg(format('bot %s file %s', m.bot_id, m.source_file_id), ', ')
        from (
            select distinct bot_id, source_file_id
            from core.messages
            where source_file_id is not null
        ) as m
        where not exists (
            select
            from json_import.file as f
            where f.bot_id = m.bot_id and f.file_id = m.source_file_id))
)
select check_name, offenders is null as ok, offenders as detail
from result
order by place
$func$;

comment on function json_import.check_messages() is 'The part of check() about messages.';

create function json_import.check_files()
returns table (check_name text, ok boolean, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with result (place, check_name, offenders) as (
    select 3, 'every loaded file has its contacts', (
        select string_agg(f.path, ', ')
        from json_import.file as f
        where f.kind in ('profile', 'profiles')
          and f.row_count <> (
            select count(*)
            from json_import.profile_source as s
            join core.girls_profiles as g using (bot_id, profile_id)
            where s.file_id = f.file_id))
    union all
    select 4, 'every imported message has its conversation, and that its contact', (
        select string_agg(format('bot %s conversation %s', m.bot_id, m.conversation_id), ', ')
        from (
            select bot_id, conversation_id
            from core.messages
            where source_file_id is not null
            group by bot_id, conversation_id
        ) as m
        where not exists (
            select
            from core.conversations as c
            join core.girls_profiles as g using (bot_id, profile_id)
            where c.bot_id = m.bot_id and c.conversation_id = m.conversation_id))
    union all
    select 5, 'every quarantined file says why', (
        select string_agg(f.path, ', ')
        from json_import.file as f
        where f.status = 'quarantined'
          and least(f.defects, 1000) <> (
            select count(*) from json_import.reject as r where r.file_id = f.file_id))
    union all
    select 6, 'the bytes kept are the bytes read', (
        select string_agg(f.path, ', ')
        from json_import.file as f
        where f.sha256 is not null and f.status = 'quarantined'
          and f.sha256 is distinct from (
            select sha256(string_agg(k.bytes, '' order by k.part))
            from json_import.kept_bytes as k
            where k.file_id = f.file_id))
    union all
    select 7, 'every code of a defect is explained', (
        select string_agg(distinct r.code, ', ')
        from json_import.reject as r
        where not exists (select from core.error_code as c where c.code = r.code))
)
select check_name, offenders is null as ok, offenders as detail
from result
order by place
$func$;

comment on function json_import.check_files() is
    'The part of check() about contacts, and about what was not loaded.';

create function json_import.check()
returns table (check_name text, ok boolean, detail text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
as $func$
select * from json_import.check_messages()
union all
select * from json_import.check_files()
$func$;

comment on function json_import.check() is
    'Whether the tables hold what the ledger says: (check_name, ok, detail), for verify.sql.';

-- Maintenance and monitoring ----------------------------------------------------

create function json_import.drop_kept_bytes(p_keep interval)
returns text
language plpgsql
volatile
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
          and exists (select from json_import.kept_bytes as k where k.file_id = f.file_id)
        returning f.file_id, f.bot_id
    ), dropped as (
        delete from json_import.kept_bytes as k using old where k.file_id = old.file_id
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
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_rejects  integer;
begin
    delete from json_import.kept_bytes as k
    using json_import.file as f
    where f.file_id = k.file_id and f.status <> 'quarantined';
    delete from json_import.reject as r
    using json_import.file as f
    where f.file_id = r.file_id and f.status <> 'quarantined';
    get diagnostics v_rejects = row_count;
    return format('%s resolved rejects dropped', v_rejects);
end
$func$;

comment on function json_import.drop_resolved() is
    'Drops what is kept of files that are in quarantine no longer.';

insert into performance.task (task, routine, every, keep, description) values
    ('quarantine', 'json_import.drop_kept_bytes(interval)', '1 day', '90 days',
        'Drops the bytes of files that have been in quarantine for too long.'),
    ('resolved_rejects', 'json_import.drop_resolved()', '1 day', null,
        'Drops what is kept of files that are in quarantine no longer.');

create function json_import.probe_quarantined_files()
returns table (labels jsonb, value float8, note text)
language sql
stable
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
language sql
stable
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

-- A bot that goes -------------------------------------------------------------

create function json_import.holds_bot(p_bot_id bigint)
returns boolean
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select exists (select from json_import.file where bot_id = p_bot_id)
$func$;

comment on function json_import.holds_bot(bigint) is
    'Whether the ledger knows files of a bot; for security.drop_bot.';

create function json_import.discard_bot(p_bot_id bigint)
returns void
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
-- rejects, the bytes kept and what contacts came from go with their file
delete from json_import.file where bot_id = p_bot_id
$func$;

comment on function json_import.discard_bot(bigint) is
    'Forgets the files of a bot, those in quarantine with their bytes; for security.drop_bot.';

insert into security.keeper (holds, discard)
values ('json_import.holds_bot(bigint)', 'json_import.discard_bot(bigint)');

-- Grants ----------------------------------------------------------------------

revoke execute on all functions in schema json_import from public;

-- Whoever calls these acts as app_importer, which sees every bot's rows; nobody else gets in.
grant usage on schema json_import to app_admin, app_owner, app_backup;
grant execute on function
    json_import.list_rejects(bigint, text)
to app_admin, app_owner;
grant execute on function
    json_import.classify(text[]),
    json_import.start_run(text, jsonb), json_import.finish_run(bigint),
    json_import.ensure_bot(text, boolean),
    json_import.wanted(bigint, bigint, text[], bytea[]),
    json_import.load(
        bigint, bigint, text, text[], bigint[], bytea[], boolean, boolean, interval, bytea[]),
    json_import.note_entry(bigint, bigint, text, text, bigint, bigint, text, text),
    json_import.list_changes(bigint),
    json_import.retry(bigint, bigint, text, text),
    json_import.list_kept(bigint), json_import.kept_parts(bigint),
    json_import.report(bigint), json_import.rejects_by_code(bigint),
    json_import.messages_by_month(bigint), json_import.recent_runs(integer),
    json_import.reconcile(bigint, text[], bytea[]), json_import.check()
to app_super_admin, app_owner;
grant usage on schema json_import to app_provisioner;
grant execute on function json_import.holds_bot(bigint), json_import.discard_bot(bigint)
to app_provisioner;
grant select on all tables in schema json_import to app_backup;

do $importer$
declare
    v_table  regclass;
begin
    perform security.ensure_owner('app_importer');
    for v_table in values ('json_import.file'::regclass), ('json_import.profile_source') loop
        perform security.protect(v_table);
        perform security.admit(v_table, 'app_importer', 'all');
        perform security.admit(v_table, 'app_backup', 'select');
    end loop;
    perform security.admit(t, 'app_importer', 'select')
    from unnest(array['core.bots', 'core.bot_names']) as t;
    perform security.admit('core.stale_days', 'app_importer', 'insert');
    perform security.admit(t, 'app_importer', 'all')
    from unnest(array['core.girls_profiles', 'core.conversations', 'core.messages']) as t;
end
$importer$;

grant usage on schema core, security, audit, performance to app_importer;
grant select on core.bots, core.bot_names, core.error_code to app_importer;
grant select, insert, update on core.girls_profiles, core.conversations to app_importer;
grant select, insert, delete on core.messages to app_importer;
grant insert on core.stale_days to app_importer;
grant usage on sequence core.girls_profiles_profile_id_seq, core.messages_message_id_seq,
                        core.conversations_conversation_id_seq to app_importer;
grant execute on function
    core.current_bot_id(), core.ensure_contact(bigint, bigint, text),
    core.ensure_conversation(bigint, bigint, text), core.days_of(timestamptz[]),
    security.create_bot(text, text), security.caller(), security.may_see(bigint),
    security.refuse_write(), security.policy_bot_id(), security.policy_user(),
    audit.log_event(text, text, jsonb, bigint), performance.roll_up_metrics(date)
to app_importer;
grant usage on schema json_import to app_maintainer;
grant execute on function
    json_import.drop_kept_bytes(interval), json_import.drop_resolved(),
    json_import.probe_quarantined_files(), json_import.probe_quarantine_size()
to app_maintainer;

-- A contact's row is locked and a conversation is stored with its messages, in one statement: that
-- proves the foreign keys once per file, and the trigger that would prove them per row can rest.
-- The right to say so is a superuser's to give (grant set on parameter), to app_importer.
do $replica$
begin
    if (select rolsuper from pg_roles where rolname = current_user) then
        grant set on parameter session_replication_role to app_importer;
    end if;
    if has_parameter_privilege(current_user, 'session_replication_role', 'set')
       and has_parameter_privilege('app_importer', 'session_replication_role', 'set') then
        alter function json_import.load_conversations(
            bigint, bigint, text[], bigint[], bytea[], bytea[])
            set session_replication_role = 'replica';
    else
        raise notice 'without the right to set session_replication_role an import checks each '
                     'message''s foreign key by itself: slower, equally safe';
    end if;
    perform audit.note_capture('{"by": "005_json_import"}');  -- one of its functions was granted
    perform security.hand_over('json_import', 'app_importer');
end
$replica$;
