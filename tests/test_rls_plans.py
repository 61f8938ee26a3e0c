"""What the planner makes of the policies: one leaf, a guard, its estimates; and their bench."""

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from conftest import Database, clone, roomy_folder
from core_rows import make_bot

from bench import race, rls_bench
from bench.measure import laboratory
from fleet.screen import Screen

# What a bot asks without naming itself: statement, the table that it reads, the value of $1.
READS = {
    "its own row": ("select name, status from core.bots", "bots", ""),
    "a profile by telegram_id": (
        "select profile_id, name from core.girls_profiles where telegram_id = $1",
        "girls_profiles", "7"),
    "a contact of a chat": (
        "select profile_id from core.girls_profiles where chat_id = $1", "girls_profiles", "7"),
    "all contacts": ("select * from core.girls_profiles", "girls_profiles", ""),
    "the list of conversations": (
        "select conversation_id, chat_id from core.conversations", "conversations", ""),
    "the conversations of a contact": (
        "select conversation_id from core.conversations where profile_id = $1", "conversations",
        "7"),
    "the last messages": (
        "select message_id, body from core.messages where conversation_id = $1"
        " order by message_id desc limit 50", "messages", "7"),
    "messages by time": (
        "select count(*) from core.messages where sent_at >= $1", "messages", "2025-01-02"),
    "all messages": ("select * from core.messages", "messages", ""),
    "the days": ("select day, messages_in from core.bot_metrics where day >= $1", "bot_metrics",
                 "2020-01-05"),
}
JOIN = ("select m.body from core.conversations"
        " join core.messages as m using (bot_id, conversation_id) where chat_id = 7")
SIZES = (1000, 30, 1)  # contacts, conversations, messages and days of each bot


@dataclass(frozen=True)
class Fleet:
    """A database with bots of these sizes; `bots` is (bot_id, the database as seen by it)."""

    database: Database
    bots: tuple[tuple[int, Database], ...]

    def remainder(self, bot: int) -> int:
        return self.database.execute(
            "select r from generate_series(0, 9) as r"
            f" where satisfies_hash_partition('core.bots'::regclass, 10, r, {bot}::bigint)")[0][0]


@pytest.fixture(scope="module")
def fleet(cluster: Database, template: Database) -> Iterator[Fleet]:
    for database in clone(cluster, template.name):
        bots = tuple(make_bot(database) for _ in SIZES)
        with database.connect() as conn:
            for (bot, _), size in zip(bots, SIZES, strict=True):
                conn.execute(f"""
                    insert into core.girls_profiles (bot_id, telegram_id, chat_id)
                    select {bot}, i, i from generate_series(1, {size}) as i;
                    insert into core.conversations (bot_id, profile_id, chat_id, started_at)
                    select bot_id, profile_id, chat_id, '2025-01-01' from core.girls_profiles
                    where bot_id = {bot};
                    insert into core.messages (bot_id, conversation_id, direction, body, sent_at)
                    select bot_id, conversation_id, 'in', 'hello', '2025-01-01'
                    from core.conversations where bot_id = {bot};
                    insert into core.bot_metrics (bot_id, day)
                    select {bot}, date '2020-01-01' + i from generate_series(1, {size}) as i""")
            conn.execute("analyze")
        yield Fleet(database, bots)


def nodes(plan: dict) -> Iterator[dict]:
    """A plan's nodes, from the top."""
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def explain(conn: psycopg.Connection, statement: str) -> dict:
    """The plan of a statement."""
    return conn.execute(f"explain (format json, verbose) {statement}").fetchone()[0][0]["Plan"]


def check(plan: dict, bot: int, leaves: set[str]) -> None:
    """The plan reads just these leaves, below nothing that gathers leaves, and is guarded."""
    found = list(nodes(plan))
    assert {(n["Schema"], n["Relation Name"]) for n in found if "Relation Name" in n} == {
        ("core_partitions", leaf) for leaf in leaves}
    assert not {"Append", "Merge Append"} & {n["Node Type"] for n in found}
    assert "Subplans Removed" not in str(plan)  # pruned while planning, not when it starts
    guards = [n["One-Time Filter"] for n in found if "One-Time Filter" in n]
    assert guards and set(guards) == {
        f"COALESCE((CURRENT_USER = 'bot_{bot}'::name), false)"}
    assert "policy_" not in str(plan)  # folded, both halves


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("place", range(len(SIZES)), ids=lambda place: f"bot of {SIZES[place]}")
def test_a_bots_read_is_planned_for_one_leaf_behind_a_guard(fleet: Fleet, place: int, read: str):
    bot, seen = fleet.bots[place]
    statement, table, value = READS[read]
    with seen.connect() as conn:
        plan = explain(conn, statement.replace("$1", f"'{value}'"))
        check(plan, bot, {f"{table}_p{fleet.remainder(bot)}"})


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("mode", ["auto", "force_generic_plan", "force_custom_plan"])
def test_a_prepared_read_is_planned_for_one_leaf_too(fleet: Fleet, mode: str, read: str):
    bot, seen = fleet.bots[0]
    statement, table, value = READS[read]
    execute = f"execute it ('{value}')" if value else "execute it"
    with seen.connect() as conn:
        conn.execute(f"set plan_cache_mode = {mode}")
        conn.execute(f"prepare it as {statement}")
        for _ in range(7):  # auto makes up its mind after five
            conn.execute(execute)
        plan = explain(conn, execute)
        check(plan, bot, {f"{table}_p{fleet.remainder(bot)}"})
        if mode == "force_generic_plan":
            assert ("$1" in str(plan)) == bool(value)


def test_a_generic_plan_of_one_bot_is_made_anew_for_another(fleet: Fleet):
    (first, _), (second, _) = fleet.bots[:2]
    with fleet.database.connect() as conn:
        conn.execute("set plan_cache_mode = force_generic_plan")
        conn.execute("prepare it as select * from core.conversations")
        for bot, size in ((first, SIZES[0]), (second, SIZES[1]), (first, SIZES[0])):
            conn.execute(f"set role bot_{bot}")
            check(explain(conn, "execute it"), bot, {f"conversations_p{fleet.remainder(bot)}"})
            assert conn.execute("execute it").rowcount == size


def test_a_join_reads_one_leaf_of_each_table(fleet: Fleet):
    bot, seen = fleet.bots[1]
    leaf = f"_p{fleet.remainder(bot)}"
    with seen.connect() as conn:
        plan = explain(conn, JOIN)
        check(plan, bot, {f"conversations{leaf}", f"messages{leaf}"})


@pytest.mark.parametrize("mode", ["auto", "force_generic_plan"])
@pytest.mark.parametrize("table", ["girls_profiles", "conversations", "messages", "bot_metrics"])
def test_the_estimates_are_those_of_the_bots_leaf(fleet: Fleet, table: str, mode: str):
    for bot, seen in fleet.bots:
        leaf = f"core_partitions.{table}_p{fleet.remainder(bot)}"
        with seen.connect() as conn:
            conn.execute(f"set plan_cache_mode = {mode}")
            conn.execute(f"prepare it as select * from core.{table}")
            bots = explain(conn, "execute it")["Plan Rows"]
        with fleet.database.connect() as conn:
            owners = explain(conn, f"select * from {leaf} where bot_id = {bot}")["Plan Rows"]
        size = SIZES[[b for b, _ in fleet.bots].index(bot)]
        assert bots == owners == pytest.approx(size, rel=0.1, abs=1)


def test_whoever_is_no_bot_gets_a_plan_that_reads_nothing(fleet: Fleet):
    with fleet.database.connect() as conn:
        conn.execute("set role app_bot")
        plan = explain(conn, "select * from core.messages")
        assert not [n for n in nodes(plan) if "Relation Name" in n]
        assert plan["One-Time Filter"] == "false"


# The bench -----------------------------------------------------------------------


def test_the_bench_has_a_row_for_all_that_it_compares_and_fails_when_rows_differ(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    if binaries := os.environ.get("TEST_PG_BIN"):
        monkeypatch.setenv("PG_BIN", binaries)
    monkeypatch.setattr(tempfile, "tempdir", roomy_folder())
    monkeypatch.setattr(race, "SERIES", 0)  # ten calls each
    monkeypatch.setattr(rls_bench, "BOTS", 10)
    monkeypatch.setattr(rls_bench, "PLACES", (1, 3))
    with laboratory((*rls_bench.SETTINGS, ("fsync", "off"))) as lab:
        rls_bench.prepare(lab, 2000)
        assert rls_bench.run(lab, 1, Screen()) == 0
        lines = capsys.readouterr().out.splitlines()
        for operation in rls_bench.OPERATIONS:
            for protocol in (rls_bench.PREPARED, rls_bench.SIMPLE):
                for contender in rls_bench.CONTENDERS:
                    assert sum(re.match(
                        rf"{operation.name} +{protocol} +{re.escape(contender.name)}  .*\d$",
                        line.rstrip()) is not None for line in lines) == 1
                assert sum(re.match(rf"{operation.name}, {protocol} +at least .* (NOT )?REACHED *$",
                                    line, re.I) is not None for line in lines) == 1
        with lab.connect("inline") as conn:
            conn.execute("alter policy own_rows on core.bot_metrics using (true)")
        assert rls_bench.run(lab, 1, Screen()) == 1
        said = capsys.readouterr().err
        assert "current_setting() returns other rows for 30 days, bot_metrics (simple" in said
        assert said.count("warning") == said.count("warning: current_setting() returns") > 0
