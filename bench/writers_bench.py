"""Writers at once: `python -m bench.writers_bench`.

Each shape of transaction runs by pgbench for some seconds on each contender in turn, as one bot
with so many connections: a message into one chat, two messages into two of five chats in any
order, and core.record_message for one of five. Bare tables, without policy, foreign key and
trigger, are the base, and take an INSERT where we take record_message. A deadlock, an error or a
wrong count makes the bench fail. SCALE (1.0: 5 s a run; default 0.1), ROUNDS (default 5: the
median of their rates), PG_BIN (a folder of server programs, with pgbench; default: the wheel's).
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from bench import measure, race, rls_bench
from bench.measure import Lab, binaries, laboratory, verdict
from bench.messages_bench import AUDITED, BARE, INSERTERS, KEPT, MISCOUNTED
from bench.race import Contender
from fleet.screen import Screen

CONTENDERS = tuple(c for c in INSERTERS if c.name in (BARE, KEPT, AUDITED))
CHATS, BOT = 5, "bot_1"
INSERT = "insert into core.messages (conversation_id, direction, body) values ({}, 'in', 'x');\n"
RECORD = "select core.record_message({}, 'in', 'x');\n"
PICK = "\\set {0} random(1, {1})\n"


@dataclass(frozen=True)
class Shape:
    """What a client does in a transaction, and how many do."""

    name: str
    clients: int
    chats: int
    statements: int = 1
    is_function: bool = False
    limit: float | None = None  # of bare, audited or not

    def script(self, chats: list[tuple[int, int]], on_bare: bool) -> str:
        """For pgbench; a chat is (conversation_id, chat_id)."""
        call, place = (RECORD, 1) if self.is_function and not on_bare else (INSERT, 0)
        listed = ",".join(str(chat[place]) for chat in chats[:self.chats])
        names = [f"chat{number}" for number in range(self.statements)]
        body = "".join(call.format(f"('{{{listed}}}'::bigint[])[:{name}]") for name in names)
        return ("".join(PICK.format(name, self.chats) for name in names)
                + (f"begin;\n{body}commit;\n" if self.statements > 1 else body))


SHAPES = (
    *(Shape(f"one chat, writers: {clients}", clients, 1, limit=0.6 if clients == 16 else None)
      for clients in (1, 8, 16)),
    Shape("two chats a transaction, writers: 8", 8, CHATS, 2),
    Shape("record_message, writers: 8", 8, CHATS, is_function=True, limit=0.5),
)


def wrongs(lab: Lab, contender: Contender) -> Iterator[str]:
    """Deadlocks that a contender's writers met, and, with triggers, its chats that are counted
    wrong."""
    with lab.connect(contender.database) as conn:
        met = conn.execute("select pg_stat_force_next_flush(), deadlocks from pg_stat_database"
                           " where datname = current_database()").fetchone()[1]
        wrong = conn.execute(MISCOUNTED).fetchone()[0]
    if met:
        yield f"{contender.name}: {met} deadlocks"
    if wrong and contender.name != BARE:
        yield f"{contender.name}: {wrong} chats are counted wrong"


def pgbench(lab: Lab, dbname: str, shape: Shape, script: str, seconds: float) -> float:
    """Transactions a second; raises if one of them failed."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            [binaries() / "pgbench", "-n", "-M", "prepared", "-c", str(shape.clients), "-j", "1",
             "-T", str(max(1, round(seconds))), "-f", file.name, dbname],
            env=lab.environment(dbname, BOT), text=True, capture_output=True, check=True)
    return float(re.search(r"tps = ([\d.]+)", done.stdout)[1])


def prepare(lab: Lab) -> list[tuple[int, int]]:
    """Makes the contenders' databases; returns the chats that are written to."""
    lab.make("ours")
    rls_bench.fill(lab, "ours", 2, 2_000, "2025-01-01 00:00+00")
    race.make(lab, CONTENDERS, "ours")
    with lab.connect("ours") as conn:
        return conn.execute("select conversation_id, chat_id from core.conversations"
                            " where bot_id = 1 order by 1 limit %s", [CHATS]).fetchall()


def run(lab: Lab, seconds: float, rounds: int, screen: Screen) -> int:
    """Races the contenders, prints the tables; 1 after a deadlock or with a wrong count."""
    chats = prepare(lab)
    rates = defaultdict(list)
    for number in range(rounds):
        for shape in SHAPES:
            for contender in CONTENDERS:
                script = shape.script(chats, contender.name == BARE)
                rates[shape, contender.name].append(
                    pgbench(lab, contender.database, shape, script, seconds))
        screen.say(f"round {number + 1} of {rounds}")
    of_bare = {key: statistics.median(own / bare for own, bare in zip(
        rates[key], rates[key[0], BARE], strict=True)) for key in rates}
    screen.rows(["transaction", "contender", "a_second", "of_bare"], [
        (shape.name, contender, f"{statistics.median(found):,.0f}",
         f"{of_bare[shape, contender]:.2f}") for (shape, contender), found in rates.items()])
    screen.rows(["limit", "wanted", "measured", ""], [
        (f"{shape.name}, {contender.name}, of bare", f"at least {shape.limit}",
         f"{of_bare[shape, contender.name]:.2f}",
         verdict(of_bare[shape, contender.name] >= shape.limit))
        for shape in SHAPES if shape.limit for contender in CONTENDERS[1:]])
    faults = [fault for contender in CONTENDERS for fault in wrongs(lab, contender)]
    return rls_bench.fail(faults, screen) if faults else 0


def main() -> int:
    """Makes the laboratory, and measures."""
    seconds = 5 * float(os.environ.get("SCALE", "0.1"))
    rounds, screen = int(os.environ.get("ROUNDS", "5")), Screen()
    with laboratory() as lab:
        screen.say(f"{rounds} rounds; {measure.conditions(lab, ())}")
        return run(lab, seconds, rounds, screen)


if __name__ == "__main__":
    sys.exit(main())
