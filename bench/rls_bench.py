"""Row level security beside a bot_id in every WHERE: `python -m bench.rls_bench`.

The environment sets its size: SCALE (1.0: 2,000,000 messages; default 0.1), ROUNDS (default 15),
PG_BIN (a folder of server programs; default: the wheel's). 200 bots, whose shares of the rows fall
like 1/n. Every contender is a clone of one filled database, whose policies or tables differ, and
every operation runs as the login of a bot: of the largest, of one in the middle, of a small one.
A round runs each operation as a short series on each contender in turn; ratios are medians of the
series' ratios. A contender that returns or leaves other rows than the base makes the bench fail.
"""

import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import pq, sql

from bench import measure
from bench.measure import Lab, laboratory
from fleet.screen import Screen

HERE = Path(__file__).resolve().parent
BOTS = 200
PLACES = (1, 14, 100)  # the bots that are measured, by size; a bot's place is its bot_id
SERIES = 0.02  # seconds that the base takes for a series
# What the rows of three bots need is in memory, and a commit costs what the server makes of it.
SETTINGS = (("shared_buffers", "1GB"), ("synchronous_commit", "off"))
PREPARED, SIMPLE = "prepared", "simple"


@dataclass(frozen=True)
class Operation:
    """A statement without bot_id, and the same with it as the last parameter."""

    name: str
    policy: str
    explicit: str
    writes: bool = False


# What is asked of our policy, by protocol: of the base's speed.
READ = (("", PREPARED, 0.95), ("", SIMPLE, 0.90))
WRITE = (("", PREPARED, 0.85), ("", SIMPLE, 0.85),
         (", stretch", PREPARED, 0.95), (", stretch", SIMPLE, 0.95))
_LAST = ("select message_id, direction, body, sent_at from core.messages where {}"
         "conversation_id = $1 order by message_id desc limit 50")
_LIST = ("select conversation_id, chat_id, last_message_at, message_count from core.conversations"
         " {}order by last_message_at desc nulls last, conversation_id limit 50")
_PROFILE = ("select profile_id, chat_id, name, summary, profile from core.girls_profiles"
            " where {}telegram_id = $1")
_METRICS = ("select day, messages_in, messages_out from core.bot_metrics where {}day >= $1"
            " order by day")
_DAYS = ("select (sent_at at time zone 'utc')::date as day, count(*) from core.messages where {}"
         "sent_at >= $1 and sent_at < timestamptz '2025-01-01 00:00+00' group by 1 order by 1")
_INSERT = ("insert into core.messages ({}conversation_id, direction, body, sent_at)"
           " values ({}$1, 'in', $2, timestamptz '2025-01-01 12:00+00')")
OPERATIONS = (
    Operation("last 50 messages", _LAST.format(""), _LAST.format("bot_id = $2 and ")),
    Operation("list of conversations", _LIST.format(""), _LIST.format("where bot_id = $1 ")),
    Operation("profile by telegram_id", _PROFILE.format(""), _PROFILE.format("bot_id = $2 and ")),
    Operation("30 days, bot_metrics", _METRICS.format(""), _METRICS.format("bot_id = $2 and ")),
    Operation("30 days, messages", _DAYS.format(""), _DAYS.format("bot_id = $2 and ")),
    Operation("insert of a message", _INSERT.format("", ""), _INSERT.format("bot_id, ", "$3, "),
              True),
)


@dataclass(frozen=True)
class Contender:
    """A database, what makes it of a clone of ours, and whether its SQL names the bot."""

    name: str
    database: str
    change: str = ""
    explicit: bool = False
    session: str = ""  # what a session begins with


# Defaults and policies of the usual kind, which read a setting that the session made.
_SETTING = """do $setting$
declare
    v_table  regclass;
begin
    for v_table in select core.bot_tables() loop
        execute format('drop policy own_rows on %s', v_table);
        execute format('create policy own_rows on %s to app_bot using (bot_id = {})', v_table);
        if v_table <> 'core.bots'::regclass then
            execute format('alter table %s alter bot_id set default {}', v_table);
        end if;
    end loop;
end
$setting$"""
_GETS = "current_setting(''app.bot_id'')::bigint"
_OPEN = """do $open$
declare
    v_table  regclass;
begin
    for v_table in
        select t from core.bot_tables() as t
        union all
        select l.leaf from core.bot_tables() as t cross join lateral core.leaves(t) as l
    loop
        execute format('alter table %s disable row level security, no force row level security',
                       v_table);
    end loop;
end
$open$"""
# Left to itself the server plans some prepared statements anew at every call (whenever there is a
# range, and whenever bot_id is a parameter of partitioned tables); planning is then most of the
# cost. So each contender has generic plans, and the two that matter have default settings besides.
_GENERIC = "set plan_cache_mode = force_generic_plan;"
OURS, BASE = "our policy", "where bot_id ="
CONTENDERS = (
    Contender(BASE, "explicit", _OPEN, True, _GENERIC),
    Contender("where, default settings", "explicit2", _OPEN, True),
    Contender("where, no partitions", "flat", (HERE / "rls_flat.sql").read_text("utf-8"), True,
              _GENERIC),
    Contender(OURS, "ours", session=_GENERIC),
    Contender("our policy, default settings", "ours2", "select"),
    Contender("current_setting()", "inline", _SETTING.format(_GETS, _GETS),
              session=_GENERIC + "set app.bot_id = {}"),
    Contender("(select current_setting())", "subselect",
              _SETTING.format(f"(select {_GETS})", _GETS),
              session=_GENERIC + "set app.bot_id = {}"),
)
Series = tuple[str, str, int]  # name of an operation, protocol, bot


class Session:
    """A bot's connection to a contender's database, with every operation prepared."""

    def __init__(self, lab: Lab, contender: Contender, bot: int) -> None:
        self.contender, self.bot = contender, bot
        self.conn = lab.connect(contender.database, f"bot_{bot}")
        if contender.session:
            self.conn.execute(contender.session.format(bot))
        self.schedule = Path(f"/proc/{self.conn.info.backend_pid}/schedstat")
        self.prepared = {}
        for number, operation in enumerate(OPERATIONS):
            self.prepared[operation.name] = f"op{number}".encode()
            _checked(self.conn.pgconn.prepare(f"op{number}".encode(), self._text(operation)))

    def calls(self, operation: Operation, protocol: str, arguments: Sequence[Sequence[object]]
              ) -> list[Callable[[], pq.abc.PGresult]]:
        """For each tuple of arguments a call that has the server run the operation once."""
        mine = [[*a, self.bot] if self.contender.explicit else a for a in arguments]
        encoded = [[str(value).encode() for value in values] for values in mine]
        run = self.conn.pgconn.exec_ if protocol == SIMPLE else self.conn.pgconn.exec_prepared
        if protocol == PREPARED:
            name = self.prepared[operation.name]
            return [lambda v=values: run(name, v) for values in encoded]
        texts = []
        for values in encoded:
            text = self._text(operation)
            for number, value in reversed(list(enumerate(values, 1))):
                text = text.replace(b"$%d" % number, b"'%s'" % value)
            texts.append(text)
        return [lambda t=text: run(t) for text in texts]

    def _text(self, operation: Operation) -> bytes:
        return (operation.explicit if self.contender.explicit else operation.policy).encode()

    def cpu(self) -> int:
        """Nanoseconds that the backend has spent on a CPU."""
        return int(self.schedule.read_text().split()[0])


def _checked(result: pq.abc.PGresult) -> pq.abc.PGresult:
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        raise RuntimeError(result.error_message.decode())
    return result


def rows(result: pq.abc.PGresult) -> list[tuple]:
    """The rows of a result, as text."""
    return [tuple(result.get_value(row, column) for column in range(result.nfields))
            for row in range(_checked(result).ntuples)]


def prepare(lab: Lab, messages: int) -> None:
    """Makes the filled database and, for every other contender, what it makes of a clone."""
    lab.make("ours")
    with lab.connect("ours") as conn:
        conn.execute("select security.create_bot('bot ' || i) from generate_series(1, %s) as i",
                     [BOTS])
        conn.execute("select set_config('bench.messages', %s, false)", [str(messages)])
        conn.execute((HERE / "rls_fill.sql").read_text("utf-8"))
        conn.execute("vacuum (freeze, analyze)")
    for contender in CONTENDERS:
        if contender.change:
            lab.clone("ours", contender.database)
            with lab.connect(contender.database) as conn:
                conn.execute(contender.change)
                conn.execute("vacuum (freeze, analyze)")
                conn.execute(sql.SQL("grant connect on database {} to app_bot").format(
                    sql.Identifier(contender.database)))
    with lab.connect() as conn:
        conn.execute("checkpoint")


@dataclass
class Arguments:
    """What the operations are called with: some conversations and contacts of each bot."""

    chats: dict[int, list[int]]

    @classmethod
    def read(cls, lab: Lab) -> "Arguments":
        """Forty conversations of each measured bot, or all that it has."""
        with lab.connect("ours") as conn:
            return cls({bot: [chat for chat, in conn.execute(
                "select conversation_id from core.conversations where bot_id = %s"
                " order by hashint8(conversation_id) limit 40", [bot])] for bot in PLACES})

    def of(self, operation: Operation, bot: int) -> list[tuple]:
        """Tuples of arguments, without the bot, to be used in turn."""
        chats = self.chats[bot]
        return {"last 50 messages": [(chat,) for chat in chats],
                "list of conversations": [()],
                "profile by telegram_id": [(1_000_000 + chat,) for chat in chats],
                "30 days, bot_metrics": [("2024-12-02",)],
                "30 days, messages": [("2024-12-02 00:00+00",)],
                "insert of a message": [(chat, "Привет! Как дела?") for chat in chats],
                }[operation.name]


@dataclass
class Results:
    """Per series and contender: for each round the nanoseconds of a call (CPU, wall)."""

    costs: dict[tuple[Series, str], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list))

    def median(self, operation: str, protocol: str, contender: str, kind: int) -> float:
        """Microseconds of a call: the median over rounds, summed up over bots by their mean."""
        return statistics.mean(
            statistics.median(cost[kind] for cost in self.costs[(operation, protocol, bot),
                                                                 contender])
            for bot in PLACES) / 1000

    def speed(self, operation: str, protocol: str, contender: str, kind: int) -> float:
        """How fast a contender is, the base being 1: the median over all rounds and bots."""
        return statistics.median(
            base[kind] / cost[kind] for bot in PLACES for base, cost in zip(
                self.costs[(operation, protocol, bot), BASE],
                self.costs[(operation, protocol, bot), contender], strict=True))


class Arena:
    """The sessions of all contenders and bots, and what runs on them."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.arguments = lab, Arguments.read(lab)
        self.sessions = {(contender.name, bot): Session(lab, contender, bot)
                         for contender in CONTENDERS for bot in PLACES}

    def __enter__(self) -> "Arena":
        return self

    def __exit__(self, *_: object) -> None:
        for session in self.sessions.values():
            session.conn.close()

    def differing(self) -> list[str]:
        """The contenders that return other rows than the base, whatever the operation."""
        found = []
        for operation, protocol, bot in self._series():
            arguments = self.arguments.of(operation, bot)
            if not operation.writes:
                seen = {c.name: [rows(call()) for call in self.sessions[c.name, bot].calls(
                    operation, protocol, arguments)] for c in CONTENDERS}
                found += [f"{name} returns other rows for {operation.name} ({protocol}, bot {bot})"
                          for name in seen if seen[name] != seen[BASE]]
        return found

    def leftovers(self) -> list[str]:
        """The contenders that left other messages or counters than the base."""
        left, text = {}, (HERE / "content.sql").read_text("utf-8")
        for contender in CONTENDERS:
            with self.lab.connect(contender.database) as conn:
                left[contender.name] = conn.execute(text).fetchall()
        return [f"{name} left {left[name]}, {BASE} {left[BASE]}"
                for name in left if left[name] != left[BASE]]

    def race(self, rounds: int, say: Callable[[str], None]) -> Results:
        """Runs every series of every contender once a round, in another order each time."""
        results = Results()
        count = {s: self._calibrated(*s) for s in self._series()}
        for number in range(rounds):
            for place, series in enumerate(count):
                turn = (number + place) % len(CONTENDERS)
                for contender in [*CONTENDERS[turn:], *CONTENDERS[:turn]]:
                    operation, protocol, bot = series
                    results.costs[(operation.name, protocol, bot), contender.name].append(
                        self._cost(contender, *series, count[series]))
            say(f"round {number + 1} of {rounds}")
        return results

    def _series(self) -> Iterator[tuple[Operation, str, int]]:
        for operation in OPERATIONS:
            for protocol in (PREPARED, SIMPLE):
                for bot in PLACES:
                    yield operation, protocol, bot

    def _calibrated(self, operation: Operation, protocol: str, bot: int) -> int:
        """How many calls make a series; every contender is warm then."""
        for contender in CONTENDERS:
            cost = self._cost(contender, operation, protocol, bot, 10)
            if contender.name == BASE:
                base = cost
        return max(10, min(400, round(SERIES * 1e9 / base[1])))

    def _cost(self, contender: Contender, operation: Operation, protocol: str, bot: int,
              count: int) -> tuple[float, float]:
        """Nanoseconds of a call, of CPU in the backend and of wall, over a series of calls."""
        session = self.sessions[contender.name, bot]
        arguments = self.arguments.of(operation, bot)
        calls = session.calls(operation, protocol, arguments)
        calls = (calls * (count // len(calls) + 1))[:count]
        cpu, started = session.cpu(), time.perf_counter_ns()
        for call in calls:
            result = call()
        wall = time.perf_counter_ns() - started
        cost = (session.cpu() - cpu) / count, wall / count
        _checked(result)
        return cost


def table(results: Results) -> list[tuple]:
    """A row for each operation, protocol and contender."""
    return [
        (operation.name, protocol, contender.name,
         *(f"{results.median(operation.name, protocol, contender.name, kind):,.0f}"
           for kind in (0, 1)),
         *(f"{results.speed(operation.name, protocol, contender.name, kind):.2f}"
           for kind in (0, 1)))
        for operation in OPERATIONS for protocol in (PREPARED, SIMPLE) for contender in CONTENDERS]


def limits(results: Results) -> list[tuple]:
    """What is asked of our policy: (what, limit, measured, whether CPU and wall both reach it)."""
    found = []
    for operation in OPERATIONS:
        for what, protocol, wanted in WRITE if operation.writes else READ:
            speeds = [results.speed(operation.name, protocol, OURS, kind) for kind in (0, 1)]
            reached = all(round(speed, 2) >= wanted for speed in speeds)
            found.append((f"{operation.name}, {protocol}{what}", f"at least {wanted:.2f}",
                          *(f"{speed:.2f}" for speed in speeds),
                          "reached" if reached else "NOT REACHED"))
    return found


def run(lab: Lab, rounds: int, screen: Screen) -> int:
    """Races the contenders in a prepared laboratory, prints tables; 1 if their rows differ: those
    that they return, before the race, or those that they have left after it."""
    with Arena(lab) as arena:
        if differences := arena.differing():
            return fail(differences, screen)
        results = arena.race(rounds, screen.say)
        differences = arena.leftovers()
    screen.rows(["operation", "protocol", "contender", "cpu_us", "wall_us", "cpu_of_base",
                 "wall_of_base"], table(results))
    screen.say("of_base: how fast, the base being 1 (more is better); cpu: of the backend alone")
    screen.rows(["limit", "wanted", "cpu", "wall", ""], limits(results))
    screen.say(f"load at the end {os.getloadavg()[0]:.1f}")
    return fail(differences, screen) if differences else 0


def fail(differences: list[str], screen: Screen) -> int:
    """Says what differs; returns the exit code."""
    for difference in differences:
        screen.warn(difference)
    return 1


def main() -> int:
    """Makes the laboratory and the rows, and races."""
    scale, rounds = float(os.environ.get("SCALE", "0.1")), int(os.environ.get("ROUNDS", "15"))
    messages = round(2_000_000 * scale)
    screen = Screen()
    with laboratory(SETTINGS) as lab:
        with lab.connect() as conn:
            version = conn.info.parameter_status("server_version")
        screen.say(f"{messages:,} messages of {BOTS} bots, measured as those of places "
                   f"{', '.join(map(str, PLACES))}; {rounds} rounds; PostgreSQL {version}, "
                   f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; settings: the server's "
                   "defaults, " + ", ".join(f"{name} {value}" for name, value in
                                            (*measure.SETTINGS, *SETTINGS)))
        prepare(lab, messages)
        return run(lab, rounds, screen)


if __name__ == "__main__":
    sys.exit(main())
