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

create function json_import.time_fault(p_value jsonb)
returns text
language sql stable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case
    when jsonb_typeof(p_value) = 'number' then
        -- what to_time would round up to the end is no time either
        case when p_value::numeric < extract(epoch from core.first_time())
               or p_value::numeric >= extract(epoch from core.end_time()) * 1000 - 0.0005
               or (p_value::numeric >= extract(epoch from core.end_time()) - 0.0000005
                   and p_value::numeric < 100000000000)
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
from (select p_value #>> '{}' offset 0) as u (s)
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
    when 'number' then to_timestamp(trunc(seconds)::float8)
        + floor((seconds - trunc(seconds)) * 1000000 + 0.5)::integer * interval '1 microsecond'
end
from (select case when jsonb_typeof(p_value) = 'number' then
        case when p_value::numeric >= 100000000000 then p_value::numeric / 1000
             else p_value::numeric end end) as u (seconds)
$func$;

comment on function json_import.to_time(jsonb) is
    'ISO 8601, unix seconds, or (from 10^11 on) milliseconds as timestamptz, to the microsecond.
Only for values without a time_fault, and with time zone UTC.';
