"""Schema core: keys, checks, counters, record_message, error codes."""

import re
from collections.abc import Callable

import psycopg
import pytest
from conftest import Database
from core_rows import (
    EVENTS,
    ROOT,
    TABLES,
    add_bot,
    add_conversation,
    at_once,
    failed_checks,
    fill,
    make_bot,
    meanwhile,
    record,
    refused,
    wrong_counters,
)
from psycopg import sql

pytest_plugins = "core_rows"

NOBODY = 10 ** 17  # no sequence gets there


# Keys --------------------------------------------------------------------------


def test_a_bot_name_is_unique_in_the_fleet(conn: psycopg.Connection):
    names = [f"bot {number}" for number in range(20)]  # over several leaves
    for name in names:
        add_bot(conn, name)
    for name in names:
        with refused(conn, "MB005"):
            add_bot(conn, name)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_of_two_sessions_that_take_one_name_the_second_waits_for_the_first(
        database: Database, end: str):
    with database.connect() as first, database.connect() as second:
        first.execute("begin")
        add_bot(first, "Анна")
        with meanwhile(second, "insert into core.bots (name) values ('Анна')") as claim:
            first.execute(end)
            fault = claim.exception()
        assert (fault and fault.sqlstate) == ("MB005" if end == "commit" else None)
        assert first.execute("select count(*) from core.bots").fetchone() == (1,)
    assert not failed_checks(database)


def test_a_name_is_free_again_after_a_rename_or_the_bots_end(database: Database):
    with database.connect() as conn:
        bot = add_bot(conn, "Anna")
        conn.execute("update core.bots set name = 'Bella'")
        add_bot(conn, "Anna")
        with refused(conn, "MB005"):
            conn.execute("update core.bots set name = 'Anna' where bot_id = %s", [bot])
        conn.execute("delete from core.bots where bot_id = %s", [bot])
        add_bot(conn, "Bella")
        with refused(conn, "MB108"):
            conn.execute("update core.bots set bot_id = default where name = 'Bella'")
        assert not failed_checks(database)


def test_names_that_differ_in_case_or_accent_are_two_names(conn: psycopg.Connection):
    for name in ("Zoë", "zoë", "Zoe", "Zoe\u0308"):
        add_bot(conn, name)


@pytest.mark.parametrize(("table", "key"), [
    ("girls_profiles", "telegram_id"), ("conversations", "chat_id, thread_id"),
    ("bot_metrics", "day")])
def test_a_natural_key_is_unique_within_a_bot_only(
        conn: psycopg.Connection, table: str, key: str):
    for _ in range(20):  # other bots, the same keys
        bot = fill(conn)
    columns = {"girls_profiles": "telegram_id, chat_id", "conversations": "profile_id, chat_id",
               "bot_metrics": "day"}[table]
    with refused(conn, "23505") as caught:
        conn.execute(f"insert into core.{table} (bot_id, {columns})"
                     f" select bot_id, {columns} from core.{table} where bot_id = %s", [bot])
    assert f"(bot_id, {key})" in caught.value.diag.message_detail


@pytest.mark.parametrize(("table", "column"), [
    ("bots", "bot_id"), ("girls_profiles", "profile_id"), ("conversations", "conversation_id"),
    ("messages", "message_id")])
def test_the_server_gives_the_ids(conn: psycopg.Connection, table: str, column: str):
    fill(conn)
    for statement in (f"insert into core.{table} ({column}) values (7)",
                      f"update core.{table} set {column} = 7"):
        with refused(conn, "428C9"):
            conn.execute(statement)


@pytest.mark.parametrize("bot", [0, -1, 10 ** 18])
def test_a_bot_has_an_id_that_a_login_can_carry(conn: psycopg.Connection, bot: int):
    with refused(conn, "23514", "bots_id_ck"):
        conn.execute("insert into core.bots (bot_id, name) overriding system value"
                     " values (%s, 'x')", [bot])


@pytest.mark.parametrize(("insert", "key"), [
    ("girls_profiles (bot_id, telegram_id, chat_id) values (%(nobody)s, 5, 5)", "bots_fk"),
    ("conversations (bot_id, profile_id, chat_id) values (%(bot)s, -1, 5)", "girls_profiles_fk"),
    ("messages (bot_id, conversation_id, direction, body) values (%(bot)s, -1, 'in', '')",
     "conversations_fk"),
    ("messages (bot_id, conversation_id, direction, body) select %(bot)s, conversation_id, 'in',"
     " '' from core.conversations where bot_id = %(other)s", "conversations_fk"),
    ("bot_metrics (bot_id, day) values (%(nobody)s, '2025-01-01')", "bots_fk"),
])
def test_an_orphan_is_refused(conn: psycopg.Connection, insert: str, key: str):
    arguments = {"other": fill(conn), "bot": fill(conn), "nobody": NOBODY}
    with refused(conn, "23503", key):
        conn.execute(f"insert into core.{insert}", arguments)


def test_a_row_that_others_hang_on_stays(conn: psycopg.Connection):
    fill(conn)
    for table in TABLES[:3]:
        with refused(conn, "23503"):
            conn.execute(f"delete from core.{table}")
    for table in reversed(TABLES):
        conn.execute(f"delete from core.{table}")
    assert conn.execute("select count(*) from core.bot_names").fetchone() == (0,)


def test_a_bots_rows_lie_in_leaves_of_one_remainder(conn: psycopg.Connection):
    for _ in range(20):
        fill(conn)
    rows = " union all ".join(
        f"select bot_id, tableoid::regclass::text as leaf from core.{table}" for table in TABLES)
    found = conn.execute(f"select bot_id, count(distinct leaf), count(distinct right(leaf, 2))"
                         f" from ({rows}) as r group by bot_id").fetchall()
    assert [numbers for _, *numbers in found] == [[5, 1]] * 20


# Checks and upkeep -------------------------------------------------------------


@pytest.mark.parametrize(("table", "change", "constraint"), [
    ("bots", "name = ''", "bots_name_ck"),
    ("bots", "name = ' x'", "bots_name_ck"),
    ("bots", "name = repeat('я', 101)", "bots_name_ck"),
    ("bots", "name = E'a\\nb'", "bots_name_ck"),
    ("bots", "name = E'a\\u0085b'", "bots_name_ck"),
    ("bots", "owner_telegram_id = 0", "bots_owner_ck"),
    ("bots", "status = 'Active'", "bots_status_ck"),
    ("bots", "config = '[]'", "bots_config_ck"),
    ("bots", "config = 'null'", "bots_config_ck"),
    ("girls_profiles", "message_count = -1", "girls_profiles_message_count_ck"),
    ("girls_profiles", "summary = '\"x\"'", "girls_profiles_summary_ck"),
    ("girls_profiles", "profile = '1'", "girls_profiles_profile_ck"),
    ("girls_profiles", "extra = 'true'", "girls_profiles_extra_ck"),
    ("conversations", "metadata = '[]'", "conversations_metadata_ck"),
    ("messages", "direction = 'IN'", "messages_direction_ck"),
    ("messages", "metadata = '[]'", "messages_metadata_ck"),
    ("bot_metrics", "day = 'infinity'", "bot_metrics_day_ck"),
    ("bot_metrics", "active_contacts = -1", "bot_metrics_counts_ck"),
    ("bot_metrics", "reply_p50 = '1s'", "bot_metrics_reply_ck"),
    ("bot_metrics", "reply_p95 = '1s'", "bot_metrics_reply_ck"),
    ("bot_metrics", "reply_p50 = '2s', reply_p95 = '1s'", "bot_metrics_reply_ck"),
    ("bot_metrics", "reply_p50 = '-1s', reply_p95 = '1s'", "bot_metrics_reply_ck"),
])
def test_a_bad_value_is_refused_on_update_too(
        conn: psycopg.Connection, table: str, change: str, constraint: str):
    fill(conn)
    with refused(conn, "23514", constraint):
        conn.execute(f"update core.{table} set {change}")


@pytest.mark.parametrize(("table", "column"), [
    ("messages", "sent_at"), ("girls_profiles", "last_activity"), ("conversations", "started_at")])
def test_a_table_takes_the_times_from_the_first_on_and_before_the_end(
        conn: psycopg.Connection, table: str, column: str):
    fill(conn)
    write = f"update core.{table} set {column} = "
    conn.execute(write + "core.first_time()")
    conn.execute(write + "core.end_time() - interval '1us'")
    for outside in ("core.first_time() - interval '1us'", "core.end_time()", "'infinity'"):
        with refused(conn, "MB012"):
            conn.execute(write + outside)


def test_an_error_code_tells_the_years_that_can_be_stored(conn: psycopg.Connection):
    assert conn.execute("""
        select core.storable_years(), meaning from core.error_code where code = 'MB419'
        """).fetchone() == (
            "1970 and 2099", "No such date or time, or it is not between 1970 and 2099.")


def test_no_reply_takes_for_ever(conn: psycopg.Connection):
    if conn.info.server_version < 170000:
        pytest.skip("an interval can't be infinite before 17")
    fill(conn)
    with refused(conn, "23514", "bot_metrics_reply_ck"):
        conn.execute("update core.bot_metrics set reply_p50 = '1s', reply_p95 = 'infinity'")


def test_updated_at_moves_when_and_only_when_a_row_changes(database: Database):
    changes = {"bots": "status = 'paused'", "girls_profiles": "name = 'Аня'",
               "conversations": """metadata = '{"a": 1}'""", "messages": "body = 'edited'",
               "bot_metrics": "messages_in = 3"}
    with database.connect() as conn:
        fill(conn)
        for table, change in changes.items():
            times = [conn.execute(f"update core.{table} set {c} returning updated_at").fetchone()
                     for c in (change, change, "updated_at = '2000-01-01'",
                               "created_at = created_at - interval '1 day'")]
            assert times[0] == times[1] < times[2] < times[3], table


# Counters ----------------------------------------------------------------------


def counters(conn: psycopg.Connection, bot: int) -> dict[int, tuple]:
    """By chat: the number of messages and the day of the last one."""
    return {chat: tuple(rest) for chat, *rest in conn.execute(
        "select chat_id, message_count, to_char(last_message_at at time zone 'UTC', 'YYYY-MM-DD')"
        " from core.chats where bot_id = %s", [bot])}


def test_counters_follow_single_and_bulk_inserts_and_deletes(conn: psycopg.Connection):
    bot, other = add_bot(conn), add_bot(conn)
    ids = {(b, chat): add_conversation(conn, b, chat) for b in (bot, other) for chat in (1, 2)}

    def insert(owner: int, chat: int, *days: str) -> None:
        conn.execute(
            "insert into core.messages (bot_id, conversation_id, direction, body, sent_at)"
            " select %s, %s, 'in', '', d::timestamptz from unnest(%s::text[]) as d",
            [owner, ids[owner, chat], [f"{day} 12:00+00" for day in days]])
    assert counters(conn, bot) == {1: (0, None), 2: (0, None)}
    insert(bot, 1, "2020-01-03")
    insert(bot, 1, "2020-01-02", "2020-01-01")
    assert counters(conn, bot) == {1: (3, "2020-01-03"), 2: (0, None)}
    with conn.cursor().copy("copy core.messages (bot_id, conversation_id, direction, body,"
                            " sent_at) from stdin") as copy:
        for (owner, _chat), conversation in ids.items():
            for day in ("2021-01-01", "2021-01-02"):
                copy.write_row((owner, conversation, "out", "", f"{day} 12:00+00"))
    assert counters(conn, bot) == {1: (5, "2021-01-02"), 2: (2, "2021-01-02")}
    assert counters(conn, other) == {1: (2, "2021-01-02"), 2: (2, "2021-01-02")}
    insert(bot, 1)
    conn.execute("delete from core.messages where sent_at >= '2021-01-02'")
    assert counters(conn, bot) == {1: (4, "2021-01-01"), 2: (1, "2021-01-01")}
    conn.execute("delete from core.messages where bot_id = %s", [bot])
    assert counters(conn, bot) == {1: (0, None), 2: (0, None)}
    assert counters(conn, other) == {1: (1, "2021-01-01"), 2: (1, "2021-01-01")}
    with conn.transaction(force_rollback=True):
        insert(other, 2, "2022-01-01")
    assert wrong_counters(conn) == []


def test_counters_follow_a_statement_that_deletes_and_inserts(conn: psycopg.Connection):
    bot = add_bot(conn)
    for day in ("2020-01-01", "2020-01-02"):
        record(conn, bot, 1, day)
    conn.execute("with gone as (delete from core.messages where sent_at > '2020-01-01 12:00+00'"
                 " returning bot_id, conversation_id)"
                 " insert into core.messages (bot_id, conversation_id, direction, body, sent_at)"
                 " select bot_id, conversation_id, 'out', '', '2020-01-05' from gone")
    assert counters(conn, bot) == {1: (2, "2020-01-05")}


@pytest.mark.parametrize("change", [
    "sent_at = sent_at + interval '1 year'", "sent_at = sent_at - interval '9 years'",
    "conversation_id = %(other)s", "conversation_id = %(other)s, sent_at = '2000-01-01'",
    "body = 'edited'"])
def test_counters_follow_a_message_that_moves(conn: psycopg.Connection, change: str):
    bot = add_bot(conn)
    other = add_conversation(conn, bot, 2)
    for day in ("2020-01-01", "2020-01-02", "2020-01-03"):
        record(conn, bot, 1, day)
    conn.execute(f"update core.messages set {change} where sent_at > '2020-01-01 12:00+00'",
                 {"other": other})
    assert wrong_counters(conn) == []


def test_a_delete_does_not_forget_a_message_that_came_meanwhile(database: Database):
    with database.connect() as writer, database.connect() as eraser:
        bot = add_bot(writer)
        for day in ("2020-01-01", "2020-01-02"):
            record(writer, bot, 1, day)
        writer.execute("begin")
        record(writer, bot, 1, "2020-01-03")
        eraser.execute("delete from core.messages where sent_at >= '2020-01-02'")  # waits for none
        eraser.execute("select core_upkeep.fold_counts(%s)", [bot])
        writer.execute("commit")
        assert wrong_counters(writer) == []
        eraser.execute("select core_upkeep.fold_counts(%s)", [bot])
        assert counters(writer, bot) == {1: (2, "2020-01-03")}
        assert wrong_counters(writer) == []


def test_another_text_counts_nothing_and_a_move_is_noted_twice(conn: psycopg.Connection):
    bot = add_bot(conn)
    other = add_conversation(conn, bot, 2)
    record(conn, bot, 1, "2020-01-01")
    conn.execute("select core_upkeep.fold_counts(%s)", [bot])
    for change, found in (("body = 'edited'", []), ("conversation_id = %(other)s", [-1, 1])):
        conn.execute(f"update core.messages set {change}", {"other": other})
        assert [n for n, in conn.execute("select change from core.uncounted order by 1")] == found
    assert wrong_counters(conn) == []


def test_bulk_inserts_in_opposite_order_do_not_deadlock(database: Database):
    with database.connect() as conn:
        bots = [add_bot(conn) for _ in range(4)]
        for bot in bots:  # on disk in falling order of their keys: plans differ in what they meet
            conn.execute(
                "insert into core.conversations (bot_id, conversation_id, profile_id, chat_id)"
                " overriding system value"
                " select %s, i, core.ensure_contact(%s, 1, null), i"
                " from generate_series(100, 51, -1) as i", [bot, bot])
        ids = conn.execute("select bot_id, conversation_id from core.conversations").fetchall()

    def job(step: int, plan: str) -> Callable:
        rows = [[row[place] for row in ids[::step]] for place in (0, 1)]

        def insert(conn: psycopg.Connection) -> None:
            conn.execute(plan)
            for _ in range(15):
                conn.execute("insert into core.messages (bot_id, conversation_id, direction, body)"
                             " select *, 'in', '' from unnest(%s::bigint[], %s::bigint[])", rows)
        return insert
    plans = ("set enable_hashjoin = off; set enable_mergejoin = off; set enable_hashagg = off",
             "set enable_nestloop = off; set enable_mergejoin = off")
    at_once(database, [job(step, plan) for step in (1, -1) for plan in plans])
    with database.connect() as conn:
        assert wrong_counters(conn) == []
        assert conn.execute("select distinct message_count from core.chats"
                            ).fetchall() == [(60,)]


# record_message ----------------------------------------------------------------


def test_fifty_first_messages_at_once_make_one_contact(database: Database):
    with database.connect() as conn:
        bot = add_bot(conn)

    def job(number: int) -> Callable:
        return lambda conn: conn.execute(
            "select core.record_message(42, 'in', %s, p_name => 'Аня', p_bot_id => %s)",
            [f"message {number}", bot]).fetchone()[0]
    made = at_once(database, [job(number) for number in range(50)])
    assert len(set(made)) == 50
    with database.connect() as conn:
        assert conn.execute("select telegram_id, chat_id, name from core.girls_profiles"
                            ).fetchall() == [(42, 42, "Аня")]
        assert conn.execute("select chat_id, message_count from core.chats"
                            ).fetchall() == [(42, 50)]
        assert {i for (i,) in conn.execute("select message_id from core.messages")} == set(made)
        assert wrong_counters(conn) == []


def test_record_message_writes_what_it_is_given(conn: psycopg.Connection):
    bot = add_bot(conn)
    first, again = (conn.execute(f"select core.record_message(7, {rest}, %s)", [bot]).fetchone()[0]
                    for rest in ("'in', 'привет', '2024-02-29 12:00+00', 'Аня'",
                                 "'out', '', null, 'Another name'"))
    assert conn.execute(
        "select m.message_id, p.name, p.telegram_id, c.chat_id, m.direction, m.body,"
        " m.sent_at in ('2024-02-29 12:00+00', now()), m.source_file_id, m.metadata"
        " from core.messages as m join core.conversations as c using (bot_id, conversation_id)"
        " join core.girls_profiles as p using (bot_id, profile_id)"
        " order by m.sent_at").fetchall() == [
            (first, "Another name", 7, 7, "in", "привет", True, None, None),
            (again, "Another name", 7, 7, "out", "", True, None, None)]


def test_a_contact_known_from_a_group_is_not_doubled(conn: psycopg.Connection):
    bot = add_bot(conn)
    conn.execute("insert into core.girls_profiles (bot_id, telegram_id, chat_id)"
                 " values (%s, 5, -100)", [bot])
    for chat in (-100, 5):
        record(conn, bot, chat, "2020-01-01")
    assert conn.execute("select count(*) from core.girls_profiles").fetchone() == (1,)
    assert sorted(counters(conn, bot)) == [-100, 5]


def test_one_chat_of_twelve_bots_is_twelve_conversations(conn: psycopg.Connection):
    bots = [add_bot(conn) for _ in range(12)]
    for bot in bots:
        record(conn, bot, 1, "2020-01-01")
    assert [counters(conn, bot) for bot in bots] == [{1: (1, "2020-01-01")}] * 12


def test_a_bot_that_logs_in_needs_not_say_who_it_is(database: Database):
    bot, as_bot = make_bot(database)
    with as_bot.connect() as mine:
        mine.execute("select core.record_message(1, 'in', 'hello')")
    assert database.execute("select bot_id, body from core.messages") == [(bot, "hello")]


@pytest.mark.parametrize(("role", "bot"), [
    ("bot_1", 1), ("bot_999999999999999999", 10 ** 18 - 1), ("bot_1000000000000000000", None),
    ("bot_0", None), ("bot_01", None), ("bot_", None), ("bot_1x", None), ("bot_1\n", None),
    ("Bot_1", None), ("xbot_1", None), ("bot_-1", None), ("bot_١", None),
    # what the server itself would read as a number
    ("bot_1_0", None), ("bot_1 ", None), ("bot_1e1", None), ("bot_1:", None)])
def test_only_a_login_named_bot_and_number_is_a_bot(
        conn: psycopg.Connection, role: str, bot: int | None):
    if not conn.execute("select from pg_roles where rolname = %s", [role]).fetchone():
        conn.execute(sql.SQL("create role {}").format(sql.Identifier(role)))
    conn.execute("grant usage on schema core to public;"
                 "grant execute on all functions in schema core to public")
    conn.execute("select set_config('role', %s, true)", [role])
    assert conn.execute("select core.current_bot_id()").fetchone() == (bot,)


@pytest.mark.parametrize(("arguments", "message"), [
    ("null, 'in', 'x'", "chat_id is null"),
    ("1, 'in', null", "body is null"),
    ("1, null, 'x'", "direction is NULL, not in or out"),
    ("1, 'IN', 'x'", "direction is 'IN', not in or out"),
    ("1, 'in', 'x', 'infinity'", "sent_at is infinity, not between 1970 and 2099"),
    ("1, 'in', 'x', '1969-12-31 23:59:59+00'",
     "sent_at is 1969-12-31 23:59:59+00, not between 1970 and 2099"),
    ("1, 'in', 'x', '2100-01-01 00:00:00+00'",
     "sent_at is 2100-01-01 00:00:00+00, not between 1970 and 2099"),
])
def test_a_message_that_can_not_be_is_named_with_its_value(
        conn: psycopg.Connection, arguments: str, message: str):
    conn.execute("set local timezone = 'UTC'")
    bot = add_bot(conn)
    with refused(conn, "MB004") as caught:
        conn.execute(f"select core.record_message({arguments}, p_bot_id => {bot})")
    assert caught.value.diag.message_primary == message
    assert conn.execute("select count(*) from core.conversations").fetchone() == (0,)


def test_a_routine_kept_by_its_signature_is_called_by_its_name(conn: psycopg.Connection):
    for kind in ("integer", "text"):
        conn.execute(f'create function core."odd-" ({kind}) returns text language sql'
                     f" as $func$ select '{kind}' $func$")
    for kind in ("integer", "text"):
        name = conn.execute(
            "select core.routine_name(%s)::text", [f'core."odd-"({kind})']).fetchone()[0]
        assert conn.execute(f"select {name}(null::{kind})").fetchone() == (kind,)
    with refused(conn, "42883"):
        conn.execute("select core.routine_name('core.no_such(integer)')")


# Error codes -------------------------------------------------------------------

RAISING = [
    ("MB001", ROOT.script("rollback").text, "core.bots"),
    ("MB002", "select core.leaves('core.bot_names')", "core.bot_names"),
    ("MB002", "select core.leaves('core_partitions.bots_p0')", "core_partitions.bots_p0"),
    ("MB002", "select core.leaves(null)", "null"),
    *(("MB002", f"create table core.t (a timestamptz, b timestamptz, d date) {partitioning};"
                "select core.ensure_partition('core.t', now())", "core.t")
      for partitioning in ("", "partition by range (d)", "partition by list (a)",
                           "partition by hash (a)", "partition by range (a, b)",
                           "partition by range ((a at time zone 'UTC'))")),
    ("MB002", "select core.ensure_partition(null, now())", "null"),
    ("MB003", "select core.record_message(1, 'in', 'x')", "(null)"),
    ("MB003", "select core.record_message(1, 'in', 'x', p_bot_id => -3)", "-3"),
    ("MB004", "select core.record_message(1, 'up', 'x')", "'up'"),
    ("MB013", "select core.set_contact(null)", "telegram_id is null"),
    ("MB014", "select core.record_edit(1, 'lost', 'x')", "'lost'"),
    ("MB012", "insert into core.girls_profiles (bot_id, telegram_id, chat_id, name)"
              " select bot_id, 1, 1, repeat('a', 65537) from core.bots", "65537"),
    ("MB005", "insert into core.bots (name) select name from core.bots", "'Аня''s'"),
    *(("MB006", f"{EVENTS}; select core.ensure_partition('core.events', {at})", value)
      for at, value in (("null", "null"), ("'infinity'", " infinity"),
                        ("'-infinity'", " -infinity"))),
]


@pytest.mark.parametrize(("code", "statement", "value"), RAISING)
def test_an_error_has_its_code_the_value_and_the_next_step(
        conn: psycopg.Connection, code: str, statement: str, value: str):
    add_bot(conn, "Аня's")
    with refused(conn, code) as caught:
        conn.execute(statement)
    diag = caught.value.diag
    assert value in diag.message_primary
    assert diag.message_primary[0].islower()
    assert diag.message_hint[-1] == "."
    assert conn.execute("select count(*) from core.error_code where code = %s",
                        [code]).fetchone() == (1,)
    assert conn.execute("select count(*) from core.girls_profiles").fetchone() == (0,)


def test_every_code_that_the_sql_raises_is_raised_above():
    raised = re.findall(r"errcode\s*=\s*'(\w+)'", ROOT.script("apply").text
                        + ROOT.script("rollback").text)
    # MB904, of another encoding, test_first_run.py raises
    assert {code for code, _, _ in RAISING} | {"MB904"} == set(raised)


def test_the_rows_of_error_code_are_well_formed(conn: psycopg.Connection):
    for code, name, *sentences in conn.execute(
            "select code, name, meaning, remedy from core.error_code"):
        assert re.fullmatch("MB[0-9]{3}", code)
        assert re.fullmatch("[a-z]+[0-9]*(_[a-z]+[0-9]*)*", name)
        for sentence in sentences:
            assert re.fullmatch(r"\S.*\.", sentence), sentence
