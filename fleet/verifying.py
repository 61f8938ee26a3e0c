"""A migration's verify.sql: what it says, and the refusal where it says no."""

from typing import TYPE_CHECKING

import psycopg

from fleet import sqlfile
from fleet.errors import DRIFT, FleetError

if TYPE_CHECKING:
    from fleet.migrations import Migration


def check(conn: psycopg.Connection, migration: "Migration") -> list[tuple[str, bool, str]]:
    """The rows of verify.sql: (check_name, ok, detail); one that fails to run is a row too."""
    try:
        with conn.transaction(force_rollback=True):  # its settings go with it
            conn.execute("set transaction read only; set local row_security = off")
            rows = sqlfile.run(conn, migration.script("verify"))
            if rows and len(rows[0]) == 3:
                return rows
            return [("verify.sql returns rows of check_name, ok, detail", False, "no check")]
    except FleetError as fault:
        if not isinstance(fault.__cause__, psycopg.errors.ProgrammingError):
            raise
        return [("verify.sql runs", False, f"{fault.place}: {fault.message}")]


def require(conn: psycopg.Connection, migration: "Migration") -> None:
    """Raises MB906 naming the checks of verify.sql that are not true."""
    failed = [f"{name} ({detail})" for name, ok, detail in check(conn, migration) if not ok]
    if failed:
        kept = "Nothing was kept" if migration.script("apply").in_transaction else (
            "What apply.sql did is kept, but not marked")
        raise FleetError("MB906", f"{migration.id}: not true: {'; '.join(failed)}",
                         f"{kept}. Compare apply.sql with verify.sql, or remove what is in the "
                         f"way.", migration.shown("verify"), DRIFT)
