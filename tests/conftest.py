"""The database under test: which server, one template of a migrated database, a clone per test."""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import sql

from fleet import config, files, migrate, programs, server

# A background job ignores Ctrl-C, one of nohup hang-ups, and hands that down to what it tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
PROJECT = Path(__file__).resolve().parent.parent
# Nothing of the developer's own settings may reach a test, or a test the developer's database.
TEST_DATABASE_URL = os.environ.pop("TEST_DATABASE_URL", "")
# Seconds until a test gives up waiting for something to happen; a busy machine is no fault.
PATIENCE = 300
# The files that take longest: begun last, each would keep one worker while the others have nothing.
LONG = ("attacks", "audit_attacks", "weakenings", "inventory", "security", "bot_tables", "import",
        "diff", "scratch", "sixth_migration", "upkeep", "import_again", "audit_seals", "yoyo",
        "up_down", "sisters", "server", "in_the_way", "no_transaction", "runner", "bench")
SLEEP = f"select pg_sleep({2 * PATIENCE});"  # ends only if somebody ends it
for name in [n for n in os.environ if n.startswith("PG") or n in (
        "DATABASE_URL", "CURRENT_BOT_ID", "MULTI_BOT_ENABLED")]:
    del os.environ[name]


def pytest_xdist_auto_num_workers() -> int:
    """A worker for each core, with a server of its own; none where they would share one, as the
    roles that tests make and count are the whole cluster's."""
    return 0 if TEST_DATABASE_URL else min(os.cpu_count() or 1, 4)


def pytest_configure(config: pytest.Config) -> None:
    """Refuses workers beside TEST_DATABASE_URL, which only this process knows by now."""
    if TEST_DATABASE_URL and config.getoption("numprocesses"):
        raise pytest.UsageError("tests on TEST_DATABASE_URL share its roles: leave out -n")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what is marked as torture, but in `make torture`; puts the long files first."""
    places = {f"test_{name}": place - len(LONG) for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, 0))
    if not os.environ.get("TORTURE"):
        items[:] = [item for item in items if not item.get_closest_marker("torture")]


@dataclass(frozen=True)
class Database:
    """One database on the server under test; `parts` are libpq keywords of a superuser."""

    parts: dict[str, str]

    @property
    def name(self) -> str:
        return self.parts["dbname"]

    def connect(self, **parts: str) -> psycopg.Connection:
        return psycopg.connect(**{**self.parts, **parts}, autocommit=True)

    def execute(self, text: str, arguments: list | None = None) -> list[tuple]:
        """Runs one statement on a connection of its own; returns its rows."""
        with self.connect() as conn:
            cursor = conn.execute(text, arguments)
            return cursor.fetchall() if cursor.description else []

    def environment(self, **more: str) -> dict[str, str]:
        """For child processes: the libpq environment of this database, nothing of the shell's."""
        found = config.DatabaseConfig(self.parts, {})
        return programs.environment(found, os.environ) | {"NO_COLOR": "1", "COLUMNS": "250"} | more


@pytest.fixture(scope="session")
def cluster() -> Iterator[Database]:
    """The server under test: TEST_DATABASE_URL, else a container, else one of our own.

    TEST_PG_BIN names a folder of server binaries to use instead (make test-all says 15's).
    """
    if TEST_DATABASE_URL:
        yield Database(dict(psycopg.conninfo.conninfo_to_dict(TEST_DATABASE_URL)))
        return
    if not os.environ.get("TEST_PG_BIN") and (container := start_container()):
        with container:
            yield Database({
                "host": container.get_container_host_ip(),
                "port": str(container.get_exposed_port(5432)),
                "user": container.username, "password": container.password,
                "dbname": container.dbname})
        return
    with private_server() as own:
        yield Database(dict(own.parts()))


@contextmanager
def private_server(binaries: Path | None = None, dbname: str = "fleet"
                   ) -> Iterator[server.Server]:
    """A started server of these programs (or TEST_PG_BIN's, or the wheel's), gone with its files.

    They lie in memory where there is room: a clone has 400, which most of its time goes into.
    """
    if not binaries:
        binaries = Path(os.environ.get("TEST_PG_BIN") or server.wheel_binaries())
    with tempfile.TemporaryDirectory(prefix="fleet-tests-", dir=roomy_folder()) as folder:
        Path(folder).chmod(0o711)  # a root's server may run as somebody else
        own = server.Server(
            binaries, Path(folder) / "server", dbname,
            settings=(("fsync", "off"), ("max_connections", "200"), ("log_statement", "all"),
                      ("log_min_duration_statement", "-1"), ("max_wal_size", "128MB"),
                      ("max_prepared_transactions", "5")))
        own.start()
        try:
            yield own
        finally:
            own.stop("immediate")


def roomy_folder() -> str:
    """Where servers' files go: Linux's folder in memory if a few have room there, else on disk."""
    memory, usual = "/dev/shm", tempfile.gettempdir()  # noqa: S108
    if not Path(memory).is_dir():
        return usual
    room = min(shutil.disk_usage(memory).free, psutil.virtual_memory().available)
    return memory if room > 3 * 2**30 else usual


def start_container():
    """A PostgreSQL container that is ready, or None where no Docker engine answers."""
    from docker.errors import DockerException
    from testcontainers.community.postgres import PostgresContainer

    try:
        return PostgresContainer("postgres:18", driver=None)
    except DockerException:
        return None


@pytest.fixture(scope="session")
def template(cluster: Database) -> Iterator[Database]:
    """A database with every migration applied, for cloning only."""
    name = f"fleet_template_{secrets.token_hex(4)}"
    cluster.execute(f"create database {name}")
    made = Database(cluster.parts | {"dbname": name})
    with made.connect() as conn:
        conn.prepare_threshold = None
        migrate.Session(conn, files.read(PROJECT / "sql"), False, print,
                        lambda *_: None).migrate()
    yield made
    with cluster.connect() as conn:
        server.drop_database(conn, name)


def cheapest(conn: psycopg.Connection) -> str:
    """How a database is copied in half the time: without the log, where nothing is synced."""
    return "file_copy" if conn.execute("show fsync").fetchone() == ("off",) else "wal_log"


def clone(cluster: Database, origin: str, owner: str | None = None) -> Iterator[Database]:
    """A copy of the database `origin` (for `owner`), dropped in the end."""
    name = f"fleet_test_{secrets.token_hex(6)}"
    with cluster.connect() as conn:
        conn.execute(sql.SQL("create database {} template {} owner {} strategy {}").format(
            *map(sql.Identifier, (name, origin, owner or cluster.parts["user"], cheapest(conn)))))
        made = Database(cluster.parts | {"dbname": name})
        try:
            if made.execute("select to_regproc('security.protect_database') is not null")[0][0]:
                made.execute("select security.protect_database()")  # a clone has lost its rights
            yield made
        finally:
            server.drop_database(conn, name)


@pytest.fixture
def database(cluster: Database, template: Database) -> Iterator[Database]:
    """A clone of the migrated template, dropped after the test."""
    yield from clone(cluster, template.name)


@pytest.fixture
def empty(cluster: Database) -> Iterator[Database]:
    """A database without anything of ours, dropped after the test."""
    yield from clone(cluster, "template0")
