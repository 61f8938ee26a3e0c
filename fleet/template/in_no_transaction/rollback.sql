-- 000_name: undo.
-- depends: every later migration is rolled back
-- locks:   say which, for how long
-- undo:    apply.sql
-- transaction: none

set search_path = pg_catalog, pg_temp;
set lock_timeout = '3s';

select security.expect_inventory('000_name');

-- What it brings --------------------------------------------------------------

-- What undoes name.sql goes here, last first; each statement may be run again after a crash.

select security.accept_inventory('000_name, undone');

reset lock_timeout;
reset search_path;
