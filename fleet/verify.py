"""`runner.py verify`, and a migration's verify.sql: what it says, the refusal where it says no."""

from pathlib import Path

import psycopg

from fleet import registry, sqlfile
from fleet.command import BOT, Command, arg
from fleet.context import Context
from fleet.errors import DIFFERS, DONE, DRIFT, FleetError
from fleet.files import Migration
from fleet.status import states


def check(conn: psycopg.Connection, migration: Migration) -> list[tuple[str, bool, str]]:
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


def require(conn: psycopg.Connection, migration: Migration) -> None:
    """Raises MB906 naming the checks of verify.sql that are not true."""
    failed = [f"{name} ({detail})" for name, ok, detail in check(conn, migration) if not ok]
    if failed:
        kept = "Nothing was kept" if migration.script("apply").in_transaction else (
            "What apply.sql did is kept, but not marked")
        raise FleetError("MB906", f"{migration.id}: not true: {'; '.join(failed)}",
                         f"{kept}. Compare apply.sql with verify.sql, or remove what is in the "
                         f"way.", migration.shown("verify"), DRIFT)


def verify(ctx: Context) -> int:
    """Runs the verify.sql of every migration that is applied, then compares with what was accepted.

    Exit 4 if a check fails, else 3 if something is not as it was accepted. With --source, compares
    the files of a folder with the tables instead.
    """
    if ctx.args.source is not None:
        from fleet.import_commands import compare
        return compare(ctx)
    with ctx.connect() as conn:
        found = {s.migration: s.state for s in states(conn, ctx.files)}
        rows = [(m.id, *row) for m in ctx.files if found[m.id] not in ("pending", "late")
                for row in check(conn, m)]
        if registry.has_inventory(conn) and {*found.values()} <= {"applied", "adopt"}:
            rows += [("all of them", *row) for row in
                     conn.execute("select * from security.check_bodies()")]
        differing = registry.differences(conn)
    failed = sum(not row[2] for row in rows)
    rows += [("as accepted", name, False, f"accepted: {accepted}; live: {live}")
             for name, accepted, live in differing]
    ctx.screen.rows(["migration", "check_name", "ok", "detail"], rows)
    ctx.screen.say(f"{len(rows) - len(differing)} checks, {failed or 'none'} failed; "
                   f"{len(differing) or 'no'} differences from what was accepted")
    return DRIFT if failed else DIFFERS if differing else DONE


COMMANDS = (
    Command("verify", "check all that is applied (exit 4: it fails, 3: it differs)", verify,
            arguments=(BOT, arg("--source", type=Path, metavar="DIR", help="instead, compare the "
                                "JSON files in DIR with the tables, by another road"))),
)
