-- 005_json_import: the bots' JSON files become rows; a file is loaded or quarantined, never half.
-- depends: 004_performance
-- locks:   new policies on the tables of core (ACCESS EXCLUSIVE, for a moment)
-- undo:    rollback.sql drops schema json_import; refuses while it holds quarantined bytes

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';
set local check_function_bodies = off;  -- code may know what a later migration adds
set local row_security = on;  -- or no function could name a table whose rows are filtered

select security.expect_inventory();

-- What everything else names
\ir schema.sql
\ir error_codes.sql

-- What is kept of a file
\ir ledger.sql

-- What a file is
\ir paths.sql
\ir keys.sql
\ir times.sql

-- What is wrong with it
\ir bytes.sql
\ir syntax.sql
\ir values.sql
\ir bound_defects.sql
\ir profile_defects.sql
\ir message_defects.sql
\ir defects.sql

-- How it becomes rows
\ir message_rows.sql
\ir profile_rows.sql
\ir load_many.sql
\ir conversation_of.sql
\ir load_messages.sql
\ir load_profiles.sql
\ir found_rows.sql
\ir load_one.sql
\ir load.sql

-- What a run is, and what it brought
\ir runs.sql
\ir retry.sql
\ir reports.sql

-- Whether it is all there
\ir reconciliation.sql
\ir check.sql

-- What maintenance and others call
\ir upkeep.sql

-- Who may call what
\ir rights.sql

select security.accept_inventory('005_json_import');
