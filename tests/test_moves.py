"""What was accepted stays accepted where the database goes: by a dump, to another major version."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Database, roomy_folder
from core_rows import make_bot

from fleet import server

pytest_plugins = "core_rows"


@pytest.fixture
def newer() -> Iterator[Database]:
    """A server of version 18, whatever is under test, with nothing of ours in it."""
    with tempfile.TemporaryDirectory(prefix="fleet-tests-", dir=roomy_folder()) as folder:
        Path(folder).chmod(0o711)
        own = server.Server(server.wheel_binaries(), Path(folder) / "server",
                            settings=(("fsync", "off"),))
        own.start()
        try:
            yield Database(dict(own.parts()))
        finally:
            own.stop("immediate")


def newer_program(database: Database, name: str, *arguments: str, text: str = "") -> str:
    """What a program of the new server prints, as PostgreSQL's manual has it for both ends."""
    done = subprocess.run([server.wheel_binaries() / name, *arguments], input=text, text=True,
                          capture_output=True, env=database.environment())
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def restore(database: Database, text: str) -> None:
    """Runs a dump, stopping at the first error."""
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
        conn.execute("select security.protect_database()")
        after = conn.execute("select kind, object, definition from security.inventory()"
                             " where scope = 'database' order by 1, 2").fetchall()
        differing = sorted(set(after) ^ set(before))
        assert differing == [], '\n'.join(map(str, differing))
        conn.execute("select security.accept_cluster('restored on 18')")
        assert conn.execute("select check_name, detail from security.check() where not ok"
                            " and severity <> 'notice'").fetchall() == []
        conn.execute("begin; select security.expect_inventory(); rollback")
