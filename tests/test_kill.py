"""Killed in mid-migrate, the runner or the server: a migration is there whole or not at all.

SEED= repeats a run; TORTURE=1 makes it ten times as long.
"""

import os
import random
import signal
import time

import pytest
from conftest import PATIENCE, Database
from project import FIRST, Project, until

from fleet import server

pytest_plugins = "project"
SEED = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
MOMENTS = 200 if os.environ.get("TORTURE") else 12
NAMES = [f"{number:03}_t{number}" for number in range(2, 6)]


@pytest.fixture(scope="module")
def stage(own_server: server.Server, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """001 applied, and four more to come that take 50 to 150 ms each."""
    made = Project(tmp_path_factory.mktemp("kill") / "project", Database(dict(own_server.parts())))
    made.call("migrate")
    for pause, name in zip((0.05, 0.15, 0.08, 0.06), NAMES, strict=True):
        table = name[4:]
        made.add(name, f"create table public.{table} (a int);\nselect pg_sleep({pause / 2});\n"
                       f"insert into public.{table} select generate_series(1, 1000);\n"
                       f"select pg_sleep({pause / 2});\n"
                       f"create index {table}_idx on public.{table} (a);\n")
    return made


@pytest.fixture(scope="module")
def seconds(stage: Project) -> float:
    """How long the runner is at work when nobody kills it."""
    child = stage.start("migrate")
    until(lambda: runners(stage), "the runner is connected")
    started = time.monotonic()
    child.communicate()
    return time.monotonic() - started


def runners(stage: Project) -> list[tuple]:
    return stage.execute("select pid from pg_stat_activity where application_name like 'runner %'")


def applied(stage: Project, name: str) -> bool:
    """Whether all of a migration is there; fails if a part of it is."""
    table = name[4:]
    found = {
        "table": stage.has(f"public.{table}"), "index": stage.has(f"public.{table}_idx"),
        "yoyo's mark": bool(stage.execute(
            "select 1 from public._yoyo_migration where migration_id = %s", [name])),
        "our history": stage.execute(
            "select operation from public._migration_history where migration_id = %s"
            " order by history_id desc limit 1", [name]) == [("apply",)]}
    if found["table"]:
        found["rows"] = stage.execute(f"select count(*) from public.{table}") == [(1000,)]
    assert len(set(found.values())) == 1, f"SEED={SEED}: {name} is there in part: {found}"
    return found["table"]


@pytest.mark.parametrize("number", range(MOMENTS))
def test_a_kill_at_any_moment_leaves_whole_migrations(stage, own_server, seconds, number):
    chance = random.Random(f"{SEED}-{number}")  # noqa: S311
    print(f"SEED={SEED}, moment {number}")
    stage.call("rollback", "--to", FIRST, "--yes")
    child = stage.start("migrate")
    until(lambda: runners(stage), "the runner is connected")
    time.sleep(chance.uniform(0, seconds))
    way = chance.choices(("kill -9", "Ctrl-C", "postmaster"), (5, 2, 3))[0]
    if way == "postmaster":
        os.kill(own_server.pid(), signal.SIGKILL)
        until(lambda: own_server.pid() is None, "the postmaster is gone")
    else:
        child.send_signal(signal.SIGKILL if way == "kill -9" else signal.SIGINT)
    _, noise = child.communicate(timeout=PATIENCE)
    assert "Traceback" not in noise and "the runner failed" not in noise, noise
    codes = {"kill -9": (-9, 0), "Ctrl-C": (130, -2, 0), "postmaster": (1, 0)}[way]
    assert child.returncode in codes, f"{way}: {child.returncode}, {noise}"
    own_server.start()  # if it was killed
    until(lambda: not runners(stage), "the killed runner's backend is gone")

    kept = [name for name in NAMES if applied(stage, name)]
    assert kept == NAMES[:len(kept)]
    stage.call("migrate")
    assert all(applied(stage, name) for name in NAMES)
    checks = stage.call("verify", "--json").document
    assert {row["migration"] for row in checks} == {FIRST, *NAMES}
    assert all(row["ok"] for row in checks)
