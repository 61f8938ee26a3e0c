"""The attacks, as data: what somebody tries by SQL, and what must come back.

A name is a sentence about what holds. In the SQL, {me} is the attacking bot's id, {same} that of a
bot in the same leaves, {far} that of one in others; {same_conversation}, {same_leaf} and so on are
theirs, {missing} is an id that nobody has. A residue is what PostgreSQL leaves open to any login:
its exact extent stands here, its cure in SECURITY.md. attack_runner.py runs them, and looks for
texts of others in all that comes back, and for changed rows and rights, in every case.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Whether DROP OWNED BY takes policies of tables that the caller does not own: CVE-2026-116311,
# mended in the releases of November 2026.
DROPS_POLICIES = ("(current_setting('server_version_num')::integer < case"
                  " current_setting('server_version_num')::integer / 10000"
                  " when 15 then 150020 when 16 then 160016 when 17 then 170012 else 180006 end)")


@dataclass(frozen=True)
class Rows:
    """Exactly these rows, in this order, as text; also the row count of a COPY."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """The last step fails with this SQLSTATE, in words that match; both are expressions."""

    sqlstate: str
    says: str = ""


@dataclass(frozen=True)
class Tag:
    """The last step ends with this command tag, and its notices match the expression."""

    tag: str
    says: str = ""


@dataclass(frozen=True)
class Plan:
    """All that comes back matches each of `has` and none of `lacks`."""

    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Alike:
    """{probe} is one value, then the other: the last outcome is the same, and has this SQLSTATE."""

    sqlstate: str
    probes: tuple[str, str]


@dataclass(frozen=True)
class At:
    """A step in the session of somebody else."""

    who: str
    sql: str


@dataclass(frozen=True)
class Login:
    """A statement in a new session of the same login, with other libpq parameters."""

    sql: str
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A client program, run as the same login."""

    name: str
    arguments: tuple[str, ...]


Step = str | At | Login | Program
Expected = Rows | Refused | Tag | Plan | Alike


@dataclass(frozen=True)
class Attack:
    """One case. Who: bot, admin, super_admin, worker, plain, stranger, superuser, app_owner (SET
    ROLE by who migrated), app_backup. is_arranged: a step of a superuser changes rows first."""

    name: str
    who: str
    steps: tuple[Step, ...]
    gives: Expected
    kind: str = "attack"
    is_arranged: bool = False
    shows: bool = False  # texts of another bot, on purpose
    installed: str = ""  # by whom the database must have been migrated: superuser, owner, or either


def rows(*lines: str) -> Rows:
    return Rows(lines)


def _group(who: str, gives: Expected, cases: dict[str, str | tuple[Step, ...]], **more: object
           ) -> list[Attack]:
    """Cases of the same login that must come to the same end."""
    return [Attack(name, who, steps if isinstance(steps, tuple) else (steps,), gives, **more)
            for name, steps in cases.items()]


NO_RIGHT = Refused("42501", "permission denied")
NOT_OWNER = Refused("42501", "must be owner")
NEW_ROW = Refused("42501", "new row violates row-level security")
ABSENT = ("{same_conversation}", "{missing}")
ONE_LEAF = r"One-Time Filter: COALESCE\(\(CURRENT_USER = 'bot_{me}'::name\), false\)"
OTHER_LEAF = r"\b[a-z_]+_p(?!{me_digit}(?!\d))\d"
INSERT = "insert into core.messages (bot_id, conversation_id, direction, body) values "
AS_ME, AS_SAME = "set role bot_{me}", "set role bot_{same}"
GENERIC = "set plan_cache_mode = force_generic_plan"

READS = [
    *_group("bot", rows("{me}"), {
        "a bot reads its own messages and no other": "select distinct bot_id from core.messages",
        "a bot reads its own conversations and no other":
            "select distinct bot_id from core.conversations",
        "a bot reads its own contacts and no other":
            "select distinct bot_id from core.girls_profiles",
        "a bot reads its own metrics and no other": "select distinct bot_id from core.bot_metrics",
        "a bot reads its own row of the fleet": "select bot_id from core.bots",
        "a join brings nobody else's rows":
            "select distinct m.bot_id from core.messages as m, core.conversations as c",
        "or true in a condition brings nobody else's rows":
            "select distinct bot_id from core.messages where body = '' or true",
        "a union brings nobody else's rows":
            "select bot_id from core.messages union select bot_id from core.conversations",
        "a lateral subquery brings nobody else's rows":
            "select distinct m.bot_id from core.bots as b cross join lateral ("
            "select * from core.messages) as m",
        "a sample of the table brings nobody else's rows":
            "select distinct bot_id from core.messages tablesample system (100)",
        "a recursive query brings nobody else's rows":
            "with recursive r as (select bot_id from core.messages union"
            " select m.bot_id from core.messages as m join r on true) select bot_id from r",
        "a merge join on forged keys brings nobody else's rows":
            ("set enable_hashjoin = off", "set enable_nestloop = off",
             "select distinct m.bot_id from core.messages as m"
             " join (values ({me}::bigint), ({same}), ({far})) as k (bot_id) using (bot_id)"),
        "parallel workers bring nobody else's rows":
            ("set min_parallel_table_scan_size = 0", "set parallel_setup_cost = 0",
             "set parallel_tuple_cost = 0", "set enable_indexscan = off",
             "select distinct bot_id from core.messages"),
        "rows made into JSON are the bot's own":
            "select distinct row_to_json(m) ->> 'bot_id' from core.messages as m",
        "locking rows brings nobody else's rows":
            "select bot_id from core.conversations where chat_id = 1 for update",
    }),
    *_group("bot", rows("0"), {
        "a bot counts nothing of a bot in its own leaves":
            "select count(*) from core.messages where bot_id = {same}",
        "a bot counts nothing of a bot in other leaves":
            "select count(*) from core.messages where bot_id = {far}",
        "a bot counts nothing by another's conversation":
            "select count(*) from core.messages where conversation_id = {same_conversation}",
        "the parent alone has no rows": "select count(*) from only core.messages",
        "a row's place in the leaf is no way around":
            "select count(*) from core.messages where ctid = any (select format('(0,%s)', n)::tid"
            " from generate_series(6, 65) as n)",
        "a leaf's number is no way around":
            "select count(*) from core.messages where tableoid = (select oid from pg_class"
            " where relname = 'messages_{far_leaf}')",
        "texts of others can't be searched":
            "select count(*) from core.messages where body like 'BODY%'",
        "names of others can't be searched":
            "select count(*) from core.girls_profiles where name ~ 'same|far'",
        "whole rows of others can't be compared":
            "select count(*) from core.messages as m where m::text like '%BODY%'",
        "statistics of the tables show no values":
            "select count(*) from pg_stats where tablename ~ '^(bots|girls|conv|messages|bot_m)'",
        "extended statistics show no values": "select count(*) from pg_stats_ext",
    }),
    *_group("bot", rows("5 | 1 | 5 | 12345"), {
        "aggregates see the bot's own rows only":
            "select count(*), min(message_id), max(message_id),"
            " string_agg(body, '' order by message_id) from core.messages",
        "window functions see the bot's own rows only":
            "select count(*) over (), min(message_id) over (), max(message_id) over (),"
            " string_agg(body, '') over (order by message_id rows between unbounded preceding"
            " and unbounded following) from core.messages limit 1",
        "grouping sets see the bot's own rows only":
            "select count(*), min(message_id), max(message_id),"
            " string_agg(body, '' order by message_id) from core.messages group by grouping sets"
            " (())",
    }),
    *_group("bot", rows("false"), {
        "exists() tells nothing of another bot":
            "select exists (select from core.bots where bot_id = {same})::text",
        "exists() on another's contact tells nothing":
            "select exists (select from core.girls_profiles where profile_id = {same_profile})"
            "::text",
    }),
    Attack("a query as text runs with the same rights", "bot",
           ("select count(*) from ts_stat('select to_tsvector(''simple'', body)"
            " from core.messages')",), rows("5")),
    *_group("admin", rows("0"), {
        "an admin reads no messages": "select count(*) from core.messages",
        "an admin reads no contacts": "select count(*) from core.girls_profiles",
        "an admin reads no conversations": "select count(*) from core.conversations",
        "an admin who becomes app_admin has no bots": ("set role app_admin",
                                                       "select count(*) from core.bots"),
        "an admin who becomes app_bot is no bot": ("set role app_bot",
                                                   "select count(*) from core.messages"),
    }),
    *_group("admin", rows("{me}"), {
        "an admin sees the bots that were granted": "select bot_id from core.bots",
        "an admin reads the metrics of the bots that were granted":
            "select distinct bot_id from core.bot_metrics",
        "an admin's list has the bots that were granted": "select bot_id from security.list_bots()",
        "an admin finds the bot that was granted": "select security.find_bot('{me}')",
        "an admin's rejects are of the bots that were granted":
            "select b.bot_id from json_import.list_rejects() as r"
            " join core.bots as b on b.name = r.bot",
        "an admin becomes the bot that was granted, and it alone":
            (AS_ME, "select distinct bot_id from core.messages"),
    }),
    *_group("worker", NO_RIGHT, {
        "a worker reads nothing before SET ROLE": "select count(*) from core.messages",
        "a worker sees no bots before SET ROLE": "select count(*) from core.bots",
        "a worker gets no token before SET ROLE": "select security.get_bot_token()",
        "a worker records nothing before SET ROLE": "select core.record_message(1, 'in', 'x')",
    }),
    *_group("plain", NO_RIGHT, {
        "who may only connect reads no messages": "select count(*) from core.messages",
        "who may only connect reads no bots": "select count(*) from core.bots",
        "who may only connect calls no function": "select core.current_bot_id()",
        "who may only connect gets no token": "select security.get_bot_token()",
        "who may only connect reads no rejects": "select * from json_import.list_rejects()",
        "who may only connect becomes no bot": AS_ME,
        "who may only connect becomes no level": "set role app_bot",
    }),
    *_group("bot", NO_RIGHT, {
        "a bot reads no leaf by its name": "select * from core_partitions.messages_{me_leaf}",
        "a bot reads no token": "select token from security.bot_token",
        "a bot reads no names of the fleet": "select name from core.bot_names",
        "a bot reads no import ledger": "select path from json_import.file",
        "a bot reads no rejects": "select * from json_import.list_rejects()",
        "a bot reads no view of rejects": "select * from json_import.rejects",
        "a bot reads no list of bots": "select * from security.list_bots()",
        "a bot reads no history of migrations": "select * from public._migration_history",
        "a bot reads no passwords": "select rolpassword from pg_authid",
        "a bot reads no passwords through the view": "select passwd from pg_shadow",
        "a bot reads no raw statistics": "select * from pg_statistic",
        "a bot asks for no privilege on a leaf":
            "select has_table_privilege('core_partitions.messages_{me_leaf}', 'select')",
        "a bot can't name a leaf": "select 'core_partitions.messages_{me_leaf}'::regclass",
        "a bot reads no file of the server": "select pg_read_file('PG_VERSION')",
        "a bot lists no folder of the server": "select pg_ls_dir('.')",
        "a bot reads no large object of another":
            "select lo_get({same_blob})",
    }),
    Attack("an admin reads no import ledger", "admin",
           ("select path from json_import.file",), NO_RIGHT),
    Attack("an admin reads no view of rejects", "admin",
           ("select * from json_import.rejects",), NO_RIGHT),
    Attack("an admin gets no bytes of a quarantined file", "admin",
           ("select json_import.kept_parts({me}, 1)",), NO_RIGHT),
    Attack("an admin gets no names of the fleet", "admin",
           ("select * from core.bot_names",), NO_RIGHT),
    Attack("an admin doesn't find a bot that was not granted", "admin",
           ("select security.find_bot('{probe}')",),
           Alike("MB003", ("{same}", "{missing}"))),
    Attack("who sees all bots reads no token", "super_admin",
           ("select token from security.bot_token",), NO_RIGHT),
    Attack("who sees all bots reads no leaf", "super_admin",
           ("select * from core_partitions.messages_{me_leaf}",), NO_RIGHT),
    Attack("who takes backups reads no token", "app_backup",
           ("select token from security.bot_token",), NO_RIGHT),
]

WRITES = [
    *_group("bot", Tag("UPDATE 0"), {
        "a bot changes no message of another":
            "update core.messages set body = 'x' where bot_id = {same}",
        "a bot changes no conversation of another":
            "update core.conversations set metadata = '{}' where bot_id <> {me}",
        "a bot changes no contact of another":
            "update core.girls_profiles set name = 'x' where bot_id = {far}",
        "an update through a join changes nobody else's rows":
            "update core.messages as m set body = 'x' from (values ({same}::bigint)) as k (bot_id)"
            " where m.bot_id = k.bot_id",
    }),
    Attack("an update of everything changes the bot's own rows", "bot",
           ("update core.messages set body = 'x'",), Tag("UPDATE 5")),
    *_group("bot", NEW_ROW, {
        "a bot inserts no message of another":
            INSERT + "({same}, {same_conversation}, 'in', 'x')",
        "a bot inserts no message of a bot in other leaves":
            INSERT + "({far}, {far_conversation}, 'in', 'x')",
        "a bot inserts no message of nobody": INSERT + "(null, 1, 'in', 'x')",
        "a conflict with another's contact is not told":
            "insert into core.girls_profiles (bot_id, telegram_id, chat_id) values"
            " ({same}, {same_telegram}, 1) on conflict do nothing",
        "a conflict does not update another's contact":
            "insert into core.girls_profiles (bot_id, telegram_id, chat_id) values"
            " ({same}, {same_telegram}, 1) on conflict (bot_id, telegram_id)"
            " do update set name = 'x'",
    }),
    # of the value alone: no row was looked at
    Attack("an impossible value of another's row tells nothing of the row", "bot",
           (INSERT + "({same}, {same_conversation}, 'sideways', 'x')",),
           Refused("23514", "messages_direction")),
    *_group("bot", NO_RIGHT, {
        "a bot deletes no message": "delete from core.messages",
        "a bot deletes no conversation": "delete from core.conversations",
        "a bot deletes no contact": "delete from core.girls_profiles",
        "a bot deletes no bot": "delete from core.bots",
        "a bot gives no message to another": "update core.messages set bot_id = {same}",
        "a bot moves no message to another conversation":
            "update core.messages set conversation_id = {same_conversation}",
        "a bot moves no message in time": "update core.messages set sent_at = now()",
        "a bot changes no counter": "update core.conversation_totals set message_count = 0",
        "a bot renames no bot": "update core.bots set name = 'x'",
        "a bot makes no bot": "insert into core.bots (name) values ('x')",
        "a bot claims no name": "insert into core.bot_names values ({me}, 'x')",
        "a bot writes no metrics": "insert into core.bot_metrics (day) values ('2025-01-02')",
        "a bot chooses no message_id":
            "insert into core.messages (message_id, conversation_id, direction, body)"
            " overriding system value values (1, {me_conversation}, 'in', 'x')",
        "a bot sets no token": "select security.set_bot_token({me}, 'x')",
        "a bot writes no token": "update security.bot_token set token = 'x'",
        "a bot writes no leaf": "update core_partitions.messages_{me_leaf} set body = 'x'",
        "a bot empties no table": "truncate core.messages",
        "a bot empties no table by cascade": "truncate core.bots cascade",
        "a bot empties no leaf": "truncate core_partitions.messages_{same_leaf}",
        "a bot merges no delete":
            "merge into core.messages as m using (values (1)) as v (n) on m.body = ''"
            " when matched then delete",
        "a bot hides no error code": "delete from core.error_code",
        "a bot locks no table against others": ("begin",
                                                "lock table core.messages in share mode"),
        "a bot locks no leaf":
            ("begin", "lock table core_partitions.messages_{me_leaf} in access share mode"),
    }),
    *(attack for who in ("bot", "admin", "super_admin", "worker", "plain")
      for attack in _group(who, NO_RIGHT, {
          f"{who} keeps no runner out, by {mode}":
              ("begin", f"lock table public._migration_lock in {mode} mode")
          for mode in ("access share", "share update exclusive", "access exclusive")} | {
          f"{who} keeps no import out, by {mode}":
              ("begin", f"lock table json_import.turn in {mode} mode")
          for mode in ("access share", "share update exclusive", "access exclusive")})),
    *(Attack(f"{who} has no turn to import", who, ("select json_import.claim_turn()",), NO_RIGHT)
      for who in ("bot", "admin", "worker", "plain")),
    Attack("who may import has a turn", "super_admin",
           ("begin", "select json_import.claim_turn()", "select mode from pg_locks"
            " where relation = 'json_import.turn'::regclass"), rows("ShareUpdateExclusiveLock")),
    Attack("a merge updates the bot's own rows", "bot",
           ("merge into core.messages as m using (values (1)) as v (n) on m.bot_id > 0"
            " when matched then update set body = 'x'",), Tag("MERGE 5")),
    Attack("an upsert changes the bot's own row", "bot",
           ("insert into core.girls_profiles (telegram_id, chat_id, name) values"
            " ({same_telegram}, 1, 'x') on conflict (bot_id, telegram_id) do update set name = 'x'"
            " returning bot_id",), rows("{me}")),
    *_group("super_admin", Tag("UPDATE 0"), {
        "who sees all messages changes none": "update core.messages set body = 'x'",
        "who sees all contacts changes none": "update core.girls_profiles set name = 'x'",
    }),
    *_group("super_admin", NO_RIGHT, {
        "who sees all messages deletes none": "delete from core.messages",
        "who sees all bots deletes none": "delete from core.bots",
        "who sees all messages empties no table": "truncate core.messages",
    }),
    Attack("who sees all messages inserts none", "super_admin",
           (INSERT + "({same}, {same_conversation}, 'in', 'x')",), NEW_ROW),
    Attack("an admin inserts no message", "admin",
           (INSERT + "({me}, {me_conversation}, 'in', 'x')",), NEW_ROW),
    Attack("an admin changes no message", "admin",
           ("update core.messages set body = 'x'",), Tag("UPDATE 0")),
    *_group("app_owner", Refused("MB108", "truncate of"), {
        "the owner empties no table": "truncate core.messages",
        "the owner empties no table by cascade": "truncate core.bots cascade",
        "the owner empties no leaf": "truncate core_partitions.messages_{me_leaf}",
        "the owner empties no list of names": "truncate core.bot_names",
    }),
    Attack("the owner gives no row to another bot", "app_owner",
           ("update core.messages set bot_id = {same}",), Refused("MB108", "update of bot_id")),
    Attack("the owner deletes nothing", "app_owner",
           ("delete from core.messages",), Tag("DELETE 0")),
    Attack("the owner reads no table", "app_owner",
           ("select count(*) from core.messages",), rows("0")),
    Attack("the owner does not take nothing for everything", "app_owner",
           ("set row_security = off", "select count(*) from core.messages"),
           Refused("42501", "affected by row-level security")),
    Attack("replica mode lifts no refusal", "superuser",
           ("set session_replication_role = replica", "truncate core.messages"),
           Refused("MB108", "truncate of")),
    *_group("app_backup", NO_RIGHT, {
        "who takes backups changes nothing": "update core.messages set body = 'x'",
        "who takes backups deletes nothing": "delete from core.messages",
        "who takes backups changes no leaf":
            "delete from core_partitions.messages_{me_leaf}",
    }),
]
ORACLES = [
    Attack("a message in another's conversation fails as in none", "bot",
           ("insert into core.messages (conversation_id, direction, body) values"
            " ({probe}, 'in', 'x')",), Alike("23503", ABSENT)),
    Attack("a conversation with another's contact fails as with none", "bot",
           ("insert into core.conversations (profile_id, chat_id) values ({probe}, 7)",),
           Alike("23503", ("{same_profile}", "{missing}"))),
    Attack("another bot is as unknown as none", "bot",
           ("select core.record_message(1, 'in', 'x', p_bot_id => {probe})",),
           Alike("MB003", ("{same}", "{missing}"))),
    Attack("another bot's contact is as unknown as none", "bot",
           ("select core.ensure_contact({probe}, 1, null)",),
           Alike("MB003", ("{same}", "{missing}"))),
    Attack("another bot's conversation is as unknown as none", "bot",
           ("select core.ensure_conversation({probe}, 1, null)",),
           Alike("MB003", ("{same}", "{missing}"))),
    Attack("an insert for another bot fails as for none", "bot",
           (INSERT + "({probe}, 1, 'in', 'x')",), Alike("42501", ("{same}", "{missing}"))),
    Attack("another's chat can be had as if nobody had it", "bot",
           ("insert into core.conversations (profile_id, chat_id) values ({me_profile}, {probe})"
            " returning bot_id",), Alike("", ("900001", "900009"))),
    Attack("another's person can be had as if nobody had them", "bot",
           ("insert into core.girls_profiles (telegram_id, chat_id) values ({probe}, {probe})"
            " returning bot_id",), Alike("", ("900001", "900009"))),
    Attack("an admin learns of no bot by recording for it", "admin",
           ("select core.record_message(1, 'in', 'x', p_bot_id => {probe})",),
           Alike("MB003", ("{same}", "{missing}"))),
    Attack("no bot at all is unknown too", "bot",
           ("select core.record_message(1, 'in', 'x', p_bot_id => null)",),
           Refused("MB003", r"no bot \(null\)")),
    Attack("a message without a value is refused with our words", "bot",
           ("select core.record_message(1, 'sideways', 'x')",),
           Refused("MB004", "direction is 'sideways'")),
    Attack("the refused row of another is not in the error", "bot",
           (INSERT + "({same}, 1, 'in', 'x')",),
           Refused("42501", r'^new row violates row-level security policy for table "messages"$')),
    *_group("bot", rows("5"), {
        "a cast that fails on texts of others does not fail":
            "select count(*) from core.messages where body::integer > 0",
        "a division that fails on rows of others does not fail":
            "select count(*) from core.messages"
            " where 1 / (case when bot_id = {me} then 1 else 0 end) = 1",
        "a pattern that fails on texts of others does not fail":
            "select count(*) from core.messages where 'x' !~ (case when body ~ '^[0-9]$'"
            " then 'y' else '(' end)",
        "an overflow on ids of others does not happen":
            "select count(*) from core.messages where bot_id = {me} or"
            " (9223372036854775807 + conversation_id) > 0",
        "a failing function in the list of columns is not called for others":
            "select count(*) from (select body::integer from core.messages offset 0) as q",
        "a failing function in an ordering is not called for others":
            "select count(*) from (select 1 from core.messages order by body::integer"
            " limit 10) as q",
        "a failing join condition is not called for others":
            "select count(*) from core.messages as m join core.bots as b"
            " on m.body::integer > 0",
        "without indexes nothing is called for others":
            ("set enable_indexscan = off", "set enable_bitmapscan = off",
             "select count(*) from core.messages where body::integer > 0"),
        "without sequential scans nothing is called for others":
            ("set enable_seqscan = off",
             "select count(*) from core.messages where body::integer > 0"),
        "a failing function is not called for others in parallel":
            ("set parallel_setup_cost = 0", "set min_parallel_table_scan_size = 0",
             "set parallel_tuple_cost = 0",
             "select count(*) from core.messages where body::integer > 0"),
    }),
    Attack("the plan names one leaf and asks for the role when it runs", "bot",
           ("explain select * from core.messages",),
           Plan((ONE_LEAF, r"messages_{me_leaf}\b.*rows=5 "), (OTHER_LEAF, "rows=65"))),
    Attack("the plan of an update names one leaf", "bot",
           ("explain update core.messages set body = 'x'",),
           Plan((ONE_LEAF, r"messages_{me_leaf}\b"), (OTHER_LEAF,))),
    Attack("the plan of a join names one leaf of each table", "bot",
           ("explain select count(*) from core.messages join core.conversations using"
            " (bot_id, conversation_id) join core.girls_profiles using (bot_id, profile_id)",),
           Plan((r"CURRENT_USER = 'bot_{me}'::name", r"messages_{me_leaf}\b",
                 r"conversations_{me_leaf}\b", r"girls_profiles_{me_leaf}\b"), (OTHER_LEAF,))),
    Attack("the plan of the bots names one leaf", "bot", ("explain select * from core.bots",),
           Plan((ONE_LEAF, r"bots_{me_leaf}\b"), (OTHER_LEAF,))),
    Attack("the plan for another bot is empty", "bot",
           ("explain select * from core.messages where bot_id = {far}",),
           Plan(("One-Time Filter: false",), ("Scan",))),
    Attack("the plan of an admin is empty", "admin", ("explain select * from core.messages",),
           Plan(("One-Time Filter: false",), ("Scan",))),
    Attack("the plan of the owner is empty", "app_owner", ("explain select * from core.messages",),
           Plan(("One-Time Filter: false",), ("Scan",))),
    Attack("a generic plan keeps the filter and the leaf", "bot",
           (GENERIC, "prepare p (bigint) as select * from core.messages"
            " where conversation_id = $1", "explain execute p (1)"),
           Plan((ONE_LEAF, r"messages_{me_leaf}\b"), (OTHER_LEAF,))),
    Attack("estimates don't change when another bot loses its rows", "bot",
           ("explain select * from core.messages",
            At("superuser", "delete from core.messages where bot_id = {same}"),
            At("superuser", "analyze core.messages"),
            "explain select * from core.messages"),
           Plan((ONE_LEAF, r"messages_{me_leaf}\b.*rows=5 "), (OTHER_LEAF, "rows=60")),
           is_arranged=True),
]
CACHES = [
    *_group("worker", rows("{same} | 60"), {
        "a prepared statement shows a worker's next bot its own rows":
            (GENERIC, AS_ME, "prepare p as select bot_id, count(*) from core.messages group by 1",
             "execute p", AS_SAME, "execute p"),
        "a prepared statement with a key shows the next bot its own rows":
            (GENERIC, AS_ME, "prepare p (bigint) as select bot_id, count(*) from core.messages"
             " where bot_id <> $1 group by 1", "execute p (0)", AS_SAME, "execute p (0)"),
        "a prepared statement is planned anew after RESET ROLE":
            (GENERIC, AS_ME, "prepare p as select bot_id, count(*) from core.messages group by 1",
             "execute p", "reset role", AS_SAME, "execute p"),
        "a role for one transaction leaves nothing in the cache":
            (GENERIC, "begin", "set local role bot_{me}",
             "prepare p as select bot_id, count(*) from core.messages group by 1", "execute p",
             "commit", AS_SAME, "execute p"),
        "many executions before the switch change nothing":
            (AS_ME, "prepare p as select bot_id, count(*) from core.messages group by 1",
             *("execute p",) * 7, AS_SAME, "execute p"),
    }),
    Attack("a superuser's prepared statement is each bot's in turn", "superuser",
           (GENERIC, AS_ME, "prepare p as select bot_id, count(*) from core.messages group by 1",
            "execute p", "set role bot_{far}", "execute p"), rows("{far} | 3")),
    Attack("a plan made for a superuser shows a bot its own rows", "superuser",
           (GENERIC, "prepare p as select count(*) from core.messages", "execute p", AS_ME,
            "execute p"), rows("5")),
    Attack("a plan made for a super_admin's level shows an admin nothing", "super_admin",
           (GENERIC, "prepare p as select count(*) from core.messages", "execute p",
            "set role app_admin", "execute p"), rows("0")),
    Attack("a worker's prepared statement is refused after RESET ROLE", "worker",
           (GENERIC, AS_ME, "prepare p as select count(*) from core.messages", "execute p",
            "reset role", "execute p"), NO_RIGHT),
    Attack("a prepared update changes the next bot's rows only", "worker",
           (GENERIC, AS_ME, "prepare p as update core.messages set body = body || '!'",
            "execute p", AS_SAME, "execute p"), Tag("UPDATE 60")),
    Attack("a prepared insert writes for the bot in force", "worker",
           (GENERIC, AS_ME, "prepare p as insert into core.girls_profiles (telegram_id, chat_id)"
            " values (55, 55) returning bot_id", "execute p", AS_SAME, "execute p"),
           rows("{same}")),
    Attack("a prepared call of record_message records for the bot in force", "worker",
           (GENERIC, AS_ME, "prepare p as select core.record_message(55, 'in', 'x')", "execute p",
            AS_SAME, "execute p", "select bot_id from core.conversations where chat_id = 55"),
           rows("{same}")),
    Attack("a prepared get_bot_token() gives the token of the bot in force", "worker",
           (GENERIC, AS_ME, "prepare p as select security.get_bot_token()", "execute p", AS_SAME,
            "execute p"), rows("TOKEN-same")),
    Attack("PL/pgSQL plans again after a change of role", "worker",
           (GENERIC, AS_ME, """do $$
            declare n bigint[];
            begin
                for i in 1..6 loop
                    execute 'set role ' || case i % 2 when 0 then 'bot_{same}' else 'bot_{me}' end;
                    n := n || (select count(*) from core.messages);
                end loop;
                raise notice 'counts %', n;
            end $$"""), Plan((r"counts \{5,60,5,60,5,60\}",))),
    Attack("a function's cached plans serve the bot in force", "worker",
           (GENERIC, AS_ME, "select core.ensure_conversation({me}, 1, null)", AS_SAME,
            "select core.ensure_conversation({same}, 1, null) = {same_conversation}"),
           rows("True")),
    Attack("a cursor that was opened but not read shows the next bot nothing", "worker",
           ("begin", AS_ME, "declare c cursor for select body from core.messages", AS_SAME,
            "fetch all from c"), rows()),
    Attack("a cursor to be held that was not read shows the next bot nothing", "worker",
           ("begin", AS_ME, "declare c cursor with hold for select body from core.messages",
            AS_SAME, "commit", "fetch all from c"), rows()),
    Attack("a cursor of one bot changes no row of it for the next", "worker",
           ("begin", AS_ME, "declare c cursor for select body from core.messages for update",
            "fetch 1 from c", AS_SAME, "update core.messages set body = 'x' where current of c"),
           Tag("UPDATE 0")),
    Attack("a policy's function is null for who is no bot", "admin",
           ("select security.policy_bot_id()",), rows("null")),
    Attack("a default writes for the bot in force", "worker",
           (AS_ME, "select core.current_bot_id()", AS_SAME, "select core.current_bot_id()"),
           rows("{same}")),
]
CHANGES_OF_ROLE = [
    *_group("bot", NO_RIGHT, {
        "a bot becomes no other bot": AS_SAME,
        "a bot becomes no admin": "set role app_admin",
        "a bot becomes no super_admin": "set role app_super_admin",
        "a bot becomes no owner": "set role app_owner",
        "a bot becomes no provisioner": "set role app_provisioner",
        "a bot becomes no backup": "set role app_backup",
        "a bot becomes no importer": "set role app_importer",
        "a bot becomes nobody by a setting": "select set_config('role', 'bot_{same}', false)",
        "a bot's session becomes no other": "set session authorization bot_{same}",
        "a bot's session becomes no superuser": "set session authorization {migrator}",
        "a bot becomes no other bot inside a DO block":
            "do $$ begin set role bot_{same}; end $$",
        "a bot becomes no other for one transaction": ("begin", "set local role bot_{same}"),
    }),
    *_group("bot", rows("{me}"), {
        "RESET ROLE leaves the bot what it is":
            ("set role app_bot", "reset role", "select distinct bot_id from core.messages"),
        "the default session leaves the bot what it is":
            ("set session authorization default", "select distinct bot_id from core.messages"),
        "a setting of ours that there isn't changes nothing":
            ("set app.bot_id = '{same}'", "set app.current_bot_id = '{same}'",
             "select distinct bot_id from core.messages"),
        "claims about the actor change nothing":
            ("set app.actor = 'bot_{same}'", "select distinct bot_id from core.messages"),
        "a search path puts nothing before ours":
            ("set search_path = pg_temp, public, core", "select distinct bot_id from messages"),
        "forcing generic plans changes nothing":
            (GENERIC, "select distinct bot_id from core.messages"),
        "turning off pruning changes nothing":
            ("set enable_partition_pruning = off", "select distinct bot_id from core.messages"),
        "turning on constraint exclusion changes nothing":
            ("set constraint_exclusion = on", "select distinct bot_id from core.messages"),
        "compiling changes nothing":
            ("set jit_above_cost = 0", "select distinct bot_id from core.messages"),
    }),
    Attack("a bot that becomes its level sees nothing", "bot",
           ("set role app_bot", "select count(*) from core.messages"), rows("0")),
    Attack("a worker that becomes its bots' level sees nothing", "worker",
           ("set role app_bot", "select count(*) from core.messages"), rows("0")),
    Attack("a bot that becomes its level gets no token", "bot",
           ("set role app_bot", "select security.get_bot_token()"), Refused("MB003", "is no bot")),
    Attack("row_security = off is refused, not obeyed", "bot",
           ("set row_security = off", "select * from core.messages"),
           Refused("42501", "affected by row-level security")),
    *_group("bot", NO_RIGHT, {
        "a bot sets no replica mode": "set session_replication_role = replica",
        "a bot sets no replica mode by a function":
            "select set_config('session_replication_role', 'replica', false)",
        "a bot silences no log": "set log_statement = 'none'",
        "a bot hides no errors from the log": "set log_min_messages = panic",
        "a bot preloads no library": "set session_preload_libraries = 'x'",
        "a bot changes nothing of the server": "alter system set work_mem = '1GB'",
    }),
    Attack("a bot changes nothing of the database", "bot",
           ("alter database {db} set row_security = off",), NOT_OWNER),
    Attack("a login can't begin as another bot", "bot",
           (Login("select 1", {"options": "-c role=bot_{same}"}),),
           Refused("FATAL", "permission denied to set role")),
    Attack("a login can't begin in replica mode", "bot",
           (Login("select 1", {"options": "-c session_replication_role=replica"}),),
           Refused("FATAL", "permission denied to set parameter")),
    Attack("a login that begins without row security reads nothing", "bot",
           (Login("select * from core.messages", {"options": "-c row_security=off"}),),
           Refused("42501", "affected by row-level security")),
    Attack("who was not let in does not connect", "stranger", (Login("select 1"),),
           Refused("FATAL", "permission denied for database")),
    *_group("worker", NO_RIGHT, {
        "a worker becomes no bot that was not granted": "set role bot_{far}",
        "a worker becomes no admin": "set role app_admin",
        "a worker's session becomes no bot": "set session authorization bot_{me}",
        "a worker as a bot becomes no bot that was not granted": (AS_ME, "set role bot_{far}"),
    }),
    *_group("admin", NO_RIGHT, {
        "an admin becomes no bot that was not granted": AS_SAME,
        "an admin becomes no super_admin": "set role app_super_admin",
        "an admin becomes no owner": "set role app_owner",
        "an admin as a bot becomes no other": (AS_ME, AS_SAME),
    }),
    *_group("super_admin", NO_RIGHT, {
        "a super_admin becomes no bot unasked": AS_SAME,
        "a super_admin becomes no owner": "set role app_owner",
        "a super_admin becomes no provisioner": "set role app_provisioner",
    }),
]

RIGHTS = [
    *_group("bot", Refused("42501", "permission denied|admin option|ADMIN option|must (be|have)"), {
        "a bot gives itself to no other bot": "grant bot_{me} to bot_{same}",
        "a bot gives its level to nobody": "grant app_bot to {plain}",
        "a bot takes no other bot": "grant bot_{same} to bot_{me}",
        "a bot takes no level": "grant app_super_admin to bot_{me}",
        "a bot makes no role": "create role intruder",
        "a bot gets no CREATEROLE": "alter role bot_{me} createrole",
        "a bot gets no BYPASSRLS": "alter role bot_{me} bypassrls",
        "a bot gets no more connections": "alter role bot_{me} connection limit -1",
        "a bot's password lasts no longer": "alter role bot_{me} valid until 'infinity'",
        "a bot sets no password of another": "alter role bot_{same} password 'PASSWORD-x'",
        "a bot sets no setting of another": "alter role bot_{same} set row_security = off",
        "a bot renames no other": "alter role bot_{same} rename to bot_{missing}",
        "a bot drops no other": "drop role bot_{same}",
        "a bot marks no login": "comment on role bot_{me} is 'admin of installation'",
        "a bot takes over no rows": "reassign owned by bot_{same} to bot_{me}",
        "a bot takes nothing from another": "drop owned by bot_{same}",
        "a bot takes nothing from the owner": "drop owned by app_owner",
        "a bot gives defaults for nobody else":
            "alter default privileges for role app_owner grant select on tables to public",
        "a bot makes no policy": "create policy p on core.messages using (true)",
        "a bot changes no policy": "alter policy own_rows on core.messages using (true)",
        "a bot drops no policy": "drop policy own_rows on core.messages",
        "a bot turns off no row security": "alter table core.messages disable row level security",
        "a bot unforces no row security": "alter table core.messages no force row level security",
        "a bot turns off no trigger": "alter table core.messages disable trigger all",
        "a bot owns no table of ours": "alter table core.messages owner to bot_{me}",
        "a bot adds no column": "alter table core.messages add column x text",
        "a bot attaches no leaf": "alter table core.messages detach partition"
                                  " core_partitions.messages_{me_leaf}",
        "a bot replaces no function":
            "alter function security.policy_user() owner to bot_{me}",
    }),
    *_group("bot", Tag("GRANT", "no privileges were granted"), {
        "a bot passes no right on a table": "grant select on core.messages to public",
        "a bot passes no right on a column": "grant update (body) on core.messages to {plain}",
        "a bot passes no right on a schema": "grant usage on schema core to public",
        "a bot lets nobody in": "grant connect on database {db} to {stranger}",
        "a bot passes no right on a function":
            "grant execute on function security.get_bot_token() to public",
    }),
    *_group("bot", Tag("DROP OWNED", "no privileges could be revoked"), {
        "DROP OWNED takes no policy and no right from all bots": "drop owned by app_bot",
        "DROP OWNED takes nothing from the lowest level": "drop owned by app_base",
        "DROP OWNED as the level takes no policy either": ("set role app_bot",
                                                          "drop owned by app_bot"),
        "DROP OWNED by a bot takes nothing from itself": "drop owned by current_user",
    }),
    Attack("an admin's DROP OWNED takes nothing from the bots", "admin",
           ("drop owned by app_bot",), Tag("DROP OWNED", "no privileges could be revoked")),
    *_group("admin", Refused("42501", "permission denied|admin option|ADMIN option"), {
        "an admin passes a granted bot to nobody": "grant bot_{me} to {plain}",
        "an admin takes no further bot": "grant bot_{same} to {admin}",
        "an admin takes no higher level": "grant app_super_admin to {admin}",
        "an admin passes its level to nobody": "grant app_admin to {plain}",
        "an admin makes no bot": "select security.create_bot('x')",
        "an admin drops no bot": "select security.drop_bot({me}, true)",
        "an admin grants no bot by function":
            "select security.grant_bot_to_admin({same}, '{admin}')",
        "an admin revokes no bot": "select security.revoke_bot_from_admin({me}, '{worker}')",
        "an admin makes no admin": "select security.create_admin('intruder', null, true)",
        "an admin makes no worker":
            "select security.create_worker('intruder', array[{same}]::bigint[])",
        "an admin sets no bot's password": "select security.rotate_bot_password({me}, 'x')",
        "an admin sets no password of a granted bot": "alter role bot_{me} password 'PASSWORD-x'",
        "an admin sets no token": "select security.set_bot_token({me}, 'x')",
        "an admin imports nothing": "select json_import.start_run('x')",
    }),
    *_group("worker", Refused("42501", "permission denied|admin option|ADMIN option"), {
        "a worker passes a bot to nobody": "grant bot_{me} to {plain}",
        "a worker as a bot passes it to nobody": (AS_ME, "grant bot_{me} to {plain}"),
        "a worker inherits nothing": "alter role {worker} inherit",
        "a worker takes no further bot": "grant bot_{far} to {worker}",
        "a worker makes no bot": (AS_ME, "select security.create_bot('x')"),
    }),
    *_group("super_admin", Refused("42501", "permission denied|admin option|ADMIN option"), {
        "a super_admin gives levels by function only": "grant app_super_admin to {admin}",
        "a super_admin gives bots by function only": "grant bot_{me} to {admin}",
        "a super_admin changes no login itself": "alter role bot_{me} nologin",
        "a super_admin makes no role itself": "create role intruder",
        "a super_admin drops no login behind our back": "select security.drop_role('bot_{me}')",
        "a super_admin drops not all logins at once": "select security.drop_logins()",
        "a super_admin equips no login": "select security.set_up_login('{plain}', 'admin', null)",
    }),
    *_group("super_admin", Refused("MB105", "is no admin or worker"), {
        "no bot goes to a login of the server": "select security.grant_bot_to_admin({me},"
                                                " '{migrator}')",
        "no bot goes to another bot": "select security.grant_bot_to_admin({me}, 'bot_{same}')",
        "no bot goes to a level": "select security.grant_bot_to_admin({me}, 'app_bot')",
        "no bot goes to a login that was not made here":
            "select security.grant_bot_to_admin({me}, '{plain}')",
        "a login's name is no SQL":
            "select security.grant_bot_to_admin({me}, '{admin}; alter role {admin} superuser')",
        "a bot is no login to drop": "select security.drop_login('bot_{same}')",
        "a level is no login to drop": "select security.drop_login('app_bot')",
        "nobody is no login to drop": "select security.drop_login(null)",
    }),
    *_group("super_admin", Refused("MB104", "can be named"), {
        "no admin is named like a role of ours": "select security.create_admin('app_owner')",
        "no worker is named like a bot": "select security.create_worker('bot_7', '{}')",
        "no admin is named like a role of the server": "select security.create_admin('pg_x')",
        "an admin's name is no SQL": "select security.create_admin('x superuser')",
        "an admin's name has no quote": """select security.create_admin('x" superuser; --')""",
        "a bot's name has no line break": "select security.create_bot(E'x\ny')",
        "a bot has a name": "select security.create_bot(null)",
    }),
    *_group("super_admin", Refused("MB003", "there is no bot"), {
        "a bot that is not there gets no token": "select security.set_bot_token({missing}, 'x')",
        "a bot that is not there is not dropped": "select security.drop_bot({missing}, true)",
        "no bot is not dropped": "select security.drop_bot(null, true)",
        "a worker gets no bot that is not there":
            "select security.create_worker('intruder', array[{missing}]::bigint[])",
        "a worker gets no null": "select security.create_worker('intruder', array[null]::bigint[])",
    }),
    *_group("super_admin", Refused("MB102", r"^the password is no SCRAM verifier \(it is not"), {
        "a new bot's clear password is refused and not shown":
            "select security.create_bot('x', 'PASSWORD-clear')",
        "a clear password to rotate to is refused and not shown":
            "select security.rotate_bot_password({me}, 'PASSWORD-clear')",
        "an admin's clear password is refused and not shown":
            "select security.create_admin('intruder', 'PASSWORD-clear')",
        "a worker's clear password is refused and not shown":
            "select security.create_worker('intruder', array[{me}]::bigint[], 'PASSWORD-clear')",
        "an MD5 password is refused and not shown":
            "select security.rotate_bot_password({me}, 'md5PASSWORD-md5')",
        "a verifier with something behind it is refused and not shown":
            "select security.rotate_bot_password({me}, 'SCRAM-SHA-256$4096:c2FsdA==$"
            "' || repeat('a', 43) || '=:' || repeat('b', 43) || '=PASSWORD-tail')",
        "no password to rotate to is refused": "select security.rotate_bot_password({me}, null)",
    }),
    *_group("super_admin", Refused("MB107", r"^the token for bot {me} is empty"), {
        "a token with a blank is refused and not shown":
            "select security.set_bot_token({me}, 'TOKEN-with blank')",
        "a token with a line break is refused and not shown":
            "select security.set_bot_token({me}, E'TOKEN-a\nb')",
        "a token beyond all measure is refused and not shown":
            "select security.set_bot_token({me}, 'TOKEN-' || repeat('x', 1000))",
        "an empty token is refused": "select security.set_bot_token({me}, '')",
    }),
    Attack("a name that is taken is told to who makes bots", "super_admin",
           ("select security.create_bot(name) from core.bots where bot_id = {same}",),
           Refused("MB005", "is taken")),
    Attack("a bot with rows is not dropped unasked", "super_admin",
           ("select security.drop_bot({same})",), Refused("MB106", "still has rows")),
    Attack("a super_admin gets no token", "super_admin",
           ("select security.get_bot_token()",), Refused("MB003", "is no bot")),
    Attack("an admin gets no token", "admin",
           ("select security.get_bot_token()",), Refused("MB003", "is no bot")),
    Attack("an admin who became a bot gets no token", "admin",
           (AS_ME, "select security.get_bot_token()"), Refused("MB125", "is not for")),
    Attack("a super_admin who gives himself a bot gets no token", "super_admin",
           ("begin", "select security.grant_bot_to_admin({me}, session_user)", AS_ME,
            "select security.get_bot_token()"), Refused("MB125", "is not for")),
    Attack("a bot gets its own token", "bot", ("select security.get_bot_token()",),
           rows("TOKEN-me")),
    Attack("the list of bots shows no token", "super_admin",
           ("select bot_id, token_set_at is not null from security.list_bots() order by 1",),
           rows("{me} | True", "{same} | True", "{far} | True")),
    Attack("the check of rules shows no token", "super_admin",
           # who migrated another database here makes roles, and is rightly named
           ("select check_name, detail from security.check() where severity = 'critical'"
            " and not ok and check_name !~ '^nobody who can connect (makes|acts)'",), rows()),
    *_group("bot", Refused("42501", "permission denied for (function|schema)"), {
        "a bot makes no bot by function": "select security.create_bot('x')",
        "a bot drops no bot by function": "select security.drop_bot({same}, true)",
        "a bot makes no admin": "select security.create_admin('intruder', null, true)",
        "a bot rotates no password by function": "select security.rotate_bot_password({same}, '')",
        "a bot asks nobody's rights": "select security.may_see({same})",
        "a bot runs no check of rules": "select * from security.check()",
        "a bot protects nothing anew": "select security.protect('core.messages')",
        "a bot admits nobody": "select security.admit('core.messages', 'app_bot', 'all')",
        "a bot sets no policy by function":
            "select security.set_policy('core.messages', 'p', 'using (true)')",
        "a bot hands nothing over": "select security.hand_over('core', 'bot_{me}')",
        "a bot makes no leaves": "select core.ensure_leaves({me})",
        "a bot makes no partition": "select core.ensure_partition('core.messages', now())",
        "a bot counts no messages by trigger": "select core_upkeep.count_new_messages()",
        "a bot recounts nothing": "select core_upkeep.recount({me})",
        "a bot folds nothing": "select core_upkeep.fold_counts({me})",
        "a bot imports nothing":
            "select json_import.load(1, {same}, 'profile', '{}', '{}', '{}')",
        "a bot finds no bot by name": "select security.find_bot('x')",
        "a bot compares no files with another's rows":
            "select json_import.reconcile({same}, '{}', '{}')",
    }),
]

OBJECTS = [
    *_group("bot", Refused("42501", "permission denied|[Mm]ust be|not allowed"), {
        "a bot makes no temporary table": "create temp table messages (bot_id bigint)",
        "a bot makes no temporary view": "create temp view messages as select 1",
        "a bot makes no temporary sequence": "create temp sequence s",
        "a bot makes no temporary function":
            "create function pg_temp.f() returns int language sql as 'select 1'",
        "a bot makes no temporary table by SELECT": "select 1 as n into temp bots",
        "a bot makes no temporary table in a DO block":
            "do $$ begin execute 'create temp table bots (n int)'; end $$",
        "a bot makes no table in public": "create table public.messages (bot_id bigint)",
        "a bot makes no table in core": "create table core.x (n int)",
        "a bot makes no view": "create view public.v as select * from core.messages",
        "a bot makes no view that checks nothing":
            "create view core.v with (security_invoker = off) as select * from core.messages",
        "a bot makes no schema": "create schema intruder",
        "a bot makes no schema of its name": "create schema authorization current_user",
        "a bot makes no cheap function":
            "create function public.f(text) returns boolean language plpgsql cost 0.0001 as"
            " $$ begin raise notice '%', $1; return true; end $$",
        "a bot makes no function of its own security":
            "create function core.f() returns int language sql security definer as 'select 1'",
        "a bot makes no procedure":
            "create procedure public.p() language sql as 'select 1'",
        "a bot makes no operator":
            "create operator public.<<< (leftarg = text, rightarg = text, function = texteq)",
        "a bot makes no aggregate":
            "create aggregate public.a (int) (sfunc = int4pl, stype = int)",
        "a bot makes no cast": "create cast (text as integer) with inout",
        "a bot makes no domain": "create domain public.d as int check (value > 0)",
        "a bot makes no type": "create type public.t as (n int)",
        "a bot makes no enum": "create type public.e as enum ('x')",
        "a bot makes no collation": "create collation public.c from \"C\"",
        "a bot makes no conversion":
            "create conversion public.c for 'UTF8' to 'LATIN1' from utf8_to_iso8859_1",
        "a bot makes no text search configuration":
            "create text search configuration public.c (copy = simple)",
        "a bot makes no sequence": "create sequence public.s",
        "a bot makes no trigger":
            "create trigger t before insert on core.messages for each row"
            " execute function core.touch_updated_at()",
        "a bot makes no rule":
            "create rule r as on insert to core.messages do also select 1",
        "a bot makes no index": "create index on core.messages (body)",
        "a bot makes no statistics":
            "create statistics public.s on bot_id, body from core.messages",
        "a bot makes no partition of ours":
            "create table public.p partition of core.messages for values with"
            " (modulus 10, remainder 0)",
        "a bot makes no key to our tables":
            "create table core.k (n bigint references core.bot_names (bot_id))",
        "a bot makes no event trigger":
            "create event trigger e on ddl_command_start execute function f()",
        "a bot drops no extension": "drop extension plpgsql",
        "a bot updates no extension": "alter extension plpgsql update",
        "a bot makes no language": "create language intruder handler plpgsql_call_handler",
        "a bot makes no publication": "create publication p for table core.messages",
        "a bot makes no subscription":
            "create subscription s connection 'dbname=x' publication p with (connect = false)",
        "a bot makes no foreign data wrapper": "create foreign data wrapper w",
        "a bot makes no database": "create database intruder",
        "a bot makes no tablespace": "create tablespace t location '/'",
        "a bot makes no access method":
            "create access method m type table handler heap_tableam_handler",
        "a bot reindexes nothing": "reindex table core.bot_names",
        "a bot clusters nothing": "cluster core.bot_names using bot_names_pk",
        "a bot comments on nothing": "comment on table core.messages is 'x'",
        "a bot loads no library": "load 'pgcrypto'",
        "a bot forces no checkpoint": "checkpoint",
        "a bot reads no file by COPY": "copy core.messages (body) from '/etc/hostname'",
        "a bot writes no file by COPY": "copy (select 1) to 'intruder.out'",
        "a bot runs no program by COPY": "copy (select 1) to program 'true'",
        "a bot imports no file as a large object": "select lo_import('/etc/hostname')",
        "a bot exports no large object": "select lo_export(1, 'intruder.out')",
        "a bot reloads no configuration": "select pg_reload_conf()",
        "a bot resets no statistics": "select pg_stat_reset()",
        "a bot makes no replication slot":
            "select pg_create_physical_replication_slot('intruder')",
        "a bot reads no decoded changes":
            "select * from pg_logical_slot_get_changes('x', null, null)",
        "a bot makes no restore point": "select pg_create_restore_point('x')",
        "a bot reads no memory of the server": "select * from pg_backend_memory_contexts",
        "a bot reads no access rules": "select * from pg_hba_file_rules",
        "a bot ends nobody's session":
            ("select pg_terminate_backend(pid) from pg_stat_activity"
             " where usename = '{super_admin}' or usename = 'bot_{same}' limit 1"),
        "a bot cancels nobody's statement":
            ("select pg_cancel_backend(pid) from pg_stat_activity"
             " where usename = '{super_admin}' or usename = 'bot_{same}' limit 1"),
        "a bot moves no sequence": "select setval('core.messages_message_id_seq', 1)",
        "a bot takes no number of a sequence": "select nextval('core.messages_message_id_seq')",
        "a bot reads no number of a sequence": "select currval('core.messages_message_id_seq')",
        "a bot reads no sequence": "select last_value from core.messages_message_id_seq",
        "a bot does not learn the last number by inserting":
            ("insert into core.messages (conversation_id, direction, body) values"
             " ({me_conversation}, 'in', 'x')", "select lastval()"),
        "a bot reads no sequence of the fleet": "select last_value from core.bots_bot_id_seq",
    }),
    Attack("a bot makes no extension", "bot", ("create extension hstore",),
           # not even there in the embedded server
           Refused("42501|0A000", "permission denied|is not available")),
    Attack("sequences show no last value", "bot",
           ("select count(*) from pg_sequences where schemaname ~ '^(core|json)'"
            " and last_value is not null",), rows("0")),
    Attack("COPY TO has the bot's own rows", "bot",
           ("copy (select bot_id, count(*) from core.messages group by 1) to stdout",),
           rows("{me} | 5")),
    Attack("COPY TO of a table of ours has no rows: they are in its leaves", "bot",
           ("copy core.bots (bot_id) to stdout",), rows()),
    Attack("COPY TO of no table of ours is everybody's", "bot",
           ("copy core.bot_names to stdout",), NO_RIGHT),
    Attack("COPY FROM is refused", "bot",
           ("copy core.messages (body) from stdin",),
           Refused("0A000", "not supported with row-level security")),
    Attack("an analyze by a bot does nothing", "bot", ("analyze core.bots",),
           Tag("ANALYZE", "permission denied to analyze|only table or database owner")),
    Attack("a vacuum by a bot does nothing", "bot", ("vacuum core.bots",),
           Tag("VACUUM", "permission denied to vacuum|only table or database owner")),
    Attack("no session shows its statements to a bot", "bot",
           (At("same", "select 'BODY-same'"),
            "select distinct query from pg_stat_activity where usename = 'bot_{same}'"),
           rows("<insufficient privilege>")),
    Attack("no session shows its address to a bot", "bot",
           (At("same", "select 1"),
            "select count(*) from pg_stat_activity where usename = 'bot_{same}'"
            " and coalesce(client_addr::text, state, wait_event) is not null"), rows("0")),
    Attack("a dump by a bot fails", "bot",
           (Program("pg_dump", ("--data-only", "--schema=core")),),
           Refused("EXIT 1", "permission denied|row-level security")),
    Attack("a dump with row security by a bot fails at what isn't its own", "bot",
           (Program("pg_dump", ("--data-only", "--enable-row-security")),),
           Refused("EXIT 1", "permission denied")),
    Attack("a dump of one table by a bot fails at its sequence", "bot",
           (Program("pg_dump", ("--data-only", "--enable-row-security",
                                "--table=core.girls_profiles")),),
           Refused("EXIT 1", "sequence")),
    Attack("a dump of a table without a sequence has no rows: they are in its leaves", "bot",
           (Program("pg_dump", ("--data-only", "--enable-row-security",
                                "--table=core.bot_metrics")),),
           Plan(("PostgreSQL database dump complete",), ("2025-01-01",))),
    Attack("a list of roles with passwords is refused", "bot",
           (Program("pg_dumpall", ("--roles-only",)),), Refused("EXIT 1", "permission denied")),
]

SISTERS = [
    *[Attack(f"{article} {who} does not connect to a sister database", who,
             (Login("select 1", {"dbname": "{sister}"}),),
             Refused("FATAL", "permission denied for database"))
      for article, who in (("a", "bot"), ("an", "admin"), ("a", "super_admin"), ("a", "worker"))],
    *_group("super_admin", Refused("MB003", "there is no bot"), {
        "a sister's bot is not dropped": "select security.drop_bot({sister_bot}, true)",
        "a sister's bot gets no token": "select security.set_bot_token({sister_bot}, 'x')",
        "a sister's bot goes to no admin of ours":
            "select security.grant_bot_to_admin({sister_bot}, '{admin}')",
        "a sister's bot goes to no worker of ours":
            "select security.create_worker('intruder', array[{sister_bot}]::bigint[])",
    }),
    Attack("a sister's login is none of ours to drop", "super_admin",
           ("select security.drop_login('{sister_admin}')",), Refused("MB105", "is no admin")),
    Attack("a sister's admin gets no bot of ours", "super_admin",
           ("select security.grant_bot_to_admin({me}, '{sister_admin}')",),
           Refused("MB105", "is no admin")),
    Attack("a sister's bots are in no list of ours", "super_admin",
           ("select bot_id from security.list_bots() order by 1",),
           rows("{me}", "{same}", "{far}")),
    Attack("who migrated a sister without being a superuser does not connect here",
           "sister_owner", (Login("select count(*) from core.messages", {"dbname": "{db}"}),),
           Refused("FATAL", "permission denied for database"), installed="superuser"),
    Attack("who migrated a sister becomes no provisioner of ours, from 16 on", "sister_owner",
           ("select rolname, pg_has_role(oid, 'usage') from pg_roles"
            " where rolname ~ '^app_provisioner_' and pg_has_role(oid, 'member')"
            " and rolname <> security.provisioner()",),
           rows(), installed="superuser"),
]

# What is left open, with its exact extent; SECURITY.md names each cure.
RESIDUES = [
    *_group("bot", rows("65"), {
        "the catalog tells any login how many rows a leaf has":
            "select reltuples::int from pg_class where relname = 'messages_{me_leaf}'",
    }, kind="residue"),
    *_group("bot", rows("True"), {
        "the statistics tell any login how much a leaf is written":
            "select count(n_tup_ins) = 1 from pg_stat_all_tables"
            " where relname = 'messages_{far_leaf}'",
        "any login reads the size of a leaf":
            "select pg_relation_size(oid) > 0 from pg_class where relname = 'messages_{far_leaf}'",
        "any login reads the names of roles":
            "select count(*) = 3 from pg_roles where rolname in"
            " ('bot_{me}', 'bot_{same}', 'bot_{far}')",
        "any login reads which database a login belongs to":
            "select shobj_description(oid, 'pg_authid') ~ '^bot {same} of installation .*, database"
            " [0-9]+$' from pg_roles where rolname = 'bot_{same}'",
        "any login reads who is a member of what":
            "select count(*) = 1 from pg_auth_members where roleid = 'bot_{me}'::regrole"
            " and member = '{admin}'::regrole",
        "any login reads the names of databases":
            "select count(*) > 1 from pg_database",
        "any login reads the text of functions and policies":
            "select prosrc ~ 'current_user' from pg_proc where proname = 'policy_bot_id'",
        "any login reads the cluster's clock of transactions":
            "select pg_current_wal_insert_lsn() is not null"
            " and pg_snapshot_xmax(pg_current_snapshot()) is not null",
        "any login may make a large object": ("begin", "select lo_create(0) > 0"),
        "any login may write to the write-ahead log":
            "select pg_logical_emit_message(false, 'x', 'y') is not null",
        "a bot may take as much memory as it says":
            ("set work_mem = '1GB'", "select current_setting('work_mem') = '1GB'"),
    }, kind="residue"),
    Attack("any login sees who is connected, and the name of the program", "bot",
           (At("same", "set application_name = 'program of same'"),
            "select distinct application_name from pg_stat_activity"
            " where usename = 'bot_{same}'"), rows("program of same"), kind="residue"),
    Attack("any login sees which tables are being used", "bot",
           (At("same", "begin"), At("same", "lock table core.conversations in access share mode"),
            "select distinct l.mode from pg_locks as l"
            " join pg_class as c on c.oid = l.relation and c.relname = 'conversations'"
            " where l.pid <> pg_backend_pid()"), rows("AccessShareLock"), kind="residue"),
    Attack("EXPLAIN ANALYZE tells how many rows of the leaf are others'", "bot",
           ("set enable_indexscan = off", "set enable_bitmapscan = off",
            "explain (analyze, timing off, summary off) select * from core.messages"),
           Plan(("Rows Removed by Filter: 60",)), kind="residue"),
    Attack("a text that is common in the leaf is expected more often, though it is another's",
           "bot", ("explain select * from core.messages where body = 'BODY-same'",),
           Plan(("Seq Scan.*rows=2 ",)), kind="residue", shows=True),
    Attack("a text that nobody in the leaf has is expected once",
           "bot", ("explain select * from core.messages where body = 'BODY-none'",),
           Plan(("Seq Scan.*rows=1 ",)), kind="residue", shows=True),
    Attack("ids are counted over the fleet", "bot",
           (INSERT + "({me}, {me_conversation}, 'in', 'before')",
            At("far", INSERT + "({far}, {far_conversation}, 'in', 'between')"),
            At("far", INSERT + "({far}, {far_conversation}, 'in', 'between')"),
            INSERT + "({me}, {me_conversation}, 'in', 'after')",
            "select max(message_id) filter (where body = 'after')"
            " - max(message_id) filter (where body = 'before') from core.messages"),
           rows("3"), kind="residue", is_arranged=True),
    Attack("a merge that reads no column of its target tells that others have rows", "bot",
           ("merge into core.messages as m using (values (1)) as v (n) on true"
            " when matched then update set body = 'x'",),
           Refused("42501", "target row violates row-level security"), kind="residue"),
    Attack("a bot hears what another sends by NOTIFY", "bot",
           ("listen fleet", At("same", "notify fleet, 'hello'"), "select 1"),
           Plan(("fleet: hello",)), kind="residue"),
    Attack("an advisory lock is anybody's", "bot",
           (At("same", "select pg_advisory_lock(7)"), "select pg_try_advisory_lock(7)"),
           rows("False"), kind="residue"),
    Attack("a bot may keep a table from being altered", "bot",
           ("begin", "lock table core.messages in access share mode"),
           Tag("LOCK TABLE"), kind="residue"),
    Attack("a bot gets a lock, for a moment, before it is refused", "bot",
           (At("superuser", "begin"),
            At("superuser", "lock table core.bots in share update exclusive mode"),
            "set lock_timeout = '50ms'", "comment on table core.bots is 'x'"),
           Refused("55P03"), kind="residue"),
    Attack("a bot may lift its own time limits", "bot",
           ("set statement_timeout = 0", "set idle_in_transaction_session_timeout = 0",
            "select current_setting('statement_timeout'),"
            " current_setting('idle_in_transaction_session_timeout')"), rows("0 | 0"),
           kind="residue"),
    Attack("a bot may change its own password, to a clear one", "bot",
           ("begin", "alter role current_user password 'PASSWORD-me'"), Tag("ALTER ROLE"),
           kind="residue"),
    Attack("a bot may change its own settings", "bot",
           ("begin", "alter role current_user set statement_timeout = 0"), Tag("ALTER ROLE"),
           kind="residue"),
    Attack("a bot may give default privileges on what it can't make", "bot",
           ("begin", "alter default privileges grant select on tables to public"),
           Tag("ALTER DEFAULT PRIVILEGES"), kind="residue"),
    Attack("a bot may write to the server's log", "bot",
           ("do $$ begin raise log 'a line of a bot'; end $$",), Tag("DO"), kind="residue"),
    Attack("any login may enter a database that PUBLIC may, and make temporary tables there",
           "bot", (Login("create temp table t (n int)", {"dbname": "postgres"}),),
           Tag("CREATE TABLE"), kind="residue"),
    Attack("a policy's function used in a query of its own goes stale", "worker",
           (GENERIC, AS_ME, "prepare p as select security.policy_bot_id()", "execute p", AS_SAME,
            "execute p"), rows("{me}"), kind="residue"),
    Attack("a worker that goes back becomes another of its bots", "worker",
           (AS_ME, "reset role", AS_SAME, "select distinct bot_id from core.messages"),
           rows("{same}"), kind="residue"),
    Attack("a cursor that was being read goes on after a change of role", "worker",
           ("begin", AS_ME, "declare c cursor for select bot_id from core.messages", "fetch 1 in c",
            AS_SAME, "fetch 1 in c"), rows("{me}"), kind="residue"),
    Attack("a cursor that was held keeps its rows after a change of role", "worker",
           ("begin", AS_ME, "declare c cursor with hold for select distinct bot_id"
            " from core.messages", "commit", AS_SAME, "fetch all in c"), rows("{me}"),
           kind="residue"),
    Attack("a super_admin who gives himself a bot and its password logs in as it", "super_admin",
           ("begin", "select security.rotate_bot_password({me}, 'SCRAM-SHA-256$4096:'"
            " || repeat('A', 24) || '$' || repeat('A', 43) || '=:' || repeat('A', 43) || '=')",
            "select count(*) = 1 from audit.events where kind = 'password_set' and bot_id = {me}"
            " and login = session_user"), rows("True"), kind="residue"),
    Attack("an admin who became a bot may set its password", "admin",
           ("begin", AS_ME, "alter role current_user password 'PASSWORD-me'"), Tag("ALTER ROLE"),
           kind="residue"),
    Attack("before 16 an admin sees the statements of a granted bot's sessions", "admin",
           (At("bot", "select 'BODY-me'"),
            "select (query = 'select ''BODY-me''')"
            " = (current_setting('server_version_num')::integer < 160000)"
            " from pg_stat_activity where usename = 'bot_{me}'"), rows("True"), kind="residue"),
    Attack("an admin may take all admins' list of bots away, where the server lets him", "admin",
           ("begin", "drop owned by app_admin",
            f"select (count(*) = 0) = {DROPS_POLICIES} from pg_policy"
            " where polname = 'app_admin_select'"), rows("True"), kind="residue"),
    Attack("a super_admin may take all super_admins' sight away, where the server lets him",
           "super_admin",
           ("begin", "drop owned by app_super_admin",
            f"select (count(*) = 0) = {DROPS_POLICIES} from pg_policy"
            " where polname = 'app_super_admin_select'"), rows("True"), kind="residue"),
    Attack("a super_admin makes super_admins", "super_admin",
           ("begin", "select security.create_admin('friend_of_{super_admin}', null, true)"),
           rows(""), kind="residue"),
    Attack("the owner reads leaves by their names", "app_owner",
           ("select count(*) from core_partitions.messages_{me_leaf}",), rows("65"),
           kind="residue"),
    Attack("the owner may stop the policies", "app_owner",
           ("begin", "alter table core.messages no force row level security",
            "select count(*) from core.messages"), rows("68"), kind="residue"),
    Attack("who migrated without being a superuser acts for the definers, and sees all",
           "migrator", ("select count(*) from core.messages",), rows("68"), kind="residue",
           shows=True, installed="owner"),
    Attack("a superuser reads all, tokens too", "superuser",
           ("select token from security.bot_token order by bot_id",),
           rows("TOKEN-me", "TOKEN-same", "TOKEN-far"), kind="residue", shows=True),
]

TOTALS, DAYS = "performance.bot_activity_summary", "performance.daily_metrics_summary"
PERFORMANCE = [
    *_group("bot", rows("{me}"), {
        "a bot reads its own totals and no other": "select bot_id from performance.bot_total",
        "a bot's summary is of itself": f"select bot_id from {TOTALS}",
        "a bot's summary by day is of itself": f"select distinct bot_id from {DAYS}",
        "or true brings no other bot's summary":
            f"select bot_id from {TOTALS} where name = '' or true",
    }),
    *_group("bot", rows("0"), {
        "a bot reads no total of a bot in its own leaves":
            "select count(*) from performance.bot_total where bot_id = {same}",
        "a bot reads no summary of a bot in its own leaves":
            f"select count(*) from {TOTALS} where bot_id = {{same}}",
        "a bot reads no week before of a bot in its own leaves":
            f"select count(*) from {DAYS} where bot_id <> {{me}}",
    }),
    *_group("admin", rows("{me}"), {
        "an admin reads the totals of the bots that were granted":
            "select bot_id from performance.bot_total",
        "an admin's summary has the bots that were granted": f"select bot_id from {TOTALS}",
    }),
    *_group("bot", NO_RIGHT, {
        "a bot makes no roll-up": "select performance.roll_up_metrics('-infinity')",
        "a bot makes no roll-up of another":
            "select performance.roll_up_bots(array[{same}], '{}')",
        "a bot counts no days of another":
            "select * from performance.day_metrics({same}, '2025-01-01', '2025-02-01')",
        "a bot runs no task": "select * from performance.run_task('roll_up')",
        "a bot runs no maintenance": "call performance.maintain()",
        "a bot makes no months": "select performance.make_months(100000)",
        "a bot calls no trigger's function": "select performance.follow_bots()",
        "a bot reads no health": "select * from performance.health_check()",
        "a bot reads no metrics of the fleet": "select * from performance.metrics",
        "a bot reads no readings": "select * from performance.readings()",
        "a bot reads no probe by its function": "select * from performance.probe_bot_messages()",
        "a bot reads no statements of others": "select * from performance.slow_queries",
        "a bot reads no tasks": "select error from performance.task",
        "a bot reads no sizes of the leaves": "select * from performance.partition_health",
        "a bot writes no total": "update performance.bot_total set messages_in = 1000000",
        "a bot deletes no total": "delete from performance.bot_total",
        "a bot notes no stale day": "insert into core.stale_days (bot_id, days)"
                                    " values ({me}, '{}')",
        "a bot notes no stale day of another": "insert into core.stale_days (bot_id, days)"
                                                " values ({same}, '{}')",
        "a bot takes no note away": "delete from core.stale_days",
        "a bot appends no count": "insert into core.uncounted (bot_id, conversation_id, change)"
                                  " values ({me}, 1, 1)",
        "a bot takes no count away": "delete from core.uncounted",
        "a bot changes no total": "update core.conversation_totals set last_message_at = null",
        "a bot reads no notes": "select * from core.stale_days",
        "a bot adds no task":
            "insert into performance.task (task, routine, description) values ('x', 'x', 'x')",
        "a bot changes no probe": "update performance.probe set warning = 1e9",
        "a bot becomes no maintainer": "set role app_maintainer",
        "a bot puts no trigger on what maintenance writes":
            "create trigger mine after insert on performance.bot_total for each row"
            " execute function suppress_redundant_updates_trigger()",
        "a bot puts no operator in the way of maintenance":
            "create operator performance.= (function = int8eq, leftarg = int8, rightarg = int8)",
        "a bot puts no function in the way of maintenance":
            "create function performance.now() returns timestamptz language sql as 'select null'",
        "a bot puts no type in the way of maintenance": "create domain public.text as int",
    }),
    Attack("a bot puts no temporary table in the way of maintenance", "bot",
           ("create temporary table task (task text)",), Refused("42501", "temporary")),
    *_group("super_admin", NO_RIGHT, {
        "a super_admin gives no task a routine of their own":
            "update performance.task set routine = 'security.drop_logins()'",
        "a super_admin gives no probe a routine of their own":
            "update performance.probe set routine = 'security.marked_logins()'",
        "a super_admin gives no table a maker of months of their own":
            "update performance.monthly_table set ensure_month = 'core.ensure_leaves(bigint)'",
        "a super_admin turns no clock of the roll-ups back":
            "update performance.last_roll_up set started_at = 'infinity'",
        "a super_admin runs no task by its function": "select performance.task_retention()",
        "a super_admin becomes no maintainer": "set role app_maintainer",
    }),
    Attack("a task's name is no SQL", "super_admin",
           ("select * from performance.run_task('months(); drop table core.bots; --')",),
           Refused("MB301", "drop table core.bots")),
    Attack("what a maintainer reads of messages is no text", "superuser",
           ("set role app_maintainer", "select body from core.messages"), NO_RIGHT),
    Attack("what a maintainer reads of contacts is no name", "superuser",
           ("set role app_maintainer", "select name from core.girls_profiles"), NO_RIGHT),
    Attack("a maintainer writes no message", "superuser",
           ("set role app_maintainer", "update core.messages set direction = 'in'"), NO_RIGHT),
    Attack("a maintainer pauses no bot", "superuser",
           ("set role app_maintainer", "update core.bots set status = 'paused'"), NO_RIGHT),
    Attack("a login's own schema comes into no maintenance", "superuser", (
        "create schema mine", "create function mine.int8eq(bigint, bigint) returns boolean"
        " language plpgsql as $$begin raise exception 'it ran'; end$$",
        "create operator mine.= (function = mine.int8eq, leftarg = bigint, rightarg = bigint)",
        "set search_path = mine, pg_catalog", "select ok from performance.run_task('roll_up')",
        "reset search_path", "drop schema mine cascade", "select 'nothing'"), rows("nothing"),
        is_arranged=True),
]

ATTACKS = [*READS, *WRITES, *ORACLES, *CACHES, *CHANGES_OF_ROLE, *RIGHTS, *OBJECTS,
           *PERFORMANCE, *RESIDUES]
