"""What our promises rest on is listed, accepted, and compared: whatever else changes is named.

Each change is made in a transaction that is rolled back, on a database that a superuser installed
and on one that its owner did; security.check() must name the fact that it touched. On the second
`make test` makes one change of each kind, `make torture` all.
"""

from collections.abc import Iterator

import psycopg
import pytest
from conftest import Database, clone
from core_rows import MIGRATIONS, make_bot, migrator, owner_database

pytest_plugins = "core_rows"

INSTALLED = ("superuser", "owner")
STRANGER = "create schema shop; create function shop.f(bigint) returns boolean language sql" \
           " as 'select true'; create function shop.g() returns trigger language plpgsql" \
           " as 'begin return new; end'; grant usage on schema shop to public; "
# what somebody does, and what security.check() names: its rows begin with these words
CHANGES = [
    # members and roles
    ("create role mallory login; grant pg_read_all_data to mallory",
     "membership role mallory in pg_read_all_data"),
    ("create role mallory superuser", "stranger role mallory"),
    ("create role mallory replication", "stranger role mallory"),
    ("create role mallory login; grant app_owner to mallory", "membership role mallory in owner"),
    ("grant app_provisioner to app_maintainer", "membership owner of performance in rights of"),
    ("alter role app_owner connection limit 5", "role owner of core, core_partitions"),
    ("alter role app_backup valid until '2030-01-01'", "role reader for backups"),
    ("alter role app_bot set row_security = off", "setting row_security for level bot"),
    ("alter role {bot} connection limit -1", "login {bot}"),
    ("alter role {bot} reset all", "login {bot}"),
    ("alter role {bot} set statement_timeout = 0", "login {bot}"),
    ("alter role {bot} in database {db} set work_mem = '1GB'", "login {bot}"),
    ("alter role {bot} noinherit", "login {bot}"),
    # settings, publications, event triggers
    ("alter database {db} set session_replication_role = replica",
     "setting session_replication_role in this database"),
    ("alter database {db} set session_replication_role = replica", "no setting lets triggers rest"),
    ("alter database {db} set search_path = shop", "setting search_path in this database"),
    ("grant create on database {db} to app_backup", "right to reader for backups on the database"),
    ("create publication p for all tables", "publication p"),
    ("create publication p for table core.messages", "publication p"),
    ("create publication p for tables in schema core", "publication p"),
    ("create function public.e() returns event_trigger language plpgsql as 'begin end';"
     " create event trigger e on ddl_command_end execute function public.e()", "event trigger e"),
    # rows
    (STRANGER + "create function shop.h(text, text, jsonb, bigint) returns void language sql as '';"
     " insert into security.event_hook values ('shop.h(text, text, jsonb, bigint)')",
     "row shop.h(text, text, jsonb, bigint) of security.event_hook"),
    (STRANGER + "insert into core.leaf_hook values ('shop.f(bigint)')",
     "what is called for us when something happens is ours"),
    ("delete from security.event_hook", "row audit.hear_event(text, text, jsonb, bigint) of"),
    ("update core.error_code set remedy = 'Do nothing.' where code = 'MB001'",
     "row MB001 of core.error_code"),
    ("update performance.task set routine = 'performance.task_locks()' where task = 'seal'",
     "row seal of performance.task"),
    ("delete from performance.probe where probe = 'unsealed'", "row unsealed of performance.probe"),
    ("delete from audit.marked_column where mark = 'secret'", "row security.bot_token, token of"),
    ("update audit.capture set policy = 'off' where relation = 'core.messages'::regclass",
     "row core.messages of audit.capture"),
    ("insert into security.rule_exception values ('replica mode', 'core.bot_tables()', 'no')",
     "row replica mode, core.bot_tables() of security.rule_exception"),
    # tables and what hangs on them
    (STRANGER + "alter table core.messages add constraint c check (shop.f(bot_id)) not valid",
     "constraint c on core.messages"),
    (STRANGER + "alter table core.messages add constraint c check (shop.f(bot_id)) not valid",
     "what our tables call is ours"),
    (STRANGER + "revoke execute on function shop.g() from public; create trigger t before insert"
     " on core.messages for each row execute function shop.g()", "trigger t on core.messages"),
    (STRANGER + "create index i on core.bot_names (shop.f(bot_id))", "index i on core.bot_names"),
    ("alter table core.messages alter bot_id set default 1", "column core.messages.bot_id"),
    ("alter table core.messages alter bot_id set default 1", "a bot_id that is left out is"),
    ("alter table core.girls_profiles alter name set default 'x'",
     "column core.girls_profiles.name"),
    ("alter table core.bots add note text", "column core.bots.note"),
    ("alter table core.messages alter body drop not null", "column core.messages.body"),
    ("alter domain core.messages_direction drop constraint messages_direction_ck",
     "type core.messages_direction"),
    ("drop index core.messages_sent_at_idx", "index messages_sent_at_idx on core.messages"),
    ("update pg_index set indisvalid = false where indexrelid ="
     " 'core.girls_profiles_chat_idx'::regclass",
     "index girls_profiles_chat_idx on core.girls_profiles"),
    ("alter table core.bot_names disable trigger refuse_truncate",
     "trigger refuse_truncate on core.bot_names"),
    ("alter table core_partitions.messages_p3 enable trigger refuse_leaf_write",
     "trigger refuse_leaf_write on core.messages (each partition)"),
    ("create policy open on core_partitions.messages_p7 using (true)",
     "policy open on core.messages (each partition)"),
    ("alter table core_partitions.messages_p3 add constraint c check (bot_id > 0)",
     "constraint c on core.messages (each partition)"),
    ("alter policy own_rows on core.messages using (true)", "policy own_rows on core.messages"),
    ("create rule r as on delete to core.bot_names do instead nothing", "rule r on core.bot_names"),
    ("alter table core.messages replica identity full", "relation core.messages"),
    ("alter table core.bot_names set (autovacuum_enabled = off)", "relation core.bot_names"),
    ("alter table core.bot_names set unlogged", "relation core.bot_names"),
    ("alter table core.bot_names no force row level security",
     "row level security core.bot_names"),
    ("alter table core.bot_names owner to {owner}", "owner core.bot_names"),
    ("create or replace view performance.metrics with (security_invoker = true) as select name,"
     " labels, value, help, type from performance.metric_rows() where false",
     "relation performance.metrics"),
    ("alter sequence core.bots_bot_id_seq cycle", "relation core.bots_bot_id_seq"),
    ("create table core.new_one (a int)", "relation core.new_one"),
    ("create type core.new_one as enum ('a')", "type core.new_one"),
    ("comment on table core.bots is 'Nothing.'", "comment on table core.bots"),
    ("comment on function core.current_bot_id() is null", "comment on function core.current"),
    # rights
    ("grant usage on schema audit_partitions to app_bot", "right to level bot on schema"),
    ("grant select on core.stale_days to app_maintainer with grant option",
     "right to owner of performance on core.stale_days"),
    ("grant update (direction) on core.messages to app_bot",
     "column right direction to level bot on core.messages"),
    ("revoke update (body) on core.messages from app_bot",
     "column right body to level bot on core.messages"),
    ("grant execute on function json_import.start_run(text, jsonb) to app_base",
     "right to level base on json_import.start_run(text,jsonb)"),
    ("alter default privileges for role app_owner in schema core grant select on tables to app_bot",
     "default right to level bot on tables made by owner of core"),
    ("alter default privileges for role app_owner grant execute on functions to public",
     "default right routines made by owner of core"),
    ("grant create on schema public to public", "right to PUBLIC on schema public"),
    # code
    ("create or replace function core.current_bot_id() returns bigint language plpgsql stable"
     " parallel safe set search_path = pg_catalog, pg_temp as 'begin return 1; end'",
     "routine core.current_bot_id()"),
    ("create or replace function security.caller() returns name language sql stable"
     " set search_path = pg_catalog, pg_temp as $$select 'app_owner'::name$$",
     "routine security.caller()"),
    ("alter function core.record_message"
     " security definer set row_security = on", "routine core.record_message("),
    ("alter function core.days_of(timestamptz[]) leakproof", "routine core.days_of("),
    ("alter function core.days_of(timestamptz[]) volatile", "routine core.days_of("),
    ("alter function audit.verify_seals(bigint, text) set work_mem = '1MB'",
     "routine audit.verify_seals("),
    ("drop function json_import.recent_runs(integer)", "routine json_import.recent_runs(integer)"),
    ("update core.bot_table set on_bot_drop = 'keep' where relation = 'core.bots'::regclass",
     "row core.bots of core.bot_table"),
    (STRANGER + "create table shop.note (bot_id bigint primary key); select security.protect("
     "'shop.note'); grant select on shop.note to app_bot; create policy own_rows on shop.note"
     " using (true)", "every policy says what its role may have it say"),
    # elsewhere, where a bot may touch
    (STRANGER + "create table shop.note (bot_id bigint, body text); grant select on shop.note to"
     " app_bot", "every table that a bot has a right on is protected"),
    (STRANGER + "create table shop.note (bot_id bigint, body text); grant select on shop.note to"
     " app_bot", "relation shop.note"),
    (STRANGER + "create table shop.note (body text); grant insert (body) on shop.note to public",
     "every table that a bot has a right on is protected"),
    (STRANGER + "create materialized view shop.m as select 1 as a; grant select on shop.m to {bot}",
     "every table that a bot has a right on is protected"),
    (STRANGER, "routine shop.f(bigint)"),
    ("grant insert on core.error_code to app_bot", "a bot only reads what bots share"),
]
# a managed owner can't do these, whatever he is a member of
SUPERUSER = [
    ("grant execute on function pg_read_file(text) to app_bot",
     "right to level bot on function pg_catalog.pg_read_file"),
    ("grant select on pg_authid to app_bot", "right to level bot on table pg_catalog.pg_authid"),
    ("grant set on parameter log_statement to app_bot", "right to level bot on parameter"),
]
# what the operator, or a function of ours, does lawfully
LAWFUL = [
    "select security.create_bot('another')",
    "select security.drop_bot({id}, true)",
    "select security.create_worker('w_{id}', array[{id}])",
    "select security.create_admin('a_{id}'); select security.grant_bot_to_admin({id}, 'a_{id}')",
    "select security.set_bot_limits({id}, 3, '5 seconds', '10 minutes')",
    "select security.set_bot_token({id}, 'token')",
    "select audit.ensure_month(now() + interval '7 months')",
    "select performance.make_months(9)",
    "select audit.disable('core.bot_metrics')",
    "select audit.enable('core.bot_metrics', 'keys')",
    "select audit.mark_column('core.bots', 'config', 'secret')",
    "select audit.set_retention(400); select audit.seal()",
    "select security.admit('core.bot_names', 'app_maintainer', 'select')",
    "select security.protect('core.bot_names')",
    "update performance.task set every = '1 hour' where task = 'seal';"
    " update performance.probe set warning = 7 where probe = 'unsealed'",
    "select core.record_message(1, 'in', 'x', p_bot_id => {id})",
    "analyze core.bots",
]


@pytest.fixture(scope="module", params=INSTALLED)
def installed(request: pytest.FixtureRequest, cluster: Database, template: Database
              ) -> Iterator[Database]:
    """A database with one bot, as a superuser installed it, and as its owner did."""
    if request.param == "superuser":
        for database in clone(cluster, template.name):
            make_bot(database)
            with database.connect() as conn:
                conn.execute("select security.accept_cluster('a clone')")
            yield database
    else:
        with owner_database(cluster) as database:
            with database.connect() as conn:
                migrator(conn).migrate()
            make_bot(database)
            yield database


@pytest.fixture(scope="module")
def names(installed: Database) -> dict[str, str]:
    """What the placeholders stand for."""
    with installed.connect() as conn:
        (bot_id,) = conn.execute("select min(bot_id) from security.list_bots()").fetchone()
        (owner,) = conn.execute("select quote_ident(pg_get_userbyid(datdba)) from pg_database"
                                " where datname = current_database()").fetchone()
    return {"id": str(bot_id), "bot": f"bot_{bot_id}", "db": f'"{installed.name}"', "owner": owner}


@pytest.fixture(scope="module")
def superuser(installed: Database, cluster: Database) -> Iterator[psycopg.Connection]:
    """Whoever changes something by hand."""
    with psycopg.connect(**{**cluster.parts, "dbname": installed.name}, autocommit=True) as conn:
        yield conn


def named(conn: psycopg.Connection) -> list[str]:
    """What security.check() has to say, notices aside."""
    return [name for name, in conn.execute(
        "select check_name from security.check() where not ok and severity <> 'notice'")]


# one change of each kind of fact, and all others
FIRST = {change[1].partition(" ")[0]: change for change in (CHANGES + SUPERUSER)[::-1]}
OTHERS = [change for change in CHANGES + SUPERUSER if change not in FIRST.values()]


@pytest.mark.parametrize(("statement", "fact"), FIRST.values())
def test_a_change_is_named(superuser: psycopg.Connection, names: dict[str, str], statement: str,
                           fact: str):
    with superuser.transaction(force_rollback=True):
        superuser.execute(statement.format(**names).encode())
        found = named(superuser)
        assert any(name.startswith(fact.format(**names)) for name in found), found


@pytest.mark.parametrize("installed", [
    INSTALLED[0], pytest.param(INSTALLED[1], marks=pytest.mark.torture)], indirect=True)
@pytest.mark.parametrize(("statement", "fact"), OTHERS)
def test_another_change_is_named(superuser: psycopg.Connection, names: dict[str, str],
                                 statement: str, fact: str):
    test_a_change_is_named(superuser, names, statement, fact)


@pytest.mark.parametrize("statement", LAWFUL)
def test_what_is_done_by_our_own_functions_is_no_difference(
        superuser: psycopg.Connection, names: dict[str, str], statement: str):
    with superuser.transaction(force_rollback=True):
        superuser.execute(statement.format(**names).encode())
        assert named(superuser) == []


def test_maintenance_makes_no_difference(superuser: psycopg.Connection):
    superuser.execute("call performance.maintain()")
    assert named(superuser) == []


def test_nothing_is_named_where_nothing_was_changed(superuser: psycopg.Connection):
    assert named(superuser) == []


def test_a_fact_has_one_name(superuser: psycopg.Connection):
    assert superuser.execute("select kind, object from security.inventory() group by 1, 2"
                             " having count(*) > 1").fetchall() == []
    assert superuser.execute("select count(*) from security.inventory()"
                             " where definition is null").fetchone() == (0,)


FOREIGN = {"datestyle": "SQL, DMY", "intervalstyle": "iso_8601", "quote_all_identifiers": "on",
           "search_path": "core, security, audit", "timezone": "Asia/Kolkata",
           "bytea_output": "escape", "extra_float_digits": "0",
           "standard_conforming_strings": "off",
           "row_security": "off", "default_transaction_isolation": "serializable"}


def test_who_asks_and_under_which_settings_changes_no_fact(superuser: psycopg.Connection):
    facts = "select * from security.inventory() order by kind, object"
    plain = superuser.execute(facts).fetchall()
    with superuser.transaction(force_rollback=True):
        for name, value in FOREIGN.items():
            superuser.execute("select set_config(%s, %s, true)", [name, value])
        superuser.execute("set local role app_super_admin")
        assert superuser.execute(facts).fetchall() == plain


# Accepting ---------------------------------------------------------------------


def refusal(conn: psycopg.Connection, statement: str) -> psycopg.Error:
    """The error that the statement brings."""
    with pytest.raises(psycopg.Error) as caught, conn.transaction():
        conn.execute(statement)
    return caught.value


def test_a_migration_does_not_begin_while_a_difference_is_open(superuser: psycopg.Connection):
    with superuser.transaction(force_rollback=True):
        superuser.execute("grant update (direction) on core.messages to app_bot")
        fault = refusal(superuser, "select security.expect_inventory()")
    assert fault.sqlstate == "MB111"
    assert "column right direction to level bot on core.messages" in fault.diag.message_detail
    assert "security.differences()" in fault.diag.message_hint


def test_what_is_accepted_is_kept_and_on_record(superuser: psycopg.Connection):
    with superuser.transaction(force_rollback=True):
        superuser.execute("select security.expect_inventory()")
        superuser.execute("alter table core.bot_names add note text")
        assert superuser.execute("select security.accept_inventory('006_note')").fetchone() == (1,)
        assert named(superuser) == []
        event = superuser.execute(
            "select new_values::jsonb from audit.security_audit_log"
            " where kind = 'inventory_accepted' order by entry_id desc limit 1").fetchone()[0]
        assert event["reason"] == "006_note"
        assert event["changes"] == [{
            "scope": "database", "kind": "column", "object": "core.bot_names.note",
            "accepted": None, "live": "text"}]


def test_what_is_recorded_follows_the_columns_that_are_accepted(superuser: psycopg.Connection):
    with superuser.transaction(force_rollback=True):
        superuser.execute("alter table core.messages add note text")
        assert superuser.execute("select count(*) from audit.stale_captures()").fetchone() == (3,)
        superuser.execute("select security.accept_inventory('006_note')")
        assert superuser.execute("select count(*) from audit.stale_captures()").fetchone() == (0,)
        assert named(superuser) == []


def test_a_broken_rule_is_never_accepted(superuser: psycopg.Connection):
    with superuser.transaction(force_rollback=True):
        superuser.execute("alter table core.bots no force row level security")
        fault = refusal(superuser, "select security.accept_inventory('why not')")
    assert fault.sqlstate == "MB112"
    assert "a table with bot_id has row level security forced" in fault.diag.message_primary


FAULTY = """set local check_function_bodies = off; set local role app_owner;
    create function core.faulty() returns {} set search_path = pg_catalog, pg_temp
    as $func${}$func$; reset role"""


@pytest.mark.parametrize(("head", "body"), [
    ("bigint language sql", "select bot_id from core.bots where"),
    ("bigint language plpgsql", "begin return 1 from where; end"),
    ("bigint language plpgsql", "begin return 1; end if; end"),
    ("trigger language plpgsql", "begin perfrom 1; return null; end")])
def test_a_syntax_error_is_never_accepted(installed: Database, head: str, body: str):
    with installed.connect() as conn, conn.transaction(force_rollback=True):
        conn.execute(FAULTY.format(head, body))
        fault = refusal(conn, "select security.accept_inventory('006_faulty')")
        assert (fault.sqlstate, fault.diag.message_primary.partition(" at ")[0]) == (
            "MB115", "the body of core.faulty(): syntax error")


@pytest.mark.parametrize(("head", "body", "missing"), [
    ("text language sql", "select plan from core.bots", 'column "plan" does not exist'),
    ("text language sql", "select core.plan_of(1)",
     "function core.plan_of(integer) does not exist"),
    ("bigint language plpgsql", "declare v core.plan; begin return 1; end",
     'type "core.plan" does not exist')])
def test_a_body_may_know_what_is_yet_to_come(installed: Database, head: str, body: str,
                                             missing: str):
    with installed.connect() as conn, conn.transaction(force_rollback=True):
        checked, said = "select ok, detail from security.check_bodies()", []
        conn.add_notice_handler(lambda notice: said.append(notice.message_primary))
        assert conn.execute(checked).fetchall() == [(True, None)]
        conn.execute(FAULTY.format(head, body))
        conn.execute("select security.accept_inventory('006_faulty')")
        assert said[-1] == f"the body of core.faulty() can't run yet: {missing}"
        assert conn.execute(checked).fetchall() == [(False, f"core.faulty(): {missing}")]


def test_a_body_is_read_under_its_own_search_path(installed: Database):
    with installed.connect() as conn, conn.transaction(force_rollback=True):
        conn.execute("create schema shop; create table shop.goods (); grant usage on schema shop to"
                     " app_bot; create function shop.count_goods() returns bigint language sql"
                     " set search_path = shop as 'select count(*) from goods';"
                     " create table public.tins (); create function shop.count_tins() returns"
                     " bigint language sql as 'select count(*) from tins'")
        assert conn.execute("select * from security.body_faults(array["
                            "'shop.count_goods()', 'shop.count_tins()']::regprocedure[])"
                            ).fetchall() == []


@pytest.mark.parametrize("reason", [None, "", " \n", "x" * 1001])
@pytest.mark.parametrize("function", ["accept_inventory", "accept_cluster"])
def test_nothing_is_accepted_without_a_reason(superuser: psycopg.Connection, function, reason):
    with superuser.transaction(force_rollback=True), pytest.raises(psycopg.Error) as caught:
        superuser.execute(f"select security.{function}(%s)", [reason])
    assert caught.value.sqlstate == "MB116" and caught.value.diag.message_hint


@pytest.mark.parametrize("role", ["app_super_admin", "app_admin", "app_backup", "{bot}"])
@pytest.mark.parametrize("call", ["accept_inventory('x')", "accept_cluster('x')",
                                  "accept_facts('x', '{}')", "expect_inventory()"])
def test_only_the_owner_accepts(superuser: psycopg.Connection, names: dict[str, str], role: str,
                                call: str):
    with superuser.transaction(force_rollback=True):
        superuser.execute(f"set local role {role.format(**names)}")
        assert refusal(superuser, f"select security.{call}").sqlstate in ("42501", "MB113")


def test_the_cluster_is_accepted_apart(superuser: psycopg.Connection):
    with superuser.transaction(force_rollback=True):
        superuser.execute("create role mallory superuser; alter table core.bots add note text")
        assert superuser.execute("select security.accept_cluster('moved')").fetchone() == (1,)
        assert named(superuser)[0] == "column core.bots.note is as accepted"


def test_a_function_of_ours_pardons_nothing_else(superuser: psycopg.Connection):
    with superuser.transaction(force_rollback=True):
        superuser.execute("create policy open on core.bot_names using (true) ")
        superuser.execute("select security.admit('core.bot_names', 'app_maintainer', 'select')")
        assert "policy open on core.bot_names is as accepted" in named(superuser)


@pytest.mark.parametrize(("before", "call", "named_still"), [
    ("grant execute on function audit.insert_of_core_bots() to app_bot",
     "select audit.enable('core.bots', 'keys')",
     "right to level bot on audit.insert_of_core_bots()"),
    ("alter table core.bot_names set (autovacuum_enabled = off)",
     "select security.protect('core.bot_names')", "relation core.bot_names"),
    ("alter table core.bot_names add constraint app_maintainer_select check (bot_id > 0)",
     "select security.admit('core.bot_names', 'app_maintainer', 'select')",
     "constraint app_maintainer_select on core.bot_names"),
    ("alter table core.bot_names owner to app_upkeep; grant insert on core.bot_names to app_backup;"
     " comment on table core.bot_names is 'x'",
     "select security.accept_facts('x', array['comment on table core.bot_names'])",
     "right to reader for backups on core.bot_names")])
def test_what_our_functions_accept_is_what_they_changed(
        superuser: psycopg.Connection, before: str, call: str, named_still: str):
    with superuser.transaction(force_rollback=True):
        superuser.execute(before)
        superuser.execute(call)
        assert f"{named_still} is as accepted" in named(superuser)


def test_every_migration_accepted_what_it_made(installed: Database):
    reasons = [r for r, in installed.execute("select reason from security.acceptance"
                                             " order by acceptance_id")]
    assert [r for r in reasons if r[0] == "0"] == [m.id for m in MIGRATIONS[1:]]
    assert installed.execute(
        "select digest = security.accepted_digest() from security.acceptance"
        " order by acceptance_id desc limit 1") == [(True,)]
