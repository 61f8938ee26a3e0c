"""005 rolled back and applied again: the next import finds its rows in place and doubles none."""

from collections.abc import Iterator

import pytest
from conftest import Database, clone
from core_rows import MIGRATIONS, failed_checks, owner_clone, psql, run_runner
from import_helpers import EXAMPLES, Bot, command, contents, faults, said
from test_import import backup, whole

pytest_plugins = ("core_rows", "import_helpers")

IMPORT = MIGRATIONS[-1]


def by_runner(database: Database, first: str = IMPORT.id) -> None:
    """A migration, and what depends on it, goes and comes again, as the database's login."""
    run_runner(database, "rollback", "--only", first, "--discard-data", "--yes")
    run_runner(database, "migrate")


def by_psql(database: Database) -> None:
    """The same for 005 as a DBA does it without the runner."""
    for name, options in (("rollback", "-c app.discard_data=on"), ("apply", "")):
        done = psql(database, IMPORT.path(name), PGOPTIONS=options)
        assert done.returncode == 0, done.stderr


@pytest.fixture(params=["superuser", "owner"])
def login(request: pytest.FixtureRequest, cluster: Database) -> Iterator[Database]:
    """A migrated database, as seen by who migrates it."""
    if request.param == "superuser":
        yield from clone(cluster, request.getfixturevalue("template").name)
        return
    request.getfixturevalue("template")  # a superuser lets temporary files be limited
    yield from owner_clone(cluster, request.getfixturevalue("owners"))


def seen(database: Database, cluster: Database) -> Database:
    """The same database with every row of it."""
    return Database(cluster.parts | {"dbname": database.name})


def message_versions(database: Database) -> list[tuple]:
    """Changes with any write to a conversation or a message, also with one that changes nothing."""
    return database.execute(" union all ".join(
        f"select '{table}', count(*), md5(string_agg(concat(tableoid, ctid, xmin), ' '"
        f" order by tableoid, ctid)) from core.{table}"
        for table in ("conversations", "messages")))


def load(database: Database, folder: str, code: int = 0) -> None:
    """Imports examples as the database's login."""
    run_runner(database, "import", str(EXAMPLES / folder), code=code)


@pytest.mark.parametrize(("login", "road"), [
    ("owner", by_runner), *(pytest.param(*case, marks=pytest.mark.torture) for case in (
        ("superuser", by_runner), ("owner", by_psql), ("superuser", by_psql)))],
    indirect=["login"])
def test_what_was_imported_is_found_in_place(road, login, cluster):
    everything = seen(login, cluster)
    load(login, "legacy")
    load(login, "broken", 6)
    before, versions = contents(everything), message_versions(everything)
    road(login)
    assert failed_checks(everything) == {}
    load(login, "legacy")
    load(login, "broken", 6)
    assert message_versions(everything) == versions
    for name, found in contents(everything).items():
        assert found == before[name], name
    assert failed_checks(everything) == {}
    run_runner(login, "verify", "--source", str(EXAMPLES / "legacy"))
    again = run_runner(login, "import", str(EXAMPLES / "legacy"))
    assert "178 entries: 0 loaded, 178 unchanged" in again.stderr


@pytest.mark.parametrize(("login", "how"), [
    pytest.param("superuser", ["--only", "004"], marks=pytest.mark.torture),
    pytest.param("superuser", ["--only", "003"], marks=pytest.mark.torture),
    ("owner", ["--to", "001"])
], indirect=["login"], ids=lambda value: value if isinstance(value, str) else " ".join(value))
def test_with_more_than_the_import_gone_and_come_again_all_is_there_once(login, how, cluster):
    everything = seen(login, cluster)
    load(login, "legacy")
    run_runner(login, "maintain")
    before, versions = contents(everything), message_versions(everything)
    figures = "select * from performance.bot_activity_summary order by bot_id"
    summary = [row[:-1] for row in everything.execute(figures)]
    run_runner(login, "rollback", *how, "--discard-data", "--yes")
    run_runner(login, "migrate")
    run_runner(login, "verify")
    load(login, "legacy")
    assert message_versions(everything) == versions
    assert contents(everything) == before
    run_runner(login, "verify", "--source", str(EXAMPLES / "legacy"))
    run_runner(login, "maintain")
    assert [row[:-1] for row in everything.execute(figures)] == summary
    assert everything.execute("select * from audit.verify_seals()") == []
    bots = [bot for bot, in everything.execute("select bot_id from core.bots order by 1")]
    if how == ["--to", "001"]:
        refused = run_runner(login, "bot", "rotate", "anna", code=1)
        assert "MB105" in refused.stderr and "security.create_bot_login(1)" in refused.stderr
        assert login.execute("select security.create_bot_login(bot_id) from core.bot_names"
                             " order by bot_id") == [
            (f"bot_{bot}",) for bot in bots]
    run_runner(login, "bot", "rotate", "anna")
    assert everything.execute("select check_name from security.check() where not ok"
                              " and check_name like '%login%'") == []
    run_runner(login, "bot", "drop", "mila", "--discard-data", "--yes")
    run_runner(login, "verify")


# A bot's folder at the first import, what happens to its rows, its folder at the second.
TALK = [said("a"), said("b", 1_700_000_100), said("b", 1_700_000_100), said("c", 1_700_000_200)]
KNOWN = {"girls_data/7.json": whole(7)}
AGREE = {  # afterwards the tables hold what the folder alone would have made of them
    "the same": ({"conversations/7.json": TALK}, "", {}),
    "two of one text at one time": ({"conversations/7.json": [said("a"), said("a")]}, "", {}),
    "in an object, with unknown keys": ({"conversations/7.json": {
        "chat_id": 7, "name": "x", "messages": [{**said("a"), "more": 1}]}}, "", {}),
    "no message": ({**KNOWN, "conversations/7.json": []}, "", {}),
    "grown": ({"conversations/7.json": TALK}, "", {
        "conversations/7.json": [*TALK, said("c", 1_700_000_200), said("d", 1_700_000_300)]}),
    "a message put in between": ({**KNOWN, "conversations/7.json": TALK}, "", {
        "conversations/7.json": [TALK[0], said("x"), *TALK[1:]]}),
    "in another order": ({**KNOWN, "conversations/7.json": TALK}, "", {
        "conversations/7.json": TALK[::-1]}),
    "a row is gone": ({**KNOWN, "conversations/7.json": TALK},
                      "delete from core.messages where bot_id = $bot and body = 'a'", {}),
    "all rows are gone": ({**KNOWN, "conversations/7.json": TALK},
                          "delete from core.messages where bot_id = $bot", {}),
    "backups": ({"conversations/7.json": [said(b) for b in "abb"],
                 "backups/7/2024-01-01.json": backup(*"bbb", ts=1_700_000_000_000),
                 "backups/7/2024-01-02.json": backup(*"cbd"),
                 "backups/8/2024-01-01.json": backup("only", "here", "here")}, "", {}),
    "backups of a conversation in quarantine": (
        {**KNOWN, "conversations/7.json": "[", "backups/7/2024-01-01.json": backup(*"abbz"),
         "backups/7/2024-01-02.json": backup(*"bcbb")}, "", {}),
    "a conversation that was in quarantine": (
        {**KNOWN, "conversations/7.json": "[", "backups/7/2024-01-01.json": backup(*"abbz"),
         "backups/7/2024-01-02.json": backup(*"bcbb")}, "",
        {"conversations/7.json": [said(b) for b in "abcd"]}),
    "grown by all that a backup says": (
        {**KNOWN, "conversations/7.json": [said(b) for b in "ab"],
         "backups/7/2024-01-01.json": backup(*"abc")}, "",
        {"conversations/7.json": [said(b) for b in "abcd"]}),
    "grown by what a backup says": (
        {**KNOWN, "conversations/7.json": [said(b) for b in "ab"],
         "backups/7/2024-01-01.json": backup(*"abcz")}, "",
        {"conversations/7.json": [said(b) for b in "abcd"]}),
    "another backup": ({**KNOWN, "conversations/7.json": [said(b) for b in "ab"],
                        "backups/7/2024-01-01.json": backup(*"abc")}, "",
                       {"backups/7/2024-01-02.json": backup(*"abccd")}),
    "contacts": ({"girls_data.json": [whole(7, name="old", summary={"20200101": "x"}), whole(8)],
                  "girls_data/7.json": whole(7, telegram_id=70), "girls_data/9.json": whole(9)},
                 "", {}),
    "a contact for a chat that had none": (
        {"conversations/7.json": TALK, "backups/8/2024-01-01.json": backup("a")}, "",
        {"girls_data/7.json": whole(7, telegram_id=70), "girls_data.json": [whole(8)]}),
    "another person's chat": ({"girls_data/7.json": whole(7, telegram_id=8),
                               "conversations/8.json": TALK}, "", {}),
}
LIVE = "select core.record_message(7, 'out', 'live', p_bot_id => $bot)"


@pytest.fixture(scope="module")
def again(cluster: Database, template: Database, tmp_path_factory: pytest.TempPathFactory
          ) -> Iterator[dict[str, Bot]]:
    """A bot for each case, imported; 005 gone and come again; verify.sql has found nothing."""
    for database in clone(cluster, template.name):
        bots = {}
        for name, (files, between, _) in {**AGREE, **OTHERS}.items():
            bots[name] = Bot(database, name, tmp_path_factory.mktemp("files"))
            bots[name].write(files).load(code=None)
            if between:
                bots[name].execute(between)
        by_runner(database)
        assert failed_checks(database) == {}
        yield bots


@pytest.mark.parametrize("name", AGREE)
def test_a_folder_makes_what_it_would_have_made_at_once(name, again):
    bot = again[name].write(AGREE[name][2])
    code = 6 if "in quarantine" in name and not AGREE[name][2] else 0
    bot.load(code=code)
    bot.agrees(ordered="backup" not in name and "quarantine" not in name, checked=False)
    command(bot.database, "verify", "--source", bot.folder, "--bot", bot.name)
    assert set(bot.load(code=None)) == {"unchanged"}


OTHERS = {
    "a bot wrote": ({"conversations/7.json": TALK}, LIVE, {
        "conversations/7.json": [*TALK, said("d", 1_700_000_300)]}),
    "a bot changed": ({**KNOWN, "conversations/7.json": TALK},
        "update core.messages set body = 'x', metadata = '{\"edited\": true}'"
        " where bot_id = $bot and body in ('a', 'c')", {}),
    "a bot changed a contact": ({"girls_data.json": [whole(7), whole(8)],
                                 "girls_data/9.json": whole(9)},
        "update core.girls_profiles set name = 'Now', summary = '{}' where bot_id = $bot", {}),
    "edited": ({**KNOWN, "conversations/7.json": TALK}, "",
               {"conversations/7.json": [said("A"), *TALK[1:]]}),
    "no folder": ({"conversations/7.json": TALK}, "", {}),
    "quarantined since": ({**KNOWN, "conversations/7.json": TALK}, "",
                          {"conversations/7.json": "["}),
}


def test_what_a_bot_wrote_is_there_once_and_a_grown_file_brings_its_tail(again):
    bot = again["a bot wrote"]
    before = bot.rows(7)
    assert bot.write(OTHERS["a bot wrote"][2]).load() == {"loaded": 1}
    rows = bot.rows(7)
    assert list(rows) == ["a", "b", "b'", "c", "live", "d"]
    assert {body: rows[body] for body in before} == before


def test_what_a_bot_changed_stays_as_it_is(again):
    bot = again["a bot changed"]
    before = bot.rows(7)
    assert list(before) == ["x", "b", "b'", "x'"]
    assert bot.load() == {"loaded": 2}
    assert bot.rows(7) == before
    for body in "de":  # it stays when the file grows, too
        TALK.append(said(body))
        assert bot.write({"conversations/7.json": TALK}).load() == {"loaded": 1, "unchanged": 1}
    rows = bot.rows(7)
    assert list(rows) == ["x", "b", "b'", "x'", "d", "e"]
    assert {body: rows[body] for body in before} == before
    assert faults(bot.database) == {}


def test_what_a_bot_changed_in_a_contact_stays_as_it_is(again):
    bot = again["a bot changed a contact"]
    assert bot.load() == {"loaded": 2}
    command(bot.database, "verify", "--source", bot.folder, "--bot", bot.name)
    assert bot.execute("select distinct name from core.girls_profiles where bot_id = $bot"
                       ) == [("Now",)]


def test_of_an_edited_file_no_row_is_lost(again):
    bot = again["edited"].write(OTHERS["edited"][2])
    assert bot.load() == {"loaded": 2}
    assert sorted(bot.rows(7)) == ["A", "a", "b", "b'", "c"]
    command(bot.database, "verify", "--source", bot.folder, "--bot", bot.name)
    assert bot.execute("select path, row_count from json_import.file"
                       " where bot_id = $bot and sha256 is null")[0][1] == 1
    assert faults(bot.database) == {}


def test_rows_whose_folder_never_comes_again_are_no_fault(again):
    bot = again["no folder"]
    assert bot.run("report")["bots"][0]["messages"] == 4
    assert faults(bot.database) == {}


def test_rows_wait_for_a_file_that_is_in_quarantine_meanwhile(again):
    bot = again["quarantined since"]
    before = bot.rows(7)
    good = (bot.folder / "conversations/7.json").read_bytes()
    bot.write(OTHERS["quarantined since"][2])
    assert bot.load(code=6) == {"loaded": 1, "quarantined": 1}
    assert bot.write({"conversations/7.json": good}).load() == {"loaded": 1, "unchanged": 1}
    assert bot.rows(7) == before
    bot.agrees(checked=False)
