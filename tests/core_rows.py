"""What the tests of schema core share: rows to start from, sessions at once, refusals, verify.

A test module takes the fixtures by `pytest_plugins = "core_rows"`.
PYTEST_DONT_REWRITE: it is imported before it is named as a plugin.
"""

import io
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import psycopg
import pytest
from conftest import PATIENCE, PROJECT, Database, clone
from psycopg import sql

import runner
from bench.measure import create_database
from fleet import files, migrate, server, verify
from fleet.bots import verifier

MIGRATIONS = files.read(PROJECT / "sql")
ROOT = MIGRATIONS[0]
TABLES = ("bots", "girls_profiles", "conversations", "messages", "bot_metrics")
# A table that core.ensure_partition is for.
EVENTS = """create table core.events (
    event_id bigint generated always as identity, happened_at timestamptz not null, note text,
    constraint events_pk primary key (happened_at, event_id)
) partition by range (happened_at)"""


@pytest.fixture(scope="module")
def clone_of_module(cluster: Database, template: Database) -> Iterator[Database]:
    """One clone for the tests of a module that need a single session."""
    yield from clone(cluster, template.name)


@pytest.fixture
def conn(clone_of_module: Database) -> Iterator[psycopg.Connection]:
    """A session whose work is undone after the test."""
    with clone_of_module.connect() as conn, conn.transaction(force_rollback=True):
        yield conn


def migrator(conn: psycopg.Connection) -> migrate.Session:
    """The runner's own session over `conn`."""
    conn.prepare_threshold = None
    return migrate.Session(conn, MIGRATIONS, False, print, lambda *_: None)


def failed_checks(target: Database | psycopg.Connection) -> dict[str, str]:
    """The checks of all verify.sql that are not true, with their details."""
    if isinstance(target, Database):
        with target.connect() as conn:
            return failed_checks(conn)
    return {name: detail for migration in MIGRATIONS
            for name, ok, detail in verify.check(target, migration) if not ok}


@contextmanager
def refused(conn: psycopg.Connection, sqlstate: str, constraint: str | None = None
            ) -> Iterator[pytest.ExceptionInfo]:
    """The block, a transaction of its own, must raise this SQLSTATE (and name this constraint)."""
    with pytest.raises(psycopg.Error) as caught, conn.transaction():
        yield caught
    assert caught.value.sqlstate == sqlstate, caught.value
    if constraint:
        assert caught.value.diag.constraint_name == constraint


@contextmanager
def login(database: Database, name: str, attributes: str = "") -> Iterator[Database]:
    """`database` as seen by a login made for the block, dropped with its rights after it."""
    role, password = sql.Identifier(name), secrets.token_hex(16)
    with database.connect() as conn:
        conn.execute(sql.SQL("create role {} login password {} " + attributes).format(
            role, password))
        conn.execute(sql.SQL("grant connect on database {} to {}").format(
            sql.Identifier(database.name), role))
        try:
            yield Database(database.parts | {"user": name, "password": password})
        finally:
            conn.execute(sql.SQL("drop owned by {}; drop role {}").format(role, role))


@contextmanager
def owner_database(cluster: Database) -> Iterator[Database]:
    """A new database, as seen by its owner, who has CREATEROLE and is no superuser."""
    name = f"fleet_owner_{secrets.token_hex(6)}"
    with cluster.connect() as conn, login(cluster, name, "createrole") as owner:
        create_database(conn, name, name)
        try:
            yield Database(owner.parts | {"dbname": name})
        finally:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline and conn.execute(  # a keeper drops it a moment later
                    "select from pg_database where datname <> %s and datname ~ '^fleet_scratch_'"
                    " and datdba = %s::regrole", [name, name]).fetchone():
                time.sleep(0.05)
            server.drop_database(conn, name)


@pytest.fixture(scope="module")
def owners(cluster: Database) -> Iterator[Database]:
    """A database that its owner migrated, as seen by them, for cloning only. Not for longer than a
    module: a login that makes roles is named by the checks of every other database."""
    with owner_database(cluster) as database:
        with database.connect() as conn:
            conn.execute("set row_security = off")  # as the runner's connection does
            migrator(conn).migrate()
        yield database


def owner_clone(cluster: Database, owners: Database) -> Iterator[Database]:
    """A copy of it, connected to as its owner, dropped in the end."""
    for database in clone(cluster, owners.name, owners.parts["user"]):
        yield Database(owners.parts | {"dbname": database.name})


@pytest.fixture
def owned(cluster: Database) -> Iterator[Database]:
    """A new database, connected to as its owner."""
    with owner_database(cluster) as database:
        yield database


def make_bot(database: Database, name: str | None = None) -> tuple[int, Database]:
    """A new bot with its login: bot_id, and `database` as seen by it. It goes with the clone."""
    password = secrets.token_hex(16)
    with database.connect() as conn:
        bot = conn.execute("select security.create_bot(%s, %s)", [
            name or f"bot {secrets.token_hex(6)}", verifier(conn, password)]).fetchone()[0]
    return bot, Database(database.parts | {"user": f"bot_{bot}", "password": password})


def program(database: Database, name: str, *arguments: str, **variables: str
            ) -> subprocess.CompletedProcess:
    """Runs psql or pg_dump against the database, as its login; never raises for an exit code."""
    binaries = Path(os.environ.get("TEST_PG_BIN") or server.wheel_binaries())
    return subprocess.run([binaries / name, *arguments], capture_output=True, text=True,
                          env=database.environment(**variables))


def run_runner(database: Database, *arguments: str, code: int | None = 0, **variables: str
               ) -> subprocess.CompletedProcess:
    """Runs the runner as the database's login to its end, within this process, which saves half a
    second; fails on another exit code than `code` (None: any)."""
    out, err = io.StringIO(), io.StringIO()
    with (patch.dict(os.environ, database.environment(**variables), clear=True),
          redirect_stdout(out), redirect_stderr(err)):
        try:
            exit_code = runner.main([*arguments])
        except SystemExit as end:  # argparse
            exit_code = end.code
    return _ended(subprocess.CompletedProcess(
        arguments, exit_code, out.getvalue(), err.getvalue()), code)


def start_runner(database: Database, *arguments: str, code: int | None = 0, said: str | None = None
                 ) -> subprocess.CompletedProcess:
    """The same in a process of its own, for threads and where `said` is its standard input."""
    return _ended(subprocess.run(
        [sys.executable, PROJECT / "runner.py", *arguments], input=said, capture_output=True,
        stdin=subprocess.DEVNULL if said is None else None, text=True, env=database.environment()),
        code)


def _ended(done: subprocess.CompletedProcess, code: int | None) -> subprocess.CompletedProcess:
    """What a runner left; fails on a traceback or another exit code than `code`."""
    assert code is None or done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "the runner failed" not in done.stderr, done.stderr
    return done


def psql(database: Database, file: Path, **variables: str) -> subprocess.CompletedProcess:
    """Runs one file as a DBA would: in one transaction, stopping at the first error."""
    return program(database, "psql", "-XqAt", "-1", "-v", "ON_ERROR_STOP=1", "-f", str(file),
                   **variables)


def dump(database: Database) -> str:
    """All that the database is, without its rows, as SQL."""
    done = program(database, "pg_dump", "--create", "--schema-only")
    assert done.returncode == 0, done.stderr
    # random tokens, and a number that 15.20 keeps with each column and only its own pg_dump hides
    text = re.sub(r"^\\(un)?restrict .*$|^ALTER TABLE .* SET \(pg_attver=\d+\);$", "",
                  done.stdout, flags=re.M)
    return re.sub(r"\bapp_provisioner_[0-9a-f]{8}\b", "app_provisioner_N", text)


def add_bot(conn: psycopg.Connection, name: str | None = None) -> int:
    return conn.execute("insert into core.bots (name) values (%s) returning bot_id",
                        [name or f"bot {secrets.token_hex(6)}"]).fetchone()[0]


def add_conversation(conn: psycopg.Connection, bot: int, chat: int) -> int:
    return conn.execute("select core.ensure_conversation(%s, %s, null)",
                        [bot, chat]).fetchone()[0]


def record(conn: psycopg.Connection, bot: int, chat: int, sent_at: str) -> int:
    return conn.execute("select core.record_message(%s, 'in', 'hello', %s, p_bot_id => %s)",
                        [chat, sent_at, bot]).fetchone()[0]


def fill(conn: psycopg.Connection) -> int:
    """A new bot with one row in each of the five tables, its chat is 1; returns its id."""
    bot = add_bot(conn)
    record(conn, bot, 1, "2025-01-01")
    conn.execute("insert into core.bot_metrics (bot_id, day) values (%s, '2025-01-01')", [bot])
    return bot


def add_task(target: Database | psycopg.Connection, name: str, body: str) -> None:
    """A maintenance task as of a later migration, due at once: `body` is PL/pgSQL."""
    target.execute(f"""
        create function performance.{name}() returns text
        language plpgsql set search_path = pg_catalog, pg_temp
        as $body$ begin {body} return 'done'; end $body$;
        grant execute on function performance.{name}() to app_maintainer;
        insert into performance.task (task, routine, every, description)
        values ('{name}', 'performance.{name}()', '1 hour', 'A test.')""")


def wrong_counters(conn: psycopg.Connection) -> list[tuple]:
    """Chats whose counts are not what their messages say, and conversations that are no chat."""
    return conn.execute("""
        select bot_id, conversation_id, c.message_count, m.messages, c.last_message_at, m.last_at
        from core.conversations
        full join core.chats as c using (bot_id, conversation_id)
        left join (
            select bot_id, conversation_id, count(*) as messages, max(sent_at) as last_at
            from core.messages
            group by bot_id, conversation_id) as m using (bot_id, conversation_id)
        where (c.message_count, c.last_message_at)
              is distinct from (coalesce(m.messages, 0), m.last_at)""").fetchall()


def at_once(database: Database, jobs: Sequence[Callable[[psycopg.Connection], object]]) -> list:
    """Runs each job on a connection of its own, all started together; returns their results."""
    start = threading.Barrier(len(jobs))

    def work(job: Callable[[psycopg.Connection], object]) -> object:
        with database.connect() as conn:
            start.wait(30)
            return job(conn)

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(work, jobs))


@contextmanager
def meanwhile(conn: psycopg.Connection, statement: str) -> Iterator[Future]:
    """Sends `statement` on `conn`; the block runs once it waits for a lock. Yields its future."""
    with (ThreadPoolExecutor(1) as pool,
          psycopg.connect(conn.info.dsn, password=conn.info.password, autocommit=True) as observer):
        future = pool.submit(conn.execute, statement)
        deadline = time.monotonic() + PATIENCE
        while not observer.execute("select cardinality(pg_blocking_pids(%s)) > 0",
                                   [conn.info.backend_pid]).fetchone()[0]:
            assert not future.done() and time.monotonic() < deadline, "it did not wait for a lock"
            time.sleep(0.01)
        yield future
