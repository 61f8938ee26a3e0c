"""Messages as messengers have them: delivered twice, in groups, edited, deleted, paged."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from conftest import PROJECT, Database
from core_rows import at_once, make_bot, refused, wrong_counters

pytest_plugins = "core_rows"
RECORD = "select core.record_message(%s, 'in', %s, p_external_id => %s)"
SAID = ("select operation, table_name from audit.security_audit_log where bot_id = %s"
        " and operation <> 'EVENT' order by entry_id")
CONTACTS = ("select telegram_id, name, username, language from core.girls_profiles"
            " order by telegram_id")
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def bot(conn: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A session that is a new bot's; its name is in `conn`'s role."""
    number = conn.execute("select security.create_bot('messenger')").fetchone()[0]
    conn.execute(f"set local role bot_{number}")
    yield conn


def value(conn: psycopg.Connection, statement: str, *arguments: object) -> object:
    return conn.execute(statement, arguments).fetchone()[0]


def entries(conn: psycopg.Connection) -> list[tuple]:
    """What is on record of the bot's own rows."""
    return conn.execute(SAID, [value(conn, "select core.current_bot_id()")]).fetchall()


# Delivered twice -----------------------------------------------------------------


def test_a_second_delivery_writes_nothing_and_returns_the_same_message(bot: psycopg.Connection):
    first = value(bot, RECORD, 7, "hello", "a")
    before = entries(bot)
    assert value(bot, RECORD, 7, "hello again", "a") == first
    assert entries(bot) == before
    assert bot.execute("select message_count from core.chats").fetchall() == [(1,)]
    assert value(bot, RECORD, 7, "hello", "b") != first
    assert value(bot, RECORD, 8, "hello", "a") != first  # another chat's
    assert value(bot, "select core.record_message(7, 'in', 'hello', p_external_id => 'a',"
                      " p_thread_id => 5)") != first


def test_messages_without_an_id_are_as_many_as_are_recorded(bot: psycopg.Connection):
    assert len({value(bot, RECORD, 7, "hello", None) for _ in range(3)}) == 3


def test_of_two_deliveries_in_the_same_instant_one_is_kept(database: Database):
    bot, own = make_bot(database)
    barrier = threading.Barrier(8)

    def deliver(conn: psycopg.Connection) -> list[int]:
        found = []
        for number in range(25):
            barrier.wait(30)
            found.append(value(conn, RECORD, number % 5, "hello", f"id {number}"))
        return found
    results = at_once(own, [deliver] * 8)
    assert all(result == results[0] for result in results) and len(set(results[0])) == 25
    with database.connect() as conn:
        assert value(conn, "select count(*) from core.messages where bot_id = %s", bot) == 25
        assert value(conn, "select count(*) from audit.events where bot_id = %s and operation ="
                           " 'INSERT' and table_name = 'core.messages'", bot) == 25
        assert wrong_counters(conn) == []


# Who said it ---------------------------------------------------------------------


def test_a_name_that_changed_is_written_down_and_an_unchanged_one_is_not(bot: psycopg.Connection):
    say = ("select core.record_message(7, 'in', '', p_name => %s, p_username => %s,"
           " p_language => %s)")
    bot.execute(say, ["Ann", None, None])
    assert bot.execute(CONTACTS).fetchall() == [(7, "Ann", None, None)]
    bot.execute(say, ["Anna", "ann", "de"])
    assert bot.execute(CONTACTS).fetchall() == [(7, "Anna", "ann", "de")]
    before = entries(bot)
    bot.execute(say, ["Anna", "ann", "de"])
    bot.execute(say, [None, None, None])
    assert entries(bot)[len(before):] == [("INSERT", "core.messages")] * 2
    assert bot.execute(CONTACTS).fetchall() == [(7, "Anna", "ann", "de")]


def test_in_a_group_each_sender_is_a_contact(bot: psycopg.Connection):
    say = ("select core.record_message(-100, 'in', %s, p_sender_id => %s, p_name => %s,"
           " p_sent_at => %s)")
    for number, (sender, name) in enumerate([(1, "Ann"), (2, "Bob"), (3, "Eve"), (1, "Anna")]):
        bot.execute(say, [f"{name} speaks", sender, name, NOON + timedelta(minutes=number)])
    bot.execute("select core.record_message(-100, 'out', 'the bot speaks')")
    assert bot.execute(
        "select m.body, p.name from core.messages as m left join core.girls_profiles as p"
        " on p.bot_id = m.bot_id and p.profile_id = m.sender_id order by m.message_id"
    ).fetchall() == [("Ann speaks", "Anna"), ("Bob speaks", "Bob"), ("Eve speaks", "Eve"),
                     ("Anna speaks", "Anna"), ("the bot speaks", None)]
    assert bot.execute("select telegram_id, name, first_seen_at from core.girls_profiles"
                       " order by telegram_id").fetchall() == [
        (-100, None, NOON), (1, "Anna", NOON), (2, "Bob", NOON + timedelta(minutes=1)),
        (3, "Eve", NOON + timedelta(minutes=2))]
    assert value(bot, "select count(*) from core.conversations") == 1


def test_in_a_private_chat_the_sender_is_the_chats_own_contact(bot: psycopg.Connection):
    bot.execute("select core.record_message(7, 'in', '', p_sender_id => 7, p_name => 'Ann')")
    assert bot.execute("select sender_id from core.messages").fetchall() == [(None,)]
    assert bot.execute(CONTACTS).fetchall() == [(7, "Ann", None, None)]


def test_a_sender_is_a_contact_of_the_same_bot(conn: psycopg.Connection):
    strangers = [conn.execute("select security.create_bot(%s)", [f"stranger {n}"]).fetchone()[0]
                 for n in range(2)]
    contact = value(conn, "select core.set_contact(1, 'Ann', p_bot_id => %s)", strangers[0])
    conn.execute("select core.record_message(1, 'in', '', p_bot_id => %s)", [strangers[1]])
    with pytest.raises(psycopg.errors.ForeignKeyViolation), conn.transaction():
        conn.execute("update core.messages set sender_id = %s where bot_id = %s",
                     [contact + 1000, strangers[1]])


def test_a_contact_tells_what_became_of_it(bot: psycopg.Connection):
    contact = value(bot, "select core.set_contact(7, 'Ann', p_is_bot => false)")
    assert value(bot, "select core.set_contact(7, p_standing => 'blocked')") == contact
    before = entries(bot)
    assert value(bot, "select core.set_contact(7, 'Ann', p_standing => 'blocked')") == contact
    assert entries(bot) == before
    assert bot.execute("select name, is_bot, standing from core.girls_profiles").fetchall() == [
        ("Ann", False, "blocked")]
    for arguments in ("null", "7, p_standing => 'gone'"):
        with refused(bot, "MB013"):
            bot.execute(f"select core.set_contact({arguments})")
    with refused(bot, "MB012"):
        bot.execute("select core.set_contact(7, p_username => repeat('x', 256))")


def test_a_chat_has_a_type_a_title_and_threads(bot: psycopg.Connection):
    first = value(bot, "select core.set_chat(-100, 'supergroup', 'Friends')")
    before = entries(bot)
    assert value(bot, "select core.set_chat(-100, 'supergroup', 'Friends')") == first
    assert entries(bot) == before
    assert value(bot, "select core.set_chat(-100, p_title => 'Best friends')") == first
    assert value(bot, "select core.set_chat(-100, p_title => 'Cats', p_thread_id => 3)") != first
    assert bot.execute("select chat_id, thread_id, type, title from core.chats order by thread_id"
                       ).fetchall() == [(-100, 0, "supergroup", "Best friends"),
                                        (-100, 3, None, "Cats")]
    assert value(bot, "select count(*) from core.girls_profiles") == 1
    with refused(bot, "MB013"):
        bot.execute("select core.set_chat(-100, 'crowd')")


# What it is ----------------------------------------------------------------------


@pytest.mark.parametrize(("said", "kept", "metadata"), [
    (None, None, {"a": 1}), ("text", None, {"a": 1}), ("photo", "photo", {"a": 1}),
    ("other", "other", {"a": 1}), ("dice", "other", {"a": 1, "kind": "dice"})])
def test_a_kind_is_one_that_is_known_or_other(
        bot: psycopg.Connection, said: str | None, kept: str | None, metadata: dict):
    bot.execute("select core.record_message(7, 'in', '', p_kind => %s, p_metadata => '{\"a\": 1}')",
                [said])
    assert bot.execute("select kind, metadata from core.messages").fetchall() == [(kept, metadata)]


def test_a_kind_becomes_known_by_a_row(conn: psycopg.Connection):
    conn.execute("insert into core.message_kind values ('dice', 'A die.')")
    number = conn.execute("select security.create_bot('gambler')").fetchone()[0]
    conn.execute(f"set local role bot_{number}")
    conn.execute("select core.record_message(7, 'in', '', p_kind => 'dice')")
    assert conn.execute("select kind, metadata from core.messages").fetchall() == [("dice", None)]


def test_an_answer_names_what_it_answers_by_the_messengers_id(bot: psycopg.Connection):
    bot.execute(RECORD, [7, "question", "q"])
    bot.execute("select core.record_message(7, 'out', 'answer', p_reply_to => 'q')")
    bot.execute("select core.record_message(7, 'out', 'of long ago', p_reply_to => 'lost')")
    assert bot.execute(
        "select a.body, q.body from core.messages as a left join core.messages as q"
        " on q.conversation_id = a.conversation_id and q.external_id = a.reply_to"
        " where a.reply_to is not null order by a.message_id").fetchall() == [
            ("answer", "question"), ("of long ago", None)]


@pytest.mark.parametrize("arguments", [
    "null, 'in', 'x'", "7, 'in', null", "7, null, 'x'", "7, 'to', 'x'",
    "7, 'in', 'x', 'infinity'", "7, 'in', 'x', p_external_id => repeat('x', 256)"])
def test_a_value_that_no_message_can_have_is_named(bot: psycopg.Connection, arguments: str):
    with refused(bot, "MB004"):
        bot.execute(f"select core.record_message({arguments})")
    assert bot.execute("select from core.messages").fetchall() == []


# What becomes of it --------------------------------------------------------------


def test_an_edit_keeps_the_earlier_text_on_record(bot: psycopg.Connection):
    message = value(bot, RECORD, 7, "helo", "a")
    edit = "select core.record_edit(7, 'a', %s, %s)"
    assert value(bot, edit, "hello", NOON) == message
    assert bot.execute("select body, edited_at from core.messages").fetchall() == [("hello", NOON)]
    before = entries(bot)
    for body, at in (("hello", NOON), ("helo", NOON - timedelta(seconds=1)), ("hello", None)):
        assert value(bot, edit, body, at) == message  # again, overtaken, the same
    assert entries(bot) == before
    assert bot.execute(
        "select e.old_values ->> 'body' from core.messages as m, audit.row_history("
        "'core.messages', jsonb_build_object('bot_id', m.bot_id, 'conversation_id',"
        " m.conversation_id, 'message_id', m.message_id)) as e where e.operation = 'UPDATE'"
    ).fetchall() == [("helo",)]


@pytest.mark.parametrize(("function", "argument"), [
    ("record_edit(7, 'a', 'x', 'infinity')", "edited_at is infinity"),
    ("record_edit(7, 'a', null)", "body is null"),
    ("record_deletion(7, 'a', '1969-12-31')", "deleted_at is 1969-12-31")])
def test_an_impossible_change_names_the_argument_and_its_function(
        bot: psycopg.Connection, function: str, argument: str):
    bot.execute(RECORD, [7, "hello", "a"])
    with refused(bot, "MB004") as caught:
        bot.execute(f"select core.{function}")
    assert caught.value.diag.message_primary.startswith(argument)
    assert f"core.{function.partition('(')[0]}." in caught.value.diag.message_hint


def test_a_deletion_takes_the_text_and_leaves_the_row(bot: psycopg.Connection):
    bot.execute("select core.record_message(7, 'in', 'secret', p_external_id => 'a',"
                " p_metadata => '{\"place\": \"here\"}')")
    message = value(bot, "select core.record_deletion(7, 'a', %s)", NOON)
    before = entries(bot)
    assert value(bot, "select core.record_deletion(7, 'a')") == message
    assert value(bot, "select core.record_edit(7, 'a', 'secret')") == message
    assert value(bot, RECORD, 7, "secret", "a") == message
    assert entries(bot) == before
    assert bot.execute("select body, metadata, deleted_at from core.messages").fetchall() == [
        ("", None, NOON)]
    assert bot.execute("select message_count from core.chats").fetchall() == [(1,)]


def test_an_outgoing_message_tells_how_far_it_came(bot: psycopg.Connection):
    bot.execute("select core.record_message(7, 'out', 'hello', p_external_id => 'a')")
    bot.execute(RECORD, [7, "hello", "b"])
    for state in ("sent", "read"):
        bot.execute("select core.record_delivery(7, 'a', %s)", [state])
    before = entries(bot)
    bot.execute("select core.record_delivery(7, 'a', 'read')")
    assert entries(bot) == before
    assert value(bot, "select delivery from core.messages where external_id = 'a'") == "read"
    for message, state in (("a", "seen"), ("a", None), ("b", "read")):
        with refused(bot, "MB004"):
            bot.execute("select core.record_delivery(7, %s, %s)", [message, state])


@pytest.mark.parametrize("call", ["record_edit(7, %s, 'x')", "record_deletion(7, %s)",
                                  "record_delivery(7, %s, 'sent')"])
def test_what_is_not_there_is_named(bot: psycopg.Connection, call: str):
    bot.execute(RECORD, [8, "of another chat", "a"])
    for name in ("a", None):
        with refused(bot, "MB014"):
            bot.execute(f"select core.{call}", [name])


@pytest.mark.parametrize("change", [
    "edited_at = 'infinity'", "deleted_at = '4714-11-24 00:00:00+00 BC'", "delivery = 'seen'"])
def test_an_update_by_hand_is_bounded_too(bot: psycopg.Connection, change: str):
    bot.execute(RECORD, [7, "", "a"])
    with refused(bot, "MB012") as caught:
        bot.execute(f"update core.messages set {change}")
    assert caught.value.diag.column_name == change.split()[0]


@pytest.mark.parametrize("column", ["edited_at", "deleted_at", "delivery"])
def test_a_new_message_is_neither_edited_nor_deleted_nor_delivered(
        bot: psycopg.Connection, column: str):
    bot.execute(RECORD, [7, "", "a"])
    with refused(bot, "42501"):
        bot.execute(f"insert into core.messages (conversation_id, direction, body, {column})"
                    " select conversation_id, 'in', '', null from core.conversations")


def test_no_bot_changes_who_sent_a_message(bot: psycopg.Connection):
    bot.execute(RECORD, [7, "", "a"])
    with refused(bot, "42501"):
        bot.execute("update core.messages set sender_id = null")


# Read ----------------------------------------------------------------------------


def test_a_chat_is_read_page_by_page_newest_first(bot: psycopg.Connection):
    for number in range(7):
        bot.execute(RECORD, [7, f"message {number}", None])
    bot.execute(RECORD, [8, "of another chat", None])
    pages, before = [], None
    while page := bot.execute("select message_id, body from core.read_messages(7, %s, 3)",
                              [before]).fetchall():
        pages.append([body for _, body in page])
        before = page[-1][0]
    assert pages == [[f"message {n}" for n in (6, 5, 4)], [f"message {n}" for n in (3, 2, 1)],
                     ["message 0"]]
    assert bot.execute("select * from core.read_messages(9)").fetchall() == []


@pytest.mark.parametrize("size", [300, 1200])
def test_a_page_reads_what_it_returns(conn: psycopg.Connection, size: int):
    number = conn.execute("select security.create_bot('reader')").fetchone()[0]
    conn.execute("select core.record_message(7, 'in', '', p_bot_id => %s)", [number])
    conn.execute("insert into core.messages (bot_id, conversation_id, direction, body)"
                 " select bot_id, conversation_id, 'in', 'x' from core.conversations,"
                 " generate_series(1, %s) where bot_id = %s", [size, number])
    conn.execute("analyze core.messages")
    conn.execute(f"set local role bot_{number}")
    conn.execute("select count(*) from core.read_messages(7)")  # plans
    plan = value(conn, "explain (analyze, buffers, format json, costs off, timing off)"
                       " select * from core.read_messages(7, null, 50)")
    assert plan[0]["Plan"]["Actual Rows"] == 50
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 40


# The page ------------------------------------------------------------------------


def test_the_page_for_bots_runs_as_it_stands(bot: psycopg.Connection):
    blocks = re.findall(r"```sql\n(.*?)```", (PROJECT / "docs/bots.md").read_text("utf-8"), re.S)
    for block in blocks:
        cursor = bot.execute(block)
    assert cursor.fetchone()[0] == [{"role": "user", "content": "Where are you now?"},
                                    {"role": "assistant", "content": "At home."}]
    assert bot.execute("select chat_id, title, message_count from core.chats order by chat_id"
                       ).fetchall() == [(-1001, "Friends", 1), (4711, None, 3)]
    assert bot.execute("select external_id, kind, delivery, edited_at is null, deleted_at is null"
                       " from core.messages order by message_id").fetchall() == [
        ("100", None, None, False, True), ("101", None, "read", True, True),
        ("7", None, None, True, True), ("102", "photo", None, True, False)]
