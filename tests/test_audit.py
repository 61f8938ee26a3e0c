"""What the audit log holds: every kind of statement, who, what was and what is, and what it leaves.

Property: replaying audit.events rebuilds the tables.
"""

import json
import os
import random
import secrets

import psycopg
import pytest
from conftest import Database
from core_rows import (
    TABLES,
    add_bot,
    add_conversation,
    failed_checks,
    fill,
    make_bot,
    record,
    refused,
)
from psycopg.types.json import Jsonb

pytest_plugins = "core_rows"
SEED = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
ROUNDS = 400 if os.environ.get("TORTURE") else 60
KEYS = {"bots": "bot_id", "girls_profiles": "profile_id", "conversations": "conversation_id",
        "messages": "message_id", "bot_metrics": "day"}


def events(conn: psycopg.Connection, bot: int | None = None, table: str | None = None
           ) -> list[dict]:
    """The events of a bot, or of one of its tables, in order."""
    rows = conn.execute(
        "select to_jsonb(e) from audit.events as e where (%(bot)s::bigint is null or bot_id ="
        " %(bot)s) and (%(table)s::text is null or table_name = 'core.' || %(table)s)"
        " order by entry_id, place", {"bot": bot, "table": table}).fetchall()
    return [row for row, in rows]


def live(conn: psycopg.Connection, bot: int, table: str) -> dict[str, dict]:
    """The rows of a bot's table by their key, as JSON."""
    key = KEYS[table]
    return {str(row[key]): row for row, in conn.execute(
        f"select to_jsonb(t) from core.{table} as t where bot_id = %s", [bot]).fetchall()}


@pytest.fixture
def whole(conn: psycopg.Connection) -> psycopg.Connection:
    """Policy `changed` for messages as well: what is logged then rebuilds them."""
    conn.execute("select audit.enable('core.messages', 'changed')")
    return conn


# Statements --------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_insert_update_and_delete_of_every_table_are_recorded(
        whole: psycopg.Connection, table: str):
    bot = fill(whole)
    column, value = {"bots": ("name", "x"), "girls_profiles": ("name", "x"),
                     "conversations": ("metadata", {"a": 1}), "messages": ("body", "x"),
                     "bot_metrics": ("messages_in", 3)}[table]
    row, = live(whole, bot, table).values()
    given = Jsonb(value) if isinstance(value, dict) else value
    assert whole.execute(f"update core.{table} set {column} = %s where bot_id = %s",
                         [given, bot]).rowcount == 1
    changed, = live(whole, bot, table).values()
    for child in reversed(TABLES):
        whole.execute(f"delete from core.{child} where bot_id = %s", [bot])
    insert, update, delete = events(whole, bot, table)
    assert [e["operation"] for e in (insert, update, delete)] == ["INSERT", "UPDATE", "DELETE"]
    assert insert["new_values"] == row
    assert update["new_values"][column] == value and update["old_values"][column] == row[column]
    assert set(update["new_values"]) <= {column, "updated_at"}
    assert delete["old_values"] == changed
    assert insert["old_values"] is None and delete["new_values"] is None
    assert {insert["row_key"][KEYS[table]], update["row_key"][KEYS[table]],
            delete["row_key"][KEYS[table]]} == {row[KEYS[table]]}


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 4096, 4097, 9000])
def test_as_many_events_as_rows_however_many_a_statement_changes(
        whole: psycopg.Connection, rows: int):
    bot = add_bot(whole)
    chat = add_conversation(whole, bot, 1)
    whole.execute("insert into core.messages (bot_id, conversation_id, direction, body)"
                  " select %s, %s, 'in', 'message ' || n from generate_series(1, %s) as n",
                  [bot, chat, rows])
    before = live(whole, bot, "messages")
    whole.execute("update core.messages set body = body || '!', metadata = case when message_id"
                  " %% 3 = 0 then '{\"a\": 1}'::jsonb end where bot_id = %s", [bot])
    after = live(whole, bot, "messages")
    whole.execute("delete from core.messages where bot_id = %s", [bot])
    found = {operation: [e for e in events(whole, bot, "messages") if e["operation"] == operation]
             for operation in ("INSERT", "UPDATE", "DELETE")}
    assert {o: len(e) for o, e in found.items()} == dict.fromkeys(found, rows)
    assert {e["is_block"] for e in found["INSERT"]} == {rows > 8}
    assert {str(e["row_key"]["message_id"]): e["new_values"] for e in found["INSERT"]} == before
    assert {str(e["row_key"]["message_id"]): e["old_values"] for e in found["DELETE"]} == after
    for event in found["UPDATE"]:
        was, now = (rows[str(event["row_key"]["message_id"])] for rows in (before, after))
        changed = {name for name in now if now[name] != was[name]}
        assert event["new_values"] == {name: now[name] for name in changed}
        assert event["old_values"] == {name: was[name] for name in changed}


def test_a_statement_over_several_bots_has_an_entry_for_each(conn: psycopg.Connection):
    bots = [add_bot(conn) for _ in range(3)]
    conn.execute("insert into core.bot_metrics (bot_id, day) select b, d from unnest(%s) as b,"
                 " generate_series(timestamp '2025-01-01', '2025-01-20', '1 day') as d", [bots])
    for bot in bots:
        found = events(conn, bot, "bot_metrics")
        assert len(found) == 20 and {e["bot_id"] for e in found} == {bot}
        assert {e["new_values"]["bot_id"] for e in found} == {bot}


MERGE = """merge into core.bot_metrics as m
    using (values (%(bot)s::bigint, date '2025-01-01'), (%(bot)s, '2025-01-02')) as v (b, d)
    on m.bot_id = v.b and m.day = v.d
    when matched then update set messages_in = 9
    when not matched then insert (bot_id, day) values (v.b, v.d)"""
CONFLICT = """insert into core.bot_metrics (bot_id, day)
    values (%(bot)s, '2025-01-01'), (%(bot)s, '2025-01-02')
    on conflict (bot_id, day) do update set messages_in = 9"""


@pytest.mark.parametrize("statement", [MERGE, CONFLICT], ids=["merge", "on conflict"])
def test_one_statement_that_inserts_and_updates_is_recorded_as_both(
        conn: psycopg.Connection, statement: str):
    bot = fill(conn)
    conn.execute(statement, {"bot": bot})
    made, *rest = events(conn, bot, "bot_metrics")
    assert made["operation"] == "INSERT"
    assert sorted((e["operation"], e["row_key"]["day"]) for e in rest) == [
        ("INSERT", "2025-01-02"), ("UPDATE", "2025-01-01")]


WAYS = {
    "update": "update core.{t} set created_at = created_at - interval '1 s' where bot_id = {b}",
    "update from": "update core.{t} as t set created_at = t.created_at - interval '1 s'"
                   " from core.{t} as s where t.bot_id = {b} and s.bot_id = {b}"
                   " and s.{k} = t.{k}",
    "with": "with w as (update core.{t} set created_at = created_at - interval '1 s'"
            " where bot_id = {b} returning 1) select count(*) from w",
    "merge": "merge into core.{t} as t using (select bot_id as b, {k} as k from core.{t}"
             " where bot_id = {b}) as s on t.bot_id = s.b and t.{k} = s.k"
             " when matched then update set created_at = t.created_at - interval '1 s'",
    "on conflict": "insert into core.{t} {o} select * from core.{t} where bot_id = {b}"
                   " on conflict ({p}) do update set created_at = {t}.created_at - interval '1 s'",
    "replica": "set local session_replication_role = replica; update core.{t}"
               " set created_at = created_at - interval '1 s' where bot_id = {b}",
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("way", WAYS)
def test_an_update_of_any_kind_is_recorded(conn: psycopg.Connection, table: str, way: str):
    bot = fill(conn)
    primary = {"bots": "bot_id", "messages": "bot_id, conversation_id, message_id"}.get(
        table, f"bot_id, {KEYS[table]}")
    before = len(events(conn, bot, table))
    conn.execute(WAYS[way].format(
        t=table, b=bot, k=KEYS[table], p=primary,
        o="" if table == "bot_metrics" else "overriding system value"))
    event, = events(conn, bot, table)[before:]
    assert event["operation"] == "UPDATE" and "created_at" in event["old_values"]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("way", ["delete", "merge", "with"])
def test_a_deletion_and_a_copy_back_are_recorded(
        conn: psycopg.Connection, table: str, way: str):
    bot = fill(conn)
    kept = {}
    for one in reversed(TABLES[TABLES.index(table):]):
        rows = conn.execute(f"select * from core.{one} where bot_id = %s", [bot])
        kept[one] = [c.name for c in rows.description], rows.fetchall()
        conn.execute({
            "delete": f"delete from core.{one} where bot_id = {bot}",
            "merge": f"merge into core.{one} as t using (values ({bot}::bigint)) as s (b)"
                     " on t.bot_id = s.b when matched then delete",
            "with": f"with w as (delete from core.{one} where bot_id = {bot} returning 1)"
                    " select count(*) from w"}[way])
    before = len(events(conn, bot, table))
    assert events(conn, bot, table)[-1]["operation"] == "DELETE"
    columns, rows = kept[table]
    with conn.cursor().copy(f"copy core.{table} ({', '.join(columns)}) from stdin") as copy:
        for row in rows:
            copy.write_row([Jsonb(v) if isinstance(v, dict) else v for v in row])
    event, = events(conn, bot, table)[before:]
    assert event["operation"] == "INSERT"


def test_replica_role_hides_nothing(conn: psycopg.Connection):
    bot = add_bot(conn)
    conn.execute("set local session_replication_role = replica")
    conn.execute("insert into core.bot_metrics (bot_id, day) values (%s, '2025-01-01')", [bot])
    assert len(events(conn, bot, "bot_metrics")) == 1


def test_what_changes_nothing_is_on_no_record(conn: psycopg.Connection):
    bot = fill(conn)
    before = len(events(conn))
    for table in TABLES:
        conn.execute(f"update core.{table} set created_at = created_at where bot_id = %s", [bot])
        conn.execute(f"update core.{table} set created_at = now() where false")
    record(conn, bot, 1, "2025-01-02")  # counters of its conversation
    assert [e["table_name"] for e in events(conn)[before:]] == ["core.messages"]


def test_a_value_that_is_equal_in_another_form_did_change(conn: psycopg.Connection):
    bot = fill(conn)
    conn.execute("update core.bots set config = '{\"a\": 1.0}' where bot_id = %s", [bot])
    conn.execute("update core.bots set config = '{\"a\": 1.00}' where bot_id = %s", [bot])
    last = conn.execute("select old_values::text, new_values::text from audit.events where bot_id"
                        " = %s order by entry_id desc limit 1", [bot]).fetchone()
    assert '"config": {"a": 1.0}' in last[0] and '"config": {"a": 1.00}' in last[1]


def test_truncate_of_a_table_that_allows_it_is_recorded(conn: psycopg.Connection):
    conn.execute("create table public.thing (thing_id int primary key, note text)")
    conn.execute("select audit.enable('public.thing')")
    conn.execute("insert into public.thing values (1, 'x')")
    conn.execute("truncate public.thing")
    assert conn.execute("select operation, row_key, new_values from audit.events where table_name ="
                        " 'public.thing' order by entry_id").fetchall() == [
        ("INSERT", {"thing_id": 1}, {"thing_id": 1, "note": "x"}), ("TRUNCATE", None, None)]
    assert conn.execute("select count(*) from audit.row_history('public.thing',"
                        " '{\"thing_id\": 1}')").fetchone() == (1,)


def test_a_change_that_cannot_be_recorded_fails(conn: psycopg.Connection):
    bot = fill(conn)
    conn.execute("alter table audit.security_audit_log add constraint no"
                 " check (operation = 'EVENT') not valid")
    with refused(conn, "23514"):
        conn.execute("update core.bots set name = 'other' where bot_id = %s", [bot])
    assert conn.execute("select name from core.bots where bot_id = %s", [bot]) != ("other",)


# Who ---------------------------------------------------------------------------


def test_an_event_says_who_for_whom_and_what_belongs_together(database: Database):
    bot, login = make_bot(database)
    correlation = "12345678-1234-4234-8234-123456789abc"
    with login.connect(application_name="bot of the test") as conn:
        conn.execute("select set_config('app.actor', 'operator 5', false),"
                     " set_config('app.correlation_id', %s, false)", [correlation])
        record(conn, bot, 1, "2025-01-01")
        found = conn.execute("select table_name, login, role, actor, application_name,"
                             " client_address is null from audit.by_correlation(%s)",
                             [correlation]).fetchall()
    assert found == [(f"core.{table}", f"bot_{bot}", f"bot_{bot}", "operator 5", "bot of the test",
                      True) for table in ("girls_profiles", "conversations", "messages")]


def test_the_role_in_force_and_the_login_are_both_there(conn: psycopg.Connection):
    bot = conn.execute("select security.create_bot(%s)", [secrets.token_hex(4)]).fetchone()[0]
    conn.execute(f"set local role bot_{bot}")
    record(conn, bot, 1, "2025-01-01")
    conn.execute("reset role")
    last = events(conn, bot)[-1]
    assert (last["login"], last["role"], last["actor"]) == (
        conn.info.user, f"bot_{bot}", None)


def test_one_transaction_has_one_correlation_and_another_another(database: Database):
    with database.connect() as conn:
        with conn.transaction():
            bot = fill(conn)
        conn.execute("update core.bots set name = 'renamed' where bot_id = %s", [bot])
        found = events(conn, bot)
    assert len({e["correlation_id"] for e in found[:-1]}) == 1
    assert found[-1]["correlation_id"] != found[0]["correlation_id"]
    assert len({e["transaction_id"] for e in found}) == 2


def test_a_correlation_id_that_is_none_is_refused_with_its_value(conn: psycopg.Connection):
    bot = add_bot(conn)
    conn.execute("set local app.correlation_id = 'request 17'")
    with refused(conn, "MB204") as caught:
        conn.execute("update core.bots set name = 'x' where bot_id = %s", [bot])
    assert "'request 17'" in str(caught.value) and caught.value.diag.message_hint


# What is kept back -------------------------------------------------------------


def test_a_token_is_in_no_entry_but_that_it_changed_is(conn: psycopg.Connection):
    bot = conn.execute("select security.create_bot(%s)", [secrets.token_hex(4)]).fetchone()[0]
    for token in ("TOKEN-ONE", "TOKEN-TWO", "TOKEN-TWO", "TOKEN-ONE"):
        conn.execute("select security.set_bot_token(%s, %s)", [bot, token])
    conn.execute("delete from security.bot_token where bot_id = %s", [bot])
    found = conn.execute("select operation, old_values ->> 'token', new_values ->> 'token' from"
                         " audit.events where table_name = 'security.bot_token'"
                         " and (old_values ? 'token' or new_values ? 'token')"
                         " order by entry_id").fetchall()
    (_, _, one), (_, was, two), (_, two_again, one_again), (_, last, _) = found
    assert [operation for operation, *_ in found] == ["INSERT", "UPDATE", "UPDATE", "DELETE"]
    assert was == one == one_again == last != two == two_again and one.startswith("sha256:")
    assert conn.execute("select count(*) from audit.security_audit_log as l"
                        " where l::text like '%%TOKEN-%%'").fetchone() == (0,)


def test_private_texts_are_not_stored_twice(conn: psycopg.Connection):
    bot = fill(conn)
    conn.execute("update core.messages set body = 'second text' where bot_id = %s", [bot])
    logged = conn.execute("select string_agg(l::text, '') from audit.security_audit_log as l"
                          " where table_name = 'core.messages'").fetchone()[0]
    assert "second text" not in logged and "hello" in logged
    conn.execute("delete from core.messages where bot_id = %s", [bot])
    assert events(conn, bot, "messages")[-1]["old_values"]["body"] == "second text"


DIGEST = """select 'sha256:' || encode(sha256((select salt from audit.salt) || convert_to(
    row(sent_at at time zone 'UTC', created_at at time zone 'UTC', updated_at at time zone 'UTC',
        source_file_id, sender_id, edited_at at time zone 'UTC', deleted_at at time zone 'UTC',
        direction, body, external_id, reply_to, kind, delivery, metadata)::text, 'UTF8')), 'base64')
    from core.messages where bot_id = %s order by message_id"""


@pytest.mark.parametrize("rows", [1, 20])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_the_last_digest_of_a_message_is_that_of_its_row(
        conn: psycopg.Connection, rows: int, zone: str):
    conn.execute(f"set local timezone = '{zone}'")
    conn.execute(f"set local datestyle = '{'ISO' if zone == 'UTC' else 'German'}'")
    bot = add_bot(conn)
    chat = add_conversation(conn, bot, 1)
    conn.execute("insert into core.messages (bot_id, conversation_id, direction, body)"
                 " select %s, %s, 'in', 'привет ' || n from generate_series(1, %s) as n",
                 [bot, chat, rows])
    for _ in range(2):
        digests = {e["row_key"]["message_id"]: e["new_values"]["*"]
                   for e in events(conn, bot, "messages")}
        conn.execute("set local datestyle = 'ISO'")
        assert list(digests.values()) == [d for d, in conn.execute(DIGEST, [bot]).fetchall()]
        conn.execute("update core.messages set body = body || '!' where bot_id = %s", [bot])


# After ALTER TABLE -------------------------------------------------------------


def test_a_new_column_is_named_by_verify_and_recorded_after_refresh(database: Database):
    name = "what is recorded are the columns that are there"
    with database.connect() as conn:
        bot = add_bot(conn)
        conn.execute("alter table core.bots add column note text")
        assert name in failed_checks(conn)
        assert conn.execute("select audit.refresh()::text").fetchall() == [("core.bots",)]
        assert conn.execute("select audit.refresh()::text").fetchall() == []
        assert name not in failed_checks(conn)
        conn.execute("update core.bots set note = 'x' where bot_id = %s", [bot])
        assert events(conn, bot)[-1]["new_values"]["note"] == "x"
        conn.execute("alter table core.bots drop column note")
        conn.execute("select audit.refresh()")
        conn.execute("update core.bots set name = 'y' where bot_id = %s", [bot])
        assert not failed_checks(conn)


def test_disabling_is_on_record_and_named_and_undone(conn: psycopg.Connection):
    bot = fill(conn)
    conn.execute("select audit.disable('core.bots')")
    before = len(events(conn, bot))
    conn.execute("update core.bots set name = 'x' where bot_id = %s", [bot])
    assert len(events(conn, bot)) == before
    assert failed_checks(conn)["every table of the bots is recorded, and so are their tokens"] == (
        "core.bots: select audit.enable('core.bots')")
    conn.execute("select audit.enable('core.bots')")
    conn.execute("update core.bots set name = 'y' where bot_id = %s", [bot])
    assert len(events(conn, bot)) == before + 1 and not failed_checks(conn)
    assert [e["new_values"] for e in events(conn) if e["kind"] == "capture"] == [
        {"table": "core.bots", "policy": policy} for policy in ("off", "changed")]


@pytest.mark.parametrize(("table", "ddl"), [
    ("public.no_key", "create table public.no_key (a int)"),
    ("public.wide", "create table public.wide (a int primary key, "
     + ", ".join(f"c{n} int" for n in range(50)) + ")"),
    ("public.t" + "x" * 50, "create table public.t" + "x" * 50 + " (a int primary key)"),
    ("public.named", "create table public.named (a int primary key, audit_row int)"),
    ("core_partitions.bots_p0", "select 1"), ("audit.events", "select 1")],
    ids=["no key", "wide", "long name", "our column", "leaf", "view"])
def test_a_table_that_can_not_be_audited_is_refused(
        conn: psycopg.Connection, table: str, ddl: str):
    conn.execute(ddl)
    with refused(conn, "MB201"):
        conn.execute("select audit.enable(%s)", [table])


def test_an_unknown_policy_is_refused(conn: psycopg.Connection):
    for policy in ("all", "off", None):
        with refused(conn, "MB205"):
            conn.execute("select audit.enable('core.bots', %s)", [policy])
    with refused(conn, "MB208"):
        conn.execute("select audit.disable('core.bot_names')")


@pytest.mark.parametrize(("kind", "severity"), [
    (None, "info"), ("x", None), ("x", "loud"), ("retention", "info"), ("capture", "info")])
def test_an_event_has_a_kind_of_its_own_and_a_severity(
        conn: psycopg.Connection, kind: str | None, severity: str | None):
    with refused(conn, "MB209") as caught:
        conn.execute("select audit.log_event(%s, %s, '{}')", [kind, severity])
    assert caught.value.diag.message_hint
    conn.execute("select audit.log_event('x', 'warning', '{\"a\": 1}')")
    assert [(e["kind"], e["severity"], e["new_values"]) for e in events(conn)][-1] == (
        "x", "warning", {"a": 1})


def test_strange_names_of_tables_columns_and_types_are_recorded(conn: psycopg.Connection):
    conn.execute("""create table public."It's {a} ""table"" %s" (
        "o.k" uuid, "n{row}" text, primary key ("o.k", "n{row}"), "audit" json,
        "%" numeric, "r" point, "p" interval, "chunk" text[])""")
    name = '''public."It's {a} ""table"" %s"'''
    conn.execute("select audit.enable(%s)", [name])
    insert = f"""insert into {name.replace('%', '%%')}
        select gen_random_uuid(), 'x' || n, '{{"a":1}}', 1.0, '(1,2)', '1 day', '{{a,b}}'
        from generate_series(1, %s) as n"""
    for rows in (1, 12):
        conn.execute(insert, [rows])
        conn.execute(f'update {name} set "%" = 1.00, "p" = \'24:00\', "r" = \'(1,3)\','.replace(
            "%", "%%") + ' "audit" = \'{"a": 1}\' where %s', [True])
        conn.execute(f"delete from {name}")
        found = conn.execute("select operation, old_values::text from audit.events where table_name"
                             " = %s order by entry_id desc, place limit %s",
                             [name, 2 * rows]).fetchall()
        assert [o for o, _ in found] == ["DELETE"] * rows + ["UPDATE"] * rows
        assert '"%": 1.00' in found[0][1] and '"%": 1.0,' in found[-1][1]


# Replay ------------------------------------------------------------------------


def _change(chance: random.Random, conn: psycopg.Connection, bot: int) -> None:
    """One statement of some kind, on some rows."""
    some = f"bot_id = {bot} and {{}} % {chance.choice((1, 1, 2, 3, 50))} = 0"
    day = f"date '2025-01-01' + {chance.randrange(40)}"
    chats = [n for n, in conn.execute("select conversation_id from core.conversations where bot_id"
                                      " = %s", [bot]).fetchall()]
    statements = [
        f"select core.record_message({chance.randrange(1, 6)}, 'in', 'text {chance.random()}',"
        f" now() - interval '{chance.randrange(9)} days', 'Аня', {bot})",
        f"insert into core.bot_metrics (bot_id, day) select {bot}, {day} + n"
        f" from generate_series(1, {chance.choice((1, 5, 20))}) as n"
        " on conflict (bot_id, day) do update set messages_in ="
        f" bot_metrics.messages_in + 1, reply_p50 = '1 day', reply_p95 = '48:00'",
        f"update core.bot_metrics set messages_out = {chance.randrange(3)} where bot_id = {bot}",
        "update core.girls_profiles set"
        f" summary = summary || '{{\"{chance.randrange(9)}\": null}}', name ="
        " case when random() < 0.5 then name || 'я' end where "
        + some.format("profile_id"),
        f"update core.conversations set metadata = '{{\"n\": {chance.randrange(3)}.0}}' where "
        + some.format("conversation_id"),
        "update core.messages set body = body || '\\u2028\"', metadata = case when random() < 0.5"
        " then '{\"a\": [1.0, null]}'::jsonb end where " + some.format("message_id"),
        "delete from core.messages where " + some.format("message_id"),
        f"delete from core.bot_metrics where bot_id = {bot} and day > {day}",
        f"update core.bots set config = '{{\"v\": {chance.randrange(4)}}}' where bot_id = {bot}",
        f"delete from core.girls_profiles as p where bot_id = {bot} and not exists (select from"
        " core.conversations as c where c.bot_id = p.bot_id and c.profile_id = p.profile_id)",
        f"delete from core.conversations as c where bot_id = {bot} and not exists (select from"
        " core.messages as m where m.bot_id = c.bot_id and m.conversation_id ="
        " c.conversation_id)",
    ]
    if chats:
        statements += [
            f"insert into core.messages (bot_id, conversation_id, direction, body) select {bot},"
            f" {chance.choice(chats)}, 'out', 'bulk ' || n from generate_series(1,"
            f" {chance.choice((3, 9, 30))}) as n"] * 2
    with conn.transaction():
        conn.execute(chance.choice(statements))


def _replayed(found: list[dict], table: str) -> dict[str, dict]:
    """The rows that a table's events lead to, by their key."""
    rows: dict[str, dict] = {}
    for event in found:
        key = json.dumps(event["row_key"], sort_keys=True)
        if event["operation"] == "INSERT":
            assert key not in rows
            rows[key] = event["new_values"]
        elif event["operation"] == "DELETE":
            assert rows.pop(key) == event["old_values"]
        else:
            assert {k: rows[key][k] for k in event["old_values"]} == event["old_values"]
            rows[key] = rows[key] | event["new_values"]
    return {str(row[KEYS[table]]): row for row in rows.values()}


def test_replaying_the_events_rebuilds_the_tables(database: Database):
    chance = random.Random(SEED)  # noqa: S311
    print(f"SEED={SEED}")
    with database.connect() as conn:
        conn.execute("select audit.enable('core.messages', 'changed')")
        bots = [add_bot(conn) for _ in range(2)]
        for _ in range(ROUNDS):
            _change(chance, conn, chance.choice(bots))
        for bot in bots:
            for table in TABLES:
                rebuilt = _replayed(events(conn, bot, table), table)
                assert rebuilt == live(conn, bot, table), table


# History -----------------------------------------------------------------------


def test_the_history_of_a_row_is_found_among_rows_and_blocks_by_index(database: Database):
    bot, login = make_bot(database)
    with login.connect() as conn:
        record(conn, bot, 1, "2025-01-01")
        chat = conn.execute("select conversation_id from core.conversations").fetchone()[0]
        conn.execute("insert into core.messages (conversation_id, direction, body) select %s, 'in',"
                     " n::text from generate_series(1, 200) as n", [chat])
        wanted = conn.execute("select max(message_id) - 50 from core.messages").fetchone()[0]
        conn.execute("update core.messages set body = 'one' where message_id = %s", [wanted])
        conn.execute("update core.messages set body = 'all'")
        history = "select operation, old_values ->> 'body' from audit.row_history(%s, %s)"
        key = Jsonb({"message_id": wanted})
        assert conn.execute(history, ["core.messages", key]).fetchall() == [
            ("INSERT", None), ("UPDATE", "150"), ("UPDATE", "one")]
        conn.execute("set enable_seqscan = off")
        plan = "\n".join(line for line, in conn.execute(
            "explain select * from audit.events where bot_id = %s and table_name = 'core.messages'"
            " and not is_block and first_key = %s", [bot, wanted]).fetchall())
        assert "security_audit_log" in plan and "first_key = " in plan and "Index" in plan
    with database.connect() as conn:
        assert len(conn.execute(history, ["core.messages", Jsonb(
            {"bot_id": bot, "message_id": wanted})]).fetchall()) == 3
