"""Who may do what, as data: one cell for each role and each kind of thing, as in the design.

A column lists commands with the statements that try them; a cell says for each command what comes
of it: `no` (refused, 42501), another SQLSTATE, `none` (works on no row), `own` (of the bot that
asks), `me` (of the bot that was granted to the admin), `all`, or `done` (a function that returned).
A later migration adds a column. In the SQL, {mine} is the asking bot's id, elsewhere that of `me`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """What one role may do with the things of one column."""

    role: str
    column: str
    statements: tuple[tuple[str, tuple[str, ...]], ...]  # by command
    gives: tuple[str, ...]
    installed: str = ""

    @property
    def name(self) -> str:
        return f"{self.role} and {self.column}"


ROLES = ("app_base", "app_bot", "bot", "same", "far", "admin", "super_admin", "worker", "plain",
         "app_backup", "app_owner", "migrator")
BOTS = ("bot", "same", "far")
CORE = {
    "core.girls_profiles": ("bot_id, telegram_id, chat_id", "{mine}, 333, 333", "name"),
    "core.conversations": ("bot_id, profile_id, chat_id", "{mine}, {mine_profile}, 333",
                           "metadata"),
    "core.messages": ("bot_id, conversation_id, direction, body",
                      "{mine}, {mine_conversation}, 'in', 'x'", "body"),
}
LEAVES = [f"core_partitions.{t}_{{mine_leaf}}" for t in ("girls_profiles", "messages")]
LEDGER = ("json_import.run", "json_import.file", "json_import.reject", "json_import.kept_bytes")
COMMANDS = "select insert insert_for_another update delete truncate"
LOG = "audit.security_audit_log"
ROLLED_UP = ("bot_activity_summary", "daily_metrics_summary", "bot_total")
MAINTAINERS = ("task", "probe", "monthly_table", "last_roll_up", "partition_health")
AUDIT_TABLES = ("audit.security_audit_log", "audit.seal", "audit.setting", "audit.salt",
                "audit.capture", "audit.marked_column")


def _on(tables: dict[str, tuple[str, str, str]]) -> dict[str, tuple[str, ...]]:
    """The commands of SQL on tables: columns and values to insert, a column to update."""
    return {
        "select": tuple(f"select distinct bot_id from {t} order by 1" for t in tables),
        "insert": tuple(f"insert into {t} ({c}) values ({v}) returning bot_id"
                        for t, (c, v, _) in tables.items()),
        "insert_for_another": tuple(
            f"insert into {t} ({c}) values ({v.replace('{mine', '{other')}) returning bot_id"
            for t, (c, v, _) in tables.items()),
        "update": tuple(f"update {t} set {u} = {u} returning bot_id"
                        for t, (_, _, u) in tables.items()),
        "delete": tuple(f"delete from {t} returning bot_id" for t in tables),
        "truncate": tuple(f"truncate {t} cascade" for t in tables),
    }


# column: (statements by command, what comes of them by role; any other role gets `no` throughout)
COLUMNS: dict[str, tuple[dict[str, tuple[str, ...]], dict[str, str]]] = {
    "contacts, conversations, messages": (_on(CORE), {
        **dict.fromkeys(BOTS, "own own no own no no"),
        "app_bot": "none no no none no no",
        "admin": "none no no none no no",
        "super_admin": "all no no none no no",
        "app_backup": "all no no no no no",
        "app_owner": "none no no none none MB108",
    }),
    "metrics": (_on({"core.bot_metrics": ("bot_id, day", "{mine}, '2025-02-02'", "messages_in")}), {
        **dict.fromkeys(BOTS, "own no no no no no"),
        "app_bot": "none no no no no no",
        "admin": "me no no no no no",
        "super_admin": "all no no no no no",
        "app_backup": "all no no no no no",
        "app_owner": "none no no none none MB108",
    }),
    "bots": (_on({"core.bots": ("name", "'x of {mine}'", "config")}), {
        **dict.fromkeys(BOTS, "own no no no no no"),
        "app_bot": "none no no no no no",
        "admin": "me no no no no no",
        "super_admin": "all no no no no no",
        "app_backup": "all no no no no no",
        "app_owner": "none no no none none MB108",
    }),
    "counts of chats": (_on({
        "core.conversation_totals": ("bot_id, conversation_id", "{mine}, 1", "message_count"),
        "core.uncounted": ("bot_id, conversation_id, change", "{mine}, 1, 1", "change")}), {
        **dict.fromkeys(BOTS, "own no no no no no"),
        "app_bot": "none no no no no no",
        "admin": "none no no no no no",
        "super_admin": "all no no no no no",
        "app_backup": "all no no no no no",
        "app_owner": "none no no none none MB108",
    }),
    "names of bots": (_on({"core.bot_names": ("name, bot_id", "'x', {mine}", "name")}), {
        "super_admin": "all no no no no no",
        "app_backup": "all no no no no no",
        "app_owner": "none no no none none MB108",
    }),
    "bots by function": ({
        "list": ("select bot_id from security.list_bots()",),
        "create": ("select security.create_bot('new of {mine}') > 0",),
        "drop": ("select security.drop_bot({mine})",),
        "check": ("select count(*) > 0 from security.check()",),
    }, {
        "admin": "me no no no",
        "super_admin": "all done MB106 done",
        "app_owner": "all done MB106 done",
        "migrator": "all done MB106 done",
    }),
    "tokens": (_on({"security.bot_token": ("bot_id, token", "{mine}, 'x'", "token")}), {}),
    "tokens by function": ({
        "get": ("select security.get_bot_token()",),
        "set": ("select security.set_bot_token({mine}, 'TOKEN')",),
    }, {
        **dict.fromkeys(BOTS, "own no"),
        "app_bot": "MB003 no",
        "admin": "MB003 no",
        "super_admin": "MB003 done",
        "app_owner": "no done",
        "migrator": "MB003 done",
    }),
    "leaves": ({
        "select": tuple(f"select bot_id from {t}" for t in LEAVES),
        "update": tuple(f"update {t} set bot_id = bot_id" for t in LEAVES),
        "delete": tuple(f"delete from {t} where false" for t in LEAVES),
        "truncate": tuple(f"truncate {t} cascade" for t in LEAVES),
    }, {
        "app_backup": "done no no no",
        "app_owner": "done MB203 MB203 MB108",
        "migrator": "done MB203 MB203 MB108",
    }),
    "import ledger": ({
        "select": tuple(f"select count(*) > 0 from {t}" for t in LEDGER),
        "delete": tuple(f"delete from {t} where false" for t in LEDGER),
        "truncate": tuple(f"truncate {t} cascade" for t in LEDGER),
    }, {"app_backup": "done no no"}),
    "import by function": ({
        "rejects": ("select b.bot_id from json_import.list_rejects() as r"
                    " join core.bots as b on b.name = r.bot",),
        "find": ("select security.find_bot('{mine}')",),
        "start": ("select json_import.start_run('x') > 0",),
        "bytes": ("select count(*) > 0 from generate_series(1, 30) as n"
                  " cross join lateral json_import.kept_parts({mine}, n)",),
        "report": ("select count(*) > 0 from json_import.report()",),
        "retry": ("select * from json_import.retry(1)",),
    }, {
        "admin": "me me no no no no",
        "super_admin": "all me done done done done",
        "app_owner": "none me done done done done",
    }),
    "audit log": ({
        "select": tuple(f"select distinct bot_id from {t} where bot_id <> 0"
                        for t in (LOG, "audit.events")),
        "history": ("select distinct bot_id from audit.row_history('core.messages',"
                    """ '{"bot_id": {mine}, "message_id": {mine_message}}')""",),
        "insert": (f"insert into {LOG} (operation, bot_id) values ('INSERT', {{mine}})",),
        "update": (f"update {LOG} set actor = actor",),
        "delete": (f"delete from {LOG}",),
        "truncate": (f"truncate {LOG}",),
        "leaf": ("select count(*) > 0 from {month}",),
    }, {
        **dict.fromkeys(BOTS, "own own no no no no no"),
        "app_bot": "none none no no no no no",
        "admin": "me me no no no no no",
        "super_admin": "all me no no no no no",
        "app_backup": "all me no no no no done",
    }),
    "what the audit keeps": ({
        "policies": tuple(f"select count(*) > 0 from audit.{t}"
                          for t in ("capture", "marked_column", "setting")),
        "seals": tuple(f"select count(*) > 0 from audit.{t}" for t in ("seal", "salt")),
        "insert": tuple(f"insert into {t} overriding system value table {t}" for t in AUDIT_TABLES),
        "delete": tuple(f"delete from {t}" for t in AUDIT_TABLES),
        "truncate": tuple(f"truncate {t}" for t in AUDIT_TABLES),
    }, {
        "super_admin": "done no no no no",
        "app_backup": "done done no no no",
    }),
    "audit by function": ({
        "read": ("select count(*) > 0 from audit.block_rows('{\"a\": [1]}', null, null)",
                 "select count(*) = 0 from audit.by_correlation(gen_random_uuid())"),
        "verify": ("select count(*) = 0 from audit.verify_seals()",
                   "select count(*) = 0 from audit.stale_captures()"),
        "seal": ("select seal_id > 0 from audit.seal()",),
        "event": ("select audit.log_event('test', 'info', '{}')",),
        "policy": ("select audit.enable('core.bots')", "select audit.compile('core.bots', 'keys')",
                   "select audit.mark_column('core.bots', 'config', 'secret')",
                   "select audit.refresh()"),
        "end": ("select audit.disable('core.bots')",),
        "expire": ("select audit.set_retention(500)", "select * from audit.drop_expired()"),
        "erase": ("select audit.erase({mine}, {mine_telegram}, 'because') > 0",),
        "attach": ("select audit.attach('core.bots')", "select audit.note_capture('{}')",
                   "select audit.capture_name('core.conversations', 'INSERT')"),
        "within": ("select audit.ensure_month('2020-01-01')",
                   "select * from audit.person_entries(1, 1)"),
    }, {
        **dict.fromkeys((*BOTS, "app_bot", "admin", "app_backup"),
                        "done no no no no no no no no no"),
        "super_admin": "done done done done done done done done no no",
        "app_owner": "no done done done done no done done done no",
        "migrator": "done done done done done done done done done done",
    }),
    "performance": ({
        "select": tuple(f"select distinct bot_id from performance.{t} order by 1"
                        for t in ROLLED_UP),
        "settings": tuple(f"select count(*) > 0 from performance.{t}" for t in MAINTAINERS),
        "monitoring": tuple(f"select count(*) > 0 from performance.{t}"
                            for t in ("metrics", "slow_queries")),
        "insert": ("insert into performance.bot_total"
                   " values ({mine}, 1, 1, 1, 1, 1, 1, null, now())",
                   "insert into performance.task (task, routine, description)"
                   " values ('x', 'x', 'x')"),
        "update": ("update performance.bot_total set contacts = 0",
                   *(f"update performance.{t} set {t} = {t}" for t in ("task", "probe")),
                   "update performance.monthly_table set ensure_month = ensure_month",
                   "update performance.last_roll_up set started_at = now()"),
        "delete": tuple(f"delete from performance.{t}" for t in ("bot_total", *MAINTAINERS[:-1])),
        "truncate": tuple(f"truncate performance.{t}" for t in ("bot_total", *MAINTAINERS[:-1])),
    }, {
        **dict.fromkeys(BOTS, "own no no no no no no"),
        "app_bot": "none no no no no no no",
        "admin": "me no no no no no no",
        "super_admin": "all done done no no no no",
        "app_backup": "all done done no no no no",
    }),
    "performance by function": ({
        "health": ("select count(*) > 0 from performance.health_check()",
                   "select count(*) > 0 from performance.due_tasks()"),
        "rows": ("select count(*) > 0 from performance.metric_rows()",
                 "select count(*) > 0 from performance.slow_query_rows()"),
        "run": ("select ok from performance.run_task('months')",
                "select performance.make_months() >= 0", "select performance.roll_up_metrics() = 0",
                "select performance.refuse_failures('{}')"),
        "maintain": ("call performance.maintain()",),  # it commits: not within a transaction
        "within": ("select performance.task_roll_up()",
                   "select count(*) > 0 from performance.readings()",
                   "select performance.roll_up_bots(array[{mine}], array['{}'::datemultirange])",
                   "select performance.roll_up_totals(array[{mine}::bigint])",
                   "select count(*) > 0"
                   " from performance.day_metrics({mine}, '2025-01-01', now()::date)",
                   "select count(*) > 0 from performance.our_indexes()",
                   "select count(*) > 0 from performance.probe_bots()",
                   "select json_import.drop_kept_bytes('1 day')",
                   "select count(*) > 0 from json_import.probe_quarantined_files()"),
    }, {
        "super_admin": "done done done 2D000 no",
        "app_backup": "no done no no no",
        "app_owner": "done done done 2D000 no",
        "migrator": "done done done 2D000 done",
    }),
    "stale days": ({
        "select": ("select count(*) >= 0 from core.stale_days",),
        "insert": ("insert into core.stale_days (bot_id, days) values ({mine}, '{}')",),
        "delete": ("delete from core.stale_days",),
        "truncate": ("truncate core.stale_days",),
    }, {
        "app_backup": "done no no no",
        "app_owner": "done no done MB108",
    }),
}

# Who migrates without being a superuser is a member of the definers' roles, and sees as they see:
# stated as a residue. Here stands what it calls; on tables it is tried by that residue alone.
CELLS = [
    Cell(role, column, tuple(statements.items()),
         tuple(cells.get(role, " ".join(["no"] * len(statements))).split()),
         "owner" if role == "migrator" else "")
    for column, (statements, cells) in COLUMNS.items() for role in ROLES
    if role != "migrator" or "migrator" in cells]
