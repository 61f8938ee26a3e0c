-- What is read of it: activity, days, slow queries.

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
       m.messages_in::bigint + m.messages_out as messages,
       m.messages_in::bigint + m.messages_out
           - coalesce(w.messages_in::bigint + w.messages_out, 0) as more_than_week_before,
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
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
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
          and s.query ~* e'^\\s*(select|insert|update|delete|merge|with|<insufficient)'
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
