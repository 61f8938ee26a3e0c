"""Changes of the schema: on record as they happen where a superuser migrates, said where not."""

import psycopg
import pytest
from conftest import Database
from core_rows import make_bot, refused, run_runner

pytest_plugins = "core_rows"
TOLD = """select new_values ->> 'command', new_values #>> '{objects,0}' from audit.events
    where kind = 'schema_changed' and entry_id > %s order by entry_id"""
COMMANDS = {
    "alter table core.bots add column plan text": ("ALTER TABLE", "table core.bots"),
    "create table public.mine (a int)": ("CREATE TABLE", "table public.mine"),
    "create or replace function core.current_bot_id() returns bigint language sql as 'select 1'":
        ("CREATE FUNCTION", "function core.current_bot_id()"),
    "alter function audit.erase(bigint, bigint, text) set work_mem = '8MB'":
        ("ALTER FUNCTION", "function audit.erase(bigint,bigint,pg_catalog.text)"),
    "drop policy own_rows on core.messages": ("DROP POLICY", "policy own_rows on core.messages"),
    "drop index core.conversation_totals_last_idx":
        ("DROP INDEX", "index core.conversation_totals_last_idx"),
    "create trigger t before insert on core.messages execute function audit.record_truncate()":
        ("CREATE TRIGGER", "trigger t on core.messages"),
    "alter table core.messages disable trigger audit_insert":
        ("ALTER TABLE", "table core.messages"),
    "alter table core.messages no force row level security":
        ("ALTER TABLE", "table core.messages"),
    "comment on table core.bots is 'none'": ("COMMENT", "table core.bots"),
    "grant delete on core.bots to app_admin": ("GRANT", "TABLE"),
    "revoke select on core.bots from app_bot": ("REVOKE", "TABLE"),
    "alter default privileges in schema core grant select on tables to public":
        ("ALTER DEFAULT PRIVILEGES", "TABLES"),
    "create publication p for table core.bots": ("CREATE PUBLICATION", "publication p"),
}
COMMANDS |= {  # what is called as if it were a session's own, or a month of the log
    'create table public."a on pg_temp" ()': ("CREATE TABLE", 'table public."a on pg_temp"'),
    'create table public."a on audit_partitions.b" ()':
        ("CREATE TABLE", 'table public."a on audit_partitions.b"'),
    'create policy "p on pg_temp.q" on core.bots':
        ("CREATE POLICY", 'policy "p on pg_temp.q" on core.bots'),
}
COMMANDS["alter table core.messages rename column body to text"] = (
    "ALTER TABLE", "table column core.messages.text")


def last_entry(conn: psycopg.Connection) -> int:
    return conn.execute("select coalesce(max(entry_id), 0) from audit.events").fetchone()[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_change_of_the_schema_is_on_record_as_it_happens(
        conn: psycopg.Connection, command: str):
    before = last_entry(conn)
    conn.execute(command)
    assert COMMANDS[command] in conn.execute(TOLD, [before]).fetchall()


def test_in_replica_mode_too_and_with_the_login(conn: psycopg.Connection):
    before = last_entry(conn)
    conn.execute("set local session_replication_role = replica")
    conn.execute("drop function core.run_leaf_hooks(regclass)")
    conn.execute("set local session_replication_role = origin")
    assert conn.execute("select login = session_user, severity, bot_id from audit.events"
                        " where kind = 'schema_changed' and entry_id > %s",
                        [before]).fetchone() == (True, "notice", 0)


def test_neither_a_sessions_own_tables_nor_bots_nor_what_months_are_made_of_are(
        database: Database):
    with database.connect() as conn:
        before = last_entry(conn)
        conn.execute("create temporary table mine (a int primary key)")
        conn.execute("create index on mine (a)")
        conn.execute("comment on table mine is 'x'")
        conn.execute("alter table mine add column b text")
        conn.execute("drop table mine")
        make_bot(database)
        assert conn.execute(TOLD, [before]).fetchall() == []
        conn.execute("select audit.ensure_month(now() + interval '9 months')")
        assert {tag for tag, _ in conn.execute(TOLD, [before])} <= {"ALTER TABLE", "GRANT"}
        assert all("audit_partitions" not in named for _, named in conn.execute(TOLD, [before]))


def test_whoever_takes_the_current_month_away_is_not_kept_from_it_by_the_record(
        conn: psycopg.Connection):
    leaf, = conn.execute("select core.ensure_partition('audit.security_audit_log', now())::text"
                         ).fetchone()
    for command in (f"alter table audit.security_audit_log detach partition {leaf}",
                    f"alter table {leaf} rename to gone", "drop table audit_partitions.gone"):
        conn.execute(command)
    conn.execute("create table public.mine ()")
    assert ("CREATE TABLE", "table public.mine") in conn.execute(TOLD, [0]).fetchall()


def test_a_change_that_cannot_be_recorded_fails(conn: psycopg.Connection):
    with refused(conn, "42501"):
        conn.execute("drop policy app_auditor_insert on audit.security_audit_log")


def test_what_a_migration_changes_its_acceptance_says(database: Database):
    with database.connect() as conn:
        before = last_entry(conn)
        with conn.transaction():
            conn.execute("select security.expect_inventory()")
            conn.execute("alter table core.bots add column plan text")
            conn.execute("select security.accept_inventory('006_plan')")
        assert conn.execute(TOLD, [before]).fetchall() == []


def test_who_puts_the_trigger_to_rest_is_named(conn: psycopg.Connection):
    conn.execute("alter event trigger record_schema_change disable")
    assert conn.execute("select kind, object from security.differences()").fetchall() == [
        ("event trigger", "record_schema_change")]


def test_who_switches_event_triggers_off_is_named(database: Database):
    with database.connect() as conn:
        if conn.execute("select from pg_settings where name = 'event_triggers'").rowcount == 0:
            pytest.skip("before 17 there is no such switch")
        conn.execute(f'alter database "{database.parts["dbname"]}" set event_triggers = off')
        assert conn.execute("select kind, object from security.differences()").fetchall() == [
            ("setting", "event_triggers in this database")]


def test_nobody_says_so_by_hand(conn: psycopg.Connection):
    with refused(conn, "MB209"):
        conn.execute("select audit.log_event('schema_changed', 'notice', '{}')")


def test_where_no_superuser_migrates_it_is_said_and_a_superusers_triggers_are_no_difference(
        owned: Database, cluster: Database):
    done = run_runner(owned, "migrate")
    assert "only a superuser's migration makes event triggers" in done.stdout + done.stderr
    with Database(cluster.parts | {"dbname": owned.parts["dbname"]}).connect() as superuser:
        for name, event in (("change", "ddl_command_end"), ("drop", "sql_drop")):
            superuser.execute(f"create event trigger record_schema_{name} on {event}"
                              " execute function audit.record_schema_change()")
            superuser.execute(f"alter event trigger record_schema_{name} enable always")
        assert superuser.execute("select * from security.differences()").fetchall() == []
        superuser.execute("create table public.mine (a int)")
        superuser.execute("drop table public.mine")
        assert superuser.execute("select count(*) from audit.security_audit_log"
                                 " where kind = 'schema_changed'").fetchone() == (2,)
        run_runner(owned, "rollback", "--all", "--discard-data", "--yes")
        assert superuser.execute("select * from pg_event_trigger").fetchall() == []
