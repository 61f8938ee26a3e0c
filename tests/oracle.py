"""A second opinion on legacy folders: what each file is, and what a bot's tables hold afterwards.

Shares no code with the importer and knows no database. It judges in phases and stops at the first
phase that finds something: the entry (name, kind, size), the bytes, the syntax, then every defect
of the content at once. A defect's pointer (RFC 6901) leads to the value; for a missing key, to the
place where it should be; for a defect of a key's own spelling, to the object that holds it.
"""

import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath

CODES = {name: f"MB{401 + place}" for place, name in enumerate((
    "empty_file", "bad_encoding", "utf16", "nul_byte", "bad_syntax", "truncated", "too_deep",
    "too_large", "nul_escape", "lone_surrogate", "number_range", "wrong_shape", "chat_id_missing",
    "chat_id_mismatch", "wrong_type", "missing_key", "bad_direction", "timestamp_format",
    "timestamp_range", "duplicate_key", "duplicate_contact", "refused_by_database",
    "unknown_file", "unknown_key", "no_profile", "unreadable", "out_of_bounds_in_file"))}

MAX_BYTES = 64 << 20
MAX_DEPTH = 512
MAX_TEXT = 65536  # characters of a name, a body or a response id
MAX_OBJECT, MAX_METADATA = 1 << 20, 1 << 16  # bytes as jsonb prints; the latter of a message
MAX_DIGITS = 1000  # before the point of a number, and after it
MAX_BIGINT = 2**63 - 1
MAX_INTEGER = 2**31 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(2100, 1, 1, tzinfo=UTC)
FIRST_MILLISECOND = 100_000_000_000

PROFILE_KEYS = {"chat_id", "telegram_id", "name", "last_activity", "message_count", "summary",
                "profile", "previous_response_id"}
WRAPPER_KEYS = {"chat_id", "messages", "date", "name"}

Message = tuple[str, str, datetime, dict | None]


@dataclass(frozen=True)
class Defect:
    """One thing wrong; `where` is a byte offset (encoding, NUL) or a line from 1 (syntax)."""

    name: str
    pointer: str = ""
    where: int | None = None

    @property
    def code(self) -> str:
        return CODES[self.name]


@dataclass
class File:
    """The verdict on one directory entry; `warnings` counts bom, no_zone, no_profile,
    unknown_key and superseded (a profile of the single file that has a file of its own)."""

    path: str
    status: str = "loaded"  # or quarantined, ignored
    kind: str = ""  # profiles, profile, conversation, backup
    sha256: str = ""
    defects: tuple[Defect, ...] = ()
    warnings: Counter = field(default_factory=Counter)

    def refuse(self, *defects: Defect) -> None:
        self.status, self.defects, self.warnings = "quarantined", defects, Counter()


@dataclass
class Oracle:
    """One bot's folder: the verdict on every entry, and the content that the good files make.

    `conversations` lists messages in the order of the file, then what each backup adds, by date;
    `placeholders` are the profiles made up for a chat that has none; `metadata` is what else a
    conversation's wrapper says, `backup_metadata` the same of backups, by chat and file name.
    """

    files: dict[str, File] = field(default_factory=dict)
    profiles: dict[int, dict] = field(default_factory=dict)
    conversations: dict[int, list[Message]] = field(default_factory=dict)
    metadata: dict[int, dict] = field(default_factory=dict)
    telegram_owners: dict[int, int] = field(default_factory=dict)
    backup_metadata: dict[int, dict[str, dict]] = field(default_factory=dict)
    placeholders: set[int] = field(default_factory=set)

    def with_status(self, status: str) -> list[str]:
        return [path for path, file in self.files.items() if file.status == status]

    def defects(self) -> dict[str, list[tuple[str, str]]]:
        """Of each quarantined file: (name, pointer) of its defects, in reading order."""
        return {path: [(d.name, d.pointer) for d in file.defects]
                for path, file in self.files.items() if file.status == "quarantined"}


def read_bot(folder: Path, *, strict: bool = False, max_bytes: int = MAX_BYTES) -> Oracle:
    """Reads one bot's folder; raises only where the folder itself can't be listed."""
    oracle = Oracle()
    documents: dict[str, tuple[File, int | None, object]] = {}
    for path, entry in sorted(walk_folder(folder), key=lambda pair: os.fsencode(pair[0])):
        file = oracle.files[path] = File(path)
        if skip := ignored_name(path):
            file.status, file.kind = "ignored", skip
        elif (data := read_entry(entry, folder, max_bytes, file)) is None:
            pass
        elif (place := place_of(path)) is None:
            file.refuse(Defect("unknown_file"))
        else:
            file.kind, chat_id = place
            content = read_document(data, file, chat_id, strict)
            if content is not None:
                documents[path] = (file, chat_id, content)
    # The single file is the older form: a contact's own file, written later, replaces its entry.
    for kind in ("profiles", "profile", "conversation", "backup"):
        for file, chat_id, content in documents.values():
            if file.kind != kind:
                continue
            if kind in ("profiles", "profile"):
                add_profiles(oracle, file, content)
            else:
                add_messages(oracle, file, chat_id, content, strict)
    return oracle


# Entries ------------------------------------------------------------------------------------------


def walk_folder(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every entry below the folder that is no real directory, as (relative path, path)."""
    pending = [("", folder)]
    while pending:
        prefix, directory = pending.pop()
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                pending.append((f"{prefix}{entry.name}/", Path(entry.path)))
            else:
                yield prefix + entry.name, Path(entry.path)


def ignored_name(path: str) -> str:
    """Why an entry of this name is no business of ours, or ''."""
    name = PurePosixPath(path).name
    if name.endswith(".tmp"):
        return "leftover of an interrupted write"
    if re.fullmatch(r".*\.backup\..*\.json", name, re.DOTALL):
        return "copy made by the bot"
    return "" if name.endswith(".json") else "no .json file"


def read_entry(entry: Path, folder: Path, max_bytes: int, file: File) -> bytes | None:
    """The bytes of a regular file inside the folder; else the file is refused. Never blocks."""
    try:
        real = entry.resolve(strict=True)
        found = real.stat()
        if not real.is_relative_to(folder.resolve()) or not stat.S_ISREG(found.st_mode):
            raise PermissionError
        if found.st_size > max_bytes:
            file.refuse(Defect("too_large"))
            return None
        data = real.read_bytes()
    except (OSError, RuntimeError):
        file.refuse(Defect("unreadable"))
        return None
    file.sha256 = hashlib.sha256(data).hexdigest()
    return data


def place_of(path: str) -> tuple[str, int | None] | None:
    """The kind of a file and the chat id that its name gives, or None for no file of ours."""
    match path.split("/"):
        case ["girls_data.json"]:
            return "profiles", None
        case ["girls_data", name] if chat_id := parse_chat_id(name.removesuffix(".json")):
            return "profile", chat_id
        case ["conversations", name] if chat_id := parse_chat_id(name.removesuffix(".json")):
            return "conversation", chat_id
        case ["backups", name, day] if chat_id := parse_chat_id(name):
            return ("backup", chat_id) if is_date(day.removesuffix(".json")) else None
    return None


def parse_chat_id(text: str) -> int | None:
    """A non-zero bigint in its one spelling (no sign but minus, no leading zero), or None."""
    if not re.fullmatch(r"-?[1-9][0-9]{0,18}", text):
        return None
    return chat_id if -MAX_BIGINT - 1 <= (chat_id := int(text)) <= MAX_BIGINT else None


def is_date(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) and date.fromisoformat(text))
    except ValueError:
        return False


# Bytes and syntax ---------------------------------------------------------------------------------


def read_document(data: bytes, file: File, chat_id: int | None, strict: bool):
    """The checked content of one file of a known kind, or None: then the file is refused."""
    text = decode(data, file)
    if isinstance(text, Defect):
        file.refuse(text)
        return None
    value = parse(text)
    if isinstance(value, Defect):
        file.refuse(value)
        return None
    checks = Checks(file.warnings, strict)
    spelling = list(spelling_defects(value))
    match file.kind:
        case "profiles":
            content = checks.profiles(value)
        case "profile":
            content = checks.profile(value, "", chat_id, key_counts=False)
        case _:
            content = checks.conversation(value, chat_id)
    # A value that can't be held is not also of the wrong type.
    known = {defect.pointer for defect in spelling}
    if found := spelling + [defect for defect in checks.found if defect.pointer not in known]:
        file.refuse(*found)
        return None
    return content


def decode(data: bytes, file: File) -> str | Defect:
    """The text behind a UTF-8 byte order mark, if any, or the defect of the bytes."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or (
            len(data) >= 4 and [byte == 0 for byte in data[:4]] in (
                [True, False, True, False], [False, True, False, True])):
        return Defect("utf16", where=0)
    if b"\0" in data:
        return Defect("nul_byte", where=data.index(b"\0"))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Defect("bad_encoding", where=error.start)
    if text.startswith("\ufeff"):
        file.warnings["bom"] += 1
        text = text[1:]
    return text if text.strip(" \t\n\r") else Defect("empty_file")


class Repeating(dict):
    """A JSON object in which `repeated` keys occur more than once; it holds the last values."""

    repeated: tuple[str, ...]


class OutOfRange:
    """A number that numeric can't hold."""


def parse(text: str):
    """The value of a JSON document (dict, list, str, int, Decimal, bool, None), or the Defect."""
    # The parser below recurses, so depth is judged first.
    if text.count("[") + text.count("{") > MAX_DEPTH and (defect := scan(text)):
        return defect
    try:
        return json.loads(text, object_pairs_hook=make_object, parse_int=make_number,
                          parse_float=make_number, parse_constant=refuse_constant)
    except ValueError as error:
        defect = scan(text)
        assert defect, f"the two JSON readers of the oracle disagree: {error}"
        return defect


def make_object(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object; one that repeats a key says which."""
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    made = Repeating(made)
    counts = Counter(key for key, _ in pairs)
    made.repeated = tuple(key for key, count in counts.items() if count > 1)
    return made


def make_number(text: str) -> int | Decimal | OutOfRange:
    """What PostgreSQL's numeric takes: 131072 digits before the point, 16383 after it."""
    whole, fraction, exponent = re.fullmatch(
        r"-?([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?", text).groups()
    fraction, exponent = fraction or "", exponent or "0"
    size = exponent.lstrip("+-").lstrip("0")
    exponent = (int(size or 0) if len(size) < 12 else 2**31) * (-1 if exponent[0] == "-" else 1)
    digits = len((whole + fraction).lstrip("0"))
    if (abs(exponent) >= 2**30 - 1 or len(fraction) - exponent > 16383
            or (digits and digits - len(fraction) + exponent > 131072)):
        return OutOfRange()
    if text.lstrip("-").isdigit() and len(text) < 4000:
        return int(text)
    return Decimal(text) if digits else Decimal(0)


def refuse_constant(name: str):
    raise ValueError(f"{name} is not JSON")


CHARACTERS = r'[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*'
TOKEN = re.compile(
    rf'(?P<string>"{CHARACTERS}")|(?P<mark>[\[\]{{}},:])|(?P<scalar>true|false|null|'
    r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
SPACE = re.compile(r"[ \t\n\r]*")
CUT_STRING = re.compile(rf'"{CHARACTERS}(?:\\(?:u[0-9a-fA-F]{{0,3}})?)?')
CUT_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:(?<=[0-9])[eE][+-]?[0-9]*)?)?")


def scan(text: str) -> Defect | None:
    """Walks the tokens of a document: too_deep, truncated (it ends where more had to come),
    bad_syntax with its line, or None where it is JSON."""
    stack: list[str] = []
    awaited = "value"  # or: first (value or ]), first_key (key or }), key, colon, next (, or close)
    at = previous = 0
    while True:
        at = SPACE.match(text, at).end()
        if at == len(text):
            return Defect("truncated") if stack or awaited != "next" else None
        token = TOKEN.match(text, at)
        kind, word = (token.lastgroup, token[0]) if token else ("", "")
        takes_value = awaited in ("value", "first")
        if takes_value and word in ("[", "{"):
            stack.append("]" if word == "[" else "}")
            if len(stack) > MAX_DEPTH:
                return Defect("too_deep")
            awaited = "first" if word == "[" else "first_key"
        elif takes_value and kind in ("string", "scalar"):
            awaited = "next"
        elif awaited in ("key", "first_key") and kind == "string":
            awaited = "colon"
        elif awaited == "colon" and word == ":":
            awaited = "value"
        elif awaited == "next" and word == "," and stack:
            awaited = "value" if stack[-1] == "]" else "key"
        elif stack and word == stack[-1] and awaited in ("next", "first", "first_key"):
            stack.pop()
            awaited = "next"
        elif is_cut(text, at, previous, awaited):
            return Defect("truncated")
        else:
            return Defect("bad_syntax", where=text.count("\n", 0, at) + 1)
        previous, at = at, token.end()


def is_cut(text: str, at: int, previous: int, awaited: str) -> bool:
    """Whether the rest of the text is the beginning of a token that may stand there."""
    rest = text[at:at + 5]
    if awaited in ("value", "first"):
        return bool(CUT_STRING.fullmatch(text, at) or CUT_NUMBER.fullmatch(text, at)
                    or any(word.startswith(rest) for word in ("true", "false", "null")))
    if awaited in ("key", "first_key"):
        return bool(CUT_STRING.fullmatch(text, at))
    # "1." and "1e": the token before was only the number's first half.
    return awaited == "next" and text[previous] in "-0123456789" and bool(
        CUT_NUMBER.fullmatch(text, previous))


# Content ------------------------------------------------------------------------------------------


def spelling_defects(document) -> Iterator[Defect]:
    """What no table can hold, anywhere in the document: \\u0000, half characters, huge numbers,
    repeated keys."""
    pending = [("", document)]
    while pending:
        pointer, value = pending.pop()
        if isinstance(value, OutOfRange):
            yield Defect("number_range", pointer)
        elif isinstance(value, str):
            yield from text_defects(value, pointer)
        elif isinstance(value, list):
            pending.extend((f"{pointer}/{i}", value[i]) for i in reversed(range(len(value))))
        elif isinstance(value, dict):
            children = []
            for key in value:
                if defects := list(text_defects(key, pointer)):
                    yield from defects
                else:
                    children.append((step(pointer, key), value[key]))
            for key in getattr(value, "repeated", ()):
                if not any(text_defects(key, "")):
                    yield Defect("duplicate_key", step(pointer, key))
            pending.extend(reversed(children))


HALF = re.compile("[\ud800-\udfff]")


def text_defects(text: str, pointer: str) -> Iterator[Defect]:
    """What no text column can hold: \\u0000 and half characters."""
    if "\0" in text:
        yield Defect("nul_escape", pointer)
    if HALF.search(text):
        yield Defect("lone_surrogate", pointer)


def step(pointer: str, key: str) -> str:
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"


def is_integer(value) -> bool:
    """Whether a value is a JSON number without a fraction: 7, 7.0 and 7e2 are, true is not."""
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def digits(value: int | Decimal) -> tuple[int, int]:
    """How many digits of a number jsonb prints before and after the point."""
    if isinstance(value, int):
        return len(str(abs(value))), 0
    return max(1, value.adjusted() + 1), max(0, -value.as_tuple().exponent)


def printed(value) -> float:
    """How many bytes jsonb prints a value as; infinite where a number has too many digits."""
    total, pending = 0, [value]
    while pending:
        value = pending.pop()
        if value is None or isinstance(value, bool):
            total += 5 if value is False else 4
        elif isinstance(value, int | Decimal):
            before, after = digits(value)
            total += float("inf") if max(before, after) > MAX_DIGITS else (
                (value < 0) + before + after + (after > 0))
        elif isinstance(value, str):
            total += len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        elif isinstance(value, list | dict):
            total += 2 + 2 * max(0, len(value) - 1)
            if isinstance(value, dict):
                total += 2 * len(value)
                pending += value.keys()
            pending += value.values() if isinstance(value, dict) else value
    return total


class Checks:
    """Collects the defects (`found`) and warnings of one document's shape.

    A null is an absent value, for every key. Methods return content that counts only if nothing
    was found.
    """

    def __init__(self, warnings: Counter, strict: bool):
        self.found: list[Defect] = []
        self.warnings, self.strict = warnings, strict

    def fail(self, name: str, pointer: str) -> None:
        self.found.append(Defect(name, pointer))

    def unknown(self, given: dict, known: set[str], pointer: str) -> dict:
        """The entries under keys that are not ours."""
        other = {key: value for key, value in given.items() if key not in known}
        for key in other:
            self.warnings["unknown_key"] += 1
            if self.strict:
                self.fail("unknown_key", step(pointer, key))
        return other

    def fits(self, value: str | dict | None, most: int, pointer: str) -> None:
        """A defect where a text has more characters, or an object more bytes, than its column
        takes."""
        if (len(value) if isinstance(value, str) else printed(value or {})) > most:
            self.fail("out_of_bounds_in_file", pointer)

    def typed(self, given: dict, key: str, kind: type, pointer: str):
        """given[key] if it is of that type, None if absent, else a defect."""
        value = given.get(key)
        if value is None or isinstance(value, kind):
            return value
        self.fail("wrong_type", step(pointer, key))
        return None

    def integer(self, given: dict, key: str, low: int, high: int, pointer: str) -> int | None:
        """given[key] as an int within low and high, None if absent, else a defect."""
        value = given.get(key)
        if value is None:
            return None
        if not is_integer(value):
            self.fail("wrong_type", step(pointer, key))
        elif not low <= value <= high:
            self.fail("number_range", step(pointer, key))
        else:
            return int(value)
        return None

    def time(self, given: dict, key: str, pointer: str) -> datetime | None:
        """given[key] as an aware datetime, None if absent, else a defect."""
        value = given.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            found = "wrong_type"
        else:
            found = parse_iso(value) if isinstance(value, str) else parse_unix(value)
        if isinstance(found, str):
            self.fail(found, step(pointer, key))
            return None
        if isinstance(value, str) and not ZONE.search(value):
            self.warnings["no_zone"] += 1
        return found

    def chat_id(self, given: dict, pointer: str, expected: int | None, required: bool
                ) -> int | None:
        """The chat that an object belongs to: what it says, which the file or key must confirm."""
        value = given.get("chat_id")
        pointer = step(pointer, "chat_id")
        if value is None:
            if required:
                self.fail("chat_id_missing", pointer)
            return expected
        if not is_integer(value):
            self.fail("wrong_type", pointer)
        elif expected is not None and value != expected:
            self.fail("chat_id_mismatch", pointer)
        elif not value or not -MAX_BIGINT - 1 <= value <= MAX_BIGINT:
            self.fail("number_range", pointer)
        else:
            return int(value)
        return None

    def profiles(self, document) -> list[dict]:
        """All profiles of the single file, in its order."""
        if isinstance(document, list):
            entries = [(f"/{i}", None, entry) for i, entry in enumerate(document)]
        elif isinstance(document, dict):
            entries = [(step("", key), key, entry) for key, entry in document.items()]
        else:
            self.fail("wrong_shape", "")
            return []
        result, chats, telegrams = [], set(), set()
        for pointer, key, entry in entries:
            expected = None if key is None else parse_chat_id(key)
            if key is not None and expected is None:
                self.fail("chat_id_mismatch", pointer)
                continue
            made = self.profile(entry, pointer, expected, key_counts=key is not None)
            if made is None:
                continue
            if made["chat_id"] in chats or made["telegram_id"] in telegrams:
                self.fail("duplicate_contact", pointer)
            chats.add(made["chat_id"])
            telegrams.add(made["telegram_id"])
            result.append(made)
        return result

    def profile(self, entry, pointer: str, expected: int | None, key_counts: bool) -> dict | None:
        """One profile; `key_counts`: the key it stands under may give the chat id alone."""
        if not isinstance(entry, dict):
            self.fail("wrong_shape", pointer)
            return None
        before = len(self.found)
        chat_id = self.chat_id(entry, pointer, expected, required=not key_counts)
        telegram_id = self.integer(entry, "telegram_id", 1, MAX_BIGINT, pointer)
        summary = self.typed(entry, "summary", dict, pointer) or {}
        for key, value in summary.items():
            if not isinstance(value, str):
                self.fail("wrong_type", step(step(pointer, "summary"), key))
        made = {
            "chat_id": chat_id,
            "telegram_id": chat_id if telegram_id is None else telegram_id,
            "name": self.typed(entry, "name", str, pointer),
            "last_activity": self.time(entry, "last_activity", pointer),
            "message_count": self.integer(entry, "message_count", 0, MAX_INTEGER, pointer) or 0,
            "summary": summary,
            "profile": self.typed(entry, "profile", dict, pointer) or {},
            "previous_response_id": self.typed(entry, "previous_response_id", str, pointer),
            "extra": self.unknown(entry, PROFILE_KEYS, pointer),
        }
        for key in ("name", "previous_response_id"):
            self.fits(made[key], MAX_TEXT, step(pointer, key))
        for key in ("summary", "profile", "extra"):
            self.fits(made[key], MAX_OBJECT, pointer if key == "extra" else step(pointer, key))
        return made if len(self.found) == before else None

    def conversation(self, document, chat_id: int) -> tuple[list[Message], dict]:
        """The messages of a conversation or a backup, and what else its wrapper says."""
        other: dict = {}
        items, pointer = document, ""
        if isinstance(document, dict):
            self.chat_id(document, "", chat_id, required=False)
            self.unknown(document, WRAPPER_KEYS, "")
            other = {key: value for key, value in document.items()
                     if key not in ("chat_id", "messages")}
            self.fits(other, MAX_OBJECT, "")
            if document.get("messages") is None:
                self.fail("missing_key", "/messages")
            items, pointer = self.typed(document, "messages", list, "") or [], "/messages"
        elif not isinstance(document, list):
            self.fail("wrong_shape", "")
            items = []
        return [self.message(item, f"{pointer}/{i}") for i, item in enumerate(items)], other

    def message(self, item, pointer: str) -> Message | None:
        """One message, or None after a defect that leaves nothing of it."""
        if not isinstance(item, dict):
            self.fail("wrong_shape", pointer)
            return None
        if "text" in item and "content" in item:  # which of the two was said?
            self.fail("wrong_shape", pointer)
            return None
        body_key = "content" if "content" in item else "text"
        for key in (body_key, "direction", "ts"):
            if item.get(key) is None:
                self.fail("missing_key", step(pointer, key))
        body = self.typed(item, body_key, str, pointer)
        direction = self.typed(item, "direction", str, pointer)
        if direction not in ("in", "out", None):
            self.fail("bad_direction", step(pointer, "direction"))
        sent_at = self.time(item, "ts", pointer)
        other = self.unknown(item, {"text", "content", "direction", "ts"}, pointer)
        self.fits(body, MAX_TEXT, step(pointer, body_key))
        self.fits(other, MAX_METADATA, pointer)
        return direction, body, sent_at, other or None


STAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:Z|([+-])([0-9]{2})(?::?([0-9]{2}))?)?")
ZONE = re.compile(r"(?:Z|[+-][0-9:]+)\Z")


def parse_iso(text: str) -> datetime | str:
    """The moment of an ISO 8601 text (UTC where it names no zone), or a defect's name.

    timestamp_format: not of the form. timestamp_range: of the form, but no real date, time or
    zone (24:00 and a second 60 count as none), or outside 1970 to 2099.
    """
    match = STAMP.fullmatch(text)
    if not match:
        return "timestamp_format"
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    zone_hour, zone_minute = int(match[9] or 0), int(match[10] or 0)
    if hour > 23 or minute > 59 or second > 59 or zone_hour > 15 or zone_minute > 59:
        return "timestamp_range"
    try:
        days = date(year, month, day).toordinal() - EPOCH.toordinal()
    except ValueError:
        return "timestamp_range"
    zone = (zone_hour * 60 + zone_minute) * (-60 if match[8] == "-" else 60)
    # PostgreSQL rounds the product of doubles, half to even, and so decides what a tie becomes.
    fraction = round(float(f".{match[7] or 0}") * 1_000_000)
    seconds = days * 86400 + hour * 3600 + minute * 60 + second - zone
    return moment(seconds * 1_000_000 + fraction)


def parse_unix(value: int | Decimal) -> datetime | str:
    """The moment of unix seconds, or milliseconds from 10^11 on; halves of a microsecond go up."""
    if value < 0 or value >= 4_102_444_800_000:
        return "timestamp_range"
    scale = 1000 if value >= FIRST_MILLISECOND else 1_000_000
    return moment(int(Fraction(value) * scale + Fraction(1, 2)))


def moment(microseconds: int) -> datetime | str:
    """A datetime from microseconds since 1970, or the defect that it is outside 1970 to 2099."""
    if not 0 <= microseconds < 4_102_444_800_000_000:
        return "timestamp_range"
    return EPOCH + timedelta(microseconds=microseconds)


# Tables -------------------------------------------------------------------------------------------


def add_profiles(oracle: Oracle, file: File, content: list[dict] | dict) -> None:
    """Adds a file's profiles, or refuses it where the database would: a telegram id twice."""
    made = content if isinstance(content, list) else [content]
    if any(telegram_taken(oracle, entry["telegram_id"], entry["chat_id"]) for entry in made):
        file.refuse(Defect("refused_by_database"))
        return
    for entry in made:
        chat_id = entry.pop("chat_id")
        if chat_id in oracle.profiles:
            oracle.files["girls_data.json"].warnings["superseded"] += 1
        put_profile(oracle, chat_id, entry)


def put_profile(oracle: Oracle, chat_id: int, profile: dict) -> None:
    """Makes this the profile of the chat, and lets go of the telegram id of the one before."""
    if old := oracle.profiles.get(chat_id):
        del oracle.telegram_owners[old["telegram_id"]]
    oracle.telegram_owners[profile["telegram_id"]] = chat_id
    oracle.profiles[chat_id] = profile


def telegram_taken(oracle: Oracle, telegram_id: int, chat_id: int) -> bool:
    return oracle.telegram_owners.get(telegram_id, chat_id) != chat_id


def add_messages(oracle: Oracle, file: File, chat_id: int,
                 content: tuple[list[Message], dict], strict: bool) -> None:
    """Adds a conversation, or those messages of a backup that the conversation doesn't hold."""
    messages, other = content
    # A private chat has its person's id: she may be known from another chat.
    if chat_id not in oracle.profiles and chat_id not in oracle.telegram_owners:
        if strict:
            file.refuse(Defect("no_profile"))
            return
        file.warnings["no_profile"] += 1
        oracle.placeholders.add(chat_id)
        put_profile(oracle, chat_id, {
            "telegram_id": chat_id, "name": None, "last_activity": None, "message_count": 0,
            "summary": {}, "profile": {}, "previous_response_id": None, "extra": {}})
    held = oracle.conversations.setdefault(chat_id, [])
    if file.kind == "conversation":
        oracle.metadata[chat_id] = other
        held.extend(messages)
        return
    oracle.metadata.setdefault(chat_id, {})
    oracle.backup_metadata.setdefault(chat_id, {})[PurePosixPath(file.path).name] = other
    # Said three times in the backup and twice in the conversation: the third is new.
    spare = Counter(message[:3] for message in held)
    for message in messages:
        if spare[message[:3]] > 0:
            spare[message[:3]] -= 1
        else:
            held.append(message)
