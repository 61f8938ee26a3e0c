"""`runner.py migrate`: the atomic steps that bring migrations into a database."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import psycopg

from fleet import lock, registry, settings, sqlfile
from fleet.command import Command, Context, arg
from fleet.errors import BUSY, DRIFT, FleetError
from fleet.files import Migration, dependants, pick
from fleet.status import refuse_drift, states
from fleet.verify import require

RETRIES = (0.5, 1, 2, 4, 8)  # seconds between attempts when a lock can't be had
# "is there already": somebody ran the file by hand, or yoyo was stopped before its mark
DUPLICATE = ("42P06", "42P07", "42710", "42723", "42P16")

Step = Callable[[Migration, str, float], None]  # of a migration: operation, when it was started


@dataclass
class Session:
    """A connection that may change the schema; `dry_run` does the same and rolls it back."""

    conn: psycopg.Connection
    files: list[Migration]
    dry_run: bool
    say: Callable[[str], None]
    done: Callable[[str, str, float], None]  # operation, migration id, milliseconds
    editor: Callable[[], Any] | None = None  # makes what brings edited files live; without one
    # they are refused
    correlation_id: str = ""
    held: lock.Held = field(init=False)

    @classmethod
    def of(cls, ctx: Context, conn: psycopg.Connection) -> "Session":
        """The session of a command."""
        def editor() -> Any:
            from fleet.code import Editor
            return Editor.of(ctx, conn)
        return cls(conn, ctx.files, ctx.args.dry_run, ctx.screen.say, ctx.done, editor,
                   ctx.correlation_id)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the lock and yoyo's lock row. Raises MB908 if somebody else has one."""
        outer = self.conn.transaction(force_rollback=True) if self.dry_run else nullcontext()
        with outer, lock.hold(self.conn, lock.MIGRATION, self.correlation_id,
                              self.dry_run) as self.held:
            registry.create(self.conn)
            registry.take_yoyo_lock(self.conn, self.held.pid)
            yield

    def migrate(self, to: str | None = None) -> list[str]:
        """Adopts what yoyo applied, applies what is pending, up to `to`, and brings live what was
        edited; returns their ids."""
        last = pick(self.files, to).id if to else None
        changed = []
        with self.exclusive():
            found = states(self.conn, self.files)
            if unmarked := [s.migration for s in found if s.state == "adopt" and not s.applied_at]:
                raise FleetError("MB907", f"{', '.join(unmarked)}: in place, but not marked as "
                                 "applied", f"Did psql run them? runner.py adopt {unmarked[-1]}",
                                 exit_code=DRIFT)
            editor, edited = None, []
            if self.editor and any(state.state == "edited" for state in found):
                editor = self.editor()
                edited = editor.begin(self.files, found, last)
            refuse_drift(found, *(["edited"] if edited else []))
            by_id, untried = {m.id: m for m in self.files}, set()
            for state in found:
                if state.state == "adopt":
                    self.atomically("adopt", by_id[state.migration], self.mark)
                if state.migration in untried:
                    self.say(f"{state.migration} needs what could only be shown: not tried")
                elif state.state == "pending" and not self.run(
                        "apply", by_id[state.migration], self.mark):
                    untried |= {m.id for m in dependants(self.files, state.migration)}
                elif state.state in ("adopt", "pending"):
                    changed.append(state.migration)
                if state.migration == last:
                    break
            if edited:
                self.atomically("edit", edited[-1], editor.bring)
                changed += [migration.id for migration in edited]
        return changed

    def run(self, operation: str, migration: Migration, mark: Step,
            given: Sequence[tuple[str, str]] = ()) -> bool:
        """Runs a migration's file (`operation`: apply, rollback) with the settings `given`, and
        marks it; False if a dry run could only show what it would do."""
        script, started = migration.script(operation), time.monotonic()

        def step(target: Migration, operation: str, started: float) -> None:
            if script.in_transaction:
                self._run_whole(target, script, given)
            mark(target, operation, started)

        if not script.in_transaction:
            from fleet import stepwise
            if self.dry_run:
                stepwise.show(script, migration.id, self.say)
                return False
            registry.expect(self.conn, migration.id)
            stepwise.run(self.conn, script, self.say, RETRIES, self.held, given)
        self.atomically(operation, migration, step, started)
        return True

    def _run_whole(self, migration: Migration, script: sqlfile.Script,
                   given: Sequence[tuple[str, str]]) -> None:
        registry.expect(self.conn)
        try:
            with settings.as_connected(self.conn):
                for name, value in given:
                    self.conn.execute("select set_config(%s, %s, true)", [name, value])
                sqlfile.run(self.conn, script)
                with sqlfile.blaming(lambda _: script.shown):  # for what it left for the commit
                    self.conn.execute("set constraints all immediate")
        except FleetError as fault:
            is_apply = script.shown.endswith("apply.sql")
            if is_apply and getattr(fault.__cause__, "sqlstate", None) in DUPLICATE:
                fault.hint = (f"If it was run by hand, or yoyo was stopped half-way: "
                              f"runner.py adopt {migration.id}. Otherwise remove what is there.")
            raise

    def mark(self, migration: Migration, operation: str, started: float) -> None:
        """Verifies and marks what is in place, in the caller's transaction. Raises MB906, MB907."""
        require(self.conn, migration)
        registry.mark(self.conn, migration, operation, time.monotonic() - started)

    def atomically(self, operation: str, migration: Migration,
                   step: Step, started: float = 0) -> None:
        """Runs one step in one transaction; repeats it when a lock could not be had."""
        started = started or time.monotonic()
        for attempt, pause in enumerate((*RETRIES, None), 1):
            try:
                with self.conn.transaction():
                    step(migration, operation, started)
                    self.held.require(self.conn)
                break
            except FleetError as fault:
                if pause is None or not isinstance(fault.__cause__, BUSY):
                    raise
                self.say(f"{migration.id}: {fault.message}; attempt {attempt + 1} of "
                         f"{len(RETRIES) + 1} in {pause} s")
                time.sleep(pause)
        self.done(operation, migration.id, (time.monotonic() - started) * 1000)


def migrate(ctx: Context) -> int:
    with ctx.connect() as conn:
        is_new = not registry.marks(conn)
        registry.preflight(conn, ctx.target.shown(), ctx.screen.say,
                           lambda detail: is_new and detail.startswith("note:"))
        changed = Session.of(ctx, conn).migrate(ctx.args.to)
    return ctx.finish(f"{len(changed)} migrated" if changed else "nothing to migrate")


COMMANDS = (
    Command("migrate", "apply what is pending, bring live what was edited",
            migrate, changes=True,
            arguments=(arg("--to", metavar="ID", help="the last one to apply"),)),
)
