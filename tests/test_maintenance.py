"""What each maintenance task does, what maintain() makes of a failure, and that a new bot always
finds its partitions."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from conftest import Database
from core_rows import (
    MIGRATIONS,
    TABLES,
    add_bot,
    add_conversation,
    add_task,
    at_once,
    failed_checks,
    fill,
    meanwhile,
    migrator,
    record,
    refused,
)
from test_audit_seals import old_months, seal

from fleet.rollback import undo

pytest_plugins = "core_rows"

TASKS = {"months", "counts", "roll_up", "seal", "audit_retention", "statistics", "stale_locks",
         "quarantine", "resolved_rejects"}
LOG = "audit.security_audit_log"


def run(conn: psycopg.Connection, task: str) -> str:
    """Runs a task, which must succeed; returns what it did."""
    ok, result, duration = conn.execute("select * from performance.run_task(%s)", [task]).fetchone()
    assert ok and duration is not None, result
    return result


def due(conn: psycopg.Connection) -> list[str]:
    return [task for task, in conn.execute("select task from performance.due_tasks()")]


def states(conn: psycopg.Connection) -> dict[str, tuple]:
    """What the table of tasks says of each: started_at, succeeded_at, result, error."""
    return {task: tuple(row) for task, *row in conn.execute(
        "select task, started_at, succeeded_at, result, error from performance.task")}


def months(conn: psycopg.Connection) -> list[str]:
    return [leaf for leaf, in conn.execute(f"select leaf::text from core.leaves('{LOG}')")]


def messages(conn: psycopg.Connection) -> tuple:
    """Changes with any write to a message."""
    return conn.execute("select count(*), md5(string_agg(concat(tableoid, ctid, xmin, m), ' '"
                        " order by tableoid, ctid)) from core.messages as m").fetchone()


# Tasks -----------------------------------------------------------------------------


def test_months_makes_this_month_and_the_next_three(conn: psycopg.Connection):
    conn.execute("select performance.make_months()")
    before = months(conn)
    assert run(conn, "months") == "0 months made"
    for leaf in before[-2:]:
        conn.execute(f"drop table {leaf}")
    assert run(conn, "months") == "2 months made"
    assert months(conn) == before and len(before) >= 4
    assert conn.execute("select proconfig @> '{TimeZone=UTC}' or proconfig @> '{timezone=UTC}'"
                        " from pg_proc where oid = 'performance.make_months(integer)'::regprocedure"
                        ).fetchone() == (True,)


def test_roll_up_rolls_up(conn: psycopg.Connection):
    bot = add_bot(conn)
    record(conn, bot, 1, "2025-01-01")
    assert run(conn, "roll_up") == "1 days changed"
    assert conn.execute("select day::text, messages_in from core.bot_metrics").fetchall() == [
        ("2025-01-01", 1)]


def test_seal_seals_all_that_there_is(conn: psycopg.Connection):
    add_bot(conn)
    unsealed = "select audit.unsealed_since() is null"
    assert conn.execute(unsealed).fetchone() == (False,)
    assert run(conn, "seal").endswith(" entries sealed")
    conn.execute("select audit.seal()")
    assert run(conn, "seal") == "0 entries sealed"
    assert conn.execute("select * from audit.verify_seals()").fetchall() == []


def test_audit_retention_drops_the_months_that_are_over(conn: psycopg.Connection):
    old_months(conn, "450 days", "2020-01", "2020-02")
    add_bot(conn)
    seal(conn)
    before = months(conn)
    assert run(conn, "audit_retention") == "2 months of the audit log dropped"
    assert [leaf for leaf in before if leaf not in months(conn)] == [
        f"audit_partitions.security_audit_log_y2020m0{n}" for n in (1, 2)]
    assert run(conn, "audit_retention") == "0 months of the audit log dropped"
    assert conn.execute("select * from audit.verify_seals()").fetchall() == []


def test_statistics_are_made_of_the_partitioned_tables(conn: psycopg.Connection):
    fill(conn)
    known = ("select array_agg(distinct starelid::regclass::text order by starelid::regclass::text)"
             " from pg_statistic where starelid in (select core.hash_tables())")
    assert conn.execute(known).fetchone() == (None,)
    assert run(conn, "statistics") == "5 tables analyzed"
    assert set(conn.execute(known).fetchone()[0]) == {f"core.{table}" for table in TABLES}


def test_only_the_lock_rows_of_killed_runners_go(conn: psycopg.Connection):
    conn.execute("alter table public.yoyo_lock drop constraint yoyo_lock_pkey cascade")
    own = conn.info.backend_pid
    dead = 2 ** 30  # beyond any pid
    for pid in (-dead, -own, dead, own):
        conn.execute("insert into public.yoyo_lock (locked, ctime, pid) values (1, now(), %s)",
                     [pid])
    assert run(conn, "stale_locks") == "1 stale locks removed"
    assert {pid for pid, in conn.execute("select pid from public.yoyo_lock")} == {-own, dead, own}


def load(conn: psycopg.Connection, bot: int, path: str, text: str) -> None:
    """Imports one conversation as the runner does."""
    conn.execute("select json_import.load(json_import.start_run('folder'), %s, 'conversation',"
                 " array[%s], array[1]::bigint[], array[convert_to(%s, 'UTF8')])",
                 [bot, path, text])


BROKEN, SOUND = '[{"broken', '[{"text": "a", "direction": "in", "ts": 1}]'
FILE = """select status, must_reread, exists (select from json_import.kept_bytes as k
    where k.bot_id = f.bot_id and k.file_id = f.file_id), (select count(*)
    from json_import.reject as r where r.bot_id = f.bot_id and r.file_id = f.file_id)
    from json_import.file as f where path = %s"""


def test_quarantine_drops_old_bytes_and_an_import_keeps_them_again(conn: psycopg.Connection):
    bot = add_bot(conn)
    for path in ("old.json", "new.json"):
        load(conn, bot, path, BROKEN)
    conn.execute("update json_import.file set imported_at = now() - interval '91 days'"
                 " where path = 'old.json'")
    assert run(conn, "quarantine") == "bytes of 1 files dropped"
    assert conn.execute(FILE, ["old.json"]).fetchone() == ("quarantined", True, False, 1)
    assert conn.execute(FILE, ["new.json"]).fetchone() == ("quarantined", False, True, 1)
    assert conn.execute("select bot_id, new_values ->> 'files' from audit.events"
                        " where kind = 'quarantine_ended'").fetchall() == [(bot, "1")]
    assert run(conn, "quarantine") == "bytes of 0 files dropped"
    assert conn.execute("select count(*) from audit.events where kind = 'quarantine_ended'"
                        ).fetchone() == (1,)
    load(conn, bot, "old.json", BROKEN)
    assert conn.execute(FILE, ["old.json"]).fetchone() == ("quarantined", False, True, 1)


def test_how_long_bytes_are_kept_is_the_owners_to_say(conn: psycopg.Connection):
    load(conn, add_bot(conn), "a.json", BROKEN)
    conn.execute("update json_import.file set imported_at = now() - interval '3 days'")
    assert run(conn, "quarantine") == "bytes of 0 files dropped"
    conn.execute("update performance.task set keep = '2 days' where task = 'quarantine'")
    assert run(conn, "quarantine") == "bytes of 1 files dropped"


def test_resolved_rejects_go_and_open_ones_stay(conn: psycopg.Connection):
    bot = add_bot(conn)
    for path in ("mended.json", "broken.json"):
        load(conn, bot, path, BROKEN)
    load(conn, bot, "mended.json", SOUND)
    assert conn.execute(FILE, ["mended.json"]).fetchone()[0] == "loaded"
    before = conn.execute(FILE, ["mended.json"]).fetchone()[3]
    assert run(conn, "resolved_rejects") == f"{before} resolved rejects dropped"
    assert conn.execute(FILE, ["mended.json"]).fetchone() == ("loaded", False, False, 0)
    assert conn.execute(FILE, ["broken.json"]).fetchone() == ("quarantined", False, True, 1)


# What is due -----------------------------------------------------------------------


def test_a_task_is_due_when_it_never_ran_or_failed_or_its_time_has_come(conn: psycopg.Connection):
    assert set(due(conn)) == TASKS
    conn.execute("update performance.task set started_at = now() - 0.89 * every")
    assert due(conn) == []
    conn.execute("update performance.task set error = 'x' where task = 'seal'")
    assert due(conn) == ["seal"]
    conn.execute("update performance.task set error = null, started_at = case task when 'months'"
                 " then now() - interval '3 days' when 'seal' then now() - 0.9 * every"
                 " when 'roll_up' then null else started_at end")
    assert due(conn) == ["roll_up", "months", "seal"]  # the longest overdue first
    conn.execute("update performance.task set every = null where task = 'months'")
    assert due(conn) == ["roll_up", "seal"]


@pytest.mark.parametrize("name", ["nothing", "", None, "months; drop table core.bots"])
def test_there_is_no_other_task(conn: psycopg.Connection, name: str | None):
    with refused(conn, "MB301") as caught:
        conn.execute("select * from performance.run_task(%s)", [name])
    assert caught.value.diag.message_hint


@pytest.mark.parametrize(("column", "value", "constraint"), [
    ("every", "59 seconds", "task_every_ck"), ("every", "-1 hour", "task_every_ck"),
    ("keep", "23 hours", "task_keep_ck"), ("keep", "0", "task_keep_ck")])
def test_times_of_tasks_have_a_floor(
        conn: psycopg.Connection, column: str, value: str, constraint: str):
    only = " where keep is not null" if column == "keep" else ""
    with refused(conn, "23514", constraint):
        conn.execute(f"update performance.task set {column} = %s{only}", [value])
    conn.execute("update performance.task set every = '1 minute'")
    conn.execute("update performance.task set keep = '1 day' where keep is not null")


@pytest.mark.parametrize("fault", ["keep = null where keep is not null",
                                   "keep = '1 day' where keep is null"])
def test_a_task_keeps_something_if_its_function_is_told_for_how_long(
        conn: psycopg.Connection, fault: str):
    with refused(conn, "23514", "task_keep_ck"):
        conn.execute(f"update performance.task set {fault}")


def test_each_task_has_one_row_says_what_it_does_and_is_in_this_file(conn: psycopg.Connection):
    rows = conn.execute("select task, description, routine from performance.task").fetchall()
    assert {task for task, *_ in rows} == TASKS
    assert all(description.endswith(".") for _, description, _ in rows)


# maintain() ------------------------------------------------------------------------


def test_maintain_runs_what_is_due_once_and_leaves_messages_alone(database: Database):
    with database.connect() as conn:
        for _ in range(3):
            fill(conn)
        before = messages(conn)
        conn.execute("call performance.maintain()")
        first = states(conn)
        assert {task for task, (started, succeeded, result, error) in first.items()
                if started and succeeded >= started and result and error is None} == TASKS
        assert due(conn) == []
        conn.execute("call performance.maintain()")
        assert states(conn) == first
        assert messages(conn) == before
        assert not failed_checks(conn)


@pytest.mark.parametrize("others", ["2019-01-01", "2021-01-01"], ids=["last", "first"])
def test_a_failing_task_is_undone_and_told_and_the_others_run(database: Database, others: str):
    with database.connect() as conn:
        add_task(conn, "boom", "delete from performance.last_roll_up;"
                               " raise exception 'so it failed' using errcode = 'MB999';")
        conn.execute("update performance.task set started_at = case task when 'boom'"
                     " then '2020-01-01' else %s::timestamptz end", [others])
        assert due(conn)[0 if others > "2020" else -1] == "boom"
        with pytest.raises(psycopg.Error) as caught:
            conn.execute("call performance.maintain()")
        assert caught.value.sqlstate == "MB302" and "boom" in caught.value.diag.message_primary
        found = states(conn)
        assert found["boom"][1:] == (None, None, "so it failed (SQLSTATE MB999)")
        assert {task for task, row in found.items() if row[3] is None and row[1]} == TASKS
        assert conn.execute("select count(*) from performance.last_roll_up").fetchone() == (1,)
        assert due(conn) == ["boom"]
        conn.execute("create or replace function performance.boom() returns text"
                     " language sql set search_path = pg_catalog, pg_temp as $$select 'mended'$$")
        conn.execute("call performance.maintain()")
        assert states(conn)["boom"][2:] == ("mended", None) and due(conn) == []


def test_a_task_whose_function_is_gone_fails_by_itself(conn: psycopg.Connection):
    conn.execute("update performance.task set routine = 'performance.gone()'"
                 " where task = 'seal'")
    ok, error, _ = conn.execute("select * from performance.run_task('seal')").fetchone()
    assert not ok and "performance.gone" in error and "SQLSTATE 42883" in error
    run(conn, "months")


def test_maintenance_waits_two_seconds_for_a_lock_and_no_longer(database: Database):
    with database.connect() as conn, database.connect() as holder:
        holder.execute("begin; lock table core.bot_metrics in access exclusive mode")
        with pytest.raises(psycopg.Error) as caught:
            conn.execute("call performance.maintain()")
        assert caught.value.sqlstate == "MB302"
        failed = {task: row[3] for task, row in states(conn).items() if row[3]}
        assert "SQLSTATE 55P03" in failed.pop("roll_up")
        assert set(failed) <= {"statistics"}
        holder.execute("commit")
        conn.execute("call performance.maintain()")
        assert not any(row[3] for row in states(conn).values())


def test_folding_costs_in_step_with_the_notes_of_one_bot(database: Database):
    read = []
    with database.connect() as conn:
        bot = add_bot(conn)
        chats = [add_conversation(conn, bot, chat) for chat in range(50)]
        conn.execute("select performance.task_counts()")  # what is read once
        for number in (20_000, 80_000):
            conn.execute("insert into core.uncounted (bot_id, conversation_id, change)"
                         " select %s, (%s::bigint[])[1 + n %% 50], 0"
                         " from generate_series(1, %s) as n", [bot, chats, number])
            conn.execute("vacuum analyze core.uncounted")
            plan = conn.execute("explain (analyze, buffers, format json)"
                                " select performance.task_counts()").fetchone()[0][0]["Plan"]
            read.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
            assert conn.execute("select count(*) from core.uncounted").fetchone() == (0,)
            conn.execute("vacuum core.uncounted")
        assert read[1] < 5 * read[0], read


def test_two_sessions_share_the_work_and_do_nothing_twice(database: Database):
    with database.connect() as conn:
        conn.execute("create table public.ran (task text);"
                     " grant insert on public.ran to app_maintainer;"
                     " grant usage on schema public to app_maintainer")
        for name in ("one", "two", "three"):
            add_task(conn, name,
                     f"perform pg_sleep(0.2); insert into public.ran values ('{name}');")
    at_once(database, [lambda conn: conn.execute("call performance.maintain()")] * 3)
    with database.connect() as conn:
        assert sorted(conn.execute("select task from public.ran").fetchall()) == [
            ("one",), ("three",), ("two",)]
        assert all(row[1] and not row[3] for row in states(conn).values())


def test_whoever_finds_a_task_running_returns_at_once(database: Database):
    with database.connect() as conn, database.connect() as other:
        conn.execute("begin")
        run(conn, "months")
        assert other.execute("select * from performance.run_task('months')").fetchone() == (
            True, "another session is running it", None)
        conn.execute("commit")
        assert other.execute("select * from performance.run_task('months', true)").fetchone() == (
            True, "another session has just run it", None)


def test_a_killed_maintenance_leaves_what_was_done_and_is_due_again(database: Database):
    with database.connect() as conn, database.connect() as holder:
        conn.execute("update performance.task set started_at = '2020-01-01'"
                     " where task <> 'roll_up'")
        bot = add_bot(conn)
        record(conn, bot, 1, "2025-01-01")
        holder.execute("begin; select from performance.last_roll_up for update")
        victim = database.connect()
        with meanwhile(victim, "call performance.maintain()") as killed:
            conn.execute("select pg_terminate_backend(%s)", [victim.info.backend_pid])
            assert isinstance(killed.exception(30), psycopg.OperationalError)
        holder.execute("rollback")
        assert "roll_up" in due(conn) and states(conn)["roll_up"][0] is None
        conn.execute("call performance.maintain()")
        assert due(conn) == [] and not failed_checks(conn)


# Who, and where --------------------------------------------------------------------


@contextmanager
def becoming(conn: psycopg.Connection, role: str) -> Iterator[None]:
    conn.execute(f"set session authorization {role}")
    try:
        yield
    finally:
        conn.execute("reset session authorization")


def test_a_super_admin_maintains_and_nobody_below(database: Database):
    with database.connect() as conn:
        bot = conn.execute("select security.create_bot('x')").fetchone()[0]
        chief, admin = f"chief_{bot}_of_maintenance", f"admin_{bot}_of_maintenance"
        conn.execute("select security.create_admin(%s, p_is_super => true),"
                     " security.create_admin(%s)", [chief, admin])
        for role in (f"bot_{bot}", admin):
            with becoming(conn, role):
                for statement in ("call performance.maintain()",
                                  "select performance.run_task('months')",
                                  "select performance.due_tasks()",
                                  "select performance.task_roll_up()",
                                  "select performance.roll_up_metrics()"):
                    with refused(conn, "42501"):
                        conn.execute(statement)
        with becoming(conn, chief):
            conn.execute("call performance.maintain()")
            assert due(conn) == []
            run(conn, "months")
        assert all(row[1] for row in states(conn).values())


# A schema before pg_catalog, with all that maintain() might mistake for its own.
HOSTILE = """
    create schema evil;
    create table evil.hit (what pg_catalog.text);
    grant usage on schema evil to public;
    grant insert on evil.hit to public;
    create function evil.note(what pg_catalog.text) returns pg_catalog.bool language plpgsql as
        $$begin insert into evil.hit values (what); return true; end$$;
    create domain evil.text as pg_catalog.text check (evil.note('type text'));
    create domain evil.bool as pg_catalog.bool check (evil.note('type bool'));
    create domain evil.interval as pg_catalog.interval check (evil.note('type interval'));
    create domain evil.regprocedure as pg_catalog.text check (evil.note('type regprocedure'));
    create function evil.array_append(a anycompatiblearray, b anycompatible)
        returns anycompatiblearray language plpgsql as
        $$begin perform evil.note('array_append'); return null; end$$;
    create function evil.now() returns timestamptz language plpgsql as
        $$begin perform evil.note('now'); return '2000-01-01'; end$$;
    create function evil.format(a pg_catalog.text, variadic b "any") returns pg_catalog.text
        language internal as 'text_format';
    create function evil.never(a pg_catalog.text, b pg_catalog.text) returns pg_catalog.bool
        language plpgsql as $$begin perform evil.note('operator'); return false; end$$;
    create operator evil.= (function = evil.never, leftarg = pg_catalog.text,
                            rightarg = pg_catalog.text);
    create table evil.task (task pg_catalog.text); create table evil.pg_class (oid oid);
    create table evil.bots (bot_id bigint); create view evil.pg_stat_activity as select 1 as pid;
"""


def test_a_hostile_search_path_changes_nothing(database: Database):
    with database.connect() as conn:
        fill(conn)
        add_task(conn, "a_boom", "raise exception 'boom';")
        conn.execute(HOSTILE)
        chief = "chief_of_hostile_path"
        conn.execute("select security.create_admin(%s, p_is_super => true)", [chief])
        for role in (None, chief):
            conn.execute("update performance.task set started_at = case task when 'a_boom'"
                         " then null else '2020-01-01'::timestamptz end")
            if role:
                conn.execute(f"set session authorization {role}")
            conn.execute("set search_path = evil, pg_catalog, core, audit, performance")
            with pytest.raises(psycopg.Error) as caught:
                conn.execute("call performance.maintain()")
            conn.execute("select 1 from performance.health_check()")
            conn.execute("set search_path = pg_catalog")
            conn.execute("reset session authorization")
            assert caught.value.sqlstate == "MB302", caught.value
            assert conn.execute("select distinct what from evil.hit").fetchall() == []
            found = states(conn)
            assert {task for task, row in found.items() if row[3]} == {"a_boom"}
            assert conn.execute("select count(*) from core.bot_metrics").fetchone() == (1,)


def test_the_tasks_of_the_import_go_with_it(database: Database):
    tasks = "select array_agg(task order by task) from performance.task"
    probes = "select count(*) from performance.probe where probe like 'quarantine%%'"
    with database.connect() as conn:
        before = conn.execute(tasks).fetchone()
        undo(migrator(conn), MIGRATIONS[-1:], discard_data=False)
        assert set(conn.execute(tasks).fetchone()[0]) == TASKS - {"quarantine", "resolved_rejects"}
        assert conn.execute(probes).fetchone() == (0,)
        conn.execute("call performance.maintain()")
        migrator(conn).migrate()
        assert conn.execute(tasks).fetchone() == before


# A new bot -------------------------------------------------------------------------


def next_bot(conn: psycopg.Connection, remainder: int) -> None:
    """The next bot's id belongs in the leaves of this remainder."""
    conn.execute("""
        select setval('core.bots_bot_id_seq', min(n) - 1)
        from core.bots_bot_id_seq as s, generate_series(s.last_value + 2, s.last_value + 900) as n
        where satisfies_hash_partition('core.bots'::regclass, 10, %s, n::bigint)
          and to_regrole('bot_' || n) is null""", [remainder])


@pytest.mark.parametrize("gone", [TABLES, *((table,) for table in TABLES),
                                  ("conversations", "messages")], ids=" ".join)
def test_a_new_bot_finds_its_leaves_whatever_is_missing(
        conn: psycopg.Connection, gone: tuple[str, ...]):
    for table in gone:
        conn.execute(f"drop table core_partitions.{table}_p4 cascade")
    assert failed_checks(conn)
    next_bot(conn, 4)
    bot = conn.execute("select security.create_bot('x')").fetchone()[0]
    assert failed_checks(conn) == {}
    conn.execute(f"set local role bot_{bot}")
    conn.execute("select core.record_message(1, 'in', 'x')")
    conn.execute("reset role")


@pytest.mark.parametrize("gone", [TABLES[1:], *((table,) for table in TABLES[1:])], ids=" ".join)
def test_a_bot_inserted_by_hand_finds_its_leaves_too(
        conn: psycopg.Connection, gone: tuple[str, ...]):
    for table in gone:
        conn.execute(f"drop table core_partitions.{table}_p4 cascade")
    next_bot(conn, 4)
    bot = add_bot(conn)
    record(conn, bot, 1, "now")
    # the login that security.create_bot would have made is missing, and that is all
    assert set(failed_checks(conn)) <= {"every bot has a login"}


def test_a_new_bot_finds_this_month_and_the_next(conn: psycopg.Connection):
    conn.execute("select performance.make_months(1)")
    before = months(conn)
    for leaf in before:
        conn.execute(f"drop table {leaf}")
    add_bot(conn)
    assert months(conn) == before[:2]


def test_a_bot_that_goes_takes_its_total_along(conn: psycopg.Connection):
    bot = conn.execute("select security.create_bot('x')").fetchone()[0]
    conn.execute("select performance.roll_up_metrics()")
    totals = "select count(*) from performance.bot_total where bot_id = %s"
    assert conn.execute(totals, [bot]).fetchone() == (1,)
    conn.execute("select security.drop_bot(%s)", [bot])
    assert conn.execute(totals, [bot]).fetchone() == (0,)
