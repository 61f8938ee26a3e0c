"""What each command of runner.py does: takes its arguments, calls one part, returns a code."""

import argparse
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import psycopg
from psycopg import sql as query

from fleet import code, config, migrations, registry, scratch, server, setup, sqlfile
from fleet.errors import DIFFERS, DONE, DRIFT, PENDING, USAGE, FleetError
from fleet.journal import Journal
from fleet.screen import Screen

WRONG = {"edited": PENDING, "gone": DRIFT, "late": DRIFT, "pending": PENDING, "adopt": PENDING}


@dataclass
class Context:
    """One run of one command."""

    args: argparse.Namespace
    project: Path
    screen: Screen
    journal: Journal
    correlation_id: str

    @cached_property
    def embedded(self) -> server.Server:
        return server.embedded(self.project)

    @cached_property
    def target(self) -> config.DatabaseConfig:
        """Which server; says aloud what in the configuration looks like a mistake."""
        found = config.load(self.project, os.environ, lambda: self.embedded.parts())
        self.journal.hide([found.parts.get("password", ""), found.parts.get("sslpassword", "")])
        for warning in found.warnings:
            self.screen.warn(warning)
        return found

    @cached_property
    def files(self) -> list[migrations.Migration]:
        return migrations.read(self.project / "sql")

    def connect(self, **parts: str) -> psycopg.Connection:
        """A connection that names itself, its command and its correlation id to the server."""
        # its socket may be gone although it runs: something that cleans /tmp took it
        socket = Path(self.target.parts.get("host", ""), ".s.PGSQL.5432")
        if self.target.embedded and (self.embedded.pid() is None or not socket.exists()):
            self.screen.say("starting the embedded server")
            self.embedded.start()
            del self.target  # only now is it known where its socket is
        conn = config.connect(self.target, application_name=f"runner {self.args.command}",
                              client_encoding="utf8", **parts)
        conn.prepare_threshold = None
        # our own reads must fail, not come back empty, where row level security would filter them
        conn.execute("select set_config('app.actor', %s, false),"
                     " set_config('app.correlation_id', %s, false),"
                     " set_config('row_security', 'off', false)",
                     [registry.actor(), self.correlation_id])
        # a killed runner's statement must not hold its locks to the end (Windows can't notice)
        with suppress(psycopg.errors.InvalidParameterValue):
            conn.execute("set client_connection_check_interval = '1s'")
        conn.add_notice_handler(lambda diag: self.screen.say(
            f"{(diag.severity or 'notice').lower()}: {diag.message_primary}"))
        return conn

    def session(self, conn: psycopg.Connection) -> migrations.Session:
        return migrations.Session(conn, self.files, self.args.dry_run, self.screen.say,
                                  self.done, self.editor(conn))

    def editor(self, conn: psycopg.Connection) -> code.Editor:
        """What brings edited files live, and compares them with the database."""
        workshop = scratch.Workshop(self.project, self.target, conn)
        return code.Editor(conn, workshop, self.screen.say, self.args.dry_run)

    def done(self, operation: str, migration: str, ms: float) -> None:
        """Says and logs one finished step."""
        past = {"apply": "applied", "adopt": "adopted", "edit": "brought live",
                "rollback": "rolled back"}[operation]
        tried = " (dry run: will be undone)" if self.args.dry_run else ""
        self.screen.say(f"{past} {migration} in {ms:,.0f} ms{tried}")
        self.journal.write(operation, migration=migration, ms=round(ms, 1),
                           dry_run=self.args.dry_run)

    def bot(self) -> str | None:
        """The bot that the command is about, as --bot or CURRENT_BOT_ID names it."""
        asked = self.args.bot
        if asked is None or asked.isdigit():
            found = self.target.bot(None if asked is None else int(asked))
            return None if found is None else str(found)
        return asked

    def closing(self, text: str) -> int:
        """The last line of a command that changes something."""
        if self.args.dry_run:
            text = f"dry run, nothing was changed: {text}"
        self.screen.say(f"{text} (correlation id {self.correlation_id})")
        return DONE

    def finish(self, text: str) -> int:
        """The last line of a command that has no other result."""
        if self.screen.as_json:
            self.screen.document({"result": text, "dry_run": self.args.dry_run,
                                  "correlation_id": self.correlation_id})
        return self.closing(text)


# Reading -----------------------------------------------------------------------


def read(ctx: Context) -> int:
    """Any command that is one query: runs it and prints the rows; the table gives its exit rule."""
    named = vars(ctx.args) | ({"bot": ctx.bot()} if "bot" in ctx.args else {})
    with ctx.connect() as conn:
        cursor = conn.execute(ctx.args.sql, named)
        rows = cursor.fetchall()
        ctx.screen.rows([column.name for column in cursor.description], rows)
    return ctx.args.exit_rule(rows)


def status(ctx: Context) -> int:
    with ctx.connect() as conn:
        found = migrations.states(conn, ctx.files)
        wrong = WRONG if registry.has_inventory(conn) else WRONG | {"edited": DRIFT}
    ctx.screen.rows(["migration", "state", "applied_at_utc", "login", "next_step"], [
        (s.migration, s.state, s.applied_at, s.login, s.next_step) for s in found])
    return max((wrong.get(s.state, DONE) for s in found), default=DONE)


def verify(ctx: Context) -> int:
    """Runs the verify.sql of every migration that is applied, then compares with what was accepted.

    Exit 4 if a check fails, else 3 if something is not as it was accepted.
    """
    with ctx.connect() as conn:
        found = {s.migration: s.state for s in migrations.states(conn, ctx.files)}
        rows = [(m.id, *row) for m in ctx.files if found[m.id] not in ("pending", "late")
                for row in migrations.check(conn, m)]
        differing = registry.differences(conn)
    failed = sum(not row[2] for row in rows)
    rows += [("as accepted", name, False, f"accepted: {accepted}; live: {live}")
             for name, accepted, live in differing]
    ctx.screen.rows(["migration", "check_name", "ok", "detail"], rows)
    ctx.screen.say(f"{len(rows) - len(differing)} checks, {failed or 'none'} failed; "
                   f"{len(differing) or 'no'} differences from what was accepted")
    return DRIFT if failed else DIFFERS if differing else DONE


def graph(ctx: Context) -> int:
    with ctx.connect() as conn:
        found = {s.migration: s.state for s in migrations.states(conn, ctx.files)}
    chain = []
    if ctx.args.rollback:
        root = migrations.pick(ctx.files, ctx.args.rollback).id
        chain = [m.id for m in reversed(migrations.dependants(ctx.files, root))]
    if ctx.args.mermaid:
        lines = ["flowchart TD"]
        lines += [f'    {m.id}["{m.id}<br/>{found[m.id]}"]' for m in ctx.files]
        lines += [f"    {need} --> {m.id}" for m in ctx.files for need in sorted(m.depends)]
        lines += [f"    style {name} stroke-dasharray: 4" for name in chain]
        ctx.screen.text("\n".join(lines), "mermaid")
        return DONE
    ctx.screen.rows(["migration", "depends_on", "state", "rollback_step"], [
        (m.id, ", ".join(sorted(m.depends)), found[m.id],
         chain.index(m.id) + 1 if m.id in chain else None) for m in ctx.files])
    return DONE


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


# Changing ----------------------------------------------------------------------


def migrate(ctx: Context) -> int:
    with ctx.connect() as conn:
        changed = ctx.session(conn).migrate(ctx.args.to)
    return ctx.finish(f"{len(changed)} migrated" if changed else "nothing to migrate")


def adopt(ctx: Context) -> int:
    with ctx.connect() as conn:
        adopted = ctx.session(conn).adopt(ctx.args.id)
    return ctx.finish(f"{ctx.args.id} {'adopted' if adopted else 'is applied already'}")


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
        undone = ctx.session(conn).rollback(chosen, ctx.args.discard_data)
    return ctx.finish(f"{undone} rolled back")


def _to_roll_back(ctx: Context, conn: psycopg.Connection) -> list[migrations.Migration]:
    """The applied migrations that the arguments name, in order of application."""
    found = {s.migration: s.state for s in migrations.states(conn, ctx.files)}
    if gone := [name for name, state in found.items() if state == "gone"]:
        raise FleetError("MB907", f"{gone[0]} is applied, but its folder is gone",
                         f"Restore sql/{gone[0]} from git, then repeat.", exit_code=DRIFT)
    applied = [m for m in ctx.files if found[m.id] in ("applied", "edited", "adopt")]
    if ctx.args.to:
        kept = ctx.files.index(migrations.pick(ctx.files, ctx.args.to))
        return [m for m in applied if m in ctx.files[kept + 1:]]
    if ctx.args.only:
        root = migrations.pick(ctx.files, ctx.args.only)
        return [m for m in migrations.dependants(ctx.files, root.id) if m in applied]
    return applied[-1:] if ctx.args.last else applied


def reset(ctx: Context) -> int:
    if not ctx.target.embedded:
        raise FleetError("MB900", "reset is for the embedded server only",
                         "To empty another database: runner.py rollback --all --discard-data",
                         ctx.target.shown(), USAGE)
    name = ctx.target.parts["dbname"]
    if ctx.args.dry_run:
        return ctx.finish(f"would drop database {name} and build it anew")
    ctx.screen.confirm(f"Drop database {name} of the embedded server, with all that is in it?",
                       ctx.args.yes)
    with ctx.connect(dbname="postgres") as conn:
        registry.drop_database(conn, name)
        conn.execute(query.SQL("create database {}").format(query.Identifier(name)))
    ctx.args.to = None
    return migrate(ctx)


def stop(ctx: Context) -> int:
    pid = ctx.embedded.pid()
    if pid is None:
        return ctx.finish("the embedded server is not running")
    if not ctx.args.dry_run:
        ctx.embedded.stop()
    return ctx.finish(f"the embedded server (pid {pid}) is stopped")


def set_up(ctx: Context) -> int:
    if ctx.args.show:
        ctx.screen.rows(["name", "value", "source"], setup.show(ctx.target))
        return DONE
    given = {name: getattr(ctx.args, name) for name in (
        "defaults", "embedded", "url", "host", "port", "user", "dbname", "passfile", "service",
        "dry_run")}
    setup.setup(ctx.project, os.environ, ctx.screen.ask, ctx.screen.say, **given)
    return ctx.finish("setup done")


def explain(fault: psycopg.Error, place: str) -> FleetError:
    """An error of the server, or of the way to it, that no file is to blame for."""
    if fault.sqlstate is None:
        return FleetError("MB901", f"the connection failed: {str(fault).strip()}",
                          "See whether the server runs; what was not committed is undone. Repeat.",
                          place)
    return sqlfile.explain(fault, place, "Is the schema there? See runner.py status.")
