-- The tasks themselves.

create function performance.task_months()
returns text
language sql
set search_path = pg_catalog, pg_temp
as $func$
select format('%s months made', performance.make_months())
$func$;

comment on function performance.task_months() is 'The task months.';

create function performance.task_counts()
returns text
language sql
set search_path = pg_catalog, pg_temp
as $func$
-- at once: within a transaction each further step would pass by what the ones before took away; and
-- a bot that goes on writing is left to the next run
select format('%s notes folded', coalesce(sum(core_upkeep.fold_counts(b.bot_id, 1000000)), 0))
from core.bots as b
where exists (select from core.uncounted as u where u.bot_id = b.bot_id)
$func$;

comment on function performance.task_counts() is 'The task counts.';

create function performance.task_roll_up()
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_changed  integer := performance.roll_up_metrics();
begin
    return format('%s days changed', v_changed) || coalesce(
        (select format('; bots %s left out, see performance.bot_fault',
                       string_agg(bot_id::text, ', ' order by bot_id))
         from performance.bot_fault where kind = 'roll_up' having count(*) > 0), '');
end
$func$;

comment on function performance.task_roll_up() is 'The task roll_up.';

create function performance.task_seal()
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_sealed  integer;
    v_total   integer := 0;
begin
    for v_round in 1 .. 20 loop  -- a million entries; the next run goes on
        select entry_count into v_sealed from audit.seal();
        exit when v_sealed = 0;
        v_total := v_total + v_sealed;
    end loop;
    return format('%s entries sealed', v_total);
end
$func$;

comment on function performance.task_seal() is 'The task seal.';

create function performance.task_retention()
returns text
language sql
set search_path = pg_catalog, pg_temp
as $func$
select format('%s months of the audit log dropped', count(*)) from audit.drop_expired()
$func$;

comment on function performance.task_retention() is 'The task audit_retention.';

create function performance.task_statistics()
returns text
language sql
set search_path = pg_catalog, pg_temp
as $func$
select core.analyze_tables();
select format('%s tables analyzed', count(*)) from core.hash_tables()
$func$;

comment on function performance.task_statistics() is 'The task statistics.';

create function performance.task_locks()
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_count  integer := 0;
begin
    if to_regclass('public.yoyo_lock') is not null then
        -- the runner marks its own row by a negated pid; yoyo's own rows are yoyo's to break
        delete from public.yoyo_lock as l
        where l.pid < 0 and not exists (select from pg_stat_activity as a where a.pid = -l.pid);
        get diagnostics v_count = row_count;
    end if;
    return format('%s stale locks removed', v_count);
end
$func$;

comment on function performance.task_locks() is 'The task stale_locks.';

-- What each would do, for performance.preview_maintain()

create function performance.preview_months()
returns table (what text, row_count bigint)
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $func$
select 'months to make of ' || t.relation, count(*)
from performance.monthly_table as t
cross join lateral (
    select date_trunc('month', now() + n * interval '1 month') + interval '1 month'
    from generate_series(0, 3) as n) as m (ends_at)
where not exists (
    select
    from core.leaves(t.relation)
    where substring(bound from e'TO \\(''([^'']+)''\\)')::timestamptz = m.ends_at)
group by t.relation
$func$;

comment on function performance.preview_months() is 'What the task months would do.';

create function performance.preview_counts()
returns table (what text, row_count bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select 'notes to fold into the counts of the chats', count(*) from core.uncounted
$func$;

comment on function performance.preview_counts() is 'What the task counts would do.';

create function performance.preview_roll_up()
returns table (what text, row_count bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select 'days of bots, before today, to roll up', count(distinct (s.bot_id, d.day))
from core.stale_days as s
cross join lateral unnest(s.days) as r
cross join lateral generate_series(lower(r), upper(r) - 1, '1 day') as d (day)
$func$;

comment on function performance.preview_roll_up() is 'What the task roll_up would do.';

create function performance.preview_statistics()
returns table (what text, row_count bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select 'tables to analyze', count(*) from core.hash_tables()
$func$;

comment on function performance.preview_statistics() is 'What the task statistics would do.';

create function performance.preview_locks()
returns table (what text, row_count bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
begin
    what := 'stale locks to remove';
    row_count := 0;
    if to_regclass('public.yoyo_lock') is not null then
        select count(*) into row_count
        from public.yoyo_lock as l
        where l.pid < 0 and not exists (select from pg_stat_activity as a where a.pid = -l.pid);
    end if;
    return next;
end
$func$;

comment on function performance.preview_locks() is 'What the task stale_locks would do.';

insert into performance.task (task, routine, preview, every, description) values
    ('months', 'performance.task_months()', 'performance.preview_months()', '1 day',
        'Makes the next three months of every table that is partitioned by time.'),
    ('counts', 'performance.task_counts()', 'performance.preview_counts()', '15 minutes',
        'Folds what the triggers noted of the chats into their counts.'),
    ('roll_up', 'performance.task_roll_up()', 'performance.preview_roll_up()', '1 hour',
        'Rolls messages up into core.bot_metrics and the totals of each bot.'),
    ('seal', 'performance.task_seal()', 'audit.preview_seal()', '1 hour', 'Seals the audit log.'),
    ('audit_retention', 'performance.task_retention()', 'audit.preview_drop_expired()', '1 day',
        'Drops the months of the audit log that audit.setting no longer keeps.'),
    ('statistics', 'performance.task_statistics()', 'performance.preview_statistics()', '1 day',
        'Analyzes the partitioned tables, which autovacuum does not.'),
    ('stale_locks', 'performance.task_locks()', 'performance.preview_locks()', '1 hour',
        'Removes the lock rows that killed runners left.');
