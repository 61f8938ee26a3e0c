-- What is wrong with profiles.

create function json_import.field_defects(
    p_value    jsonb,
    p_pointer  text,
    p_rule     text
)
returns json_import.defect
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when f.code is not null then
    row(p_pointer, f.code,
        case f.code
            when 'MB411' then format('the number %s is out of range', left(p_value::text, 80))
            when 'MB418' then format('%s is no time', left(p_value::text, 80))
            when 'MB419' then format('%s is no time between %s', left(p_value::text, 80),
                                     core.storable_years())
            else format('expected %s, found %s', p_rule, jsonb_typeof(p_value))
        end,
        json_import.excerpt_of(p_value))::json_import.defect end
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
language sql immutable parallel safe
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
       json_import.excerpt_of(v)
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
language sql immutable parallel safe
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

create function json_import.profile_defects(
    p_doc      jsonb,
    p_kind     text,
    p_chat_id  bigint,
    p_strict   boolean
)
returns setof json_import.defect
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
with entry as (
    select * from json_import.profile_entries(p_doc, p_kind, p_chat_id)
), member as (
    select e.pointer, e.expected, e.is_keyed, e.entry, m.key, m.value,
           json_import.key_rules('profile') ->> m.key as rule
    from entry as e
    left join lateral jsonb_each(
        case when jsonb_typeof(e.entry) = 'object' then e.entry end) as m on true
)
select '', 'MB412', format('expected profiles, found %s', jsonb_typeof(p_doc)),
       json_import.excerpt_of(p_doc)
where p_kind = 'profiles' and jsonb_typeof(p_doc) not in ('object', 'array')
union all
select e.pointer, 'MB414', 'the key is no chat id', json_import.excerpt_of(e.entry)
from entry as e
where e.is_keyed and e.expected is null
union all
select e.pointer, 'MB412', format('expected a profile, found %s', jsonb_typeof(e.entry)),
       json_import.excerpt_of(e.entry)
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
    m.value, m.pointer || json_import.to_step(m.key), m.rule) as d
where m.rule <> 'chat' and (m.expected is not null or not m.is_keyed) and d.code is not null
union all
select m.pointer || '/summary' || json_import.to_step(s.key), 'MB415',
       format('expected string, found %s', jsonb_typeof(s.value)), json_import.excerpt_of(s.value)
from member as m
cross join lateral jsonb_each(
    case when m.key = 'summary' and jsonb_typeof(m.value) = 'object' then m.value end) as s
where jsonb_typeof(s.value) <> 'string' and (m.expected is not null or not m.is_keyed)
union all
select m.pointer || json_import.to_step(m.key), 'MB424',
       format('key %s is unknown', to_json(m.key)), json_import.excerpt_of(m.value)
from member as m
where p_strict and m.key <> all (json_import.key_names('profile'))
$func$;

comment on function json_import.profile_defects(jsonb, text, bigint, boolean) is
    'Everything wrong with a profile, or a file of profiles, that is JSON (MB411 to MB419, MB424).';

create function json_import.duplicate_contacts(p_doc jsonb)
returns setof json_import.defect
language sql stable
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
       json_import.excerpt_of(entry)
from numbered
where nth_chat > 1 or nth_person > 1
$func$;

comment on function json_import.duplicate_contacts(jsonb) is
    'The profiles of a single file, otherwise sound, that name a chat or a person again (MB421).';
