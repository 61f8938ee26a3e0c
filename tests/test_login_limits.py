"""Whoever has a login takes so much of the server and no more: bots, workers, admins."""

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import psycopg
import pytest
from conftest import Database, clone
from core_rows import make_bot, refused, run_runner

from fleet.bots import verifier

pytest_plugins = ("core_rows", "project")

# connections, statement_timeout, idle in transaction, lock_timeout
FIRST = {"bot": (20, 30, 60, 10), "worker": (20, 30, 60, 10), "admin": (5, 300, 300, 10),
         "super_admin": (10, 3600, 600, 60)}
MAKE = {"worker": "select security.create_worker(%s, array[]::bigint[], %s{})",
        "admin": "select security.create_admin(%s, %s{})",
        "super_admin": "select security.create_admin(%s, %s, true{})"}
SETTINGS = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout")


@pytest.fixture(scope="module")
def place(cluster: Database, template: Database) -> Iterator[Database]:
    """A database for the whole file; its logins go with it."""
    for database in clone(cluster, template.name):
        yield database
        database.execute("set role app_owner; select security.drop_logins()")


def make_login(database: Database, kind: str, more: str = "") -> Database:
    """A new login of this kind, as it connects."""
    if kind == "bot":
        return make_bot(database)[1]
    name, password = f"x_{secrets.token_hex(6)}", secrets.token_hex(16)
    with database.connect() as conn:
        conn.execute(MAKE[kind].format(more), [name, verifier(conn, password)])
    return Database(database.parts | {"user": name, "password": password})


def limits_of(database: Database, login: str) -> tuple:
    """What list_bots or list_logins says, times in seconds."""
    (found,) = database.execute("""
        select connection_limit, statement_timeout, transaction_idle, lock_timeout
        from security.list_bots() where login = %s union all
        select connection_limit, statement_timeout, transaction_idle, lock_timeout
        from security.list_logins() where login = %s""", [login, login])
    return (found[0], *(value / timedelta(seconds=1) for value in found[1:]))


def settings_of(login: Database) -> tuple:
    """What is in force in a new session of this login, in seconds."""
    with login.connect() as conn:
        return tuple(conn.execute("select extract(epoch from current_setting(%s)::interval)",
                                  [name]).fetchone()[0] for name in SETTINGS)


@pytest.mark.parametrize("kind", FIRST)
def test_every_login_is_limited_from_the_first_on(place: Database, kind: str):
    login = make_login(place, kind)
    assert limits_of(place, login.parts["user"]) == FIRST[kind]
    assert settings_of(login) == FIRST[kind][1:]
    assert login.execute("show temp_file_limit") == [("1GB",)]
    assert login.execute("show constraint_exclusion") == [("off",)]
    assert place.execute("select rolconnlimit from pg_roles where rolname = %s",
                         [login.parts["user"]]) == [(FIRST[kind][0],)]
    assert place.execute("select * from security.login_differences()") == []


@pytest.mark.parametrize("kind", FIRST)
def test_no_login_takes_more_connections_than_it_may_and_health_names_it(
        place: Database, kind: str):
    login = make_login(place, kind)
    name = login.parts["user"]
    place.execute("select security.set_limits(%s, 4)", [name])
    with ExitStack() as opened:
        for _ in range(3):
            opened.enter_context(login.connect())
        assert near(place, name) == []
        opened.enter_context(login.connect())
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            login.connect()
        ((severity, what),) = near(place, name)
        assert severity == "critical" and "(4 of 4)" in what and "bot limit NAME" in what


def near(database: Database, login: str) -> list[tuple]:
    """What health says of a login's connections."""
    return database.execute("select severity, what_to_do from performance.health_check()"
                            " where check_name = format('login_connections (%%s)', %s::text)",
                            [login])


@pytest.mark.parametrize("kind", list(MAKE))
def test_limits_are_arguments_of_what_makes_a_login(place: Database, kind: str):
    login = make_login(place, kind, ", p_connections => 2, p_statement_timeout => '7 s',"
                       " p_transaction_idle => '8 s', p_lock_timeout => '9 s'")
    assert limits_of(place, login.parts["user"]) == (2, 7, 8, 9)
    assert settings_of(login) == (7, 8, 9)


@pytest.mark.parametrize("kind", FIRST)
def test_one_function_changes_them_and_leaves_what_is_not_given(place: Database, kind: str):
    login = make_login(place, kind)
    name = login.parts["user"]
    place.execute("select security.set_limits(%s, p_lock_timeout => '3 s')", [name])
    assert limits_of(place, name) == (*FIRST[kind][:3], 3)
    place.execute("select security.set_limits(%s, 7, '4 s', '5 s')", [name])
    assert limits_of(place, name) == (7, 4, 5, 3) and settings_of(login) == (4, 5, 3)
    assert place.execute("select * from security.login_differences()") == []
    events = place.execute("select new_values ->> 'connections' from audit.events"
                           " where kind = 'limits_set' and new_values ->> 'login' = %s", [name])
    assert events == [(str(FIRST[kind][0]),), ("7",)]


@pytest.mark.parametrize("limit", ["0", "1001", "null, '0.5 s'", "null, null, '2 days'",
                                   "null, null, null, '-1 s'", "null, 'infinity'"])
def test_impossible_limits_are_refused(place: Database, limit: str):
    if "infinity" in limit and place.execute("show server_version_num")[0][0] < "170000":
        limit = "null, '178000000 years'"  # an interval is finite there
    login = make_login(place, "worker").parts["user"]
    with place.connect() as conn:
        with refused(conn, "MB114"):
            conn.execute(f"select security.set_limits('{login}', {limit})")
        with refused(conn, "MB114"):
            conn.execute("select security.create_worker('x', '{}', null, 0)")
        for name in ("app_owner", "postgres", "nobody", None):
            with refused(conn, "MB105"):
                conn.execute("select security.set_limits(%s, 3)", [name])
    assert limits_of(place, login) == FIRST["worker"]


@pytest.mark.parametrize("change", ["connection limit 90", "set statement_timeout = 0", "inherit",
                                    "reset lock_timeout"])
def test_a_limit_that_was_changed_by_hand_is_a_difference(place: Database, change: str):
    login = make_login(place, "worker").parts["user"]
    place.execute(f"alter role {login} {change}")
    assert [row[0] for row in place.execute("select * from security.login_differences()")
            ] == [login]
    place.execute("select security.set_limits(%s, 20)", [login])
    if change == "inherit":
        place.execute(f"alter role {login} noinherit")
    assert place.execute("select * from security.login_differences()") == []


def test_what_a_login_may_take_goes_with_it(place: Database):
    login = make_login(place, "worker").parts["user"]
    place.execute("select security.drop_login(%s)", [login])
    assert place.execute("select from security.login_limit where login = %s", [login]) == []


def test_the_runner_shows_and_changes_them(place: Database):
    bot, _ = make_bot(place, "limited")
    login = make_login(place, "worker").parts["user"]
    for name, found in (("limited", f"bot_{bot}"), (str(bot), f"bot_{bot}"), (login, login)):
        done = run_runner(place, "bot", "limit", name, "--connections", "3", "--idle", "5 s",
                          "--json")
        assert [(row["login"], row["connection_limit"]) for row in json.loads(done.stdout)
                ] == [(found, 3)]
        assert limits_of(place, found)[:3] == (3, 30, 5)
    run_runner(place, "bot", "limit", login, "--connections", "9", "--dry-run")
    assert limits_of(place, login)[0] == 3
    assert "MB114" in run_runner(place, "bot", "limit", login, "--connections", "0", code=1).stderr
    assert "MB003" in run_runner(place, "bot", "limit", "nobody", code=1).stderr
    shown = {row["login"]: row for row in json.loads(
        run_runner(place, "bot", "logins", "--json").stdout)}
    assert shown[login]["level"] == "worker" and shown[login]["connection_limit"] == 3
    (row,) = [row for row in json.loads(run_runner(place, "bot", "list", "--json").stdout)
              if row["bot_id"] in (bot, str(bot))]
    assert row["connection_limit"] == 3


# Where a mere owner migrated ----------------------------------------------------------------


@pytest.mark.torture
def test_what_only_a_superuser_sets_is_named_where_none_migrated(
        own_server, tmp_path):
    superuser = Database(dict(own_server.parts()))
    superuser.execute("create role owner login createrole")
    superuser.execute("create database owned owner owner")
    owner = Database(superuser.parts | {"dbname": "owned", "user": "owner"})
    assert "grant set on parameter temp_file_limit" in run_runner(owner, "migrate").stderr
    login = make_login(owner, "worker")
    name = login.parts["user"]
    assert limits_of(owner, name) == FIRST["worker"]
    assert settings_of(login) == FIRST["worker"][1:]
    assert owner.execute("select * from security.login_differences()") == []
    assert login.execute("show temp_file_limit") == [("-1",)]
    query = ("select ok, severity, detail from security.check()"
             " where check_name = 'every login made here has a limit of temporary files'")
    ((ok, severity, detail),) = owner.execute(query)
    assert not ok and severity == "notice" and name in detail and "grant set" in detail
    Database(superuser.parts | {"dbname": "owned"}).execute(
        "grant set on parameter temp_file_limit to app_provisioner")
    owner.execute("select security.set_limits(%s)", [name])
    assert login.execute("show temp_file_limit") == [("1GB",)]
    assert owner.execute(query)[0][0] is True
    assert owner.execute("select * from security.differences()") == []
