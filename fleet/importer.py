"""Ships the bots' files to the database as raw bytes; finds and batches them, parses nothing."""

import errno
import hashlib
import os
import queue
import re
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg

from fleet.errors import USAGE, FleetError

KINDS = ("profiles", "profile", "conversation", "backup")  # contacts before what refers to them
BATCH_BYTES, BATCH_FILES = 1 << 20, 400
TRANSIENT = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure,
             psycopg.errors.LockNotAvailable)
ATTEMPTS = 5
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PATIENCE = timedelta(milliseconds=50)  # a bot may have to wait for so long, and one file more


@dataclass(frozen=True)
class Entry:
    """One directory entry of a bot's folder; `path` is relative, as the ledger spells it."""

    bot_id: int
    folder: bytes
    name: bytes
    path: str
    octets: int
    kind: str = "other"
    chat_id: int | None = None


Shipment = tuple[Entry, bytes]
OUTCOMES = ("loaded", "unchanged", "quarantined", "ignored")


def bot_folders(root: Path, bot: str | None) -> dict[str, bytes]:
    """The folders to import by bot name. Raises MB431 where there is nothing to import."""
    if not root.is_dir():
        raise FleetError("MB431", f"{root} is no folder", "Name the folder that holds the files.",
                         exit_code=USAGE)
    if bot is not None:
        return {bot: os.fsencode(root)}
    if any((root / name).exists()
           for name in ("girls_data", "girls_data.json", "conversations", "backups")):
        raise FleetError("MB431", f"{root} is one bot's folder, and no bot is named",
                         f"Name it: runner.py import {root} --bot NAME", exit_code=USAGE)
    found = {spell(os.fsencode(entry.name)): os.fsencode(entry.path)
             for entry in sorted(os.scandir(root), key=lambda e: e.name)
             if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")}
    if not found:
        raise FleetError("MB431", f"{root} holds no bot's folder",
                         "Name a folder of bots' folders, or one bot's folder with --bot.",
                         exit_code=USAGE)
    return found


def strays(root: Path, folders: dict[str, bytes]) -> list[str]:
    """What lies beside the bots' folders: loose files, links, hidden folders."""
    known = {os.path.basename(folder) for folder in folders.values()}
    return sorted(spell(name) for name in os.listdir(os.fsencode(root)) if name not in known)


def spell(name: bytes) -> str:
    """A file name as text, reversibly: \\xNN for a byte that is no UTF-8, \\\\ for a backslash."""
    return name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def unspell(path: str) -> bytes:
    """The file name that `spell` made a text of."""
    return re.sub(rb"\\(\\|x[0-9a-f]{2})",
                  lambda m: b"\\" if m[1] == b"\\" else bytes([int(m[1][1:], 16)]), path.encode())


def walk(folder: bytes, bot_id: int) -> Iterator[Entry]:
    """Every entry below `folder` that is no real directory; links are not followed.

    What vanishes meanwhile is no entry. Raises MB426 for a folder that can't be listed.
    """
    pending = [b""]
    while pending:
        prefix = pending.pop()
        try:
            entries = list(os.scandir(os.path.join(folder, prefix)))
        except FileNotFoundError:
            continue
        except OSError as fault:
            path = os.fsdecode(os.path.join(folder, prefix))
            raise FleetError("MB426", f"the folder {path} can't be listed: {fault.strerror}",
                             "Allow reading it, or move it away.") from None
        for entry in entries:
            name = os.path.join(prefix, entry.name)
            if entry.is_dir(follow_symlinks=False):
                pending.append(name)
                continue
            try:
                octets = entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
            yield Entry(bot_id, folder, name, spell(name), octets)


def read(entry: Entry, limit: int) -> bytes:
    """The bytes of a regular file inside the bot's folder. Raises OSError; never blocks.

    Raises FleetError MB408 for a file over `limit` bytes.
    """
    handle = open_inside(entry)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "no regular file")
        if status.st_size > limit:
            raise FleetError("MB408", f"{status.st_size:,} bytes, more than {limit:,}")
        parts = []
        while part := os.read(handle, status.st_size + 1 if not parts else 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)


def open_inside(entry: Entry) -> int:
    """A handle of a file that is, links and all, inside the bot's folder. Raises OSError."""
    handle = os.open(entry.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, name = entry.name.split(b"/")
        for folder in folders:  # step by step: a name with slashes would follow links on the way
            handle, outer = os.open(folder, FOLDER, dir_fd=handle), handle
            os.close(outer)
        return os.open(name, FILE, dir_fd=handle)
    except OSError as fault:
        if fault.errno not in (errno.ELOOP, errno.ENOTDIR):  # a link?
            raise
    finally:
        os.close(handle)
    path = os.path.realpath(os.path.join(entry.folder, entry.name), strict=True)
    if os.path.commonpath([path, os.path.realpath(entry.folder)]) != os.path.realpath(entry.folder):
        raise OSError(0, "a link out of the folder")
    return os.open(path, FILE)


def read_or_none(entry: Entry) -> bytes | None:
    """The same without a limit, or None where there is nothing to read."""
    try:
        return read(entry, entry.octets)
    except (OSError, FleetError):
        return None


class Importer:
    """One import: shares batches out to `jobs` connections, and counts what became of each entry.

    `connect` opens a connection; `advance(octets)` reports progress. Raises the first error of any
    worker after the others have stopped; what was committed stays, and a second run goes on there.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection], run_id: int, strict: bool,
                 limit: int, advance: Callable[[int], None]) -> None:
        self.connect, self.run_id, self.strict, self.limit = connect, run_id, strict, limit
        self.advance = advance
        self.counts: Counter = Counter()  # (bot_id, outcome) -> entries
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
            for kind in KINDS:
                todo: queue.SimpleQueue = queue.SimpleQueue()
                for batch in batches([e for e in entries if e.kind == kind]):
                    todo.put(batch)
                while len(conns) < min(jobs, todo.qsize()):
                    conns.append(opened.enter_context(self.connect()))
                self._share_out(todo, conns[:todo.qsize()])

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
                self._deliver(conn, todo.get_nowait())
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
                    outcome, rest = self._ship(conn, found, is_rest)
                with self.lock:
                    self.counts += outcome
                found, is_rest, attempt = rest, True, 0
            except TRANSIENT:  # a bot was writing to the same rows
                attempt += 1
                if attempt == ATTEMPTS:
                    raise
                time.sleep(0.1 * attempt)
        self.advance(sum(entry.octets for entry in batch))

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
              ) -> tuple[Counter, list[Shipment]]:
        """Loads what is wanted of a batch; returns what was counted, and what is left to do."""
        entry, wanted = found[0][0], range(1, len(found) + 1)
        sha256s = [hashlib.sha256(content).digest() for _, content in found]
        if not is_rest:
            wanted = conn.execute(
                "select json_import.wanted(%s, %s, %s, %b)",
                [self.run_id, entry.bot_id, [e.path for e, _ in found], sha256s]).fetchone()[0]
        chosen = [found[ordinal - 1] for ordinal in wanted]
        loaded, quarantined, rest = 0, 0, []
        if chosen:
            loaded, quarantined, rest = conn.execute(
                "select * from json_import.load(%s, %s, %s, %s, %s::bigint[], %b, %s, %s, %s, %b)",
                [self.run_id, entry.bot_id, entry.kind, [e.path for e, _ in chosen],
                 [e.chat_id for e, _ in chosen], [content for _, content in chosen], self.strict,
                 is_rest, PATIENCE, [sha256s[ordinal - 1] for ordinal in wanted]]).fetchone()
        return (Counter({(entry.bot_id, "unchanged"): len(found) - len(chosen),
                         (entry.bot_id, "loaded"): loaded,
                         (entry.bot_id, "quarantined"): quarantined}),
                [chosen[ordinal - 1] for ordinal in rest])


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
