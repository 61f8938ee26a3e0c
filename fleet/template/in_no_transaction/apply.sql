-- 000_name: say in one line what it brings.
-- depends: 000_before
-- locks:   say which, for how long
-- undo:    rollback.sql; say what is lost by it
-- transaction: none

set search_path = pg_catalog, pg_temp;
set lock_timeout = '3s';

select security.expect_inventory('000_name');

-- What it brings
\ir name.sql

select security.accept_inventory('000_name');

reset lock_timeout;
reset search_path;
