"""May this login migrate this database? What sql/000_registry/preflight.sql answers."""

from collections.abc import Callable
from pathlib import Path

import psycopg

from fleet.errors import FleetError

PREFLIGHT = Path(__file__).parent.parent / "sql/000_registry/preflight.sql"


def require(conn: psycopg.Connection, place: str, say: Callable[[str], None],
            noteworthy: Callable[[str], bool] = lambda detail: True) -> None:
    """Raises MB904 for the first check that is not true; says those whose detail is noteworthy."""
    rows = conn.execute(PREFLIGHT.read_text("utf-8")).fetchall()
    for check, ok, detail in rows:
        if noteworthy(detail):
            say(f"{'ok' if ok else 'FAILED'}: {check} ({detail})")
    for check, ok, detail in rows:
        if not ok:
            found, _, remedy = detail.partition("; ")
            raise FleetError("MB904", f"not true: {check} ({found})", remedy, place)
