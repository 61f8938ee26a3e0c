-- 000_registry: what a runner locks while it migrates, so that there is one at a time.
-- depends: none (the runner makes it on its first run)
-- locks:   a new view; safe on a live database
-- undo:    drop view public._migration_lock

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '1s';

create view public._migration_lock with (security_invoker = true) as
select 'locked while a runner migrates' as purpose;

revoke all on public._migration_lock from public;  -- whatever default privileges say

comment on view public._migration_lock is
    'For locking, not for reading: a runner holds SHARE UPDATE EXCLUSIVE on the view while it works.
Only the owner can, as nobody else has a right on it. A view, because vacuum locks tables.';
