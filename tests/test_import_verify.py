"""verify.sql of the import: whatever is changed behind the ledger's back is found and named."""

from collections.abc import Iterator

import psycopg
import pytest
from conftest import Database
from core_rows import MIGRATIONS
from import_helpers import EXAMPLES, NO_LOG, command, contents, faults, run_import

from fleet import verify

pytest_plugins = "import_helpers"

ROWS = "every loaded file has exactly its messages in core.messages"
OWNER = "every imported message belongs to a file of the ledger"
CONTACTS = "every loaded file has its contacts"
PARENTS = "every imported message has its conversation, and that its contact"
REASONS = "every quarantined file says why"
BYTES = "the bytes kept are the bytes read"
CODES = "every code of a defect is explained"

# $m, $n: two messages of one file with different texts at different times; $f: their file.
CHANGES = {
    "update core.messages set body = overlay(body placing '_' from 1 for 1) where $m": ROWS,
    "update core.messages set body = body || ' ' where $m": ROWS,
    "update core.messages set body = '' where $m": ROWS,
    "update core.messages set sent_at = sent_at + interval '1 microsecond' where $m": ROWS,
    "update core.messages set direction = replace('inout', direction, '') where $m": ROWS,
    "update core.messages set metadata = '{\"a\": 1}' where $m": ROWS,
    "update core.messages set source_file_id = null where $m": ROWS,
    "update core.messages set source_file_id = source_file_id + 1 where $m": ROWS,
    "update core.messages set source_file_id = -1 where $m": OWNER,
    "update core.messages as m set body = o.body from core.messages as o"
    " where m.$m and o.$n or m.$n and o.$m": ROWS,
    "update core.messages as m set sent_at = o.sent_at from core.messages as o"
    " where m.$m and o.$n or m.$n and o.$m": ROWS,
    "delete from core.messages where $m": ROWS,
    "delete from core.messages where source_file_id = $f": ROWS,
    "delete from core.messages": ROWS,
    "insert into core.messages (bot_id, conversation_id, source_file_id, direction, body, sent_at)"
    " select bot_id, conversation_id, source_file_id, direction, 'more', sent_at"
    " from core.messages where $m": ROWS,
    # one message twice and another gone: as many as before
    "delete from core.messages where $n; insert into core.messages (bot_id, conversation_id,"
    " source_file_id, direction, body, sent_at) select bot_id, conversation_id, source_file_id,"
    " direction, body, sent_at from core.messages where $m": ROWS,
    "update core.messages set conversation_id = (select max(conversation_id)"
    " from core.conversations as c where c.bot_id = messages.bot_id) where $m": ROWS,
    "delete from json_import.file where file_id = $f": OWNER,
    "update json_import.file set digest = digest + 1 where file_id = $f": ROWS,
    "update json_import.file set row_count = row_count + 1 where file_id = $f": ROWS,
    "update json_import.file set body_octets = body_octets - 1 where file_id = $f": ROWS,
    "update json_import.file set status = 'quarantined', defects = 1 where file_id = $f": REASONS,
    "delete from json_import.profile_source where profile_id = $p": CONTACTS,
    "set local session_replication_role = replica;"
    " delete from core.girls_profiles where profile_id = $p": PARENTS,
    "set local session_replication_role = replica;"
    " delete from core.conversations where profile_id = $p": PARENTS,
    "update json_import.kept_bytes set bytes = set_byte(bytes, 0, get_byte(bytes, 0) # 1)"
    " where octet_length(bytes) > 0": BYTES,
    "update json_import.kept_bytes set bytes = bytes || '\\x0a'": BYTES,
    "delete from json_import.kept_bytes": BYTES,
    "delete from json_import.reject where ordinal = 1": REASONS,
    "update json_import.reject set code = 'MB999' where code = 'MB405'": CODES,
}


@pytest.fixture(scope="module")
def loaded(imported: Database) -> Database:
    """A database with the examples in it."""
    run_import(imported, EXAMPLES / "legacy")
    run_import(imported, EXAMPLES / "broken", code=6)
    assert faults(imported) == {}
    return imported


@pytest.fixture
def tampering(loaded: Database) -> Iterator[psycopg.Connection]:
    """A connection whose changes are undone after the test."""
    with loaded.connect(options=NO_LOG) as conn, conn.transaction(force_rollback=True):
        yield conn


@pytest.fixture(scope="module")
def places(loaded: Database) -> dict[str, str]:
    """What the changes are made to."""
    return dict(zip(("$m", "$n", "$f", "$p"), loaded.execute("""
        select format('message_id = %s', m.message_id), format('message_id = %s', n.message_id),
               m.source_file_id::text, c.profile_id::text
        from core.messages as m
        join core.messages as n using (bot_id, conversation_id, source_file_id)
        join core.conversations as c using (bot_id, conversation_id)
        join json_import.profile_source as s using (bot_id, profile_id)
        join json_import.file as f
            on f.bot_id = s.bot_id and f.file_id = s.file_id and f.kind = 'profile'
        where m.message_id < n.message_id and m.body <> n.body and m.sent_at <> n.sent_at
          and m.direction = n.direction and m.metadata is null and n.metadata is null
        order by 1 limit 1""")[0], strict=True))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_behind_the_ledgers_back_is_found(change, places, tampering):
    statement = change
    for mark, place in places.items():
        statement = statement.replace(mark, place)
    tampering.execute(statement)
    found = {name: detail for name, ok, detail in verify.check(tampering, MIGRATIONS[-1])
             if not ok}
    assert CHANGES[change] in found, found
    assert found[CHANGES[change]], "the detail names the place"


def test_what_live_bots_write_is_no_fault(loaded, tampering):
    tampering.execute("""
        select core.record_message(c.chat_id, 'out', 'live', p_bot_id => c.bot_id)
        from core.conversations as c;
        select core.record_message(5, 'in', 'new', p_bot_id => bot_id) from core.bots;
        update core.girls_profiles set name = 'new', summary = '{}', message_count = 0""")
    assert {name: detail for name, ok, detail in verify.check(tampering, MIGRATIONS[-1])
            if not ok} == {}


def test_verify_reads_only(loaded):
    before = contents(loaded)
    assert faults(loaded) == {}
    assert contents(loaded) == before


def test_the_same_folder_imported_again_heals_nothing_it_was_not_told_of(loaded):
    assert all(row["unchanged"] == row["found"] for row in command(
        loaded, "import", EXAMPLES / "legacy", "--json").document)
