"""The tables of README.md, made from what they describe."""

import re
from collections.abc import Iterator
from pathlib import Path

from checks import bounds, codes, python
from checks.tree import place, read

MARKED = r"(<!-- {0} -->\n)(.*?)(<!-- /{0} -->)"


def made(root: Path) -> dict[str, str]:
    """Each table by the name in its markers."""
    targets = re.findall(r"^([a-z-]+):.*?## (.*)$", read(root, "Makefile"), re.M)
    return {
        "codes": _table(("code", "meaning", "what to do"),
                        [(row.code, row.meaning, row.remedy) for row in codes.rows(root)]),
        "bounds": _table(("column", "takes"), bounds.rows(root)),
        "commands": _table(("`runner.py` …", "what it does"),
                           [(f"`{name}`", text) for name, text, _ in python.commands(root)]),
        "targets": _table(("`make` …", "what it does"),
                          [(f"`{name}`", text) for name, text in targets])}


def tables(root: Path) -> Iterator[str]:
    """README.md says what `--write` would make it say."""
    text = read(root, "README.md")
    for name, table in made(root).items():
        found = re.search(MARKED.format(name), text, re.S)
        if not found:
            yield f"README.md:1: put the table between <!-- {name} --> and <!-- /{name} -->"
        elif found[2] != table:
            yield f"{place('README.md', text, found.start())}: old table: python -m checks --write"


def write(root: Path) -> None:
    """Makes the tables of README.md anew."""
    text = read(root, "README.md")
    for name, table in made(root).items():
        if found := re.search(MARKED.format(name), text, re.S):
            text = text.replace(found[0], found[1] + table + found[3])
    (root / "README.md").write_text(text, "utf-8")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in (head, *rows)]
    lines.insert(1, " | ".join("---" for _ in head))
    return "".join(f"| {line} |\n" for line in lines)
