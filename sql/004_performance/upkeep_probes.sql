-- Probes of the upkeep: months, seals, settings, tasks.

create function performance.probe_months_ahead()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
-- months in a row that are there, from the next one on; -1: not even this one
select jsonb_build_object('table', t.relation), min(n) - 1, null
from performance.monthly_table as t
cross join generate_series(0, 120) as n
where not exists (
    select from core.leaves(t.relation)
    where leaf::text = core.leaf_name(t.relation, to_char(
        date_trunc('month', now(), 'UTC') at time zone 'UTC' + n * interval '1 month',
        '"y"YYYY"m"MM')))
group by t.relation
$func$;

comment on function performance.probe_months_ahead() is 'The probe months_ahead.';

create function performance.probe_unsealed()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb,
       coalesce(date_part('epoch', clock_timestamp() - audit.unsealed_since()), 0), null
$func$;

comment on function performance.probe_unsealed() is 'The probe unsealed.';

create function performance.probe_setting_shortfall()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('setting', s.name), s.wanted / s.present,
       format('is %s', current_setting(s.name))
from (
    values
        -- a quarter of the data in memory, up to 8 GiB
        ('shared_buffers', least(performance.database_octets() / 4.0, 8.0 * 2 ^ 30),
         (select setting::float8 * 8192 from pg_settings where name = 'shared_buffers')),
        -- a rollback, or a dump, locks them all at once
        ('max_locks_per_transaction',
         (select count(*)::float8 from pg_class where relkind in ('r', 'p', 'i', 'I')),
         current_setting('max_locks_per_transaction')::float8 * (
             current_setting('max_connections')::float8
             + current_setting('max_prepared_transactions')::float8)),
        ('autovacuum', case when current_setting('autovacuum')::boolean then 1
                            else 'Infinity'::float8 end, 1),
        ('track_counts', case when current_setting('track_counts')::boolean then 1
                              else 'Infinity'::float8 end, 1)
) as s (name, wanted, present)
$func$;

comment on function performance.probe_setting_shortfall() is 'The probe setting_shortfall.';

create function performance.probe_task_delay()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('task', task),
       date_part('epoch', now() - coalesce(succeeded_at, created_at)) / date_part('epoch', every),
       format('last done %s', coalesce(succeeded_at::text, 'never'))
from performance.task
where every is not null
$func$;

comment on function performance.probe_task_delay() is 'The probe task_delay.';

create function performance.probe_task_failed()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('task', task), case when error is null then 0 else 1 end, error
from performance.task
$func$;

comment on function performance.probe_task_failed() is 'The probe task_failed.';
