"""Each preview says what its function would do, to whoever may call that, and does nothing."""

import re
from collections.abc import Iterator

import psycopg
import pytest
from conftest import Database, clone
from core_rows import add_task, make_bot, refused, run_runner, start_runner
from import_helpers import EXAMPLES
from scraped import make_super_admin

pytest_plugins = "core_rows"
SEQUENCES = """
    select format('select %L, last_value, is_called from %s', c.oid::regclass, c.oid::regclass)
    from pg_class as c where c.relkind = 'S' and c.relpersistence = 'p' order by c.oid"""
ENTRIES = "select count(*) from audit.security_audit_log"


def ids(database: Database) -> list[tuple]:
    """Where each sequence stands."""
    return [database.execute(query)[0] for query, in database.execute(SEQUENCES)]


@pytest.fixture(scope="module")
def fleet(cluster: Database, template: Database) -> Iterator[Database]:
    """A database with three bots' files in it; tests only look at it."""
    for database in clone(cluster, template.name):
        run_runner(database, "import", str(EXAMPLES / "legacy"))
        run_runner(database, "import", str(EXAMPLES / "broken"), code=6)
        yield database


@pytest.fixture(scope="module")
def olga(fleet: Database) -> Database:
    """The same, as a super_admin meets it."""
    with fleet.connect() as conn:
        return make_super_admin(conn, fleet, "olga_previews", "x" * 20)


ANNA, PERSON = "security.find_bot('anna')", "(select min(telegram_id) from core.girls_profiles)"
CALLS = ("audit.preview_drop_expired()", f"audit.preview_erase({ANNA}, {PERSON})",
         f"audit.preview_erase({ANNA}, -1)", f"security.preview_drop_bot({ANNA})",
         "performance.preview_maintain()", "security.preview_create_bot('new')")


@pytest.mark.parametrize("call", CALLS)
def test_a_preview_writes_nothing_draws_no_id_and_stands_in_nobody_s_way(call, olga, fleet):
    before = ids(fleet), fleet.execute(ENTRIES)
    with olga.connect() as conn, conn.transaction():
        conn.execute("set transaction read only")
        conn.execute(f"select * from {call}")
        assert conn.execute(
            "select relation::regclass, mode from pg_locks where pid = pg_backend_pid()"
            " and locktype = 'relation' and mode <> 'AccessShareLock'").fetchall() == []
        assert conn.execute("select pg_current_xact_id_if_assigned()").fetchone() == (None,)
    assert (ids(fleet), fleet.execute(ENTRIES)) == before


@pytest.mark.parametrize("call", CALLS)
def test_who_may_not_call_the_function_may_not_see_its_preview(call, fleet):
    _, bot = make_bot(fleet)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        bot.execute(f"select * from {call.replace(PERSON, '1').replace(ANNA, '1')}")


def test_a_bot_that_is_made_gets_the_id_that_was_announced(database):
    taken = database.execute("select security.preview_create_bot('anna')")[0][0] + 1
    with database.connect() as conn:
        conn.execute(f"create role bot_{taken}")
        try:
            for name in ("anna", "mila"):
                announced = conn.execute(
                    "select security.preview_create_bot(%s)", [name]).fetchone()
                assert conn.execute("select security.create_bot(%s)", [name]
                                    ).fetchone() == announced
            assert announced == (taken + 1,)
            conn.execute("select security.set_id_range(1000, 1999)")
            assert conn.execute("select security.preview_create_bot('x')").fetchone() == (1000,)
            for code, arguments in (("MB005", "'anna'"), ("MB104", "' x'"), ("MB104", "null"),
                                    ("MB102", "'x', 'clear'")):
                for function in ("create_bot", "preview_create_bot"):
                    with refused(conn, code):
                        conn.execute(f"select security.{function}({arguments})")
        finally:
            conn.execute(f"drop role bot_{taken}")


def test_a_bot_that_is_dropped_takes_along_what_was_announced(database):
    run_runner(database, "import", str(EXAMPLES / "legacy"))
    start_runner(database, "bot", "token", "anna", said="x\n")
    bot = database.execute(f"select {ANNA}")[0][0]
    with database.connect() as conn, Database(database.parts | {"user": f"bot_{bot}"}).connect():
        announced = dict(conn.execute("select * from security.preview_drop_bot(%s)", [bot]
                                      ).fetchall())
        assert announced["core.messages"] == 692 and announced["security.bot_token"] == 1
        assert announced.pop(f"login bot_{bot}") == announced.pop("open connections") == 1
        query = " union all ".join(f"select '{table}', count(*) from {table}"
                                   for table in announced)
        before = dict(conn.execute(query).fetchall())
        conn.execute("select security.drop_bot(%s, true)", [bot])
        after = dict(conn.execute(query).fetchall())
        assert {name: before[name] - after[name] for name in before} == announced
        for other in (bot, None):
            with refused(conn, "MB003"):
                conn.execute("select * from security.preview_drop_bot(%s)", [other])


def test_maintenance_does_what_was_announced(database):
    run_runner(database, "import", str(EXAMPLES / "broken"), code=6)
    _, own = make_bot(database)
    own.execute("select core.record_message(7, 'in', 'a', '2024-05-01')")
    with database.connect() as conn:
        conn.execute("update json_import.file set imported_at = '2024-01-01'")
        conn.execute("insert into public.yoyo_lock values (1, now(), -2147483647)")
        add_task(conn, "untold", "perform 1;")
        announced = {(task, what): count for task, what, count in conn.execute(
            "select * from performance.preview_maintain()").fetchall()}
        assert announced.pop(("untold", "A test.")) is None
        assert announced.pop(("audit_retention", "Drops the months of the audit log that"
                              " audit.setting no longer keeps.")) == 0
        told = {task: count for (task, _), count in announced.items()}
        done = {task: int(re.search(r"\d+", conn.execute(
            "select result from performance.run_task(%s)", [task]).fetchone()[0])[0])
            for task in sorted(told, key=lambda task: task == "seal", reverse=True)}
        # a day that is looked at may turn out as it was
        assert 0 < done.pop("roll_up") <= told.pop("roll_up")
        assert done == told, (announced, done)
        assert min(done["seal"], done["quarantine"], done["stale_locks"]) > 0
        assert not any(count for *_, count in conn.execute(
            "select * from performance.preview_maintain()").fetchall())
