"""What each column takes that bots write: the domains of the migrations, and varchars, in words."""

import re
from pathlib import Path

from checks.tree import files, read

DOMAIN = re.compile(
    r"^create domain (\w+)\.(\w+) as \w+\n(.*?);$", re.M | re.S)
CHECK = re.compile(r"core\.check_(text|json|time)\(value, '([\w.]+)'(?:, (\d+))?\)")
TABLE = re.compile(r"^create table (\w+)\.(\w+) \(\n((?:(?!\)).*\n)*)\) partition by hash", re.M)
VARCHAR = re.compile(r"^    (\w+) +varchar\((\d+)\)", re.M)
LISTED = re.compile(r"value in \(([^)]*)\)")
WORDS = {"text": "up to {:,} characters",
         "json": "up to {:,} bytes as it prints, 512 levels, numbers of up to 1,000 digits before "
                 "and after the point",
         "time": "a time from 1970 to 2099"}


def rows(root: Path) -> list[tuple[str, str]]:
    """(column, what it takes), as the migrations make them."""
    found, texts = [], [read(root, path) for path in files(root, "sql/*/*.sql")]
    tables = [table for text in texts for table in TABLE.finditer(text)]
    for table in tables:
        found += [(f"`{table[1]}.{table[2]}.{column}`", WORDS["text"].format(int(most)))
                  for column, most in VARCHAR.findall(table[3])]
    for domain in (domain for text in texts for domain in DOMAIN.finditer(text)):
        if check := CHECK.search(domain[3]):
            found.append((f"`{check[2]}`", WORDS[check[1]].format(int(check[3] or 0))))
        elif listed := LISTED.search(domain[3]):
            # no function names the column: the domain does, <table>_<column>
            table = max((t[2] for t in tables if domain[2].startswith(f"{t[2]}_")), key=len)
            found.append((f"`{domain[1]}.{table}.{domain[2].removeprefix(f'{table}_')}`",
                          listed[1].replace("'", "`")))
    return sorted(found)
