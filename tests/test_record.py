"""What the record says of what steers, and what an open transaction, a bot that reads and a seal of
nothing can't do to it. Deeds of one session are in tamper_deeds.py."""

import psycopg
import pytest
from conftest import Database
from core_rows import add_bot, make_bot, record, refused

pytest_plugins = "core_rows"
FORGE = """insert into audit.security_audit_log (bot_id, operation, occurred_at, transaction_id)
    values (0, 'INSERT', now() - interval '20 days', %s)"""
FOUND = "select distinct problem from audit.verify_seals()"
LAST = """select table_name, operation, old_values, new_values from audit.events
    where kind is null order by entry_id desc limit 1"""


def seal(conn: psycopg.Connection) -> None:
    """Two seals: the first of a log is not asked for its times."""
    for _ in range(2):
        conn.execute("select audit.log_event('test', 'info', '{}')")
        conn.execute("select * from audit.seal()")


def test_an_open_transaction_lets_nobody_date_an_entry_back(database: Database):
    with database.connect() as conn, database.connect() as slow:
        conn.execute("select audit.ensure_month(now() - interval '20 days')")
        slow.execute("begin")
        xid = slow.execute("select txid_current()").fetchone()[0]
        seal(conn)
        conn.execute(FORGE, [xid])
        slow.execute("commit")
        conn.execute("select * from audit.seal()")
        assert conn.execute(FOUND).fetchall() == [("back-dated",)]


def test_who_was_at_work_during_a_seal_is_not_taken_for_back_dated(database: Database):
    with database.connect() as conn, database.connect() as slow:
        seal(conn)
        slow.execute("begin")
        add_bot(slow)
        for _ in range(3):
            seal(conn)
        add_bot(slow)
        slow.execute("commit")
        seal(conn)
        assert conn.execute(FOUND).fetchall() == []


def test_a_seal_of_nothing_makes_no_entry_look_back_dated(database: Database):
    with database.connect() as conn:
        seal(conn)
        conn.execute("select audit.enable('core.messages', 'changed')")
        add_bot(conn)
        for limit in (0, -1, None):
            with refused(conn, "MB210"):
                conn.execute("select audit.seal(%s)", [limit])
        conn.execute("select audit.seal(1)")
        conn.execute("select audit.disable('core.messages')")
        seal(conn)
        assert conn.execute(FOUND).fetchall() == []


STEERING = {
    "core.error_code": "update core.error_code set remedy = 'none' where code = 'MB001'",
    "core.leaf_hook": "insert into core.leaf_hook values ('core.no_hook(regclass)')",
    "core.bot_table": "update core.bot_table set is_audited = false"
                      " where relation = 'core.bots'::regclass",
    "security.event_hook": "delete from security.event_hook",
    "security.acceptance_hook": "delete from security.acceptance_hook",
    "security.rule_exception": "delete from security.rule_exception",
    "security.schema_owner": "insert into security.schema_owner values ('x', 'app_owner')",
    "security.inventoried_table": "delete from security.inventoried_table",
    "performance.task": "update performance.task set every = '9 days' where task = 'seal'",
    "performance.probe": "update performance.probe set critical = critical * 2 where critical > 0",
    "performance.monthly_table": "delete from performance.monthly_table",
}


@pytest.mark.parametrize("table", STEERING)
def test_a_change_of_what_steers_is_on_record(conn: psycopg.Connection, table: str):
    assert conn.execute(STEERING[table]).rowcount > 0
    named, operation, *_ = conn.execute(LAST).fetchone()
    assert (named, operation) == (table, STEERING[table].split()[0].upper())


def test_a_change_of_the_ledger_is_on_record_without_its_paths(conn: psycopg.Connection):
    bot = add_bot(conn)
    conn.execute("""select json_import.load(json_import.start_run('folder'), %s, 'conversation',
        array['conversations/77.json'], array[77]::bigint[], array['[]'::bytea])""", [bot])
    conn.execute("update json_import.file set octets = octets + 1 where bot_id = %s", [bot])
    table, operation, old, new = conn.execute(LAST).fetchone()
    assert (table, operation, new["octets"] - old["octets"]) == ("json_import.file", "UPDATE", 1)
    assert conn.execute("select count(*) from audit.security_audit_log where new_values::text like"
                        " '%%77.json%%' and table_name = 'json_import.file'").fetchone() == (0,)


def test_maintenance_by_itself_leaves_no_entry_about_its_tasks(database: Database):
    with database.connect() as conn:
        conn.execute("call performance.maintain()")
        assert conn.execute("select count(*) from audit.events where table_name ="
                            " 'performance.task'").fetchone() == (0,)
        assert conn.execute("select bool_and(started_at is not null) from performance.task"
                            ).fetchone() == (True,)


def test_what_a_migration_changes_of_what_steers_its_acceptance_says(database: Database):
    with database.connect() as conn:
        with conn.transaction():
            conn.execute("select security.expect_inventory()")
            conn.execute("insert into core.error_code values ('MB299', 'x', 'y', 'z')")
            conn.execute("select security.accept_inventory('006_x')")
        kind, changes = conn.execute("select kind, new_values ->> 'changes' from audit.events"
                                     " order by entry_id desc limit 1").fetchone()
        assert kind == "inventory_accepted" and "MB299" in changes
        seal(conn)
        assert conn.execute(FOUND).fetchall() == []


def test_a_bot_reads_no_reason_of_an_erasure_and_a_super_admin_does(database: Database):
    bot, login = make_bot(database)
    with database.connect() as conn:
        record(conn, bot, 1, "2025-01-01")
        seal(conn)
        conn.execute("select audit.erase(%s, 1, 'Olga asked by mail')", [bot])
        assert conn.execute("select new_values ->> 'reason' from audit.events where kind ="
                            " 'erasure'").fetchone() == ("Olga asked by mail",)
        assert conn.execute(FOUND).fetchall() == []
    with login.connect() as own:
        found, = own.execute("select string_agg(e::text, ' ') from audit.events as e"
                             " where kind = 'erasure'").fetchone()
        assert "row_count" in found and "Olga" not in found
        assert own.execute("select count(*) from audit.security_audit_log as l"
                           " where l::text like '%Olga%'").fetchone() == (0,)


def test_a_block_of_which_one_row_was_erased_is_bound_in_all_but_its_values(
        conn: psycopg.Connection):
    bot = add_bot(conn)
    conn.execute("insert into core.girls_profiles (bot_id, telegram_id, chat_id, name)"
                 " select %s, n, n, 'name ' || n from generate_series(1, 20) as n", [bot])
    seal(conn)
    conn.execute("select audit.erase(%s, 7, 'law')", [bot])
    seal(conn)
    assert conn.execute(FOUND).fetchall() == []
    conn.execute("set local role app_auditor")
    conn.execute("select set_config('audit.erasing', txid_current()::text, true)")
    conn.execute("update audit.security_audit_log set role = 'x' where is_block and bot_id = %s",
                 [bot])
    conn.execute("reset role")
    assert conn.execute(FOUND).fetchall() == [("changed, and not only by audit.erase",)]


@pytest.mark.torture
def test_an_entry_of_half_a_gigabyte_is_sealed_and_verified(database: Database):
    with database.connect() as conn:
        conn.execute("insert into audit.security_audit_log (bot_id, operation, old_values,"
                     " new_values) select 1, 'UPDATE', v, v from (select"
                     " ('{\"body\":\"' || repeat('\\\\', 140000000) || '\"}')::json) as x (v)")
        seal(conn)
        assert conn.execute(FOUND).fetchall() == []
