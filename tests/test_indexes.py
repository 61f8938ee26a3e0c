"""Each index of core earns what it costs: the query in its comment, as a bot sends it, uses it and
reads several times as much without it; and no index is another's beginning."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from conftest import Database, clone
from core_rows import make_bot
from test_rls_plans import nodes

pytest_plugins = "core_rows"

# index: (how it goes, what a bot asks; $1 is a profile_id, $2 a conversation_id)
QUERIES = {
    "girls_profiles_pk": (
        "constraint", "select name from core.girls_profiles where profile_id = $1"),
    "girls_profiles_telegram_uq": (
        "constraint", "select profile_id from core.girls_profiles where telegram_id = 7000"),
    "girls_profiles_chat_idx": (
        "index", "select profile_id from core.girls_profiles where chat_id = 7000"),
    "conversations_pk": (
        "constraint", "select metadata from core.conversations where conversation_id = $2"),
    "conversations_chat_uq": (
        "constraint", "select conversation_id from core.conversations where chat_id = 7000"),
    "conversations_profile_idx": (
        "index", "select conversation_id from core.conversations where profile_id = $1"),
    "conversation_totals_pk": (
        "constraint", "select message_count from core.conversation_totals"
                      " where conversation_id = $2"),
    "conversation_totals_last_idx": (
        "index", "select conversation_id, message_count from core.conversation_totals"
                 " order by last_message_at desc nulls last limit 50"),
    "messages_pk": ("constraint", "select message_id, body from core.messages"
                                  " where conversation_id = $2 order by message_id desc limit 50"),
    "messages_sent_at_idx": (
        "index", "select count(*), max(body) from core.messages"
                 " where sent_at >= '2025-02-19 12:00+00'"),
    "bot_metrics_pk": ("constraint", "select * from core.bot_metrics where day >= '2035-01-01'"),
}
# One row for each bot, or for none, or folded away soon: keys that only keep them apart, as do the
# messengers' ids, which no message here has.
SMALL = {"bots_pk", "bot_names_pk", "bot_names_name_uq", "error_code_pk", "error_code_name_uq",
         "leaf_hook_pk", "message_kind_pk", "messages_external_uq", "bot_table_pk",
         "bot_table_place_uq", "stale_days_pk",
         "uncounted_pk"}


@dataclass(frozen=True)
class Asking:
    """A superuser's session, the bot that asks in it, and a conversation of that bot's."""

    conn: psycopg.Connection
    bot: int
    profile: int
    conversation: int

    def explain(self, query: str) -> dict:
        """The plan of a bot's query, with what it has read."""
        query = query.replace("$1", str(self.profile)).replace("$2", str(self.conversation))
        self.conn.execute(f"set local role bot_{self.bot}")
        plan = self.conn.execute(f"explain (analyze, buffers, format json) {query}").fetchone()
        self.conn.execute("reset role")
        return plan[0][0]["Plan"]


def pages(plan: dict) -> int:
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.fixture(scope="module")
def asking(cluster: Database, template: Database) -> Iterator[Asking]:
    """Two bots with 8,000 contacts each, their messages spread over 50 days."""
    for database in clone(cluster, template.name):
        bots = [make_bot(database)[0] for _ in range(2)]
        with database.connect() as conn:
            conn.execute("set jit = off")
            for bot in bots:
                conn.execute(f"""
                    insert into core.girls_profiles (bot_id, telegram_id, chat_id)
                    select {bot}, i, i from generate_series(1, 8000) as i;
                    insert into core.conversations (bot_id, profile_id, chat_id, started_at)
                    select bot_id, profile_id, chat_id, '2025-01-01' from core.girls_profiles
                    where bot_id = {bot};
                    insert into core.messages (bot_id, conversation_id, direction, body, sent_at)
                    select bot_id, conversation_id, 'in', 'hello ' || n,
                           timestamptz '2025-01-01 00:00+00'
                           + (conversation_id * 7919 + n * 1013) % 72000 * interval '1 minute'
                    from core.conversations, generate_series(1, 4) as n where bot_id = {bot}
                    order by 5;
                    insert into core.bot_metrics (bot_id, day)
                    select {bot}, date '2015-01-01' + i from generate_series(1, 7500) as i""")
            conn.execute("select core_upkeep.fold_counts(b, 100000) from unnest(%s) as b", [bots])
            conn.execute("vacuum analyze")
            chosen = conn.execute("select profile_id, conversation_id from core.conversations"
                                  " where bot_id = %s and chat_id = 7000", [bots[0]]).fetchone()
            yield Asking(conn, bots[0], *chosen)


def used(conn: psycopg.Connection, plan: dict) -> set[str]:
    """The root indexes whose leaves a plan uses."""
    names = [node["Index Name"] for node in nodes(plan) if "Index Name" in node]
    return {name for name, in conn.execute(
        "select coalesce(p.relname, c.relname)"
        " from pg_class as c left join pg_inherits as i on i.inhrelid = c.oid"
        " left join pg_class as p on p.oid = i.inhparent where c.relname = any (%s)", [names])}


@pytest.mark.parametrize("index", QUERIES)
def test_an_index_is_used_for_what_it_is_there_for_and_missed_when_it_goes(
        asking: Asking, index: str):
    kind, query = QUERIES[index]
    conn = asking.conn
    with conn.transaction(force_rollback=True):
        asking.explain(query)  # what is read once is not counted: the catalogs
        plan = asking.explain(query)
        assert used(conn, plan) == {index}
        if kind == "index":
            conn.execute(f"drop index core.{index}")
        else:
            table = index.rsplit("_", 2 if index.endswith("_uq") else 1)[0]
            conn.execute(f"alter table core.{table} drop constraint {index} cascade")
        asking.explain(query)
        without = asking.explain(query)
        assert without["Total Cost"] > 2 * plan["Total Cost"]
        assert pages(without) > 2 * pages(plan), (pages(plan), pages(without))


ROOTS = """
    select c.relname, x.indrelid::regclass::text, x.indkey::smallint[], x.indpred is not null
    from pg_index as x
    join pg_class as c on c.oid = x.indexrelid
    where c.relnamespace = any ('{core,performance,json_import,audit}'::regnamespace[])"""


def test_every_index_of_core_is_tried_here(asking: Asking):
    found = {name for name, table, *_ in asking.conn.execute(ROOTS) if table.startswith("core.")}
    assert found == QUERIES.keys() | SMALL


def redundant(conn: psycopg.Connection) -> list[tuple[str, str]]:
    """Indexes whose columns are the first ones of another."""
    indexes = conn.execute(ROOTS).fetchall()
    return [(one, other) for one, table, columns, partial in indexes
            for other, same, more, _ in indexes
            if one != other and table == same and not partial
            and 0 not in columns and more[:len(columns)] == columns]


def test_no_index_is_the_beginning_of_another(asking: Asking):
    conn = asking.conn
    assert redundant(conn) == []
    with conn.transaction(force_rollback=True):
        conn.execute("create index needless on core.messages (bot_id, conversation_id)")
        assert sorted(redundant(conn)) == [("needless", "messages_external_uq"),
                                           ("needless", "messages_pk")]


def test_the_comment_of_an_index_says_its_columns(asking: Asking):
    for index, (kind, _) in QUERIES.items():
        if kind == "index":
            comment, columns = asking.conn.execute(
                "select obj_description(c.oid, 'pg_class'), array_agg(a.attname::text)"
                " from pg_class as c join pg_attribute as a on a.attrelid = c.oid"
                " where c.oid = %s::regclass group by c.oid", [f"core.{index}"]).fetchone()
            assert all(column in comment for column in columns), index
