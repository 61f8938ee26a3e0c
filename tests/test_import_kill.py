"""Killed in mid-import, client, backend or server: run again, it ends as if nothing had happened.

SEED= repeats a run, KILLS= sets its length; TORTURE=1 makes it fifty times as long and keeps what
came of it in tests/TORTURE.md.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from conftest import PATIENCE, PROJECT, Database
from core_rows import migrator
from import_helpers import EXAMPLES, NO_LOG, SEED, TORTURE, contents, faults
from project import until
from test_examples import generate

from fleet import server

pytest_plugins = ("import_helpers", "project")

KILLS = int(os.environ.get("KILLS", "1000" if TORTURE else "10"))
OF_ONE = 5  # kills of one import, each time a little further
IMPORTS = -(-KILLS // OF_ONE)
RESULT = PROJECT / "tests" / "TORTURE.md"
WAYS = ("client", "backend", "postmaster")
WORKERS = ("from pg_stat_activity where application_name = 'runner import'"
           " and datname = current_database()")


@pytest.fixture(scope="module")
def origin(own_server: server.Server) -> Database:
    """A migrated database of a server that may be killed, for cloning only."""
    main = Database(dict(own_server.parts()))
    main.execute("create database origin")
    made = Database(main.parts | {"dbname": "origin"})
    with made.connect() as conn:
        migrator(conn).migrate()
    return made


def make_stage(origin: Database) -> Database:
    """A clone of the migrated database, in place of the one before."""
    with origin.connect(dbname="postgres") as conn:
        conn.execute("drop database if exists stage with (force)")
        conn.execute("create database stage template origin")
    return Database(origin.parts | {"dbname": "stage"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bots with plain files, odd files, bad files, backups and a single file."""
    made = tmp_path_factory.mktemp("kill") / "bots"
    generate("bulk", made, "--bots", "3", "--messages", "4500", "--contacts", "240",
             "--bad-percent", "3")
    for name in ("legacy/mila", "legacy/vera_2019", "broken/lena"):
        shutil.copytree(EXAMPLES / name, made / Path(name).name)
    return made


def start(stage: Database, folder: Path) -> subprocess.Popen:
    """The import, at work."""
    child = subprocess.Popen(
        [sys.executable, PROJECT / "runner.py", "import", folder, "--json"],
        env=stage.environment(PGOPTIONS=NO_LOG), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True)
    with stage.connect(options=NO_LOG) as conn:
        until(lambda: child.poll() is not None or conn.execute(
            "select exists (select from json_import.run where finished_at is null)"
            ).fetchone()[0], "the import has begun")
    return child


@pytest.fixture(scope="module")
def undisturbed(origin: Database, folder: Path) -> tuple[float, dict]:
    """How long an import takes that nobody kills, and what the tables hold then."""
    stage = make_stage(origin)
    child = start(stage, folder)
    started = time.monotonic()
    assert child.wait() == 6, child.communicate()
    seconds = time.monotonic() - started
    assert faults(stage) == {}
    return seconds, contents(stage)


def kill(rng: random.Random, child: subprocess.Popen, stage: Database, own: server.Server) -> str:
    """Kills one of the three; returns which."""
    way = rng.choices(WAYS, (4, 4, 2))[0]
    if way == "client":
        child.send_signal(signal.SIGKILL)
    elif way == "backend":
        pids = sorted(pid for (pid,) in stage.execute(f"select pid {WORKERS}"))
        if pids:
            stage.execute("select pg_terminate_backend(%s)", [rng.choice(pids)])
    elif rng.random() < 0.5:
        own.stop("immediate")
    else:
        os.kill(own.pid(), signal.SIGKILL)
        until(lambda: own.pid() is None, "the postmaster is gone")
    return way


@dataclass
class Tally:
    """What came of the imports: who was killed how often, and how many ended as they should."""

    kills: Counter = field(default_factory=Counter)
    begun: int = 0
    good: int = 0

    def text(self, server_version: str, changed: bool, commit: str) -> str:
        """As it is kept in the repository."""
        total = self.kills.total()
        outcome = ("each ended like one that nobody had killed"
                   if self.begun == self.good == IMPORTS else
                   f"NOT PASSED: {self.good} of {self.begun} begun ended like one that nobody had"
                   f" killed, {IMPORTS - self.begun} were not begun")
        kinds = ", ".join(f"{way} {self.kills[way]:,}" for way in WAYS)
        rows = (("when", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
                ("commit", f"{commit}{' and changes on top of it' if changed else ''}"),
                ("server", f"PostgreSQL {server_version}"), ("seed", SEED),
                ("kills", f"{total:,} of {KILLS:,}: {kinds}"), ("imports", f"{IMPORTS:,}"),
                ("outcome", outcome))
        return HEADING + "".join(f"| {name} | {value} |\n" for name, value in rows)


HEADING = """# The last torture run

`make torture` wrote this. tests/test_import_kill.py kills imports at random moments (the client by
SIGKILL, one of its backends, or the whole server), runs each again until it is through, and
compares every table and the ledger with those of an import that nobody disturbed.

| | |
|---|---|
"""


@pytest.fixture(scope="module")
def tally(origin: Database) -> Iterator[Tally]:
    """Counts what this module does; after a torture run the count becomes the kept result."""
    made = Tally()
    version = origin.execute("show server_version")[0][0].partition(" ")[0]
    yield made
    if TORTURE:
        git = partial(subprocess.check_output, cwd=PROJECT, text=True)
        changed = git(["git", "status", "--porcelain", "--", ".",
                       f":(exclude){RESULT.relative_to(PROJECT)}"])
        commit = git(["git", "rev-parse", "--short", "HEAD"]).strip()
        RESULT.write_text(made.text(version, bool(changed), commit), "utf-8")


@pytest.mark.parametrize("number", range(IMPORTS))
def test_a_killed_import_ends_like_an_undisturbed_one(
        number, origin, own_server, folder, undisturbed, tally):
    seconds, wanted = undisturbed
    rng = random.Random(f"{SEED} {number}")  # noqa: S311
    stage, ways = make_stage(origin), []
    tally.begun += 1
    print(f"SEED={SEED}, import {number}, undisturbed {seconds:.1f} s")
    while len(ways) < min(OF_ONE, KILLS - number * OF_ONE):
        child = start(stage, folder)
        time.sleep(rng.uniform(0, seconds / OF_ONE))
        way = kill(rng, child, stage, own_server)
        _, noise = child.communicate(timeout=PATIENCE)
        assert "Traceback" not in noise and "the runner failed" not in noise, noise
        own_server.start()  # if it was killed
        with stage.connect(options=NO_LOG) as conn:
            until(lambda: not conn.execute(f"select {WORKERS}").fetchall(),
                  "the killed import's backends are gone")
        assert faults(stage) == {}, (way, ways)
        if child.returncode in (0, 6):  # too late
            stage = make_stage(origin)
        else:
            assert child.returncode == (-9 if way == "client" else 1), noise
            ways.append(way)
            tally.kills[way] += 1
    child = start(stage, folder)
    assert json.loads(child.communicate(timeout=PATIENCE)[0]) and child.returncode in (0, 6)
    assert contents(stage) == wanted, ways
    tally.good += 1
