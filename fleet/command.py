"""One run of a command: its arguments, its server, its connections; and the tables of commands."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from fleet import config, files, registry
from fleet.errors import DONE
from fleet.screen import Screen, printable

Argument = tuple[tuple[str, ...], dict]


@dataclass
class Context:
    """One run of one command."""

    args: argparse.Namespace
    project: Path
    screen: Screen
    correlation_id: str

    @cached_property
    def log(self) -> Callable[..., None]:
        """Writes an event and its fields into --log FILE, if there is one. Raises MB900."""
        if not self.args.log:
            return lambda event, **fields: None
        from fleet.journal import Journal
        return Journal(self.args.log, self.args.command, self.correlation_id).write

    @cached_property
    def embedded(self) -> Any:
        """The project's own server, a fleet.server.Server."""
        from fleet import server
        return server.embedded(self.project)

    @cached_property
    def target(self) -> config.DatabaseConfig:
        """Which server; says aloud what in the configuration looks like a mistake."""
        found = config.load(self.project, os.environ, lambda: self.embedded.parts())
        self.screen.hide(found.parts.get("password", ""), found.parts.get("sslpassword", ""))
        for warning in found.warnings:
            self.screen.warn(warning)
        return found

    @cached_property
    def files(self) -> list[files.Migration]:
        return files.read(self.project / "sql")

    def connect(self, **parts: str) -> psycopg.Connection:
        """A connection that names itself, its command and its correlation id to the server."""
        if self.target.embedded and not self.embedded.answers():
            self.screen.say("starting the embedded server")
            self.embedded.start()
            del self.target  # only now is it known where its socket is
        conn = config.connect(self.target, application_name=f"runner {self.args.command}", **parts)
        conn.pins |= {"app.actor": sql.quote(registry.actor(), conn),
                      "app.correlation_id": sql.quote(self.correlation_id, conn)}
        conn.add_notice_handler(lambda diag: self.screen.say(
            f"{(diag.severity or 'notice').lower()}: {printable(diag.message_primary or '')}"))
        return conn

    def done(self, operation: str, migration: str, ms: float) -> None:
        """Says and logs one finished step."""
        past = {"apply": "applied", "adopt": "adopted", "edit": "brought live",
                "rollback": "rolled back"}[operation]
        tried = " (dry run: will be undone)" if self.args.dry_run else ""
        self.screen.say(f"{past} {migration} in {ms:,.0f} ms{tried}")
        self.log(operation, migration=migration, ms=round(ms, 1), dry_run=self.args.dry_run)

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


@dataclass(frozen=True)
class Command:
    """A line of a table: its name, what it does, whether it changes anything, its arguments.

    A name of two words is a command of a group.
    """

    name: str
    help: str
    run: Callable[[Context], int]
    changes: bool = False
    arguments: tuple[Argument, ...] = ()
    one_of: tuple[Argument, ...] = ()  # exactly one of these is needed


def arg(*flags: str, **options: object) -> Argument:
    return flags, options


BOT = arg("--bot", metavar="NAME", help="this bot only, by name or id")
YES = arg("--yes", action="store_true", help="don't ask")
DISCARD = arg("--discard-data", action="store_true",
              help="throw away the rows that are in the way")
