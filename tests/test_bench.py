"""The bench of the import runs, reports contenders and limits, and notices what is not loaded."""

import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from conftest import PROJECT, roomy_folder
from import_helpers import EXAMPLES, NO_LOG, run_import

from bench import import_bench
from bench.measure import Cost

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads /proc")
LIMITS = ("with the right, of copy", "the same, stretch", "without the right, of copy",
          "loop, of the import", "unchanged re-run, of the import",
          "1 % bad files, of the import", "client's memory, MiB", "backend's own memory, MiB")


@pytest.fixture(scope="module")
def printed() -> str:
    """What a run with a thousand messages prints."""
    done = subprocess.run([sys.executable, "-m", "bench.import_bench"], cwd=PROJECT, text=True,
                          capture_output=True, env=os.environ | {
                              "SCALE": "0.0005", "ROUNDS": "1", "NO_COLOR": "1",
                              "TMPDIR": roomy_folder(),
                              "PG_BIN": os.environ.get("TEST_PG_BIN", "")})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_bench_prints_a_row_for_each_contender_and_each_limit(printed):
    lines = printed.splitlines()
    for name in (*(c.name for c in import_bench.CONTENDERS), *LIMITS):
        assert [line for line in lines if line.startswith(name)], (name, printed)


def test_the_bench_says_of_each_limit_whether_it_is_reached(printed):
    found = [line for line in printed.splitlines() if line.startswith(LIMITS)]
    assert all(line.rstrip().endswith("reached") or "NOT REACHED" in line for line in found), found


def results(**spoilt: str) -> import_bench.Results:
    """Results of one round in which all left the same, but for the contenders named."""
    made = import_bench.Results()
    for contender in import_bench.CONTENDERS:
        made.costs[contender.name].append(Cost(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, "1.0"))
        made.inside[contender.name].append(1.0)
        made.contents[contender.wanted].append(
            (contender.name, spoilt.get(contender.name.partition(" ")[0], contender.wanted)))
    return made


def run_main(monkeypatch: pytest.MonkeyPatch, found: import_bench.Results) -> int:
    """The bench's exit code if these are the results of its rounds."""
    @contextmanager
    def laboratory():
        yield SimpleNamespace(server=SimpleNamespace(major=lambda: "18"))

    for name, stand_in in (("laboratory", laboratory), ("generate", lambda *_: None),
                           ("prepare", lambda *_: None), ("compare", lambda *_: found)):
        monkeypatch.setattr(import_bench, name, stand_in)
    return import_bench.main()


def test_the_bench_ends_well_where_all_contenders_left_the_same(monkeypatch):
    assert run_main(monkeypatch, results()) == 0


def test_the_bench_fails_and_names_the_contender_that_left_something_else(monkeypatch, capsys):
    assert run_main(monkeypatch, results(importer="less")) == 1
    assert "warning: importer in Python left less, copy all" in capsys.readouterr().err


@pytest.mark.parametrize("change", [
    "delete from core.messages where $m",
    "update core.messages set body = body || '.' where $m",
    "update core.messages set sent_at = sent_at + interval '1 microsecond' where $m",
    "update core.messages set direction = replace('inout', direction, '') where $m",
    "update core.girls_profiles set name = name || '.' where profile_id = 1",
], ids=["a message is missing", "a text", "a time", "a direction", "a name"])
def test_what_the_bench_compares_changes_with(database, change):
    run_import(database, EXAMPLES / "legacy")
    query = (import_bench.HERE / "content.sql").read_text("utf-8")
    with database.connect(options=NO_LOG) as conn:
        before = conn.execute(query).fetchall()
        one = "message_id = (select min(message_id) from core.messages)"
        assert conn.execute(change.replace("$m", one)).rowcount == 1
        assert conn.execute(query).fetchall() != before
