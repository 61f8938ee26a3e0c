"""One run of one command: its arguments, the server it is about, its connections."""

import argparse
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from fleet import config, files, registry, sqlfile
from fleet.errors import DONE, FleetError
from fleet.journal import Journal
from fleet.screen import Screen, printable


@dataclass
class Context:
    """One run of one command."""

    args: argparse.Namespace
    project: Path
    screen: Screen
    journal: Journal
    correlation_id: str

    @cached_property
    def embedded(self) -> Any:
        """The project's own server, a fleet.server.Server."""
        from fleet import server
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
    def files(self) -> list[files.Migration]:
        return files.read(self.project / "sql")

    def connect(self, **parts: str) -> psycopg.Connection:
        """A connection that names itself, its command and its correlation id to the server."""
        # its socket may be gone although it runs: something that cleans /tmp took it
        socket = Path(self.target.parts.get("host", ""), ".s.PGSQL.5432")
        if self.target.embedded and (self.embedded.pid() is None or not socket.exists()):
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
        self.journal.write(operation, migration=migration, ms=round(ms, 1),
                           dry_run=self.args.dry_run)

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


def explain(fault: psycopg.Error, place: str) -> FleetError:
    """An error of the server, or of the way to it, that no file is to blame for."""
    if fault.sqlstate is None:
        return FleetError("MB901", f"the connection failed: {str(fault).strip()}",
                          "See whether the server runs; what was not committed is undone. Repeat.",
                          place)
    return sqlfile.explain(fault, place, "Is the schema there? See runner.py status.")
