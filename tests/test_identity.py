"""An installation is known by a random id, and its logins by that, not by the database's name."""

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from conftest import Database, clone
from core_rows import failed_checks, make_bot, migrator, run_runner
from psycopg import sql

from fleet import server

pytest_plugins = "core_rows"
HELD = "no other database has the logins of this installation"


@pytest.fixture(params=["superuser", "owner"])
def original(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A migrated database, as seen by who migrated it."""
    if request.param == "superuser":
        made = request.getfixturevalue("database")
        made.execute("select security.claim_logins()")  # it is a clone itself
        yield made
        return
    owned = request.getfixturevalue("owned")
    with owned.connect() as conn:
        migrator(conn).migrate()
    yield owned


def people(database: Database, bot: int) -> list[str]:
    """The names of a new super_admin and of a new worker with this bot."""
    names = [f"{kind}_{secrets.token_hex(4)}" for kind in ("chief", "worker")]
    with database.connect() as conn:
        conn.execute("select security.create_admin(%s, p_is_super => true)", names[:1])
        conn.execute("select security.create_worker(%s, array[%s::bigint])", [names[1], bot])
    return names


def broken(database: Database) -> dict[str, tuple[str, str]]:
    """What security.check() finds: (severity, detail) by the rule."""
    return {name: (severity, detail) for name, severity, detail in database.execute(
        "select check_name, severity, detail from security.check() where not ok")}


def may_enter(cluster: Database, database: Database, *logins: str) -> bool:
    """Whether all these logins may connect to a database; none of them else."""
    (may,) = {may for login in logins for (may,) in cluster.execute(
        "select has_database_privilege(%s, %s, 'connect')", [login, database.name])}
    return may


def rename(cluster: Database, database: Database, name: str) -> Database:
    with cluster.connect() as conn:
        conn.execute(sql.SQL("alter database {} rename to {}").format(
            sql.Identifier(database.name), sql.Identifier(name)))
    return Database(database.parts | {"dbname": name})


def test_a_renamed_database_keeps_its_logins(cluster: Database, original: Database):
    bot, as_bot = make_bot(original)
    chief, _ = people(original, bot)
    renamed = rename(cluster, original, f"{original.name}_renamed")
    try:
        own = Database(as_bot.parts | {"dbname": renamed.name})
        assert own.execute("select bot_id from core.bots") == [(bot,)]
        assert failed_checks(renamed) == {}
        assert HELD not in broken(renamed)
        renamed.execute("select security.revoke_bot_from_admin(%s, %s)", [bot, people(
            renamed, bot)[1]])
        assert renamed.execute("select security.claim_logins()") == [(0,)]
        assert may_enter(cluster, renamed, chief)
    finally:
        rename(cluster, renamed, original.name)


def test_of_two_clones_the_one_that_claimed_has_the_logins(cluster: Database, original: Database):
    bot, as_bot = make_bot(original)
    logins = [f"bot_{bot}", *people(original, bot)]
    with cluster.connect() as conn:
        conn.execute(f"alter role {logins[2]} in database {original.name} set work_mem = '5MB'")
    for made in clone(cluster, original.name, original.parts["user"]):
        copy = Database(original.parts | {"dbname": made.name})
        severity, detail = broken(copy)[HELD]
        assert severity == "notice"
        assert "this database is a copy" in detail
        assert original.name in detail
        assert all(login in detail for login in logins)
        assert may_enter(cluster, original, *logins)
        assert not may_enter(cluster, copy, *logins)
        assert HELD not in broken(original)

        assert copy.execute("select security.claim_logins()") == [(3,)]
        assert HELD not in broken(copy)
        assert failed_checks(copy) == {}
        assert may_enter(cluster, copy, *logins)
        assert not may_enter(cluster, original, *logins)
        own = Database(as_bot.parts | {"dbname": copy.name})
        assert own.execute("select bot_id from core.bots") == [(bot,)]
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            as_bot.execute("select 1")
        assert cluster.execute(
            "select setconfig from pg_db_role_setting where setrole = %s::regrole and"
            " setdatabase = (select oid from pg_database where datname = %s)",
            [logins[2], copy.name]) == [(["work_mem=5MB"],)]
        assert made.execute(
            "select new_values ->> 'name', new_values -> 'logins' from audit.events"
            " where kind = 'logins_claimed'") == [(original.name, sorted(logins))]

        severity, detail = broken(original)[HELD]
        assert severity == "notice"
        assert "has claimed the logins" in detail
        assert copy.name in detail
        assert failed_checks(original) == {}
        assert "select security.claim_logins()" in run_runner(original, "verify").stderr
        assert original.execute("select security.claim_logins()") == [(3,)]
        assert as_bot.execute("select bot_id from core.bots") == [(bot,)]
        assert not may_enter(cluster, copy, *logins)
        assert HELD not in broken(original)


def test_where_the_original_is_gone_verify_fails_until_the_copy_claims(
        cluster: Database, database: Database, template: Database):
    for lost in clone(cluster, template.name):
        bot, as_bot = make_bot(lost)
        for copy in clone(cluster, lost.name):
            cluster.execute(f"drop database {lost.name} with (force)")
            assert "gone (oid" in failed_checks(copy)[HELD]
            assert "claim_logins" in run_runner(copy, "verify", code=4).stderr
            assert copy.execute("select security.claim_logins()") == [(1,)]
            assert failed_checks(copy) == {}
            own = Database(as_bot.parts | {"dbname": copy.name})
            assert own.execute("select bot_id from core.bots") == [(bot,)]


def test_the_people_of_a_dropped_database_are_strangers_to_the_next_of_its_name(
        cluster: Database, template: Database):
    name = f"fleet_again_{secrets.token_hex(4)}"
    again = Database(cluster.parts | {"dbname": name})
    with cluster.connect() as conn:
        conn.execute(f"create database {name} template {template.name}")
        again.execute("select security.protect_database()")
        bot, _ = make_bot(again)
        logins = [f"bot_{bot}", *people(again, bot)]
        conn.execute(f"drop database {name}")
        conn.execute(f"create database {name} template {template.name}")
        try:
            assert again.execute("select security.claim_logins()") == [(0,)]
            assert not may_enter(cluster, again, *logins)
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                again.connect(user=logins[1])
            found = broken(again)
            assert {*found} == {"no login is left over from a database that is gone"}
            assert all(login in found.popitem()[1][1] for login in logins[:1])
        finally:
            server.drop_database(conn, name)
            for login in logins:
                conn.execute(f"drop role {login}")


def test_an_admin_whom_no_function_made_is_listed(database: Database):
    name = f"mallory_{secrets.token_hex(4)}"
    with database.connect() as conn, conn.transaction(force_rollback=True):
        conn.execute(f"create role {name} login")
        mark = conn.execute("select security.mark('admin')").fetchone()[0]
        conn.execute(sql.SQL("comment on role {} is {}").format(sql.Identifier(name), mark))
        assert conn.execute("select detail from security.check() where not ok and check_name ="
                            " 'every admin and worker was made by a function of ours'"
                            ).fetchall() == [(f"{name}, marked as admin",)]


def test_nobody_but_the_owner_claims(database: Database):
    bot, as_bot = make_bot(database)
    chief, _ = people(database, bot)
    for login in (as_bot, Database(database.parts | {"user": chief})):
        for function in ("claim_logins", "take_over_logins"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                login.execute(f"select security.{function}()")
