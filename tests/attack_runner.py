"""Runs one case of attacks.py on a migrated database with three bots, by logins of every kind.

A World holds the database, its logins and their sessions; `run` returns what is wrong with a case.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg
from attacks import Alike, At, Attack, Login, Plan, Program, Refused, Rows, Step, Tag
from conftest import Database
from core_rows import program
from psycopg import sql
from role_matrix import Cell

from fleet.bots import verifier

KEPT = ("core.bots", "core.girls_profiles", "core.conversations", "core.messages",
        "core.bot_metrics", "security.bot_token", "json_import.file",
        "performance.bot_total")  # parents first
MARKS = re.compile(r"(?:BODY|NAME|TOKEN|PATH|PASSWORD)-\w+")
# Whose names, texts and paths a login may come to see, and whose rows it may change.
ENTITLED = {"bot": {"me"}, "admin": {"me"}, "worker": {"me", "same"}, "same": {"same"}}
SEES_ALL = {"super_admin", "superuser", "app_backup"}

CATALOGS = """
select string_agg(md5(line), ' ' order by line) from (
    select format('role %s', to_jsonb(a) - 'oid') from pg_authid as a
    where rolname ~ '^app_'
       or shobj_description(oid, 'pg_authid') like '% of installation %, database ' || (select oid
       from pg_database where datname = current_database())
    union all select format('member %s of %s', member::regrole, roleid::regrole)
    from pg_auth_members where roleid::regrole::text ~ '^(app|bot)_'
    union all select format('setting %s', to_jsonb(s)) from pg_db_role_setting as s
    union all select format('database %s', datacl) from pg_database
    where datname = current_database()
    union all select format('schema %s', to_jsonb(n)) from pg_namespace as n
    union all select format('relation %s %s %s %s', oid::regclass, relacl, relowner,
                            array[relrowsecurity, relforcerowsecurity]) from pg_class
    where relkind in ('r', 'p', 'v', 'S') and relpersistence <> 't' and oid > 16383
    union all select format('column %s', to_jsonb(a)) from pg_attribute as a
    where attacl is not null and attrelid > 16383
    union all select format('policy %s', to_jsonb(p)) from pg_policy as p
    union all select format('trigger %s %s', tgrelid, tgenabled) from pg_trigger
    union all select format('function %s', to_jsonb(p)) from pg_proc as p where oid > 16383
    union all select format('default %s', to_jsonb(d)) from pg_default_acl as d
    union all select format('large object %s', lomowner) from pg_largeobject_metadata
    union all select format('parameter %s', to_jsonb(p)) from pg_parameter_acl as p
    union all select format('extension %s', extname) from pg_extension
) as seen (line)"""


@dataclass
class Outcome:
    """What one step brought back: rows as lines, the command tag, or an error; all text of it."""

    rows: list[str] = field(default_factory=list)
    tag: str = ""
    sqlstate: str = ""
    said: str = ""  # without an error's context, which has numbers of lines
    text: str = ""


@dataclass
class World:
    """A migrated database with three bots and a login of each kind; `names` fill in the SQL."""

    database: Database
    names: dict[str, str]
    logins: dict[str, Database]
    sessions: dict[str, psycopg.Connection] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)
    catalogs: str = ""

    def session(self, who: str) -> psycopg.Connection:
        """The session of a login, opened when it is first needed."""
        if who not in self.sessions or self.sessions[who].closed:
            self.sessions[who] = self.logins[who].connect()
            self.sessions[who].prepare_threshold = None
        return self.sessions[who]

    def fill_in(self, text: str) -> str:
        """`{name}` becomes what the world calls so; other braces stay."""
        return re.sub(r"\{(\w+)\}", lambda m: self.names.get(m[1], m[0]), text)

    def close(self) -> None:
        """Ends the sessions; the logins go with the database."""
        for conn in self.sessions.values():
            conn.close()


# Making a world --------------------------------------------------------------

def build(database: Database, migrator: Database | None = None) -> World:
    """Bots, rows and logins in a migrated database; `migrator` migrated it (default: superuser)."""
    world = World(database, {"db": database.name, "missing": "999999999"},
                  {"superuser": database, "migrator": migrator or database})
    world.logins |= dict.fromkeys(("app_owner", "app_auditor"), world.logins["migrator"])
    for role in ("app_base", "app_bot", "app_backup"):
        world.logins[role] = database
    conn = world.session("superuser")
    for name in ("me", "same", "far"):
        add_bot(world, conn, name)
    add_logins(world, conn)
    world.names["month"] = conn.execute(
        "select core.leaf_name('audit.security_audit_log',"
        """ to_char(now() at time zone 'UTC', '"y"YYYY"m"MM'))""").fetchone()[0]
    conn.execute("select performance.roll_up_metrics()")
    conn.execute("analyze")
    keep(world)
    return world


def add_bot(world: World, conn: psycopg.Connection, name: str) -> None:
    """`me` and `same` share their leaves, `far` lies in others; its rows bear its name."""
    leaf = "(select r from generate_series(0, 9) as r where satisfies_hash_partition(" \
           "'core.bots'::regclass, 10, r, {}))"
    if name != "me":
        test = "=" if name == "same" else "<>"
        conn.execute(f"""
            select setval('core.bots_bot_id_seq', min(n) - 1)
            from core.bots_bot_id_seq as s, generate_series(last_value + 1, last_value + 900) as n
            where {leaf.format('n::bigint')} {test} {leaf.format(world.names['me'] + '::bigint')}
              and to_regrole('bot_' || n) is null""")
    password = secrets.token_hex(16)
    bot = conn.execute("select security.create_bot(%s, %s)", [
        f"NAME-{name}-{secrets.token_hex(3)}", verifier(conn, password)]).fetchone()[0]
    world.logins["bot" if name == "me" else name] = Database(
        world.database.parts | {"user": f"bot_{bot}", "password": password})
    chats = {"me": (1, 2), "same": (1, 900001, 900002), "far": (1,)}[name]
    count = {"me": 5, "same": 60, "far": 3}[name]
    for i in range(count):
        body = str(i + 1) if name == "me" else f"BODY-{name}" + f"-{i}" * (i % 2)
        conn.execute("select core.record_message(%s, 'in', %s, '2025-01-01', %s, %s)",
                     [chats[i % len(chats)], body, f"NAME-{name}", bot])
    if name == "same":
        world.names["same_blob"] = str(world.session("same").execute(
            "select lo_from_bytea(0, 'BODY-same')").fetchone()[0])
    conn.execute("insert into core.bot_metrics (bot_id, day, messages_in) values"
                 " (%s, '2025-01-01', %s)", [bot, count])
    conn.execute("select security.set_bot_token(%s, %s)", [bot, f"TOKEN-{name}"])
    conn.execute("""
        select json_import.load(json_import.start_run('folder'), %s, 'conversation',
                                array[%s], array[77]::bigint[], array[%s::bytea])""",
                 [bot, f"conversations/PATH-{name}.json", f'["BODY-{name}'.encode()])
    first = conn.execute("""
        select c.conversation_id, c.profile_id, p.telegram_id, m.message_id
        from core.conversations as c join core.girls_profiles as p using (bot_id, profile_id)
        join core.messages as m using (bot_id, conversation_id)
        where bot_id = %s order by message_id limit 1""", [bot]).fetchone()
    kinds = ("conversation", "profile", "telegram", "message")
    world.names |= {f"{name}_{kind}": str(value) for kind, value in zip(kinds, first, strict=True)}
    world.names |= {name: str(bot), f"{name}_leaf": "p" + str(conn.execute(
        "select " + leaf.format(f"{bot}::bigint")).fetchone()[0])}
    world.names[f"{name}_digit"] = world.names[f"{name}_leaf"][1:]


def add_logins(world: World, conn: psycopg.Connection) -> None:
    """An admin with bot `me`, a super_admin, a worker with `me` and `same`, a login with CONNECT
    and nothing else, and one without."""
    end = secrets.token_hex(4)
    makers = {"admin": "select security.create_admin(%s, %s)",
              "super_admin": "select security.create_admin(%s, %s, true)",
              "worker": f"select security.create_worker(%s, "
                        f"array[{world.names['me']}, {world.names['same']}], %s)",
              "plain": "", "stranger": ""}
    for who, maker in makers.items():
        login, password = f"{who}_{end}", secrets.token_hex(16)
        if maker:
            conn.execute(maker, [login, verifier(conn, password)])
        else:
            role = sql.Identifier(login)
            conn.execute(sql.SQL("create role {} login password {}").format(role, password))
            conn.execute(sql.SQL("comment on role {} is {}").format(
                role, f"{who} of database {world.database.name}"))
        if who == "plain":
            conn.execute(sql.SQL("grant connect on database {} to {}").format(
                sql.Identifier(world.database.name), role))
        world.names[who] = login
        world.logins[who] = Database(world.database.parts | {"user": login, "password": password})
    conn.execute("select security.grant_bot_to_admin(%s::bigint, %s)",
                 [world.names["me"], world.names["admin"]])
    world.names["migrator"] = world.logins["migrator"].parts["user"]


# What must stay --------------------------------------------------------------

def seen(world: World) -> tuple[dict[str, str], str]:
    """A digest of each bot's rows, and of everything that says who may do what."""
    conn = world.session("superuser")
    rows = " union all ".join(
        f"select bot_id, '{t}' || to_jsonb(t)::text from {t} as t" for t in KEPT)
    found = conn.execute(f"select bot_id::text, md5(string_agg(line, ' ' order by line))"
                         f" from ({rows}) as r (bot_id, line) group by bot_id").fetchall()
    return dict(found), conn.execute(CATALOGS).fetchone()[0]


def keep(world: World) -> None:
    """Notes how it is, and copies the rows, from which they can be had back."""
    conn = world.session("superuser")
    conn.execute("create schema attack_copy")
    for table in KEPT:
        conn.execute(f"create table attack_copy.{table.replace('.', '_')} as table {table}")
    world.rows, world.catalogs = seen(world)


def restore(world: World) -> None:
    """Puts the rows back that a case has changed, and the statistics."""
    conn = world.session("superuser")
    with conn.transaction():
        conn.execute("set local session_replication_role = replica")
        for table in reversed(KEPT):
            conn.execute(f"delete from {table}")
        for table in KEPT:
            conn.execute(f"insert into {table} overriding system value"
                         f" table attack_copy.{table.replace('.', '_')}")
    conn.execute("analyze core.girls_profiles, core.conversations, core.messages")


# Running a case --------------------------------------------------------------

def run(world: World, attack: Attack) -> list[str]:
    """Runs one case and puts everything back; returns what is wrong, in sentences."""
    used = {attack.who, *(s.who for s in attack.steps if isinstance(s, At))}
    try:
        wrong = judge(world, attack)
    finally:
        for who in used & world.sessions.keys():
            conn = world.sessions[who]
            with suppress(psycopg.OperationalError):
                conn.rollback()
                conn.execute("discard all")
    rows, catalogs = seen(world)
    may = {world.names[name] for name in ENTITLED.get(attack.who, ())}
    if attack.is_arranged:
        may |= rows.keys() | world.rows.keys()
    for bot in sorted((rows.keys() | world.rows.keys()) - may):
        if rows.get(bot) != world.rows.get(bot):
            wrong.append(f"the rows of bot {bot} have changed")
    if rows != world.rows:
        restore(world)
    if catalogs != world.catalogs:
        wrong.append("roles, rights, policies or code have changed")
        world.catalogs = catalogs
    return wrong


def judge(world: World, attack: Attack) -> list[str]:
    """Does the steps; compares the last outcome, and looks for what nobody was to see."""
    if isinstance(attack.gives, Alike):
        outcomes = [play(world, attack, {"probe": world.fill_in(v)}) for v in attack.gives.probes]
        shown = [o[-1] for o in outcomes]
        expected = (attack.gives.sqlstate, shown[0].rows, shown[0].said)
        wrong = [f"{o} instead of {expected}" for o in shown
                 if (o.sqlstate, o.rows, o.said) != expected]
        outcomes = [o for each in outcomes for o in each]
    else:
        outcomes = play(world, attack, {})
        wrong = compare(world, attack, outcomes)
    return wrong + list(leaks(world, attack, outcomes))


def play(world: World, attack: Attack, names: dict[str, str]) -> list[Outcome]:
    """The outcomes of the steps up to the first error; of several in Alike, probes are masked."""
    outcomes: list[Outcome] = []
    if attack.who.startswith("app_"):
        world.session(attack.who).execute(f"set role {attack.who}")
    for step in attack.steps:
        outcome = perform(world, attack.who, step, names)
        for probe in names.values():
            outcome.said = re.sub(rf"\b{probe}\b", "?", outcome.said)
        outcomes.append(outcome)
        if outcome.sqlstate:
            break
    if names:
        world.session(attack.who).rollback()
    return outcomes


def perform(world: World, who: str, step: Step, names: dict[str, str]) -> Outcome:
    """One step by whoever is to do it."""
    if isinstance(step, Login):
        return log_in(world, who, step)
    if isinstance(step, Program):
        done = program(world.logins[who], step.name, *map(world.fill_in, step.arguments))
        return Outcome([done.stdout], "", f"EXIT {done.returncode}" if done.returncode else "",
                       done.stderr, done.stdout + done.stderr)
    who, text = (step.who, step.sql) if isinstance(step, At) else (who, step)
    text = world.fill_in(text)
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return execute(world.session(who), text)


def log_in(world: World, who: str, step: Login) -> Outcome:
    """A new session of the same login; a refusal has no SQLSTATE there."""
    parts = {name: world.fill_in(value) for name, value in step.parts.items()}
    try:
        with world.logins[who].connect(**parts) as conn:
            conn.prepare_threshold = None
            return execute(conn, world.fill_in(step.sql))
    except psycopg.OperationalError as error:
        return Outcome(sqlstate="FATAL", text=str(error))


def execute(conn: psycopg.Connection, text: str) -> Outcome:
    """One statement, COPY with the client included."""
    notices: list[str] = []
    listener = lambda d: notices.append(f"{d.severity}: {d.message_primary} {d.message_detail}")  # noqa: E731
    conn.add_notice_handler(listener)
    try:
        cursor = conn.cursor()
        if re.match(r"copy .* (to stdout|from stdin)", text, re.I | re.S):
            rows = copied(cursor, text)
        else:
            cursor.execute(text)
            rows = [" | ".join("null" if v is None else str(v) for v in row)
                    for row in (cursor.fetchall() if cursor.description else ())]
        heard = [f"{n.channel}: {n.payload}" for n in conn.notifies(timeout=0)]
        return Outcome(rows, cursor.statusmessage or "", "", "", "\n".join(rows + heard + notices))
    except psycopg.Error as error:
        d = error.diag
        said = "\n".join(filter(None, (d.message_primary or str(error), d.message_detail,
                                       d.message_hint, d.constraint_name)))
        return Outcome([], "", error.sqlstate or "FATAL", said,
                       "\n".join(filter(None, (said, d.context, d.internal_query))))
    finally:
        conn.remove_notice_handler(listener)


def copied(cursor: psycopg.Cursor, text: str) -> list[str]:
    """The lines of a COPY TO STDOUT; a COPY FROM STDIN gets one line."""
    with cursor.copy(text) as copy:
        if "from stdin" in text.lower():
            copy.write("1\n")
            return []
        return [bytes(line).decode().rstrip("\n").replace("\t", " | ") for line in copy]


# Judging -----------------------------------------------------------------------

def compare(world: World, attack: Attack, outcomes: list[Outcome]) -> Iterator[str] | list[str]:
    """What the last outcome has that was not to come back."""
    last, gives = outcomes[-1], attack.gives
    if (last.sqlstate and not isinstance(gives, Refused)) or len(outcomes) < len(attack.steps):
        return [f"step {len(outcomes)} failed: {last.sqlstate} {last.text}"]
    match gives:
        case Refused(sqlstate, says):
            right = (re.fullmatch(sqlstate, last.sqlstate)
                     and re.search(world.fill_in(says), last.text))
        case Rows(lines):
            right = last.rows == [world.fill_in(line) for line in lines]
        case Tag(tag, says):
            right = last.tag == tag and re.search(world.fill_in(says), last.text)
        case Plan(has, lacks):
            right = (all(re.search(world.fill_in(h), last.text) for h in has)
                     and not any(re.search(world.fill_in(x), last.text) for x in lacks))
    return [] if right else [f"{last} instead of {world.fill_in(str(gives))}"]


def leaks(world: World, attack: Attack, outcomes: list[Outcome]) -> Iterator[str]:
    """Texts, names, paths and tokens of bots that whoever acts has nothing to do with."""
    steps = [o for o, s in zip(outcomes, attack.steps * 2, strict=False) if not isinstance(s, At)]
    found = {mark for outcome in steps for mark in MARKS.findall(outcome.text)}
    mine = set() if attack.who in SEES_ALL else ENTITLED.get(attack.who, set())
    for mark in sorted(found):
        kind, whose = mark.split("-")[:2]
        if (attack.who in SEES_ALL and kind != "TOKEN") or whose in mine or attack.shows:
            continue
        yield f"{mark} was shown"


@contextmanager
def opened(database: Database, migrator: Database | None = None) -> Iterator[World]:
    """A world for a block."""
    world = build(database, migrator)
    try:
        yield world
    finally:
        world.close()
        with world.database.connect() as conn:
            for who in ("plain", "stranger"):  # made by hand, so nobody else knows them
                conn.execute(sql.SQL("drop owned by {0}; drop role {0}").format(
                    sql.Identifier(world.names[who])))


# The matrix of roles -------------------------------------------------------------

def check_cell(world: World, cell: Cell) -> list[str]:
    """Tries every command of a cell, undoes it, and returns what comes of it against the design."""
    mine = {"bot": "me", "same": "same", "far": "far"}.get(cell.role, "me")
    other = "far" if mine == "same" else "same"
    bots = {"none": set(), "own": {world.names[mine]}, "me": {world.names["me"]},
            "all": {world.names[n] for n in ("me", "same", "far")}}
    conn, wrong = world.session(cell.role), []
    for (command, statements), gives in zip(cell.statements, cell.gives, strict=True):
        for statement in statements:
            statement = re.sub(r"\{(mine|other)", lambda m: "{" + {"mine": mine, "other": other}[
                m[1]], statement)
            conn.execute("begin")
            if cell.role.startswith("app_"):
                conn.execute(f"set local role {cell.role}")
            outcome = execute(conn, world.fill_in(statement))
            conn.rollback()
            conn.execute("reset role")
            if gives in bots:
                fits = not outcome.sqlstate and set(outcome.rows) in (
                    bots[gives], {f"TOKEN-{mine}"} if "token" in statement else bots[gives])
            elif gives == "done":
                fits = not outcome.sqlstate and outcome.rows != ["False"]
            else:
                fits = outcome.sqlstate == gives.replace("no", "42501")
            if not fits:
                wrong.append(f"{command}: {world.fill_in(statement)} gave {outcome}, not {gives}")
    return wrong
