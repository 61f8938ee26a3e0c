"""Runs one SQL file as a whole and finds the line of what failed in it."""

import re

import psycopg

from fleet.errors import FleetError

# What a semicolon may stand in without ending a statement (house style has no `begin atomic`).
TOKEN = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
      | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | ;""", re.S | re.X)
# Next steps for what is the server's trouble and no file's.
HINTS = {
    "42501": "Grant the right, or migrate as the database's owner or a superuser.",
    "53100": "Free disk space on the server, then repeat; nothing of it was kept.",
    "53200": "Give the server more memory, or less to do, then repeat.",
    "55P03": "Another session holds the lock: see pg_stat_activity; repeat when it has finished.",
    "57014": "The statement was cancelled or ran into statement_timeout; repeat it.",
}
BLANK = re.compile(r"(?:\s+|--[^\n]*|/\*.*?\*/)*", re.S)


class CountingCursor(psycopg.Cursor):
    """Knows how many statements of a file had finished when one failed: the server doesn't say."""

    finished = 0

    def _check_results(self, results: list) -> None:
        self.finished = max(len(results) - 1, 0)
        super()._check_results(results)


def run(conn: psycopg.Connection, text: str, shown: str) -> list[tuple]:
    """Executes `text` in one round trip; returns the rows of its last result, if it has any.

    Raises MB905 with place `shown:line`, the server's message, detail and hint.
    """
    cursor = CountingCursor(conn)
    try:
        cursor.execute(text.encode())
    except psycopg.Error as fault:
        if fault.sqlstate is None:  # the connection, not the statement
            raise
        raise failure(fault, text, shown, cursor.finished) from fault
    while cursor.nextset():
        pass
    return cursor.fetchall() if cursor.description else []


def failure(fault: psycopg.Error, text: str, shown: str, finished: int) -> FleetError:
    """An error in a file as ours, with the line."""
    line = line_of(fault.diag, text, finished)
    return explain(fault, f"{shown}:{line}",
                   f"Correct {shown}, then repeat; nothing of it was kept.")


def explain(fault: psycopg.Error, place: str, hint: str) -> FleetError:
    """The server's error as ours: its own MB code and hint are kept, others get MB904 or MB905."""
    diag = fault.diag
    other = "MB904" if isinstance(fault, psycopg.errors.InsufficientPrivilege) else "MB905"
    code = fault.sqlstate if fault.sqlstate.startswith("MB") else other
    message = (diag.message_primary or str(fault)) + (
        "" if code == fault.sqlstate else f" (SQLSTATE {fault.sqlstate})")
    if diag.message_detail:
        message += f"\n{diag.message_detail}"
    return FleetError(code, message, diag.message_hint or HINTS.get(fault.sqlstate, hint), place)


def line_of(diag: psycopg.errors.Diagnostic, text: str, finished: int) -> int:
    """The line, from 1: as the server says, else within a DO block, else of the statement."""
    if diag.statement_position:
        return text.count("\n", 0, int(diag.statement_position) - 1) + 1
    start = statement_start(text, finished)
    inside = re.findall(r"inline_code_block line (\d+)", diag.context or "")
    if inside:
        body = re.compile(r"\$\w*\$").search(text, start)
        if body:
            return text.count("\n", 0, body.start()) + int(inside[-1])
    return text.count("\n", 0, start) + 1


def statement_start(text: str, number: int) -> int:
    """Offset of statement `number` (from 0), after the blanks and comments before it."""
    ends = [m.end() for m in TOKEN.finditer(text) if m[0] == ";"]
    at = ends[number - 1] if 0 < number <= len(ends) else 0
    return BLANK.match(text, at).end()
