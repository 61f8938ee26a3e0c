"""Before and after: what migrate refuses before it begins, and what psql has put in place."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from conftest import Database
from core_rows import MIGRATIONS, login, psql, run_runner
from psycopg import sql

pytest_plugins = "core_rows"


@contextmanager
def encoded(cluster: Database, encoding: str) -> Iterator[Database]:
    """An empty database of this encoding."""
    name = f"fleet_{encoding.lower()}_{secrets.token_hex(4)}"
    cluster.execute(f"create database {name} template template0 encoding {encoding} locale 'C'")
    try:
        yield Database(cluster.parts | {"dbname": name})
    finally:
        cluster.execute(f"drop database {name}")


def tables(database: Database) -> list[tuple]:
    return database.execute("select oid::regclass from pg_class where oid >= 16384")


def by_psql(database: Database) -> None:
    """Installs everything as README tells those who work without the runner."""
    done = [psql(database, migration.path("apply")) for migration in MIGRATIONS]
    assert [d.returncode for d in done] == [0] * len(done), done[-1].stderr


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_utf8_is_refused_before_anything_is_made(cluster, encoding):
    with encoded(cluster, encoding) as database:
        done = run_runner(database, "migrate", code=1)
        assert "MB904" in done.stderr and encoding in done.stderr and "createdb" in done.stderr
        by_hand = psql(database, MIGRATIONS[0].path("apply"))
        assert by_hand.returncode and f"encoded in {encoding}" in by_hand.stderr
        assert "createdb" in by_hand.stderr and tables(database) == []


def test_a_login_that_may_make_no_roles_is_refused_before_anything_is_made(cluster, empty):
    with login(cluster, f"fleet_poor_{secrets.token_hex(6)}") as poor:
        empty.execute(sql.SQL("grant create on schema public to {}").format(
            sql.Identifier(poor.parts["user"])).as_string(None))
        done = run_runner(Database(poor.parts | {"dbname": empty.name}), "migrate", code=1)
        assert "not true: the login may make roles" in done.stderr and tables(empty) == []
        empty.execute(sql.SQL("drop owned by {}").format(
            sql.Identifier(poor.parts["user"])).as_string(None))


def test_what_a_server_lacks_is_said_once_with_what_it_means(empty):
    """A table called as Citus calls its own stands for Citus."""
    with psycopg.connect(**empty.parts, options="-c allow_system_table_mods=on") as conn:
        conn.execute("create table pg_catalog.pg_dist_node as select generate_series(1, 3)")
    first = run_runner(empty, "migrate", "--to", "001").stderr
    assert "Citus has nodes; our tables stay on this one" in first
    assert "Citus" not in run_runner(empty, "migrate", "--to", "001").stderr


def test_status_and_verify_tell_no_install_from_one_by_psql(empty):
    assert {row["state"] for row in json.loads(
        run_runner(empty, "status", "--json", code=3).stdout)} == {"pending"}
    assert "nothing is applied here: runner.py migrate" in run_runner(
        empty, "verify", code=3).stderr
    by_psql(empty)
    found = json.loads(run_runner(empty, "status", "--json", code=3).stdout)
    assert {(row["state"], row["next_step"]) for row in found} == {
        ("adopt", f"in place, not marked: runner.py adopt {MIGRATIONS[-1].id}")}
    said = run_runner(empty, "verify", code=3).stderr
    assert f"checks of {len(MIGRATIONS)} migrations, none failed" in said
    assert f"runner.py adopt {MIGRATIONS[-1].id}" in said
    refused = run_runner(empty, "migrate", code=4).stderr
    assert "MB907" in refused and f"runner.py adopt {MIGRATIONS[-1].id}" in refused


@pytest.mark.parametrize("whose", ["empty", "owned"])
def test_what_psql_installed_and_the_runner_adopted_is_maintained(request, whose):
    database = request.getfixturevalue(whose)
    by_psql(database)
    run_runner(database, "adopt", MIGRATIONS[-1].id)
    assert {row["state"] for row in json.loads(
        run_runner(database, "status", "--json").stdout)} == {"applied"}
    database.execute("insert into public.yoyo_lock (locked, ctime, pid) values (1, now(), -1)")
    done = json.loads(run_runner(database, "maintain", "--json").stdout)
    assert {row["task"]: row["ok"] for row in done}["stale_locks"] is True
    assert database.execute("select * from public.yoyo_lock") == []
    for command in ("verify", "migrate", "health"):
        run_runner(database, command)


def test_a_weakened_install_by_psql_is_no_empty_database(empty):
    by_psql(empty)
    empty.execute("alter table core.messages no force row level security")
    done = run_runner(empty, "verify", code=4)
    assert "forced" in done.stdout and "runner.py adopt" in done.stderr
