"""The registry of tables that hold a bot's rows, and what follows it: publications, protection,
bots that go, ranges of ids."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from conftest import Database
from core_rows import failed_checks, make_bot, migrator, owner_database, record, refused
from import_helpers import command, make_folder, run_import, said

pytest_plugins = ("core_rows",)

DERIVED = {"core.bot_names", "core.stale_days", "core.conversation_totals", "core.uncounted",
           "core.bot_metrics", "performance.bot_total",
           "performance.bot_fault"}
AUDITED = {"core.bots", "core.girls_profiles", "core.conversations", "core.messages",
           "core.bot_metrics", "security.bot_token", "security.suspended_grant", "json_import.file"}
OTHERS = {"security.bot_limit", "audit.security_audit_log",
          "json_import.reject", "json_import.kept_bytes", "json_import.profile_source"}
NOTE = """create table core.note (
    bot_id bigint not null, note_id bigint generated always as identity, profile_id bigint,
    body text, constraint note_pk primary key (bot_id, note_id))"""


def call(conn: psycopg.Connection, statement: str, *arguments: object):
    """The one value that a statement returns."""
    return conn.execute(statement, arguments).fetchone()[0]


def create_bot(conn: psycopg.Connection) -> int:
    return call(conn, "select security.create_bot('bot ' || gen_random_uuid())")


# What is registered ----------------------------------------------------------


def test_every_table_with_bot_id_is_registered_as_what_it_is(conn: psycopg.Connection):
    there = {name for name, in conn.execute("""
        select c.oid::regclass::text
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        join pg_attribute as a on a.attrelid = c.oid and a.attname = 'bot_id'
        where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_'""")}
    rows = conn.execute("select relation::text, is_derived, is_audited, on_bot_drop"
                        " from core.bot_table").fetchall()
    assert {row[0] for row in rows} == there == DERIVED | AUDITED | OTHERS
    assert {name for name, is_derived, *_ in rows if is_derived} == DERIVED
    assert {name for name, _, is_audited, _ in rows if is_audited} == AUDITED
    assert [name for name, *_, action in rows if action == "keep"] == ["audit.security_audit_log"]


def test_the_key_of_every_registered_table_begins_with_bot_id(conn: psycopg.Connection):
    assert conn.execute("""
        select t::text
        from core.bot_tables() as t
        left join pg_index as i on i.indrelid = t and i.indisprimary and i.indimmediate
        left join pg_attribute as a on a.attrelid = t and a.attnum = i.indkey[0]
        where a.attname is distinct from 'bot_id'""").fetchall() == []


def test_parents_come_first(conn: psycopg.Connection):
    assert conn.execute("""
        with place as (
            select coalesce(p.inhrelid, t.relation) as oid, t.place
            from core.bot_table as t
            left join pg_inherits as p on p.inhparent = t.relation
        )
        select c.conrelid::regclass::text, c.confrelid::regclass::text
        from pg_constraint as c
        join place as child on child.oid = c.conrelid
        join place as parent on parent.oid = c.confrelid
        where c.contype = 'f' and child.place < parent.place""").fetchall() == []


def test_a_table_that_is_dropped_is_no_bots_table_any_more(conn: psycopg.Connection):
    conn.execute(NOTE)
    conn.execute("select security.protect('core.note'); drop table core.note")
    assert call(conn, "select count(*) from core.bot_tables() as t where t::text ~ 'note|^[0-9]'"
                ) == 0
    record(conn, create_bot(conn), 1, "2025-01-01")
    assert failed_checks(conn)["every table in core.bot_table is there"].isdecimal()
    conn.execute("delete from core.bot_table where relation not in (select core.bot_tables())")
    assert not failed_checks(conn)


@pytest.mark.parametrize("change", (
    "create table core.note (bot_id bigint primary key)",
    "delete from core.bot_table where relation = 'json_import.reject'::regclass",
    "alter table json_import.reject drop constraint reject_pk",
))
def test_a_table_with_bot_id_that_is_not_registered_is_named(conn: psycopg.Connection, change: str):
    conn.execute(change)
    named = failed_checks(conn)["a table with bot_id is in core.bot_table, and its primary key"
                                " begins with bot_id"]
    assert named in ("core.note", "json_import.reject")


def test_a_registered_table_that_is_not_recorded_is_named(conn: psycopg.Connection):
    conn.execute(NOTE)
    conn.execute("select security.protect('core.note')")
    name = "every table of the bots is recorded, and so are their tokens"
    assert failed_checks(conn) == {name: "core.note: select audit.enable('core.note')"}
    conn.execute("select audit.enable('core.note')")
    assert not failed_checks(conn)


# One bot's rows, published ---------------------------------------------------


@pytest.fixture
def published(database: Database) -> Database:
    """A database that publishes bot 1's rows, of every registered table."""
    tables = database.execute("select string_agg(format('%s where (bot_id = 1)', t), ', ')"
                              " from core.bot_tables() as t")[0][0]
    database.execute("set client_min_messages = error; create publication one_bot for table "
                     f"{tables} with (publish_via_partition_root = true)")
    return database


def live(database: Database, folder: Path) -> None:
    """A bot that is not published does all that a bot does, and goes; so does maintenance."""
    (first, _), (bot, own) = make_bot(database), make_bot(database, "Zoe")
    assert first == 1 and bot != 1
    with own.connect() as talking:
        talking.execute("select core.record_message(1, 'in', 'x', now() - n * interval '1 day')"
                        " from generate_series(0, 20) as n")
        talking.execute("update core.messages set body = 'y'; update core.girls_profiles"
                        " set name = 'Ева'; update core.conversations set metadata = '{\"a\": 1}'")
    files = {"girls_data/5.json": {"chat_id": 5, "name": "A"}, "girls_data/6.json": '{"broken',
             "conversations/5.json": [said("hello")], "conversations/7.json": [said("new")],
             "backups/5/2024-01-01.json": {"date": "2024-01-01", "messages": [said("old")]}}
    run_import(database, make_folder(folder, files), "--bot", "Zoe", code=None)
    files |= {"girls_data/5.json": {"chat_id": 5, "name": "B"}, "girls_data/7.json": {"chat_id": 7},
              "girls_data/6.json": {"chat_id": 6}, "conversations/5.json": [said("other")]}
    run_import(database, make_folder(folder, files), "--bot", "Zoe", code=None)
    make_folder(folder, {"conversations/8.json": "[nothing"})
    run_import(database, folder, "--bot", "Zoe", code=None)
    command(database, "retry", code=None)
    with database.connect() as conn:
        for token in "ab":
            conn.execute("select security.set_bot_token(%s, %s)", [bot, token])
        conn.execute("update core.bots set name = 'Zoë' where bot_id = %s", [bot])
        conn.execute("select json_import.drop_resolved(), json_import.drop_kept_bytes('0')")
        conn.execute("select performance.roll_up_metrics('-infinity'), audit.seal()")
        conn.execute("delete from core.messages where bot_id = %s and source_file_id is null",
                     [bot])
        conn.execute("select performance.roll_up_metrics(), audit.erase(%s, 1, 'asked')", [bot])
        conn.execute("call performance.maintain()")
        conn.execute("select security.drop_bot(%s, true)", [bot])
        assert [(relation, rows) for relation, in conn.execute(
            "select t::text from core.bot_tables() as t").fetchall()
            if (rows := call(conn, f"select count(*) from {relation} where bot_id = {bot}"))
            ][1:] == []
        assert conn.execute("select * from audit.verify_seals()").fetchall() == []


def test_a_publication_of_one_bot_hinders_no_other(published: Database, tmp_path: Path):
    live(published, tmp_path)
    assert not failed_checks(published)
    with published.connect() as conn:
        for table, column in conn.execute("""
                select t::text, max(attname::text)
                from core.bot_tables() as t
                join pg_attribute on attrelid = t and attnum > 0 and attidentity = ''
                group by t""").fetchall():
            for statement in (f"delete from {table} where bot_id = 2",
                              f"update {table} set {column} = {column} where bot_id = 2"):
                try:
                    conn.execute(statement)
                except psycopg.Error as fault:  # our own guards come after the server's look
                    assert fault.sqlstate in ("MB108", "MB202"), (table, fault)


def test_without_its_key_a_table_would_hinder_every_bot(published: Database):
    published.execute("alter table core.stale_days drop constraint stale_days_pk")
    with published.connect() as conn, pytest.raises(psycopg.Error, match="replica identity"):
        conn.execute("select performance.roll_up_metrics()")


# A table is made safe --------------------------------------------------------


@pytest.mark.parametrize(("table", "fact"), (
    ("core.note (note_id bigint primary key)", "has no column bot_id of type bigint"),
    ("core.note (bot_id text primary key)", "has no column bot_id of type bigint"),
    ("core.note (bot_id bigint, note_id bigint)", "has no primary key that begins with bot_id"),
    ("core.note (bot_id bigint, note_id bigint primary key)", "has no primary key that begins"),
    ("core.note (bot_id bigint, note_id bigint, primary key (note_id, bot_id))",
     "has no primary key that begins with bot_id"),
    ("core.note (bot_id bigint primary key deferrable)", "is not deferrable"),
    ("core.note partition of core.bots for values with (modulus 20, remainder 10)",
     "is a partition of another one"),
))
def test_protect_says_what_a_table_lacks(conn: psycopg.Connection, table: str, fact: str):
    if "partition of" in table:
        conn.execute("alter table core.bots detach partition core_partitions.bots_p0")
    conn.execute(f"create table {table}")
    with refused(conn, "MB109") as caught:
        conn.execute("select security.protect('core.note')")
    diag = caught.value.diag
    assert diag.message_primary.startswith("table core.note can't be protected: it ")
    assert fact in diag.message_primary and "primary key (bot_id, …)" in diag.message_hint


@pytest.mark.parametrize("statement", (
    "select security.admit('core.note', 'app_super_admin', 'select')",
    "select security.admit_bots('core.note')", "select security.admit_admins('core.note')",
    "select security.admit('core_partitions.messages_p0', 'app_bot', 'select')",
    "select security.admit_bots('core_partitions.messages_p0')"))
@pytest.mark.parametrize("undone", (
    None, "alter table core.note no force row level security",
    "alter table core.note disable row level security", "drop trigger refuse_truncate on core.note",
    "alter table core.note enable trigger refuse_new_bot_id",
    "delete from core.bot_table where relation = 'core.note'::regclass"))
def test_nobody_is_let_in_to_a_table_that_is_not_protected(
        conn: psycopg.Connection, statement: str, undone: str | None):
    conn.execute(NOTE)
    if undone:
        conn.execute("select security.protect('core.note')")
        conn.execute(undone)
    with refused(conn, "MB121") as caught:
        conn.execute(statement)
    assert "select security.protect(" in caught.value.diag.message_hint
    conn.execute("select security.protect('core.note')")
    if "core.note" in statement:
        conn.execute(statement)


def test_protect_alone_makes_a_table_safe(database: Database):
    (one, own), (other, _) = make_bot(database), make_bot(database)
    with database.connect() as conn:
        conn.execute(f"""
            create schema notes; grant usage on schema notes to app_bot;
            create table notes.note (bot_id bigint, note_id bigint, body text,
                                     primary key (bot_id, note_id));
            insert into notes.note values ({one}, 1, 'mine'), ({other}, 1, 'theirs');
            grant select on notes.note to public; grant all on notes.note to app_bot;
            grant update (body) on notes.note to bot_{one} with grant option;
            alter table notes.note enable row level security;
            create policy open on notes.note using (true);
            select security.protect('notes.note')""")
    with own.connect() as bot:
        for statement in ("select from notes.note", "update notes.note set body = 'x'",
                          "delete from notes.note", "truncate notes.note"):
            with refused(bot, "42501"):
                bot.execute(statement)
        with database.connect() as conn:
            conn.execute("grant select on notes.note to app_bot")
            assert bot.execute("select * from notes.note").fetchall() == []
            conn.execute("select security.admit_bots('notes.note')")
            assert bot.execute("select body from notes.note").fetchall() == [("mine",)]
            conn.execute("select security.protect('notes.note')")  # takes nothing that came later
            assert bot.execute("select body from notes.note").fetchall() == [("mine",)]
            for statement in ("truncate notes.note", "update notes.note set bot_id = 1"):
                with refused(conn, "MB108"):
                    conn.execute(statement)
            conn.execute("select security.drop_bot(%s, true)", [other])
            assert conn.execute("select body from notes.note").fetchall() == [("mine",)]


def test_a_table_of_core_gets_its_leaves_by_being_protected(conn: psycopg.Connection):
    conn.execute(NOTE + " partition by hash (bot_id)")
    conn.execute("select security.protect('core.note')")
    assert call(conn, "select count(*) from core.leaves('core.note')") == 10
    assert call(conn, "select bool_and(relrowsecurity) from pg_class as c"
                      " join core.leaves('core.note') as l on l.leaf = c.oid")
    conn.execute("select audit.enable('core.note'); drop table core_partitions.note_p4")
    assert call(conn, "select sum(core.ensure_leaves(n)) from generate_series(1, 40) as n") == 1
    assert not failed_checks(conn)


def test_the_database_s_owner_protects_a_table_of_core(owned_house: psycopg.Connection):
    owned_house.execute(NOTE)
    owned_house.execute("select security.protect('core.note'), audit.enable('core.note')")
    assert not failed_checks(owned_house)


@pytest.fixture(scope="module")
def house(cluster: Database) -> Iterator[Database]:
    """A database migrated by its owner, who is no superuser."""
    with owner_database(cluster) as database:
        with database.connect() as conn:
            migrator(conn).migrate()
        yield database


@pytest.fixture
def owned_house(house: Database) -> Iterator[psycopg.Connection]:
    with house.connect() as conn, conn.transaction(force_rollback=True):
        yield conn


# A bot that goes -------------------------------------------------------------


def test_a_registered_table_keeps_a_bot_and_goes_with_it(conn: psycopg.Connection):
    bot, other = create_bot(conn), create_bot(conn)
    conn.execute(NOTE)
    conn.execute("select security.protect('core.note')")
    for one in (bot, other):
        conn.execute("insert into core.note (bot_id) values (%s)", [one])
    with refused(conn, "MB106"):
        conn.execute("select security.drop_bot(%s)", [bot])
    conn.execute("select security.drop_bot(%s, true)", [bot])
    assert conn.execute("select bot_id from core.note").fetchall() == [(other,)]


def test_what_can_be_made_again_goes_unasked(conn: psycopg.Connection):
    bot = create_bot(conn)
    conn.execute("select performance.roll_up_metrics()")
    conn.execute("insert into core.stale_days (bot_id, days) values (%s, '{}')", [bot])
    conn.execute("select security.drop_bot(%s)", [bot])
    for table in DERIVED:
        assert call(conn, f"select count(*) from {table} where bot_id = %s", bot) == 0


@pytest.mark.parametrize(("key", "table", "discard"), (
    ("bot_id bigint references core.bots", "public.holding", False),
    ("bot_id bigint references core.bots", "public.holding", True),
    ("b bigint references core.bots deferrable initially deferred", "public.holding", True),
    ("b bigint, p bigint, foreign key (b, p) references core.girls_profiles", '"Odd one".t', True),
))
def test_a_table_that_nobody_registered_is_named(
        conn: psycopg.Connection, key: str, table: str, discard: bool):
    bot = create_bot(conn)
    if discard:
        record(conn, bot, 1, "2025-01-01")
    conn.execute('create schema "Odd one"')
    conn.execute(f"create table {table} ({key})")
    conn.execute(f"insert into {table} select bot_id" + ", profile_id from core.girls_profiles"
                 * ("p bigint" in key) + " from core.bots" * ("p bigint" not in key))
    with refused(conn, "MB122") as caught:
        conn.execute("select security.drop_bot(%s, %s)", [bot, discard])
    diag = caught.value.diag
    assert table in diag.message_primary and str(bot) in diag.message_primary
    assert f"security.protect('{table}')" in diag.message_hint
    assert "_fkey" in diag.message_detail
    conn.execute(f"delete from {table}")
    conn.execute("select security.drop_bot(%s, %s)", [bot, discard])


def test_a_row_that_came_after_the_look_keeps_its_bot(conn: psycopg.Connection):
    bot = create_bot(conn)
    record(conn, bot, 1, "2025-01-01")
    conn.execute("create or replace function security.has_rows(p_bot_id bigint) returns boolean"
                 " language sql stable set search_path = pg_catalog, pg_temp as 'select false'")
    with refused(conn, "MB106") as caught:
        conn.execute("select security.drop_bot(%s)", [bot])
    assert "girls_profiles" in caught.value.diag.message_primary


# Ranges of ids ---------------------------------------------------------------

FILE = "insert into json_import.file (bot_id, path, kind, status, octets, reason, run_id)" \
       " values (%s, gen_random_uuid()::text, 'other', 'ignored', 0, 'x', %s) returning file_id"


def new_ids(conn: psycopg.Connection) -> tuple[int, int]:
    """The ids of a new bot and a new file of it."""
    bot = create_bot(conn)
    return bot, call(conn, FILE, bot, call(conn, "select json_import.start_run('x')"))


def set_range(conn: psycopg.Connection, first: int | None, last: int | None) -> dict[str, int]:
    return dict(conn.execute("select relation::text, next_id from security.set_id_range(%s, %s)",
                             [first, last]).fetchall())


def test_bots_and_files_get_their_ids_from_the_range(conn: psycopg.Connection):
    first, last = 7 * 10**15, 8 * 10**15 - 1
    assert set_range(conn, first, last) == {"core.bots": first, "json_import.file": first}
    assert new_ids(conn) == (first, first)
    assert set_range(conn, first, last) == {"core.bots": first + 1, "json_import.file": first + 1}
    assert set_range(conn, first, last + 5)["core.bots"] == first + 1  # wider
    assert new_ids(conn) == (first + 1, first + 1)
    assert set_range(conn, 1, 10**15)["core.bots"] == 1


def test_the_fresh_range_goes_on_after_the_bots_that_are_there(conn: psycopg.Connection):
    bot, file = new_ids(conn)
    assert set_range(conn, 1, 10**15) == {"core.bots": bot + 1, "json_import.file": file + 1}


def test_a_range_ends(conn: psycopg.Connection):
    set_range(conn, 5000, 5001)
    assert new_ids(conn) == (5000, 5000) and new_ids(conn) == (5001, 5001)
    with refused(conn, "2200H"):
        create_bot(conn)
    with refused(conn, "MB123") as caught:
        set_range(conn, 5000, 5001)
    assert "used up" in caught.value.diag.message_primary
    assert set_range(conn, 5000, 5010)["core.bots"] == 5002


@pytest.mark.parametrize(("first", "last"), (
    (None, 5), (5, None), (0, 5), (-5, 5), (6, 5), (1, 10**18)))
def test_what_is_no_range_is_refused(conn: psycopg.Connection, first: int | None, last: int | None):
    with refused(conn, "MB123"):
        set_range(conn, first, last)


@pytest.mark.parametrize("insert", (
    "insert into core.bots (bot_id, name) overriding system value values (7500, 'moved')",
    # a bot that was dropped: its entries are not a new bot's to read
    "insert into audit.security_audit_log (bot_id, operation) values (7500, 'EVENT')",
    "insert into json_import.file (bot_id, file_id, path, kind, status, octets, reason, run_id)"
    " overriding system value select bot_id, 7500, 'x', 'other', 'ignored', 0, 'x',"
    " json_import.start_run('x') from core.bots limit 1"))
@pytest.mark.parametrize("session", ("conn", "owned_house"))
def test_a_range_with_ids_of_others_in_it_is_refused(
        request: pytest.FixtureRequest, session: str, insert: str):
    conn = request.getfixturevalue(session)  # the owner sees no row by itself
    create_bot(conn)
    for table in ("core.bots", "audit.security_audit_log", "json_import.file"):
        conn.execute(f"alter table {table} no force row level security")
    conn.execute(insert)
    for table in ("core.bots", "audit.security_audit_log", "json_import.file"):
        conn.execute(f"alter table {table} force row level security")
    conn.execute("set local row_security = off")  # as the runner has it
    before = set_range(conn, 1, 7000)
    with refused(conn, "MB123") as caught:
        set_range(conn, 7001, 8000)
    assert "7001" in caught.value.diag.message_primary
    assert set_range(conn, 1, 7000) == before
    set_range(conn, 7501, 8000)


def test_the_database_s_owner_sets_the_range(owned_house: psycopg.Connection):
    set_range(owned_house, 10**9, 2 * 10**9)
    assert create_bot(owned_house) == 10**9


def test_nobody_below_sets_the_range(conn: psycopg.Connection):
    for role in ("app_super_admin", "app_bot", "app_provisioner"):
        conn.execute(f"set role {role}")
        with refused(conn, "42501"):
            set_range(conn, 1, 10)
        conn.execute("reset role")
