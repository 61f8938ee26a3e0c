-- 000_registry: what yoyo's tables don't keep: the content applied, by whom, how long it took.
-- depends: yoyo's tables (the runner makes both on its first run)
-- locks:   a new table and a view; safe on a live database
-- undo:    drop view public._migration_state; drop table public._migration_history

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';

create table public._migration_history (
    history_id       bigint       generated always as identity,
    migration_id     text         not null,
    operation        text         not null,
    apply_sha256     text,
    rollback_sha256  text,
    verify_sha256    text,
    marked_at        timestamp,
    duration         interval     not null,
    server_version   text         not null default current_setting('server_version'),
    login            name         not null default session_user,
    correlation_id   text         default nullif(current_setting('app.correlation_id', true), ''),
    happened_at      timestamptz  not null default clock_timestamp(),

    constraint _migration_history_pk           primary key (history_id),
    constraint _migration_history_operation_ck check (
        operation in ('apply', 'adopt', 'edit', 'rollback')),
    constraint _migration_history_sha256_ck    check (
        operation = 'rollback'
        or (marked_at is not null
            and apply_sha256 is not null
            and rollback_sha256 is not null
            and verify_sha256 is not null))
);

comment on table public._migration_history is
    'One row per migration applied, adopted, brought up to its edited files or rolled back by the
runner; rows are only added.';
comment on column public._migration_history.operation is
    'apply: run by the runner; adopt: found in place (yoyo or psql ran it) and verified; edit: code
whose files were edited was replaced, or nothing but comments of the files had changed; rollback.';
comment on column public._migration_history.apply_sha256 is
    'SHA-256 (hex) of the file with LF line ends, as it was at this operation.';
comment on column public._migration_history.marked_at is
    'applied_at_utc of yoyo''s mark: a mark with another time was made by yoyo, not by the runner.';
comment on column public._migration_history.duration is
    'Time from the first statement of the file to the end of verify.sql.';
comment on column public._migration_history.login is 'session_user: a fact, not a claim.';

create view public._migration_state as
select m.migration_id, m.applied_at_utc as applied_at, h.operation, h.login, h.duration,
       h.apply_sha256, h.rollback_sha256, h.verify_sha256
from public._yoyo_migration as m
left join lateral (
    select *
    from public._migration_history as r
    where r.migration_id = m.migration_id and r.marked_at = m.applied_at_utc
    order by r.history_id desc
    limit 1
) as h on true;

comment on view public._migration_state is
    'What is applied now: yoyo''s marks with the content they stand for. apply_sha256 is null where
yoyo applied a migration and no runner has adopted it yet.';

do $maintainer$
begin
    if to_regprocedure('performance.task_locks()') is not null then  -- psql was here before us
        grant select, delete on public.yoyo_lock to app_maintainer;
    end if;
end
$maintainer$;
