"""`python -m checks` runs every check; with `--write` it makes the tables of README.md anew."""

import sys
from pathlib import Path

from checks import codes, python, readme, rules, sql, tools

ROOT = Path(__file__).resolve().parent.parent
CHECKS = (
    tools.ruff, tools.squawk, tools.pgspot,
    sql.parse, sql.headers, sql.outside, sql.parts, sql.mirrored, sql.backslashes,
    rules.code, rules.text, rules.quoting,
    codes.known, codes.removed, codes.losses,
    python.docstrings, python.imports, python.lengths, python.sizes,
    python.circles, python.loading,
    readme.tables)


def main(arguments: list[str]) -> int:
    """Prints a line for each check, what it found, and the figures; returns the exit code."""
    if arguments == ["--write"]:
        readme.write(ROOT)
        return 0
    failed = False
    for check in CHECKS:
        name = f"{check.__module__.removeprefix('checks.')} {check.__name__}"
        found = list(check(ROOT))
        print(f"{name:<18} {'FAILED' if found else 'ok'}", *found, sep="\n  ", flush=True)
        failed |= bool(found)
    print(python.figures(ROOT))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
