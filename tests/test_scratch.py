"""The scratch database that shows what files make: where it is had, and that it goes again."""

import os
import random
import re
import signal
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from conftest import Database
from edited import RECORD, Edited
from project import ended, until
from psycopg import sql

from fleet import server
from fleet.scratch import build, kept

pytest_plugins = "edited"


@pytest.fixture(scope="module")
def known() -> None:
    """Nothing: what is built is built here."""


def leftovers(database: Database) -> list[tuple]:
    return database.execute("select datname from pg_database where datname like 'fleet_scratch%'")


def rename(database: Database, name: str) -> str:
    """Makes a scratch database one of 1970; returns its new name."""
    old = re.sub("_[0-9]+_", "_1_", name)
    database.execute(f"alter database {name} rename to {old}")
    return old


def keeper() -> psutil.Process:
    """The process that was started last to take a scratch database away again."""
    return max((child for child in psutil.Process().children() if "fleet.keeper" in
                " ".join(child.cmdline())), key=lambda child: child.create_time())


def test_what_a_killed_keeper_left_is_removed_an_hour_later(cluster):
    order = {"parts": dict(cluster.parts)}
    with kept(order) as parts:
        keeper().kill()
    with kept(order):
        assert (parts["dbname"],) in leftovers(cluster)  # it could be somebody's who is at work
    old = rename(cluster, parts["dbname"])
    with Database(parts | {"dbname": old}).connect(), kept(order):
        assert (old,) in leftovers(cluster)  # it is
    with kept(order):
        assert (old,) not in leftovers(cluster)
    assert leftovers(cluster) == []


def test_a_server_that_a_killed_keeper_left_is_removed_an_hour_later():
    order = {"binaries": str(server.wheel_binaries()), "login": "postgres", "superuser": True,
             "replays": False}
    with kept(order) as parts:
        keeper().kill()
    folder = next(path.parent for path in Path(tempfile.gettempdir()).glob("fleet-scratch-*/server")
                  if server.Server(server.wheel_binaries(), path).parts()["host"] == parts["host"])
    left = server.Server(server.wheel_binaries(), folder / "server")
    pid = left.pid()
    assert pid
    with kept(order):
        assert not ended(pid)
    os.utime(folder, (0, 0))
    with kept(order):
        pass
    assert not folder.exists() and not Path(parts["host"]).exists()
    until(lambda: ended(pid), "the server has ended")


def test_the_limits_of_a_login_do_not_keep_it_from_being_removed(whole, cluster):
    user = sql.Identifier(whole.database.parts["user"])
    cluster.execute(sql.SQL("alter role {} set idle_session_timeout = 200").format(user))
    try:
        with kept({"parts": dict(whole.database.parts)}):
            time.sleep(1)
    finally:
        cluster.execute(sql.SQL("alter role {} reset idle_session_timeout").format(user))
    assert leftovers(cluster) == []


def test_what_the_shell_says_of_a_server_is_not_said_of_a_temporary_one(monkeypatch):
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.9")
    monkeypatch.setenv("PGOPTIONS", "-c no_such_setting=1")
    with kept({"binaries": str(server.wheel_binaries()), "login": "somebody", "superuser": False,
               "replays": True}) as parts:
        assert parts["user"] == "somebody"


def test_it_waits_for_nobody_who_gives_a_right_that_is_there(whole, cluster):
    with cluster.connect() as conn, conn.transaction(force_rollback=True):
        conn.execute("grant set on parameter session_replication_role to app_importer")
        assert whole.differences() == {}


@pytest.mark.torture  # that the login may make no database is tried below, always
@pytest.mark.parametrize(("change", "undo", "why"), [
    ("alter role {user} connection limit 2", "", "too many connections for role"),
    ("alter role {user} nocreaterole", "", "the login may make roles"),
    ("alter role app_backup connection limit 3; alter role app_backup createdb",
     "alter role app_backup nocreatedb connection limit -1", "role app_backup is there"),
], ids=["MB901", "MB904", "MB101"])
def test_where_the_server_itself_will_not_do_a_temporary_one_is_taken(
        cluster, owned, tmp_path, change, undo, why):
    user = sql.Identifier(owned.parts["user"])
    cluster.execute(sql.SQL("alter role {} createdb").format(user))
    mine = Edited(tmp_path / "project", owned)
    mine.call("migrate")
    mine.edit_record_message("-- edited")
    try:
        cluster.execute(sql.SQL(change).format(user=user))
        if cluster.execute("show server_version_num")[0][0] >= "160000":  # the wheel has these
            assert mine.differences() == {RECORD: "files"}
        else:
            assert why in mine.call("migrate", code=1).err
    finally:
        if undo:
            cluster.execute(undo)
    assert leftovers(cluster) == []


def test_what_runs_in_no_transaction_is_read_in_one(whole):
    whole.add("006_rows", "-- 006_rows: what can't run in a transaction.\n-- transaction: none\n"
                          "set lock_timeout = '2s';\nvacuum core.bots;\n"
                          "create procedure public.fill() language plpgsql as"
                          " 'begin commit; end';\n"
                          "call public.fill();\ndrop procedure public.fill();\n"
                          "create table if not exists core.note (bot_id bigint, note_id bigint,"
                          " primary key (bot_id, note_id));\n"
                          "select security.protect('core.note');\n"
                          "select audit.enable('core.note');\n"
                          "alter table core.note owner to app_owner;\n"
                          "reset lock_timeout;\nselect security.accept_inventory('006_rows');\n",
              "drop table core.note;\n", "select 'fine', true, '';\n",
              depends=("005_json_import",))
    whole.call("migrate")
    whole.is_clean()


def test_a_folder_that_keeps_nothing_is_no_reason_to_build_twice(whole, monkeypatch):
    (whole.folder / ".scratch").touch()
    whole.edit_record_message("-- edited")
    built = []
    monkeypatch.setattr("fleet.scratch.build",
                        lambda *said: built.append(said) or build(*said))
    whole.call("migrate")
    assert len(built) == 1


def test_it_mends_nothing_that_the_cluster_shares(whole, cluster):
    cluster.execute("revoke app_base from app_bot")  # which 002 grants where it is missing
    try:
        whole.call("diff", code=None)
        assert cluster.execute("select pg_has_role('app_bot', 'app_base', 'member')") == [(False,)]
    finally:
        cluster.execute("grant app_base to app_bot")


def test_a_second_diff_needs_no_scratch_database(whole, monkeypatch):
    roles = "select string_agg(r::text, e'\n' order by oid) from pg_roles as r"
    facts = "select * from security.inventory() order by scope, kind, object"
    before = whole.execute(roles), whole.execute(facts)
    whole.call("diff")
    monkeypatch.setattr("fleet.scratch.build", None)
    whole.call("diff")
    assert (whole.execute(roles), whole.execute(facts)) == before
    kept = whole.folder / ".scratch"
    assert [oct(path.stat().st_mode & 0o777) for path in (kept, *kept.iterdir())] == [
        "0o700", "0o600"]
    assert leftovers(whole.database) == []


@pytest.mark.parametrize("number", range(40 if os.environ.get("TORTURE") else 2))
def test_killed_in_the_middle_it_leaves_nothing(whole, number):
    chance = random.Random(os.environ.get("SEED", str(number)))  # noqa: S311
    child = whole.start("diff")
    time.sleep(chance.uniform(0.3, 1.5))
    keepers = psutil.Process(child.pid).children() if child.poll() is None else []
    child.send_signal(signal.SIGKILL)
    child.communicate()
    until(lambda: not any(keeper.is_running() for keeper in keepers), "its keeper has ended")
    assert leftovers(whole.database) == []
    assert whole.differences() == {}


def test_who_may_make_no_database_has_a_temporary_server_or_what_was_accepted(
        whole, cluster, request):
    if cluster.execute("show server_version_num")[0][0] >= "160000":  # the wheel has these
        mine = Edited(whole.folder.parent / "owned", request.getfixturevalue("owned"))
        mine.execute("create function public.greet() returns int language sql as 'select 1'")
        mine.call("migrate")
        mine.edit_record_message("-- edited")
        assert mine.differences() == {RECORD: "files"}
        return
    user = sql.Identifier(whole.database.parts["user"])
    cluster.execute(sql.SQL("alter role {} nocreatedb").format(user))
    try:
        whole.edit_record_message("-- edited")
        refused = whole.call("migrate", code=1)
        assert "MB915" in refused.err and "createdb" in refused.err
        assert "refuse: edited" in whole.call("plan").out
        assert whole.call("diff").err.count("no scratch database") == 1
        whole.replace_live()
        assert RECORD in whole.call("diff", code=3).out
    finally:
        cluster.execute(sql.SQL("alter role {} createdb").format(user))
