-- 002_security: no bot sees, changes or counts another bot's rows; who may do what, by role.
-- depends: 001_core_schema
-- locks:   ACCESS EXCLUSIVE on every table in core, for as long as the migration takes
-- undo:    rollback.sql takes policies, rights and roles away; refuses while a bot has a login

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local lock_timeout = '3s';
set local check_function_bodies = off;  -- code may know what a later migration adds
set local row_security = on;  -- or no function could name a table whose rows are filtered

-- What everything else names
\ir schema.sql
\ir error_codes.sql

-- Who there is
\ir installation.sql
\ir provisioner.sql
\ir shared_roles.sql
\ir roles.sql
\ir caller.sql

-- What protects a table
\ir protection.sql
\ir policies.sql

-- Who logs in
\ir event_hooks.sql
\ir marks.sql
\ir login_limits.sql
\ir logins.sql
\ir bot_limits.sql
\ir bots.sql
\ir sessions_in_the_way.sql
\ir drop_bot.sql
\ir admins_and_workers.sql
\ir pause.sql
\ir bot_config.sql
\ir tokens.sql
\ir bot_list.sql
\ir id_range.sql

-- What is there, and what was accepted
\ir inventory_scope.sql
\ir inventory_relations.sql
\ir inventory_objects.sql
\ir inventory_cluster.sql
\ir inventory_rows.sql
\ir inventory_server.sql
\ir inventory.sql
\ir acceptance.sql
\ir bodies.sql
\ir accept_inventory.sql

-- Who may do what
\ir database.sql
\ir claim_logins.sql
\ir core_rights.sql

-- Whether all of it holds
\ir check_exceptions.sql
\ir act_as.sql
\ir check_roles.sql
\ir check_logins.sql
\ir check_installation.sql
\ir check_tables.sql
\ir check_routines.sql
\ir check_reach.sql
\ir check_settings.sql
\ir check_rights.sql

-- Who may call what
\ir rights.sql

select security.accept_inventory('002_security');
