"""Many bots behind PgBouncer in transaction mode: the two safe ways put no row into another bot,
and the unsafe one does, with the same load."""

import importlib.util
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
import pytest
from conftest import PROJECT, Database, private_server
from core_rows import make_bot, migrator, refused
from pooler import knows_prepared_statements, pooled

from fleet.bots import verifier

pytest_plugins = "core_rows"
CLIENTS, BOTS, POOL = 9, 3, 3
TASKS = 1008 if os.environ.get("TORTURE") else 135
KEEP = "core.record_message(%s, 'in', %s)"
SEEN = "select array_agg(distinct bot_id) from core.messages"
PREPARED = ["off", "by SQL", "by the driver"]


@dataclass(frozen=True)
class Fleet:
    """Three bots with logins and passwords, and a worker with all of them."""

    database: Database
    bots: dict[int, Database]
    worker: Database

    def verifiers(self) -> dict[str, str]:
        return dict(self.database.execute(
            "select rolname, rolpassword from pg_authid where rolpassword ~ '^SCRAM'"))

    def misplaced(self) -> tuple[int, int]:
        """How many messages there are, and how many of them are another bot's; they are gone then.
        """
        with self.database.connect() as conn:
            found = conn.execute("select count(*), count(*) filter (where body <> bot_id::text)"
                                 " from core.messages").fetchone()
            conn.execute("delete from core.messages")
        return found


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A fleet on a server that asks each login but the superuser's for its password."""
    with private_server() as own:
        database = Database(dict(own.parts()))
        with database.connect() as conn:
            migrator(conn).migrate()
            bots = dict(make_bot(database) for _ in range(BOTS))
            name, password = f"worker_{secrets.token_hex(4)}", secrets.token_hex(16)
            conn.execute("select security.create_worker(%s, %s, %s)",
                         [name, [*bots], verifier(conn, password)])
            rules = own.home.resolve() / own.major() / "pg_hba.conf"
            rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
            conn.execute("select pg_reload_conf()")
        yield Fleet(database, bots, Database(
            database.parts | {"user": name, "password": password}))


def behind(database: Database, pooler: Database) -> Database:
    """The same login, through a pooler."""
    return Database(database.parts | {key: pooler.parts[key] for key in ("host", "port")})


def keep(conn: psycopg.Connection, bot: int, prepared: str) -> list[int]:
    """Keeps a message that says whose it is; returns whose messages are to be seen. In a
    transaction."""
    if prepared == "by SQL":
        name = f"p{secrets.token_hex(4)}"
        conn.execute(f"prepare {name}(bigint, text) as select " + KEEP.replace("%s", "$1", 1)
                     .replace("%s", "$2", 1))
        conn.execute(f"execute {name}({bot}, '{bot}')")
        conn.execute(f"deallocate {name}")
    else:
        conn.execute(f"select {KEEP}", [bot, str(bot)])
    return conn.execute(SEEN).fetchone()[0]


def load(fleet: Fleet, connect: Callable[[ExitStack], object],
         task: Callable[[object, int], list[int]]) -> list[tuple[int, object]]:
    """All clients at work at once, each with what it connected to; whose messages each task saw, or
    how it was refused."""
    def client(number: int) -> list[tuple[int, object]]:
        with ExitStack() as stack:
            mine, found = connect(stack), []
            for turn in range(TASKS // CLIENTS):
                bot = bots[(number + turn) % BOTS]
                try:
                    found.append((bot, task(mine, bot)))
                except psycopg.Error as fault:
                    found.append((bot, fault.sqlstate))
            return found

    bots = [*fleet.bots]
    with ThreadPoolExecutor(CLIENTS) as threads:
        return [one for found in threads.map(client, range(CLIENTS)) for one in found]


def options(prepared: str) -> dict[str, int | None]:
    """psycopg's own prepared statements need a pooler that knows them."""
    if prepared == "by the driver" and not knows_prepared_statements():
        pytest.skip("PgBouncer before 1.21 knows no prepared statements of the protocol")
    return {"prepare_threshold": 0 if prepared == "by the driver" else None}


@pytest.mark.parametrize("prepared", PREPARED)
def test_each_bots_own_login_through_a_pooler_meets_its_own_rows_only(fleet: Fleet, prepared: str):
    more = options(prepared)
    first = next(iter(fleet.bots.values()))
    with pooled(first, POOL // BOTS, fleet.verifiers(), max_prepared_statements="100") as pooler:
        def connect(stack: ExitStack) -> dict[int, psycopg.Connection]:
            return {bot: stack.enter_context(behind(own, pooler).connect(**more))
                    for bot, own in fleet.bots.items()}

        def task(mine: dict[int, psycopg.Connection], bot: int) -> list[int]:
            with mine[bot].transaction():
                return keep(mine[bot], bot, prepared)

        found = load(fleet, connect, task)
    assert [one for one in found if one[1] != [one[0]]] == []
    assert fleet.misplaced() == (len(found), 0)


@pytest.mark.parametrize("become", ["set local role bot_{}", "select security.act_as({})"])
@pytest.mark.parametrize("prepared", PREPARED)
def test_a_worker_that_becomes_a_bot_for_a_transaction_meets_that_bots_rows_only(
        fleet: Fleet, prepared: str, become: str):
    more = options(prepared)
    with pooled(fleet.worker, POOL, fleet.verifiers(), max_prepared_statements="100") as pooler:
        def connect(stack: ExitStack) -> psycopg.Connection:
            return stack.enter_context(behind(fleet.worker, pooler).connect(**more))

        def task(conn: psycopg.Connection, bot: int) -> list[int]:
            with conn.transaction():
                conn.execute(become.format(bot))
                return keep(conn, bot, prepared)

        found = load(fleet, connect, task)
    assert [one for one in found if one[1] != [one[0]]] == []
    assert fleet.misplaced() == (len(found), 0)


@pytest.mark.parametrize("always", ["0", "1"])
def test_set_role_for_the_session_leaks_behind_a_pooler_that_resets_nothing(
        fleet: Fleet, always: str):
    with pooled(fleet.worker, POOL, fleet.verifiers(), server_reset_query_always=always) as pooler:
        def connect(stack: ExitStack) -> psycopg.Connection:
            return stack.enter_context(
                behind(fleet.worker, pooler).connect(prepare_threshold=None))

        def task(conn: psycopg.Connection, bot: int) -> list[int]:
            conn.execute(f"set role bot_{bot}")
            return keep(conn, bot, "off")

        found = load(fleet, connect, task)
    kept, misplaced = fleet.misplaced()
    if always == "1":  # each statement is a worker's that is no bot
        assert {saw for _, saw in found} == {"42501"}
        assert kept == 0
    else:
        assert misplaced > 0
        assert [saw for bot, saw in found if isinstance(saw, list) and saw != [bot]]


def test_act_as_outside_of_a_transaction_ends_with_its_statement(fleet: Fleet):
    bot, *_, last = fleet.bots
    with fleet.worker.connect() as conn:
        assert conn.execute("select security.act_as(%s), current_user::text", [bot]
                            ).fetchone()[1] in (f"bot_{bot}", fleet.worker.parts["user"])
        assert conn.execute("select current_user::text").fetchone() == (
            fleet.worker.parts["user"],)
        for statement in ("select * from core.messages", "select core.record_message(1, 'in', 'x')",
                          f"insert into core.bots (name) values ('{bot}')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)
        with conn.transaction():
            conn.execute("select security.act_as(%s)", [last])
            assert conn.execute("select bot_id from core.bots").fetchall() == [(last,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select bot_id from core.bots")
        with pytest.raises(ZeroDivisionError), conn.transaction():
            conn.execute("select security.act_as(%s)", [last])
            raise ZeroDivisionError
        assert conn.execute("select current_user::text").fetchone() == (
            fleet.worker.parts["user"],)


def test_act_as_lets_nobody_become_what_was_not_given_to_them(fleet: Fleet):
    bot, other, *_ = fleet.bots
    with fleet.worker.connect() as conn:
        for number in (other + 1000, 0, -1, None):
            with refused(conn, "MB124"):
                conn.execute("select security.act_as(%s)", [number])
    with fleet.bots[bot].connect() as conn, refused(conn, "MB124"):
        conn.execute("select security.act_as(%s)", [other])


@pytest.mark.parametrize(("program", "needs"), [
    ("worker.py", None), ("worker.py", "psycopg_pool"), ("worker_asyncpg.py", "asyncpg")])
def test_the_examples_keep_each_message_with_its_bot(fleet: Fleet, program: str, needs: str | None):
    if needs and not importlib.util.find_spec(needs):
        pytest.skip(f"no {needs}: pip install {needs}")
    tasks = [f"{bot} {chat} {bot}" for chat in range(1, 11) for bot in fleet.bots]
    hide = ["-c", "import runpy, sys; sys.modules.setdefault('psycopg_pool', None);"
                  f"runpy.run_path('examples/{program}', run_name='__main__')"]
    with pooled(fleet.worker, POOL, fleet.verifiers()) as pooler:
        done = subprocess.run(
            [sys.executable, *([f"examples/{program}"] if needs else hide)], cwd=PROJECT,
            input="\n".join(tasks), capture_output=True, text=True,
            env=behind(fleet.worker, pooler).environment())
    assert done.stdout.split("\n")[:-1] == [
        f"kept for bot {line.split()[0]}" for line in tasks], done.stderr
    assert fleet.misplaced() == (len(tasks), 0)
