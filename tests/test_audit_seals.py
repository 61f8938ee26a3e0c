"""The seals of the audit log: nothing is missed, nothing is named that is right, what ends ends.

SEED= repeats a run; TORTURE=1 makes it ten times as long, and more.
"""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from conftest import PROJECT, Database
from core_rows import (
    add_bot,
    add_conversation,
    at_once,
    failed_checks,
    make_bot,
    migrator,
    program,
    record,
)
from project import answers, ended, until

from fleet import files, server
from fleet.rollback import undo

pytest_plugins = ("core_rows", "project")
SEED = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
TIMES = 10 if os.environ.get("TORTURE") else 1
INSERT = """insert into core.messages (bot_id, conversation_id, direction, body)
    select %s, %s, 'in', 'message ' || n from generate_series(1, %s) as n"""


def seal(conn: psycopg.Connection, limit: int = 50000) -> list[tuple]:
    """Seals until nothing is left; returns what each call said."""
    said = []
    while not said or said[-1][1]:
        said.append(conn.execute("select * from audit.seal(%s)", [limit]).fetchone())
    return said


def problems(conn: psycopg.Connection) -> list[tuple]:
    return conn.execute("select * from audit.verify_seals()").fetchall()


def logged(conn: psycopg.Connection) -> int:
    return conn.execute("select coalesce(sum(row_count), 0)::bigint from audit.security_audit_log"
                        ).fetchone()[0]


def chat_of(conn: psycopg.Connection) -> tuple[int, int]:
    bot = add_bot(conn)
    return bot, add_conversation(conn, bot, 1)


# Nothing is missed ---------------------------------------------------------------


def test_a_seal_says_what_it_covers_and_the_server_log_has_its_root(database: Database):
    with database.connect() as conn:
        bot, chat = chat_of(conn)
        conn.execute(INSERT, [bot, chat, 20])
        logged_lines: list[tuple] = []
        conn.add_notice_handler(
            lambda line: logged_lines.append((line.severity, line.message_primary)))
        conn.execute("set client_min_messages = log")  # what goes to the server's log comes here
        (number, entries, rows, root), (again, none, _, same) = seal(conn)
        assert ("LOG", f"audit: seal 1 of database {database.name}, root {root}") in logged_lines
        assert (number, again, none) == (1, 1, 0) and same == root and len(root) == 64
        # four acceptances of migrations among them
        assert (entries, rows) == (8, 27) and logged(conn) == rows
        assert problems(conn) == []
        assert conn.execute("select * from audit.verify_seals(1, %s)", [root]).fetchall() == []
        for kept in ((1, "0" * 64), (2, root), (None, root), (1, None)):
            assert conn.execute("select problem from audit.verify_seals(%s, %s)", kept
                                ).fetchall() == [("the root kept elsewhere is not this one",)]


@pytest.mark.parametrize("limit", [7, 1000])
def test_a_limit_seals_piece_by_piece(database: Database, limit: int):
    with database.connect() as conn:
        bot = add_bot(conn)
        for number in range(50):
            record(conn, bot, number % 5 + 1, "2025-01-01")
        said = seal(conn, limit)
        assert sum(rows for _, _, rows, _ in said) == logged(conn)
        assert max(entries for _, entries, _, _ in said) <= limit
        assert problems(conn) == []


def test_who_commits_after_a_seal_is_in_the_next_and_who_rolls_back_in_none(database: Database):
    with database.connect() as conn, database.connect() as late, database.connect() as lost:
        bot, chat = chat_of(conn)
        for slow in (late, lost):
            slow.execute("begin")
            slow.execute("update core.bots set config = '{\"a\": 1}' where bot_id = %s"
                         if slow is late else
                         "insert into core.bot_metrics (bot_id, day) values (%s, '2025-01-01')",
                         [bot])
        conn.execute(INSERT, [bot, chat, 1])
        seal(conn)
        gaps = "select seal_id, gaps::text from audit.seal order by seal_id desc limit 1"
        assert conn.execute(gaps).fetchone()[1].count("[") == 1  # next to each other: one range
        late.execute("commit")
        lost.execute("rollback")
        second, *_ = seal(conn)
        assert second[1:3] == (1, 1) and problems(conn) == []
        conn.execute(INSERT, [bot, chat, 1])
        seal(conn)
        assert conn.execute(gaps).fetchone()[1] == "{}"
        assert problems(conn) == []


def test_the_log_of_100_000_rows_is_sealed_without_a_false_alarm(database: Database):
    with database.connect() as conn:
        bot, chat = chat_of(conn)
        conn.execute("set synchronous_commit = off")
        conn.execute(f"""do $many$
            begin
                for i in 1..{5_000 if TIMES == 1 else 200_000} loop
                    insert into core.bot_metrics (bot_id, day)
                    values ({bot}, date '2000-01-01' + i % 1000)
                    on conflict (bot_id, day) do update set messages_in = i;
                    if i % 100 = 0 then commit; end if;
                end loop;
            end $many$""")
        for _ in range(TIMES):
            conn.execute(INSERT, [bot, chat, 40_000])
            conn.execute("update core.messages set metadata = jsonb_build_object('n', message_id)"
                         " where bot_id = %s and message_id %% 2 = 0", [bot])
            conn.execute("delete from core.messages where bot_id = %s", [bot])
        said = seal(conn)
        assert sum(rows for *_, rows, _ in said) == logged(conn) >= 100_000 * TIMES
        assert problems(conn) == []


def test_16_writers_while_sealing_events_in_are_events_out(database: Database):
    print(f"SEED={SEED}")
    with database.connect() as conn:
        bots = [chat_of(conn) for _ in range(16)]
        seal(conn)
        before = logged(conn)
        done = threading.Event()

        def sealer() -> None:
            with database.connect() as own:
                while not done.is_set():
                    own.execute("select * from audit.seal(200)")

        def writer(number: int) -> int:
            chance, kept = random.Random(f"{SEED}-{number}"), 0  # noqa: S311
            bot, chat = bots[number]
            with database.connect() as own:
                for _ in range(25 * TIMES):
                    with own.transaction() as open_one:
                        rows = chance.choice((1, 1, 3, 30))
                        own.execute(INSERT, [bot, chat, rows])
                        time.sleep(chance.choice((0, 0, 0.01)))
                        if chance.random() < 0.3:
                            raise psycopg.Rollback(open_one)
                        kept += rows
            return kept

        with ThreadPoolExecutor(17) as pool:
            sealing = pool.submit(sealer)
            kept = sum(pool.map(writer, range(16)))
            done.set()
            sealing.result()
        seal(conn)
        assert logged(conn) - before == kept
        assert conn.execute("select sum(row_count)::bigint from audit.seal").fetchone() == (
            logged(conn),)
        assert problems(conn) == []


@pytest.mark.parametrize("number", range(3 if TIMES == 1 else 50))
def test_killed_in_mid_seal_the_next_seal_takes_all(
        own_server: server.Server, own_database: Database, number: int):
    chance = random.Random(f"{SEED}-{number}")  # noqa: S311
    print(f"SEED={SEED}, moment {number}")
    with own_database.connect() as conn:
        bot = add_bot(conn)
        for _ in range(2000):
            conn.execute("update core.bots set config = jsonb_build_object('n', random())"
                         " where bot_id = %s", [bot])
        before = conn.execute("select max(seal_id) from audit.seal").fetchone()[0]
    with own_database.connect() as victim:
        pid = victim.info.backend_pid
        thread = threading.Thread(target=_ignoring, args=(victim, "select * from audit.seal()"))
        thread.start()
        time.sleep(chance.uniform(0, 0.08))
        os.kill(pid, signal.SIGKILL)
        thread.join()
    until(lambda: ended(pid), "the postmaster knows")
    until(lambda: answers(own_database), "the server has recovered")
    with own_database.connect() as conn:
        assert conn.execute("select max(seal_id) from audit.seal").fetchone()[0] in (
            before, before + 1)
        seal(conn)
        assert conn.execute("select sum(row_count)::bigint from audit.seal").fetchone() == (
            logged(conn),)
        assert problems(conn) == []


def _ignoring(conn: psycopg.Connection, statement: str) -> None:
    """Runs a statement that may lose its server."""
    with suppress(psycopg.Error):
        conn.execute(statement)


# The month -----------------------------------------------------------------------


def test_a_month_that_nobody_made_is_made_once_by_16_writers(database: Database):
    with database.connect() as conn:
        bots = [chat_of(conn) for _ in range(16)]
        leaves = conn.execute("select leaf::text from core.leaves('audit.security_audit_log')")
        with conn.transaction():  # a superuser turns the calendar back
            conn.execute("alter event trigger record_schema_drop disable")
            for leaf, in leaves.fetchall():
                conn.execute(f"drop table {leaf}")
            conn.execute("alter event trigger record_schema_drop enable always")
        before = conn.execute("select deadlocks from pg_stat_database where datname ="
                              " current_database()").fetchone()[0]

    def write(own: psycopg.Connection, bot: int, chat: int) -> None:
        for rows in (1, 20, 1):
            own.execute(INSERT, [bot, chat, rows])

    at_once(database, [lambda own, b=bot, c=chat: write(own, b, c) for bot, chat in bots])
    with database.connect() as conn:
        assert logged(conn) == 16 * 22 + conn.execute(
            "select count(*) from audit.events where operation = 'EVENT'").fetchone()[0]
        assert conn.execute("select count(*) from core.leaves('audit.security_audit_log')"
                            ).fetchone() == (1,)
        assert conn.execute("select deadlocks from pg_stat_database where datname ="
                            " current_database()").fetchone()[0] == before
        core_checks = failed_checks(conn)
        assert set(core_checks) == {"this month and the next are there"}


# The end of an entry -------------------------------------------------------------


def old_months(conn: psycopg.Connection, age: str, *months: str) -> None:
    """Entries of months long ago, sealed `age` ago."""
    for month in months:
        conn.execute("select audit.ensure_month(%s)", [f"{month}-15"])
    for month in months:
        conn.execute("insert into audit.security_audit_log (bot_id, occurred_at, operation, kind,"
                     " severity) select 0, %s::timestamptz + n * interval '1 hour', 'EVENT', 'old',"
                     " 'info' from generate_series(1, 20) as n", [f"{month}-15"])
    conn.execute("insert into audit.seal select n.* from (select * from audit.seal order by seal_id"
                 " desc limit 1) as s cross join lateral audit.next_seal(s, 1000, now() - %s"
                 "::interval) as n", [age])


def test_only_whole_sealed_months_are_dropped_and_the_seals_stay_true(conn: psycopg.Connection):
    old_months(conn, "450 days", "2020-01", "2020-02")
    add_bot(conn)
    seal(conn)
    before = conn.execute("select count(*) from audit.seal").fetchone()[0]
    announced = conn.execute("select * from audit.preview_drop_expired()").fetchall()
    dropped = conn.execute("select * from audit.drop_expired()").fetchall()
    assert announced == dropped
    assert dropped == [(f"audit_partitions.security_audit_log_y2020m0{n}", 20) for n in (1, 2)]
    assert conn.execute("select * from audit.drop_expired()").fetchall() == []
    assert problems(conn) == []
    assert conn.execute("select count(*) from audit.events where kind = 'retention'"
                        ).fetchone() == (2,)
    seal(conn)
    assert problems(conn) == []
    assert conn.execute("select count(*) from audit.seal").fetchone()[0] == before + 1


@pytest.mark.parametrize(("month", "age", "why"), [
    ("2020-01", None, "not sealed"), ("2020-01", "10 days", "sealed lately"),
    ("recent", "500 days", "kept by the setting")])
def test_a_month_that_is_not_over_is_kept(
        conn: psycopg.Connection, month: str, age: str | None, why: str):
    if month == "recent":
        month = conn.execute("select to_char(now() - interval '100 days', 'YYYY-MM')"
                             ).fetchone()[0]
    old_months(conn, age or "500 days", month)
    if age is None:
        conn.execute("insert into audit.security_audit_log (bot_id, occurred_at, operation)"
                     " values (0, '2020-01-20', 'EVENT')")
    assert conn.execute("select * from audit.drop_expired()").fetchall() == [], why
    conn.execute("select audit.set_retention(30)")
    assert len(conn.execute("select * from audit.drop_expired()").fetchall()) == (
        why == "kept by the setting")


@pytest.mark.parametrize("days", [29, 0, -1, None, 36501])
def test_the_retention_has_a_floor(conn: psycopg.Connection, days: int | None):
    with pytest.raises(psycopg.Error) as caught:
        conn.execute("select audit.set_retention(%s)", [days])
    assert caught.value.sqlstate == "MB206" and caught.value.diag.message_hint


# Erasure -------------------------------------------------------------------------

PERSON = "Секрет"


def two_people(conn: psycopg.Connection) -> int:
    """A bot that talks with 1 and 2, in blocks that hold both, with changes and deletions."""
    bot = add_bot(conn)
    conn.execute("select audit.enable('core.messages', 'changed')")
    for chat, name in ((1, PERSON), (2, "Борис")):
        conn.execute("select core.record_message(%s, 'in', %s, p_name => %s, p_bot_id => %s)",
                     [chat, f"{name} пишет", name, bot])
    conn.execute("insert into core.messages (bot_id, conversation_id, direction, body, metadata)"
                 " select bot_id, conversation_id, 'out', name || ' ' || n, '{}'"
                 " from core.conversations join core.girls_profiles using (bot_id, profile_id),"
                 " generate_series(1, 15) as n where bot_id = %s order by n", [bot])
    conn.execute("update core.messages set body = body || '!' where bot_id = %s", [bot])
    conn.execute("update core.girls_profiles set summary = jsonb_build_object('20250101000000',"
                 " name) where bot_id = %s", [bot])
    conn.execute("update core.conversations set metadata = jsonb_build_object('n', chat_id)"
                 " where bot_id = %s", [bot])
    return bot


def text_of_log(conn: psycopg.Connection) -> str:
    return conn.execute("select string_agg(l::text, e'\\n') from audit.security_audit_log as l"
                        ).fetchone()[0]


@pytest.mark.parametrize("sealed", ["before", "never", "both"])
@pytest.mark.parametrize("gone", [False, True], ids=["contact there", "contact deleted"])
def test_erasing_a_person_leaves_nothing_of_them_and_all_of_others(
        conn: psycopg.Connection, sealed: str, gone: bool):
    bot = two_people(conn)
    if sealed != "never":
        seal(conn)
    if gone:
        for table in ("messages", "conversations", "girls_profiles"):
            conn.execute(f"delete from core.{table} where bot_id = %s", [bot])
        if sealed == "both":
            seal(conn)
    other = [row for row in conn.execute(
        "select to_jsonb(e) from audit.events as e where e::text like '%%Борис%%'"
        " order by entry_id, place").fetchall()]
    announced = dict(conn.execute("select * from audit.preview_erase(%s, 1)", [bot]).fetchall())
    rows = conn.execute("select audit.erase(%s, 1, 'asked for by mail')", [bot]).fetchone()[0]
    assert sum(announced.values()) == rows and announced["core.girls_profiles"] > 1
    left = text_of_log(conn)
    assert rows > 30 and PERSON not in left and "[erased]" in left
    assert '"chat_id": 1,' not in left and '"telegram_id" : 1,' not in left
    assert [row for row in conn.execute(
        "select to_jsonb(e) from audit.events as e where e::text like '%%Борис%%'"
        " order by entry_id, place").fetchall()] == other
    assert problems(conn) == []
    seal(conn)
    assert problems(conn) == []
    reason, count = conn.execute("select new_values ->> 'reason', (new_values ->> 'row_count')::int"
                                 " from audit.events where kind = 'erasure'").fetchone()
    assert (reason, count) == ("asked for by mail", rows)


@pytest.mark.parametrize("column", ["profile_id", "conversation_id"])
@pytest.mark.parametrize("gone", [False, True], ids=["table there", "table dropped"])
def test_erasing_follows_a_table_whose_key_names_nobody(
        conn: psycopg.Connection, column: str, gone: bool):
    bot = two_people(conn)
    conn.execute(f"create table core.notes (bot_id bigint, note_id bigint generated always as"
                 f" identity, {column} bigint, body text,"
                 f" constraint notes_pk primary key (bot_id, note_id));"
                 f" select security.protect('core.notes'); select audit.enable('core.notes')")
    for count in (1, 6):  # of each person, in an entry of its own and in a block
        conn.execute(f"insert into core.notes (bot_id, {column}, body)"
                     f" select bot_id, {column}, name || n from core.conversations"
                     f" join core.girls_profiles using (bot_id, profile_id),"
                     f" generate_series(1, %s) as n where bot_id = %s order by n", [count, bot])
    conn.execute("update core.notes set body = body || '!'")
    conn.execute("update core.notes set body = body || '?' where note_id in (1, 2)")
    seal(conn)
    if gone:
        conn.execute("delete from core.notes; select audit.disable('core.notes');"
                     " delete from core.bot_table where relation = 'core.notes'::regclass;"
                     " drop table core.notes")
    others = ("select to_jsonb(e) from audit.events as e where e::text like '%%Борис%%'"
              " order by entry_id, place")
    other = conn.execute(others).fetchall()
    assert any(row[0]["table_name"] == "core.notes" for row in other)
    conn.execute("select audit.erase(%s, 1, 'asked for by mail')", [bot])
    assert PERSON not in text_of_log(conn)
    assert conn.execute(others).fetchall() == other
    assert problems(conn) == []


def test_two_erasures_in_the_same_block_stay_provable(conn: psycopg.Connection):
    bot = two_people(conn)
    seal(conn)
    salts = conn.execute("select seal_id, salts, leaves, root from audit.seal").fetchall()
    for person in (1, 2):
        conn.execute("select audit.erase(%s, %s, 'law')", [bot, person])
        assert problems(conn) == []
    seal(conn)
    assert problems(conn) == [] and "Борис" not in text_of_log(conn)
    for (number, salt, *rest), (_, new, *same) in zip(salts, conn.execute(
            "select seal_id, salts, leaves, root from audit.seal order by seal_id limit 2"
            ).fetchall(), strict=True):
        assert rest == same and (number == 0 or new != salt)


@pytest.mark.parametrize(("person", "reason"), [(3, "law"), (1, ""), (1, "  "), (1, None),
                                                (None, "law")])
def test_nothing_is_erased_without_a_person_or_a_reason(
        conn: psycopg.Connection, person: int | None, reason: str | None):
    bot = two_people(conn)
    before = text_of_log(conn)
    with pytest.raises(psycopg.Error) as caught, conn.transaction():
        conn.execute("select audit.erase(%s, %s, %s)", [bot, person, reason])
    assert caught.value.sqlstate == ("MB207" if reason == "law" else "MB116")
    assert caught.value.diag.message_hint
    assert reason != "law" or conn.execute("select * from audit.preview_erase(%s, %s)",
                                           [bot, person]).fetchall() == []
    assert text_of_log(conn) == before


# Down, out and elsewhere -----------------------------------------------------------


def test_a_rollback_refuses_to_lose_the_log_and_keeps_it_when_told_to(database: Database):
    audit, = (m for m in files.read(PROJECT / "sql") if m.id == "003_audit")
    with database.connect() as conn:
        bot, _ = chat_of(conn)
        events = "select operation, table_name, row_key, new_values from {} order by entry_id"
        later = [m for m in files.dependants(files.read(PROJECT / "sql"), audit.id)
                 if m != audit]
        undo(migrator(conn), later, discard_data=False)  # which is on record itself
        before = conn.execute(events.format("audit.events")).fetchall()
        with pytest.raises(Exception) as caught:
            undo(migrator(conn), [audit], discard_data=False)
        assert caught.value.code == "MB001" and "security_audit_log" in caught.value.message
        assert conn.execute(events.format("audit.events")).fetchall() == before
        undo(migrator(conn), [audit], discard_data=True)
        kept, = conn.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace"
            " and relname ~ '^security_audit_log_[0-9]{14}$'").fetchone()
        assert conn.execute(events.format(f"public.{kept}")).fetchall() == before
        assert conn.execute("select count(*) from core.bots").fetchone() == (1,)
        migrator(conn).migrate()
        conn.execute("update core.bots set name = 'x' where bot_id = %s", [bot])
        assert conn.execute("select count(*) from audit.security_audit_log"
                            " where kind is null").fetchone() == (1,)
        assert not failed_checks(conn)


def test_a_restored_dump_holds_the_log_once_and_its_seals_hold(
        database: Database, empty: Database, tmp_path: Path):
    file = tmp_path / "dump"
    bot, login = make_bot(database)
    with database.connect() as conn:
        with login.connect() as own:
            record(own, bot, 1, "2025-01-01")
        chat = conn.execute("select conversation_id from core.conversations").fetchone()[0]
        conn.execute(INSERT, [bot, chat, 30])
        seal(conn)
        conn.execute("update core.messages set body = 'unsealed' where bot_id = %s", [bot])
        before = logged(conn)
    done = program(database, "pg_dump", "-Fc", "-f", str(file))
    assert done.returncode == 0, done.stderr
    done = program(empty, "pg_restore", "-j", "2", "-d", empty.name, str(file))
    assert done.returncode == 0, done.stderr
    with empty.connect() as conn:
        assert logged(conn) == before and problems(conn) == []
        conn.execute("update core.messages set body = 'x' where bot_id = %s", [bot])
        seal(conn)
        assert problems(conn) == [] and logged(conn) > before
        assert conn.execute("select sum(row_count)::bigint from audit.seal").fetchone() == (
            logged(conn),)
        assert not any("audit" in name or "record" in name for name in failed_checks(conn))
