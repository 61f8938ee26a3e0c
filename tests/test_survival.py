"""Whatever one bot's rows say, the jobs for all go on, and health names the bot and the row."""

import psycopg
import pytest
from conftest import Database
from core_rows import add_bot, record

pytest_plugins = "core_rows"

ODD_STARTS = ("4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00",
              "1969-12-31 23:59:59.999999+00", "2100-01-01 00:00:00+00")
DAYS = """select day, messages_in, new_conversations from core.bot_metrics where bot_id = %s
          order by day"""


def add_odd_start(conn: psycopg.Connection, bot: int, started_at: str, chat: int = 77) -> int:
    """A conversation that started at a time that none can, as one from before the bounds; its id.
    """
    conn.execute("alter domain core.conversations_started_at"
                 " drop constraint if exists conversations_started_at_ck")
    profile = conn.execute("select core.ensure_contact(%s, %s, null)", [bot, chat]).fetchone()[0]
    return conn.execute("insert into core.conversations (bot_id, profile_id, chat_id, started_at)"
                        " values (%s, %s, %s, %s) returning conversation_id",
                        [bot, profile, chat, started_at]).fetchone()[0]


def health_of(conn: psycopg.Connection, bot: int) -> list[str]:
    """What health says of the faults of a bot."""
    return [what for name, what in conn.execute(
        "select check_name, what_to_do from performance.health_check()").fetchall()
            if name.startswith(f"bot_faults ({bot},")]


@pytest.mark.parametrize("started_at", ODD_STARTS)
def test_a_conversation_of_an_odd_time_stops_no_roll_up_and_health_names_it(
        conn: psycopg.Connection, started_at: str):
    mine, other = add_bot(conn), add_bot(conn)
    conn.execute("select performance.roll_up_metrics()")
    odd = add_odd_start(conn, mine, started_at)
    record(conn, mine, 1, "2025-01-01")
    record(conn, other, 1, "2025-01-01")
    assert conn.execute("select ok, result from performance.run_task('roll_up')").fetchone()[0]
    for bot in (mine, other):
        assert [row[1:] for row in conn.execute(DAYS, [bot]).fetchall() if row[1]] == [(1, 1)]
    (said,) = health_of(conn, mine)
    assert f"conversation {odd} of bot {mine} started" in said
    assert "update core.conversations set started_at" in said
    assert health_of(conn, other) == []
    # what it was corrected from is no trouble either
    conn.execute("update core.conversations set started_at = '2025-01-01'"
                 " where bot_id = %s and conversation_id = %s", [mine, odd])
    conn.execute("select performance.roll_up_metrics()")
    assert health_of(conn, mine) == []
    assert conn.execute("select new_conversations from core.bot_metrics where bot_id = %s"
                        " and day = '2025-01-01'", [mine]).fetchone()[0] == 2
    assert conn.execute("select count(*) from core.stale_days").fetchone()[0] == 0


@pytest.mark.parametrize("started_at", ODD_STARTS)
def test_a_roll_up_of_everything_bears_odd_times_too(conn: psycopg.Connection, started_at: str):
    bot = add_bot(conn)
    add_odd_start(conn, bot, started_at)
    record(conn, bot, 1, "2025-01-01")
    conn.execute("select performance.roll_up_metrics('-infinity')")
    assert [row[1:] for row in conn.execute(DAYS, [bot]).fetchall()] == [(1, 1)]


def test_a_note_of_any_day_can_be_rolled_up(conn: psycopg.Connection):
    bot = add_bot(conn)
    conn.execute("select performance.roll_up_metrics()")
    record(conn, bot, 1, "2025-01-01")
    conn.execute("insert into core.stale_days (bot_id, days) values (%s, '{(,)}'), (%s, '{}'),"
                 " (%s, '{[4714-11-24 BC, infinity]}')", [bot] * 3)
    conn.execute("select performance.roll_up_metrics()")
    assert [row[1:] for row in conn.execute(DAYS, [bot]).fetchall()] == [(1, 1)]


def test_a_bot_whose_rows_fail_is_named_and_the_others_are_rolled_up(conn: psycopg.Connection):
    bad, *good = (add_bot(conn) for _ in range(3))
    conn.execute("select performance.roll_up_metrics()")
    for bot in (bad, *good):
        record(conn, bot, 1, "2025-01-01")
    # as an owner may have written it: the sum of the two is no integer any more
    conn.execute("alter table core.bot_metrics disable trigger all;"
                 " create function core.burst() returns trigger language plpgsql as $$ begin"
                 f" if new.bot_id = {bad} then raise 'burst' using errcode = '22003',"
                 " detail = 'Of this row.'; end if; return new; end $$;"
                 " create trigger burst before insert on core.bot_metrics for each row"
                 " execute function core.burst()")
    ok, result, _ = conn.execute("select * from performance.run_task('roll_up')").fetchone()
    assert ok and f"bots {bad} left out" in result
    for bot in good:
        assert [row[1:] for row in conn.execute(DAYS, [bot]).fetchall()] == [(1, 1)]
        assert conn.execute("select messages_in from performance.bot_total where bot_id = %s",
                            [bot]).fetchone() == (1,)
    assert conn.execute(DAYS, [bad]).fetchall() == []
    (said,) = health_of(conn, bad)
    assert "burst" in said and "22003" in said and "Of this row." in said
    # nothing of it is forgotten: mended, it is rolled up, and health is quiet
    conn.execute("drop trigger burst on core.bot_metrics")
    conn.execute("select performance.roll_up_metrics()")
    assert [row[1:] for row in conn.execute(DAYS, [bad]).fetchall()] == [(1, 1)]
    assert health_of(conn, bad) == []


def test_figures_that_an_owner_wrote_can_be_as_large_as_their_type(conn: psycopg.Connection):
    bot = add_bot(conn)
    conn.execute("insert into core.bot_metrics (bot_id, day, messages_in, messages_out) values"
                 " (%s, current_date - 1, 2147483647, 2147483647)", [bot])
    conn.execute("select performance.roll_up_totals(array[%s::bigint])", [bot])
    assert conn.execute("select messages_7_days from performance.bot_activity_summary"
                        " where bot_id = %s", [bot]).fetchone() == (2 * 2147483647,)
    conn.execute("select * from performance.daily_metrics_summary where bot_id = %s", [bot])


@pytest.mark.parametrize("times", [
    "infinity", "-infinity", "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"])
def test_days_can_be_noted_of_any_time(database: Database, times: str):
    assert database.execute("select core.days_of(array[%s::timestamptz, null, now()])"
                            " is not null", [times]) == [(True,)]
