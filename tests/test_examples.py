"""The committed examples, the generator that wrote them, and the oracle that judges them."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import oracle
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LEGACY = sorted(path for path in (EXAMPLES / "legacy").iterdir() if path.is_dir())
GOOD = '{"text": "Привет", "direction": "in", "ts": 1700000000}'


def generate(*arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, EXAMPLES / "generate.py", *arguments],
                          capture_output=True, text=True)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def make_folder(root: Path, files: dict[str, str | bytes]) -> Path:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data if isinstance(data, bytes) else data.encode())
    return root


def judge(root: Path, path: str, data: str | bytes, **options) -> list[tuple[str, str]]:
    """The defects of one file in a folder of its own."""
    return oracle.read_bot(make_folder(root, {path: data}), **options).defects().get(path, [])


def load(path: Path):
    return json.loads(path.read_text("utf-8-sig"))


def messages_of(document: list | dict) -> list[dict]:
    items = document.get("messages", []) if isinstance(document, dict) else document
    return [item for item in items if "ts" in item]


def manifest() -> dict[str, tuple[str, str, str, str]]:
    """file -> (code, name, pointer, where), as examples/broken/MANIFEST.md says."""
    rows = re.findall(r'^\| `lena/(.+?)` \| (MB\d+) \| (\w+) \| `(".*?")` \| (.*?) \| .* \|$',
                      (EXAMPLES / "broken" / "MANIFEST.md").read_text(), re.MULTILINE)
    return {path: (code, name, json.loads(pointer), where)
            for path, code, name, pointer, where in rows}


# The generator ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["legacy", "broken"])
def test_the_committed_examples_are_what_the_generator_writes(kind, tmp_path):
    assert generate(kind, tmp_path / kind).returncode == 0
    assert tree(tmp_path / kind) == tree(EXAMPLES / kind)


def test_another_seed_tells_another_story(tmp_path):
    generate("legacy", tmp_path, "--seed", "2")
    assert tree(tmp_path) != tree(EXAMPLES / "legacy")
    assert all(not oracle.read_bot(bot).with_status("quarantined") for bot in tmp_path.iterdir())


def test_the_generator_writes_only_into_an_empty_folder(tmp_path):
    make_folder(tmp_path, {"precious": "data"})
    refused = generate("broken", tmp_path)
    assert (refused.returncode, tree(tmp_path)) == (2, {"precious": b"data"})
    assert "not an empty folder" in refused.stderr


def test_bulk_is_the_same_for_any_number_of_jobs(tmp_path):
    for jobs in "1", "3":
        generate("bulk", tmp_path / jobs, "--bots", "3", "--messages", "2000", "--contacts", "250",
                 "--bad-percent", "10", "--jobs", jobs)
    assert tree(tmp_path / "1") == tree(tmp_path / "3")


def test_bulk_makes_the_messages_and_bad_files_that_it_reports(tmp_path):
    made = generate("bulk", tmp_path, "--bots", "4", "--messages", "5000", "--bad-percent", "20")
    files, bad, messages = map(int, re.findall(r"(\d+) (?:files|bad|messages)",
                                               made.stdout.replace(",", "")))
    bots = [oracle.read_bot(bot) for bot in tmp_path.iterdir()]
    assert files == sum(len(bot.files) for bot in bots) == len(tree(tmp_path))
    assert bad == sum(len(bot.with_status("quarantined")) for bot in bots) > 0
    assert messages == 5000 > sum(map(len, bots[0].conversations.values()))


def test_bulk_bots_are_of_unequal_size(tmp_path):
    generate("bulk", tmp_path, "--bots", "4", "--messages", "2500", "--contacts", "40")
    bots = [oracle.read_bot(bot) for bot in sorted(tmp_path.iterdir())]
    assert [sum(map(len, bot.conversations.values())) for bot in bots] == [1200, 600, 400, 300]


# The examples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bot", LEGACY, ids=lambda path: path.name)
def test_legacy_has_no_bad_and_no_ignored_file(bot):
    found = oracle.read_bot(bot)
    assert found.defects() == {}
    assert found.with_status("ignored") == []
    assert all(file.status == "loaded" for file in found.files.values())


def test_legacy_shows_every_shape_of_every_file():
    seen = set()
    for path in (EXAMPLES / "legacy").rglob("*.json"):
        kind = "backup" if path.parent.parent.name == "backups" else path.parent.name
        name = path.name if path.name == "girls_data.json" else kind
        document = load(path)
        seen.add((name, type(document)))
        for item in messages_of(document):
            seen.add("text" if "text" in item else "content")
            seen.add(re.sub("[0-9]", "9", f"{item['ts']}"))
    assert seen >= {
        ("girls_data.json", list), ("girls_data.json", dict), ("girls_data", dict),
        ("conversations", list), ("conversations", dict), ("backup", dict), "text", "content",
        "9999999999", "9999999999.999999", "9999999999999", "9999-99-99T99:99:99Z",
        "9999-99-99T99:99:99.999999Z", "9999-99-99T99:99:99.999999+99:99",
        "9999-99-99 99:99:99.999999+99", "9999-99-99T99:99:99.999999"}


def test_legacy_backups_repeat_and_add_messages():
    for bot in LEGACY:
        found = oracle.read_bot(bot)
        counts = Counter()
        for path, file in found.files.items():
            counts[file.kind] += len(messages_of(load(bot / path)))
        kept = sum(map(len, found.conversations.values()))
        assert counts["conversation"] < kept < counts["conversation"] + counts["backup"]


def test_legacy_has_one_of_each_warning():
    warnings = Counter()
    for bot in LEGACY:
        for file in oracle.read_bot(bot).files.values():
            warnings += file.warnings
    assert warnings["bom"] == warnings["no_profile"] == 1
    assert warnings["no_zone"] > 20
    assert warnings["unknown_key"] > 20


def test_legacy_is_small_and_has_all_kinds_of_text():
    files = tree(EXAMPLES / "legacy")
    assert sum(map(len, files.values())) < 1_200_000
    assert any(rb"\ud83d" in data for data in files.values())
    text = "".join(body for bot in LEGACY for messages in
                   oracle.read_bot(bot).conversations.values() for _, body, *_ in messages)
    for part in "ё", "ї", "Ż", "é", "\\", '"', "\n", "\t", "👨‍👩‍👧‍👦", "𠮷":
        assert part in text


def test_the_oracle_finds_exactly_the_defects_of_the_manifest():
    found = oracle.read_bot(EXAMPLES / "broken" / "lena")
    assert {path: [(d.code, d.name, d.pointer, d.where) for d in file.defects]
            for path, file in found.files.items() if file.status == "quarantined"} == {
        path: [(code, name, pointer, int(where.split()[1]) if where else None)]
        for path, (code, name, pointer, where) in manifest().items()}
    assert found.with_status("loaded") == ["girls_data/500422.json"]


def test_every_code_that_a_small_file_can_have_has_its_example():
    assert [code for code, *_ in manifest().values()] == [
        f"MB{number}" for number in range(401, 424) if number != 408]


# The oracle: bytes and syntax ---------------------------------------------------------------------


def test_every_beginning_of_a_document_is_truncated():
    text = '{"chat_id": -12, "messages": [{"a": [true, false, null, -0.5e+7, "\\u0436\\n", {}]}]}'
    assert oracle.scan(text) is None
    assert {oracle.scan(text[:end]).name for end in range(1, len(text))} == {"truncated"}


@pytest.mark.parametrize("data, name, where", [
    (b"", "empty_file", None),
    (b"\xef\xbb\xbf \n", "empty_file", None),
    (b"\xfe\xff\x00[\x00]", "utf16", 0),
    ("[1]".encode("utf-16-le"), "utf16", 0),
    (b"\0\0\0[", "nul_byte", 0),
    (b'["\xc3\xa9 \xe9"]', "bad_encoding", 5),
    (b'["\xed\xa0\x80"]', "bad_encoding", 2),  # a surrogate spelled in UTF-8
    (b'["\xc0\x80"]', "bad_encoding", 2),  # an overlong NUL
    (b'["\xf4\x90\x80\x80"]', "bad_encoding", 2),  # beyond the last plane
    (b"[1,\n\n2 3]", "bad_syntax", 3),
    (b"[NaN]", "bad_syntax", 1),
    (b"[-Infinity]", "bad_syntax", 1),
    (b"[01]", "bad_syntax", 1),
    (b"[1,]", "bad_syntax", 1),
    (b"['a']", "bad_syntax", 1),
    (b"[] []", "bad_syntax", 1),
    (b'["\n"]', "bad_syntax", 1),
    (b'["\\x"]', "bad_syntax", 1),
    ("[\ufeff]".encode(), "bad_syntax", 1),
    (b"[\xc2\xa0]", "bad_syntax", 1),  # a space, but none of JSON's four
    (b"[" * 512 + b"]" * 511, "truncated", None),
    (b"[" * 513 + b"]" * 513, "too_deep", None),
    (b"[" * 200_000, "too_deep", None),
])
def test_the_oracle_names_what_is_wrong_with_bytes(data, name, where, tmp_path):
    found = oracle.read_bot(make_folder(tmp_path, {"conversations/7.json": data}))
    assert found.files["conversations/7.json"].defects == (oracle.Defect(name, "", where),)


def test_brackets_in_a_text_are_not_depth(tmp_path):
    text = GOOD.replace("Привет", "[" * 600)
    assert judge(tmp_path, "conversations/7.json", f"[{text}]") == []


def test_a_byte_order_mark_is_a_warning(tmp_path):
    found = oracle.read_bot(make_folder(tmp_path, {"conversations/7.json": f"\ufeff[{GOOD}]"}))
    assert found.files["conversations/7.json"].warnings["bom"] == 1
    assert len(found.conversations[7]) == 1


@pytest.mark.parametrize("number, fits", [
    ("1e131071", True), ("1e131072", False), ("0.001e131074", True), ("12345e131068", False),
    ("1e-16383", True), ("1e-16384", False), ("0e400000", True), ("0e-16384", False),
    ("1" * 131072, True), ("1" * 131073, False), ("0e1073741823", False), ("1e99999999999", False),
    ("-1.5e000000000000000000001", True),
])
def test_numbers_fit_where_numeric_takes_them(number, fits):
    assert isinstance(oracle.make_number(number), oracle.OutOfRange) is not fits


# The oracle: content ------------------------------------------------------------------------------


@pytest.mark.parametrize("items, expected", [
    ('{"text": "\\u0000", "direction": "in", "ts": 1}', [("nul_escape", "/0/text")]),
    ('{"text": "\\\\u0000", "direction": "in", "ts": 1}', []),
    ('{"text": "\\ud83d\\ude42", "direction": "in", "ts": 1}', []),
    ('{"text": "\\ude42\\ud83d", "direction": "in", "ts": 1}', [("lone_surrogate", "/0/text")]),
    (GOOD + ', {"text": "", "direction": "in", "ts": 1, "a/b": {"~": ["\\ud800"]}}',
     [("lone_surrogate", "/1/a~1b/~0/0")]),
    ('{"text": "", "direction": "in", "ts": 1, "\\udfff": 1}', [("lone_surrogate", "/0")]),
    ('{"text": "", "direction": "in", "t\\u0073": 1, "ts": 1}', [("duplicate_key", "/0/ts")]),
    ('{"text": "", "direction": "in", "ts": 1, "x": [{"": 1, "": 1}]}',
     [("duplicate_key", "/0/x/0/")]),
    ('{"text": "", "direction": "in", "ts": 1e400000}', [("number_range", "/0/ts")]),
    ('{"text": "", "content": "", "direction": "in", "ts": 1}', [("wrong_shape", "/0")]),
    ('{"direction": "in", "ts": 1}', [("missing_key", "/0/text")]),
    ('{"content": null, "direction": "in", "ts": 1}', [("missing_key", "/0/content")]),
    ('{"text": 1, "direction": 2, "ts": true}',
     [("wrong_type", "/0/text"), ("wrong_type", "/0/direction"), ("wrong_type", "/0/ts")]),
    ('{"text": "", "direction": "IN", "ts": ""}',
     [("bad_direction", "/0/direction"), ("timestamp_format", "/0/ts")]),
    ("[], null", [("wrong_shape", "/0"), ("wrong_shape", "/1")]),
])
def test_the_oracle_judges_messages(items, expected, tmp_path):
    assert judge(tmp_path / "array", "conversations/7.json", f"[{items}]") == expected
    assert judge(tmp_path / "object", "conversations/7.json", f'{{"messages": [{items}]}}') == [
        (name, f"/messages{pointer}") for name, pointer in expected]


@pytest.mark.parametrize("document, expected", [
    ('{"chat_id": 7, "messages": []}', []),
    ('{"chat_id": 7.0, "messages": []}', []),
    ('{"chat_id": null, "messages": []}', []),
    ('{"chat_id": 8, "messages": []}', [("chat_id_mismatch", "/chat_id")]),
    ('{"chat_id": "7", "messages": []}', [("wrong_type", "/chat_id")]),
    ('{"chat_id": 7}', [("missing_key", "/messages")]),
    ('{"messages": {}}', [("wrong_type", "/messages")]),
    ("7", [("wrong_shape", "")]),
])
def test_the_oracle_judges_wrappers(document, expected, tmp_path):
    assert judge(tmp_path, "conversations/7.json", document) == expected


@pytest.mark.parametrize("document, expected", [
    ('{"chat_id": 7, "telegram_id": null, "message_count": null, "summary": null}', []),
    ('{"chat_id": 7, "telegram_id": 0}', [("number_range", "/telegram_id")]),
    ('{"chat_id": 7, "message_count": -1}', [("number_range", "/message_count")]),
    ('{"chat_id": 7, "message_count": 2147483648}', [("number_range", "/message_count")]),
    ('{"chat_id": 7, "message_count": 1.5}', [("wrong_type", "/message_count")]),
    ('{"chat_id": 7, "summary": {"20240115103000": 5}}',
     [("wrong_type", "/summary/20240115103000")]),
    ('{"chat_id": 7, "profile": [], "name": 5}',
     [("wrong_type", "/name"), ("wrong_type", "/profile")]),
    ('{"chat_id": 7, "last_activity": "yesterday"}', [("timestamp_format", "/last_activity")]),
    ("[]", [("wrong_shape", "")]),
])
def test_the_oracle_judges_profiles(document, expected, tmp_path):
    assert judge(tmp_path, "girls_data/7.json", document) == expected


@pytest.mark.parametrize("document, expected", [
    ("[]", []),
    ('{"7": {}, "-8": {"chat_id": -8}}', []),
    ('{"7": {"chat_id": 8}, "x": {}}', [("chat_id_mismatch", "/7/chat_id"),
                                        ("chat_id_mismatch", "/x")]),
    ('[{"chat_id": 7}, {}, 5]', [("chat_id_missing", "/1/chat_id"), ("wrong_shape", "/2")]),
    ('[{"chat_id": 7}, {"chat_id": 8, "telegram_id": 7}]', [("duplicate_contact", "/1")]),
    ('{"7": {}, "7": {}}', [("duplicate_key", "/7")]),
    ('[{"chat_id": 9223372036854775808}]', [("number_range", "/0/chat_id")]),
])
def test_the_oracle_judges_the_single_file(document, expected, tmp_path):
    assert judge(tmp_path, "girls_data.json", document) == expected


@pytest.mark.parametrize("text, expected", [
    ("1970-01-01T00:00:00Z", 0),
    ("1970-01-01 00:00:01.5+00:00", 1_500_000),
    ("1970-01-01T03:00:00+03", 0),
    ("1970-01-01T05:45:00+0545", 0),
    ("1969-12-31T18:30:00-05:30", 0),
    ("1970-01-01T00:00:02", 2_000_000),
    # Ties go where PostgreSQL's timestamptz sends them: to the even microsecond.
    ("1970-01-01T00:00:00.0000005Z", 0),
    ("1970-01-01T00:00:00.0000015Z", 2),
    ("1970-01-01T00:00:00.0000025Z", 2),
    ("1970-01-01T00:00:00.123456500Z", 123_456),
    ("1970-01-01T00:00:59.9999999Z", 60_000_000),
    ("2099-12-31T23:59:59.9999994Z", 4_102_444_799_999_999),
    ("2099-12-31T23:59:59.9999996Z", "timestamp_range"),
    ("1969-12-31T23:59:59Z", "timestamp_range"),
    ("2023-02-29T00:00:00Z", "timestamp_range"),
    ("2024-13-01T00:00:00Z", "timestamp_range"),
    ("0000-01-01T00:00:00Z", "timestamp_range"),
    ("2024-01-01T24:00:00Z", "timestamp_range"),
    ("2024-01-01T23:59:60Z", "timestamp_range"),
    ("2024-01-01T00:00:00+16:00", "timestamp_range"),
    ("2024-01-01", "timestamp_format"),
    ("2024-01-01T10:00Z", "timestamp_format"),
    ("2024-01-01T10:00:00z", "timestamp_format"),
    ("2024-01-01T10:00:00 +03", "timestamp_format"),
    ("2024-01-01T10:00:00.Z", "timestamp_format"),
    ("2024-01-01T10:00:00.1234567890Z", "timestamp_format"),
    ("2024-01-01T10:00:00Z\n", "timestamp_format"),
    ("\uff12024-01-01T10:00:00Z", "timestamp_format"),
    ("1700000000", "timestamp_format"),
    ("now", "timestamp_format"),
])
def test_the_oracle_reads_iso_timestamps(text, expected):
    assert as_microseconds(oracle.parse_iso(text)) == expected


@pytest.mark.parametrize("value, expected", [
    (0, 0), (1_700_000_000, 1_700_000_000_000_000), (99_999_999_999, "timestamp_range"),
    (100_000_000_000, 100_000_000_000_000), (4_102_444_800, "timestamp_range"),
    (4_102_444_799_999, 4_102_444_799_999_000), (4_102_444_800_000, "timestamp_range"),
    (-1, "timestamp_range"), (Decimal("-0.0000001"), "timestamp_range"), (Decimal("0.0000005"), 1),
    (Decimal("1700000000.123456"), 1_700_000_000_123_456),
    (Decimal("1700000000123.4565"), 1_700_000_000_123_457),
    (Decimal("1e131071"), "timestamp_range"),
    (Decimal("1e-16383"), 0), (Decimal("1.7e9"), 1_700_000_000_000_000),
])
def test_the_oracle_reads_unix_timestamps(value, expected):
    assert as_microseconds(oracle.parse_unix(value)) == expected


def as_microseconds(found: datetime | str) -> int | str:
    return found if isinstance(found, str) else (found - oracle.EPOCH) // timedelta(microseconds=1)


# The oracle: folders ------------------------------------------------------------------------------


@pytest.mark.parametrize("path, status", [
    ("conversations/7.json", "loaded"),
    ("conversations/-1001234567890.json", "loaded"),
    ("backups/7/2024-02-29.json", "loaded"),
    ("backups/7/2023-02-29.json", "quarantined"),
    ("conversations/007.json", "quarantined"),
    ("conversations/9223372036854775808.json", "quarantined"),
    ("conversations/7/7.json", "quarantined"),
    ("7.json", "quarantined"),
    ("conversations/7.JSON", "ignored"),
    ("conversations/7.json.tmp", "ignored"),
    ("conversations/7.backup.20240115.json", "ignored"),
    ("notes.txt", "ignored"),
    ("conversations/a\nb.json", "quarantined"),
])
def test_the_oracle_tells_files_by_their_place(path, status, tmp_path):
    found = oracle.read_bot(make_folder(tmp_path, {path: "[]"}))
    assert {name: file.status for name, file in found.files.items()} == {path: status}
    if status == "quarantined":
        assert found.defects() == {path: [("unknown_file", "")]}


def test_the_oracle_follows_no_link_out_and_opens_no_pipe(tmp_path):
    folder = make_folder(tmp_path / "bot", {"conversations/1.json": "[]"}) / "conversations"
    make_folder(tmp_path, {"secret.json": "[]"})
    (folder / "2.json").symlink_to(tmp_path / "secret.json")
    (folder / "3.json").symlink_to("nowhere")
    (folder / "4.json").symlink_to("1.json")
    os.mkfifo(folder / "5.json")
    found = oracle.read_bot(tmp_path / "bot")
    assert [found.files[f"conversations/{n}.json"].status for n in range(1, 6)] == [
        "loaded", "quarantined", "quarantined", "loaded", "quarantined"]
    assert {d.code for file in found.files.values() for d in file.defects} == {"MB426"}


def test_the_oracle_knows_the_size_limit(tmp_path):
    assert judge(tmp_path, "conversations/7.json", "[  ]", max_bytes=3) == [("too_large", "")]
    assert judge(tmp_path, "conversations/7.json", "[  ]", max_bytes=4) == []


def test_a_backup_adds_what_the_conversation_lacks_and_counts_repetitions(tmp_path):
    def said(*bodies: str) -> str:
        return "[" + ",".join(GOOD.replace("Привет", body) for body in bodies) + "]"

    found = oracle.read_bot(make_folder(tmp_path, {
        "conversations/7.json": said("a", "b", "b"),
        "backups/7/2024-01-02.json": said("c", "b", "d"),
        "backups/7/2024-01-01.json": '{"date": "2024-01-01", "messages": ' + said(
            "b", "b", "b", "c").replace("1700000000", '"2023-11-14T22:13:20Z"') + "}",
        "backups/8/2024-01-01.json": said("only here")}))
    assert [body for _, body, *_ in found.conversations[7]] == ["a", "b", "b", "b", "c", "d"]
    assert [body for _, body, *_ in found.conversations[8]] == ["only here"]
    assert found.backup_metadata[7]["2024-01-01.json"] == {"date": "2024-01-01"}


def test_a_contacts_own_file_replaces_its_entry_in_the_single_file(tmp_path):
    found = oracle.read_bot(make_folder(tmp_path, {
        "girls_data.json": '{"7": {"name": "old"}, "8": {"name": "only"}}',
        "girls_data/7.json": '{"chat_id": 7, "name": "new", "telegram_id": 70}'}))
    assert {chat: made["name"] for chat, made in found.profiles.items()} == {7: "new", 8: "only"}
    assert found.files["girls_data.json"].warnings["superseded"] == 1


def test_other_keys_are_kept_and_strict_refuses_them(tmp_path):
    make_folder(tmp_path, {
        "girls_data/7.json": '{"chat_id": 7, "city": "Рига"}',
        "conversations/7.json":
            '{"bot": "x", "messages": [{"text": "", "direction": "in", "ts": 1.5, "id": 1.10}]}',
        "conversations/8.json": "[]"})
    found = oracle.read_bot(tmp_path)
    assert found.profiles[7]["extra"] == {"city": "Рига"}
    assert found.metadata[7] == {"bot": "x"}
    assert found.conversations[7] == [
        ("in", "", datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC), {"id": Decimal("1.10")})]
    assert found.placeholders == {8}
    assert oracle.read_bot(tmp_path, strict=True).defects() == {
        "girls_data/7.json": [("unknown_key", "/city")],
        "conversations/7.json": [("unknown_key", "/bot"), ("unknown_key", "/messages/0/id")],
        "conversations/8.json": [("no_profile", "")]}
