"""What a call reads does not grow with the bots: rows are counted, no clock is asked.

From 16 on the server itself reads all memberships of the provisioner, one for each bot, before it
lets it change a role, and anew after each new membership: these are counted apart.
"""

from collections.abc import Iterator

import psycopg
import pytest
from conftest import Database

BOTS = 20
_READ = ("select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint"
         " from pg_stat_xact_all_tables where relname ")
# the list of who may connect is one value of the database's row, kept in pieces
READ = f"{_READ} not in ('pg_auth_members', 'pg_toast_1262')"
MEMBERSHIPS = f"{_READ} = 'pg_auth_members'"
LISTS_WRITTEN = "select n_tup_upd from pg_stat_xact_all_tables where relname = 'pg_database'"
# what is called, and how often the server may read the provisioner's memberships for it
CALLS = {
    "create_bot": ("select security.create_bot('one more', {verifier})", 3),
    "rotate_bot_password": ("select security.rotate_bot_password({bot}, {verifier})", 2),
    "set_bot_limits": ("select security.set_bot_limits({bot}, 5, '10 s', '10 s')", 2),
    "set_bot_token": ("select security.set_bot_token({bot}, 'token')", 0),
    "pause_bot": ("select security.pause_bot({bot})", 6),
    "resume_bot": ("select security.pause_bot({bot}), security.resume_bot({bot})", 8),
    "grant_bot_to_admin": ("select security.grant_bot_to_admin({bot}, {admin})", 3),
    "create_worker": ("select security.create_worker('growing', array[{bot}]::bigint[])", 4),
}
VERIFIER = f"'SCRAM-SHA-256$4096:{'A' * 22}==${'B' * 43}=:{'C' * 43}='"


@pytest.fixture
def fleet(database: Database) -> Iterator[psycopg.Connection]:
    """A session in a database with some bots and an admin, where tables are read as if large."""
    with database.connect() as conn:
        conn.execute("set enable_seqscan = off")
        conn.execute("select security.create_admin(%s)", [f"admin_of_{database.name}"])
        add(conn, BOTS)
        yield conn


def add(conn: psycopg.Connection, bots: int) -> None:
    conn.execute("select security.create_bot('bot ' || gen_random_uuid())"
                 " from generate_series(1, %s)", [bots])


def bot_ids(conn: psycopg.Connection) -> list[int]:
    return [bot for bot, in conn.execute("select bot_id from core.bots order by 1")]


def counted(conn: psycopg.Connection, statement: str, counter: str = READ) -> int:
    """What a statement adds to a counter when it is run for the second time; it is undone."""
    for _ in range(2):
        with conn.transaction(force_rollback=True):
            before, again = (conn.execute(counter).fetchone()[0] for _ in range(2))
            conn.execute(statement)
            added = conn.execute(counter).fetchone()[0] - again
    return added - (again - before)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_reads_no_more_where_there_are_more_bots(fleet: psycopg.Connection, name: str):
    text, walks = CALLS[name]
    call = text.format(bot=bot_ids(fleet)[0], verifier=VERIFIER,
                       admin=f"'admin_of_{fleet.info.dbname}'")
    read, walked = counted(fleet, call), counted(fleet, call, MEMBERSHIPS)
    add(fleet, 3 * BOTS)
    assert counted(fleet, call) - read < BOTS
    walks *= fleet.info.server_version >= 160000
    assert counted(fleet, call, MEMBERSHIPS) - walked < (walks + 0.5) * 3 * BOTS


def test_a_worker_costs_as_much_for_each_of_its_bots(fleet: psycopg.Connection):
    add(fleet, 3 * BOTS)
    bots = bot_ids(fleet)
    none, few, many = (
        counted(fleet, f"select security.create_worker('growing', array{some}::bigint[])")
        for some in ([], bots[:BOTS], bots))
    assert few - none < 50 * BOTS
    assert many - none < 4.5 * (few - none)


def test_who_may_connect_is_written_at_once_for_all_bots(fleet: psycopg.Connection):
    call = "select security.protect_database()"
    written = counted(fleet, call, LISTS_WRITTEN)
    add(fleet, 3 * BOTS)
    assert counted(fleet, call, LISTS_WRITTEN) == written


def test_who_may_connect_is_known_as_the_server_knows_it(fleet: psycopg.Connection):
    with fleet.transaction(force_rollback=True):
        name, bot = fleet.info.dbname, f"bot_{bot_ids(fleet)[0]}"
        for change in (
                "create role growing_stranger login",
                f"grant {bot} to growing_stranger",
                f"alter role growing_stranger noinherit; revoke {bot} from growing_stranger;"
                f" grant {bot} to growing_stranger",
                "create role growing_member in role growing_stranger",
                "create role growing_superuser superuser",
                f"alter database {name} owner to growing_stranger",
                f"revoke all on database {name} from growing_stranger",
                f"grant connect on database {name} to pg_database_owner",
                f"grant connect on database {name} to public"):
            fleet.execute(change)
            assert fleet.execute(
                "select c from security.connecting_roles() as c order by 1").fetchall() \
                == fleet.execute(
                    "select oid from pg_roles where has_database_privilege("
                    "oid, current_database(), 'connect') order by 1").fetchall(), change
