"""core.chats: exact at any moment, for every reader, and no writer waits for another or a fold."""

import os
import random
import threading
from collections.abc import Iterator

import psycopg
import pytest
from conftest import Database
from core_rows import (
    add_bot,
    add_conversation,
    at_once,
    clone,
    make_bot,
    record,
    wrong_counters,
)

pytest_plugins = "core_rows"
TORTURE = bool(os.environ.get("TORTURE"))
SEED = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
WRITERS, CHATS, ROUNDS = (32, 50, 400) if TORTURE else (8, 5, 60)
WRITE = ("insert into core.messages (bot_id, conversation_id, direction, body)"
         " values (%s, %s, 'in', '')")
FOLD = "select core_upkeep.fold_counts(%s, %s)"
LIST = ("select conversation_id, chat_id, last_message_at, message_count from core.chats"
        " order by last_message_at desc nulls last limit 50")


def notes(conn: psycopg.Connection) -> int:
    return conn.execute("select count(*) from core.uncounted").fetchone()[0]


def test_writers_of_several_chats_meet_readers_and_folds_and_none_waits(database: Database):
    print(f"SEED={SEED}")
    with database.connect() as conn:
        bot = add_bot(conn)
        chats = [add_conversation(conn, bot, chat) for chat in range(CHATS)]
        before = conn.execute("select pg_stat_force_next_flush(), deadlocks from pg_stat_database"
                              " where datname = current_database()").fetchone()[1]
    over = threading.Event()

    def writer(number: int):
        chance = random.Random(f"{SEED} {number}")  # noqa: S311

        def write(conn: psycopg.Connection) -> None:
            isolation = chance.choice(["read committed", "repeatable read"])
            conn.execute("set lock_timeout = '10s';"
                         f" set default_transaction_isolation = '{isolation}'")
            for _ in range(ROUNDS):
                with conn.transaction():
                    for chat in chance.choices(chats, k=3):
                        conn.execute(WRITE, [bot, chat])
                    if isolation == "read committed" and chance.random() < 0.1:
                        conn.execute("delete from core.messages where bot_id = %s and message_id"
                                     " = (select max(message_id) from core.messages where bot_id ="
                                     " %s)", [bot, bot])
        return write

    def folder(conn: psycopg.Connection) -> None:
        while not over.is_set():
            conn.execute(FOLD, [bot, 50])

    def reader(conn: psycopg.Connection) -> None:
        while not over.is_set():
            assert wrong_counters(conn) == []  # one statement, hence of one moment

    def all_writers(_: psycopg.Connection) -> None:
        try:
            at_once(database, [writer(number) for number in range(WRITERS)])
        finally:
            over.set()
    at_once(database, [all_writers, folder, folder, reader])
    with database.connect() as conn:
        assert wrong_counters(conn) == []
        conn.execute(FOLD, [bot, 10**6])
        assert notes(conn) == 0 and wrong_counters(conn) == []
        conn.execute("select pg_stat_force_next_flush()")
        assert conn.execute("select deadlocks from pg_stat_database"
                            " where datname = current_database()").fetchone() == (before,)


@pytest.mark.parametrize("end", ["commit", "rollback", "kill"])
def test_a_fold_that_is_under_way_holds_nobody_up(database: Database, end: str):
    with database.connect() as conn, database.connect() as other:
        bot = add_bot(conn)
        for chat in (1, 2):
            record(conn, bot, chat, "2025-01-02")
        folding = psycopg.connect(conn.info.dsn, password=conn.info.password)
        assert folding.execute(FOLD, [bot, 10]).fetchone() == (2,)
        other.execute("set lock_timeout = '1s'")
        record(other, bot, 1, "2025-01-03")
        assert other.execute(FOLD, [bot, 10]).fetchone() == (0,)  # whose turn it is does it
        assert wrong_counters(other) == [] and wrong_counters(folding) == []
        if end == "kill":
            other.execute("select pg_terminate_backend(%s, 10000)", [folding.info.backend_pid])
        else:
            folding.execute(end)
        assert wrong_counters(other) == []
        assert notes(other) == (1 if end == "commit" else 3)
        folding.close()


def test_a_snapshot_sees_its_own_counts_whatever_is_folded_meanwhile(database: Database):
    with database.connect() as conn, database.connect() as old:
        bot = add_bot(conn)
        record(conn, bot, 1, "2025-01-02")
        with old.transaction():
            old.execute("set transaction isolation level repeatable read")
            assert wrong_counters(old) == []
            record(conn, bot, 1, "2025-01-03")
            conn.execute(FOLD, [bot, 10])
            assert wrong_counters(old) == []
            assert old.execute("select message_count from core.chats").fetchone() == (1,)
        assert old.execute("select message_count from core.chats").fetchone() == (2,)


def test_a_writer_folds_where_maintenance_does_not_keep_up(database: Database):
    bot, own = make_bot(database)
    with database.connect() as conn, own.connect() as writer:
        chat = add_conversation(conn, bot, 1)
        conn.execute("insert into core.uncounted (bot_id, conversation_id, change)"
                     " select %s, %s, 0 from generate_series(1, 25000)", [bot, chat])
        for isolation, folded in (("repeatable read", False), ("read committed", True)):
            writer.execute(f"set default_transaction_isolation = '{isolation}'")
            before = notes(conn)
            for _ in range(1000):  # one of them gets the id that looks
                writer.execute("insert into core.messages (conversation_id, direction, body)"
                               " values (%s, 'in', '')", [chat])
            assert (notes(conn) < before) == folded
        assert wrong_counters(conn) == []


def test_a_chat_that_goes_leaves_no_total_and_its_id_starts_from_none(conn: psycopg.Connection):
    bot = add_bot(conn)
    record(conn, bot, 1, "2025-01-02")
    again = ("insert into core.conversations (bot_id, conversation_id, profile_id, chat_id)"
             " overriding system value select bot_id, %s, profile_id, 2 from core.girls_profiles"
             " where bot_id = %s")
    gone, = conn.execute("select conversation_id from core.conversations where bot_id = %s",
                         [bot]).fetchone()
    for fold_between in (False, True):
        conn.execute("delete from core.messages where bot_id = %s", [bot])
        conn.execute("delete from core.conversations where bot_id = %s", [bot])
        assert conn.execute("select count(*) from core.chats").fetchone() == (0,)
        if fold_between:
            conn.execute(FOLD, [bot, 100])
            assert conn.execute("select count(*) from core.conversation_totals").fetchone() == (0,)
        conn.execute(again, [gone, bot])
        assert wrong_counters(conn) == []
        conn.execute(FOLD, [bot, 100])
        assert wrong_counters(conn) == []
        record(conn, bot, 2, "2025-01-03")


def test_rows_that_came_without_triggers_are_counted_anew(conn: psycopg.Connection):
    bot = add_bot(conn)
    record(conn, bot, 1, "2025-01-02")
    with conn.transaction():
        conn.execute("set local session_replication_role = replica")
        conn.execute("insert into core.messages (bot_id, conversation_id, direction, body)"
                     " select bot_id, conversation_id, 'in', '' from core.conversations")
        conn.execute("insert into core.conversations (bot_id, profile_id, chat_id)"
                     " select bot_id, profile_id, 2 from core.girls_profiles")
    assert len(wrong_counters(conn)) == 2
    assert conn.execute("select core_upkeep.recount(%s)", [bot]).fetchone() == (2,)
    assert wrong_counters(conn) == [] and notes(conn) == 0


@pytest.fixture(scope="module")
def many(cluster: Database, template: Database) -> Iterator[tuple[Database, Database]]:
    """A bot with 10,000 chats, another with as many, 40 of each with notes that are not folded."""
    for database in clone(cluster, template.name):
        bot, own = make_bot(database)
        other, _ = make_bot(database)
        with database.connect() as conn:
            conn.execute("""
                insert into core.girls_profiles (bot_id, telegram_id, chat_id)
                select b, i, i from unnest(%s::bigint[]) as b, generate_series(1, 10000) as i""",
                [[bot, other]])
            conn.execute("insert into core.conversations (bot_id, profile_id, chat_id)"
                         " select bot_id, profile_id, chat_id from core.girls_profiles")
            conn.execute("insert into core.messages (bot_id, conversation_id, direction, body,"
                         " sent_at) select bot_id, conversation_id, 'in', '',"
                         " now() - chat_id * interval '1 minute' from core.conversations")
            for one in (bot, other):
                conn.execute(FOLD, [one, 10**6])
            conn.execute("vacuum analyze")
            conn.execute("insert into core.messages (bot_id, conversation_id, direction, body)"
                         " select bot_id, conversation_id, 'in', '' from core.conversations"
                         " where chat_id % 250 = 1")
        yield database, own


def rows_read(plan: dict) -> float:
    """The rows that a plan's scans gave and threw away."""
    below = sum(map(rows_read, plan.get("Plans", [])))
    if "Relation Name" not in plan:
        return below
    return below + plan["Actual Loops"] * (
        plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0))


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_the_list_of_chats_reads_no_more_than_its_page_and_what_is_new(
        many: tuple[Database, Database], mode: str):
    database, own = many
    with own.connect() as conn:
        conn.execute(f"set plan_cache_mode = {mode}")
        conn.execute(f"prepare page as {LIST}")
        found = conn.execute("execute page").fetchall()
        plan = conn.execute("explain (analyze, format json) execute page").fetchone()[0][0]["Plan"]
        whole = conn.execute(LIST.replace(" limit 50", "")).fetchall()
        assert len(whole) == 10_000  # 40 of the same moment, in any order
        assert [row[2:] for row in whole[:50]] == [row[2:] for row in found]
        # the page twice (total, conversation), and for each of 40 chats with notes the note,
        # twice, its total and the other bot's note
        assert rows_read(plan) <= 3 * 50 + 4 * 40
    with database.connect() as conn:
        assert wrong_counters(conn) == []
