"""The terminal: results on stdout, talk and progress on stderr. The only user of rich."""

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fleet.errors import FAILED, USAGE, FleetError

STYLES = {"applied": "green", "ok": "green", "pending": "yellow", "adopt": "yellow",
          "late": "red", "edited": "red", "gone": "red", "FAILED": "bold red",
          "warning": "yellow", "critical": "bold red"}


# What a terminal, a pager or a reader's eye obeys instead of showing it: the control characters of
# ASCII and Latin-1, what turns the direction of writing, lone separators of lines, half characters.
OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
                    "\ud800-\udfff]")
SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def printable(text: str, keep: str = "") -> str:
    """The text with each character that is obeyed, but those in `keep`, written as it would be in
    JSON: \\n, \\u001b."""
    return OBEYED.sub(lambda found: found[0] if found[0] in keep
                      else SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}", text)


def indented(text: str) -> str:
    """Printable, its lines kept, each after the first indented: none looks like another's."""
    return printable(text, "\n").replace("\n", "\n    ")


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON, exact, with none of what is obeyed as itself."""
    return printable(json.dumps(value, ensure_ascii=False, indent=indent, default=plain), "\n")


class Terminal(Console):
    """A console whose reader may leave early."""

    def on_broken_pipe(self) -> None:
        """`status | head`: from now on without a word; the work itself goes on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class Screen:
    """What a command prints. With `as_json` stdout carries one JSON document and nothing else."""

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet, self.as_json, self.told = quiet, as_json, False
        self.secrets: set[str] = set()
        # without a terminal nobody must lose the end of a line to an assumed width
        self.out = Terminal(highlight=False, width=None if sys.stdout.isatty() else 10_000)
        self.err = Terminal(stderr=True, highlight=False, soft_wrap=True)

    def hide(self, *secrets: str) -> None:
        """From now on `mask` writes these as ***."""
        self.secrets |= {*filter(None, secrets)}

    def mask(self, text: str) -> str:
        """The text with every known secret as ***."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def say(self, text: str) -> None:
        """Talk: what is going on. Silent with --quiet."""
        if not self.quiet:
            self.err.print(Text(printable(text, "\n\t")))

    def warn(self, text: str) -> None:
        self.err.print(Text(f"warning: {indented(text)}", "yellow"))

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[Any]],
             none: str = "(no rows)") -> None:
        """A result of rows: a table, `none` if there are none; as JSON a list of objects."""
        rows = list(rows)
        if self.as_json:
            self.document([dict(zip(columns, row, strict=True)) for row in rows])
            return
        if not rows:
            self.out.print(none, end="\n" if none else "")
            return
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            texts = [str(plain(value)) for value in row]
            table.add_row(*(Text(printable(text), STYLES.get(text, "")) for text in texts))
        self.out.print(table)

    def text(self, text: str, key: str = "text") -> None:
        """A result that is text, printed as it is."""
        if self.as_json:
            self.document({key: text})
        else:
            self.out.print(Text(printable(text, "\n\t")), soft_wrap=True)

    def document(self, value: Any) -> None:
        """A result as JSON."""
        self.told = True
        self.out.out(json_text(value, indent=2))

    def error(self, fault: FleetError, correlation_id: str) -> None:
        """A failure: code and fact, the place, the next step, and what to look for in logs.

        As JSON too, unless stdout has its one document already. Secrets in it are masked for good.
        """
        fault.message, fault.hint = self.mask(fault.message), self.mask(fault.hint)
        if self.as_json and not self.told:
            self.document({"error": {
                "code": fault.code, "message": fault.message, "place": fault.place,
                "hint": fault.hint, "correlation_id": correlation_id}})
        place = f"{printable(fault.place)}: " if fault.place else ""
        self.err.print(Text(f"{place}{indented(fault.message)}", "red"))
        self.err.print(f"  error [bold]{fault.code}[/], correlation id {correlation_id}")
        if fault.hint:
            self.err.print(f"  next: {escape(indented(fault.hint))}")

    def ask(self, question: str, default: str = "", secret: bool = False) -> str:
        """One line from the user; MB910 (exit 2) where there is no terminal to ask at."""
        if not sys.stdin.isatty():
            raise FleetError("MB910", f"no terminal to ask at: {question}",
                             "Pass the answer as a flag, or --yes.", exit_code=USAGE)
        shown = f" [{default}]" if default else ""
        answer = self.err.input(Text(printable(f"{question}{shown}: ")), password=secret)
        return (answer if secret else answer.strip()) or default

    def confirm(self, question: str, yes: bool) -> None:
        """Returns if the user agrees. MB910: exit 1 for a no, 2 where nobody can be asked."""
        if not yes and self.ask(f"{question} Type yes to go on", "no").lower() not in ("y", "yes"):
            raise FleetError("MB910", "not confirmed; nothing was changed", exit_code=FAILED)


def plain(value: Any) -> str | int:
    """A value of the database as a person, or JSON, would have it."""
    if value is None:
        return ""
    if isinstance(value, Decimal) and value == int(value):
        return int(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items())
    if isinstance(value, bool):
        return "ok" if value else "FAILED"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return str(value)
