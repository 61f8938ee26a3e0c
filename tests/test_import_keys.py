"""The list of known keys: what takes the fast road by it, and that every key fills its column."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

pytest_plugins = "import_helpers"

ISO, SECONDS = "2024-05-01T10:20:30+00:00", 1_714_557_630
SAMPLES = {"string": "in", "time": ISO, "count": 5, "person": 77, "object": {"a": "b"}}
ROADS = {"conversation": "load_conversations", "profile": "load_profiles"}


@pytest.fixture
def conn(imported) -> Iterator[psycopg.Connection]:
    """A session of its own, which has planned nothing yet; its work is undone after the test."""
    with imported.connect() as conn, conn.transaction(force_rollback=True):
        conn.execute("set local timezone = 'UTC'")
        yield conn


def keys(conn: psycopg.Connection, holder: str) -> dict[str, list[tuple[str, str]]]:
    """The known keys with their rules, by the column that they fill."""
    rows = conn.execute("""
        select fills, array_agg(array[key, rule]) from json_import.known_keys()
        where holder = %s and fills is not null group by fills""", [holder])
    return {fills: [tuple(pair) for pair in pairs] for fills, pairs in rows}


def messages(conn: psycopg.Connection) -> Iterator[dict[str, Any]]:
    """A message of each spelling."""
    for spelling in itertools.product(*keys(conn, "message").values()):
        yield {key: SAMPLES[rule] for key, rule in spelling}


def profile(conn: psycopg.Connection, chat_id: int) -> dict[str, Any]:
    """A profile with every key."""
    return {key: chat_id if rule == "chat" else SAMPLES[rule]
            for ((key, rule),) in keys(conn, "profile").values()}


def load(conn: psycopg.Connection, kind: str, document: Any, is_rest: bool | None = None
         ) -> list[int]:
    """Loads the file of chat 7 of a new bot; returns the ordinals that the fast road left.

    With is_rest the file goes through json_import.load, by the slow road if it is true.
    """
    bot = conn.execute("insert into core.bots (name) values (gen_random_uuid()) returning bot_id"
                       ).fetchone()[0]
    if kind == "conversation":
        conn.execute("select core.ensure_contact(%s, 7, null)", [bot])
    data = json.dumps(document).encode()
    run = conn.execute("select json_import.start_run('test')").fetchone()[0]
    if is_rest is None:
        return conn.execute(f"""
            select json_import.{ROADS[kind]}(
                %s, %s, array['x'], array[7::bigint], array[%b], array[sha256(%b)])""",
            [run, bot, data, data]).fetchone()[0]
    assert conn.execute("""
        select loaded from json_import.load(
            %s, %s, %s, array['x'], array[7::bigint], array[%b], p_is_rest => %s)""",
        [run, bot, kind, data, is_rest]).fetchone() == (1,)
    return []


def add_key(conn: psycopg.Connection, *row: str) -> None:
    """Puts a key at the head of the list."""
    definition, = conn.execute(
        "select pg_get_functiondef('json_import.known_keys()'::regprocedure)").fetchone()
    first = "values\n    "
    assert first in definition
    conn.execute(definition.replace(first, f"{first}{row},\n    "))


@pytest.mark.parametrize("ts", [ISO, SECONDS, "2024-05-01T10:20:30", "2024-05-01T10:20:30Z"])
def test_a_conversation_of_known_keys_takes_the_fast_road(conn, ts):
    for message in messages(conn):
        message["ts"] = ts
        for count in (0, 1, 3):
            assert load(conn, "conversation", [message] * count) == []
        wrapper = {"chat_id": 7, "messages": [message]}
        assert wrapper.keys() == {key for pairs in keys(conn, "wrapper").values()
                                  for key, _ in pairs}
        assert load(conn, "conversation", wrapper) == []


@pytest.mark.parametrize("value", [1, "x", None])
def test_a_conversation_with_an_unknown_key_does_not(conn, value):
    for message in messages(conn):
        assert load(conn, "conversation", [message, {**message, "odd": value}]) == [1]
        assert load(conn, "conversation",
                    {"chat_id": 7, "messages": [message], "odd": value}) == [1]


@pytest.mark.parametrize("rule", ["string", "count"])
def test_a_key_that_is_added_to_the_list_is_counted_by_the_fast_road(conn, rule):
    whole = [{**message, "added": SAMPLES[rule]} for message in messages(conn)]
    add_key(conn, "message", "added", rule, "added")
    assert all(load(conn, "conversation", [message] * 3) == [] for message in whole)
    for message in whole:
        del message["added"]
        assert load(conn, "conversation", [message] * 3) == [1]


def test_a_profile_with_every_known_key_takes_the_fast_road(conn):
    assert load(conn, "profile", profile(conn, 7)) == []
    assert load(conn, "profile", {"chat_id": 7, "odd": 1}) == []
    assert load(conn, "profile", {"chat_id": 7, "name": 5}) == [1]


def test_a_key_of_a_rule_that_the_fast_road_does_not_know_is_looked_at_closely(conn):
    add_key(conn, "profile", "added", "array", "added")
    assert load(conn, "profile", {"chat_id": 7}) == []
    assert load(conn, "profile", {"chat_id": 7, "added": []}) == [1]


@pytest.mark.parametrize("is_rest", [False, True])
def test_every_key_of_a_message_fills_its_column(conn, is_rest):
    for message in messages(conn):
        load(conn, "conversation", [message], is_rest)
        row, = conn.execute("select to_jsonb(m) from core.messages as m"
                            " order by message_id desc limit 1").fetchone()
        assert row["metadata"] is None
        for fills, pairs in keys(conn, "message").items():
            assert row[fills] in [message.get(key) for key, _ in pairs], fills


@pytest.mark.parametrize("is_rest", [False, True])
def test_every_key_of_a_profile_fills_its_column(conn, is_rest):
    wanted = profile(conn, 7)
    load(conn, "profile", wanted, is_rest)
    row, = conn.execute("select to_jsonb(g) from core.girls_profiles as g"
                        " order by profile_id desc limit 1").fetchone()
    assert row["extra"] == {}
    assert {key: row[fills]
            for fills, ((key, _),) in keys(conn, "profile").items()} == wanted
