"""What a bot may store is bounded: each column at its bound and beyond, from a bot's own login."""

import json
import re
from collections.abc import Iterator

import psycopg
import pytest
from conftest import PROJECT, Database, clone
from core_rows import failed_checks, make_bot, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

pytest_plugins = "core_rows"

KIB = 1024
ROW = {  # a row that a bot may write, without the column that is tried
    "girls_profiles": {"telegram_id": "1", "chat_id": "1"},
    "conversations": {"profile_id": "1", "chat_id": "2"},
    "messages": {"conversation_id": "1", "direction": "'in'", "body": "''"},
}
# Column: its bound, how it prints in the error, in characters or bytes.
TEXTS = {"girls_profiles.name": 65536, "girls_profiles.previous_response_id": 65536,
         "messages.body": 65536, "girls_profiles.username": 255, "girls_profiles.language": 64,
         "conversations.title": 1024}
OBJECTS = {"girls_profiles.summary": 1024 * KIB, "girls_profiles.profile": 1024 * KIB,
           "girls_profiles.extra": 1024 * KIB, "conversations.metadata": 1024 * KIB,
           "messages.metadata": 64 * KIB}
# Bounded by their type, since a domain would be asked of every message that lacks them.
VARCHARS = {"messages.external_id": 255, "messages.reply_to": 255, "messages.kind": 32,
            "messages.delivery": 16}
LISTED = ("messages.direction", "girls_profiles.standing", "conversations.type")
# Written by an UPDATE only, bounded by its trigger: test_messages.py tries them.
IN_UPDATES = ("messages.edited_at", "messages.deleted_at")
TIMES = ("girls_profiles.last_activity", "girls_profiles.first_seen_at",
         "conversations.started_at", "messages.sent_at")


def nested(levels: str, before: str = "") -> str:
    """SQL for an object of so many levels, built by functions: no parser would take the deepest."""
    return (f"(with recursive n (level, value) as (select 1, '{{}}'::jsonb union all select"
            f" level + 1, jsonb_build_object('a', value) from n where level < {levels})"
            f" select value {before} from n order by level desc limit 1)")


@pytest.fixture(scope="module")
def bot(clone_of_module: Database) -> Database:
    """The database as a bot sees it that has a contact, a conversation and a message."""
    _, seen = make_bot(clone_of_module)
    with seen.connect() as conn:
        conn.execute("select core.record_message(1, 'in', 'hello')")
        ROW["conversations"]["profile_id"] = str(
            conn.execute("select profile_id from core.girls_profiles").fetchone()[0])
        ROW["messages"]["conversation_id"] = str(
            conn.execute("select conversation_id from core.conversations").fetchone()[0])
    ROW["girls_profiles"]["telegram_id"] = "2"
    return seen


@pytest.fixture
def mine(bot: Database) -> Iterator[psycopg.Connection]:
    """A bot's session whose work is undone after the test."""
    with bot.connect() as conn, conn.transaction(force_rollback=True):
        yield conn


def store(conn: psycopg.Connection, column: str, value: str) -> None:
    """Inserts a row with this value (SQL) in the column."""
    table, _, name = column.partition(".")
    row = ROW[table] | {name: value}
    conn.execute(f"insert into core.{table} ({', '.join(row)}) values ({', '.join(row.values())})")


def out_of_bounds(conn: psycopg.Connection, column: str, value: str, says: str) -> None:
    """Whether INSERT and, where a bot may, UPDATE refuse the value with our code and these
    words."""
    table, _, name = column.partition(".")
    writes = [lambda: store(conn, column, value)]
    if conn.execute("select has_column_privilege(%s, %s, 'update')",
                    [f"core.{table}", name]).fetchone()[0]:
        writes.append(lambda: conn.execute(f"update core.{table} set {name} = {value}"))
    for write in writes:
        with refused(conn, "MB012") as caught:
            write()
        found = caught.value.diag
        assert found.message_primary.startswith(f"core.{column} takes ")
        assert says in found.message_primary
        assert (found.schema_name, found.table_name, found.column_name) == ("core", table, name)
        assert len(found.message_primary) < 300


# Texts ---------------------------------------------------------------------------


@pytest.mark.parametrize("column", TEXTS)
@pytest.mark.parametrize("character", ["a", "я", "\U0001f642", "\\"])
def test_a_text_has_as_many_characters_as_its_bound(
        mine: psycopg.Connection, column: str, character: str):
    most = TEXTS[column]
    store(mine, column, f"repeat('{character}', {most})")
    out_of_bounds(mine, column, f"repeat('{character}', {most + 1})",
                  f"up to {most} characters, not {most + 1}")


def test_a_name_that_takes_little_on_disk_is_measured_as_it_is(mine: psycopg.Connection):
    out_of_bounds(mine, "girls_profiles.name", "repeat(e'\\\\', 5000000)", "not 5000000")


def test_record_message_takes_what_the_columns_take(mine: psycopg.Connection):
    record = "select core.record_message({}, 'in', {}, p_name => {})"
    mine.execute(record.format(5, "repeat('я', 65536)", "repeat('я', 65536)"))
    for body, name, column in (("repeat('a', 65537)", "'a'", "core.messages.body"),
                               ("'a'", "repeat('a', 65537)", "core.girls_profiles.name")):
        with refused(mine, "MB012") as caught:
            mine.execute(record.format(6, body, name))
        assert caught.value.diag.message_primary.startswith(column)
    for time in ("infinity", "-infinity", "1969-12-31 23:59:59+00", "4714-11-24 00:00:00+00 BC"):
        with refused(mine, "MB004"):
            mine.execute("select core.record_message(6, 'in', '', %s)", [time])


# Times ---------------------------------------------------------------------------


@pytest.mark.parametrize("column", TIMES)
def test_a_time_is_of_the_years_1970_to_2099(mine: psycopg.Connection, column: str):
    for time in ("1969-12-31 23:59:59.999999+00", "2100-01-01 00:00:00+00", "infinity",
                 "-infinity", "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59+00"):
        out_of_bounds(mine, column, f"timestamptz '{time}'", "a time between 1970 and 2099, not ")
    with mine.transaction(force_rollback=True):
        store(mine, column, "core.first_time()")
    store(mine, column, "core.end_time() - interval '1us'")


def test_a_conversation_of_the_oldest_time_stops_no_roll_up(
        clone_of_module: Database, mine: psycopg.Connection):
    with refused(mine, "MB012"):
        store(mine, "conversations.started_at", "timestamptz '4714-11-24 00:00:00+00 BC'")
    with clone_of_module.connect() as conn, conn.transaction(force_rollback=True):
        conn.execute("select performance.roll_up_metrics()")


# Objects -------------------------------------------------------------------------


@pytest.mark.parametrize("column", OBJECTS)
def test_an_object_prints_as_many_bytes_as_its_bound(mine: psycopg.Connection, column: str):
    most = OBJECTS[column]
    for text, octets in (("a", 1), ("я", 2), ("\\", 2), ("\x01", 6)):
        count, rest = divmod(most - len('{"a": ""}'), octets)
        value = f"jsonb_build_object('a', repeat('{text}', {count}) || repeat('a', {rest} %s))"
        value = value.replace("'\x01'", "chr(1)")
        with mine.transaction(force_rollback=True):
            store(mine, column, value % "")
        out_of_bounds(mine, column, value % "+ 1", f"up to {most} bytes as it prints, 512 levels")
        out_of_bounds(mine, column, value % "+ 1", f"not {most + 1}")


@pytest.mark.parametrize("column", OBJECTS)
def test_an_object_has_up_to_512_levels(mine: psycopg.Connection, column: str):
    for padding in ("", "|| jsonb_build_object('b', repeat('a', 900))"):
        with mine.transaction(force_rollback=True):
            store(mine, column, nested("512", padding))
        out_of_bounds(mine, column, nested("513", padding), "not more than 512 levels")
        arrays = nested("512").replace("jsonb_build_object('a', value)", "jsonb_build_array(value)")
        with mine.transaction(force_rollback=True):
            store(mine, column, f"jsonb_build_object('a', {arrays.replace('< 512', '< 511')})")
        out_of_bounds(mine, column, f"jsonb_build_object('a', {arrays})",
                      "not more than 512 levels")


def test_what_is_nested_without_end_is_refused_and_nothing_walks_all_of_it(
        mine: psycopg.Connection):
    # as deep as the parser takes it, and wrapped then: no parser takes what this prints as
    parsed = next(levels for levels in (16000, 12000, 8000, 6000, 4000) if parses(mine, levels))
    value = (20 * "jsonb_build_array(" + f"(repeat('[', {parsed}) || repeat(']', {parsed}))::jsonb"
             + 20 * ")")
    for column in OBJECTS:
        out_of_bounds(mine, column, f"jsonb_build_object('a', {value})", "not more than 512 levels")


def parses(conn: psycopg.Connection, levels: int) -> bool:
    """Whether the server reads an array of so many levels."""
    try:
        with conn.transaction():
            conn.execute("select (repeat('[', %s) || repeat(']', %s))::jsonb", [levels, levels])
    except psycopg.errors.StatementTooComplex:
        return False
    return True


@pytest.mark.parametrize(("number", "longer", "digits"), [
    ("1e999", "1e1000", 1001), ("-1e999", "-1e1000", 1001), ("1e-1000", "1e-1001", 1001),
    ("round(1, 1000)", "round(1, 1001)", 1001), ("0", "1e131071", 131072),
    ("0", "-1e131071", 131072), ("0", "round(0, 16000)", 16000)])
@pytest.mark.parametrize("padding", ["", "'b', repeat('a', 900), "])
def test_a_number_has_up_to_1000_digits_before_and_after_the_point(
        mine: psycopg.Connection, number: str, longer: str, digits: int, padding: str):
    with mine.transaction(force_rollback=True):
        store(mine, "messages.metadata", f"jsonb_build_object({padding}'a', ({number})::numeric)")
    out_of_bounds(mine, "messages.metadata",
                  f"jsonb_build_object({padding}'a', jsonb_build_array(({longer})::numeric))",
                  f"a number of {digits} digits")


def test_numbers_that_take_little_are_not_printed_to_be_measured(mine: psycopg.Connection):
    many = "(select (format('{{\"a\": [%s]}}', string_agg('{}', ', '))::jsonb)" \
           " from generate_series(1, {}))"
    out_of_bounds(mine, "girls_profiles.extra", many.format("1e131071", 7000),
                  "a number of 131072 digits")
    out_of_bounds(mine, "girls_profiles.extra", many.format("1e999", 60000), "at least 1200000")
    out_of_bounds(mine, "girls_profiles.extra", many.format("1", 800000), "at least ")
    store(mine, "girls_profiles.extra", many.format("1e999", 1000))


def test_65536_keys_are_a_question_of_their_bytes(mine: psycopg.Connection):
    keys = "(select jsonb_object_agg(n::text, 0) from generate_series(1, 65536) as n)"
    with mine.transaction(force_rollback=True):
        store(mine, "girls_profiles.extra", keys)
    out_of_bounds(mine, "messages.metadata", keys, "not ")


def test_a_value_is_measured_as_it_is_not_as_it_is_kept(mine: psycopg.Connection):
    # compressed and out of line: what a statement copies from another column
    store(mine, "girls_profiles.extra", "jsonb_build_object('a', repeat('a', 500000))")
    assert mine.execute("select min(pg_column_size(extra)) from core.girls_profiles"
                        " where extra <> '{}'").fetchone()[0] < 20000
    out_of_bounds(mine, "messages.metadata", "(select extra from core.girls_profiles"
                  " where extra <> '{}')", "not at least 100003")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(blacklist_categories=["Cs"],
                                            blacklist_characters="\0")), inner, max_size=4))


def test_what_is_accepted_can_be_read_again(mine: psycopg.Connection):
    @settings(max_examples=150, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(st.sampled_from("abc"), values, max_size=3), st.integers(0, 600),
           st.integers(-1100, 1100))
    def check(value: dict, levels: int, power: int) -> None:
        built = (f"jsonb_build_object('v', {sql.Literal(json.dumps(value)).as_string(mine)}::jsonb,"
                 f" 'n', 10::numeric ^ {power}, 'd', {nested(str(levels))})")
        with mine.transaction(force_rollback=True):
            try:
                with mine.transaction():
                    store(mine, "messages.metadata", built)
            except psycopg.Error as fault:
                assert fault.sqlstate == "MB012", fault
                return
            assert mine.execute("""
                select metadata::text::jsonb = metadata, octet_length(metadata::text) <= 65536
                from core.messages where metadata is not null""").fetchall() == [(True, True)]
    check()


# Every column ----------------------------------------------------------------------


def test_every_column_that_bots_write_is_tried_here(clone_of_module: Database):
    written = clone_of_module.execute("""
        select c.relname || '.' || a.attname
        from core.bot_tables() as t
        join pg_class as c on c.oid = t
        join pg_attribute as a on a.attrelid = t and a.attnum > 0
        where core.base_type(a.atttypid) <> 'bigint'::regtype
          and (has_column_privilege('app_bot', t, a.attname, 'insert')
               or has_column_privilege('app_bot', t, a.attname, 'update'))""")
    assert {name for name, in written} == {
        *TEXTS, *OBJECTS, *TIMES, *VARCHARS, *LISTED, *IN_UPDATES, "girls_profiles.is_bot"}


def test_core_bounds_lists_them_as_they_are_in_force(clone_of_module: Database):
    rows = clone_of_module.execute(
        "select table_name || '.' || column_name, takes, most from core.bounds")
    assert {column: most for column, _, most in rows if most} == TEXTS | OBJECTS | VARCHARS
    found = {column: takes for column, takes, _ in rows}
    assert found["messages.body"] == "up to 65536 characters"
    assert all(found[column].startswith("from 1970 to 2099") for column in TIMES)
    # and to bots
    _, seen = make_bot(clone_of_module)
    assert seen.execute("select count(*) from core.bounds") == [(len(rows),)]


@pytest.mark.parametrize(("change", "named"), [
    ("alter domain core.messages_body drop constraint messages_body_ck", "core.messages_body"),
    ("alter domain core.messages_body drop constraint messages_body_ck; alter domain"
     " core.messages_body add constraint messages_body_ck check (length(value) < 1000000)",
     "type core.messages_body is as accepted"),
    ("alter domain core.messages_metadata drop constraint messages_metadata_size_ck",
     "type core.messages_metadata is as accepted"),
    ("alter table core.messages alter body type text", "core.messages.body"),
    ("create or replace function core.check_text(p_value text, p_column text, p_most integer)"
     " returns boolean language sql immutable strict parallel safe"
     " set search_path = pg_catalog, pg_temp as 'select true'", "core.check_text"),
    ("alter domain core.messages_body owner to current_user", "core.messages_body"),
])
def test_a_bound_that_was_dropped_or_weakened_is_named(
        conn: psycopg.Connection, change: str, named: str):
    conn.execute(change)
    found = conn.execute("select check_name from security.check() where not ok").fetchall()
    assert any(named in name for name, in found), found


def test_a_column_that_bots_may_write_without_a_bound_breaks_a_rule(conn: psycopg.Connection):
    rule = "every column that a bot may write has a bound"
    broken = "select detail from security.check_rules() where not ok and check_name = %s"
    assert conn.execute(broken, [rule]).fetchall() == []
    conn.execute("""
        create domain core.short as text check (length(value) < 9);
        create domain core.unbounded as text not null;
        alter table core.messages
            add a text, add b core.short, add c varchar(9), add d jsonb, add e timestamptz,
            add f bigint, add g boolean, add h numeric, add i core.unbounded default '',
            add k text constraint k_ck check (length(k) < 9),
            add l text constraint l_ck check (length(l) < length(body)), add m text[],
            add n date;
        grant insert (a, b, c, d, e, f, g, h, i, k, l, m, n) on core.messages to app_bot""")
    assert conn.execute(broken, [rule]).fetchall() == [(
        "core.messages.a, core.messages.d, core.messages.e, core.messages.h, core.messages.i, "
        "core.messages.l, core.messages.m, core.messages.n",)]


def test_readme_lists_the_bounds(clone_of_module: Database):
    table = re.search(r"<!-- bounds -->\n(.*?)<!-- /bounds -->",
                      (PROJECT / "README.md").read_text("utf-8"), re.S)[1]
    for column, most in (TEXTS | OBJECTS).items():
        assert re.search(rf"`core\.{re.escape(column)}` \| up to {most:,} ", table), column
    for column in (*TIMES, "messages.direction"):
        assert f"`core.{column}`" in table


# On record -------------------------------------------------------------------------


def test_a_statement_of_any_size_is_recorded(clone_of_module: Database):
    for database in clone_again(clone_of_module):
        number, seen = make_bot(database)
        with seen.connect() as conn:
            conn.execute("select core.record_message(1, 'in', 'hello')")
            conn.execute("insert into core.messages (conversation_id, direction, body)"
                         " select conversation_id, 'in', repeat(e'\\\\', 65536)"
                         " from core.conversations, generate_series(1, 100)")
            conn.execute("update core.messages set body = repeat(chr(1), 65536)")
        database.execute("select security.drop_bot(%s, true)", [number])
        sizes = database.execute("""
            select operation, count(*), sum(row_count),
                   max(octet_length(coalesce(old_values::text, '')))
                   + max(octet_length(coalesce(new_values::text, '')))
            from audit.security_audit_log
            where bot_id = %s and table_name = 'core.messages' and is_block
            group by operation order by 1""", [number])
        assert [(operation, rows) for operation, _, rows, _ in sizes] == [
            ("DELETE", 101), ("INSERT", 100), ("UPDATE", 101)]
        for operation, blocks, _, octets in sizes:
            # of an INSERT the log holds a digest
            assert operation == "INSERT" or blocks > 2, (operation, blocks)
            assert octets < 17 * 2**20, (operation, octets)


def clone_again(database: Database) -> Iterator[Database]:
    """A clone that a test may change for good."""
    yield from clone(database, database.name)


def test_many_short_rows_still_share_a_block(conn: psycopg.Connection):
    bot = conn.execute("select security.create_bot('many')").fetchone()[0]
    conn.execute("select core.record_message(1, 'in', '', p_bot_id => %s)", [bot])
    conn.execute("insert into core.messages (bot_id, conversation_id, direction, body)"
                 " select %s, conversation_id, 'in', repeat('a', 600)"
                 " from core.conversations, generate_series(1, 4097) where bot_id = %s",
                 [bot, bot])
    assert conn.execute("select row_count from audit.security_audit_log where bot_id = %s"
                        " and table_name = 'core.messages' and is_block order by 1", [bot]
                        ).fetchall() == [(1,), (4096,)]


def test_settings_are_cut_before_they_are_stored(mine: psycopg.Connection):
    mine.execute("select set_config('app.actor', repeat('я', 2000000), true),"
                 " set_config('application_name', repeat('a', 2000000), true)")
    mine.execute("select core.record_message(9, 'in', '')")
    assert mine.execute("""
        select distinct length(actor), length(application_name) from audit.events
        where actor is not null""").fetchall() == [(200, 63)]  # 63: the server's own limit is lower
    mine.execute("select set_config('app.correlation_id', repeat('a', 2000000), true)")
    with refused(mine, "MB204") as caught:
        mine.execute("select core.record_message(9, 'in', '')")
    assert len(str(caught.value)) < 2000


def test_what_is_on_record_of_a_value_hangs_on_no_domain_and_no_time_zone(
        conn: psycopg.Connection):
    conn.execute("select audit.enable('core.messages', 'keys')")
    sources = conn.execute("""
        select string_agg(prosrc, ' ') from pg_proc
        where pronamespace = 'audit'::regnamespace and proname ~ '_of_core_'""").fetchone()[0]
    assert "sent_at at time zone 'UTC'" in sources
    assert "core.messages_body" not in sources
    # compared directly, as only types that have one form of each value are
    assert "record_image_ne(row(o.body)" not in sources
    assert not failed_checks(conn)
