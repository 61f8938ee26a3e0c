"""What a rollback throws away is counted beforehand; what it leaves behind, it says."""

import re

import pytest
from conftest import PROJECT, Database
from core_rows import MIGRATIONS, fill, make_bot, owner_database, program, psql, run_runner

from fleet.bots import verifier

pytest_plugins = ("core_rows", "project")

PREVIEWS = {"001_core_schema": "core_upkeep", "002_security": "security", "003_audit": "audit",
            "005_json_import": "json_import"}
STAYS = {"_yoyo_migration", "_yoyo_log", "_yoyo_version", "yoyo_lock", "_migration_history",
         "_migration_history_history_id_seq", "_migration_state", "_migration_lock",
         "_migration_claim(integer)", "_migration_mark(text,text,text[],interval,text)"}


def at_stake(database: Database, schema: str) -> dict[str, int]:
    return dict(database.execute(f"select * from {schema}.preview_rollback()"))


def test_each_rollback_is_previewed_by_who_migrates(owned, cluster):
    run_runner(owned, "migrate")
    everything = Database(cluster.parts | {"dbname": owned.name})
    assert not any(sum(at_stake(owned, schema).values()) for schema in PREVIEWS.values())
    bot, _ = make_bot(everything)
    with everything.connect() as conn:
        fill(conn)
    owned.execute(f"select security.set_bot_token({bot}, 'x')")
    found = {name: at_stake(owned, schema) for name, schema in PREVIEWS.items()}
    assert found["001_core_schema"] == {
        "core.bots": 2, "core.girls_profiles": 1, "core.conversations": 1, "core.messages": 1,
        "core.bot_metrics": 1}
    assert found["002_security"] == {"logins": 1, "tokens of bots": 1}
    assert found["003_audit"]["entries of the audit log"] > 0
    assert found["005_json_import"] == {
        "files in the ledger": 0, "files in quarantine, with their bytes": 0}
    assert found == {name: at_stake(everything, schema) for name, schema in PREVIEWS.items()}


@pytest.mark.parametrize("discard", ["off", "on"])
def test_psql_is_told_how_much_a_rollback_throws_away(database, discard):
    bot, _ = make_bot(database)
    database.execute("select core.record_message(7, 'in', 'a', p_bot_id => %s)", [bot])
    for migration in reversed(MIGRATIONS):
        schema = PREVIEWS.get(migration.id)
        losses = schema and {name: count for name, count in at_stake(database, schema).items()
                             if count}
        done = psql(database, migration.path("rollback"),
                    PGOPTIONS=f"-c app.discard_data={discard}")
        if not losses:
            assert done.returncode == 0, done.stderr
            continue
        told = ", ".join(f"{name}: {count}" for name, count in losses.items())
        if discard == "on":
            assert done.returncode == 0 and f"thrown away: {told}\n" in done.stderr, done.stderr
            continue
        assert done.returncode == 3 and f"At stake: {told}.\n" in done.stderr, done.stderr
        assert at_stake(database, schema) | losses == at_stake(database, schema)
        done = psql(database, migration.path("rollback"), PGOPTIONS="-c app.discard_data=on")
        assert done.returncode == 0, done.stderr


def test_the_runner_says_so_too(database):
    make_bot(database)
    done = run_runner(database, "rollback", "--only", "003", "--yes", code=1)
    assert "MB001" in done.stderr and "At stake: entries of the audit log: " in done.stderr


def test_a_dry_run_counts_all_of_it_and_ends_no_session(database):
    _, own = make_bot(database)
    own = Database(own.parts)
    own.execute("select core.record_message(7, 'in', 'a')")
    with own.connect() as at_work:
        done = run_runner(database, "rollback", "--all", "--dry-run")
        told = re.findall("thrown away: (.*)", done.stderr)
        assert len(told) == 3 and told[1:] == ["logins: 1", "core.bots: 1, core.girls_profiles: 1,"
                                               " core.conversations: 1, core.messages: 1"]
        assert at_work.execute("select count(*) from core.messages").fetchone() == (1,)
    assert sum(at_stake(database, "core_upkeep").values()) == 4


# Every object and right of a cluster, but for how the server spells the rights that it gave itself.
LEFT = """
    select 'default right', defaclrole::regrole::text, defaclobjtype::text, defaclacl::text
    from pg_default_acl
    union all select 'role', rolname, '', '' from pg_roles
    union all select 'member', roleid::regrole::text, member::regrole::text, ''
    from pg_auth_members
    union all select 'setting', setdatabase::text, setrole::text, setconfig::text
    from pg_db_role_setting
    union all select 'parameter', parname, paracl::text, '' from pg_parameter_acl
    union all select 'database right', d.datname, a.grantee::text, a.privilege_type
    from pg_database as d
    cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) as a
    union all select 'remark', description, '', '' from pg_shdescription
    union all select 'remark', description, objoid::text, ''
    from pg_description where objoid > 16383
    union all select 'schema', nspname, nspowner::regrole::text, nspacl::text from pg_namespace
    union all select 'extension', extname, '', '' from pg_extension
    union all select 'large object', oid::text, '', '' from pg_largeobject_metadata
    union all select 'event trigger', evtname, '', '' from pg_event_trigger
    union all select 'publication', pubname, '', '' from pg_publication
    union all select 'operator', oprname, '', '' from pg_operator where oid > 16383
    union all select 'routine', oid::regprocedure::text, '', '' from pg_proc where oid > 16383
    union all select 'type', typname, '', ''
    from pg_type where oid > 16383 and typrelid = 0 and typelem = 0
    union all select 'relation', oid::regclass::text, relacl::text, ''
    from pg_class
    where oid > 16383 and relkind <> 'i' and relnamespace <> 'pg_toast'::regnamespace"""


@pytest.mark.parametrize("login", [pytest.param("superuser", marks=pytest.mark.torture), "owner"])
def test_a_rollback_of_all_leaves_nothing_behind_but_what_it_says(login, own_server):
    cluster = Database(dict(own_server.parts()))
    with owner_database(cluster) as owned:
        everything = Database(cluster.parts | {"dbname": owned.name})
        leaves_nothing(cluster, everything, owned if login == "owner" else everything)


def leaves_nothing(cluster: Database, everything: Database, who: Database) -> None:
    def cluster_dump() -> str:
        done = program(cluster, "pg_dumpall")
        assert done.returncode == 0, done.stderr
        return re.sub(r"(?m)^\\(un)?restrict .*$", "", done.stdout)

    before, rows = cluster_dump(), set(everything.execute(LEFT))
    run_runner(who, "migrate")
    bot, _ = make_bot(everything)
    with everything.connect() as conn:
        key = verifier(conn, "x")
    for call in (f"create_admin('olga', '{key}')", f"set_bot_token({bot}, 'x')",
                 f"create_worker('pool', array[{bot}], '{key}')"):
        who.execute(f"select security.{call}")
    run_runner(who, "import", str(PROJECT / "examples" / "legacy"))
    run_runner(who, "maintain")
    done = run_runner(who, "rollback", "--all", "--discard-data", "--yes")
    left = {name for kind, name, *_ in set(everything.execute(LEFT)) ^ rows if kind != "remark"}
    for name in left:
        assert name in done.stderr or name in STAYS, name
    assert "yoyo's tables and public._migration_* stay" in done.stderr
    views = {"_migration_state", "_migration_lock"}
    for name in [*views, *(left - views - {"_migration_history_history_id_seq"})]:
        kind = "view" if name in views else "function" if name.endswith(")") else "table"
        everything.execute(f"drop {kind} public.{name}")
    assert set(everything.execute(LEFT)) == rows
    assert cluster_dump() == before
