"""The leaves of the bots' tables, and the months of a table partitioned by time."""

import os
import random
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from conftest import Database
from core_rows import EVENTS, TABLES, at_once, failed_checks, make_bot, meanwhile, refused
from psycopg import sql

pytest_plugins = "core_rows"

# Leaves ------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_leaves_lists_the_ten_leaves_with_their_bounds(conn: psycopg.Connection, table: str):
    assert conn.execute("select leaf::text, bound from core.leaves(%s)", [f"core.{table}"]
                        ).fetchall() == [
        (f"core_partitions.{table}_p{remainder}",
         f"FOR VALUES WITH (modulus 10, remainder {remainder})") for remainder in range(10)]


@pytest.mark.parametrize("gone", [
    ("bot_metrics",), ("messages",), ("conversations",), ("girls_profiles",), ("bots",),
    ("conversations", "messages"), TABLES], ids=" ".join)
def test_ensure_leaves_brings_back_what_was_dropped(
        conn: psycopg.Connection, gone: tuple[str, ...]):
    remainder, = conn.execute(
        "select r from generate_series(0, 9) as r"
        " where satisfies_hash_partition('core.bots'::regclass, 10, r, 7::bigint)").fetchone()
    conn.execute("select core.ensure_leaves(7)")
    for table in gone:
        conn.execute(f"drop table core_partitions.{table}_p{remainder} cascade")
    assert failed_checks(conn)
    made, again = (conn.execute("select core.ensure_leaves(7)").fetchone()[0] for _ in "ab")
    assert (made, again) == (len(gone), 0)
    assert not failed_checks(conn)


def test_two_sessions_may_bring_the_same_leaves_back(database: Database):
    ensure = "select sum(core.ensure_leaves(bot)) from generate_series(1, 100) as bot"
    with database.connect() as first, database.connect() as second:
        first.execute("drop table core_partitions.bot_metrics_p0, core_partitions.bot_metrics_p1")
        first.execute("begin")
        assert first.execute(ensure).fetchone() == (2,)
        with meanwhile(second, ensure) as other:
            first.execute("commit")
            assert other.result().fetchone() == (0,)
    assert not failed_checks(database)


# Months ------------------------------------------------------------------------

YEAR = [f"2024-{month:02}" for month in range(1, 13)]


def ensure(conn: psycopg.Connection, at: str, table: str = "core.events") -> str:
    return conn.execute("select core.ensure_partition(%s, %s::text::timestamptz)::text",
                        [table, at]).fetchone()[0]


def months(conn: psycopg.Connection, table: str = "core.events") -> dict[str, str]:
    """The partitions of a table: name and bound, in UTC."""
    conn.execute("set timezone = 'UTC'; set datestyle = 'ISO'")
    return dict(conn.execute("select leaf::text, bound from core.leaves(%s)", [table]).fetchall())


def whole_months(*names: str) -> dict[str, str]:
    """What months() returns when core.events has just these months (YYYY-MM)."""
    def after(name: str) -> str:
        year, month = int(name[:4]), int(name[5:])
        return f"{year + month // 12}-{month % 12 + 1:02}"
    return {f"core_partitions.events_y{name[:4]}m{name[5:]}":
            f"FOR VALUES FROM ('{name}-01 00:00:00+00') TO ('{after(name)}-01 00:00:00+00')"
            for name in names}


@pytest.mark.parametrize("settings", [
    {"timezone": "UTC"}, {"timezone": "America/New_York"}, {"timezone": "Pacific/Auckland"},
    {"timezone": "Asia/Kolkata"}, {"timezone": "Asia/Kolkata", "datestyle": "SQL, DMY"},
    {"timezone": "Europe/Moscow", "datestyle": "German"},
    {"timezone": "America/St_Johns", "datestyle": "Postgres, MDY"}],
    ids=lambda settings: " ".join(settings.values()))
def test_a_month_is_a_month_of_utc_whatever_the_session_says(
        conn: psycopg.Connection, settings: dict[str, str]):
    conn.execute(EVENTS)
    for name, value in settings.items():
        conn.execute("select set_config(%s, %s, true)", [name, value])
    for month in YEAR:
        for at in ("01 00:00:00+00", "28 23:59:59.999999+00"):
            ensure(conn, f"{month}-{at}")
    conn.execute("insert into core.events (happened_at) select generate_series("
                 "timestamptz '2024-01-01 00:00+00', timestamptz '2024-12-31 23:59+00', '1 hour')")
    assert months(conn) == whole_months(*YEAR)


@pytest.mark.parametrize(("at", "month"), [
    ("2024-12-31 23:59:59.999999+00", "2024-12"), ("2025-01-01 00:00:00+00", "2025-01"),
    ("2025-01-01 05:00:00+14", "2024-12"), ("2024-12-31 19:00:00-05", "2025-01"),
    ("2024-02-29 12:00:00+00", "2024-02"), ("1970-01-01 00:00:00+00", "1970-01"),
    ("2099-12-31 12:00:00+00", "2099-12")])
def test_ensure_partition_finds_the_month_of_a_moment(
        conn: psycopg.Connection, at: str, month: str):
    conn.execute(EVENTS)
    leaf, again = ensure(conn, at), ensure(conn, at)
    conn.execute("insert into core.events (happened_at) values (%s)", [at])
    assert months(conn) == whole_months(month)
    assert [leaf] == [again] == list(whole_months(month))


def test_a_month_has_all_that_its_table_has(conn: psycopg.Connection):
    conn.execute(EVENTS)
    conn.execute("""
        alter table core.events alter note set default 'none', alter note set not null,
            add constraint events_note_ck check (note <> '');
        create index events_note_idx on core.events (note);
        create trigger touch before update on core.events for each row
            execute function core.touch_updated_at()""")
    leaf = ensure(conn, "2025-03-05")
    assert conn.execute("insert into core.events (happened_at) values ('2025-03-01 12:00+00'),"
                        " ('2025-03-31 12:00+00') returning event_id, note").fetchall() == [
                            (1, "none"), (2, "none")]  # identity, on 15 as on 18
    assert {name for name, in conn.execute("""
        select conname from pg_constraint
        where conrelid = %(leaf)s::regclass and contype in ('c', 'p')
        union all
        select i.inhparent::regclass::text
        from pg_index join pg_inherits as i on i.inhrelid = indexrelid
        where indrelid = %(leaf)s::regclass
        union all
        select tgname from pg_trigger where tgrelid = %(leaf)s::regclass""", {"leaf": leaf})} == {
            "events_note_ck", "events_y2025m03_pkey", "core.events_pk", "core.events_note_idx",
            "touch", "refuse_truncate", "refuse_leaf_write"}  # the last two by core.leaf_hook


def test_a_table_with_an_odd_name_gets_its_months(conn: psycopg.Connection):
    table, column = sql.Identifier("core", "Odd \"name'%s;ж"), sql.Identifier("когда \"at' %I")
    conn.execute(sql.SQL("create table {} ({} timestamptz) partition by range ({})").format(
        table, column, column))
    name = table.as_string(conn)
    for month in ("2025-01", "2025-02"):
        ensure(conn, f"{month}-15", name)
    conn.execute(sql.SQL("insert into {} values ('2025-02-10')").format(table))
    assert list(months(conn, name)) == [
        f"core_partitions.\"Odd \"\"name'%s;ж_y2025m0{month}\"" for month in (1, 2)]


def test_a_name_cut_to_63_bytes_never_stands_for_another_month(conn: psycopg.Connection):
    name = f"core.{'e' * 60}"
    conn.execute(EVENTS.replace("core.events ", f"{name} "))
    ensure(conn, "2025-01-05", name)
    with refused(conn, "42P07"):
        ensure(conn, "2025-02-05", name)


def test_a_detached_month_is_not_taken_for_a_partition(conn: psycopg.Connection):
    conn.execute(EVENTS)
    leaf = ensure(conn, "2025-01-05")
    conn.execute(f"alter table core.events detach partition {leaf}")
    with refused(conn, "42P07"):
        ensure(conn, "2025-01-05")


@pytest.mark.parametrize("whole_year", [False, True], ids=["month by month", "in one transaction"])
def test_eight_sessions_ask_for_twelve_months_while_others_write(
        database: Database, whole_year: bool):
    with database.connect() as conn:
        conn.execute(EVENTS)
        ensure(conn, "2023-12-05")
    shuffled = random.Random(8)  # noqa: S311

    def maker(order: list[str]) -> Callable:
        def make(conn: psycopg.Connection) -> None:
            conn.autocommit = not whole_year
            for month in order:
                ensure(conn, f"{month}-15")
                conn.execute("insert into core.events (happened_at) values (%s)", [f"{month}-15"])
        return make

    def writer(conn: psycopg.Connection) -> None:
        for _ in range(40):
            conn.execute("insert into core.events (happened_at) values ('2023-12-05')")
    at_once(database, [maker(shuffled.sample(YEAR, 12)) for _ in range(8)] + [writer] * 4)
    with database.connect() as conn:
        assert months(conn) == whole_months("2023-12", *YEAR)
        assert conn.execute("select count(*) from core.events").fetchone() == (8 * 12 + 4 * 40,)


# Beside the work of bots: (months to make, messages to commit).
PRESSURE = (400, 100_000) if os.environ.get("TORTURE") else (40, 5_000)


def test_months_are_made_while_bots_write_and_read_and_nobody_fails(database: Database, capsys):
    wanted, commits = PRESSURE
    bots = [make_bot(database)[1] for _ in range(8)]
    waits: list[float] = []  # seconds
    over = threading.Event()

    def write(bot: Database) -> int:
        with bot.connect() as conn:
            for number in range(commits // 8):
                conn.execute("select core.record_message(%s, 'in', 'hello')", [number % 20])
        return commits // 8

    def read(bot: Database) -> None:
        with bot.connect() as conn:
            today = conn.execute("select current_date::text").fetchone()[0]
            while not over.is_set():
                # by the server's clock: ten threads of a Python program wait for each other
                for table in ("core.conversations where chat_id = 7",
                              f"audit.security_audit_log where occurred_at >= '{today}' limit 1"):
                    waits.append(conn.execute(
                        "select extract(epoch from clock_timestamp() - statement_timestamp())"
                        f"::float8 from (select count(*) from (select from {table}) as t) as c"
                    ).fetchone()[0])
                time.sleep(0.005)

    with ThreadPoolExecutor(10) as pool, database.connect() as conn:
        before = len(months(conn, "audit.security_audit_log"))
        writers = [pool.submit(write, bot) for bot in bots]
        reader = pool.submit(read, bots[0])
        conn.execute("set timezone = 'UTC'")
        for number in range(wanted):  # from 2030 on: every one is missing
            conn.execute("select audit.ensure_month(timestamptz '2030-01-15' + %s * interval"
                         " '1 month')", [number])
            time.sleep(0.02)
        assert sum(writer.result() for writer in writers) == commits  # none raised: no deadlock
        over.set()
        reader.result()
        assert len(months(conn, "audit.security_audit_log")) == before + wanted
        assert conn.execute("select sum(message_count) from core.chats"
                            ).fetchone()[0] == commits
    with capsys.disabled():
        print(f"\n{wanted} months beside {commits:,} commits; of {len(waits):,} reads the longest "
              f"took {max(waits) * 1000:.0f} ms, one in a hundred more than "
              f"{statistics.quantiles(waits, n=100)[-1] * 1000:.1f}, the median "
              f"{statistics.median(waits) * 1000:.1f}")
