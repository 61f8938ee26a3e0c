"""What a database or a role sets changes no command's result, no bot's rows and no record of them.

Some fifty hostile settings are set at once: some for the database, the others for its logins, and
then the other way round. `make torture` sets each alone as well.
"""

import json
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from conftest import Database
from core_rows import psql
from pooler import pooled
from project import ORIGIN, Project
from psycopg import sql
from scraped import make_super_admin

from fleet import config, server, settings
from fleet.bots import verifier

WRITTEN = {  # how values and SQL are written and read
    "datestyle": "German, DMY", "intervalstyle": "iso_8601", "timezone": "Pacific/Kiritimati",
    "extra_float_digits": "-15", "bytea_output": "escape", "array_nulls": "off",
    "xmloption": "document", "xmlbinary": "hex", "client_encoding": "latin1",
    "client_min_messages": "error", "standard_conforming_strings": "off",
    "escape_string_warning": "off", "backslash_quote": "off", "quote_all_identifiers": "on",
    "transform_null_equals": "on", "search_path": "audit, core",
    "default_text_search_config": "simple", "plpgsql.extra_errors": "all",
    "plpgsql.extra_warnings": "all", "plpgsql.variable_conflict": "use_column"}
# where rows are, and how they are found; another default_table_access_method is a fact, which diff
# names, and event_triggers is a superuser's switch of what goes on record, which is named, too
STORED = {
    "default_tablespace": "elsewhere",
    "default_toast_compression": "lz4", "check_function_bodies": "off",
    "password_encryption": "md5", "createrole_self_grant": "set, inherit",
    "synchronous_commit": "off", "work_mem": "64kB", "plan_cache_mode": "force_generic_plan",
    "join_collapse_limit": "1", "from_collapse_limit": "1", "constraint_exclusion": "on",
    "cursor_tuple_fraction": "1", "gin_fuzzy_search_limit": "1", "enable_hashjoin": "off",
    "enable_sort": "off", "enable_partitionwise_join": "on", "stats_fetch_consistency": "snapshot"}
ALLOWED = {  # what ends a session, or lets a statement not run: there commands are on their own
    "statement_timeout": "2min", "lock_timeout": "2min", "transaction_timeout": "2min",
    "idle_in_transaction_session_timeout": "2min", "idle_session_timeout": "2min",
    "default_transaction_isolation": "serializable", "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on", "row_security": "off", "exit_on_error": "on",
    "restrict_nonsystem_relation_kind": "view, foreign-table"}
SLOW = {  # each makes a life some times as long
    "debug_parallel_query": "regress", "force_parallel_mode": "regress", "jit_above_cost": "0",
    "geqo_threshold": "2", "enable_seqscan": "off", "enable_indexscan": "off",
    "enable_nestloop": "off", "enable_hashagg": "off", "enable_partition_pruning": "off"}
LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
HOSTILE = WRITTEN | STORED | ALLOWED | SLOW
HERE = shlex.quote(str(ORIGIN / "examples/legacy/mila"))


class Fleet(Project):
    """The whole repository at work on a database, as one login and as a superuser see it."""

    def __init__(self, folder: Path, database: Database, admin: Database) -> None:
        self.folder, self.database, self.admin = folder, database, admin
        shutil.copytree(ORIGIN / "sql", folder / "sql")
        shutil.copy2(ORIGIN / "yoyo.ini", folder)

    def result(self, *args: str) -> tuple[int, str]:
        """Exit code and output of a command, without what is another each time."""
        done = self.call(*args, code=None, PGOPTIONS="")
        assert "debug:" not in done.err
        return done.code, scrubbed(done.out or done.err)


def scrubbed(text: str) -> str:
    """A text without times, random and measured values."""
    for pattern, word in (
            (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d(:?\d\d)?)?|log_20\d{12}", "TIME"),
            (r"\b\d+:\d\d:\d\d(\.\d+)?|[\d,]+ ms\b|(?<=facts accepted: )\d+", "N"),
            (r"sha256:[\w+/=]+", "SHA"),
            (r'"password": ".*?"|\w{8}-\w{4}-[\w-]{22,}', "RANDOM"),
            (r'"(seconds|octets_per_second|run_id|value|detail|limit_value)": .*', "MEASURED"),
            (r"(?m)^botfleet_.*\n", "")):
        text = re.sub(pattern, word, text)
    return text


@pytest.fixture(scope="module")
def known(cluster: Database) -> Iterator[dict[str, str]]:
    """The usual values of those settings that this server has; a tablespace to point at."""
    with cluster.connect() as conn:
        conn.execute("load 'plpgsql'")
        conn.execute("set allow_in_place_tablespaces = on")
        conn.execute("create tablespace elsewhere location ''")
        conn.execute("grant create on tablespace elsewhere to public")
        found = {name.lower(): value for name, value in conn.execute(
            "select name, reset_val from pg_settings where name <> 'default_toast_compression'"
            " or 'lz4' = any (enumvals)")}
        yield {name: found[name] for name in HOSTILE if name in found}
        conn.execute("drop tablespace elsewhere")


@pytest.fixture(scope="module")
def login(cluster: Database) -> Iterator[Database]:
    """A superuser or, on 15, an owner with CREATEROLE."""
    name = f"fleet_login_{secrets.token_hex(4)}"
    with cluster.connect() as conn:
        right = "createrole createdb" if conn.info.server_version < 160000 else "superuser"
        conn.execute(f"create role {name} login password '{name}' {right}")
        yield Database(cluster.parts | {"user": name, "password": name})
        conn.execute(f"drop role {name}")


@contextmanager
def fleet(folder: Path, login: Database, cluster: Database, for_database: Mapping[str, str],
          for_login: Mapping[str, str]) -> Iterator[Fleet]:
    """A fleet on an empty database, under these settings of the database and of its login."""
    name, owner = f"fleet_settings_{secrets.token_hex(4)}", login.parts["user"]
    with cluster.connect() as conn:
        conn.execute(f"create database {name} owner {owner}")
        made, admin = (Database(whose.parts | {"dbname": name}) for whose in (login, cluster))
        try:
            assign(conn, f"database {name}", for_database)
            assign(conn, f"role {owner}", for_login)
            yield Fleet(folder, made, admin)
        finally:
            conn.execute(f"alter role {owner} reset all")
            server.drop_database(conn, name)


def assign(conn: psycopg.Connection, whose: str, values: Mapping[str, str]) -> None:
    """Sets what begins with their next sessions."""
    for name, value in values.items():
        value = value if name == "search_path" else sql.quote(value, conn)
        conn.execute(f"alter {whose} set {name} = {value}")


def usual(database: Database, values: Mapping[str, str]) -> Database:
    """The database as those meet it who set these themselves."""
    words = (f"-c{name}={value}".replace(" ", "\\ ") for name, value in values.items())
    return Database(database.parts | {"options": " ".join(words)})


# A life ------------------------------------------------------------------------

BEFORE = ("migrate", "status --json", "verify --json --all", "plan --json", "diff --json",
          f"import --bot mila --json {HERE}", f"verify --bot mila --json --source {HERE}",
          "report --json", "bot add kim --json", "bot list --json", "bot rotate kim --json")
AFTER = ("maintain --json", "health --json", "metrics", "bot drop kim --yes --discard-data",
         "verify --json --all", "rollback --all --yes --discard-data")
WIDER = r"""alter table core.girls_profiles
    add third float8 default 1.0 / 3, add span interval default '1 day 02:03',
    add raw bytea default '\x4100', add names text[] default '{a,null}'"""
DUE = """update performance.task set created_at = created_at - interval '40 days',
    started_at = started_at - interval '40 days',
    succeeded_at = succeeded_at - interval '40 days'"""
LEFT = (
    "select direction, body, extract(epoch from sent_at)::text from core.messages"
    " where bot_id = %s order by message_id",
    "select operation, table_name, row_keys::text, old_values::text, new_values::text"
    " from audit.security_audit_log where bot_id = %s and kind is null order by entry_id",
    "select task, result, error from performance.task where %s > 0 order by task",
    "select * from audit.verify_seals() where %s > 0")


def life(world: Fleet, calm: Mapping[str, str], hostile: Mapping[str, str]) -> dict[str, object]:
    """What every command says from the first to the last, and what sessions leave in between."""
    said: dict[str, object] = {args: world.result(*shlex.split(args)) for args in BEFORE}
    said["sessions"] = sessions(world, calm, hostile)
    return said | {f"{args}, after": world.result(*shlex.split(args)) for args in AFTER}


def sessions(world: Fleet, calm: Mapping[str, str], hostile: Mapping[str, str]) -> str:
    """The rows, and the record of them, that a bot leaves and a super_admin, who both set what they
    may for themselves, and what pg_cron calls."""
    admin, password = usual(world.admin, calm), secrets.token_hex(16)
    bot_id, name = admin.execute("select bot_id, login from security.list_bots()"
                                 " where name = 'kim'")[0]
    with admin.connect() as conn:
        conn.execute("select security.rotate_bot_password(%s, %s)",
                     [bot_id, verifier(conn, password)])
        olga = make_super_admin(conn, world.admin, "olga_of_settings", password)
    running = {name: value for name, value in calm.items() if name in ALLOWED}
    bot, olga, cron = (usual(whose, running) for whose in (
        Database(world.admin.parts | {"user": name, "password": password}), olga, world.database))
    for conn, limits in ((bot.connect(), ()), (olga.connect(), LIMITS)):
        with conn:
            for setting in hostile.items():
                if setting[0] in limits:  # named, and rightly: it is what she was given
                    continue
                with suppress(psycopg.errors.InsufficientPrivilege):
                    assign(conn, "role current_user", dict([setting]))
    record = "select core.record_message(%s, 'in', %s, '2025-03-04 05:06:07+00', p_name => %s)"
    bot.execute(record, [7, "h\\i 'NULL'", "Olga"])
    admin.execute(WIDER)
    assert olga.execute("select count(*) from audit.refresh()") == [(1,)]
    bot.execute(record, [8, "{}", "Vera"])
    bot.execute("update core.messages set body = body || '!'")
    bot.execute("update core.girls_profiles set name = 'Anna'")
    assert olga.execute("select audit.erase(%s, 7, 'asked')", [bot_id]) == [(5,)]
    admin.execute(DUE)
    cron.execute("call performance.maintain()")
    admin.execute("select security.accept_inventory('a test')")
    return scrubbed(json.dumps([admin.execute(query, [bot_id]) for query in LEFT]))


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory, cluster: Database, login: Database,
             known: dict[str, str]) -> dict[str, object]:
    """A life under no settings, in which all goes well."""
    with fleet(tmp_path_factory.mktemp("ordinary"), login, cluster, {}, {}) as world:
        said = life(world, known, {})
    assert {name: text for name, text in said.items() if text[0] not in (0, "[")} == {}
    assert "Vera" in said["sessions"] and "Olga" not in said["sessions"]
    return said


def difference(name: str, wanted: str, found: str) -> str:
    """The place where two texts part."""
    at = next((at for at, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b), 0)
    return f"{name}: {wanted[max(at - 60, 0):at + 60]!r} became {found[max(at - 60, 0):at + 300]!r}"


@pytest.mark.parametrize(("for_database", "for_login"), [
    pytest.param(WRITTEN, STORED | ALLOWED, id="written-stored", marks=pytest.mark.torture),
    pytest.param(STORED | ALLOWED, WRITTEN, id="stored-written"),
    *(pytest.param(*pair, marks=pytest.mark.torture, id=f"{name}-{whose}")
      for name, value in HOSTILE.items()
      for whose, pair in (("database", ({name: value}, {})), ("login", ({}, {name: value}))))])
def test_no_setting_changes_a_result(
        tmp_path, cluster, login, known, ordinary, for_database, for_login):
    for_database, for_login = ({name: value for name, value in part.items() if name in known}
                               for part in (for_database, for_login))
    with fleet(tmp_path, login, cluster, for_database, for_login) as world:
        said = life(world, known, for_login)
    assert [difference(name, str(ordinary[name]), str(text)) for name, text in said.items()
            if text != ordinary[name]] == []


# A migration's file --------------------------------------------------------------

FILE = r"""-- {name}: what depends on settings.
create table public.{table} as
select name, setting from pg_settings
union all select 'rows seen', count(*)::text from core.messages
union all select 'a date', ('03/02/2024'::date - '01/01/2024'::date)::text
union all select 'a literal', 'a\\b';

with changed as (update core.messages set metadata = metadata || '{{"seen": true}}' returning 1)
insert into public.{table} select 'rows changed', count(*)::text from changed;
"""


def test_a_data_migration_leaves_the_same_rows_by_runner_psql_and_yoyo(
        tmp_path, cluster, login, known):
    values = {name: value for name, value in (WRITTEN | STORED).items() if name in known}
    with fleet(tmp_path, login, cluster, values, {}) as world:
        world.call("migrate")
        usual(world.admin, known).execute(
            "select core.record_message(1, 'in', 'a', p_bot_id => security.create_bot('kim'))")
        found = {}
        for number, table in enumerate(("by_runner", "by_psql", "by_yoyo"), 6):
            name = f"{number:03}_{table}"
            world.add(name, FILE.format(name=name, table=table), depends=("005_json_import",))
            if table == "by_runner":
                world.call("migrate", PGOPTIONS="")
            elif table == "by_yoyo":
                world.yoyo("apply", "--batch", "--match", name)
            else:
                assert psql(world.database, world.path(name, "apply")).returncode == 0
                world.remove(name)
            found[table] = dict(usual(world.admin, known).execute(f"select * from public.{table}"))
    runner, by_psql, yoyo = found.values()
    assert int(runner["rows changed"]) == int(runner["rows seen"]) <= 1
    ours = re.compile(f"{settings.STAYS}|^application_name$")
    assert {name: value for name, value in runner.items() if by_psql.get(name, value) != value
            and not ours.search(name)} == {}
    assert {name: value for name, value in runner.items() if yoyo.get(name, value) != value
            and not ours.search(name)} == {"search_path": runner["search_path"]}  # see yoyo.ini


# A session -----------------------------------------------------------------------


@contextmanager
def connected(database: Database, **parts: str) -> Iterator[settings.Connection]:
    """A connection of the runner's."""
    with config.connect(config.DatabaseConfig(database.parts, {}), **parts) as conn:
        yield conn


SHOWN = ("select lower(name), setting from pg_settings where lower(name) = any (%s)"
         " or name in ('transaction_isolation', 'transaction_read_only')")


def test_each_statement_runs_under_our_settings_and_leaves_none(empty, known):
    values = {name: value for name, value in (WRITTEN | ALLOWED).items() if name in known}
    names = [*settings.PINNED.keys() & known.keys()]
    with empty.connect() as conn:
        calm = dict(conn.execute(SHOWN, [names]).fetchall()) | {
            "row_security": "off", "search_path": "pg_catalog, pg_temp"}
        assign(conn, f"database {empty.name}", values)
    with connected(empty) as conn:
        assert dict(conn.execute(SHOWN, [names])) == calm
        with conn.transaction(), conn.transaction():
            assert dict(conn.execute(SHOWN, [names])) == calm
        left = psycopg.Cursor(conn).execute(
            "select name from pg_settings where source = 'session' order by name").fetchall()
    assert left == [("client_connection_check_interval",), ("idle_session_timeout",)]


def test_what_pgoptions_says_of_limits_and_writing_stands(empty):
    said = "-cstatement_timeout=7min -cdefault_transaction_read_only=on -cdatestyle=German"
    with connected(empty, options=said) as conn:
        found = dict(conn.execute(SHOWN, [["statement_timeout", "datestyle"]]))
    assert (found["statement_timeout"], found["transaction_read_only"]) == ("420000", "on")
    assert found["datestyle"] == "ISO, MDY"


def test_nobody_behind_a_pooler_gets_what_a_command_set(tmp_path, cluster, login):
    with fleet(tmp_path, login, cluster, {}, {}) as world, pooled(world.database, 2) as behind:
        through = {"PGHOST": behind.parts["host"], "PGPORT": behind.parts["port"]}
        for args in ("migrate", "bot add kim", "health", f"import --bot mila {HERE}"):
            world.call(*shlex.split(args), PGOPTIONS="", **through)
        left = {found for _ in range(4) for found in behind.execute(
            "select name, current_setting('app.actor', true) from pg_settings"
            " where source = 'session' and lower(name) = any (%s)", [[*settings.PINNED]])}
    assert {(name, actor or "") for name, actor in left} == {
        ("client_connection_check_interval", ""), ("idle_session_timeout", "")}
