"""The linters that others wrote, with what we ask of them."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from checks import sql
from checks.tree import files
from fleet import sqlfile

PLACE = r"(?P<path>.+?):(?P<line>\d+):\d+: (?P<text>.+)"


def ruff(root: Path) -> Iterator[str]:
    """Its rules are in pyproject.toml."""
    return _run(root, PLACE, "ruff", "check", "--output-format=concise", ".")


def squawk(root: Path) -> Iterator[str]:
    """What a migration could do to a live database. It counts lines from 0."""
    for path in files(root, "sql/*/apply.sql"):
        kind = "--assume-in-transaction" if sql.in_transaction(root, path) else (
            "--no-assume-in-transaction")
        yield from _whole(root, path, PLACE, "squawk", "--reporter=gcc", kind, add=1)


def pgspot(root: Path) -> Iterator[str]:
    """Names that somebody else's object could answer to; but what commits can pin no path."""
    for path in files(root, "sql/*/apply.sql", "sql/*/rollback.sql", "sql/*/create.sql"):
        yield from (said for said in _whole(
            root, path, r"(?P<text>PS\d+: .+) at line (?P<line>\d+)", "pgspot")
            if not said.endswith("PS005: Function without explicit search_path: "
                                 "performance.maintain()"))


def _whole(root: Path, path: str, pattern: str, *program: str, add: int = 0) -> Iterator[str]:
    """Runs a program on a file with what it includes; names the places where they are written."""
    script = sqlfile.read(root / path, path)
    starts = [0, *(found.end() for found in re.finditer("\n", script.text))]
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as whole:
        whole.write(script.text)
        whole.flush()
        for said in _run(root, pattern, *program, whole.name, add=add):
            line, text = said.removeprefix(f"{whole.name}:").split(": ", 1)
            yield f"{script.place(starts[int(line) - 1])}: {text}"


def _run(root: Path, pattern: str, program: str, *arguments: str, add: int = 0) -> Iterator[str]:
    """The lines that match; a failure without any is told as it is."""
    done = subprocess.run([Path(sys.executable).parent / program, *arguments], cwd=root,
                          capture_output=True, text=True)
    found = [match.groupdict() for match in re.finditer(rf"^{pattern}$", done.stdout, re.M)]
    for said in found:
        yield f"{said.get('path', arguments[-1])}:{int(said['line']) + add}: {said['text']}"
    if done.returncode and not found:
        said = (done.stdout + done.stderr).split()
        yield f"{arguments[-1]}:1: {program} failed: {' '.join(said)}"
