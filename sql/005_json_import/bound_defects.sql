-- What is larger than its column takes.

create function json_import.has_huge_number(p_doc jsonb)
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select p_doc @? 'strict $.** ? (@ >= 1e1000 || @ <= -1e1000)'
$func$;

comment on function json_import.has_huge_number(jsonb) is
    'Whether a document holds a number that no column takes: 1e131071 is eight octets of a file, and
prints as 131,072. Ask before anything prints the document.';

create function json_import.excerpt_of(p_value jsonb)
returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case when not json_import.has_huge_number(p_value) then left(p_value::text, 200) end
$func$;

comment on function json_import.excerpt_of(jsonb) is
    'The beginning of a value as it prints, for a defect; null where printing it takes too much.';

create function json_import.may_be_large(p_text text, p_doc jsonb)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
-- jsonb prints a blank after each comma and colon: no text grows to more than twice its size
select octet_length(p_text) > 32768 or core.json_excess(p_doc, 65536) is not null
$func$;

comment on function json_import.may_be_large(text, jsonb) is
    'Whether something in a document may be larger than its column takes; at a glance.';

create function json_import.bound_of(p_column text)
returns integer
language sql stable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select most
from core.bounds
where format('%s.%s.%s', schema_name, table_name, column_name) = p_column
$func$;

comment on function json_import.bound_of(text) is
    'How many characters or bytes a column takes (schema.table.column), by core.bounds.';

create function json_import.bound_fault(p_value jsonb, p_column text, p_most integer)
returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select format(case jsonb_typeof(p_value)
                  when 'string' then '%s takes up to %s characters, not %s'
                  else '%s takes up to %s bytes as it prints, 512 levels, numbers of up to 1000 '
                       'digits before and after the point, not %s' end, p_column, p_most, f.excess)
from (
    select case jsonb_typeof(p_value)
        when 'string' then case when length(p_value #>> '{}') > p_most
                                then length(p_value #>> '{}')::text end
        when 'object' then core.json_excess(p_value, p_most)
    end
) as f (excess)
where f.excess is not null
$func$;

comment on function json_import.bound_fault(jsonb, text, integer) is
    'What a string or an object has more of than its column takes; null if it fits.';

create function json_import.bound_defects(p_doc jsonb, p_kind text)
returns setof json_import.defect
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with part (pointer, relation, name, type, value) as (
    select m.pointer || coalesce('/' || v.key, ''), 'core.messages', v.name,
           case when v.key is null then 'object' else 'string' end, v.value
    from (
        select json_import.messages_path(p_doc) || '/' || (e.ordinal - 1), e.value
        from json_import.message_elements(p_doc) as e
        where p_kind in ('conversation', 'backup') and jsonb_typeof(e.value) = 'object'
    ) as m (pointer, message)
    cross join lateral (
        values ('text', 'body', m.message -> 'text'),
               ('content', 'body', m.message -> 'content'),
               (null, 'metadata', m.message - json_import.column_keys('message'))
    ) as v (key, name, value)
    union all
    select '', 'core.conversations', 'metadata', 'object', json_import.wrapper_of(p_doc)
    where p_kind in ('conversation', 'backup')
    union all
    select e.pointer || coalesce('/' || v.key, ''), 'core.girls_profiles', v.name, v.type, v.value
    from json_import.profile_entries(p_doc, p_kind, null) as e
    cross join lateral (
        select k.key, k.fills, k.rule, e.entry -> k.key
        from json_import.known_keys() as k
        where k.holder = 'profile' and k.rule in ('string', 'object')
        union all
        select null, 'extra', 'object', e.entry - json_import.column_keys('profile')
    ) as v (key, name, type, value)
    where jsonb_typeof(e.entry) = 'object' and (e.expected is not null or not e.is_keyed)
), bound as materialized (
    select relation, name, json_import.bound_of(relation || '.' || name) as most
    from (select distinct relation, name from part) as p
)
select p.pointer, 'MB427', f.fault, json_import.excerpt_of(p.value)
from part as p
join bound as b using (relation, name)
cross join lateral json_import.bound_fault(p.value, p.relation || '.' || p.name, b.most)
    as f (fault)
where jsonb_typeof(p.value) = p.type and p.value <> '{}' and f.fault is not null
$func$;

comment on function json_import.bound_defects(jsonb, text) is
    'The values of a document that are larger than their columns take (MB427). What becomes
metadata or extra together is named by its object.';
