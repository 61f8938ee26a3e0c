"""A throw-away copy of the project, so that a test may edit migrations and meet the real runner.

Of the migrations it holds the first one only: how the runner works doesn't depend on what else the
repository ships. A test module takes its fixtures by `pytest_plugins = "project"`.
PYTEST_DONT_REWRITE: it is imported before it is named as a plugin.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import pexpect
import psutil
import psycopg
import pytest
from conftest import PATIENCE, Database, clone, private_server
from core_rows import migrator

import runner
from checks import __main__ as make_check
from checks import tools
from fleet import server

ORIGIN = Path(__file__).resolve().parent.parent
FIRST = "001_core_schema"
NEVER = ("Traceback", "the runner failed")  # whatever happens
ENTRY = (ORIGIN / "sql/001_core_schema.py").read_text("utf-8").replace("set()", "{depends!r}")
YOYO = (sys.executable, "-c",
        "import sys; from yoyo.scripts.main import main; sys.argv[0] = 'yoyo'; main()")
SLOW = (tools.squawk, tools.pgspot)
# What the runner does to keep others out; written out, so that a change is noticed.
TAKE_LOCK = "begin; lock table public._migration_lock in share update exclusive mode"
# What a read must leave as it is: every object's row version, and the rows of the registry.
CATALOGS = ("pg_class", "pg_proc", "pg_constraint", "pg_namespace", "pg_trigger", "pg_attribute")
REGISTRY = ("public._yoyo_migration", "public._yoyo_log", "public._yoyo_version",
            "public._migration_history", "public.yoyo_lock")


class Reachable(Protocol):
    """What a project needs of a database: conftest.Database, or a private server's."""

    def connect(self, **parts: str) -> psycopg.Connection: ...
    def environment(self, **more: str) -> dict[str, str]: ...


@dataclass(frozen=True)
class Done:
    """What a finished runner leaves: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as JSON; fails if there is anything else on it."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        return self.out + self.err

    def check(self, code: int | None, never: Sequence[str] = NEVER) -> "Done":
        """Itself; fails on another exit code, or on a word that must never show."""
        assert not [word for word in never if word in self.said], self.said
        assert code is None or self.code == code, f"exit code {self.code}\n{self.said}"
        return self


class Project:
    """runner.py, fleet/, sql/ and yoyo.ini in a folder of their own, working on one database."""

    def __init__(self, folder: Path, database: Reachable) -> None:
        self.folder, self.database = folder, database
        folder.mkdir(exist_ok=True)
        for name in ("fleet", "sql/000_registry", f"sql/{FIRST}"):
            shutil.copytree(ORIGIN / name, folder / name)
        for name in ("runner.py", "yoyo.ini", f"sql/{FIRST}.py"):
            shutil.copy2(ORIGIN / name, folder / name)

    def path(self, migration: str, name: str) -> Path:
        return self.folder / "sql" / migration / f"{name}.sql"

    def add(self, migration: str, apply: str = "", rollback: str = "", verify: str = "", *,
            depends: Sequence[str] = (FIRST,)) -> None:
        """Writes (or overwrites) a migration; left empty, a part makes, drops or finds its table.

        The table is public.<letters after the number>, so 002_a is public.a.
        """
        table = f"public.{migration.partition('_')[2]}"
        (self.folder / "sql" / f"{migration}.py").write_text(ENTRY.format(depends=set(depends)))
        self.path(migration, "apply").parent.mkdir(exist_ok=True)
        for name, text in (
                ("apply", apply or f"-- {migration}: a table.\ncreate table {table} (a int);\n"),
                ("rollback", rollback or f"drop table {table};\n"),
                ("verify", verify or f"select 'the table is there', "
                                     f"to_regclass('{table}') is not null, null::text;\n")):
            self.path(migration, name).write_text(text, "utf-8", newline="")

    def remove(self, migration: str) -> None:
        """Takes a migration's entry and folder away."""
        (self.folder / "sql" / f"{migration}.py").unlink()
        shutil.rmtree(self.folder / "sql" / migration)

    def start(self, *args: str, program: Sequence[str] = (sys.executable, "runner.py"),
              **env: str) -> subprocess.Popen:
        """A runner (or another program) at work, with pipes and no terminal."""
        return subprocess.Popen(
            [*program, *args], cwd=self.folder, env=self.database.environment(**env), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", start_new_session=True)

    def run(self, *args: str, code: int | None = 0, **env: str) -> Done:
        """Runs the runner to its end; fails on another exit code than `code` (None: any)."""
        return finish(self.start(*args, **env), code)

    def call(self, *args: str, code: int | None = 0, **env: str) -> Done:
        """As `run`, but within this process, which saves half a second. Not for exec."""
        # within this process nobody else could end it
        env = {"PGOPTIONS": f"-cstatement_timeout={PATIENCE}s", **env}
        out, err = io.StringIO(), io.StringIO()
        with (patch.object(runner, "PROJECT", self.folder), redirect_stdout(out),
              patch.dict(os.environ, self.database.environment(**env), clear=True),
              redirect_stderr(err), chdir(self.folder)):
            try:
                exit_code = runner.main(list(args))
            except SystemExit as end:  # argparse
                exit_code = end.code
        return Done(exit_code, out.getvalue(), err.getvalue()).check(code)

    def yoyo(self, *args: str, code: int | None = 0) -> Done:
        """Runs yoyo as a user would; its tracebacks are its own affair."""
        return finish(self.start(*args, program=YOYO), code, never=())

    def terminal(self, *args: str, **env: str) -> pexpect.spawn:
        """The runner in a terminal of 100 columns."""
        surrounding = self.database.environment(**{"TERM": "xterm-256color", **env})
        for name in ("COLUMNS", "NO_COLOR"):
            if name not in env:
                surrounding.pop(name, None)
        return pexpect.spawn(sys.executable, ["runner.py", *args], cwd=str(self.folder),
                             timeout=PATIENCE, env=surrounding, dimensions=(40, 100),
                             encoding="utf-8")

    def states(self) -> dict[str, str]:
        """The state of each migration by its id, as `status` tells it."""
        document = self.call("status", "--json", code=None).document
        return {row["migration"]: row["state"] for row in document}

    def execute(self, text: str, arguments: Sequence | None = None) -> list[tuple]:
        with self.database.connect() as conn:
            cursor = conn.execute(text, arguments)
            return cursor.fetchall() if cursor.description else []

    def has(self, table: str) -> bool:
        return self.execute("select to_regclass(%s) is not null", [table])[0][0]

    def digest(self) -> dict[str, Any]:
        """Changes with any write to catalog or registry, also with one that changes nothing."""
        rows = "select md5(coalesce(string_agg(concat(ctid, xmin), ' ' order by ctid), '')) from "
        tables = [*CATALOGS, *(name for name in REGISTRY if self.has(name))]
        return {name: self.execute(rows + name)[0][0] for name in tables}

    def wait_for(self, query: str, seconds: float = PATIENCE) -> None:
        """Returns when the query's first value is true."""
        with self.database.connect() as conn:
            until(lambda: conn.execute(query).fetchone()[0], query, seconds)

    @contextmanager
    def gate(self) -> Iterator[None]:
        """While it is closed, whoever applies 002_a stands still, its table made."""
        self.add("002_a", "create table public.a (a int); select pg_advisory_xact_lock(1);")
        with self.database.connect() as conn:
            conn.execute("select pg_advisory_lock(1)")
            yield

    def stands_still(self) -> None:
        """Returns when somebody has come to the gate."""
        self.wait_for("select exists (select from pg_stat_activity where wait_event = 'advisory'"
                      " and datname = current_database())")

    def runner_is_asleep(self) -> None:
        """Returns when a migration of a runner of this database has reached its pg_sleep."""
        self.wait_for("select exists (select from pg_stat_activity where wait_event = 'PgSleep'"
                      " and datname = current_database() and application_name like 'runner %')")


class Whole(Project):
    """The project with all its migrations."""

    def __init__(self, folder: Path, database: Reachable) -> None:
        super().__init__(folder, database)
        shutil.rmtree(folder / "sql")
        shutil.copytree(ORIGIN / "sql", folder / "sql")

    def edit(self, part: str, old: str, new: str) -> None:
        """Replaces a text in a file of sql/, once."""
        path = self.folder / "sql" / part
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")


def finish(child: subprocess.Popen, code: int | None = 0, never: Sequence[str] = NEVER) -> Done:
    """Waits for the end of a started child and checks what it left."""
    try:
        out, err = child.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        raise
    return Done(child.returncode, out, err).check(code, never)


def said_of(root: Path, names: set[str]) -> list[str]:
    """What `make check` says of the migrations of these names in a copy of the project."""
    def found(check: Callable) -> list[str]:
        return [said for said in check(root) if mine.match(said)]

    mine = re.compile(rf"sql/\d+_({'|'.join(names)})[./]")
    assert {name for path in root.glob("sql/*/") for name in mine.findall(f"sql/{path.name}/")
            } == names
    said = [line for check in make_check.CHECKS if check not in SLOW for line in found(check)]
    for folder in root.glob("sql/*/"):  # what the slow ones need not read again
        if not mine.match(f"sql/{folder.name}/"):
            shutil.rmtree(folder)
    return said + [line for check in SLOW for line in found(check)]


def until(truth: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
    """Returns when `truth` is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < deadline, f"not true after {seconds} s: {what}"
        time.sleep(0.02)


def ended(pid: int) -> bool:
    """Whether the process is gone, or waits only for a parent to read how it ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def answers(database: Reachable) -> bool:
    """Whether the server lets somebody in and goes on for a moment."""
    try:
        return bool(database.execute("select pg_sleep(0.1)"))
    except psycopg.Error:
        return False


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory, cluster: Any) -> Iterator[Any]:
    """A database with the first migration applied, for cloning only."""
    for database in clone(cluster, "template0"):
        Project(tmp_path_factory.mktemp("ground") / "project", database).run("migrate")
        yield database


@pytest.fixture
def project(tmp_path: Path, cluster: Any, ground: Any) -> Iterator[Project]:
    """The project on a database of its own with the first migration applied."""
    for database in clone(cluster, ground.name):
        yield Project(tmp_path / "project", database)


@pytest.fixture
def fresh(tmp_path: Path, empty: Any) -> Project:
    """The project on a virgin database."""
    return Project(tmp_path / "project", empty)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cluster: Any, ground: Any
           ) -> Iterator[Project]:
    """As `project`, made once for a file of tests: each leaves it as it was."""
    for database in clone(cluster, ground.name):
        yield Project(tmp_path_factory.mktemp("shared") / "project", database)


@pytest.fixture(scope="module")
def own_server() -> Iterator[server.Server]:
    """A server for one file of tests, which may kill it or change whom it lets in."""
    with private_server() as made:
        yield made


@pytest.fixture(scope="module")
def own_database(own_server: server.Server) -> Database:
    """A migrated database on a server that a test may kill."""
    made = Database(dict(own_server.parts()))
    with made.connect() as conn:
        migrator(conn).migrate()
    return made
