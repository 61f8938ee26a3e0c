#!/usr/bin/env python3
"""Migrates and verifies the fleet's database: the table of commands, and `main`."""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C before main ends us without a traceback

import argparse
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from fleet import bots, commands, edits, import_commands, new, planning, report, upkeep
from fleet.errors import DONE, DRIFT, FAILED, INTERRUPTED, QUARANTINED, FleetError
from fleet.journal import Journal
from fleet.screen import Screen

PROJECT = Path(__file__).resolve().parent
Argument = tuple[tuple[str, ...], dict]


def arg(*flags: str, **options: object) -> Argument:
    return flags, options


@dataclass(frozen=True)
class Command:
    """A line of the table: its name, what it does, whether it changes anything, its arguments.

    A name of two words is a command of a group.
    """

    name: str
    help: str
    run: Callable[[commands.Context], int]
    changes: bool = False
    arguments: tuple[Argument, ...] = ()
    one_of: tuple[Argument, ...] = ()  # exactly one of these is needed
    sql: str = ""  # for commands.read
    exit_rule: Callable[[list], int] = lambda rows: DONE


BOT = arg("--bot", metavar="NAME", help="this bot only, by name or id")
CODE = arg("--code", metavar="MBnnn", help="only files with this defect")
YES = arg("--yes", action="store_true", help="don't ask")
NAME = arg("name", metavar="NAME", help="the bot, by name or id")
ASK = arg("--ask", action="store_true", help="ask for the password instead of making one")
DISCARD = arg("--discard-data", action="store_true",
              help="throw away the rows that are in the way")
COMMANDS = (
    Command("migrate", "apply what is pending, bring live what was edited, whole or not at all",
            commands.migrate, changes=True,
            arguments=(arg("--to", metavar="ID", help="the last one to apply"),)),
    Command("rollback", "undo migrations, last first; refuses to lose rows",
            commands.rollback, changes=True,
            arguments=(YES, DISCARD),
            one_of=(arg("--to", metavar="ID", help="keep ID, undo what came after it"),
                    arg("--only", metavar="ID", help="undo ID and what depends on it"),
                    arg("--last", action="store_true", help="undo the last one"),
                    arg("--all", action="store_true", help="undo all"))),
    Command("adopt", "verify and mark a migration that somebody ran by hand",
            commands.adopt, changes=True, arguments=(arg("id", metavar="ID"),)),
    Command("new", "make the files of the next migration, ready to edit", new.new, changes=True,
            arguments=(
                arg("name", metavar="NAME", help="what it is about: invoices makes 006_invoices"),
                arg("--depends", metavar="ID", help="what it needs (default: the last one)"),
                arg("--no-transaction", action="store_true", help="for what can't run in one, as "
                    "create index concurrently: statement by statement"))),
    Command("plan", "show what migrate would do", planning.plan, arguments=(
        arg("--sql", dest="script", metavar="ID", nargs="?", const="",
            help="instead, print the SQL of what is pending or edited, or of ID, in one piece"),)),
    Command("diff", "compare the files with the database (exit 3: they differ)", edits.diff,
            changes=True,
            arguments=(arg("object", nargs="?", metavar="OBJECT", help="this object only"),
                       arg("--show", action="store_true", help="print its live text"),
                       arg("--take", choices=["files"], help="make it live as the files say"),
                       YES)),
    Command("status", "show where each migration stands (exit 3 pending, 4 drift)",
            commands.status),
    Command("verify", "run every check of the applied migrations (exit 4 if one fails, 3 if "
            "something is not as accepted)",
            import_commands.verify, arguments=(
                BOT, arg("--source", type=Path, metavar="DIR", help="instead, compare the JSON "
                         "files in DIR with the tables, by another road than the import's"))),
    Command("graph", "show what depends on what", commands.graph,
            arguments=(arg("--mermaid", action="store_true", help="as a Mermaid flowchart"),
                       arg("--rollback", metavar="ID",
                           help="number the steps of a rollback --only ID"))),
    Command("codes", "list the error codes and what to do about each", commands.read,
            sql="select code, name, meaning, remedy from core.error_code order by code"),
    Command("import", "load a folder of bots' JSON files (exit 6: some are in quarantine)",
            import_commands.import_files, changes=True,
            arguments=(arg("folder", type=Path, metavar="DIR",
                           help="a folder of bots' folders or, with --bot, one bot's folder"),
                       BOT, arg("--no-create", action="store_true",
                                help="refuse a bot that doesn't exist yet"),
                       arg("--jobs", type=int, default=2, metavar="N",
                           help="connections at work (default 2)"),
                       arg("--strict", action="store_true",
                           help="quarantine unknown keys and chats without a profile"),
                       arg("--max-bytes", type=int, default=32 << 20, metavar="N",
                           help="quarantine larger files (default 32 MiB)"))),
    Command("rejects", "list what is wrong with the files in quarantine (exit 6 if any wait)",
            commands.read, arguments=(BOT, CODE),
            sql="select * from json_import.list_rejects(security.find_bot(%(bot)s), %(code)s)",
            exit_rule=lambda rows: QUARANTINED if rows else DONE),
    Command("retry", "try quarantined files again from the bytes kept",
            import_commands.retry, changes=True,
            arguments=(BOT, CODE, arg("--file", metavar="PATH", help="this one only"))),
    Command("export-rejects", "write the quarantined files back, byte for byte",
            import_commands.export_rejects, changes=True,
            arguments=(BOT, arg("folder", type=Path, metavar="DIR"))),
    Command("report", "show what the import brought, and whether it is all there (exit 4: no)",
            report.report, arguments=(BOT, arg("--html", type=Path, metavar="FILE",
                                               help="write it as a self-contained page as well"))),
    Command("maintain", "run the maintenance that is due: partitions, roll-ups, seals, retention",
            upkeep.maintain, changes=True),
    Command("health", "show how the database is, the worst first (exit 4: something is critical)",
            commands.read, sql="select * from performance.health_check()",
            exit_rule=lambda rows: DRIFT if any(row[1] == "critical" for row in rows) else DONE),
    Command("metrics", "print what is measured, in Prometheus' text format", upkeep.metrics,
            arguments=(arg("--textfile", type=Path, metavar="FILE",
                           help="write it there, whole or not at all, for the node exporter"),
                       arg("--serve", metavar="HOST:PORT",
                           help="serve it until Ctrl-C, measured anew for each scrape"))),
    Command("bot add", "make a bot and its login; prints the password once", bots.add,
            changes=True, arguments=(arg("name", metavar="NAME"), ASK)),
    Command("bot list", "list the bots, their logins and connections", commands.read,
            sql="select * from security.list_bots()"),
    Command("bot rotate", "give a bot another password; prints it once", bots.rotate,
            changes=True, arguments=(NAME, ASK)),
    Command("bot token", "give a bot its messenger's token (asks, or reads stdin)", bots.token,
            changes=True, arguments=(NAME,)),
    Command("bot drop", "drop a bot and its login; refuses to lose rows", bots.drop,
            changes=True, arguments=(NAME, YES, DISCARD)),
    Command("setup", "choose the server, test it, write .env", commands.set_up, changes=True,
            arguments=(
                arg("--show", action="store_true", help="each value and where it came from"),
                arg("--defaults", action="store_true",
                    help="ask nothing; without a server named: the embedded one"),
                arg("--embedded", action="store_true", default=None, help="the embedded server"),
                arg("--url", help="an existing server as a URL without a password"),
                arg("--host"), arg("--port"), arg("--user"), arg("--dbname"),
                arg("--passfile", metavar="FILE", help="where the password is kept"),
                arg("--service", metavar="NAME", help="an entry of pg_service.conf"))),
    Command("env", "print the connection as shell exports, never a password", commands.env),
    Command("exec", "run a program (psql, yoyo, pg_dump) against the same server",
            commands.execute, arguments=(arg("program", nargs=argparse.REMAINDER),)),
    Command("reset", "drop and rebuild the embedded database", commands.reset, changes=True,
            arguments=(YES,)),
    Command("stop", "stop the embedded server", commands.stop, changes=True),
)


def parser() -> argparse.ArgumentParser:
    """The command line; every command that changes something takes --dry-run."""
    result = argparse.ArgumentParser(prog="runner.py", description=__doc__)
    groups = {"": result.add_subparsers(required=True, metavar="COMMAND")}
    for command in COMMANDS:
        group, _, name = command.name.rpartition(" ")
        if group not in groups:
            parent = groups[""].add_parser(group, help=f"{group} COMMAND: see {group} --help")
            groups[group] = parent.add_subparsers(required=True, metavar="COMMAND")
        sub = groups[group].add_parser(name, help=command.help, description=command.help)
        sub.set_defaults(command=command.name, run=command.run, sql=command.sql,
                         exit_rule=command.exit_rule, dry_run=False)
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
    args = parser().parse_args(argv)
    correlation_id = str(uuid.uuid4())
    screen = Screen(args.quiet, args.json)
    journal = Journal(args.log, args.command, correlation_id)
    ctx = commands.Context(args, PROJECT, screen, journal, correlation_id)
    started, trace = time.monotonic(), ""
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        journal.write("start")
        code, fault = args.run(ctx), None
    except FleetError as error:
        code, fault = error.exit_code, error
    except psycopg.Error as error:
        fault = commands.explain(error, ctx.target.shown())
        code = fault.exit_code
    except (KeyboardInterrupt, EOFError):
        code, fault = INTERRUPTED, None
        screen.say(f"\ninterrupted; what was not finished is undone "
                   f"(correlation id {correlation_id})")
    except Exception as error:
        code, fault = FAILED, FleetError(
            "MB912", f"the runner failed: {type(error).__name__}: {error}",
            "This is a fault of the runner: repeat with --log FILE and report what it holds.")
        trace = traceback.format_exc()
    if fault:
        fault.message, fault.hint = journal.mask(fault.message), journal.mask(fault.hint)
        screen.error(fault, correlation_id)
    try:
        journal.write("end", code=code, ms=round((time.monotonic() - started) * 1000, 1),
                      error=fault and {"code": fault.code, "message": fault.message,
                                       "place": fault.place, "trace": journal.mask(trace)})
    except FleetError as error:
        screen.error(error, correlation_id)
        return code or error.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main())
