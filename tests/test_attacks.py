"""Attacks on a database with three bots, one test per case of attacks.py: no bot sees, changes or
counts what is another's, and whoever hands out rights hands out no more than they may."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import attack_runner
import pytest
from attack_runner import World
from attacks import ATTACKS, DROPS_POLICIES, SISTERS, Attack
from conftest import Database, clone
from core_rows import MIGRATIONS, make_bot, migrator, owner_database
from role_matrix import CELLS, Cell

from fleet.rollback import undo

INSTALLED = ("superuser", "owner")


@pytest.fixture(scope="module")
def worlds(cluster: Database, template: Database) -> Iterator[dict[str, World]]:
    """Three bots and all kinds of logins, where a superuser and where a mere owner migrated, and
    a sister of both: a third database with a bot and an admin of its own."""
    with ExitStack() as stack:
        def cloned() -> Database:
            return stack.enter_context(contextmanager(clone)(cluster, template.name))

        sister = cloned()
        owner = stack.enter_context(owner_database(cluster))
        with owner.connect() as conn:
            migrator(conn).migrate()
        made = {
            "superuser": stack.enter_context(attack_runner.opened(cloned())),
            "owner": stack.enter_context(attack_runner.opened(
                Database(cluster.parts | {"dbname": owner.name}), owner))}
        made["superuser"].logins["sister_owner"] = owner
        bot, _ = make_bot(sister)
        sister.execute("select security.create_admin(%s)", [f"of_{sister.name}"])
        for world in made.values():
            world.names |= {"sister": sister.name, "sister_bot": str(bot),
                            "sister_admin": f"of_{sister.name}"}
        for world in made.values():  # roles are the cluster's: each one's maker changed them
            world.rows, world.catalogs = attack_runner.seen(world)
        yield made


def on_each(cases: list) -> list:
    """Every case on both databases, but those that are about one."""
    return [pytest.param(installed, case, id=f"{installed}: {case.name}")
            for installed in INSTALLED for case in cases if case.installed in ("", installed)]


@pytest.mark.parametrize(("installed", "attack"), on_each([*ATTACKS, *SISTERS]))
def test_attack(worlds: dict[str, World], installed: str, attack: Attack):
    assert attack_runner.run(worlds[installed], attack) == []


@pytest.mark.parametrize(("installed", "cell"), on_each(CELLS))
def test_cell_of_the_matrix(worlds: dict[str, World], installed: str, cell: Cell):
    assert attack_runner.check_cell(worlds[installed], cell) == []


def test_a_sisters_rollback_leaves_the_roles_and_whoever_uses_them(
        worlds: dict[str, World], database: Database):
    make_bot(database)
    with database.connect() as conn:
        undo(migrator(conn), MIGRATIONS, discard_data=True)
    for world in worlds.values():
        assert attack_runner.seen(world) == (world.rows, world.catalogs)
        with world.logins["bot"].connect() as conn:
            assert conn.execute("select distinct bot_id::text from core.messages").fetchall() == [
                (world.names["me"],)]


def test_cases_are_told_apart_by_their_names():
    names = [case.name for case in (*ATTACKS, *SISTERS)]
    assert sorted({n for n in names if names.count(n) > 1}) == []
    assert len(names) >= 160


# A wall taken down must let something through: each of these makes the cases that name it fail.
WEAKENED = {
    "a policy without its first half":
        ("alter policy own_rows on core.messages using (current_user = security.policy_user())",
         "a bot reads its own messages and no other"),
    "a policy without its second half":
        ("alter policy own_rows on core.messages using (bot_id = security.policy_bot_id())",
         "a cursor that was opened but not read shows the next bot nothing"),
    "a policy that a level can drop":
        ("alter policy own_rows on core.messages to app_bot",
         "DROP OWNED takes no policy and no right from all bots"),
    "a right on a leaf":
        ("grant usage on schema core_partitions to app_bot;"
         " grant select on all tables in schema core_partitions to app_bot;"
         " alter table core_partitions.messages_{me_leaf} disable row level security",
         "a bot reads no leaf by its name"),
    "a right to delete":
        ("grant delete on core.messages to app_bot", "a bot deletes no message"),
    "temporary tables":
        ("grant temporary on database {db} to public", "a bot makes no temporary table"),
    "a table that is not forced":
        ("alter table core.messages no force row level security", "the owner reads no table"),
}


@pytest.mark.parametrize("weakening", WEAKENED)
def test_the_table_finds(database: Database, weakening: str):
    statement, name = WEAKENED[weakening]
    case = next(c for c in ATTACKS if c.name == name)
    with attack_runner.opened(database) as world:
        assert attack_runner.run(world, case) == []
        world.session("superuser").execute(world.fill_in(statement))
        world.catalogs = attack_runner.seen(world)[1]
        # a server that takes no policy needs no wall there
        is_found = weakening != "a policy that a level can drop" or world.session(
            "superuser").execute(f"select {DROPS_POLICIES}").fetchone()[0]
        assert (attack_runner.run(world, case) != []) == is_found
