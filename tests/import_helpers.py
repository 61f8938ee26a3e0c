"""What the tests of the import share: a bot with files, the runner, tables as the oracle has them.

A test module takes the fixture `bot` by `pytest_plugins = "import_helpers"`.
PYTEST_DONT_REWRITE: it is imported before it is named as a plugin.
"""

import hashlib
import io
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import oracle
import pytest
from conftest import PROJECT, Database, clone
from core_rows import MIGRATIONS, wrong_counters
from project import Done

import runner
from fleet import bot_files, verify

EXAMPLES = PROJECT / "examples"
SEED = int(os.environ.get("SEED", "1"))
TORTURE = os.environ.get("TORTURE") == "1"
OUTCOMES = ("loaded", "unchanged", "quarantined", "ignored")
NO_LOG = "-c log_statement=none -c jit=off"  # else every byte of every file would be logged
# What the database can't hold.
SPELLING = {"MB409", "MB410", "MB411"}


def command(database: Database, *args: str | Path, code: int | None = 0) -> Done:
    """Runs runner.py within this process, away from the developer's .env; checks its exit code."""
    out, err = io.StringIO(), io.StringIO()
    surrounding = database.environment(PGOPTIONS=NO_LOG)
    with (patch.object(runner, "PROJECT", Path(__file__).parent), redirect_stdout(out),
          redirect_stderr(err), patch.dict(os.environ, surrounding, clear=True)):
        try:
            exit_code = runner.main([str(arg) for arg in args])
        except SystemExit as end:  # argparse
            exit_code = end.code
    return Done(exit_code, out.getvalue(), err.getvalue()).check(code)


def run_import(database: Database, folder: Path, *args: str | Path, code: int | None = 0
               ) -> dict[str, dict[str, int]]:
    """Imports a folder; returns by bot how many entries became what. They always add up."""
    rows = command(database, "import", folder, "--json", *args, code=code).document
    for row in rows:
        assert sum(row[outcome] for outcome in OUTCOMES) == row["found"], row
    return {row["bot"]: {name: row[name] for name in OUTCOMES if row[name]} for row in rows}


def make_folder(root: Path, files: dict[str, Any]) -> Path:
    """Writes files by their relative paths; what is no str or bytes is written as JSON."""
    for path, content in files.items():
        if not isinstance(content, str | bytes):
            content = json.dumps(content, ensure_ascii=False)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def said(body: str, ts: Any = 1_700_000_000, direction: str = "in", **more: Any) -> dict:
    """A message as a file has it."""
    return {"text": body, "direction": direction, "ts": ts, **more}


@dataclass(frozen=True)
class Bot:
    """A bot's name in a database, and its folder of files."""

    database: Database
    name: str
    folder: Path

    def write(self, files: dict[str, Any]) -> "Bot":
        """Puts these files (path -> content) into the bot's folder."""
        make_folder(self.folder, files)
        return self

    def load(self, *args: str, code: int | None = 0) -> dict[str, int]:
        """Imports the folder; returns how many entries became what, without zeros."""
        return run_import(self.database, self.folder, "--bot", self.name, *args,
                          code=code)[self.name]

    def run(self, name: str, *args: str | Path, code: int | None = 0) -> Any:
        """Another command about this bot; returns its JSON."""
        return command(self.database, name, "--json", "--bot", self.name, *args, code=code).document

    def rejects(self, *args: str) -> list[tuple[str, str, str]]:
        """(path, code, pointer) of every defect; `rejects` exits 6 if and only if there is one."""
        rows = self.run("rejects", *args, code=None)
        command(self.database, "rejects", "--bot", self.name, *args, code=6 if rows else 0)
        return [(row["path"], row["code"], row["pointer"]) for row in rows]

    def execute(self, text: str) -> list[tuple]:
        """Runs SQL in which $bot stands for the bot's id."""
        return self.database.execute(text.replace(
            "$bot", f"(select bot_id from core.bots where name = '{self.name}')"))

    def record(self, chat_id: int, body: str, name: str = "Live") -> None:
        """The live bot notes a message; of a contact that is there it says no name."""
        self.execute(f"select core.record_message({chat_id}, 'out', '{body}', p_name => (select"
                     f" '{name}' where not exists (select from core.girls_profiles where bot_id ="
                     f" $bot and chat_id = {chat_id})), p_bot_id => $bot)")

    def rows(self, chat_id: int) -> dict[str, tuple]:
        """The messages of a chat in their order: body -> what changes with any write to the row.

        A body that is there twice gets a mark for each repetition.
        """
        found: dict[str, tuple] = {}
        for body, *row in self.execute(
                f"select body, message_id, m.ctid, m.xmin from core.messages as m"
                f" join core.conversations as c using (bot_id, conversation_id)"
                f" where bot_id = $bot and chat_id = {chat_id} order by message_id"):
            while body in found:
                body += "'"
            found[body] = tuple(row)
        return found

    def agrees(self, wanted: oracle.Oracle | None = None, **how: bool) -> oracle.Oracle:
        """As assert_agrees, for this bot and its folder."""
        return assert_agrees(self.database, self.folder, wanted, self.name, **how)


@pytest.fixture(scope="module")
def imported(cluster: Database, template: Database) -> Iterator[Database]:
    """A database for a file of tests, each of which has a bot of its own in it."""
    yield from clone(cluster, template.name)


@pytest.fixture
def bot(imported: Database, tmp_path: Path) -> Bot:
    """A bot that doesn't exist yet, and its empty folder."""
    (tmp_path / "files").mkdir()
    return Bot(imported, f"bot {secrets.token_hex(4)}", tmp_path / "files")


# The tables, as the oracle has them -------------------------------------------------------------


def loads(text: str | None) -> Any:
    """The value of a jsonb's text, with numbers as the oracle reads them."""
    return text and json.loads(text, parse_int=oracle.make_number, parse_float=oracle.make_number)


def typed(value: Any) -> Any:
    """The same value, equal to another only if their types are: true is not 1."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [typed(inner) for inner in value]
    return (isinstance(value, bool), value)


def read_tables(database: Database, bot: str) -> oracle.Oracle:
    """What the database holds of a bot, in the oracle's shape (a defect: code and pointer)."""
    found = oracle.Oracle()
    with database.connect(options=NO_LOG) as conn:
        bot_id = conn.execute("select bot_id from core.bots where name = %s", [bot]).fetchone()[0]
        _read_files(conn, bot_id, found)
        for chat_id, summary, profile, extra, is_placeholder, *row in conn.execute("""
                select g.chat_id, g.summary::text, g.profile::text, g.extra::text,
                       coalesce(f.kind in ('conversation', 'backup'), false), g.telegram_id, g.name,
                       g.last_activity, g.message_count, g.previous_response_id
                from core.girls_profiles as g
                left join json_import.profile_source as s using (bot_id, profile_id)
                left join json_import.file as f using (bot_id, file_id)
                where g.bot_id = %s order by g.profile_id""", [bot_id]):
            found.profiles[chat_id] = {
                **dict(zip(("telegram_id", "name", "last_activity", "message_count",
                            "previous_response_id"), row, strict=True)),
                "summary": loads(summary), "profile": loads(profile), "extra": loads(extra)}
            if is_placeholder:
                found.placeholders.add(chat_id)
        for chat_id, metadata in conn.execute("""
                select chat_id, metadata::text
                from core.conversations where bot_id = %s""", [bot_id]):
            found.metadata[chat_id], found.conversations[chat_id] = loads(metadata), []
        for chat_id, direction, body, sent_at, metadata in conn.execute("""
                select c.chat_id, m.direction, m.body, m.sent_at, m.metadata::text
                from core.messages as m
                join core.conversations as c using (bot_id, conversation_id)
                where m.bot_id = %s order by m.message_id""", [bot_id]):
            found.conversations[chat_id].append((direction, body, sent_at, loads(metadata)))
    return found


def _read_files(conn: Any, bot_id: int, found: oracle.Oracle) -> None:
    rejects: dict[int, list] = {}
    for file_id, *defect in conn.execute(
            "select r.file_id, r.code, r.pointer from json_import.reject as r"
            " join json_import.file as f using (bot_id, file_id) where bot_id = %s", [bot_id]):
        rejects.setdefault(file_id, []).append(tuple(defect))
    for path, status, kind, chat_id, sha256, warnings, wrapper, file_id in conn.execute("""
            select path, status, coalesce(reason, kind), chat_id, encode(sha256, 'hex'), warnings,
                   wrapper::text, file_id
            from json_import.file where bot_id = %s""", [bot_id]):
        found.files[path] = oracle.File(path, status, kind, sha256 or "",
                                        tuple(rejects.get(file_id, ())), Counter(warnings))
        if kind == "backup" and status == "loaded":
            found.backup_metadata.setdefault(chat_id, {})[Path(path).name] = loads(wrapper) or {}


def assert_agrees(database: Database, folder: Path, wanted: oracle.Oracle | None, bot: str,
                  ordered: bool = True, checked: bool = True) -> oracle.Oracle:
    """Fails where the tables are not what the oracle makes of the folder; returns the latter.

    `ordered`: the order of messages counts too, as after an import of the folder at one go.
    `checked`: verify.sql must find nothing either.
    """
    wanted = wanted or oracle.read_bot(folder)
    found = read_tables(database, bot)
    files = {bot_files.spell(os.fsencode(path)): file for path, file in wanted.files.items()}
    same(set(found.files), set(files), "files")
    for path, file in files.items():
        same_verdict(path, file, found.files[path])
    same(found.profiles, wanted.profiles, "profiles")
    same(found.placeholders, wanted.placeholders, "placeholders")
    same(found.metadata, wanted.metadata, "metadata")
    same(found.backup_metadata, wanted.backup_metadata, "metadata of backups")
    for conversations in () if ordered else (found.conversations, wanted.conversations):
        for messages in conversations.values():
            messages.sort(key=repr)
    same(found.conversations, wanted.conversations, "messages")
    assert not checked or faults(database) == {}
    return wanted


def same(found: Any, wanted: Any, what: str) -> None:
    """Fails at the first place where two values differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), (what, found.keys() ^ wanted.keys())
        for key in wanted:
            same(found[key], wanted[key], f"{what}, {key!r}")
    elif isinstance(found, list | tuple) and isinstance(wanted, list | tuple):
        for place, (one, other) in enumerate(zip(found, wanted, strict=False)):
            same(one, other, f"{what}, {place}")
        assert len(found) == len(wanted), (what, f"found {len(found)}, wanted {len(wanted)}")
    else:
        assert typed(found) == typed(wanted), (what, found, wanted)


def same_verdict(path: str, wanted: oracle.File, found: oracle.File) -> None:
    """Fails unless status, bytes, warnings and defects agree.

    In a document that the database can't hold it finds why, and looks no further.
    """
    assert found.status == wanted.status, (path, wanted.defects, found.defects)
    assert found.sha256 == wanted.sha256 or wanted.status == "ignored", path
    if wanted.status != "quarantined":
        assert found.kind == wanted.kind, path
        same(dict(found.warnings), {name: n for name, n in wanted.warnings.items()
                                    if name != "superseded"}, f"warnings of {path}")
        return
    expected = [(defect.code, defect.pointer) for defect in wanted.defects]
    what = (path, "wanted", expected[:9], "found", found.defects[:9])
    first = next((one for one in expected if one[0] in SPELLING), expected[0])
    assert first in found.defects, what
    # of a key that stands twice the database also judges the values
    twice = [pointer for code, pointer in expected if code == "MB420"]
    further = {(code, pointer) for code, pointer in set(found.defects) - set(expected)
               if not any(pointer == key or pointer.startswith(f"{key}/") for key in twice)}
    assert not further, what
    if len(expected) <= 1000 and SPELLING.isdisjoint(code for code, _ in expected):
        assert set(found.defects) >= set(expected), what


def faults(database: Database) -> dict[str, Any]:
    """The checks of the import's verify.sql that are not true, and counters that are wrong."""
    with database.connect(options=NO_LOG) as conn:
        counters = wrong_counters(conn)
        return {name: detail for name, ok, detail in verify.check(conn, MIGRATIONS[-1])
                if not ok} | ({"counters": counters} if counters else {})


# What must not change -----------------------------------------------------------------------------


def row_versions(database: Database) -> list[tuple]:
    """Changes with any write to core, also with one that changes nothing."""
    return database.execute(" union all ".join(
        f"select '{table}', count(*), md5(string_agg(concat(tableoid, ctid, xmin), ' '"
        f" order by tableoid, ctid)) from core.{table}"
        for table in ("bots", "girls_profiles", "conversations", "messages")))


CONTENTS = {
    "profiles": """
        select b.name, g.chat_id, g.telegram_id, g.name, g.last_activity, g.summary, g.profile,
               g.message_count, g.previous_response_id, g.extra, f.path
        from core.girls_profiles as g
        join core.bots as b using (bot_id)
        left join json_import.profile_source as s using (bot_id, profile_id)
        left join json_import.file as f using (bot_id, file_id)""",
    "conversations": """
        select b.name, c.chat_id, g.chat_id, c.message_count, c.last_message_at, c.metadata
        from core.chats as c
        join core.girls_profiles as g using (bot_id, profile_id)
        join core.bots as b using (bot_id)""",
    "messages": """
        select b.name, c.chat_id, m.direction, m.body, m.sent_at, m.metadata, f.path,
               row_number() over (partition by m.bot_id, m.conversation_id order by m.message_id)
        from core.messages as m
        join core.conversations as c using (bot_id, conversation_id)
        join core.bots as b using (bot_id)
        left join json_import.file as f
            on f.bot_id = m.bot_id and f.file_id = m.source_file_id""",
    "files": """
        select b.name, f.path, f.kind, f.chat_id, f.status, f.sha256, f.records, f.row_count,
               f.body_octets, f.digest, f.defects, f.warnings, f.wrapper, f.reason, f.must_reread
        from json_import.file as f
        join core.bots as b using (bot_id)""",
    # the server's message names the leaf and the bot's id, and another database has other bots
    "rejects": """
        select bot, path, ordinal, pointer, code,
               regexp_replace(replace(message, format('(%s, ', bot_id), '(bot, '),
                              'girls_profiles_p[0-9]_', 'girls_profiles_p_')
        from json_import.rejects""",
    "bytes": """
        select path, part, bytes
        from json_import.kept_bytes
        join json_import.file using (bot_id, file_id)""",
}


def contents(database: Database) -> dict[str, tuple[int, str]]:
    """Count and digest of what the tables and the ledger say, without ids and times of import."""
    found = {}
    with database.connect(options=NO_LOG) as conn:
        for name, query in CONTENTS.items():
            rows = sorted(repr(row) for row in conn.execute(query))
            found[name] = (len(rows), hashlib.sha256("".join(rows).encode()).hexdigest())
    return found
