-- 000_name: is it there, and is it whole? Reads only; one row per check.

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;

with result (place, check_name, offenders) as (
    -- One row per check: a sentence, and the names of what breaks it, null if nothing does.
    select 1, '000_name is there', null::text
)
select check_name, offenders is null as ok, offenders as detail
from result
order by place;
