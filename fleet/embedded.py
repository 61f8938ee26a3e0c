"""The embedded server's commands, and those that run other programs against the server in use."""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from psycopg import Cursor, sql

from fleet import server
from fleet.command import YES, Command, arg
from fleet.context import Context
from fleet.errors import DONE, USAGE, FleetError
from fleet.migrate import migrate


def env(ctx: Context) -> int:
    ctx.connect().close()  # what it prints must work
    ctx.screen.text(ctx.target.exports(os.environ), "exports")
    return DONE


def execute(ctx: Context) -> NoReturn:
    """Becomes another program that talks to the same server (psql, yoyo, pg_dump)."""
    ctx.connect().close()
    if not ctx.args.program:
        raise FleetError("MB900", "exec needs a program to run",
                         "For example: runner.py exec psql", exit_code=USAGE)
    surrounding = ctx.target.environment(os.environ)
    ours = [str(Path(sys.executable).parent), str(server.wheel_binaries())]
    first, last = (ours, []) if ctx.target.embedded else (ours[:1], ours[1:])
    surrounding["PATH"] = os.pathsep.join([*first, surrounding.get("PATH", os.defpath), *last])
    sys.stdout.flush()
    try:
        os.execvpe(ctx.args.program[0], ctx.args.program, surrounding)  # noqa: S606
    except OSError as fault:
        raise FleetError("MB900", f"can't run {ctx.args.program[0]}: {fault.strerror}",
                         "Install it, or put its folder on PATH.", exit_code=USAGE) from None


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
    Command("env", "print the connection as shell exports, never a password", env),
    Command("exec", "run a program (psql, yoyo, pg_dump) against the server in use",
            execute, arguments=(arg("program", nargs=argparse.REMAINDER),)),
    Command("reset", "drop and rebuild the embedded database", reset, changes=True,
            arguments=(YES,)),
    Command("stop", "stop the embedded server", stop, changes=True),
)
