"""What a bot's program asks, the roll-up and the summary: `python -m
bench.queries_bench`.

The environment sets its size: SCALE (1.0: 2,000,000 messages; default 0.1), ROUNDS (default 15),
PG_BIN (a folder of server programs; default: the wheel's). 200 bots, whose shares of the rows fall
like 1/n; their messages are of the year that ends last midnight (UTC).

Reads: as bot logins (the largest, one in the middle, a small one), beside bots that are named in
every WHERE, in tables without policies and partitions that have the same indexes. The rival is the
fastest of three: the bot as a parameter with the server's default plans or with generic ones, or
written into a prepared text. Of the three bots the one that compares worst counts.
Roll-up: of two days beside all, once where nothing has changed and once where the rows are missing.
Whoever returns or leaves other rows makes the bench fail.
"""

import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from bench import measure, race, rls_bench
from bench.measure import Lab, clock, laboratory, verdict
from bench.race import PREPARED, Arena, Contender, Operation, Results
from fleet.screen import Screen

HERE = Path(__file__).resolve().parent
BOTS, FEW = 200, 20
PLACES = (1, 14, 100)  # the bots that are measured, by size; a bot's place is its bot_id
SERIES = 4  # of each read in a round
VIEWS = 20  # reads of the summary in a series
SETTINGS = rls_bench.SETTINGS

# Reads --------------------------------------------------------------------------


def _asked(name: str, statement: str, clause: str = "") -> Operation:
    """An operation whose WHERE is what is given, with the bot in it for the rivals."""
    more = f" and {clause}" if clause else ""
    last = 1 + clause.count("$")
    return Operation(name, statement.format(f"where {clause}" if clause else ""),
                     statement.format(f"where bot_id = ${last}{more}"))


OPERATIONS = (
    _asked("last 50 messages", "select message_id, direction, body, sent_at from core.messages {}"
           " order by message_id desc limit 50", "conversation_id = $1"),
    _asked("list of chats", "select conversation_id, chat_id, last_message_at, message_count"
           " from core.chats {} order by last_message_at desc nulls last limit 50"),
    _asked("contact by telegram_id", "select profile_id, chat_id, name, summary, profile"
           " from core.girls_profiles {}", "telegram_id = $1"),
    _asked("contact of a chat", "select profile_id, telegram_id, name from core.girls_profiles {}",
           "chat_id = $1"),
    _asked("conversations of a contact", "select conversation_id, chat_id, started_at"
           " from core.conversations {}", "profile_id = $1"),
    _asked("messages of 30 days", "select count(*) from core.messages {}", "sent_at >= $1"),
    _asked("bot_metrics of 30 days", "select day, messages_in, messages_out from core.bot_metrics"
           " {} order by day", "day >= $1"),
)
_FLAT = (HERE / "rls_flat.sql").read_text("utf-8")
_GENERIC = "set plan_cache_mode = force_generic_plan"
OURS, DEFAULT = "our policy", "our policy, default plans"
RIVALS = ("where bot_id = $n", "where bot_id = $n, default plans", "where bot_id = 1")
READERS = (
    Contender(RIVALS[0], "flat", _FLAT, True, _GENERIC),
    Contender(RIVALS[1], "flat", explicit=True),
    Contender(RIVALS[2], "flat", "", True, _GENERIC, True),
    Contender(OURS, "ours", session=_GENERIC),
    Contender(DEFAULT, "ours"),
)

# Roll-up and summary ------------------------------------------------------------

DAYS, ALL = "two days", "all days"
SAME, MISSING = "unchanged", "rows missing"
_DIGEST = ("select count(*), sum(hashtextextended(concat_ws('|', bot_id, day, messages_in,"
           " messages_out, new_conversations, active_contacts, reply_p50, reply_p95), 0))"
           " from core.bot_metrics")
_SUMMARY = "select * from performance.bot_activity_summary"

# As the rows would have come in, day by day.
_BY_DAY = """
    set session_replication_role = replica;
    create temp table kept as table core.bot_metrics;
    delete from core.bot_metrics;
    insert into core.bot_metrics select * from kept order by day, bot_id;
    reset session_replication_role"""

READ, STRETCH, ROLL_UP, SUMMARY = 0.85, 0.95, 0.05, 10.0
Cost = tuple[float, float]  # of CPU in the backend, and of wall
# The end of the year of messages, read once: a run may go on past midnight.
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass
class Costs:
    """Per name what each round took, in seconds; and what is wrong with any of it."""

    spent: dict[str, list[Cost]] = field(default_factory=lambda: defaultdict(list))
    faults: list[str] = field(default_factory=list)

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Notes a fault unless the two are the same."""
        if found != wanted:
            self.faults.append(f"{what}: {found}, not {wanted}")

    def median(self, name: str, kind: int) -> float:
        """Milliseconds."""
        return statistics.median(cost[kind] for cost in self.spent[name]) * 1000

    def ratio(self, name: str, base: str, kind: int) -> float:
        return measure.ratio(*([cost[kind] for cost in self.spent[n]] for n in (name, base)))


def prepare(lab: Lab, messages: int) -> None:
    """Makes the filled databases, rolled up, and what each contender makes of a clone."""
    lab.make("migrated")
    lab.make("ours")  # first, so that its bots' ids are their places
    until = MIDNIGHT.isoformat()
    for dbname, bots, count in (("ours", BOTS, messages), ("tenth", BOTS, messages // 10),
                                ("few", FEW, messages // 10)):
        if dbname != "ours":
            lab.clone("migrated", dbname)
        rls_bench.fill(lab, dbname, bots, count, until)
        with lab.connect(dbname) as conn:
            conn.execute("select performance.roll_up_metrics('-infinity')")
            conn.execute(_BY_DAY)
            conn.execute("vacuum (full) core.bot_metrics")
            conn.execute("vacuum (freeze, analyze)")
    race.make(lab, READERS, "ours")


def arguments(lab: Lab) -> race.Arguments:
    """What the reads are called with, for each bot."""
    reads = {}
    month = MIDNIGHT - timedelta(days=30)
    for bot, chats in rls_bench.chats(lab, PLACES).items():
        contacts = [(1_000_000 + chat,) for chat in chats]
        for operation, values in zip(OPERATIONS, (
                [(chat,) for chat in chats], [()], contacts, contacts,
                [(chat,) for chat in chats], [(month,)], [(month.date(),)]), strict=True):
            reads[operation.name, bot] = values
    return reads


def roll_up(conn: psycopg.Connection, which: str, state: str, costs: Costs) -> None:
    """Rolls up two days or all of them and takes it back; before that the rows are deleted, or
    not. The rows must be those that were there."""
    since = MIDNIGHT.date() - timedelta(days=2)
    with conn.transaction(force_rollback=True):
        digest, wanted = conn.execute(_DIGEST).fetchone(), 0
        if state == MISSING:
            wanted = conn.execute("delete from core.bot_metrics where day >= %s",
                                  [since if which == DAYS else "-infinity"]).rowcount
        conn.execute("update performance.last_roll_up set started_at = %s",
                     [MIDNIGHT - timedelta(hours=12)])
        with clock(conn) as cost:
            changed = conn.execute("select performance.roll_up_metrics(%s)", [
                None if which == DAYS else "-infinity"]).fetchone()[0]
        costs.spent[f"{which}, {state}"].append(tuple(cost))
        costs.expect(f"roll-up of {which}, {state}: rows changed", changed, wanted)
        costs.expect(f"roll-up of {which}, {state}: rows left",
                     conn.execute(_DIGEST).fetchone(), digest)


def race_roll_ups(lab: Lab, rounds: int, costs: Costs) -> None:
    """Rolls up, in another order each round."""
    works = [(which, state) for which in (DAYS, ALL) for state in (SAME, MISSING)]
    with lab.connect("ours") as conn:
        for number in range(rounds):
            turn = number % len(works)
            for which, state in (*works[turn:], *works[:turn]):
                conn.execute("vacuum core.bot_metrics, performance.bot_total")
                roll_up(conn, which, state, costs)


def race_views(lab: Lab, rounds: int, costs: Costs) -> None:
    """Reads the summary as app_super_admin in each database, in another order each round; it must
    have a row for each bot and count all messages."""
    sizes = (("ours", BOTS), ("tenth", BOTS), ("few", FEW))
    with ExitStack() as stack:
        conns = {dbname: stack.enter_context(lab.connect(dbname)) for dbname, _ in sizes}
        for dbname, bots in sizes:
            conn = conns[dbname]
            messages = conn.execute("select count(*) from core.messages").fetchone()[0]
            conn.execute("set role app_super_admin")
            costs.expect(f"summary of {dbname}: bots and messages", conn.execute(
                f"select count(*), sum(messages_in + messages_out)::bigint from ({_SUMMARY}) as s"
                ).fetchone(), (bots, messages))
        for number in range(rounds):
            turn = number % len(sizes)
            for dbname, _ in (*sizes[turn:], *sizes[:turn]):
                with clock(conns[dbname]) as cost:
                    for _ in range(VIEWS):
                        race.checked(conns[dbname].pgconn.exec_(_SUMMARY.encode()))
                costs.spent[dbname].append((cost[0] / VIEWS, cost[1] / VIEWS))


# What comes of it ---------------------------------------------------------------


def best(results: Results, operation: str, bot: int, kind: int) -> str:
    """The rival that is the fastest for one bot."""
    return min(RIVALS, key=lambda name: statistics.median(
        cost[kind] for cost in results.costs[(operation, PREPARED, bot), name]))


def worst(results: Results, operation: str, contender: str, kind: int) -> float:
    """The speed of a contender beside the best rival, for the bot that compares worst."""
    return min(speeds(results, operation, contender, kind))


def speeds(results: Results, operation: str, contender: str, kind: int) -> list[float]:
    """The speed of a contender beside the best rival, for each bot."""
    return [results.speed(operation, PREPARED, contender, kind, [bot],
                          best(results, operation, bot, kind)) for bot in PLACES]


def reads_table(results: Results) -> list[tuple]:
    """A row for each read and contender."""
    return [
        (operation.name, contender.name,
         *(f"{results.median(operation.name, PREPARED, contender.name, kind):,.0f}"
           for kind in (0, 1)),
         *(" ".join(f"{speed:.2f}" for speed in speeds(
             results, operation.name, contender.name, kind)) for kind in (0, 1)))
        for operation in OPERATIONS for contender in READERS]


def limits(reads: Results, costs: Costs, messages: int) -> list[tuple]:
    """What is asked: (what, limit, measured by CPU and wall, whether both reach it)."""
    found = []

    def add(what: str, limit: str, measured: Sequence[float], is_reached: bool) -> None:
        found.append((what, limit, *(f"{value:.2f}" for value in measured), verdict(is_reached)))

    for operation in OPERATIONS:
        for name in (OURS, DEFAULT):
            slowest = [worst(reads, operation.name, name, kind) for kind in (0, 1)]
            for limit, more in ((READ, ""), (STRETCH, ", stretch")):
                add(f"{operation.name}, {name}{more}", f"at least {limit}", slowest,
                    round(min(slowest), 2) >= limit)
    for state in (SAME, MISSING):
        parts = [costs.ratio(f"{DAYS}, {state}", f"{ALL}, {state}", kind) for kind in (0, 1)]
        add(f"roll-up of {DAYS}, {state}, of all", f"at most {ROLL_UP}", parts,
            round(max(parts), 3) <= ROLL_UP)
    for dbname, count in (("tenth", messages // 10), ("ours", messages)):
        took = [costs.median(dbname, kind) for kind in (0, 1)]
        add(f"summary, {count:,} messages, ms", f"at most {SUMMARY:.0f}", took,
            max(took) <= SUMMARY)
    return found


def show(reads: Results, costs: Costs, messages: int, screen: Screen) -> None:
    """Prints the tables."""
    screen.rows(["read", "contender", "cpu_us", "wall_us", "cpu_of_best", "wall_of_best"],
                reads_table(reads))
    screen.text("us: microseconds, the mean of the bots; of_best: how fast beside the best rival, "
                f"that being 1 (more is better), for bots {', '.join(map(str, PLACES))}; cpu: of "
                "the backend alone\n")
    screen.rows(["roll-up", "cpu_ms", "wall_ms"], [
        (name, *(f"{costs.median(name, kind):,.1f}" for kind in (0, 1)))
        for name in (f"{which}, {state}" for state in (SAME, MISSING) for which in (DAYS, ALL))])
    screen.text("")
    screen.rows(["summary", "bots", "messages", "cpu_ms", "wall_ms"], [
        ("all bots", bots, f"{count:,}", *(f"{costs.median(dbname, kind):.2f}" for kind in (0, 1)))
        for dbname, bots, count in (("few", FEW, messages // 10), ("tenth", BOTS, messages // 10),
                                    ("ours", BOTS, messages))])
    screen.text("")
    screen.rows(["limit", "wanted", "cpu", "wall", ""], limits(reads, costs, messages))


def run(lab: Lab, messages: int, rounds: int, screen: Screen) -> int:
    """Races the contenders in a prepared laboratory, prints tables; 1 if anything is wrong."""
    costs, asked = Costs(), arguments(lab)
    with Arena(lab, READERS, OPERATIONS, asked, [PREPARED]) as arena:
        if differences := arena.differing():
            return rls_bench.fail(differences, screen)
        reads = arena.race(rounds * SERIES, lambda text: screen.say(f"reads: {text}"))
    race_views(lab, rounds, costs)
    screen.say(f"summary: {rounds} rounds")
    race_roll_ups(lab, rounds, costs)
    screen.say(f"roll-up: {rounds} rounds")
    show(reads, costs, messages, screen)
    screen.say(f"load at the end {os.getloadavg()[0]:.1f}")
    return rls_bench.fail(costs.faults, screen) if costs.faults else 0


def main() -> int:
    """Makes the laboratory and the rows, and races."""
    scale, rounds = float(os.environ.get("SCALE", "0.1")), int(os.environ.get("ROUNDS", "15"))
    messages = round(2_000_000 * scale)
    screen = Screen()
    with laboratory(SETTINGS) as lab:
        screen.say(f"{messages:,} messages of {BOTS} bots, measured as those of places "
                   f"{', '.join(map(str, PLACES))}; {rounds} rounds; "
                   f"{measure.conditions(lab, SETTINGS)}")
        prepare(lab, messages)
        return run(lab, messages, rounds, screen)


if __name__ == "__main__":
    sys.exit(main())
