"""In a terminal and without one: colours, width, questions, Ctrl-C."""

import re
import signal
import time

import pexpect
import pytest
from conftest import PATIENCE, SLEEP
from project import FIRST, Project

pytest_plugins = "project"
GREEN = "\x1b[32m"


def shown(terminal: pexpect.spawn, code: int = 0) -> str:
    """All that the terminal showed until the runner ended with `code`."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == code, terminal.before
    assert "Traceback" not in terminal.before
    return terminal.before


def bare(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


# Colours and width -------------------------------------------------------------


def test_a_terminal_gets_colours(shared):
    text = shown(shared.terminal("status"))
    assert f"{GREEN}applied" in text and "\x1b[1m" in text


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_whoever_wants_no_colours_gets_none(shared, variable):
    text = shown(shared.terminal("status", **variable))
    assert "applied" in text and not re.search(r"\x1b\[[0-9;]*3\d", text)


def test_errors_are_red_in_a_terminal_and_plain_elsewhere(shared):
    assert "\x1b[31m" in shown(shared.terminal("migrate", "--to", "nothing"), 2)
    assert "\x1b" not in shared.run("migrate", "--to", "nothing", code=2).said


def test_a_table_folds_in_a_narrow_terminal_and_loses_nothing(shared):
    lines = bare(shown(shared.terminal("codes"))).splitlines()
    assert max(map(len, lines)) <= 100
    letters = re.sub(r"[^a-z]", "", "".join(lines).lower())
    assert len(lines) > 25 and "mb912" in "".join(lines).lower() and "core" in letters


def test_a_long_line_is_not_cut_when_piped(shared):
    remedies = [row["remedy"] for row in shared.call("codes", "--json").document]
    piped = shared.start("codes", COLUMNS="40")
    out, _ = piped.communicate()
    assert all(remedy in out for remedy in remedies)
    assert "\x1b" not in out


def test_brackets_in_what_is_shown_are_text_and_not_markup(shared):
    shared.add("002_a", "select '[red]x[/red]'; do $$ begin raise notice '[bold]b[/bold]';"
                        " raise exception '[/red] %', '[link=x]' using hint = '[i]do[/i]'; end $$;")
    done = shared.call("migrate", code=1)
    shared.remove("002_a")
    assert "notice: [bold]b[/bold]" in done.err and "[/red] [link=x]" in done.err
    assert "[i]do[/i]" in done.err


@pytest.mark.parametrize("size", [(24, 20), (24, 1000)])
def test_any_width_of_terminal_works(shared, size):
    terminal = shared.terminal("verify")
    terminal.setwinsize(*size)
    assert "none failed" in re.sub(r"\s+", " ", bare(shown(terminal)))


# Questions ---------------------------------------------------------------------


def question(project: Project) -> pexpect.spawn:
    terminal = project.terminal("rollback", "--all")
    terminal.expect("yes to go on")
    return terminal


@pytest.mark.parametrize("end", ["sendintr", "sendeof"])
def test_ctrl_c_or_ctrl_d_at_a_question_exits_130(shared, end):
    before = shared.digest()
    terminal = question(shared)
    time.sleep(0.1)
    getattr(terminal, end)()
    assert "interrupted" in shown(terminal, 130)
    assert shared.digest() == before


def test_the_question_names_database_and_number(shared):
    terminal = question(shared)
    name = shared.execute("select current_database()")[0][0]
    assert f"this rolls back, in this order: {FIRST}" in bare(terminal.before)
    assert re.search(rf"Roll back 1 of 1 migrations on \S+/{name}\? Type ", bare(terminal.before))
    terminal.sendline("no")
    assert "not confirmed; nothing was changed" in shown(terminal, 1)


def test_a_terminal_that_goes_away_while_it_asks_changes_nothing(shared):
    before = shared.digest()
    terminal = question(shared)
    terminal.close(force=True)
    time.sleep(0.3)
    assert shared.digest() == before


def test_no_lock_is_held_while_a_question_waits(shared):
    terminal = question(shared)
    shared.call("migrate")
    terminal.sendline("no")
    shown(terminal, 1)


def test_ctrl_c_at_work_in_a_terminal_exits_130(project):
    project.add("002_a", f"create table public.a (a int); {SLEEP}")
    terminal = project.terminal("migrate")
    project.runner_is_asleep()
    terminal.sendintr()
    assert "what was not finished is undone" in shown(terminal, 130)
    assert not project.has("public.a")


def test_a_hangup_or_term_ends_the_runner_and_keeps_nothing(project):
    for ending in (signal.SIGTERM, signal.SIGHUP):
        project.add("002_a", f"create table public.a (a int); {SLEEP}")
        child = project.start("migrate")
        project.runner_is_asleep()
        child.send_signal(ending)
        _, noise = child.communicate(timeout=PATIENCE)
        assert child.returncode != 0 and "Traceback" not in noise
        project.wait_for("select not exists (select from pg_stat_activity where application_name"
                         " = 'runner migrate' and datname = current_database())")
        assert not project.has("public.a")
    project.add("002_a")
    assert "1 migrated" in project.run("migrate").err
