"""What the import competes with: bare COPY, an importer in Python, inserts, a PL/pgSQL loop.

`python -m bench.rivals NAME FOLDER` loads into the database of the libpq environment and prints
the seconds from its first statement to its last commit. All but `copy` keep a ledger by sha256 in
the same transaction as the rows, validate every value, and put a bad file into quarantine with its
first defect. They load new files only; the loop, as such loops do, skips what it can't insert.
"""

import argparse
import gc
import hashlib
import json
import multiprocessing
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql

BLOCK = 1 << 18
FILES = 200  # per batch: one transaction
ROWS = {
    "core.bots": "bot_id, name",
    "core.girls_profiles": "bot_id, profile_id, telegram_id, chat_id, last_activity, message_count,"
                           " name, previous_response_id, summary, profile, extra",
    "core.conversations": "bot_id, conversation_id, profile_id, chat_id, started_at",
    "core.conversation_totals": "bot_id, conversation_id, message_count, last_message_at",
    "core.messages": "bot_id, conversation_id, message_id, source_file_id, sent_at, direction,"
                     " body, metadata",
}


# Bare COPY ------------------------------------------------------------------------


def write_rows(folder: Path, streams: int) -> None:
    """Writes the rows of a loaded database as binary COPY files, for each stream its own leaves."""
    with psycopg.connect() as conn:
        for stream, bots in enumerate(shares(conn, streams)):
            (folder / str(stream)).mkdir(parents=True)
            for table, columns in ROWS.items():
                query = sql.SQL("copy (select {} from {} where bot_id = any ({}) order by {})"
                                " to stdout (format binary)").format(
                    sql.SQL(columns), sql.SQL(table), sql.Literal(bots),
                    sql.SQL(", ".join("123"[:columns.count(",") + 1])))
                with (conn.cursor().copy(query) as rows,
                      (folder / str(stream) / table).open("wb") as out):
                    for block in rows:
                        out.write(block)


def shares(conn: psycopg.Connection, count: int) -> list[list[int]]:
    """All bots in `count` groups that share no leaf and have about as many messages each."""
    loads = conn.execute(
        "select r, array_agg(bot_id), sum(messages) from ("
        "select bot_id, (select r from generate_series(0, 9) as r where"
        " satisfies_hash_partition('core.bots'::regclass, 10, r, bot_id)) as r,"
        " (select count(*) from core.messages as m where m.bot_id = b.bot_id) as messages"
        " from core.bots as b) as b group by r order by 3 desc").fetchall()
    groups: list[list[int]] = [[] for _ in range(count)]
    sizes = [0] * count
    for _, bots, size in loads:  # the largest first, each to the group that has the least
        least = sizes.index(min(sizes))
        groups[least] += bots
        sizes[least] += size
    return groups


def copy_rows(folder: Path) -> None:
    """Loads what `write_rows` wrote for one stream, in one transaction."""
    with psycopg.connect() as conn:
        for table, columns in ROWS.items():
            query = f"copy {table} ({columns}) from stdin (format binary)"
            with conn.cursor().copy(query) as rows, (folder / table).open("rb", 0) as file:
                while block := file.read(BLOCK):
                    rows.write(block)


def run_copy(folder: Path, _jobs: int) -> None:
    """One connection for each stream."""
    streams = [threading.Thread(target=copy_rows, args=[part]) for part in folder.iterdir()]
    for stream in streams:
        stream.start()
    for stream in streams:
        stream.join()


# Reading and validating in Python ---------------------------------------------------


class Defect(Exception):
    """What is wrong with a file: code, RFC 6901 pointer, fact."""

    def __init__(self, code: str, pointer: str, message: str) -> None:
        super().__init__(code, pointer, message)
        self.code, self.pointer, self.message = code, pointer, message


Pairs = tuple  # an object as parsed: json's hook makes tuples of pairs at the speed of C
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = 4_102_444_800_000_000  # the year 2100 in microseconds
DIRECTIONS = {"in": struct.pack(">i", 2) + b"in", "out": struct.pack(">i", 3) + b"out"}


def parse(data: bytes) -> object:
    """The document in a file; objects are tuples of pairs, arrays lists. Raises Defect."""
    if not data:
        raise Defect("MB401", "", "the file is empty")
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=tuple, parse_constant=refuse)
    except UnicodeDecodeError as fault:
        raise Defect("MB402", "", f"no UTF-8 at byte offset {fault.start}") from None
    except RecursionError:
        raise Defect("MB407", "", "nested too deep") from None
    except ValueError as fault:
        raise Defect("MB405", "", f"not JSON: {fault}") from None


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def to_value(found: object, pointer: str) -> object:
    """A parsed value with dicts for objects. Raises Defect for a key that stands twice."""
    if isinstance(found, Pairs):
        made = {key: to_value(value, f"{pointer}/{key}") for key, value in found}
        if len(made) < len(found):
            raise Defect("MB420", pointer, "a key stands twice")
        return made
    if isinstance(found, list):
        return [to_value(value, f"{pointer}/{place}") for place, value in enumerate(found)]
    if isinstance(found, str):
        to_octets(found, pointer)
    return found


def to_octets(found: object, pointer: str) -> bytes:
    """A text in UTF-8. Raises Defect for what is none, or can't be one in PostgreSQL."""
    if type(found) is not str:
        raise Defect("MB415", pointer, f"expected string, found {type(found).__name__}")
    if "\0" in found:
        raise Defect("MB409", pointer, "\\u0000 in a string")
    try:
        return found.encode()
    except UnicodeEncodeError:
        raise Defect("MB410", pointer, "half a surrogate pair in a string") from None


def to_micros(found: object, pointer: str) -> int:
    """A time as microseconds since 1970. Raises Defect."""
    if type(found) is str:
        try:  # fromisoformat alone would read week dates and forms without separators, too
            at = datetime.fromisoformat(found) if found[4] == found[7] == "-" else None
            if at is None or found[10] not in "T " or found[13] != ":" or found[16] != ":":
                raise Defect("MB418", pointer, f"{found} is no time")
        except IndexError:
            raise Defect("MB418", pointer, f"{found} is no time") from None
        except ValueError:
            raise Defect("MB419", pointer, f"{found} is no time") from None
        since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - EPOCH
        micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    elif type(found) in (int, float):
        micros = int(found * (1_000_000 if found < 100_000_000_000 else 1000) + 0.5)
    else:
        raise Defect("MB415", pointer, f"expected time, found {type(found).__name__}")
    if not 0 <= micros < LATEST:
        raise Defect("MB419", pointer, f"{found} is not between 1970 and 2099")
    return micros


@dataclass
class Conversation:
    """A conversation's messages as (micros, direction, octets, metadata), and their sums."""

    messages: list = field(default_factory=list)
    octets: int = 0
    digest: int = 0


def read_conversation(data: bytes, chat_id: int) -> Conversation:
    """Parses and validates one file. Raises Defect."""
    document, base, made = parse(data), "", Conversation()
    if type(document) is Pairs:
        wrapper = {key: value for key, value in document}
        if len(wrapper) < len(document):
            raise Defect("MB420", "", "a key stands twice")
        if wrapper.get("chat_id", chat_id) != chat_id:
            raise Defect("MB414", "/chat_id", f"chat_id is {wrapper['chat_id']}")
        document, base = wrapper.get("messages"), "/messages"
    if type(document) is not list:
        raise Defect("MB412", base, "expected messages")
    for place, message in enumerate(document):
        more = None
        try:
            (key, body), (second, direction), (third, ts) = message
            plain = (type(message) is Pairs and (key == "text" or key == "content")
                     and second == "direction" and third == "ts")
        except (TypeError, ValueError):
            plain = False
        if not plain:
            body, direction, ts, more = read_odd(message, f"{base}/{place}")
        octets = to_octets(body, f"{base}/{place}/text")
        if direction != "in" and direction != "out":
            raise Defect("MB417", f"{base}/{place}/direction", f"direction is {direction}")
        micros = to_micros(ts, f"{base}/{place}/ts")
        made.messages.append((micros, direction, octets, more))
        made.octets += len(octets)
        made.digest += zlib.crc32(octets, micros & 0xFFFFFFFF)
    return made


def read_odd(message: object, pointer: str) -> tuple:
    """(body, direction, ts, metadata) of a message with its keys in another order, or with more."""
    if type(message) is not Pairs:
        raise Defect("MB412", pointer, "expected a message")
    found = to_value(message, pointer)
    for names in (("text", "content"), ("direction",), ("ts",)):
        if all(found.get(name) is None for name in names):
            raise Defect("MB416", f"{pointer}/{names[0]}", f"{names[0]} is missing")
    if "text" in found and "content" in found:
        raise Defect("MB412", pointer, "text and content")
    body = found.pop("text") if "text" in found else found.pop("content")
    return body, found.pop("direction"), found.pop("ts"), found or None


PROFILE = {"name": str, "message_count": int, "summary": dict, "profile": dict,
           "previous_response_id": str, "telegram_id": int}


def read_profile(data: bytes, chat_id: int) -> dict:
    """Parses and validates one profile: its columns, and `extra`. Raises Defect."""
    found = to_value(parse(data), "")
    if type(found) is not dict:
        raise Defect("MB412", "", "expected a profile")
    if found.pop("chat_id", None) != chat_id:
        raise Defect("MB414", "/chat_id", "chat_id is missing or another")
    made = {}
    for name, kind in PROFILE.items():
        made[name] = found.pop(name, None)
        if made[name] is not None and type(made[name]) is not kind:
            raise Defect("MB415", f"/{name}", f"expected {kind.__name__}")
    if any(type(text) is not str for text in (made["summary"] or {}).values()):
        raise Defect("MB415", "/summary", "expected string")
    ts = found.pop("last_activity", None)
    made["last_activity"] = None if ts is None else moment(to_micros(ts, "/last_activity"))
    made["telegram_id"] = made["telegram_id"] or chat_id
    if not 0 < made["telegram_id"] < 1 << 63 or not 0 <= (made["message_count"] or 0) < 1 << 31:
        raise Defect("MB411", "", "a number is out of range")
    return made | {"extra": found}


def moment(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


# Storing ---------------------------------------------------------------------------

Put = Callable[[psycopg.Connection, str, str, Iterable], None]
HEAD = struct.Struct(">hiqiqiqiq")
LENGTH = struct.Struct(">i")
POSTGRES_EPOCH = 946_684_800_000_000  # the year 2000 in microseconds since 1970
MESSAGE = "bot_id, conversation_id, source_file_id, sent_at, direction, body, metadata"
LEDGER = ("file_id, bot_id, path, kind, chat_id, status, sha256, octets, records, row_count,"
          " body_octets, digest, defects, run_id")


def put_copy(conn: psycopg.Connection, table: str, columns: str, rows: Iterable) -> None:
    with conn.cursor().copy(f"copy {table} ({columns}) from stdin") as out:
        for row in rows:
            out.write_row(row)


def put_inserts(conn: psycopg.Connection, table: str, columns: str, rows: Iterable) -> None:
    """One insert per row, in psycopg's pipeline."""
    values = ", ".join(["%s"] * (columns.count(",") + 1))
    conn.cursor().executemany(
        f"insert into {table} ({columns}) overriding system value values ({values})", list(rows))


def put_messages_copy(conn: psycopg.Connection, ids: tuple, messages: list) -> None:
    """Messages of a batch as binary COPY, by hand: psycopg's rows take twice as long."""
    with conn.cursor().copy(f"copy core.messages ({MESSAGE}) from stdin (format binary)") as out:
        out.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for (bot_id, conversation_id, file_id), found in zip(ids, messages, strict=True):
            out.write(b"".join([
                HEAD.pack(7, 8, bot_id, 8, conversation_id, 8, file_id, 8, micros - POSTGRES_EPOCH)
                + DIRECTIONS[direction] + LENGTH.pack(len(octets)) + octets + to_jsonb(more)
                for micros, direction, octets, more in found]))
        out.write(b"\xff\xff")


def to_jsonb(more: dict | None) -> bytes:
    """A column of type jsonb in binary COPY."""
    if more is None:
        return b"\xff\xff\xff\xff"
    text = b"\1" + json.dumps(more, ensure_ascii=False).encode()
    return LENGTH.pack(len(text)) + text


def put_messages_inserts(conn: psycopg.Connection, ids: tuple, messages: list) -> None:
    put_inserts(conn, "core.messages", MESSAGE, [
        (*three, moment(micros), direction, octets.decode(), more and json.dumps(more))
        for three, found in zip(ids, messages, strict=True)
        for micros, direction, octets, more in found])


@dataclass(frozen=True)
class Batch:
    """Some files of one kind of one bot, for one transaction."""

    bot_id: int
    run_id: int
    kind: str
    folder: Path
    names: tuple[str, ...]


connection: psycopg.Connection
put: Put
put_messages: Callable


def prepare(how: str) -> None:
    """Makes this process ready to load: its connection, and how it writes."""
    global connection, put, put_messages
    gc.disable()  # rows hold no cycles, and looking for some costs a third
    connection = psycopg.connect(autocommit=True)
    connection.execute("set synchronous_commit = off")
    put, put_messages = ((put_copy, put_messages_copy) if how == "copy"
                         else (put_inserts, put_messages_inserts))


def load(batch: Batch) -> int:
    """Loads a batch in one transaction, its bad files into quarantine; returns how many are bad."""
    known = dict(connection.execute(
        "select path, sha256 from json_import.file where bot_id = %s and path = any (%s)",
        [batch.bot_id, [f"{batch.folder.name}/{name}" for name in batch.names]]).fetchall())
    good, bad = [], []
    reader = read_conversation if batch.kind == "conversation" else read_profile
    for name in batch.names:
        data = (batch.folder / name).read_bytes()
        path, chat_id, sha256 = f"{batch.folder.name}/{name}", int(name[:-5]), hashlib.sha256(data)
        if known.get(path) == sha256.digest():
            continue
        try:
            good.append((path, chat_id, sha256.digest(), len(data), reader(data, chat_id)))
        except Defect as defect:
            bad.append((path, chat_id, sha256.digest(), data, defect))
    with connection.transaction():
        if good:
            (load_conversations if batch.kind == "conversation" else load_profiles)(batch, good)
        quarantine(batch, bad)
    return len(bad)


def reserve(count: int, *sequences: str) -> list[tuple]:
    """Values of sequences, a tuple for each of `count` rows."""
    values = ", ".join(f"nextval('{sequence}')" for sequence in sequences)
    return connection.execute(f"select {values} from generate_series(1, %s)", [count]).fetchall()


def load_conversations(batch: Batch, good: list[tuple]) -> None:
    """Stores sound conversations; a chat without a contact gets a placeholder."""
    ids = reserve(len(good), "json_import.file_file_id_seq",
                  "core.conversations_conversation_id_seq")
    chats = [chat_id for _, chat_id, *_ in good]
    contacts = dict(connection.execute(
        "select chat_id, profile_id from core.girls_profiles where bot_id = %s"
        " and chat_id = any (%s) for key share", [batch.bot_id, chats]).fetchall())
    if missing := [chat_id for chat_id in chats if chat_id not in contacts]:
        made = reserve(len(missing), "core.girls_profiles_profile_id_seq")
        contacts |= {chat_id: i for chat_id, (i,) in zip(missing, made, strict=True)}
        put(connection, "core.girls_profiles", "bot_id, profile_id, telegram_id, chat_id",
            [(batch.bot_id, contacts[chat_id], chat_id, chat_id) for chat_id in missing])
    put(connection, "core.conversations",
        "bot_id, conversation_id, profile_id, chat_id, started_at",
        [(batch.bot_id, conversation_id, contacts[chat_id], chat_id,
          moment(found.messages[0][0]) if found.messages else datetime.now(UTC))
         for (_, conversation_id), (_, chat_id, _, _, found) in zip(ids, good, strict=True)])
    put_messages(connection, [(batch.bot_id, conversation_id, file_id)
                              for file_id, conversation_id in ids],
                 [found.messages for *_, found in good])
    put(connection, "json_import.file", LEDGER, [
        (file_id, batch.bot_id, path, batch.kind, chat_id, "loaded", sha256, octets,
         len(found.messages), len(found.messages), found.octets, found.digest, 0, batch.run_id)
        for (file_id, _), (path, chat_id, sha256, octets, found) in zip(ids, good, strict=True)])


def load_profiles(batch: Batch, good: list[tuple]) -> None:
    """Stores sound profiles of new contacts."""
    ids = reserve(len(good), "json_import.file_file_id_seq", "core.girls_profiles_profile_id_seq")
    put(connection, "core.girls_profiles", ROWS["core.girls_profiles"], [
        (batch.bot_id, profile_id, p["telegram_id"], chat_id, p["last_activity"],
         p["message_count"] or 0, p["name"], p["previous_response_id"],
         *(json.dumps(p[key] or {}, ensure_ascii=False) for key in ("summary", "profile", "extra")))
        for (_, profile_id), (_, chat_id, _, _, p) in zip(ids, good, strict=True)])
    put(connection, "json_import.file", LEDGER, [
        (file_id, batch.bot_id, path, batch.kind, chat_id, "loaded", sha256, octets, 1, 1, 0, 0, 0,
         batch.run_id)
        for (file_id, _), (path, chat_id, sha256, octets, _) in zip(ids, good, strict=True)])


def quarantine(batch: Batch, bad: list[tuple]) -> None:
    """Keeps bad files whole, each with its first defect."""
    if not bad:
        return
    ids = [i for i, in reserve(len(bad), "json_import.file_file_id_seq")]
    put(connection, "json_import.file", LEDGER, [
        (file_id, batch.bot_id, path, batch.kind, chat_id, "quarantined", sha256, len(data),
         0, 0, 0, 0, 1, batch.run_id)
        for file_id, (path, chat_id, sha256, data, _) in zip(ids, bad, strict=True)])
    put(connection, "json_import.reject", "bot_id, file_id, ordinal, pointer, code, message", [
        (batch.bot_id, file_id, 1, defect.pointer, defect.code, defect.message)
        for file_id, (*_, defect) in zip(ids, bad, strict=True)])
    put(connection, "json_import.kept_bytes", "bot_id, file_id, part, bytes", [
        (batch.bot_id, file_id, 0, data)
        for file_id, (*_, data, _) in zip(ids, bad, strict=True)])


# The loaders -----------------------------------------------------------------------


def batches(root: Path, kind: str, folder: str, run_id: int) -> Iterator[Batch]:
    """All files of one kind, bot after bot; makes the bots that are missing."""
    with psycopg.connect() as conn:
        for bot in sorted(root.iterdir()):
            bot_id = conn.execute("select bot_id from json_import.ensure_bot(%s)",
                                  [bot.name]).fetchone()[0]
            conn.commit()
            names = sorted(entry.name for entry in (bot / folder).iterdir())
            for at in range(0, len(names), FILES):
                yield Batch(bot_id, run_id, kind, bot / folder, tuple(names[at:at + FILES]))


KINDS = (("profile", "girls_data"), ("conversation", "conversations"))


def run_importer(how: str, folder: Path, jobs: int) -> None:
    """Contacts first, then conversations, each kind by all processes at once."""
    with psycopg.connect() as conn:
        run_id = conn.execute("select json_import.start_run('rival')").fetchone()[0]
    if jobs == 1:
        prepare(how)
        for kind in KINDS:
            for batch in batches(folder, *kind, run_id):
                load(batch)
        return
    with multiprocessing.Pool(jobs, prepare, [how]) as pool:
        for kind in KINDS:
            for _ in pool.imap_unordered(load, batches(folder, *kind, run_id)):
                pass


def run_loop(folder: Path, _jobs: int) -> None:
    """One call per file, in which a loop inserts one message after the other."""
    with psycopg.connect() as conn:
        conn.execute("set synchronous_commit = off")
        conn.execute(Path(__file__).with_name("loop.sql").read_text("utf-8"))
        for kind in KINDS:
            for batch in batches(folder, *kind, 0):
                for name in batch.names:
                    conn.execute(f"select pg_temp.load_{batch.kind}(%s, %s, %b)", [
                        batch.bot_id, int(name[:-5]), (batch.folder / name).read_bytes()])
                conn.commit()


RIVALS = {"write": write_rows, "copy": run_copy, "importer": partial(run_importer, "copy"),
          "inserts": partial(run_importer, "inserts"), "loop": run_loop}


def main() -> None:
    """Runs one rival on a folder and prints the seconds it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=RIVALS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    started = time.perf_counter()
    RIVALS[args.name](args.folder, args.jobs)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
