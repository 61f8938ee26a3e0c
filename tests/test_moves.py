"""What was accepted stays accepted where the database goes: by a dump, or by pg_upgrade, to another
major version.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Database, private_server
from core_rows import make_bot
from project import Whole

from bench.measure import create_database
from fleet import server

pytest_plugins = ["core_rows", "project"]


@pytest.fixture
def newer() -> Iterator[Database]:
    """A server of version 18, whatever is under test, with nothing of ours in it."""
    with private_server(server.wheel_binaries()) as own:
        yield Database(dict(own.parts()))


def newer_program(database: Database, name: str, *arguments: str, text: str = "") -> str:
    """What a program of the new server prints, as PostgreSQL's manual has it for both ends."""
    done = subprocess.run([server.wheel_binaries() / name, *arguments], input=text, text=True,
                          capture_output=True, env=database.environment())
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def restore(database: Database, text: str) -> None:
    """Runs a dump, stopping at the first error. What 15.20 notes in the options of attributes, an
    18 before 18.6 dumps, and does not take."""
    text = "".join(line for line in text.splitlines(keepends=True) if "pg_attver" not in line)
    newer_program(database, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", text=text)


def test_a_dump_restored_on_18_differs_in_nothing_that_a_dump_keeps(
        database: Database, newer: Database):
    bot, _ = make_bot(database)
    with database.connect() as conn:
        conn.execute("select security.create_worker(%s, array[%s::bigint])", [f"w_{bot}", bot])
        conn.execute("select core.record_message(1, 'in', 'x', p_bot_id => %s)", [bot])
        before = conn.execute("select kind, object, definition from security.inventory()"
                              " where scope = 'database' order by 1, 2").fetchall()
    roles = newer_program(database, "pg_dumpall", "--roles-only", "--no-role-passwords")
    with newer.connect() as conn:
        (first,) = conn.execute("select quote_ident(current_user)").fetchone()
        conn.execute(f'create database "{database.name}"')
    restored = Database(newer.parts | {"dbname": database.name})
    restore(restored, "".join(line for line in roles.splitlines(keepends=True)
                              if not line.startswith((f"CREATE ROLE {first};",
                                                      f"ALTER ROLE {first} "))))
    restore(restored, newer_program(database, "pg_dump", "--no-toast-compression"))
    with restored.connect() as conn:
        conn.execute("select security.claim_logins()")
        after = conn.execute("select kind, object, definition from security.inventory()"
                             " where scope = 'database' order by 1, 2").fetchall()
        differing = sorted(set(after) ^ set(before))
        assert differing == [], '\n'.join(map(str, differing))
        conn.execute("select security.accept_cluster('restored on 18')")
        assert conn.execute("select check_name, detail from security.check() where not ok"
                            " and severity <> 'notice'").fetchall() == []
        conn.execute("begin; select security.expect_inventory(); rollback")


# By pg_upgrade -----------------------------------------------------------------


def install(database: Database, folder: Path) -> tuple[Whole, Database]:
    """The project on a database with a bot's data: the project, and what the bot connects with."""
    made = Whole(folder, database)
    made.run("migrate")
    bot, as_bot = make_bot(database)
    with database.connect() as conn:
        conn.execute("select security.create_worker(%s, array[%s::bigint])",
                     [f"w_{database.name}", bot])
        conn.execute("select security.create_admin(%s)", [f"a_{database.name}"])
        conn.execute("select security.set_bot_limits(%s, 3, '5 seconds', '10 minutes')", [bot])
        conn.execute("select core.record_message(1, 'in', 'x', p_bot_id => %s)", [bot])
        conn.execute("call performance.maintain()")
        conn.execute("select audit.seal()")
    return made, as_bot


def upgrade(old: server.Server, new: server.Server) -> None:
    """Runs pg_upgrade; both servers are down before, and the new one is up after it."""
    old.stop()
    new.stop()
    # the version that `old` is of made none, and pg_upgrade wants both alike
    new._run("keeps its checksums", "pg_checksums", "--disable", "-D", new.major())
    new._run("was not upgraded to", "pg_upgrade", "-U", "postgres", "-s", new.parts()["host"],
             *("-b", str(old.binaries), "-B", str(new.binaries)),
             *("-d", str(old.home / old.major()), "-D", str(new.home / new.major())))
    new.start()


@pytest.mark.torture
def test_pg_upgrade_from_16_to_18_differs_in_nothing(tmp_path: Path):
    with (private_server(server.binaries_of("16"), "postgres") as old,
          private_server(server.binaries_of("18"), "postgres") as new):
        made = []
        with Database(dict(old.parts())).connect() as conn:
            conn.execute("create role owner login createrole")
            for user in ("postgres", "owner"):
                create_database(conn, f"of_{user}", user)
                made.append(install(Database(old.parts() | {"dbname": f"of_{user}", "user": user}),
                                    tmp_path / user))
        upgrade(old, new)
        for project, as_bot in made:
            moved = Database(project.database.parts | {"host": new.parts()["host"]})
            project.database = moved
            assert moved.execute("show server_version_num")[0][0] >= "180000"
            # but for what another version of the server is made of
            assert {tuple(row) for row in moved.execute(
                "select scope, kind from security.differences()")} == {("cluster", "catalog")}
            assert "no differences" in project.call("diff").err
            moved.execute("select security.accept_cluster('pg_upgrade to 18')")
            assert moved.execute("select check_name, detail from security.check() where not ok"
                                 " and severity <> 'notice'") == []
            assert "none failed; no differences" in project.call("verify").err
            assert moved.execute("select * from audit.verify_seals()") == []
            assert Database(as_bot.parts | {"host": new.parts()["host"]}).execute(
                "select body from core.messages") == [("x",)]
            project.edit("002_security/bot_list.sql", "order by b.", "-- and so on\norder by b.")
            assert "replace routine security.list_bots()" in project.call("migrate").err
            assert "no differences" in project.call("diff").err
