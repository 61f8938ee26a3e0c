"""A password goes to the server and nowhere else: not into argv, output, log, errors or views."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pexpect
import psycopg
import pytest
from conftest import Database
from project import FIRST, Project, finish
from psycopg import sql

from fleet import server, setup

pytest_plugins = "project"
MARK = "cAnArY7"  # letters and digits, so it looks the same in any quoting
CLEAN = ("drop schema public cascade; create schema public;"
         " drop schema if exists core, core_partitions, core_upkeep cascade")
PASSWORD = f"{MARK} 'q' \"Q\" \\ %s %% ${MARK} ключ;:/?#[]@&= {MARK}"


@pytest.fixture(scope="module")
def guarded(own_server: server.Server) -> Database:
    """A database on a server that asks the login `canary` for its password."""
    admin = Database(dict(own_server.parts()))
    rules = own_server.home.resolve() / own_server.major() / "pg_hba.conf"
    rules.write_text(f"local all canary scram-sha-256\n{rules.read_text()}")
    with admin.connect() as conn:
        digest = conn.pgconn.encrypt_password(PASSWORD.encode(), b"canary", b"scram-sha-256")
        conn.execute(sql.SQL("create role canary superuser login password {}").format(
            digest.decode()))
        conn.execute("select pg_reload_conf()")
    return Database(admin.parts | {"user": "canary", "password": PASSWORD})


@pytest.fixture
def told(guarded: Database, tmp_path: Path) -> Project:
    """The project, told the password in its environment (PGPASSWORD)."""
    return Project(tmp_path / "project", guarded)


@contextmanager
def watched_processes() -> Iterator[list[str]]:
    """Yields a list that, at the end, holds the command lines of all processes seen meanwhile."""
    seen, stop = set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(path.read_bytes())
            stop.wait(0.005)

    watcher, lines = threading.Thread(target=look), []
    watcher.start()
    try:
        yield lines
    finally:
        stop.set()
        watcher.join()
        lines += [line.decode(errors="replace").replace("\0", " ") for line in seen]


def environment(project: Project, way: str, password: str) -> dict[str, str]:
    """The environment for one way of telling the password; `.env` is written where it is that."""
    parts = {**project.database.parts, "password": password}
    url = setup.url_of(parts)
    variables = {"PGPASSWORD": password, "PGHOST": parts["host"], "PGPORT": parts["port"],
                 "PGUSER": "canary", "PGDATABASE": parts["dbname"]}
    if way == "DATABASE_URL":
        return dict.fromkeys(variables, "") | {"DATABASE_URL": url}
    if way == ".env":
        (project.folder / ".env").write_text("DATABASE_URL='{}'\n".format(url.replace("'", "%27")))
        (project.folder / ".env").chmod(0o600)
        return dict.fromkeys(variables, "")
    if way == "passfile":
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        (project.folder / "pass").write_text(f"*:*:*:canary:{escaped}\n", "utf-8")
        (project.folder / "pass").chmod(0o600)
        return variables | {"PGPASSWORD": "", "PGPASSFILE": str(project.folder / "pass")}
    return variables


def test_the_password_is_needed_and_right(guarded):
    assert guarded.execute("select current_user") == [("canary",)]
    with pytest.raises(psycopg.OperationalError, match="password"):
        guarded.connect(password="wrong")  # noqa: S106


@pytest.mark.parametrize("way", ["PGPASSWORD", "DATABASE_URL", ".env", "passfile"])
def test_no_command_shows_the_password(told, way):
    env = environment(told, way, PASSWORD)
    log = told.folder / "log"
    told.execute(CLEAN)
    with watched_processes() as processes:
        said = told.run("migrate", "--log", str(log), **env).said
        said += told.run("exec", "sh", "-c", "psql -XAtc \"select 'as ' || current_user\";"
                         " yoyo list --batch; tr '\\0' ' ' < /proc/$$/cmdline", **env).said
    assert "as canary" in said and re.search(f"A +{FIRST}", said) and "sh -c" in said
    said += "".join(told.call(*command.split(), "--log", str(log), **env).said for command in (
        "migrate --json", "status --json", "verify --quiet", "env", "env --json", "setup --show",
        "setup --show --json", "rollback --all --dry-run"))
    assert MARK not in said
    assert MARK not in log.read_text("utf-8") and len(log.read_text().splitlines()) >= 18
    assert any("runner.py" in line for line in processes) or not Path("/proc").exists()
    assert not [line for line in processes if MARK in line]


@pytest.mark.parametrize("way", ["PGPASSWORD", "DATABASE_URL", ".env", "passfile"])
@pytest.mark.parametrize("wrong", ["password", "host", "database"])
def test_no_error_shows_the_password(told, way, wrong):
    if wrong != "password":
        key, value = {"host": ("host", "127.0.0.1"), "database": ("dbname", f"no {wrong}")}[wrong]
        told.database = Database({**told.database.parts, key: value,
                                  "port": "1" if wrong == "host" else "5432"})
    env = environment(told, way, f"{MARK} is wrong" if wrong == "password" else PASSWORD)
    log = told.folder / "log"
    for flags in ([], ["--json"]):
        done = told.call("migrate", "--log", str(log), *flags, code=1, **env)
        assert "MB901" in done.err and MARK not in done.said
    assert MARK not in log.read_text()


def test_neither_the_servers_views_nor_its_log_show_the_password(told, own_server):
    told.execute(CLEAN)
    told.add("002_a", "create table public.a (a int); select pg_sleep(0.5);")
    child = told.start("migrate")
    told.runner_is_asleep()
    shown = told.execute("select a::text from pg_stat_activity as a")
    settings = told.execute("select s::text from pg_settings as s")
    finish(child)
    assert MARK not in str(shown) + str(settings)
    history = told.execute("select h::text from public._migration_history as h"
                           " union all select l::text from public._yoyo_log as l")
    assert history and MARK not in str(history)
    server_log = (own_server.home / "server.log").read_text("utf-8", "replace")
    assert "runner" in str(shown) and "create table public.a" in server_log
    assert MARK not in server_log


def test_a_password_in_the_text_of_an_sql_error_is_masked(told):
    told.execute(CLEAN)
    told.add("003_b", "do $$ begin raise exception 'the server says %',"
                      f" $q${PASSWORD}$q$ using hint = $q${PASSWORD}$q$; end $$;")
    log = told.folder / "log"
    done = told.call("migrate", "--log", str(log), code=1)
    assert "the server says ***" in done.err and MARK not in done.said + log.read_text()


def test_a_password_on_the_command_line_is_refused_and_not_repeated(told):
    for arguments in (["setup", "--url", f"postgresql://canary:{MARK}@nowhere/x"],
                      ["setup", "--url", f"host=nowhere password={MARK}"]):
        done = told.run(*arguments, code=2)
        assert "MB900" in done.err and MARK not in done.said


def test_a_password_typed_into_setup_is_neither_shown_nor_readable_by_others(told, guarded):
    parts = guarded.parts
    terminal = told.terminal(
        "setup", "--host", parts["host"], "--port", "5432", "--user", "canary", "--dbname",
        parts["dbname"], **dict.fromkeys(("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD",
                                          "PGDATABASE"), ""))
    terminal.expect("Password.*: ")
    terminal.sendline(PASSWORD)
    terminal.expect("Keep the password where.*: ")
    terminal.sendline("env")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0 and MARK not in terminal.before
    path = told.folder / ".env"
    assert MARK in path.read_text("utf-8") and path.stat().st_mode & 0o777 == 0o600
    nothing = dict.fromkeys(("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"), "")
    shown = told.run("setup", "--show", **nothing)
    assert MARK not in shown.said and ".env PGPASSWORD" in shown.out
    assert told.run("status", code=None, **nothing).code in (0, 3, 4)
    assert os.environ.get("PGPASSWORD") is None
