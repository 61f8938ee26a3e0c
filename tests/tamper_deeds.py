"""Deeds against the record, as data like those of audit_attacks.py: what somebody who may act as an
owner does to sealed entries, to events that seals believe, to rights for a moment, and what a
super_admin passes to functions. Each is prevented, or named by audit.verify_seals().
"""

from attacks import NO_RIGHT, Refused
from attacks import _group as group
from audit_attacks import (
    AMONG,
    AS_ERASER,
    DELETED,
    ERASED_MORE,
    EVERYBODY,
    LOG,
    NEXT_SEAL,
    NOT_OVER,
    OTHER_ACCEPTED,
    OTHER_SETTING,
    SEAL,
    SEAL_CHANGED,
    TOUCHED,
    UNFORCED,
    UNREADABLE,
    each,
    found,
)

# An erasure as audit.erase makes it, with the right digests, of another change than blanking.
ERASED_AS = f"""do $do$
declare
    v_was  text;
begin
    select encode(contents, 'hex') into v_was from audit.contents_of(array[{{entry}}::bigint]);
    perform set_config('audit.erasing', txid_current()::text, true);
    update {LOG} set %s where entry_id = {{entry}};
    perform audit.renew_salts(array[{{entry}}::bigint]);
    perform set_config('audit.erasing', '', true);
    perform audit.record_event('erasure', 'warning', jsonb_build_object(
        'row_count', 1, 'entries', jsonb_agg(jsonb_build_object(
            'entry_id', entry_id, 'was', v_was, 'now', encode(contents, 'hex')))), {{me}})
    from audit.contents_of(array[{{entry}}::bigint]);
end $do$"""
BLANKED = """new_values = '{"name": "[erased]"}', """
REWRITTEN = {
    "the transaction": "transaction_id = transaction_id - 1",
    "the time": "occurred_at = occurred_at - interval '1 us'",
    "the first key": "first_key = first_key + 1",
    "the last key": "last_key = last_key + 1",
    "the request": "correlation_id = '{their_request}'",
    "the number of rows": "row_count = 2",
    "the form": "is_block = true",
    "the operation": "operation = 'DELETE'",
    "the table": "table_name = 'core.messages'",
    "the kind": "kind = 'test'",
    "the severity": "severity = 'info'",
    "the login": "login = 'nobody'",
    "the role": "role = 'nobody'",
    "the actor": "actor = 'nobody'",
    "the address": "client_address = '10.0.0.1'",
    "the program": "application_name = 'nothing'",
    "the row's key": """row_keys = '{"profile_id": 1}'""",
}
VALUES = {
    "another value": """new_values = '{"name": "forged"}'""",
    "one value, beside a mark": """new_values = '{"name": "[erased]", "summary": "forged"}'""",
    "no values at all": "new_values = null",
    "a mark that is none": """new_values = '"[erased]"'""",
    "values before, where none were": BLANKED + """old_values = '{"name": "forged"}'""",
    "a list": "new_values = '[1]'",
    "what no reader can read": """new_values = '{"name": "\\u0000"}'""",
}
EVENT = f"insert into {LOG} (bot_id, operation, kind, severity, new_values) values (0, 'EVENT'," \
        " '{}', 'notice', {})"
GARBAGE = {
    "erasure": {
        "nothing": "null", "null": "'null'", "a text": """'"x"'""", "a list": "'[]'",
        "no entries": "'{}'", "a number of entries": """'{"entries": 7}'""",
        "entries that are none": """'{"entries": [1, null, []]}'""",
        "an entry by name": """'{"entries": [{"entry_id": "first"}]}'""",
        "an entry beyond all": """'{"entries": [{"entry_id": 99999999999999999999}]}'""",
        "no digest": """'{"entries": [{"entry_id": 1, "was": "zz", "now": "zz"}]}'""",
        "half a digest": """'{"entries": [{"entry_id": 1, "was": "00", "now": "0"}]}'""",
        "an escape that nobody can read": """'{"entries": [], "a": "\\u0000"}'""",
        "half a character": """'{"entries": [], "a": "\\ud800"}'""",
    },
    "retention": {
        "nothing": "null", "a text": """'"x"'""", "no month": "'{}'",
        "entries that are none": """'{"entries": "garbage"}'""",
        "a month of no calendar": """'{"month": "y2020m13"}'""",
        "a month by number": """'{"month": 5}'""",
        "an escape that nobody can read": """'{"month": "\\u0000 y2020m01"}'""",
    },
    "setting": {
        "nothing": "null", "a text": """'{"retention_days": "x", "was": 400}'""",
        "a number beyond all": """'{"retention_days": 99999999999999999999, "was": 400}'""",
    },
}
GONE = (UNFORCED, AS_ERASER, f"delete from {LOG} where entry_id = {{entry}}")

DEEDS = [
    *found("app_auditor", {
        f"an erasure that rewrites {what} is named": ((ERASED_MORE,), (
            ERASED_AS % (BLANKED + change),))
        for what, change in REWRITTEN.items()
    }),
    *found("app_auditor", {
        f"an erasure that leaves {what} is named": ((ERASED_MORE,), (ERASED_AS % change,))
        for what, change in VALUES.items()
    }),
    *found("app_auditor", {
        "a second erasure that rewrites the login is named": ((ERASED_MORE,), (
            ERASED_AS % BLANKED.rstrip(", "), ERASED_AS % "login = 'nobody'")),
        "a second erasure that writes values is named": ((ERASED_MORE,), (
            ERASED_AS % BLANKED.rstrip(", "),
            ERASED_AS % """new_values = '{"name": "forged"}'""")),
        "an erasure of an entry that was deleted is named": ((DELETED, TOUCHED), (
            ERASED_AS % BLANKED.rstrip(", "), *GONE)),
        "nothing is named where somebody was erased": ((), (
            ERASED_AS % BLANKED.rstrip(", "), NEXT_SEAL)),
    }),
    *found("app_auditor", {
        f"{kind} of {what} is named, and the rest verified": ((UNREADABLE,), (
            EVENT.format(kind, detail), NEXT_SEAL))
        for kind, details in GARBAGE.items() for what, detail in details.items()
    }),
    *found("app_auditor", {
        "an acceptance that nobody can read is named": ((OTHER_ACCEPTED,), (
            EVENT.format("inventory_accepted", """'{"digest": "\\u0000"}'"""),)),
        "an acceptance that was none is named": ((OTHER_ACCEPTED,), (
            EVENT.format("inventory_accepted", """'{"digest": "00"}'"""),)),
        "an entry that goes with the month that is, is named": ((DELETED, TOUCHED, NOT_OVER), (
            EVENT.format("retention", """'{"month": "{month}"}'"""), *GONE)),
        "an entry that goes with a month long ago is named": ((DELETED,), (
            EVENT.format("retention", """'{"month": "log_y2020m01"}'"""), *GONE)),
        "an entry that goes with a month to come is named": ((DELETED, TOUCHED, NOT_OVER), (
            EVENT.format("retention", """'{"month": "log_y2099m01"}'"""), *GONE)),
        "an entry that goes after the retention was shortened is named": ((DELETED,), (
            "select audit.set_retention(30)",
            EVENT.format("retention", """'{"month": "log_y2020m01"}'"""), *GONE)),
        "a month that is dropped, and said to be over, is named": (
            (DELETED, NOT_OVER), (
                "drop table {month}",
                """select audit.record_event('retention', 'notice', '{"month": "{month}"}')""")),
        "the retention that is shortened in silence is named": ((OTHER_SETTING,), (
            "update audit.setting set retention_days = 30",)),
        "the retention of another event is named": ((OTHER_SETTING,), (
            EVENT.format("setting", """'{"retention_days": 30, "was": 400}'"""),)),
        "a seal that never ends is named": ((SEAL_CHANGED, AMONG), (
            AS_ERASER, f"update {SEAL} set entries = '{{[900000000000,9000000000000000000)}}'"
            " where seal_id = {seal}")),
        "a seal without an end is named": ((SEAL_CHANGED,), (
            AS_ERASER, f"update {SEAL} set entries = '{{[1,)}}' where seal_id = {{seal}}")),
        "a seal that says other months is named": ((SEAL_CHANGED,), (
            AS_ERASER, f"update {SEAL} set months = '{{2020-01-01}}' where seal_id = {{seal}}")),
        "a seal with salts of another length is named": ((SEAL_CHANGED,), (
            AS_ERASER, f"update {SEAL} set salts = salts || '\\x00' where seal_id = {{seal}}")),
    }),
    *found("app_owner", {
        "a right that the counters' keeper has for a moment is named": ((TOUCHED,), (
            "grant update on core.conversations to app_upkeep",
            "revoke update on core.conversations from app_upkeep")),
        "a right on a column for a moment is named": ((TOUCHED,), (
            "grant update (metadata) on core.conversations to app_upkeep",
            "revoke update (metadata) on core.conversations from app_upkeep")),
        "a right of the bots for a moment is named": ((TOUCHED,), (
            "grant delete on core.messages to app_bot",
            "revoke delete on core.messages from app_bot")),
        "a right that stays is named": ((TOUCHED,), (
            "grant update on core.bots to app_upkeep",)),
        "a schema that lets somebody in for a moment is named": ((TOUCHED,), (
            "grant usage on schema core_partitions to app_bot",
            "revoke usage on schema core_partitions from app_bot")),
        "a table that is nobody's for a moment is named": ((TOUCHED,), (
            "alter table core.conversations no force row level security",
            "alter table core.conversations force row level security")),
        "a function that the capture calls and that was changed for a moment is named":
            ((TOUCHED,), ("alter function core.leaf_name(regclass, text) volatile",
                          "alter function core.leaf_name(regclass, text) stable")),
        "a policy that was changed is named": ((TOUCHED,), (
            "alter policy own_rows on core.messages using (true)",)),
        "a policy more is named": ((TOUCHED,), (
            "create policy p on core.messages to app_upkeep using (true)",)),
        "a rule that diverts an update is named": ((TOUCHED,), (
            "create rule r as on update to core.bot_metrics do instead nothing",)),
        "a trigger of the owner's that swallows rows is named": ((TOUCHED,), (
            "create function core.f() returns trigger language plpgsql as"
            " 'begin return null; end'",
            "create trigger a before update on core.conversations for each row"
            " execute function core.f()")),
        "a default that fills a column is named": ((TOUCHED,), (
            "alter table core.messages alter metadata set default '{}'",
            "alter table core.messages alter metadata drop default")),
        "a column that was rewritten by ALTER TABLE is named": ((TOUCHED,), (
            "alter table core.bots alter column config type jsonb using '{}'",)),
        "a TRUNCATE that is let through for a moment is named": ((TOUCHED,), (
            "alter table core.bot_metrics disable trigger refuse_truncate",
            "alter table core.bot_metrics enable always trigger refuse_truncate")),
    }),
    *found("superuser", {
        "the counters' keeper given a table for a moment is named": ((TOUCHED,), (
            "alter table core.bot_metrics owner to app_upkeep",
            "alter table core.bot_metrics owner to app_owner")),
        "a function of the counters' keeper changed for a moment is named": ((TOUCHED,), (
            "alter function core_upkeep.note_started() security invoker",
            "alter function core_upkeep.note_started() security definer")),
        "a function of security's changed for a moment is named": ((TOUCHED,), (
            "alter function security.differences() volatile",
            "alter function security.differences() stable")),
        "a right on the tokens for a moment is named": ((TOUCHED,), (
            "grant select on security.bot_token to app_bot",
            "revoke select on security.bot_token from app_bot")),
    }),
    *each(EVERYBODY, NO_RIGHT, {
        "says nothing in security's name": "select audit.hear_event('role_made', 'info', '{}')",
    }),
    *group("super_admin", Refused("MB210", "can't be sealed at once"), {
        f"a super_admin seals not {limit} entries": f"select audit.seal({limit})"
        for limit in ("0", "-1", "null", "1000001")
    }),
    *group("super_admin", Refused("MB211", "can't be marked"), {
        "a super_admin keeps no key out of the log":
            "select audit.mark_column('core.conversations', 'conversation_id', 'secret')",
        "a super_admin keeps no bot out of the log":
            "select audit.mark_column('core.conversations', 'bot_id', 'derived')",
        "a super_admin marks no column that is not there":
            "select audit.mark_column('core.conversations', 'nothing', 'secret')",
        "a super_admin marks no column of the server's":
            "select audit.mark_column('core.conversations', 'xmin', 'secret')",
        "a super_admin gives no mark that is none":
            "select audit.mark_column('core.bots', 'config', 'public')",
        "a super_admin gives no mark of nothing":
            "select audit.mark_column('core.bots', 'config', null)",
    }),
    *group("super_admin", Refused("MB201"), {
        "a super_admin marks no column of no table":
            "select audit.mark_column(null, 'config', 'secret')",
        "a super_admin compiles no table of the server's":
            "select audit.compile('pg_catalog.pg_authid', 'keys')",
        "a super_admin compiles no seal": f"select audit.compile('{SEAL}', 'keys')",
        "a super_admin compiles no table that is not there":
            "select audit.compile(1::oid::regclass, 'keys')",
    }),
    *group("super_admin", Refused("MB208"), {
        "a super_admin compiles no table that its owner does not audit":
            "select audit.compile('core.bot_names', 'keys')",
        "a super_admin marks no column of a table that is not audited":
            "select audit.mark_column('core.bot_names', 'name', 'secret')",
    }),
    *group("app_auditor", Refused("MB108", "update of bot_id"), {
        "an erasure moves no entry to another bot": ERASED_AS % (BLANKED + "bot_id = {same}"),
    }),
    *group("super_admin", Refused("MB209"), {
        f"a super_admin says not that {kind}": f"select audit.log_event('{kind}', 'info', '{{}}')"
        for kind in ("erasure_reason", "inventory_accepted", "role_made", "role_granted",
                     "password_set")
    }),
    *group("super_admin", Refused("MB116"), {
        "a super_admin erases nobody for a reason without an end":
            "select audit.erase({me}, {me_telegram}, repeat('x', 1001))",
    }),
]
