"""The audit beside the same work unaudited, and beside a trigger per row: `python -m
bench.audit_bench`.

The environment sets its size: SCALE (1.0: 200,000 messages in bulk, 300,000 to import; default
0.25), ROUNDS (default 5), PG_BIN (a folder of server programs; default: the wheel's). Every
contender works on clones of one database, which differ in their triggers alone, in another order
each round: in bulk as a superuser, on a fresh clone each round, with VACUUM and a checkpoint
before every statement; row by row as a bot's login, each in a transaction of its own. Ratios are
medians of the rounds' ratios. Who leaves other rows than the base, or another number of rows in
its log than were changed, makes the bench fail.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg import pq, sql

from bench import audit_fill, measure
from bench.measure import PROJECT, Lab, clock, laboratory, verdict
from fleet.screen import Screen

HERE = Path(__file__).resolve().parent
BOTS = 20
WRITERS = 4  # bots that write at the same time
PERIOD, PAUSE = 9.0, 2.0  # seconds that the writers write for, and between two seals
CALLS = 200  # statements of one row in a series
SETTINGS = (("shared_buffers", "1GB"), ("synchronous_commit", "off"))
BASE, CHANGED, KEYS, RIVAL = "unaudited", "policy changed", "policy keys", "jsonb per row"
IMPORT = ("runner.py", "import", "--quiet", "--jobs", "2")

_OFF = "alter table {} disable trigger audit_insert, disable trigger audit_update," \
       " disable trigger audit_delete;"
_OURS = ("select operation, sum(row_count)::bigint from audit.security_audit_log"
         " where table_name = 'core.messages' group by 1")
_OUR_SIZE = ("select sum(pg_total_relation_size(relid))::bigint"
             " from pg_partition_tree('audit.security_audit_log')")


@dataclass(frozen=True)
class Contender:
    """A way to audit core.messages: what makes it of a migrated database, what its log holds of
    each operation, and its log's bytes."""

    name: str
    change: str
    logged: str = _OURS
    size: str = _OUR_SIZE

    @property
    def template(self) -> str:
        return self.name.replace(" ", "_")


CONTENDERS = (
    Contender(BASE, "".join(_OFF.format(f"core.{table}") for table in (
        "bots", "bot_metrics", "girls_profiles", "conversations", "messages"))),
    Contender(CHANGED, "select audit.enable('core.messages', 'changed')"),
    Contender(KEYS, "select audit.enable('core.messages', 'keys')"),
    Contender(RIVAL, _OFF.format("core.messages")
              + (HERE / "audit_rival.sql").read_text("utf-8"),
              "select operation, count(*) from rival.log group by 1",
              "select pg_total_relation_size('rival.log')"),
)
INSERT, UPDATE, DELETE = "bulk INSERT", "bulk UPDATE", "bulk DELETE"
ONE_INSERT, ONE_UPDATE = "one row INSERT", "one row UPDATE"
WRITE, LOAD = "writers", "import"
SEALING = "while sealing"
BULK = {
    INSERT: "insert into core.messages (bot_id, conversation_id, direction, body, sent_at,"
            " metadata) select bot_id, conversation_id, direction, body, sent_at, metadata"
            " from incoming",
    UPDATE: "update core.messages set body = body || ' 👌' where message_id % 2 = 0",
    DELETE: "delete from core.messages where message_id % 4 < 2",
}
SINGLE = {
    ONE_INSERT: "insert into core.messages (conversation_id, direction, body, metadata,"
                " sent_at) values ($1, 'in', $2, $3, $4)",
    ONE_UPDATE: "update core.messages set body = $3 where conversation_id = $1 and message_id = $2",
}
SEAL, BLOCKS, ENTRIES = "seal", "blocks of {}", "entries of one row"
# (work, contender, least speed, stretch)
SPEEDS = (
    (INSERT, CHANGED, 0.50, 0.70), (UPDATE, CHANGED, 0.42, 0.60), (DELETE, CHANGED, 0.35, 0.50),
    (INSERT, KEYS, 0.60, None), (ONE_INSERT, CHANGED, 0.45, 0.65),
    (ONE_UPDATE, CHANGED, 0.52, 0.70), (WRITE, SEALING, 0.95, None),
)
LOAD_TIME, BYTES, SEAL_RATE = 1.25, 250, 100_000
Cost = tuple[float, float]  # seconds, of CPU in the backends and of wall


@dataclass
class Results:
    """Per work and contender the cost of a row, round by round; per contender bytes of its log for
    a row of the bulk INSERT, and what it left; and what is wrong with any of them."""

    costs: dict[tuple[str, str], list[Cost]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    contents: dict[str, dict[str, list]] = field(default_factory=lambda: defaultdict(dict))
    faults: list[str] = field(default_factory=list)

    def add(self, work: str, contender: str, cost: Cost, rows: int) -> None:
        """Notes what it took to do something with so many rows."""
        if not rows:
            self.faults.append(f"{contender}: {work} found no row")
        self.costs[work, contender].append((cost[0] / max(rows, 1), cost[1] / max(rows, 1)))

    def check(self, lab: Lab, contender: "Contender", work: str, dbname: str,
              changed: dict[str, int]) -> None:
        """Compares what is in a database with what should be: the content with the base's, and the
        rows in the log with those that were changed."""
        with lab.connect(dbname) as conn:
            conn.execute("set timezone = 'UTC'")
            self.contents[work][contender.name] = conn.execute(
                (HERE / "content.sql").read_text("utf-8")).fetchall()
            logged = dict(conn.execute(contender.logged).fetchall())
        wanted = {} if contender.name == BASE else changed
        if logged != wanted:
            self.faults.append(f"{contender.name}: {work}: the log has {logged}, not {wanted}")

    def differing(self) -> list[str]:
        """The contenders that left something else than the base."""
        return [f"{name}: {work} left {content}, {BASE} {left[BASE]}"
                for work, left in self.contents.items()
                for name, content in left.items() if content != left[BASE]]

    def median(self, work: str, contender: str, kind: int) -> float:
        return statistics.median(cost[kind] for cost in self.costs[work, contender])

    def speed(self, work: str, contender: str, kind: int) -> float:
        """How fast a contender is, the base being 1."""
        return statistics.median(base[kind] / cost[kind] for base, cost in zip(
            self.costs[work, BASE], self.costs[work, contender], strict=True))


def contender_of(name: str) -> Contender:
    return next(contender for contender in CONTENDERS if contender.name == name)


def turned(number: int) -> Sequence[Contender]:
    """The contenders, in another order each round."""
    turn = number % len(CONTENDERS)
    return [*CONTENDERS[turn:], *CONTENDERS[:turn]]


def prepare(lab: Lab, count: int) -> None:
    """Makes a migrated database and, for each contender, one with the messages to work with."""
    lab.make("migrated")
    lab.clone("migrated", "filled")
    with lab.connect("filled") as conn:
        conn.execute("select security.create_bot('bot ' || i) from generate_series(1, %s) as i",
                     [BOTS])
        audit_fill.fill(conn, count, max(5, count // 20 // BOTS))
    for contender in CONTENDERS:
        lab.clone("filled", contender.template)
        with lab.connect(contender.template) as conn:
            conn.execute(contender.change)
            conn.execute("select audit.seal()")  # what the log holds of the filling
            conn.execute("vacuum (freeze, analyze)")


# In bulk ------------------------------------------------------------------------


def race_bulk(lab: Lab, number: int, results: Results) -> None:
    """Runs each statement of BULK once for each contender, one after the other on its clone."""
    for contender in turned(number):
        lab.clone(contender.template, "arena")
        changed = {}
        with lab.connect("arena") as conn:
            for work, statement in BULK.items():
                conn.execute("vacuum (analyze) core.messages, core.conversations")
                conn.execute("checkpoint")
                before = conn.execute(contender.size).fetchone()[0]
                with clock(conn) as cost:
                    rows = conn.execute(statement).rowcount
                results.add(work, contender.name, cost, rows)
                changed[work.split()[1]] = rows
                if work == INSERT:
                    after = conn.execute(contender.size).fetchone()[0]
                    results.sizes[contender.name].append((after - before) / max(rows, 1))
                    if contender.name in (CHANGED, KEYS):
                        seal(conn, BLOCKS.format(contender.name), rows, results)
        results.check(lab, contender, "bulk", "arena", changed)


def race_seal(lab: Lab, count: int, results: Results) -> None:
    """Seals a log of entries of one row each, which as many statements have written."""
    lab.clone(contender_of(CHANGED).template, "arena")
    with lab.connect("arena") as conn:
        conn.execute("vacuum (analyze) core.messages, core.conversations")
        conn.execute(
            "do $do$ declare r incoming; begin"
            f" for r in select * from incoming limit {count} loop insert into core.messages"
            " (bot_id, conversation_id, direction, body, sent_at, metadata) values (r.bot_id,"
            " r.conversation_id, r.direction, r.body, r.sent_at, r.metadata); end loop; end $do$")
        conn.execute("checkpoint")
        seal(conn, ENTRIES, count, results)


def seal(conn: psycopg.Connection, what: str, rows: int, results: Results) -> None:
    """Seals all that the log holds, and notes what that took; it must be so many rows."""
    sealed, entries = 0, 1
    with clock(conn) as cost:
        while entries:
            entries, more = conn.execute(
                "select entry_count, row_count from audit.seal()").fetchone()
            sealed += more
    if sealed != rows:
        results.faults.append(f"{what}: {sealed} rows were sealed, not {rows}")
    results.add(SEAL, what, cost, sealed)


# Row by row ---------------------------------------------------------------------


class Session:
    """A bot's connection to a database that holds its messages, with what it may do prepared."""

    def __init__(self, lab: Lab, dbname: str, bot: int) -> None:
        with lab.connect(dbname) as conn:
            self.bodies = conn.execute(
                "select conversation_id, body, metadata::text from incoming where bot_id = %s"
                " order by sent_at", [bot]).fetchall()
            self.known = conn.execute(
                "select conversation_id, message_id from core.messages where bot_id = %s"
                " order by hashint8(message_id)", [bot]).fetchall()
        self.conn, self.done = lab.connect(dbname, f"bot_{bot}"), dict.fromkeys(SINGLE, 0)
        for work, statement in SINGLE.items():
            _checked(self.conn.pgconn.prepare(work.encode(), statement.encode()))

    def calls(self, work: str, count: int) -> list[list[bytes | None]]:
        """The arguments of the next calls: another conversation or message each time."""
        start, found = self.done[work], []
        self.done[work] += count
        for number in range(start, start + count):
            conversation, body, metadata = self.bodies[number % len(self.bodies)]
            values = (conversation, body, metadata, audit_fill.START + timedelta(seconds=number))
            if work == ONE_UPDATE:
                values = (*self.known[number % len(self.known)], f"{body} {number}")
            found.append([None if value is None else str(value).encode() for value in values])
        return found

    def run(self, work: str, arguments: list[list[bytes | None]]) -> Cost:
        """Runs a statement once for each list of arguments, and returns what all of it took."""
        name, execute = work.encode(), self.conn.pgconn.exec_prepared
        with clock(self.conn) as cost:
            for values in arguments:
                if (result := execute(name, values)).command_tuples != 1:
                    _checked(result)
                    raise RuntimeError(f"{work} changed {result.command_tuples} rows, not 1")
        return cost


def _checked(result: pq.abc.PGresult) -> None:
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise RuntimeError(result.error_message.decode())


def admit(lab: Lab, dbname: str) -> None:
    """Lets the bots of a clone log in to it."""
    with lab.connect(dbname) as conn:
        conn.execute(sql.SQL("grant connect on database {} to app_bot").format(
            sql.Identifier(dbname)))


def race_single(lab: Lab, rounds: int, results: Results) -> None:
    """Runs series of single statements as the first bot, on each contender in turn."""
    with ExitStack() as stack:
        sessions, loaded = {}, {}
        for contender in CONTENDERS:
            dbname = f"one_{contender.template}"
            lab.clone(contender.template, dbname)
            admit(lab, dbname)
            owner = stack.enter_context(lab.connect(dbname))
            loaded[contender.name] = owner, owner.execute(BULK[INSERT]).rowcount
            owner.execute("vacuum (freeze, analyze) core.messages, core.conversations")
            session = sessions[contender.name] = Session(lab, dbname, 1)
            stack.enter_context(session.conn)
            for work in SINGLE:
                session.run(work, session.calls(work, 20))  # now every plan is made
        for number in range(rounds):
            for work in SINGLE:
                for contender in turned(number):
                    arguments = sessions[contender.name].calls(work, CALLS)
                    results.add(work, contender.name,
                                sessions[contender.name].run(work, arguments), CALLS)
            for owner, _ in loaded.values():
                owner.execute("vacuum core.messages, core.conversations")
        for contender in CONTENDERS:
            done, rows = sessions[contender.name].done, loaded[contender.name][1]
            results.check(lab, contender, "row by row", f"one_{contender.template}",
                          {"INSERT": rows + done[ONE_INSERT], "UPDATE": done[ONE_UPDATE]})


# Several writers ----------------------------------------------------------------


def race_writers(lab: Lab, rounds: int, results: Results) -> None:
    """Lets several bots insert, in turn alone and while the log is sealed again and again."""
    lab.clone(contender_of(CHANGED).template, "writers")
    admit(lab, "writers")
    with ExitStack() as stack:
        owner = stack.enter_context(lab.connect("writers"))
        sessions = [Session(lab, "writers", bot) for bot in range(1, WRITERS + 1)]
        for session in sessions:
            stack.enter_context(session.conn)
            session.run(ONE_INSERT, session.calls(ONE_INSERT, 20))
        for number in range(rounds):
            for name in (SEALING, BASE) if number % 2 else (BASE, SEALING):
                owner.execute("select audit.seal()")
                owner.execute("vacuum core.messages, core.conversations")
                owner.execute("checkpoint")
                write(owner, sessions, name, results)
        written = sum(session.done[ONE_INSERT] for session in sessions)
        logged = dict(owner.execute(_OURS).fetchall())
        if logged != {"INSERT": written}:
            results.faults.append(f"{WRITE}: the log has {logged}, not {written} rows")


def write(owner: psycopg.Connection, sessions: Sequence[Session], name: str,
          results: Results) -> None:
    """Lets all sessions insert for PERIOD seconds; meanwhile the owner seals, or does nothing."""
    ended = threading.Event()

    def insert(session: Session) -> tuple[float, int]:
        used, count = 0.0, 0
        while not ended.is_set():
            used += session.run(ONE_INSERT, session.calls(ONE_INSERT, 20))[0]
            count += 20
        return used, count

    with ThreadPoolExecutor(len(sessions)) as pool:
        started, sealed = time.perf_counter(), 0
        running = [pool.submit(insert, session) for session in sessions]
        while (left := started + PERIOD - time.perf_counter()) > 0:
            time.sleep(min(left, PAUSE))
            if name == SEALING and left > PAUSE:
                sealed += owner.execute("select entry_count from audit.seal()").fetchone()[0]
        ended.set()
        used, counts = zip(*(future.result() for future in running), strict=True)
        wall = time.perf_counter() - started
    if name == SEALING and not sealed:
        results.faults.append(f"{WRITE}: nothing was sealed")
    results.add(WRITE, name, (sum(used), wall), sum(counts))


# Import -------------------------------------------------------------------------


def generate(folder: Path, count: int) -> None:
    """Writes the files to import."""
    subprocess.run([sys.executable, PROJECT / "examples/generate.py", "bulk", folder,
                    "--bots", str(BOTS), "--messages", str(count),
                    "--contacts", str(max(count // 100, BOTS))],
                   check=True, stdout=subprocess.DEVNULL)


def race_import(lab: Lab, folder: Path, number: int, results: Results) -> None:
    """Runs the importer once for each contender."""
    for contender in turned(number):
        lab.clone("migrated", "arena")
        with lab.connect("arena") as conn:
            conn.execute(contender.change)
        cost = lab.run([*IMPORT, folder], "arena")
        with lab.connect("arena") as conn:
            rows = conn.execute("select count(*) from core.messages").fetchone()[0]
        results.add(LOAD, contender.name, (cost.backend_cpu, cost.wall), rows)
        results.check(lab, contender, LOAD, "arena", {"INSERT": rows})


# What comes of it ---------------------------------------------------------------


def table(results: Results) -> list[tuple]:
    """A row for each work and contender."""
    return [
        (work, name, *(f"{results.median(work, name, kind) * 1e6:,.1f}" for kind in (0, 1)),
         *(f"{results.speed(work, name, kind):.2f}" if work != SEAL else "" for kind in (0, 1)),
         f"{1 / results.median(work, name, 1):,.0f}",
         f"{statistics.median(results.sizes[name]):,.0f}" if work == INSERT else "")
        for work, name in results.costs]


def limits(results: Results) -> list[tuple]:
    """What is asked of the audit: (what, limit, measured by CPU and wall, whether both reach it; of
    the import, whose client works as well, the wall's time alone)."""
    found = []
    for work, name, *wanted in SPEEDS:
        speeds = [results.speed(work, name, kind) for kind in (0, 1)]
        found += [(f"{work}, {name}{more}", f"at least {least:.2f}",
                   *(f"{speed:.2f}" for speed in speeds), verdict(round(min(speeds), 2) >= least))
                  for least, more in zip(wanted, ("", ", stretch"), strict=True) if least]
    times = [1 / results.speed(LOAD, KEYS, kind) for kind in (0, 1)]
    found.append((f"{LOAD}, {KEYS}, of the time", f"at most {LOAD_TIME}",
                  *(f"{factor:.2f}" for factor in times), verdict(times[1] <= LOAD_TIME)))
    for name in (CHANGED, KEYS):
        rates = [1 / results.median(SEAL, BLOCKS.format(name), kind) for kind in (0, 1)]
        found.append((f"{SEAL}, {BLOCKS.format(name)}, rows/s", f"at least {SEAL_RATE:,}",
                      *(f"{rate:,.0f}" for rate in rates), verdict(min(rates) >= SEAL_RATE)))
        size = statistics.median(results.sizes[name])
        found.append((f"bytes of log per row, {name}", f"at most {BYTES}", "", f"{size:,.0f}",
                      verdict(size <= BYTES)))
    return found


def run(lab: Lab, scale: float, rounds: int, folder: Path, screen: Screen) -> int:
    """Races the contenders in a prepared laboratory, prints tables; 1 if anything is wrong."""
    results = Results()
    for number in range(rounds):
        race_bulk(lab, number, results)
        race_seal(lab, round(50_000 * scale), results)
        race_import(lab, folder, number, results)
        screen.say(f"round {number + 1} of {rounds}: bulk, seals, import")
    race_single(lab, rounds * 4, results)
    race_writers(lab, rounds, results)
    screen.rows(["work", "contender", "cpu_us", "wall_us", "cpu_of_base", "wall_of_base",
                 "rows_per_s", "log_bytes"], table(results))
    screen.say("us: microseconds for a row; of_base: how fast, the base being 1 (more is better);"
               " cpu: of the backends alone")
    screen.rows(["limit", "wanted", "cpu", "wall", ""], limits(results))
    screen.say(f"load at the end {os.getloadavg()[0]:.1f}")
    faults = [*results.faults, *results.differing()]
    for fault in faults:
        screen.warn(fault)
    return 1 if faults else 0


def main() -> int:
    """Makes the laboratory, the rows and the files, and races."""
    scale, rounds = float(os.environ.get("SCALE", "0.25")), int(os.environ.get("ROUNDS", "5"))
    screen = Screen()
    with laboratory(SETTINGS) as lab, tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        with lab.connect() as conn:
            offers_lz4 = conn.execute(
                "select 'lz4' = any (enumvals) from pg_settings"
                " where name = 'default_toast_compression'").fetchone()[0]
        screen.say(
            f"{round(200_000 * scale):,} messages in bulk, {round(300_000 * scale):,} imported, "
            f"{rounds} rounds; {'lz4' if offers_lz4 else 'pglz'}; "
            f"{measure.conditions(lab, SETTINGS)}")
        generate(Path(folder), round(300_000 * scale))
        prepare(lab, round(200_000 * scale))
        return run(lab, scale, rounds, Path(folder), screen)


if __name__ == "__main__":
    sys.exit(main())
