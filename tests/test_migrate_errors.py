"""What a user reads when a migration fails: the file and line, the server's words, what to do."""

import os
import re
import signal
import sys
import time

import pytest
from conftest import SLEEP
from project import Project, finish

pytest_plugins = "project"

# Each line: what is tried, apply.sql, the line it fails in, SQLSTATE, and a part of the message.
FIRST_LINES = "-- one\nset local lock_timeout = '1s';\n"
CASES = [
    ("a syntax error", "create tabel x ();", 1, "42601", 'syntax error at or near "tabel"'),
    ("a missing relation", "\n\nselect * from\n    nowhere;", 4, "42P01", '"nowhere" does not'),
    ("a missing column of the last statement",
     FIRST_LINES + "create table public.a (a int);\nselect\n  b\nfrom public.a;", 5, "42703",
     'column "b" does not exist'),
    ("a duplicate table, which has no position",
     FIRST_LINES + "create table public.a ();\n\ncreate table\n  public.a ();", 5, "42P07",
     'relation "a" already exists'),
    ("a duplicate schema after empty statements",
     ";;\n;\ncreate schema one;;\n;;create schema one;", 4, "42P06", 'schema "one" already exists'),
    ("a division by zero in the third statement", "select 1;\nselect 2;\nselect\n 1/0;\nselect 4;",
     3, "22012", "division by zero"),
    ("an error of a DO block",
     "select 1;\n\ndo $do$\nbegin\n    perform 1;\n    perform 1/0;\nend\n$do$;", 6, "22012",
     "division by zero"),
    ("an error of a DO block whose language comes first",
     "do language plpgsql $$ begin\nperform 1/0; end $$;", 2, "22012", "division by zero"),
    ("an error of a DO block after a comment with dollars",
     "do -- costs $5 $$ or $a$\n $$\nbegin perform 1/0; end $$;", 3, "22012", "division by zero"),
    ("a DO block written as a string", "select 1;\ndo 'begin\nperform 1/0; end';", 3, "22012",
     "division by zero"),
    ("a position within a DO block", "select 1;\ndo $$\nbegin\n  perform nothing from core.bots;\n"
     "end $$;", 4, "42703", '"nothing" does not exist'),
    ("a DO block within a DO block",
     "do $a$\nbegin\n    execute $b$\n\n\n do $c$ begin\n\n\n perform 1/0; end $c$ $b$;\nend $a$;",
     3, "22012", "division by zero"),
    ("a function that fails, at the line of its call",
     "create function public.f() returns int language plpgsql as $$\nbegin\n\n    return 1/0;\n"
     "end $$;\n\nselect 1;\nselect\n   public.f();", 8, "22012", "f() line 4 at RETURN"),
    ("a function that fails within a DO block, at the DO block's line",
     "create function public.f() returns int language sql as 'select 1/0';\n"
     "do $$\nbegin\n\n    perform public.f();\nend $$;", 5, "22012", "division by zero"),
    ("a failure of our own function",
     "select core.record_message(\n 1, 'sideways', 'x', p_bot_id => 1);", 1, "MB004",
     "direction is 'sideways', not in or out"),
    ("a comment over several lines", "/* one\n two;\n three */\n-- four;\ncreate schema core;", 5,
     "42P06", 'schema "core" already exists'),
    ("nested comments", "/* a /* b\n; */ ; \n*/ select 1; /* /* ;\n */ */\n/* x /* y */\n*/ "
     "create schema core;", 6, "42P06", 'schema "core" already exists'),
    ("strings with semicolons", "select ';', ';;''\n;', \"a;\" from (values (1)) as t (\"a;\");\n"
     "select E'\\';\n', 'a\\';\ncreate schema core;", 5, "42P06", 'schema "core"'),
    ("a typed string that ends in a backslash", "select text'\\';\nselect 1;\ncreate schema core;",
     3, "42P06", 'schema "core"'),
    ("dollar quotes", "select $$;\n;$$, $a$ $$;\n $b$ $a$;\ncreate schema core;", 4, "42P06",
     'schema "core"'),
    ("an identifier with dollars", "select 1 as a$b$c;\nselect ';' as d$b$e;\ncreate schema core;",
     3, "42P06", 'schema "core"'),
    ("a rule of two statements", "create view public.v as select 1 as a;\n"
     "create rule r as on insert to public.v do instead (select 1; select 2);\ncreate schema core;",
     3, "42P06", 'schema "core"'),
    ("a function body without quotes", "create function public.f() returns void\nbegin atomic\n"
     "  select 1;\n  select case when true then 1 end;\nend;\ncreate schema core;", 6, "42P06",
     'schema "core"'),
    ("Cyrillic and emoji before it", "-- Привет, 👋🏽 мир\nselect 'Ёж 🦔';\nselect 'й', нет;", 3,
     "42703", 'column "нет" does not exist'),
    ("Cyrillic and emoji before an error without a position",
     "select '👋;', 'Ж';\n-- 👩‍👩‍👧;\ncreate schema core;", 3, "42P06", 'schema "core"'),
    ("Windows line ends", "select 1;\r\n-- two\r\nselect 'a\r\nb',\r\n  nothing;\r\n", 5, "42703",
     '"nothing" does not exist'),
    ("Windows line ends without a position", "select 'a\r\nb';\r\n\r\ncreate schema core;\r\n", 4,
     "42P06", 'schema "core"'),
    ("a deferred constraint, which fails after the last line",
     "create table public.p (a int primary key);\ncreate table public.c (a int references public.p"
     " deferrable initially deferred);\ninsert into public.c values (7);\n", None, "23503",
     "Key (a)=(7) is not present"),
    ("a full disk",
     "do $$ begin\n  raise exception 'could not extend file' using errcode = '53100'; end $$;", 2,
     "53100", "could not extend file"),
    ("a comma too much", "create table public.a (\n    a int,\n);\n", 3, "42601", 'at or near ")"'),
    ("a statement that doesn't end", "select 1;\nselect (1\n\n", 4, "42601", "at end of input"),
    ("a quote that isn't closed", "select 1;\nselect 'abc\n\n;", 2, "42601",
     "unterminated quoted string"),
    ("copy from stdin", "select 1;\ncopy core.bots (name) from stdin;\none\n\\.\n", 3, "42601",
     'syntax error at or near "one"'),
]


@pytest.mark.parametrize(("apply", "line", "sqlstate", "message"),
                         [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_sql_error_names_file_line_and_sqlstate(shared, apply, line, sqlstate, message):
    shared.add("002_a", apply)
    before = shared.digest()
    done = shared.call("migrate", code=1)
    shared.remove("002_a")
    assert done.err.startswith(f"sql/002_a/apply.sql{f':{line}' if line else ''}: ")
    assert message in done.err and sqlstate in done.err
    assert re.search(r"error MB\d+, correlation id [0-9a-f-]+\n  next: ", done.err)
    assert "runner.py " in done.err or sqlstate.startswith("MB")
    assert shared.digest() == before


@pytest.mark.parametrize(("apply", "part", "place", "says"), [
    ("select 1;\n\\ir b.sql\nselect 2;\n", "-- B.\n\nselect 3;\nselect\n  nothing;\n",
     "b.sql:5", 'column "nothing" does not exist'),
    ("select 1;\n\\ir b.sql\n\nselect nothing;\n", "select 3;\n", "apply.sql:4", '"nothing"'),
    ("\\ir b.sql\n", "select 1;\ncreate schema core;\n", "b.sql:2", 'schema "core" already'),
    ("\\ir b.sql\nselect '", "select 1;\n", "apply.sql:2", "unterminated"),
    ("\\ir b.sql\n", "select 1;\ncommit;\n", "b.sql:2", "commit in a file that runs in one"),
    ("\\ir b.sql\n", "select 1;\n\\ir b.sql\n", "b.sql:2", "a command of psql"),
    ("select 1;\n\\echo hello\n", "", "apply.sql:2", "a command of psql"),
    ("select 1;\n\\ir ../b.sql\n", "", "apply.sql:2", "a command of psql"),
])
def test_an_error_in_a_topic_file_names_that_file_and_its_line(shared, apply, part, place, says):
    shared.add("002_a", apply)
    shared.path("002_a", "b").write_text(part)
    done = shared.call("migrate", code=1)
    shared.remove("002_a")
    assert done.err.startswith(f"sql/002_a/{place}: ") and says in done.err


def test_a_topic_file_that_is_not_there_is_named(shared):
    shared.add("002_a", "\\ir nowhere.sql\n")
    done = shared.call("migrate", code=2)
    shared.remove("002_a")
    assert "MB909" in done.err and "sql/002_a/nowhere.sql can't be read" in done.err


def test_detail_and_hint_of_the_server_are_shown(shared):
    shared.add("002_a", "do $$ begin raise exception 'the fact' using detail = 'the detail',"
                        " hint = 'the hint', errcode = 'MB777'; end $$;")
    done = shared.call("migrate", code=1)
    error = shared.call("migrate", "--json", code=1).document["error"]
    shared.remove("002_a")
    assert done.err.splitlines()[0] == "sql/002_a/apply.sql:1: the fact"
    assert "the detail" in done.err and "error MB777" in done.err and "the hint" in done.err
    assert error["code"] == "MB777" and error["place"] == "sql/002_a/apply.sql:1"
    assert "the detail" in error["message"] and "the hint" in error["hint"]


@pytest.mark.parametrize("text", ["\ufeffselect 1;", "select '\0';", "select '\udce4';"],
                         ids=["byte order mark", "NUL", "Latin-1"])
def test_a_file_that_is_no_clean_utf_8_is_refused(shared, text):
    shared.add("002_a", "select 1;")
    shared.path("002_a", "apply").write_bytes(text.encode("utf-8", "surrogateescape"))
    done = shared.call("migrate", code=2)
    shared.remove("002_a")
    assert "MB909" in done.err and re.search(r"sql/002_a(/apply.sql can't be read|\.py: 'utf-8')",
                                             done.err)


@pytest.mark.parametrize("name", ["verify", "rollback"])
def test_the_other_two_files_are_named_with_their_line_too(project, name):
    project.add("002_a", **{name: "select 1;\n\nselect\n  'ж', nowhere;\n"})
    if name == "rollback":
        project.call("migrate")
    command = ["migrate"] if name == "verify" else ["rollback", "--last", "--yes"]
    done = project.call(*command, code=None)
    assert f"sql/002_a/{name}.sql:4: column \"nowhere\" does not exist (SQLSTATE 42703)" in done.err
    assert done.code in (1, 4) and project.has("public.a") is (name == "rollback")


@pytest.mark.parametrize(("verify", "said"), [
    ("select 'one is two', 1 = 2, 'it is not'", "one is two (it is not)"),
    ("select 'unknown', null::boolean, null", "unknown"),
    ("values ('fine', true, ''), ('not fine', false, 'why')", "not fine (why)"),
    ("select 'x', true, null where false", "no check"),
    ("set local lock_timeout = '1s'", "no check"),
    ("select 1", "check_name, ok, detail"),
], ids=["false", "null", "one of two", "no row", "no result", "another shape"])
def test_a_verification_that_is_not_true_keeps_nothing(shared, verify, said):
    shared.add("002_a", verify=verify + ";\n")
    before = shared.digest()
    done = shared.call("migrate", code=4)
    shared.remove("002_a")
    assert "MB906" in done.err and said in done.err and "sql/002_a/verify.sql" in done.err
    assert shared.digest() == before


@pytest.mark.parametrize("word", ["commit", "rollback", "COMMIT AND CHAIN", "end; begin",
                                  "prepare transaction 'x'"])
def test_a_file_that_ends_the_transaction_is_refused_before_it_runs(shared, word):
    shared.add("002_a", f"-- commit;\ncreate table public.a (a int);\n/* x */ {word};\n"
                        "create table public.b (a int);\n")
    before = shared.digest()
    done = shared.call("migrate", code=1)
    shared.remove("002_a")
    assert "sql/002_a/apply.sql:3: " in done.err and "transaction" in done.err
    assert shared.digest() == before


# Locks -------------------------------------------------------------------------


def test_a_migration_waits_for_a_lock_says_so_and_succeeds(project):
    project.add("002_a", "set local lock_timeout = '200ms';\n"
                         "alter table core.bots add column a int;\n",
                verify="select 'fine', true, null::text;")
    with project.database.connect() as conn:
        conn.execute("begin; lock table core.bots in access share mode")
        child = project.start("migrate")
        child.stderr.readline()  # the first attempt failed
        conn.execute("commit")
    done = finish(child)
    assert "1 migrated" in done.err and project.states()["002_a"] == "applied"


def test_a_lock_that_stays_is_an_error_that_names_the_wait(project, monkeypatch):
    monkeypatch.setattr("fleet.migrate.RETRIES", (0.1, 0.1))
    project.add("002_a", "set local lock_timeout = '100ms';\n\nlock table core.bots;")
    with project.database.connect() as conn:
        conn.execute("begin; lock table core.bots in access share mode")
        done = project.call("migrate", code=1)
    assert "002_a: canceling statement due to lock timeout (SQLSTATE 55P03); attempt 2" in done.err
    assert "sql/002_a/apply.sql:3: canceling" in done.err and "pg_stat_activity" in done.err
    assert done.err.count("attempt") == 2


def test_a_deadlock_is_tried_again(project):
    project.add("002_a", "set local lock_timeout = 0; set local deadlock_timeout = '100ms';\n"
                         "lock table core.bots; select pg_sleep(0.5); lock table core.bot_names;"
                         "create table public.a (a int);")
    with project.database.connect() as conn:
        child = project.start("migrate")
        project.runner_is_asleep()
        conn.execute("begin; set local deadlock_timeout = '1min'; lock table core.bot_names")
        conn.execute("select set_config('lock_timeout', '10s', true); lock table core.bots")
        conn.execute("commit")
    done = finish(child)
    assert "deadlock detected" in done.err and "40P01" in done.err and "1 migrated" in done.err


# The connection ----------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "migrate", "verify", "env", "codes"])
def test_without_a_server_the_error_says_where_it_looked(shared, command):
    done = shared.call(command, code=1, PGHOST="127.0.0.1", PGPORT="1")
    assert "MB901" in done.err and "127.0.0.1:1/" in done.err


def test_a_database_that_is_not_there_is_a_clear_error(shared):
    done = shared.call("migrate", code=1, PGDATABASE="no such database")
    assert "MB901" in done.err and 'database "no such database" does not exist' in done.err


def test_a_login_without_rights_is_told_which_one(fresh):
    role = f"poor_{os.urandom(4).hex()}"
    fresh.execute(f"create role {role} login")
    try:
        done = fresh.call("migrate", code=1, PGUSER=role)
        assert "MB904" in done.err and f"next: alter role {role} createrole" in done.err
        fresh.call("migrate")
        done = fresh.call("verify", code=1, PGUSER=role)
        assert "MB904" in done.err and "permission denied" in done.err
    finally:
        fresh.execute(f"drop role {role}")


# Ends that nobody wished for ---------------------------------------------------


SLEEPY = f"create table public.a (a int);\n{SLEEP}\n"


def no_trace_of_it(project: Project) -> None:
    """Nothing was kept, nobody holds a lock, and the next migrate works."""
    assert not project.has("public.a")
    project.wait_for("select not exists (select from pg_locks as l join pg_database as d"
                     " on d.oid = l.database where d.datname = current_database()"
                     " and l.relation = 'public._migration_lock'::regclass)")
    project.path("002_a", "apply").write_text("create table public.a (a int);\n")
    assert "1 migrated" in project.call("migrate").err
    assert project.execute("select count(*) from public.yoyo_lock") == [(0,)]


def test_ctrl_c_in_mid_migrate_exits_130_and_keeps_nothing(project):
    project.add("002_a", SLEEPY)
    child = project.start("migrate")
    project.runner_is_asleep()
    child.send_signal(signal.SIGINT)
    done = finish(child, 130)
    assert "interrupted; what was not finished is undone" in done.err
    no_trace_of_it(project)


def test_ctrl_c_between_sending_a_statement_and_its_answer_is_no_exception(project, monkeypatch):
    def interrupted(cursor, text):
        cursor.connection.pgconn.send_query(text)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("fleet.sqlfile.CountingCursor.execute", interrupted)
        project.add("002_a", SLEEPY)
        done = project.call("migrate", code=130)
    assert "interrupted" in done.err
    assert project.execute("select * from public.yoyo_lock") == []
    no_trace_of_it(project)


def test_a_terminated_backend_is_a_clear_error(project):
    project.add("002_a", SLEEPY)
    child = project.start("migrate")
    project.runner_is_asleep()
    project.execute("select pg_terminate_backend(pid) from pg_stat_activity"
                    " where application_name = 'runner migrate' and datname = current_database()")
    done = finish(child, 1)
    assert re.search("MB90[15]", done.err) and "administrator command" in done.err
    no_trace_of_it(project)


def test_a_killed_runner_leaves_no_lock_while_its_statement_still_runs(project):
    project.add("002_a", SLEEPY)
    child = project.start("migrate")
    project.runner_is_asleep()
    child.kill()
    child.communicate()
    no_trace_of_it(project)


@pytest.mark.parametrize("moment", range(8))
def test_ctrl_c_at_any_moment_shows_no_traceback(shared, moment):
    """From the first line of runner.py on, also while its modules load (which Python tells us)."""
    child = shared.start("verify", program=(sys.executable, "-X", "importtime", "runner.py"))
    while not re.search(r"\| +signal$", child.stderr.readline()):
        pass
    child.stderr.readline()  # something else was imported: the line after `import signal` has run
    time.sleep(0.05 * moment)
    child.send_signal(signal.SIGINT)
    assert finish(child, None).code in (130, -signal.SIGINT, 0)


def test_an_unexpected_exception_is_no_traceback_either(shared, monkeypatch):
    monkeypatch.setattr("fleet.status.states", lambda *_: 1 / 0)
    log = shared.folder / "log"
    try:
        shared.call("status", "--log", str(log))
    except AssertionError as seen:
        assert "Traceback" not in str(seen) and "MB912" in str(seen) and "ZeroDivision" in str(seen)
    assert "Traceback" in log.read_text()
