"""The import on files that nobody wrote: mutations, random content, every character."""

import itertools
import json
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from import_helpers import (
    NO_LOG,
    SEED,
    TORTURE,
    Bot,
    faults,
    loads,
    make_folder,
    read_tables,
    said,
    same,
)
from test_examples import generate

from fleet.importer import KINDS

pytest_plugins = "import_helpers"

MUTATIONS = 10_000 if TORTURE else 2000
ROUNDS = 1000 if TORTURE else 20


def load(conn: psycopg.Connection, bot: Bot, files: dict[str, bytes]) -> None:
    """What an import does with these files, in one transaction on one connection."""
    bot_id = conn.execute("select bot_id from json_import.ensure_bot(%s)", [bot.name]).fetchone()[0]
    run_id = conn.execute("select json_import.start_run('test')").fetchone()[0]
    rows = conn.execute("""
        select kind, array_agg(path order by ordinal), array_agg(chat_id order by ordinal)
        from json_import.classify(%s)
        join unnest(%s::text[]) with ordinality as u (path, ordinal) using (ordinal)
        group by kind""", [sorted(files), sorted(files)]).fetchall()
    for kind, paths, chat_ids in sorted(rows, key=lambda row: KINDS.index(row[0])):
        loaded, quarantined, *_ = conn.execute(
            "select * from json_import.load(%s, %s, %s, %s, %s::bigint[], %b)",
            [run_id, bot_id, kind, paths, chat_ids, [files[path] for path in paths]]).fetchone()
        assert loaded + quarantined == len(paths), "neither loaded nor quarantined, or both"


# Mutations ----------------------------------------------------------------------------------------

# What the eye takes for harmless: put in somewhere, or in place of something.
WORDS = [word.encode() for word in (
    '"', "\\", "\\\\", "\\u0000", "\\ud83d", "\\ude42", "\\ud83d\\ude42", "\\n", "{", "}", "[", "]",
    ",", ":", " ", "\n", "\t", "0", "-", ".", "e9", "1e400000", "null", "true", "{}", "[]", '""',
    '"text": ""', '"ts": 1, ', '"direction": "in", ', '"content": "x", ', '"chat_id": 5, ', "Z",
    "T", "+03:00", "+16:00", "24", "60", "99", "2100", "1969", "00", "я", "🙂", "\ufeff", "\u2028",
    '"x": {"x": 1, "x": 2}, ', '"in"', '"out"', '"up"', "4102444800", "99999999999", "-1", ".5",
    "\x7f", "\r", "\x01", "\0")] + [b"\xff", b"\xd0", b"\x80", b"\xed\xa0\x80", b"\xc0\x80"]


def mutate(rng: random.Random, data: bytes) -> bytes:
    """The file with one to three small things wrong, or changed, somewhere."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(data) + 1)
        size = rng.choice((0, 1, 1, 2, 4, rng.randrange(1, 60)))
        tokens = [m.span() for m in re.finditer(rb'"[^"]*"|-?[0-9.]+|true|false|null', data)]
        if tokens and rng.random() < 0.5:  # something that means something
            start, end = rng.choice(tokens)
            at, size = (start, end - start) if rng.random() < 0.6 else (rng.randint(start, end), 1)
        new = rng.choice((
            b"", bytes([rng.randrange(256)]), rng.choice(WORDS), rng.choice(WORDS),
            data[at:at + size] * 2, bytes(byte ^ 1 << rng.randrange(8) for byte in data[at:at + 1]),
            data[slice(*rng.choice(tokens))] if tokens else b"0"))
        data = data[:at] + new + (data[at + size:] if rng.random() < 0.98 else b"")
    return data


# What may stand anywhere in a document; @…@ becomes a number that Python can't write.
VALUES = (
    None, True, False, 0, 1, -1, 7, 1.5, 2**31, 2**63, -2**63 - 1, 4102444800, 99999999999, 10**12,
    "", "in", "out", "up", "x", "7", "\0", "a\0", "\ud83d", "\ude42\ud83d", "@1e400000@", "@-0@",
    "@1e131071@", "@1.7e9@", "@1700000000.1234565@", "@1e-16384@", "2024-05-01T10:20:30Z",
    "2024-05-01T10:20:30", "2024-05-01 10:20:30.123456789+0530", "2024-02-30T10:20:30Z",
    "2099-12-31T23:59:59.9999996Z", "2024-05-01", [], {}, [[]], [{}], {"": []}, {"\0": 1},
    [1e400000])
KEYS = ("text", "content", "direction", "ts", "chat_id", "messages", "date", "name", "telegram_id",
        "last_activity", "message_count", "summary", "profile", "previous_response_id", "a/b", "~",
        "", "7", "\ud800")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of everything in a document."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def distort(rng: random.Random, data: bytes) -> bytes:
    """The file with one or two values, keys or elements changed: still JSON."""
    document = [json.loads(data)]
    for _ in range(rng.choice((1, 1, 1, 2))):
        found = list(places(document))
        holder, key = rng.choice(found)
        value = deepcopy(rng.choice((rng.choice(VALUES), rng.choice(found)[0], holder[key])))
        if isinstance(holder, list) or rng.random() < 0.6:
            holder[key] = value
        elif rng.random() < 0.5:
            holder[rng.choice(KEYS)] = value
        else:
            holder[rng.choice(KEYS)] = holder.pop(key)
    text = json.dumps(document[0] if document else 0, ensure_ascii=rng.random() < 0.5)
    text = re.sub('"@([^"]*)@"', r"\1", text).replace("Infinity", "1e400000")
    if rng.random() < 0.1:  # a key twice
        text = re.sub('("[a-z_]+": )', lambda m: m[1] + "5, " + m[1], text, count=1)
    return text.encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def valid(tmp_path_factory) -> list[dict[str, bytes]]:
    """Small sound folders of the generator, as files by path."""
    root = tmp_path_factory.mktemp("valid")
    generate("legacy", root / "legacy", "--seed", str(SEED))
    generate("bulk", root / "bulk", "--bots", "2", "--messages", "300", "--contacts", "60")
    found = []
    for folder in sorted((*(root / "legacy").iterdir(), *(root / "bulk").iterdir())):
        files = {str(path.relative_to(folder)): path.read_bytes()
                 for path in sorted(folder.rglob("*.json"))}
        found.append({path: data for path, data in files.items() if len(data) < 4000})
    return found


def test_mutated_files_are_loaded_or_quarantined_as_the_oracle_says(imported, valid, tmp_path):
    print(f"SEED={SEED}")
    done, names = 0, []
    with imported.connect(options=NO_LOG) as conn:
        while done < MUTATIONS:
            rng = random.Random(f"{SEED} {done}")  # noqa: S311
            files = {path: rng.choice((mutate, distort, distort, lambda _, same: same))(rng, data)
                     for path, data in rng.choice(valid).items()}
            bot = Bot(imported, f"mutant {done}", make_folder(tmp_path / str(done), files))
            load(conn, bot, files)
            for file in bot.agrees(checked=False).files.values():
                names += [defect.name for defect in file.defects] or [file.status]
            done += len(files)
    assert faults(imported) == {}
    assert set(oracle.CODES) - set(names) <= {
        "empty_file", "utf16", "too_deep", "too_large", "unknown_file", "unknown_key", "no_profile",
        "unreadable", "duplicate_contact", "refused_by_database", "out_of_bounds_in_file"}


# Every character ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ascii_only", [False, True], ids=["as they are", "escaped"])
def test_every_character_of_every_plane_comes_through_byte_for_byte(ascii_only, bot):
    characters = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    texts = ["".join(characters[at:at + 4096]) for at in range(0, len(characters), 4096)]
    bot.write({
        "conversations/7.json": json.dumps([said(text) for text in texts], ensure_ascii=ascii_only),
        "girls_data/7.json": json.dumps({"chat_id": 7, "name": texts[0], "summary": dict.fromkeys(
            texts[::16], "x")}, ensure_ascii=ascii_only)}).load()
    with bot.database.connect(options=NO_LOG) as conn:
        stored = conn.execute("select convert_to(string_agg(body, '' order by message_id), 'UTF8')"
                              " from core.messages join core.bots using (bot_id) where name = %s",
                              [bot.name], binary=True).fetchone()[0]
    assert stored == "".join(characters).encode()
    bot.agrees()


# Random content -----------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-10**30, 10**30) | TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8)
OTHER = st.dictionaries(TEXT.map("x{}".format), VALUE, max_size=2)  # keys that have no column
MOMENT = st.integers(0, 4_102_444_799_999_999) | st.integers(0, 4_102_444_799).map(
    lambda seconds: seconds * 1_000_000)


def exact(value: Any) -> Any:
    """A value with its numbers as the database has them: exact."""
    return loads(json.dumps(value))


@st.composite
def spelled(draw: Callable, micros: int) -> Any:
    """A moment as some program writes it: text, or a number in brackets of @."""
    scales = [1_000_000] + [1000] * (micros >= 100_000_000_000_000)
    number = Decimal(micros) / draw(st.sampled_from(scales))
    zone = timezone(timedelta(minutes=draw(st.integers(-15 * 60 - 59, 15 * 60 + 59))))
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).astimezone(
        draw(st.sampled_from((UTC, zone))))
    digits = f"{local:%f}".rstrip("0")
    digits += "0" * draw(st.integers(0 if digits else 1, 9 - len(digits)))
    fraction = f".{digits}" if micros % 1_000_000 or draw(st.booleans()) else ""
    zones = [f"{local:%z}", f"{local:%z}"[:3] + ":" + f"{local:%z}"[3:]]
    zones += [f"{local:%z}"[:3]] * (not local.utcoffset() % timedelta(hours=1))
    zones += ["Z", ""] * (not local.utcoffset())
    return draw(st.sampled_from((
        f"@{number:f}@", f"@{number:e}@",
        f"{local:%Y-%m-%d}{draw(st.sampled_from('T '))}{local:%H:%M:%S}{fraction}"
        f"{draw(st.sampled_from(zones))}")))


@st.composite
def conversations(draw: Callable, chat_id: int) -> tuple[Any, list, dict]:
    """A document, the messages that it must make, and the metadata."""
    key = draw(st.sampled_from(("text", "content")))
    items, messages = [], []
    for _ in range(draw(st.integers(0, 6))):
        micros, body, direction = draw(MOMENT), draw(TEXT), draw(st.sampled_from(("in", "out")))
        more = draw(OTHER) if draw(st.booleans()) else {}
        items.append({key: body, "direction": direction, "ts": draw(spelled(micros)), **more})
        messages.append((direction, body, oracle.EPOCH + timedelta(microseconds=micros),
                         exact(more or None)))
    if draw(st.booleans()):
        return items, messages, {}
    other = draw(OTHER)
    named = {"chat_id": chat_id} if draw(st.booleans()) else {}
    return named | other | {"messages": items}, messages, exact(other)


@st.composite
def profiles(draw: Callable, chat_id: int) -> tuple[dict, dict]:
    """A profile as its file has it, and the row that it must make."""
    micros = draw(st.none() | MOMENT)
    row = {"telegram_id": draw(st.sampled_from((chat_id, 7_000_000 + abs(chat_id)))),
           "name": draw(st.none() | TEXT), "message_count": draw(st.integers(0, 2**31 - 1)),
           "summary": draw(st.dictionaries(TEXT, TEXT, max_size=3)),
           "profile": draw(st.dictionaries(TEXT, VALUE, max_size=3)),
           "previous_response_id": draw(st.none() | TEXT)}
    extra = draw(OTHER)
    given = {"chat_id": chat_id, **row, **extra} | (
        {"last_activity": draw(spelled(micros))} if micros is not None else {})
    optional = [key for key, value in given.items() if value in (None, {}, 0) and key not in extra]
    for key in draw(st.lists(st.sampled_from(optional), unique=True)) if optional else ():
        del given[key]
    if given.get("telegram_id") == chat_id and (chat_id < 0 or draw(st.booleans())):
        del given["telegram_id"]
    return given, exact(row | {"extra": extra}) | {"last_activity": None if micros is None else (
        oracle.EPOCH + timedelta(microseconds=micros))}


@st.composite
def folders(draw: Callable) -> tuple[dict[str, bytes], dict, dict, dict]:
    """Files of a bot, and what they must make: profiles, conversations, metadata."""
    files: dict[str, Any] = {}
    single, wanted, said_there, metadata = [], {}, {}, {}
    for chat_id in draw(st.lists(st.integers(1, 10**6) | st.integers(-10**14, -1), max_size=5,
                                 unique_by=abs)):
        given, wanted[chat_id] = draw(profiles(chat_id))
        if draw(st.booleans()):
            files[f"girls_data/{chat_id}.json"] = given
        else:
            single.append(given)
        if draw(st.booleans()):
            files[f"conversations/{chat_id}.json"], said_there[chat_id], metadata[chat_id] = draw(
                conversations(chat_id))
    if single:
        files["girls_data.json"] = single if draw(st.booleans()) else {
            str(one["chat_id"]): one for one in single}

    def text(value: Any) -> bytes:
        made = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(
            st.sampled_from((None, 0, 1))))
        made = re.sub('"@([-+.0-9Ee]*)@"', r"\1", made)
        return (draw(st.sampled_from(("", "", "\ufeff"))) + made).encode()

    return ({path: text(value) for path, value in files.items()}, wanted, said_there, metadata)


@seed(SEED)
@settings(max_examples=ROUNDS, deadline=None, database=None)
@given(folder=folders())
def test_random_content_makes_a_round_trip_through_every_shape(imported, folder):
    files, profiles, conversations, metadata = folder
    with tempfile.TemporaryDirectory() as root, imported.connect(options=NO_LOG) as conn:
        bot = Bot(imported, f"random {root[-12:]}", make_folder(Path(root), files))
        load(conn, bot, files)
        found = read_tables(imported, bot.name)
        assert {path for path, file in found.files.items() if file.status != "loaded"} == set()
        same(found.profiles, profiles, "profiles")
        same(found.conversations, conversations, "messages")
        same(found.metadata, metadata, "metadata")
        bot.agrees(checked=False)


# Times that are numbers ---------------------------------------------------------------------------

# Of seconds and milliseconds: the first, from where on they are milliseconds, the end.
BOUNDS = (0, 10**11, 4_102_444_800, 4_102_444_800_000)
HALVES = (Decimal(0), Decimal("5e-7"), Decimal("5e-4"))  # of a microsecond
ROADS = """
    with number as materialized (
        select n, place, n::jsonb as value, json_import.time_fault(n::jsonb) as fault
        from unnest(%s::text[]) with ordinality as u (n, place)
    )
    select n.n, n.fault,
           case when n.fault is null then array[
               extract(epoch from json_import.to_time(n.value)) * 1000000,
               json_import.reread_micros('number', n.n),
               extract(epoch from m.sent_at) * 1000000] end,
           m.is_sound
    from number as n
    cross join lateral json_import.plain_messages(array[jsonb_build_array(
        jsonb_build_object('text', '', 'direction', 'in', 'ts', n.value))]) as m
    order by n.place"""


def numbers_near(bound: int, rng: random.Random) -> Iterator[str]:
    """Numbers beside a bound as a file may write them: to 20 decimals, some with an exponent."""
    exactly = Context(prec=60)
    for decimals in range(21):
        for steps in (0, 1, 4, 5, 6, rng.randrange(10**decimals)):
            for half, sign in itertools.product(HALVES, (-1, 1)):
                aside = exactly.scaleb(Decimal(sign * steps), -decimals)
                for number in (exactly.add(bound + half, aside), exactly.add(bound - half, aside)):
                    yield rng.choice((f"{number:f}", f"{number:e}"))


def test_a_number_near_a_bound_is_one_time_on_every_road(imported):
    rng = random.Random(SEED)  # noqa: S311
    numbers = [text for bound in BOUNDS for text in numbers_near(bound, rng)]
    wrong = []
    with imported.connect() as conn:
        conn.execute("set timezone = 'UTC'")
        for text, fault, micros, is_sound in conn.execute(ROADS, [numbers]):
            expected = oracle.parse_unix(Decimal(text))
            if isinstance(expected, str):
                right = fault == "MB419" and not is_sound
            else:
                moment = (expected - oracle.EPOCH) // timedelta(microseconds=1)
                right = fault is None and {*micros} <= {moment, *([] if is_sound else [None])}
            wrong += [] if right else [(text, expected, fault, micros, is_sound)]
    assert wrong == []
