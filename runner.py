#!/usr/bin/env python3
"""Migrates and verifies the fleet's database: which module has which command, and `main`."""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C before main ends us without a traceback

import argparse
import os
import sys
import time
import traceback
import uuid
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import psycopg

from fleet import __version__
from fleet.command import Command, Context
from fleet.errors import DONE, INTERRUPTED, USAGE, FleetError
from fleet.screen import Screen, indented
from fleet.sqlfile import explain

PROJECT = Path(__file__).resolve().parent
# Commands in groups, each with the module in fleet/ that has it, loaded when the command is called.
COMMANDS = {
    "every day": {"migrate": "migrate", "status": "status", "verify": "verify",
                  "import": "import_commands", "maintain": "upkeep", "health": "upkeep"},
    "migrations": {"plan": "plan", "diff": "edits", "rollback": "rollback", "adopt": "adopt",
                   "new": "new", "graph": "graph", "codes": "query"},
    "import": {"rejects": "import_commands", "retry": "import_commands",
               "export-rejects": "import_commands", "report": "report"},
    "bots": {"bot add": "bots", "bot list": "bots", "bot logins": "bots", "bot limit": "bots",
             "bot rotate": "bots", "bot token": "bots", "bot pause": "bots", "bot resume": "bots",
             "bot retire": "bots", "bot drop": "bots"},
    "workers and admins": {
        "worker add": "logins", "worker list": "logins", "worker grant": "logins",
        "worker drop": "logins", "admin add": "logins", "admin list": "logins",
        "admin drop": "logins"},
    "server": {"setup": "setup", "env": "programs", "exec": "programs", "metrics": "upkeep",
               "reset": "embedded", "stop": "embedded"},
}


def load(modules: Iterable[str]) -> dict[str, Command]:
    """The commands of some modules, by name."""
    tables = [import_module(f"fleet.{module}").COMMANDS for module in dict.fromkeys(modules)]
    return {command.name: command for table in tables for command in table}


def overview(known: dict[str, Command]) -> str:
    """What `--help` prints: a screen of commands, by group."""
    lines = ["usage: runner.py COMMAND ...  (its arguments: runner.py COMMAND --help)"]
    for title, group in COMMANDS.items():
        lines += ["", title, *(f"  {name:15} {known[name].help}" for name in group)]
    return "\n".join([*lines, ""])


class Parser(argparse.ArgumentParser):
    """Shows what it was given without what a terminal would obey."""

    def error(self, message: str) -> NoReturn:
        super().error(indented(message))


def parser(argv: list[str]) -> argparse.ArgumentParser:
    """The command line, with the arguments of the command that it names; every command that changes
    something takes --dry-run."""
    places = {name: module for group in COMMANDS.values() for name, module in group.items()}
    named = [module for name, module in places.items() if name.split()[0] in argv[:1]]
    known = load(named or places.values())
    result = Parser(prog="runner.py")
    result.format_help = lambda: overview(known)
    result.add_argument("--version", action="version", version=f"runner.py {__version__}")
    groups = {"": result.add_subparsers(required=True, metavar="COMMAND")}
    for command in [known[name] for name in places if name in known]:
        group, _, name = command.name.rpartition(" ")
        if group not in groups:
            parent = groups[""].add_parser(group, help=f"{group} COMMAND: see {group} --help")
            groups[group] = parent.add_subparsers(required=True, metavar="COMMAND")
        sub = groups[group].add_parser(name, help=command.help, description=command.help)
        sub.set_defaults(command=command.name, run=command.run, dry_run=False)
        for flags, options in command.arguments:
            sub.add_argument(*flags, **options)
        one_of = sub.add_mutually_exclusive_group(required=True) if command.one_of else sub
        for flags, options in command.one_of:
            one_of.add_argument(*flags, **options)
        if command.changes:
            sub.add_argument("--dry-run", action="store_true",
                             help="do the same and undo it, or only say what would be done")
        sub.add_argument("--json", action="store_true", help="the result as JSON on stdout")
        sub.add_argument("--quiet", action="store_true", help="results and errors only")
        sub.add_argument("--log", type=Path, metavar="FILE", help="append JSON lines to FILE")
    return result


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns its exit code. The one place where errors are caught."""
    argv = sys.argv[1:] if argv is None else argv
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 (closed: nobody listens)
    if sys.stdout is None:
        sys.stderr.write("runner.py: stdout is closed, and results belong there; "
                         "nothing was done\n")
        return USAGE
    args = parser(argv).parse_args(argv)
    ctx = Context(args, PROJECT, Screen(args.quiet, args.json), str(uuid.uuid4()))
    started, code, ended = time.monotonic(), DONE, {"error": None}
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        ctx.log("start")
        code = args.run(ctx)
        sys.stdout.flush()
    except (KeyboardInterrupt, EOFError):
        code = INTERRUPTED
        ctx.screen.say("\ninterrupted; what was not finished is undone "
                       f"(correlation id {ctx.correlation_id})")
    except Exception as error:
        fault = told(error, ctx)
        code, trace = fault.exit_code, "" if fault.code != "MB912" else traceback.format_exc()
        ctx.screen.error(fault, ctx.correlation_id)
        ended["error"] = {"code": fault.code, "message": fault.message, "place": fault.place,
                          "trace": ctx.screen.mask(trace)}
    try:
        ctx.log("end", code=code, ms=round((time.monotonic() - started) * 1000, 1), **ended)
    except FleetError as error:
        ctx.screen.error(error, ctx.correlation_id)
        return code or error.exit_code
    return code


def told(error: Exception, ctx: Context) -> FleetError:
    """Whatever went wrong, as what the user is told."""
    if isinstance(error, FleetError):
        return error
    if isinstance(error, psycopg.Error) and error.sqlstate:  # no file is to blame
        return explain(error, ctx.target.shown(), "Is the schema there? See runner.py status.")
    if isinstance(error, psycopg.Error):
        return FleetError("MB901", f"the connection failed: {str(error).strip()}",
                          "See whether the server runs; what was not committed is undone. Repeat.",
                          ctx.target.shown())
    if isinstance(error, OSError):  # of a file that the user named: output.writing says more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FleetError("MB900", f"the result can't be written: {error.strerror}",
                          "What the command did stays done; stdout lost what it had to say.")
    return FleetError("MB912", f"the runner failed: {type(error).__name__}: {error}",
                      "This is a fault of the runner: repeat with --log FILE and report what it "
                      "holds.")


if __name__ == "__main__":
    sys.exit(main())
