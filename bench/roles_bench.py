"""What reads roles, in a cluster that has many: `python -m bench.roles_bench`.

Times are of a call, its commit included, and of the backend alone (cpu); `runner.py verify` is a
whole process. Every bot has a login. SCALE (1.0: 1,000 and then 5,000 bots; default 0.1), ROUNDS
(default 5: a call's time is the median), PG_BIN (a folder of server programs; default: the
wheel's). The database is migrated by a superuser.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count, cycle

import psycopg

from bench import measure
from bench.measure import PROJECT, Lab, clock, laboratory, verdict
from fleet.bots import verifier
from fleet.screen import Screen

SIZES, WORKERS = (1_000, 5_000), 1_000
VERIFY = "runner.py verify"
# milliseconds at the larger size
LIMITS = {"create_bot": 20, "grant_bot_to_admin": 10, "rotate_bot_password": 10,
          "create_worker": 2_000, "protect_database": 1_000, "inventory": 1_000, VERIFY: 2_000}

Cost = tuple[float, float]  # milliseconds of CPU and of wall


def grow(conn: psycopg.Connection, bots: int) -> None:
    """Makes bots until there are so many."""
    for _ in range(conn.execute("select count(*) from core.bots").fetchone()[0], bots):
        conn.execute("select security.create_bot(gen_random_uuid()::text)")
    conn.execute("vacuum (analyze)")


def calls(conn: psycopg.Connection, workers: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name; each time about another bot, admin or worker."""
    bots = [bot for bot, in conn.execute("select bot_id from core.bots order by bot_id")]
    turn, number, password = cycle(bots), count(1), verifier(conn, "a password")
    admin = f"admin_{bots[-1]}"
    conn.execute("select security.create_admin(%s)", [admin])

    def ask(call: str, *arguments: object) -> None:
        conn.execute(f"select * from security.{call}", arguments)

    return {
        "create_bot": lambda: ask("create_bot(gen_random_uuid()::text, %s)", password),
        "grant_bot_to_admin": lambda: ask("grant_bot_to_admin(%s, %s)", next(turn), admin),
        "rotate_bot_password": lambda: ask("rotate_bot_password(%s, %s)", next(turn), password),
        "create_worker": lambda: ask("create_worker(%s, %s)", f"worker_{bots[-1]}_{next(number)}",
                                     bots[:workers]),
        "protect_database": lambda: ask("protect_database()"),
        "inventory": lambda: ask("inventory()"),
        "check": lambda: ask("check()"),
    }


def verify(lab: Lab) -> Cost:
    """The whole of `runner.py verify`; its CPU is the client's."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, PROJECT / "runner.py", "verify", "--quiet"], check=True,
                   stdout=subprocess.DEVNULL, env=lab.environment("roles"))
    wall, after = time.perf_counter() - started, os.times()
    return 1000 * (after.children_user + after.children_system - before.children_user
                   - before.children_system), 1000 * wall


def race(lab: Lab, bots: int, workers: int, rounds: int) -> dict[str, Cost]:
    """The median cost of each call where there are so many bots."""
    found = {}
    with lab.connect("roles") as conn:
        grow(conn, bots)
        for name, call in calls(conn, workers).items():
            costs = []
            call()  # plans are made and catalogs read
            for _ in range(rounds):
                with clock(conn) as spent:
                    call()
                costs.append([1000 * seconds for seconds in spent])
            found[name] = tuple(map(statistics.median, zip(*costs, strict=True)))
    found[VERIFY] = tuple(map(statistics.median, zip(
        *(verify(lab) for _ in range(rounds)), strict=True)))
    return found


def run(lab: Lab, scale: float, rounds: int, screen: Screen) -> int:
    """Grows the fleet, times the calls at each size, prints the tables."""
    lab.make("roles")
    sizes, workers = [round(size * scale) for size in SIZES], round(WORKERS * scale)
    found = {}
    for bots in sizes:
        found[bots] = race(lab, bots, workers, rounds)
        screen.say(f"{bots:,} bots: {rounds} rounds")
    screen.rows(["call", "bots", "cpu_ms", "wall_ms"], [
        (name, f"{bots:,}", *(f"{cost:,.1f}" for cost in found[bots][name]))
        for name in found[bots] for bots in sizes])
    screen.say(f"create_worker: of {workers:,} bots; cpu: of the backend, of {VERIFY} the client's")
    screen.rows(["limit", "wanted", "measured", ""], [
        (f"{name}, {bots:,} bots, ms", f"at most {limit:,}", f"{found[bots][name][1]:,.1f}",
         verdict(found[bots][name][1] <= limit)) for name, limit in LIMITS.items()])
    return 0


def main() -> int:
    """Makes the laboratory, and measures."""
    scale, rounds = float(os.environ.get("SCALE", "0.1")), int(os.environ.get("ROUNDS", "5"))
    screen = Screen()
    with laboratory() as lab:
        screen.say(f"{rounds} rounds; {measure.conditions(lab, ())}")
        return run(lab, scale, rounds, screen)


if __name__ == "__main__":
    sys.exit(main())
