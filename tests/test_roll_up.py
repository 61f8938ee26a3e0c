"""core.bot_metrics is what the messages say, whatever happened since: against an oracle in Python
and against a roll-up of everything; and what the views make of it."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from conftest import Database
from core_rows import add_bot, add_conversation, at_once, make_bot, meanwhile, record
from hypothesis import example, given, settings
from hypothesis import strategies as st
from import_helpers import make_folder, run_import, said

pytest_plugins = "core_rows"

ROLL_UP = "select performance.roll_up_metrics()"
TOTAL = "insert into performance.bot_total select %s, 0, 0, 0, 0, 0, 0, null, now()"
ALL_OF_IT = "select performance.roll_up_metrics('-infinity')"
DAY, MICROSECOND = timedelta(days=1), timedelta(microseconds=1)
INSERT = """
    insert into core.messages (bot_id, conversation_id, direction, body, sent_at)
    select %s, c, d, '', t
    from unnest(%s::bigint[], %s::text[], %s::timestamptz[]) as u (c, d, t)"""

# The oracle ----------------------------------------------------------------------

Metrics = dict[tuple[int, date], list]


def percentile(replies: list[timedelta], part: float) -> timedelta | None:
    """As percentile_cont: between two values in proportion."""
    if not replies:
        return None
    place = part * (len(replies) - 1)
    below = replies[int(place)]
    above = replies[min(int(place) + 1, len(replies) - 1)]
    return below + (above - below) * (place - int(place))


def expected(conn: psycopg.Connection) -> Metrics:
    """What core.bot_metrics should hold, from the rows of messages and conversations."""
    rows = conn.execute("select bot_id, conversation_id, profile_id, started_at at time zone 'UTC'"
                        " from core.conversations").fetchall()
    profile = {(bot, chat): contact for bot, chat, contact, _ in rows}
    found: Metrics = defaultdict(lambda: [0, 0, 0, 0, None, None])
    active, replies = defaultdict(set), defaultdict(list)
    for bot, _, _, started in rows:
        found[bot, started.date()][2] += 1
    before: dict[tuple, tuple] = {}
    for bot, chat, direction, sent_at in conn.execute(
            "select bot_id, conversation_id, direction, sent_at at time zone 'UTC'"
            " from core.messages order by bot_id, conversation_id, sent_at, message_id"):
        day = (bot, sent_at.date())
        found[day][0 if direction == "in" else 1] += 1
        active[day].add(profile[bot, chat])
        was, at = before.get((bot, chat), (None, None))
        if direction == "out" and was == "in" and sent_at - at <= DAY:
            replies[day].append(sent_at - at)
        before[bot, chat] = (direction, sent_at)
    for day, row in found.items():
        times = sorted(replies[day])
        row[3:] = len(active[day]), percentile(times, 0.5), percentile(times, 0.95)
    return dict(found)


def stored(conn: psycopg.Connection) -> Metrics:
    return {(bot, day): row for bot, day, *row in conn.execute(
        "select bot_id, day, messages_in, messages_out, new_conversations, active_contacts,"
        " reply_p50, reply_p95 from core.bot_metrics").fetchall()}


def assert_exact(conn: psycopg.Connection) -> None:
    """The metrics and the totals are what the rows say, and what a roll-up of everything makes."""
    found, wanted = stored(conn), expected(conn)
    assert found.keys() == wanted.keys()
    for day, row in wanted.items():
        assert found[day][:4] == row[:4], day
        for one, other in zip(found[day][4:], row[4:], strict=True):
            assert one == other or abs(one - other) <= 2 * MICROSECOND, day  # rounding
    assert conn.execute(ALL_OF_IT).fetchone() == (0,)
    assert stored(conn) == found
    assert conn.execute("""
        select bot_id, contacts, conversations, messages_in, messages_out, last_message_at
        from performance.bot_total order by bot_id""").fetchall() == conn.execute("""
        select b.bot_id, (select count(*) from core.girls_profiles as p where p.bot_id = b.bot_id),
               (select count(*) from core.conversations as c where c.bot_id = b.bot_id),
               count(m) filter (where direction = 'in'), count(m) filter (where direction = 'out'),
               max(sent_at)
        from core.bots as b left join core.messages as m using (bot_id)
        group by bot_id order by bot_id""").fetchall()


# Whatever happens ------------------------------------------------------------------

# days from today, then how far into the day; both ends of a day come up often
moments = st.tuples(
    st.sampled_from([-40, -8, -7, -3, -2, -1, -1, 0, 0, 0, 1, 9]),
    st.sampled_from([timedelta(0), MICROSECOND, DAY - MICROSECOND, timedelta(hours=12)])
    | st.integers(0, 1439).map(lambda minutes: timedelta(minutes=minutes)))
spans = st.sampled_from([timedelta(hours=2), DAY, 100 * DAY])
places, chats, directions = st.integers(0, 1), st.integers(1, 3), st.sampled_from(["in", "out"])
steps = st.one_of(
    st.tuples(st.just("record"), places, chats, directions, moments),
    st.tuples(st.just("say now"), places, chats, directions),
    st.tuples(st.just("insert"), places,
              st.lists(st.tuples(chats, directions, moments), min_size=1, max_size=12)),
    st.tuples(st.just("begin"), places, chats, moments),
    st.tuples(st.just("start"), places, chats, moments),
    st.tuples(st.just("delete"), places, st.integers(0, 3), moments, spans),
    st.tuples(st.just("turn"), places, st.integers(0, 3), moments, spans),
    st.tuples(st.just("shift"), places, st.integers(0, 3), moments, spans, st.integers(-30, 30)),
    st.tuples(st.just("move"), places, chats, chats),
    st.tuples(st.just("forget"), places, chats),
    st.tuples(st.just("drop"), places),
    st.tuples(st.just("roll up")),
    st.tuples(st.just("time passes"), st.sampled_from([None, -3, -1, 0, 1])))


class Story:
    """Two bots in one session, and what can happen to them."""

    def __init__(self, conn: psycopg.Connection, bots: list[int]) -> None:
        self.conn, self.bots = conn, bots
        self.today = conn.execute("select date_trunc('day', now(), 'UTC')").fetchone()[0]

    def at(self, moment: tuple[int, timedelta]) -> datetime:
        days, rest = moment
        return self.today.astimezone(UTC) + timedelta(days=days) + rest

    def happens(self, kind: str, place: int = 0, *rest: object) -> None:
        bot = self.bots[place] if kind not in ("roll up", "time passes") else None
        if bot is not None and not self.conn.execute(
                "select from core.bots where bot_id = %s", [bot]).fetchall():
            return  # it was dropped
        getattr(self, kind.replace(" ", "_"))(place if bot is None else bot, *rest)

    def as_bot(self, bot: int, statement: str, values: list) -> None:
        self.conn.execute(f"set local role bot_{bot}")
        self.conn.execute(statement, values)
        self.conn.execute("reset role")

    def record(self, bot: int, chat: int, direction: str, moment: tuple) -> None:
        self.as_bot(bot, "select core.record_message(%s, %s, '', %s)",
                    [chat, direction, self.at(moment)])

    def say_now(self, bot: int, chat: int, direction: str) -> None:
        self.as_bot(bot, "select core.record_message(%s, %s, '')", [chat, direction])

    def insert(self, bot: int, messages: list) -> None:
        rows = [(add_conversation(self.conn, bot, chat), direction, self.at(moment))
                for chat, direction, moment in messages]
        self.as_bot(bot, INSERT, [bot, *map(list, zip(*rows, strict=True))])

    def begin(self, bot: int, chat: int, moment: tuple) -> None:
        self.as_bot(bot, "insert into core.conversations (profile_id, chat_id, started_at)"
                         " select core.ensure_contact(%(bot)s, %(chat)s, null), %(chat)s, %(at)s"
                         " on conflict do nothing",
                    {"bot": bot, "chat": chat, "at": self.at(moment)})

    def start(self, bot: int, chat: int, moment: tuple) -> None:
        self.conn.execute(
            "update core.conversations set started_at = %s"
            " where bot_id = %s and chat_id = %s", [self.at(moment), bot, chat])

    def chosen(self, bot: int, chat: int, moment: tuple, span: timedelta) -> tuple[str, list]:
        """Messages of a chat (0: of all) from a moment on."""
        return ("bot_id = %s and sent_at >= %s and sent_at < %s and conversation_id in (select"
                " conversation_id from core.conversations where %s in (0, chat_id))",
                [bot, self.at(moment), self.at(moment) + span, chat])

    def delete(self, *chosen: object) -> None:
        where, values = self.chosen(*chosen)
        self.conn.execute(f"delete from core.messages where {where}", values)

    def turn(self, *chosen: object) -> None:
        where, values = self.chosen(*chosen)
        self.conn.execute("update core.messages set direction = case direction when 'in' then 'out'"
                          f" else 'in' end where {where}", values)

    def shift(self, *chosen_hours: object) -> None:
        *chosen, hours = chosen_hours
        where, values = self.chosen(*chosen)
        self.conn.execute(f"update core.messages set sent_at = sent_at + %s where {where}",
                          [timedelta(hours=hours), *values])

    def move(self, bot: int, one: int, other: int) -> None:
        self.conn.execute("update core.messages set conversation_id = %s"
                          " where bot_id = %s and conversation_id = %s", [
                              add_conversation(self.conn, bot, other), bot,
                              add_conversation(self.conn, bot, one)])

    def forget(self, bot: int, chat: int) -> None:
        chat = add_conversation(self.conn, bot, chat)
        for table in ("messages", "conversations"):
            self.conn.execute(f"delete from core.{table} where bot_id = %s and conversation_id"
                              " = %s", [bot, chat])

    def drop(self, bot: int) -> None:
        self.conn.execute("select security.drop_bot(%s, true)", [bot])

    def roll_up(self, _: int) -> None:
        self.conn.execute(ROLL_UP)

    def time_passes(self, days: int | None) -> None:
        """The next roll-up finds that the last one was so many days after today; None: never."""
        last = "-infinity" if days is None else (self.today + days * DAY).isoformat()
        self.conn.execute("update performance.last_roll_up set started_at = %s::text::timestamptz"
                          " where started_at > '-infinity'", [last])


@pytest.fixture(scope="module")
def pair(clone_of_module: Database) -> list[int]:
    """Two bots, for stories that are undone."""
    return [make_bot(clone_of_module)[0] for _ in range(2)]


NIGHT = (-1, DAY - MICROSECOND)
# Questions late in the evening, answers after midnight, on days that roll-ups leave alone too.
HISTORY = [(chat, direction, (day, at)) for day in (-8, -7, -3, -2, -1, 0) for chat in (1, 2)
           for direction, at in (("out", timedelta(minutes=chat)), ("in", timedelta(hours=12)),
                                 ("out", timedelta(hours=13)), ("in", DAY - MICROSECOND))]


def test_roll_ups_are_exact_whatever_happened_between(conn: psycopg.Connection, pair: list[int]):
    for place in (0, 1):
        Story(conn, pair).happens("insert", place, HISTORY)
    conn.execute(ROLL_UP)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(steps, min_size=1, max_size=14))
    @example([("record", 0, 3, "in", NIGHT), ("roll up",), ("roll up",),
              ("record", 0, 3, "out", (0, MICROSECOND)), ("delete", 0, 3, NIGHT, MICROSECOND)])
    @example([("record", 0, 1, "out", (-3, DAY - MICROSECOND))])
    @example([("delete", 1, 0, (-8, timedelta(0)), DAY)])
    @example([("turn", 1, 0, (-8, timedelta(0)), DAY)])
    @example([("shift", 0, 1, (-3, timedelta(hours=20)), DAY, -30)])
    @example([("move", 0, 1, 2)])
    @example([("say now", 0, 1, "in"), ("say now", 0, 1, "out"), ("time passes", 1)])
    @example([("say now", 1, 2, "in"), ("roll up",), ("drop", 1), ("say now", 0, 1, "in")])
    def check(story: list) -> None:
        with conn.transaction(force_rollback=True):
            told = Story(conn, pair)
            for step in story:
                told.happens(*step)
            conn.execute(ROLL_UP)
            assert_exact(conn)
    check()


def test_what_an_import_brings_is_rolled_up(database: Database, tmp_path: Path):
    folder = make_folder(tmp_path / "files", {
        "conversations/1.json": [said("a", 1_700_000_000), said("b", 1_700_000_060, "out")],
        "conversations/2.json": [said("c", "2023-11-14T23:59:59Z")],
        "girls_data/3.json": {"chat_id": 3, "name": "x"}})
    with database.connect() as conn:
        for files in ({}, {"conversations/2.json": [said("c", "2023-11-14T23:59:59Z"),
                                                    said("d", "2023-11-15T00:00:01Z", "out", n=1)]},
                      {"conversations/1.json": [said("a", 1_600_000_000)]}):
            make_folder(folder, files)
            run_import(database, folder, "--bot", "Eva")
            assert conn.execute("select count(*) from core.stale_days").fetchone() == (0,)
            assert_exact(conn)


def test_what_a_plain_load_brings_is_noted_though_triggers_rest(conn: psycopg.Connection):
    bot = add_bot(conn)
    conn.execute(ROLL_UP)
    conn.execute("select json_import.load(json_import.start_run('x'), %s, 'conversation',"
                 " array['conversations/1.json'], array[1]::bigint[],"
                 " array[convert_to(%s, 'UTF8')])",
                 [bot, '[{"text": "a", "direction": "in", "ts": "2023-11-14T23:59:59Z"},'
                       ' {"text": "b", "direction": "out", "ts": "2023-11-15T00:00:01Z"}]'])
    assert conn.execute("select count(*) from core.messages where bot_id = %s", [bot]
                        ).fetchone() == (2,)
    conn.execute(ROLL_UP)
    assert_exact(conn)


def test_a_second_roll_up_changes_nothing_and_is_on_no_record(conn: psycopg.Connection):
    entries = "select count(*), coalesce(sum(row_count), 0) from audit.security_audit_log"
    bot = add_bot(conn)
    for at in ("2025-01-01", "2025-01-02 23:59:59.999999+00", "now"):
        record(conn, bot, 1, at)
    conn.execute("insert into core.bot_metrics (bot_id, day) values (%s, '2001-01-01')", [bot])
    assert conn.execute(ROLL_UP).fetchone() == (4,)  # three days made, one gone
    before = conn.execute(entries).fetchone()
    for again in (ROLL_UP, ROLL_UP, ALL_OF_IT):
        assert conn.execute(again).fetchone() == (0,)
    assert conn.execute(entries).fetchone() == before


@pytest.mark.parametrize(("since", "changed"), [(None, 0), ("2025-01-02", 1), ("2025-01-01", 2)])
def test_a_roll_up_goes_back_as_far_as_it_is_told(
        conn: psycopg.Connection, since: str | None, changed: int):
    bot = add_bot(conn)
    for day in ("2025-01-01", "2025-01-02"):
        record(conn, bot, 1, day)
    conn.execute(ROLL_UP)
    conn.execute("update core.bot_metrics set messages_in = 9")  # nobody notes that
    assert conn.execute("select performance.roll_up_metrics(%s)", [since]).fetchone() == (changed,)


# Times -----------------------------------------------------------------------------

HOUR = timedelta(hours=1)
REPLIES = {
    "an answer": ([("in", 0), ("out", HOUR)], [HOUR]),
    "no answer": ([("in", 0), ("in", HOUR)], []),
    "the first message goes out": ([("out", 0), ("in", HOUR)], []),
    "several wait for one answer": ([("in", 0), ("in", HOUR), ("in", 2 * HOUR), ("out", 3 * HOUR)],
                                    [HOUR]),
    "a second message out is no answer": ([("in", 0), ("out", HOUR), ("out", 9 * HOUR)], [HOUR]),
    "at the same time, the later row is the answer": ([("in", 0), ("out", 0)], [timedelta(0)]),
    "at the same time, the earlier row is none": ([("out", 0), ("in", 0)], []),
    "across midnight": ([("in", 23 * HOUR), ("out", 25 * HOUR)], [2 * HOUR]),
    "just a day": ([("in", 0), ("out", DAY)], [DAY]),
    "more than a day": ([("in", 0), ("out", DAY + MICROSECOND)], []),
    "just a day, from the first moment of one": ([("in", -HOUR), ("out", 23 * HOUR)], [DAY]),
    "two answers": ([("in", 0), ("out", HOUR), ("in", 2 * HOUR), ("out", 5 * HOUR)],
                    [HOUR, 3 * HOUR]),
}


@pytest.mark.parametrize("rest", [False, True], ids=["all days", "the last day alone"])
@pytest.mark.parametrize("case", REPLIES)
def test_a_reply_is_the_next_message_out_within_a_day(
        conn: psycopg.Connection, case: str, rest: bool):
    messages, replies = REPLIES[case]
    start = datetime(2025, 3, 1, tzinfo=UTC)
    bot = add_bot(conn)
    chat = add_conversation(conn, bot, 1)
    rows = [(direction, start + (after or timedelta(0))) for direction, after in messages]
    said_last = rows.pop() if rest else None  # noted alone: the day before is only looked at
    for direction, at in rows:
        conn.execute(INSERT, [bot, [chat], [direction], [at]])
    if said_last:
        conn.execute(ROLL_UP)
        conn.execute(INSERT, [bot, [chat], [said_last[0]], [said_last[1]]])
    conn.execute(ROLL_UP)
    found = [row[4:] for row in stored(conn).values() if row[4] is not None]
    assert found == ([[percentile(replies, 0.5), percentile(replies, 0.95)]] if replies else [])
    assert_exact(conn)


@pytest.mark.parametrize("session", [
    {"timezone": "Pacific/Auckland"}, {"timezone": "America/St_Johns", "datestyle": "SQL, DMY"},
    {"timezone": "Asia/Kolkata", "datestyle": "German"}, {"intervalstyle": "sql_standard"},
    {"search_path": "core, public", "transform_null_equals": "on"}],
    ids=lambda session: " ".join(session.values()))
def test_days_are_days_of_utc_whatever_the_session_says(
        conn: psycopg.Connection, pair: list[int], session: dict[str, str]):
    told = Story(conn, pair)
    for name, value in session.items():
        conn.execute("select set_config(%s, %s, true)", [name, value])
    for day in (-40, -2, -1, 0):
        for at in (timedelta(0), HOUR, 13 * HOUR, DAY - MICROSECOND):
            for place, direction in ((0, "in"), (0, "out"), (1, "in")):
                told.happens("record", place, 1, direction, (day, at))
        told.happens("roll up")
    told.happens("shift", 0, 1, (-2, timedelta(0)), 9 * DAY, -30)
    told.happens("roll up")
    conn.execute("reset all")
    assert_exact(conn)


# Several at once -------------------------------------------------------------------


def test_who_commits_after_a_roll_up_is_in_the_next(database: Database):
    with database.connect() as conn, database.connect() as writer:
        bot = add_bot(conn)
        record(conn, bot, 1, "2025-01-01")
        conn.execute(ROLL_UP)
        writer.execute("begin")
        for at in ("2025-01-01", "now"):
            record(writer, bot, 1, at)
        assert conn.execute(ROLL_UP).fetchone() == (0,)
        writer.execute("commit")
        assert conn.execute(ROLL_UP).fetchone() == (2,)
        assert_exact(conn)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_what_another_roll_up_took_comes_back_if_it_fails(database: Database, end: str):
    with database.connect() as first, database.connect() as second, database.connect() as writer:
        bot = add_bot(first)
        record(first, bot, 1, "2025-01-01")
        first.execute("begin")
        assert first.execute(ROLL_UP).fetchone() == (1,)
        record(writer, bot, 1, "2025-01-02")  # nobody who writes waits
        with meanwhile(second, ROLL_UP) as other:
            first.execute(end)
            assert other.result(30).fetchone() == (1 if end == "commit" else 2,)
        assert_exact(second)


def test_roll_ups_and_writers_at_once_end_exact(database: Database):
    with database.connect() as conn:
        bots = [add_bot(conn) for _ in range(3)]

    def write(bot: int) -> Callable:
        def work(conn: psycopg.Connection) -> None:
            for number in range(40):
                record(conn, bot, number % 3, f"2025-01-0{number % 7 + 1}" if number % 2 else "now")
            conn.execute("delete from core.messages where bot_id = %s and message_id %% 3 = 0",
                         [bot])
        return work

    def roll(conn: psycopg.Connection) -> None:
        for _ in range(10):
            conn.execute(ROLL_UP)

    at_once(database, [*map(write, bots), roll, roll])
    with database.connect() as conn:
        conn.execute(ROLL_UP)
        assert_exact(conn)


def left_of(conn: psycopg.Connection, bot: int) -> list[int]:
    return [conn.execute(f"select count(*) from {table} where bot_id = %s", [bot]).fetchone()[0]
            for table in ("core.bots", "core.bot_metrics", "performance.bot_total")]


@pytest.mark.parametrize("first", ["drop", "roll up"])
def test_a_bot_that_is_dropped_during_a_roll_up_leaves_nothing(database: Database, first: str):
    (bot, _), (other, _) = make_bot(database), make_bot(database)
    drop = f"select security.drop_bot({bot}, true)"
    before, after = (drop, ROLL_UP) if first == "drop" else (ROLL_UP, drop)
    with database.connect() as conn, database.connect() as late:
        for one in (bot, other):
            record(conn, one, 1, "2025-01-01")
        if first == "drop":
            conn.execute(ROLL_UP)  # there is something to drop
            record(conn, bot, 1, "2025-01-02")
        conn.execute("begin")
        conn.execute(before)
        with meanwhile(late, after) as waiting:
            conn.execute("commit")
            waiting.result(30)
        assert left_of(conn, bot) == [0, 0, 0]
        assert left_of(conn, other) == [1, 1, 1]
        assert_exact(conn)


def test_a_bot_that_changes_during_a_roll_up_is_rolled_up(database: Database):
    with database.connect() as conn, database.connect() as late:
        bots = [add_bot(conn) for _ in range(3)]
        for bot in bots:
            record(conn, bot, 1, "2025-01-01")
        conn.execute(ROLL_UP)
        for bot in bots:
            record(conn, bot, 1, "2025-01-01")
        conn.execute("begin")
        conn.execute("select from core.bots where bot_id = %s for update", [bots[1]])
        conn.execute("update core.bots set status = 'paused' where bot_id = %s", [bots[1]])
        with meanwhile(late, ROLL_UP) as waiting:
            conn.execute("commit")
            assert waiting.result(30).fetchone() == (3,)
        assert_exact(conn)


def test_a_bot_that_is_added_during_a_roll_up_and_dropped_leaves_no_total(database: Database):
    with database.connect() as conn, database.connect() as late:
        add_bot(conn)
        bot, _ = make_bot(database)
        conn.execute(TOTAL, [bot])
        conn.execute("select security.drop_bot(%s)", [bot])
        assert left_of(conn, bot) == [0, 0, 0]
        # the roll-up read the bots before, and stored its row after
        conn.execute(TOTAL, [bot])
        late.execute(ROLL_UP)
        assert left_of(conn, bot) == [0, 0, 0]


def test_a_roll_up_that_was_killed_loses_no_note(database: Database):
    with database.connect() as conn, database.connect() as holder:
        bots = [add_bot(conn) for _ in range(3)]
        for bot in bots:
            record(conn, bot, 1, "2025-01-01")
        conn.execute(ROLL_UP)
        for bot in bots:
            record(conn, bot, 1, "2025-01-02")
        holder.execute("begin")
        # half-way: the notes are gone, the first bot's days are stored
        holder.execute("select from core.bot_metrics where bot_id = %s for update", [bots[1]])
        holder.execute("insert into core.bot_metrics (bot_id, day) values (%s, '2025-01-02')",
                       [bots[1]])
        victim = database.connect()
        with meanwhile(victim, ROLL_UP) as killed:
            conn.execute("select pg_terminate_backend(%s)", [victim.info.backend_pid])
            assert isinstance(killed.exception(30), psycopg.OperationalError)
        with suppress(psycopg.Error):
            victim.close()
        holder.execute("rollback")
        assert conn.execute("select count(*) from core.stale_days").fetchone() == (3,)
        assert conn.execute(ROLL_UP).fetchone() == (3,)
        assert_exact(conn)


# What others see -------------------------------------------------------------------


@pytest.fixture(scope="module")
def fleet(clone_of_module: Database, pair: list[int]) -> dict[str, str]:
    """Logins by their level; bot 0 is granted to the admin."""
    names = {"bot": f"bot_{pair[0]}", "other": f"bot_{pair[1]}", "app_backup": "app_backup"}
    with clone_of_module.connect() as conn:
        for level in ("admin", "super_admin", "worker"):
            names[level] = f"{level}_{pair[0]}_of_roll_up"
        conn.execute("select security.create_admin(%(admin)s),"
                     " security.create_admin(%(super_admin)s, p_is_super => true),"
                     " security.create_worker(%(worker)s, array[]::bigint[])", names)
        conn.execute("select security.grant_bot_to_admin(%s, %s)", [pair[0], names["admin"]])
    return names


def seen(conn: psycopg.Connection, role: str, statement: str) -> list[tuple]:
    """What a login gets for a statement."""
    with conn.transaction():
        conn.execute(f"set local role {role}")
        rows = conn.execute(statement).fetchall()
        conn.execute("reset role")
    return rows


def fill_days(conn: psycopg.Connection, pair: list[int]) -> Story:
    """Messages of both bots over five weeks, of today and of tomorrow; rolled up."""
    told = Story(conn, pair)
    for day in (-40, -30, -29, -13, -7, -6, -1, 0, 1):
        for number in range(abs(day) % 4 + 1):
            told.happens("record", 0, 1, "in", (day, number * HOUR))
        told.happens("record", day % 2, 2, "out", (day, 12 * HOUR))
    conn.execute(ROLL_UP)
    return told


def test_the_summary_of_activity_is_what_the_messages_say(
        conn: psycopg.Connection, pair: list[int]):
    today = fill_days(conn, pair).today.astimezone(UTC).date()
    conn.execute("set local timezone = 'Pacific/Auckland'")
    days = expected(conn)

    def since(bot: int, count: int) -> int:
        return sum(row[0] + row[1] for (one, day), row in days.items()
                   if one == bot and today - (count - 1) * DAY <= day <= today)

    rows = {bot: row for bot, *row in conn.execute(
        "select bot_id, conversations, messages_in, messages_out, messages_7_days,"
        " messages_30_days, last_message_at, as_of >= now() from performance.bot_activity_summary"
        ).fetchall()}
    assert rows == {bot: [
        *(sum(row[n] for (one, _), row in days.items() if one == bot) for n in (2, 0, 1)),
        since(bot, 7), since(bot, 30),
        *conn.execute("select max(sent_at) from core.messages where bot_id = %s", [bot]).fetchone(),
        True] for bot in pair}


def test_the_summary_of_days_is_beside_the_week_before(conn: psycopg.Connection, pair: list[int]):
    fill_days(conn, pair)
    days = expected(conn)
    found = {(bot, day): row for bot, day, *row in conn.execute(
        "select bot_id, day, messages_in, messages_out, messages, more_than_week_before,"
        " new_conversations, active_contacts from performance.daily_metrics_summary").fetchall()}
    assert found == {(bot, day): [
        row[0], row[1], row[0] + row[1],
        row[0] + row[1] - sum(days.get((bot, day - 7 * DAY), [0, 0])[:2]), row[2], row[3]]
        for (bot, day), row in days.items()}
    assert any(row[3] != row[2] for row in found.values())


@pytest.mark.parametrize("view", ["bot_activity_summary", "daily_metrics_summary"])
def test_each_level_sees_its_bots_in_the_views(
        conn: psycopg.Connection, pair: list[int], fleet: dict[str, str], view: str):
    fill_days(conn, pair)
    read = f"select distinct bot_id from performance.{view} order by 1"
    for who, bots in (("bot", pair[:1]), ("other", pair[1:]), ("admin", pair[:1]),
                      ("super_admin", pair), ("app_backup", pair)):
        assert seen(conn, fleet[who], read) == [(bot,) for bot in bots], who
    for who in (fleet["worker"], "app_base"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            seen(conn, who, read)


@pytest.mark.parametrize("view", ["bot_activity_summary", "daily_metrics_summary"])
def test_no_view_reads_messages(
        conn: psycopg.Connection, pair: list[int], fleet: dict[str, str], view: str):
    fill_days(conn, pair)
    for who in ("bot", "admin", "super_admin"):
        plan = seen(conn, fleet[who],
                    f"explain (costs off) select * from performance.{view}")
        assert plan and not any("messages_p" in line or "conversations_p" in line
                                for line, in plan)
