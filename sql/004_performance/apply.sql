-- 004_performance: the database keeps its metrics, looks after itself, and says how it is.
-- depends: 003_audit
-- locks:   a new index (SHARE) and new policies (ACCESS EXCLUSIVE) on the tables in core
-- undo:    rollback.sql drops schema performance; what core.bot_metrics holds stays

set local search_path = pg_catalog, pg_temp;
set local lock_timeout = '3s';
set local row_security = on;  -- or no function could name a table whose rows are filtered

create schema performance;

comment on schema performance is
    'Metrics of the bots, rolled up; maintenance; health and what a monitoring system reads.';

insert into core.error_code (code, name, meaning, remedy) values
    ('MB301', 'unknown_task',       'There is no maintenance task of this name.',
        'select task, description from performance.task lists them.'),
    ('MB302', 'maintenance_failed', 'A maintenance task failed; what the others did is kept.',
        'Read error in performance.task, mend it, then run the task again.');

-- Indexes ---------------------------------------------------------------------

-- It costs what HOT would save: last_message_at changes with each message. In steps of half a
-- minute it would change half as often, and say the wrong time.
-- squawk-ignore require-concurrent-index-creation
create index conversations_last_message_idx
    on core.conversations (bot_id, last_message_at desc nulls last);

comment on index core.conversations_last_message_idx is
    'A bot''s list of chats: where bot_id = $1 order by last_message_at desc nulls last limit 50.';

-- Partitions ------------------------------------------------------------------

create table performance.monthly_table (
    relation      regclass  not null,
    ensure_month  text      not null,

    constraint monthly_table_pk primary key (relation)
);

comment on table performance.monthly_table is
    'The tables that are partitioned by month: each migration that makes one adds it here.';
comment on column performance.monthly_table.relation is 'The partitioned table.';
comment on column performance.monthly_table.ensure_month is
    'Signature of the function of a timestamptz that makes the month, as the table''s owner.';

insert into performance.monthly_table (relation, ensure_month)
values ('audit.security_audit_log', 'audit.ensure_month(timestamp with time zone)');

create function performance.make_months(p_ahead integer default 3)
returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set timezone = 'UTC'  -- a month after 30 January, 23:30 in New York, is a day of March here
as $func$
declare
    v_table   performance.monthly_table;
    v_before  integer;
    v_made    integer := 0;
begin
    for v_table in select * from performance.monthly_table order by relation loop
        v_before := (select count(*)::integer from core.leaves(v_table.relation));
        for v_month in 0 .. p_ahead loop
            execute format('select %s($1)', v_table.ensure_month::regprocedure::oid::regproc)
            using now() + v_month * interval '1 month';
        end loop;
        v_made := v_made - v_before
                  + (select count(*)::integer from core.leaves(v_table.relation));
    end loop;
    return v_made;
end
$func$;

comment on function performance.make_months(integer) is
    'Makes this month and the next p_ahead of every table in performance.monthly_table where they
are missing; returns how many it made. Nobody who reads or writes waits for it.';

create function performance.follow_bots()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    if tg_op = 'INSERT' then
        perform core.ensure_leaves(new.bot_id);
        perform performance.make_months(1);
    else
        delete from performance.bot_total where bot_id = old.bot_id;
    end if;
    return null;
end
$func$;

comment on function performance.follow_bots() is
    'Trigger on core.bots: a new bot finds the partitions it needs (its own leaf of core.bots
security.create_bot makes before), and of one that goes no total stays.';

create trigger follow_bots
    after insert or delete on core.bots
    for each row execute function performance.follow_bots();

create view performance.partition_health
with (security_invoker = true)
as
select t.oid::regclass as table_name, c.oid::regclass as partition, s.n_live_tup as live_rows,
       s.n_dead_tup as dead_rows, pg_total_relation_size(c.oid) as octets,
       round(s.n_live_tup / nullif(avg(s.n_live_tup) over (partition by t.oid), 0), 2) as skew,
       greatest(s.last_vacuum, s.last_autovacuum) as vacuumed_at,
       greatest(s.last_analyze, s.last_autoanalyze) as analyzed_at
from pg_partitioned_table as p
join pg_class as t on t.oid = p.partrelid
join pg_inherits as i on i.inhparent = t.oid
join pg_class as c on c.oid = i.inhrelid
join pg_stat_all_tables as s on s.relid = c.oid
where t.relnamespace in ('core'::regnamespace, 'audit'::regnamespace);

comment on view performance.partition_health is
    'Each leaf and month: rows and dead rows by the server''s statistics, size in bytes with
indexes, rows as a multiple of the table''s average partition, when it was last vacuumed and
analyzed.';

-- Roll-ups --------------------------------------------------------------------

create table performance.bot_total (
    bot_id            bigint       not null,
    contacts          bigint       not null,
    conversations     bigint       not null,
    messages_in       bigint       not null,
    messages_out      bigint       not null,
    messages_7_days   bigint       not null,
    messages_30_days  bigint       not null,
    last_message_at   timestamptz,
    rolled_up_at      timestamptz  not null,

    constraint bot_total_pk primary key (bot_id)
);

comment on table performance.bot_total is
    'What each bot has in all, as of its last roll-up: nobody counts messages to tell.';
comment on column performance.bot_total.contacts is 'Rows in core.girls_profiles.';
comment on column performance.bot_total.conversations is
    'The sum over the days of core.bot_metrics, as are the messages.';
comment on column performance.bot_total.messages_7_days is
    'In and out, on the day of rolled_up_at (UTC) and the six days before.';
comment on column performance.bot_total.messages_30_days is
    'The same with the 29 days before.';
comment on column performance.bot_total.rolled_up_at is 'When these numbers were made.';

create table performance.last_roll_up (
    started_at  timestamptz  not null
);

create unique index last_roll_up_one_row on performance.last_roll_up ((true));
comment on index performance.last_roll_up_one_row is 'There is one row.';
comment on table performance.last_roll_up is
    'One row, locked while days are rolled up: two at once would wait for each other''s rows.';
comment on column performance.last_roll_up.started_at is
    '-infinity before the first one, which takes every day.';

insert into performance.last_roll_up (started_at) values ('-infinity');

create function performance.day_metrics(p_bot_id bigint, p_from date, p_to date)
returns table (day date, messages_in integer, messages_out integer, new_conversations integer,
               active_contacts integer, reply_p50 interval, reply_p95 interval)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set jit = off
set plan_cache_mode = force_generic_plan  -- for few days planning would be most of the cost
as $func$
declare
    -- a comparison with a date costs several times as much
    v_from  timestamptz := p_from::timestamptz;
    v_to    timestamptz := p_to::timestamptz;
begin
    if p_from < least(p_to, current_date) - 31 then  -- else the plan is made for so many days
        perform set_config('plan_cache_mode', 'force_custom_plan', true);
    end if;
    return query
        with message as (
            select m.sent_at::date as day, m.direction, c.profile_id,
                   case when m.direction = 'out' and lag(m.direction) over chat = 'in'
                        then m.sent_at - lag(m.sent_at) over chat end as reply
            from core.messages as m
            join core.conversations as c using (bot_id, conversation_id)
            where m.bot_id = p_bot_id and m.sent_at >= v_from - interval '1 day'
              and m.sent_at < v_to
            window chat as (partition by m.conversation_id order by m.sent_at, m.message_id)
        ), talk as (
            select m.day, count(*) filter (where m.direction = 'in')::integer as messages_in,
                   count(*) filter (where m.direction = 'out')::integer as messages_out,
                   count(distinct m.profile_id)::integer as active_contacts,
                   percentile_cont(array[0.5, 0.95]) within group (order by m.reply)
                       filter (where m.reply <= interval '1 day') as reply
            from message as m
            where m.day >= p_from
            group by m.day
        ), start as (
            select c.started_at::date as day, count(*)::integer as new_conversations
            from core.conversations as c
            where c.bot_id = p_bot_id and c.started_at >= v_from and c.started_at < v_to
            group by c.started_at::date
        )
        select coalesce(t.day, s.day), coalesce(t.messages_in, 0), coalesce(t.messages_out, 0),
               coalesce(s.new_conversations, 0), coalesce(t.active_contacts, 0),
               t.reply[1], t.reply[2]
        from talk as t
        full join start as s on s.day = t.day;
end
$func$;

comment on function performance.day_metrics(bigint, date, date) is
    'The rows of core.bot_metrics of one bot from p_from to before p_to, as its messages and
conversations say; none for a day on which nothing happened.';

create function performance.roll_up_bots(p_bots bigint[], p_days datemultirange[])
returns integer
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
with span as materialized (
    select b.bot_id, lower(r.days) as first_day, upper(r.days) as next_day
    from unnest(p_bots, p_days) as b (bot_id, days)
    cross join lateral unnest(b.days) as r (days)
), fresh as materialized (
    select s.bot_id, d.*
    from span as s
    cross join lateral performance.day_metrics(s.bot_id, s.first_day, s.next_day) as d
), gone as (
    delete from core.bot_metrics as m
    using span as s
    where m.bot_id = s.bot_id and m.day >= s.first_day and m.day < s.next_day
      and not exists (select from fresh as f where f.bot_id = m.bot_id and f.day = m.day)
    returning m.day
), stored as (
    insert into core.bot_metrics as m (
        bot_id, day, messages_in, messages_out, new_conversations, active_contacts, reply_p50,
        reply_p95)
    select f.bot_id, f.day, f.messages_in, f.messages_out, f.new_conversations, f.active_contacts,
           f.reply_p50, f.reply_p95
    from fresh as f
    on conflict (bot_id, day) do update
        set messages_in = excluded.messages_in, messages_out = excluded.messages_out,
            new_conversations = excluded.new_conversations,
            active_contacts = excluded.active_contacts,
            reply_p50 = excluded.reply_p50, reply_p95 = excluded.reply_p95
        where (m.messages_in, m.messages_out, m.new_conversations, m.active_contacts, m.reply_p50,
               m.reply_p95)
              is distinct from (
               excluded.messages_in, excluded.messages_out, excluded.new_conversations,
               excluded.active_contacts, excluded.reply_p50, excluded.reply_p95)
    returning m.day
)
select ((select count(*) from gone) + (select count(*) from stored))::integer
$func$;

comment on function performance.roll_up_bots(bigint[], datemultirange[]) is
    'Makes the rows of core.bot_metrics for these days of each bot what its messages say; returns
how many changed. One statement for all bots: one for each would cost more than what it finds.';

create function performance.roll_up_totals()
returns void
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
-- a bot that came and went while the last roll-up was under way
delete from performance.bot_total as t
where not exists (select from core.bots as b where b.bot_id = t.bot_id);

insert into performance.bot_total as t (
    bot_id, contacts, conversations, messages_in, messages_out, messages_7_days, messages_30_days,
    last_message_at, rolled_up_at)
select b.bot_id, coalesce(g.contacts, 0), coalesce(m.conversations, 0), coalesce(m.messages_in, 0),
       coalesce(m.messages_out, 0), coalesce(m.messages_7_days, 0),
       coalesce(m.messages_30_days, 0), l.last_message_at, clock_timestamp()
from core.bots as b
left join (
    select bot_id, count(*) as contacts from core.girls_profiles group by bot_id
) as g using (bot_id)
left join (
    select bot_id, sum(new_conversations) as conversations, sum(messages_in) as messages_in,
           sum(messages_out) as messages_out,
           sum(messages_in + messages_out) filter (where day > t.today - 7 and day <= t.today)
               as messages_7_days,
           sum(messages_in + messages_out) filter (where day > t.today - 30 and day <= t.today)
               as messages_30_days
    from core.bot_metrics
    cross join (select (now() at time zone 'UTC')::date) as t (today)
    group by bot_id
) as m using (bot_id)
left join lateral (
    select c.last_message_at
    from core.conversations as c
    where c.bot_id = b.bot_id
    order by c.last_message_at desc nulls last
    limit 1
) as l on true
on conflict (bot_id) do update
    set contacts = excluded.contacts, conversations = excluded.conversations,
        messages_in = excluded.messages_in, messages_out = excluded.messages_out,
        messages_7_days = excluded.messages_7_days, messages_30_days = excluded.messages_30_days,
        last_message_at = excluded.last_message_at, rolled_up_at = excluded.rolled_up_at
$func$;

comment on function performance.roll_up_totals() is 'Fills performance.bot_total anew.';

create function performance.roll_up_metrics(p_since date default null)
returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set timezone = 'UTC'
set work_mem = '64MB'
set jit = off
as $func$
declare
    v_last     timestamptz;
    v_started  timestamptz := clock_timestamp();
    v_since    date;
    v_bots     bigint[];
    v_days     datemultirange[];
    v_changed  integer;
begin
    select started_at into v_last from performance.last_roll_up for update;
    -- a day earlier: of what was written then, some was not committed yet
    v_since := least(p_since, v_last::date - 1);
    with noted as (
        -- seen, hence committed: the messages too, when the days are read after this
        delete from core.stale_days returning bot_id, days
    ), stale as (
        -- an answer of the day after may be one no longer
        select n.bot_id, range_agg(daterange(lower(r), upper(r) + 1)) as days
        from noted as n
        cross join lateral unnest(n.days) as r
        group by n.bot_id
    ), bot as (
        select b.bot_id
        from core.bots as b
        order by b.bot_id
        for key share of b  -- a bot that is being dropped gets no new rows
    )
    select array_agg(b.bot_id),
           array_agg(datemultirange(daterange(v_since, 'infinity')) + coalesce(s.days, '{}'))
    into v_bots, v_days
    from bot as b
    left join stale as s using (bot_id);
    v_changed := performance.roll_up_bots(v_bots, v_days);
    perform performance.roll_up_totals();
    update performance.last_roll_up set started_at = v_started;
    return v_changed;
end
$func$;

comment on function performance.roll_up_metrics(date) is
    'Makes core.bot_metrics what the messages say: for the days since the last roll-up (or since
p_since, if that is earlier; -infinity: all) and those in core.stale_days; returns how many rows
changed. The same as a roll-up of everything, unless a transaction took longer than a day, or the
tables'' owner gave a conversation to another contact.';

-- Views -----------------------------------------------------------------------

create view performance.bot_activity_summary
with (security_invoker = true)
as
select b.bot_id, b.name, b.status, t.contacts, t.conversations, t.messages_in, t.messages_out,
       t.messages_7_days, t.messages_30_days, t.last_message_at, t.rolled_up_at as as_of
from core.bots as b
left join performance.bot_total as t using (bot_id);

comment on view performance.bot_activity_summary is
    'One row per bot that the reader may see: what it has in all and had of late, as of the last
roll-up. Takes as long as there are bots, however many messages they have.';
comment on column performance.bot_activity_summary.messages_7_days is
    'In and out, on the day of as_of (UTC) and the six days before.';
comment on column performance.bot_activity_summary.as_of is
    'When the bot''s totals were rolled up; null: not yet.';

create view performance.daily_metrics_summary
with (security_invoker = true)
as
select m.bot_id, b.name, m.day, m.messages_in, m.messages_out,
       m.messages_in + m.messages_out as messages,
       m.messages_in + m.messages_out - coalesce(w.messages_in + w.messages_out, 0)
           as more_than_week_before,
       m.new_conversations, m.active_contacts, m.reply_p50, m.reply_p95, m.updated_at as as_of
from core.bot_metrics as m
join core.bots as b using (bot_id)
left join core.bot_metrics as w on w.bot_id = m.bot_id and w.day = m.day - 7;

comment on view performance.daily_metrics_summary is
    'One row per day (UTC) and bot that the reader may see, beside the same day of the week before.
Days on which nothing happened have none. Filter by bot_id and day.';
comment on column performance.daily_metrics_summary.more_than_week_before is
    'Messages more than seven days before; negative: fewer.';

create function performance.slow_query_rows()
returns table (query text, calls bigint, total_time interval, mean_time interval, row_count bigint,
               cache_hits numeric)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_source  text := (
        select format('%I.pg_stat_statements', n.nspname)
        from pg_extension as e
        join pg_namespace as n on n.oid = e.extnamespace
        where e.extname = 'pg_stat_statements');
begin
    if v_source is null then
        query := 'pg_stat_statements is not here. As a superuser: create extension '
                 'pg_stat_statements; with the library in shared_preload_libraries.';
        return next;
        return;
    end if;
    -- no utility commands: before 16 they hold their constants, a password's verifier, say
    return query execute format($query$
        select left(s.query, 1000), s.calls, make_interval(secs => s.total_exec_time / 1000),
               make_interval(secs => s.mean_exec_time / 1000), s.rows,
               round(s.shared_blks_hit::numeric
                     / nullif(s.shared_blks_hit + s.shared_blks_read, 0), 3)
        from %s as s
        where s.dbid = (select oid from pg_database where datname = current_database())
          and s.query ~* '^\s*(select|insert|update|delete|merge|with|<insufficient)'
        order by s.total_exec_time desc
        limit 50
        $query$, v_source);
exception when object_not_in_prerequisite_state then
    query := 'pg_stat_statements is here, but not in shared_preload_libraries: add it there, and '
             'restart the server.';
    return next;
end
$func$;

comment on function performance.slow_query_rows() is
    'What performance.slow_queries shows; a function, since the extension may come later.';

create view performance.slow_queries
with (security_invoker = true)
as
select query, calls, total_time, mean_time, row_count, cache_hits
from performance.slow_query_rows();

comment on view performance.slow_queries is
    'The 50 statements of this database that took the most time in all, constants as $1 (from
pg_stat_statements; without it one row that says how to get it). Others'' statements are shown to
members of pg_read_all_stats.';
comment on column performance.slow_queries.cache_hits is
    'Of the pages read, the part that the server had in memory, 0 to 1.';

-- Maintenance -----------------------------------------------------------------

create table performance.task (
    task           text         not null,
    routine        text         not null,
    every          interval,
    keep           interval,
    description    text         not null,
    created_at     timestamptz  not null default now(),
    started_at     timestamptz,
    succeeded_at   timestamptz,
    duration       interval,
    result         text,
    error          text,

    constraint task_pk       primary key (task),
    constraint task_every_ck check (every >= interval '1 minute'),
    constraint task_keep_ck  check (
        (keep is not null) = (routine like '%(interval)') and keep >= interval '1 day')
);

comment on table performance.task is
    'What maintenance does: each migration adds its own and removes them again. The owner may change
every and keep.';
comment on column performance.task.task is 'Its name.';
comment on column performance.task.description is 'What it does, for people.';
comment on column performance.task.routine is
    'Signature of a function that returns in words what it did; of an interval, if there is a
keep.';
comment on column performance.task.every is 'How often it is due; null: never by itself.';
comment on column performance.task.keep is
    'How old something must be for the task to delete it; null where the task deletes nothing.';
comment on column performance.task.started_at is 'When it last ran, whatever came of it.';
comment on column performance.task.duration is 'How long that took.';
comment on column performance.task.result is 'What it did when it last succeeded.';
comment on column performance.task.error is 'Why it last failed; null if it did not.';

create function performance.is_due(p_task performance.task)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
-- a tenth early: what is called once an hour must not find its hour a second short
select p_task.every is not null and (
    p_task.started_at is null or p_task.error is not null
    or p_task.started_at + 0.9 * p_task.every <= now())
$func$;

comment on function performance.is_due(performance.task) is
    'Whether its time has come, or it has never run, or it failed when it last did.';

create function performance.due_tasks()
returns table (task text, last_run timestamptz, every interval, description text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select t.task, t.started_at, t.every, t.description
from performance.task as t
where performance.is_due(t)
order by t.started_at nulls first, t.task
$func$;

comment on function performance.due_tasks() is
    'The tasks that are due, the longest overdue first: (task, last_run, every, description).';

create function performance.run_task(p_task text, p_only_if_due boolean default false)
returns table (ok boolean, result text, duration interval)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set lock_timeout = '2s'  -- who works has precedence
as $func$
declare
    v_task     performance.task;
    v_started  timestamptz := clock_timestamp();
    v_error    text;
begin
    select * into v_task from performance.task as t where t.task = p_task for update skip locked;
    if not found then
        perform performance.require_task(p_task);
        return query select true, 'another session is running it', null::interval;
        return;
    elsif p_only_if_due and not performance.is_due(v_task) then
        return query select true, 'another session has just run it', null::interval;
        return;
    end if;
    begin
        execute format(case when v_task.keep is null then 'select %s()' else 'select %s($1)' end,
                       v_task.routine::regprocedure::oid::regproc)
        into result using v_task.keep;
    exception when others then  -- kept beside the task, and reported
        v_error := format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
        raise log 'maintenance task % failed: %', p_task, v_error;
    end;
    duration := clock_timestamp() - v_started;
    ok := v_error is null;
    update performance.task as t
    set started_at   = v_started,
        succeeded_at = case when ok then clock_timestamp() else t.succeeded_at end,
        duration     = run_task.duration,
        result       = case when ok then run_task.result else t.result end,
        error        = v_error
    where t.task = p_task;
    result := coalesce(v_error, result);
    return next;
end
$func$;

comment on function performance.run_task(text, boolean) is
    'Runs one task: (ok, result in words, or the error, duration). A failure undoes what the task
did and is kept in performance.task. Returns at once if another session is at it. MB301.';

create function performance.require_task(p_task text)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $func$
begin
    if not exists (select from performance.task where task = p_task) then
        raise exception using
            errcode = 'MB301',
            message = format('there is no maintenance task %s', quote_nullable(p_task)),
            hint    = 'select task, description from performance.task lists them.';
    end if;
end
$func$;

comment on function performance.require_task(text) is 'MB301 unless there is such a task.';

-- No definer, no settings: either would forbid COMMIT. So the names are written in full, and it
-- may do what its caller may.
create procedure performance.maintain()
language plpgsql
as $proc$
declare
    v_task    pg_catalog.text;
    v_failed  pg_catalog.text[];
begin
    for v_task in select task from performance.due_tasks() loop
        if exists (select from performance.run_task(v_task, true) where not ok) then
            v_failed := pg_catalog.array_append(v_failed, v_task);
        end if;
        commit;  -- each task by itself
    end loop;
    perform performance.refuse_failures(v_failed);
end
$proc$;

comment on procedure performance.maintain() is
    'Runs every task that is due, each in a transaction of its own; for cron and pg_cron: call
performance.maintain(). Two at once share the work. MB302: at the end, if a task failed.';

create function performance.refuse_failures(p_failed text[])
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $func$
begin
    if cardinality(p_failed) > 0 then
        raise exception using
            errcode = 'MB302',
            message = format('maintenance failed: %s', array_to_string(p_failed, ', ')),
            hint    = 'select task, error from performance.task where error is not null; '
                      'mend it, then call performance.maintain() again.';
    end if;
end
$func$;

comment on function performance.refuse_failures(text[]) is 'MB302 unless the list is empty.';

-- Tasks -----------------------------------------------------------------------

create function performance.task_months()
returns text
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
select format('%s months made', performance.make_months())
$func$;

comment on function performance.task_months() is 'The task months.';

create function performance.task_roll_up()
returns text
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
select format('%s days changed', performance.roll_up_metrics())
$func$;

comment on function performance.task_roll_up() is 'The task roll_up.';

create function performance.task_seal()
returns text
language plpgsql
volatile
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
volatile
set search_path = pg_catalog, pg_temp
as $func$
select format('%s months of the audit log dropped', count(*)) from audit.drop_expired()
$func$;

comment on function performance.task_retention() is 'The task audit_retention.';

create function performance.task_statistics()
returns text
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
select core.analyze_tables();
select format('%s tables analyzed', count(*)) from core.bot_tables()
$func$;

comment on function performance.task_statistics() is 'The task statistics.';

create function performance.task_locks()
returns text
language plpgsql
volatile
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

insert into performance.task (task, routine, every, description) values
    ('months', 'performance.task_months()', '1 day',
        'Makes the next three months of every table that is partitioned by time.'),
    ('roll_up', 'performance.task_roll_up()', '1 hour',
        'Rolls messages up into core.bot_metrics and the totals of each bot.'),
    ('seal', 'performance.task_seal()', '1 hour', 'Seals the audit log.'),
    ('audit_retention', 'performance.task_retention()', '1 day',
        'Drops the months of the audit log that audit.setting no longer keeps.'),
    ('statistics', 'performance.task_statistics()', '1 day',
        'Analyzes the partitioned tables, which autovacuum does not.'),
    ('stale_locks', 'performance.task_locks()', '1 hour',
        'Removes the lock rows that killed runners left.');

-- Probes ----------------------------------------------------------------------

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
language sql
immutable
parallel safe
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
language sql
immutable
parallel safe
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
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
as $func$
declare
    v_probe  performance.probe;
begin
    for v_probe in select * from performance.probe as p order by p.probe loop
        begin
            return query execute format(
                'select $1, labels, value, note from %s()',
                v_probe.routine::regprocedure::oid::regproc)
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
language sql
stable
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
language sql
stable
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

-- Each returns (labels, value, note); the note is for people only.

create function performance.probe_bots()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('status', status), count(*), null from core.bots group by status
$func$;

comment on function performance.probe_bots() is 'The probe bots.';

create function performance.probe_bot_messages()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('bot_id', t.bot_id::text, 'direction', d.direction), d.messages, null
from performance.bot_total as t
cross join lateral (
    values ('in', t.messages_in), ('out', t.messages_out)) as d (direction, messages)
$func$;

comment on function performance.probe_bot_messages() is 'The probe bot_messages.';

create function performance.probe_bot_last_message()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
-- one that is paused or retired may be silent
select jsonb_build_object('bot_id', t.bot_id::text), date_part('epoch', t.last_message_at), null
from performance.bot_total as t
join core.bots as b using (bot_id)
where b.status = 'active' and t.last_message_at is not null
$func$;

comment on function performance.probe_bot_last_message() is 'The probe bot_last_message.';

create function performance.probe_bot_reply()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
-- not "quantile": Prometheus keeps that label for summaries
select jsonb_build_object('bot_id', b.bot_id::text, 'percentile', p.percentile),
       date_part('epoch', p.reply), null
from core.bots as b
cross join lateral (
    select reply_p50, reply_p95
    from core.bot_metrics
    where bot_id = b.bot_id and day >= (now() at time zone 'UTC')::date - 1
      and reply_p50 is not null
    order by day desc
    limit 1
) as m
cross join lateral (values ('50', m.reply_p50), ('95', m.reply_p95)) as p (percentile, reply)
$func$;

comment on function performance.probe_bot_reply() is 'The probe bot_reply.';

create function performance.probe_partition_rows()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('table', table_name, 'partition', partition), live_rows, null
from performance.partition_health
$func$;

comment on function performance.probe_partition_rows() is 'The probe partition_rows.';

create function performance.probe_partition_size()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('table', table_name, 'partition', partition), octets, null
from performance.partition_health
$func$;

comment on function performance.probe_partition_size() is 'The probe partition_size.';

create function performance.probe_dead_rows()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('table', table_name, 'partition', partition),
       case when dead_rows < 10000 then 0 else dead_rows::float8 / (dead_rows + live_rows) end,
       format('%s dead rows, last vacuum %s', dead_rows, coalesce(vacuumed_at::text, 'never'))
from performance.partition_health
$func$;

comment on function performance.probe_dead_rows() is 'The probe dead_rows.';

create function performance.probe_database_size()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb, pg_database_size(current_database())::float8, null
$func$;

comment on function performance.probe_database_size() is 'The probe database_size.';

create function performance.probe_connections()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb, sum(numbackends) / c.places, format('%s of %s', sum(numbackends), c.places)
from pg_stat_database
cross join (
    select current_setting('max_connections')::float8
           - current_setting('superuser_reserved_connections')::float8
) as c (places)
group by c.places
$func$;

comment on function performance.probe_connections() is 'The probe connections.';

create function performance.probe_oldest_transaction()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb, date_part('epoch', clock_timestamp() - t.started_at), t.who
from (
    select xact_start, format('pid %s, login %s, %s, %s', pid, usename, state, application_name)
    from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend'
      and pid <> pg_backend_pid()
    union all
    select prepared, format('prepared transaction %L of %s', gid, owner)
    from pg_prepared_xacts
    where database = current_database()
) as t (started_at, who)
where t.started_at is not null
order by t.started_at
limit 1
$func$;

comment on function performance.probe_oldest_transaction() is 'The probe oldest_transaction.';

create function performance.probe_unseen_sessions()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb, case when pg_has_role('pg_read_all_stats', 'usage') then 0 else 1 end, null
$func$;

comment on function performance.probe_unseen_sessions() is 'The probe unseen_sessions.';

create function performance.probe_lock_wait()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb, date_part('epoch', clock_timestamp() - waitstart),
       format('pid %s waits for pid %s', pid, array_to_string(pg_blocking_pids(pid), ', '))
from pg_locks
where not granted and waitstart is not null
order by waitstart
limit 1
$func$;

comment on function performance.probe_lock_wait() is 'The probe lock_wait.';

create function performance.probe_wraparound()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('counter', w.counter), max(w.age) / 2 ^ 31,
       format('the oldest is database %s',
              (array_agg(d.datname order by w.age desc))[1])
from pg_database as d
cross join lateral (values ('transactions', age(d.datfrozenxid)::float8),
                           ('multixacts', mxid_age(d.datminmxid)::float8)) as w (counter, age)
group by w.counter
$func$;

comment on function performance.probe_wraparound() is 'The probe wraparound.';

create function performance.our_indexes()
returns table (index_name regclass, is_valid boolean, is_unique boolean, octets bigint,
               scans bigint)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(h.inhparent, x.indexrelid)::regclass,
       bool_and(x.indisvalid and r.indisvalid is not false),  -- valid leaves, but one has none
       bool_or(x.indisunique), sum(pg_relation_size(x.indexrelid))::bigint,
       coalesce(sum(pg_stat_get_numscans(x.indexrelid)), 0)::bigint
from pg_index as x
join pg_class as c on c.oid = x.indexrelid
left join pg_inherits as h on h.inhrelid = x.indexrelid
left join pg_index as r on r.indexrelid = h.inhparent
where c.relnamespace::regnamespace::text ~ '^(core|audit|json_import|performance|security)'
  and not exists (select from pg_inherits as p where p.inhparent = x.indexrelid)
group by coalesce(h.inhparent, x.indexrelid)
$func$;

comment on function performance.our_indexes() is
    'The indexes of our tables, those of partitions taken together: (index_name, is_valid,
is_unique, octets, scans).';

create function performance.probe_unused_indexes()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('index', index_name), octets, null
from performance.our_indexes()
where scans = 0 and not is_unique
$func$;

comment on function performance.probe_unused_indexes() is 'The probe unused_indexes.';

create function performance.probe_invalid_indexes()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('index', index_name), 1, null
from performance.our_indexes()
where not is_valid
$func$;

comment on function performance.probe_invalid_indexes() is 'The probe invalid_indexes.';

create function performance.probe_months_ahead()
returns table (labels jsonb, value float8, note text)
language sql
stable
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
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb,
       coalesce(date_part('epoch', clock_timestamp() - audit.unsealed_since()), 0), null
$func$;

comment on function performance.probe_unsealed() is 'The probe unsealed.';

create function performance.probe_setting_shortfall()
returns table (labels jsonb, value float8, note text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('setting', s.name), s.wanted / s.present,
       format('is %s', current_setting(s.name))
from (
    values
        -- a quarter of the data in memory, up to 8 GiB
        ('shared_buffers', least(pg_database_size(current_database()) / 4.0, 8.0 * 2 ^ 30),
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
language sql
stable
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
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('task', task), case when error is null then 0 else 1 end, error
from performance.task
$func$;

comment on function performance.probe_task_failed() is 'The probe task_failed.';

insert into performance.probe (probe, routine, unit, help) values
    ('bots', 'performance.probe_bots()', '', 'Bots, by status.'),
    ('bot_messages', 'performance.probe_bot_messages()', '',
        'Messages that a bot has, as of its last roll-up.'),
    ('bot_last_message', 'performance.probe_bot_last_message()', 'timestamp_seconds',
        'When the latest message of an active bot was sent, as of its last roll-up.'),
    ('bot_reply', 'performance.probe_bot_reply()', 'seconds',
        'How long contacts wait for the bot''s answer, today or yesterday.'),
    ('partition_rows', 'performance.probe_partition_rows()', '', 'Rows of a partition.'),
    ('partition_size', 'performance.probe_partition_size()', 'bytes',
        'Size of a partition with its indexes.'),
    ('database_size', 'performance.probe_database_size()', 'bytes', 'Size of the database.');

insert into performance.probe
    (probe, routine, unit, warning, critical, what_to_do, help) values
    ('dead_rows', 'performance.probe_dead_rows()', 'ratio', 0.2, 0.5,
        'See what holds vacuum up (oldest transaction), then vacuum the partition.',
        'Dead rows of a partition as a part of all; 0 below 10,000.'),
    ('connections', 'performance.probe_connections()', 'ratio', 0.8, 0.95,
        'Find who holds them (pg_stat_activity); share them by a pooler.',
        'Connections in use as a part of those that are not a superuser''s.'),
    ('oldest_transaction', 'performance.probe_oldest_transaction()', 'seconds', 300, 3600,
        'If nobody waits for it, end it: select pg_terminate_backend(pid).',
        'Age of the oldest transaction in this database.'),
    ('unseen_sessions', 'performance.probe_unseen_sessions()', '', 1, null,
        'As a superuser: grant pg_read_all_stats to app_maintainer.',
        '1: what other sessions do can''t be seen, so oldest_transaction is blind.'),
    ('lock_wait', 'performance.probe_lock_wait()', 'seconds', 60, 600,
        'See what the session that holds the lock is doing; end it if it does nothing.',
        'How long the longest wait for a lock has lasted.'),
    ('wraparound', 'performance.probe_wraparound()', 'ratio', 0.25, 0.5,
        'Let autovacuum freeze: end old transactions, raise its cost limit, vacuum (freeze).',
        'Transaction ids used up, of the two thousand million that there are.'),
    ('unused_indexes', 'performance.probe_unused_indexes()', 'bytes', 104857600, null,
        'Read the index''s comment; drop it if nothing needs it.',
        'Size of an index that no query has used since statistics began.'),
    ('invalid_indexes', 'performance.probe_invalid_indexes()', '', 1, null,
        'Drop it and create it again: a concurrent build has failed.', '1: the index is invalid.'),
    ('months_ahead', 'performance.probe_months_ahead()', '', 1, 0,
        'select performance.run_task(''months''), and see that maintenance runs.',
        'Months after this one whose partition is there.'),
    ('unsealed', 'performance.probe_unsealed()', 'seconds', 21600, 172800,
        'select performance.run_task(''seal''), and see that maintenance runs.',
        'Age of the oldest entry of the audit log that no seal covers.'),
    ('setting_shortfall', 'performance.probe_setting_shortfall()', 'ratio', 1.001, 'Infinity',
        'Raise it in postgresql.conf by this factor.',
        'How many times larger a setting would have to be for this much data.'),
    ('task_delay', 'performance.probe_task_delay()', 'ratio', 2, 5,
        'See that cron, or pg_cron, calls performance.maintain().',
        'Time since a maintenance task succeeded, as a multiple of how often it is due.'),
    ('task_failed', 'performance.probe_task_failed()', '', 1, null,
        'Mend what the error says, then select performance.run_task(…).',
        '1: the maintenance task failed when it last ran.');

-- Protection ------------------------------------------------------------------

do $protect$
begin
    perform security.ensure_owner('app_maintainer');
    perform security.protect('performance.bot_total');
    perform security.admit_bots('performance.bot_total');
    perform security.admit_admins('performance.bot_total');
    perform security.admit('performance.bot_total', r, 'select')
    from unnest(array['app_super_admin', 'app_backup']) as r;
    perform security.admit(t, 'app_maintainer', c)
    from (values ('performance.bot_total', 'all'), ('core.bot_metrics', 'all'),
                 ('core.girls_profiles', 'select'), ('core.conversations', 'select'),
                 ('core.messages', 'select'), ('core.bots', 'select'), ('core.bots', 'update'),
                 ('core.stale_days', 'select'), ('core.stale_days', 'delete')) as u (t, c);
    if to_regclass('public.yoyo_lock') is not null then
        grant select, delete on public.yoyo_lock to app_maintainer;
    end if;
    begin
        perform security.ensure_member('pg_read_all_stats', 'app_maintainer', false);
    exception when sqlstate 'MB101' then
        raise notice 'health_check can''t see what others'' sessions do, until a superuser says: '
                     'grant pg_read_all_stats to app_maintainer';
    end;
end
$protect$;

revoke execute on all routines in schema performance from public;

grant usage on schema core, security, audit to app_maintainer;
grant select (bot_id, status), update (updated_at) on core.bots to app_maintainer;
grant select (bot_id) on core.girls_profiles to app_maintainer;
grant select (bot_id, conversation_id, profile_id, started_at, last_message_at)
    on core.conversations to app_maintainer;
grant select (bot_id, conversation_id, message_id, sent_at, direction)  -- no text
    on core.messages to app_maintainer;
grant select, insert, update, delete on core.bot_metrics to app_maintainer;
grant select, delete on core.stale_days to app_maintainer;
grant execute on function
    core.bot_tables(), core.leaves(regclass), core.leaf_name(regclass, text),
    core.ensure_leaves(bigint), core.analyze_tables(),
    security.policy_bot_id(), security.policy_user(),
    audit.ensure_month(timestamptz), audit.seal(integer), audit.drop_expired(),
    audit.unsealed_since()
to app_maintainer;

grant usage on schema performance to app_bot, app_backup, app_owner;
grant select on performance.bot_total, performance.bot_activity_summary,
                performance.daily_metrics_summary to app_bot;
grant select on all tables in schema performance to app_super_admin, app_backup;
grant execute on function
    performance.due_tasks(), performance.run_task(text, boolean),
    performance.refuse_failures(text[]), performance.make_months(integer),
    performance.roll_up_metrics(date), performance.health_check(), performance.metric_rows(),
    performance.slow_query_rows()
to app_super_admin, app_owner;
grant execute on procedure performance.maintain() to app_super_admin, app_owner;
grant execute on function performance.metric_rows(), performance.slow_query_rows() to app_backup;
grant execute on function performance.follow_bots() to app_owner;  -- attaches it to new leaves

do $owner$
begin
    perform audit.note_capture('{"by": "004_performance"}');
    perform security.hand_over('performance', 'app_maintainer');
end
$owner$;
