"""The linters that others wrote, with what we ask of them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from checks.tree import files

PLACE = r"(?P<path>.+?):(?P<line>\d+):\d+: (?P<text>.+)"


def ruff(root: Path) -> Iterator[str]:
    """Its rules are in pyproject.toml."""
    return _run(root, PLACE, "ruff", "check", "--output-format=concise", ".")


def squawk(root: Path) -> Iterator[str]:
    """What a migration could do to a live database. It counts lines from 0."""
    return _run(root, PLACE, "squawk", "--reporter=gcc", *files(root, "sql/*/apply.sql"), add=1)


def pgspot(root: Path) -> Iterator[str]:
    """Names that somebody else's object could answer to; but what commits can pin no path."""
    for path in files(root, "sql/*/apply.sql", "sql/*/rollback.sql", "sql/*/create.sql"):
        yield from (said for said in _run(
            root, r"(?P<text>PS\d+: .+) at line (?P<line>\d+)", "pgspot", path)
            if not said.endswith("PS005: Function without explicit search_path: "
                                 "performance.maintain()"))


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
