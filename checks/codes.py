"""The error codes: the rows of core.error_code, and every place that uses one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from checks.tree import files, place, read

STRING = r"e?'((?:[^']|'')*)'"
ROW = re.compile(rf"^ *\('(MB\d\d\d)',\s*{STRING},\s*{STRING},\s*{STRING}\)", re.M)
DELETE = re.compile(r"delete from core\.error_code\s+where code ((?:in|like|between)\s[^;]*);")
USE = re.compile(r"(?:\berrcode\s*=\s*|\bFleetError\(\s*)f?[\"'](.*?)[\"']|[\"'](MB\d\d\d)[\"']")
# Texts for whoever reads them: of more than one word, in one or more strings side by side
PIECE = r"""[ef]?(?:'((?:[^'\n]|'')*)'|"([^"\n]*)")"""
TEXT = re.compile(rf"{PIECE}(?:\s*{PIECE})*")
# not at the start of a sentence: one that begins with an option tells what the option does
DESTROYS = re.compile(r"(?<!^)(--discard-data|discard_data = on|p_discard\b|(make|\.py) reset)")
TELLS = re.compile(r"\b(throws?|thrown|deletes?|drops?|discarded|lost)\b")


class Row(NamedTuple):
    """A row of core.error_code as a migration inserts it."""

    path: str
    place: str
    code: str
    meaning: str
    remedy: str


def rows(root: Path) -> list[Row]:
    """What all migrations insert, in order of code."""
    found = []
    for path in files(root, "sql/*/*.sql"):
        text = read(root, path)
        for row in ROW.finditer(text):
            code, _, meaning, remedy = (
                value.replace("''", "'").replace("\\\\", "\\") for value in row.groups())
            found.append(Row(path, place(path, text, row.start()), code, meaning, remedy))
    return sorted(found, key=lambda row: row.code)


def known(root: Path) -> Iterator[str]:
    """Every code that SQL or the runner uses has a row, once, and every row is used."""
    declared, used = [row.code for row in rows(root)], set()
    for path in files(root, "sql/*.sql", "runner.py", "fleet/*.py"):
        text = read(root, path)
        passed = [range(*m.span()) for pattern in (ROW, DELETE) for m in pattern.finditer(text)]
        for found in USE.finditer(text):
            if not any(found.start() in span for span in passed):
                used.add(code := found[1] or found[2])
                if code not in declared:
                    yield f"{place(path, text, found.start())}: {code} is not in core.error_code"
    for row in rows(root):
        if row.code not in used:
            yield f"{row.place}: {row.code} is used nowhere: remove the row"
        if declared.count(row.code) > 1:
            yield f"{row.place}: {row.code} is there twice: take a free number"


def losses(root: Path) -> Iterator[str]:
    """A sentence that names what destroys data says so itself: whoever is in a hurry reads no
    further."""
    for path in files(root, "sql/*.sql", "runner.py", "fleet/*.py"):
        text = read(root, path)
        for found in TEXT.finditer(text):
            said = "".join(map("".join, re.findall(PIECE, found[0]))).replace("''", "'")
            for sentence in re.split(r"(?<=[.?]) ", said):
                if DESTROYS.search(sentence) and not TELLS.search(sentence):
                    yield f"{place(path, text, found.start())}: say what is lost: {sentence}"


def removed(root: Path) -> Iterator[str]:
    """A rollback removes the rows of its migration, and no others."""
    declared = rows(root)
    for path in sorted({row.path for row in declared}):
        rollback = f"{path.rpartition('/')[0]}/rollback.sql"
        text = read(root, rollback)
        added = {row.code for row in declared if row.path == path}
        gone = {row.code for row in declared
                if any(_matches(row.code, condition) for condition in DELETE.findall(text))}
        if gone != added and "drop table core.error_code;" not in text:
            wrong = ", ".join(sorted(gone ^ added))
            yield f"{rollback}:1: make it delete exactly the codes of {path}; wrong: {wrong}"


def _matches(code: str, condition: str) -> bool:
    """Whether `where code <condition>` is true of this code."""
    given = re.findall(r"'(.*?)'", condition)
    if condition.startswith("between"):
        return given[0] <= code <= given[1]
    return any(re.fullmatch(g.replace("%", ".*").replace("_", "."), code) for g in given)
