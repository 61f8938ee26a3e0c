"""`runner.py verify`, and a migration's verify.sql: what it says, the refusal where it says no."""

from itertools import takewhile
from pathlib import Path

import psycopg

from fleet import registry, settings, sqlfile
from fleet.command import BOT, Command, Context, arg
from fleet.errors import DIFFERS, DONE, DRIFT, PENDING, FleetError
from fleet.files import Migration


def check(conn: psycopg.Connection, migration: Migration) -> list[tuple[str, bool, str]]:
    """The rows of verify.sql: (check_name, ok, detail); one that fails to run is a row too."""
    try:
        with conn.transaction(force_rollback=True):  # its settings go with it
            conn.execute(settings.AS_CONNECTED)
            conn.execute("set transaction read only; set local row_security = off")
            rows = sqlfile.run(conn, migration.script("verify"))
            if rows and len(rows[0]) == 3:
                return rows
            return [("verify.sql returns rows of check_name, ok, detail", False, "no check")]
    except FleetError as fault:
        if not isinstance(fault.__cause__, psycopg.errors.ProgrammingError):
            raise
        return [("verify.sql runs", False, f"{fault.place}: {fault.message}")]


def in_place(conn: psycopg.Connection, files: list[Migration]) -> list[Migration]:
    """The first migrations of which verify.sql finds something, of a database without marks; none
    where the first one's schema is missing, since a verify.sql may be true of nothing."""
    if not conn.execute("select to_regnamespace('core') is not null").fetchone()[0]:
        return []
    return list(takewhile(lambda migration: any(row[1] for row in check(conn, migration)), files))


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
        marked = {mark.migration_id for mark in registry.marks(conn)}
        applied = [m for m in ctx.files if m.id in marked]
        unmarked = [] if marked else in_place(conn, ctx.files)
        rows = [(m.id, *row) for m in applied or unmarked for row in check(conn, m)]
        if registry.has_inventory(conn) and {m.id for m in ctx.files} == marked:
            rows += [("all of them", *row) for row in
                     conn.execute("select * from security.check_bodies()")]
        differing, lost = registry.differences(conn), []
        if registry.exists(conn, "security.lost_logins()"):  # what a restore, a clone, a claim did
            lost = conn.execute("select * from security.lost_logins()").fetchall()
    failed = [row for row in rows if not row[2]]
    differences = [("as accepted", name, False, f"accepted: {accepted}; live: {live}")
                   for name, accepted, live in differing]
    listed = ctx.args.all or ctx.screen.as_json
    ctx.screen.rows(["migration", "check_name", "ok", "detail"],
                    [*(rows if listed else failed), *differences], none="")
    ctx.screen.say(f"{len(rows)} checks of {len(applied or unmarked)} migrations, "
                   f"{len(failed) or 'none'} failed; "
                   f"{len(differing) or 'no'} differences from what was accepted")
    for what_happened, _ in lost:
        ctx.screen.warn(what_happened)
    if not applied:
        ctx.screen.warn(f"in place, but not marked as applied: runner.py adopt {unmarked[-1].id}"
                        if unmarked else "nothing is applied here: runner.py migrate")
    return DRIFT if failed else DIFFERS if differing else DONE if applied else PENDING


COMMANDS = (
    Command("verify", "check all that is applied (exit 4: it fails, 3: it differs)", verify,
            arguments=(arg("--all", action="store_true", help="list the checks that are true, too"),
                       BOT, arg("--source", type=Path, metavar="DIR", help="instead, compare "
                                "the JSON files in DIR with the tables, by another road"))),
)
