"""Migrating as what managed services give: the database's owner, with CREATEROLE, no superuser."""

import os
import secrets

from conftest import Database
from core_rows import MIGRATIONS, dump, failed_checks, login, migrator, psql, run_runner
from psycopg import sql

from fleet.rollback import undo

pytest_plugins = "core_rows"


def test_the_owner_migrates_rolls_back_and_migrates_again(owned: Database):
    with owned.connect() as conn:
        assert conn.execute("select rolsuper from pg_roles where rolname = current_user"
                            ).fetchone() == (False,)
        conn.execute("set row_security = off")  # as the runner's connection does
        session = migrator(conn)
        for _ in range(2 if os.environ.get("TORTURE") else 1):
            assert session.migrate() == [m.id for m in MIGRATIONS]
            assert not failed_checks(conn)
            undo(session, MIGRATIONS, discard_data=False)
        session.migrate()
        assert not failed_checks(conn)


def test_the_owner_runs_each_file_with_psql(owned: Database):
    def run(name: str) -> list[str]:
        order = MIGRATIONS if name != "rollback" else reversed(MIGRATIONS)
        done = [psql(owned, migration.path(name)) for migration in order]
        assert [d.returncode for d in done] == [0] * len(MIGRATIONS), [d.stderr for d in done]
        return [d.stdout for d in done]
    run("apply")
    up = dump(owned)
    checks = [line for lines in run("verify") for line in lines.splitlines()]
    assert checks
    assert [line for line in checks if not line.endswith("|t|")] == []
    run("rollback")
    run("apply")
    assert dump(owned) == up


def test_a_login_that_owns_nothing_changes_nothing(cluster: Database, owned: Database):
    def refused(*arguments: str) -> str:
        done = run_runner(stranger, *arguments, code=1)
        assert "MB904" in done.stderr
        return done.stderr

    with login(cluster, f"fleet_stranger_{secrets.token_hex(6)}") as somebody:
        stranger = Database(somebody.parts | {"dbname": owned.name})
        before = dump(owned)
        refused("migrate")
        assert dump(owned) == before
        with owned.connect() as conn:
            migrator(conn).migrate()
            conn.execute(sql.SQL("grant connect on database {} to {}").format(
                sql.Identifier(owned.name), sql.Identifier(somebody.parts["user"])))
        before = dump(owned)
        for command in (["rollback", "--all", "--yes"], ["status"]):
            refused(*command)
        assert dump(owned) == before
