"""The hostile suite: one bot stores, in every column that it may write, every odd value that a type
can hold. What the database takes, stays. Then every job runs, for that bot and for its neighbours,
and the dump is restored into a fresh cluster and is the same, row by row.

The columns come from the catalog: a new one is tried as soon as a bot may write it. `make test`
tries a few values of each type, `make torture` all, and moves the dump.
"""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from conftest import Database, clone, private_server
from core_rows import make_bot, program, run_runner
from import_helpers import make_folder, said

from fleet import server

pytest_plugins = "core_rows"

# Every value as SQL, the worst first: `make test` takes so many of each type.
SHORT = 3
NESTED = "(repeat('[', {0}) || '1' || repeat(']', {0}))::jsonb"
# deeper than the parser takes: what was parsed, put into itself
DEEPEST = f"""(with recursive n (i, j) as (
    select 1, {NESTED.format(2500)}
    union all
    select i + 1, jsonb_set({NESTED.format(2500)}, array_fill('0'::text, array[2500]), j)
    from n where i < 7
) select jsonb_build_object('a', j) from n order by i desc limit 1)"""


def nested(levels: int) -> str:
    return f"jsonb_build_object('a', {NESTED.format(levels - 1)})"


TIMES = ("4714-11-24 00:00:00+00 BC", "infinity", "294276-12-31 23:59:59.999999+00", "-infinity",
         "1970-01-01 00:00:00+00", "1969-12-31 23:59:59.999999+00",
         "2099-12-31 23:59:59.999999+00", "2100-01-01 00:00:00+00")
NUMBERS = ("NaN", "Infinity", "1e131071", "-Infinity", "1e-16383", "0")
WHOLE = {"smallint": 2 ** 15, "integer": 2 ** 31, "bigint": 2 ** 63}
TEXTS = (r"e'\x1b]0;x\x07\u202e\u2066\u200f\u2028\u0085\r\n'", r"'\u0000 {\"\\u0000\"} \\'", "''",
         "repeat('я', 65536)", r"repeat('\', 65536)", "repeat('x', 65537)",
         r"repeat('\', 30000000)", "repeat(chr(1114111), 65536)", "chr(1) || chr(127)",
         "repeat('👩‍👩‍👧', 10000)", "'''; drop table core.bots; --'", "repeat(e'\\n', 65536)",
         "' '", "'null'")
DOCUMENTS = (
    nested(3000), "jsonb_build_object('a', 1e131071::numeric)",
    "(select jsonb_object_agg('k' || i, i) from generate_series(1, 65536) as i)",
    nested(63), nested(64), nested(65), DEEPEST,
    "(select jsonb_build_object('a', jsonb_agg(1e131071::numeric)) from generate_series(1, 400))",
    "(select jsonb_build_object('a', jsonb_agg(1e-16383::numeric)) from generate_series(1, 400))",
    r"""'{"": "", "a": "\\u0000", "b": "\ud83d\ude00"}'""", "'{}'", "'null'", "'[]'", "'1'",
    r"""jsonb_build_object('b', e'\x1b\u202e\u2028', e'\u2066', repeat('\', 60000))""",
    r"jsonb_build_object('b', repeat('\', 30000000))", "jsonb_build_object('b', -0.0::numeric)")
ODD = {
    "text": TEXTS, "character varying": TEXTS, "jsonb": DOCUMENTS,
    "json": tuple(f"({d})::json" for d in DOCUMENTS if "131071" not in d),
    "timestamp with time zone": tuple(f"'{t}'" for t in TIMES),
    "timestamp without time zone": tuple(f"'{t}'" for t in TIMES),
    "date": tuple(f"'{t}'" for t in (
        "4714-11-24 BC", "infinity", "5874897-12-31", "-infinity", "1969-12-31", "2100-01-01")),
    "interval": tuple(f"'{t}'" for t in (
        "-178000000 years", "178000000 years", "2562047788 hours", "-1 second", "0")),
    "numeric": tuple(f"'{n}'" for n in NUMBERS),
    "double precision": ("'NaN'", "'Infinity'", "1e308", "'-Infinity'", "1e-307", "'-0'"),
    "boolean": ("true", "false"), "uuid": ("'00000000-0000-0000-0000-000000000000'",),
    "bytea": ("''", r"'\x00'", r"repeat('\000', 65537)::bytea"),
    **{name: (str(end - 1), f"({-end})", "0", "(-1)", "1") for name, end in WHOLE.items()},
}
# Of the other columns of a row: what the bot would say. Any other gets a value by its type.
HONEST = {"profile_id": "{profile}", "conversation_id": "{conversation}", "direction": "'in'",
          "chat_id": "{fresh}", "telegram_id": "{fresh}"}
BY_TYPE = {"text": "'x'", "jsonb": "'{{}}'", "bigint": "{fresh}", "integer": "1",
           "timestamp with time zone": "now()"}
COLUMNS = """
    with recursive base (oid, base) as (
        select oid, oid from pg_type where typbasetype = 0
        union all
        select t.oid, b.base from base as b join pg_type as t on t.typbasetype = b.oid
    )
    select t::text, a.attname::text, format_type(b.base, null),
           has_column_privilege('app_bot', t, a.attnum, 'insert'),
           has_column_privilege('app_bot', t, a.attnum, 'update'),
           a.attnotnull and not a.atthasdef and a.attidentity = ''
    from core.bot_tables() with ordinality as u (t, place)
    join pg_attribute as a on a.attrelid = t and a.attnum > 0 and not a.attisdropped
    join base as b on b.oid = a.atttypid
    where has_any_column_privilege('app_bot', t, 'insert')
    order by place, a.attnum"""
# The server's own trouble, which no value may bring about; 57P01 and more: it went down.
BROKEN = ("XX", "57", "58", "08")


class Hostile:
    """A bot that stores what it can, and counts what was taken and what refused."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.bot, self.login = make_bot(database)
        self.taken: dict[tuple[str, str, str], str] = {}
        self.refused: dict[tuple[str, str, str], str] = {}
        self.fresh = 1000

    def attack(self, most: int | None) -> None:
        columns = self.database.execute(COLUMNS)
        with self.login.connect() as conn:
            conn.execute(r"set app.actor = e'\x1b]0;x\x07\u202e'")
            conn.execute("set statement_timeout = '5 min'")
            conn.execute("select core.record_message(1, 'in', 'x')")
            self.profile, self.conversation = conn.execute(
                "select profile_id, conversation_id from core.conversations").fetchone()
            for table, column, kind, may_insert, may_update, _ in columns:
                if not (may_insert or may_update) or column == "bot_id":
                    continue
                assert kind in ODD, f"say here which values of type {kind} are odd ({column})"
                for value in ODD[kind][:most]:
                    if may_insert:
                        self._insert(conn, table, column, value, columns)
                    if may_update:
                        self._try(conn, table, column, value, f"update {table} set {column} = "
                                  f"{value} where ctid = (select min(ctid) from {table})"
                                  f" and tableoid = (select min(tableoid) from {table})")

    def _insert(self, conn: psycopg.Connection, table: str, column: str, value: str,
                columns: list[tuple]) -> None:
        row = {name: HONEST.get(name) or BY_TYPE[kind]
               for t, name, kind, may_insert, _, needed in columns
               if t == table and may_insert and needed and name != "bot_id"}
        self.fresh += 1
        row = {name: text.format(profile=self.profile, conversation=self.conversation,
                                 fresh=self.fresh) for name, text in row.items()} | {column: value}
        self._try(conn, table, column, value, f"insert into {table} ({', '.join(row)})"
                  f" values ({', '.join(row.values())})")

    def _try(self, conn: psycopg.Connection, table: str, column: str, value: str, statement: str
             ) -> None:
        try:
            conn.execute(statement.replace("%", "%%"))
        except psycopg.Error as fault:
            assert fault.sqlstate and not fault.sqlstate.startswith(BROKEN), (statement, fault)
            self.refused[table, column, value] = fault.sqlstate
        else:
            self.taken[table, column, value] = statement.split()[0]


def neighbours(database: Database) -> list[Database]:
    """Two bots that keep what bots keep; one is in the same leaves as who comes after ten more."""
    made = [make_bot(database)[1] for _ in range(2)]
    for login in made:
        login.execute("select core.record_message(1, 'in', 'hello', '2025-01-01 10:00:00+00'),"
                      " core.record_message(1, 'out', 'well', '2025-01-01 10:00:05+00')")
    return made


def run_jobs(database: Database, hostile: Hostile, good: list[Database], folder: Path) -> None:
    """Everything that works for all bots, but what ends it for the hostile one."""
    name, = database.execute("select name from core.bots where bot_id = %s", [hostile.bot])[0]
    for home in ("new bot", name):
        make_folder(folder / home, {"conversations/7.json": [said("one"), said("two")]})
    run_runner(database, "import", str(folder))
    assert_jobs_done(database)
    with database.connect() as conn:
        conn.execute("select performance.roll_up_metrics('-infinity')")
        assert conn.execute("select count(*) from core.stale_days").fetchone() == (0,)
        for login in good:
            bot = int(login.parts["user"].removeprefix("bot_"))
            assert conn.execute(
                "select day::text, messages_in, messages_out, reply_p50::text"
                " from core.bot_metrics where bot_id = %s", [bot]).fetchall() == [
                    ("2025-01-01", 1, 1, "00:00:05")]
            assert conn.execute("select messages_in, messages_out from performance.bot_total"
                                " where bot_id = %s", [bot]).fetchone() == (1, 1)
        while conn.execute("select entry_count from audit.seal()").fetchone()[0]:
            pass
        assert conn.execute("select * from audit.verify_seals()").fetchall() == []
        assert conn.execute("select count(*), sum(length(e::text)) > 0 from audit.events as e"
                            ).fetchone()[1]
        failed = conn.execute("select check_name, value, what_to_do from performance.health_check()"
                              " where value = 'nan'").fetchall()
        assert failed == []
        assert conn.execute("select count(*) > 0 from performance.metrics").fetchone()[0]
        assert conn.execute("select * from json_import.check() where not ok").fetchall() == []


def show_all(database: Database) -> None:
    """What reads of all bots, by the runner."""
    for command in (["health"], ["metrics"], ["report"], ["rejects"], ["bot", "list"], ["verify"]):
        done = run_runner(database, *command, code=None)
        assert done.returncode in (0, 3, 4, 6) and "the runner failed" not in done.stderr, done


def assert_jobs_done(database: Database) -> None:
    """Maintenance runs each task, and each does its work."""
    database.execute("update performance.task set started_at = null")
    database.execute("call performance.maintain()")
    assert database.execute("select task, error from performance.task where error is not null"
                            " or succeeded_at is null") == []


def end_it(database: Database, hostile: Hostile) -> None:
    """A contact of the hostile bot is erased, then the bot itself is dropped."""
    (telegram_id,) = database.execute(
        "select telegram_id from core.girls_profiles where bot_id = %s order by profile_id limit 1",
        [hostile.bot])[0]
    assert database.execute("select audit.erase(%s, %s, 'asked for') > 0",
                            [hostile.bot, telegram_id]) == [(True,)]
    database.execute("select security.drop_bot(%s, true)", [hostile.bot])
    database.execute("select audit.seal()")
    assert database.execute("select * from audit.verify_seals()") == []
    assert_jobs_done(database)


# The dump ------------------------------------------------------------------------------------


def contents(database: Database) -> dict[str, list]:
    """Each table of ours with the digests of its rows, in order."""
    tables = database.execute("""
        select format('%I.%I', n.nspname, c.relname)
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and not c.relispartition
          and n.nspname in (select schema_name from security.schema_owner)
        order by 1""")
    return {table: [row for row, in database.execute(
        f"select md5(t::text) from {table} as t order by 1")] for table, in tables}


def restore_into(database: Database, fresh: server.Server, folder: Path) -> Database:
    """The whole database as its dump makes it in a cluster that has nothing of ours."""
    superuser = Database(dict(fresh.parts()) | {"dbname": "postgres"})
    roles = program(database, "pg_dumpall", "--roles-only", "--no-role-passwords")
    assert roles.returncode == 0, roles.stderr
    me = superuser.execute("select quote_ident(current_user)")[0][0]
    text = "".join(line for line in roles.stdout.splitlines(keepends=True)
                   if not line.startswith((f"CREATE ROLE {me};", f"ALTER ROLE {me} ")))
    superuser.execute(f'create database "{database.name}"')
    target = Database(superuser.parts | {"dbname": database.name})
    dumped = program(database, "pg_dump", "-f", str(folder / "dump.sql"))
    assert dumped.returncode == 0, dumped.stderr
    (folder / "roles.sql").write_text(text, "utf-8")
    for file in ("roles.sql", "dump.sql"):
        done = program(target, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", str(folder / file))
        assert done.returncode == 0, done.stderr[-2000:]
    return target


# All of it -----------------------------------------------------------------------------------


def test_a_hostile_bot_stops_no_job(cluster: Database, template: Database, tmp_path: Path):
    for database in clone(cluster, template.name):
        good = neighbours(database)
        hostile = Hostile(database)
        hostile.attack(SHORT)
        assert hostile.taken and hostile.refused
        run_jobs(database, hostile, good, tmp_path / "bots")
        end_it(database, hostile)


@pytest.fixture(params=["superuser", "owner"])
def anybodys(request: pytest.FixtureRequest) -> Iterator[tuple[Database, Database]]:
    """A database as its migrator sees it, and as the superuser of its cluster does."""
    with private_server() as own:
        superuser = Database(dict(own.parts()))
        superuser.execute("create role owner login createrole")
        superuser.execute(f"create database hostile owner "
                          f"{'owner' if request.param == 'owner' else superuser.parts['user']}")
        found = Database(superuser.parts | {"dbname": "hostile"})
        migrator = Database(found.parts | (
            {"user": "owner"} if request.param == "owner" else {}))
        run_runner(migrator, "migrate")
        yield migrator, found


@pytest.mark.torture
def test_whatever_a_bot_stores_every_job_runs_and_the_dump_is_restored_whole(
        anybodys: tuple[Database, Database], tmp_path: Path):
    migrator, superuser = anybodys
    good = neighbours(migrator)
    hostile = Hostile(migrator)
    hostile.attack(None)
    # the bounds may refuse much; so much of what is odd is still within them
    assert len(hostile.taken) > 50 and len(hostile.refused) > 20
    run_jobs(migrator, hostile, good, tmp_path / "bots")
    show_all(migrator)
    with private_server() as fresh:
        restored = restore_into(superuser, fresh, tmp_path)
        before, after = contents(superuser), contents(restored)
        assert before.keys() == after.keys()
        assert {table for table in before if before[table] != after[table]} == set()
        assert len(before["core.messages"]) > 10 and len(before["audit.security_audit_log"]) > 50
    end_it(migrator, hostile)
