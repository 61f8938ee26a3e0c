"""`runner.py adopt`: verifies and marks what psql has put in place."""

from fleet.command import Command, Context, arg
from fleet.errors import DRIFT, FleetError
from fleet.files import dependants, pick
from fleet.migrate import Session
from fleet.status import refuse_drift, states


def adopt(ctx: Context) -> int:
    with ctx.connect() as conn:
        adopted = mark(Session.of(ctx, conn), ctx.args.id)
    return ctx.finish(f"{ctx.args.id} {'adopted' if adopted else 'is applied already'}")


def mark(session: Session, wanted: str) -> bool:
    """Marks a migration that is in place, and what it needs; False if the runner knows it.

    Raises MB906 if it is not in place, MB907 if it was edited or needs what isn't applied.
    """
    migration = pick(session.files, wanted)
    with session.exclusive():
        found = {state.migration: state for state in states(session.conn, session.files)}
        if found[migration.id].state == "applied":
            return False
        if found[migration.id].state == "edited":
            refuse_drift([found[migration.id]])
        needed = [m for m in session.files if found[m.id].state not in ("applied", "edited")
                  and migration in dependants(session.files, m.id)]
        for one in needed[:-1]:
            if found[one.id].state != "adopt":
                raise FleetError("MB907", f"{migration.id} needs {one.id}, which isn't applied",
                                 f"First: runner.py adopt {one.id}", exit_code=DRIFT)
        for one in needed:
            session.atomically("adopt", one, session.mark)
    return True


COMMANDS = (
    Command("adopt", "verify and mark a migration that somebody ran by hand", adopt,
            changes=True, arguments=(arg("id", metavar="ID"),)),
)
