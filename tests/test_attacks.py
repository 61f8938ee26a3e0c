"""Attacks on a database with three bots, one test per case of attacks.py: no bot sees, changes or
counts what is another's, and whoever hands out rights hands out no more than they may."""

from collections.abc import Iterator

import attack_runner
import pytest
from attack_runner import World
from attacks import ATTACKS, Attack
from conftest import Database, clone


@pytest.fixture(scope="module")
def world(cluster: Database, template: Database) -> Iterator[World]:
    for database in clone(cluster, template.name):
        with attack_runner.opened(database) as world:
            yield world


@pytest.mark.parametrize("attack", ATTACKS, ids=[a.name.replace(" ", "_") for a in ATTACKS])
def test_(world: World, attack: Attack):
    assert attack_runner.run(world, attack) == []
