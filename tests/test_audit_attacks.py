"""Attempts to escape the audit, to read it and to alter it, one test per case of audit_attacks.py
and tamper_deeds.py: where a superuser and where a mere owner of the database migrated."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import attack_runner
import pytest
from attack_runner import World
from attacks import Attack, Rows
from audit_attacks import AUDIT_ATTACKS, NAMED, PROBLEMS
from conftest import Database, clone
from core_rows import migrator, owner_database
from tamper_deeds import DEEDS

INSTALLED = ("superuser", "owner")


def seal(world: World) -> None:
    """Two seals on the log, and entries of later; what the cases call them."""
    conn = world.session("superuser")
    for _ in range(2):
        conn.execute("select audit.log_event('test', 'info', '{}')")
        world.names["seal"], world.names["root"] = map(str, conn.execute(
            "select seal_id, root from audit.seal()").fetchone())
    conn.execute("select audit.log_event('test', 'info', '{}')")
    for name, bot in (("entry", "me"), ("theirs", "same")):
        world.names[name], request = map(str, conn.execute(
            "select entry_id, correlation_id from audit.events where bot_id = %s"
            " and table_name = 'core.girls_profiles' order by entry_id limit 1",
            [world.names[bot]]).fetchone())
        world.names["their_request"] = request
    world.names["bot_login"] = f"bot_{world.names['me']}"
    world.rows, world.catalogs = attack_runner.seen(world)


@pytest.fixture(scope="module")
def worlds(cluster: Database, template: Database) -> Iterator[dict[str, World]]:
    """Three bots and all kinds of logins in both databases, their changes sealed."""
    with ExitStack() as stack:
        owner = stack.enter_context(owner_database(cluster))
        with owner.connect() as conn:
            migrator(conn).migrate()
        made = {
            "superuser": stack.enter_context(attack_runner.opened(
                stack.enter_context(contextmanager(clone)(cluster, template.name)))),
            "owner": stack.enter_context(attack_runner.opened(
                Database(cluster.parts | {"dbname": owner.name}), owner))}
        for world in made.values():
            seal(world)
        yield made


@pytest.mark.parametrize("installed", INSTALLED)
@pytest.mark.parametrize("attack", AUDIT_ATTACKS + DEEDS, ids=lambda a: a.name)
def test_attempt(worlds: dict[str, World], installed: str, attack: Attack):
    assert attack_runner.run(worlds[installed], attack) == []


def test_attempts_are_told_apart_by_their_names():
    names = [case.name for case in AUDIT_ATTACKS + DEEDS]
    assert sorted({n for n in names if names.count(n) > 1}) == []
    assert len(NAMED + DEEDS) >= 100


def test_every_kind_of_problem_is_named_in_a_case(database: Database):
    assert {problem for case in NAMED + DEEDS if isinstance(case.gives, Rows)
            for problem in case.gives.lines} == PROBLEMS
    source = database.execute(
        "select string_agg(prosrc, '') from pg_proc where pronamespace = 'audit'::regnamespace"
        " and proname ~ '^(check_|verify_seals$)'")[0][0]
    assert [problem for problem in PROBLEMS
            if "'" + problem.replace("'", "''") not in source] == []
