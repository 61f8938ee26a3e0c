"""Runs one SQL file, with those it includes, as a whole; finds the line of what failed in it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from fleet.errors import DIFFERS, DRIFT, FAILED, LOCKED, USAGE, FleetError

INCLUDE = re.compile(r"^\\ir (\w+\.sql)\n", re.M)  # psql's: a file beside this one

# What a semicolon may stand in without ending a statement.
TOKEN = re.compile(
    r"""(?P<blank>\s+ | --[^\n]*) | (?P<comment>/\*)
      | (?P<string>[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*'
                 | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
      | "(?:[^"]|"")*" | [\w$]+ | .""", re.S | re.X)
# The transaction is the runner's: file, verification and mark are committed together or not at all.
TRANSACTION = re.compile(r"(begin|start|commit|end|rollback|abort|savepoint|release"
                         r"|prepare\s+transaction)\b", re.I)
# Next steps for what is the server's trouble and no file's.
HINTS = {
    "25006": "Nothing may be written here: a standby, default_transaction_read_only, a verify.sql.",
    "42501": "Grant the right, or migrate as the database's owner or a superuser.",
    "25001": "Can it not run in a transaction? Then `-- transaction: none` belongs in the header.",
    "53100": "Free disk space on the server.",
    "53200": "Give the server more memory, or less to do.",
    "55P03": "Another session holds the lock (see pg_stat_activity): wait until it has finished.",
    "57014": "The statement was cancelled or ran into statement_timeout.",
    "25P03": "It waited longer than idle_in_transaction_session_timeout.",
    "25P04": "It took longer than transaction_timeout.",
    "40001": "Another session changed the same rows at the same time.",
    "40P01": "Another session held what this one wanted, and the other way round.",
    "53300": "Close idle sessions, or raise max_connections.",
    "57P01": "An administrator ended the session, or the server is being shut down.",
    "57P02": "The server crashed, and all sessions were ended: see its log.",
    "57P03": "The server is starting or stopping: wait until it answers.",
    "57P05": "The session was idle longer than idle_session_timeout.",
}
EXITS = {"MB111": DIFFERS, "MB907": DRIFT, "MB908": LOCKED}
ENDED = {"25P03", "25P04", "57P01", "57P02", "57P03", "57P05"}  # the session was


@dataclass(frozen=True)
class Script:
    """An SQL file with the files that it includes in their places: what psql -f would run."""

    pieces: tuple[tuple[str, int, str], ...]  # (file as shown, its line that begins here, text)

    @property
    def text(self) -> str:
        return "".join(text for _, _, text in self.pieces)

    @property
    def shown(self) -> str:
        return self.pieces[0][0]

    @property
    def in_transaction(self) -> bool:
        """False if the header, its first comment, says `-- transaction: none`."""
        header = re.match(r"(?:--.*\n)*", self.text)[0]
        return not re.search(r"^-- transaction: none$", header, re.M)

    def place(self, offset: int) -> str:
        """path:line of a character of the text."""
        for shown, line, text in self.pieces:
            if offset < len(text):
                return f"{shown}:{line + text.count(chr(10), 0, offset)}"
            offset -= len(text)
        return f"{shown}:{line + text.count(chr(10))}"  # at its end


def read(path: Path, shown: str) -> Script:
    """The file at `path` with LF line ends, and the parts it includes, which include none.

    Raises MB909 for a file that is not there or no text.
    """
    text, pieces, end = _text(path, shown), [], 0
    for found in INCLUDE.finditer(text):
        part = path.with_name(found[1])
        name = f"{shown.rpartition('/')[0]}/{found[1]}"
        pieces += [(shown, text.count("\n", 0, end) + 1, text[end:found.start()]),
                   (name, 1, _text(part, name))]
        end = found.end()
    return Script((*pieces, (shown, text.count("\n", 0, end) + 1, text[end:])))


def _text(path: Path, shown: str) -> str:
    try:
        text = path.read_text("utf-8").replace("\r\n", "\n")
        if text.startswith("\ufeff") or "\0" in text:
            raise ValueError("it holds a byte order mark or a NUL byte")
        return text
    except (OSError, ValueError) as fault:
        raise FleetError("MB909", f"{shown} can't be read: {fault}",
                         "Restore the file: git checkout -- sql", exit_code=USAGE) from fault


class CountingCursor(psycopg.Cursor):
    """Knows how many statements of a file had finished when one failed: the server doesn't say."""

    finished = 0

    def _check_results(self, results: list) -> None:
        self.finished = max(len(results) - 1, 0)
        super()._check_results(results)


def run(conn: psycopg.Connection, script: Script) -> list[tuple]:
    """Executes a script in one round trip; returns the rows of its last result, if it has any.

    Raises MB905 with the place (file:line), the server's message, detail and hint.
    """
    refuse(script)
    return execute(conn, script, 0, script.text)


def execute(conn: psycopg.Connection, script: Script, at: int, text: str,
            kept: str = "nothing of it was kept") -> list[tuple]:
    """Executes `text`, which begins `at` this character of the script; else as `run`.

    `kept` is what an error's hint says of the work done so far.
    """
    cursor = CountingCursor(conn)
    with blaming(lambda d: script.place(at + offset_of(d, text, cursor.finished)), kept):
        cursor.execute(text.encode()).set_result(-1)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def blaming(place: Callable[[psycopg.errors.Diagnostic], str] = lambda diag: "",
            kept: str = "nothing of it was kept") -> Iterator[None]:
    """What the server refuses in the block is a fault of the file whose place (path:line, or path)
    is told by the refusal, if it is one's. Raises as `explain`, with the command to type next."""
    try:
        yield
    except psycopg.Error as fault:
        if fault.sqlstate is None:  # the connection, not the statement
            raise
        found = place(fault.diag)
        path = found.partition(":")[0] or "the file"
        command = "rollback" if path.endswith("rollback.sql") else "migrate"
        raise explain(fault, found, f"Correct {path}.", f" {kept[0].upper()}{kept[1:]}. "
                      f"Then: runner.py {command}") from fault


def refuse(script: Script) -> None:
    """Raises MB905 for what the server can't run, or must not."""
    for start in statements(script.text):
        if found := TRANSACTION.match(script.text, start):
            fact, why = ("one transaction", "the file, its verification and its mark together"
                         ) if script.in_transaction else ("no transaction", "each statement alone")
            raise FleetError("MB905", f"{found[0].lower()} in a file that runs in {fact}",
                             f"Remove it: the runner commits {why}.", script.place(start))
        if script.text[start] == "\\":
            raise FleetError("MB905", "a command of psql that no other tool runs",
                             "Remove it. The one that may be there is \\ir NAME.sql, alone on its "
                             "line, in apply.sql or rollback.sql.", script.place(start))


def explain(fault: psycopg.Error, place: str, hint: str, again: str = "") -> FleetError:
    """The server's error as ours: its own MB code and hint are kept, others get MB904 or MB905."""
    diag = fault.diag
    where = re.search(r"^\S+ function (?!inline_code_block).*", diag.context or "", re.M)
    message = [diag.message_primary or str(fault), diag.message_detail, where and where[0]]
    if fault.sqlstate.startswith("MB"):
        code, hint = fault.sqlstate, diag.message_hint or hint
    else:
        code = {"42501": "MB904"}.get(fault.sqlstate, "MB901" if fault.sqlstate in ENDED
                                      else "MB905")
        message[0] += f" (SQLSTATE {fault.sqlstate})"
        message.append(diag.message_hint)
        hint = HINTS.get(fault.sqlstate, hint) + again
    return FleetError(code, "\n".join(filter(None, message)), hint, place,
                      EXITS.get(code, FAILED))


def offset_of(diag: psycopg.errors.Diagnostic, text: str, finished: int) -> int:
    """Where it failed: as the server says, else a line of a DO block, else the statement."""
    if diag.statement_position:
        return int(diag.statement_position) - 1
    starts = [*statements(text), len(text)]
    start = starts[min(finished, len(starts) - 1)]
    inside = re.findall(r"inline_code_block\D+(\d+)", diag.context or "")
    if inside and re.match(r"do\b", text[start:], re.I):
        body = next(m.start() for m in tokens(text, start) if m["string"])
        return body + sum(map(len, text[body:].splitlines(True)[:int(inside[-1]) - 1]))
    return start


def statements(text: str) -> Iterator[int]:
    """The offset of each statement's first word; a rule's list or an atomic body is within one."""
    fresh, depth, before = True, 0, ""
    for token in tokens(text):
        word = token[0].lower()
        if word == "(" or (before, word) == ("begin", "atomic") or (word == "case" and depth):
            depth += 1
        elif word == ")" or (word == "end" and depth):
            depth -= 1
        if word == ";" and depth <= 0:
            fresh, depth = True, 0
        elif fresh:
            yield token.start()
            fresh = False
        before = word


def tokens(text: str, at: int = 0) -> Iterator[re.Match]:
    """The tokens of SQL text from `at`, without blanks and (nested) comments."""
    while token := TOKEN.match(text, at):
        at = token.end()
        if token["comment"]:
            depth = 1
            while depth and (mark := re.compile(r"/\*|\*/").search(text, at)):
                depth += 1 if mark[0] == "/*" else -1
                at = mark.end()
        elif not token["blank"]:
            yield token
