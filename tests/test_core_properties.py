"""Schema core against models in Python: its checks, its counters, its text."""

import json
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from core_rows import add_bot, add_conversation, record, wrong_counters
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import Jsonb

pytest_plugins = "core_rows"

# One session serves all examples of a test, and each example undoes what it did.
SETTINGS = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}

# Checks ------------------------------------------------------------------------

FIRST, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
LOW, HIGH = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
INFINITIES = ("infinity", "-infinity")

# the limits come up often: a branch of their own, not of many
times = st.sampled_from(
    [None, FIRST, FIRST - MICROSECOND, END, END - MICROSECOND, *INFINITIES]) | st.datetimes(
        datetime(1960, 1, 1), datetime(2110, 1, 1), timezones=st.just(UTC))
numbers = st.sampled_from([None, -1, 0, 1, 2 ** 31 - 1, -2 ** 31])
ids = st.sampled_from([None, -1, 0, 1]) | st.integers(-2 ** 63, 2 ** 63 - 1)
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
documents = st.sampled_from([None, "null", "[]", "{}", "1", '"x"', "true"]) | (
    st.dictionaries(st.text("abc", max_size=2), st.integers(), max_size=2).map(json.dumps))
names = st.sampled_from([None, "", " ", "x ", " x", "a b", "я" * 100, "я" * 101]) | (
    st.text(" \t\n\x7f\x85\xa0\u200b\u2028яA", max_size=5)) | texts
spans = st.sampled_from([None, timedelta(0), -MICROSECOND, MICROSECOND]) | st.timedeltas(
    timedelta(-2), timedelta(2))
days = st.sampled_from([None, *INFINITIES]) | st.dates()


def moment(value: datetime | str) -> datetime:
    """A time or an infinity, so that it compares."""
    return {"infinity": HIGH, "-infinity": LOW}.get(value, value)


def is_object(value: str | None) -> bool:
    return value is None or value.startswith("{")


def is_recent(value: datetime | str | None) -> bool:
    return value is None or FIRST <= moment(value) < END


def is_name(value: str | None) -> bool:
    return value is None or (
        value == value.strip(" ") and 1 <= len(value) <= 100
        and not any(unicodedata.category(character) == "Cc" for character in value))


Row = dict[str, object]
# Per table: an ordinary row, the values to try in its columns, the columns that must not be null,
# and what each constraint, or the domain of a column, demands.
MODELS: dict[str, tuple[Row, dict[str, st.SearchStrategy], set[str],
                        dict[str, Callable[[Row], bool]]]] = {
    "bots": (
        {"name": "Аня", "owner_telegram_id": 1, "config": "{}", "status": "active"},
        {"name": names, "owner_telegram_id": ids, "config": documents,
         "status": texts | st.sampled_from(["active", "paused", "retired", "Active", "active "])},
        {"name", "status", "config"},
        {"bots_name_ck": lambda r: is_name(r["name"]),
         "bots_owner_ck": lambda r: r["owner_telegram_id"] is None or r["owner_telegram_id"] > 0,
         "bots_status_ck": lambda r: r["status"] in (None, "active", "paused", "retired"),
         "bots_config_ck": lambda r: is_object(r["config"])}),
    "girls_profiles": (
        {"telegram_id": 1, "chat_id": 1},
        {"telegram_id": ids, "chat_id": ids, "last_activity": times, "message_count": numbers,
         "name": texts, "previous_response_id": texts, "summary": documents,
         "profile": documents, "extra": documents, "first_seen_at": times,
         "standing": texts | st.sampled_from(["reachable", "blocked", "left", "Left"])},
        {"telegram_id", "chat_id", "message_count", "summary", "profile", "extra", "standing"},
        {"last_activity": lambda r: is_recent(r.get("last_activity")),
         "first_seen_at": lambda r: is_recent(r.get("first_seen_at")),
         "girls_profiles_standing_ck": lambda r: r.get("standing") in (
             None, "reachable", "blocked", "left"),
         "girls_profiles_message_count_ck": lambda r: (r.get("message_count") or 0) >= 0,
         "girls_profiles_summary_ck": lambda r: is_object(r.get("summary")),
         "girls_profiles_profile_ck": lambda r: is_object(r.get("profile")),
         "girls_profiles_extra_ck": lambda r: is_object(r.get("extra"))}),
    "conversations": (
        {"chat_id": 1, "started_at": FIRST},
        {"chat_id": ids, "thread_id": ids, "started_at": times, "metadata": documents,
         "type": texts | st.sampled_from(["private", "group", "supergroup", "channel", "crowd"])},
        {"chat_id", "thread_id", "started_at", "metadata"},
        {"started_at": lambda r: is_recent(r["started_at"]),
         "conversations_type_ck": lambda r: r.get("type") in (
             None, "private", "group", "supergroup", "channel"),
         "conversations_metadata_ck": lambda r: is_object(r.get("metadata"))}),
    "messages": (
        {"body": "", "direction": "in"},
        {"sent_at": times, "source_file_id": ids, "body": texts, "metadata": documents,
         "direction": texts | st.sampled_from(["in", "out", "IN", "in "])},
        {"sent_at", "direction", "body"},
        {"sent_at": lambda r: is_recent(r.get("sent_at")),
         "messages_direction_ck": lambda r: r["direction"] in (None, "in", "out"),
         "messages_metadata_ck": lambda r: is_object(r.get("metadata"))}),
    "bot_metrics": (
        {"day": "2025-01-01", "reply_p50": None, "reply_p95": None},
        {"day": days, "reply_p50": spans, "reply_p95": spans, "messages_in": numbers,
         "messages_out": numbers, "new_conversations": numbers, "active_contacts": numbers},
        {"day", "messages_in", "messages_out", "new_conversations", "active_contacts"},
        {"bot_metrics_day_ck": lambda r: r["day"] not in INFINITIES,
         "bot_metrics_counts_ck": lambda r: all((r.get(column) or 0) >= 0 for column in (
             "messages_in", "messages_out", "new_conversations", "active_contacts")),
         "bot_metrics_reply_ck": lambda r: (r["reply_p50"] is None) == (r["reply_p95"] is None)
            and (r["reply_p50"] is None or timedelta(0) <= r["reply_p50"] <= r["reply_p95"])}),
}


def parents(conn: psycopg.Connection, table: str) -> Row:
    """Makes what a row of the table hangs on; returns the columns that say so."""
    if table == "bots":
        return {}
    bot = add_bot(conn)
    if table == "conversations":
        profile = conn.execute("select core.ensure_contact(%s, 1, null)", [bot]).fetchone()[0]
        return {"bot_id": bot, "profile_id": profile}
    if table == "messages":
        return {"bot_id": bot, "conversation_id": add_conversation(conn, bot, 1)}
    return {"bot_id": bot}


@pytest.mark.parametrize("table", MODELS)
def test_the_checks_accept_what_the_model_accepts(conn: psycopg.Connection, table: str):
    ordinary, columns, needed, rules = MODELS[table]
    ordinary = ordinary | parents(conn, table)

    # a few strange values at a time: of ten faults the server names the first
    @settings(max_examples=600, **SETTINGS)
    @given(st.fixed_dictionaries({}, optional=columns))
    def check(strange: Row) -> None:
        row = ordinary | strange
        broken = {name for name, holds in rules.items() if not holds(row)}
        missing = {name for name in needed & row.keys() if row[name] is None}
        try:
            with conn.transaction(force_rollback=True):
                conn.execute(sql.SQL("insert into core.{} ({}) values ({})").format(
                    sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join(sql.Placeholder() * len(row))), [*row.values()])
        except psycopg.Error as fault:
            assert fault.sqlstate in ("23514", "23502", "MB012"), fault
            assert {fault.diag.constraint_name, fault.diag.column_name} & (broken | missing)
        else:
            assert not broken | missing
    check()


# Counters ----------------------------------------------------------------------

START = datetime(2020, 1, 1, tzinfo=UTC)
chats, hours = st.integers(1, 3), st.integers(0, 500)
changes = st.one_of(
    st.tuples(st.just("record"), chats, hours),
    st.tuples(st.just("insert"), st.lists(st.tuples(chats, hours), max_size=9)),
    st.tuples(st.just("delete"), st.sets(chats), hours),
    st.tuples(st.just("move"), st.sets(chats), hours),
    st.tuples(st.just("fold"), st.integers(1, 3)),  # so many notes
    st.tuples(st.just("recount"), st.none()))


def change(conn: psycopg.Connection, bot: int, kind: str, first: object, hour: int = 0) -> None:
    """Does one change to the messages of a bot."""
    since = [bot, START + timedelta(hours=hour), list(first) if kind in ("delete", "move") else []]
    chosen = ("bot_id = %s and sent_at >= %s and conversation_id in (select conversation_id"
              " from core.conversations where chat_id = any (%s::bigint[]))")
    if kind == "record":
        record(conn, bot, first, (START + timedelta(hours=hour)).isoformat())
    elif kind == "delete":
        conn.execute(f"delete from core.messages where {chosen}", since)
    elif kind == "fold":
        conn.execute("select core_upkeep.fold_counts(%s, %s)", [bot, first])
    elif kind == "recount":
        conn.execute("select core_upkeep.recount(%s)", [bot])
    elif kind == "move":
        conn.execute(f"update core.messages set sent_at = sent_at - interval '7 h' where {chosen}",
                     since)
    else:
        rows = [(add_conversation(conn, bot, chat), START + timedelta(hours=hour))
                for chat, hour in first]
        conn.execute("insert into core.messages (bot_id, conversation_id, direction, body, sent_at)"
                     " select %s, c, 'out', '', t from unnest(%s::bigint[], %s::timestamptz[])"
                     " as u (c, t)", [bot, [c for c, _ in rows], [t for _, t in rows]])


class Conversation:
    """What a conversation should say of its messages."""

    def __init__(self) -> None:
        self.hours: list[int] = []

    def row(self) -> tuple:
        return (len(self.hours),
                START + timedelta(hours=max(self.hours)) if self.hours else None)


def expect(model: dict[int, Conversation], kind: str, first: object, hour: int = 0) -> None:
    """Does the same change to the model."""
    for chat, at in [(first, hour)] if kind == "record" else first if kind == "insert" else []:
        model.setdefault(chat, Conversation()).hours.append(at)
    for chat in (first & model.keys() if kind in ("delete", "move") else ()):
        gone = [h for h in model[chat].hours if h >= hour]
        model[chat].hours = [h for h in model[chat].hours if h < hour]
        if kind == "move" and gone:
            model[chat].hours += [h - 7 for h in gone]


@settings(max_examples=80, **SETTINGS)
@given(st.lists(st.tuples(st.booleans(), changes), max_size=15))
@example([(False, ("insert", [(1, 5), (2, 1), (1, 3)])), (True, ("delete", {1}, 0)),
          (False, ("move", {1, 2}, 2)), (False, ("delete", {1, 2}, 0)), (False, ("record", 1, 9))])
@example([(False, ("record", 1, 9)), (False, ("delete", {1}, 0)), (False, ("fold", 1)),
          (False, ("record", 1, 3)), (False, ("fold", 1)), (True, ("fold", 3))])
def test_counters_are_what_the_messages_say(conn: psycopg.Connection, steps: list):
    with conn.transaction(force_rollback=True):
        bot, model = add_bot(conn), {}
        for undone, step in steps:
            with conn.transaction(force_rollback=undone):
                change(conn, bot, *step)
            if not undone:
                expect(model, *step)
        assert wrong_counters(conn) == []
        found = conn.execute(
            "select chat_id, message_count, last_message_at from core.chats"
            " where bot_id = %s", [bot]).fetchall()
        assert {chat: row for chat, *row in found} == {
            chat: [*conversation.row()] for chat, conversation in model.items()}


# Text --------------------------------------------------------------------------


def stored(conn: psycopg.Connection, text: str) -> list[object]:
    """The text after a way through body, name and both spellings of JSON, and its bytes."""
    bot = add_bot(conn)
    conn.execute("select core.record_message(1, 'in', %(text)s, p_name => %(text)s,"
                 " p_bot_id => %(bot)s)", {"text": text, "bot": bot})
    conn.execute("update core.girls_profiles set summary = %s, extra = %s where bot_id = %s",
                 [Jsonb({text: text}), json.dumps({text: text}, ensure_ascii=False), bot])
    return [*conn.execute(
        "select m.body, p.name, p.summary, p.extra, convert_to(m.body, 'UTF8')"
        " from core.messages as m join core.girls_profiles as p using (bot_id)"
        " where bot_id = %s", [bot]).fetchone()]


def as_given(text: str) -> list[object]:
    return [text, text, {text: text}, {text: text}, text.encode()]


@settings(max_examples=150, **SETTINGS)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
@example("e\u0301 é \u202e\ufeff\r\n\t\\ \\u0041 '' $$ %s {} \x1b[0m")
def test_a_text_comes_back_as_it_was_sent(conn: psycopg.Connection, text: str):
    with conn.transaction(force_rollback=True):
        assert stored(conn, text) == as_given(text)


@pytest.mark.parametrize("plane", range(17))
def test_every_character_of_a_plane_comes_back(conn: psycopg.Connection, plane: int):
    text = "".join(chr(point) for point in range(plane << 16, (plane + 1) << 16)
                   if point and not 0xD800 <= point < 0xE000)
    assert stored(conn, text) == as_given(text)
