"""What one message costs: `python -m bench.messages_bench`.

A message is inserted, or its text changed, in a transaction of its own, by a bot's login with
prepared statements, into forty chats in turn. Three things are told: CPU of the backend, wall time,
and, where valgrind is installed, instructions (the same on every run but for one or two in a
hundred, however busy the machine; of one backend alone, with the statement's way through EXECUTE).

The base is bare, which has no policy, foreign key or trigger: once with the columns' rules as they
were before this was measured (pinned_messages.sql), once with today's. An UPDATE is compared with
what it cost unaudited when its trigger compared whole rows (pinned_counting.sql). Whoever leaves
other messages or wrong counts makes the bench fail. The environment sets its size: SCALE (1.0:
200,000 messages; default 0.1), ROUNDS (default 60), PG_BIN (a folder of server programs; default:
the wheel's).
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import measure, race, rls_bench
from bench.measure import Lab, laboratory, verdict
from bench.race import PREPARED, Arena, Contender, Operation, Results
from fleet.screen import Screen
from fleet.server import _server_user

HERE = Path(__file__).resolve().parent
BOTS, PLACES = 20, (1, 7)  # the bots that are measured, by size; a bot's place is its bot_id
FEW, MANY = 100, 400  # statements whose instructions are counted: the difference is what they cost
SETTINGS = rls_bench.SETTINGS

INSERT = Operation("insert of a message", "insert into core.messages (conversation_id, direction,"
                   " body) values ($1, 'in', $2)", "", True)
RECORD = Operation("core.record_message", "select core.record_message($1, 'in', $2)", "", True)
UPDATE = Operation("update of a text", "update core.messages set body = reverse(body)"
                   " where conversation_id = $1 and message_id = $2", "", True)

_BARE = rls_bench.OPEN + ";" + (HERE / "bare.sql").read_text("utf-8")
UNAUDITED = "".join(
    f"alter table core.{table} disable trigger audit_insert, disable trigger audit_update,"
    " disable trigger audit_delete;" for table in ("messages", "conversations"))
BARE, TODAY, KEPT, AUDITED = "bare", "bare, with domains", "unaudited", "audited"
COUNTING = "unaudited, comparing rows"
INSERTERS = (
    Contender(BARE, "bare", _BARE + (HERE / "pinned_messages.sql").read_text("utf-8")),
    Contender(TODAY, "bare_today", _BARE),
    Contender(KEPT, "unaudited", UNAUDITED),
    Contender(AUDITED, "audited", "select"),
)
UPDATERS = (
    Contender(COUNTING, "comparing",
              UNAUDITED + (HERE / "pinned_counting.sql").read_text("utf-8")),
    Contender(KEPT, "unaudited_updates", UNAUDITED),
    Contender(AUDITED, "audited_updates", "select"),
)
RACES = ((INSERT, INSERTERS), (RECORD, INSERTERS[2:]), (UPDATE, UPDATERS))
# (operation, contender, of which base, wanted, stretch): at most so many times its CPU
LIMITS = ((INSERT, KEPT, BARE, 1.5, 1.3), (INSERT, KEPT, TODAY, 2.0, None),
          (INSERT, AUDITED, BARE, 2.8, 2.4), (UPDATE, AUDITED, COUNTING, 1.4, 1.2))
_LEFT = ("select bot_id, conversation_id, direction, body, count(*) from core.messages"
         " where bot_id = any (%s) group by 1, 2, 3, 4 order by 1, 2, 3, 4")
MISCOUNTED = (
    "select count(*) from core.chats as c join (select bot_id, conversation_id, count(*),"
    " max(sent_at) as last_at from core.messages group by 1, 2) as m using (bot_id,"
    " conversation_id) where (c.message_count, c.last_message_at) <> (m.count, m.last_at)")


def prepare(lab: Lab, messages: int) -> race.Arguments:
    """Makes what each contender makes of a clone; returns what is called with what, for each
    bot."""
    lab.make("ours")
    rls_bench.fill(lab, "ours", BOTS, messages, "2025-01-01 00:00+00")
    with lab.connect("ours") as conn:
        conn.execute("vacuum (freeze, analyze)")
        latest = conn.execute(
            "select bot_id, conversation_id, chat_id, max(message_id) from core.messages"
            " join core.conversations using (bot_id, conversation_id) where bot_id = any (%s)"
            " group by 1, 2, 3 order by 1, 2", [list(PLACES)]).fetchall()
    race.make(lab, (*INSERTERS, *UPDATERS), "ours")
    called = {}
    for bot in PLACES:
        rows = [row[1:] for row in latest if row[0] == bot][:40]
        called[INSERT.name, bot] = [(conversation, "Привет! Как дела?")
                                    for conversation, _, _ in rows]
        called[RECORD.name, bot] = [(chat, "Привет! Как дела?") for _, chat, _ in rows]
        called[UPDATE.name, bot] = [(conversation, message) for conversation, _, message in rows]
    return called


def raced(lab: Lab, operation: Operation, contenders: Sequence[Contender], called: race.Arguments,
          rounds: int, say: Callable[[str], None]) -> tuple[Results, list[str]]:
    """Races an operation; and what is wrong with what it left."""
    mine = {key: values for key, values in called.items() if key[0] == operation.name}
    with ExitStack() as stack:
        owners = {c.name: stack.enter_context(lab.connect(c.database)) for c in contenders}

        def vacuum() -> None:
            for owner in owners.values():
                owner.execute("vacuum core.messages, core.conversations")

        arena = stack.enter_context(Arena(lab, contenders, [operation], mine, [PREPARED]))
        results = arena.race(rounds, say, vacuum)
        left = {name: owner.execute(_LEFT, [list(PLACES)]).fetchall()
                for name, owner in owners.items()}
        base = contenders[0].name
        faults = [f"{operation.name}: {name} left other messages than {base}"
                  for name, rows in left.items() if rows != left[base] or not rows]
        for name in owners.keys() - {BARE, TODAY}:
            if wrong := owners[name].execute(MISCOUNTED).fetchone()[0]:
                faults.append(f"{operation.name}: {name} counted {wrong} chats wrong")
    return results, faults


# Instructions -------------------------------------------------------------------


def valgrind() -> str | None:
    """The program that counts, if it is installed."""
    return shutil.which("valgrind")


def instructions(lab: Lab, dbname: str, operation: Operation, arguments: tuple) -> float:
    """Instructions of a statement, run by a bot in a backend that has no server around it; the
    server must be down."""
    text = operation.policy
    for number, value in reversed(list(enumerate(arguments, 1))):
        text = text.replace(f"${number}", f"'{value}'")
    counts = []
    words, how = _server_user()
    for times in (FEW, MANY):
        done = subprocess.run(
            [*words, valgrind(), "--tool=callgrind", "--callgrind-out-file=/dev/null",
             lab.server.binaries.resolve() / "postgres", "--single", "-F",
             "-D", lab.server.home.resolve() / lab.server.major(), dbname],
            **how, text=True, capture_output=True, check=True, cwd=lab.server.home,
            input="\n".join([f"set session authorization bot_{PLACES[0]};",
                             "set constraint_exclusion = off;",  # a login's own settings
                             f"prepare i as {text};", *["execute i;"] * times, ""]))
        if fault := re.search(r"^.*(?:ERROR|FATAL): .*$", done.stdout + done.stderr, re.M):
            raise RuntimeError(fault[0])
        counts.append(int(re.search(r"Collected : (\d+)", done.stderr)[1]))
    return (counts[1] - counts[0]) / (MANY - FEW)


def counted(lab: Lab, called: race.Arguments) -> Iterator[tuple[str, str, float]]:
    """(operation, contender, instructions), for what is raced."""
    lab.server.stop()
    for operation, contenders in RACES:
        for contender in contenders:
            yield operation.name, contender.name, instructions(
                lab, contender.database, operation, called[operation.name, PLACES[0]][0])


# What comes of it ---------------------------------------------------------------


def run(lab: Lab, called: race.Arguments, rounds: int, screen: Screen) -> int:
    """Races in a prepared laboratory, prints tables; 1 if anything is wrong."""
    results, faults = {}, []
    for operation, contenders in RACES:
        word = operation.name.split()[0]
        results[operation.name], wrong = raced(
            lab, operation, contenders, called, rounds,
            lambda text, word=word: screen.say(f"{word}: {text}"))
        faults += wrong
    if valgrind():
        used = {(operation, name): count for operation, name, count in counted(lab, called)}
    else:
        used = {}
        screen.warn("valgrind is not installed: no instructions are counted")

    def times(operation: str, name: str, base: str) -> list[str]:
        found = results[operation]
        factors = [1 / found.speed(operation, PREPARED, name, kind, base=base) for kind in (0, 1)]
        if used:
            factors.append(used[operation, name] / used[operation, base])
        return [f"{factor:.2f}" for factor in factors]

    screen.rows(["work", "contender", "cpu_us", "wall_us", "instructions", "cpu_of_base",
                 "wall_of_base", "instructions_of_base"], [
        (operation.name, contender.name,
         *(f"{found.median(operation.name, PREPARED, contender.name, kind):,.0f}"
           for kind in (0, 1)),
         f"{used[operation.name, contender.name]:,.0f}" if used else "",
         *times(operation.name, contender.name, found.base), *[""] * (not used))
        for operation, contenders in RACES for found in [results[operation.name]]
        for contender in contenders])
    screen.text("us: microseconds, the mean of the bots; of_base: how many times as much as the "
                "first contender (less is better); cpu: of the backend alone\n")
    screen.rows(["limit", "wanted", "cpu", "wall", "instructions", ""], [
        (f"{operation.name}, {name}, of {base}{more}", f"at most {limit}", *factors,
         *[""] * (not used), verdict(float(factors[0]) <= limit))
        for operation, name, base, *wanted in LIMITS
        for factors in [times(operation.name, name, base)]
        for limit, more in zip(wanted, ("", ", stretch"), strict=True) if limit])
    screen.say(f"load at the end {os.getloadavg()[0]:.1f}")
    return rls_bench.fail(faults, screen) if faults else 0


def main() -> int:
    """Makes the laboratory and the rows, and races."""
    messages = round(200_000 * float(os.environ.get("SCALE", "0.1")))
    rounds, screen = int(os.environ.get("ROUNDS", "60")), Screen()
    with laboratory(SETTINGS) as lab:
        screen.say(f"{messages:,} messages of {BOTS} bots, written to those of places "
                   f"{', '.join(map(str, PLACES))}; {rounds} rounds; "
                   f"{measure.conditions(lab, SETTINGS)}")
        return run(lab, prepare(lab, messages), rounds, screen)


if __name__ == "__main__":
    sys.exit(main())
