"""Ships the bots' files to the database as raw bytes, in batches; parses nothing."""

import hashlib
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta

import psycopg

from fleet.bot_files import Entry, read
from fleet.errors import FleetError

KINDS = ("profiles", "profile", "conversation", "backup")  # contacts before what refers to them
BATCH_BYTES, BATCH_FILES = 1 << 20, 400
TRANSIENT = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure,
             psycopg.errors.LockNotAvailable)
ATTEMPTS = 5
PATIENCE = timedelta(milliseconds=50)  # a bot may have to wait for so long, and one file more

Shipment = tuple[Entry, bytes]
OUTCOMES = ("loaded", "unchanged", "quarantined", "ignored")


class Importer:
    """One import: shares batches out to `jobs` connections, and counts what became of each entry.

    What a session keeps from being loaded is tried once more at the end, then left in `busy`.

    `connect` opens a connection; `advance(octets)` reports progress; `require(connection)`, called
    before each commit, raises if another import may run by now. Raises the first error of any
    worker after the others have stopped; what was committed stays, and a second run goes on there.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection], run_id: int, strict: bool,
                 limit: int, advance: Callable[[int], None],
                 require: Callable[[psycopg.Connection], None]) -> None:
        self.connect, self.run_id, self.strict, self.limit = connect, run_id, strict, limit
        self.advance, self.require = advance, require
        self.counts: Counter = Counter()  # (bot_id, outcome) -> entries
        self.busy: list[Entry] = []  # whose rows another session held for too long
        self.failure: BaseException | None = None
        self.lock = threading.Lock()

    def load(self, entries: list[Entry], jobs: int) -> None:
        """Loads classified entries, kind after kind, each kind on all connections at once."""
        with ExitStack() as opened:
            # a new connection would first have to learn about a hundred tables
            conns = [opened.enter_context(self.connect())]
            for entry in entries:
                if entry.kind == "ignored":
                    self.counts[entry.bot_id, "ignored"] += 1
                elif entry.kind == "other":
                    self._deliver(conns[0], [entry])
                    self.advance(entry.octets)
            for kind in KINDS:
                todo: queue.SimpleQueue = queue.SimpleQueue()
                for batch in batches([e for e in entries if e.kind == kind]):
                    todo.put(batch)
                while len(conns) < min(jobs, todo.qsize()):
                    conns.append(opened.enter_context(self.connect()))
                self._share_out(todo, conns[:todo.qsize()])
            again, self.busy = self.busy, []
            for kind in KINDS:  # whoever held their rows may be done by now
                for batch in batches([e for e in again if e.kind == kind]):
                    self._deliver(conns[0], batch)

    def _share_out(self, todo: queue.SimpleQueue, conns: list[psycopg.Connection]) -> None:
        """Loads all batches, a thread for each connection."""
        workers = [threading.Thread(target=self._work, args=[todo, conn], daemon=True)
                   for conn in conns]
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():  # in slices: Ctrl-C must get through
                worker.join(0.2)
        if self.failure:
            raise self.failure

    def _work(self, todo: queue.SimpleQueue, conn: psycopg.Connection) -> None:
        try:
            while self.failure is None:
                batch = todo.get_nowait()
                self._deliver(conn, batch)
                self.advance(sum(entry.octets for entry in batch))
        except queue.Empty:
            return
        except BaseException as error:
            self.failure = error

    def _deliver(self, conn: psycopg.Connection, batch: list[Entry]) -> None:
        """Reads a batch and ships it, in as many transactions as the server wants."""
        found = [(entry, content) for entry in batch
                 if (content := self._read(conn, entry)) is not None]
        is_rest, attempt = False, 0
        while found:
            try:
                with conn.transaction():
                    outcome, rest, busy = self._ship(conn, found, is_rest)
                    self.require(conn)
                with self.lock:
                    self.counts += outcome
                    self.busy += busy
                found, is_rest, attempt = rest, True, 0
            except TRANSIENT:  # a bot was writing to the same rows
                attempt += 1
                if attempt == ATTEMPTS:
                    raise
                time.sleep(0.1 * attempt)

    def _read(self, conn: psycopg.Connection, entry: Entry) -> bytes | None:
        try:
            return read(entry, self.limit)
        except FileNotFoundError:
            if os.path.lexists(os.path.join(entry.folder, entry.name)):
                self._note(conn, entry, "quarantined", "not readable: a link to nothing", "MB426")
            else:
                self._note(conn, entry, "ignored", "vanished while the folder was read", None)
        except FleetError as fault:
            self._note(conn, entry, "quarantined", fault.message, fault.code)
        except OSError as fault:
            self._note(conn, entry, "quarantined", f"not readable: {fault.strerror}", "MB426")
        return None

    def _note(self, conn: psycopg.Connection, entry: Entry, outcome: str, reason: str,
              code: str | None) -> None:
        note(conn, self.run_id, entry, reason, code)
        with self.lock:
            self.counts[entry.bot_id, outcome] += 1

    def _ship(self, conn: psycopg.Connection, found: list[Shipment], is_rest: bool
              ) -> tuple[Counter, list[Shipment], list[Entry]]:
        """Loads what is wanted of a batch; returns what was counted, what is left to do, and what
        another session keeps from being done."""
        entry, wanted = found[0][0], range(1, len(found) + 1)
        sha256s = [hashlib.sha256(content).digest() for _, content in found]
        if not is_rest:
            wanted = conn.execute(
                "select json_import.wanted(%s, %s, %s, %b)",
                [self.run_id, entry.bot_id, [e.path for e, _ in found], sha256s]).fetchone()[0]
        chosen = [found[ordinal - 1] for ordinal in wanted]
        loaded, quarantined, rest, busy = 0, 0, [], []
        if chosen:
            loaded, quarantined, rest, busy = conn.execute(
                "select * from json_import.load(%s, %s, %s, %s, %s::bigint[], %b, %s, %s, %s, %b)",
                [self.run_id, entry.bot_id, entry.kind, [e.path for e, _ in chosen],
                 [e.chat_id for e, _ in chosen], [content for _, content in chosen], self.strict,
                 is_rest, PATIENCE, [sha256s[ordinal - 1] for ordinal in wanted]]).fetchone()
        return (Counter({(entry.bot_id, "unchanged"): len(found) - len(chosen),
                         (entry.bot_id, "loaded"): loaded,
                         (entry.bot_id, "quarantined"): quarantined}),
                [chosen[ordinal - 1] for ordinal in rest],
                [chosen[ordinal - 1][0] for ordinal in busy])


def note(conn: psycopg.Connection, run_id: int, entry: Entry, reason: str,
         code: str | None) -> None:
    """Puts an entry that is not read into the ledger: ignored or, with a code, quarantined."""
    conn.execute("select json_import.note_entry(%s, %s, %s, %s, %s, %s, %s, %s)",
                 [run_id, entry.bot_id, entry.path, entry.kind if code else "other", entry.chat_id,
                  entry.octets, reason, code])


def classify(conn: psycopg.Connection, run_id: int, entries: list[Entry]) -> list[Entry]:
    """The entries with their kind, in the order to load them; notes those to ignore."""
    result = []
    entries = sorted(entries, key=lambda e: (e.bot_id, e.name))
    rows = conn.execute("select kind, chat_id, reason from json_import.classify(%s)"
                        " order by ordinal", [[e.path for e in entries]]).fetchall()
    for entry, (kind, chat_id, reason) in zip(entries, rows, strict=True):
        if reason:
            note(conn, run_id, entry, reason, None)
            kind = "ignored"
        result.append(Entry(entry.bot_id, entry.folder, entry.name, entry.path, entry.octets,
                            kind, chat_id))
    return result


def batches(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Batches of one bot's entries, about 1 MiB each; a chat's backups stay together."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        full = size + entry.octets > BATCH_BYTES or len(batch) >= BATCH_FILES
        same_chat = batch and entry.kind == "backup" and entry.chat_id == batch[-1].chat_id
        if batch and (entry.bot_id != batch[0].bot_id or (full and not same_chat)):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.octets
    if batch:
        yield batch
