"""The migrations on disk, what the database says of them, and the atomic step between the two."""

import glob
import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import psycopg
import yoyo
from yoyo.exceptions import BadMigration, MigrationConflict
from yoyo.migrations import topological_sort
from yoyo.topologicalsort import CycleError

from fleet import registry, sqlfile
from fleet.errors import DRIFT, USAGE, FleetError

FILES = ("apply", "rollback", "verify")
RETRIES = (0.5, 1, 2, 4, 8)  # seconds between attempts when a lock can't be had
# What one file set must not reach the next, nor, in a dry run, its `set local`.
AS_CONNECTED = """select set_config(name, reset_val, true) from pg_settings
                   where source = 'session' and name not in ('row_security',
                                                             'client_connection_check_interval')"""
BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
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


@dataclass(frozen=True)
class State:
    """Where one migration stands: applied, pending, adopt, edited, gone or late."""

    migration: str
    state: str
    applied_at: object = None
    login: str | None = None
    next_step: str = ""


def read(sql: Path) -> list[Migration]:
    """The migrations in `sql`, dependencies first. Raises MB909 where yoyo would skip silently."""
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


def states(conn: psycopg.Connection, migrations: list[Migration]) -> list[State]:
    """Compares disk, yoyo's marks and our history; reads only and takes no lock."""
    marks = {mark.migration_id: mark for mark in registry.marks(conn)}
    newest = max((i for i, m in enumerate(migrations) if m.id in marks), default=-1)
    known = registry.known(conn)  # rolled back with --only, a migration may come again
    result = []
    for place, migration in enumerate(migrations):
        mark = marks.pop(migration.id, None)
        if mark is None:
            late = place < newest and migration.id not in known
            result.append(State(migration.id, "late" if late else "pending", next_step=(
                "give it a number after the last applied one" if late else "runner.py migrate")))
        elif mark.apply_sha256 is None:
            result.append(State(migration.id, "adopt", mark.applied_at, None,
                                "yoyo applied it: runner.py migrate verifies and adopts it"))
        else:
            edited = [name for name in FILES
                      if migration.sha256(name) != getattr(mark, f"{name}_sha256")]
            result.append(State(
                migration.id, "edited" if edited else "applied", mark.applied_at, mark.login,
                f"{', '.join(f'{n}.sql' for n in edited)} changed since: make reset (or restore it)"
                if edited else ""))
    result += [State(name, "gone", mark.applied_at, mark.login, f"restore sql/{name} from git")
               for name, mark in marks.items()]
    return result


def refuse_drift(found: list[State]) -> None:
    """Raises MB907 if a file was edited, is gone or comes late."""
    for state in found:
        if state.state in ("edited", "gone", "late"):
            facts = {"edited": "was edited after it was applied", "gone": "is applied, but its "
                     "folder is gone", "late": "has a lower number than one already applied"}
            raise FleetError("MB907", f"{state.migration} {facts[state.state]}",
                             f"{state.next_step}. All of it: runner.py status.", exit_code=DRIFT)


@dataclass
class Session:
    """A connection that may change the schema; `dry_run` does the same and rolls it back."""

    conn: psycopg.Connection
    migrations: list[Migration]
    dry_run: bool
    say: Callable[[str], None]
    done: Callable[[str, str, float], None]  # operation, migration id, milliseconds

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the advisory lock and yoyo's lock row. Raises MB908 if somebody else has one."""
        outer = self.conn.transaction(force_rollback=True) if self.dry_run else nullcontext()
        with registry.advisory_lock(self.conn), outer:
            registry.create(self.conn, self.migrations[0].folder.parent / "000_registry")
            with registry.yoyo_lock(self.conn):
                yield

    def migrate(self, to: str | None = None) -> list[str]:
        """Adopts what yoyo applied and applies what is pending, up to `to`; returns their ids."""
        last = pick(self.migrations, to).id if to else None
        changed = []
        with self.exclusive():
            found = states(self.conn, self.migrations)
            refuse_drift(found)
            by_id = {m.id: m for m in self.migrations}
            for state in found:
                if state.state == "adopt":
                    self._atomically("adopt", by_id[state.migration], self._adopt)
                elif state.state == "pending":
                    self._atomically("apply", by_id[state.migration], self._apply)
                changed += [state.migration] if state.state != "applied" else []
                if state.migration == last:
                    break
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
            self._atomically("adopt", migration, self._adopt)
        return True

    def rollback(self, chosen: list[Migration], discard_data: bool) -> None:
        """Undoes `chosen`, last first, each in its own transaction."""
        with self.exclusive():
            marked = {mark.migration_id for mark in registry.marks(self.conn)}
            due = {d.id for m in chosen for d in dependants(self.migrations, m.id)} & marked
            if due != {m.id for m in chosen}:
                raise FleetError("MB907", "somebody else migrated while this command waited",
                                 "See runner.py status, then repeat.", exit_code=DRIFT)
            for migration in reversed(chosen):
                def undo(target: Migration, started: float) -> None:
                    registry.expect(self.conn)
                    self.conn.execute("select set_config('app.discard_data', %s, true)",
                                      ["on" if discard_data else "off"])
                    sqlfile.run(self.conn, target.script("rollback"))
                    registry.unmark(self.conn, target.id, time.monotonic() - started)
                self._atomically("rollback", migration, undo)

    def _apply(self, migration: Migration, started: float) -> None:
        try:
            registry.expect(self.conn)
            sqlfile.run(self.conn, migration.script("apply"))
        except FleetError as fault:
            if getattr(fault.__cause__, "sqlstate", None) in DUPLICATE:
                fault.hint = (f"If it was run by hand, or yoyo was stopped half-way: "
                              f"runner.py adopt {migration.id}. Otherwise remove what is there.")
            raise
        try:
            self.conn.execute("set constraints all immediate")
        except psycopg.Error as fault:
            if fault.sqlstate is None:  # the connection, not the file
                raise
            shown = migration.shown("apply")
            raise sqlfile.failure(fault, shown, shown) from fault
        require(self.conn, migration)
        registry.mark(self.conn, migration, "apply", time.monotonic() - started)

    def _adopt(self, migration: Migration, started: float) -> None:
        require(self.conn, migration)
        registry.mark(self.conn, migration, "adopt", time.monotonic() - started)

    def _atomically(self, operation: str, migration: Migration,
                    step: Callable[[Migration, float], None]) -> None:
        """Runs one step in one transaction; repeats it when a lock could not be had."""
        for attempt, pause in enumerate((*RETRIES, None), 1):
            started = time.monotonic()
            try:
                with self.conn.transaction():
                    self.conn.execute(AS_CONNECTED)
                    step(migration, started)
                break
            except FleetError as fault:
                if pause is None or not isinstance(fault.__cause__, BUSY):
                    raise
                self.say(f"{migration.id}: {fault.message}; attempt {attempt + 1} of "
                         f"{len(RETRIES) + 1} in {pause} s")
                time.sleep(pause)
        self.done(operation, migration.id, (time.monotonic() - started) * 1000)


def check(conn: psycopg.Connection, migration: Migration) -> list[tuple[str, bool, str]]:
    """The rows of verify.sql: (check_name, ok, detail); one that fails to run is a row too."""
    try:
        with conn.transaction():
            conn.execute("set transaction read only")
            rows = sqlfile.run(conn, migration.script("verify"))
            if rows and len(rows[0]) == 3:
                return rows
            return [("verify.sql returns rows of check_name, ok, detail", False, "no check")]
    except FleetError as fault:
        if not isinstance(fault.__cause__, psycopg.errors.ProgrammingError):
            raise
        return [("verify.sql runs", False, f"{fault.place}: {fault.message}")]


def require(conn: psycopg.Connection, migration: Migration) -> None:
    """Raises MB906 naming the checks of verify.sql that are not true."""
    failed = [f"{name} ({detail})" for name, ok, detail in check(conn, migration) if not ok]
    if failed:
        raise FleetError("MB906", f"{migration.id}: not true: {'; '.join(failed)}",
                         "Nothing was kept. Compare apply.sql with verify.sql, or remove what is "
                         "in the way.", migration.shown("verify"), DRIFT)
