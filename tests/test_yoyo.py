"""The runner and yoyo on one database: each sees what the other did and waits while it works."""

import re
import shutil
import subprocess
import sys

import pytest
from project import FIRST, ORIGIN, TAKE_LOCK, YOYO, Project, finish, until

pytest_plugins = "project"


def listed(which: Project) -> dict[str, str]:
    """What `yoyo list` prints: the mark (A or U) by id."""
    out = which.yoyo("list", "--batch").out
    return {name: mark for mark, name in re.findall(r"^([AU])\s+(\S+)", out, re.M)}


def marks(which: Project) -> list[str]:
    return [name for name, in which.execute(
        "select migration_id from public._yoyo_migration order by 1")]


def operations(which: Project) -> list[tuple]:
    return which.execute("select migration_id, operation from public._migration_history"
                         " order by history_id")


@pytest.fixture
def yoyoed(fresh: Project) -> Project:
    """A database that only yoyo has touched."""
    fresh.yoyo("apply", "--batch")
    return fresh


# What yoyo sees ----------------------------------------------------------------


def test_yoyo_sees_exactly_the_numbered_entries(fresh):
    """A stray sql/*.sql would become a migration."""
    numbered = {path.name for path in (ORIGIN / "sql").iterdir()
                if path.is_dir() and re.match(r"\d{3}_", path.name)} - {"000_registry"}
    for path in (ORIGIN / "sql").iterdir():
        target = fresh.folder / "sql" / path.name
        if path.is_file() and not target.exists():
            target.write_bytes(path.read_bytes())
        elif not target.exists():
            subprocess.run(["cp", "-R", path, target], check=True)
    assert listed(fresh).keys() == numbered
    (fresh.folder / "sql" / "stray.sql").write_text("select 1;")
    assert listed(fresh).keys() == numbered | {"stray"}
    assert "sql/stray/apply.sql can't be read" in fresh.call("status", code=2).err


def test_yoyo_needs_nothing_of_ours_but_the_sql(fresh):
    for name in ("fleet", "runner.py"):
        (fresh.folder / name).rename(fresh.folder.with_name(f"away {name}"))
    fresh.yoyo("apply", "--batch")
    fresh.yoyo("rollback", "--batch", "-r", FIRST)
    fresh.yoyo("apply", "--batch")
    for name in ("fleet", "runner.py"):
        fresh.folder.with_name(f"away {name}").rename(fresh.folder / name)
    fresh.call("migrate")
    assert set(fresh.states().values()) == {"applied"}


def test_yoyo_lists_what_the_runner_applied(project):
    project.add("002_a")
    assert listed(project) == {FIRST: "A", "002_a": "U"}
    project.call("migrate")
    assert listed(project) == {FIRST: "A", "002_a": "A"}
    assert project.execute("select migration_id, operation from public._yoyo_log"
                           " order by created_at_utc") == [(FIRST, "apply"), ("002_a", "apply")]


def test_yoyo_run_through_the_runner_works_on_the_same_server(project):
    assert re.search(f"A +{FIRST}", project.run("exec", "yoyo", "list", "--batch").out)


# There and back ----------------------------------------------------------------


def test_migrate_adopts_what_yoyo_applied(yoyoed):
    assert yoyoed.call("status", "--json", code=3).document[0]["state"] == "adopt"
    assert "verify and adopt" in yoyoed.call("plan").out
    assert f"adopted {FIRST}" in yoyoed.call("migrate").err
    assert yoyoed.states() == {FIRST: "applied"} and operations(yoyoed) == [(FIRST, "adopt")]
    assert "nothing to migrate" in yoyoed.call("migrate").err


def test_migrate_does_not_adopt_what_yoyo_applied_and_somebody_broke(yoyoed):
    yoyoed.execute("drop trigger claim_bot_name on core.bots")
    done = yoyoed.call("migrate", code=4)
    assert "MB906" in done.err and "claim_bot_name on core.bots" in done.err
    assert yoyoed.states() == {FIRST: "adopt"}


def test_the_runner_rolls_back_what_yoyo_applied(yoyoed):
    yoyoed.call("rollback", "--all", "--yes")
    assert listed(yoyoed) == {FIRST: "U"} and not yoyoed.has("core.bots")


def test_yoyo_rollback_makes_it_pending_again(project):
    project.yoyo("rollback", "--batch", "-r", FIRST)
    assert project.call("status", "--json", code=3).document[0]["state"] == "pending"
    project.call("migrate")
    assert project.states() == {FIRST: "applied"} and listed(project) == {FIRST: "A"}


def test_yoyo_applies_again_what_the_runner_rolled_back(project):
    project.call("rollback", "--all", "--yes")
    project.yoyo("apply", "--batch")
    assert project.states() == {FIRST: "adopt"}
    project.call("migrate")
    assert [row[1] for row in operations(project)] == ["apply", "rollback", "adopt"]
    assert project.call("verify", "--json").document


def test_yoyo_rolls_back_only_if_no_rows_are_lost(project):
    project.execute("insert into core.bots (name) values ('one')")
    assert "would throw away" in project.yoyo("rollback", "--batch", "-r", FIRST, code=1).err
    assert project.has("core.bots")
    child = project.start("rollback", "--batch", "-r", FIRST, PGOPTIONS="-capp.discard_data=on",
                          program=YOYO)
    finish(child, never=())
    assert not project.has("core.bots")


# Repairs -----------------------------------------------------------------------


def test_a_database_where_yoyo_committed_and_did_not_mark_is_repaired_by_adopt(yoyoed):
    yoyoed.execute("delete from public._yoyo_migration")
    assert yoyoed.states() == {FIRST: "adopt"}
    done = yoyoed.call("migrate", code=4)
    assert "MB907" in done.err and f"runner.py adopt {FIRST}" in done.err
    assert f"adopted {FIRST}" in yoyoed.call("adopt", FIRST).err
    assert yoyoed.states() == {FIRST: "applied"} and listed(yoyoed) == {FIRST: "A"}


def test_sql_run_by_hand_is_adopted(fresh):
    subprocess.run(["psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f",
                    fresh.path(FIRST, "apply")], env=fresh.database.environment(), check=True)
    assert "MB907" in fresh.call("migrate", code=4).err and not marks(fresh)
    assert "dry run" in fresh.call("adopt", "001", "--dry-run").err and not marks(fresh)
    fresh.call("adopt", "001")
    assert fresh.states() == {FIRST: "applied"} and operations(fresh) == [(FIRST, "adopt")]


def test_a_later_file_run_by_hand_is_told_by_what_stands_in_the_way(project):
    project.add("002_a")
    project.execute("create table public.a (a int)")
    done = project.call("migrate", code=1)
    assert "42P07" in done.err and "next: If it was run by hand, or yoyo was stopped half-way: " \
        "runner.py adopt 002_a" in done.err
    assert "adopted 002_a" in project.call("adopt", "002_a").err


def test_adopt_of_something_that_isnt_there_fails(fresh):
    done = fresh.call("adopt", FIRST, code=4)
    assert "MB906" in done.err and "sql/001_core_schema/verify.sql" in done.err
    assert marks(fresh) == []


def test_adopt_of_something_applied_changes_nothing_and_excuses_no_edit(project):
    before = project.digest()
    assert "is applied already" in project.call("adopt", FIRST).err
    project.path(FIRST, "apply").write_text("-- nothing\n")
    assert "MB907" in project.call("adopt", FIRST, code=4).err
    assert project.digest()["public._migration_history"] == before["public._migration_history"]


def test_adopt_wants_what_it_depends_on_to_be_applied(fresh):
    fresh.add("002_a", verify="select 'fine', true, null::text;")
    done = fresh.call("adopt", "002_a", code=4)
    assert f"002_a needs {FIRST}, which isn't applied" in done.err and marks(fresh) == []


# Drift -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["apply", "rollback", "verify"])
def test_an_edited_file_is_reported_and_stops_migrate(shared, name):
    path = shared.path(FIRST, name)
    original = path.read_bytes()
    path.write_bytes(original + b"-- a remark\n")
    shared.add("002_a")
    try:
        row = shared.call("status", "--json", code=4).document[0]
        assert row["state"] == "edited" and f"{name}.sql changed" in row["next_step"]
        done = shared.call("migrate", code=4)
        assert "MB907" in done.err and f"{FIRST} was edited" in done.err
        assert "make reset" in done.err and not shared.has("public.a")
    finally:
        shared.remove("002_a")
        path.write_bytes(original)
    assert shared.states() == {FIRST: "applied"}


def test_windows_line_ends_are_no_edit(shared):
    path = shared.path(FIRST, "apply")
    original = path.read_bytes()
    path.write_bytes(original.replace(b"\n", b"\r\n"))
    assert shared.states() == {FIRST: "applied"}
    path.write_bytes(original)


def test_applied_but_gone_from_disk_is_reported(project):
    project.add("002_a")
    project.call("migrate")
    project.remove("002_a")
    assert project.call("status", "--json", code=4).document[-1]["state"] == "gone"
    for command in (["migrate"], ["rollback", "--all", "--yes"]):
        done = project.call(*command, code=4)
        assert "MB907" in done.err and "002_a is applied, but" in done.err
        assert "estore sql/002_a" in done.err


def test_a_late_lower_number_is_refused(project):
    project.add("003_b")
    project.call("migrate")
    project.add("002_a")
    assert project.states()["002_a"] == "late"
    done = project.call("migrate", code=4)
    assert "002_a has a lower number" in done.err and not project.has("public.a")


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda p: p.path("002_a", "rollback").unlink(), "rollback.sql"),
    (lambda p: p.path("002_a", "verify").unlink(), "sql/002_a/verify.sql can't be read"),
    (lambda p: p.add("002_a", depends=("077_nothing",)), "resolve dependencies"),
    (lambda p: p.add("002_a", depends=("002_a",)), "depend on one another: 002_a"),
    (lambda p: (p.add("002_a", depends=("003_b",)), p.add("003_b", depends=("002_a",))),
     "depend on one another: 002_a, 003_b"),
    (lambda p: (p.folder / "sql/002_a.py").write_text("import nothing_at_all"), "nothing_at_all"),
    (lambda p: (p.folder / "sql/002_a.py").write_text("one two"), "invalid syntax"),
    (lambda p: (p.folder / "sql/002_a.sql").write_text("select 1"), "002_a"),
], ids=["no rollback.sql", "no verify.sql", "unknown dependency", "on itself", "circle",
        "an import that fails", "a syntax error", "an entry twice"])
def test_a_migration_that_yoyo_would_skip_is_an_error(shared, spoil, said):
    shared.add("002_a")
    spoil(shared)
    done = shared.run("migrate", code=2)
    for path in (shared.folder / "sql").glob("00[23]*"):
        subprocess.run(["rm", "-r", path], check=True)
    assert "MB909" in done.err and said in done.err


# Side by side ------------------------------------------------------------------


def test_a_second_runner_exits_5_and_says_who_since_when(project):
    with project.gate():
        first = project.start("migrate")
        project.stands_still()
        for command in (["migrate"], ["rollback", "--all", "--yes"], ["adopt", FIRST],
                        ["migrate", "--dry-run"]):
            done = project.call(*command, code=5)
            assert "MB908" in done.err and re.search(
                r"another runner is at work: runner migrate \(backend \d+, login \S+, "
                r"correlation id [0-9a-f-]{36}\) since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC",
                done.err)
        for command in ("status", "plan", "graph"):
            project.call(command, code=None)
    assert "1 migrated" in finish(first).err


def test_yoyo_refuses_while_a_runner_is_at_work(project):
    impatient = ("from yoyo.backends import DatabaseBackend as backend\n"  # by itself it waits 10 s
                 "backend.lock.__wrapped__.__defaults__ = (0.5,)\n")
    with project.gate():
        first = project.start("migrate")
        project.stands_still()
        yoyo = project.start("apply", "--batch", program=(*YOYO[:2], impatient + YOYO[2]))
        assert "has locked this database" in finish(yoyo, 1, never=()).err
    finish(first)
    assert project.states()["002_a"] == "applied"


def test_the_runner_refuses_while_yoyo_is_at_work(project):
    with project.gate():
        yoyo = project.start("apply", "--batch", program=YOYO)
        project.stands_still()
        for command in (["migrate"], ["rollback", "--last", "--yes"], ["migrate", "--dry-run"]):
            done = project.call(*command, code=5)
            assert "MB908" in done.err and "break-lock" in done.err
            assert re.search(rf"yoyo is at work: process {yoyo.pid} since "
                             r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d.* UTC", done.err)
    finish(yoyo, never=())
    project.call("migrate")
    assert project.states()["002_a"] == "applied"


def test_a_dry_run_and_yoyo_at_the_same_time_do_each_their_work(project):
    with project.gate():
        trial = project.start("migrate", "--dry-run")
        project.stands_still()
        yoyo = project.start("apply", "--batch", program=YOYO)
        project.wait_for("select exists (select from pg_stat_activity where state = 'active'"
                         " and wait_event = 'transactionid' and datname = current_database())")
    assert "nothing was changed" in finish(trial).err
    finish(yoyo, never=())
    assert project.states() == {FIRST: "applied", "002_a": "adopt"}


def test_runners_at_once_apply_each_migration_once(fresh):
    for number in range(2, 6):
        fresh.add(f"{number:03}_t{number}")
    codes = {finish(child, None).code for child in [fresh.start("migrate") for _ in range(3)]}
    assert 0 in codes and codes <= {0, 5}
    assert sorted(operations(fresh)) == [(name, "apply") for name in sorted(fresh.states())]
    assert len(operations(fresh)) == 5


def test_the_lock_row_of_a_killed_runner_is_healed(project):
    project.execute("insert into public.yoyo_lock (locked, ctime, pid) values (1, now(), -4711)")
    project.add("002_a")
    project.call("migrate")
    assert project.execute("select count(*) from public.yoyo_lock") == [(0,)]


def test_a_killed_runner_does_not_stop_the_next_one_for_long(project):
    with project.gate():
        first = project.start("migrate")
        project.stands_still()
        first.kill()
        first.communicate()
        project.add("002_a")
        until(lambda: project.call("migrate", code=None).code == 0, "the lock was let go")
    assert project.states()["002_a"] == "applied"


def test_a_stale_lock_of_a_killed_yoyo_exits_5_with_the_way_out(project):
    with project.gate():
        yoyo = project.start("apply", "--batch", program=YOYO)
        project.stands_still()
        yoyo.kill()
        yoyo.communicate()
        done = project.call("migrate", code=5)
    assert f"process {yoyo.pid} since" in done.err and "make yoyo CMD=break-lock" in done.err
    project.wait_for("select count(*) = 1 from pg_stat_activity where datname = current_database()")
    assert project.execute("select pid from public.yoyo_lock") == [(yoyo.pid,)]
    project.yoyo("break-lock", "--batch")
    project.call("migrate")
    assert project.states()["002_a"] == "applied"


def test_the_lock_is_per_database(project, database):
    with database.connect() as conn:
        conn.execute(TAKE_LOCK)
        project.add("002_a")
        project.call("migrate")


# A uid that nobody knows -------------------------------------------------------


def test_a_uid_without_a_passwd_entry_migrates(project):
    """As in a container; yoyo itself crashes there between the script and its mark."""
    other = ("unshare", "--user", "--map-user=4242", "--map-group=4242", "--")
    if not shutil.which("unshare") or subprocess.run([*other, "true"], check=False).returncode:
        pytest.skip("no user namespaces here")
    project.add("002_a")
    nobody = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "")
    child = project.start("migrate", program=(*other, sys.executable, "runner.py"), **nobody)
    assert "1 migrated" in finish(child).err
    assert project.execute("select username from public._yoyo_log order by created_at_utc desc"
                           " limit 1") == [("uid 4242",)]
