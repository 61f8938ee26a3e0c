-- What is wrong with messages.

create function json_import.messages_path(p_doc jsonb)
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when jsonb_typeof(p_doc) = 'object' then '/messages' else '' end
$func$;

comment on function json_import.messages_path(jsonb) is 'Pointer of the array of messages.';

create function json_import.message_list(p_doc jsonb)
returns jsonb
language sql immutable parallel safe
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
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select e.ordinal, e.value
from jsonb_array_elements(json_import.message_list(p_doc)) with ordinality as e (value, ordinal)
$func$;

comment on function json_import.message_elements(jsonb) is
    'The messages of a conversation or backup, in their order, from 1.';

create function json_import.wrapper_defects(p_doc jsonb, p_chat_id bigint, p_strict boolean)
returns setof json_import.defect
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select '', 'MB412', format('expected messages, found %s', jsonb_typeof(p_doc)),
       json_import.excerpt_of(p_doc)
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
       json_import.excerpt_of(m.value)
from jsonb_each(case when p_strict and jsonb_typeof(p_doc) = 'object' then p_doc end) as m
where m.key <> all (json_import.key_names('wrapper'))
$func$;

comment on function json_import.wrapper_defects(jsonb, bigint, boolean) is
    'What is wrong around the messages (MB411, MB412, MB414 to MB416, MB424).';

create function json_import.message_defects(p_doc jsonb, p_strict boolean)
returns setof json_import.defect
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
with known as materialized (
    select k.key, k.rule, k.place, row_number() over same_column as nth,
           array_agg(k.key) over (same_column
               rows between unbounded preceding and unbounded following) as spellings
    from json_import.known_keys() with ordinality as k (holder, key, rule, fills, place)
    where k.holder = 'message'
    window same_column as (partition by k.fills order by k.place)
), message as (
    select json_import.messages_path(p_doc) || '/' || (e.ordinal - 1) as pointer, e.value as m,
           case when jsonb_typeof(e.value) = 'object' then (
               select array_to_string(k.spellings, ' and ')
               from known as k
               where k.nth = 2 and e.value ?& k.spellings) end as doubled
    from json_import.message_elements(p_doc) as e
), field as (
    select s.pointer, s.m, k.key, k.rule
    from message as s
    cross join lateral (
        select k.key, k.rule
        from known as k
        where case when s.m ?| k.spellings then s.m ? k.key else k.nth = 1 end
        order by k.place
    ) as k
    where jsonb_typeof(s.m) = 'object' and s.doubled is null
)
select pointer, 'MB412',
       case when doubled is null then format('expected a message, found %s', jsonb_typeof(m))
            else doubled || ': which of the two was said?' end,
       json_import.excerpt_of(m)
from message
where jsonb_typeof(m) <> 'object' or doubled is not null
union all
select pointer || '/' || key, 'MB416', format('%s is missing', key), json_import.excerpt_of(m)
from field
where coalesce(m -> key, 'null') = 'null'
union all
select d.*
from field
cross join lateral json_import.field_defects(m -> key, pointer || '/' || key, rule) as d
where d.code is not null
union all
select pointer || '/direction', 'MB417', format('direction is %s', left(m ->> 'direction', 80)),
       left(m ->> 'direction', 200)
from message
where doubled is null and jsonb_typeof(m -> 'direction') = 'string'
  and m ->> 'direction' not in ('in', 'out')
union all
select pointer || json_import.to_step(k.key), 'MB424', format('key %s is unknown', to_json(k.key)),
       json_import.excerpt_of(k.value)
from message
cross join lateral jsonb_each(
    case when p_strict and doubled is null and jsonb_typeof(m) = 'object' then m end) as k
where k.key <> all (json_import.key_names('message'))
$func$;

comment on function json_import.message_defects(jsonb, boolean) is
    'Everything wrong with the messages of a conversation or backup (MB412, MB415 to MB419,
MB424).';
