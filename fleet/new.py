"""`runner.py new`: a migration's entry and folder, ready to edit."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet import files
from fleet.command import Command, Context, arg
from fleet.errors import DONE, USAGE, FleetError
from fleet.output import writing

TEMPLATE = Path(__file__).parent / "template"
PURPOSE = {"apply.sql": "table of contents: header, settings, the files that it includes",
           "rollback.sql": "undoes it, last first", "verify.sql": "says whether it is there"}


def new(ctx: Context) -> int:
    """Makes the next migration's files, all of them or none."""
    name, sql = ctx.args.name, ctx.project / "sql"
    before = files.pick(ctx.files, ctx.args.depends) if ctx.args.depends else ctx.files[-1]
    with _alone(sql, heal=not ctx.args.dry_run):
        made = _free(sql, name)
        kind = "in_no_transaction" if ctx.args.no_transaction else "in_transaction"
        texts = {_named(path.name, made): path.read_text("utf-8")
                 .replace("000_name", made).replace("000_before", before.id)
                 .replace("name.sql", f"{name}.sql")
                 for path in sorted((TEMPLATE / kind).iterdir()) if path.is_file()}
        if not ctx.args.dry_run:
            with writing(sql, "Let this login write to the folder."):
                _write(sql, made, texts)
    ctx.screen.rows(["file", "what"], [
        (f"sql/{path}", PURPOSE.get(Path(path).name, "yoyo's entry: what it depends on"
                                    if path.endswith(".py") else "the SQL itself"))
        for path in texts])
    ctx.closing(f"{made} {'would be' if ctx.args.dry_run else 'is'} made, after {before.id}: edit "
                f"it (docs/extend.md), then runner.py migrate --dry-run")
    return DONE


@contextmanager
def _alone(sql: Path, heal: bool) -> Iterator[None]:
    """One at a time, or two would take the same number; finishes or clears what a killed one left.
    """
    with writing(sql, "Let this login write to the folder."):
        folder = os.open(sql, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        for leftover in sql.glob(".new-*") if heal else ():
            for entry in leftover.glob("*.py"):
                if (sql / entry.stem).is_dir():  # killed between the two renames
                    entry.rename(sql / entry.name)
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        os.close(folder)


def _free(sql: Path, name: str) -> str:
    """The id for a new migration of this name: the next number and the name. Raises MB909."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,49}", name):
        raise FleetError("MB909", f"{name!r} can't name a migration",
                         "Use small letters, digits and _, a letter first, without the number: "
                         "runner.py new invoices", exit_code=USAGE)
    if name in ("apply", "rollback", "verify"):
        raise FleetError("MB909", f"{name}.sql is a file of every migration",
                         "Choose another name: its topic file is called so.", exit_code=USAGE)
    taken = [found for path in sql.iterdir() if (found := re.match(r"(\d+)_(\w+)", path.name))]
    for found in taken:
        if found[2] == name:
            raise FleetError("MB909", f"sql/{found[0]} is called so already",
                             "Choose another name, or edit that one.", exit_code=USAGE)
    return f"{max((int(found[1]) for found in taken), default=0) + 1:03}_{name}"


def _named(file: str, made: str) -> str:
    """Where a file of the template belongs, below sql/."""
    if file == "entry.py":
        return f"{made}.py"
    return f"{made}/{file.replace('name', made.partition('_')[2])}"


def _write(sql: Path, made: str, texts: dict[str, str]) -> None:
    """Writes beside, then renames: the folder first, at last the entry, which makes it count."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=sql) as beside:
        (Path(beside) / made).mkdir()
        for path, text in texts.items():
            (Path(beside) / path).write_text(text, "utf-8", newline="\n")
        (Path(beside) / made).rename(sql / made)
        (Path(beside) / f"{made}.py").rename(sql / f"{made}.py")


COMMANDS = (
    Command("new", "make the files of the next migration, ready to edit", new, changes=True,
            arguments=(
                arg("name", metavar="NAME", help="what it is about: invoices makes 006_invoices"),
                arg("--depends", metavar="ID", help="what it needs (default: the last one)"),
                arg("--no-transaction", action="store_true", help="for what can't run in one, as "
                    "create index concurrently: statement by statement"))),
)
