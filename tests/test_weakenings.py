"""Everything that would let a bot out of its rows is noticed: by the check meant for it.

Each weakening is what a hurried hand might do to a database in use. It is done in a transaction
that is rolled back, roles are the cluster's; security.check() or a verify.sql must name it.
`make test` tries one for each check, `make torture` all.
"""

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from conftest import Database
from core_rows import MIGRATIONS, make_bot, migrator
from sample import some_of_each

from fleet import verify

pytest_plugins = "core_rows"

# nothing else: what was accepted
ACCEPTED = "as accepted"
DIFFERENCES = """(select format('%%s %%s is as accepted', kind, object) as check_name, false as ok,
    'difference' as severity, '' as detail from security.differences())"""
# security.check(): roles
BYPASS = "no role but a superuser bypasses row level security"
MAKERS = "nobody who can connect makes roles, but the provisioner and owners of databases"
OTHER_MAKERS = "nobody else in the cluster makes roles"
NO_POWER = "the roles of ours can't log in and have no power beyond their grants"
PLAIN = "every login made here is plain"
PARAMETERS = "no level and no login made here may set what is a superuser's to set"
ONLY_BOT = "a bot is a member of app_bot and of nothing else"
ONLY_LEVEL = "an admin is a member of a level and of bots made here, a worker of bots"
BECOMES_BOT = "only admins and workers made here may become a bot"
BECOMES_ADMIN = "nobody may become an admin or a worker"
IDLE_WORKER = "a worker may do nothing before SET ROLE"
HANDS_OUT = "no level and no login made here hands out a role"
GIVEN = "a function of ours gave every membership that a login made here has"
ACTS_FOR_OWNER = "nobody who can connect acts for an owner of ours, but the database's owner"
SISTER_OWNER = "no owner of another database acts for an owner of ours"
UNMADE = "every login with a level, or that backs up, was made here"
DEFINER_ELSEWHERE = "no function elsewhere runs as a superuser, or as a role of ours, for a level"
LEAKPROOF = "no function but the server's is declared leakproof"
# logins and the database
MARKED = "every bot's login bears the mark of this database and this bot"
LEFT_OVER = "no login is left over from a bot that is gone"
HAS_LOGIN = "every bot has a login"
HELD = "no other database has the logins of this installation"
HAS_ID = "the installation has its id"
BY_HAND = "every admin and worker was made by a function of ours"
GONE = "no login is left over from a database that is gone"
PUBLIC = "nobody gets anything on the database by being public"
CONNECT = "CONNECT is each login's own, and only the provisioner hands it on"
MAKES = "no bot, admin or worker may make a schema, or anything in one, or a temporary table"
# tables and policies
REGISTERED = "a table with bot_id is in core.bot_table, and its primary key begins with bot_id"
TABLE_THERE = "every table in core.bot_table is there"
BOUNDED = "every column that a bot may write has a bound"
FORCED = "a table with bot_id has row level security forced on its owner, too"
LEAF_RLS = "a leaf has row level security, not forced"
GUARDS = "TRUNCATE and a new bot_id are refused, in replica mode too"
RULES = "no rule diverts what is written"
LEAF_RIGHT = "nobody has a right on a leaf, but app_backup to read"
POLICY = "every policy says what its role may have it say"
PAIR_USED = "the immutable pair is used in policies only"
PAIR = "the immutable pair is what it was"
# rights
OURS = "rights on tables are those of the roles, and of nobody else"
READS = "no level may delete, truncate, refer to or watch a table, or use a sequence"
COLUMNS = "no bot writes an id, a counter, or the bot of a row that is there"
TOKENS = "nobody has a right on the tokens"
LEAF_ROOM = "nobody enters core_partitions, but app_backup"
ROOMS = "a schema of ours lets roles of ours in, and nobody make things there"
CATALOGS = "no level and no login made here has a right on what the server keeps to itself"
# code and owners
EXECUTE = "no function of ours can be executed by everybody"
FUNCTIONS = "rights on functions are those of the roles, and of nobody else"
PATHS = "every function of ours pins its search path"
DEFINER_RLS = "every definer runs with row level security on"
DEFINER_OWNER = "no definer is a superuser or a login"
REPLICA = "triggers rest where that was registered only"
SCHEMA_OWNER = "each schema has its owner"
OWNER = "everything in a schema is its owner's"
VIEWS = "views see with the eyes of whoever reads them"
LATER = "what is made later is nobody else's"
# what bots reach, and what our tables call
REACHED = "every table that a bot has a right on is protected"
SHARED = "a bot only reads what bots share"
CALLED = "what our tables call is ours"
HOOKED = "what is called for us when something happens is ours"
RESTING = "no setting lets triggers rest"
TEMPORARY = "every login made here has a limit of temporary files"
BEGINS = "every login made here begins as itself"
ENDED = "every migration that began came to its end"
WHOSE = "a bot_id that is left out is the caller's"
# 002's verify.sql
LETS_IN = "every table of core lets in who belongs there"
BY_COLUMN = "the bots have these rights, by column"
BOT_MAY = "a bot may read its tables and call what it needs"
CALLS = "each level may call its functions"
SEES = "each level reads its tables"
LEVELS = "each level is a member of the one below"
ONE_BELOW = "a level is a member of the one below, who backs up of nothing"
HOOK = "a new leaf is closed"
CODES = "every code that security raises is in core.error_code"
# 003's verify.sql
CAPTURED = "every table of the bots is recorded, and so are their tokens"
UP_TO_DATE = "what is recorded are the columns that are there"
FOUR = "every recorded table has its four triggers, in replica mode too"
NO_LEAF = "a write that names a leaf is refused"
KEPT = "the log and its seals refuse every change"
# or a change that can't be recorded would be refused
AT_REST = "alter event trigger record_schema_change disable;" \
          " alter event trigger record_schema_drop disable"
LOG_LETS_IN = "the log lets in who belongs there"
LOG_OWNER = "app_auditor owns the log's two schemas"
LOG_RIGHTS = "nobody has a right on the log but to read it"
LOG_CALLS = "bots call what reads the log, nobody but a super_admin what ends the recording"
MONTHS = "this month and the next are there"
CONFIGURED = "every table of configuration is recorded"
HOOKS = "new leaves are guarded, and what is done with roles is told"
REFRESHED = "a new column is recorded as soon as it is accepted"
UNTOLD = "no token reaches the log"
ONE_EACH = "one salt, one setting, a first seal"
# 004's verify.sql
FOLLOWED = "new bots find their partitions"
MADE_AHEAD = "every table partitioned by time has its months made"
MAINTAINER = "app_maintainer is let in where roll-ups read and write"
NO_TEXT = "app_maintainer reads no text and no profile"
MAINTENANCE_OWNER = "app_maintainer owns schema performance"
OWN_TOTALS = "the totals of a bot are its own"
PERFORMANCE_READS = "each level reads what it may"
UNWRITTEN = "nobody writes here but app_maintainer"
PERFORMANCE_CALLS = "each level may call its functions here"
ROUTINES = "every task and probe has its function, and may call it"
THERE = "the tasks and probes of 004 are there"
ONE_ROLL_UP = "there is one last roll-up"
COMMITS = "only maintenance by the caller's own rights runs without a pinned path"
MORE_CODES = "every code that performance raises is in core.error_code"
# 005's verify.sql
IMPORTER = "app_importer is let in where the import writes"
IMPORT_OWNER = "app_importer owns schema json_import"
IMPORT_TABLES = "nobody has a right on the tables of json_import, but app_backup to read"
IMPORT_KEEPS = "a bot that is dropped takes its files along"
IMPORT_CALLS = "a bot calls nothing of json_import, an admin what shows rejects"

LEAF = "core_partitions.messages_p3"
NEW_LEAF = "drop table core_partitions.bot_metrics_p3; select core.make_leaf('core.bot_metrics', 3)"
EVERYTHING = "using (true)"
HALF = "bot_id = security.policy_bot_id()"
OTHER_HALF = "current_user = security.policy_user()"
TO_MALLORY = "create role mallory login; grant connect on database {db} to mallory; "
FUNCTION = "create or replace function security.{} returns {} language plpgsql {} " \
           "set search_path = pg_catalog, pg_temp as 'begin return {}; end'"
BOT_ID = "substring(current_user::text from ''^bot_([1-9][0-9]{{0,17}})$'')::bigint"
RECORD = "core.record_message"
LOOK = "security definer set search_path = pg_catalog, pg_temp set row_security = on"
POLICY_TABLES = ("core.bots", "core.girls_profiles", "core.conversations", "core.messages",
                 "core.bot_metrics")

ROW_SECURITY = [
    *((f"alter table {table} no force row level security", FORCED, table)
      for table in (*POLICY_TABLES, "core.bot_names", "security.bot_token", "json_import.file",
                    "json_import.profile_source")),
    ("alter table core.messages disable row level security", FORCED, "core.messages"),
    ("alter table security.bot_token disable row level security", FORCED, "security.bot_token"),
    ("alter table json_import.file disable row level security", FORCED, "json_import.file"),
    ("create table core.notes (bot_id bigint, body text)", FORCED, "core.notes"),
    ("create table core.notes (bot_id bigint primary key, body text)", REGISTERED, "core.notes"),
    ("delete from core.bot_table where relation = 'audit.security_audit_log'::regclass",
     REGISTERED, "audit.security_audit_log"),
    ("alter table core.stale_days drop constraint stale_days_pk", REGISTERED, "core.stale_days"),
    ("insert into core.bot_table (relation) values ('9'::regclass)", TABLE_THERE, "9"),
    (f"alter table {LEAF} force row level security", LEAF_RLS, LEAF),
    (f"alter table {LEAF} disable row level security", LEAF_RLS, LEAF),
    ("delete from core.leaf_hook", HOOK, "no hook"),
    ("delete from core.bot_table where relation = 'json_import.reject'::regclass",
     IMPORT_KEEPS, "json_import.reject"),
    (f"delete from core.leaf_hook; {NEW_LEAF}", LEAF_RLS, "core_partitions.bot_metrics_p3"),
    (f"delete from core.leaf_hook; {NEW_LEAF}", GUARDS,
     "refuse_truncate on core_partitions.bot_metrics_p3"),
]

POLICIES = [
    (f"alter policy own_rows on core.messages using ({HALF})", POLICY, "own_rows on core.messages"),
    (f"alter policy own_rows on core.bots using ({OTHER_HALF})", POLICY, "own_rows on core.bots"),
    (f"alter policy own_rows on core.messages using ({HALF} or {OTHER_HALF})", POLICY,
     "own_rows on core.messages"),
    ("alter policy own_rows on core.messages using (bot_id = core.current_bot_id())", POLICY,
     "own_rows on core.messages to public"),
    ("alter policy own_rows on core.messages with check (true)", POLICY,
     "own_rows on core.messages"),
    ("alter policy own_rows on core.messages to app_bot, app_admin", POLICY, "to app_admin"),
    ("alter policy own_rows on core.messages to app_base", POLICY, "to app_base"),
    ("alter policy app_admin_select on core.bots using (true)", POLICY, "app_admin_select"),
    ("alter policy app_upkeep_select on core.messages to app_upkeep, app_bot", POLICY,
     "app_upkeep_select on core.messages to app_bot"),
    *((f"create policy open on {table} to {role} {EVERYTHING}", POLICY,
       f"open on {table} to {role}")
      for table, role in (
          ("core.messages", "app_bot"), ("core.messages", "public"), ("core.messages", "{bot}"),
          ("core.girls_profiles", "app_admin"), ("core.conversations", "app_base"),
          ("core.messages", "app_super_admin"), ("core.messages", "app_backup"),
          ("core.messages", "app_owner"), ("core.messages", "{ann}"),
          ("core.bot_names", "app_bot"), ("security.bot_token", "app_super_admin"),
          (LEAF, "app_bot"), (LEAF, "app_super_admin"), ("json_import.file", "app_bot"),
          ("json_import.profile_source", "public"))),
    ("create policy narrow on core.messages as restrictive to app_bot using (true)", POLICY,
     "narrow on core.messages"),
    ("drop policy own_rows on core.messages; create policy own_rows on core.messages as restrictive"
     f" to app_bot using ({HALF} and {OTHER_HALF})", POLICY, "own_rows on core.messages"),
    ("create policy write on core.messages for insert to app_bot with check (true)", POLICY,
     "write on core.messages"),
    ("drop policy app_super_admin_select on core.messages; create policy app_super_admin_select"
     " on core.messages to app_super_admin using (true)", POLICY, "app_super_admin_select"),
    ("drop policy own_rows on core.messages", LETS_IN, "core.messages"),
    ("drop policy app_backup_select on core.bots", LETS_IN, "core.bots"),
    ("create policy app_upkeep_all on core.girls_profiles to app_upkeep using (true)", ACCEPTED,
     "policy app_upkeep_all on core.girls_profiles"),
    ("create policy app_importer_all on core.bots to app_importer using (true)", ACCEPTED,
     "policy app_importer_all on core.bots"),
    ("drop policy app_importer_all on json_import.file", IMPORTER, "json_import.file"),
]

PAIR_USES = [
    ("alter table core.messages alter bot_id set default security.policy_bot_id()", PAIR_USED,
     "default value for column bot_id of table core.messages"),
    ("grant execute on function security.policy_bot_id() to app_owner;"
     "create index mine on core.messages (bot_id, (security.policy_bot_id()))", PAIR_USED, "mine"),
    ("create view public.mine as select security.policy_user()", PAIR_USED, "view public.mine"),
    ("alter table core.messages add constraint mine check (bot_id = security.policy_bot_id())",
     PAIR_USED, "constraint mine on table core.messages"),
    ("create function public.mine() returns bigint language plpgsql as"
     " 'begin return security.policy_bot_id(); end'", PAIR_USED, "public.mine()"),
    ("create function public.mine(a bigint default security.policy_bot_id()) returns bigint"
     " language sql as 'select a'", PAIR_USED, "function public.mine(bigint)"),
    ("create trigger mine before insert on core.bot_names for each row"
     " when (new.bot_id = security.policy_bot_id()) execute function core.touch_updated_at()",
     PAIR_USED, "trigger mine on table core.bot_names"),
    *((f"alter function security.{name} {change}", PAIR, name)
      for name, change in (
          ("policy_bot_id()", "stable"), ("policy_user()", "stable"),
          ("policy_user()", "volatile"), ("policy_bot_id()", "parallel unsafe"),
          ("policy_user()", "security definer set row_security = on"),
          ("policy_user()", "strict"), ("policy_bot_id()", "set timezone = 'UTC'"))),
    (FUNCTION.format("policy_bot_id()", "bigint", "immutable parallel safe", "1"), PAIR,
     "policy_bot_id"),
    (FUNCTION.format("policy_bot_id()", "bigint", "immutable parallel safe",
                     BOT_ID.replace("current", "session")), PAIR, "policy_bot_id"),
    (FUNCTION.format("policy_user()", "name", "immutable parallel safe", "session_user"), PAIR,
     "policy_user"),
]

GUARD = "create or replace trigger refuse_{} on core.messages for each statement {} execute " \
        "function {}; alter table core.messages enable always trigger refuse_{}"
GUARDING = [
    *((f"{change} refuse_{name} on {table}", GUARDS, f"refuse_{name} on {table}")
      for change, name, table in (
          ("drop trigger", "truncate", "core.messages"), ("drop trigger", "truncate", LEAF),
          ("drop trigger", "new_bot_id", "core.bots"),
          ("drop trigger", "new_bot_id", "json_import.file"),
          ("drop trigger", "truncate", "security.bot_token"))),
    *((f"alter table {table} {change} trigger refuse_{name}", GUARDS, f"refuse_{name} on {table}")
      for change, name, table in (
          ("disable", "truncate", "core.messages"), ("disable", "new_bot_id", "core.messages"),
          ("enable", "truncate", LEAF), ("enable replica", "new_bot_id", "core.messages"))),
    (GUARD.format("truncate before truncate", "", "core.touch_updated_at()", "truncate"), GUARDS,
     "refuse_truncate on core.messages"),
    (GUARD.format("truncate after truncate", "", "security.refuse_write()", "truncate"), GUARDS,
     "refuse_truncate on core.messages"),
    (GUARD.format("truncate before truncate", "when (false)", "security.refuse_write()",
                  "truncate"), GUARDS, "refuse_truncate on core.messages"),
    (GUARD.format("new_bot_id before update of body", "", "security.refuse_write()", "new_bot_id"),
     GUARDS, "refuse_new_bot_id on core.messages"),
    ("create rule copy as on insert to core.messages do also insert into core.bot_names"
     " values (new.message_id, new.body)", RULES, "copy on core.messages"),
    ("create rule lose as on delete to core.girls_profiles do instead nothing", RULES,
     "lose on core.girls_profiles"),
]

GRANTS = [
    *((f"grant {right} on {LEAF} to {role}", LEAF_RIGHT, f"{shown} on {LEAF} to {role}")
      for right, role, shown in (
          ("select", "app_bot", "SELECT"), ("select (body)", "app_super_admin", "SELECT"),
          ("insert", "{bot}", "INSERT"), ("delete", "app_provisioner", "DELETE"),
          ("update", "app_backup", "UPDATE"))),
    ("grant usage on schema core_partitions to app_bot", LEAF_ROOM, "USAGE to app_bot"),
    ("grant create on schema core_partitions to app_backup", LEAF_ROOM, "CREATE to app_backup"),
    *((f"grant {right} to {role}", ROOMS, f"to {role}")
      for right, role in (
          ("create on schema core", "app_bot"), ("usage on schema core", "{bot}"),
          ("create on schema json_import", "app_admin"),
          ("usage on schema security", "{worker}"))),
    ("grant usage on schema core to app_bot with grant option", ROOMS, "USAGE on core to app_bot"),
    *((f"grant {right} to {role}", OURS, f"to {role}")
      for right, role in (
          ("select on core.messages", "{bot}"), ("select (body) on core.messages", "{ann}"),
          ("insert on core.error_code", "{worker}"), ("select on json_import.reject", "{ann}"),
          ("usage on sequence core.bots_bot_id_seq", "{bot}"))),
    ("grant select on core.messages to public", OURS, "SELECT on core.messages"),
    ("grant select on core.messages to app_bot with grant option", OURS, "to app_bot"),
    ("create role app_web; grant select on core.messages to app_web", OURS, "to app_web"),
    *((f"grant {right} on {table} to {role}", READS, f"on {table} to {role}")
      for right, table, role in (
          ("delete", "core.messages", "app_bot"), ("insert", "core.messages", "app_bot"),
          ("update", "core.messages", "app_bot"), ("truncate", "core.conversations", "app_admin"),
          ("references", "core.bots", "app_base"), ("trigger", "core.messages", "app_super_admin"),
          ("delete", "core.messages", "app_backup"), ("insert (name)", "core.bots", "app_admin"),
          ("update (body)", "core.messages", "app_super_admin"),
          ("references (bot_id)", "core.bots", "app_bot"),
          ("delete", "json_import.kept_bytes", "app_super_admin"))),
    *((f"grant {right} on sequence core.messages_message_id_seq to app_bot", READS,
       "messages_message_id_seq to app_bot") for right in ("usage", "select", "update")),
    *((f"grant {right} ({column}) on core.{table} to app_bot", COLUMNS,
       f"{right.upper()} of core.{table}.{column}")
      for right, table, column in (
          ("update", "messages", "bot_id"), ("update", "messages", "message_id"),
          ("update", "messages", "conversation_id"), ("update", "girls_profiles", "message_count"),
          ("update", "conversations", "started_at"), ("update", "girls_profiles", "bot_id"),
          ("update", "conversation_totals", "message_count"),
          ("update", "conversation_totals", "last_message_at"),
          ("insert", "conversation_totals", "message_count"),
          ("insert", "messages", "message_id"), ("insert", "girls_profiles", "message_count"),
          ("insert", "messages", "source_file_id"))),
    ("grant update (direction) on core.messages to app_bot", ACCEPTED,
     "column right direction to level bot on core.messages"),
    ("grant insert (name) on core.bots to app_base", READS, "INSERT on core.bots to app_base"),
    ("revoke update (body) on core.messages from app_bot", BY_COLUMN, "UPDATE core.messages"),
    ("revoke select on core.messages from app_bot", BOT_MAY, "core.messages"),
    *((f"grant select on {table} to app_{role}", ACCEPTED, f"right to level {role} on {table}")
      for table, role in (
          ("core.bot_names", "bot"), ("core.leaf_hook", "base"),
          ("security.public_right", "admin"))),
    *((f"grant {right} on security.bot_token to {role}", TOKENS, f"to {role}")
      for right, role in (
          ("select", "app_super_admin"), ("select (token)", "app_admin"), ("select", "{bot}"),
          ("update", "app_backup"), ("select (bot_id)", "app_owner"))),
    ("grant select on pg_authid to app_admin", CATALOGS, "SELECT on table pg_authid to app_admin"),
    ("grant select (rolpassword) on pg_authid to {ann}", CATALOGS,
     "column rolpassword of table pg_authid"),
    ("grant select on pg_statistic to app_bot", CATALOGS, "table pg_statistic to app_bot"),
    ("grant execute on function pg_read_file(text) to app_super_admin", CATALOGS, "pg_read_file"),
    *((f"grant select on json_import.{table} to {role}", IMPORT_TABLES, f"{table} to {role}")
      for table, role in (("kept_bytes", "app_admin"), ("reject", "app_bot"),
                          ("file", "app_super_admin"), ("rejects", "app_base"))),
]

CODE = [
    (f"grant execute on function {RECORD} to public", EXECUTE, "core.record_message"),
    ("grant execute on function security.check_roles() to public", EXECUTE, "check_roles()"),
    ("create function core.peek() returns int language sql set search_path = pg_catalog, pg_temp"
     " as 'select 1'", EXECUTE, "core.peek()"),
    ("grant execute on function security.create_bot(text, text) to {ann}", FUNCTIONS,
     "security.create_bot(text,text) to {ann}"),
    ("grant execute on function core.current_bot_id() to app_bot with grant option", FUNCTIONS,
     "to app_bot"),
    *((f"grant execute on function security.{function} to app_{role}", ACCEPTED,
       f"right to level {role} on security.{function.replace(', ', ',')}")
      for function, role in (
          ("create_bot(text, text)", "bot"), ("create_bot(text, text)", "admin"),
          ("drop_logins()", "super_admin"), ("set_password(text, text)", "super_admin"))),
    ("grant execute on function core.ensure_leaves(bigint) to app_bot", ACCEPTED,
     "right to level bot on core.ensure_leaves(bigint)"),
    ("revoke execute on function security.list_bots() from app_admin", CALLS, "list_bots"),
    ("revoke select on core.bot_names from app_backup", SEES, "bot_names"),
    (f"revoke execute on function {RECORD} from app_bot", BOT_MAY, "core.record_message"),
    ("grant execute on function json_import.list_kept(bigint) to app_admin", ACCEPTED,
     "right to level admin on json_import.list_kept(bigint)"),
    ("grant execute on function json_import.start_run(text, jsonb) to app_base", IMPORT_CALLS,
     "json_import.start_run(text,jsonb)"),
    *((f"alter function {function} {change}", PATHS, function)
      for function, change in (
          ("security.create_bot(text,text)", "reset search_path"),
          ("core_upkeep.count_new_messages()", "set search_path = core, pg_temp"),
          ("security.policy_user()", "set search_path = public"),
          ("security.get_bot_token()", "set search_path = pg_temp, pg_catalog"))),
    *((f"alter function {function} {change}", DEFINER_RLS, function)
      for function, change in (
          ("security.get_bot_token()", "reset row_security"),
          ("core_upkeep.misnamed_bots()", "set row_security = off"),
          ("security.set_password(text,text)", "security definer"))),
    *((f"alter function {function} owner to {owner}", DEFINER_OWNER, function)
      for function, owner in (("security.get_bot_token()", "current_user"),
                              ("security.list_bots()", "{chief}"))),
    *((f"alter {thing} owner to {owner}", OWNER, shown)
      for thing, owner, shown in (
          ("table core.messages", "current_user", "core.messages"),
          (f"table {LEAF}", "app_provisioner", LEAF),
          ("table security.bot_token", "app_owner", "security.bot_token"),
          ("table core.bot_names", "{bot}", "core.bot_names"),
          ("function core.ensure_leaves(bigint)", "app_provisioner", "core.ensure_leaves(bigint)"),
          ("function json_import.check()", "app_provisioner", 'json_import."check"()'),
          ("view json_import.rejects", "app_owner", "json_import.rejects"))),
    *((f"alter schema {schema} owner to {owner}", SCHEMA_OWNER, schema)
      for schema, owner in (("core", "current_user"), ("security", "app_owner"),
                            ("core_upkeep", "{chief}"), ("core_partitions", "app_upkeep"))),
    ("alter schema json_import owner to current_user; grant usage on schema json_import to"
     " app_importer", IMPORT_OWNER, ""),
    ("alter function core.ensure_leaves(bigint) set session_replication_role = replica", REPLICA,
     "core.ensure_leaves(bigint)"),
    ("create view core.recent as select * from core.messages", VIEWS, "core.recent"),
    ("create view core.recent with (security_invoker = false) as select * from core.bots", VIEWS,
     "core.recent"),
    ("create materialized view core.recent as select * from core.messages", VIEWS, "core.recent"),
    ("create view public.recent as select * from core.messages;"
     "grant select on public.recent to app_bot", VIEWS, "public.recent"),
    (f"create function public.peek() returns bigint language sql {LOOK} as"
     " 'select count(*) from core.messages'", DEFINER_ELSEWHERE, "public.peek()"),
    ("create function public.leak(text) returns boolean language plpgsql leakproof as"
     " 'begin raise notice ''%'', $1; return true; end'", LEAKPROOF, "public.leak(text)"),
    ("alter default privileges for role app_owner grant execute on functions to public", LATER,
     "app_owner"),
    ("alter default privileges for role app_owner in schema core grant select on tables to app_bot",
     LATER, "app_owner"),
    ("alter default privileges for role app_importer grant execute on functions to app_bot", LATER,
     "app_importer"),
    ("delete from core.error_code where code = 'MB106'", CODES, "MB106"),
]

ROLES = [
    *((f"alter role {role} bypassrls", BYPASS, role) for role in ("app_owner", "{bot}", "{ann}")),
    (f"{TO_MALLORY} alter role mallory createrole", MAKERS, "mallory"),
    ("alter role {chief} createrole", MAKERS, "{chief}"),
    ("create role mallory createrole", OTHER_MAKERS, "mallory"),
    *((f"alter role {role} {power}", NO_POWER, role)
      for role, power in (
          ("app_bot", "login"), ("app_super_admin", "login"), ("app_owner", "superuser"),
          ("app_upkeep", "createrole"), ("app_backup", "bypassrls"), ("app_importer", "createdb"),
          ("{provisioner}", "replication"), ("{provisioner}", "nocreaterole"),
          ("app_provisioner", "createrole"))),
    *((f"alter role {role} {power}", PLAIN, role)
      for role, power in (
          ("{bot}", "superuser"), ("{ann}", "superuser"), ("{worker}", "createrole"),
          ("{chief}", "createdb"), ("{bot}", "replication"))),
    ("alter database {db} owner to {bot}", PLAIN, "{bot}"),
    *((f"grant set on parameter session_replication_role to {role}", PARAMETERS,
       "session_replication_role") for role in ("app_bot", "{bot}", "app_super_admin", "public")),
    *((f"grant {role} to {{bot}}", ONLY_BOT, f"{{bot}} of {role}")
      for role in ("app_admin", "app_super_admin", "{other}", "app_owner", "pg_read_all_data",
                   "{chief}")),
    ("revoke app_bot from {bot} granted by {provisioner}", ONLY_BOT, "{bot} of nothing"),
    *((f"grant {role} to {member}", ONLY_LEVEL, f"{member} of {role}")
      for role, member in (("app_owner", "{ann}"), ("pg_write_all_data", "{chief}"),
                           ("app_bot", "{worker}"), ("app_admin", "{worker}"),
                           ("pg_signal_backend", "{worker}"), ("app_upkeep", "{ann}"))),
    ("create role mallory; grant {bot} to mallory", BECOMES_BOT, "mallory of {bot}"),
    ("grant {bot} to app_admin", BECOMES_BOT, "app_admin of {bot}"),
    ("grant {bot} to app_owner", BECOMES_BOT, "app_owner of {bot}"),
    ("create role mallory; grant {ann} to mallory", BECOMES_ADMIN, "mallory of {ann}"),
    ("grant {worker} to {ann}", BECOMES_ADMIN, "{ann} of {worker}"),
    ("alter role {worker} inherit", IDLE_WORKER, "{worker}"),
    ("grant {bot} to {ann} with admin option", HANDS_OUT, "{ann} of {bot}"),
    ("grant app_bot to app_admin with admin option", HANDS_OUT, "app_admin of app_bot"),
    ("grant app_bot to {bot} with admin option", HANDS_OUT, "{bot} of app_bot"),
    (f"{TO_MALLORY} grant app_owner to mallory", ACTS_FOR_OWNER, "mallory of app_owner"),
    (f"{TO_MALLORY} alter database template1 owner to mallory; grant app_owner to mallory",
     SISTER_OWNER, "mallory of app_owner"),
    (f"{TO_MALLORY} grant app_provisioner to mallory", ACTS_FOR_OWNER, "of app_provisioner"),
    (f"{TO_MALLORY} grant {{provisioner}} to mallory", ACTS_FOR_OWNER, "of {provisioner}"),
    (f"{TO_MALLORY} grant app_admin to mallory", UNMADE, "mallory of app_admin"),
    (f"{TO_MALLORY} grant app_backup to mallory", UNMADE, "mallory of app_backup"),
    ("revoke app_base from app_bot", LEVELS, "app_bot of app_base"),
    ("revoke app_bot from app_admin", LEVELS, "app_admin of app_bot"),
    *((f"grant {role} to {member}", ONE_BELOW, f"{member} of {role}")
      for role, member in (("app_owner", "app_bot"), ("app_backup", "app_admin"),
                           ("pg_read_all_data", "app_bot"), ("{bot}", "app_super_admin"))),
    ("grant app_provisioner to app_importer", ACCEPTED,
     "membership owner of json_import in rights of the provisioner"),
    ("grant app_owner to {provisioner}", ACCEPTED, "membership owner of security in owner of"),
]

DATABASE = [
    ("comment on role {bot} is null", MARKED, "{bot}: no mark"),
    *((f"""do $$ begin execute format('comment on role %I is %L', '{whose}', {mark}); end $$""",
       check, named) for whose, mark, check, named in (
        ("{bot}", "security.mark('bot 1') || '0'", MARKED, "{bot}: bot 1 of installation"),
        ("{bot}", "security.mark('admin')", MARKED, "{bot}: admin of installation"),
        ("{ann}", "replace(security.mark('admin'), 'database ', 'database 1')", HELD,
         "still has the logins {ann}"),
        ("{owner}", "security.mark('worker')", BY_HAND, "{owner}, marked as worker"),
        ("{owner}", "format('admin of installation %s, database 9', gen_random_uuid())", GONE,
         "{owner}"))),
    ("delete from security.installation", HAS_ID, "security.installation is empty"),
    ("alter role {bot} rename to bot_987654321", MARKED, "bot_987654321"),
    ("alter role {ann} rename to bot_987654321", MARKED, "bot_987654321"),
    ("alter role {other} rename to old; alter role {bot} rename to {other}", MARKED, "{other}: "),
    ("create role bot_987654321 login; grant connect on database {db} to bot_987654321", MARKED,
     "bot_987654321: no mark"),
    ("alter role {bot} rename to mallory", LEFT_OVER, "mallory"),
    ("alter role {bot} rename to mallory", HAS_LOGIN, "{bot}"),
    *((f"grant {right} on database {{db}} to public", PUBLIC, right.upper())
      for right in ("connect", "temporary", "create")),
    *((f"grant {right} on database {{db}} to {role}", CONNECT, f"{right.upper()} to {role}")
      for right, role in (
          ("connect", "app_bot"), ("connect", "app_base"), ("temporary", "{bot}"),
          ("create", "{ann}"), ("temporary", "app_provisioner"), ("create", "app_owner"))),
    ("grant connect on database {db} to {bot} with grant option", CONNECT, "CONNECT to {bot}"),
    ("grant temporary on database {db} to app_bot", MAKES, "{bot}"),
    ("grant create on database {db} to public", MAKES, "{worker}"),
    ("grant create on schema public to public", MAKES, "{bot}"),
    ("grant create on schema core to app_admin", MAKES, "{ann}"),
]

LOG, SEAL = "audit.security_audit_log", "audit.seal"
CAPTURE = "create or replace trigger {0} after {1} on core.messages {2} execute function " \
          "audit.{3}_of_core_messages(); alter table core.messages enable always trigger {0}"
GUARD_LEAF = f"create or replace trigger refuse_leaf_write before {{}} on {LEAF} for each " \
             f"statement {{}} execute function {{}}; " \
             f"alter table {LEAF} enable always trigger refuse_leaf_write"
REFUSE = "create or replace trigger refuse_change before {1} on {0} for each statement {2} " \
         "execute function audit.refuse_change(); " \
         "alter table {0} enable always trigger refuse_change"

AUDIT = [
    ("delete from audit.capture where relation = 'core.bots'::regclass", CAPTURED, "core.bots"),
    ("select audit.disable('core.messages')", CAPTURED, "core.messages"),
    ("select audit.disable('security.bot_token')", CAPTURED, "security.bot_token"),
    *((statement, UP_TO_DATE, named)
      for statement, named in (
          ("alter table core.bots add mood text", "INSERT of core.bots"),
          ("alter table core.messages drop metadata", "DELETE of core.messages"),
          ("alter table core.bots rename config to settings", "UPDATE of core.bots"),
          ("update audit.capture set policy = 'changed'", "INSERT of core.messages"),
          ("insert into audit.marked_column values ('core.messages', 'body', 'secret')",
           "DELETE of core.messages"),
          ("insert into audit.marked_column values ('core.messages', 'body', 'derived')",
           "UPDATE of core.messages"),
          ("create or replace function audit.update_of_core_bots() returns trigger language plpgsql"
           " as 'begin return null; end'", "UPDATE of core.bots"))),
    *((f"alter table core.messages {change} trigger audit_{name}", FOUR, f"audit_{name} on")
      for change in ("disable", "enable", "enable replica")
      for name in ("insert", "update", "delete", "truncate")),
    ("drop trigger audit_insert on core.conversations", FOUR, "audit_insert on core.conversations"),
    ("alter trigger audit_delete on core.bots rename to x", FOUR, "audit_delete on core.bots"),
    (CAPTURE.format("audit_delete", "delete", "referencing old table as old_rows for each statement"
                    " when (false)", "delete"), FOUR, "audit_delete on core.messages"),
    (CAPTURE.format("audit_update", "update", "referencing old table as old_rows new table as"
                    " new_rows for each statement when (current_user = 'app_upkeep')", "update"),
     FOUR, "audit_update on core.messages"),
    (CAPTURE.format("audit_update", "update of body", "for each statement", "update"), FOUR,
     "audit_update on core.messages"),
    (CAPTURE.format("audit_insert", "insert", "for each row", "insert"), FOUR,
     "audit_insert on core.messages"),
    (CAPTURE.format("audit_delete", "delete", "for each statement", "update"), FOUR,
     "audit_delete on core.messages"),
    *((f"{change} trigger refuse_leaf_write", NO_LEAF, leaf)
      for leaf, change in (
          (LEAF, f"alter table {LEAF} disable"), (LEAF, f"alter table {LEAF} enable"),
          ("{month}", "alter table {month} disable"),
          ("{month}", "alter table {month} enable replica"))),
    (f"drop trigger refuse_leaf_write on {LEAF}", NO_LEAF, LEAF),
    (GUARD_LEAF.format("insert or update", "", "audit.refuse_leaf_write()"), NO_LEAF, LEAF),
    (GUARD_LEAF.format("insert or update or delete", "when (pg_trigger_depth() = 0)",
                       "audit.refuse_leaf_write()"), NO_LEAF, LEAF),
    (GUARD_LEAF.format("insert or update or delete", "", "audit.record_truncate()"), NO_LEAF, LEAF),
    (f"delete from core.leaf_hook where hook::text ~ 'guard'; {NEW_LEAF}", NO_LEAF,
     "core_partitions.bot_metrics_p3"),
    *((f"{change} trigger refuse_change", KEPT, table)
      for table in (LOG, SEAL)
      for change in (f"alter table {table} disable", f"alter table {table} enable")),
    (f"drop trigger refuse_change on {SEAL}", KEPT, SEAL),
    (REFUSE.format(LOG, "delete or truncate", ""), KEPT, LOG),
    (REFUSE.format(SEAL, "update or delete or truncate", "when (false)"), KEPT, SEAL),
    (REFUSE.format(LOG, "update of actor or delete or truncate", ""), KEPT, LOG),
    (f"drop policy own_rows on {LOG}", LOG_LETS_IN, "own_rows"),
    (f"{AT_REST}; drop policy app_auditor_insert on {LOG}", LOG_LETS_IN, "app_auditor_insert"),
    (f"drop policy app_admin_select on {LOG}", LOG_LETS_IN, "app_admin_select"),
    (f"create policy open on {LOG} for select to app_bot using (true)", ACCEPTED,
     f"policy open on {LOG}"),
    ("create policy app_auditor_select on core.messages for select to app_auditor using (true)",
     ACCEPTED, "policy app_auditor_select on core.messages"),
    ("drop policy app_auditor_select on core.conversations", LOG_LETS_IN, "core.conversations"),
    (f"{AT_REST}; alter schema audit owner to app_owner; grant usage on schema audit to"
     " app_auditor", LOG_OWNER, "audit: app_owner"),
    ("alter schema audit_partitions owner to current_user", LOG_OWNER, "audit_partitions"),
    *((f"grant {right} to {role}", LOG_RIGHTS, f"{shown} to {role}")
      for right, role, shown in (
          (f"insert on {LOG}", "app_bot", f"INSERT on {LOG}"),
          (f"update (actor) on {LOG}", "app_super_admin", f"UPDATE on {LOG}"),
          (f"delete on {LOG}", "app_backup", f"DELETE on {LOG}"),
          (f"select on {LOG}", "app_owner", f"SELECT on {LOG}"),
          (f"select (old_values) on {LOG}", "{ann}", f"SELECT on {LOG}"),
          ("select on audit.salt", "app_super_admin", "SELECT on audit.salt"),
          (f"select on {SEAL}", "app_bot", f"SELECT on {SEAL}"),
          ("update on audit.setting", "app_super_admin", "UPDATE on audit.setting"),
          ("insert on audit.capture", "app_owner", "INSERT on audit.capture"),
          ("select on {month}", "app_super_admin", "SELECT on {month}"),
          ("select on audit.events", "{worker}", "SELECT on audit.events"))),
    *((f"grant execute on function audit.{function} to {role}", ACCEPTED,
       f"right to {named} on audit.{function.replace(', ', ',')}")
      for function, role, named in (
          ("log_event(text, text, jsonb, bigint)", "app_admin", "level admin"),
          ("seal(integer)", "app_bot", "level bot"),
          ("verify_seals(bigint, text)", "app_base", "level base"),
          ("erase(bigint, bigint, text)", "app_backup", "reader for backups"))),
    ("grant execute on function audit.disable(regclass) to app_owner", LOG_CALLS,
     "disable for app_owner"),
    ("revoke execute on function audit.by_correlation(uuid) from app_bot", LOG_CALLS,
     "by_correlation for app_bot"),
    ("revoke execute on function audit.row_history(regclass, jsonb) from app_backup", LOG_CALLS,
     "for app_backup"),
    ("delete from security.acceptance_hook", REFRESHED, "audit.refresh(regclass)"),
    ("drop table {month}", MONTHS, "{month}"),
    ("drop table {next_month}", MONTHS, "{next_month}"),
    (f"alter table {LOG} detach partition {{month}}; alter table {{month}} rename to x", MONTHS,
     "{month}"),
    ("delete from core.leaf_hook where hook::text ~ 'guard'", HOOKS, "audit.guard_leaf(regclass)"),
    ("select audit.disable('core.error_code')", CONFIGURED, "core.error_code"),
    ("alter domain core.messages_body drop constraint messages_body_ck", BOUNDED,
     "core.messages.body"),
    ("delete from security.event_hook", HOOKS, "audit.hear_event(text, text, jsonb, bigint)"),
    ("delete from audit.marked_column where column_name = 'token'", UNTOLD, "is not marked"),
    ("update audit.marked_column set mark = 'derived'", UNTOLD, "is not marked"),
    ("delete from audit.salt", ONE_EACH, "not so"),
    ("insert into audit.salt values ('x')", ONE_EACH, "not so"),
    ("delete from audit.setting", ONE_EACH, "not so"),
    (f"alter table {SEAL} disable trigger refuse_change; delete from {SEAL}", ONE_EACH, "not so"),
    # what holds for every table with bot_id holds for the log
    (f"alter table {LOG} no force row level security", FORCED, LOG),
    (f"alter table {LOG} disable row level security", FORCED, LOG),
    ("alter table {month} disable row level security", LEAF_RLS, "{month}"),
    (f"alter policy own_rows on {LOG} using (true)", POLICY, f"own_rows on {LOG}"),
    (f"alter policy app_admin_select on {LOG} using (true)", POLICY, "app_admin_select"),
    (f"create rule lose as on insert to {LOG} do instead nothing", RULES, f"lose on {LOG}"),
    (f"drop trigger refuse_truncate on {LOG}", GUARDS, f"refuse_truncate on {LOG}"),
    ("alter table {month} disable trigger refuse_truncate", GUARDS, "refuse_truncate on {month}"),
    ("grant select on {month} to app_bot", LEAF_RIGHT, "SELECT on {month} to app_bot"),
    ("alter function audit.verify_seals(bigint,text) owner to app_owner", OWNER,
     "audit.verify_seals(bigint,text)"),
    (f"alter table {SEAL} owner to app_owner", OWNER, SEAL),
    ("alter function audit.insert_of_core_messages() reset search_path", PATHS,
     "audit.insert_of_core_messages()"),
    ("alter function audit.erase(bigint,bigint,text) reset row_security", DEFINER_RLS,
     "audit.erase(bigint,bigint,text)"),
    ("alter view audit.events reset (security_invoker)", VIEWS, "audit.events"),
]

CHATS = "core.conversation_totals_last_idx"
CHATS_IDX = "index conversation_totals_last_idx on core.conversation_totals"
MONTHLY = "create table core.events (at timestamptz) partition by range (at);" \
          "alter table core.events owner to app_owner"
TOTAL = "performance.bot_total"

PERFORMANCE = [
    (f"drop index {CHATS}", ACCEPTED, CHATS_IDX),
    (f"update pg_index set indisvalid = false where indexrelid = '{CHATS}'::regclass", ACCEPTED,
     CHATS_IDX),
    (f"drop index {CHATS}; create index conversation_totals_last_idx on core.conversation_totals"
     " (bot_id, last_message_at)", ACCEPTED, CHATS_IDX),
    *((statement, FOLLOWED, "follow_bots on core.bots") for statement in (
        "drop trigger follow_bots on core.bots",
        "alter table core.bots disable trigger follow_bots",
        "create or replace trigger follow_bots after delete on core.bots for each row"
        " execute function performance.follow_bots()",
        "create or replace trigger follow_bots after insert on core.bots for each row"
        " when (false) execute function performance.follow_bots()",
        "create or replace trigger follow_bots after insert on core.bots for each row"
        " execute function core_upkeep.claim_bot_name()")),
    ("delete from performance.monthly_table", MADE_AHEAD, LOG),
    (MONTHLY, MADE_AHEAD, "core.events"),
    ("update performance.monthly_table set ensure_month = 'audit.gone(timestamptz)'", MADE_AHEAD,
     LOG),
    ("insert into performance.monthly_table values"
     " ('core.bots', 'audit.ensure_month(timestamptz)')", MADE_AHEAD, "core.bots"),
    ("revoke execute on function audit.ensure_month(timestamptz) from app_maintainer", MADE_AHEAD,
     LOG),
    ("drop policy app_maintainer_select on core.messages", MAINTAINER, "core.messages"),
    ("drop policy app_maintainer_delete on core.stale_days", MAINTAINER, "core.stale_days"),
    ("create policy app_maintainer_all on core.conversations to app_maintainer using (true)",
     ACCEPTED, "policy app_maintainer_all on core.conversations"),
    *((f"grant {right} to app_maintainer", NO_TEXT, named) for right, named in (
        ("select (body) on core.messages", "core.messages.body"),
        ("select on core.girls_profiles", "core.girls_profiles.summary"),
        ("select (metadata) on core.conversations", "core.conversations.metadata"))),
    ("alter schema performance owner to current_user; grant usage on schema performance to"
     " app_maintainer", MAINTENANCE_OWNER, ""),
    (f"drop policy own_rows on {TOTAL}", OWN_TOTALS, "own_rows"),
    (f"drop policy app_admin_select on {TOTAL}", OWN_TOTALS, "app_admin_select"),
    (f"create policy open on {TOTAL} for select to app_bot using (true)", ACCEPTED,
     f"policy open on {TOTAL}"),
    ("grant select on performance.metrics to app_bot", ACCEPTED,
     "right to level bot on performance.metrics"),
    ("grant select (task) on performance.task to app_admin", ACCEPTED,
     "column right task to level admin on performance.task"),
    (f"grant select on {TOTAL} to app_base", ACCEPTED, f"right to level base on {TOTAL}"),
    *((f"{change} app_{level}", PERFORMANCE_READS, f"app_{level}: ") for change, level in (
        ("revoke select on performance.slow_queries from", "super_admin"),
        ("revoke select on performance.task from", "backup"))),
    *((f"grant {right} to {role}", UNWRITTEN, f"to {role}") for right, role in (
        ("update on performance.task", "app_super_admin"),
        ("update (warning) on performance.probe", "app_owner"),
        (f"insert on {TOTAL}", "app_bot"), ("delete on performance.last_roll_up", "{chief}"))),
    *((f"grant execute on routine performance.{routine} to {role}", ACCEPTED,
       f"right to {named} on performance.{routine.replace(', ', ',')}")
      for routine, role, named in (
          ("run_task(text, boolean)", "app_admin", "level admin"),
          ("roll_up_metrics(date)", "app_bot", "level bot"),
          ("maintain()", "app_backup", "reader for backups"),
          ("readings()", "app_super_admin", "level super_admin"))),
    ("revoke execute on function performance.health_check() from app_super_admin",
     PERFORMANCE_CALLS, "app_super_admin: "),
    ("update performance.task set routine = 'performance.gone()' where task = 'seal'",
     ROUTINES, "performance.gone"),
    ("update performance.probe set routine = 'gone()' where probe = 'bots'", ROUTINES, "gone()"),
    ("revoke execute on function json_import.drop_resolved() from app_maintainer", ROUTINES,
     "json_import.drop_resolved()"),
    ("delete from performance.task where task = 'seal'", THERE, "seal"),
    ("delete from performance.probe where probe = 'unsealed'", THERE, "unsealed"),
    ("delete from performance.last_roll_up", ONE_ROLL_UP, "not so"),
    ("alter function performance.health_check() reset search_path", COMMITS, "health_check()"),
    ("alter procedure performance.maintain() set search_path = pg_catalog, pg_temp", COMMITS,
     "performance.maintain()"),
    ("alter procedure performance.maintain() security definer", COMMITS, "performance.maintain()"),
    ("delete from core.error_code where code = 'MB302'", MORE_CODES, "MB302"),
    # what holds for every table with bot_id, and for whatever is ours, holds here
    *((f"alter table {table} no force row level security", FORCED, table)
      for table in (TOTAL, "core.stale_days")),
    (f"alter table {TOTAL} disable row level security", FORCED, TOTAL),
    (f"alter policy app_admin_select on {TOTAL} using (true)", POLICY,
     f"app_admin_select on {TOTAL}"),
    ("alter policy app_admin_select on core.bot_metrics using (true)", POLICY,
     "app_admin_select on core.bot_metrics"),
    ("drop policy app_admin_select on core.bot_metrics", LETS_IN, "core.bot_metrics"),
    ("drop policy app_upkeep_insert on core.stale_days", LETS_IN, "core.stale_days"),
    ("create policy open on core.stale_days for insert to app_bot with check (true)", ACCEPTED,
     "policy open on core.stale_days"),
    (f"drop trigger refuse_truncate on {TOTAL}", GUARDS, f"refuse_truncate on {TOTAL}"),
    ("drop trigger refuse_truncate on core.stale_days", GUARDS,
     "refuse_truncate on core.stale_days"),
    ("grant select on core.stale_days to app_bot", ACCEPTED,
     "right to level bot on core.stale_days"),
    ("drop policy app_importer_insert on core.stale_days", IMPORTER, "core.stale_days"),
    ("alter function performance.readings() reset row_security", DEFINER_RLS,
     "performance.readings()"),
    ("alter function performance.run_task(text, boolean) owner to current_user", DEFINER_OWNER,
     "performance.run_task(text,boolean)"),
    ("alter table performance.task owner to app_owner", OWNER, "performance.task"),
    ("alter view performance.metrics reset (security_invoker)", VIEWS, "performance.metrics"),
    ("alter function performance.readings() set search_path = public", PATHS,
     "performance.readings()"),
    ("grant execute on procedure performance.maintain() to public", EXECUTE,
     "performance.maintain()"),
    (f"{TO_MALLORY} grant app_maintainer to mallory", ACTS_FOR_OWNER, "of app_maintainer"),
    ("alter role app_maintainer login", NO_POWER, "app_maintainer"),
    ("grant pg_read_all_data to app_maintainer", ACCEPTED,
     "membership owner of performance in pg_read_all_data"),
    ("alter default privileges for role app_maintainer grant execute on functions to app_bot",
     LATER, "app_maintainer"),
]

REACH = [
    *((f"create table public.note (bot_id bigint); grant {right} on public.note to {role}", REACHED,
       "public.note") for right, role in (("select", "app_bot"), ("insert", "public"),
                                          ("update (bot_id)", "{bot}"), ("delete", "app_base"))),
    ("create table public.note (bot_id bigint); grant select on public.note to app_bot;"
     " alter table public.note enable row level security, force row level security;"
     " create policy own on public.note using (true)", REACHED, "public.note"),
    ("create materialized view public.note as select 1; grant select on public.note to app_bot",
     REACHED, "public.note"),
    ("grant insert on core.error_code to app_bot", SHARED, "core.error_code"),
    ("create function public.f(bigint) returns boolean language sql as 'select true';"
     " alter table core.bots add constraint c check (public.f(bot_id))", CALLED, "f(bigint)"),
    ("create function public.f() returns trigger language plpgsql as 'begin return new; end';"
     " create trigger t before insert on core.bot_names for each row execute function public.f()",
     CALLED, "public.f()"),
    ("create function public.f() returns text language sql as 'select null';"
     " alter table core.bots alter name set default public.f()", CALLED, "public.f()"),
    ("create function public.f() returns void language sql as '';"
     " insert into security.event_hook values ('public.f()')", HOOKED, "public.f()"),
    ("insert into core.leaf_hook values ('gone(regclass)')", HOOKED, "gone(regclass)"),
    ("alter database {db} set session_replication_role = replica", RESTING, "replica"),
    ("alter role {bot} set session_replication_role = replica", RESTING, "for {bot}"),
    ("alter table core.messages alter bot_id set default 1", WHOSE, "core.messages: 1"),
    ("create table public.note (bot_id bigint); alter table public.note owner to app_bot", REACHED,
     "public.note"),
    ("create table public.note (bot_id bigint); alter table public.note owner to {bot}", REACHED,
     "public.note"),
    *((f"alter role {{{whose}}} {change} temp_file_limit{to}", TEMPORARY, f"{{{whose}}}")
      for whose, change, to in (("bot", "reset", ""), ("worker", "set", " = -1"),
                                ("ann", "set", " = '2GB'"))),
    *((f"alter {whose} set role = {role}", BEGINS, f"role={role}")
      for whose, role in (("role {worker}", "{bot}"), ("role {ann} in database {db}", "{bot}"),
                          ("role {bot}", "app_bot"), ("database {db}", "app_base"))),
    *((f"grant {role} to {member}", GIVEN, f"{member} of {role}")
      for role, member in (("{other}", "{ann}"), ("{other}", "{worker}"),
                           ("app_super_admin", "{ann}"))),
    ("insert into security.unfinished (migration) values ('007_late')", ENDED, "007_late"),
]

# What nothing of ours is, and all of ours stands on.
SYSTEM = "set local allow_system_table_mods = on; "
SERVER = "create foreign data wrapper w; create server s foreign data wrapper w; "
TO_DIRECTION = "grant update (direction) on core.messages to app_bot; update security." \
               "accepted_fact set definition = 'INSERT, UPDATE' where object ~ '^direction to '"
TOAST = "do $$begin execute format('grant select on %s to app_bot', (select" \
        f" reltoastrelid::regclass from pg_class where oid = '{LEAF}'::regclass)); end$$"
AROUND = [(statement, ACCEPTED, named) for statement, named in (
    # how our SQL is understood
    ("create or replace function pg_catalog.pg_has_role(oid, text) returns boolean language sql"
     " stable as 'select true'", "catalog pg_proc as the server made it"),
    ("alter function pg_catalog.now() immutable", "catalog pg_proc as the server made it"),
    ("update pg_rewrite set ev_enabled = 'D' where ev_class = 'pg_cursors'::regclass",
     "catalog pg_rewrite as the server made it"),
    ("update pg_operator set oprcode = 'texteq' where oprname = '<>' and oprleft ="
     " 'text'::regtype and oprright = 'text'::regtype", "catalog pg_operator as the server"),
    ("update pg_cast set castcontext = 'i' where castsource = 'boolean'::regtype and casttarget ="
     " 'integer'::regtype", "catalog pg_cast as the server made it"),
    ("alter language plpgsql owner to {bot}", "catalog pg_language as the server made it"),
    ("truncate security.accepted_fact", "acceptance security.accepted_fact"),
    ("truncate security.accepted_fact, security.acceptance", "acceptance security.accepted_fact"),
    ("update pg_language set lanpltrusted = true where lanname = 'c'",
     "catalog pg_language as the server made it"),
    ("create function public.f(bigint, numeric) returns integer language sql immutable as 'select"
     " 0'; alter operator family pg_catalog.integer_ops using btree add function 1 (bigint,"
     " numeric) public.f(bigint, numeric)", "catalog pg_amproc as the server made it"),
    ("delete from pg_amop where amopfamily in (select oid from pg_opfamily where opfname ="
     " 'box_ops')", "catalog pg_amop as the server made it"),
    (f"{SYSTEM}create function pg_catalog.to_regrole(varchar) returns regrole language sql"
     " immutable as 'select null::regrole'", "routine to_regrole(character varying)"),
    (f"{SYSTEM}create function public.yes(bigint, name) returns boolean language sql as 'select"
     " true'; create operator pg_catalog.= (leftarg = bigint, rightarg = name, function ="
     " public.yes)", "operator =(bigint,name)"),
    ("create operator core.= (leftarg = text, rightarg = text, function = pg_catalog.textne)",
     "operator core.=(text,text)"),
    ("create operator family core.f using btree", "operator family core.f USING btree"),
    ("create operator class core.c default for type security.bot_limit using btree as function 1"
     " btrecordcmp(record, record)", "operator class core.c USING btree"),
    ("create cast (bigint as name) with inout as implicit", "cast (bigint AS name)"),
    ("create collation core.c (provider = libc, locale = 'C')", "collation core.c"),
    ("create statistics core.s on bot_id, direction from core.messages",
     "statistics object core.s"),
    ("create statistics public.s on bot_id, direction from core.messages",
     "statistics object public.s"),
    ("create text search configuration core.t (copy = simple)", "text search configuration core.t"),
    ("create access method mine type table handler heap_tableam_handler", "access method mine"),
    ("create access method mine type table handler heap_tableam_handler; alter table core.bot_names"
     " set access method mine", "relation core.bot_names"),
    (f"{SYSTEM}insert into pg_seclabel values ('core.bots'::regclass, 'pg_class'::regclass, 0,"
     " 'selinux', 'anybody')", "security label by selinux on table core.bots"),
    # what hides behind an extension
    ("create table public.note (bot_id bigint); grant all on public.note to app_bot;"
     " alter extension plpgsql add table public.note", "extension plpgsql"),
    (f"{SYSTEM}update pg_extension set extowner = 'app_bot'::regrole", "extension plpgsql"),
    # who may do what with what is no table and no function
    ("grant usage on language plpgsql to {bot}", "right to role {bot} on language plpgsql"),
    (f"{SERVER}grant usage on foreign data wrapper w to app_bot",
     "right to level bot on foreign-data wrapper w"),
    (f"{SERVER}grant usage on foreign server s to {{ann}}", "right to role {ann} on server s"),
    (f"{SERVER}create user mapping for {{bot}} server s", "user mapping of role {bot} on server s"),
    (f"{SERVER}create user mapping for public server s", "user mapping of PUBLIC on server s"),
    ("create type public.t as (a integer); grant usage on type public.t to app_bot",
     "right to level bot on type public.t"),
    ("select lo_create(4242); grant select on large object 4242 to app_bot",
     "right to level bot on large object 4242"),
    ("grant create on tablespace pg_default to app_bot", "right to level bot on tablespace"),
    ("grant usage on schema pg_toast to app_bot", "right to level bot on schema pg_toast"),
    (TOAST, "right to level bot on toast table pg_toast.pg_toast_"),
    # who becomes who has power, by however many steps
    ("create role mallory; grant {owner} to mallory", "membership role mallory in owner of the"),
    ("create role chief superuser; create role mallory; grant chief to mallory",
     "membership role mallory in role chief"),
    ("create role helper; create role mallory; grant app_owner to helper; grant helper to mallory",
     "membership role mallory in role helper"),
    ("grant pg_read_all_data to pg_monitor", "membership pg_monitor in pg_read_all_data"),
    # where rows go, and where they come from
    ("alter database {db} is_template true", "database this database"),
    ("create subscription s connection 'host=nowhere' publication p with (connect = false,"
     " slot_name = none)", "subscription s"),
    # what was accepted
    (TO_DIRECTION, "acceptance security.accepted_fact"),
    (f"{TO_DIRECTION}; select security.admit('core.bot_names', 'app_maintainer', 'select')",
     "acceptance security.accepted_fact"),
    ("delete from security.acceptance", "acceptance security.accepted_fact"),
)]

WEAKENINGS = [*AROUND, *REACH, *ROW_SECURITY, *POLICIES, *PAIR_USES, *GUARDING, *GRANTS, *CODE,
              *ROLES, *DATABASE, *AUDIT, *PERFORMANCE]


@pytest.fixture(scope="module")
def names(clone_of_module: Database) -> dict[str, str]:
    """Two bots with a row in each table, an admin, a super admin, a worker: who is called what."""
    (one, login), (_, other) = make_bot(clone_of_module), make_bot(clone_of_module)
    made = {"db": clone_of_module.name, "id": str(one), "bot": login.parts["user"],
            "other": other.parts["user"], "owner": clone_of_module.parts["user"]}
    made |= {name: f"{name}_{secrets.token_hex(4)}"
             for name in ("ann", "nobody", "chief", "worker")}
    with clone_of_module.connect() as conn:
        conn.execute("select security.create_admin(%(ann)s), security.create_admin(%(nobody)s),"
                     " security.create_admin(%(chief)s, p_is_super => true),"
                     " security.create_worker(%(worker)s, array[%(id)s::bigint]),"
                     " security.grant_bot_to_admin(%(id)s, %(ann)s)", made)
        (made["provisioner"],) = conn.execute("select security.provisioner()").fetchone()
        made["month"], made["next_month"] = (month for month, in conn.execute(
            "select core.leaf_name('audit.security_audit_log', to_char((now() + n * interval"
            """ '1 month') at time zone 'UTC', '"y"YYYY"m"MM')) from generate_series(0, 1) as n"""))
    return made


@pytest.fixture(scope="module")
def watched(clone_of_module: Database, names: dict[str, str]) -> Iterator[psycopg.Connection]:
    """The session in which everything is weakened, and healed."""
    with clone_of_module.connect() as conn:
        yield conn


def findings(conn: psycopg.Connection, check: str = "") -> dict[str, str]:
    """What security.check() names: the rules that are broken, notices too, with their details; what
    differs from what was accepted under one name. Where one check is meant, its half of them."""
    whole = {"": "security.check()", ACCEPTED: DIFFERENCES}.get(check, "security.check_rules()")
    rows = conn.execute("select case severity when 'difference' then %s else check_name end, case"
                        " severity when 'difference' then check_name"
                        " else coalesce(detail, '') end"
                        f" from {whole} as c where not ok", [ACCEPTED]).fetchall()
    return {name: "\n".join(detail for other, detail in rows if other == name)
            for name, _ in rows}


def failures(conn: psycopg.Connection, check: str = "") -> dict[str, str]:
    """The same of the verify.sql of 002, which asks for the rules, and of what builds on it; of
    those up to the first that names the check that is meant."""
    found: dict[str, str] = {}
    for migration in MIGRATIONS[1:]:
        if check not in found:
            found |= {name: detail for name, ok, detail in verify.check(conn, migration) if not ok}
    return found


def kind(weakening: tuple[str, str, str]) -> tuple[str, str]:
    """Who is to find it: the check; of what was accepted, what kind of fact."""
    _, check, named = weakening
    return check, named.partition(" ")[0] if check == ACCEPTED else ""


@pytest.mark.parametrize(("statement", "check", "named"), some_of_each(WEAKENINGS, kind, 1))
def test_a_weakening_is_found_by_the_check_meant_for_it(
        watched: psycopg.Connection, names: dict[str, str], statement: str, check: str, named: str):
    with watched.transaction(force_rollback=True):
        watched.execute(statement.format(**names))
        found = findings(watched, check)
        if check not in found:
            found |= failures(watched, check)
        assert check in found, found
        assert named.format(**names) in found[check]


# What a body does no check reads; an attack shows it.
REPLACED = [
    # function, its new body, as whom, attack, outcome before (a value or a SQLSTATE) and after
    ("security.refuse_write() returns trigger", "return null;", None,
     "truncate core.bot_metrics", "MB108", None),
    ("security.refuse_write() returns trigger", "return null;", None,
     "update core.bot_metrics set bot_id = bot_id", "MB108", None),
    ("security.caller() returns name", "return '{other}';", "{bot}",
     "select security.get_bot_token()", None, "MB125"),
    ("security.may_see(p_bot_id bigint) returns boolean", "return true;", "{nobody}",
     "select count(*) from security.list_bots()", 0, 2),
    ("security.require_verifier(p_verifier text) returns void", "return;", "{chief}",
     "select security.create_bot('clear', 'password') > 0", "MB102", True),
]


def outcome(conn: psycopg.Connection, user: str | None, statement: str) -> object:
    """What a statement of this login brings: its value or its SQLSTATE. It is undone."""
    with conn.transaction(force_rollback=True):
        if user:
            conn.execute(f"set session authorization {user}")
        try:
            with conn.transaction():
                cursor = conn.execute(statement)
                return cursor.fetchone()[0] if cursor.description else None
        except psycopg.Error as fault:
            return fault.sqlstate


@pytest.mark.parametrize(("function", "body", "user", "attack", "before", "after"), REPLACED)
def test_a_body_that_lets_more_through_is_shown_by_an_attack(
        watched: psycopg.Connection, names: dict[str, str], function: str, body: str,
        user: str | None, attack: str, before: object, after: object):
    user = user and user.format(**names)
    with watched.transaction(force_rollback=True):
        watched.execute("select security.set_bot_token(substring(%(other)s from 5)::bigint,"
                        " 'secret')", names)
        assert outcome(watched, user, attack) == before
        watched.execute(f"create or replace function {function} language plpgsql set search_path ="
                        f" pg_catalog, pg_temp as $$begin {body.format(**names)} end$$")
        assert outcome(watched, user, attack) == after


def test_a_worker_that_inherits_a_bot_is_found(
        watched: psycopg.Connection, names: dict[str, str]):
    with watched.transaction(force_rollback=True):
        if watched.info.server_version < 160000:  # there the login inherits, or does not
            watched.execute("alter role {worker} inherit".format(**names))
        else:
            watched.execute("grant {other} to {worker} with inherit true"
                            " granted by {provisioner}".format(**names))
        found = findings(watched)
        if watched.info.server_version < 160000:
            assert names["worker"] in found.pop(ACCEPTED)
        assert found == {IDLE_WORKER: names["worker"]}


def test_nothing_is_found_where_nothing_is_weak(watched: psycopg.Connection):
    assert findings(watched) == failures(watched) == {}


def test_every_rule_has_a_weakening_that_breaks_it(watched: psycopg.Connection):
    rules = {name for name, in watched.execute("select check_name from security.check()")}
    rules |= {name for migration in MIGRATIONS[1:4]
              for name, _, _ in verify.check(watched, migration)}
    broken = {check for _, check, _ in WEAKENINGS}
    assert rules <= broken
    assert broken - rules == {
        ACCEPTED, IMPORTER, IMPORT_OWNER, IMPORT_TABLES, IMPORT_KEEPS, IMPORT_CALLS}
    assert len(WEAKENINGS) == len(set(WEAKENINGS)) >= 80


def test_a_server_that_lets_triggers_rest_is_found(clone_of_module: Database):
    with clone_of_module.connect(options="-c session_replication_role=replica") as conn:
        assert "session_replication_role=replica" in findings(conn)[RESTING]


def test_what_was_written_into_what_is_accepted_is_accepted_by_hand_only(
        watched: psycopg.Connection, names: dict[str, str]):
    with watched.transaction(force_rollback=True):
        watched.execute(TO_DIRECTION)
        with pytest.raises(psycopg.Error) as caught, watched.transaction():
            watched.execute("select security.expect_inventory()")
        assert caught.value.sqlstate == "MB111"
        watched.execute("select security.accept_cluster('moved')")
        assert list(findings(watched)) == [ACCEPTED]
        assert watched.execute("select problem from audit.verify_seals()").fetchall() == [
            ("what is accepted now is not what this entry says",)]
        watched.execute("select security.accept_inventory('it is meant')")
        assert findings(watched) == {}
        assert watched.execute("select problem from audit.verify_seals()").fetchall() == []


def test_what_is_critical_fails_the_verification_and_a_notice_does_not(
        watched: psycopg.Connection, names: dict[str, str]):
    with watched.transaction(force_rollback=True):
        watched.execute("create role mallory createrole")
        assert list(findings(watched)) == [OTHER_MAKERS]
        assert failures(watched) == {}
        watched.execute("alter role {ann} createrole".format(**names))
        assert failures(watched) == {MAKERS: names["ann"], PLAIN: names["ann"]}


def test_a_database_fresh_from_a_superuser_has_nothing_to_report(database: Database):
    with database.connect() as conn:
        assert findings(conn) == failures(conn) == {}


def test_a_database_fresh_from_its_owner_reports_that_the_owner_makes_roles(owned: Database):
    with owned.connect() as conn:
        migrator(conn).migrate()
        assert failures(conn) == {}
        reason = ("roles that they made, and no others" if conn.info.server_version >= 160000 else
                  "before 16, CREATEROLE may grant itself any role but a superuser's")
        assert conn.execute("select check_name, severity, detail from security.check()"
                            " where not ok").fetchall() == [
            (OTHER_MAKERS, "notice", f"{owned.parts['user']}: {reason}")]
