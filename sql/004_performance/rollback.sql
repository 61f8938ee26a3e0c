-- 004_performance: undo. core.bot_metrics stays as it is; nobody keeps it, or anything else, up.
-- depends: every later migration is rolled back
-- locks:   ACCESS EXCLUSIVE on the tables in core
-- undo:    apply.sql; settings of tasks and probes are the first ones again

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';

select security.expect_inventory();

-- Who may call what -----------------------------------------------------------

do $owner$
declare
    v_policy  record;
begin
    perform security.hand_over('performance', current_user);
    for v_policy in
        select polname, polrelid::regclass as relation
        from pg_policy
        where to_regrole('app_maintainer') = any (polroles)
    loop
        execute format('drop policy %I on %s', v_policy.polname, v_policy.relation);
    end loop;
    if to_regclass('public.yoyo_lock') is not null then
        revoke all on public.yoyo_lock from app_maintainer;
    end if;
end
$owner$;

revoke all on all tables in schema core from app_maintainer;
revoke all on security.installation from app_maintainer;
revoke all on all functions in schema core, core_upkeep, security, audit from app_maintainer;
revoke all on schema core, core_upkeep, security, audit from app_maintainer;

select audit.forget(t) from unnest(array[
    'performance.monthly_table', 'performance.task', 'performance.probe']::regclass[]) as t;
delete from security.inventoried_table
where relation in ('performance.monthly_table'::regclass, 'performance.task'::regclass,
                   'performance.probe'::regclass);
delete from security.rule_exception where object like '%performance%';

select audit.note_capture('{"by": "004_performance, undone"}');

-- How it is -------------------------------------------------------------------

drop function performance.probe_task_failed();
drop function performance.probe_task_delay();
drop function performance.probe_setting_shortfall();
drop function performance.probe_unsealed();
drop function performance.probe_months_ahead();
drop function performance.probe_invalid_indexes();
drop function performance.probe_unused_indexes();
drop function performance.our_indexes();
drop function performance.probe_wraparound();
drop function performance.probe_lock_wait();
drop function performance.probe_unseen_sessions();
drop function performance.probe_oldest_transaction();
drop function performance.probe_login_connections();
drop function performance.probe_connections();
drop function performance.probe_database_size();
drop function performance.database_octets();
drop function performance.probe_dead_rows();
drop function performance.probe_partition_size();
drop function performance.probe_partition_rows();
drop function performance.probe_uncounted();
drop function performance.probe_bot_faults();
drop function performance.probe_bot_reply();
drop function performance.probe_bot_last_message();
drop function performance.probe_bot_messages();
drop function performance.probe_bots();
drop view performance.metrics;
drop function performance.metric_rows();
drop function performance.health_check();
drop function performance.readings();
drop function performance.in_words(double precision,text);
drop function performance.severity(double precision,double precision,double precision);
drop table performance.probe;
-- What looks after it ---------------------------------------------------------

drop function performance.preview_locks();
drop function performance.preview_statistics();
drop function performance.preview_roll_up();
drop function performance.preview_counts();
drop function performance.preview_months();
drop function performance.task_locks();
drop function performance.task_statistics();
drop function performance.task_retention();
drop function performance.task_seal();
drop function performance.task_roll_up();
drop function performance.task_counts();
drop function performance.task_months();
drop function performance.refuse_failures(text[]);
drop procedure performance.maintain();
drop function performance.require_task(text);
drop function performance.preview_maintain();
drop function performance.run_task(text,boolean);
drop function performance.due_tasks();
drop function performance.is_due(performance.task);
drop table performance.task;
-- What the bots' figures are --------------------------------------------------

drop view performance.slow_queries;
drop function performance.slow_query_rows();
drop view performance.daily_metrics_summary;
drop view performance.bot_activity_summary;
drop function performance.roll_up_metrics(date);
drop function performance.roll_up_each(bigint[],datemultirange[]);
drop function performance.roll_up_totals(bigint[]);
drop function performance.roll_up_bots(bigint[],datemultirange[]);
drop function performance.day_metrics(bigint,date,date);
drop function performance.note_odd_starts(bigint[]);
drop function performance.known_days();
drop function performance.note_fault(bigint,text,text,text);
drop function performance.is_servers_trouble(text);
drop table performance.last_roll_up;
delete from core.bot_table
where relation in ('performance.bot_fault'::regclass, 'performance.bot_total'::regclass);
drop table performance.bot_fault;
drop table performance.bot_total;
-- What keeps core fast --------------------------------------------------------

drop trigger follow_bots on core.bots;
drop view performance.partition_health;
drop function performance.follow_bots();
drop function performance.make_months(integer);
drop table performance.monthly_table;

-- What everything else names --------------------------------------------------

delete from core.error_code where code between 'MB301' and 'MB302';

drop schema performance;

select security.let_go('app_maintainer');

select security.accept_inventory('004_performance, undone');
