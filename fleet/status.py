"""`runner.py status`: where each migration stands, by disk, yoyo's marks and our history."""

from dataclasses import dataclass

import psycopg

from fleet import registry, verify
from fleet.command import Command, Context
from fleet.errors import DONE, DRIFT, PENDING, FleetError
from fleet.files import FILES, Migration

WRONG = {"edited": PENDING, "gone": DRIFT, "late": DRIFT, "pending": PENDING, "adopt": PENDING}


@dataclass(frozen=True)
class State:
    """Where one migration stands: applied, pending, adopt, edited, gone or late."""

    migration: str
    state: str
    applied_at: object = None
    login: str | None = None
    next_step: str = ""


def states(conn: psycopg.Connection, migrations: list[Migration]) -> list[State]:
    """Compares disk, yoyo's marks and our history; reads only and takes no lock.

    Where nothing is marked, verify.sql says what psql has put in place.
    """
    marks = {mark.migration_id: mark for mark in registry.marks(conn)}
    newest = max((i for i, m in enumerate(migrations) if m.id in marks), default=-1)
    unmarked = [] if marks else verify.in_place(conn, migrations)
    known = registry.known(conn)  # rolled back with --only, a migration may come again
    step = ("runner.py plan shows it, runner.py migrate brings it live"
            if registry.has_inventory(conn) else "restore it (make reset would drop the data)")
    result = []
    for place, migration in enumerate(migrations):
        mark = marks.pop(migration.id, None)
        if migration in unmarked:
            result.append(State(migration.id, "adopt", next_step=(
                f"in place, not marked: runner.py adopt {unmarked[-1].id}")))
        elif mark is None:
            late = place < newest and migration.id not in known
            result.append(State(migration.id, "late" if late else "pending", next_step=(
                "give it a number after the last applied one" if late else "runner.py migrate")))
        elif mark.apply_sha256 is None:
            result.append(State(migration.id, "adopt", mark.applied_at, None,
                                "yoyo applied it: runner.py migrate verifies and adopts it"))
        else:
            edited = [name for name in FILES
                      if migration.sha256(name) != getattr(mark, f"{name}_sha256")]
            names = ", ".join(f"{name}.sql" for name in edited)
            result.append(State(migration.id, "edited" if edited else "applied", mark.applied_at,
                                mark.login, f"{names} changed since: {step}" if edited else ""))
    result += [State(name, "gone", mark.applied_at, mark.login, f"restore sql/{name} from git")
               for name, mark in marks.items()]
    return result


def refuse_drift(found: list[State], *but: str) -> None:
    """Raises MB907 if a file was edited, is gone or comes late, `but` for these states."""
    for state in found:
        if state.state in {"edited", "gone", "late"} - {*but}:
            facts = {"edited": "was edited after it was applied", "gone": "is applied, but its "
                     "folder is gone", "late": "has a lower number than one already applied"}
            raise FleetError("MB907", f"{state.migration} {facts[state.state]}",
                             f"{state.next_step}. All of it: runner.py status.", exit_code=DRIFT)


def status(ctx: Context) -> int:
    with ctx.connect() as conn:
        found = states(conn, ctx.files)
        wrong = WRONG if registry.has_inventory(conn) else WRONG | {"edited": DRIFT}
    ctx.screen.rows(["migration", "state", "applied_at_utc", "login", "next_step"], [
        (s.migration, s.state, s.applied_at, s.login, s.next_step) for s in found])
    return max((wrong.get(s.state, DONE) for s in found), default=DONE)


COMMANDS = (
    Command("status", "show where each migration stands (exit 3: pending, 4: drift)", status),
)
