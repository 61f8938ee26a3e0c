-- What a bot may store is bounded: a domain for each column that bots write.

-- A domain's CHECK is parsed once a session, a table's by every statement. Each asks first what
-- costs next to nothing, and calls one of these functions only about what may be too large.

create function core.base_type(p_type oid)
returns regtype
language plpgsql stable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_base  oid;
begin
    -- not a recursive query: it is asked of every column, and this is a tenth of the price
    select typbasetype into v_base from pg_type where oid = p_type;
    return case when v_base = 0 then p_type else core.base_type(v_base) end;
end
$func$;

comment on function core.base_type(oid) is
    'The type that a domain, or a domain over one, is made of; of any other type the type itself.';

create function core.refuse_value(p_column text, p_takes text, p_size text)
returns boolean
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_names  text[] := string_to_array(p_column, '.');
begin
    raise exception using
        errcode = 'MB012',
        message = format('%s takes %s, not %s', p_column, p_takes, p_size),
        hint    = 'Store less; select * from core.bounds lists what each column takes.',
        schema = v_names[1], table = v_names[2], column = v_names[3];
end
$func$;

comment on function core.refuse_value(text, text, text) is
    'Raises MB012 about a value (p_size says how large it is) that a column (schema.table.column)
does not take.';

create function core.check_text(p_value text, p_column text, p_most integer)
returns boolean
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    return length(p_value) <= p_most
        or core.refuse_value(p_column, format('up to %s characters', p_most),
                             length(p_value)::text);
end
$func$;

comment on function core.check_text(text, text, integer) is
    'True of a text of at most p_most characters. MB012: it has more.';

create function core.check_time(p_value timestamptz, p_column text)
returns boolean
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    return p_value >= core.first_time() and p_value < core.end_time()
        or core.refuse_value(p_column, 'a time between ' || core.storable_years(), p_value::text);
end
$func$;

comment on function core.check_time(timestamptz, text) is
    'True of a time from core.first_time() on and before core.end_time(). MB012: it is another.';

create function core.json_excess(p_value jsonb, p_most integer)
returns text
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_octets   integer := pg_column_size(p_value || '{}');  -- uncompressed
    v_numbers  jsonb;
    v_largest  numeric;
    v_scale    integer;
    v_long     bigint;
begin
    -- nothing prints as less than a fifth of what it takes in memory
    if v_octets / 5 > p_most then
        return format('at least %s', v_octets / 5);
    end if;
    -- before anything walks the whole of it: what functions build can be nested without end
    if p_value @? 'strict $.**{512} ? (@.type() == "object" || @.type() == "array")' then
        return 'more than 512 levels';
    end if;
    v_numbers := jsonb_path_query_array(p_value, 'strict $.** ? (@.type() == "number")');
    -- 1e131071 takes eight octets: many such are counted before anything prints them
    if jsonb_array_length(v_numbers) > 16 or octet_length(v_numbers::text) > 1000 then
        select max(abs(u.number)), max(scale(u.number)),
               count(*) filter (where abs(u.number) >= 1e20 or scale(u.number) > 20)
        into v_largest, v_scale, v_long
        from (select n.value::numeric from jsonb_array_elements(v_numbers) as n (value) offset 0)
            as u (number);
        if v_largest >= 1e1000 or v_scale > 1000 then
            return format('a number of %s digits', case when v_largest < 1e1000 then v_scale
                                                        else 1 + trunc(log(v_largest)) end);
        end if;
        if v_long * 20 > p_most then
            return format('at least %s', v_long * 20);
        end if;
    end if;
    return case when octet_length(p_value::text) > p_most
                then octet_length(p_value::text)::text end;
end
$func$;

comment on function core.json_excess(jsonb, integer) is
    'Why jsonb is no value of at most p_most bytes as it prints, 512 levels, and 1000 digits before
or after the point of a number: its size; null if it is one. Prints only what can be printed.';

create function core.check_json(p_value jsonb, p_column text, p_most integer)
returns boolean
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_excess  text := core.json_excess(p_value, p_most);
begin
    return v_excess is null
        or core.refuse_value(
            p_column, format('up to %s bytes as it prints, 512 levels, numbers of up to 1000 '
                             'digits before and after the point', p_most), v_excess);
end
$func$;

comment on function core.check_json(jsonb, text, integer) is
    'True of jsonb within the bounds: see core.json_excess. MB012: it is beyond.';

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
           'see definition') as takes,
       max(m.call[2]::integer) as most, t.oid::regtype as domain,
       string_agg(pg_get_constraintdef(k.oid), ' ' order by k.conname) as definition
from pg_attribute as a
join pg_class as c on c.oid = a.attrelid
join pg_namespace as n on n.oid = c.relnamespace
join pg_type as t on t.oid = a.atttypid
join pg_constraint as k on k.contypid = t.oid and k.contype = 'c'
left join lateral regexp_match(
    pg_get_constraintdef(k.oid), 'core[.]check_(text|json|time)[(].*''::text(?:, ([0-9]+))?[)]'
) as m (call) on true
where c.relkind in ('r', 'p') and not c.relispartition and not a.attisdropped
  and n.nspname not in ('pg_catalog', 'information_schema')
group by n.nspname, c.relname, a.attnum, a.attname, t.oid
order by n.nspname, c.relname, a.attnum;

comment on view core.bounds is
    'What each bounded column takes: (schema_name, table_name, column_name, takes: in words, most:
how many characters or bytes, domain, definition: the checks in force).';
