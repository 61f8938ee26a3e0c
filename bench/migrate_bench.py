"""`runner.py migrate` on an empty database, beside `psql -1` with the same files: `python -m
bench.migrate_bench`.

Whole processes are timed, in turn, each on a database of its own; the roles are there already, or
the first round would make them. ROUNDS (default 5), PG_BIN (a folder of server programs; default:
the wheel's). psql runs each apply.sql in a transaction of its own, as the runner does and as
README says; all of them in one spares it three looks at the whole inventory. `with verify` adds
what the runner checks after each.
"""

import os
import statistics
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

from bench import measure
from bench.measure import PROJECT, Lab, create_database, laboratory, ratio, verdict
from fleet import files, server
from fleet.screen import Screen

FOLDERS = [migration.folder for migration in files.read(PROJECT / "sql")]
RUNNER, LIMIT = "runner.py migrate", 1.3


Command = list[str | Path]


def contenders(binaries: Path) -> dict[str, list[Command]]:
    """The commands of each contender; the first is what the others are compared with."""
    psql = [binaries / "psql", "-XqAt1", "-v", "ON_ERROR_STOP=1", "-o", os.devnull]
    apply, verify = ([["-f", folder / f"{name}.sql"] for folder in FOLDERS]
                     for name in ("apply", "verify"))
    return {"psql": [[*psql, *file] for file in apply],
            "psql, with verify": [[*psql, *file, *check]
                                  for file, check in zip(apply, verify, strict=True)],
            "psql, in one transaction": [[*psql, *chain.from_iterable(apply)]],
            RUNNER: [[sys.executable, PROJECT / "runner.py", "migrate", "--quiet"]]}


def once(lab: Lab, commands: list[Command]) -> tuple[float, float]:
    """Seconds of wall, and of the client's CPU, that the commands take on an empty database."""
    with lab.connect() as conn:
        server.drop_database(conn, "fresh")
        create_database(conn, "fresh", "postgres")
        conn.execute("checkpoint")
    before, started = os.times(), time.perf_counter()
    for command in commands:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env=lab.environment("fresh"))
    wall, after = time.perf_counter() - started, os.times()
    return wall, after.children_user + after.children_system - (
        before.children_user + before.children_system)


def main() -> int:
    """Runs the rounds and prints the table and the limit."""
    rounds, screen = int(os.environ.get("ROUNDS", "5")), Screen()
    with laboratory() as lab:
        screen.say(measure.conditions(lab, ()))
        race = contenders(measure.binaries())
        once(lab, race["psql"])
        costs = {name: [] for name in race}
        for number in range(1, rounds + 1):
            screen.say(f"round {number} of {rounds}")
            for name, commands in race.items():
                costs[name].append(once(lab, commands))
    walls = {name: [wall for wall, _ in found] for name, found in costs.items()}
    of_psql = {name: ratio(wall, walls["psql"]) for name, wall in walls.items()}
    screen.rows(["contender", "wall_s", "client_cpu_s", "of_psql"], [
        (name, f"{statistics.median(walls[name]):.2f}",
         f"{statistics.median(cpu for _, cpu in found):.2f}", f"{of_psql[name]:.2f}")
        for name, found in costs.items()])
    measured = of_psql[RUNNER]
    screen.rows(["limit", "wanted", "measured", ""], [
        (f"{RUNNER}, of psql", f"at most {LIMIT}", f"{measured:.2f}",
         verdict(measured <= LIMIT))])
    return 0


if __name__ == "__main__":
    sys.exit(main())
