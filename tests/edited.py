"""A project with all its migrations, whose files somebody edits, and what the tests of it share.

On 15 all of it is done by the database's owner, who is no superuser; on later versions by one.
A test module takes the fixtures by `pytest_plugins = "edited"`.
PYTEST_DONT_REWRITE: it is imported before it is named as a plugin.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Database, cheapest
from core_rows import login, migrator
from project import Whole
from psycopg import sql

from bench.measure import create_database
from fleet import scratch, server

pytest_plugins = ["project", "core_rows"]
RECORD = ("routine core.record_message(bigint,text,text,timestamp with time zone,text,bigint,text,"
          "bigint,text,text,jsonb,text,text,bigint)")
PART = "001_core_schema/record_message.sql"
RETURN = "    return v_message_id;\nend\n$func$;\n\ncomment on function core.record_message"
LIVE = (r"select replace(pg_get_functiondef('core.record_message'::regproc),"
        r" e'\n    return v_message_id;', e'\n    -- live\n    return v_message_id;')")


class Edited(Whole):
    """The project, whose files somebody edits."""

    def edit_record_message(self, line: str) -> None:
        self.edit(PART, RETURN, f"    {line}\n{RETURN}")

    def replace_live(self) -> None:
        """Somebody replaces core.record_message in the database."""
        self.execute(self.execute(LIVE)[0][0])

    def differences(self, *arguments: str) -> dict[str, str]:
        """Where each object changed, by its name."""
        document = self.call("diff", "--json", *arguments, code=None).document
        return {f"{row['kind']} {row['object']}": row["changed_in"] for row in document}

    def is_clean(self) -> None:
        """Files, what was accepted and the database are one; every check is true."""
        assert self.differences() == {}
        assert set(self.states().values()) == {"applied"}
        assert "no differences" in self.call("verify").err


@pytest.fixture(scope="module")
def who(cluster: Database) -> Iterator[Database]:
    """Who migrates: the server as seen by a superuser, on 15 by a login that may make databases."""
    with ExitStack() as stack:
        if cluster.execute("show server_version_num")[0][0] >= "160000":
            yield cluster
        else:
            yield stack.enter_context(login(
                cluster, f"fleet_owner_{os.urandom(6).hex()}", "createrole createdb"))


@pytest.fixture(scope="module")
def origin(cluster: Database, who: Database) -> Iterator[str]:
    """A migrated database of theirs, for cloning only."""
    name = f"fleet_diff_{os.urandom(6).hex()}"
    with cluster.connect() as conn:
        create_database(conn, name, who.parts["user"])
        with Database(who.parts | {"dbname": name}).connect() as mine:
            mine.execute("set row_security = off")
            migrator(mine).migrate()
        yield name
        server.drop_database(conn, name)


@pytest.fixture(scope="module")
def known(who: Database, origin: str, tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """What the files mean, and what edited ones do, as the first who asks keeps it: the folder is
    shared by a module's tests, or each would build it anew."""
    first = Edited(tmp_path_factory.mktemp("known") / "project",
                   Database(who.parts | {"dbname": origin}))
    first.call("diff", code=None)
    return first.folder / scratch.FOLDER


@pytest.fixture
def whole(tmp_path: Path, cluster: Database, who: Database, origin: str, known: Path | None
          ) -> Iterator[Edited]:
    """The project on a database of its own with everything applied."""
    name = f"fleet_diff_{os.urandom(6).hex()}"
    with cluster.connect() as conn:
        conn.execute(sql.SQL("create database {} template {} owner {} strategy {}").format(
            *map(sql.Identifier, (name, origin, who.parts["user"], cheapest(conn)))))
        made = Edited(tmp_path / "project", Database(who.parts | {"dbname": name}))
        if known:
            (made.folder / scratch.FOLDER).symlink_to(known)
        made.execute("select security.protect_database()")  # a clone has lost its rights
        try:
            yield made
        finally:
            server.drop_database(conn, name)
