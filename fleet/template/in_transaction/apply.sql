-- 000_name: say in one line what it brings.
-- depends: 000_before
-- locks:   say which, for how long
-- undo:    rollback.sql; say what is lost by it

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';
set local check_function_bodies = off;  -- code may know what a later migration adds

select security.expect_inventory();

-- What it brings
\ir name.sql

select security.accept_inventory('000_name');
