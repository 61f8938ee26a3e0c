"""Every migration goes up, down and up again and leaves nothing behind; rows stop it."""

import os

import psycopg
import pytest
from conftest import Database
from core_rows import (
    MIGRATIONS,
    ROOT,
    TABLES,
    add_bot,
    dump,
    failed_checks,
    fill,
    meanwhile,
    migrator,
    psql,
)

from fleet import files
from fleet.errors import FleetError
from fleet.rollback import undo

ROUNDS = 2 if os.environ.get("TORTURE") else 1


def test_up_down_up_gives_the_same_database(empty: Database):
    with empty.connect() as conn:
        session = migrator(conn)
        with session.exclusive():
            pass  # makes the registry, which stays
        before = dump(empty)
        session.migrate()
        assert not failed_checks(conn)
        up = dump(empty)
        undo(session, MIGRATIONS, discard_data=False)
        assert dump(empty) == before
        assert "core" not in before
        session.migrate()
        assert not failed_checks(conn)
    assert dump(empty) == up


# the whole of it goes and comes above; 002 takes all but the first along, 005 goes alone
@pytest.mark.parametrize("migration", [
    pytest.param(m, id=m.id, marks=() if m.id[:3] in ("002", "005") else pytest.mark.torture)
    for m in MIGRATIONS])
def test_a_migration_goes_down_and_up_again_with_what_depends_on_it(
        database: Database, migration: files.Migration):
    before = dump(database)
    with database.connect() as conn:
        chosen = files.dependants(MIGRATIONS, migration.id)
        undo(migrator(conn), chosen, discard_data=False)
        assert dump(database) != before
        assert migrator(conn).migrate() == [m.id for m in chosen]
    assert dump(database) == before
    assert not failed_checks(database)


def test_a_sister_database_is_not_touched(database: Database, empty: Database):
    with database.connect() as conn:
        fill(conn)
    before = dump(database)
    with empty.connect() as conn:
        for _ in range(ROUNDS):
            migrator(conn).migrate()
            assert not failed_checks(database)
            undo(migrator(conn), MIGRATIONS, discard_data=False)
            assert not failed_checks(database)
    assert dump(database) == before


def alone(conn: psycopg.Connection) -> None:
    """Rolls back all but 001_core_schema, so that its own rollback has the word."""
    undo(migrator(conn), [m for m in MIGRATIONS if m != ROOT], discard_data=False)


def test_a_row_in_any_table_stops_the_rollback(database: Database):
    columns = {"bots": ("name", "'x'"), "girls_profiles": ("telegram_id, chat_id", "1, 1"),
               "conversations": ("profile_id, chat_id", "1, 1"),
               "messages": ("conversation_id, direction, body", "1, 'in', ''"),
               "bot_metrics": ("day", "'2025-01-01'")}
    assert tuple(columns) == TABLES
    with database.connect() as conn:
        alone(conn)
        before = dump(database)
        conn.execute("set session_replication_role = replica")  # a child without its parents
        for table, (names, values) in columns.items():
            if table != "bots":
                names, values = f"bot_id, {names}", f"1, {values}"
            conn.execute(f"insert into core.{table} ({names}) values ({values})")
            with pytest.raises(FleetError) as caught:
                undo(migrator(conn), [ROOT], discard_data=False)
            assert caught.value.code == "MB001"
            assert f"core.{table} " in caught.value.message
            assert "--discard-data" in caught.value.hint
            assert conn.execute(f"delete from core.{table}").rowcount == 1
    assert dump(database) == before


def test_a_row_that_is_committed_while_the_rollback_waits_stops_it(database: Database):
    with database.connect() as writer, database.connect() as conn:
        alone(conn)
        writer.execute("begin")
        add_bot(writer)
        with meanwhile(conn, f"begin; {ROOT.script('rollback').text}; commit") as undoing:
            writer.execute("commit")
            fault = undoing.exception()
        assert fault and fault.sqlstate == "MB001"
        conn.execute("rollback")
        assert writer.execute("select count(*) from core.bots").fetchone() == (1,)


def test_the_runner_discards_rows_when_told_to(database: Database):
    with database.connect() as conn:
        fill(conn)
        undo(migrator(conn), MIGRATIONS, discard_data=True)
        assert conn.execute("select to_regnamespace('core')").fetchone() == (None,)
        migrator(conn).migrate()
    assert not failed_checks(database)


def test_psql_discards_rows_when_told_to(database: Database):
    with database.connect() as conn:
        fill(conn)
    for migration in reversed(MIGRATIONS[1:]):
        done = psql(database, migration.path("rollback"), PGOPTIONS="-c app.discard_data=on")
        assert done.returncode == 0, done.stderr
    for refusing in ({}, {"PGOPTIONS": "-c app.discard_data=off"}):
        done = psql(database, ROOT.path("rollback"), **refusing)
        assert (done.returncode, "core.bots holds rows" in done.stderr) == (3, True), done.stderr
    assert database.execute("select count(*) from core.messages") == [(1,)]
    done = psql(database, ROOT.path("rollback"), PGOPTIONS="-c app.discard_data=on")
    assert done.returncode == 0, done.stderr
    assert database.execute("select to_regnamespace('core')") == [(None,)]
