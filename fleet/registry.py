"""yoyo's tables and our history beside them: who applied which content, and who is at it now."""

import getpass
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from yoyo import internalmigrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri
from yoyo.migrations import default_migration_table

from fleet import sqlfile
from fleet.errors import FleetError
from fleet.files import FILES, Migration

FOLDER = Path(__file__).parent.parent / "sql/000_registry"


class Backend(PostgresqlPsycopgBackend):
    """yoyo's own table definitions, made over our connection and inside our transaction."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self._ours = conn
        super().__init__(parse_uri("postgresql+psycopg://"), default_migration_table)
        self._in_transaction = True  # yoyo then makes savepoints and leaves the commit to us

    def connect(self, _uri: object) -> psycopg.Connection:
        return self._ours


def exists(conn: psycopg.Connection, name: str) -> bool:
    """Whether there is a relation of this name, or a function of this signature."""
    look = "to_regprocedure" if name.endswith(")") else "to_regclass"
    return conn.execute(f"select {look}(%s) is not null", [name]).fetchone()[0]


def script(name: str) -> sqlfile.Script:
    """A file of sql/000_registry, which a DBA may run by psql as well."""
    return sqlfile.read(FOLDER / name, f"sql/{FOLDER.name}/{name}")


def run(conn: psycopg.Connection, name: str) -> list[tuple]:
    """Runs such a file; returns the rows of its last statement."""
    with conn.transaction():
        return sqlfile.run(conn, script(name))


def preflight(conn: psycopg.Connection, place: str, say: Callable[[str], None],
              noteworthy: Callable[[str], bool] = lambda detail: True) -> None:
    """May this login migrate this database? Raises MB904 for the first check that is not true; says
    those whose detail is noteworthy."""
    rows = run(conn, "preflight.sql")
    for check, ok, detail in rows:
        if noteworthy(detail):
            say(f"{'ok' if ok else 'FAILED'}: {check} ({detail})")
    for check, ok, detail in rows:
        if not ok:
            found, _, remedy = detail.partition("; ")
            raise FleetError("MB904", f"not true: {check} ({found})", remedy, place)


def create(conn: psycopg.Connection) -> None:
    """Makes yoyo's tables and our history where they are missing."""
    with conn.transaction():
        conn.execute("set local search_path = public")
        backend = Backend(conn)
        if not exists(conn, "public.yoyo_lock"):
            backend.execute(backend.format_sql(backend.create_lock_table_sql))
        if internalmigrations.needs_upgrading(backend):
            internalmigrations.upgrade(backend)
        if not exists(conn, "public._migration_history"):
            run(conn, "create.sql")
        if not exists(conn, "public._migration_claim(integer)"):
            run(conn, "marks.sql")


def marks(conn: psycopg.Connection) -> list[Any]:
    """Rows of yoyo's marks with what our history knows of each; empty without a registry."""
    cursor = conn.cursor(row_factory=namedtuple_row)
    if exists(conn, "public._migration_state"):
        return cursor.execute("select * from public._migration_state").fetchall()
    if exists(conn, "public._yoyo_migration"):  # yoyo ran before the first runner
        return cursor.execute(
            "select migration_id, applied_at_utc as applied_at, null as login,"
            " null as apply_sha256 from public._yoyo_migration").fetchall()
    return []


def has_inventory(conn: psycopg.Connection) -> bool:
    """Whether 002_security is in place, which keeps what was accepted."""
    return exists(conn, "security.differences()")


def expect(conn: psycopg.Connection, unfinished: str | None = None) -> None:
    """Raises MB111 (exit 3) if the database is not what was last accepted.

    But for what a migration that runs in no transaction, `unfinished`, left when it was killed.
    """
    if has_inventory(conn):
        with sqlfile.blaming():
            conn.execute("select security.expect_inventory(%s)", [unfinished])


def differences(conn: psycopg.Connection) -> list[tuple[str, str, str]]:
    """(kind and object, accepted, live) of what is not as it was last accepted."""
    if not has_inventory(conn):
        return []
    return conn.execute("select kind || ' ' || object, coalesce(accepted, 'not there'),"
                        " coalesce(live, 'not there') from security.differences()").fetchall()


def known(conn: psycopg.Connection) -> set[str]:
    """The ids that our history has ever met."""
    if not exists(conn, "public._migration_history"):
        return set()
    return {row[0] for row in conn.execute("select migration_id from public._migration_history")}


def take_yoyo_lock(conn: psycopg.Connection, holder: int) -> None:
    """Takes yoyo's lock row for the backend that holds ours. Raises MB908."""
    with sqlfile.blaming():
        conn.execute("select public._migration_claim(%s)", [holder])


def drop_yoyo_lock(conn: psycopg.Connection, holder: int) -> None:
    """Gives it back, if it is there, and ours."""
    with suppress(psycopg.Error), conn.transaction():
        conn.execute("delete from public.yoyo_lock where pid = %s", [-holder])


def mark(conn: psycopg.Connection, migration: Migration, operation: str, seconds: float) -> None:
    """Writes yoyo's mark (unless yoyo did) and our history row, in the caller's transaction; or
    takes the mark away (rollback). Raises MB907 if somebody else did so meanwhile."""
    sums = [migration.sha256(name) for name in FILES] if operation != "rollback" else []
    with sqlfile.blaming(), conn.transaction():
        conn.execute("select public._migration_mark(%s, %s, %s::text[], %s, %s)", [
            migration.id, operation, sums, timedelta(seconds=seconds), actor()])


def actor() -> str:
    """Who runs this, as the operating system says: user@host. A claim, not a fact."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a uid without a passwd entry, as in a container
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"
