-- 004_performance: the database keeps its metrics, looks after itself, and says how it is.
-- depends: 003_audit
-- locks:   a new index (SHARE) and new policies (ACCESS EXCLUSIVE) on the tables in core
-- undo:    rollback.sql drops schema performance; what core.bot_metrics holds stays

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';
set local check_function_bodies = off;  -- code may know what a later migration adds
set local row_security = on;  -- or no function could name a table whose rows are filtered

select security.expect_inventory();

-- What everything else names
\ir schema.sql
\ir error_codes.sql

-- What keeps core fast
\ir months.sql
\ir partition_health.sql

-- What the bots' figures are
\ir totals.sql
\ir bot_faults.sql
\ir roll_up.sql
\ir views.sql

-- What looks after it
\ir maintenance.sql
\ir tasks.sql

-- How it is
\ir health.sql
\ir bot_probes.sql
\ir server_probes.sql
\ir upkeep_probes.sql
\ir probe_list.sql

-- Who may call what
\ir rights.sql

select security.accept_inventory('004_performance');
