"""Scripts whose header says `-- transaction: none`: statement by statement, each committed."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg.pq import TransactionStatus

from fleet import lock, settings, sqlfile
from fleet.errors import BUSY, FleetError

BUILD = re.compile(r"create\s+(unique\s+)?index\s+concurrently\b", re.I)
LOCAL = re.compile(r"set\s+local\b", re.I)
CLEAR = re.compile(r"drop\s+index\s+concurrently\s+if\s+exists\b", re.I)
REPEATABLE = ("; the next run begins with the first again, so let each be repeatable: before"
              " `create index concurrently`, `drop index concurrently if exists` removes a broken"
              " one")


def run(conn: psycopg.Connection, script: sqlfile.Script, say: Callable[[str], None],
        pauses: Sequence[float], held: lock.Held, given: Sequence[tuple[str, str]] = ()) -> None:
    """Executes a script whose statements can't be in a transaction; each is committed by itself.

    Repeats one that could not have its lock. Raises MB905; its hint says what is kept.
    """
    refuse(script)
    found, tries, number = split(script), Counter(), 0
    with _as_connected(conn, given):
        while number < len(found):
            at, text = found[number]
            try:
                held.require(conn)
                sqlfile.execute(conn, script, at, text, _kept(number) + REPEATABLE)
                number += 1
            except FleetError as fault:
                if not fault.code.startswith("MB90"):  # of our own SQL, which can't know it
                    fault.hint += f" ({_kept(number)})"
                back = _again([text for _, text in found[:number + 1]])
                if (back is None or tries[number] >= len(pauses)
                        or not isinstance(fault.__cause__, BUSY)):
                    raise
                pause = pauses[tries[number]]
                tries[number] += 1
                say(f"{fault.place}: {fault.message}; attempt {tries[number] + 1} of "
                    f"{len(pauses) + 1} in {pause} s")
                time.sleep(pause)
                number = back
            except BaseException:  # Ctrl-C, a lost connection
                say(f"{script.place(at)}: stopped; {_kept(number)}")
                raise


def show(script: sqlfile.Script, name: str, say: Callable[[str], None]) -> None:
    """Says which statements would run; what can't be in a transaction can't be undone."""
    refuse(script)
    found = split(script)
    say(f"{name} can't run in a transaction, so a dry run only shows its {len(found)} statements:")
    for at, text in found:
        say(f"  {script.place(at)}: {text.partition(chr(10))[0]}")


def split(script: sqlfile.Script) -> list[tuple[int, str]]:
    """(offset, text) of each statement, with the semicolon and the comments after it."""
    starts = list(sqlfile.statements(script.text))
    return [(start, script.text[start:end])
            for start, end in zip(starts, [*starts[1:], len(script.text)], strict=True)]


def refuse(script: sqlfile.Script) -> None:
    """Raises MB905 as sqlfile.refuse, and for what needs a transaction where there is none."""
    sqlfile.refuse(script)
    for start in sqlfile.statements(script.text) if not script.in_transaction else ():
        if LOCAL.match(script.text, start):
            raise FleetError("MB905", "set local in a file that runs in no transaction",
                             "Write a plain set, and reset it at the end of the file.",
                             script.place(start))


def _again(done: list[str]) -> int | None:
    """Where to begin anew after the last of these statements failed; None: it can't be repeated.

    An index that could not be finished is there all the same, broken.
    """
    if not BUILD.match(done[-1]):
        return len(done) - 1
    return len(done) - 2 if len(done) > 1 and CLEAR.match(done[-2]) else None


def _kept(number: int) -> str:
    return {0: "nothing of it was kept", 1: "the statement before it is kept"}.get(
        number, f"the {number} statements before it are kept")


@contextmanager
def _as_connected(conn: psycopg.Connection, given: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Gives a script the settings that psql would, and none of what it sets to the next."""
    reset = "reset session authorization; reset role; reset all"
    conn.execute(reset)
    settings.pin(conn, "set", settings.STAYS)
    for name, value in given:
        conn.execute("select set_config(%s, %s, false)", [name, value])
    try:
        yield
    finally:
        if conn.info.transaction_status == TransactionStatus.IDLE:  # neither lost nor interrupted
            conn.execute(reset)
            settings.pin(conn, "set", settings.ALWAYS)
