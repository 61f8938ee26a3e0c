-- Who may call what is in this schema, and what its owner may read.

do $protect$
begin
    perform security.ensure_owner('app_maintainer');
    perform security.protect(t), security.admit_admins(t),
            security.admit(t, 'app_super_admin', 'select'),
            security.admit(t, 'app_backup', 'select')
    from unnest(array['performance.bot_total', 'performance.bot_fault']::regclass[]) as t;
    perform security.admit_bots('performance.bot_total');
    perform security.admit(t, 'app_maintainer', c)
    from (values ('performance.bot_total', 'all'), ('performance.bot_fault', 'all'),
                 ('core.bot_metrics', 'all'), ('core.stale_days', 'insert'),
                 ('core.girls_profiles', 'select'), ('core.conversations', 'select'),
                 ('core.messages', 'select'), ('core.bots', 'select'), ('core.bots', 'update'),
                 ('core.stale_days', 'select'), ('core.stale_days', 'delete'),
                 ('core.uncounted', 'select')) as u (t, c);
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

insert into security.rule_exception (rule, object, reason) values
    ('unpinned path', 'performance.maintain()',
     'it commits, which a routine with settings of its own can''t'),
    ('superuser''s grant', 'membership owner of performance in pg_read_all_stats: member',
     'health_check sees with it what others'' sessions do');

revoke execute on all routines in schema performance from public;

grant usage on schema core, core_upkeep, security, audit to app_maintainer;
grant select (bot_id, status), update (updated_at) on core.bots to app_maintainer;
grant select (bot_id) on core.girls_profiles to app_maintainer;
grant select (bot_id, conversation_id, profile_id, started_at)
    on core.conversations to app_maintainer;
grant select (bot_id, conversation_id, message_id, sent_at, direction)  -- no text
    on core.messages to app_maintainer;
grant select, insert, update, delete on core.bot_metrics to app_maintainer;
grant select, insert, delete on core.stale_days to app_maintainer;
grant select on core.bot_table, core.uncounted, security.installation to app_maintainer;
grant execute on function
    core.first_time(), core.end_time(), core.storable_years(),
    core.bot_tables(), core.hash_tables(), core.leaves(regclass), core.leaf_name(regclass, text),
    core.ensure_leaves(bigint), core.analyze_tables(), core.routine_name(text),
    core_upkeep.fold_counts(bigint, integer),
    security.policy_bot_id(), security.policy_user(),
    security.sessions_now(), security.marked_logins(), security.mark(text),
    audit.ensure_month(timestamptz), audit.seal(integer), audit.drop_expired(),
    audit.unsealed_since(), audit.preview_seal(), audit.preview_drop_expired()
to app_maintainer;

grant usage on schema performance to app_bot, app_backup, app_owner;
select security.grant_to_provisioner('usage on schema performance');
grant select on performance.bot_total, performance.bot_activity_summary,
                performance.daily_metrics_summary to app_bot;
grant select on performance.bot_fault to app_admin;
grant select on all tables in schema performance to app_super_admin, app_backup;
grant execute on function
    performance.due_tasks(), performance.preview_maintain(), performance.run_task(text, boolean),
    performance.refuse_failures(text[]), performance.make_months(integer),
    performance.roll_up_metrics(date), performance.health_check(), performance.metric_rows(),
    performance.slow_query_rows()
to app_super_admin, app_owner;
grant execute on procedure performance.maintain() to app_super_admin, app_owner;
grant execute on function performance.metric_rows(), performance.slow_query_rows() to app_backup;
-- whose updates of the tasks are on record
grant execute on function security.in_migration() to app_maintainer;
grant execute on function performance.follow_bots() to app_owner;  -- attaches it to new leaves

do $owner$
begin
    perform security.inventory_rows('performance.monthly_table', '{relation}');
    perform security.inventory_rows(
        'performance.task', '{task}',
        '{every,keep,created_at,started_at,succeeded_at,duration,result,error}');
    perform security.inventory_rows('performance.probe', '{probe}', '{warning,critical}');
    perform audit.mark_column('performance.task', c, 'derived')
    from unnest(array['started_at', 'succeeded_at', 'duration', 'result', 'error']) as c;
    perform audit.enable(t) from unnest(array[
        'performance.monthly_table', 'performance.task', 'performance.probe']::regclass[]) as t;
    perform audit.note_capture('{"by": "004_performance"}');
    perform security.hand_over('performance', 'app_maintainer');
end
$owner$;
