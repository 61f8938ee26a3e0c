"""Random histories of two sessions and a reader: core.chats is exact after each step, for each
kind of reader, whatever is rolled back, prepared, folded or killed in between."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress

import psycopg
from conftest import Database
from core_rows import add_conversation, wrong_counters
from project import answers, until

pytest_plugins = ("core_rows", "project")
TORTURE = bool(os.environ.get("TORTURE"))
SEED = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
HISTORIES = 10_000 if TORTURE else 60
KILLED = 200 if TORTURE else 30  # every so manieth history loses its server
# {chat}, {other}, {day}, {number} and {bot} are chosen anew for each step
STEPS = {
    "insert": "insert into core.messages (bot_id, conversation_id, direction, body, sent_at)"
              " values ({bot}, {chat}, 'in', '', timestamptz '2025-01-{day} 00:00+00')",
    "insert many": "insert into core.messages (bot_id, conversation_id, direction, body, sent_at)"
                   " select {bot}, (array[{chat}, {other}])[1 + n % 2], 'out', '', timestamptz"
                   " '2025-01-{day} 00:00+00' + n * interval '1 hour'"
                   " from generate_series(1, {number}) as n",
    "delete": "delete from core.messages where ctid = any (array(select ctid from core.messages"
              " where bot_id = {bot} and conversation_id = {chat} limit {number}))"
              " and bot_id = {bot} and conversation_id = {chat}",
    "delete all": "delete from core.messages where bot_id = {bot} and conversation_id = {chat}",
    "edit": "update core.messages set body = body || '.' where bot_id = {bot}"
            " and conversation_id = {chat}",
    "move in time": "update core.messages set sent_at = timestamptz '2025-01-{day} 00:00+00'"
                    " where bot_id = {bot} and conversation_id = {chat}",
    "move to another": "update core.messages set conversation_id = {other} where bot_id = {bot}"
                       " and conversation_id = {chat} and sent_at < '2025-01-{day}'",
    "end a chat": "with gone as (delete from core.messages where bot_id = {bot}"
                  " and conversation_id = {chat}) select 1;"
                  "delete from core.conversations where bot_id = {bot}"
                  " and conversation_id = {chat}",
    "begin a chat": "select core.record_message({number}, 'in', '', p_bot_id => {bot})",
    "fold": "select core_upkeep.fold_counts({bot}, {number})",
    "fold all": "select core_upkeep.fold_counts({bot})",
    "recount": "select core_upkeep.recount({bot})",
}
OFTEN = ["insert"] * 4 + ["insert many"] * 2 + ["fold"] * 3
ENDS = ["commit"] * 4 + ["rollback"] * 2 + ["prepare"] * 2 + ["lose"]


class Session:
    """A connection that is in a transaction or not; one that is lost is made anew."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.renew()

    def renew(self) -> None:
        self.conn = self.database.connect()
        self.conn.execute("set lock_timeout = '20ms'")  # the other one is this very program

    def run(self, statement: str) -> None:
        """Within a transaction, whose statement may be refused or have to wait: it goes on."""
        if self.conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self.conn.execute("begin")
        with suppress(psycopg.errors.LockNotAvailable, psycopg.errors.ForeignKeyViolation,
                      psycopg.errors.DeadlockDetected), self.conn.transaction():
            self.conn.execute(statement)

    def end(self, how: str, prepared: list[str], name: str) -> None:
        if how == "lose":
            self.conn.close()
            self.renew()
        elif self.conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            if how == "prepare":
                self.conn.execute(f"prepare transaction '{name}'")
                prepared.append(name)
            else:
                self.conn.execute(how)


def readers(database: Database, bots: list[int]) -> Iterator[psycopg.Connection]:
    """The owner, a super-admin, and each bot."""
    for role in ("postgres", "app_super_admin", *(f"bot_{bot}" for bot in bots)):
        conn = database.connect()
        conn.execute(f"set role {role}")
        yield conn


def kill(database: Database, victim: psycopg.Connection, witness: psycopg.Connection) -> None:
    """Ends a session's backend as a crash does: the server ends all others and recovers."""
    os.kill(victim.info.backend_pid, signal.SIGKILL)

    def noticed() -> bool:
        try:
            witness.execute("select")
        except psycopg.OperationalError:
            return True
        return False
    until(noticed, "the server knows")
    until(lambda: answers(database), "the server has recovered")


def test_counts_are_exact_after_each_step_of_random_histories(own_database: Database):
    print(f"SEED={SEED}")
    with own_database.connect() as conn:
        bots = [conn.execute("select security.create_bot(%s)", [f"history {n}"]).fetchone()[0]
                for n in range(2)]
    sessions = [Session(own_database), Session(own_database)]
    asked = list(readers(own_database, bots))
    done = set()
    for number in range(HISTORIES):
        chance, prepared = random.Random(f"{SEED} {number}"), []  # noqa: S311
        bot = chance.choice(bots)
        chats = [row[0] for row in asked[0].execute(
            "select conversation_id from core.conversations where bot_id = %s", [bot])]
        while len(chats) < 3:
            chats.append(add_conversation(asked[0], bot, chance.randrange(10**9)))
        for step in range(chance.randrange(3, 10)):
            session = chance.choice(sessions)
            if chance.random() < 0.7:
                name = chance.choice([*STEPS, *OFTEN])
                session.run(STEPS[name].format(
                    bot=bot, chat=chance.choice(chats), other=chance.choice(chats),
                    day=f"{chance.randrange(1, 29):02}", number=chance.randrange(1, 20)))
            elif prepared and chance.random() < 0.5:
                name = chance.choice(["commit", "rollback"]) + " prepared"
                asked[0].execute(f"{name} '{prepared.pop(chance.randrange(len(prepared)))}'")
            elif number % KILLED == KILLED - 1 and chance.random() < 0.5:
                name = "kill"
                kill(own_database, session.conn, asked[0])
                for other in sessions:
                    other.conn.close()
                    other.renew()
                asked = list(readers(own_database, bots))
            else:
                name = chance.choice(ENDS)
                session.end(name, prepared, f"history {number} {step}")
            done.add(name)
            reader = chance.choice([*asked, *(s.conn for s in sessions)])
            assert wrong_counters(reader) == [], (SEED, number, step, name, reader.info.user)
        for name in prepared:  # in any order
            asked[0].execute(f"{chance.choice(['commit', 'rollback'])} prepared '{name}'")
        for session in sessions:
            session.end(chance.choice(["commit", "rollback"]), [], "")
        assert wrong_counters(asked[0]) == [], (SEED, number)
    for bot in bots:
        asked[0].execute("select core_upkeep.fold_counts(%s, 1000000)", [bot])
    assert wrong_counters(asked[0]) == []
    assert asked[0].execute("select count(*) from core.uncounted").fetchone() == (0,)
    assert done >= {*STEPS, "commit", "rollback", "prepare", "lose", "kill", "commit prepared",
                    "rollback prepared"} or not TORTURE
