"""What each column takes that bots write: the domains of the migrations, in words."""

import re
from pathlib import Path

from checks.tree import files, read

DOMAIN = re.compile(
    r"^create domain (\w+)\.(\w+) as \w+\n(.*?);$", re.M | re.S)
CHECK = re.compile(r"core\.check_(text|json|time)\(value, '([\w.]+)'(?:, (\d+))?\)")
LISTED = re.compile(r"value in \(([^)]*)\)")
WORDS = {"text": "up to {:,} characters",
         "json": "up to {:,} bytes as it prints, 512 levels, numbers of up to 1,000 digits before "
                 "and after the point",
         "time": "a time from 1970 to 2099"}


def rows(root: Path) -> list[tuple[str, str]]:
    """(column, what it takes), as the migrations make them."""
    found = []
    for path in files(root, "sql/*/*.sql"):
        for domain in DOMAIN.finditer(read(root, path)):
            if check := CHECK.search(domain[3]):
                found.append((f"`{check[2]}`", WORDS[check[1]].format(int(check[3] or 0))))
            elif listed := LISTED.search(domain[3]):
                # no function names the column: the domain does, <table>_<column>
                table, _, column = domain[2].partition("_")
                found.append((f"`{domain[1]}.{table}.{column}`", listed[1].replace("'", "`")))
    return sorted(found)
