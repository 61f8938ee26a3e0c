"""The runner behind PgBouncer in transaction mode: no transaction follows another on the same
connection there, and each setting of a session may be anybody's."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, Database
from pooler import pooled
from project import Project, finish, until

from fleet import lock

pytest_plugins = "project"
ROUNDS = 8 if os.environ.get("TORTURE") else 3
LEGACY = PROJECT / "examples/legacy"
# What a runner leaves behind: its lock, yoyo's row, an open transaction, a connection of its own.
LEFT = """
    select (select count(*) from public.yoyo_lock)
         + (select count(*) from pg_locks where relation = 'public._migration_lock'::regclass)
         + (select count(*) from pg_stat_activity where datname = current_database()
            and state like 'idle in transaction%')"""


def through(database: Database) -> dict[str, str]:
    """What makes a runner of the project connect to this pooler."""
    return {"PGHOST": database.parts["host"], "PGPORT": database.parts["port"],
            "PGOPTIONS": ""}  # PgBouncer refuses any


@pytest.fixture
def twenty(project: Project) -> Iterator[dict[str, str]]:
    """The way to the project's database through a pooler of twenty connections."""
    with pooled(project.database, 20) as behind:
        yield through(behind)


def first_to_end(children: list[subprocess.Popen]) -> subprocess.Popen:
    def ended() -> subprocess.Popen | None:
        return next((child for child in children if child.poll() is not None), None)

    until(ended, "a runner ends")
    return ended()


def nothing_is_left(project: Project) -> None:
    project.wait_for(f"select ({LEFT}) = 0")


def test_of_two_runners_at_once_one_is_refused_and_none_leaves_a_lock(project, twenty):
    for number in range(ROUNDS):
        with project.gate():
            children = [project.start("migrate", **twenty) for _ in range(2)]
            loser = first_to_end(children)
            assert "another runner is at work: runner migrate (backend" in finish(loser, 5).err
            project.stands_still()
        assert "1 migrated" in finish(children[children[0] is loser]).err, f"round {number}"
        nothing_is_left(project)
        assert "1 rolled back" in project.call("rollback", "--last", "--yes", **twenty).err
        nothing_is_left(project)


def test_where_two_connections_are_all_each_migration_is_applied_once(project):
    with pooled(project.database, 2) as behind:
        for number in range(2, 2 + ROUNDS):
            project.add(f"{number:03}_t{number}")
            children = [project.start("migrate", **through(behind)) for _ in range(2)]
            codes = {finish(child, None).code for child in children}
            assert 0 in codes and codes <= {0, 5}
            nothing_is_left(project)
    assert project.execute("select count(*), count(distinct migration_id)"
                           " from public._migration_history") == [(1 + ROUNDS,) * 2]


def test_after_a_runner_was_killed_the_next_goes_on(project, twenty):
    with project.gate():
        child = project.start("migrate", **twenty)
        project.stands_still()
        child.kill()
        child.communicate()
    project.add("002_a")
    assert "1 migrated" in project.call("migrate", **twenty).err
    nothing_is_left(project)


@pytest.mark.parametrize(("size", "more"), [(2, {}), pytest.param(
    20, {"max_prepared_statements": "0"}, marks=pytest.mark.torture)])
def test_every_command_works(fresh, size, more):
    shutil.copytree(PROJECT / "sql", fresh.folder / "sql", dirs_exist_ok=True)
    with pooled(fresh.database, size, **more) as behind:
        def run(*args: str | Path, code: int = 0) -> str:
            done = fresh.call(*map(str, args), code=code, **through(behind))
            return done.out + done.err

        assert "5 migrated" in run("migrate")
        run("rollback", "--only", "005", "--yes", "--dry-run")
        assert "1 rolled back" in run("rollback", "--only", "005", "--yes")
        assert "1 migrated" in run("migrate")
        run("status")
        run("diff")
        run("bot", "add", "lena")
        run("bot", "rotate", "lena")
        anna = ("--bot", "anna", LEGACY / "anna")
        run("import", *anna, "--dry-run")
        assert "79 loaded" in run("import", *anna)
        assert "79 unchanged" in run("import", *anna, "--jobs", "1")
        run("retry")
        run("verify", "--bot", "anna", "--source", LEGACY / "anna")
        run("report")
        run("bot", "drop", "lena", "--yes")
        run("maintain")
        run("verify")
        nothing_is_left(fresh)


def test_a_pooler_with_one_connection_is_named_as_too_small(project, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.5)
    project.add("002_a")
    with pooled(project.database, 1) as behind:
        done = project.call("migrate", code=1, **through(behind))
        assert "no second connection from the pooler" in done.err and "pool_size" in done.err
        nothing_is_left(project)
        project.call("status", code=3, **through(behind))
    project.call("migrate")
