"""runner.py maintain, health and metrics: what they print, exit with, and leave."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import pytest
from conftest import PROJECT, Database, clone
from core_rows import add_task, run_runner, start_runner
from import_helpers import command
from project import until
from prometheus_client.parser import text_string_to_metric_families
from scraped import Child, listening, make_super_admin, running, served

from fleet import exporter, files, migrate, server
from fleet.bots import verifier

pytest_plugins = "project"
MARK = "cAnArY7"  # in the password, and nowhere else
ROUNDS = 50 if os.environ.get("TORTURE") else 10
TASKS = "select task, started_at, succeeded_at, result, error from performance.task order by task"


@pytest.fixture(scope="module")
def shared_fleet(cluster: Database, template: Database) -> Iterator[Database]:
    """A migrated database for tests that only look."""
    for database in clone(cluster, template.name):
        bot = database.execute("select security.create_bot('lena')")[0][0]
        for direction in ("in", "out"):
            database.execute("select core.record_message(4711, %s, 'Привет', p_bot_id => %s)",
                             [direction, bot])
        run_runner(database, "maintain")
        yield database


@pytest.fixture
def olga(database: Database) -> Database:
    """A database as a super_admin meets it, whose password must never show."""
    with database.connect() as conn:
        return make_super_admin(conn, database, f"olga_{secrets.token_hex(4)}",
                                f"{MARK}{secrets.token_hex(8)}")


def parsed(text: str) -> dict[str, tuple]:
    """name -> (type, help, {labels: value}) of Prometheus' text format."""
    return {family.name: (family.type, family.documentation,
                          {tuple(sorted(s.labels.items())): s.value for s in family.samples})
            for family in text_string_to_metric_families(text)}


# maintain -----------------------------------------------------------------------


def test_maintain_runs_what_is_due_and_then_nothing(olga):
    due = {row["task"] for row in json.loads(run_runner(olga, "maintain", "--dry-run",
                                                        "--json").stdout)}
    done = run_runner(olga, "maintain")
    found = dict(re.findall(r"^(\w+) +ok +(\S.*?) +0:\d\d:", done.stdout, re.M))
    assert found.keys() == due and {"months", "roll_up", "seal"} <= due
    assert f"{len(due)} tasks done" in done.stderr
    again = run_runner(olga, "maintain")
    assert again.stdout == "(no rows)\n" and "nothing is due" in again.stderr


def test_a_dry_run_lists_what_is_due_and_changes_nothing(database):
    before = database.execute(TASKS)
    done = command(database, "maintain", "--dry-run")
    assert "dry run, nothing was changed: 9 tasks are due" in done.err
    assert set(re.findall(r"^(\w+) ", done.out, re.M)) == {"task", *(row[0] for row in before)}
    assert database.execute(TASKS) == before


def test_a_task_that_fails_keeps_none_of_the_others_from_being_done(database):
    add_task(database, "a_broken", "raise exception 'it is broken';")
    done = command(database, "maintain", code=1)
    assert re.search(r"^a_broken +FAILED +it is broken \(SQLSTATE P0001\)", done.out, re.M)
    assert "maintenance failed: a_broken" in done.err and "MB302" in done.err
    failed, *others = database.execute(TASKS)
    assert failed[2] is None and failed[4] == "it is broken (SQLSTATE P0001)"
    assert len(others) == 9 and all(row[2] and not row[4] for row in others)
    assert re.search(r"^a_broken +FAILED", command(database, "maintain", code=1).out, re.M)


@pytest.mark.parametrize("broken", [False, True])
def test_maintain_prints_one_json_document_also_when_it_fails(database, broken):
    if broken:
        add_task(database, "a_broken", "raise exception 'it is broken';")
    done = command(database, "maintain", "--json", code=int(broken))
    assert {row["task"]: row["ok"] for row in done.document} == {
        row[0]: row[0] != "a_broken" for row in database.execute(TASKS)}
    assert ("MB302" in done.err) is broken


def test_two_at_once_run_a_task_once_and_both_are_content(database):
    database.execute("create table performance.ran as select 1 as n limit 0")
    database.execute("grant insert on performance.ran to app_maintainer")
    add_task(database, "a_slow", "perform pg_sleep(1); insert into performance.ran values (1);")
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: start_runner(database, "maintain", "--json"), range(2)))
    said = [row["result"] for run in runs for row in json.loads(run.stdout)]
    assert database.execute("select count(*) from performance.ran") == [(1,)]
    assert "done" in said and {text for text in said if "another session" in text}
    assert not database.execute("select task from performance.task"
                                " where error is not null or succeeded_at is null")


def test_maintain_writes_each_task_into_the_log(database, tmp_path):
    command(database, "maintain", "--log", tmp_path / "log")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text("utf-8").splitlines()]
    assert {line["task"] for line in lines if line["event"] == "task"} == {
        row[0] for row in database.execute(TASKS)}


# health ---------------------------------------------------------------------------


def test_health_exits_0_while_nothing_is_critical(shared_fleet):
    rows = command(shared_fleet, "health", "--json").document
    assert {row["severity"] for row in rows} <= {"ok", "warning"}
    assert {"connections", "months_ahead", "task_delay"} <= {
        row["check_name"].split()[0] for row in rows}
    assert command(shared_fleet, "health").out.startswith("check_name ")


def test_health_exits_4_when_something_is_critical_and_says_what_to_do_first(database):
    database.execute("update performance.task set created_at = now() - interval '30 days'")
    done = command(database, "health", code=4)
    first = done.out.splitlines()[1]
    assert first.startswith("task_delay (") and " critical " in first
    assert "See that cron, or pg_cron, calls performance.maintain()." in first
    worst = command(database, "health", "--json", code=4).document[0]
    assert worst["severity"] == "critical" and worst["what_to_do"]
    command(database, "maintain")
    command(database, "health")


# metrics --------------------------------------------------------------------------


def test_metrics_are_the_rows_of_the_view(shared_fleet):
    found = parsed(command(shared_fleet, "metrics").out)
    assert found.pop("botfleet_up") == ("gauge", "1: the database answers.", {(): 1.0})
    wanted: dict[str, tuple] = {}
    for name, labels, value, text, kind in shared_fleet.execute(
            "select name, labels, value, help, type from performance.metrics"):
        wanted.setdefault(name, (kind, text, {}))[2][tuple(sorted(labels.items()))] = value
    moving = ("_ratio", "_seconds", "_bytes", "_rows", "_indexes")  # from one look to the next
    assert found.keys() == wanted.keys()
    for name, (kind, text, samples) in wanted.items():
        assert found[name][:2] == (kind, text)
        if name.endswith(moving):
            assert found[name][2].keys() == samples.keys(), name
        else:
            assert found[name][2] == samples, name
    assert found["botfleet_bot_messages"][2] == {
        (("bot_id", "1"), ("direction", way)): 1.0 for way in ("in", "out")}


def test_metrics_as_json_are_the_same_text(shared_fleet):
    document = command(shared_fleet, "metrics", "--json").document
    assert parsed(document["metrics"]).keys() == parsed(command(shared_fleet, "metrics").out).keys()


def test_metrics_survive_any_text_in_a_label(database):
    database.execute(r"""
        create function performance.probe_odd()
        returns table (labels jsonb, value float8, note text) language sql
        as $$ select '{"text": "a\"b\\c\nd Ж 👋"}'::jsonb, 'Infinity'::float8, null $$""")
    database.execute("grant execute on function performance.probe_odd() to app_maintainer")
    database.execute("insert into performance.probe (probe, routine, unit, help)"
                     " values ('odd', 'performance.probe_odd()', '', E'a\\nb')")
    found = parsed(command(database, "metrics").out)["botfleet_odd"]
    assert found[2] == {(("text", 'a"b\\c\nd Ж 👋'),): float("inf")}


# --textfile -----------------------------------------------------------------------


def test_a_reader_of_the_textfile_never_sees_a_part_of_it(shared_fleet, tmp_path):
    file, seen, over = tmp_path / "botfleet.prom", [], threading.Event()

    def read() -> None:
        while not over.is_set():
            if file.exists():
                text = file.read_text("utf-8")
                seen.append((text.startswith("# HELP "), text.endswith("\nbotfleet_up 1.0\n"),
                             text.count("# TYPE ")))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(ROUNDS):
        command(shared_fleet, "metrics", "--textfile", file)
    over.set()
    reader.join()
    assert len(seen) > ROUNDS
    assert set(seen) == {(True, True, file.read_text("utf-8").count("# TYPE "))}
    assert [path.name for path in tmp_path.iterdir()] == ["botfleet.prom"]


def test_a_database_that_is_down_leaves_the_old_textfile(shared_fleet, tmp_path):
    file = tmp_path / "botfleet.prom"
    done = command(shared_fleet, "metrics", "--textfile", file)
    assert re.match(rf"\d+ metrics written to {file} \(", done.err) and not done.out
    before = file.read_text("utf-8")
    gone = Database(shared_fleet.parts | {"dbname": "no_such_database"})
    assert "MB901" in command(gone, "metrics", "--textfile", file, code=1).err
    assert file.read_text("utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["botfleet.prom"]


@pytest.mark.parametrize("place", ["missing/botfleet.prom", "folder", "/dev/full/botfleet.prom"])
def test_a_textfile_that_cant_be_written_is_one_clear_error(shared_fleet, tmp_path, place):
    (tmp_path / "folder").mkdir()
    done = command(shared_fleet, "metrics", "--textfile", tmp_path / place, code=2)
    assert "MB900" in done.err and place in done.err and not done.out
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_writing_a_textfile_is_json_too(shared_fleet, tmp_path):
    done = command(shared_fleet, "metrics", "--json", "--textfile", tmp_path / "botfleet.prom")
    assert "metrics written" in done.document["result"]


# --serve --------------------------------------------------------------------------


def test_serve_prints_the_port_that_it_got_and_measures_anew_each_time(olga, tmp_path):
    with served(tmp_path, olga, ":0") as child:
        assert listening(child) == [child.url.removeprefix("http://")]
        assert child.url.startswith("http://127.0.0.1:") and not child.url.endswith(":0")
        status, text = child.get("/metrics")
        assert status == 200
        assert parsed(text).keys() == parsed(run_runner(olga, "metrics").stdout).keys()
        assert "botfleet_bots" not in parsed(text)
        run_runner(olga, "bot", "add", "zoya")
        assert parsed(child.get("/metrics")[1])["botfleet_bots"][2] == {
            (("status", "active"),): 1.0}
        assert "warning" not in child.said and MARK not in child.said


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999",
                                     "203.0.113.7:0", "no-such-host.invalid:0", "[::1:0"])
def test_an_address_that_cant_be_served_is_one_clear_error(shared_fleet, address):
    done = command(shared_fleet, "metrics", f"--serve={address}", code=2)
    assert "MB900" in done.err and f"can't serve on {address}" in done.err


def test_a_port_that_is_taken_is_one_clear_error(shared_fleet, tmp_path):
    with served(tmp_path, shared_fleet) as child:
        address = child.url.removeprefix("http://")
        done = command(shared_fleet, "metrics", "--serve", address, code=2)
        assert "MB900" in done.err and "in use" in done.err


def test_serving_and_writing_at_once_is_refused(shared_fleet, tmp_path):
    done = command(shared_fleet, "metrics", "--serve", ":0", "--textfile", tmp_path / "f", code=2)
    assert "MB900" in done.err and not list(tmp_path.iterdir())


def test_serving_where_others_can_reach_it_warns(shared_fleet, tmp_path):
    with served(tmp_path, shared_fleet, "0.0.0.0:0") as child:
        assert "warning: whoever reaches 0.0.0.0 can read these figures" in child.said


def test_ctrl_c_ends_it_without_a_traceback(shared_fleet, tmp_path):
    with served(tmp_path, shared_fleet) as child:
        child.process.send_signal(signal.SIGINT)
        assert child.process.wait(10) == 130
        assert "interrupted" in child.said and "Traceback" not in child.said


def up(child: Child) -> float:
    """botfleet_up as an answer has it, which is 200 whatever it says."""
    status, text = child.get("/metrics")
    assert status == 200
    return parsed(text)["botfleet_up"][2][()]


def test_a_database_that_goes_away_is_told_and_comes_back(own_server: server.Server, tmp_path):
    database = Database(dict(own_server.parts()))
    with database.connect() as conn:
        conn.prepare_threshold = None
        migrate.Session(conn, files.read(PROJECT / "sql"), False, print,
                        lambda *_: None).migrate()
        olga = make_super_admin(conn, database, "olga", f"{MARK}{secrets.token_hex(8)}")
    with served(tmp_path, olga) as child:
        assert up(child) == 1
        own_server.stop("immediate")
        assert up(child) == 0 == up(child)
        assert "warning: not measured: no connection" in child.said
        own_server.start()
        assert up(child) == 1
        assert MARK not in child.said and "Traceback" not in child.said


def test_what_takes_longer_than_a_scrape_may_is_given_up(shared_fleet):
    with shared_fleet.connect() as conn, patch.object(exporter, "PATIENCE", "'200ms'"):
        conn.execute("begin; lock table performance.probe in access exclusive mode")
        done = command(shared_fleet, "metrics", code=1)
        assert "statement timeout" in done.err and not done.out


def test_serving_does_not_start_an_embedded_server_that_somebody_stopped(tmp_path):
    home = tmp_path / "project"
    for name in ("fleet", "sql"):
        shutil.copytree(PROJECT / name, home / name)
    shutil.copy2(PROJECT / "runner.py", home)
    surroundings = Database({}).environment()
    surroundings = {name: value for name, value in surroundings.items()
                    if not name.startswith("PG")}

    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, home / "runner.py", *arguments], env=surroundings,
                       check=True, capture_output=True)

    run("migrate")
    try:
        with running(tmp_path, sys.executable, home / "runner.py", "metrics", "--serve",
                     "127.0.0.1:0", env=surroundings) as child:
            until(lambda: "serving http" in child.said, "served")
            child.url = re.search(r"serving (http://\S+)/metrics", child.said)[1]
            assert up(child) == 1
            run("stop")
            assert up(child) == 0 and server.embedded(home).pid() is None
            run("health")  # as any command does, it starts the server
            assert up(child) == 1
    finally:
        run("stop")


# Secrets --------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [
    "maintain", "maintain --dry-run", "health", "metrics", "metrics --json",
    "metrics --serve nowhere", "metrics --textfile missing/folder/file"])
def test_no_output_shows_the_password(olga, tmp_path, arguments):
    log = tmp_path / "log"
    for database in (olga, Database(olga.parts | {"dbname": "no_such_database"})):
        done = run_runner(database, *arguments.split(), "--log", str(log), code=None)
        assert MARK not in done.stdout + done.stderr + log.read_text("utf-8")


def test_what_a_person_may_not_is_refused_in_words(shared_fleet):
    name, password = f"admin_{secrets.token_hex(4)}", secrets.token_hex(16)
    with shared_fleet.connect() as conn:
        conn.execute("select security.create_admin(%s, %s)", [name, verifier(conn, password)])
    admin = Database(shared_fleet.parts | {"user": name, "password": password})
    for arguments in (["maintain"], ["health"], ["metrics"]):
        done = run_runner(admin, *arguments, code=1)
        assert "MB904" in done.stderr and not done.stdout
