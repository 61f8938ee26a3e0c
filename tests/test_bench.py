"""The benches of the import, the audit, the queries, one message, the writers and the roles run,
report contenders and limits, and notice what is not loaded, not left, not logged or not counted;
`make bench` writes down all."""

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

from bench import __main__ as bench
from bench import (
    audit_bench,
    import_bench,
    messages_bench,
    queries_bench,
    race,
    roles_bench,
    writers_bench,
)
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


@pytest.mark.torture
def test_the_bench_prints_a_row_for_each_contender_and_each_limit(printed):
    lines = printed.splitlines()
    for name in (*(c.name for c in import_bench.CONTENDERS), *LIMITS):
        assert [line for line in lines if line.startswith(name)], (name, printed)


@pytest.mark.torture
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


@pytest.mark.torture
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


@pytest.mark.torture
def test_the_audits_bench_fails_if_a_contender_logs_less_or_leaves_other_rows(raced, capsys):
    run, lab = raced
    with lab.connect("jsonb_per_row") as conn:
        conn.execute("create function public.lose() returns trigger language plpgsql as"
                     " 'begin new.body := ''lost''; return new; end'")
        conn.execute("create trigger lose before update on core.messages for each row"
                     " execute function public.lose()")
    with lab.connect("policy_keys") as conn:
        conn.execute("alter event trigger record_schema_change disable")  # or the log has an event
        conn.execute("alter table core.messages disable trigger audit_delete")
    assert run() == 1
    said = capsys.readouterr().err
    assert "policy keys: bulk: the log has {'INSERT': 600, 'UPDATE': 300}, not" in said
    assert "jsonb per row: bulk left" in said and "jsonb per row: row by row left" in said
    assert said.count("warning:") == 3


# The queries' -------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked():
    """A laboratory for the bench of the queries, in which every series is short."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        if binaries := os.environ.get("TEST_PG_BIN"):
            patch.setenv("PG_BIN", binaries)
        for name, value in (("BOTS", 10), ("FEW", 3), ("PLACES", (1, 3)), ("SERIES", 1),
                            ("VIEWS", 2)):
            patch.setattr(queries_bench, name, value)
        patch.setattr(race, "SERIES", 0)  # ten calls each
        patch.setattr(tempfile, "tempdir", roomy_folder())
        lab = stack.enter_context(laboratory((*queries_bench.SETTINGS, ("fsync", "off"))))
        queries_bench.prepare(lab, 2000)
        yield lambda: queries_bench.run(lab, 2000, 1, Screen()), lab


@pytest.mark.torture
def test_the_queries_bench_has_a_row_for_all_that_it_compares_and_for_each_limit(asked, capsys):
    run, _ = asked
    assert run() == 0, capsys.readouterr().err
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    reads = [operation.name for operation in queries_bench.OPERATIONS]
    ours = (queries_bench.OURS, queries_bench.DEFAULT)
    for row in (*(f"{read} +{re.escape(contender.name)}" for read in reads
                  for contender in queries_bench.READERS),
                *(f"{which}, {state}" for which in ("two days", "all days")
                  for state in ("unchanged", "rows missing")),
                *(f"all bots +{size}" for size in ("3 +200", "10 +200", "10 +2,000"))):
        assert sum(re.match(rf"{row}  .*\d$", line) is not None for line in lines) == 1, row
    for what in (*(f"{read}, {name}{more}" for read in reads for name in ours
                   for more in ("", ", stretch")),
                 "roll-up of two days, unchanged, of all",
                 "roll-up of two days, rows missing, of all",
                 "summary, 200 messages, ms", "summary, 2,000 messages, ms"):
        assert [line for line in lines if re.match(rf"{what} +at .* (NOT )?REACHED$", line, re.I)]


@pytest.mark.torture
def test_the_queries_bench_fails_if_the_summary_counts_otherwise(asked, capsys):
    run, lab = asked
    with lab.connect("tenth") as conn:
        conn.execute("update performance.bot_total set messages_in = messages_in + 1")
    assert run() == 1
    said = capsys.readouterr().err
    assert "summary of tenth: bots and messages: (10, 210), not (10, 200)" in said
    assert said.count("warning:") == 1


@pytest.mark.torture
def test_the_queries_bench_fails_if_a_contender_returns_other_rows(asked, capsys):
    run, lab = asked
    with lab.connect("flat") as conn:
        conn.execute("delete from core.bot_metrics where bot_id = 3")
    assert run() == 1
    said = capsys.readouterr().err
    assert "our policy returns other rows for bot_metrics of 30 days (prepared, bot 3)" in said
    assert said.count("warning:") == said.count("returns other rows for bot_metrics") == 2


# One message's ------------------------------------------------------------------


@pytest.fixture(scope="module")
def written():
    """A laboratory for the bench of one message, in which every series is short."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        if binaries := os.environ.get("TEST_PG_BIN"):
            patch.setenv("PG_BIN", binaries)
        for name, value in (("BOTS", 3), ("PLACES", (1, 3)), ("FEW", 2), ("MANY", 4)):
            patch.setattr(messages_bench, name, value)
        patch.setattr(race, "SERIES", 0)  # ten calls each
        if not os.environ.get("TORTURE"):  # a minute of valgrind
            patch.setattr(messages_bench, "valgrind", lambda: None)
        patch.setattr(tempfile, "tempdir", roomy_folder())
        lab = stack.enter_context(laboratory((*messages_bench.SETTINGS, ("fsync", "off"))))
        called = messages_bench.prepare(lab, 300)

        def run() -> int:
            lab.server.start()
            return messages_bench.run(lab, called, 1, Screen())
        yield run, lab


def test_the_messages_bench_has_a_row_for_all_that_it_compares_and_for_each_limit(written, capsys):
    run, _ = written
    assert run() == 0, capsys.readouterr().err
    out, err = capsys.readouterr()
    lines = [line.rstrip() for line in out.splitlines()]
    for operation, contenders in messages_bench.RACES:
        for contender in contenders:
            assert sum(re.match(rf"{operation.name} +{contender.name}  .*\d$", line) is not None
                       for line in lines) == 1, (operation.name, contender.name, lines)
    for operation, name, base, *_ in messages_bench.LIMITS:
        assert [line for line in lines if re.match(
            rf"{operation.name}, {name}, of {base} +at most .* (NOT )?REACHED$", line, re.I)]
    counted = [line for line in lines if re.match(r"insert.* \d\d+,\d{3} ", line)]
    assert bool(counted) == ("valgrind is not installed" not in err)


def test_the_messages_bench_fails_if_something_is_left_or_counted_otherwise(written, capsys):
    run, lab = written
    lab.server.start()
    with lab.connect("bare_today") as conn:
        conn.execute("create function public.lose() returns trigger language plpgsql as"
                     " 'begin new.body := ''lost''; return new; end'")
        conn.execute("create trigger lose before insert on core.messages for each row"
                     " execute function public.lose()")
    with lab.connect("unaudited") as conn:
        conn.execute("alter table core.messages disable trigger count_new_messages")
    assert run() == 1
    said = capsys.readouterr().err
    assert "insert of a message: bare, with domains left other messages than bare" in said
    assert re.search(r"core.record_message: unaudited counted \d+ chats wrong", said)


# All of them --------------------------------------------------------------------


def test_all_benches_are_written_down_with_what_is_not_reached_and_what_failed(
        monkeypatch, tmp_path, capsys):
    rows = "limit  wanted\nfast   at least 1   reached\nslow   at least 1  NOT REACHED"
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(bench, "run", lambda name, _: bench.Ran(
        name, rows if name == "rls" else "no limit", int(name == "audit"), 0.5))
    assert bench.main([]) == 1
    text = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert "Of 2 limits 1 are reached. These are not:\n\n* slow; at least 1; NOT REACHED" in text
    assert f"```text\n{rows}\n```" in text
    assert text.count("It failed, with exit code 1.") == 1
    for what in ("date", "CPU", "memory", "system", "server", "Python", "SCALE", "load before"):
        assert re.search(rf"^\| {what} \| \S.* \|$", text, re.M), what
    monkeypatch.setattr(bench, "run", lambda name, _: bench.Ran(name, "run again", 0, 0.7))
    assert bench.main(["queries"]) == 1  # audit's failure is still on the page
    again = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert again == text.replace("## bench-queries\n\nLoad before it: 0.5.\n\n```text\nno limit",
                                 "## bench-queries\n\nLoad before it: 0.7.\n\n```text\nrun again")
    monkeypatch.setattr(bench, "run", lambda name, _: bench.Ran(name, rows, 0, 0.5))
    assert bench.main([]) == 0


def test_what_a_bench_prints_is_kept_without_its_progress(monkeypatch, tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/toy_bench.py").write_text(
        "import os, sys\nprint('scale', os.environ['SCALE'])\n"
        "for n in (1, 2): print(f'round {n} of 2', file=sys.stderr)\n"
        "print('warning: odd', file=sys.stderr)\nsys.exit(1)\n")
    monkeypatch.setattr(bench, "PROJECT", tmp_path)
    monkeypatch.setenv("SCALE", "0.3")
    found = bench.run("toy", Screen())
    assert (found.said, found.code) == ("scale 0.3\nwarning: odd", 1)


# The roles' ---------------------------------------------------------------------


@pytest.mark.torture
def test_the_roles_bench_has_a_row_for_each_call_at_both_sizes_and_for_each_limit(
        monkeypatch, capsys):
    if binaries := os.environ.get("TEST_PG_BIN"):
        monkeypatch.setenv("PG_BIN", binaries)
    monkeypatch.setattr(tempfile, "tempdir", roomy_folder())
    with laboratory([("fsync", "off")]) as lab:
        assert roles_bench.run(lab, 0.004, 1, Screen()) == 0
    lines = capsys.readouterr().out.splitlines()
    for call in (*roles_bench.LIMITS, "check"):
        for bots in ("4", "20"):
            assert [line for line in lines if re.match(rf"{call} +{bots} +\d", line)], call
    for what in roles_bench.LIMITS:
        assert [line for line in lines
                if re.match(rf"{what}, 20 bots, ms +at most .*reached *$", line, re.I)], what


# The writers' -------------------------------------------------------------------


@pytest.mark.torture
def test_the_writers_bench_has_a_row_for_each_shape_and_tells_a_wrong_count(monkeypatch, capsys):
    if binaries := os.environ.get("TEST_PG_BIN"):
        monkeypatch.setenv("PG_BIN", binaries)
    monkeypatch.setattr(tempfile, "tempdir", roomy_folder())
    with laboratory([("fsync", "off")]) as lab:
        assert writers_bench.run(lab, 1, 1, Screen()) == 0
        lines = capsys.readouterr().out.splitlines()
        for shape in writers_bench.SHAPES:
            for contender in writers_bench.CONTENDERS:
                assert [line for line in lines
                        if re.match(rf"{shape.name} +{contender.name} +\d", line)], shape
        with lab.connect("audited") as conn:
            conn.execute("update core.conversation_totals set message_count = message_count + 1")
        monkeypatch.setattr(writers_bench, "SHAPES", ())
        monkeypatch.setattr(writers_bench, "prepare", lambda _: [])
        assert writers_bench.run(lab, 1, 1, Screen()) == 1
