-- What a bot may store is bounded: the functions that the columns' domains call.

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
