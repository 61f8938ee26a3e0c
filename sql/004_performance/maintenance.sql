-- Maintenance tasks: which are due, running one, running all.

create table performance.task (
    task           text         not null,
    routine        text         not null,
    every          interval,
    keep           interval,
    preview        text,
    description    text         not null,
    created_at     timestamptz  not null default now(),
    started_at     timestamptz,
    succeeded_at   timestamptz,
    duration       interval,
    result         text,
    error          text,

    constraint task_pk         primary key (task),
    constraint task_every_ck   check (every >= interval '1 minute'),
    constraint task_keep_ck    check (
        (keep is not null) = (routine like '%(interval)') and keep >= interval '1 day'),
    constraint task_preview_ck check ((keep is not null) = (preview like '%(interval)'))
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
comment on column performance.task.preview is
    'Signature of a function, with the same argument, that only says what the task would do: (what,
row_count).';
comment on column performance.task.started_at is 'When it last ran, whatever came of it.';
comment on column performance.task.duration is 'How long that took.';
comment on column performance.task.result is 'What it did when it last succeeded.';
comment on column performance.task.error is 'Why it last failed; null if it did not.';

create function performance.is_due(p_task performance.task)
returns boolean
language sql stable
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
language sql stable
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
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
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
                       core.routine_name(v_task.routine))
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

create function performance.preview_maintain()
returns table (task text, what text, row_count bigint)
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_task  performance.task;
begin
    for v_task in
        select * from performance.task as t
        where performance.is_due(t)
        order by t.started_at nulls first, t.task
    loop
        task := v_task.task;
        if v_task.preview is not null then
            return query execute format(
                case when v_task.keep is null then 'select %L, p.* from %s() as p'
                     else 'select %L, p.* from %s($1) as p' end,
                task, core.routine_name(v_task.preview)) using v_task.keep;
            continue when found;
        end if;
        what := v_task.description;
        row_count := case when v_task.preview is not null then 0::bigint end;
        return next;
    end loop;
end
$func$;

comment on function performance.preview_maintain() is
    'What performance.maintain would do now, of which it does nothing: for each task that is due
(task, what, row_count); 0 if there is nothing to do, null if the task can''t tell beforehand.';

create function performance.require_task(p_task text)
returns void
language plpgsql stable
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
language plpgsql stable
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
