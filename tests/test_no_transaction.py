"""`-- transaction: none`: statement by statement, whoever runs it, killed or not."""

import importlib.util
import re
import signal
import subprocess

import pytest
from conftest import SLEEP
from project import FIRST, ORIGIN, Project, finish, until

from fleet import sqlfile, stepwise

pytest_plugins = "project"
ENTRY = ORIGIN / "fleet/template/in_no_transaction/entry.py"
NAME = "002_a"
HEADER = "-- 002_a: indexes.\n-- transaction: none\n"
LEAVES = [f"messages_p{number}_a_idx" for number in range(10)]
APPLY = HEADER + """
set lock_timeout = '2s';

drop index if exists core.messages_a_idx;
""" + "".join(f"""drop index concurrently if exists core_partitions.{leaf};
create index concurrently {leaf} on core_partitions.{leaf[:11]} (bot_id, created_at);
""" for leaf in LEAVES) + """
do $attach$
declare
    v_leaf  regclass;
begin
    create index messages_a_idx on only core.messages (bot_id, created_at);
    for v_leaf in select leaf from core.leaves('core.messages') loop
        execute format('alter index core.messages_a_idx attach partition %s_a_idx', v_leaf);
    end loop;
end
$attach$;

reset lock_timeout;
"""
ROLLBACK = HEADER + """
set lock_timeout = '2s';

drop index if exists core.messages_a_idx;
""" + "".join(
    f"drop index concurrently if exists core_partitions.{leaf};\n" for leaf in LEAVES) + """
reset lock_timeout;
"""
VERIFY = """select 'every leaf is attached', count(*) = 10, count(*)::text
from pg_inherits where inhparent = to_regclass('core.messages_a_idx');
"""
BUILT = [(leaf, True) for leaf in LEAVES]
FINISHED = [("messages_a_idx", True), *BUILT]


def add(project: Project, apply: str = APPLY, rollback: str = ROLLBACK, verify: str = VERIFY
        ) -> None:
    """The migration, with the entry that `runner.py new --no-transaction` would write."""
    project.add(NAME, apply, rollback, verify)
    (project.folder / f"sql/{NAME}.py").write_text(
        ENTRY.read_text("utf-8").replace("000_before", FIRST).replace("000_name", NAME))


def indexes(project: Project) -> list[tuple]:
    return project.execute("""
        select c.relname::text, i.indisvalid from pg_index as i
        join pg_class as c on c.oid = i.indexrelid where c.relname like '%\\_a\\_idx' order by 1""")


def psql(project: Project, name: str) -> subprocess.CompletedProcess:
    return subprocess.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", project.path(NAME, name)],
                          env=project.database.environment(), capture_output=True, text=True)


# Three roads ---------------------------------------------------------------------


def test_the_runner_applies_verifies_marks_and_rolls_back(project):
    add(project)
    assert ", in no transaction" in project.call("plan").out
    assert f"applied {NAME}" in project.call("migrate").err
    assert indexes(project) == FINISHED
    assert project.states()[NAME] == "applied"
    assert project.call("verify", "--json").document[-1]["ok"]
    project.call("rollback", "--last", "--yes")
    assert indexes(project) == [] and project.states()[NAME] == "pending"


def test_psql_runs_it_without_a_transaction(project):
    add(project)
    for _ in range(2):
        assert psql(project, "apply").returncode == 0
        assert indexes(project) == FINISHED
    project.call("adopt", NAME)
    for _ in range(2):
        assert psql(project, "rollback").returncode == 0
    assert indexes(project) == []


def test_yoyo_runs_it_without_a_transaction(project):
    add(project)
    project.yoyo("apply", "--batch")
    assert indexes(project) == FINISHED and project.states()[NAME] == "adopt"
    project.yoyo("rollback", "--batch", "-r", NAME)
    assert indexes(project) == [] and project.states()[NAME] == "pending"


def test_yoyo_runs_the_script_whole_whose_header_does_not_ask_for_it(project):
    add(project, rollback="drop index core.messages_a_idx;\ncreate table public.b (a int);\n"
                          "set local lock_timeout = '3s';\nselect 1/0;\n")
    project.yoyo("apply", "--batch")
    assert "division by zero" in project.yoyo("rollback", "--batch", "-r", NAME, code=1).err
    assert indexes(project) == FINISHED and not project.has("public.b")


def test_in_a_transaction_the_error_says_what_to_write(project):
    add(project, APPLY.replace("-- transaction: none\n", ""))
    assert "`-- transaction: none` belongs in the header" in project.call("migrate", code=1).err


@pytest.mark.parametrize("text", [
    "select ';', ';;''\n;', \"a;\" from (values (1)) as t (\"a;\");\nselect 2",
    "select E'\\';\n', 'a\\';\nselect 1",
    "select $$;\n;$$, $a$ $$;\n $b$ $a$;\nselect 1;", "select 1 as a$b$c;\nselect ';' as d$b$e;\n",
    "-- it's one;\nselect 1; /* two; */ select 2;\n",
    "do $do$ begin perform ';'; end $do$;\n\n-- x\n",
    APPLY, ROLLBACK])
def test_yoyos_entry_splits_as_the_runner_does(text):
    spec = importlib.util.spec_from_file_location("entry", ENTRY)
    entry = importlib.util.module_from_spec(spec)
    with pytest.raises(FileNotFoundError):  # the template names no folder that is there
        spec.loader.exec_module(entry)
    parts = [found[0] for found in entry.STATEMENT.finditer(text)]
    ours = [part for _, part in stepwise.split(sqlfile.Script((("a.sql", 1, text),)))]

    def words(part: str) -> list[str]:
        return [token[0] for token in sqlfile.tokens(part)]

    assert "".join(parts).strip() == text.strip()
    assert [words(part) for part in parts if words(part)] == [words(part) for part in ours]


# What it says ----------------------------------------------------------------------


@pytest.mark.parametrize(("wrong", "place"), [
    ("selec 1;\n", "apply.sql:28"), ("do $$ begin\n  perform 1/0; end $$;\n", "apply.sql:29")])
def test_an_error_names_the_line_and_what_was_kept(project, wrong, place):
    add(project, APPLY.replace("\ndo $attach$", f"\n{wrong}do $attach$"))
    done = project.call("migrate", code=1)
    assert f"\nsql/{NAME}/{place}: " in done.err
    assert "The 22 statements before it are kept" in done.err
    assert "drop index concurrently if exists" in done.err
    assert indexes(project) == BUILT
    assert project.states()[NAME] == "pending"
    add(project)
    project.call("migrate")
    assert indexes(project) == FINISHED


def test_the_first_statements_error_says_that_nothing_was_kept(project):
    add(project, HEADER + "\\ir part.sql\n")
    project.path(NAME, "part").write_text("-- A part.\n\nselect nothing;\n")
    done = project.call("migrate", code=1)
    assert done.err.startswith(f"sql/{NAME}/part.sql:3: ") and "Nothing of it was kept" in done.err


def test_an_error_of_our_own_sql_says_what_was_kept_too(project):
    add(project, HEADER + "select 1;\nselect core.record_message(1, 'x', 'y', p_bot_id => 1);\n")
    done = project.call("migrate", code=1)
    assert "error MB004" in done.err and "(the statement before it is kept)" in done.err


def test_a_verification_that_is_not_true_says_that_the_work_is_kept(project):
    add(project, verify="select 'one is two', false, 'no';\n")
    done = project.call("migrate", code=4)
    assert "What apply.sql did is kept, but not marked" in done.err
    assert indexes(project) == FINISHED and project.states()[NAME] == "pending"


@pytest.mark.parametrize(("text", "says"), [
    ("begin;\n", "begin in a file that runs in no transaction"),
    ("set local lock_timeout = '1s';\n", "set local in a file that runs in no transaction")])
def test_what_has_no_meaning_there_is_refused_before_anything_runs(project, text, says):
    add(project, HEADER + "create table public.a (a int);\n" + text)
    done = project.call("migrate", code=1)
    assert f"sql/{NAME}/apply.sql:4: {says}" in done.err and not project.has("public.a")


def test_a_dry_run_says_which_statements_would_run_and_runs_none(project):
    add(project)
    project.add("003_b", depends=(NAME,))
    project.add("004_c")
    before = project.digest()
    done = project.call("migrate", "--dry-run")
    assert "a dry run only shows its 24 statements" in done.err
    assert f"sql/{NAME}/apply.sql:8: create index concurrently messages_p0_a_idx" in done.err
    assert "003_b needs what could only be shown: not tried" in done.err
    assert "applied 004_c" in done.err and "nothing was changed: 1 migrated" in done.err
    assert project.digest() == before
    project.remove("003_b")
    project.call("migrate")
    before = project.digest()
    done = project.call("rollback", "--all", "--yes", "--dry-run")
    assert f"{FIRST} is needed by what could only be shown: not tried" in done.err
    assert "nothing was changed: 1 rolled back" in done.err
    assert "rolled back 004_c" in done.err and "drop index if exists" in done.err
    assert project.digest() == before


# What it leaves of settings --------------------------------------------------------


def test_a_script_leaves_no_setting_and_finds_none(project):
    add(project, HEADER + "set app.discard_data = on;\nset work_mem = '7MB';\n"
        "set role pg_monitor;\nset row_security = off;\n",
        verify="select 'fine', true, null::text;\n")
    project.add("003_b", "create table public.b as select current_setting('work_mem') as memory,"
                " current_setting('row_security') as rls, current_user::text as login,"
                " coalesce(current_setting('app.discard_data', true), '') as discard,"
                " current_setting('app.correlation_id') <> '' as correlated;\n", depends=(NAME,))
    project.call("migrate")
    memory, rls, login, discard, correlated = project.execute("select * from public.b")[0]
    assert (rls, discard, correlated) == ("on", "", True)
    assert memory != "7MB" and login != "pg_monitor"


def test_a_transactions_settings_do_not_reach_it_but_the_actor_does(project):
    project.add("002_b", "set work_mem = '7MB';\ncreate table public.b (a int);\n")
    project.add("003_a", "-- 003_a: x.\n-- transaction: none\ncreate table public.a as select"
                " current_setting('work_mem') as memory, current_setting('row_security') as rls,"
                " current_setting('app.actor') as actor,"
                " current_setting('client_connection_check_interval') as interval;\n",
                depends=("002_b",))
    project.call("migrate")
    memory, rls, actor, interval = project.execute("select * from public.a")[0]
    assert memory != "7MB" and rls == "on" and actor and interval == "1s"


# Locks -------------------------------------------------------------------------------


def test_a_statement_waits_for_its_lock_and_those_before_it_do_not_run_again(project):
    add(project, HEADER + "set lock_timeout = '200ms';\ncreate table public.a (a int);\n"
        "alter table core.bots add column a int;\nreset lock_timeout;\n",
        verify="select 'fine', true, null::text;\n")
    with project.database.connect() as conn:
        conn.execute("begin; lock table core.bots in access share mode")
        child = project.start("migrate")
        assert "attempt 2 of 6" in child.stderr.readline()
        conn.execute("commit")
    assert "1 migrated" in finish(child).err


def test_an_index_that_could_not_be_finished_is_removed_and_begun_again(project):
    add(project, APPLY.replace("'2s'", "'200ms'"))
    with project.database.connect() as conn:
        conn.execute("begin; lock table core_partitions.messages_p4 in row exclusive mode")
        child = project.start("migrate")
        while "attempt 2" not in (line := child.stderr.readline()):
            assert line.startswith("notice: ")
        assert "apply.sql:16: canceling statement due to lock timeout" in line
        assert ("messages_p4_a_idx", False) in indexes(project)
        conn.execute("commit")
    assert "1 migrated" in finish(child).err and indexes(project) == FINISHED


def test_an_index_without_the_drop_before_it_is_not_tried_again(project):
    add(project, HEADER + "set lock_timeout = '100ms';\ncreate index concurrently messages_p4_a_idx"
        " on core_partitions.messages_p4 (bot_id);\n")
    with project.database.connect() as conn:
        conn.execute("begin; lock table core_partitions.messages_p4 in row exclusive mode")
        done = project.call("migrate", code=1)
    assert "attempt" not in done.err and "The statement before it is kept" in done.err


# Ends that nobody wished for -----------------------------------------------------------

# Each stops a runner in another place: in a build, at the attaching, after the last statement.
PLACES = {"in a build": "create index concurrently messages_p4_a_idx",
          "at the attaching": "do $attach$", "at its end": "reset lock_timeout;\n"}


def stopped(project: Project, at: str) -> subprocess.Popen:
    """A runner that sleeps just before this statement, or, in a build, in the midst of it."""
    if at == "in a build":
        add(project)
        return project.start("migrate")
    add(project, APPLY.replace(PLACES[at], f"{SLEEP}\n{PLACES[at]}"))
    child = project.start("migrate")
    project.runner_is_asleep()
    return child


@pytest.mark.parametrize("way", ["kill -9", "backend", "Ctrl-C"])
@pytest.mark.parametrize("at", PLACES)
def test_killed_anywhere_the_next_run_finishes_it(project, at, way):
    with project.database.connect() as conn:
        if at == "in a build":  # which waits for this transaction, its index there and not valid
            conn.execute("begin; lock table core_partitions.messages_p4 in row exclusive mode")
        child = stopped(project, at)
        if at == "in a build":
            until(lambda: ("messages_p4_a_idx", False) in indexes(project), "it is building")
        if way == "backend":
            project.execute("select pg_terminate_backend(pid) from pg_stat_activity where"
                            " application_name = 'runner migrate' and datname = current_database()")
        else:
            child.send_signal(signal.SIGKILL if way == "kill -9" else signal.SIGINT)
        done = finish(child, None)
    assert done.code == {"kill -9": -9, "backend": 1, "Ctrl-C": 130}[way]
    if way != "kill -9":
        assert re.search(r"(before it are|statement before it is) kept", done.err, re.I), done.err
    assert project.states()[NAME] == "pending"
    add(project)
    until(lambda: project.call("migrate", code=None).code == 0, "the lock was let go")
    assert indexes(project) == FINISHED and project.states()[NAME] == "applied"
    assert all(row["ok"] for row in project.call("verify", "--json").document)


def test_a_rollback_that_was_killed_is_finished_by_the_next(project):
    add(project)
    project.call("migrate")
    add(project, rollback=ROLLBACK.replace("\nreset", f"{SLEEP}\n\nreset"))
    child = project.start("rollback", "--last", "--yes")
    project.runner_is_asleep()
    child.kill()
    child.communicate()
    assert indexes(project) == [] and project.states()[NAME] == "edited"
    add(project)
    until(lambda: project.call("rollback", "--last", "--yes", code=None).code == 0, "let go")
    assert project.states()[NAME] == "pending"


def test_two_runners_do_not_meet_in_it(project):
    add(project, APPLY.replace("do $attach$", "select pg_advisory_xact_lock(1);\ndo $attach$"))
    with project.database.connect() as conn:
        conn.execute("select pg_advisory_lock(1)")
        child = project.start("migrate")
        project.stands_still()
        assert "MB908" in project.call("migrate", code=5).err
    assert "1 migrated" in finish(child).err
