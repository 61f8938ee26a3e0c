"""No character from data is obeyed by a terminal, a reader or a log: each is shown escaped."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from conftest import PATIENCE, PROJECT, Database, clone
from core_rows import add_bot, add_task, run_runner
from hypothesis import given
from hypothesis import strategies as st

from fleet.journal import Journal
from fleet.screen import json_text, printable

pytest_plugins = "core_rows"

# a title for the window, a coloured word, a C1 sequence, a line of its own, text turned round
NASTY = ("a\x1b]0;pwned\x07b\x1b[31mred\x1b[0m\x9b31m\x85\r\n  next: rm -rf /\t\x7f\x08"
         "\u202egpj\u202c\u2066x\u2069\u200f\u061c\u2028\u2029z")
NAME = NASTY.replace("\r\n", "").replace("\t", "")[:60]  # of an object of the database
SEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@pytest.fixture(scope="module")
def hostile(cluster: Database, template: Database, tmp_path_factory: pytest.TempPathFactory
            ) -> Iterator[Database]:
    """A database with nasty texts wherever a command may find one."""
    for database in clone(cluster, template.name):
        folder = tmp_path_factory.mktemp("nasty")
        bot = folder / "a bot"
        (bot / "girls_data").mkdir(parents=True)
        (bot / "conversations").mkdir()
        (bot / "conversations/1.json").write_text(json.dumps(
            [{"text": "x", "direction": NASTY, "ts": NASTY}]))
        (bot / "conversations/2.json").write_text(json.dumps({NASTY: [NASTY]}), "utf-8")
        (bot / "girls_data/3.json").write_text(
            json.dumps({"chat_id": NASTY, NASTY: 1}, ensure_ascii=False), "utf-8")
        (bot / ("conversations/" + NASTY.replace("/", "") + ".json")).write_text("[")
        (folder / "stray\x1b[1m\u202e\n file").write_text("x")
        run_runner(database, "import", str(folder), code=6)
        with database.connect() as conn:
            # what the name's CHECK lets through differs by the database's locale
            conn.execute("update core.bots set name = %s where name = 'a bot'",
                         ["a \u202etob\u2066 \u2028\u200f"])
            add_task(conn, "nasty", f"raise exception '%', {literal(NASTY)};")
            conn.execute("insert into performance.bot_fault (bot_id, kind, fault, what_to_do)"
                         " values (%s, 'roll_up', %s, %s)", [add_bot(conn), NASTY, NASTY])
            conn.execute("insert into core.error_code values ('MB499', %s, %s, %s)", [NASTY] * 3)
            conn.execute(f"create table core.{quoted(NAME)} ({quoted(NAME)} int);"
                         f" comment on table core.{quoted(NAME)} is {literal(NASTY)};"
                         f" create function core.{quoted(NAME)}() returns int language sql as"
                         f" {literal(f'select 1 /* {NASTY} */')};"
                         f" alter table core.bots add constraint {quoted(NAME)}"
                         f" check (name <> {literal(NASTY)}) not valid")
            conn.execute("select performance.run_task('nasty')")
        yield database


def shown(database: Database, *args: str) -> str:
    """All that a terminal gets from the runner, without the colours that are the runner's own."""
    child = pexpect.spawn(sys.executable, [str(PROJECT / "runner.py"), *args], timeout=PATIENCE,
                          env=database.environment(TERM="dumb"), dimensions=(40, 200),
                          encoding="utf-8")
    child.expect(pexpect.EOF)
    child.close()
    assert "Traceback" not in child.before and "the runner failed" not in child.before
    return child.before.replace("\r\n", "\n")


# command, whether something nasty is among what it prints
COMMANDS = [
    (["rejects"], True), (["health"], True), (["bot", "drop", NASTY], True),
    *(pytest.param(*case, marks=pytest.mark.torture) for case in (
        (["bot", "list"], True), (["bot", "logins"], False), (["status"], False),
        (["report"], True), (["codes"], True), (["diff"], True), (["verify"], True),
        (["verify", "--all"], True), (["maintain"], True), (["maintain", "--dry-run"], False),
        (["metrics"], False), (["bot", "add", NASTY], True), (["bot", "limit", NASTY], True),
        (["import", NASTY], True), (["migrate"], False), (["retry", "--dry-run"], True),
        (["rejects", "--bot", NASTY], True), (["rollback", "--to", NASTY], True),
        (["plan"], False), (["rejects", NASTY], True)))]


@pytest.mark.parametrize(("command", "is_nasty"), COMMANDS, ids=lambda c: str(c)[:30])
def test_no_command_prints_what_a_terminal_obeys(
        hostile: Database, command: list[str], is_nasty: bool, tmp_path: Path):
    log = tmp_path / "log"
    for more in ([], ["--json"]):
        text = shown(hostile, *command, *more, "--log", str(log))
        assert SEEN.findall(text) == [], text
        assert not re.search(r"^  next: rm", text, re.M)
        assert not is_nasty or "\\u" in text, text
    for line in log.read_text("utf-8").splitlines() if log.exists() else ():
        assert SEEN.findall(line) == []
        json.loads(line)


def test_json_is_exact(hostile: Database):
    texts = {value for row in json.loads(run_runner(hostile, "codes", "--json").stdout)
             for value in row.values()}
    assert NASTY in texts


def test_a_page_holds_none_of_it_either(hostile: Database, tmp_path: Path):
    run_runner(hostile, "report", "--html", str(tmp_path / "page.html"), code=None)
    assert SEEN.findall((tmp_path / "page.html").read_text("utf-8")) == []


def test_what_is_seen_stays_as_it_is():
    text = "Привет 👩‍👩‍👧 שלום عربى \\u001b naïve [red]"
    assert printable(text) == text
    assert printable("\x1b\n\t\x9b\u2028\ud800") == r"\u001b\n\t\u009b\u2028\ud800"
    assert printable("a\n\tb\r", "\n\t") == "a\n\tb\\r"


@given(st.text(), st.text())
def test_json_says_the_same_after_it_as_before(key: str, value: str):
    text = json_text({key: [value]}, indent=2)
    assert json.loads(text) == {key: [value]} and not SEEN.findall(text)


def test_a_log_line_is_one_line_and_exact(tmp_path: Path):
    journal = Journal(tmp_path / "log", "x", "y")
    journal.write("event", text=NASTY)
    (line,) = (tmp_path / "log").read_text("utf-8").split("\n")[:-1]
    assert json.loads(line)["text"] == NASTY and not SEEN.findall(line)
