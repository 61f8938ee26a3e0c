"""An operator's brake: a bot is paused, resumed, retired; and what a bot keeps in its config."""

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from conftest import Database
from core_rows import (
    at_once,
    failed_checks,
    make_bot,
    meanwhile,
    migrator,
    refused,
    run_runner,
)
from test_in_the_way import holding, is_alive, make_worker

from fleet.bots import verifier

pytest_plugins = "core_rows"


@pytest.fixture(params=["superuser", "owner"])
def fleet(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A migrated database, as seen by who migrated it."""
    if request.param == "superuser":
        yield request.getfixturevalue("database")
        return
    owned = request.getfixturevalue("owned")
    with owned.connect() as conn:
        conn.execute("set row_security = off")
        migrator(conn).migrate()
    yield owned


def call(database: Database, function: str, *arguments: object) -> object:
    """What a function of security returns."""
    marks = ", ".join(["%s"] * len(arguments))
    return database.execute(f"select security.{function}({marks})", [*arguments])[0][0]


def person(database: Database, is_super: bool = False) -> Database:
    """A new admin, as they connect."""
    name, password = f"person_{secrets.token_hex(6)}", secrets.token_hex(16)
    with database.connect() as conn:
        conn.execute("select security.create_admin(%s, %s, %s)",
                     [name, verifier(conn, password), is_super])
    return Database(database.parts | {"user": name, "password": password})


def state(database: Database, bot: int) -> tuple[str, bool, set[str], set[str]]:
    """A bot's status, whether its login is open, who may become it, who gets it back."""
    members = {name for name, in database.execute(
        "select r.rolname from pg_auth_members as m join pg_roles as r on r.oid = m.member"
        " where m.roleid = %s::regrole and security.login_kind(r.oid) is not null", [f"bot_{bot}"])}
    return (*database.execute(
        "select b.status, r.rolcanlogin from security.list_bots() as b"
        " join pg_roles as r on r.rolname = b.login where b.bot_id = %s", [bot])[0],
        members,
        {entry["login"] for entry in listed(database) if f"{bot} (paused)" in entry["bots"]})


def listed(database: Database) -> list[dict]:
    """Each worker and admin with the list of its bots."""
    return [{"login": login, "bots": (bots or "").split(", ")} for login, bots in database.execute(
        "select login, bots from security.list_logins()")]


def grants(database: Database) -> list[tuple]:
    """All memberships of logins made here, with what each lets its member do."""
    return database.execute(
        "select to_jsonb(m) - 'oid' from pg_auth_members as m"
        " where security.login_kind(m.member) is not null"
        " or security.login_kind(m.roleid) is not null order by m.roleid, m.member, m.grantor")


def events(database: Database, kinds: str = "^(bot|role)_(paused|re|granted)") -> list[tuple]:
    """The events about bots, in their order: kind and bot."""
    return database.execute("select kind, bot_id, new_values from audit.events"
                            " where operation = 'EVENT' and kind ~ %s order by entry_id", [kinds])


def name_of(login: Database) -> str:
    return login.parts["user"]


# Pause and resume --------------------------------------------------------------------


def test_a_paused_bot_is_closed_until_it_is_resumed(fleet: Database):
    (bot, as_bot), (other, as_other) = make_bot(fleet), make_bot(fleet)
    call(fleet, "pause_bot", bot)
    assert state(fleet, bot) == ("paused", False, set(), set())
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        as_bot.connect()
    assert state(fleet, other) == ("active", True, set(), set())
    assert as_other.execute("select bot_id from core.bots") == [(other,)]
    assert failed_checks(fleet) == {}
    call(fleet, "resume_bot", bot)
    assert state(fleet, bot) == ("active", True, set(), set())
    assert as_bot.execute("select bot_id from core.bots") == [(bot,)]
    assert failed_checks(fleet) == {}


def test_workers_get_exactly_what_they_had(fleet: Database):
    (one, _), (two, _) = make_bot(fleet), make_bot(fleet)
    first, both, none = (make_worker(fleet, *bots) for bots in ((one,), (one, two), (two,)))
    admin = person(fleet)
    call(fleet, "grant_bot_to_admin", one, name_of(admin))
    before = grants(fleet)
    call(fleet, "pause_bot", one)
    assert state(fleet, one) == ("paused", False, {name_of(admin)}, {name_of(first), name_of(both)})
    assert state(fleet, two)[2] == {name_of(both), name_of(none)}
    assert failed_checks(fleet) == {}
    for worker in (first, both):
        with worker.connect() as conn, refused(conn, "MB124"):
            conn.execute("select security.act_as(%s)", [one])
    with both.connect() as conn, conn.transaction():
        conn.execute("select security.act_as(%s)", [two])
    assert admin.execute("select bot_id from core.bots") == [(one,)]
    call(fleet, "resume_bot", one)
    assert grants(fleet) == before
    assert fleet.execute("select from security.differences()") == []
    with both.connect() as conn, conn.transaction():
        conn.execute("select security.act_as(%s)", [one])
        assert conn.execute("select bot_id from core.bots").fetchall() == [(one,)]


def test_two_paused_bots_of_a_worker_are_resumed_one_by_one(fleet: Database):
    (one, _), (two, _) = make_bot(fleet), make_bot(fleet)
    worker = make_worker(fleet, one, two)
    before = grants(fleet)
    for bot in (one, two):
        call(fleet, "pause_bot", bot)
    assert listed(fleet) == [{"login": name_of(worker),
                              "bots": [f"{one} (paused)", f"{two} (paused)"]}]
    call(fleet, "resume_bot", two)
    assert state(fleet, one)[2:] == (set(), {name_of(worker)})
    assert state(fleet, two)[2:] == ({name_of(worker)}, set())
    call(fleet, "resume_bot", one)
    assert grants(fleet) == before


def test_the_sessions_of_the_bot_and_of_its_workers_end(fleet: Database):
    (bot, as_bot), (other, as_other) = make_bot(fleet), make_bot(fleet)
    worker, stranger, admin = make_worker(fleet, bot, other), make_worker(fleet, other), person(
        fleet)
    before = grants(fleet)
    with ExitStack() as stack:
        pids = [stack.enter_context(holding(login, *statements)) for login, *statements in (
            (as_bot, "select core.record_message(1, 'in', 'x')"), (as_bot, "commit"),
            (worker, f"set role bot_{bot}", "commit"), (worker, "select 1"),
            (as_other, "select 1"), (stranger, f"set role bot_{other}"), (admin, "select 1"))]
        call(fleet, "pause_bot", bot)
        assert [is_alive(fleet, pid) for pid in pids] == [False] * 4 + [True] * 3
    call(fleet, "resume_bot", bot)
    assert grants(fleet) == before  # what was granted to end them is taken back


def test_an_admin_who_holds_the_bot_s_row_keeps_nobody_from_pausing_it(fleet: Database):
    bot, _ = make_bot(fleet)
    admin = person(fleet)
    call(fleet, "grant_bot_to_admin", bot, name_of(admin))
    with holding(admin, f"set role bot_{bot}",
                 """select security.set_bot_config('{"a": 1}')""") as pid:
        call(fleet, "pause_bot", bot)
        assert not is_alive(fleet, pid)
    assert state(fleet, bot)[:2] == ("paused", False)


def test_who_got_in_before_the_pause_was_committed_is_ended_by_a_second_one(fleet: Database):
    (bot, as_bot), (other, _) = make_bot(fleet), make_bot(fleet)
    worker = make_worker(fleet, bot, other)
    with fleet.connect() as conn, ExitStack() as stack:
        with conn.transaction():
            conn.execute("select security.pause_bot(%s)", [bot])
            late = [stack.enter_context(holding(login, *statements)) for login, *statements in (
                (as_bot, "commit"), (worker, f"set role bot_{bot}", "commit"))]
        assert all(is_alive(fleet, pid) for pid in late)
        conn.execute("select security.pause_bot(%s)", [bot])
        assert not any(is_alive(fleet, pid) for pid in late)
    assert len(events(fleet, "^bot_")) == 1


def test_a_second_pause_ends_no_session_that_a_worker_began_later(database: Database):
    (bot, _), (other, _) = make_bot(database), make_bot(database)
    worker = make_worker(database, bot, other)
    call(database, "pause_bot", bot)
    database.execute("update security.suspended_grant set suspended_at = now() - interval '1 hour'")
    with holding(worker, f"set role bot_{other}") as pid:
        call(database, "pause_bot", bot)
        assert is_alive(database, pid)


def test_pausing_twice_and_resuming_twice_change_nothing(fleet: Database):
    (bot, _), (other, _) = make_bot(fleet), make_bot(fleet)
    worker = make_worker(fleet, bot, other)
    everything = ("select (select count(*) from audit.events), (select jsonb_agg(to_jsonb(r))"
                  " from pg_roles as r), (select jsonb_agg(to_jsonb(m)) from pg_auth_members as m)")
    call(fleet, "resume_bot", bot)
    for function in ("pause_bot", "resume_bot"):
        call(fleet, function, bot)
        before, found = fleet.execute(everything), grants(fleet)
        call(fleet, function, bot)
        assert (fleet.execute(everything), grants(fleet)) == (before, found)
    assert state(fleet, bot) == ("active", True, {name_of(worker)}, set())


def test_what_is_done_is_on_record(fleet: Database):
    bot, _ = make_bot(fleet)
    worker = name_of(make_worker(fleet, bot))
    start = len(events(fleet))
    call(fleet, "pause_bot", bot)
    call(fleet, "resume_bot", bot)
    call(fleet, "retire_bot", bot)
    login = {"role": f"bot_{bot}"}
    assert events(fleet)[start:] == [
        ("role_revoked", bot, login | {"from": worker}),
        ("bot_paused", bot, login | {"workers": 1}),
        ("role_granted", bot, login | {"to": worker}),
        ("bot_resumed", bot, login | {"workers": 1}),
        ("role_revoked", bot, login | {"from": worker}),
        ("bot_retired", bot, login | {"workers": 1})]
    assert [status for status, in fleet.execute(
        "select new_values ->> 'status' from audit.events where table_name = 'core.bots'"
        " and bot_id = %s and operation = 'UPDATE' order by entry_id", [bot])] == [
            "paused", "active", "retired"]
    assert fleet.execute("select operation from audit.events where table_name ="
                         " 'security.suspended_grant' and bot_id = %s order by entry_id", [bot]
                         ) == [("INSERT",), ("DELETE",), ("INSERT",)]
    assert fleet.execute("select * from audit.verify_seals()") == []


# What does not open a paused bot ------------------------------------------------------


def test_another_password_and_other_limits_leave_a_paused_bot_closed(fleet: Database):
    bot, _ = make_bot(fleet)
    call(fleet, "pause_bot", bot)
    with fleet.connect() as conn:
        conn.execute("select security.rotate_bot_password(%s, %s)", [bot, verifier(conn, "new")])
        conn.execute("select security.set_limits(%s, 7)", [f"bot_{bot}"])
        conn.execute("select security.set_bot_token(%s, 'token')", [bot])
        conn.execute("select security.claim_logins()")
        conn.execute("select security.protect_database()")
    assert state(fleet, bot)[:2] == ("paused", False)
    assert failed_checks(fleet) == {}
    call(fleet, "resume_bot", bot)
    own = Database(fleet.parts | {"user": f"bot_{bot}", "password": "new"})
    assert own.execute("select security.get_bot_token()") == [("token",)]


def test_a_bot_that_is_granted_while_paused_is_the_worker_s_when_resumed(fleet: Database):
    (bot, _), (other, _) = make_bot(fleet), make_bot(fleet)
    call(fleet, "pause_bot", bot)
    made = make_worker(fleet, bot, other)
    given, taken, gone = (make_worker(fleet, other) for _ in range(3))
    for worker in (given, taken, gone):
        call(fleet, "grant_bot_to_admin", bot, name_of(worker))
        call(fleet, "grant_bot_to_admin", bot, name_of(worker))
    call(fleet, "revoke_bot_from_admin", bot, name_of(taken))
    call(fleet, "drop_login", name_of(gone))
    assert state(fleet, bot) == ("paused", False, set(), {name_of(made), name_of(given)})
    with holding(given, "select 1") as pid:
        call(fleet, "pause_bot", bot)
        assert is_alive(fleet, pid)  # it never could become the bot
    call(fleet, "resume_bot", bot)
    assert state(fleet, bot) == ("active", True, {name_of(made), name_of(given)}, set())
    assert failed_checks(fleet) == {}


def test_a_grant_waits_for_a_pause_under_way(fleet: Database):
    (bot, _), (other, _) = make_bot(fleet), make_bot(fleet)
    worker = name_of(make_worker(fleet, other))
    with fleet.connect() as conn, fleet.connect() as second:
        conn.execute("begin")
        conn.execute("select security.pause_bot(%s)", [bot])
        with meanwhile(second, f"select security.grant_bot_to_admin({bot}, '{worker}')"):
            conn.execute("commit")
    assert state(fleet, bot) == ("paused", False, set(), {worker})


def test_two_who_pause_and_resume_at_once_leave_one_state(fleet: Database):
    bot, _ = make_bot(fleet)
    worker = name_of(make_worker(fleet, bot))
    at_once(fleet, [lambda conn: conn.execute("select security.pause_bot(%s)", [bot])] * 4)
    assert state(fleet, bot) == ("paused", False, set(), {worker})
    at_once(fleet, [lambda conn: conn.execute("select security.resume_bot(%s)", [bot])] * 4)
    assert state(fleet, bot) == ("active", True, {worker}, set())
    assert [kind for kind, *_ in events(fleet, "^bot_")] == ["bot_paused", "bot_resumed"]


def test_a_login_made_anew_for_a_paused_bot_is_closed(fleet: Database):
    bot, _ = make_bot(fleet)
    call(fleet, "pause_bot", bot)
    fleet.execute("select security.drop_logins()")
    call(fleet, "create_bot_login", bot)
    assert state(fleet, bot)[:2] == ("paused", False)
    assert failed_checks(fleet) == {}
    call(fleet, "resume_bot", bot)
    assert state(fleet, bot)[:2] == ("active", True)


def test_a_login_that_somebody_opened_is_named_and_closed_by_pausing_again(database: Database):
    bot, _ = make_bot(database)
    call(database, "pause_bot", bot)
    database.execute(f"alter role bot_{bot} login")
    (found,) = database.execute("select object, accepted, live from security.differences()")
    assert found[0] == f"bot_{bot}" and found[1].startswith("nologin") \
        and found[2].startswith("login")
    call(database, "pause_bot", bot)
    assert state(database, bot)[:2] == ("paused", False)
    database.execute(f"alter role bot_{bot} login; update core.bots set status = 'active'")
    assert failed_checks(database) == {}


def test_a_worker_that_another_one_let_in_is_named(database: Database):
    bot, _ = make_bot(database)
    worker = name_of(make_worker(database))
    with database.connect() as conn:
        conn.execute(f"grant bot_{bot} to {worker}")
        if conn.info.server_version >= 160000:
            with refused(conn, "MB101"):
                conn.execute("select security.pause_bot(%s)", [bot])


def test_a_worker_that_was_dropped_by_hand_is_passed_over(database: Database):
    bot, _ = make_bot(database)
    gone, kept = (name_of(make_worker(database, bot)) for _ in range(2))
    call(database, "pause_bot", bot)
    maker = call(database, "provisioner")
    database.execute(f'set role "{maker}"; revoke connect on database {database.name} from {gone};'
                     f" reset role; drop role {gone}")
    call(database, "pause_bot", bot)
    call(database, "resume_bot", bot)
    assert state(database, bot) == ("active", True, {kept}, set())


def test_a_paused_bot_is_dropped(fleet: Database):
    bot, _ = make_bot(fleet)
    worker = make_worker(fleet, bot)
    call(fleet, "pause_bot", bot)
    call(fleet, "drop_bot", bot)
    assert fleet.execute("select from pg_roles where rolname = %s", [f"bot_{bot}"]) == []
    assert listed(fleet) == [{"login": name_of(worker), "bots": [""]}]
    assert failed_checks(fleet) == {}


def test_a_dry_run_of_a_pause_ends_nobody(database: Database):
    bot, as_bot = make_bot(database)
    with holding(as_bot, "select 1") as pid, database.connect() as conn:
        with conn.transaction(force_rollback=True):
            conn.execute("set local app.dry_run = on")
            conn.execute("select security.pause_bot(%s)", [bot])
        assert is_alive(database, pid)
    assert state(database, bot)[:2] == ("active", True)


# Retire ------------------------------------------------------------------------------


def test_a_retired_bot_is_not_resumed(fleet: Database):
    bot, as_bot = make_bot(fleet)
    worker, admin = make_worker(fleet, bot), person(fleet)
    as_bot.execute("select core.record_message(1, 'in', 'x')")
    call(fleet, "retire_bot", bot)
    assert state(fleet, bot)[:3] == ("retired", False, set())
    with fleet.connect() as conn:
        for refusal in (f"resume_bot({bot})", f"pause_bot({bot})",
                        f"grant_bot_to_admin({bot}, '{name_of(worker)}')",
                        f"create_worker('x', array[{bot}])"):
            with refused(conn, "MB126") as caught:
                conn.execute(f"select security.{refusal}")
            assert caught.value.diag.message_hint
        conn.execute("select security.retire_bot(%s)", [bot])
        conn.execute("select security.grant_bot_to_admin(%s, %s)", [bot, name_of(admin)])
    assert admin.execute("select bot_id, status from core.bots") == [(bot, "retired")]
    assert failed_checks(fleet) == {}
    call(fleet, "drop_bot", bot, True)


def test_a_paused_bot_is_retired(fleet: Database):
    bot, _ = make_bot(fleet)
    call(fleet, "pause_bot", bot)
    call(fleet, "retire_bot", bot)
    assert state(fleet, bot)[:2] == ("retired", False)
    assert [kind for kind, *_ in events(fleet, "^bot_")] == ["bot_paused", "bot_retired"]


# Who may -----------------------------------------------------------------------------


def test_no_bot_worker_or_admin_pauses_or_resumes(fleet: Database):
    (bot, as_bot), (other, _) = make_bot(fleet), make_bot(fleet)
    worker, admin, chief = make_worker(fleet, bot), person(fleet), person(fleet, True)
    call(fleet, "grant_bot_to_admin", bot, name_of(admin))
    for login in (as_bot, worker, admin):
        for function in ("pause_bot", "resume_bot", "retire_bot"):
            for one in (bot, other):
                with login.connect() as conn, refused(conn, "42501"):
                    conn.execute(f"select security.{function}({one})")
    with admin.connect() as conn:
        call(fleet, "pause_bot", bot)
        conn.execute(f"set role bot_{bot}")
        for statement in (f"select security.resume_bot({bot})", f"alter role bot_{bot} login",
                          "update core.bots set status = 'active'",
                          "delete from security.suspended_grant"):
            with refused(conn, "42501"):
                conn.execute(statement)
    call(chief, "resume_bot", bot)
    call(chief, "pause_bot", other)
    assert state(fleet, bot)[:2] == ("active", True)
    assert state(fleet, other)[:2] == ("paused", False)


@pytest.mark.parametrize("function", ["pause_bot", "resume_bot", "retire_bot"])
@pytest.mark.parametrize("bot", ["null", "0", "-1", "999999999999"])
def test_a_bot_that_is_not_there_is_named(conn: psycopg.Connection, function: str, bot: str):
    with refused(conn, "MB003"):
        conn.execute(f"select security.{function}({bot})")


# A bot's config ----------------------------------------------------------------------


def config(database: Database) -> dict[int, dict]:
    return dict(database.execute("select bot_id, config from core.bots"))


def test_a_bot_writes_its_own_config_and_no_other(database: Database):
    (one, as_one), (two, as_two) = make_bot(database), make_bot(database)
    as_one.execute("""select security.set_bot_config('{"model": "x", "n": 1}')""")
    as_two.execute("""select security.set_bot_config('{"me": 2}')""")
    assert config(database) == {one: {"model": "x", "n": 1}, two: {"me": 2}}
    assert config(as_one) == {one: {"model": "x", "n": 1}}
    as_one.execute("select security.set_bot_config('{}')")
    assert config(database) == {one: {}, two: {"me": 2}}
    for statement in ("update core.bots set config = '{}'",
                      "update core.bots set status = 'paused'"):
        with as_one.connect() as conn, refused(conn, "42501"):
            conn.execute(statement)


def test_a_worker_writes_the_config_of_the_bot_that_it_is(fleet: Database):
    (one, _), (two, _) = make_bot(fleet), make_bot(fleet)
    with make_worker(fleet, one, two).connect() as conn:
        for bot in (one, two):
            with conn.transaction():
                conn.execute("select security.act_as(%s)", [bot])
                conn.execute("select security.set_bot_config(%s)", [f'{{"me": {bot}}}'])
                assert conn.execute("select config ->> 'me' from core.bots").fetchone() == (
                    str(bot),)
        with refused(conn, "42501"):
            conn.execute("select security.set_bot_config('{}')")
    with person(fleet, True).connect() as conn:
        assert conn.execute("select count(distinct config ->> 'me') from core.bots"
                            ).fetchone() == (2,)
        with refused(conn, "MB003"):
            conn.execute("select security.set_bot_config('{}')")


def test_a_config_that_is_equal_is_not_written(database: Database):
    bot, as_bot = make_bot(database)
    text = "select security.set_bot_config(%s)"
    as_bot.execute(text, ['{"a": 1, "b": [2]}'])
    seen = "select ctid, xmin from core.bots"
    before = database.execute(seen), len(events(database, "."))
    as_bot.execute(text, ['{"b": [2], "a": 1}'])
    assert (database.execute(seen), len(events(database, "."))) == before
    assert database.execute(
        "select operation, old_values -> 'config', new_values -> 'config', login from audit.events"
        " where table_name = 'core.bots' and operation = 'UPDATE' and bot_id = %s", [bot]
    ) == [("UPDATE", {}, {"a": 1, "b": [2]}, f"bot_{bot}")]


def test_a_config_is_an_object_of_65_536_bytes_at_most(database: Database):
    bot, as_bot = make_bot(database)
    longest = '{"a": "%s"}' % ("x" * (65536 - len('{"a": ""}')))
    deep = '{"a":' + "[" * 600 + "]" * 600 + "}"
    with as_bot.connect() as conn:
        for value in ("[]", "null", '"x"', "1", None, longest.replace('"}', 'x"}'), deep,
                      '{"a": 1e1000}'):
            with refused(conn, "MB012") as caught:
                conn.execute("select security.set_bot_config(%s)", [value])
            assert "core.bots.config" in caught.value.diag.message_primary
        conn.execute("select security.set_bot_config(%s)", [longest])
    assert len(config(database)[bot]["a"]) == len(longest) - 9


# Commands ----------------------------------------------------------------------------


def added(database: Database, *arguments: str) -> Database:
    """A login that a command makes, as it connects."""
    row, = json.loads(run_runner(database, *arguments, "--json").stdout)
    return Database(database.parts | {"user": row["login"], "password": row["password"]})


def test_the_commands_pause_resume_and_retire_a_bot(fleet: Database):
    bot, as_bot = make_bot(fleet, "lena")
    worker = make_worker(fleet, bot)
    with holding(as_bot, "select 1") as pid:
        run_runner(fleet, "bot", "pause", "lena", "--dry-run")
        assert is_alive(fleet, pid) and state(fleet, bot)[:2] == ("active", True)
        run_runner(fleet, "bot", "pause", "lena")
        assert not is_alive(fleet, pid)
    assert state(fleet, bot) == ("paused", False, set(), {name_of(worker)})
    shown, = json.loads(run_runner(fleet, "bot", "list", "--json").stdout)
    assert shown["status"] == "paused"
    run_runner(fleet, "bot", "resume", str(bot), "--dry-run")
    assert state(fleet, bot)[:2] == ("paused", False)
    run_runner(fleet, "bot", "resume", str(bot))
    assert state(fleet, bot) == ("active", True, {name_of(worker)}, set())
    run_runner(fleet, "bot", "retire", "lena", code=2)  # nobody is there to say yes
    run_runner(fleet, "bot", "retire", "lena", "--dry-run")
    assert state(fleet, bot)[:2] == ("active", True)
    run_runner(fleet, "bot", "retire", "lena", "--yes")
    assert "MB126" in run_runner(fleet, "bot", "resume", "lena", code=1).stderr
    assert "MB003" in run_runner(fleet, "bot", "pause", "nobody", code=1).stderr


def test_in_one_bot_mode_no_other_bot_is_paused_or_granted(database: Database):
    bot, _ = make_bot(database, "lena")
    only = {"MULTI_BOT_ENABLED": "false", "CURRENT_BOT_ID": str(bot + 1)}
    for command in (["bot", "pause", "lena"], ["bot", "resume", "lena"],
                    ["bot", "retire", "lena", "--yes"], ["worker", "add", "pool", "lena"]):
        assert "MB911" in run_runner(database, *command, code=2, **only).stderr
    assert state(database, bot)[:2] == ("active", True)


def test_the_commands_make_and_drop_workers(fleet: Database):
    (one, _), (two, _) = make_bot(fleet, "lena"), make_bot(fleet, "mila")
    name = f"pool_{secrets.token_hex(4)}"
    run_runner(fleet, "worker", "add", name, "lena", "--dry-run")
    assert listed(fleet) == []
    worker = added(fleet, "worker", "add", name, "lena")
    with worker.connect() as conn, refused(conn, "MB124"):
        conn.execute("select security.act_as(%s)", [two])
    run_runner(fleet, "worker", "grant", name, "mila", str(one))
    with worker.connect() as conn, conn.transaction():
        conn.execute("select security.act_as(%s)", [two])
    shown, = json.loads(run_runner(fleet, "worker", "list", "--json").stdout)
    assert (shown["login"], shown["bots"]) == (name, f"{one}, {two}")
    assert json.loads(run_runner(fleet, "admin", "list", "--json").stdout) == []
    assert "MB105" in run_runner(fleet, "admin", "drop", name, "--yes", code=1).stderr
    assert "MB003" in run_runner(fleet, "worker", "grant", name, "nobody", code=1).stderr
    with holding(worker, "select 1") as pid:
        run_runner(fleet, "worker", "drop", name, code=2)
        run_runner(fleet, "worker", "drop", name, "--dry-run")
        assert is_alive(fleet, pid)
        run_runner(fleet, "worker", "drop", name, "--yes")
        assert not is_alive(fleet, pid)
    assert listed(fleet) == []


def test_the_commands_make_and_drop_admins(fleet: Database):
    make_bot(fleet)
    names = [f"person_{secrets.token_hex(4)}" for _ in range(2)]
    admin = added(fleet, "admin", "add", names[0])
    chief = added(fleet, "admin", "add", names[1], "--super")
    assert [login.execute("select count(*) from core.bots") for login in (admin, chief)] == [
        [(0,)], [(1,)]]
    shown = json.loads(run_runner(fleet, "admin", "list", "--json").stdout)
    assert {row["login"]: row["level"] for row in shown} == dict(
        zip(names, ("admin", "super_admin"), strict=True))
    assert "MB105" in run_runner(fleet, "worker", "drop", names[0], "--yes", code=1).stderr
    assert "MB103" in run_runner(fleet, "admin", "add", names[0], code=1).stderr
    for name in names:
        run_runner(fleet, "admin", "drop", name, "--yes")
    assert listed(fleet) == []


def test_a_password_is_shown_once_and_in_no_log(database: Database, tmp_path):
    name, log = f"pool_{secrets.token_hex(4)}", tmp_path / "log"
    done = run_runner(database, "worker", "add", name, "--log", str(log))
    password = done.stdout.split()[-1]
    assert len(password) == 32 and password not in done.stderr + log.read_text()
    row, = json.loads(run_runner(
        database, "admin", "add", f"x_{name}", "--dry-run", "--json").stdout)
    assert row["password"] == ""
