-- A domain for each column that bots write says what it takes.

-- A domain's CHECK is parsed once a session, a table's by every statement. Each asks first what
-- costs next to nothing, and calls a function of bounds.sql only about what may be too large. It is
-- asked of a null, too: what most messages lack is bounded by its type (varchar) or, since only an
-- UPDATE writes it, by a trigger (message_state.sql).

-- Texts -----------------------------------------------------------------------

-- Nobody has more characters than octets.

create domain core.girls_profiles_name as text
    constraint girls_profiles_name_ck check (
        octet_length(value) <= 65536
        or core.check_text(value, 'core.girls_profiles.name', 65536));

create domain core.girls_profiles_previous_response_id as text
    constraint girls_profiles_previous_response_id_ck check (
        octet_length(value) <= 65536
        or core.check_text(value, 'core.girls_profiles.previous_response_id', 65536));

create domain core.girls_profiles_username as text
    constraint girls_profiles_username_ck check (
        octet_length(value) <= 255
        or core.check_text(value, 'core.girls_profiles.username', 255));

create domain core.girls_profiles_language as text
    constraint girls_profiles_language_ck check (
        octet_length(value) <= 64
        or core.check_text(value, 'core.girls_profiles.language', 64));

create domain core.girls_profiles_standing as text
    constraint girls_profiles_standing_ck check (value in ('reachable', 'blocked', 'left'));

create domain core.conversations_type as text
    constraint conversations_type_ck check (
        value in ('private', 'group', 'supergroup', 'channel'));

create domain core.conversations_title as text
    constraint conversations_title_ck check (
        octet_length(value) <= 1024
        or core.check_text(value, 'core.conversations.title', 1024));

create domain core.messages_body as text
    constraint messages_body_ck check (
        octet_length(value) <= 65536
        or core.check_text(value, 'core.messages.body', 65536));

create domain core.messages_direction as text
    constraint messages_direction_ck check (value in ('in', 'out'));

-- Times -----------------------------------------------------------------------

create domain core.girls_profiles_last_activity as timestamptz
    constraint girls_profiles_activity_ck check (
        value >= core.first_time() and value < core.end_time()
        or core.check_time(value, 'core.girls_profiles.last_activity'));

create domain core.conversations_started_at as timestamptz
    constraint conversations_started_at_ck check (
        value >= core.first_time() and value < core.end_time()
        or core.check_time(value, 'core.conversations.started_at'));

create domain core.messages_sent_at as timestamptz
    constraint messages_sent_at_ck check (
        value >= core.first_time() and value < core.end_time()
        or core.check_time(value, 'core.messages.sent_at'));

create domain core.girls_profiles_first_seen_at as timestamptz
    constraint girls_profiles_first_seen_ck check (
        value >= core.first_time() and value < core.end_time()
        or core.check_time(value, 'core.girls_profiles.first_seen_at'));

-- Objects ---------------------------------------------------------------------

-- What takes 1024 octets has not 512 levels, and prints in no time whatever its numbers are; what
-- prints as 1000 has no longer number.

create domain core.girls_profiles_summary as jsonb
    constraint girls_profiles_summary_ck check (jsonb_typeof(value) = 'object')
    constraint girls_profiles_summary_size_ck check (
        pg_column_size(value || '{}') <= 1024 and octet_length(value::text) <= 1000
        or core.check_json(value, 'core.girls_profiles.summary', 1048576));

create domain core.girls_profiles_profile as jsonb
    constraint girls_profiles_profile_ck check (jsonb_typeof(value) = 'object')
    constraint girls_profiles_profile_size_ck check (
        pg_column_size(value || '{}') <= 1024 and octet_length(value::text) <= 1000
        or core.check_json(value, 'core.girls_profiles.profile', 1048576));

create domain core.girls_profiles_extra as jsonb
    constraint girls_profiles_extra_ck check (jsonb_typeof(value) = 'object')
    constraint girls_profiles_extra_size_ck check (
        pg_column_size(value || '{}') <= 1024 and octet_length(value::text) <= 1000
        or core.check_json(value, 'core.girls_profiles.extra', 1048576));

create domain core.conversations_metadata as jsonb
    constraint conversations_metadata_ck check (jsonb_typeof(value) = 'object')
    constraint conversations_metadata_size_ck check (
        pg_column_size(value || '{}') <= 1024 and octet_length(value::text) <= 1000
        or core.check_json(value, 'core.conversations.metadata', 1048576));

create domain core.messages_metadata as jsonb
    constraint messages_metadata_ck check (jsonb_typeof(value) = 'object')
    constraint messages_metadata_size_ck check (
        pg_column_size(value || '{}') <= 1024 and octet_length(value::text) <= 1000
        or core.check_json(value, 'core.messages.metadata', 65536));

do $comments$
declare
    v_domain  regtype;
begin
    for v_domain in
        select oid from pg_type where typnamespace = 'core'::regnamespace and typtype = 'd'
    loop
        execute format('comment on domain %s is %L', v_domain,
            'What the column of this name may hold; core.bounds says it in words.');
    end loop;
end
$comments$;

-- Where to read them ----------------------------------------------------------

create view core.bounds
with (security_invoker = true)
as
select n.nspname as schema_name, c.relname as table_name, a.attname as column_name,
       coalesce(
           string_agg(
               case m.call[1]
                   when 'text' then format('up to %s characters', m.call[2])
                   when 'json' then format('up to %s bytes as it prints', m.call[2])
                   when 'time' then 'from 1970 to 2099'
               end, ', '),
           format('up to %s characters', t.most), 'see definition') as takes,
       coalesce(max(m.call[2]::integer), t.most) as most, t.oid::regtype as domain,
       coalesce(string_agg(pg_get_constraintdef(k.oid), ' ' order by k.conname),
                format_type(t.oid, a.atttypmod)) as definition
from pg_attribute as a
join pg_class as c on c.oid = a.attrelid
join pg_namespace as n on n.oid = c.relnamespace
cross join lateral (
    select a.atttypid,
           case when a.atttypid = 'varchar'::regtype and a.atttypmod > 4 then a.atttypmod - 4 end
) as t (oid, most)
left join pg_constraint as k on k.contypid = t.oid and k.contype = 'c'
left join lateral regexp_match(
    pg_get_constraintdef(k.oid), 'core[.]check_(text|json|time)[(].*''::text(?:, ([0-9]+))?[)]'
) as m (call) on true
where c.relkind in ('r', 'p') and not c.relispartition and not a.attisdropped
  and n.nspname not in ('pg_catalog', 'information_schema')
  and (k.oid is not null
       or t.most is not null and exists (
           select from pg_attribute as b where b.attrelid = c.oid and b.attname = 'bot_id'))
group by n.nspname, c.relname, a.attnum, a.attname, a.atttypmod, t.oid, t.most
order by n.nspname, c.relname, a.attnum;

comment on view core.bounds is
    'What each bounded column takes: (schema_name, table_name, column_name, takes: in words, most:
how many characters or bytes, domain: or another type, definition: the checks in force).';
