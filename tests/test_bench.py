"""The benches of the import and the audit run, report contenders and limits, and notice what is
not loaded, not left or not logged."""

import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest
from conftest import PROJECT, roomy_folder
from import_helpers import EXAMPLES, NO_LOG, run_import

from bench import audit_bench, import_bench
from bench.measure import Cost, laboratory
from fleet.screen import Screen

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


# The audit's --------------------------------------------------------------------


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory):
    """A laboratory for the bench of the audit, in which every series is short."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        if binaries := os.environ.get("TEST_PG_BIN"):
            patch.setenv("PG_BIN", binaries)
        for name, value in (("PERIOD", 0.4), ("PAUSE", 0.1), ("CALLS", 5), ("BOTS", 5)):
            patch.setattr(audit_bench, name, value)
        patch.setattr(tempfile, "tempdir", roomy_folder())
        lab = stack.enter_context(laboratory((*audit_bench.SETTINGS, ("fsync", "off"))))
        folder = tmp_path_factory.mktemp("files") / "bots"
        audit_bench.generate(folder, 300)
        audit_bench.prepare(lab, 600)
        yield lambda: audit_bench.run(lab, 0.001, 1, folder, Screen()), lab


def test_the_audits_bench_has_a_row_for_all_that_it_compares_and_for_each_limit(raced, capsys):
    run, _ = raced
    assert run() == 0, capsys.readouterr().err
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    for contender in audit_bench.CONTENDERS:
        for work in (*audit_bench.BULK, *audit_bench.SINGLE, audit_bench.LOAD):
            assert sum(re.match(rf"{work} +{contender.name}  .*\d$", line) is not None
                       for line in lines) == 1, (work, contender.name, lines)
    for what in (*(f"{work}, {name}" for work, name, *_ in audit_bench.SPEEDS),
                 "import, policy keys, of the time", "bytes of log per row, policy changed",
                 "seal, blocks of policy changed, rows/s"):
        assert [line for line in lines if re.match(rf"{what} +at .* (NOT )?REACHED$", line, re.I)]


def test_the_audits_bench_fails_if_a_contender_logs_less_or_leaves_other_rows(raced, capsys):
    run, lab = raced
    with lab.connect("jsonb_per_row") as conn:
        conn.execute("create function public.lose() returns trigger language plpgsql as"
                     " 'begin new.body := ''lost''; return new; end'")
        conn.execute("create trigger lose before update on core.messages for each row"
                     " execute function public.lose()")
    with lab.connect("policy_keys") as conn:
        conn.execute("alter table core.messages disable trigger audit_delete")
    assert run() == 1
    said = capsys.readouterr().err
    assert "policy keys: bulk: the log has {'INSERT': 600, 'UPDATE': 300}, not" in said
    assert "jsonb per row: bulk left" in said and "jsonb per row: row by row left" in said
    assert said.count("warning:") == 3
