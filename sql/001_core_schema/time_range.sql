-- Which times can be stored.

-- Without arguments, so that a query has them as constants. The domains of bounds.sql call them:
-- whoever writes a row needs the right to.

create function core.first_time()
returns timestamptz
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select timestamptz '1970-01-01 00:00:00+00'
$func$;

comment on function core.first_time() is
    'The earliest time that a bot''s rows can have.';

create function core.end_time()
returns timestamptz
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select timestamptz '2100-01-01 00:00:00+00'
$func$;

comment on function core.end_time() is
    'What every time in a bot''s rows is before.';

create function core.storable_years()
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select extract(year from core.first_time() at time zone 'UTC') || ' and '
    || extract(year from core.end_time() at time zone 'UTC') - 1
$func$;

comment on function core.storable_years() is
    'The first and the last year of the times that can be stored, for messages: 1970 and 2099.';
