"""The migrations on disk, and the atomic steps that bring them into a database and out again."""

import glob
import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import yoyo
from yoyo.exceptions import BadMigration, MigrationConflict
from yoyo.migrations import topological_sort
from yoyo.topologicalsort import CycleError

from fleet import registry, sqlfile, stepwise
from fleet.errors import DRIFT, USAGE, FleetError
from fleet.standing import FILES, refuse_drift, states
from fleet.verifying import check, require  # noqa: F401

if TYPE_CHECKING:
    from fleet.code import Editor

RETRIES = (0.5, 1, 2, 4, 8)  # seconds between attempts when a lock can't be had
# A file finds the settings that psql and yoyo would give it: neither what another file set (nor, in
# a dry run, its `set local`), nor our own row_security = off.
AS_CONNECTED = """select set_config(name, reset_val, true) from pg_settings
                   where source = 'session' and name <> 'client_connection_check_interval'"""
for chatty in ("yoyo", "psycopg"):  # they log what is raised as well, one of them with tracebacks
    logging.getLogger(chatty).addHandler(logging.NullHandler())
# "is there already": somebody ran the file by hand, or yoyo was stopped before its mark
DUPLICATE = ("42P06", "42P07", "42710", "42723", "42P16")


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
    try:
        migrations = [
            Migration(m.id, sql / m.id, frozenset(d.id for d in m.depends))
            for m in topological_sort(yoyo.read_migrations(glob.escape(str(sql))))]
    except (BadMigration, MigrationConflict, CycleError) as fault:
        for entry in sorted(sql.glob("*.py")):  # yoyo does not say which file is not there
            for name in FILES:
                Migration(entry.stem, sql / entry.stem, frozenset()).script(name)
        why = ": ".join(str(arg) for arg in fault.args)
        if isinstance(fault, CycleError):
            why = "these depend on one another: " + ", ".join(m.id for m in fault.args[1])
        raise FleetError("MB909", f"a migration can't be loaded: {why}",
                         "Correct __depends__ and the files in its folder.",
                         exit_code=USAGE) from fault
    if not migrations:
        raise FleetError("MB909", f"{sql} holds no migration", "Restore it: git checkout -- sql",
                         exit_code=USAGE)
    for migration in migrations:
        for name in FILES:
            migration.script(name)
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


@dataclass
class Session:
    """A connection that may change the schema; `dry_run` does the same and rolls it back."""

    conn: psycopg.Connection
    migrations: list[Migration]
    dry_run: bool
    say: Callable[[str], None]
    done: Callable[[str, str, float], None]  # operation, migration id, milliseconds
    editor: "Editor | None" = None  # without one, what was edited is refused

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the advisory lock and yoyo's lock row. Raises MB908 if somebody else has one."""
        outer = self.conn.transaction(force_rollback=True) if self.dry_run else nullcontext()
        with registry.advisory_lock(self.conn), outer:
            registry.create(self.conn, self.migrations[0].folder.parent / "000_registry")
            with registry.yoyo_lock(self.conn):
                yield

    def migrate(self, to: str | None = None) -> list[str]:
        """Adopts what yoyo applied, applies what is pending, up to `to`, and brings live what was
        edited; returns their ids."""
        last = pick(self.migrations, to).id if to else None
        changed = []
        with self.exclusive():
            found = states(self.conn, self.migrations)
            edited = self.editor.begin(self.migrations, found, last) if self.editor else []
            refuse_drift(found, *(["edited"] if edited else []))
            by_id, untried = {m.id: m for m in self.migrations}, set()
            for state in found:
                if state.state == "adopt":
                    self._atomically("adopt", by_id[state.migration], self._mark)
                if state.migration in untried:
                    self.say(f"{state.migration} needs what could only be shown: not tried")
                elif state.state == "pending" and not self._apply(by_id[state.migration]):
                    untried |= {m.id for m in dependants(self.migrations, state.migration)}
                elif state.state in ("adopt", "pending"):
                    changed.append(state.migration)
                if state.migration == last:
                    break
            if edited:
                self._atomically("edit", edited[-1], self.editor.bring)
                changed += [migration.id for migration in edited]
        return changed

    def adopt(self, wanted: str) -> bool:
        """Marks a migration that is in place; False if the runner knows it already.

        Raises MB906 if it is not in place, MB907 if it was edited or needs what isn't applied.
        """
        migration = pick(self.migrations, wanted)
        with self.exclusive():
            found = {state.migration: state for state in states(self.conn, self.migrations)}
            if found[migration.id].state == "applied":
                return False
            if found[migration.id].state == "edited":
                refuse_drift([found[migration.id]])
            for needed in sorted(migration.depends):
                if found[needed].state in ("pending", "late"):
                    raise FleetError("MB907", f"{migration.id} needs {needed}, which isn't applied",
                                     f"First: runner.py adopt {needed}", exit_code=DRIFT)
            self._atomically("adopt", migration, self._mark)
        return True

    def rollback(self, chosen: list[Migration], discard_data: bool) -> int:
        """Undoes `chosen`, last first, each in its own transaction; returns how many."""
        with self.exclusive():
            marked = {mark.migration_id for mark in registry.marks(self.conn)}
            due = {d.id for m in chosen for d in dependants(self.migrations, m.id)} & marked
            if due != {m.id for m in chosen}:
                raise FleetError("MB907", "somebody else migrated while this command waited",
                                 "See runner.py status, then repeat.", exit_code=DRIFT)
            undone, shown = 0, set()
            for migration in reversed(chosen):
                if shown & {m.id for m in dependants(self.migrations, migration.id)}:
                    self.say(f"{migration.id} is needed by what could only be shown: not tried")
                elif self._undo(migration, "on" if discard_data else "off"):
                    undone += 1
                else:
                    shown.add(migration.id)
        return undone

    def _undo(self, migration: Migration, discard_data: str) -> bool:
        """Rolls one migration back; False if a dry run could only show what it would do."""
        script = migration.script("rollback")
        setting = ("app.discard_data", discard_data)

        def undo(target: Migration, operation: str, started: float) -> None:
            if script.in_transaction:
                registry.expect(self.conn)
                self.conn.execute("select set_config(%s, %s, true)", setting)
                sqlfile.run(self.conn, script)
            registry.unmark(self.conn, target.id, time.monotonic() - started)

        return self._run("rollback", migration, script, undo, setting)

    def _apply(self, migration: Migration) -> bool:
        """Applies one migration; False if a dry run could only show what it would do."""
        script = migration.script("apply")

        def apply(target: Migration, operation: str, started: float) -> None:
            if script.in_transaction:
                self._apply_whole(target, script)
            self._mark(target, operation, started)

        return self._run("apply", migration, script, apply)

    def _run(self, operation: str, migration: Migration, script: sqlfile.Script,
             step: Callable[[Migration, str, float], None], *settings: tuple[str, str]) -> bool:
        started = time.monotonic()
        if not script.in_transaction:
            if self.dry_run:
                stepwise.show(script, migration.id, self.say)
                return False
            registry.expect(self.conn, migration.id)
            stepwise.run(self.conn, script, self.say, RETRIES, settings)
        self._atomically(operation, migration, step, started)
        return True

    def _apply_whole(self, migration: Migration, script: sqlfile.Script) -> None:
        try:
            registry.expect(self.conn)
            sqlfile.run(self.conn, script)
        except FleetError as fault:
            if getattr(fault.__cause__, "sqlstate", None) in DUPLICATE:
                fault.hint = (f"If it was run by hand, or yoyo was stopped half-way: "
                              f"runner.py adopt {migration.id}. Otherwise remove what is there.")
            raise
        sqlfile.check_constraints(self.conn, script)

    def _mark(self, migration: Migration, operation: str, started: float) -> None:
        require(self.conn, migration)
        registry.mark(self.conn, migration, operation, time.monotonic() - started)

    def _atomically(self, operation: str, migration: Migration,
                    step: Callable[[Migration, str, float], None], started: float = 0) -> None:
        """Runs one step in one transaction; repeats it when a lock could not be had."""
        started = started or time.monotonic()
        for attempt, pause in enumerate((*RETRIES, None), 1):
            try:
                with self.conn.transaction():
                    self.conn.execute(AS_CONNECTED)
                    step(migration, operation, started)
                break
            except FleetError as fault:
                if pause is None or not isinstance(fault.__cause__, stepwise.BUSY):
                    raise
                self.say(f"{migration.id}: {fault.message}; attempt {attempt + 1} of "
                         f"{len(RETRIES) + 1} in {pause} s")
                time.sleep(pause)
        self.done(operation, migration.id, (time.monotonic() - started) * 1000)
