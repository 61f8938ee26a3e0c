"""The import beside what else could load the same files: `python -m bench.import_bench`.

The environment sets its size: SCALE (1.0: 20 bots, 2,000,000 messages; default 0.25), ROUNDS
(default 5), PG_BIN (a folder of server programs; default: the wheel's). Every round runs each
contender once, in another order, on a fresh clone of a template and after a checkpoint; ratios are
medians of the rounds' ratios. Every clone must end with the same content, or the bench fails.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench import measure
from bench.measure import PROJECT, Cost, Lab, laboratory, ratio, verdict
from fleet.screen import Screen

HERE = Path(__file__).resolve().parent
OWNER = "fleet_owner"
PART = 10  # the slow contenders get one file in so many
BASE, PLAIN, OWNED = "copy", "import", "import as owner"
AGAIN, BAD = "import again", "import 1 % bad"


@dataclass(frozen=True)
class Contender:
    """A program to run on a clone of `template`, and the name of its folder of input."""

    name: str
    program: tuple[str, ...]
    template: str = "migrated"
    data: str = "all"
    user: str = "postgres"
    goes_on: bool = False  # on the database as the contender before it has left it

    @property
    def wanted(self) -> str:
        """The folder of input whose content it must leave."""
        return "all" if self.data.startswith("rows") else self.data


IMPORT = ("runner.py", "import", "--quiet", "--jobs", "2")
RIVAL = ("-m", "bench.rivals")
CONTENDERS = (
    Contender(BASE, (*RIVAL, "copy"), "bare", "rows 1"),
    Contender("copy, two connections", (*RIVAL, "copy"), "bare", "rows 2"),
    Contender(PLAIN, IMPORT),
    Contender(AGAIN, IMPORT, goes_on=True),
    Contender(OWNED, IMPORT, "owned", user=OWNER),
    Contender(BAD, IMPORT, data="bad"),
    Contender("importer in Python", (*RIVAL, "importer", "--jobs", "2")),
    Contender("inserts in a pipeline", (*RIVAL, "inserts"), data="part"),
    Contender("loop in PL/pgSQL", (*RIVAL, "loop"), data="part"),
)


@dataclass
class Results:
    """Per contender: the costs of its rounds, its own seconds, and the contents it left."""

    costs: dict[str, list[Cost]] = field(default_factory=lambda: defaultdict(list))
    inside: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    contents: dict[str, list] = field(default_factory=lambda: defaultdict(list))

    def seconds(self, name: str) -> list[float]:
        """What counts: of a rival the loading alone, of an import the whole process.

        The slow ones loaded a part; theirs is scaled up to all.
        """
        contender = next(c for c in CONTENDERS if c.name == name)
        if contender.program[0] == IMPORT[0]:
            return [cost.wall for cost in self.costs[name]]
        factor = PART if contender.data == "part" else 1
        return [seconds * factor for seconds in self.inside[name]]

    def of_base(self, name: str, base: str = BASE) -> float:
        return ratio(self.seconds(name), self.seconds(base))


def generate(root: Path, messages: int) -> None:
    """Writes the folders of input: all, the same with one file in a hundred spoilt, a part."""
    for name, count, more in (("all", messages, ()), ("bad", messages, ("--bad-percent", "1")),
                              ("part", messages // PART, ())):
        subprocess.run([sys.executable, PROJECT / "examples/generate.py", "bulk", root / name,
                        "--bots", "20", "--messages", str(count),
                        "--contacts", str(max(count // 100, 20)), *more],
                       check=True, stdout=subprocess.DEVNULL)


def prepare(lab: Lab, root: Path) -> None:
    """Makes the templates, and the rows to copy: those that an import of everything makes."""
    lab.make("migrated")
    with lab.connect() as conn:
        conn.execute(f"create role {OWNER} login createrole")
    lab.make("owned", OWNER)
    lab.clone("migrated", "bare")
    with lab.connect("bare") as conn:
        conn.execute((HERE / "bare.sql").read_text("utf-8"))
    lab.clone("migrated", "loaded")
    lab.run([*IMPORT, root / "all"], "loaded")
    for streams in (1, 2):
        lab.run([*RIVAL, "write", root / f"rows {streams}", "--jobs", str(streams)], "loaded")


def compare(lab: Lab, root: Path, rounds: int, say: Callable[[str], None]) -> Results:
    """Runs every contender once a round."""
    results = Results()
    for number in range(rounds):
        turn = number * 2 % len(CONTENDERS)
        order = [*CONTENDERS[turn:], *CONTENDERS[:turn]]
        for contender in [c for c in order if not c.goes_on]:
            lab.clone(contender.template, "arena", contender.user)
            run(lab, root, contender, results)
            for follower in CONTENDERS[CONTENDERS.index(contender) + 1:]:
                if not follower.goes_on:
                    break
                run(lab, root, follower, results)
        say(f"round {number + 1} of {rounds}: " + ", ".join(
            f"{c.name} {results.seconds(c.name)[-1]:.1f} s" for c in CONTENDERS))
    return results


def run(lab: Lab, root: Path, contender: Contender, results: Results) -> None:
    """Runs one contender on the database `arena`, and notes what it took and left."""
    cost = lab.run([*contender.program, root / contender.data], "arena", contender.user,
                   codes=(0, 6) if contender.data == "bad" else (0,))
    results.costs[contender.name].append(cost)
    with lab.connect("arena") as conn:
        if contender.program == IMPORT:
            inside = conn.execute("select extract(epoch from finished_at - started_at)::float8"
                                  " from json_import.run order by run_id desc limit 1"
                                  ).fetchone()[0]
        else:
            inside = float(cost.said)
        results.inside[contender.name].append(inside)
        conn.execute("set timezone = 'UTC'")
        results.contents[contender.wanted].append(
            (contender.name, conn.execute((HERE / "content.sql").read_text("utf-8")).fetchall()))


def differing(results: Results) -> list[str]:
    """The contenders that left another content than the first with the same input."""
    return [f"{name} left {content}, {found[0][0]} {found[0][1]}"
            for found in results.contents.values()
            for name, content in found if content != found[0][1]]


def table(results: Results, messages: int) -> list[tuple]:
    """A row for each contender."""
    rows = []
    for contender in CONTENDERS:
        name, costs = contender.name, results.costs[contender.name]
        scale = PART if contender.data == "part" else 1
        wall = statistics.median(results.seconds(name))
        shown = f"{name} (a tenth, times ten)" if scale > 1 else name
        rows.append((
            shown, f"{wall:.2f}", f"{results.of_base(name):.2f}", f"{messages / wall:,.0f}",
            *(f"{statistics.median(values) * scale:.2f}" for values in (
                results.inside[name], [c.client_cpu for c in costs],
                [c.backend_cpu for c in costs]))))
    return rows


def limits(results: Results) -> list[tuple]:
    """What issue 3 asks for: (what, limit, measured, whether reached)."""
    costs = results.costs[PLAIN]
    found = (
        ("with the right, of copy", "at most", 1.7, results.of_base(PLAIN)),
        ("the same, stretch", "at most", 1.3, results.of_base(PLAIN)),
        ("without the right, of copy", "at most", 2.2, results.of_base(OWNED)),
        ("loop, of the import", "at least", 10, results.of_base(CONTENDERS[-1].name, PLAIN)),
        ("unchanged re-run, of the import", "at most", 0.2, results.of_base(AGAIN, PLAIN)),
        ("1 % bad files, of the import", "at most", 1.15, results.of_base(BAD, PLAIN)),
        ("client's memory, MiB", "at most", 128, max(c.client_mb for c in costs)),
        ("backend's own memory, MiB", "at most", 96, max(c.backend_own_mb for c in costs)),
        ("with shared buffers, MiB", "", None, max(c.backend_mb for c in costs)),
        ("the same of copy, MiB", "", None, max(c.backend_mb for c in results.costs[BASE])))
    return [(what, f"{how} {limit}" if limit else "", f"{value:.2f}",
             "" if limit is None else
             verdict(value <= limit if how == "at most" else value >= limit))
            for what, how, limit, value in found]


def main() -> int:
    """Runs the rounds and prints the table and the limits."""
    scale, rounds = float(os.environ.get("SCALE", "0.25")), int(os.environ.get("ROUNDS", "5"))
    messages = round(2_000_000 * scale)
    screen = Screen()
    with laboratory() as lab, tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        screen.say(f"{messages:,} messages, {rounds} rounds, PostgreSQL {lab.server.major()}, "
                   f"{os.cpu_count()} CPUs, settings: the server's defaults, "
                   + ", ".join(f"{name} {value}" for name, value in measure.SETTINGS))
        generate(Path(folder), messages)
        prepare(lab, Path(folder))
        results = compare(lab, Path(folder), rounds, screen.say)
    screen.rows(["contender", "wall_s", "of_copy", "messages_per_s", "inside_s", "client_cpu_s",
                 "backend_cpu_s"], table(results, messages))
    screen.say("wall_s: of a rival the loading alone, of an import the whole process")
    screen.rows(["limit", "wanted", "measured", ""], limits(results))
    for difference in differing(results):
        screen.warn(difference)
    return 1 if differing(results) else 0


if __name__ == "__main__":
    sys.exit(main())
