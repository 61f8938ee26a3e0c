"""Every argument of every public function of audit and security, made null, absurd or somebody
else's: an error of ours says so, or the function is known to do nothing then. The functions come
from the catalog, so that a new one is tried as well."""

import secrets

import psycopg
from conftest import Database
from core_rows import make_bot, record

from fleet.bots import verifier

pytest_plugins = "core_rows"
LEAF = "(select leaf from core.leaves('core.bots') limit 1)"
ABSURD = {
    "bigint": ("null", "-1", "0", "999999999999"),
    "integer": ("null", "-1", "0", "2147483647"),
    "text": ("null", "''", "' '", "repeat('x', 3000)", r"e'\x1b]0;'", "'it''s \"none\"'"),
    "name": ("null", "''", "'nothing'", "'xmin'", "'ctid'"),
    "boolean": ("null",),
    "interval": ("null", "'-1 s'", "'0'", "'9999 years'"),
    "uuid": ("null", "'00000000-0000-0000-0000-000000000000'"),
    "jsonb": ("null", "'null'", "'[]'", "'\"x\"'", "'{\"bot_id\": \"x\"}'", "'{\"bot_id\": {}}'"),
    "json": ("null", "'null'", "'[]'", "'\"x\"'", "'{\"a\": 1}'", "'{\"a\": [[]]}'"),
    "bigint[]": ("null", "'{}'", "'{null}'", "'{-1}'", "'{999999999999}'", "'{{1},{2}}'"),
    "regclass": ("null", "1::oid::regclass", "'pg_catalog.pg_authid'", "'pg_catalog.pg_class'",
                 "'audit.events'", "'audit.seal'", "'audit.security_audit_log'", LEAF,
                 "'core.bots_pk'", "'information_schema.sql_features'"),
    "core.bot_table": ("null",),
}
# Where an argument may be anything, since the function then does what its comment says: argument ->
# whether all that is absurd there is harmless, or which of it.
LIMITS = {f"p_{limit}": {"null"} for limit in (  # as it is, or the first one
    "connections", "statement_timeout", "transaction_idle", "lock_timeout")}
HARMLESS = {
    "audit.block_rows": {"p_row_keys", "p_old_values", "p_new_values"},  # none of what is no block
    "audit.by_correlation": {"p_correlation_id"},  # no row
    "audit.erase": {"p_reason": {r"e'\x1b]0;'", "'it''s \"none\"'"}},  # a text that says why
    "audit.key_sql": {"p_table", "p_row"},  # a text
    "audit.log_event": {"p_detail": {"null", "'{\"bot_id\": \"x\"}'", "'{\"bot_id\": {}}'"},
                        "p_bot_id": {"null", "999999999999"}},  # a bot may be gone
    "audit.preview_erase": {"p_bot_id", "p_telegram_id"},  # no row
    "audit.refresh": {"p_table"},  # no row: it was not needed
    "audit.stale_captures": {"p_table"},  # no row
    "audit.verify_seals": {"p_seal_id", "p_root"},  # named: not the root kept elsewhere
    "security.create_admin": {  # none; not super
        "p_verifier": {"null"}, "p_is_super": {"null"}, **LIMITS},
    "security.create_bot": {"p_name": {"'it''s \"none\"'"}, "p_verifier": {"null"}},
    "security.create_worker": {  # no bot yet
        "p_bots": {"null", "'{}'"}, "p_verifier": {"null"}, **LIMITS},
    "security.find_bot": {"p_bot": {"null"}},  # null
    "security.find_login": {"p_name": {"null"}},  # null
    "security.may_see": {"p_bot_id"},  # whoever may see all may see what is not there
    "security.set_bot_limits": LIMITS,
    "security.set_limits": LIMITS,
    "security.preview_create_bot": {"p_name": {"'it''s \"none\"'"}, "p_verifier": {"null"}},
}
PUBLIC = """
    select n.nspname || '.' || p.proname,
           array_agg(p.proargnames[i] order by i), array_agg(format_type(
               (p.proargtypes::oid[])[i - 1], null) order by i)
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    cross join lateral generate_series(1, p.pronargs) as i
    where n.nspname in ('audit', 'security') and p.prorettype <> 'trigger'::regtype
      and exists (select from unnest(array['app_bot', 'app_admin', 'app_super_admin']) as r
                  where has_function_privilege(r, p.oid, 'execute'))
    group by p.oid, n.nspname order by 1"""


def harmless(function: str, argument: str, value: str) -> bool:
    found = HARMLESS.get(function, {})
    return argument in found and (isinstance(found, set) or value in found[argument])


def test_an_absurd_argument_of_a_public_function_is_named_by_a_code(database: Database):
    bot, _ = make_bot(database)
    wrong = []
    with database.connect() as conn:
        record(conn, bot, 1, "2025-01-01")
        secret = verifier(conn, "x" * 20)
        admin = f"admin_{secrets.token_hex(4)}"
        conn.execute("select security.create_admin(%s, %s)", [admin, secret])
        person = conn.execute("select telegram_id from core.girls_profiles").fetchone()[0]
        good = {"p_bot_id": bot, "p_telegram_id": person, "p_reason": "'because'",
                "p_table": "'core.bots'", "p_policy": "'changed'", "p_column": "'config'",
                "p_mark": "'secret'", "p_name": "'somebody'", "p_verifier": f"'{secret}'",
                "p_login": f"'{admin}'", "p_kind": "'test'", "p_severity": "'info'",
                "p_detail": "'{}'", "p_days": "500", "p_limit": "10"}
        functions = conn.execute(PUBLIC).fetchall()
        for name, arguments, types in functions:
            for place, argument in enumerate(arguments):
                for value in ABSURD[types[place]]:
                    given = [str(good.get(a, "null")) for a in arguments]
                    given[place] = value
                    call = ", ".join(f"{v}::{t}" for v, t in zip(given, types, strict=True))
                    try:
                        with conn.transaction(force_rollback=True):
                            conn.execute(f"select {name}({call})")
                        code = ""
                    except psycopg.Error as error:
                        code = error.sqlstate or "?"
                    if not code.startswith("MB") and (code or not harmless(name, argument, value)):
                        wrong.append((name, argument, value, code or "done"))
        # what was tried left the log as provable as it was
        assert conn.execute("select * from audit.verify_seals()").fetchall() == []
    assert wrong == [], "\n".join(map(str, wrong))
    assert len(functions) > 20
