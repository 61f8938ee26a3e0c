"""verify.sql: silent on a whole database, and each damage is reported by the check meant for it."""

import pytest
from conftest import Database
from core_rows import MIGRATIONS, ROOT, failed_checks, fill

from fleet import verify

pytest_plugins = "core_rows"

KEYS = "every leaf has its foreign keys to the parents' leaves, enforced and validated"
LEAVES = "every table has its ten leaves, in schema core_partitions"
LEADING = "every index leads with bot_id"
ENABLED = "every trigger of the tables is enabled"
TRIGGERS = "the triggers that keep updated_at, names, counts, states and stale days are there"
CHECKS = "every check constraint of the tables is there and validated on every leaf"
NAMES = "the claimed names are the bots' names"
REGISTERED = "every table of a bot's rows is registered, as what it is"
PATHS = "every function pins its search path"
COLUMNS = "every column is there, with its type (! not null, = default, # identity)"
NAMED = "every key, check and index is there"
CHATS = "core.conversation_totals_last_idx"
BOUNDED = "every domain bounds what it is for"
OPEN = "no table is open to everybody"
CALLABLE = "no function can be executed by everybody"

LEAF = "core_partitions.messages_p3"
KEY = "foreign key (bot_id, conversation_id) references core_partitions"
NEW_KEY = f"alter table {LEAF} drop constraint conversations_fk, add constraint conversations_fk"

DAMAGES = [
    # statement, check, what its detail must name
    (f"alter table {LEAF} drop constraint conversations_fk", KEYS, LEAF),
    (f"{NEW_KEY} {KEY}.conversations_p3 not valid", KEYS, LEAF),
    (f"{NEW_KEY} {KEY}.conversations_p3 on delete cascade", KEYS, LEAF),
    (f"{NEW_KEY} {KEY}.conversations_p3 deferrable", KEYS, LEAF),
    (f"{NEW_KEY} {KEY}.conversations_p4", KEYS, LEAF),
    (f"alter table {LEAF} disable trigger all", KEYS, LEAF),
    ("alter table core_partitions.conversations_p3 disable trigger all", KEYS, LEAF),
    ("drop table core_partitions.conversations_p3 cascade", KEYS, LEAF),
    ("drop table core_partitions.bot_metrics_p3", LEAVES, "core.bot_metrics p3"),
    (f"alter table core.messages detach partition {LEAF}", LEAVES, "core.messages p3"),
    (f"alter table {LEAF} set schema core", LEAVES, "core.messages p3"),
    (f"alter table {LEAF} rename to messages_p10", LEAVES, "core.messages p3"),
    ("drop table core.bot_metrics cascade;"
     "create table core.bot_metrics (bot_id bigint) partition by list (bot_id)",
     "all five tables are partitioned by hash of bot_id", "core.bot_metrics"),
    ("alter table core_partitions.bot_metrics_p3 set unlogged",
     "every table is kept through a crash", "core_partitions.bot_metrics_p3"),
    ("create index messages_body_idx on core.messages (sent_at)", LEADING, "messages_body_idx"),
    (f"create index messages_body_idx on {LEAF} (sent_at, bot_id)", LEADING, "messages_body_idx"),
    ("create index bots_lower_idx on core.bots (lower(name))", LEADING, "core.bots_lower_idx"),
    ("create index messages_body_idx on only core.messages (bot_id, body)",
     "every index is valid", "core.messages_body_idx"),
    (f"update pg_index set indisvalid = false where indexrelid = '{CHATS}'::regclass",
     "every index is valid", CHATS),
    (f"drop index {CHATS}", NAMED, "conversation_totals_last_idx on core.conversation_totals"),
    ("drop index core.messages_sent_at_idx", NAMED, "messages_sent_at_idx on core.messages"),
    ("alter table core.girls_profiles drop constraint girls_profiles_telegram_uq", NAMED,
     "girls_profiles_telegram_uq on core.girls_profiles"),
    ("alter table core.bot_names drop constraint bot_names_pk", NAMED,
     "bot_names_pk on core.bot_names"),
    ("alter domain core.messages_direction drop constraint messages_direction_ck", BOUNDED,
     "messages_direction_ck of core.messages_direction"),
    ("alter table core.bots add constraint new_ck check (name <> 'x') not valid", CHECKS,
     "new_ck on core_partitions.bots_p0"),
    ("alter table core.messages disable trigger count_new_messages", ENABLED,
     "count_new_messages on core.messages"),
    ("alter table core_partitions.bots_p3 disable trigger claim_bot_name", ENABLED,
     "claim_bot_name on core_partitions.bots_p3"),
    ("alter table core.bots enable replica trigger touch_updated_at", ENABLED,
     "touch_updated_at on core.bots"),
    *((f"drop trigger {trigger} on core.{table}", TRIGGERS, f"{trigger} on core.{table}")
      for trigger, table in (
          ("touch_updated_at", "bots"), ("touch_updated_at", "bot_metrics"),
          ("claim_bot_name", "bots"), ("count_new_messages", "messages"),
          ("count_deleted_messages", "messages"), ("count_moved_messages", "messages"),
          ("note_new_start", "conversations"), ("note_moved_start", "conversations"),
          ("note_lost_start", "conversations"))),
    ("create or replace trigger claim_bot_name after insert on core.bots"
     " for each row execute function core.touch_updated_at()", TRIGGERS,
     "claim_bot_name on core.bots"),
    ("alter table core.messages alter body drop not null", COLUMNS,
     "core.messages.body core.messages_body!"),
    ("alter table core.messages alter bot_id drop default", COLUMNS, "core.messages.bot_id"),
    ("alter table core.bots alter bot_id drop identity", COLUMNS, "core.bots.bot_id"),
    ("alter table core.girls_profiles alter message_count type bigint", COLUMNS,
     "core.girls_profiles.message_count"),
    ("alter table core.bot_metrics drop reply_p95 cascade", COLUMNS, "core.bot_metrics.reply_p95"),
    ("alter table core.bot_names alter name type varchar(100)", COLUMNS, "core.bot_names.name"),
    ("alter table core.stale_days alter days drop not null", COLUMNS, "core.stale_days.days"),
    ("update core.bot_table set on_bot_drop = 'keep' where relation = 'core.messages'::regclass",
     REGISTERED, "core.messages"),
    ("delete from core.bot_table where relation = 'core.stale_days'::regclass", REGISTERED,
     "core.stale_days"),
    ("delete from core.bot_names", NAMES, "1"),
    ("update core.bot_names set name = 'x'", NAMES, "1"),
    ("insert into core.bot_names values (987, 'nobody')", NAMES, "987"),
    ("alter function core.leaves(regclass) reset all", PATHS, "core.leaves(regclass)"),
    ("alter function core_upkeep.claim_bot_name() set search_path = public", PATHS,
     "core_upkeep.claim_bot_name()"),
    ("grant execute on function core.ensure_leaves(bigint) to public", CALLABLE,
     "core.ensure_leaves(bigint)"),
    ("create function core.more() returns int language sql set search_path = pg_catalog, pg_temp"
     " return 1", CALLABLE, "core.more()"),
    ("grant select on core.messages to public", OPEN, "SELECT on core.messages"),
    (f"grant insert on {LEAF} to public", OPEN, f"INSERT on {LEAF}"),
    ("grant usage on schema core_partitions to public", OPEN, "USAGE on core_partitions"),
    ("drop function core.record_message",
     "every function is there", "core.record_message"),
    ("delete from core.error_code where code = 'MB003'",
     "every code that a function raises is in core.error_code", "MB003 in core.require_bot"),
    ("drop table core.bot_metrics cascade", "verify.sql runs", 'relation "core.bot_metrics"'),
]


@pytest.fixture(scope="module")
def damaged(clone_of_module: Database) -> Database:
    """A clone with a row in each table, for damages that are undone after each test."""
    with clone_of_module.connect() as conn:
        fill(conn)
    return clone_of_module


@pytest.mark.parametrize(("statement", "check", "named"), DAMAGES)
def test_a_damage_is_found_by_the_check_meant_for_it(
        damaged: Database, statement: str, check: str, named: str):
    with damaged.connect() as conn, conn.transaction(force_rollback=True):
        conn.execute(statement)
        found = failed_checks(conn)
        assert check in found, found
        assert named in found[check]


def test_a_key_that_is_not_enforced_is_found(damaged: Database):
    with damaged.connect() as conn, conn.transaction(force_rollback=True):
        if conn.info.server_version < 180000:
            pytest.skip("before 18 every foreign key is enforced")
        conn.execute(f"alter table {LEAF} alter constraint conversations_fk not enforced")
        assert LEAF in failed_checks(conn)[KEYS]


def test_verify_reads_only_and_finds_nothing_wrong(damaged: Database):
    with damaged.connect(options="-c default_transaction_read_only=on") as conn:
        for migration in MIGRATIONS:
            rows = verify.check(conn, migration)
            assert [row for row in rows if row[1] is not True or row[2] is not None] == []
            assert len({name for name, _, _ in rows}) == len(rows) > 0


def test_verify_sees_the_same_whatever_the_session_is_set_to(damaged: Database):
    with damaged.connect() as conn:
        conn.execute("set search_path = core, core_partitions, public; set timezone = 'Asia/Tokyo';"
                     "set datestyle = 'SQL, DMY'; set transform_null_equals = on")
        assert not failed_checks(conn)


def test_verify_leaves_the_session_as_it_was(damaged: Database):
    with damaged.connect() as conn:
        show = ("select name, setting from pg_settings"
                " where source = 'session' and name !~ '^transaction' order by name")
        before = conn.execute(show).fetchall()
        failed_checks(conn)
        assert conn.execute(show).fetchall() == before


def test_every_check_of_the_core_schema_has_a_damage_that_it_finds(damaged: Database):
    with damaged.connect() as conn:
        checks = {name for name, _, _ in verify.check(conn, ROOT)}
    assert checks <= {check for _, check, _ in DAMAGES}
