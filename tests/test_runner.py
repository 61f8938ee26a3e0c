"""The commands of runner.py as their user meets them: output, exit codes, and what they change."""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from conftest import clone
from project import FIRST, TAKE_LOCK, Project, finish

import runner

pytest_plugins = "project"
DIAMOND = (("002_a", (FIRST,)), ("003_b", ("002_a",)), ("004_c", ("002_a",)),
           ("005_d", ("003_b", "004_c")), ("006_e", (FIRST,)))


@pytest.fixture
def diamond(project: Project) -> Project:
    """001, above it a diamond (b and c need a, d needs both) and beside it e; all applied."""
    for name, depends in DIAMOND:
        project.add(name, depends=depends)
    project.call("migrate")
    return project


def correlation_id(text: str) -> str:
    return str(uuid.UUID(re.search(r"correlation id (\S+?)\)?$", text, re.M)[1]))


def history(which: Project) -> list[tuple]:
    return which.execute("select migration_id, operation, correlation_id"
                         " from public._migration_history order by history_id")


# migrate -----------------------------------------------------------------------


def test_migrate_applies_everything_and_the_second_time_nothing(fresh):
    first = fresh.run("migrate")
    assert f"applied {FIRST} in " in first.err and "1 migrated" in first.err and not first.out
    second = fresh.run("migrate")
    assert "nothing to migrate" in second.err
    assert [row[:2] for row in history(fresh)] == [(FIRST, "apply")]
    assert fresh.states() == {FIRST: "applied"}


def test_migrate_to_stops_after_the_named_one(project):
    for name in ("002_a", "003_b"):
        project.add(name)
    project.call("migrate", "--to", "002")
    assert project.states() == {FIRST: "applied", "002_a": "applied", "003_b": "pending"}


def test_a_migration_may_depend_on_one_with_a_higher_number(project):
    project.add("002_a", "create table public.a (like public.b);", depends=("003_b",))
    project.add("003_b")
    project.call("migrate")
    assert set(project.states().values()) == {"applied"}
    project.call("rollback", "--only", "003_b", "--yes")
    assert project.states() == {FIRST: "applied", "002_a": "pending", "003_b": "pending"}


def test_notices_of_a_migration_are_shown(project):
    project.add("002_a", "do $$ begin raise notice 'half of %', 'it'; end $$;"
                         "create table public.a (a int);")
    assert "notice: half of it" in project.call("migrate").err


def test_a_folder_without_migrations_is_an_error(project):
    project.remove(FIRST)
    assert "MB909" in project.call("migrate", code=2).err


# status, plan, verify, graph, codes --------------------------------------------


def test_status_says_pending_with_3_and_applied_with_0(fresh):
    assert "pending" in fresh.call("status", code=3).out
    fresh.call("migrate")
    assert "applied" in fresh.call("status", code=0).out


def test_verify_names_the_check_that_fails_and_exits_4(project):
    project.execute("drop trigger claim_bot_name on core.bots")
    found = project.call("verify", "--json", code=4)
    failed = [(row["migration"], row["detail"]) for row in found.document if not row["ok"]]
    assert failed == [(FIRST, "claim_bot_name on core.bots")]
    assert "1 failed" in found.err


def test_verify_says_so_when_a_verification_cant_run(project):
    project.execute("drop table core.messages cascade")
    found = project.call("verify", "--json", code=4).document
    assert [row["check_name"] for row in found] == ["verify.sql runs"]
    assert f"sql/{FIRST}/verify.sql:" in found[0]["detail"]


def test_verify_changes_nothing_even_if_its_sql_would(project):
    project.add("002_a")
    project.call("migrate")
    project.path("002_a", "verify").write_text(
        "insert into public.a values (1); select 'one row', true, null::text;")
    project.call("verify", code=None)
    assert project.execute("select count(*) from public.a") == [(0,)]


@pytest.mark.parametrize("command", ["plan", "status", "graph"])
def test_reading_commands_write_nothing_on_a_virgin_database(shared_virgin, command):
    before = shared_virgin.digest()
    shared_virgin.call(command, code=None)
    assert shared_virgin.digest() == before


@pytest.fixture(scope="module")
def shared_virgin(tmp_path_factory, cluster):
    for database in clone(cluster, "template0"):
        yield Project(tmp_path_factory.mktemp("virgin") / "project", database)


def test_plan_shows_what_comes_and_needs_no_lock(project):
    project.add("002_a", "-- 002_a: a small table.\n-- locks:   nothing at all\n"
                         "-- undo:    drops it\ncreate table public.a (a int);\n")
    before = project.digest()
    with project.database.connect() as conn:
        conn.execute(TAKE_LOCK)
        conn.execute("lock table public.yoyo_lock in access exclusive mode")
        found = project.call("plan", "--json").document
    assert found == [{"migration": "002_a", "migrate_would": "apply", "what": "a small table.",
                      "locks": "nothing at all", "undo": "drops it"}]
    assert project.digest() == before


def test_plan_of_a_migrated_database_is_empty(project):
    assert project.call("plan", "--json").document == []


def test_graph_shows_dependencies_states_and_the_rollback_chain(diamond):
    diamond.add("007_f", depends=("005_d",))
    rows = diamond.call("graph", "--rollback", "003_b", "--json").document
    assert [(r["migration"], r["depends_on"], r["state"], r["rollback_step"]) for r in rows] == [
        (FIRST, "", "applied", None), ("002_a", FIRST, "applied", None),
        ("003_b", "002_a", "applied", 3), ("004_c", "002_a", "applied", None),
        ("005_d", "003_b, 004_c", "applied", 2), ("006_e", FIRST, "applied", None),
        ("007_f", "005_d", "pending", 1)]
    lines = diamond.call("graph", "--mermaid", "--rollback", "005_d").out.splitlines()
    assert lines[0] == "flowchart TD"
    assert '    007_f["007_f<br/>pending"]' in lines
    assert {line.strip() for line in lines if "-->" in line} == {
        f"{need} --> {name}" for name, depends in (*DIAMOND, ("007_f", ("005_d",)))
        for need in depends}
    assert [line.split()[1] for line in lines if "style" in line] == ["007_f", "005_d"]


def test_codes_lists_every_code_with_its_remedy(shared):
    rows = shared.call("codes", "--json").document
    assert {"MB001", "MB901", "MB908"} <= {row["code"] for row in rows}
    assert all(row["meaning"] and row["remedy"] for row in rows)


# rollback ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_diamond(tmp_path_factory, cluster, ground):
    """The diamond made once; only dry runs may touch it."""
    for database in clone(cluster, ground.name):
        made = Project(tmp_path_factory.mktemp("diamond") / "project", database)
        for name, depends in DIAMOND:
            made.add(name, depends=depends)
        made.run("migrate")
        yield made


@pytest.mark.parametrize(("choice", "order"), [
    (["--last"], "006_e"),
    (["--to", "004_c"], "006_e, 005_d"),
    (["--to", "006_e"], ""),
    (["--to", FIRST], "006_e, 005_d, 004_c, 003_b, 002_a"),
    (["--only", "006_e"], "006_e"),
    (["--only", "005_d"], "005_d"),
    (["--only", "004_c"], "005_d, 004_c"),
    (["--only", "002"], "005_d, 004_c, 003_b, 002_a"),
    (["--all"], f"006_e, 005_d, 004_c, 003_b, 002_a, {FIRST}"),
], ids=" ".join)
def test_rollback_takes_dependants_along_last_first(shared_diamond, choice, order):
    done = shared_diamond.call("rollback", *choice, "--dry-run")
    listed = re.search("in this order: (.*)", done.err)
    assert (listed[1] if listed else "") == order
    assert re.findall(r"rolled back (\S+) in", done.err) == order.split(", ") * bool(order)


def test_rollback_undoes_what_it_lists(diamond):
    diamond.call("rollback", "--only", "003_b", "--yes")
    assert [name for name, state in diamond.states().items() if state == "pending"] == [
        "003_b", "005_d"]
    assert not diamond.has("public.b") and not diamond.has("public.d") and diamond.has("public.c")
    assert [row[:2] for row in history(diamond)][-2:] == [("005_d", "rollback"),
                                                          ("003_b", "rollback")]
    diamond.call("migrate")
    assert set(diamond.states().values()) == {"applied"}


def test_rollback_to_a_migration_that_is_not_applied_undoes_what_came_after_it(diamond):
    diamond.call("rollback", "--only", "004_c", "--yes")
    done = diamond.call("rollback", "--to", "004_c", "--yes")
    assert "in this order: 006_e\n" in done.err and not diamond.has("public.e")


def test_rollback_of_nothing_is_done_at_once(fresh):
    assert "nothing to roll back" in fresh.call("rollback", "--all").err


def test_rollback_without_a_terminal_and_yes_exits_2(project):
    before = project.digest()
    done = project.call("rollback", "--all", code=2)
    assert "MB910" in done.err and "--yes" in done.err and f"in this order: {FIRST}" in done.err
    assert project.digest() == before


@pytest.mark.parametrize(("answer", "code", "left"), [
    ("yes", 0, False), ("no", 1, True), ("", 1, True)])
def test_rollback_asks_in_a_terminal(project, answer, code, left):
    terminal = project.terminal("rollback", "--last")
    terminal.expect(f"in this order: {FIRST}")
    terminal.expect("Roll back 1 of 1 migrations on .*yes to go on")
    terminal.sendline(answer)
    terminal.expect("rolled back" if code == 0 else "nothing was changed")
    terminal.expect("correlation id")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == code
    assert project.has("core.bots") is left


def test_rollback_refuses_to_lose_rows(project):
    project.execute("insert into core.bots (name) values ('Лена')")
    before = project.digest()
    done = project.call("rollback", "--all", "--yes", code=1)
    assert "MB001" in done.err and "core.bots" in done.err and "--discard-data" in done.err
    assert project.digest() == before
    assert "nothing was changed" in project.call("rollback", "--all", "--discard-data",
                                                "--dry-run").err
    assert project.execute("select name from core.bots") == [("Лена",)]
    project.call("rollback", "--all", "--yes", "--discard-data")
    assert not project.has("core.bots")


def test_a_refusal_in_the_middle_keeps_what_was_rolled_back_before_and_says_what(diamond):
    diamond.execute("insert into core.bots (name) values ('one')")
    done = diamond.call("rollback", "--all", "--yes", code=1)
    assert "rolled back 002_a" in done.err and "MB001" in done.err
    assert diamond.states() == {FIRST: "applied"} | {name: "pending" for name, _ in DIAMOND}


def test_what_changed_while_the_question_waited_is_not_rolled_back_blindly(project):
    project.add("002_a")
    project.call("migrate")
    terminal = project.terminal("rollback", "--only", "002_a")
    terminal.expect("yes to go on")
    project.call("rollback", "--last", "--yes")
    terminal.sendline("yes")
    terminal.expect("MB907")
    terminal.expect(pexpect.EOF)
    assert "Traceback" not in terminal.before
    assert [row[:2] for row in history(project)][-1:] == [("002_a", "rollback")]


# --dry-run ---------------------------------------------------------------------


def test_every_command_that_changes_something_has_a_dry_run():
    """Whatever is not known here as a command that only reads must have one."""
    reading = {"plan", "status", "verify", "graph", "codes", "rejects", "report", "env", "exec",
               "bot list", "bot logins", "worker list", "admin list", "health", "metrics"}
    found = dict(commands(runner.parser([])))
    assert reading < found.keys()
    for name, sub in found.items():
        flags = {flag for action in sub._actions for flag in action.option_strings}
        assert ("--dry-run" in flags) is (name not in reading), name
        assert {"--json", "--quiet", "--log"} <= flags, name


def commands(parser: argparse.ArgumentParser, group: str = "") -> Iterator[tuple]:
    """Every command and its parser; those of a group by two words."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                inner = list(commands(sub, f"{name} "))
                yield from inner or [(group + name, sub)]


@pytest.mark.parametrize("arguments", [
    ["migrate"], ["migrate", "--to", FIRST], ["adopt", FIRST]], ids=" ".join)
def test_a_dry_run_on_a_virgin_database_leaves_it_virgin(shared_virgin, arguments):
    before = shared_virgin.digest()
    adopts = arguments[0] == "adopt"
    done = shared_virgin.call(*arguments, "--dry-run", code=4 if adopts else 0)
    assert adopts or "dry run, nothing was changed: 1 migrated" in done.err
    assert shared_virgin.digest() == before
    assert not shared_virgin.has("public._yoyo_migration")


@pytest.mark.parametrize("arguments", [
    ["migrate"], ["rollback", "--all"], ["rollback", "--last"], ["adopt", "002_a"],
    ["stop"], ["setup", "--defaults"]], ids=" ".join)
def test_a_dry_run_changes_nothing_and_says_so(shared, arguments):
    shared.add("002_a", verify="select 'fine', true, null::text;")
    files = sorted(shared.folder.rglob("*"))
    before = shared.digest()
    done = shared.call(*arguments, "--dry-run")
    assert "dry run, nothing was changed" in done.err
    assert shared.digest() == before and sorted(shared.folder.rglob("*")) == files
    shared.remove("002_a")


def test_a_dry_run_runs_each_migration_under_the_settings_of_a_real_one(project):
    """The first one's `set local` must not reach the second."""
    settings = ("search_path", "lock_timeout", "app.discard_data")
    seen = ", ".join(f"current_setting('{name}', true)" for name in settings)
    project.add("002_a", "set local search_path = pg_catalog; set local lock_timeout = '7s';"
                         "create table public.a (a int);")
    project.add("003_b", f"create table public.b as select concat_ws('|', {seen}) as seen;"
                         "do $$ begin raise notice 'seen %', (select seen from public.b); end $$;")
    tried, done = (re.search("seen .*", project.call("migrate", *flag).err)[0]
                   for flag in (["--dry-run"], []))
    assert tried == done


def test_a_dry_run_that_fails_fails_as_the_real_one(project):
    project.add("002_a", "create table public.a (a nonsense);")
    before = project.digest()
    tried, done = (project.call("migrate", *flag, code=1) for flag in (["--dry-run"], []))
    assert "apply.sql:1: type \"nonsense\" does not exist" in tried.err
    assert tried.err.splitlines()[0] == done.err.splitlines()[0]
    assert project.digest() == before


# --json, --quiet, --log --------------------------------------------------------


@pytest.mark.parametrize("arguments", [
    "plan", "status", "verify", "graph", "graph --mermaid", f"graph --rollback {FIRST}", "codes",
    "env", "migrate", "migrate --dry-run", "rollback --all --dry-run", "setup --show", "stop"])
def test_json_is_all_that_stdout_carries(shared, arguments):
    assert shared.call(*arguments.split(), "--json").document is not None


@pytest.mark.parametrize(("arguments", "code", "exit_code"), [
    ("migrate --to nothing", "MB909", 2), ("rollback --all", "MB910", 2), ("adopt 9", "MB909", 2),
    ("reset --yes", "MB900", 2)])
def test_an_error_is_json_too(shared, arguments, code, exit_code):
    done = shared.call(*arguments.split(), "--json", code=exit_code)
    error = done.document["error"]
    assert error["code"] == code and error["message"]
    assert error["correlation_id"] == correlation_id(done.err)


def test_json_of_a_change_tells_the_correlation_id_of_the_history(fresh):
    found = fresh.call("migrate", "--json").document
    assert found == {"result": "1 migrated", "dry_run": False,
                     "correlation_id": history(fresh)[0][2]}


@pytest.mark.parametrize("arguments", ["migrate", "rollback --all --dry-run", "verify", "status"])
def test_quiet_leaves_results_and_errors_only(shared, arguments):
    assert shared.call(*arguments.split(), "--quiet").err == ""
    assert "MB909" in shared.call("migrate", "--to", "nothing", "--quiet", code=2).err


def test_the_log_has_one_json_line_per_thing_done(fresh):
    log = fresh.folder / "журнал.log"
    done = fresh.call("migrate", "--log", str(log))
    fresh.call("migrate", "--to", "nothing", "--log", str(log), code=2)
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["start", "apply", "end", "start", "end"]
    assert {"time", "command", "correlation_id"} <= set.intersection(*map(set, lines))
    assert lines[0]["correlation_id"] == correlation_id(done.err) == lines[2]["correlation_id"]
    assert lines[1]["migration"] == FIRST and lines[1]["ms"] > 0
    assert (lines[2]["code"], lines[4]["code"], lines[4]["error"]["code"]) == (0, 2, "MB909")


@pytest.mark.parametrize("place", ["missing/folder/log", "sql", "/dev/full"])
def test_a_log_that_cant_be_written_is_one_clear_error(fresh, place):
    done = fresh.call("migrate", "--log", place, code=2)
    assert "MB900" in done.err and place in done.err
    assert not fresh.has("core.bots")


# Errors of use -----------------------------------------------------------------


@pytest.mark.parametrize("arguments", [
    "", "nonsense", "rollback", "rollback --last --all", "rollback --to", "adopt",
    "status --dry-run", "migrate --from 1"])
def test_a_command_line_that_makes_no_sense_exits_2(shared, arguments):
    done = shared.call(*arguments.split(), code=2)
    assert "usage: runner.py" in done.err and not done.out


@pytest.mark.parametrize("arguments", [
    "migrate --to", "rollback --to", "rollback --only", "graph --rollback", "adopt"])
@pytest.mark.parametrize(("name", "fact"), [
    ("999_nothing", "no migration is called '999_nothing'"),
    ("00", "more than one migration is called '00'")])
def test_a_name_that_no_migration_or_more_than_one_has_exits_2(shared, arguments, name, fact):
    shared.add("002_a")
    done = shared.call(*arguments.split(), name, code=2)
    shared.remove("002_a")
    assert fact in done.err and f"Name one of: {FIRST}, 002_a" in done.err and "MB909" in done.err


def test_reset_is_for_the_embedded_server_only(shared):
    done = shared.call("reset", "--yes", code=2)
    assert "embedded" in done.err and "rollback --all --discard-data" in done.err
    assert shared.states() == {FIRST: "applied"}


def test_a_reader_that_leaves_early_sees_no_complaint(shared):
    for arguments in (["codes"], ["verify", "--json"], ["env"]):
        child = subprocess.Popen([sys.executable, "runner.py", *arguments], cwd=shared.folder,
                                 env=shared.database.environment(), text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdout.close()
        noise = child.stderr.read()
        assert child.wait() == 0 and not re.search("Broken|Exception|Trace", noise), noise


def test_a_full_stdout_ends_in_a_line_and_an_exit_code(shared):
    for arguments in (["codes"], ["verify", "--all"], ["status", "--json"], ["env"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run([sys.executable, "runner.py", *arguments], cwd=shared.folder,
                                  env=shared.database.environment(), text=True, stdout=full,
                                  stderr=subprocess.PIPE)
        assert done.returncode == 1 and "No space left on device" in done.stderr, done.stderr
        assert not re.search("Exception|Trace", done.stderr), done.stderr


def test_a_closed_stdout_stops_the_command_before_it_begins(project):
    project.add("002_a", "create table public.a (a int);")
    for closed in (">&-", ">&- 2>&-"):
        done = subprocess.run(["sh", "-c", f'"$0" runner.py migrate {closed}', sys.executable],
                              cwd=project.folder, env=project.database.environment(), text=True,
                              capture_output=True)
        assert done.returncode == 2 and "Trace" not in done.stderr
        assert ("stdout is closed" in done.stderr) is (closed == ">&-")
        assert not project.has("public.a")


# What the server is told -------------------------------------------------------


def test_the_server_knows_command_actor_and_correlation_id(project):
    project.add("002_a", "create table public.a as select current_setting('app.correlation_id')"
                         " as id, current_setting('app.actor') as actor, application_name"
                         " from pg_stat_activity where pid = pg_backend_pid();")
    printed = correlation_id(project.call("migrate").err)
    [(known, actor, application)] = project.execute("select * from public.a")
    assert known == printed == history(project)[-1][2]
    assert re.fullmatch(r".+@.+", actor) and application == "runner migrate"


def test_each_command_has_a_correlation_id_of_its_own_also_in_errors(project):
    project.add("002_a", "do $$ begin raise exception 'id %',"
                         " current_setting('app.correlation_id'); end $$;")
    seen = [project.call("migrate", code=1).err for _ in range(2)]
    assert [re.search("id ([0-9a-f-]{36}) ", text)[1] for text in seen] == list(
        map(correlation_id, seen))
    assert correlation_id(seen[0]) != correlation_id(seen[1])


# env, exec ---------------------------------------------------------------------


def test_env_makes_a_shell_talk_to_the_same_server(shared):
    script = ('eval "$("$0" runner.py env)"; '
              'psql -XAtc "select current_database(), pg_backend_pid() > 0"')
    child = shared.start(program=("sh", "-c", script, sys.executable))
    assert finish(child).out == f"{shared.execute('select current_database()')[0][0]}|t\n"


@contextmanager
def stdin(text: str):
    """A file with `text` to read from."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.write(text)
        file.seek(0)
        yield file


def test_exec_runs_psql_on_the_same_server_with_what_is_piped_into_it(shared):
    with stdin("select current_database();\nselect 'Ж';\n\\q\n") as text:
        done = subprocess.run([sys.executable, "runner.py", "exec", "psql", "-XAt"], stdin=text,
                              cwd=shared.folder, env=shared.database.environment(),
                              capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == f"{shared.execute('select current_database()')[0][0]}\nЖ\n"


@pytest.mark.parametrize(("program", "code", "said"), [
    (["psql", "-XAtc", "selec 1"], 1, "syntax error"),
    (["sh", "-c", "exit 42"], 42, ""),
    (["no-such-program"], 2, "can't run no-such-program"),
    ([], 2, "needs a program")], ids=["psql", "sh", "missing", "none"])
def test_exec_gives_back_the_programs_exit_code(shared, program, code, said):
    assert said in shared.run("exec", *program, code=code).err


def test_a_function_may_know_a_column_that_a_later_migration_adds(fresh: Project):
    fresh.add("002_note", "alter table core.bots add column note text;\n",
                "alter table core.bots drop column note;\n", "select 'x', true, null::text;\n")
    file = fresh.path("001_core_schema", "record_message")
    file.write_text(file.read_text("utf-8") + """
create function core.note_of(p_bot_id bigint)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select note from core.bots where bot_id = p_bot_id
$func$;
""", "utf-8")
    fresh.call("migrate")
    (bot,), = fresh.execute("insert into core.bots (name, note) values ('a', 'x') returning bot_id")
    assert fresh.execute("select core.note_of(%s)", [bot]) == [("x",)]
