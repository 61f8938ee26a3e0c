-- 000_name: undo.
-- depends: every later migration is rolled back
-- locks:   say which, for how long
-- undo:    apply.sql

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';

select security.expect_inventory();

-- What it brings --------------------------------------------------------------

-- What undoes name.sql goes here, last first.

select security.accept_inventory('000_name, undone');
