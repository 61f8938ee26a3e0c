"""All benches one after another: `python -m bench` runs them and writes bench/RESULTS.md;
`python -m bench NAME …` runs some again, and leaves what the others said.

SCALE is the same for all (default 0.1), unless SCALE_IMPORT, SCALE_RLS, … says another for one of
them; ROUNDS likewise, else each takes as many as it thinks right. PG_BIN: a folder of server
programs; default: the wheel's. RESULTS: another file to write. A bench that fails is written down
as failed, and the exit code is 1.
"""

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import PROJECT, binaries, verdict
from fleet.screen import Screen

BENCHES = ("import", "rls", "audit", "queries", "messages", "writers", "migrate", "roles")
RESULTS = Path(os.environ.get("RESULTS") or PROJECT / "bench/RESULTS.md")
PROGRESS = re.compile(r"(\w+: )?round \d+ of \d+|\w+: \d+ rounds")  # of no use afterwards
MISSED = verdict(False)
SECTION = re.compile(r"^## bench-(\w+)\n\nLoad before it: ([\d.]+)\.(?: It failed, with exit code "
                     r"(\d+)\.)?\n\n```text\n(.*?)\n```$", re.M | re.S)


@dataclass(frozen=True)
class Ran:
    """What a bench printed, without its progress, its exit code, and the load before it."""

    name: str
    said: str
    code: int
    load: float


def run(name: str, screen: Screen) -> Ran:
    """Runs one bench to its end; what it prints is shown as it comes."""
    load, said = os.getloadavg()[0], []
    environment = {"SCALE": "0.1", **os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    for what in ("SCALE", "ROUNDS"):
        if (own := f"{what}_{name.upper()}") in environment:
            environment[what] = environment[own]
    process = subprocess.Popen([sys.executable, "-m", f"bench.{name}_bench"], cwd=PROJECT,
                               text=True, encoding="utf-8", env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for line in process.stdout:
        screen.say(line.rstrip())
        if not PROGRESS.match(line):
            said.append(line.rstrip())
    return Ran(name, "\n".join(said).strip("\n"), process.wait(), load)


def machine() -> list[tuple[str, str]]:
    """What the benches run on: (what, in words)."""
    cpus = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    server = subprocess.run([binaries() / "postgres", "--version"], check=True, text=True,
                            capture_output=True).stdout
    return [("CPU", f"{os.cpu_count()} × {cpus[0] if cpus else platform.machine()}"),
            ("memory", f"{memory:.1f} GiB"),
            ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
            ("server", server.strip()),
            ("Python", platform.python_version())]


def document(ran: list[Ran], facts: list[tuple[str, str]]) -> str:
    """The text of RESULTS.md."""
    limits = [line for bench in ran for line in bench.said.splitlines()
              if re.search(r"\breached$", line, re.I)]
    missed = [re.sub(r" {2,}", "; ", line) for line in limits if line.endswith(MISSED)]
    lines = ["# What the benches measured", "", "Made by `make bench`; a bench alone: `make "
             "bench-NAME`, where its module says what is compared with what.", "",
             "| | |", "|---|---|", *(f"| {what} | {words} |" for what, words in facts), "",
             f"Of {len(limits)} limits {len(limits) - len(missed)} are reached"
             + (". These are not:" if missed else "."), "",
             *(f"* {line}" for line in missed), *([""] if missed else [])]
    for bench in ran:
        failed = "" if bench.code == 0 else f" It failed, with exit code {bench.code}."
        lines += [f"## bench-{bench.name}", "", f"Load before it: {bench.load:.1f}.{failed}", "",
                  "```text", bench.said, "```", ""]
    return "\n".join(lines)


def kept() -> dict[str, Ran]:
    """What the file says of each bench that ran before."""
    text = RESULTS.read_text("utf-8") if RESULTS.exists() else ""
    return {name: Ran(name, said, int(code or 0), float(load))
            for name, load, code, said in SECTION.findall(text)}


def main(names: list[str]) -> int:
    """Runs benches (none named: all) and writes down what they found; 1 if one of them failed."""
    screen = Screen()
    facts = [("date", datetime.now(UTC).date().isoformat()), *machine(),
             ("SCALE", os.environ.get("SCALE", "0.1")),
             ("ROUNDS", os.environ.get("ROUNDS", "each bench's own")),
             ("load before", " ".join(f"{load:.1f}" for load in os.getloadavg()))]
    found = (kept() if names else {}) | {name: run(name, screen) for name in names or BENCHES}
    ran = [found[name] for name in BENCHES if name in found]
    RESULTS.write_text(document(ran, facts), "utf-8")
    screen.text(f"written: {RESULTS.name}")
    return max(bench.code != 0 for bench in ran)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
