"""Where the server is: what counts, what is never mixed, and that no secret is ever shown."""

import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from fleet import config, one_bot, programs, setup
from fleet.errors import USAGE, FleetError

CANARY = "cAnArY7"
EMBEDDED = {"host": "/run/embedded", "port": "5432", "user": "postgres", "dbname": "fleet"}
HARD = " '\"\\%@/:#$;&?=+`[]{}|~!*()<>^,.-_éЖ中👋\u00a0\u2028"
# What a person can type; libpq itself ends a value at a NUL.
printable = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[
    HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # a busy machine is no fault


@pytest.fixture
def load(tmp_path):
    """Loads a project whose .env holds the given text, for its owner alone."""
    def loader(shell=None, dotenv="", embedded=lambda: EMBEDDED):
        file = tmp_path / ".env"
        file.write_text(dotenv, "utf-8")
        file.chmod(0o600)
        return config.load(tmp_path, shell or {}, embedded)
    return loader


def refused(function, *arguments, **named) -> FleetError:
    with pytest.raises(FleetError) as caught:
        function(*arguments, **named)
    return caught.value


def told(found: config.DatabaseConfig) -> str:
    """Whatever of a configuration may reach a screen or a log."""
    return "\n".join([repr(found), str(found), found.shown(), programs.exports(found),
                      *found.warnings, repr(setup.show(found))])


def said(error: FleetError) -> str:
    return "\n".join([str(error), error.message, error.hint, error.place])


# Which source counts --------------------------------------------------------------


def test_with_nothing_said_the_embedded_server_is_used(load):
    found = load()
    assert found.parts == EMBEDDED and found.embedded and not found.warnings
    assert set(found.sources.values()) == {"embedded"}


def test_the_embedded_server_is_not_looked_at_when_another_is_reached_by_tcp(load):
    assert not load({"PGHOST": "db"}, embedded=lambda: pytest.fail("looked at")).embedded


@pytest.mark.parametrize("name, value, parts", [
    ("DATABASE_URL", "postgresql://db/fleet", {"host": "db", "dbname": "fleet"}),
    ("DATABASE_URL", "postgresql://", {}),
    ("PGHOST", "db", {"host": "db"}),
    ("PGHOSTADDR", "10.0.0.1", {"hostaddr": "10.0.0.1"}),
    ("PGPORT", "6000", {"port": "6000"}),
])
def test_each_of_these_names_a_server_in_the_shell_or_in_dotenv(load, name, value, parts):
    assert load({name: value}).parts == parts
    assert load({}, f"{name}={value}").parts == parts
    assert not load({name: value}).embedded


def test_user_password_and_database_alone_name_no_server_and_are_named_in_a_warning(load):
    found = load({"PGUSER": "me", "PGPASSWORD": CANARY}, "PGDATABASE=other")
    assert found.parts == EMBEDDED and found.embedded
    assert found.warnings == ("not used, because not said of the server in use: "
                              ".env PGDATABASE, shell PGPASSWORD, shell PGUSER",)


def test_the_shell_wins_over_dotenv_part_by_part(load):
    found = load({"PGUSER": "me", "PGSSLMODE": ""},
                 "PGHOST=db\nPGUSER=them\nPGPASSWORD=x\nPGSSLMODE=require")
    assert found.parts == {"host": "db", "user": "me", "password": "x", "sslmode": "require"}
    assert found.sources == {"host": ".env PGHOST", "user": "shell PGUSER",
                             "password": ".env PGPASSWORD", "sslmode": ".env PGSSLMODE"}


@pytest.mark.parametrize("shell", [
    {"PGHOST": "other"}, {"PGHOSTADDR": "10.0.0.2"}, {"PGPORT": "6000"},
    {"DATABASE_URL": "postgresql://other/x"}, {"DATABASE_URL": "postgresql:///x"},
    {"PGHOST": "db", "PGPORT": "6000"}, {"PGHOST": "db", "PGHOSTADDR": "10.0.0.2"}])
@pytest.mark.parametrize("dotenv", [
    f"PGHOST=db\nPGUSER=u\nPGPASSWORD={CANARY}\nPGSSLCERT=c\nPGOPTIONS=-cx=1",
    f"DATABASE_URL=postgresql://u:{CANARY}@db/fleet?keepalives=1",
    f"PGPASSWORD={CANARY}"])
def test_nothing_said_of_one_server_goes_to_another_that_the_shell_names(load, shell, dotenv):
    found = load(shell, dotenv)
    assert found.parts == load(shell).parts
    assert [w for w in found.warnings if w.startswith("not used")], found.warnings


variables = st.sets(st.sampled_from(sorted(config.VARIABLES.values())))


@quick
@given(variables, variables, st.sampled_from(["PGHOST", "PGHOSTADDR", "PGPORT"]))
def test_the_parts_of_two_servers_are_never_mixed(load, shell, dotenv, named):
    values = {"PGSERVICE": "", "PGPORT": "1"}
    said = {name: values.get(name, "shell") for name in shell | {named}}
    values = {"PGSERVICE": "", "PGPORT": "2"}
    found = load(said, "\n".join(f"{name}={values.get(name, 'dotenv')}" for name in dotenv))
    assert not {"dotenv", "2"} & set(found.parts.values())


@pytest.mark.parametrize("shell, dotenv", [
    ({"PGHOST": "db", "PGPORT": "5432"}, "DATABASE_URL=postgresql://u:x@db/fleet"),
    ({"DATABASE_URL": "postgresql://db"}, "PGHOST=db\nPGUSER=u\nPGPASSWORD=x\nPGDATABASE=fleet")])
def test_dotenv_completes_the_same_server_named_in_the_shell(load, shell, dotenv):
    found = load(shell, dotenv)
    assert (found.parts["user"], found.parts["password"], found.parts["dbname"]) == (
        "u", "x", "fleet")
    assert not found.warnings


def test_after_evaluating_its_exports_the_shell_still_gets_the_password_from_dotenv(load):
    dotenv = "PGHOST=db\nPGPORT=6000\nPGUSER=u\nPGPASSWORD=x"
    shell = evaluated(programs.exports(load({}, dotenv)), {})
    assert "PGPASSWORD" not in shell
    assert load(shell, dotenv).parts == load({}, dotenv).parts


def test_the_url_wins_over_the_variables_beside_it_and_they_fill_what_it_leaves_open(load):
    found = load({"DATABASE_URL": "postgresql://u@db", "PGUSER": "no", "PGPORT": "6000",
                  "PGPASSWORD": "x"})
    assert found.parts == {"user": "u", "host": "db", "port": "6000", "password": "x"}
    assert found.sources["user"] == "shell DATABASE_URL"
    assert found.sources["port"] == "shell PGPORT"


def test_a_url_that_names_a_host_is_not_redirected_by_the_variables_beside_it(load):
    found = load({"DATABASE_URL": "postgresql://db", "PGHOSTADDR": "10.0.0.2", "PGSERVICE": "prod"})
    assert found.parts == {"host": "db"}


def test_the_embedded_servers_own_socket_directory_is_the_embedded_server(load):
    found = load({"PGHOST": "/run/embedded"}, "PGHOST=db\nPGPASSWORD=x")
    assert found.embedded and found.parts == EMBEDDED
    assert found.sources["host"] == "shell PGHOST" and found.sources["user"] == "embedded"
    assert load({}, "DATABASE_URL=postgresql://me@%2Frun%2Fembedded/other").parts == (
        EMBEDDED | {"user": "me", "dbname": "other"})


@pytest.mark.parametrize("shell", [{"PGHOST": "/run/embedded", "PGPORT": "6000"},
                                   {"PGHOST": "/run/elsewhere"}])
def test_another_socket_or_port_is_not_the_embedded_server(load, shell):
    found = load(shell)
    assert not found.embedded and "user" not in found.parts


def test_an_embedded_server_that_was_never_started_is_not_the_one_meant(load):
    def never_started():
        raise FleetError("MB902", "has no socket")
    assert not load({"PGHOST": "/run/postgresql"}, embedded=never_started).embedded
    assert refused(load, embedded=never_started).code == "MB902"


# DATABASE_URL ---------------------------------------------------------------------


@pytest.mark.parametrize("url, parts", [
    ("postgres://u:p@h:1/d", "user=u password=p host=h port=1 dbname=d"),
    ("postgresql://u@h/d", "user=u host=h dbname=d"),
    ("POSTGRESQL://h/d", "host=h dbname=d"),
    ("postgresql+psycopg://u:p@h/d", "user=u password=p host=h dbname=d"),
    ("postgresql+psycopg2://h/d", "host=h dbname=d"),
    ("postgresql+asyncpg://h/d", "host=h dbname=d"),
    ("host=h user=u password='a b' dbname=d", "host=h user=u password='a b' dbname=d"),
    ("host=h password=a://b@c@d", "host=h password=a://b@c@d"),
    ("postgresql:///d?host=/run/pg", "host=/run/pg dbname=d"),
    ("postgresql://u@%2Frun%2Fpg:6000/d", "user=u host=/run/pg port=6000 dbname=d"),
    ("postgresql://[2001:db8::1]:6000/d", "host=2001:db8::1 port=6000 dbname=d"),
    ("postgresql://a:1,b:2/d?target_session_attrs=primary",
     "host=a,b port=1,2 dbname=d target_session_attrs=primary"),
    ("postgresql://a%40b:p%2F%3A%25%20%C3%A9@h/a%2Fb",
     "user=a@b password='p/:% é' host=h dbname=a/b"),
    ("postgresql://h/d?sslmode=verify-full&options=-csearch_path%3Dx&keepalives_idle=3",
     "host=h dbname=d sslmode=verify-full options=-csearch_path=x keepalives_idle=3"),
    ("postgresql://u:@h/d?options=&application_name=", "user=u host=h dbname=d"),
    ("postgresql://h/d?user=me@realm&ssl=true", "host=h dbname=d user=me@realm sslmode=require"),
])
def test_every_form_of_database_url_is_taken_apart(load, url, parts):
    assert load({"DATABASE_URL": url}).parts == conninfo_to_dict(parts)
    assert load({}, f'DATABASE_URL="{url}"').parts == conninfo_to_dict(parts)


@pytest.mark.parametrize("url", [
    "postgresql://u:{0}@{0}@h/d", "postgresql://u:{0}/@h/d", "postgresql://u:1/{0}@h/d",
    "postgresql://u:{0}%zz@h/d", "postgresql://u:{0}%00@h/d", "postgresql://u:{0}%ff@h/d",
    "postgresql://u:p@h/d?{0}=1", "postgresql://u:p@h:{0}/d", "postgresql://u:/?{0}@h/d",
    "mysql://u:{0}@h/d", "mysql://u:{0}@h/d?a=b", "host=h password=a {0}", "{0}",
    "postgresql://[{0}/d", "postgresql://u:p#{0}/@h/d", "postgresql://u:a@b?{0}@h/d"])
def test_a_bad_database_url_is_refused_without_showing_any_of_it(load, url):
    for error in (refused(load, {"DATABASE_URL": url.format(CANARY)}),
                  refused(load, {}, f"DATABASE_URL='{url.format(CANARY)}'")):
        assert (error.code, error.exit_code) == ("MB903", USAGE)
        assert "%40" in error.hint and error.place.endswith("DATABASE_URL")
        assert CANARY not in said(error)
        assert error.__cause__ is None and error.__suppress_context__ is (
            error.__context__ is not None)


@quick
@given(st.text("@:/?#%[]&=+ ,1a", max_size=6), st.text("@:/?#%[]&=+ ,1a", max_size=6))
@example("/", "")
@example("@", "@")
def test_a_password_left_unencoded_in_a_url_never_becomes_something_that_is_shown(
        load, before, after):
    try:
        found = load({"DATABASE_URL": f"postgresql://u:{before}{CANARY}{after}@h:5432/d"})
    except FleetError as error:
        assert CANARY not in said(error)
    else:
        assert CANARY not in told(found)


# Services -------------------------------------------------------------------------


@pytest.fixture
def services(tmp_path):
    file = tmp_path / "services.conf"
    file.write_text(f"[prod]\nhost=db\nport=5432\nuser=u\npassword={CANARY}\nkeepalives=0\n")
    return str(file)


def test_a_service_is_taken_apart_and_wins_over_variables_as_it_does_in_libpq(load, services):
    shell = {"PGSERVICEFILE": services, "PGSERVICE": "prod", "PGPORT": "1", "PGDATABASE": "d"}
    found = load(shell)
    assert found.parts == {"host": "db", "port": "5432", "user": "u", "password": CANARY,
                           "keepalives": "0", "dbname": "d"}
    assert found.sources["host"] == "shell PGSERVICE prod"
    assert CANARY not in told(found)


def test_a_url_wins_over_the_service_that_it_names(load, services):
    found = load({"PGSERVICEFILE": services, "PGHOST": "no",
                  "DATABASE_URL": "postgresql://me@/d?service=prod"})
    assert (found.parts["host"], found.parts["user"]) == ("db", "me")


def test_a_service_in_dotenv_is_found_in_the_file_that_the_shell_names(load, services):
    assert load({"PGSERVICEFILE": services}, "PGSERVICE=prod").parts["host"] == "db"
    assert load({}, f"PGSERVICE=prod\nPGSERVICEFILE={services}").parts["host"] == "db"


def test_the_password_of_a_service_in_dotenv_stays_away_from_the_shells_server(load, services):
    found = load({"PGHOST": "other"}, f"PGSERVICE=prod\nPGSERVICEFILE={services}")
    assert found.parts == {"host": "other"}


def test_a_service_that_is_not_there_is_an_error(load, services):
    error = refused(load, {"PGSERVICEFILE": services, "PGSERVICE": "test"})
    assert (error.code, error.place) == ("MB903", "shell PGSERVICE") and "test" in error.message


def test_looking_up_a_service_leaves_the_environment_as_it_was(load, services, monkeypatch):
    monkeypatch.setenv("PGUSER", "before")
    before = dict(os.environ)
    load({"PGSERVICEFILE": services, "PGSERVICE": "prod"})
    assert dict(os.environ) == before


# Every form of a configuration says the same --------------------------------------

hosts = st.sampled_from(["db", "db.example.org", "my_db", "10.0.0.1", "::1", "/run/a b", "@unseen",
                         "a,b", "/run/x,b", "Ж.example"])
parts = st.fixed_dictionaries({}, optional={
    "host": hosts, "port": st.sampled_from(["1", "5432"]), "user": printable,
    "password": printable, "dbname": printable, "options": printable, "sslmode": st.just("require"),
    "application_name": printable, "passfile": printable, "keepalives": st.just("1")})
everything_hard = {"host": "/run/a b", "port": "1", "user": HARD, "password": HARD, "dbname": HARD}


@quick
@given(parts)
@example(everything_hard)
def test_the_url_says_the_same_to_libpq(said):
    url = setup.url_of(said)
    back = conninfo_to_dict(url)
    if "port" not in said and back.get("port") == "5432":
        del back["port"]
    assert back == said
    assert url.isascii() and not set(url) & set(" '\"\\<>`")


@quick
@given(parts, st.dictionaries(st.sampled_from([*sorted(config.LIBPQ), "DATABASE_URL"]), printable))
@example(everything_hard, {})
def test_the_environment_of_a_child_says_our_parts_and_nothing_of_the_shells(load, said, leftovers):
    found = config.DatabaseConfig(said, {})
    child = programs.environment(found, {"PATH": "/bin", "PSQLRC": "x", **leftovers})
    assert child.pop("PATH") == "/bin" and child.pop("PSQLRC") == "x"
    known = {key: value for key, value in said.items() if key in config.VARIABLES}
    assert child == {config.VARIABLES[key]: value for key, value in known.items()}
    if {"host", "port"} & known.keys():
        assert load(child).parts == known


@quick
@given(parts)
@example(everything_hard | {"keepalives": "1"})
def test_dotenv_gives_back_what_setup_wrote(load, tmp_path, said):
    variables = {config.VARIABLES[key]: value for key, value in said.items()
                 if key in config.VARIABLES} | {"PGPORT": "1"}
    setup._change(tmp_path / ".env", lambda copy: setup._put_variables(copy, variables))
    found = config.load(tmp_path, {}, lambda: EMBEDDED)
    assert programs.environment(found, {}) == variables


@quick
@given(parts)
@example({"host": HARD, "password": HARD})
def test_a_shell_that_evaluates_the_exports_gets_all_but_the_secrets(said):
    said = {key: value for key, value in said.items() if key in config.VARIABLES}
    exports = programs.exports(config.DatabaseConfig(said, {}))
    shell = evaluated(exports, {"PGSSLMODE": "left", "PGUSER": "x"})
    assert shell == {config.VARIABLES[key]: value for key, value in said.items()
                     if key != "password"}


def evaluated(exports: str, environ: dict[str, str]) -> dict[str, str]:
    """The libpq variables of a POSIX shell after eval."""
    script = 'eval "$1"; exec env -0'
    done = subprocess.run(["/bin/sh", "-c", script, "sh", exports], env=environ, check=True,
                          capture_output=True)
    lines = done.stdout.decode().split("\0")
    return dict(line.split("=", 1) for line in lines if line.startswith("PG"))


def test_exports_leave_a_password_that_the_shell_holds_and_unset_one_that_belongs_elsewhere(load):
    shell = {"PGHOST": "db", "PGPASSWORD": "x", "PGSERVICE": ""}
    assert evaluated(programs.exports(load(shell)), shell) == {"PGHOST": "db", "PGPASSWORD": "x"}
    shell = {"PGPASSWORD": "x", "PGHOSTADDR": ""}
    assert "PGPASSWORD" not in evaluated(programs.exports(load(shell)), shell)
    shell = {"DATABASE_URL": "postgresql://u:p@db", "PGPASSWORD": "other"}
    assert "PGPASSWORD" not in evaluated(programs.exports(load(shell)), shell)


def test_exports_unset_only_what_the_shell_holds_if_they_are_told(load):
    found = load({"DATABASE_URL": "postgresql://db", "PGPASSWORD": "x", "PGHOSTADDR": "10.0.0.2"})
    said = programs.exports(found, ["PATH", "PGHOSTADDR", "PGHOST"])
    assert said == "unset PGHOSTADDR\nexport PGHOST=db"
    assert programs.exports(found, []) == "export PGHOST=db"
    assert programs.exports(load({"DATABASE_URL": "postgresql://"}), []) == ""


def test_exports_keep_the_service_that_the_password_comes_from(load, services):
    shell = {"PGSERVICEFILE": services, "PGSERVICE": "prod"}
    after = evaluated(programs.exports(load(shell)), shell)
    assert load(after).parts == load(shell).parts


@pytest.mark.parametrize("said, shown", [
    ({"user": "u", "host": "db", "port": "6000", "dbname": "d"}, "u@db:6000/d"),
    ({"user": "u", "host": "/run/pg", "dbname": "d"}, "u@[/run/pg]:5432/d"),
    ({"host": "::1"}, "[::1]:5432/"),
    ({"host": "a,b", "port": "1,2", "dbname": "d"}, "a:1,b:2/d"),
    ({"host": "a,b", "port": "1", "dbname": "d"}, "a:1,b:1/d"),
    ({"hostaddr": "10.0.0.1", "dbname": "d"}, "10.0.0.1:5432/d"),
    ({"dbname": "d"}, "[local]:5432/d")])
def test_a_server_is_shown_as_user_host_port_and_database(said, shown):
    assert config.DatabaseConfig(said | {"password": CANARY}, {}).shown() == shown


# Secrets --------------------------------------------------------------------------


@pytest.mark.parametrize("shell, dotenv", [
    ({"PGHOST": "db", "PGPASSWORD": CANARY}, ""),
    ({"DATABASE_URL": f"postgresql://u:{CANARY}@db/d?sslpassword={CANARY}"}, ""),
    ({"DATABASE_URL": f"host=db password={CANARY} oauth_client_secret={CANARY} "
                      f"scram_client_key={CANARY}"}, ""),
    ({}, f"PGHOST=db\nPGPASSWORD={CANARY}"),
    ({"PGHOST": "other"}, f"DATABASE_URL=postgresql://u:{CANARY}@db/d"),
    ({"PGPASSWORD": CANARY}, "")])
def test_a_password_is_in_nothing_that_is_shown(load, shell, dotenv):
    assert CANARY not in told(load(shell, dotenv))


def test_what_psql_has_no_variable_for_is_kept_and_named(load):
    found = load({"DATABASE_URL": f"postgresql://db?keepalives_idle=5&sslpassword={CANARY}"})
    assert found.parts["keepalives_idle"] == "5" and found.parts["sslpassword"] == CANARY
    assert found.warnings == ("psql and pg_dump have no variable for keepalives_idle, sslpassword: "
                              "not handed on",)


@pytest.mark.parametrize("mode, text, warned", [
    (0o644, "PGHOST=db\nPGPASSWORD=x", True), (0o640, "DATABASE_URL=postgresql://u:x@db", True),
    (0o600, "PGHOST=db\nPGPASSWORD=x", False), (0o644, "PGHOST=db", False)])
def test_a_dotenv_with_a_password_that_others_can_read_is_warned_of(tmp_path, mode, text, warned):
    (tmp_path / ".env").write_text(text)
    (tmp_path / ".env").chmod(mode)
    found = config.load(tmp_path, {}, lambda: EMBEDDED)
    assert any("chmod 600" in warning for warning in found.warnings) is warned


@pytest.mark.parametrize("make", [lambda f: f.write_bytes(b"PGHOST=\xff"),
                                  lambda f: f.write_bytes("PGHOST=ж".encode("utf-16"))])
def test_a_dotenv_that_is_no_text_is_an_error(tmp_path, make):
    make(tmp_path / ".env")
    error = refused(config.load, tmp_path, {}, lambda: EMBEDDED)
    assert error.code == "MB903" and ".env" in error.message


def test_a_dollar_in_dotenv_is_a_dollar(load):
    found = load({"HOME": "no"}, "PGHOST=db\nPGPASSWORD=a${HOME}$x")
    assert found.parts == {"host": "db", "password": "a${HOME}$x"}


# Bots -----------------------------------------------------------------------------


def test_current_bot_id_is_the_default_of_bot_and_the_shell_wins(load):
    assert one_bot.of(load({}, "CURRENT_BOT_ID=7")).choose(None) == 7
    assert one_bot.of(load({"CURRENT_BOT_ID": "8"}, "CURRENT_BOT_ID=7")).choose(None) == 8
    assert one_bot.of(load({}, "CURRENT_BOT_ID=7")).choose(3) == 3
    assert one_bot.of(load()).choose(None) is None and one_bot.of(load()).current is None
    assert load({"CURRENT_BOT_ID": "8"}).sources["CURRENT_BOT_ID"] == "shell CURRENT_BOT_ID"


def test_an_installation_for_one_bot_refuses_every_other(load):
    found = one_bot.of(load({"MULTI_BOT_ENABLED": "false", "CURRENT_BOT_ID": "7"}))
    assert found.choose(None) == 7 and found.choose(7) == 7
    error = refused(found.choose, 8)
    assert (error.code, error.exit_code) == ("MB911", USAGE) and "8" in error.message
    assert refused(one_bot.of(load({"MULTI_BOT_ENABLED": "0"})).choose, None).code == "MB911"
    assert refused(one_bot.of(load({"MULTI_BOT_ENABLED": "0"})).choose, 7).code == "MB911"


@pytest.mark.parametrize("value, meant", [
    ("true", True), ("1", True), ("YES", True), ("on", True), ("", True),
    ("false", False), ("0", False), ("No", False), ("off", False)])
def test_multi_bot_enabled_reads_the_usual_words(load, value, meant):
    assert one_bot.of(load({"MULTI_BOT_ENABLED": value})).multi is meant


@pytest.mark.parametrize("name, value", [
    *(("MULTI_BOT_ENABLED", value) for value in ("maybe", "2", "t", " ", "true\n")),
    *(("CURRENT_BOT_ID", value) for value in ("0", "-1", "1.5", "x", "1_0", "٣", "9" * 19, " 1"))])
def test_any_other_value_is_an_error_that_names_it_and_its_source(load, name, value):
    error = refused(one_bot.of, load({name: value}))
    assert (error.code, error.exit_code, error.place) == ("MB903", USAGE, f"shell {name}")
    assert name in error.message and repr(value) in error.message


# Connecting -----------------------------------------------------------------------


def connected(said, **extra):
    return config.connect(config.DatabaseConfig(said, {}), **extra)


def test_a_connection_commits_by_itself_and_names_itself(database):
    with connected(database.parts) as conn:
        name = conn.execute("select current_setting('application_name')").fetchone()[0]
        assert conn.autocommit and name == "bot-fleet"
    with connected(database.parts | {"application_name": "said"}) as conn:
        assert conn.info.get_parameters()["application_name"] == "said"
        assert conn.info.get_parameters()["connect_timeout"] == "10"
    with connected(database.parts | {"application_name": "said"}, application_name="extra",
                   connect_timeout="5") as conn:
        assert conn.info.get_parameters()["application_name"] == "extra"
        assert conn.info.get_parameters()["connect_timeout"] == "5"


def test_nothing_in_the_processes_environment_leads_a_connection_elsewhere(database, monkeypatch):
    for name in (*config.VARIABLES.values(), "PGSERVICEFILE", "PGDATESTYLE", "PGTZ", "PGGEQO"):
        monkeypatch.setenv(name, "nonsense")
    with pytest.raises(psycopg.Error):
        psycopg.connect(**database.parts)
    before = dict(os.environ)
    assert connected(database.parts).info.dbname == database.parts["dbname"]
    assert dict(os.environ) == before


def test_threads_that_connect_at_once_find_what_is_said_and_nothing_else(monkeypatch):
    monkeypatch.setenv("PGUSER", "nonsense")
    monkeypatch.setenv("PGHOST", "db")

    class Found(list):
        def settle(self):
            """As a connection has it."""

    def slowly(**_):
        found = Found()
        for _ in range(20):
            time.sleep(0.001)
            found.append((os.environ.get("PGUSER"), os.environ.get("PGHOST")))
        return found
    monkeypatch.setattr(config.settings.Connection, "connect", slowly)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda _: connected({"host": "db"}), range(24))
    assert {pair for pairs in found for pair in pairs} == {(None, "db")}


def test_a_child_process_reaches_the_same_database(database):
    lures = {"PGHOST": "192.0.2.1", "PGSERVICE": "nonsense", "PGSSLMODE": "nonsense"}
    found = config.DatabaseConfig(database.parts, {})
    environment = programs.environment(found, {**os.environ, **lures})
    code = "import psycopg; print(psycopg.connect('').info.dbname)"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True,
                          env=environment)
    assert done.stdout.strip() == database.parts["dbname"]


def test_a_missing_database_and_an_unknown_login_are_told_apart(database):
    error = refused(connected, database.parts | {"dbname": "no such database"})
    assert (error.code, error.message) == (
        "MB901", 'no connection: database "no such database" does not exist')
    assert "createdb" in error.hint and "no such database" in error.place
    error = refused(connected, database.parts | {"user": "no such login", "password": CANARY})
    assert "no such login" in error.message and ("PGUSER" in error.hint or "pgpass" in error.hint)
    assert CANARY not in said(error)


def test_too_many_connections_are_told(database):
    login = f"limited_{os.getpid()}"
    with connected(database.parts) as conn:
        conn.execute(f"create role {login} login connection limit 0 password 'x'")
        try:
            error = refused(connected, database.parts | {"user": login, "password": "x"})
        finally:
            conn.execute(f"drop role {login}")
    assert "too many connections" in error.message and "close idle sessions" in error.hint


def test_a_closed_port_an_unknown_host_and_a_missing_socket_are_told(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = str(closed.getsockname()[1])
        cases = [{"host": "127.0.0.1", "port": port}, {"host": "nowhere.invalid"},
                 {"host": str(tmp_path)}, {"host": "a..b"}]
        for case in cases:
            error = refused(connected, {"user": "u", "dbname": "d", "password": CANARY} | case)
            assert error.code == "MB901" and "start it" in error.hint, case
            assert error.place.startswith("u@") and CANARY not in said(error)


def test_a_server_that_never_answers_is_a_timeout():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        error = refused(connected, {"host": "127.0.0.1", "port": str(silent.getsockname()[1]),
                                    "user": "u", "dbname": "d"}, connect_timeout="2")
    assert "timeout" in error.message and "firewall" in error.hint


AT = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: '


@pytest.mark.parametrize("text, message, hint", [
    (AT + 'FATAL:  password authentication failed for user "u"',
     'password authentication failed for user "u"', "pgpass"),
    (AT + "fe_sendauth: no password supplied", "fe_sendauth: no password supplied", "pgpass"),
    (AT + 'FATAL:  database "password" does not exist', 'database "password" does not exist',
     "createdb"),
    (AT + 'FATAL:  role "u" does not exist', 'role "u" does not exist', "PGUSER"),
    (AT + 'FATAL:  role "u" is not permitted to log in', 'role "u" is not permitted to log in',
     "PGUSER"),
    (AT + 'FATAL:  no pg_hba.conf entry for host "10.0.0.2", user "u", database "d", no encryption',
     'no pg_hba.conf entry for host "10.0.0.2", user "u", database "d", no encryption', "PGUSER"),
    (AT + 'FATAL:  Peer authentication failed for user "u"',
     'Peer authentication failed for user "u"', "PGUSER"),
    (AT + "FATAL:  sorry, too many clients already", "sorry, too many clients already", "idle"),
    (AT + "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
     "remaining connection slots are reserved for roles with the SUPERUSER attribute", "idle"),
    (AT + "Connection refused\n\tIs the server running on that host and accepting TCP/IP "
     "connections?", "Connection refused", "start it"),
    (AT + "Connection timed out\n\tIs the server …?", "Connection timed out", "firewall"),
    ("connection timeout expired", "connection timeout expired", "firewall"),
    (AT + "server does not support SSL, but SSL was required",
     "server does not support SSL, but SSL was required", "setup --show"),
    (AT + 'ВАЖНО:  роль "u" не существует', 'ВАЖНО:  роль "u" не существует', "setup --show"),
])
def test_what_the_server_says_decides_what_to_do_next(monkeypatch, text, message, hint):
    def connect(**_):
        raise psycopg.OperationalError(text)
    monkeypatch.setattr(config.settings.Connection, "connect", connect)
    error = refused(connected, {"user": "u", "host": "10.0.0.1", "dbname": "d"})
    assert error.message == f"no connection: {message}" and hint in error.hint
    assert error.place == "u@10.0.0.1:5432/d"


def test_the_example_says_nothing_until_a_line_is_uncommented(load):
    example = (Path(__file__).parent.parent / ".env.example").read_text("utf-8")
    assert load({}, example).parts == EMBEDDED
    found = load({}, re.sub("^#(?=[A-Z_]+=)(?!PGSERVICE)", "", example, flags=re.M))
    assert found.shown() == "fleet_owner@db.example.org:5432/fleet" and "password" in found.parts
    assert one_bot.of(found) == one_bot.Bots(1, True)
