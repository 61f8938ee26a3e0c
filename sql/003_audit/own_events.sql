-- What entries say about others (erased, ended, kept for so long), as far as it is to be believed.

create function audit.is_readable(p_kind text, p_detail json)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(case
    -- json takes escapes that nobody can read later, and the audit's own events have none
    when strpos(p_detail::text, e'\\') > 0 or json_typeof(p_detail) <> 'object' then false
    when p_kind = 'erasure' then
        json_typeof(p_detail -> 'entries') = 'array' and not exists (
            select
            from json_array_elements(
                case json_typeof(p_detail -> 'entries') when 'array' then p_detail -> 'entries'
                     else '[]' end) as e
            where not coalesce(e ->> 'entry_id' ~ '^[1-9][0-9]{0,17}$', false)
               or e ->> 'was' !~ '^([0-9a-f]{2})+$'
               or e ->> 'was' is not null
                  and not coalesce(e ->> 'now' ~ '^([0-9a-f]{2})+$', false))
    when p_kind = 'retention' then
        p_detail ->> 'month' ~ 'y[12][0-9]{3}m(0[1-9]|1[0-2])$'
    when p_kind = 'setting' then
        p_detail ->> 'retention_days' ~ '^[0-9]{2,5}$' and p_detail ->> 'was' ~ '^[0-9]{2,5}$'
end, false)
$func$;

comment on function audit.is_readable(text, json) is
    'Whether an event of the audit''s own has the form that the audit gives it.';

create function audit.unread_text(p_detail json, p_key text)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $func$
select case when p_detail::text !~* e'\\\\u(0000|d[89a-f])' and json_typeof(p_detail) = 'object'
            then p_detail ->> p_key end
$func$;

comment on function audit.unread_text(json, text) is
    'A value of an event that somebody may have made by hand; null if it can''t be read.';

create function audit.check_events()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select null::bigint, l.entry_id, 'an event of the audit''s own that can''t be read'
from audit.security_audit_log as l
where l.kind in ('erasure', 'retention', 'setting')
  and not audit.is_readable(l.kind, l.new_values)
union all
select null, l.entry_id, 'a month was said to be over that was not'
from audit.security_audit_log as l
where l.kind = 'retention' and audit.is_readable(l.kind, l.new_values)
  and l.entry_id not in (select e.entry_id from audit.ended_months() as e)
union all
select null, null, 'the retention is not what was last put on record'
where (select s.retention_days from audit.setting as s) is distinct from audit.retention_at(null)
$func$;

comment on function audit.check_events() is
    'The part of audit.verify_seals about events that say what became of other entries.';

create function audit.erasures()
returns table (entry_id bigint, first_contents bytea, last_contents bytea, is_chain boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with step as (
    select (e ->> 'entry_id')::bigint as entry_id, decode(e ->> 'was', 'hex') as was,
           decode(e ->> 'now', 'hex') as now, l.entry_id as place
    from audit.security_audit_log as l
    cross join lateral json_array_elements(
        case when audit.is_readable(l.kind, l.new_values) then l.new_values -> 'entries'
             else '[]' end) as e
    where l.kind = 'erasure' and e ->> 'was' is not null
), linked as (
    select *, lag(now) over (partition by entry_id order by place) as before from step
)
select entry_id, (array_agg(was order by place))[1], (array_agg(now order by place desc))[1],
       bool_and(before is null or before = was)
from linked
group by entry_id
$func$;

comment on function audit.erasures() is
    'Sealed entries that were blanked since: (entry_id, salted digest of its contents before the
first time, and after the last, whether each time begins where the one before ended).';

create function audit.is_blanked(p_values json, p_is_block boolean, p_row_count integer)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(case
    when p_values is null then true
    when json_typeof(p_values) <> 'object' or p_values::text ~* e'\\\\u(0000|d[89a-f])' then false
    when not p_is_block then not exists (
        select from json_each(p_values) as c where c.value::text <> '"[erased]"')
    else exists (  -- a row of which nothing is left, and as many rows as ever
        select
        from (
            select v.place, count(*) filter (where v.value::text = '"[erased]"') as marks
            from json_each(p_values) as c
            cross join lateral json_array_elements(
                case json_typeof(c.value) when 'array' then c.value else '[]' end)
                with ordinality as v (value, place)
            group by v.place
        ) as r
        having max(r.marks) = (select count(*) from json_each(p_values))
           and count(*) = p_row_count)
end, false)
$func$;

comment on function audit.is_blanked(json, boolean, integer) is
    'Whether values are such as audit.erase leaves: of one row nothing but marks, of a block all
rows, and at least one that is nothing but marks.';

create function audit.retention_at(p_entry_id bigint)
returns integer
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with setting as (
    select l.entry_id, (l.new_values ->> 'retention_days')::integer as days,
           (l.new_values ->> 'was')::integer as was
    from audit.security_audit_log as l
    where l.kind = 'setting' and audit.is_readable(l.kind, l.new_values)
)
select greatest(30, coalesce(
    (select days from setting where entry_id < coalesce(p_entry_id, entry_id + 1)
     order by entry_id desc limit 1),
    (select was from setting where entry_id > p_entry_id order by entry_id limit 1),
    400))
$func$;

comment on function audit.retention_at(bigint) is
    'How many days the log was to be kept when an entry was written, by the events on record; null:
now. Never below the floor of 30.';

create function audit.ended_months()
returns table (entry_id bigint, month date, ended_at timestamptz, dropped_at timestamptz)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with claim as materialized (
    select l.entry_id, l.occurred_at, make_date(m[1]::integer, m[2]::integer, 1) as month
    from audit.security_audit_log as l
    cross join lateral regexp_match(
        case when audit.is_readable(l.kind, l.new_values) then l.new_values ->> 'month' end,
        'y([12][0-9]{3})m(0[1-9]|1[0-2])$') as m
    where l.kind = 'retention' and m is not null
)
select c.entry_id, c.month, e.at, c.occurred_at
from claim as c
cross join lateral (select (c.month + interval '1 month') at time zone 'UTC') as e (at)
where c.occurred_at <= clock_timestamp() + interval '5 s'
  and e.at < c.occurred_at - make_interval(days => audit.retention_at(c.entry_id))
  -- whole months, and from the oldest on: nothing of then is left
  and not exists (select from audit.security_audit_log as l where l.occurred_at < e.at)
$func$;

comment on function audit.ended_months() is
    'The months that audit.drop_expired has dropped, as far as it is believed: (the entry that says
so, month, when it ended, when it was dropped). A month that was not over for as long as the log is
to be kept, or of which an entry is left, has not been dropped lawfully.';

create function audit.ended_entries()
returns table (seal_id bigint, entries int8multirange)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select s.seal_id, range_agg(r)
from audit.seal as s
cross join lateral unnest(s.months, s.month_entries) as m (month, entries)
cross join lateral unnest(m.entries) as r
where exists (
    select from audit.ended_months() as e
    where e.month = m.month and s.sealed_at < e.dropped_at - interval '30 days')
group by s.seal_id
$func$;

comment on function audit.ended_entries() is
    'What each seal covers of months that have been dropped lawfully.';
