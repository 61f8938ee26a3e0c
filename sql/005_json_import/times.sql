-- Times as files write them.

create function json_import.zone_pattern()
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select '(Z|[+-][0-9:]+)$'
$func$;

comment on function json_import.zone_pattern() is
    'Regular expression for a text, otherwise a sound time, that names its time zone.';

create function json_import.unix_micros(p_number numeric)
returns numeric
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
-- not divided by 1000: a quotient is rounded, and then rounded again
select case when abs(p_number) < 1e20  -- or the product may be more than numeric holds
            then floor(p_number * case when p_number < 100000000000 then 1000000 else 1000 end
                       + 0.5) end
$func$;

comment on function json_import.unix_micros(numeric) is
    'Microseconds since 1970 of unix seconds or (from 10^11 on) milliseconds; null of what is far
from any time.';

create function json_import.time_fault(p_value jsonb)
returns text
language sql stable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case
    when jsonb_typeof(p_value) = 'number' then
        case when p_value::numeric < extract(epoch from core.first_time())
               or p_value::numeric >= extract(epoch from core.end_time()) * 1000
             then 'MB419'
             -- nor is what is rounded up to the end a time
             when json_import.unix_micros(p_value::numeric)
                  >= extract(epoch from core.end_time()) * 1000000
             then 'MB419' end
    when jsonb_typeof(p_value) <> 'string' then 'MB415'
    when s !~ (e'^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?'
               '(Z|[+-][0-9]{2}(:?[0-9]{2})?)?$') then 'MB418'
    when not json_import.is_date(left(s, 10))
      or substr(s, 12, 2) > '23' or substr(s, 15, 2) > '59' or substr(s, 18, 2) > '59'
      or coalesce(substring(s from '[+-]([0-9]{2})(?::?[0-9]{2})?$'
                  ) > '15' and substr(s, 20) ~ '[+-]', false)
      or coalesce(substring(substr(s, 20) from '[+-][0-9]{2}:?([0-9]{2})$') > '59', false)
      then 'MB419'
    when s::timestamptz < core.first_time() or s::timestamptz >= core.end_time() then 'MB419'
end
-- what is no string may take too much to print
from (select case when jsonb_typeof(p_value) = 'string' then p_value #>> '{}' end offset 0)
    as u (s)
$func$;

comment on function json_import.time_fault(jsonb) is
    'The code of what is wrong with a time (MB415, MB418, MB419), null if nothing is. Call it with
time zone UTC: a text without zone means UTC.';

create function json_import.to_time(p_value jsonb)
returns timestamptz
language sql stable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case jsonb_typeof(p_value)
    when 'string' then (p_value #>> '{}')::timestamptz
    -- exact: until 2255 microseconds fit a float8
    when 'number' then to_timestamp(0)
        + json_import.unix_micros(p_value::numeric)::float8 * interval '1 microsecond'
end
$func$;

comment on function json_import.to_time(jsonb) is
    'ISO 8601, unix seconds, or (from 10^11 on) milliseconds as timestamptz, to the microsecond.
Only for values without a time_fault, and with time zone UTC.';
