"""Every probe is seen well and seen worse; what fails hides nothing; what monitoring reads is of
one form, and says no bot's name."""

import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from conftest import Database, roomy_folder
from core_rows import add_bot, add_conversation, fill, meanwhile, migrator, record
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fleet import server

pytest_plugins = "core_rows"
OK, WARNING, CRITICAL = "ok", "warning", "critical"
INDEX = "core.conversation_totals_last_idx"

Check = tuple[str, str, str, str, str | None]


def health(conn: psycopg.Connection) -> list[Check]:
    return conn.execute("select * from performance.health_check()").fetchall()


def check(conn: psycopg.Connection, probe: str) -> list[Check]:
    """The rows of one check."""
    return [row for row in health(conn) if re.fullmatch(rf"{probe}( \(.*\))?", row[0])]


def reading(conn: psycopg.Connection, probe: str) -> list[tuple]:
    """What one probe measures: labels, value, note."""
    return conn.execute("select labels, value, note from performance.readings() where probe = %s",
                        [probe]).fetchall()


def limits(conn: psycopg.Connection, probe: str, warning: float, critical: float | None = None
           ) -> None:
    conn.execute("update performance.probe set warning = %s, critical = %s where probe = %s",
                 [warning, critical, probe])


@pytest.fixture
def well(conn: psycopg.Connection) -> psycopg.Connection:
    """A database in which nothing is worse: maintained, its tasks just done."""
    for task in ("months", "roll_up", "seal"):
        conn.execute("select performance.run_task(%s)", [task])
    conn.execute("update performance.task set started_at = now(), succeeded_at = now()")
    return conn


# Severity --------------------------------------------------------------------------

numbers = st.none() | st.sampled_from([0.0, 1.0, -1.0, math.inf, -math.inf]) | st.floats(-5, 5)


def judged(value: float, warning: float | None, critical: float | None) -> str:
    """The rule of the table of probes, in Python."""
    if math.isnan(value):
        return CRITICAL
    less_is_worse = None not in (warning, critical) and critical < warning
    for limit, severity in ((critical, CRITICAL), (warning, WARNING)):
        if limit is not None and (value <= limit if less_is_worse else value >= limit):
            return severity
    return OK


@settings(max_examples=400, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.just(math.nan) | numbers.filter(lambda n: n is not None), numbers, numbers)
@example(1, 1, None)
@example(1, 0, 1)
@example(0, 1, 0)
@example(1, 1, 0)
@example(1.0000001, 1, 0)
@example(1, None, None)
@example(math.inf, 1.001, math.inf)
def test_a_value_is_as_bad_as_the_thresholds_say(
        conn: psycopg.Connection, value: float, warning: float | None, critical: float | None):
    found = conn.execute("select performance.severity(%s::float8, %s::float8, %s::float8)",
                         [value, warning, critical]).fetchone()
    assert found == (judged(value, warning, critical),)


@pytest.mark.parametrize(("value", "unit", "words"), [
    (0, "", "0"), (1234.5678, "", "1234.568"), (1, "ratio", "1.000"), (0.12345, "ratio", "0.123"),
    (90061, "seconds", "1 day 01:01:01"), (2 ** 20, "bytes", "1024 kB"),
    (math.nan, "bytes", "nan"), (math.inf, "seconds", "infinity"), (-math.inf, "", "-infinity")])
def test_a_value_is_said_with_its_unit(
        conn: psycopg.Connection, value: float, unit: str, words: str):
    assert conn.execute("select performance.in_words(%s::float8, %s)", [value, unit]
                        ).fetchone() == (words,)


# Each probe, well and worse ----------------------------------------------------------

Damage = Callable[[psycopg.Connection], None]


def run(statement: str) -> Damage:
    return lambda conn: conn.execute(statement)


def invalid(index: str) -> Damage:
    """As a build that failed leaves an index."""
    return run(f"update pg_index set indisvalid = false where indexrelid = '{index}'::regclass")


def lose_months(conn: psycopg.Connection, keep: int) -> None:
    """Drops the months of the log after the first `keep`."""
    for leaf, in conn.execute("select leaf::text from core.leaves('audit.security_audit_log')"
                              ).fetchall()[keep:]:
        conn.execute(f"drop table {leaf}")


def quarantine(conn: psycopg.Connection) -> None:
    conn.execute("select json_import.load(json_import.start_run('folder'), %s, 'conversation',"
                 " array['a.json'], array[1]::bigint[], array['[{'::bytea])", [add_bot(conn)])


def late(factor: float) -> Damage:
    return run("update performance.task set succeeded_at = now() - every * "
               f"{factor}::float8 where task = 'seal'")


FAILED = "update performance.task set error = 'so it failed' where task = 'months'"

# probe, what is done, severity, what the row names
WORSE: list[tuple[str, Damage, str, str]] = [
    ("unseen_sessions", run("revoke pg_read_all_stats from app_maintainer"), WARNING,
     "grant pg_read_all_stats"),
    ("invalid_indexes", invalid(INDEX), WARNING, INDEX),
    ("invalid_indexes", invalid("core_partitions.messages_p3_bot_id_sent_at_idx"), WARNING,
     "core.messages_sent_at_idx"),
    ("invalid_indexes", invalid("performance.bot_total_pk"), WARNING, "performance.bot_total_pk"),
    ("unused_indexes", lambda conn: limits(conn, "unused_indexes", 1), WARNING, INDEX),
    ("months_ahead", lambda conn: lose_months(conn, 2), WARNING, "audit.security_audit_log"),
    ("months_ahead", lambda conn: lose_months(conn, 1), CRITICAL, "run_task('months')"),
    ("months_ahead", lambda conn: lose_months(conn, 0), CRITICAL, "audit.security_audit_log"),
    ("setting_shortfall", run("set local track_counts = off"), CRITICAL, "track_counts"),
    ("setting_shortfall", lambda conn: limits(conn, "setting_shortfall", 1e-9), WARNING,
     "shared_buffers"),
    ("task_failed", run(FAILED), WARNING, "so it failed"),
    ("task_delay", late(1.99), OK, ""), ("task_delay", late(2.01), WARNING, "seal"),
    ("task_delay", late(5.01), CRITICAL, "last done"),
    ("task_delay", run("update performance.task set succeeded_at = null,"
                       " created_at = now() - interval '30 days'"), CRITICAL, "last done never"),
    ("quarantined_files", quarantine, WARNING, "rejects"),
    ("bot_faults", run("insert into performance.bot_fault (bot_id, kind, fault, what_to_do)"
                       " values (7, 'roll_up', 'row 5 is wrong', 'Mend row 5')"), WARNING,
     "row 5 is wrong. Mend row 5"),
    ("uncounted", lambda conn: conn.execute(
        "insert into core.uncounted (bot_id, conversation_id, change)"
        " select 7, 1, 0 from generate_series(1, 100000)"), WARNING, "turn"),
    ("quarantine_size", lambda conn: limits(conn, "quarantine_size", 1), WARNING, "export-rejects"),
    ("connections", lambda conn: limits(conn, "connections", 1e-9, 1), WARNING, " of "),
    ("connections", lambda conn: limits(conn, "connections", 1e-9, 1e-9), CRITICAL, " of "),
    ("wraparound", lambda conn: limits(conn, "wraparound", 1e-12, 1), WARNING, "database"),
]


@pytest.mark.parametrize(("probe", "damage", "severity", "named"), WORSE)
def test_a_probe_sees_what_is_worse(
        well: psycopg.Connection, probe: str, damage: Damage, severity: str, named: str):
    assert [row[1] for row in check(well, probe)] == [OK]
    damage(well)
    found = check(well, probe)
    assert found[0][1] == severity, found
    assert any(named in " ".join(filter(None, row)) for row in found), found
    assert all(row[4] for row in found if row[1] != OK)


def test_an_unsealed_entry_is_seen_when_it_is_old(well: psycopg.Connection):
    well.execute("update performance.probe set warning = 0.000001, critical = 1000"
                 " where probe = 'unsealed'")
    while well.execute("select entry_count from audit.seal()").fetchone()[0]:
        pass
    assert [row[1:3] for row in check(well, "unsealed")] == [(OK, "00:00:00")]
    add_bot(well)
    assert [row[1] for row in check(well, "unsealed")] == [WARNING]


def test_an_old_transaction_is_seen_with_its_pid_and_without_the_right_it_is_not(
        database: Database):
    with database.connect() as conn, database.connect(application_name="dozer") as dozer:
        limits(conn, "oldest_transaction", 0.000001, 3600)
        assert check(conn, "oldest_transaction") == [
            ("oldest_transaction", OK, "none",
             "warning from 00:00:00, critical from 01:00:00", None)]
        dozer.execute("begin; select 1")
        row, = check(conn, "oldest_transaction")
        assert row[1] == WARNING
        assert f"pid {dozer.info.backend_pid}," in row[4] and "dozer" in row[4]
        limits(conn, "oldest_transaction", 0.000001, 0.000002)
        assert check(conn, "oldest_transaction")[0][1] == CRITICAL
        conn.execute("begin; revoke pg_read_all_stats from app_maintainer")
        assert check(conn, "oldest_transaction")[0][1] == OK  # blind, and it says so
        assert check(conn, "unseen_sessions")[0][1] == WARNING
        conn.execute("rollback")


def test_a_wait_for_a_lock_is_seen_with_who_is_waited_for(database: Database):
    with (database.connect() as conn, database.connect() as holder,
          database.connect() as waiter):
        limits(conn, "lock_wait", 0.000001, 600)
        assert check(conn, "lock_wait")[0][1:3] == (OK, "none")
        holder.execute("begin; lock table core.bot_names")
        with meanwhile(waiter, "select count(*) from core.bot_names"):
            row, = check(conn, "lock_wait")
            assert row[1] == WARNING
            assert (f"pid {waiter.info.backend_pid} waits for pid {holder.info.backend_pid}"
                    in row[4])
            holder.execute("commit")


def test_dead_rows_are_seen_where_there_are_many(database: Database):
    with database.connect() as conn:
        bot = add_bot(conn)
        for leaf, in conn.execute("select leaf::text from core.leaves('core.bot_metrics')"
                                  ).fetchall():
            conn.execute(f"alter table {leaf} set (autovacuum_enabled = off)")
        for rows, wanted in ((9000, OK), (12000, CRITICAL)):
            conn.execute("insert into core.bot_metrics (bot_id, day) select %s, date '2000-01-01'"
                         " + n from generate_series(1, %s) as n", [bot, rows])
            conn.execute("delete from core.bot_metrics")
            conn.execute("select pg_stat_force_next_flush()")
            row = check(conn, "dead_rows")[0]
            assert row[1] == wanted, row
            leaf = conn.execute("select format('core_partitions.bot_metrics_p%%s', r) from"
                                " generate_series(0, 9) as r where satisfies_hash_partition("
                                "'core.bots'::regclass, 10, r, %s::bigint)", [bot]).fetchone()[0]
            if wanted == OK:
                conn.execute(f"vacuum {leaf}")
        assert leaf in row[0] and "last vacuum" in row[4]
        conn.execute(f"vacuum {leaf}")
        conn.execute("select pg_stat_force_next_flush()")
        assert check(conn, "dead_rows")[0][1] == OK


def test_every_probe_with_a_threshold_is_tried_here(conn: psycopg.Connection):
    alone = {"unsealed", "oldest_transaction", "lock_wait", "dead_rows",
             "login_connections"}  # in test_login_limits
    assert {probe for probe, in conn.execute(
        "select probe from performance.probe where warning is not null")} == (
            alone | {probe for probe, *_ in WORSE})


# The whole -------------------------------------------------------------------------


def test_what_is_well_has_one_row_for_each_check(well: psycopg.Connection):
    probes = [probe for probe, in well.execute(
        "select probe from performance.probe where warning is not null order by probe")]
    rows = health(well)
    assert [row[0] for row in rows if row[1] == OK] == [row[0] for row in rows] == probes
    assert all(row[2] and row[3] and row[4] is None for row in rows)


def test_the_worst_comes_first_and_each_thing_has_a_row(well: psycopg.Connection):
    for task in ("months", "seal", "roll_up"):
        well.execute("update performance.task set error = 'x' where task = %s", [task])
    late(5.5)(well)
    rows = health(well)
    ranks = [(CRITICAL, WARNING, OK).index(row[1]) for row in rows]
    assert ranks == sorted(ranks)
    assert [row[0] for row in rows[:4]] == [
        "task_delay (seal)", "task_failed (months)", "task_failed (roll_up)", "task_failed (seal)"]


BOOM = """create function performance.probe_boom()
    returns table (labels jsonb, value float8, note text) language plpgsql
    set search_path = pg_catalog, pg_temp as $$begin {} end$$;
    grant execute on function performance.probe_boom() to app_maintainer;
    insert into performance.probe (probe, routine, unit, warning, what_to_do, help)
    values ('boom', 'performance.probe_boom()', '', {}, 'Mend it.', 'A test''s.')"""


@pytest.mark.parametrize("warning", ["1", "null"])
@pytest.mark.parametrize("body", [
    "raise exception 'so it failed' using errcode = 'MB999';",
    "return query select '{}'::jsonb, 1::float8, null;"
    " raise exception 'so it failed' using errcode = 'MB999';"])
def test_a_probe_that_raises_is_critical_and_hides_none(
        well: psycopg.Connection, body: str, warning: str):
    before = health(well)
    names = "select distinct name from performance.metrics order by 1"
    metrics = well.execute(names).fetchall()
    well.execute(BOOM.format(body, warning))
    first, *rest = health(well)
    assert first[:3] == ("boom", CRITICAL, "nan")
    assert "so it failed (SQLSTATE MB999)" in first[4]
    assert [row[:2] for row in rest] == [row[:2] for row in before]
    assert well.execute(names).fetchall() == metrics
    assert well.execute("select value from performance.metrics where name = 'botfleet_health'"
                        " and labels ->> 'check' = 'boom'").fetchall() == [(2,)]


@pytest.mark.parametrize("routine", ["performance.gone()", "gone", "", "drop table core.bots"])
def test_a_probe_without_its_function_is_critical_too(well: psycopg.Connection, routine: str):
    well.execute("update performance.probe set routine = %s where probe = 'lock_wait'", [routine])
    assert health(well)[0][:3] == ("lock_wait", CRITICAL, "nan")
    assert len(health(well)) > 10


# Metrics ---------------------------------------------------------------------------


def metrics(conn: psycopg.Connection) -> list[tuple]:
    return conn.execute("select name, labels, value, help, type from performance.metrics"
                        ).fetchall()


@pytest.fixture
def busy(well: psycopg.Connection) -> psycopg.Connection:
    """Bots, messages, answers, a file in quarantine: something to tell of every probe."""
    fill(well)
    bot = add_bot(well, "NAME-of-a-bot")
    for direction in ("in", "out"):
        well.execute("select core.record_message(1, %s, 'BODY-of-a-message', now(),"
                     " 'NAME-of-a-contact', %s)", [direction, bot])
    quarantine(well)
    well.execute("select performance.roll_up_metrics()")
    return well


def test_metrics_are_of_one_form(busy: psycopg.Connection):
    rows = metrics(busy)
    assert len({(name, tuple(sorted(labels.items()))) for name, labels, *_ in rows}) == len(rows)
    kinds: dict[str, set] = {}
    for name, labels, value, text, kind in rows:
        assert re.fullmatch("[a-z_]+", name) and name.startswith("botfleet_")
        assert isinstance(labels, dict)
        for label, of in labels.items():
            assert re.fullmatch("[a-z_]+", label) and isinstance(of, str)
        assert value is not None and math.isfinite(value), name
        kinds.setdefault(name, set()).add((text, kind))
    assert {len(found) for found in kinds.values()} == {1}
    assert {kind for found in kinds.values() for _, kind in found} == {"gauge"}
    assert [name for name, *_ in rows] == sorted(name for name, *_ in rows)


def test_every_probe_that_has_something_to_say_is_a_metric(busy: psycopg.Connection):
    names = {name for name, *_ in metrics(busy)}
    absent = {probe for probe, unit in busy.execute("select probe, unit from performance.probe")
              if f"botfleet_{probe}{'_' * bool(unit)}{unit}" not in names}
    assert absent <= {"oldest_transaction", "lock_wait", "invalid_indexes", "unused_indexes",
                      "bot_faults", "login_connections", "uncounted"}
    checks = {labels["check"] for name, labels, *_ in metrics(busy) if name == "botfleet_health"}
    assert checks | absent == {probe for probe, in busy.execute(
        "select probe from performance.probe where warning is not null")}


def test_metrics_say_how_many_messages_and_no_name_and_no_text(busy: psycopg.Connection):
    rows = metrics(busy)
    assert "NAME-" not in str(rows) and "BODY-" not in str(rows)
    told = {(labels["bot_id"], labels["direction"]): value for name, labels, value, *_ in rows
            if name == "botfleet_bot_messages"}
    assert told == {(str(bot), direction): count for bot, direction, count in busy.execute("""
        select bot_id, d, (select count(*) from core.messages as m
                           where m.bot_id = b.bot_id and m.direction = d)
        from core.bots as b, unnest(array['in', 'out']) as d""")}
    replies = {labels["percentile"]: value for name, labels, value, *_ in rows
               if name == "botfleet_bot_reply_seconds"}
    assert replies == {"50": 0, "95": 0}


def test_health_and_metrics_write_nothing_and_read_no_message(database: Database):
    with database.connect(options="-c default_transaction_read_only=on") as conn:
        assert health(conn) and metrics(conn)
    with database.connect() as conn:
        scans = ("select sum(seq_scan + coalesce(idx_scan, 0)) from pg_stat_xact_all_tables"
                 " where relname ~ '^(messages|conversations|girls_profiles)_p'")
        bot = add_bot(conn)
        record(conn, bot, 1, "now")
        with conn.transaction():
            before = conn.execute(scans).fetchone()
            assert health(conn) and metrics(conn)
            assert conn.execute(scans).fetchone() == before


# Slow queries ----------------------------------------------------------------------


def test_without_the_extension_one_row_says_how_to_get_it(conn: psycopg.Connection):
    rows = conn.execute("select * from performance.slow_queries").fetchall()
    assert len(rows) == 1 and "create extension pg_stat_statements" in rows[0][0]
    assert rows[0][1:] == (None,) * 5


@pytest.fixture(scope="module")
def tuned() -> Iterator[Database]:
    """A migrated database on a server that prepares transactions, and counts statements if it can.
    """
    found = os.environ.get("TEST_PG_BIN")
    binaries = Path(found) if found else server.wheel_binaries()
    more = [("shared_preload_libraries", "pg_stat_statements")] if list(
        binaries.parent.rglob("pg_stat_statements.so")) else []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(
            prefix="fleet-tests-", dir=roomy_folder())))
        folder.chmod(0o711)
        own = server.Server(binaries, folder / "server", settings=(
            ("fsync", "off"), ("max_prepared_transactions", "5"), *more))
        own.start()
        stack.callback(own.stop, "immediate")
        made = Database(dict(own.parts()))
        with made.connect() as conn:
            migrator(conn).migrate()
        yield made


def counts_statements(conn: psycopg.Connection) -> bool:
    return conn.execute("select current_setting('shared_preload_libraries') ~ 'statements'"
                        ).fetchone()[0]


def test_a_prepared_transaction_counts_as_an_old_one(tuned: Database):
    with tuned.connect() as conn:
        limits(conn, "oldest_transaction", 0.000001, 3600)
        conn.execute("begin; update performance.probe set help = help where probe = 'bots';"
                     " prepare transaction 'forgotten one'")
        try:
            row, = check(conn, "oldest_transaction")
            assert row[1] == WARNING and "'forgotten one'" in row[4]
        finally:
            conn.execute("rollback prepared 'forgotten one'")
        assert check(conn, "oldest_transaction")[0][1] == OK


def test_slow_queries_come_with_their_times_and_without_constants(tuned: Database):
    with tuned.connect() as conn:
        if not counts_statements(conn):
            pytest.skip("this server's binaries come without pg_stat_statements")
        for schema in ("public", '"odd schema"'):
            conn.execute(f"create schema if not exists {schema}")
            conn.execute(f"create extension pg_stat_statements with schema {schema}")
            bot = add_bot(conn)
            add_conversation(conn, bot, 1)
            conn.execute("select pg_sleep(0.2), 'a constant of mine'")
            conn.execute("create role mallory password 'SECRET'; drop role mallory")
            rows = conn.execute("select * from performance.slow_queries").fetchall()
            assert 0 < len(rows) <= 50
            times = [row[2] for row in rows]
            assert times == sorted(times, reverse=True)
            slept, = (row for row in rows if "pg_sleep" in row[0])
            assert slept[1] >= 1 and 0.2 <= slept[3].total_seconds() < 5
            assert "constant of mine" not in str(rows) and "SECRET" not in str(rows)
            conn.execute("drop extension pg_stat_statements")


def test_the_extension_without_its_library_says_what_is_missing(database: Database):
    with database.connect() as conn:
        if not conn.execute("select count(*) from pg_available_extensions"
                            " where name = 'pg_stat_statements'").fetchone()[0]:
            pytest.skip("this server's binaries come without pg_stat_statements")
        conn.execute("create extension pg_stat_statements")
        rows = conn.execute("select query from performance.slow_queries").fetchall()
        assert len(rows) == 1 and "not in shared_preload_libraries" in rows[0][0]
