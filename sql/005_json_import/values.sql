-- Values and keys that no column can hold.

create function json_import.mask_escapes(p_json text)
returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select regexp_replace(
    p_json, e'(?<!\\\\)((?:\\\\\\\\)*)\\\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})',
    e'\\1' || chr(1114110) || e'\\2', 'g')
$func$;

comment on function json_import.mask_escapes(text) is
    e'A JSON text in which \\u0000 and surrogates are harmless: the server''s functions refuse to
walk a document that holds such an escape anywhere. U+10FFFE, which is no character, stands for the
\\u.';

create function json_import.unmask_escapes(p_json text)
returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select regexp_replace(p_json, chr(1114110) || '([0-9a-fA-F]{4})', e'\\\\u\\1', 'g')
$func$;

comment on function json_import.unmask_escapes(text) is 'The text that mask_escapes was given.';

create function json_import.children(p_json json, p_pointer text)
returns table (pointer text, value json)
language sql stable
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
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform json_import.unmask_escapes(p_json::text)::jsonb;
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
    'Why jsonb can''t hold a masked string or number (MB409 to MB411); null if it can.';

create function json_import.real_step(p_step text)
returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case
    when strpos(p_step, chr(1114110)) = 0 then p_step
    when json_import.value_fault(to_json(p_step)) is null
        then json_import.unmask_escapes(to_json(p_step)::text)::jsonb #>> '{}'
end
$func$;

comment on function json_import.real_step(text) is
    'A step of a pointer through a masked document as it really is; null if the key is no text.';

create function json_import.value_defects(p_json json)
returns setof json_import.defect
language sql stable
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
       case f.code when 'MB409' then e'\\u0000 in a string'
                   when 'MB410' then 'half a surrogate pair in a string'
                   else 'a number that numeric can''t hold' end,
       left(json_import.unmask_escapes(s.value::text), 200)
from suspect as s
cross join lateral (select json_import.value_fault(s.value)) as f (code)
where f.code is not null
$func$;

comment on function json_import.value_defects(json) is
    'The strings and numbers, at any depth of a masked document, that jsonb can''t hold (MB409 to
MB411). A key that is one names its object.';

create function json_import.duplicate_keys(p_json json)
returns setof json_import.defect
language sql stable
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
