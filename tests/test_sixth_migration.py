"""The migrations of docs/extend.md, as they stand there: each goes up and down again, by runner,
yoyo and psql, with data in the tables, as the database's owner and as a superuser.

`make test` takes each migration along one of the roads, `make torture` along all.
"""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import psycopg
import pytest
from conftest import Database, clone
from core_rows import make_bot, migrator, owner_database, program
from project import ORIGIN, Project, said_of
from yoyo.scripts.main import main as yoyo

from fleet import files, registry, stepwise, verify

DOCS = (ORIGIN / "docs/extend.md").read_text("utf-8")
NEW = re.compile(r"^\$ \.venv/bin/python runner\.py (new (\w+).*)$", re.M)
BLOCK = re.compile(r"^`sql/\d{3}_(\w+)/(\w+)\.sql`.*:\n\n```sql\n((?:(?!```).*\n)*)", re.M)
COMMANDS = {name: command.split() for command, name in NEW.findall(DOCS)}
# What a block of the docs takes the place of, in what `runner.py new` wrote.
PLACES = {"rollback": re.compile(r"^-- What undoes .*\n(?:-- .*\n)*", re.M),
          "verify": re.compile(r"^ +-- One row per check.*\n +select 1, .*\n", re.M)}
ROADS = ("runner", "yoyo", "psql")
AFTERWARDS: dict[str, Callable] = {}  # what must be true while a migration is in place


def copy(folder: Path, *more: str) -> None:
    """A copy of what migrates, and of these files."""
    wanted = ("fleet", "sql", "runner.py", "yoyo.ini", *more)
    shutil.copytree(ORIGIN, folder, ignore=lambda path, names: [
        name for name in names if path == str(ORIGIN) and name not in wanted])


class Whole(Project):
    """All of sql/ in a folder of its own, on a database with two bots and their messages."""

    def __init__(self, folder: Path, database: Database, superuser: Database, road: str) -> None:
        self.folder, self.database, self.superuser, self.road = folder, database, superuser, road
        self.is_clean = True
        copy(folder)
        database.execute("select security.accept_cluster('a clone')")
        self.bots = [make_bot(superuser)[0] for _ in range(2)]
        with superuser.connect() as conn:
            for bot in self.bots:
                for number in range(5):
                    conn.execute("select core.record_message(%s, 'in', %s, p_bot_id => %s)",
                                 [1 + number % 2, f"one {number}", bot])
            conn.execute("update core.messages set metadata = '{\"a\": 1}' where body = 'one 3'")

    def write(self, name: str) -> files.Migration:
        """Makes a migration as the docs say."""
        made = self.call(*COMMANDS[name], "--json").document[0]["file"].split("/")[1]
        fill_in(self.folder / "sql" / made, name)
        return next(m for m in self.read() if m.id == made)

    def read(self) -> list[files.Migration]:
        return files.read(self.folder / "sql")

    def take(self, migration: files.Migration, way: str) -> None:
        """Applies it, or rolls it back, by this road."""
        if self.road == "runner":
            self.call(*(["migrate"] if way == "apply" else ["rollback", "--last", "--yes"]))
        elif self.road == "yoyo":
            which = ["apply"] if way == "apply" else ["rollback", "-r", migration.id]
            with (patch.dict(os.environ, self.database.environment(), clear=True),
                  chdir(self.folder), redirect_stdout(io.StringIO()),
                  redirect_stderr(io.StringIO())):
                yoyo([*which, "--batch"])
        else:
            script = migration.path(way)
            whole = [] if "\n-- transaction: none\n" in script.read_text() else ["-1"]
            done = program(self.database, "psql", "-Xq", *whole, "-v", "ON_ERROR_STOP=1", "-f",
                           str(script))
            assert done.returncode == 0, done.stderr

    def verify(self) -> None:
        """`runner.py verify` says 0; where psql leaves no mark, the same without it."""
        if self.road != "psql":
            self.call("verify", code=0)
            return
        with self.database.connect() as conn:
            failed = [row for m in self.read() for row in verify.check(conn, m)
                      if not row[1]]
            assert (failed, registry.differences(conn)) == ([], [])

    def read_facts(self) -> list[tuple]:
        """What is accepted: where nothing differs from it, also what is there.

        Without what the audit keeps of a table that is gone, whose log is still to be read.
        """
        found = self.superuser.execute("select scope, kind, object, definition"
                                       " from security.accepted_fact order by 2, 3")
        gone = re.compile(r"\baudit\.\w+_of_(core_notes|shop_orders)\b|^\d+ of audit\.capture$")
        return [fact for fact in found if not gone.search(fact[2])]


def fill_in(folder: Path, name: str) -> None:
    """Puts the blocks of the docs into what `runner.py new` wrote."""
    for file, text in [found[1:] for found in BLOCK.findall(DOCS) if found[0] == name]:
        path = folder / f"{file}.sql"
        if file in PLACES:
            text, count = PLACES[file].subn(lambda _, t=text: t, path.read_text("utf-8"))
            assert count == 1
        path.write_text(text, "utf-8")


def afterwards(function: Callable) -> Callable:
    """Notes what must be true of the migration of this name."""
    AFTERWARDS[function.__name__] = function
    return function


@contextmanager
def as_bot(conn: psycopg.Connection, bot: int) -> Iterator[None]:
    conn.execute(f"set local role bot_{bot}")
    yield
    conn.execute("reset role")


# What each brings ----------------------------------------------------------------


@afterwards
def plan(conn: psycopg.Connection, whole: Whole) -> None:
    conn.execute("insert into core.bots (name, plan) values ('new', 'paid')")
    plans = conn.execute("select plan, count(*) from core.bots group by 1 order by 1").fetchall()
    assert plans == [("free", 2), ("paid", 1)]
    assert conn.execute("select new_values ->> 'plan' from audit.events where table_name ="
                        " 'core.bots' order by entry_id desc limit 1").fetchone() == ("paid",)


@afterwards
def forwarded_from(conn: psycopg.Connection, whole: Whole) -> None:
    with as_bot(conn, whole.bots[0]):
        conn.execute("insert into core.messages (conversation_id, direction, body, forwarded_from)"
                     " select conversation_id, 'out', 'x', 77 from core.conversations limit 1")
        conn.execute("update core.messages set forwarded_from = 78 where body = 'x'")
    told = conn.execute("select old_values ->> 'forwarded_from' from audit.events"
                        " where table_name = 'core.messages' order by entry_id desc limit 1"
                        ).fetchone()
    assert told == ("77",)


@afterwards
def paused_first(conn: psycopg.Connection, whole: Whole) -> None:
    assert conn.execute("insert into core.bots (name) values ('new') returning status"
                        ).fetchone() == ("paused",)


@afterwards
def count_words(conn: psycopg.Connection, whole: Whole) -> None:
    with as_bot(conn, whole.bots[0]):
        assert conn.execute("select core.count_words(' one two ')").fetchone() == (2,)


@afterwards
def notes(conn: psycopg.Connection, whole: Whole) -> None:
    with as_bot(conn, whole.bots[0]):
        conn.execute("insert into core.notes (profile_id, body)"
                     " select profile_id, 'hm' from core.girls_profiles")
        mine = conn.execute("select count(*) from core.notes").fetchone()
    with as_bot(conn, whole.bots[1]):
        assert conn.execute("select count(*) from core.notes").fetchone() == (0,) != mine
    assert conn.execute("select new_values ->> 'body' from audit.events where table_name ="
                        " 'core.notes' limit 1").fetchone() == ("hm",)
    conn.execute("select security.drop_bot(%s, true)", [whole.bots[0]])
    assert conn.execute("select count(*) from core.notes").fetchone() == (0,)


@afterwards
def shop(conn: psycopg.Connection, whole: Whole) -> None:
    with as_bot(conn, whole.bots[0]):
        conn.execute("insert into shop.orders (article) values ('tea')")
    with as_bot(conn, whole.bots[1]):
        assert conn.execute("select count(*) from shop.orders").fetchone() == (0,)
    assert conn.execute("select new_values ->> 'article' from audit.events where table_name ="
                        " 'shop.orders' limit 1").fetchone() == ("tea",)
    conn.execute("select security.drop_bot(%s, true)", [whole.bots[0]])
    assert conn.execute("select count(*) from shop.orders").fetchone() == (0,)


@afterwards
def layout(conn: psycopg.Connection, whole: Whole) -> None:
    rows = conn.execute("select body, metadata::text, count(*)::text from core.messages"
                        " group by 1, 2 order by 1").fetchall()
    assert rows == [(f"one {n}", '{"a": 1, "layout": 1}' if n == 3 else '{"layout": 1}', "2")
                    for n in range(5)]


@afterwards
def by_direction(conn: psycopg.Connection, whole: Whole) -> None:
    assert conn.execute("select count(*), bool_and(indisvalid) from pg_inherits"
                        " join pg_index on indexrelid = inhrelid"
                        " where inhparent = 'core.messages_direction_idx'::regclass"
                        ).fetchone() == (10, True)


# The roads -----------------------------------------------------------------------


@contextmanager
def migrated_by_superuser(cluster: Database, template: Database) -> Iterator[Database]:
    with contextmanager(clone)(cluster, template.name) as made:
        yield made


@contextmanager
def migrated_by_owner(cluster: Database, template: Database) -> Iterator[Database]:
    with owner_database(cluster) as made:
        with made.connect() as conn:
            conn.execute("set row_security = off")
            migrator(conn).migrate()
        yield made


def is_old(cluster: Database) -> bool:
    """On 15 the owner migrates here, on 18 a superuser: each of both, on one of both."""
    return cluster.execute("show server_version_num")[0][0] < "160000"


def taken(names: Iterable[str]) -> list:
    """(road, name) of all of them; of each name one road, in turn, is not only torture's."""
    return [pytest.param(road, name, marks=() if place % len(ROADS) == at else pytest.mark.torture)
            for at, road in enumerate(ROADS) for place, name in enumerate(names)]


@pytest.fixture(scope="module")
def makers(request: pytest.FixtureRequest, cluster: Database, template: Database,
           tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Whole]]:
    """A project for this road, and another one whenever a test has left it in disorder."""
    kind = migrated_by_owner if is_old(cluster) else migrated_by_superuser

    def one_after_the_other() -> Iterator[Whole]:
        while True:
            with kind(cluster, template) as database:
                made = Whole(tmp_path_factory.mktemp("sixth") / "project", database, Database(
                    cluster.parts | {"dbname": database.name}), request.param)
                while made.is_clean:
                    yield made

    made = one_after_the_other()
    yield made
    made.close()


@pytest.mark.parametrize("roads", [ROADS[:1], pytest.param(ROADS[1:], marks=pytest.mark.torture)],
                         ids=" and ".join)
def test_a_data_migration_gives_the_same_rows_whoever_migrates(
        cluster: Database, template: Database, tmp_path: Path, roads: tuple[str, ...]):
    kind = migrated_by_superuser if is_old(cluster) else migrated_by_owner  # the other one
    with kind(cluster, template) as database:
        whole = Whole(tmp_path / "project", database,
                      Database(cluster.parts | {"dbname": database.name}), "")
        for whole.road in roads:
            there_and_back(whole, "layout")


@pytest.mark.parametrize(("makers", "name"), taken(COMMANDS), indirect=["makers"])
def test_it_goes_up_and_down_again(makers: Iterator[Whole], name: str):
    there_and_back(next(makers), name)


@pytest.mark.parametrize("makers", ROADS, indirect=True)
def test_an_index_that_was_begun_is_finished_on_every_road(makers: Iterator[Whole]):
    """Somebody was killed after the tenth statement, and again in mid-rollback."""
    whole = next(makers)
    before, whole.is_clean = whole.read_facts(), False
    migration = whole.write("by_direction")
    for way in ("apply", "rollback"):
        begun = stepwise.split(migration.script(way))[:{"apply": 10, "rollback": 4}[way]]
        with whole.database.connect() as conn:
            for _, statement in begun:
                conn.execute(statement)
            conn.execute("reset all")
            with pytest.raises(psycopg.Error, match="the database is not what was accepted") as met:
                conn.execute("select security.expect_inventory()")
            assert f"{migration.id} began and did not finish" in met.value.diag.message_hint
        whole.take(migration, way)
        if way == "rollback":
            whole.remove(migration.id)
        whole.verify()
    assert whole.read_facts() == before
    assert whole.superuser.execute("select * from security.unfinished") == []
    whole.is_clean = True


@pytest.mark.parametrize("makers", ROADS, indirect=True)
def test_a_body_with_a_syntax_error_is_refused_on_every_road(makers: Iterator[Whole]):
    whole = next(makers)
    before, whole.is_clean = whole.read_facts(), False
    migration = whole.write("count_words")
    part = migration.folder / "count_words.sql"
    part.write_text(part.read_text("utf-8").replace("$func$\nselect ", "$func$\nselect from ", 1))
    with pytest.raises(Exception, match=r"the body of core.count_words\(text\): syntax"):
        whole.take(migration, "apply")
    whole.remove(migration.id)
    whole.verify()
    assert whole.read_facts() == before
    whole.is_clean = True


def there_and_back(whole: Whole, name: str) -> None:
    """Applies a migration, looks at it, rolls it back; every fact is then as it was."""
    before, whole.is_clean = whole.read_facts(), False
    migration = whole.write(name)
    whole.take(migration, "apply")
    whole.verify()
    with whole.superuser.connect() as conn, conn.transaction(force_rollback=True):
        AFTERWARDS[name](conn, whole)
    whole.take(migration, "rollback")
    whole.remove(migration.id)
    whole.verify()
    assert whole.read_facts() == before
    whole.is_clean = True


def test_each_migration_of_the_docs_says_what_must_be_true_of_it():
    assert COMMANDS.keys() == AFTERWARDS.keys() == {name for name, _, _ in BLOCK.findall(DOCS)}
    assert DOCS.count("```sql") == len(BLOCK.findall(DOCS)) == 3 * len(COMMANDS)


def test_each_migration_of_the_docs_keeps_every_rule(tmp_path: Path):
    root = tmp_path / "copy"
    copy(root, "README.md", "pyproject.toml", ".gitignore", ".squawk.toml", "Makefile")
    for command in COMMANDS.values():
        subprocess.run([sys.executable, "runner.py", *command], cwd=root, check=True,
                       capture_output=True, env={**os.environ, "PYTHONPATH": str(root)})
    for name in COMMANDS:
        (folder,) = root.glob(f"sql/[0-9]*_{name}")
        fill_in(folder, name)
    assert said_of(root, set(COMMANDS)) == []
