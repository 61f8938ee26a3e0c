"""The import of JSON files: verdicts against the oracle, commands, changed files, odd folders."""

import hashlib
import json
import os
import re
import socket
import time
from contextlib import chdir
from unittest.mock import patch

import oracle
import psycopg
import pytest
from conftest import Database
from import_helpers import (
    EXAMPLES,
    TORTURE,
    assert_agrees,
    command,
    contents,
    faults,
    make_folder,
    read_tables,
    row_versions,
    run_import,
    said,
    same,
)
from test_examples import GOOD, manifest

from fleet import importer

pytest_plugins = "import_helpers"

LEGACY = ("anna", "mila", "vera_2019")
HELLO = {"conversations/7.json": [said("a"), said("b"), said("c")]}


def whole(chat_id: int, **more) -> dict:
    """A profile as a file has it."""
    return {"chat_id": chat_id, "name": f"Name {chat_id}", "last_activity": "2024-05-01T10:00:00Z",
            "message_count": 3, "summary": {"20240501100000": "calm"},
            "profile": {"20240501100000": {"city": "Рига"}}, "previous_response_id": "r1", **more}


# The examples -------------------------------------------------------------------------------------


def test_the_legacy_examples_are_loaded_as_the_oracle_reads_them(database):
    entries = {name: len(list((EXAMPLES / "legacy" / name).rglob("*.json"))) for name in LEGACY}
    assert run_import(database, EXAMPLES / "legacy") == {
        name: {"loaded": count} for name, count in entries.items()}
    for name in LEGACY:
        assert_agrees(database, EXAMPLES / "legacy" / name, None, name)
    before = row_versions(database), contents(database)
    assert run_import(database, EXAMPLES / "legacy", "--jobs", "1") == {
        name: {"unchanged": count} for name, count in entries.items()}
    assert (row_versions(database), contents(database)) == before, "a second run writes nothing"


def test_each_broken_example_has_the_defect_of_the_manifest(bot):
    wanted = {path: row[::2] for path, row in manifest().items() if row[0] != "good"}
    folder = EXAMPLES / "broken" / "lena"
    assert run_import(bot.database, folder, "--bot", bot.name, code=6)[bot.name] == {
        "loaded": 1, "quarantined": len(wanted)}
    rows = bot.run("rejects", code=6)
    assert {row["path"]: (row["code"], row["pointer"]) for row in rows} == wanted
    assert len(rows) == len(wanted)
    messages = {row["path"]: row["message"] for row in rows}
    assert all(row["hint"] for row in rows)
    for path, (_, _, _, where) in manifest().items():
        number = where and where.split()[1]
        assert not where or where == "byte 0" or re.search(rf"\b{number}\b", messages[path]), path
    assert_agrees(bot.database, folder, None, bot.name)


# Every shape --------------------------------------------------------------------------------------

# Each stands alone in a conversation, as an array and within an object.
MESSAGES = (
    GOOD, f"{GOOD}, {GOOD}", "",
    '{"content": "older", "direction": "out", "ts": "2024-05-01T10:20:30Z"}',
    '{"text": "\\u0000", "direction": "in", "ts": 1}',
    '{"text": "\\\\u0000 \\\\\\\\", "direction": "in", "ts": 1}',
    '{"text": "\\\\\\u0000", "direction": "in", "ts": 1}',
    '{"text": "\\\\\\\\\\"\\"", "direction": "in", "ts": 1}',
    '{"text": "\\ud83d\\ude42", "direction": "in", "ts": 1}',
    '{"text": "\\ude42\\ud83d", "direction": "in", "ts": 1}',
    '{"text": "", "direction": "in", "ts": 1, "a/b": {"~": ["\\ud800"]}}',
    '{"text": "", "direction": "in", "ts": 1, "\\udfff": 1}',
    '{"text": "", "direction": "in", "ts": 1, "x\\u0000": 1}',
    '{"text": "", "direction": "in", "t\\u0073": 1, "ts": 1}',
    '{"text": "", "direction": "in", "ts": 1, "x": [{"": 1, "": 1}]}',
    '{"text": "", "direction": "in", "ts": 1, "x": {"a": {"b": 1}, "a": {"b": 1}}}',
    '{"text": "", "direction": "in", "ts": 1e400000}',
    '{"text": "", "direction": "in", "ts": 1, "x": [1e400000, 1e-16384, 1e131071]}',
    '{"text": "", "content": "", "direction": "in", "ts": 1}',
    '{"text": "", "content": null, "direction": "in", "ts": 1}',
    '{"direction": "in", "ts": 1}', '{"content": null, "direction": "in", "ts": 1}',
    '{"text": "", "ts": 1}, {"text": "", "direction": "in", "ts": 1, "x": "y"}',
    '{"text": "", "direction": "in"}, {"text": "", "direction": "in", "ts": 1, "x": "y"}',
    '{"text": "", "direction": null, "ts": 1}', '{"text": "", "direction": "in", "ts": null}',
    '{"text": 1, "direction": 2, "ts": true}', '{"text": [], "direction": {}, "ts": []}',
    '{"text": "", "direction": "IN", "ts": ""}', '{"text": "", "direction": "", "ts": 1}',
    '{"text": "", "direction": "in", "ts": "1700000000"}',
    '{"text": "", "direction": "in", "ts": 1, "1700000000": 1}',
    '{"text": "", "direction": "in", "ts": {"a": "b"}}',
    "[], null", '"text"', "[[]]", '[{"text": "", "direction": "in", "ts": 1}]', "{}", "1, true",
    '{"text": "", "direction": "in", "ts": 1, "id": 1.10, "ok": true, "n": null, "e": 1e2}',
    '{"text": "", "direction": "in", "ts": 1, "x": "\U0010fffe0000"}',
    '{"text": "x\x7f\x80\ufeff\u2028", "direction": "in", "ts": 1}',
)
TIMES = (
    *(f'"{text}"' for text in (
        "1970-01-01T00:00:00Z", "2024-05-01 10:20:30.5+00:00", "2024-05-01T10:20:30+03",
        "2024-05-01T10:20:30+0545", "2024-05-01T10:20:30-05:30", "2024-05-01T10:20:30",
        "1970-01-01T00:00:00.0000005Z", "1970-01-01T00:00:00.0000015Z", "2024-02-29T23:59:59Z",
        "1970-01-01T00:00:00.123456500Z", "1970-01-01T00:00:59.9999999Z",
        "2099-12-31T23:59:59.9999994Z", "2099-12-31T23:59:59.9999996Z", "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01", "1969-12-31T23:59:00-00:01", "2024-01-01T00:00:00-00:00",
        "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "0000-01-01T00:00:00Z",
        "2024-01-01T24:00:00Z", "2024-01-01T23:59:60Z", "2024-01-01T23:60:00Z",
        "2024-01-01T00:00:00+15:59", "2024-01-01T00:00:00+16:00", "2024-01-01T00:00:00+01:60",
        "2024-05-01T10:20:30.123Z", "2024-05-01T10:20:30.120Z", "2024-05-01T10:20:30.123456",
        "2024-05-01T10:20:30.100000", "2024-05-01T10:20:30.1+0300", "2024-05-01T10:20:30.123+03",
        "2024-05-01T10:20:30.12345Z", "2024-05-01T10:20:30.1234567+05:30",
        "2024-05-01T10:20:30.5-08:00", "2024-05-01T24:00:00.000Z", "2024-05-01T10:20:60+03:00",
        "2024-05-01T10:20:30.+00Z", "2024-05-01T10:20:30.+00:00", "2024-05-01T10:20:30.1 BC ",
        "  24-05-01T10:20:30Z", "2024- 5-01T10:20:30Z", "2024-05-01T10: 5:30+03:00",
        "2024-01-01", "2024-01-01T10:00Z", "2024-01-01T10:00:00z", "2024-01-01T10:00:00 +03",
        "2024-01-01T10:00:00.Z", "2024-01-01T10:00:00.1234567890Z", "2024-01-01T10:00:00Z\\n",
        "\uff12024-01-01T10:00:00Z", "now", "infinity", "epoch", "\\u00002024-01-01T10:00:00Z",
        "2024-01-01T10:00:00ZZ", "2024-01-01T10:00:00+3", "-2024-01-01T10:00:00Z", "0")),
    "0", "1700000000", "1700000000.0", "1700000000.123456", "1700000000.1234565", "1.7e9",
    "99999999999", "100000000000", "4102444799", "4102444800", "4102444799999", "4102444800000",
    "1700000000123.4565", "4102444799.9999994", "4102444799.9999995", "4102444799999.9994",
    "4102444799999.9995", "-1", "-0.0000001", "-0", "0.0000004", "0.0000005", "1e131071",
    "4102444799999.4995001", "4102444799999.4994999", "100000000000.000499999", "1e-16383",
    "1700000000.12345649", "1700000000000.4999", "99999999999.99", "0.5",
)
WRAPPERS = (
    '{"chat_id": %d, "messages": []}', '{"chat_id": %d.0, "messages": []}', '{"messages": []}',
    '{"chat_id": null, "messages": [], "date": 5, "name": null}', '{"chat_id": 8, "messages": []}',
    '{"chat_id": "%d", "messages": []}', '{"chat_id": %d}', '{"messages": {}}',
    '{"messages": null}', '{"chat_id": true, "messages": []}',
    '{"chat_id": 0.5, "messages": []}', "7", '"x"', "null",
    '{"chat_id": 1e30, "messages": []}', '{"chat_id": %d, "chat_id": 8, "messages": []}',
    '{"chat_id": 8, "chat_id": %d, "messages": []}', '{"bot": "x", "more": [1], "messages": []}',
    f'{{"chat_id": %d, "messages": [{GOOD}], "messages": []}}',
    f'{{"chat_id": %d, "messages": [{GOOD}], "a~/b": {{}}}}', "\ufeff[]", " [ ]\r\n\t", "[]]",
    "[1,]", "{", "", " ", "tru", "[tru", "nul", "-\n", "[tru ", "-", "[-", "[1.", "[01]", '["a',
    '["\\', '["\\u12', "['a']", '{"a""b', "[1]\x0b", '[{"a": 1}', '{"a": "b" "c"}',
    "[\u00a0]", "[NaN]", "[] []", '["\n"]', '{"messages": [}', '{"a" 1}', '{"a"}', "{1: 2}", "[,",
)
PROFILES = (
    "{}", '{"chat_id": null}', '{"chat_id": 8}', '{"chat_id": "%d"}', '{"chat_id": %d.0}',
    '{"chat_id": %d, "telegram_id": null, "message_count": null, "summary": null, "profile": null}',
    '{"chat_id": %d, "telegram_id": 0}', '{"chat_id": %d, "telegram_id": -5}',
    '{"chat_id": %d, "telegram_id": 9223372036854775807}',
    '{"chat_id": %d, "telegram_id": 9223372036854775808}', '{"chat_id": %d, "telegram_id": 7.5}',
    '{"chat_id": %d, "message_count": -1}', '{"chat_id": %d, "message_count": 2147483647}',
    '{"chat_id": %d, "message_count": 2147483648}', '{"chat_id": %d, "message_count": 1e2}',
    '{"chat_id": %d, "message_count": 1.5}', '{"chat_id": %d, "message_count": "1"}',
    '{"chat_id": %d, "summary": {"20240115103000": 5}}', '{"chat_id": %d, "summary": []}',
    '{"chat_id": %d, "summary": {"a/b": null, "": "x"}}', '{"chat_id": %d, "profile": []}',
    '{"chat_id": %d, "profile": {"a": [{"b": [1.50, true]}]}, "name": 5}',
    '{"chat_id": %d, "last_activity": "yesterday"}', '{"chat_id": %d, "last_activity": 1.5e9}',
    '{"chat_id": %d, "last_activity": "2024-05-01T10:20:30", "x": 1, "y": {}}',
    '{"chat_id": %d, "name": "", "previous_response_id": ""}', '{"chat_id": %d, "name": "\\u0000"}',
    '{"chat_id": %d, "previous_response_id": 5}', '{"chat_id": %d, "name": "a", "name": "b"}',
    '{"chat_id": %d, "summary": {"a": "b", "a": "b"}}', "[]", "null", "5", '"x"', "[{}]",
    '{"chat_id": %d, "name": "\\ud83d"}', '{"chat_id": %d, "extra": {"a": 1}, "bot_id": 5}',
)
SINGLES = (
    "[]", "{}", "5", "null", '"x"', '{"7": {}, "-8": {"chat_id": -8}}', '{"7": {"chat_id": 8}}',
    '{"x": {}}', '{"07": {"chat_id": 7}}', '{"7": null, "8": []}', '[{"chat_id": 7}, {}, 5]',
    '[{"chat_id": 7}, {"chat_id": 8, "telegram_id": 7}]', '[{"chat_id": 7}, {"chat_id": 7.0}]',
    '{"7": {}, "7": {}}', '[{"chat_id": 9223372036854775808}]', '[{"chat_id": 0}]',
    '{"7": {"name": "a"}, "8": {"telegram_id": 80, "summary": {"x": "y"}, "z": 1}}',
    '[{"chat_id": 7, "telegram_id": 8}, {"chat_id": 8, "telegram_id": 7}]', '{"a/b": {}, "~": 1}',
)


def test_every_shape_of_conversation_gets_the_oracles_verdict(bot):
    documents = [form % items for items in MESSAGES for form in ("[%s]", '{"messages": [%s]}')]
    documents += [f'[{{"text": "é", "direction": "out", "ts": {ts}}}]' for ts in TIMES]
    documents += [text.replace("%d", str(len(documents) + place + 1))
                  for place, text in enumerate(WRAPPERS)]
    bot.write({f"conversations/{n}.json": text for n, text in enumerate(documents, 1)})
    bot.load(code=6)
    bot.agrees()


def test_every_shape_of_profile_gets_the_oracles_verdict(bot):
    bot.write({f"girls_data/{n}.json": text.replace("%d", str(n))
               for n, text in enumerate(PROFILES, 1001)})
    bot.load(code=6)
    bot.agrees()


@pytest.mark.parametrize("document", SINGLES)
def test_every_shape_of_the_single_file_gets_the_oracles_verdict(document, bot):
    bot.write({"girls_data.json": document, "girls_data/8.json": whole(8, telegram_id=800)})
    bot.load(code=None)
    bot.agrees()


def test_strict_quarantines_unknown_keys_and_chats_without_a_profile(bot):
    bot.write({f"girls_data/{n}.json": text.replace("%d", str(n))
               for n, text in enumerate(PROFILES, 1001)})
    bot.write({f"conversations/{n}.json": f"[{items}]" for n, items in enumerate(MESSAGES, 1001)})
    bot.write({"conversations/5.json": [], "backups/6/2024-01-01.json": {"messages": [], "a": 1},
               "girls_data.json": {"9000": {"a~b/c": 1}}})
    bot.load("--strict", code=6)
    bot.agrees(oracle.read_bot(bot.folder, strict=True))


def test_a_document_may_be_512_levels_deep_and_no_deeper(bot):
    def conversation(depth: int, opening: str, inside: str, closing: str) -> str:
        value = opening * (depth - 2) + inside + closing * (depth - 2)
        return f'[{{"text": "", "direction": "in", "ts": 1, "x": {value}}}]'

    forms = (("[", "", "]"), ("[", "1", "]"), ('{"a":', "1", "}"), ('{"a":', "{}", "}"))
    bot.write({f"conversations/{n * 1000 + depth}.json": conversation(depth, *form)
               for n, form in enumerate(forms, 1) for depth in (511, 512, 513, 3000, 200_000)})
    bot.write({f"girls_data/{n * 1000 + depth}.json": (
        f'{{"chat_id": {n * 1000 + depth}, "profile": {{"a": {form[0] * (depth - 2)}{form[1]}'
        f'{form[2] * (depth - 2)}}}}}') for n, form in enumerate(forms, 1) for depth in (512, 513)})
    bot.write({"conversations/9.json": "[" * 200_000, "conversations/8.json": conversation(
        700, "[", '"\\u0000"', "]"), "girls_data/5.json": "[" * 600 + "]" * 600})
    bot.load(code=6)
    bot.agrees()


@pytest.mark.parametrize(
    "head", ["", "a", "я", "😀", "ab€", "я" * 17, "😀" * 1001, "x" * 70_001], ids=len)
def test_bad_encoding_is_told_by_the_offset_of_its_first_byte(head, bot):
    tails = (b"\xff", b"\x80", b"\x80" * 9, b"\xd0", b"\xf0\x9f\x98", b"\xf0\x9f\x98\x80\x80",
             b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe9 ok", b"\xff" * 5000)
    bot.write({f"conversations/{n}.json": head.encode() + tail for n, tail in enumerate(tails, 1)})
    bot.load(code=6)
    wanted = bot.agrees()
    for row in bot.run("rejects", code=6):
        offset = wanted.files[row["path"]].defects[0].where
        assert row["message"] == f"no UTF-8 at byte offset {offset}"


# Commands -----------------------------------------------------------------------------------------


def ids(database: Database) -> dict[str, int]:
    """Where the sequences stand, but those of the log, of what waits for the roll-up and of dry
    runs."""
    return {name: value for name, value in database.execute(
        "select c.oid::regclass::text, pg_sequence_last_value(c.oid) from pg_class as c"
        " where c.relkind = 'S'"
        " and c.relname !~ '^(trial_|security_audit_log_|stale_days_|uncounted_)'")}


def test_a_dry_run_of_new_bots_uses_up_no_id(bot):
    before = ids(bot.database)
    for folder, code in (("legacy", 0), ("broken", 6)):
        command(bot.database, "import", "--dry-run", EXAMPLES / folder, code=code)
    command(bot.database, "retry", "--dry-run", code=None)
    assert ids(bot.database) == before


def test_a_dry_run_is_not_committed(bot):
    with (bot.database.connect() as conn, pytest.raises(psycopg.Error) as caught,
          conn.transaction()):
        conn.execute("set local app.dry_run = on")
        conn.execute("select json_import.start_run('by hand')")
    assert caught.value.sqlstate == "MB433"


def test_a_dry_run_says_per_file_what_would_happen_and_changes_nothing(bot):
    bot.write(HELLO).load()
    bot.write({"conversations/7.json": [said("a"), said("b"), said("c"), said("d")],
               "conversations/8.json": [said("x")], "conversations/9.json": "[", "a.tmp": "",
               "backups/8/2024-01-01.json": [said("x"), said("y")]})
    before = row_versions(bot.database), contents(bot.database), ids(bot.database)
    rows = command(bot.database, "import", "--dry-run", "--json", "--bot", bot.name, bot.folder,
                   code=6).document
    assert {row["path"]: (row["would_be"], row["rows"], row["defects"]) for row in rows} == {
        "conversations/7.json": ("loaded", 4, 0), "conversations/8.json": ("loaded", 1, 0),
        "conversations/9.json": ("quarantined", 0, 1), "a.tmp": ("ignored", 0, 0),
        "backups/8/2024-01-01.json": ("loaded", 1, 0)}
    assert (row_versions(bot.database), contents(bot.database), ids(bot.database)) == before
    other = f"{bot.name} II"
    arguments = ["import", "--dry-run", bot.folder, "--bot", other]
    grouped = command(bot.database, *arguments, code=6).out.splitlines()
    assert [line.split()[3:] for line in grouped[1:]] == [
        ["ignored", "1", "0", "0", "a.tmp"],
        ["loaded", "3", "6", "0", "backups/8/2024-01-01.json"],
        ["quarantined", "1", "0", "1", "conversations/9.json"]]
    assert "conversations/7.json" in command(bot.database, *arguments, "--all", code=6).out
    assert bot.database.execute("select 1 from core.bots where name = %s", [other]) == []


def test_no_create_refuses_a_new_bot_and_takes_a_known_one(bot):
    refused = command(bot.write(HELLO).database, "import", bot.folder, "--bot", bot.name,
                      "--no-create", "--json", code=1)
    assert refused.document["error"]["code"] == "MB430"
    assert bot.name in refused.document["error"]["message"]
    bot.load()
    assert bot.load("--no-create") == {"unchanged": 1}


@pytest.mark.parametrize("place", ["gone", "a_file", "empty", "conversations_only", "backups_only"])
def test_a_folder_without_bots_is_refused(place, bot, tmp_path):
    make_folder(tmp_path, {"a_file": "", "conversations_only/conversations/7.json": "[]",
                           "backups_only/backups/7/2024-01-01.json": "[]"})
    (tmp_path / "empty").mkdir()
    before = bot.database.execute("select count(*) from core.bots")
    refused = command(bot.database, "import", tmp_path / place, "--json", code=2)
    assert refused.document["error"]["code"] == "MB431"
    assert bot.database.execute("select count(*) from core.bots") == before


@pytest.mark.parametrize("flag", ["--jobs", "--max-bytes"])
def test_a_number_below_one_is_refused(flag, bot):
    refused = command(bot.write(HELLO).database, "import", bot.folder, "--bot", bot.name, flag, "0",
                      "--json", code=2)
    assert refused.document["error"]["code"] == "MB900"


def test_what_lies_beside_the_bots_folders_is_named(bot, tmp_path):
    make_folder(tmp_path, {f"bots/{bot.name}/conversations/7.json": "[]", "bots/stray.json": "[]",
                           f"elsewhere/{bot.name} II/conversations/7.json": "[]"})
    (tmp_path / "bots" / "link").symlink_to(tmp_path / "elsewhere")
    done = command(bot.database, "import", tmp_path / "bots")
    assert "stray.json" in done.err and "link" in done.err


def test_a_larger_file_than_max_bytes_is_quarantined_unread_until_the_limit_is_raised(bot):
    bot.write({"conversations/7.json": [said("x" * 1000)], "conversations/8.json": "[]"})
    assert bot.load("--max-bytes", "1000", code=6) == {"loaded": 1, "quarantined": 1}
    assert bot.rejects() == [("conversations/7.json", "MB408", "")]
    bot.agrees(oracle.read_bot(bot.folder, max_bytes=1000))
    assert bot.load() == {"loaded": 1, "unchanged": 1}
    bot.agrees()


def test_rejects_can_be_filtered_and_exit_0_when_nothing_waits(bot):
    assert bot.write(HELLO).load() == {"loaded": 1}
    assert bot.rejects() == []
    bot.write({"conversations/8.json": "[", "conversations/9.json": "[5, {}]"}).load(code=6)
    assert len(bot.rejects()) == 5
    assert bot.rejects("--code", "MB406") == [("conversations/8.json", "MB406", "")]
    assert bot.rejects("--code", "MB401") == []
    assert {row["bot"] for row in bot.run("rejects", code=6)} == {bot.name}
    assert command(bot.database, "rejects", "--bot", "nobody", "--json", code=1
                   ).document["error"]["code"] == "MB003"


def test_retry_loads_what_its_cause_no_longer_stops(bot):
    bot.write({**HELLO, "conversations/8.json": [said("x", more=1)], "conversations/9.json": "["})
    bot.load("--strict", code=6)
    assert [code for _, code, _ in bot.rejects()] == ["MB425", "MB424", "MB406"]
    make_folder(bot.folder, {"girls_data/7.json": whole(7)})
    assert bot.load("--strict") == {"loaded": 1, "unchanged": 3}
    done = bot.run("retry", "--code", "MB425")
    assert [(row["path"], row["status"]) for row in done] == [("conversations/7.json", "loaded")]
    assert bot.run("retry", "--file", "conversations/9.json", code=6)[0]["status"] == "quarantined"
    assert bot.run("retry", "--dry-run", code=6)[0]["status"] == "loaded"
    assert [code for _, code, _ in bot.rejects()] == ["MB424", "MB406"]
    assert {row["path"]: row["status"] for row in bot.run("retry", code=6)} == {
        "conversations/8.json": "loaded", "conversations/9.json": "quarantined"}
    bot.agrees()


def test_retry_loads_a_contact_whose_telegram_id_was_freed(bot):
    bot.write({f"girls_data/{n}.json": whole(n, telegram_id=70) for n in (7, 8)})
    assert bot.load(code=6) == {"loaded": 1, "quarantined": 1}
    assert bot.rejects() == [("girls_data/8.json", "MB422", "")]
    assert bot.write({"girls_data/7.json": whole(7, telegram_id=71)}).load() == {
        "loaded": 1, "unchanged": 1}
    assert bot.run("retry")[0]["status"] == "loaded"
    bot.agrees()


def test_export_writes_the_quarantined_bytes_back(bot, tmp_path):
    files = {b"conversations/a\nb.json": b"\0\xff[", b"conversations/\xff\xfe.json": b"[]",
             b"c\\x41\\.json": b"{}", "conversations/каша \\.json".encode(): b"1",
             b"girls_data/\xed\xa0\x80\\\xf0\x9f.json": b"[" * 9000, b"conversations/7.json": b"",
             b"conversations/\\\\xff.json": b"2"}
    bot.write({os.fsdecode(path): data for path, data in files.items()}).load(code=6)
    assert bot.load() == {"unchanged": len(files)}
    assert len(bot.run("export-rejects", tmp_path / "out")) == len(files)
    out = tmp_path / "out" / bot.name
    assert {os.fsencode(path.relative_to(out)): path.read_bytes()
            for path in out.rglob("*") if path.is_file()} == files
    again = bot.run("export-rejects", tmp_path / "out", code=2)
    assert again["error"]["code"] == "MB900"
    bot.agrees()


# Changed files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [lambda m: m, lambda m: {"messages": m, "name": "x"},
                                   lambda m: [{**one, "more": [1]} for one in m]])
def test_an_append_adds_the_tail_and_leaves_the_other_rows_alone(shape, bot):
    first = [said("a"), said("b", 1_700_000_100), said("b", 1_700_000_100)]
    bot.write({"conversations/7.json": shape(first)}).load()
    bot.record(7, "live")
    before = bot.rows(7)
    bot.write({"conversations/7.json": shape([*first, said("c"), said("d", direction="out")])})
    assert bot.load() == {"loaded": 1}
    after = bot.rows(7)
    assert list(after) == ["a", "b", "b'", "live", "c", "d"]
    assert {body: after[body] for body in before} == before


@pytest.mark.parametrize("new", [
    [said("a"), said("B"), said("c")], [said("b"), said("c")], [said("a"), said("c")], [],
    [said("b"), said("a"), said("c")], [said("b"), said("a"), said("c"), said("d")],
    [said("x"), said("a"), said("b"), said("c")], [said("a"), said("b"), said("c", more=1)],
    [said("a"), said("b", direction="out"), said("c")], [said("a"), said("b"), said("c", 5)],
], ids=repr)
def test_an_edit_replaces_the_rows_of_the_file_and_no_live_one(new, bot):
    bot.write({**HELLO, "conversations/8.json": HELLO["conversations/7.json"]}).load()
    bot.record(7, "live")
    live, others = bot.rows(7)["live"], bot.rows(8)
    assert bot.write({"conversations/7.json": new}).load() == {"loaded": 1, "unchanged": 1}
    rows = bot.rows(7)
    assert rows.pop("live") == live
    assert list(rows) == [message["text"] for message in new]
    assert bot.rows(8) == others
    bot.execute("delete from core.messages where bot_id = $bot and source_file_id is null")
    bot.agrees()


def test_a_wrapper_that_changed_replaces_what_it_said_and_not_what_the_bot_says(bot):
    first = {"messages": [said("a")], "name": "x", "gone": 1, "kept": 1, "bots": 1}
    bot.write({"conversations/7.json": first}).load()
    bot.execute("update core.conversations set metadata = metadata || '{\"bots\": 2, \"live\": 3}'"
                " where bot_id = $bot")
    bot.write({"conversations/7.json": {"messages": [said("a"), said("b")], "name": "y", "kept": 1,
                                        "bots": 1, "new": 4}}).load()
    assert bot.execute("select metadata from core.conversations where bot_id = $bot") == [
        ({"name": "y", "kept": 1, "bots": 2, "live": 3, "new": 4},)]


def test_a_good_file_replaced_by_a_bad_one_keeps_its_rows_until_a_good_one_comes(bot):
    bot.write({**HELLO, "girls_data/7.json": whole(7)}).load()
    before = row_versions(bot.database)
    bot.write({"conversations/7.json": "[", "girls_data/7.json": "{"})
    assert bot.load(code=6) == {"quarantined": 2}
    assert bot.load() == {"unchanged": 2}
    assert row_versions(bot.database) == before
    assert faults(bot.database) == {}
    kept = bot.rows(7)
    more = [*HELLO["conversations/7.json"], said("d")]
    assert bot.write({"conversations/7.json": more, "girls_data/7.json": whole(7, name="N")}
                     ).load() == {"loaded": 2}
    assert {body: row for body, row in bot.rows(7).items() if body != "d"} == kept
    assert bot.rejects() == []
    bot.agrees()


def test_a_bad_file_replaced_by_a_good_one_is_loaded_and_its_bytes_are_let_go(bot):
    bot.write({"conversations/7.json": "[", "girls_data.json": "["}).load(code=6)
    assert bot.write({**HELLO, "girls_data.json": [whole(7)]}).load() == {"loaded": 2}
    assert bot.execute("select 1 from json_import.kept_bytes"
                       " join json_import.file using (bot_id, file_id)"
                       " where bot_id = $bot") == []
    bot.agrees()


def test_an_unreadable_entry_that_becomes_a_file_is_loaded(bot):
    (bot.write(HELLO).folder / "conversations" / "8.json").symlink_to("gone.json")
    assert bot.load(code=6) == {"loaded": 1, "quarantined": 1}
    (bot.folder / "conversations" / "8.json").unlink()
    assert bot.write({"conversations/8.json": [said("x")]}).load() == {"loaded": 1, "unchanged": 1}
    bot.agrees()


# Backups ------------------------------------------------------------------------------------------


def backup(*bodies: str, ts: object = "2023-11-14T22:13:20Z", **more) -> dict:
    return {"messages": [said(body, ts) for body in bodies], **more}


def test_backups_add_what_the_conversation_lacks_and_count_repetitions(bot):
    bot.write({"conversations/7.json": [said(b) for b in "abb"],
               "backups/7/2024-01-02.json": backup("c", "b", "d", date="2024-01-02", name="x"),
               "backups/7/2024-01-01.json": backup("b", "b", "b", "c", ts=1_700_000_000_000),
               "backups/8/2024-01-01.json": backup("only", "here", bot="x"),
               "backups/9/2024-01-01.json": []}).load()
    bot.agrees()
    assert list(bot.rows(7)) == ["a", "b", "b'", "b''", "c", "d"]


def test_a_conversation_that_comes_after_its_backups_takes_their_messages_over(bot):
    bot.write({"conversations/7.json": "[", "girls_data/7.json": whole(7),
               "backups/7/2024-01-01.json": backup("a", "b", "b", "z"),
               "backups/7/2024-01-02.json": backup("b", "c", "b", "b")})
    assert bot.load(code=6) == {"loaded": 3, "quarantined": 1}
    bot.agrees()
    bot.record(7, "live")
    live = bot.rows(7)["live"]
    make_folder(bot.folder, {"conversations/7.json": [said(b) for b in "abcd"]})
    assert bot.load() == {"loaded": 1, "unchanged": 3}
    rows = bot.rows(7)
    assert rows.pop("live") == live
    assert sorted(rows) == ["a", "b", "b'", "b''", "c", "d", "z"]
    bot.execute("delete from core.messages where bot_id = $bot and source_file_id is null")
    bot.agrees(ordered=False)


def test_a_retried_conversation_takes_its_backups_messages_over(bot):
    bot.write({"conversations/7.json": [said("a", more=1), said("b", more=1)],
               "backups/7/2024-01-01.json": [said("a"), said("b"), said("c")]})
    bot.load("--strict", code=6)
    assert bot.run("retry")[0]["status"] == "loaded"
    assert bot.load() == {"unchanged": 2}
    bot.agrees(ordered=False)


@pytest.mark.parametrize("first, then", [
    ("abc", "ac"), ("abc", "c"), ("abc", "abcd"), ("abc", "abcz"), ("abc", ""), ("", "az"),
    ("aab", "ab"), ("ab", "aab"), ("abc", "cba")])
def test_an_edited_conversation_has_its_backups_read_anew(first, then, bot):
    bot.write({"conversations/7.json": [said(b) for b in first],
               "backups/7/2024-01-01.json": backup(*"aaz"),
               "backups/7/2024-01-02.json": backup(*"bcy")}).load()
    bot.write({"conversations/7.json": [said(b) for b in then]}).load()
    bot.agrees(ordered=False)
    assert bot.load() == {"unchanged": 3}


@pytest.mark.parametrize("new", [
    {1: "a"}, {1: "abx"}, {2: "b"}, {2: ""}, {3: "a"}, {1: "", 2: "b"}, {1: "", 3: ""},
    {1: "aab", 2: "aab", 3: ""}], ids=repr)
def test_what_a_changed_backup_no_longer_says_another_may_say(new, bot):
    texts = {1: "aab", 2: "ab", 3: "abx"}
    bot.write({"girls_data/7.json": whole(7)})
    for day in (2, 3, 1):  # the later ones may come first
        bot.write({f"backups/7/2024-01-0{day}.json": backup(*texts[day])}).load()
    bot.write({f"backups/7/2024-01-0{day}.json": backup(*text)
               for day, text in new.items()}).load()
    bot.agrees(ordered=False)
    assert bot.load() == {"unchanged": 4}


# Profiles -----------------------------------------------------------------------------------------


def test_a_profile_that_comes_later_fills_the_placeholder(bot):
    bot.write({"conversations/7.json": [said("a")], "backups/8/2024-01-01.json": [said("b")],
               "conversations/9.json": [said("c", more=1)]}).load()
    assert bot.agrees().placeholders == {7, 8, 9}
    bot.write({"girls_data/7.json": whole(7, telegram_id=70), "girls_data.json": [whole(8)]}).load()
    found = assert_profiles(bot)
    assert found.placeholders == {9}
    bot.write({"conversations/9.json": [said("c", more=1), said("d")]}).load()
    assert bot.execute("select warnings -> 'no_profile' from json_import.file where bot_id = $bot"
                       " and path = 'conversations/9.json'") == [(1,)]
    assert_profiles(bot)


def assert_profiles(bot) -> oracle.Oracle:
    """The contacts are those of the folder."""
    wanted, found = oracle.read_bot(bot.folder), read_tables(bot.database, bot.name)
    same(found.profiles, wanted.profiles, "profiles")
    same(found.placeholders, wanted.placeholders, "placeholders")
    assert faults(bot.database) == {}
    return wanted


def test_a_chat_of_a_person_met_elsewhere_belongs_to_that_contact(bot):
    bot.write({"girls_data/7.json": whole(7, telegram_id=8), "conversations/8.json": [said("a")],
               "conversations/9.json": [{**said("b"), "more": 1}]}).load()
    bot.agrees()
    assert bot.execute("select c.chat_id, g.chat_id from core.conversations as c"
                       " join core.girls_profiles as g using (bot_id, profile_id)"
                       " where bot_id = $bot order by 1") == [(8, 7), (9, 9)]
    before = row_versions(bot.database)
    bot.write({"girls_data/7.json": whole(7, telegram_id=8, name="N")}).load()
    assert row_versions(bot.database) != before
    assert bot.write({"girls_data/8.json": whole(8)}).load(code=6) == {
        "quarantined": 1, "unchanged": 3}
    bot.agrees()


def test_what_a_live_bot_wrote_to_a_contact_survives_its_files(bot):
    bot.write({"girls_data/7.json": whole(7),
               "girls_data.json": {"8": whole(8), "9": whole(9)}}).load()
    bot.record(6, "hello")
    bot.execute("update core.girls_profiles set name = 'Now', message_count = 99,"
                " last_activity = '2025-01-01', summary = '{\"20240501100000\": \"live\"}',"
                " previous_response_id = null, extra = '{\"a\": 1}'"
                " where bot_id = $bot and chat_id in (7, 8)")
    new = {"name": "File", "message_count": 5, "summary": {"20240501100000": "f", "20250101": "f2"},
           "previous_response_id": "r2", "a": 2, "b": 3}
    bot.write({"girls_data/7.json": whole(7, **new), "girls_data/6.json": whole(6, **new),
               "girls_data.json": {"8": whole(8, **new), "9": whole(9, **new)}}).load()
    found = read_tables(bot.database, bot.name).profiles
    for chat_id in (7, 8):
        assert found[chat_id]["name"] == "Now" and found[chat_id]["message_count"] == 99
        assert found[chat_id]["last_activity"].year == 2025
        assert found[chat_id]["summary"] == {"20240501100000": "live", "20250101": "f2"}
        assert found[chat_id]["previous_response_id"] == "r2"
        assert found[chat_id]["extra"] == {"a": 1, "b": 3}
    assert found[6]["name"] == "Live" and found[6]["summary"] == new["summary"]
    assert found[9] == oracle.read_bot(bot.folder).profiles[9]
    assert faults(bot.database) == {}
    command(bot.database, "verify", "--source", bot.folder, "--bot", bot.name)


def test_a_contacts_own_file_wins_over_the_single_one_whichever_comes_last(bot):
    bot.write({"girls_data.json": [whole(7, name="old"), whole(8)], "girls_data/7.json": whole(7)})
    assert bot.load() == {"loaded": 2}
    bot.agrees()
    bot.write({"girls_data.json": [whole(7, name="older"), whole(8, name="new"), whole(9)]}).load()
    bot.agrees()
    bot.write({"girls_data/8.json": whole(8, name="own"), "girls_data/9.json": whole(9)}).load()
    bot.agrees()
    counts = bot.execute("select path, row_count from json_import.file where bot_id = $bot")
    assert dict(counts) == {"girls_data.json": 0, **{f"girls_data/{n}.json": 1 for n in (7, 8, 9)}}


# Odd folders --------------------------------------------------------------------------------------


def test_links_pipes_sockets_and_devices_are_not_followed_and_stop_nothing(bot, tmp_path):
    folder = bot.write({"conversations/1.json": [said("a")], "conversations/x.json/2.json": "[]",
                        "conversations/link_to.json.tmp": ""}).folder / "conversations"
    make_folder(tmp_path, {"secret.json": "[]", "elsewhere/9.json": "[]"})
    for name, target in {"2": tmp_path / "secret.json", "3": "nowhere.json", "4": "1.json",
                         "5": "5.json", "6": "x.json", "7": "/dev/zero", "8": "../../secret.json",
                         "20": folder / "1.json", "elsewhere": tmp_path / "elsewhere"}.items():
        (folder / f"{name}.json").symlink_to(target)
    (folder / "no_json").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "9.json")
    os.mkfifo(bot.folder / "girls_data.json")
    with socket.socket(socket.AF_UNIX) as listener, chdir(folder):
        listener.bind("10.json")
        started = time.monotonic()
        assert bot.load(code=6) == {"loaded": 3, "quarantined": 11, "ignored": 2}
        assert time.monotonic() - started < 20
        assert {code for _, code, _ in bot.rejects()} == {"MB426", "MB423"}
        bot.agrees()
        assert bot.load(code=6) == {"unchanged": 4, "quarantined": 10, "ignored": 2}


def test_a_file_that_vanishes_while_the_folder_is_read_is_ignored_and_may_come_back(bot):
    bot.write({f"conversations/{n}.json": [said("a")] for n in (7, 8)}).load()
    bot.write({f"conversations/{n}.json": [said("a"), said("b")] for n in (8, 9)})
    classify = importer.classify

    def classify_and_delete(*args):
        entries = classify(*args)
        for n in (8, 9):
            (bot.folder / f"conversations/{n}.json").unlink()
        return entries

    with patch.object(importer, "classify", classify_and_delete):
        assert bot.load() == {"unchanged": 1, "ignored": 2}
    assert faults(bot.database) == {}
    assert list(bot.rows(8)) == ["a"]
    bot.write({f"conversations/{n}.json": [said("a"), said("b")] for n in (8, 9)})
    assert bot.load() == {"loaded": 2, "unchanged": 1}
    bot.agrees()


def test_a_folder_that_vanishes_is_no_entry_and_one_that_cant_be_listed_stops_the_import(bot):
    bot.write({**HELLO, "gone/8.json": "[]"})
    scandir = os.scandir

    def scan(path):
        if os.fspath(path).endswith(b"gone"):
            raise fault
        return scandir(path)

    with patch.object(importer.os, "scandir", scan):
        fault = FileNotFoundError(2, "No such file or directory")
        assert bot.load() == {"loaded": 1}
        fault = PermissionError(13, "Permission denied")
        said_no = command(bot.database, "import", bot.folder, "--bot", bot.name, "--json", code=1)
    assert said_no.document["error"]["code"] == "MB426"
    assert "gone can't be listed: Permission denied" in said_no.document["error"]["message"]


def test_a_file_that_may_not_be_read_is_quarantined_until_it_may(bot):
    bot.write(HELLO)
    opened = os.open
    with patch.object(importer.os, "open", side_effect=PermissionError(13, "Permission denied")):
        assert bot.load(code=6) == {"quarantined": 1}
    assert importer.os.open is opened
    assert bot.run("rejects", code=6)[0]["message"] == "not readable: Permission denied"
    assert bot.run("retry") == [] and bot.run("export-rejects", bot.folder / "out") == []
    assert bot.load() == {"loaded": 1}
    bot.agrees()


def test_names_that_are_no_text_are_kept_and_told(bot):
    names = [b"conversations/7.json.tmp", b"a.backup.1.json", b"a\nb.txt", b"\xff.json.tmp",
             b"conversations/\xd0.json", b"conversations/7.json\n", b"conversations/ 7.json",
             "conversations/７.json".encode(), b"conversations/7.json/8.json", b"x/.tmp", b".json"]
    bot.write({os.fsdecode(name): "[]" for name in names if b"/8" not in name})
    bot.load(code=6)
    bot.agrees()
    assert bot.load() == {"unchanged": 4, "ignored": 6}


def test_a_folder_whose_name_no_bot_can_have_is_refused_before_anything_is_read(bot, tmp_path):
    make_folder(tmp_path, {f"bots/{name}/conversations/7.json": "[]" for name in ("a", "b\n")})
    refused = command(bot.database, "import", tmp_path / "bots", "--json", code=1)
    assert refused.document["error"]["code"] == "MB104"


# Big files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong, code", [
    (said("x", direction="up"), ("MB417", "/999/direction")),
    *([(said("\ud83d"), ("MB410", "/999/text"))] if TORTURE else []),
], ids=["a wrong direction", "half a character"][:1 + TORTURE])
def test_of_thousands_of_defects_the_first_1000_are_kept_and_all_are_counted(wrong, code, bot):
    count = 38_000 if TORTURE else 5000
    bot.write({"conversations/7.json": json.dumps([wrong] * count)})
    bot.load(code=6)
    assert bot.execute("select defects, (select count(*) from json_import.reject as r"
                       " where r.file_id = f.file_id), octet_length(bytes)"
                       " from json_import.file as f"
                       " join json_import.kept_bytes using (bot_id, file_id)"
                       " where bot_id = $bot") == [
        (count, 1000, (bot.folder / "conversations/7.json").stat().st_size)]
    assert bot.rejects()[999][1:] == code
    bot.agrees()


def test_the_longest_text_is_kept_whole(bot):
    text = ("Очень \\ \"длинный\" текст 🙂\n" * 2700)[:65536]
    assert len(text) == 65536
    bot.write({"girls_data/7.json": whole(7, name=text), "conversations/7.json": [said(text)]})
    bot.write({"conversations/8.json": [said(text, "2024-05-01T10:20:30+03", more="a" * 65000)]})
    bot.load()
    assert bot.execute("select distinct body = name, md5(body), octet_length(body)"
                       " from core.messages join core.girls_profiles using (bot_id)"
                       " where bot_id = $bot and name is not null") == [
        (True, hashlib.md5(text.encode()).hexdigest(), len(text.encode()))]  # noqa: S324
    bot.agrees()


def test_thousands_of_bad_files_are_all_kept_and_named(bot):
    count = 10_000 if TORTURE else 2000
    spoilt = ("[", "", "[5]", '[{"text": "\\u0000"}]', "\ufeff", "[{}]", '{"messages": 1}')
    bot.write({f"conversations/{n}.json": spoilt[n % len(spoilt)] for n in range(1, count + 1)})
    assert bot.load(code=6) == {"quarantined": count}
    assert len({row["path"] for row in bot.run("rejects", code=6)}) == count
    assert bot.load() == {"unchanged": count}
    bot.agrees()


# Order --------------------------------------------------------------------------------------------


def test_messages_are_stored_in_the_order_of_the_file_whatever_their_times(bot):
    sizes = (1, 2, 50, 400, 3000, 1, 700)
    bot.write({f"girls_data/{n}.json": whole(n) for n in range(1, len(sizes) + 1)})
    bot.write({f"conversations/{n}.json": [
        said(f"{place}", 1_700_000_000 + (place * 7919) % 1000, "out" if place % 3 else "in")
        for place in range(size)] for n, size in enumerate(sizes, 1)})
    bot.load()
    bot.agrees()
    bot.write({f"conversations/{n}.json": [said(f"{place}", more=1) for place in range(size)][::-1]
               for n, size in enumerate(sizes, 1)}).load()
    bot.agrees()
