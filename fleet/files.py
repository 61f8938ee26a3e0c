"""The migrations on disk: what each is called, what it needs, and its files."""

import glob
import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import yoyo
from yoyo.exceptions import BadMigration, MigrationConflict
from yoyo.migrations import topological_sort
from yoyo.topologicalsort import CycleError

from fleet import sqlfile
from fleet.errors import USAGE, FleetError

FILES = ("apply", "rollback", "verify")
for chatty in ("yoyo", "psycopg"):  # they log what is raised as well, one of them with tracebacks
    logging.getLogger(chatty).addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Migration:
    """One numbered folder of sql/: its id, the ids it needs, and its three files."""

    id: str
    folder: Path
    depends: frozenset[str]

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.sql"

    def script(self, name: str) -> sqlfile.Script:
        """The file with what it includes. Raises MB909 if one is not there."""
        return sqlfile.read(self.path(name), self.shown(name))

    def sha256(self, name: str) -> str:
        return hashlib.sha256(self.script(name).text.encode()).hexdigest()

    def shown(self, name: str) -> str:
        return f"{self.folder.parent.name}/{self.id}/{name}.sql"

    def header(self, key: str) -> str:
        """What apply.sql's first comment says under `key` (depends, locks, undo) or of itself."""
        found = re.search(rf"^-- {re.escape(key)}: *(.*)$", self.script("apply").text, re.M)
        return found[1] if found else ""


def read(sql: Path) -> list[Migration]:
    """The migrations in `sql`, dependencies first. Raises MB909 where yoyo would skip silently."""
    for entry in sorted([*sql.glob("*.py"), *sql.glob("*.sql")]):  # yoyo says not what lacks
        for name in FILES:
            Migration(entry.stem, sql / entry.stem, frozenset()).script(name)
    try:
        migrations = [
            Migration(m.id, sql / m.id, frozenset(d.id for d in m.depends))
            for m in topological_sort(yoyo.read_migrations(glob.escape(str(sql))))]
    except (BadMigration, MigrationConflict, CycleError) as fault:
        why = ": ".join(str(arg) for arg in fault.args)
        if isinstance(fault, CycleError):
            why = "these depend on one another: " + ", ".join(m.id for m in fault.args[1])
        raise FleetError("MB909", f"a migration can't be loaded: {why}",
                         "Correct __depends__ and the files in its folder.",
                         exit_code=USAGE) from fault
    if not migrations:
        raise FleetError("MB909", f"{sql} holds no migration", "Restore it: git checkout -- sql",
                         exit_code=USAGE)
    return migrations


def pick(migrations: list[Migration], wanted: str) -> Migration:
    """The migration named by its id or an unambiguous beginning of it. Raises MB909."""
    found = [m for m in migrations if m.id == wanted] or [
        m for m in migrations if m.id.startswith(wanted)]
    if len(found) != 1:
        what = "no migration" if not found else "more than one migration"
        raise FleetError("MB909", f"{what} is called {wanted!r}",
                         f"Name one of: {', '.join(m.id for m in migrations)}.", exit_code=USAGE)
    return found[0]


def dependants(migrations: list[Migration], root: str) -> list[Migration]:
    """The migration `root` and all that need it, directly or not, in order of application."""
    needed = {root}
    for migration in migrations:  # sorted: a migration comes after what it depends on
        if migration.depends & needed:
            needed.add(migration.id)
    return [m for m in migrations if m.id in needed]
