"""`runner.py bot …`, and the example of a bot's program: by name, without a secret in sight."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from conftest import PATIENCE, PROJECT, Database
from core_rows import fill, run_runner, start_runner

CANARY = "canary-4f2b9c"


def password_of(database: Database, name: str, *arguments: str) -> tuple[int, str]:
    """bot_id and password, as the command printed them."""
    row, = json.loads(run_runner(database, *arguments, name, "--json").stdout)
    return row["bot_id"], row["password"]


def kept(database: Database, bot: int) -> str:
    return database.execute("select rolpassword from pg_authid where rolname = %s",
                            [f"bot_{bot}"])[0][0]


def fits(stored: str, password: str) -> bool:
    """Whether a SCRAM verifier was made of this password."""
    _, rounds_salt, keys = stored.split("$")
    rounds, salt = rounds_salt.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    client = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client).digest() == base64.b64decode(keys.split(":")[0])


def test_a_bot_is_added_with_a_password_that_is_shown_once(database: Database, tmp_path: Path):
    log = tmp_path / "log"
    done = run_runner(database, "bot", "add", "Мила", "--log", str(log))
    bot, = json.loads(run_runner(database, "bot", "list", "--json").stdout)
    password = done.stdout.split()[-1]
    assert (bot["name"], bot["login"]) == ("Мила", f"bot_{bot['bot_id']}")
    assert fits(kept(database, bot["bot_id"]), password)
    assert password not in done.stderr + log.read_text()
    assert not run_runner(database, "bot", "list").stdout.count(password)


def test_each_password_is_another_one(database: Database):
    made = {password_of(database, f"bot {n}", "bot", "add")[1] for n in range(3)}
    assert len(made) == 3 and all(len(password) == 32 for password in made)


def test_a_rotated_password_takes_the_place_of_the_old_one(database: Database):
    bot, old = password_of(database, "Anna", "bot", "add")
    same, new = password_of(database, "Anna", "bot", "rotate")
    assert same == bot and new != old
    assert fits(kept(database, bot), new) and not fits(kept(database, bot), old)
    run_runner(database, "bot", "rotate", "nobody", code=1)


def test_a_password_that_was_asked_for_is_not_shown(database: Database):
    child = pexpect.spawn(sys.executable, [str(PROJECT / "runner.py"), "bot", "add", "x", "--ask"],
                          env=database.environment(TERM="xterm"), encoding="utf-8",
                          timeout=PATIENCE)
    for prompt in ("Password: ", "Again: "):
        child.expect(prompt)
        child.sendline(CANARY)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert CANARY not in child.before
    bot, = database.execute("select bot_id from core.bots")
    assert fits(kept(database, bot[0]), CANARY)


def test_without_a_terminal_a_password_can_not_be_asked_for(database: Database):
    assert "MB910" in run_runner(database, "bot", "add", "x", "--ask", code=2).stderr
    assert database.execute("select from core.bots") == []


def test_a_dry_run_adds_nobody_and_shows_no_password(database: Database):
    row, = json.loads(run_runner(database, "bot", "add", "x", "--dry-run", "--json").stdout)
    assert row["password"] == ""
    assert database.execute("select from core.bots") == []
    assert database.execute("select from pg_roles where rolname = %s", [row["login"]]) == []


def test_a_bot_with_rows_is_dropped_only_when_told_to_discard_them(database: Database):
    bot, _ = password_of(database, "Anna", "bot", "add")
    with database.connect() as conn:
        conn.execute("select core.record_message(1, 'in', 'hello', p_bot_id => %s)", [bot])
        other = fill(conn)
    assert "MB910" in run_runner(database, "bot", "drop", "Anna", code=2).stderr
    assert "MB106" in run_runner(database, "bot", "drop", "Anna", "--yes", code=1).stderr
    run_runner(database, "bot", "drop", "Anna", "--yes", "--discard-data", "--dry-run")
    assert database.execute("select count(*) from core.messages where bot_id = %s", [bot])[0][0]
    run_runner(database, "bot", "drop", "Anna", "--yes", "--discard-data")
    assert database.execute("select bot_id from core.messages") == [(other,)]
    assert database.execute("select from pg_roles where rolname = %s", [f"bot_{bot}"]) == []


def test_a_token_comes_from_stdin_and_shows_up_nowhere(database: Database, tmp_path: Path):
    run_runner(database, "bot", "add", "Anna")
    for said, code in ((f"{CANARY}\n", 0), (f"{CANARY} x\n", 1), ("\n", 1)):
        done = start_runner(database, "bot", "token", "Anna", "--log", str(tmp_path / "log"),
                            said=said, code=code)
        assert CANARY not in done.stdout + done.stderr + (tmp_path / "log").read_text()
        assert ("MB107" in done.stderr) is bool(code)
    assert database.execute("select token from security.bot_token") == [(CANARY,)]


def test_in_one_bot_mode_no_other_bot_is_added_or_touched(database: Database):
    bot, _ = password_of(database, "Anna", "bot", "add")
    only = {"MULTI_BOT_ENABLED": "false", "CURRENT_BOT_ID": str(bot + 1)}
    for command in (["add", "x"], ["rotate", "Anna"], ["drop", "Anna", "--yes"]):
        assert "MB911" in run_runner(database, "bot", *command, code=2, **only).stderr


@pytest.mark.parametrize("chat", ["42", "-1000000000042"])
def test_the_example_of_a_bot_keeps_and_reads_its_messages(database: Database, chat: str):
    bot, password = password_of(database, "Anna", "bot", "add")
    with database.connect() as conn:
        fill(conn)  # somebody else's
    as_bot = Database(database.parts | {"user": f"bot_{bot}", "password": password})
    for text in ("Привет", "👋"):
        done = subprocess.run([sys.executable, PROJECT / "examples/bot.py", chat, text],
                              env=as_bot.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=3)[2:] for line in done.stdout.splitlines()]
    assert lines == [["out", "You said: 👋"], ["in", "👋"], ["out", "You said: Привет"],
                     ["in", "Привет"]]


def test_the_example_is_as_short_as_it_says():
    assert len((PROJECT / "examples/bot.py").read_text().splitlines()) <= 50
