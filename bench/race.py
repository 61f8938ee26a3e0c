"""A race of operations: the same SQL as prepared or simple statements on contenders, in turn.

A contender is a database and a login; an operation runs on it as a short series of calls, and a
round runs every series on each contender, in another order each time. The first contender is the
base, whose rows the others must return.
"""

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import pq, sql

from bench.measure import Lab, clock

SERIES = 0.02  # seconds that the base takes for a series
PREPARED, SIMPLE = "prepared", "simple"


@dataclass(frozen=True)
class Operation:
    """A statement without bot_id, and the same with it as the last parameter."""

    name: str
    policy: str
    explicit: str
    writes: bool = False


@dataclass(frozen=True)
class Contender:
    """A database, what makes it of a clone of ours, and how its SQL names the bot."""

    name: str
    database: str
    change: str = ""
    explicit: bool = False
    session: str = ""  # what a session begins with
    is_literal: bool = False  # an explicit bot is written in, not a parameter
    login: str = "bot_{}"


Series = tuple[str, str, int]  # name of an operation, protocol, bot
Arguments = Mapping[tuple[str, int], Sequence[tuple]]  # of an operation and bot, used in turn


class Session:
    """A bot's connection to a contender's database, with every operation prepared."""

    def __init__(self, lab: Lab, contender: Contender, bot: int,
                 operations: Sequence[Operation]) -> None:
        self.contender, self.bot = contender, bot
        self.conn = lab.connect(contender.database, contender.login.format(bot))
        if contender.session:
            self.conn.execute(contender.session.format(bot))
        self.prepared = {}
        for number, operation in enumerate(operations):
            self.prepared[operation.name] = f"op{number}".encode()
            checked(self.conn.pgconn.prepare(f"op{number}".encode(), self._text(operation)))

    def calls(self, operation: Operation, protocol: str, arguments: Sequence[Sequence[object]]
              ) -> list[Callable[[], pq.abc.PGresult]]:
        """For each tuple of arguments a call that has the server run the operation once."""
        by_parameter = self.contender.explicit and not self.contender.is_literal
        mine = [[*a, self.bot] if by_parameter else a for a in arguments]
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
        if not self.contender.explicit:
            return operation.policy.encode()
        if self.contender.is_literal:
            last = max(re.findall(r"\$\d+", operation.explicit))
            return operation.explicit.replace(last, str(self.bot)).encode()
        return operation.explicit.encode()


def checked(result: pq.abc.PGresult) -> pq.abc.PGresult:
    """The result; raises if the server refused the statement."""
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        raise RuntimeError(result.error_message.decode())
    return result


def rows(result: pq.abc.PGresult) -> list[tuple]:
    """The rows of a result, as text."""
    return [tuple(result.get_value(row, column) for column in range(result.nfields))
            for row in range(checked(result).ntuples)]


def make(lab: Lab, contenders: Sequence[Contender], template: str) -> None:
    """Makes each contender that changes something of a clone, and lets the bots log in to it."""
    for contender in contenders:
        if contender.change:
            lab.clone(template, contender.database)
            with lab.connect(contender.database) as conn:
                conn.execute(contender.change)
                conn.execute("vacuum (freeze, analyze)")
                conn.execute(sql.SQL("grant connect on database {} to app_bot").format(
                    sql.Identifier(contender.database)))
    with lab.connect() as conn:
        conn.execute("checkpoint")


@dataclass
class Results:
    """Per series and contender: for each round the nanoseconds of a call (CPU, wall)."""

    base: str
    bots: Sequence[int]
    costs: dict[tuple[Series, str], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list))

    def median(self, operation: str, protocol: str, contender: str, kind: int) -> float:
        """Microseconds of a call: the median over rounds, summed up over bots by their mean."""
        return statistics.mean(
            statistics.median(cost[kind] for cost in self.costs[(operation, protocol, bot),
                                                                 contender])
            for bot in self.bots) / 1000

    def speed(self, operation: str, protocol: str, contender: str, kind: int,
              bots: Sequence[int] = (), base: str = "") -> float:
        """How fast a contender is, the base being 1: the median over all rounds and bots."""
        return statistics.median(
            first[kind] / cost[kind] for bot in bots or self.bots for first, cost in zip(
                self.costs[(operation, protocol, bot), base or self.base],
                self.costs[(operation, protocol, bot), contender], strict=True))


class Arena:
    """The sessions of all contenders and bots, and what runs on them."""

    def __init__(self, lab: Lab, contenders: Sequence[Contender], operations: Sequence[Operation],
                 arguments: Arguments, protocols: Sequence[str] = (PREPARED, SIMPLE)) -> None:
        self.contenders, self.operations = contenders, operations
        self.arguments, self.protocols = arguments, protocols
        self.bots = sorted({bot for _, bot in arguments})
        self.sessions = {(contender.name, bot): Session(lab, contender, bot, operations)
                         for contender in contenders for bot in self.bots}

    def __enter__(self) -> "Arena":
        return self

    def __exit__(self, *_: object) -> None:
        for session in self.sessions.values():
            session.conn.close()

    def differing(self) -> list[str]:
        """The contenders that return other rows than the base, whatever the operation."""
        found, base = [], self.contenders[0].name
        for operation, protocol, bot in self._series():
            arguments = self.arguments[operation.name, bot]
            if not operation.writes:
                seen = {c.name: [rows(call()) for call in self.sessions[c.name, bot].calls(
                    operation, protocol, arguments)] for c in self.contenders}
                found += [f"{name} returns other rows for {operation.name} ({protocol}, bot {bot})"
                          for name in seen if seen[name] != seen[base]]
        return found

    def race(self, rounds: int, say: Callable[[str], None],
             between: Callable[[], None] = lambda: None) -> Results:
        """Runs every series of every contender once a round, in another order each time, and
        `between` before each round."""
        results = Results(self.contenders[0].name, self.bots)
        count = {s: self._calibrated(*s) for s in self._series()}
        for number in range(rounds):
            between()
            for place, series in enumerate(count):
                turn = (number + place) % len(self.contenders)
                for contender in [*self.contenders[turn:], *self.contenders[:turn]]:
                    operation, protocol, bot = series
                    results.costs[(operation.name, protocol, bot), contender.name].append(
                        self._cost(contender, *series, count[series]))
            say(f"round {number + 1} of {rounds}")
        return results

    def _series(self) -> Iterator[tuple[Operation, str, int]]:
        for operation in self.operations:
            for protocol in self.protocols:
                for bot in self.bots:
                    yield operation, protocol, bot

    def _calibrated(self, operation: Operation, protocol: str, bot: int) -> int:
        """How many calls make a series; every contender is warm then."""
        costs = [self._cost(contender, operation, protocol, bot, 10)
                 for contender in self.contenders]
        return max(10, min(400, round(SERIES * 1e9 / costs[0][1])))

    def _cost(self, contender: Contender, operation: Operation, protocol: str, bot: int,
              count: int) -> tuple[float, float]:
        """Nanoseconds of a call, of CPU in the backend and of wall, over a series of calls."""
        session = self.sessions[contender.name, bot]
        calls = session.calls(operation, protocol, self.arguments[operation.name, bot])
        calls = (calls * (count // len(calls) + 1))[:count]
        with clock(session.conn) as spent:
            for call in calls:
                result = call()
        checked(result)
        return tuple(seconds * 1e9 / count for seconds in spent)
