"""Two installations in two databases of one cluster share roles, and nothing that one of them does
breaks the other, whoever migrates which: a superuser, or an owner of its own.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from conftest import Database, private_server
from core_rows import at_once, failed_checks, owner_database, run_runner, start_runner
from psycopg import sql

from bench.measure import create_database
from fleet import server

PAIRS = [("owner", "owner"), ("superuser", "owner"), ("owner", "superuser")]


@pytest.fixture
def cluster() -> Iterator[Database]:
    """A cluster without any of our roles."""
    with private_server() as own:
        yield Database(dict(own.parts()))


def is_old(cluster: Database) -> bool:
    """Whether every owner may use the roles that another one made."""
    return cluster.execute("show server_version_num")[0][0] < "160000"


def make_database(cluster: Database, name: str, kind: str) -> Database:
    """An empty database as seen by who is to migrate it, who may use the roles that are there."""
    owner = name if kind == "owner" else cluster.parts["user"]
    with cluster.connect() as conn:
        conn.execute(sql.SQL("create role {} login createrole").format(sql.Identifier(name)))
        create_database(conn, name, owner)
    return Database(cluster.parts | {"dbname": name, "user": owner})


def make_logins(database: Database) -> list[int]:
    """Two bots, whose ids are returned, an admin and a worker."""
    bots = [database.execute("select security.create_bot(%s)", [name])[0][0]
            for name in ("anna", "mila")]
    database.execute("select security.create_admin(%s, p_is_super => true)", [
        f"admin_of_{database.name}"])
    database.execute("select security.create_worker(%s, %s)", [f"worker_of_{database.name}", bots])
    return bots


def is_whole(*databases: Database) -> None:
    for database in databases:
        assert failed_checks(database) == {}
        assert database.execute("select check_name, detail from security.check()"
                                " where not ok and severity <> 'notice'") == []


def down(database: Database, *which: str) -> None:
    run_runner(database, "rollback", *which, "--discard-data", "--yes")


@pytest.mark.torture
@pytest.mark.parametrize("kinds", PAIRS, ids=" and ".join)
def test_each_comes_and_goes_by_itself(cluster: Database, kinds: tuple[str, str]):
    first = make_database(cluster, "first", kinds[0])
    run_runner(first, "migrate")
    second = make_database(cluster, "second", kinds[1])
    run_runner(second, "migrate")
    is_whole(first, second)
    bots = make_logins(first) + make_logins(second)
    assert len({*bots}) == 4
    is_whole(first, second)
    for database in first, second:
        assert "nothing to migrate" in run_runner(database, "migrate").stderr
        run_runner(database, "verify")

    down(second, "--only", "004")
    is_whole(first)
    run_runner(second, "migrate")
    down(first, "--all")
    is_whole(second)
    as_bot = Database(second.parts | {"user": f"bot_{bots[-1]}"})
    assert as_bot.execute("select bot_id from core.bots") == [(bots[-1],)]
    run_runner(first, "migrate")
    make_logins(first)
    is_whole(first, second)

    down(second, "--all")
    with cluster.connect() as conn:
        if not is_old(cluster):  # what was given by hand
            for (role,) in conn.execute("select roleid::regrole::text from pg_auth_members"
                                        " where member = 'second'::regrole").fetchall():
                conn.execute(f"revoke {role} from second")
        server.drop_database(conn, "second")
    is_whole(first)
    down(first, "--all")
    left = cluster.execute("select rolname from pg_roles where rolname ~ '^(app|bot)_'")
    # an owner can't take back a superuser's grant
    assert set(left) <= {("app_importer",), ("app_provisioner",)}


def test_both_are_installed_at_once_and_make_bots_at_once(cluster: Database):
    kind = "owner" if is_old(cluster) else "superuser"
    both = [make_database(cluster, name, kind) for name in ("first", "second")]
    with ThreadPoolExecutor(2) as pool:
        [*pool.map(lambda database: start_runner(database, "migrate"), both)]
    is_whole(*both)

    def make_bots(conn) -> list[int]:
        return [bot for bot, in conn.execute(
            "select security.create_bot(gen_random_uuid()::text) from generate_series(1, 8)")]

    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda database: at_once(database, [make_bots] * 4), both)
    assert len({bot for jobs in made for job in jobs for bot in job}) == 64
    is_whole(*both)


def test_what_a_superuser_gives_a_role_may_come_and_may_not_go(cluster: Database):
    def differing() -> list[str]:
        return [name for name, in database.execute(
            "select object from security.differences()")]

    parameter = "parameter session_replication_role"
    named = [f"to owner of json_import on {parameter}"]
    database = make_database(cluster, "first", "owner")
    run_runner(database, "migrate")
    cluster.execute(f"grant set on {parameter} to app_importer")  # as a sister's migration does
    is_whole(database)
    cluster.execute(f"grant alter system on {parameter} to app_importer")
    assert differing() == named
    cluster.execute(f"revoke alter system on {parameter} from app_importer")
    assert database.execute("select security.accept_inventory('given')") == [(1,)]
    cluster.execute(f"revoke set on {parameter} from app_importer")
    assert differing() == named


def test_a_role_that_no_login_can_become_is_no_stranger(cluster: Database):
    database = make_database(cluster, "first", "superuser")
    run_runner(database, "migrate")
    cluster.execute("create role readers; grant pg_read_all_data to readers")
    is_whole(database)
    cluster.execute("create role few in role readers; create role mallory login in role few")
    assert set(database.execute("select kind, object from security.differences()")) == {
        ("membership", "role mallory in role few"), ("membership", "role few in role readers"),
        ("membership", "role readers in pg_read_all_data")}


def test_a_second_owner_gets_one_error_with_all_grants_and_then_no_way_into_the_first(
        cluster: Database):
    first = make_database(cluster, "first", "owner")
    run_runner(first, "migrate")
    bot = make_logins(first)[0]
    cluster.execute("create role second login createrole")
    cluster.execute("create database second owner second template template0")
    second = Database(cluster.parts | {"dbname": "second", "user": "second"})
    if not is_old(cluster):
        refused = run_runner(second, "migrate", code=1)
        said = refused.stdout + refused.stderr
        assert "MB120" in said
        grants = re.findall(r"grant app_\w+ to second(?: with admin option)?;", said)
        assert len(grants) == len({*grants}) == 9, said
        assert "to own the tables of the bots here" in said
        for grant in grants:
            cluster.execute(grant)
    run_runner(second, "migrate")
    make_logins(second)
    is_whole(first, second)
    for database, other in (first, second), (second, first):
        (theirs,) = other.execute("select security.provisioner()")[0]
        with database.connect() as conn:
            enter = conn.execute("select has_database_privilege(%s, 'connect')", [other.name])
            assert enter.fetchone() == (False,)
        if is_old(cluster):  # whoever makes roles may give themselves any; said at migrate
            continue
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            Database(other.parts | {"user": database.parts["user"]}).execute("select 1")
        attempts = [f"set role {theirs}", f"grant {theirs} to current_user",
                    f"alter role {theirs} login", f"drop role {theirs}",
                    f"grant connect on database {other.name} to current_user"]
        if other is first:
            attempts += [f"alter role bot_{bot} password 'x'", f"grant bot_{bot} to current_user",
                         f"drop role bot_{bot}", "grant app_owner to admin_of_first",
                         f"comment on role bot_{bot} is 'mine'", "set role admin_of_first"]
        for attempt in attempts:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                database.execute(attempt)
    is_whole(first, second)
    down(second, "--all")
    assert failed_checks(first) == {}


def test_who_made_the_shared_roles_may_go_with_what_they_granted(cluster: Database):
    with owner_database(cluster) as first:
        run_runner(first, "migrate")
        with cluster.connect() as conn:
            create_database(conn, "second", "postgres")
        second = Database(cluster.parts | {"dbname": "second"})
        run_runner(second, "migrate")
    assert failed_checks(second) == {}
