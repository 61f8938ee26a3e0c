-- 003_audit: every change of the bots' tables is on record, and the record can't be altered
-- quietly.
-- depends: 002_security
-- locks:   SHARE ROW EXCLUSIVE on every table in core, for as long as the migration takes
-- undo:    rollback.sql detaches it; refuses while the log holds rows, or moves them to public

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';
set local check_function_bodies = off;  -- code may know what a later migration adds
set local row_security = on;  -- or no function could name a table whose rows are filtered

select security.expect_inventory();

-- What everything else names
\ir schemas.sql
\ir error_codes.sql

-- What is on record
\ir log.sql
\ir events.sql
\ir guards.sql

-- What writes it
\ir captured_columns.sql
\ir row_source.sql
\ir update_source.sql
\ir compile.sql
\ir enable.sql
\ir schema_changes.sql

-- How it is read
\ir reading.sql

-- What proves it
\ir seals.sql
\ir sealing.sql
\ir own_events.sql
\ir verification.sql

-- How an entry ends
\ir claims.sql
\ir retention.sql
\ir erasure.sql

-- Who may call what
\ir protection.sql
\ir rights.sql

-- Where it begins
\ir first_captures.sql

select security.accept_inventory('003_audit');
