-- 001_core_schema: the tables that every bot's data lives in, and the code that partitions them.
-- depends: none
-- locks:   new objects only; safe on a live database
-- undo:    rollback.sql drops schemas core, core_partitions, core_upkeep; refuses while they hold
--          rows

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';
set local check_function_bodies = off;  -- code may know what a later migration adds

-- What everything else names
\ir schemas.sql
\ir error_codes.sql
\ir caller.sql
\ir routine_names.sql
\ir time_range.sql
\ir bounds.sql
\ir domains.sql

-- What a bot keeps
\ir bot_tables.sql
\ir message_kinds.sql
\ir tables.sql
\ir indexes.sql

-- How the tables are partitioned
\ir leaf_names.sql
\ir leaves.sql
\ir months.sql
\ir first_leaves.sql

-- What the triggers keep true
\ir updated_at.sql
\ir bot_names.sql
\ir message_counts.sql
\ir message_state.sql
\ir stale_days.sql
\ir triggers.sql

-- What a rollback throws away
\ir rollback_guard.sql

-- What a bot reads and calls
\ir chats.sql
\ir contacts.sql
\ir record_message.sql
\ir message_changes.sql
\ir read_messages.sql

-- Who may call what
\ir rights.sql
