"""One runner at a time: a lock that holds behind a pooler, and that no bot can take.

It is on a view, held by a transaction that lasts as long as the work: a pooler gives it to nobody
else meanwhile, and it ends with its connection, however that ends.
"""

import select
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg.errors import DuplicateTable, LockNotAvailable, UniqueViolation

from fleet import config, registry
from fleet.errors import LOCKED, FleetError

PATIENCE = 20  # seconds that a pooler has for giving us two connections at once
# While it waits for the work to be done, no timeout ends this transaction, and it has no snapshot
# (each statement has its own) that would hold back vacuum and seals.
BEGIN = """begin isolation level read committed;
    select set_config(name, '0', true) from pg_settings where name in (
        'idle_in_transaction_session_timeout', 'statement_timeout', 'transaction_timeout')"""


@dataclass(frozen=True)
class Lock:
    """A view, and the statements that lock it, waiting a second at most: a COMMENT that is refused
    may hold it as well, but for a moment. Without parameters, or a snapshot would be left."""

    view: str
    take: str


MIGRATION = Lock("public._migration_lock", "set local lock_timeout = '1s';"
                 " lock table public._migration_lock in share update exclusive mode")
IMPORT = Lock("json_import.turn", "select json_import.claim_turn()")


@dataclass(frozen=True)
class Held:
    """A lock that the backend `pid` holds on a view."""

    pid: int
    view: int

    def require(self, conn: psycopg.Connection) -> None:
        """Raises MB901 unless `conn` sees the lock held: to be called before each commit."""
        if not conn.execute("select exists (select from pg_locks where pid = %s and relation = %s"
                            " and mode = 'ShareUpdateExclusiveLock' and granted)",
                            [self.pid, self.view]).fetchone()[0]:
            raise FleetError("MB901", f"the connection that holds the lock (backend {self.pid}) "
                             "is gone, or leads to another server", "What was not committed is "
                             "undone. See the log of the server or the pooler, then repeat.")


@contextmanager
def hold(conn: psycopg.Connection, lock: Lock, correlation_id: str, here: bool = False
         ) -> Iterator[Held]:
    """Holds a lock until the block ends, by a connection beside `conn`; or `here`, by the
    transaction that `conn` is in. Raises MB908 if somebody else holds it."""
    if lock is MIGRATION:
        _make(conn)
    if here:
        yield _take(conn, lock)
        return
    with closing(_beside(conn, correlation_id)) as other:
        other.cursor_factory = psycopg.Cursor  # this transaction is begun and ended by hand
        other.execute(BEGIN)
        held = _take(other, lock)
        _await_second(conn)
        held.require(conn)
        try:
            yield held
        finally:
            with suppress(psycopg.Error):
                other.execute("rollback")  # by now; a closed connection lets go a little later
            if lock is MIGRATION:  # whichever is there; after Ctrl-C `conn` may be in mid-statement
                registry.drop_yoyo_lock(conn if other.broken else other, held.pid)


def _make(conn: psycopg.Connection) -> None:
    """Makes the view if it is missing. Of two first runs the second finds it made."""
    try:
        if not registry.exists(conn, MIGRATION.view):
            registry.run(conn, "lock.sql")
    except FleetError as fault:
        if isinstance(fault.__cause__, LockNotAvailable):  # a dry run, that will undo its own
            raise _refusal(conn, MIGRATION) from fault
        if not isinstance(fault.__cause__, (DuplicateTable, UniqueViolation)):
            raise


def _beside(conn: psycopg.Connection, correlation_id: str) -> psycopg.Connection:
    """A second connection to the server that `conn` found; its name has the correlation id."""
    info = conn.info
    name = f"{info.parameter_status('application_name')} {correlation_id}"
    return config.connect(config.DatabaseConfig({
        "keepalives_idle": "60", **info.get_parameters(), "password": info.password,
        "host": info.host, "hostaddr": info.hostaddr, "port": str(info.port)}, {}),
        application_name=name)


def _take(conn: psycopg.Connection, lock: Lock) -> Held:
    """Takes the lock in the transaction of `conn`, or asks there who has it: a pooler may have no
    other connection left."""
    try:
        with conn.transaction():
            text = f"{lock.take}; select pg_backend_pid(), '{lock.view}'::regclass::oid"
            return Held(*conn.execute(text).set_result(-1).fetchone())
    except LockNotAvailable as fault:
        raise _refusal(conn, lock) from fault


def _await_second(conn: psycopg.Connection) -> None:
    """Raises MB901 where a pooler has but one connection for us, which the lock's keeps."""
    conn.pgconn.send_query(b"select")
    if not select.select([conn.fileno()], [], [], PATIENCE)[0]:
        conn.close()
        raise FleetError("MB901", f"no second connection from the pooler within {PATIENCE} s",
                         "One holds the lock while another works: let the pooler have two or more "
                         "for this login (PgBouncer: pool_size), or connect to the server itself.")
    while conn.pgconn.get_result():
        pass


def _refusal(conn: psycopg.Connection, lock: Lock) -> FleetError:
    """Who holds the lock since when, as far as this login may see it."""
    who = dict(registry.run(conn, "at_work.sql")).get(lock.view, "it has just begun, or finished")
    return FleetError("MB908", f"another runner is at work: {who}",
                      "Wait until it has finished, then repeat.", exit_code=LOCKED)
