"""`runner.py rollback`: undoes migrations, last first."""

import time

import psycopg

from fleet import files, registry
from fleet.command import DISCARD, YES, Command, Context, arg
from fleet.errors import DRIFT, FleetError
from fleet.files import Migration
from fleet.migrate import Session
from fleet.status import states


def rollback(ctx: Context) -> int:
    with ctx.connect() as conn:
        chosen = _to_roll_back(ctx, conn)
        if not chosen:
            return ctx.finish("nothing to roll back")
        names = ", ".join(m.id for m in reversed(chosen))
        ctx.screen.say(f"this rolls back, in this order: {names}")
        if not ctx.args.dry_run:
            ctx.screen.confirm(f"Roll back {len(chosen)} of {len(ctx.files)} migrations on "
                               f"{ctx.target.shown()}?", ctx.args.yes)
        undone = undo(Session.of(ctx, conn), chosen, ctx.args.discard_data)
    if ctx.args.all and not ctx.args.dry_run:
        ctx.screen.say("yoyo's tables and public._migration_* stay: who did what, and when")
    return ctx.finish(f"{undone} rolled back")


def _to_roll_back(ctx: Context, conn: psycopg.Connection) -> list[Migration]:
    """The applied migrations that the arguments name, in order of application."""
    found = {s.migration: s.state for s in states(conn, ctx.files)}
    if gone := [name for name, state in found.items() if state == "gone"]:
        raise FleetError("MB907", f"{gone[0]} is applied, but its folder is gone",
                         f"Restore sql/{gone[0]} from git, then repeat.", exit_code=DRIFT)
    applied = [m for m in ctx.files if found[m.id] in ("applied", "edited", "adopt")]
    if ctx.args.to:
        kept = ctx.files.index(files.pick(ctx.files, ctx.args.to))
        return [m for m in applied if m in ctx.files[kept + 1:]]
    if ctx.args.only:
        root = files.pick(ctx.files, ctx.args.only)
        return [m for m in files.dependants(ctx.files, root.id) if m in applied]
    return applied[-1:] if ctx.args.last else applied


def undo(session: Session, chosen: list[Migration], discard_data: bool) -> int:
    """Undoes `chosen`, last first, each in its own transaction; returns how many."""
    with session.exclusive():
        marked = {mark.migration_id for mark in registry.marks(session.conn)}
        due = {d.id for m in chosen for d in files.dependants(session.files, m.id)} & marked
        if due != {m.id for m in chosen}:
            raise FleetError("MB907", "somebody else migrated while this command waited",
                             "See runner.py status, then repeat.", exit_code=DRIFT)
        undone, shown = 0, set()
        for migration in reversed(chosen):
            if shown & {m.id for m in files.dependants(session.files, migration.id)}:
                session.say(f"{migration.id} is needed by what could only be shown: not tried")
            elif _undo(session, migration, discard_data):
                undone += 1
            else:
                shown.add(migration.id)
    return undone


def _undo(session: Session, migration: Migration, discard_data: bool) -> bool:
    """Rolls one migration back; False if a dry run could only show what it would do."""
    def mark(target: Migration, operation: str, started: float) -> None:
        registry.mark(session.conn, target, operation, time.monotonic() - started)

    # a dry run counts what would go, and ends no session for it
    return session.run("rollback", migration, mark, (
        ("app.discard_data", "on" if discard_data or session.dry_run else "off"),
        ("app.dry_run", "on" if session.dry_run else "off")))


COMMANDS = (
    Command("rollback", "undo migrations, last first; refuses to lose rows",
            rollback, changes=True,
            arguments=(YES, DISCARD),
            one_of=(arg("--to", metavar="ID", help="keep ID, undo what came after it"),
                    arg("--only", metavar="ID", help="undo ID and what depends on it"),
                    arg("--last", action="store_true", help="undo the last one"),
                    arg("--all", action="store_true", help="undo all"))),
)
