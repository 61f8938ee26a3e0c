-- Probes, health_check() and metrics.

create table performance.probe (
    probe       text    not null,
    routine     text    not null,
    unit        text    not null,
    warning     float8,
    critical    float8,
    what_to_do  text,
    help        text    not null,

    constraint probe_pk      primary key (probe),
    constraint probe_name_ck check (probe ~ '^[a-z][a-z_]*$'),
    constraint probe_unit_ck check (unit in ('', 'seconds', 'bytes', 'ratio', 'timestamp_seconds')),
    constraint probe_hint_ck check (warning is null or what_to_do is not null)
);

comment on table performance.probe is
    'What is measured, for health and for monitoring: each migration adds its own and removes them
again. The owner may change the thresholds.';
comment on column performance.probe.probe is 'Its name, and part of the metric''s.';
comment on column performance.probe.routine is
    'Signature of a function () that returns (labels jsonb, value float8, note text).';
comment on column performance.probe.unit is 'Empty for a count; ends the metric''s name.';
comment on column performance.probe.warning is
    'From this value on; null: measured only. Above critical it means: from this value down.';
comment on column performance.probe.critical is 'The same; null: never critical.';
comment on column performance.probe.what_to_do is 'The next step, as an imperative.';
comment on column performance.probe.help is 'What the value says.';

create function performance.severity(p_value float8, p_warning float8, p_critical float8)
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case
    when p_value = 'NaN' then 'critical'  -- it could not be measured
    when p_critical < p_warning then
        case when p_value <= p_critical then 'critical' when p_value <= p_warning then 'warning'
             else 'ok' end
    when p_value >= p_critical then 'critical'
    when p_value >= p_warning then 'warning'
    else 'ok'
end
$func$;

comment on function performance.severity(float8, float8, float8) is
    'ok, warning or critical. Where critical is less than warning, less is worse.';

create function performance.in_words(p_value float8, p_unit text)
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case
    when p_value in ('NaN', 'Infinity', '-Infinity') then lower(p_value::text)
    when p_unit = 'bytes' then pg_size_pretty(p_value::numeric)
    when p_unit = 'seconds' then justify_interval(make_interval(secs => round(p_value)))::text
    when p_unit = 'ratio' then round(p_value::numeric, 3)::text
    else trim_scale(round(p_value::numeric, 3))::text
end
$func$;

comment on function performance.in_words(float8, text) is 'A value with its unit, for people.';

create function performance.readings()
returns table (probe text, labels jsonb, value float8, note text)
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
set jit = off
as $func$
declare
    v_probe  performance.probe;
begin
    for v_probe in select * from performance.probe as p order by p.probe loop
        begin
            return query execute format(
                'select $1, labels, value, note from %s()',
                core.routine_name(v_probe.routine))
            using v_probe.probe;
        exception when others then  -- one that can't be read hides none of the others
            return query select v_probe.probe, '{}'::jsonb, 'NaN'::float8,
                                format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
        end;
    end loop;
end
$func$;

comment on function performance.readings() is
    'All that the probes measure now: (probe, labels, value, note). NaN: it could not be measured,
the note says why.';

create function performance.health_check()
returns table (check_name text, severity text, value text, threshold text, what_to_do text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
with reading as (
    select p.*, r.labels, r.value, r.note,
           performance.severity(r.value, p.warning, p.critical) as severity
    from performance.probe as p
    left join performance.readings() as r using (probe)
    where p.warning is not null or r.value = 'NaN'
), ranked as (
    select *, coalesce(array_position('{critical,warning}', severity), 3) as rank,
           row_number() over (
               partition by probe
               order by array_position('{critical,warning}', severity),
                        case when critical < warning then value else -value end,
                        labels::text) as place
    from reading
)
select r.probe || coalesce(' (' || l.shown || ')', ''), coalesce(r.severity, 'ok'),
       coalesce(performance.in_words(r.value, r.unit), 'none'),
       format(case when r.warning is null then ''
                   when r.critical < r.warning then 'warning at %s or less, critical at %s or less'
                   when r.critical is null then 'warning from %s'
                   else 'warning from %s, critical from %s' end,
              performance.in_words(r.warning, r.unit), performance.in_words(r.critical, r.unit)),
       case when r.rank < 3 then concat_ws(' ', r.what_to_do, '(' || r.note || ')') end
from ranked as r
left join lateral (
    select string_agg(e.value, ', ' order by e.key) as shown
    from jsonb_each_text(case when r.rank < 3 then r.labels end) as e
) as l on true
where r.rank < 3 or r.place = 1
order by r.rank, r.probe, r.place
$func$;

comment on function performance.health_check() is
    'How the database is, the worst first: (check_name, severity ok, warning or critical, value,
threshold, what_to_do). One row for all that is well in a check, one for each thing that is not.';

create function performance.metric_rows()
returns table (name text, labels jsonb, value float8, help text, type text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
with reading as (
    select p.*, r.labels, r.value
    from performance.probe as p
    left join performance.readings() as r using (probe)
)
select 'botfleet_' || probe || case unit when '' then '' else '_' || unit end, labels, value, help,
       'gauge'
from reading
where value <> 'NaN'
union all
select 'botfleet_health', jsonb_build_object('check', probe),
       max(array_position('{ok,warning,critical}',
                          performance.severity(value, warning, critical))) - 1,
       'The worst in a check: 0 ok, 1 warning, 2 critical.', 'gauge'
from reading
where warning is not null or value = 'NaN'
group by probe
order by 1, 2
$func$;

comment on function performance.metric_rows() is 'What performance.metrics shows.';

create view performance.metrics
with (security_invoker = true)
as
select name, labels, value, help, type from performance.metric_rows();

comment on view performance.metrics is
    'All that a monitoring system may want to know, in Prometheus'' terms: the one source of
runner.py metrics.';
comment on column performance.metrics.name is 'botfleet_<probe>_<unit>.';
comment on column performance.metrics.labels is 'An object of texts; a bot goes by its bot_id.';
