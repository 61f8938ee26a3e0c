"""Files against database: what `diff` shows, what `migrate` brings live, what both refuse."""

import re
import shutil

import pytest
from conftest import Database
from core_rows import failed_checks, program
from edited import LIVE, PART, RECORD, Edited
from project import ORIGIN

pytest_plugins = "edited"
EDIT = "-- told to whoever asks"  # the same everywhere: what it makes is built once

# What migrate brings live ------------------------------------------------------


def test_an_edited_line_is_shown_brought_live_and_on_record(whole):
    whole.is_clean()
    whole.edit_record_message(EDIT)
    assert whole.states()["001_core_schema"] == "edited"
    assert "runner.py migrate" in whole.call("status", code=3).out
    planned, = whole.call("plan", "--json").document
    assert (planned["migration"], planned["migrate_would"], planned["what"]) == (
        "001_core_schema", "replace", RECORD)
    assert "+    -- told to whoever asks" in planned["difference"]
    assert re.search(rf"^\+\+\+ sql/{PART}:\d+$", planned["difference"], re.M)
    assert whole.differences() == {RECORD: "files"}
    tried = whole.call("migrate", "--dry-run").err
    assert f"replace {RECORD}" in tried and "+    -- told to whoever asks" in tried
    assert whole.differences() == {RECORD: "files"}

    before = whole.execute("select proowner::regrole, proacl, proconfig from pg_proc"
                           " where oid = 'core.record_message'::regproc")
    assert f"replace {RECORD}" in whole.call("migrate").err
    whole.is_clean()
    assert whole.execute("select proowner::regrole, proacl, proconfig from pg_proc"
                         " where oid = 'core.record_message'::regproc") == before
    assert "told to whoever asks" in whole.execute(
        "select prosrc from pg_proc where oid = 'core.record_message'::regproc")[0][0]
    assert whole.execute("select migration_id, operation from public._migration_history"
                         " order by history_id desc limit 1") == [("001_core_schema", "edit")]
    assert "001_core_schema, edited" in str(whole.execute(
        "select new_values::text from audit.security_audit_log where kind = 'inventory_accepted'"
        " order by entry_id desc limit 1"))
    assert "nothing to migrate" in whole.call("migrate").err


def test_a_comment_or_a_blank_in_a_file_is_no_difference(whole):
    whole.edit(PART, "-- Recording", "--   How it records\n\n-- Recording")
    whole.edit("003_audit/verify.sql", "\n", "\n\n")
    assert whole.differences() == {}
    assert {row["migrate_would"] for row in whole.call("plan", "--json").document} == {
        "note the files"}
    oid = "select xmin::text from pg_proc where oid = 'core.record_message'::regproc"
    before = whole.execute(oid)
    whole.call("migrate")
    assert whole.execute(oid) == before
    whole.is_clean()


def test_views_policies_triggers_comments_and_rights_are_replaced(whole):
    whole.edit("004_performance/views.sql", "order by", "/* */ order by")
    whole.edit("002_security/policies.sql", "then 'with check (true)' else",
               "then 'with check (true)' when 'update' then 'using (true) with check (true)'"
               " else")
    whole.edit("001_core_schema/triggers.sql", "date_trunc('day', now(), 'UTC'))",
               "date_trunc('day', now(), 'UTC') - interval '1 day')")
    whole.edit("001_core_schema/tables.sql", "comment on table core.bots is '",
               "comment on table core.bots is 'Edited. ")
    whole.edit("002_security/core_rights.sql", "    security.get_bot_token()\nto app_bot;",
               "    security.get_bot_token()\nto app_bot, app_backup;")
    found = whole.differences()
    assert set(found.values()) == {"files"}
    assert {"policy app_maintainer_update on core.bots", "comment on table core.bots",
            "trigger note_new_start on core.conversations",
            "routine security.admit(regclass,text,text)",
            "right to reader for backups on security.get_bot_token()"} <= found.keys()
    whole.call("migrate")
    whole.is_clean()
    assert whole.execute("select obj_description('core.bots'::regclass)")[0][0].startswith("Edited")


def test_a_new_function_has_owner_and_rights_and_one_that_is_gone_is_dropped(whole):
    whole.edit(PART, "-- Recording", "-- Recording")
    with (whole.folder / "sql" / PART).open("a") as file:
        file.write("\ncreate function core.count_words(p_text text)\nreturns bigint\n"
                   "language sql immutable parallel safe\nset search_path = pg_catalog, pg_temp\n"
                   "as $func$\nselect count(*) from regexp_matches(p_text, '\\w+', 'g')\n$func$;\n"
                   "\ncomment on function core.count_words(text) is 'How many words.';\n")
    whole.edit("002_security/core_rights.sql", "    security.get_bot_token()\nto app_bot;",
               "    security.get_bot_token(),\n    core.count_words(text)\nto app_bot;")
    whole.call("migrate")
    whole.is_clean()
    assert whole.execute(
        "select proowner::regrole::text, has_function_privilege('app_bot', oid, 'execute'),"
        " obj_description(oid), core.count_words('one two')"
        " from pg_proc where oid = 'core.count_words'::regproc") == [
            ("app_owner", True, "How many words.", 2)]
    shutil.copy(ORIGIN / "sql" / PART, whole.folder / "sql" / PART)
    whole.edit("002_security/core_rights.sql", ",\n    core.count_words(text)", "")
    assert "drop routine core.count_words(text)" in whole.call("migrate").err
    whole.is_clean()


def test_the_audit_knows_when_its_machinery_was_replaced(whole):
    whole.execute("select audit.seal()")
    whole.edit("003_audit/guards.sql", "-- an entry would go", "-- the entry would go")
    whole.edit("003_audit/row_source.sql", "    v_at  timestamptz :=", "    v_at timestamptz :=")
    whole.call("migrate")
    assert whole.execute("select * from audit.stale_captures()") == []
    whole.execute("select audit.seal()")
    assert whole.execute("select * from audit.verify_seals()") == []
    whole.is_clean()


def test_a_view_edited_for_a_column_of_a_pending_migration_comes_after_it(whole):
    whole.add("006_plan", "set local search_path = pg_catalog, pg_temp;\n"
                          "select security.expect_inventory();\n"
                          "alter table core.bots add column plan text;\n"
                          "create schema report;\n"
                          "create view report.plans as select bot_id, plan from core.bots;\n"
                          "select audit.refresh();\n"
                          "select security.accept_inventory('006_plan');\n",
              "drop view report.plans; drop schema report;\n"
              "alter table core.bots drop column plan;\n", "select 'fine', true, '';\n",
              depends=("005_json_import",))
    whole.edit_record_message("perform plan from core.bots where false;")
    done = whole.call("migrate")
    assert re.search(f"applied 006_plan(.|\n)*replace {re.escape(RECORD)}", done.err)
    whole.is_clean()

    # where the inventory doesn't look, nobody knows who changed it
    whole.edit("006_plan/apply.sql", "select bot_id, plan from", "select bot_id, plan, name from")
    assert whole.differences() == {"relation report.plans": "both"}
    whole.call("migrate", code=4)
    whole.call("diff", "--take", "files", "report.plans", "--yes")
    whole.call("migrate")
    whole.is_clean()


# What is refused ---------------------------------------------------------------


@pytest.mark.parametrize(("part", "old", "new", "named"), [
    ("001_core_schema/tables.sql", "    name               text ",
     "    plan text,\n    name               text ", "column core.bots.plan"),
    ("002_security/caller.sql", "returns bigint", "returns numeric", "security.policy_bot_id"),
], ids=["column", "return type"])
def test_what_cant_be_replaced_is_named_and_nothing_is_changed(whole, part, old, new, named):
    whole.edit(part, old, new)
    before = whole.digest()
    done = whole.call("migrate", code=4)
    assert "MB913" in done.err and "runner.py new" in done.err and named in done.err
    assert "refuse: write a migration" in whole.call("plan").out
    assert whole.digest() == before


def test_what_changed_in_both_places_waits_for_a_decision(whole):
    whole.edit_record_message(EDIT)
    whole.replace_live()
    assert whole.differences() == {RECORD: "both"}
    refused = whole.call("migrate", code=4)
    assert "MB914" in refused.err and EDIT in refused.err and "-- live" in refused.err
    assert "-- live" in whole.call("diff", "--show", "core.record_message").out
    whole.call("diff", "--take", "files", "core.record_message", code=2)  # nobody to ask
    whole.call("diff", "--take", "files", "core.record_message", "--yes")
    assert whole.differences() == {}
    whole.call("migrate")
    whole.is_clean()
    assert EDIT in whole.call("diff", "--show", "core.record_message").out


def test_the_live_text_put_into_the_file_is_accepted(whole):
    whole.replace_live()
    assert whole.differences() == {RECORD: "database"}
    whole.edit(PART, "-- Recording", "-- Keeping")
    refused = whole.call("migrate", code=4)
    assert "MB111" in refused.err and RECORD in refused.err and "--take files" in refused.err
    whole.edit_record_message("-- live")
    whole.call("migrate")
    whole.is_clean()


def test_the_file_is_right_where_only_the_database_changed(whole):
    whole.replace_live()
    whole.call("diff", "--take", "files", RECORD, "--yes")
    whole.is_clean()
    assert RECORD in whole.execute("select new_values::text from audit.security_audit_log"
                                   " where kind = 'files_taken'")[0][0]


def test_taking_the_file_for_one_object_pardons_nothing_else(whole):
    whole.replace_live()
    whole.execute("grant execute on function core.record_message to app_backup")
    whole.execute("alter table core.bot_names set (autovacuum_enabled = off)")
    whole.call("diff", "--take", "files", RECORD, "--yes")
    # the object's own rights are the files' again; what was done elsewhere is open still
    assert whole.execute("select kind || ' ' || object from security.differences()") == [
        ("relation core.bot_names",)]
    assert whole.execute("select has_function_privilege('app_backup', 'core.record_message'"
                         "::regproc, 'execute')") == [(False,)]


def test_what_our_own_functions_lawfully_changed_is_left_alone(whole):
    whole.execute("create table core.note (bot_id bigint not null, note_id bigint,"
                  " primary key (bot_id, note_id))")
    for step in ("protect", "admit_bots"):
        whole.execute(f"select security.{step}('core.note')")
    whole.execute("alter table core.note owner to app_owner")
    whole.execute("select security.accept_inventory('a table of ours')")
    whole.execute("select audit.enable('core.note')")
    whole.execute("select audit.mark_column('core.bots', 'status', 'derived')")
    whole.execute("select audit.attach('core.bots')")
    whole.execute("select security.admit('core.bot_names', 'app_maintainer', 'select')")
    whole.execute("create function public.greet() returns text language sql as 'select ''hi'''")
    whole.execute("revoke all on function public.greet() from public")
    whole.edit_record_message(EDIT)
    found = whole.differences()
    assert found == {RECORD: "files"}
    whole.call("migrate")
    assert whole.execute("select public.greet(), count(*) from pg_trigger"
                         " where tgrelid = 'core.note'::regclass") == [("hi", 6)]


def can_compare(database: Database) -> bool:
    """Whether a scratch database can be had: on the server itself, or on one of the wheel's."""
    return database.execute("select current_setting('server_version_num')::int >= 160000 or"
                            " rolcreatedb or rolsuper from pg_roles where rolname = current_user"
                            )[0][0]


def test_who_looks_and_what_surrounds_the_database_is_no_difference(
        whole, cluster, request, tmp_path):
    mine = Edited(tmp_path / "owned", request.getfixturevalue("owned"))
    mine.execute("revoke usage on schema public from public")
    mine.call("migrate")
    superuser = Database(cluster.parts | {"dbname": mine.database.name})
    for database in (mine.database, superuser):
        mine.database = database
        if can_compare(database):
            assert mine.differences() == {}


def test_what_the_audit_made_and_somebody_replaced_is_a_difference(whole):
    whole.execute("create or replace function audit.insert_of_core_bots() returns trigger language"
                  " plpgsql as 'begin return null; end'")
    assert whole.differences() == {"routine audit.insert_of_core_bots()": "database"}


def test_a_trigger_on_a_view_is_replaced(whole):
    whole.add("006_rows", "select security.expect_inventory();\n"
                          "create view core.bot_view with (security_invoker = on) as"
                          " select bot_id, name from core.bots;\n"
                          "create trigger instead instead of insert on core.bot_view for each row"
                          " execute function core.touch_updated_at();\n"
                          "alter view core.bot_view owner to app_owner;\n"
                          "select security.accept_inventory('006_rows');\n",
              "drop view core.bot_view;\n", "select 'fine', true, '';\n",
              depends=("005_json_import",))
    whole.call("migrate")
    whole.edit("006_rows/apply.sql", "instead of insert on", "instead of insert or update on")
    assert "replace trigger instead on core.bot_view" in whole.call("migrate").err
    whole.is_clean()


def test_what_could_not_be_made_again_as_it_was_is_refused(whole):
    whole.add("006_rows", "select security.expect_inventory();\n"
                          "create view core.bot_view with (security_invoker = on) as"
                          " select bot_id, name from core.bots;\n"
                          "alter view core.bot_view owner to app_owner;\n"
                          "grant select (name) on core.bot_view to app_bot;\n"
                          "select security.accept_inventory('006_rows');\n",
              "drop view core.bot_view;\n", "select 'fine', true, '';\n",
              depends=("005_json_import",))
    whole.call("migrate")
    whole.edit("006_rows/apply.sql", "select bot_id, name from", "select name, bot_id from")
    before = whole.digest()
    refused = whole.call("migrate", code=4)
    assert "MB913" in refused.err
    assert "column right name to level bot on core.bot_view" in refused.err
    assert whole.digest() == before


def test_what_was_decided_on_is_what_is_taken(whole, monkeypatch):
    whole.replace_live()

    def meanwhile(*_: object) -> None:
        whole.execute("create or replace function core.current_bot_id() returns bigint language sql"
                      " stable as 'select 1'")
        whole.execute(whole.execute(LIVE)[0][0].replace("-- live", "-- live again"))

    monkeypatch.setattr("fleet.screen.Screen.confirm", meanwhile)
    refused = whole.call("diff", "--take", "files", "core.record_message", code=4)
    assert "MB907" in refused.err
    assert "-- live again" in whole.call("diff", "--show", "core.record_message").out


def test_an_error_in_an_edited_file_is_told_with_its_line(whole):
    whole.edit_record_message("perform nonsense from where;")
    text = (whole.folder / "sql" / PART).read_text("utf-8")
    line = text.partition("perform nonsense")[0].count("\n") + 1
    for command in ("plan", "diff", "migrate"):
        done = whole.call(command, code=1)
        assert done.err.startswith(f"sql/{PART}:{line}: syntax error")
    shutil.copy(ORIGIN / "sql" / PART, whole.folder / "sql" / PART)
    whole.edit("002_security/bot_list.sql", "$func$\n", "$func$\nselect nothing;\n")
    done = whole.call("migrate", code=1)
    assert re.match(r"sql/002_security/bot_list.sql:\d+: column \"nothing\"", done.err)


def test_verify_names_a_body_that_can_not_run_once_nothing_is_pending(whole):
    whole.execute("begin; set local check_function_bodies = off; set local role app_owner;"
                  "create function core.plan_of(bigint) returns text language sql"
                  " set search_path = pg_catalog, pg_temp"
                  " as 'select plan from core.bots where bot_id = $1'; reset role;"
                  "select security.accept_inventory('by hand'); commit")
    assert "core.plan_of(bigint): column" in whole.call("verify", code=4).out
    whole.call("new", "plan")
    assert "core.plan_of" not in whole.call("verify").out


# By psql alone -----------------------------------------------------------------


def test_the_script_does_by_psql_what_migrate_does(whole, tmp_path):
    whole.edit_record_message(EDIT)
    script = tmp_path / "edits.sql"
    script.write_text(whole.call("plan", "--sql").out)
    done = program(whole.database, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-f",
                   str(script))
    assert done.returncode == 0, done.stderr
    assert not failed_checks(whole.database)
    assert whole.execute("select * from security.differences()") == []
    assert whole.differences() == {}
    whole.call("migrate")
    whole.is_clean()
