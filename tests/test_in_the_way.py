"""What a bot, or a worker as a bot, holds in an open transaction stops no job of the operator."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from conftest import Database
from core_rows import make_bot, refused, run_runner
from import_helpers import make_folder, said

from fleet.bots import verifier

pytest_plugins = "core_rows"


def make_worker(database: Database, *bots: int) -> Database:
    """A new worker of these bots, as it connects."""
    name, password = f"w_{secrets.token_hex(6)}", secrets.token_hex(16)
    with database.connect() as conn:
        conn.execute("select security.create_worker(%s, %s, %s)",
                     [name, list(bots), verifier(conn, password)])
    return Database(database.parts | {"user": name, "password": password})


@contextmanager
def holding(login: Database, *statements: str) -> Iterator[int]:
    """While the block runs, `login` is in the middle of a transaction; yields its backend's pid."""
    conn = login.connect()
    try:
        conn.execute("set idle_in_transaction_session_timeout = 0; begin")
        for statement in statements:
            conn.execute(statement)
        yield conn.info.backend_pid
    finally:
        conn.close()


def is_alive(database: Database, pid: int) -> bool:
    return database.execute("select exists (select from pg_stat_activity where pid = %s)", [pid]
                            ) == [(True,)]


HOLDS = ("select core.record_message(1, 'in', 'x')", "select from core.conversations for update",
         "select from core.girls_profiles for update")


# Import ------------------------------------------------------------------------------


def folder_of(root: Path, *bots: str) -> Path:
    for name in bots:
        make_folder(root / name, {"conversations/1.json": [said("one")],
                                  "conversations/2.json": [said("two")]})
    return root


@pytest.mark.parametrize("hold", [
    HOLDS[1], pytest.param("select core.record_message(2, 'in', 'x')", marks=pytest.mark.torture)])
def test_an_import_leaves_out_what_a_bot_holds_and_names_its_session(
        database: Database, tmp_path: Path, hold: str):
    bot, as_bot = make_bot(database, "held")
    as_bot.execute("select core.record_message(1, 'in', 'before')")
    folder = folder_of(tmp_path / "bots", "another", "held", "third")
    with holding(as_bot, hold) as pid:
        done = run_runner(database, "import", str(folder), code=5)
        assert is_alive(database, pid)
    assert "MB435" in done.stderr and f"session {pid} (login bot_{bot}) holds" in done.stderr
    assert re.search(r"row (share|exclusive) on core\.conversations.* since 2", done.stderr)
    # what nobody held is in
    assert database.execute("""
        select b.name, count(*) from json_import.file as f join core.bots as b using (bot_id)
        where f.status = 'loaded' group by b.name order by 1""") == [
            ("another", 2), ("held", 1), ("third", 2)]
    run_runner(database, "import", str(folder))
    assert sorted(database.execute("select body from core.messages where bot_id = %s", [bot])
                  ) == [("before",), ("one",), ("two",)]


def test_a_dry_run_leaves_it_out_too_and_a_retry_says_busy(database: Database, tmp_path: Path):
    bot, as_bot = make_bot(database, "held")
    as_bot.execute("select core.record_message(1, 'in', 'before')")
    folder = folder_of(tmp_path / "bots", "held")
    with holding(as_bot, HOLDS[1]) as pid:
        done = run_runner(database, "import", str(folder), "--dry-run", code=5)
        assert f"session {pid} (login bot_{bot}) holds" in done.stderr
    (tmp_path / "bots/held/conversations/1.json").write_text("[{")
    run_runner(database, "import", str(folder), code=6)
    database.execute("update json_import.kept_bytes set bytes = '[]'")
    with holding(as_bot, HOLDS[1]):
        assert "busy" in run_runner(database, "retry", code=None).stdout
    assert "loaded" in run_runner(database, "retry").stdout


# A bot is dropped ----------------------------------------------------------------------


@pytest.mark.parametrize(("who", "hold"), [
    ("bot", HOLDS[0]), ("worker", HOLDS[1]),
    *(pytest.param("worker", hold, marks=pytest.mark.torture) for hold in HOLDS[::2])])
def test_a_bot_is_dropped_whoever_holds_its_rows(database: Database, hold: str, who: str):
    bot, as_bot = make_bot(database)
    other, as_other = make_bot(database)
    as_bot.execute("select core.record_message(1, 'in', 'before')")
    login = as_bot if who == "bot" else make_worker(database, bot, other)
    become = [] if who == "bot" else [f"set role bot_{bot}"]
    with (holding(as_other, HOLDS[0]) as innocent, holding(login, *become, hold) as pid):
        database.execute("select security.drop_bot(%s, true)", [bot])
        assert not is_alive(database, pid) and is_alive(database, innocent)
    assert database.execute("select count(*) from core.bots where bot_id = %s", [bot]) == [(0,)]
    # what was granted for the while is taken back
    assert database.execute("select count(*) from pg_auth_members where roleid = %s::regrole",
                            [login.parts["user"]] if who == "worker" else [f"bot_{other}"]
                            )[0][0] <= 2


def test_a_dry_run_of_a_drop_ends_nobody(database: Database):
    bot, as_bot = make_bot(database)
    as_bot.execute("select core.record_message(1, 'in', 'before')")
    with holding(make_worker(database, bot), f"set role bot_{bot}", HOLDS[1]) as pid:
        with database.connect() as conn:
            conn.execute("set app.dry_run = on")
            with refused(conn, "MB130") as caught:
                conn.execute("select security.drop_bot(%s, true)", [bot])
            assert f"session {pid}" in caught.value.diag.message_primary
        assert is_alive(database, pid)


def test_who_is_nobodys_login_is_named_and_not_ended(database: Database):
    bot, as_bot = make_bot(database)
    as_bot.execute("select core.record_message(1, 'in', 'before')")
    with holding(database, "select from core.conversations for update") as pid:
        with database.connect() as conn, refused(conn, "MB130") as caught:
            conn.execute("select security.drop_bot(%s, true)", [bot])
        assert (f"session {pid} (login {database.parts['user']}) holds"
                in caught.value.diag.message_primary)
        assert is_alive(database, pid)
    assert as_bot.execute("select 1") == [(1,)]


# The log ---------------------------------------------------------------------------------


def expire(conn: psycopg.Connection) -> None:
    """A month of the log that is over, and sealed for long enough."""
    conn.execute("select audit.ensure_month('2020-01-15'); select audit.seal()")
    conn.execute("update audit.setting set retention_days = 30")


def test_retention_is_not_stopped_by_a_bot_that_reads_the_log(database: Database):
    _, as_bot = make_bot(database)
    with database.connect() as conn:
        expire(conn)
        with holding(as_bot, "select count(*) from audit.events") as pid:
            assert conn.execute("select month from audit.drop_expired()").fetchall() == [
                ("audit_partitions.security_audit_log_y2020m01",)]
            assert not is_alive(database, pid)


def test_retention_names_another_who_reads_the_log(database: Database):
    with database.connect() as conn:
        expire(conn)
        with holding(database, "select count(*) from audit.events") as pid:
            ok, result, _ = conn.execute("select * from performance.run_task('audit_retention')"
                                         ).fetchone()
            assert not ok and "MB130" in result and f"session {pid} " in result
            with refused(conn, "MB130") as caught:
                conn.execute("select * from audit.drop_expired()")
            assert f"session {pid} (login" in caught.value.diag.message_primary
            assert is_alive(database, pid)
        assert len(conn.execute("select * from audit.drop_expired()").fetchall()) == 1


def test_an_erasure_waits_two_seconds_for_a_seal_and_names_it(database: Database):
    with holding(database, "lock table audit.seal in share row exclusive mode") as pid:
        with database.connect() as conn, refused(conn, "MB130") as caught:
            conn.execute("select audit.erase(1, 1, 'asked for')")
        assert f"session {pid} " in caught.value.diag.message_primary


def test_months_are_made_whatever_a_bot_holds(database: Database):
    _, as_bot = make_bot(database)
    with holding(as_bot, *HOLDS[:1], "select count(*) from audit.events"):
        assert database.execute("select performance.make_months(9) > 5") == [(True,)]


# Where a mere owner migrated ----------------------------------------------------------------


@pytest.mark.torture
def test_an_owner_is_told_the_same_and_ends_the_same(owned: Database, tmp_path: Path):
    run_runner(owned, "migrate")
    bot, as_bot = make_bot(owned, "held")
    as_bot.execute("select core.record_message(1, 'in', 'before')")
    folder = folder_of(tmp_path / "bots", "another", "held")
    with holding(as_bot, HOLDS[1]) as pid:
        done = run_runner(owned, "import", str(folder), code=5)
        assert re.search(rf"session {pid} \(login bot_{bot}\) holds row share on .* since 2",
                         done.stderr), done.stderr
    with owned.connect() as conn:
        expire(conn)
        with holding(as_bot, "select count(*) from audit.events") as pid:
            assert len(conn.execute("select * from audit.drop_expired()").fetchall()) == 1
            assert not is_alive(owned, pid)
    with holding(make_worker(owned, bot), f"set role bot_{bot}", HOLDS[1]) as pid:
        owned.execute("select security.drop_bot(%s, true)", [bot])
        assert not is_alive(owned, pid)
