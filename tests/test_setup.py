"""`runner.py setup`: what it asks, tests and writes, and that it never shows a password."""

import contextlib
import secrets
import socket
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from fleet import config, registry, setup
from fleet.errors import DONE, USAGE, FleetError

CANARY = "cAnArY7"
HARD = " '\"\\%@/:#$;&?=+`[]{}|~!*()<>^,.-_éЖ中👋\u00a0\u2028"
printable = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[
    HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # a busy machine is no fault


class Talk:
    """A scripted user: answers by the question's first word; takes the default otherwise."""

    def __init__(self, **answers: str) -> None:
        self.answers, self.asked, self.heard = answers, [], []

    def ask(self, question: str, default: str, secret: bool = False) -> str:
        self.asked.append(question.split()[0])
        answer = self.answers.get(self.asked[-1], default)
        assert secret is (self.asked[-1] == "Password")
        return answer.pop(0) if isinstance(answer, list) else answer

    def say(self, text: str) -> None:
        self.heard.append(text)

    @property
    def text(self) -> str:
        return "\n".join(self.heard)


@pytest.fixture
def home(tmp_path):
    """A project, beside a home directory."""
    (tmp_path / "project").mkdir()
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
def run(home):
    def runner(talk: Talk, **flags) -> int:
        environ = {"HOME": str(home / "home"), **flags.pop("environ", {})}
        return setup.setup(home / "project", environ, talk.ask, talk.say, **flags)
    return runner


def answers(database, **more) -> dict:
    parts = database.parts
    return {"Which": "existing", "Host,": parts["host"], "Port": parts["port"],
            "Database": parts["dbname"], "User": parts["user"],
            "Password": parts.get("password", ""), **more}


def written(home: Path) -> str:
    file = home / "project" / ".env"
    assert file.stat().st_mode & 0o777 == 0o600
    return file.read_text("utf-8")


def files(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


def loaded(home: Path, **environ: str) -> config.DatabaseConfig:
    return config.load(home / "project", environ, lambda: {"host": "/run/embedded", "port": "5432"})


# Choosing -------------------------------------------------------------------------


def test_defaults_mean_the_embedded_server_and_no_question(home, run):
    talk = Talk()
    assert run(talk, defaults=True) == DONE
    assert not talk.asked and loaded(home).embedded and written(home) == ""


@pytest.mark.parametrize("answer", ["embedded", "em", "EMBEDDED", ["e", "what", "em"]])
def test_the_embedded_server_is_one_answer_away(home, run, answer):
    talk = Talk(Which=answer)
    run(talk)
    assert set(talk.asked) == {"Which"} and loaded(home).embedded
    assert len(talk.asked) == (1 if isinstance(answer, str) else 3)


def test_the_embedded_server_replaces_the_connection_and_keeps_every_other_line(home, run):
    (home / "project" / ".env").write_text(
        "# ours\n\nCURRENT_BOT_ID=7 # the first\nPGHOST=db\nexport PGPASSWORD='x'\n"
        "OTHER = \"a $b\"\nDATABASE_URL=postgresql://db\nPGSERVICEFILE=f\n# the end")
    run(Talk(), embedded=True)
    assert written(home) == ("# ours\n\nCURRENT_BOT_ID=7 # the first\nOTHER = \"a $b\"\n# the end")


def test_embedded_and_another_server_is_a_contradiction(home, run):
    for flags in ({"host": "db"}, {"url": "postgresql://db"}, {"service": "prod"}):
        with pytest.raises(FleetError) as caught:
            run(Talk(), embedded=True, **flags)
        assert (caught.value.code, caught.value.exit_code) == ("MB900", USAGE)


def test_an_existing_server_is_asked_for_tested_and_written(home, run, database):
    talk = Talk(**answers(database, Keep="env"))
    assert run(talk) == DONE
    assert talk.asked[:6] == ["Which", "Host,", "Port", "Database", "User", "Password"]
    assert loaded(home).parts == database.parts
    assert "ok: the server is PostgreSQL 15 to 18" in talk.text


def test_flags_are_not_asked_for(home, run, database, monkeypatch):
    talk = Talk(**answers(database))
    run(talk, host=database.parts["host"], user=database.parts["user"],
        port=database.parts["port"], dbname=database.parts["dbname"])
    assert talk.asked[0] == "Password"
    quiet = Talk()
    monkeypatch.chdir(write_passfile(home / "passfile", database).parent)
    run(quiet, **{**database.parts, "password": None}, passfile="passfile")
    assert not quiet.asked and loaded(home).parts["passfile"] == str(home / "passfile")


def write_passfile(file: Path, database) -> Path:
    """A passfile that lets us in where the server under test wants a password."""
    file.write_text(f"*:*:*:*:{database.parts.get('password', 'x')}\n")
    file.chmod(0o600)
    return file


def test_with_a_flag_and_defaults_nothing_is_asked_and_the_port_is_5432(home, run):
    talk = Talk()
    with pytest.raises(FleetError) as caught:
        run(talk, host=str(home), defaults=True)
    assert not talk.asked and caught.value.place == f"postgres@[{home}]:5432/fleet"
    talk = Talk()
    with pytest.raises(FleetError):
        run(talk, host=str(home))
    assert talk.asked[:3] == ["Database", "User", "Password"]


@pytest.mark.parametrize("as_flag", [True, False])
def test_a_url_is_taken_apart_and_what_has_no_variable_stays_a_url(home, run, database, as_flag):
    parts = {**database.parts, "keepalives_idle": "30", "application_name": "ours"}
    password = parts.pop("password", None)
    url = setup.url_of(parts)
    talk = Talk(**answers(database, Keep="env") | ({} if as_flag else {"Host,": url}))
    run(talk, **({"url": url} if as_flag else {}))
    found = loaded(home)
    assert found.parts == parts | ({"password": password} if password else {})
    assert "DATABASE_URL='postgresql:///?keepalives_idle=30'" in written(home)


def test_a_password_in_the_url_flag_is_refused_but_may_be_pasted(home, run, database):
    url = setup.url_of({**database.parts, "password": database.parts.get("password", CANARY)})
    with pytest.raises(FleetError) as caught:
        run(Talk(), url=url)
    assert caught.value.code == "MB900" and CANARY not in str(caught.value) + caught.value.hint
    talk = Talk(**answers(database, Keep="passfile") | {"Host,": url})
    run(talk)
    assert "Password" not in talk.asked and CANARY not in talk.text
    assert "PASSWORD" not in written(home)


# Keeping the password -------------------------------------------------------------


def test_the_password_goes_to_the_passfile_unless_told_otherwise(home, run, database):
    talk = Talk(**answers(database, Password=database.parts.get("password", CANARY)))
    run(talk)
    file = home / "home" / ".pgpass"
    assert file.stat().st_mode & 0o777 == 0o600 and talk.asked[-1] == "Keep"
    assert file.read_text().split("\n")[0].startswith(database.parts["host"])
    assert database.parts.get("password", CANARY) in file.read_text()
    assert "PASS" not in written(home) and CANARY not in talk.text


def test_another_passfile_is_named_in_dotenv(home, run, database):
    file = home / "secrets"
    run(Talk(**answers(database, Password=database.parts.get("password", "x"))),
        environ={"PGPASSFILE": str(file)})
    assert loaded(home).parts["passfile"] == str(file) and file.exists()


def test_only_if_asked_for_the_password_goes_to_dotenv_or_nowhere(home, run, database):
    password = database.parts.get("password", CANARY)
    for keep, kept in (("env", password), ("nowhere", None)):
        talk = Talk(**answers(database, Password=password, Keep=keep))
        run(talk)
        assert loaded(home).parts.get("password") == kept and password not in talk.text
        assert not (home / "home" / ".pgpass").exists()


def test_an_empty_password_is_none_or_one_that_a_passfile_holds_already(
        home, run, database, monkeypatch):
    monkeypatch.setenv("HOME", str(write_passfile(home / "home" / ".pgpass", database).parent))
    talk = Talk(**answers(database, Password=""))
    run(talk)
    assert "Keep" not in talk.asked and "password" not in loaded(home).parts


def test_a_service_is_tested_and_only_its_name_is_written(home, run, database):
    file = home / "services.conf"
    file.write_text("[fleet]\n" + "".join(f"{k}={v}\n" for k, v in database.parts.items()))
    environ = {"PGSERVICEFILE": str(file)}
    run(Talk(), service="fleet", environ=environ)
    assert written(home) == "PGSERVICE='fleet'\n"
    assert loaded(home, **environ).parts == database.parts
    run(Talk(**answers(database, Password=database.parts.get("password", "x"), Keep="service")),
        environ=environ)
    assert written(home) == "PGSERVICE='fleet'\n"


class Porter:
    """A server that asks for the password in clear text, remembers it, and refuses."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = str(self.listener.getsockname()[1])
        self.passwords: list[str] = []

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                with self.listener.accept()[0] as client, client.makefile("rb") as reader:
                    reader.read(struct.unpack("!i", reader.read(4))[0] - 4)
                    client.sendall(b"R" + struct.pack("!ii", 8, 3))
                    if reader.read(1) == b"p":
                        said = reader.read(struct.unpack("!i", reader.read(4))[0] - 4)
                        self.passwords.append(said[:-1].decode())
                    fault = b"SFATAL\0C28P01\0Mpassword authentication failed for user\0\0"
                    client.sendall(b"E" + struct.pack("!i", len(fault) + 4) + fault)


@pytest.fixture
def porter():
    porter = Porter()
    threading.Thread(target=porter.serve, daemon=True).start()
    yield porter
    porter.listener.shutdown(socket.SHUT_RDWR)
    porter.listener.close()


@quick
@given(printable, printable, printable)
@example(HARD, HARD, HARD)
def test_libpq_finds_in_the_passfile_what_was_put_there(home, porter, user, dbname, password):
    parts = {"host": "127.0.0.1", "port": porter.port, "user": user, "dbname": dbname}
    file = home / "home" / ".pgpass"
    lines = setup._entries(parts)
    setup._change(file, lambda copy: setup._put_entries(copy, lines, password))
    with pytest.raises(FleetError, match="password authentication failed"):
        config.connect(config.DatabaseConfig(
            parts | {"passfile": str(file), "sslmode": "disable", "gssencmode": "disable"}, {}))
    assert porter.passwords.pop() == password


@quick
@given(printable)
@example(HARD)
def test_libpq_sends_the_password_that_dotenv_says(home, porter, password):
    variables = {"PGHOST": "127.0.0.1", "PGPORT": porter.port, "PGUSER": "u", "PGDATABASE": "d",
                 "PGPASSWORD": password, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}
    setup._change(home / "project" / ".env", lambda copy: setup._put_variables(copy, variables))
    with pytest.raises(FleetError, match="password authentication failed"):
        config.connect(loaded(home))
    assert porter.passwords.pop() == password


def test_a_wrong_password_is_told_and_nothing_is_written(home, run, porter):
    talk = Talk(Which="existing", Password=CANARY, **{
        "Host,": f"postgresql://u@127.0.0.1:{porter.port}/d?sslmode=disable&gssencmode=disable"})
    with pytest.raises(FleetError) as caught:
        run(talk)
    assert caught.value.code == "MB901" and "pgpass" in caught.value.hint
    assert CANARY not in caught.value.message + talk.text
    assert porter.passwords == [CANARY] * setup.TRIES
    assert files(home) == ["home", "project"]


def test_our_entry_stands_first_replaces_its_forerunner_and_leaves_the_others(home):
    file = home / "home" / ".pgpass"
    file.write_text("# mine\n*:*:*:u:wild\ndb:5432:d:u:old\r\ndb:5432:d:u2:other\u2028x")
    file.chmod(0o644)
    lines = setup._entries({"host": "db", "port": "5432", "dbname": "d", "user": "u"})
    setup._change(file, lambda copy: setup._put_entries(copy, lines, "a:b\\c"))
    assert file.read_text() == ("db:5432:d:u:a\\:b\\\\c\n# mine\n*:*:*:u:wild\n"
                                "db:5432:d:u2:other\u2028x\n")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_socket_is_entered_as_localhost_too_and_several_hosts_each_for_itself():
    base = {"dbname": "d", "user": "u"}
    assert setup._entries(base | {"host": "/run/pg", "port": "1"}) == [
        "/run/pg:1:d:u:", "localhost:1:d:u:"]
    assert setup._entries(base | {"host": "a,b", "port": "1,2"}) == ["a:1:d:u:", "b:2:d:u:"]
    assert setup._entries(base | {"host": "a,::1", "port": "1"}) == [
        "a:1:d:u:", "\\:\\:1:1:d:u:"]


# Writing --------------------------------------------------------------------------


def test_a_dry_run_tests_the_server_and_writes_nothing(home, run, database):
    before = files(home)
    for keep in ("passfile", "env"):
        talk = Talk(**answers(database, Password=database.parts.get("password", CANARY), Keep=keep))
        assert run(talk, dry_run=True) == DONE
        assert files(home) == before and "ok: " in talk.text
        assert database.parts.get("password", CANARY) not in talk.text
        assert f"PGDATABASE={database.parts['dbname']}" in talk.text and "would write" in talk.text


def test_a_server_that_cannot_be_reached_changes_nothing(home, run):
    (home / "project" / ".env").write_text("PGHOST=db\nPGPASSWORD=x")
    talk = Talk(Which="existing", Password=CANARY, **{"Host,": str(home)})
    with pytest.raises(FleetError) as caught:
        run(talk)
    assert caught.value.code == "MB901"
    assert (home / "project" / ".env").read_text() == "PGHOST=db\nPGPASSWORD=x"
    assert files(home) == ["home", "project", "project/.env"]


def test_a_dotenv_that_others_could_read_is_for_its_owner_alone_afterwards(home, run):
    (home / "project" / ".env").write_text("A=b\n")
    (home / "project" / ".env").chmod(0o666)
    run(Talk(), embedded=True)
    assert written(home) == "A=b\n"


def test_a_linked_dotenv_stays_a_link(home, run):
    (home / "elsewhere").write_text("PGHOST=db\nA=b\n")
    (home / "project" / ".env").symlink_to(home / "elsewhere")
    run(Talk(), embedded=True)
    assert (home / "project" / ".env").is_symlink()
    assert (home / "elsewhere").read_text() == "A=b\n"


@pytest.mark.parametrize("content", [b"A='open\n", b"A=\"open", b"\xff"])
def test_a_dotenv_that_cannot_be_understood_is_left_as_it_is(home, content):
    (home / "project" / ".env").write_bytes(content)
    with pytest.raises(FleetError) as caught:
        setup._change(home / "project" / ".env",
                      lambda copy: setup._put_variables(copy, {"PGHOST": "a 'b' \"c\""}))
    assert caught.value.code == "MB903"
    assert (home / "project" / ".env").read_bytes() == content
    assert files(home / "project") == [".env"]


def test_a_folder_that_cannot_be_written_to_is_an_error(home):
    with pytest.raises(FleetError) as caught:
        setup._change(home / "missing" / ".env", lambda copy: None)
    assert caught.value.code == "MB903"


def test_what_a_crash_leaves_behind_is_ignored_by_git_and_readable_by_nobody_else(home):
    seen = []
    setup._change(home / "project" / ".env", lambda copy: seen.append(
        (copy.name, copy.stat().st_mode & 0o777, copy.parent.parent)))
    assert seen == [(".env", 0o600, home / "project")]


def test_a_shell_that_will_override_dotenv_is_told(home, run):
    talk = Talk()
    run(talk, embedded=True, environ={"PGHOST": "db", "PGPASSWORD": CANARY})
    assert "the shell's PGHOST goes before .env" in talk.text and CANARY not in talk.text


# The rights -----------------------------------------------------------------------


@contextlib.contextmanager
def login(database, **options):
    """A login of its own, dropped afterwards; owns the database if asked."""
    name, password = f"setup_{secrets.token_hex(4)}", secrets.token_hex(8)
    with config.connect(config.DatabaseConfig(database.parts, {})) as conn:
        owner = conn.execute("select pg_get_userbyid(datdba) from pg_database"
                             " where datname = current_database()").fetchone()[0]
        give = sql.SQL("alter database {} owner to {}")
        mine = sql.Identifier(database.parts["dbname"])
        conn.execute(sql.SQL("create role {} login password {} {}").format(
            sql.Identifier(name), sql.Literal(password), sql.SQL(options.get("attributes", ""))))
        try:
            if options.get("owner"):
                conn.execute(give.format(mine, sql.Identifier(name)))
            yield {**database.parts, "user": name, "password": password}
        finally:
            conn.execute(give.format(mine, sql.Identifier(owner)))
            conn.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_a_superuser_may_migrate(database):
    talk = Talk()
    setup.probe(database.parts, talk.say)
    assert len(talk.heard) == 10 and all(line.startswith("ok: ") for line in talk.heard)
    assert [line for line in talk.heard if "note:" in line and "lz4" not in line] == []


def test_an_owner_with_createrole_may_migrate_and_is_told_what_only_a_superuser_has(empty):
    talk = Talk()
    with login(empty, attributes="createrole", owner=True) as parts:
        setup.probe(parts, talk.say)
    assert all(line.startswith("ok: ") for line in talk.heard)
    assert "(note: without session_replication_role" in talk.text


@pytest.mark.parametrize("options, fact, remedy", [
    ({"owner": True}, "the login may make roles", "alter role"),
    ({"attributes": "createrole"}, "the login has the rights of the database's owner",
     "alter database")])
def test_a_missing_right_is_named_with_the_statement_that_gives_it(empty, options, fact, remedy):
    talk = Talk()
    with login(empty, **options) as parts, pytest.raises(FleetError) as caught:
        setup.probe(parts, talk.say)
    assert caught.value.code == "MB904" and fact in caught.value.message
    assert remedy in caught.value.hint and parts["user"] in caught.value.hint
    assert f"FAILED: {fact}" in talk.text


def test_a_database_in_another_encoding_is_refused(cluster):
    name = f"latin_{secrets.token_hex(4)}"
    cluster.execute(f"create database {name} template template0 encoding latin1 locale 'C'")
    try:
        with pytest.raises(FleetError) as caught:
            setup.probe({**cluster.parts, "dbname": name}, Talk().say)
    finally:
        cluster.execute(f"drop database {name}")
    assert caught.value.code == "MB904" and "LATIN1" in caught.value.message


def test_a_wrong_password_is_asked_for_again_and_the_other_answers_stay(home, run, porter):
    typed = ["wrong", "worse", CANARY, "fourth"]
    talk = Talk(Which="existing", Password=[*typed], **{
        "Host,": f"postgresql://u@127.0.0.1:{porter.port}/d?sslmode=disable&gssencmode=disable"})
    with pytest.raises(FleetError, match="password authentication failed"):
        run(talk)
    assert porter.passwords == typed
    assert talk.asked == ["Which", "Host,", *["Password"] * setup.TRIES]
    assert talk.text.count("password authentication failed") == setup.TRIES - 1


def test_where_nobody_can_be_asked_again_the_refusal_itself_is_told(home, run):
    def ask(question: str, default: str, secret: bool = False) -> str:
        raise FleetError("MB910", "no terminal to ask at")

    with pytest.raises(FleetError) as caught:
        setup.setup(home / "project", {"PGPASSWORD": "x"}, ask, print, host="127.0.0.1", port="1",
                    user="u", dbname="d", keep="env")
    assert caught.value.code == "MB901" and files(home) == ["home", "project"]


def test_every_answer_can_be_a_flag_and_the_password_a_variable(home, run, database):
    parts = {key: database.parts[key] for key in ("host", "port", "user", "dbname")}
    for keep in ("env", "passfile", "nowhere"):
        talk = Talk()
        run(talk, **parts, keep=keep, environ={"PGPASSWORD": database.parts.get("password", "x")})
        assert talk.asked == [] and ("PGPASSWORD" in written(home)) is (keep == "env")
    assert (home / "home" / ".pgpass").exists()


def test_a_host_that_does_not_answer_is_asked_for_again(home, run, database):
    talk = Talk(**answers(database, Keep="nowhere") | {
        "Host,": ["127.0.0.1", database.parts["host"]], "Port": ["1", database.parts["port"]]})
    run(talk)
    assert talk.asked.count("Host,") == talk.asked.count("Port") == 2
    assert talk.asked.count("User") == talk.asked.count("Database") == 1
    assert "no connection" in talk.text and loaded(home).parts["host"] == database.parts["host"]


def test_a_database_that_is_not_there_is_asked_for_again(home, run, database):
    talk = Talk(**answers(database, Keep="nowhere") | {
        "Database": ["nobodys", database.parts["dbname"]]})
    run(talk)
    assert talk.asked.count("Database") == 2 and talk.asked.count("Host,") == 1


def test_a_refused_server_is_not_written(home, run, empty):
    with login(empty) as parts, pytest.raises(FleetError, match="not true"):
        run(Talk(**answers(empty) | {"User": parts["user"], "Password": parts["password"]}))
    assert files(home) == ["home", "project"]


def test_the_preflight_only_reads_and_its_checks_are_sentences(database):
    with config.connect(config.DatabaseConfig(database.parts, {}),
                        options="-c default_transaction_read_only=on") as conn:
        cursor = conn.execute((registry.FOLDER / "preflight.sql").read_text("utf-8"))
        rows = cursor.fetchall()
    assert [column.name for column in cursor.description] == ["check_name", "ok", "detail"]
    assert all(" " in name and ok is True and detail for name, ok, detail in rows)


# Showing --------------------------------------------------------------------------


def test_show_lists_each_value_with_its_source_and_masks_secrets(home):
    (home / "project" / ".env").write_text(
        f"DATABASE_URL=postgresql://u:{CANARY}@db?sslpassword={CANARY}&keepalives=1\n"
        "CURRENT_BOT_ID=7\n")
    rows = setup.show(loaded(home, PGAPPNAME="mine"))
    assert ("PGHOST", "db", ".env DATABASE_URL") in rows
    assert ("PGPASSWORD", "********", ".env DATABASE_URL") in rows
    assert ("sslpassword", "********", ".env DATABASE_URL") in rows
    assert ("keepalives", "1", ".env DATABASE_URL") in rows
    assert ("PGAPPNAME", "mine", "shell PGAPPNAME") in rows
    assert ("CURRENT_BOT_ID", "7", ".env CURRENT_BOT_ID") in rows
    assert ("MULTI_BOT_ENABLED", "true", "default") in rows
