"""The embedded server's commands: `runner.py reset`, which drops its data, and `stop`."""

from psycopg import Cursor, sql

from fleet import server
from fleet.command import YES, Command, Context
from fleet.errors import USAGE, FleetError
from fleet.migrate import migrate


def reset(ctx: Context) -> int:
    if not ctx.target.embedded:
        raise FleetError("MB900", "reset is for the embedded server only",
                         "To throw away all that another database holds: runner.py rollback --all "
                         "--discard-data",
                         ctx.target.shown(), USAGE)
    name = ctx.target.parts["dbname"]
    if ctx.args.dry_run:
        return ctx.finish(f"would drop database {name} and build it anew")
    ctx.screen.confirm(f"Drop database {name} of the embedded server, with all that is in it?",
                       ctx.args.yes)
    with ctx.connect(dbname="postgres") as conn:
        conn.cursor_factory = Cursor  # what makes a database can't be in a transaction
        server.drop_database(conn, name)
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    ctx.args.to = None
    return migrate(ctx)


def stop(ctx: Context) -> int:
    pid = ctx.embedded.pid()
    if pid is None:
        return ctx.finish("the embedded server is not running")
    if not ctx.args.dry_run:
        ctx.embedded.stop()
    return ctx.finish(f"the embedded server (pid {pid}) is stopped")


COMMANDS = (
    Command("reset", "drop and rebuild the embedded database", reset, changes=True,
            arguments=(YES,)),
    Command("stop", "stop the embedded server", stop, changes=True),
)
