"""`runner.py new` and `plan --sql`: files to start from, scripts to paste."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from project import FIRST, ORIGIN, Project, finish, said_of

from fleet import new as module

pytest_plugins = "project"
STUB = """create schema security;
create function security.expect_inventory(text default null) returns void language sql as 'select';
create function security.accept_inventory(text) returns int language sql as 'select 1';"""
KINDS = pytest.mark.parametrize("flags", [(), ("--no-transaction",)], ids=["whole", "stepwise"])


def tree(project: Project) -> dict[str, bytes]:
    """Every file below sql/."""
    sql_folder = project.folder / "sql"
    return {str(path.relative_to(sql_folder)): path.read_bytes()
            for path in sql_folder.rglob("*") if path.is_file()}


# new -----------------------------------------------------------------------------


@KINDS
def test_what_new_makes_applies_verifies_and_rolls_back_as_it_is(project, flags):
    project.execute(STUB)
    done = project.call("new", "invoices", "--json", *flags)
    assert [row["file"] for row in done.document] == [
        "sql/002_invoices/apply.sql", "sql/002_invoices.py", "sql/002_invoices/invoices.sql",
        "sql/002_invoices/rollback.sql", "sql/002_invoices/verify.sql"]
    assert "002_invoices is made, after 001_core_schema" in done.err
    assert project.states()["002_invoices"] == "pending"
    project.call("migrate")
    assert project.call("verify", "--json").document[-1]["check_name"] == "002_invoices is there"
    project.call("rollback", "--last", "--yes")
    project.yoyo("apply", "--batch")
    project.call("migrate")
    project.yoyo("rollback", "--batch", "-r", "002_invoices")
    for name in ("apply", "verify", "rollback"):
        one = () if flags else ("-1",)
        subprocess.run(["psql", "-Xq", *one, "-v", "ON_ERROR_STOP=1", "-f",
                        project.path("002_invoices", name)], check=True,
                       env=project.database.environment(), capture_output=True)


def test_what_new_makes_keeps_every_rule(tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(ORIGIN, root, ignore=shutil.ignore_patterns(
        ".git", ".venv*", ".pgdata", "tests", "bench", "examples", "__pycache__"))
    for arguments in (("invoices",), ("counters", "--no-transaction")):
        subprocess.run([sys.executable, "runner.py", "new", *arguments], cwd=root, check=True,
                       env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True)
    assert len(list(root.glob("sql/*_invoices*"))) == len(list(root.glob("sql/*_counters*"))) == 2
    assert said_of(root, {"invoices", "counters"}) == []


def test_a_second_one_takes_the_next_number_and_depends_on_the_first(project):
    project.call("new", "one")
    project.call("new", "two")
    assert '__depends__ = {"002_one"}' in (project.folder / "sql/003_two.py").read_text()
    project.call("new", "three", "--depends", "001")
    assert f'__depends__ = {{"{FIRST}"}}' in (project.folder / "sql/004_three.py").read_text()
    assert json.loads(project.call("graph", "--json").out)[-1]["depends_on"] == FIRST


@pytest.mark.parametrize(("name", "says"), [
    ("core_schema", "sql/001_core_schema is called so already"), ("Big", "'Big' can't name"),
    ("7up", "can't name"), ("006_x", "can't name"), ("a-b", "can't name"), ("", "can't name"),
    ("a/b", "can't name"), ("x" * 51, "can't name"), ("наряд", "can't name"),
    ("verify", "verify.sql is a file of every migration")])
def test_a_name_that_can_not_be_is_refused_and_nothing_written(shared, name, says):
    before = tree(shared)
    done = shared.call("new", name, code=2)
    assert "MB909" in done.err and says in done.err and "next: " in done.err
    assert tree(shared) == before


def test_a_dependency_that_is_not_there_is_refused_and_nothing_written(shared):
    before = tree(shared)
    assert "no migration is called '077'" in shared.call("new", "x", "--depends", "077", code=2).err
    assert tree(shared) == before


def test_a_dry_run_writes_nothing(shared):
    before = tree(shared)
    done = shared.call("new", "x", "--dry-run")
    assert "nothing was changed: 002_x would be made" in done.err and "002_x.py" in done.out
    assert tree(shared) == before


def test_a_folder_that_can_not_be_written_to_is_an_error_with_the_next_step(shared, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(module, "_write", refuse)
    done = shared.call("new", "x", code=2)
    assert "MB900" in done.err and "Permission denied" in done.err and "next: Let" in done.err


@pytest.mark.parametrize("moment", range(1, 8))
def test_killed_in_the_middle_it_leaves_nothing_half(project, monkeypatch, moment):
    """Ended before each of its steps: five files, two renames."""
    before, steps = tree(project), iter(range(1, 99))

    def ending(original):
        def step(*arguments, **named):
            if next(steps) == moment:
                raise SystemExit(9)
            return original(*arguments, **named)
        return step

    with monkeypatch.context() as patched:
        for name in ("write_text", "rename"):
            patched.setattr(Path, name, ending(getattr(Path, name)))
        patched.setattr("tempfile.TemporaryDirectory.cleanup", lambda _: None)  # as a kill would
        patched.setattr("tempfile.TemporaryDirectory._cleanup", lambda *_, **__: None)
        project.call("new", "x", code=9)
    entries = {path for path in tree(project) if path.endswith(".py") and "/" not in path}
    assert entries == {f"{FIRST}.py"} and list(project.states()) == [FIRST]
    project.call("new", "y")
    assert not list((project.folder / "sql").glob(".new-*"))
    made = "003_y" if moment == 7 else "002_y"
    finished = {"002_x", made} if moment == 7 else {made}
    assert set(project.states()) == {FIRST, *finished}
    assert {path.split("/")[0].removesuffix(".py") for path in tree(project).keys() - before.keys()
            } == finished


def test_one_waits_for_the_other(project):
    folder = os.open(project.folder / "sql", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    child = project.start("new", "one")
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(2)
    project.add("002_other")
    os.close(folder)
    finish(child)
    assert "003_one" in project.states()


def test_two_at_once_take_two_numbers(project):
    children = [project.start("new", name) for name in ("one", "two", "three")]
    for child in children:
        finish(child)
    assert sorted(name[:3] for name in project.states()) == ["001", "002", "003", "004"]


# plan --sql --------------------------------------------------------------------------


@pytest.fixture
def pasted(project: Project) -> Project:
    """Two pending migrations, the first with a topic file, a tab and a long line."""
    project.add("002_a", "-- 002_a: a table.\n\\ir part.sql\n\n\\ir other.sql\n")
    project.path("002_a", "part").write_text(f"-- A part.\n\ncreate table public.a (\n\ta int)"
                                             f"; -- {'x' * 300} [bold]\n")
    project.path("002_a", "other").write_text("-- Ünder.\n\nselect '👋';\n")
    project.add("003_b", "-- 003_b: x.\n-- transaction: none\ncreate table public.b (a int);\n")
    return project


def test_plan_sql_prints_what_is_pending_in_one_piece_that_any_tool_runs(pasted):
    text = pasted.call("plan", "--sql").out
    expected = (f"begin;\n-- 002_a: a table.\n-- A part.\n\ncreate table public.a (\n\ta int); "
                f"-- {'x' * 300} [bold]\n\n-- Ünder.\n\nselect '👋';\ncommit;\n"
                "-- 003_b: x.\n-- transaction: none\ncreate table public.b (a int);\n")
    assert text == expected
    assert not [line for line in text.splitlines() if line.startswith("\\")]
    pasted.execute(text)
    for migration in ("002_a", "003_b"):
        pasted.call("adopt", migration)
    assert set(pasted.states().values()) == {"applied"}
    assert pasted.call("plan", "--sql").out == ""


def test_plan_sql_of_one_migration_needs_no_server(pasted):
    done = pasted.call("plan", "--sql", "003", PGHOST="127.0.0.1", PGPORT="1")
    assert done.out == "-- 003_b: x.\n-- transaction: none\ncreate table public.b (a int);\n"
    assert "runner.py adopt 003_b" in done.err


def test_plan_sql_as_a_document(pasted):
    assert [(row["migration"], row["transaction"]) for row in
            pasted.call("plan", "--sql", "--json").document] == [("002_a", True), ("003_b", False)]
    (one,) = pasted.call("plan", "--sql", "002_a", "--json").document
    assert "\ta int)" in one["sql"] and "\\ir" not in one["sql"]


def test_plan_sql_prints_no_command_of_psql(pasted):
    pasted.path("002_a", "part").write_text("-- A part.\n\n\\echo hello\n")
    done = pasted.call("plan", "--sql", "002_a", code=1)
    assert "sql/002_a/part.sql:3: a command of psql" in done.err and done.out == ""
    assert "MB909" in pasted.call("plan", "--sql", "nothing", code=2).err
