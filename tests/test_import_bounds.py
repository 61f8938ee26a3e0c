"""What a file holds beyond the bounds of the columns: in quarantine, with its pointer."""

import json

import pytest
from import_helpers import said

pytest_plugins = "import_helpers"

MOST = "я" * 65536
LONG = MOST + "я"
HUGE = "1" + "0" * 1000
# What one digit, character or byte too much is in: a file, its text, the pointer.
MESSAGES = {
    "/1/text": [said(MOST), said(LONG)],
    "/0/content": [{"content": LONG, "direction": "in", "ts": 1}],
    "/1": [said("a"), said("b", more={"a": "a" * 65536})],
    "/0": f'[{{"text": "", "direction": "in", "ts": 1, "x": {HUGE}}}]',
    "/2": '[{"text": "", "direction": "in", "ts": 1}, {"text": "", "direction": "in", "ts": 1},'
          ' {"text": "", "direction": "in", "ts": 1, "x": [1e-1001, 1.5]}]',
    "/messages/0/text": {"messages": [said(LONG)]},
    "": {"messages": [said("a")], "more": "a" * 2**20},
}
PROFILES = {
    "/name": {"name": LONG},
    "/previous_response_id": {"previous_response_id": LONG},
    "/summary": {"summary": {"20240501100000": "a" * 2**20}},
    "/profile": {"profile": {"20240501100000": {"a": ["я" * 2**19, 1]}}},
    "": {"odd": "\n" * 2**19},
}
NUMBERS = {"/profile": '{"profile": {"20240501100000": {"a": 1e131071}}}',
           "/0": '[{"text": "", "direction": "in", "ts": 1, "x": 1e131071}]'}


def test_what_exceeds_a_bound_is_quarantined_with_its_pointer_and_stops_nothing_else(bot):
    fits = {"conversations/9000.json": [said(MOST), said("я" * 65000, more={"a": "a" * 65000})],
            "girls_data/9001.json": {"chat_id": 9001, "name": MOST, "odd": "a" * 1_000_000}}
    messages = {f"conversations/{n}.json": document
                for n, document in enumerate(MESSAGES.values(), 1)}
    backups = {f"backups/{n}/2024-05-01.json": document
               for n, document in enumerate(MESSAGES.values(), 101)}
    profiles = {f"girls_data/{n}.json": {"chat_id": n} | more
                for n, more in enumerate(PROFILES.values(), 201)}
    single = {"girls_data.json": {str(n): more for n, more in enumerate(PROFILES.values(), 301)}}
    numbers = {"girls_data/401.json": f'{{"chat_id": 401, {NUMBERS["/profile"][1:]}',
               "conversations/402.json": NUMBERS["/0"]}
    refused = messages | backups | profiles | single | numbers
    plain = {f"conversations/{n}.json": [said("a")] for n in range(501, 560)}
    bot.write(fits | refused | plain)
    assert bot.load(code=6) == {"loaded": len(fits | plain), "quarantined": len(refused)}
    bot.agrees()
    found = {}
    for path, code, pointer in bot.rejects():
        found.setdefault(path, []).append((code, pointer))
    for files, pointers in ((messages, MESSAGES), (backups, MESSAGES), (profiles, PROFILES)):
        for path, pointer in zip(files, pointers, strict=True):
            assert found[path] == [("MB427", pointer)], path
    assert sorted(found["girls_data.json"]) == [
        ("MB427", f"/{n}{pointer}") for n, pointer in enumerate(PROFILES, 301)]
    message = next(row["message"] for row in bot.run("rejects", code=6)
                   if row["path"] == "conversations/1.json")
    assert message == "core.messages.body takes up to 65536 characters, not 65537"


@pytest.mark.parametrize("count", [3, 2000])
def test_numbers_that_print_without_end_are_never_printed(bot, count):
    numbers = "[" + ", ".join(["1e131071"] * count) + "]"
    bot.write({
        "conversations/1.json": f'[{{"text": "", "direction": "in", "ts": 1, "x": {numbers}}}]',
        "conversations/2.json": f'[{{"text": "", "ts": 1, "x": {numbers}}}]',
        "conversations/3.json": f'[{{"text": {numbers}, "direction": "in", "ts": {numbers}}}]',
        "conversations/4.json": f'{{"messages": {numbers}, "x": {numbers}}}',
        "conversations/5.json": numbers, "girls_data/7.json": numbers,
        "conversations/6.json": "[" + ", ".join(
            ['{"text": "", "direction": "in", "ts": 1e131071}'] * min(count, 50)) + "]",
        "girls_data/6.json": f'{{"chat_id": 6, "name": {numbers}, "odd": {numbers}}}',
        "girls_data.json": f'{{"8": {{"profile": {{"a": {numbers}}}, "message_count": 1e131071}}}}',
        "conversations/9.json": [said("a")]})
    assert bot.load(code=6) == {"loaded": 1, "quarantined": 9}
    bot.agrees()


def test_what_a_bot_and_its_file_hold_together_may_be_too_much(bot):
    half = json.dumps({"chat_id": 1, "summary": {"20240501100000": "a" * 600_000}})
    bot.write({"girls_data/1.json": half}).load()
    bot.execute("update core.girls_profiles set summary = summary || jsonb_build_object("
                "'b', repeat('b', 400000)) where bot_id = $bot")
    bot.write({"girls_data/1.json": half.replace("20240501100000", "20240501100001")})
    bot.load(code=6)
    assert bot.rejects() == [("girls_data/1.json", "MB427", "")]
