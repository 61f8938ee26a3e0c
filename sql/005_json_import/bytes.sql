-- From bytes to a document: encoding.

create type json_import.defect as (pointer text, code text, message text, excerpt text);
comment on type json_import.defect is
    'One thing wrong with a file: RFC 6901 pointer, code of core.error_code, the fact, what is
there.';

create function json_import.to_step(p_key text)
returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select '/' || replace(replace(p_key, '~', '~0'), '/', '~1')
$func$;

comment on function json_import.to_step(text) is 'A key as one step of an RFC 6901 pointer.';

create function json_import.string_count(p_json text)
returns bigint
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select (octet_length(s) - octet_length(replace(s, '"', ''))) / 2
from (
    -- a pair of backslashes before a quote does not escape it
    select replace(
        case when strpos(p_json, e'\\\\"') > 0 then replace(p_json, e'\\\\', '') else p_json end,
        e'\\"', '')
    offset 0  -- or it would be made once for each mention
) as u (s)
$func$;

comment on function json_import.string_count(text) is
    'Number of strings, keys included, in a JSON text, by its unescaped quotes: one pass. jsonb
drops repeated keys, so a text with more strings than its jsonb has a key twice.';

create function json_import.decode(p_bytes bytea)
returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select convert_from(
    case when substr(p_bytes, 1, 3) = e'\\xefbbbf' then substr(p_bytes, 4) else p_bytes end, 'UTF8')
$func$;

comment on function json_import.decode(bytea) is 'UTF-8 bytes as text, without a byte order mark.';

create function json_import.read_document(
    p_bytes      bytea,
    out content  jsonb,
    out strings  bigint
)
returns record
language plpgsql immutable strict parallel safe
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
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select content from json_import.read_document(p_bytes)
$func$;

comment on function json_import.parse(bytea) is 'The document, or null where it is none.';

create function json_import.is_utf8(p_bytes bytea)
returns boolean
language plpgsql immutable strict parallel safe
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
language plpgsql immutable strict parallel safe
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
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select regexp_replace(
    encode(substr(p_bytes, greatest(p_at - 15, 1), 32), 'escape'), e'\\s+', ' ', 'g')
$func$;

comment on function json_import.excerpt(bytea, integer) is
    e'Some bytes around an offset on one line, those that are not ASCII as \\ooo.';

create function json_import.byte_defects(p_bytes bytea)
returns setof json_import.defect
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_at  integer;
begin
    if substr(p_bytes, 1, 2) in (e'\\xfffe', e'\\xfeff')
       or (octet_length(p_bytes) >= 4
           and (select array_agg(get_byte(p_bytes, i) = 0 order by i)
                from generate_series(0, 3) as i)
               in ('{t,f,t,f}', '{f,t,f,t}')) then
        return query values ('', 'MB403', 'the file is UTF-16, by its first bytes',
                             encode(substr(p_bytes, 1, 16), 'hex'));
        return;
    end if;
    v_at := position(e'\\x00'::bytea in p_bytes) - 1;
    if v_at >= 0 then
        return query values ('', 'MB404', format('zero byte at offset %s', v_at),
                             json_import.excerpt(p_bytes, v_at));
        return;
    end if;
    begin
        if json_import.decode(p_bytes) !~ e'[^ \\t\\n\\r]' then
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
