"""The lock of a runner at work: who is kept out, who can't keep it out, and what does not wait."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from conftest import PROJECT, Database
from core_rows import make_bot, program, record, run_runner
from import_helpers import said
from project import FIRST, finish, until

from fleet import files, lock, registry
from fleet.errors import FleetError

pytest_plugins = ("project", "core_rows", "import_helpers")
LOCKS = pytest.mark.parametrize("which", [lock.MIGRATION, lock.IMPORT], ids=lambda w: w.view)
HOLDER = ("select l.pid from pg_locks as l join pg_database as d on d.oid = l.database"
          " where d.datname = current_database() and l.relation = '{}'::regclass and l.granted"
          " and l.mode = 'ShareUpdateExclusiveLock'")
# The advisory keys that runners took once; whatever takes one to do its work is at a bot's mercy.
KEYS = (0x666C656574, 0x696D706F7274)


def lose(database: Database, which: lock.Lock = lock.MIGRATION) -> None:
    """Ends the connection that holds the lock."""
    pid, = database.execute(HOLDER.format(which.view))[0]
    assert database.execute("select pg_terminate_backend(%s, 5000)", [pid]) == [(True,)]


# What goes on meanwhile --------------------------------------------------------


@LOCKS
def test_while_it_is_held_vacuum_seals_and_pg_dump_go_on(database, which):
    database.execute(
        f"alter database {database.name} set default_transaction_isolation = serializable")
    bot, _ = make_bot(database)
    database.execute("create table public.heap as select generate_series(1, 1000)")
    with (database.connect() as conn, lock.hold(conn, which, "") as held,
          database.connect(options="-clock_timeout=5s") as other):
        assert other.execute("select state, backend_xmin, backend_xid from pg_stat_activity"
                             " where pid = %s", [held.pid]).fetchall() == [
            ("idle in transaction", None, None)]
        other.execute("delete from public.heap")
        other.execute("vacuum")  # of all that is in the database
        assert other.execute("select pg_relation_size('public.heap')").fetchone() == (0,)
        record(other, bot, 1, "2025-01-01")
        assert other.execute("select entry_count > 0 from audit.seal()").fetchone() == (True,)
        assert other.execute("select entry_count from audit.seal()").fetchone() == (0,)
        done = program(database, "pg_dump", "--lock-wait-timeout=5s", "-f", "/dev/null")
        assert done.returncode == 0, done.stderr


def test_no_timeout_ends_it(database):
    names = "idle_in_transaction_session_timeout", "transaction_timeout"  # 17 and newer
    for name, in database.execute("select name from pg_settings where name = any (%s)", [[*names]]):
        database.execute(f"alter database {database.name} set {name} = '100ms'")
    with database.connect() as conn, lock.hold(conn, lock.MIGRATION, "") as held:
        other = database.connect()
        other.execute("begin; select 1")
        until(lambda: not database.execute("select 1 from pg_stat_activity where pid = %s",
                                           [other.info.backend_pid]), "one that rests was ended")
        other.close()
        held.require(conn)


# Who can't keep runners out ----------------------------------------------------


NUISANCE = """
    do $nuisance$
    begin
        loop
            begin
                comment on view public._migration_lock is 'mine';
            exception when insufficient_privilege then null;
            end;
        end loop;
    end
    $nuisance$"""


@contextmanager
def nuisance(bot: Database) -> Iterator[None]:
    """While the block runs, the bot holds the lock again and again, for a moment, as it is refused
    what it asks for."""
    with bot.connect() as conn, ThreadPoolExecutor(1) as pool:
        conn.execute("set statement_timeout = 0")
        running = pool.submit(conn.execute, NUISANCE)
        try:
            yield
            assert running.running()
        finally:
            conn.cancel_safe()
            assert isinstance(running.exception(20), psycopg.errors.QueryCanceled)


def test_no_bot_stops_what_runs_for_all(database):
    _, bot = make_bot(database)
    with bot.connect() as conn, nuisance(bot), nuisance(bot):
        for key in KEYS:
            conn.execute("select pg_advisory_lock(%s)", [key])
        for arguments in (["migrate"], ["adopt", FIRST], ["maintain"], ["bot", "add", "anna"],
                          ["import", str(PROJECT / "examples/legacy/anna"), "--bot", "anna"],
                          ["retry"], ["rollback", "--only", "005", "--discard-data", "--yes"],
                          ["bot", "drop", "anna", "--discard-data", "--yes"], ["migrate"]):
            run_runner(database, *arguments)
        database.execute("select * from audit.seal()")


def test_default_privileges_open_it_to_nobody(fresh):
    fresh.execute("alter default privileges in schema public grant all on tables to public")
    fresh.call("migrate")
    assert fresh.execute("select has_table_privilege('public', 'public._migration_lock', p)"
                         " from unnest(array['select', 'update', 'delete', 'truncate']) as p"
                         ) == [(False,)] * 4


# Who is kept out ---------------------------------------------------------------


def test_a_first_run_keeps_out_others_also_if_it_is_only_a_trial(fresh):
    with fresh.database.connect() as conn:
        conn.execute("select pg_advisory_lock(1)")
        fresh.add("000_a", "select pg_advisory_xact_lock(1);", "select 1;",
                  "select 'always', true, null::text;", depends=())
        trial = fresh.start("migrate", "--dry-run")
        fresh.stands_still()
        for command in (["migrate"], ["migrate", "--dry-run"], ["adopt", FIRST]):
            assert "another runner is at work" in fresh.call(*command, code=5).err
    assert "nothing was changed" in finish(trial).err
    assert not fresh.has("public._migration_lock")
    fresh.call("migrate")


# When it is lost ---------------------------------------------------------------


def test_a_runner_that_lost_it_commits_nothing(project):
    with project.gate():
        child = project.start("migrate")
        project.stands_still()
        lose(project.database)
    assert "is gone, or leads to another server" in finish(child, 1).err
    assert not project.has("public.a") and project.states()["002_a"] == "pending"
    assert "1 migrated" in project.call("migrate").err


def test_a_runner_that_lost_it_runs_no_further_statement_outside_a_transaction(project):
    project.add("002_a", "-- 002_a: a table.\n-- transaction: none\n\n"
                         "select pg_advisory_xact_lock(1);\ncreate table public.a (a int);\n")
    with project.database.connect() as conn:
        conn.execute("select pg_advisory_lock(1)")
        child = project.start("migrate")
        project.stands_still()
        lose(project.database)
    assert "is gone, or leads to another server" in finish(child, 1).err
    assert not project.has("public.a")


def test_an_import_that_lost_it_loads_nothing_more(bot):
    bot.write({"conversations/1.json": [said("a")]})
    with bot.database.connect() as conn, conn.transaction():
        conn.execute("lock table core.girls_profiles")
        child = subprocess.Popen(
            [sys.executable, PROJECT / "runner.py", "import", bot.folder, "--bot", bot.name],
            text=True, env=bot.database.environment(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        until(lambda: bot.database.execute(
            "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
            " and datname = current_database()"), "the import waits")
        lose(bot.database, lock.IMPORT)
    assert "is gone, or leads to another server" in finish(child, 1).err
    assert bot.execute("select 1 from core.messages where bot_id = $bot") == []
    assert bot.load() == {"loaded": 1}


def test_what_another_has_marked_or_unmarked_meanwhile_is_not_done_again(project):
    migration = files.read(project.folder / "sql")[0]
    with ExitStack() as stack:
        conn = stack.enter_context(project.database.connect())
        stack.enter_context(conn.transaction(force_rollback=True))
        with pytest.raises(FleetError, match="somebody else"):
            registry.mark(conn, migration, "apply", 0)
        registry.mark(conn, migration, "rollback", 0)
        with pytest.raises(FleetError, match="somebody else"):
            registry.mark(conn, migration, "rollback", 0)
        registry.mark(conn, migration, "apply", 0)
