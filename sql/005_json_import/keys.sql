-- The keys that a file's objects may have: the one list of them.

create function json_import.known_keys()
returns table (holder text, key text, rule text, fills text)
language sql immutable parallel safe rows 16
set search_path = pg_catalog, pg_temp
as $func$
values
    ('profile', 'chat_id',              'chat',   'chat_id'),
    ('profile', 'telegram_id',          'person', 'telegram_id'),
    ('profile', 'name',                 'string', 'name'),
    ('profile', 'last_activity',        'time',   'last_activity'),
    ('profile', 'message_count',        'count',  'message_count'),
    ('profile', 'summary',              'object', 'summary'),
    ('profile', 'profile',              'object', 'profile'),
    ('profile', 'previous_response_id', 'string', 'previous_response_id'),
    ('message', 'text',                 'string', 'body'),
    ('message', 'content',              'string', 'body'),
    ('message', 'direction',            'string', 'direction'),
    ('message', 'ts',                   'time',   'sent_at'),
    ('wrapper', 'chat_id',              'chat',   'chat_id'),
    ('wrapper', 'messages',             'array',  'rows'),
    ('wrapper', 'date',                 'any',    null),
    ('wrapper', 'name',                 'any',    null)
$func$;

comment on function json_import.known_keys() is
    'The keys with a meaning, in the order of their defects: (holder: profile, message, or the
wrapper around messages; key; rule of its value: as for field_defects, chat for chat_defects, any
for none; fills: the column that it becomes, rows for rows of their own, null where it stays in
metadata). Every message must have each column; two keys of one column are two spellings.';

create function json_import.key_names(p_holder text)
returns text[]
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select array_agg(k.key) from json_import.known_keys() as k where k.holder = p_holder
$func$;

comment on function json_import.key_names(text) is
    'The known keys of a profile, message or wrapper; any other is unknown_key.';

create function json_import.column_keys(p_holder text)
returns text[]
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select array_agg(k.key)
from json_import.known_keys() as k
where k.holder = p_holder and k.fills is not null
$func$;

comment on function json_import.column_keys(text) is
    'The keys of a profile, message or wrapper that become columns or rows; the others are kept as
they are, in extra or metadata.';

create function json_import.strings_per_message()
returns bigint
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select count(*) + count(*) filter (where c.rule = 'string')
from (
    select distinct k.fills, k.rule from json_import.known_keys() as k where k.holder = 'message'
) as c
$func$;

comment on function json_import.strings_per_message() is
    'How many strings, keys included, a sound message holds that has no unknown key, if its time is
a number; a time that is a string is one more.';

create function json_import.key_rules(p_holder text)
returns jsonb
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_object_agg(k.key, k.rule) from json_import.known_keys() as k where k.holder = p_holder
$func$;

comment on function json_import.key_rules(text) is
    'The rules of a profile''s, message''s or wrapper''s keys as one object, which a query has as a
constant.';
