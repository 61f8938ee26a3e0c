"""What the functions of 002_security do: bots, people and workers come and go, and nothing else."""

import re
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from conftest import PATIENCE, PROJECT, Database, clone
from core_rows import (
    MIGRATIONS,
    TABLES,
    at_once,
    failed_checks,
    login,
    make_bot,
    meanwhile,
    migrator,
    record,
    refused,
    run_runner,
    wrong_counters,
)
from import_helpers import make_folder, run_import, said
from psycopg import sql

from fleet import registry, server
from fleet.bots import verifier
from fleet.errors import FleetError
from fleet.rollback import undo

pytest_plugins = ("core_rows", "project")

SECURITY = next(m for m in MIGRATIONS if m.id == "002_security")


def call(conn: psycopg.Connection, statement: str, *arguments: object):
    """The one value that a statement returns."""
    return conn.execute(statement, arguments).fetchone()[0]


def create_bot(conn: psycopg.Connection, name: str | None = None, password: str | None = None
               ) -> int:
    return call(conn, "select security.create_bot(%s, %s)", name or f"bot {secrets.token_hex(6)}",
                password)


def person(conn: psycopg.Connection, is_super: bool = False) -> str:
    """The name of a new admin."""
    name = f"person_{secrets.token_hex(6)}"
    conn.execute("select security.create_admin(%s, p_is_super => %s)", [name, is_super])
    return name


def mark_of(conn: psycopg.Connection, kind: str) -> str:
    """The comment on a login of this kind that was made for this database."""
    return call(conn, "select security.mark(%s)", kind)


def another(conn: psycopg.Connection, kind: str) -> str:
    """The same mark, of another database."""
    return mark_of(conn, kind) + "0"


def provisioner(conn: psycopg.Connection) -> str:
    """The role that makes this installation's logins."""
    return call(conn, "select security.provisioner()")


def roles(conn: psycopg.Connection) -> set[str]:
    return {name for name, in conn.execute("select rolname from pg_roles")}


def kept(conn: psycopg.Connection, bot: int) -> dict[str, int]:
    """How many rows of a bot each table holds, whoever asks, leaf by leaf."""
    return {table: call(conn, f"select count(*) from core.{table} where bot_id = %s", bot)
            for table in TABLES}


def seen_by(database: Database, user: str, statement: str, *arguments: object) -> list[tuple]:
    """What a login gets for a statement."""
    with database.connect(user=user) as conn:
        return conn.execute(statement, arguments).fetchall()


def everything_said(fault: psycopg.Error) -> str:
    diag = fault.diag
    return " ".join(str(part) for part in (
        fault, diag.message_primary, diag.message_detail, diag.message_hint, diag.context,
        diag.internal_query))


# Bots ------------------------------------------------------------------------


def test_a_new_bot_has_a_row_and_a_plain_login_with_mark_and_limits(conn: psycopg.Connection):
    bot = create_bot(conn, "Ева 🌸")
    assert conn.execute("select name, status from core.bots where bot_id = %s", [bot]
                        ).fetchone() == ("Ева 🌸", "active")
    assert conn.execute(
        "select rolcanlogin, rolconnlimit, rolinherit, rolsuper or rolcreaterole or rolcreatedb or"
        " rolreplication or rolbypassrls, rolpassword, security.login_kind(oid),"
        " shobj_description(oid, 'pg_authid') from pg_authid where rolname = %s", [f"bot_{bot}"]
    ).fetchone() == (True, 20, True, False, None, f"bot {bot}",
                     mark_of(conn, f"bot {bot}"))
    assert conn.execute("select setconfig from pg_db_role_setting where setrole = %s::regrole",
                        [f"bot_{bot}"]).fetchone() == (
        ["constraint_exclusion=off", "idle_in_transaction_session_timeout=60s",
         "lock_timeout=10s", "statement_timeout=30s", "temp_file_limit=1GB"],)
    assert conn.execute("select roleid::regrole::text from pg_auth_members where"
                        " member = %s::regrole", [f"bot_{bot}"]).fetchall() == [("app_bot",)]
    assert call(conn, "select has_database_privilege(%s, current_database(), 'connect')",
                f"bot_{bot}")


def test_ids_whose_role_the_cluster_has_are_skipped_and_their_roles_left_alone(
        conn: psycopg.Connection):
    first = create_bot(conn)
    strangers = [f"bot_{first + 1}", f"bot_{first + 2}"]
    conn.execute("create role {} login; create role {}".format(*strangers))
    assert create_bot(conn) == first + 3
    assert conn.execute(
        "select rolname, shobj_description(oid, 'pg_authid'), rolconnlimit, pg_has_role(oid,"
        " 'app_bot', 'member'), has_database_privilege(oid, current_database(), 'connect')"
        " from pg_roles where rolname = any (%s) order by 1", [strangers]
    ).fetchall() == [(name, None, -1, False, False) for name in strangers]


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "a\tb", "x" * 101, None])
def test_an_impossible_name_makes_no_bot_and_no_login(conn: psycopg.Connection, name: str | None):
    before = roles(conn)
    with refused(conn, "MB104"):
        conn.execute("select security.create_bot(%s)", [name])
    assert roles(conn) == before


def test_a_taken_name_makes_no_bot_and_no_login(conn: psycopg.Connection):
    create_bot(conn, "Ева")
    before = roles(conn)
    with refused(conn, "MB005"):
        create_bot(conn, "Ева")
    assert roles(conn) == before
    assert call(conn, "select count(*) from core.bots where name = 'Ева'") == 1


@pytest.mark.parametrize("secret", ["tell-nobody", "", "md5" + "0" * 32,
                                    "SCRAM-SHA-256$1:tell$nobody:here", "'; drop role x; --"])
def test_what_is_no_verifier_is_refused_and_not_repeated(conn: psycopg.Connection, secret: str):
    bot, before = create_bot(conn), roles(conn)
    for statement in ("select security.create_bot('n', %s)",
                      "select security.create_admin('n', %s)",
                      "select security.create_worker('n', array[]::bigint[], %s)",
                      f"select security.rotate_bot_password({bot}, %s)"):
        with refused(conn, "MB102") as caught:
            conn.execute(statement, [secret])
        assert not secret or secret not in everything_said(caught.value)
    assert roles(conn) == before


def test_a_password_that_the_server_refuses_is_not_repeated(conn: psycopg.Connection):
    bot, secret = create_bot(conn), verifier(conn, "x")
    conn.execute(f"alter role bot_{bot} superuser")  # out of the provisioner's reach
    with refused(conn, "MB110") as caught:
        conn.execute("select security.rotate_bot_password(%s, %s)", [bot, secret])
    said = everything_said(caught.value)
    assert f"bot_{bot}" in said
    assert secret not in said
    assert secret.split("$")[2] not in said


def test_eight_bots_made_at_once_have_eight_ids_and_logins(database: Database):
    made = at_once(database, [create_bot] * 8)
    assert len(set(made)) == 8
    assert database.execute("select count(*) from security.marked_logins() where kind = any (%s)",
                            [[f"bot {bot}" for bot in made]]) == [(8,)]
    for bot in made:
        assert seen_by(database, f"bot_{bot}", "select bot_id from core.bots") == [(bot,)]


def test_a_name_that_two_want_at_once_is_one_bot_s(database: Database):
    def attempt(conn: psycopg.Connection) -> str:
        try:
            create_bot(conn, "Ева")
        except psycopg.Error as fault:
            return fault.sqlstate
        return "made"
    assert sorted(at_once(database, [attempt] * 4)) == ["MB005", "MB005", "MB005", "made"]
    assert database.execute("select count(*) from security.marked_logins()") == [(1,)]


def test_a_bot_with_rows_is_not_dropped(conn: psycopg.Connection):
    for what in ("select core.ensure_contact(%s, 1, null)",
                 "insert into core.bot_metrics (bot_id, day) values (%s, '2025-01-01')"):
        bot = create_bot(conn)
        conn.execute(what, [bot])
        with refused(conn, "MB106"):
            conn.execute("select security.drop_bot(%s)", [bot])
        assert f"bot_{bot}" in roles(conn)


def test_a_bot_without_rows_goes_with_its_login_name_and_token(conn: psycopg.Connection):
    bot = create_bot(conn, "Ева")
    conn.execute("select security.set_bot_token(%s, 'token')", [bot])
    conn.execute("select security.drop_bot(%s)", [bot])
    assert f"bot_{bot}" not in roles(conn)
    assert call(conn, "select count(*) from security.bot_token") == 0
    again = create_bot(conn, "Ева")  # the name is free, the id is not
    assert again > bot
    with refused(conn, "MB003"):
        conn.execute("select security.drop_bot(%s)", [bot])


def test_rows_are_discarded_through_the_roots_and_the_others_keep_theirs(conn: psycopg.Connection):
    # in the same leaf, where a wrong condition would show
    bot = create_bot(conn)
    while (other := create_bot(conn)) and not call(
            conn, "select a.tableoid = b.tableoid from core.bots as a, core.bots as b"
                  " where a.bot_id = %s and b.bot_id = %s", bot, other):
        pass
    for one in (bot, other):
        for chat in (1, 2):
            record(conn, one, chat, "2025-01-01")
            record(conn, one, chat, "2025-01-02")
        conn.execute("insert into core.bot_metrics (bot_id, day) values (%s, '2025-01-01')", [one])
    conn.execute("create table public.seen (trigger name);"
                 "create function public.see() returns trigger language plpgsql security definer as"
                 " 'begin insert into public.seen values (tg_relid::regclass); return null; end'")
    for table in TABLES:
        conn.execute(f"create trigger see after delete on core.{table}"
                     " for each statement execute function public.see()")
    before = kept(conn, other)
    conn.execute("select security.drop_bot(%s, p_discard => true)", [bot])
    assert kept(conn, bot) == dict.fromkeys(TABLES, 0)
    assert kept(conn, other) == before == {
        "bots": 1, "girls_profiles": 2, "conversations": 2, "messages": 4, "bot_metrics": 1}
    assert not wrong_counters(conn)
    assert conn.execute("select count(*) from core_upkeep.misnamed_bots()").fetchone() == (0,)
    order = [name for name, in conn.execute("select trigger from public.seen")]
    assert order == ["core.bot_metrics", "core.messages", "core.conversations",
                     "core.girls_profiles", "core.bots"]


def test_dropping_a_bot_ends_its_connections_and_its_unfinished_work(database: Database):
    bot, own = make_bot(database)
    with own.connect() as idle, own.connect() as writer, database.connect() as conn:
        writer.execute("begin")
        writer.execute("select core.record_message(1, 'in', 'x')")
        conn.execute("select security.drop_bot(%s, p_discard => true)", [bot])
        for ended in (idle, writer):
            with pytest.raises(psycopg.OperationalError):
                ended.execute("select 1")
        assert kept(conn, bot) == dict.fromkeys(TABLES, 0)
        assert call(conn, "select count(*) from pg_stat_activity where usename = %s",
                    f"bot_{bot}") == 0
    with pytest.raises(psycopg.OperationalError):
        own.connect()
    assert not failed_checks(database)


def test_a_worker_that_writes_while_its_bot_is_dropped_leaves_no_row(database: Database):
    bot, _ = make_bot(database)
    name = f"worker_{secrets.token_hex(6)}"
    database.execute("select security.create_worker(%s, %s)", [name, [bot]])
    record_one = "select core.record_message(1, 'in', 'x')"
    with database.connect(user=name) as worker, database.connect() as conn:
        worker.execute(f"set role bot_{bot}; begin; {record_one}")
        with meanwhile(conn, f"select security.drop_bot({bot}, true)") as dropping:
            worker.execute("commit")  # what it wrote is discarded with the rest
            dropping.result(30)
        with pytest.raises(psycopg.Error):
            worker.execute(record_one)
        assert kept(conn, bot) == dict.fromkeys(TABLES, 0)
        assert f"bot_{bot}" not in roles(conn)
    assert not failed_checks(database)


def test_writers_that_never_stop_lose_to_the_drop_and_leave_no_orphans(database: Database):
    bot, own = make_bot(database)
    under_way = threading.Semaphore(0)

    def write(chat: int) -> None:
        with own.connect() as conn:
            while True:
                conn.execute("select core.record_message(%s, 'in', 'x')", [chat])
                under_way.release()

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, chat) for chat in (1, 1, 2, 3)]
        for _ in range(40):
            assert under_way.acquire(timeout=PATIENCE)
        database.execute("select security.drop_bot(%s, p_discard => true)", [bot])
        faults = [writer.exception(PATIENCE) for writer in writers]
    assert all(isinstance(fault, psycopg.Error) for fault in faults), faults
    with database.connect() as conn:
        assert kept(conn, bot) == dict.fromkeys(TABLES, 0)
    assert not failed_checks(database)


def test_a_bot_whose_login_is_not_ours_is_not_touched(conn: psycopg.Connection):
    bot = create_bot(conn)
    for mark in ("null", f"'{another(conn, 'bot 1')}'", f"'{mark_of(conn, 'admin')}'"):
        conn.execute(f"comment on role bot_{bot} is {mark}")
        for function in (f"drop_bot({bot})", f"set_bot_token({bot}, 'x')",
                         f"rotate_bot_password({bot}, '{verifier(conn, 'x')}')"):
            with refused(conn, "MB105"):
                conn.execute(f"select security.{function}")
        assert f"bot_{bot}" in roles(conn)


def test_a_bot_that_lost_its_login_gets_another_with_its_limits(conn: psycopg.Connection):
    bot = create_bot(conn)
    call(conn, f"select security.set_bot_limits({bot}, 3, '5 s', '6 s')")
    conn.execute(f"set role {provisioner(conn)}")
    conn.execute(f"select security.drop_role('bot_{bot}')")
    conn.execute("reset role")
    for function in (f"drop_bot({bot})", f"rotate_bot_password({bot}, '{verifier(conn, 'x')}')"):
        with refused(conn, "MB105") as caught:
            conn.execute(f"select security.{function}")
        assert f"create_bot_login({bot})" in caught.value.diag.message_hint
    with refused(conn, "MB102"):
        conn.execute(f"select security.create_bot_login({bot}, 'clear')")
    assert call(conn, f"select security.create_bot_login({bot}, '{verifier(conn, 'x')}')"
                ) == f"bot_{bot}"
    assert call(conn, "select rolconnlimit from pg_roles where rolname = %s", f"bot_{bot}") == 3
    assert call(conn, "select count(*) from security.differences()") == 0
    for refusal, other in (("MB103", bot), ("MB003", 10 ** 17), ("MB003", None)):
        with refused(conn, refusal):
            conn.execute("select security.create_bot_login(%s)", [other])
    call(conn, f"select security.drop_bot({bot})")


def test_the_functions_say_when_there_is_no_such_bot(conn: psycopg.Connection):
    name = person(conn)
    for function in ("drop_bot(0)", "drop_bot(null)", "set_bot_token(0, 'x')",
                     f"rotate_bot_password(0, '{verifier(conn, 'x')}')",
                     f"grant_bot_to_admin(0, '{name}')", f"revoke_bot_from_admin(0, '{name}')",
                     "create_worker('x', array[0])", "get_bot_token()"):
        with refused(conn, "MB003"):
            conn.execute(f"select security.{function}")
    assert "x" not in roles(conn)


@pytest.fixture(scope="module")
def asking(own_server: server.Server) -> Iterator[Database]:
    """A migrated database on a server that asks its bots for their passwords."""
    whole = Database(dict(own_server.parts()))
    rules = own_server.home.resolve() / own_server.major() / "pg_hba.conf"
    rules.write_text(f"local all +app_bot scram-sha-256\nlocal all postgres trust\n"
                     f"{rules.read_text()}")
    for made in clone(whole, "template0"):
        with made.connect() as conn:
            migrator(conn).migrate()
            conn.execute("select pg_reload_conf()")
        yield made


def test_a_rotated_password_takes_the_place_of_the_old_one(asking: Database):
    bot, own = make_bot(asking)
    new = Database(own.parts | {"password": secrets.token_hex(16)})
    assert own.execute("select security.get_bot_token()") == [(None,)]
    with asking.connect() as conn, own.connect() as working:
        conn.execute("select security.rotate_bot_password(%s, %s)",
                     [bot, verifier(conn, new.parts["password"])])
        assert working.execute("select bot_id from core.bots").fetchone() == (bot,)
    with pytest.raises(psycopg.OperationalError, match="password"):
        own.connect()
    assert new.execute("select bot_id from core.bots") == [(bot,)]


def test_a_bot_without_a_password_does_not_get_in(asking: Database):
    with asking.connect() as conn:
        bot = create_bot(conn)
    with pytest.raises(psycopg.OperationalError, match="password"):
        asking.connect(user=f"bot_{bot}", password="")
    with pytest.raises(psycopg.OperationalError, match="password"):
        asking.connect(user=f"bot_{bot}", password=f"bot_{bot}")


def test_a_bot_that_goes_takes_along_what_an_import_kept_of_it(database: Database, tmp_path: Path):
    for name in ("Ева", "Zoe"):
        folder = make_folder(tmp_path / name, {
            "girls_data/1.json": {"chat_id": 1, "name": name},
            "conversations/1.json": [said("hello")], "conversations/2.json": '[{"broken'})
        run_import(database, folder, "--bot", name, code=None)
    count = {table: f"select count(*) from json_import.{table}"
             for table in ("file", "reject", "kept_bytes", "profile_source")}
    before = {table: database.execute(text)[0][0] for table, text in count.items()}
    assert all(rows and rows % 2 == 0 for rows in before.values()), before
    with database.connect() as conn:
        bot = call(conn, "select bot_id from core.bots where name = 'Ева'")
        with refused(conn, "MB106"):
            conn.execute("select security.drop_bot(%s)", [bot])
        conn.execute("select security.drop_bot(%s, true)", [bot])
        assert {table: call(conn, text) for table, text in count.items()} == {
            table: rows // 2 for table, rows in before.items()}
        assert call(conn, "select count(*) from json_import.file where bot_id = %s", bot) == 0
        assert not failed_checks(conn)
        # of a bot whose every file is in quarantine there is nothing but these
        bot = create_bot(conn)
        conn.execute("set role app_importer")
        conn.execute("insert into json_import.file (bot_id, path, kind,"
                     " status, octets, reason, run_id) select %s, 'x', 'other', 'ignored', 0, 'x',"
                     " max(run_id) from json_import.run", [bot])
        conn.execute("reset role")
        with refused(conn, "MB106"):
            conn.execute("select security.drop_bot(%s)", [bot])


# People and workers ----------------------------------------------------------


def test_an_admin_sees_and_becomes_the_bots_granted_to_them(database: Database):
    (one, _), (other, _) = make_bot(database), make_bot(database)
    with database.connect() as conn:
        name = person(conn)
        conn.execute("select security.grant_bot_to_admin(%s, %s)", [one, name])
    with database.connect(user=name) as admin, database.connect() as conn:
        see = "select bot_id from core.bots order by 1"
        listed = "select bot_id from security.list_bots()"
        assert admin.execute(see).fetchall() == admin.execute(listed).fetchall() == [(one,)]
        with refused(admin, "42501"):
            admin.execute(f"set role bot_{other}")
        admin.execute(f"set role bot_{one}; select core.record_message(1, 'in', 'x'); reset role")
        assert admin.execute("select count(*) from core.messages").fetchone() == (0,)
        conn.execute("select security.revoke_bot_from_admin(%s, %s)", [one, name])
        assert admin.execute(see).fetchall() == admin.execute(listed).fetchall() == []
        with refused(admin, "42501"):
            admin.execute(f"set role bot_{one}")
    assert not failed_checks(database)


def test_a_super_admin_sees_all_and_changes_nothing_directly(database: Database):
    (one, _), (other, _) = make_bot(database), make_bot(database)
    with database.connect() as conn:
        record(conn, one, 1, "2025-01-01")
        name = person(conn, is_super=True)
    with database.connect(user=name) as chief:
        assert chief.execute("select bot_id from core.bots order by 1").fetchall() == [
            (one,), (other,)]
        assert chief.execute("select count(*) from core.messages").fetchone() == (1,)
        assert chief.execute("update core.messages set body = 'x'").rowcount == 0
        for table in TABLES:
            with refused(chief, "42501"):
                chief.execute(f"delete from core.{table}")
        made = create_bot(chief)
        chief.execute("select security.drop_bot(%s), security.drop_bot(%s, true)", [made, one])
        assert chief.execute("select bot_id from security.list_bots()").fetchall() == [(other,)]
        assert chief.execute("select * from security.check() where not ok").fetchall() == []


def test_what_another_one_granted_is_not_said_to_be_revoked(conn: psycopg.Connection):
    bot, name = create_bot(conn), person(conn)
    conn.execute(f"grant bot_{bot} to {name}")
    revoke = "select security.revoke_bot_from_admin(%s, %s)"
    if conn.info.server_version < 160000:  # one membership, whoever granted it
        conn.execute(revoke, [bot, name])
    else:
        with refused(conn, "MB101"):
            conn.execute(revoke, [bot, name])
        conn.execute(f"revoke bot_{bot} from {name}")
        conn.execute(revoke, [bot, name])
    assert not call(conn, "select pg_has_role(%s, %s, 'member')", name, f"bot_{bot}")


def test_a_worker_is_nobody_until_it_becomes_one_of_its_bots(database: Database):
    (one, _), (two, _), (other, _) = (make_bot(database) for _ in range(3))
    name = f"worker_{secrets.token_hex(6)}"
    database.execute("select security.create_worker(%s, %s)", [name, [one, two]])
    see = "select bot_id from core.bots"
    with database.connect(user=name) as worker:
        for statement in (see, "select security.get_bot_token()", f"set role bot_{other}",
                          "select core.current_bot_id()"):
            with refused(worker, "42501"):
                worker.execute(statement)
        for bot in (one, two):
            worker.execute(f"set role bot_{bot}")
            assert worker.execute(see).fetchall() == [(bot,)]
        worker.execute("set role app_bot")  # the bots' level is no bot
        assert worker.execute(see).fetchall() == []
        worker.execute("reset role")
        with refused(worker, "42501"):
            worker.execute(see)
    assert not failed_checks(database)


@pytest.mark.parametrize("name", [
    "", "Ann", "ann b", "1ann", "app_x", "bot_3", "pg_x", "public", "none", "x" * 64, "x\n", None])
def test_an_impossible_name_makes_no_login(conn: psycopg.Connection, name: str | None):
    before = roles(conn)
    for function in ("create_admin(%s)", "create_worker(%s, array[]::bigint[])"):
        with refused(conn, "MB104"):
            conn.execute(f"select security.{function}", [name])
    assert roles(conn) == before


def test_a_role_that_is_there_is_not_taken_over(conn: psycopg.Connection):
    name = f"somebody_{secrets.token_hex(6)}"
    conn.execute(f"create role {name}")
    for function in ("create_admin(%s)", "create_worker(%s, array[]::bigint[])"):
        with refused(conn, "MB103"):
            conn.execute(f"select security.{function}", [name])
    assert conn.execute(
        "select rolcanlogin, security.login_kind(oid),"
        " has_database_privilege(oid, current_database(),"
        " 'connect') from pg_roles where rolname = %s", [name]).fetchone() == (False, None, False)


def test_a_login_is_dropped_with_its_sessions_rights_and_bots(database: Database):
    bot, _ = make_bot(database)
    with database.connect() as conn:
        name = person(conn)
        conn.execute("select security.grant_bot_to_admin(%s, %s)", [bot, name])
        with database.connect(user=name) as admin:
            conn.execute("select security.drop_login(%s)", [name])
            with pytest.raises(psycopg.OperationalError):
                admin.execute("select 1")
        assert name not in roles(conn)
    assert not failed_checks(database)


def test_only_logins_made_here_are_dropped_or_given_bots(conn: psycopg.Connection):
    bot, name = create_bot(conn), f"somebody_{secrets.token_hex(6)}"
    conn.execute(f"create role {name} login")
    for mark in ("null", f"'{another(conn, 'admin')}'", "'admin'",
                 f"'{mark_of(conn, 'admin of installation a')}'"):
        conn.execute(f"comment on role {name} is {mark}")
        for function in ("drop_login(%(name)s)", "grant_bot_to_admin(%(bot)s, %(name)s)",
                         "revoke_bot_from_admin(%(bot)s, %(name)s)"):
            with refused(conn, "MB105"):
                conn.execute(f"select security.{function}", {"name": name, "bot": bot})
    for other in (f"bot_{bot}", "app_admin", "nobody_of_this_name", None):
        with refused(conn, "MB105"):
            conn.execute("select security.drop_login(%s)", [other])
    assert call(conn, "select security.drop_logins()") == 1  # the bot's
    assert name in roles(conn)
    assert f"bot_{bot}" not in roles(conn)


# Tokens and lists ------------------------------------------------------------


def test_a_bot_gets_its_own_token_and_nobody_reads_the_table(database: Database):
    (one, own), (other, others) = make_bot(database), make_bot(database)
    with database.connect() as conn:
        name, chief = f"worker_{secrets.token_hex(6)}", person(conn, is_super=True)
        conn.execute("select security.create_worker(%s, %s)", [name, [one]])
    get, token = "select security.get_bot_token()", f"{one}:AA-_bb"
    with database.connect(user=chief) as conn:
        conn.execute("select security.set_bot_token(%s, 'first')", [one])
        conn.execute("select security.set_bot_token(%s, %s)", [one, token])
        with refused(conn, "MB003"):
            conn.execute(get)
        with refused(conn, "42501"):
            conn.execute("select * from security.bot_token")
    assert own.execute(get) == [(token,)]
    assert others.execute(get) == [(None,)]
    with database.connect(user=name) as worker:
        worker.execute(f"set role bot_{one}")
        assert worker.execute(get).fetchone() == (token,)
    for login_ in (own, others):
        with login_.connect() as conn:
            for statement in ("select * from security.bot_token",
                              f"select security.set_bot_token({other}, 'mine')"):
                with refused(conn, "42501"):
                    conn.execute(statement)


@pytest.mark.parametrize("token", ["", " tell", "te ll", "tell\n", "теll", "tell" * 251, None])
def test_an_impossible_token_is_refused_and_not_repeated(
        conn: psycopg.Connection, token: str | None):
    bot = create_bot(conn)
    with refused(conn, "MB107") as caught:
        conn.execute("select security.set_bot_token(%s, %s)", [bot, token])
    assert "tell" not in everything_said(caught.value)
    assert call(conn, "select count(*) from security.bot_token") == 0


def test_the_list_of_bots_shows_each_what_it_may_see(database: Database):
    (one, own), (other, _) = make_bot(database, "Ева"), make_bot(database, "Zoe")
    with database.connect() as conn:
        admin, nobody, chief = person(conn), person(conn), person(conn, is_super=True)
        conn.execute("select security.grant_bot_to_admin(%s, %s)", [one, admin])
        conn.execute("select security.set_bot_token(%s, 'x')", [one])
    ask = ("select bot_id, name, status, login, token_set_at is not null, connections"
           " from security.list_bots()")
    eva = (one, "Ева", "active", f"bot_{one}", True, 1)
    zoe = (other, "Zoe", "active", f"bot_{other}", False, 0)
    with own.connect() as bot:
        assert seen_by(database, admin, ask) == [eva]
        assert seen_by(database, nobody, ask) == []
        assert seen_by(database, chief, ask) == database.execute(ask) == [eva, zoe]
        with refused(bot, "42501"):
            bot.execute(ask)


# Databases -------------------------------------------------------------------


def test_a_copy_of_a_database_lets_in_none_of_its_logins(cluster: Database, database: Database):
    make_bot(database)
    for copy in clone(cluster, database.name):
        assert copy.execute("select security.protect_database()") == [(0,)]
        assert [(privilege, role) for privilege, role in copy.execute(
            "select a.privilege_type, a.grantee::regrole::text from pg_database as d"
            " cross join lateral aclexplode(d.datacl) as a"
            " where d.datname = current_database() and a.grantee <> d.datdba")] == [
            ("CONNECT", copy.execute("select security.provisioner()")[0][0])]
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            copy.connect(user="bot_1")
        # the rows are there, their logins are another database's: that is said, and no fault
        assert not failed_checks(copy)
        assert copy.execute("select check_name, severity, detail from security.check()"
                            " where not ok and check_name <> 'no other database has the logins of"
                            " this installation'") == [("every bot has a login", "notice",
                                                        "bot_1")]


def test_a_database_that_lost_its_rights_lets_its_own_logins_in_again(
        cluster: Database, database: Database):
    bot, own = make_bot(database)
    with database.connect() as conn:
        name = person(conn)
        conn.execute(sql.SQL("set role {3};"
                             "revoke connect on database {0} from {1}, {2}; reset role;"
                             "grant all on database {0} to public").format(
            *map(sql.Identifier, (database.name, name, f"bot_{bot}", provisioner(conn)))))
        assert "nobody gets anything on the database by being public" in failed_checks(conn)
        assert call(conn, "select security.protect_database()") == 2
        assert not failed_checks(conn)
        assert call(conn, "select security.admit_logins()") == 2
        with (login(cluster, f"stranger_{secrets.token_hex(6)}") as stranger,
              pytest.raises(psycopg.OperationalError, match="permission denied for database")):
            database.connect(**{**stranger.parts, "dbname": database.name})
    assert own.execute("select bot_id from core.bots") == [(bot,)]
    assert seen_by(database, name, "select 1") == [(1,)]


def test_dropping_all_logins_leaves_the_sister_s(cluster: Database, template: Database,
                                                 database: Database):
    for sister in clone(cluster, template.name):
        _, theirs = make_bot(sister)
        make_bot(database)
        with database.connect() as conn:
            person(conn)
            assert call(conn, "select security.drop_logins()") == 2
            assert call(conn, "select count(*) from security.marked_logins()") == 0
        assert len(theirs.execute("select bot_id from core.bots")) == 1
        assert not failed_checks(sister)


def test_the_rollback_asks_before_it_drops_logins_and_spares_the_sister(
        cluster: Database, template: Database, database: Database):
    for sister in clone(cluster, template.name):
        bot, theirs = make_bot(sister)
        ours, _ = make_bot(database)
        with database.connect() as conn:
            name = person(conn)
            later = [m for m in MIGRATIONS if m.id > SECURITY.id]
            undo(migrator(conn), later, discard_data=True)  # the audit log has rows
            with pytest.raises(FleetError) as caught:
                undo(migrator(conn), [SECURITY], discard_data=False)
            assert caught.value.code == "MB001"
            assert {f"bot_{ours}", name} <= set(re.findall(r"\w+", caught.value.message))
            assert {f"bot_{ours}", name} <= roles(conn)
            undo(migrator(conn), [SECURITY], discard_data=True)
            assert not {f"bot_{ours}", name} & roles(conn)
            assert call(conn, "select count(*) from core.bots") == 1
            assert not failed_checks(sister)
            assert theirs.execute("select bot_id from core.bots") == [(bot,)]
            assert call(conn, "select count(*) from pg_roles where rolname ~ '^app_[a-z_]+$'"
                        ) == 11
            migrator(conn).migrate()
            assert conn.execute("select check_name, detail from security.check() where not ok"
                                ).fetchall() == [("every bot has a login", f"bot_{ours}")]
        assert not failed_checks(sister)


# Protection ------------------------------------------------------------------

SHAPE = """
select 'policy', polrelid::regclass::text, polname::text, polcmd::text, polroles::text,
       pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
from pg_policy
union all
select 'trigger', tgrelid::regclass::text, tgname, tgenabled::text, pg_get_triggerdef(oid), '', ''
from pg_trigger where not tgisinternal
union all
select 'table', oid::regclass::text, '', relrowsecurity::text, relforcerowsecurity::text,
       relacl::text, '' from pg_class where relkind in ('r', 'p')
order by 1, 2, 3"""


def test_protecting_and_admitting_again_changes_nothing(conn: psycopg.Connection):
    before = conn.execute(SHAPE).fetchall()
    for table in TABLES:
        conn.execute(f"select security.protect('core.{table}'),"
                     f" security.admit_bots('core.{table}'),"
                     f" security.admit('core.{table}', 'app_backup', 'select')")
    assert conn.execute(SHAPE).fetchall() == before
    assert not failed_checks(conn)


def test_a_new_table_is_closed_until_somebody_is_admitted(database: Database):
    bot, own = make_bot(database)
    with database.connect() as conn:
        conn.execute("set role app_owner; create table core.note (bot_id bigint not null"
                     " default core.current_bot_id(), note_id bigint generated always as identity,"
                     " body text, primary key (bot_id, note_id)); reset role")
        assert "core.note" in " ".join(failed_checks(conn).values())
        conn.execute("set role app_owner; select security.protect('core.note');"
                     "grant select, insert (bot_id, body) on core.note to app_bot; reset role")
        ask = "select body from core.note"
        assert own.execute(ask) == []
        conn.execute("insert into core.note (bot_id, body) values (%s, 'own'), (%s, 'other''s')",
                     [bot, bot + 1])
        assert own.execute(ask) == []
        conn.execute("set role app_owner; select security.admit_bots('core.note')")
        assert own.execute(ask) == [("own",)]
        with own.connect() as writer:
            writer.execute("insert into core.note (body) values ('mine')")
            with refused(writer, "42501"):
                writer.execute("insert into core.note (bot_id, body) values (%s, 'x')", [bot + 1])


def test_a_leaf_made_later_is_as_closed_as_the_others(database: Database):
    bot, own = make_bot(database)
    with database.connect() as conn:
        leaf = call(conn, "select tableoid::regclass::text from core.bots where bot_id = %s", bot)
        number = leaf.rpartition("_p")[2]
        conn.execute(f"drop table core_partitions.messages_p{number};"
                     f"drop table core_partitions.bot_metrics_p{number}")
        assert failed_checks(conn)
        conn.execute("set role app_owner")
        assert call(conn, "select core.ensure_leaves(%s)", bot) == 2
        conn.execute("reset role")
        assert not failed_checks(conn)
    own.execute("select core.record_message(1, 'in', 'x')")
    assert own.execute("select count(*) from core.messages") == [(1,)]


def test_nobody_truncates_or_moves_a_row_to_another_bot(conn: psycopg.Connection):
    create_bot(conn)
    for statement in ("truncate core.messages", "truncate core.bots cascade",
                      "truncate core_partitions.messages_p3", "truncate security.bot_token",
                      "update core.messages set bot_id = 1", "update core.bot_names set bot_id = 1",
                      "set session_replication_role = replica; truncate core.bot_metrics"):
        with refused(conn, "MB108"):
            conn.execute(statement)


def test_a_table_without_bot_id_has_nothing_to_protect_it_by(conn: psycopg.Connection):
    with refused(conn, "MB109"):
        conn.execute("select security.protect('core.error_code')")


@pytest.mark.parametrize("attributes", [
    "login", "superuser", "bypassrls", "createdb", "createrole"])
def test_a_role_that_is_there_with_more_power_is_not_used(
        conn: psycopg.Connection, attributes: str):
    name = f"somebody_{secrets.token_hex(6)}"
    conn.execute(f"create role {name} {attributes}")
    with refused(conn, "MB101"):
        conn.execute("select security.ensure_role(%s)", [name])
    conn.execute(f"alter role {name} no{attributes}")
    conn.execute("select security.ensure_role(%s)", [name])


def test_a_membership_that_hands_nothing_on_is_completed(conn: psycopg.Connection):
    one, two = (f"somebody_{secrets.token_hex(6)}" for _ in range(2))
    conn.execute(f"create role {one}; create role {two}")
    ask = ("select bool_or(admin_option) from pg_auth_members"
           " where roleid = %s::regrole and member = %s::regrole")
    for may_grant, then in ((False, False), (True, True), (False, True)):
        conn.execute("select security.ensure_member(%s, %s, %s)", [one, two, may_grant])
        assert call(conn, ask, one, two) is then


# As the owner of a managed service -------------------------------------------


def test_the_owner_of_a_managed_service_runs_it_all(owned: Database):
    with owned.connect() as conn:
        migrator(conn).migrate()
        bot, doomed = create_bot(conn, "Ева"), create_bot(conn)
        name, worker = person(conn), f"worker_{secrets.token_hex(6)}"
        conn.execute("select security.grant_bot_to_admin(%s, %s)", [bot, name])
        conn.execute("select security.create_worker(%s, %s)", [worker, [bot, doomed]])
        conn.execute("select security.set_bot_token(%s, 'x')", [bot])
        conn.execute("select security.rotate_bot_password(%s, %s)", [bot, verifier(conn, "new")])
        assert not failed_checks(conn)
        record_one, get = "select core.record_message(1, 'in', 'x')", "security.get_bot_token()"
        parts = {"password": "new"}
        for one in (bot, doomed):
            with owned.connect(user=f"bot_{one}", **parts) as own:
                own.execute(record_one)
                assert own.execute(f"select {get}").fetchone() == (
                    ("x",) if one == bot else (None,))
        assert conn.execute("select bot_id, login from security.list_bots()").fetchall() == [
            (bot, f"bot_{bot}"), (doomed, f"bot_{doomed}")]
        with refused(conn, "MB106"):
            conn.execute("select security.drop_bot(%s)", [doomed])
        with owned.connect(user=f"bot_{doomed}", **parts) as own:
            conn.execute("select security.drop_bot(%s, true)", [doomed])
            with pytest.raises(psycopg.OperationalError):
                own.execute("select 1")
        conn.execute("select security.revoke_bot_from_admin(%s, %s)", [bot, name])
        conn.execute("select security.drop_login(%s)", [name])
        assert call(conn, "select security.protect_database()") == 2
        assert call(conn, "select core.ensure_leaves(%s)", bot) == 0
        assert not failed_checks(conn)
        with pytest.raises(FleetError) as caught:
            undo(migrator(conn), MIGRATIONS, discard_data=False)
        assert caught.value.code == "MB001"
        assert call(conn, "select security.drop_logins()") == 2
        marked = {mark.migration_id for mark in registry.marks(conn)}
        undo(migrator(conn), [m for m in MIGRATIONS if m.id in marked], discard_data=True)
        assert call(conn, "select to_regnamespace('core') is null")


def test_a_super_admin_imports_reports_and_retries_without_migrating(database: Database):
    password, name = secrets.token_hex(16), f"olga_{secrets.token_hex(4)}"
    with database.connect() as conn:
        conn.execute("select security.create_admin(%s, %s, true)", [name, verifier(conn, password)])
    olga = Database(database.parts | {"user": name, "password": password})

    def run(*arguments: str) -> int:
        done = run_runner(olga, *arguments, code=None)
        assert "MB904" not in done.stderr, done.stderr
        return done.returncode

    legacy, broken = str(PROJECT / "examples/legacy"), str(PROJECT / "examples/broken")
    assert [run("import", legacy), run("verify", "--source", legacy), run("report")] == [0, 0, 0]
    assert [run("import", broken), run("rejects"), run("retry")] == [6, 6, 6]
    assert [run("bot", "add", "x"), run("bot", "list"), run("codes")] == [0, 0, 0]
