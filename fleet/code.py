"""Brings edited code live: what replaces what, as one script, run in one transaction."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from fleet import diff, registry, scratch, sqlfile, verify
from fleet.command import Context
from fleet.diff import Difference, Survey
from fleet.errors import DRIFT, FleetError
from fleet.files import Migration
from fleet.scratch import Name, Piece
from fleet.status import State

# "something stands on it", "that can't be replaced": not by code, then
STUCK = ("2BP01", "42P13", "42P16", "42809")
STUCK_HINT = ("Put the file back as it was, and write a migration: runner.py new. Nothing was "
              "kept.")
EXPECT = "select security.expect_inventory();\n"
SETTINGS = """\
set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off; set local standard_conforming_strings = on;
set local lock_timeout = '3s'; set local row_security = on;
set local check_function_bodies = off;
"""
# verify_seals wants an entry whenever something of the audit's machinery was touched
AUDIT = """\
select * from audit.refresh();
select audit.note_capture({reason});
"""
ACCEPT = "select security.accept_inventory({reason});\n"


@dataclass(frozen=True)
class Change:
    """A piece of code that is made, replaced or dropped."""

    verb: str
    name: Name
    place: str
    statements: str

    @property
    def shown(self) -> str:
        return f"{self.verb} {' '.join(self.name)}"


def changes(found: Survey, chosen: list[Difference]) -> list[Change]:
    """What makes the chosen differences as the files say, in order. Raises MB913."""
    places: dict[Name, str] = {}
    stuck = []
    for difference in chosen:
        name = _piece(found, difference.name)
        if name is None or (difference.name[0] == "relation" and _is_table(found, name)):
            stuck.append(difference.shown)
        else:
            places.setdefault(name, difference.place)
    made = [_change(found, name, where, stuck) for name, where in places.items()]
    if stuck:
        raise FleetError("MB913", f"no text can be replaced by another here: {'; '.join(stuck)}",
                         "Put the file back as it was (runner.py diff shows it), and write a "
                         "migration: runner.py new", exit_code=DRIFT)
    whole = "".join(c.statements for c in made if c.verb in ("create", "drop", "recreate"))
    mostly = [c for c in made if c.name[0] not in ("comment", "right")]
    others = [c for c in made if c.name[0] in ("comment", "right") and not (
        c.statements in whole or any(c.name[1] == m.name[1] and m.verb != "replace"
                                     for m in mostly))]
    rank = {True: found.live.pieces, False: found.files.pieces}
    ordered = sorted(mostly, key=lambda c: rank[c.verb == "drop"][c.name].rank)
    return [*(c for c in ordered if c.verb != "drop"), *others,
            *reversed([c for c in ordered if c.verb == "drop"])]


def _piece(found: Survey, name: Name) -> Name | None:
    """The code that a fact is about; none: it is about something that is no code."""
    kind, of = name
    names = {"owner": [("routine", of), ("relation", of)],
             "right": [("right", of.partition(" on ")[2])]}.get(kind, [name])
    known = found.files.pieces.keys() | found.live.pieces.keys()
    return next((name for name in names if name in known), None)


def _is_table(found: Survey, name: Name) -> bool:
    return any(name in content.facts and name not in content.pieces
               for content in (found.files, found.live))


def _change(found: Survey, name: Name, place: str, stuck: list[str]) -> Change:
    old, new = found.live.pieces.get(name), found.files.pieces.get(name)
    if new is None:
        return Change("drop", name, place, old.dropped)
    if old is None:
        return Change("create", name, place, "\n".join(filter(None, (new.made, new.more))))
    if name[0] == "right":
        return Change("replace", name, place, f"{old.dropped}\n{new.made}")
    if name[0] != "policy" and _fits(old, new):
        return Change("replace", name, place, new.made)
    if old.needed:
        stuck.append(f"{' '.join(name)} ({old.needed} stands on it)")
    return Change("replace" if name[0] == "policy" else "recreate", name, place,
                  "\n".join(filter(None, (old.dropped, new.made, new.more))))


def _fits(old: Piece, new: Piece) -> bool:
    """Whether `create or replace` will do."""
    return old.shape == new.shape[:len(old.shape)]


def _audit(made: list[Change], reason: str) -> str:
    """What comes after changes that may have touched the audit's machinery."""
    touched = any("audit." in change.statements for change in made)
    return AUDIT.format(reason=sql.quote(f'{{"by": "{reason}"}}')) if touched else ""


def run(conn: psycopg.Connection, made: list[Change]) -> None:
    """Runs the changes. Raises MB913 for what stands in the way, MB904 or MB905 with the place."""
    for change in made:
        try:
            sqlfile.run(conn, sqlfile.Script(((change.place, 1, change.statements),)))
        except FleetError as fault:
            fault.place = change.place
            if getattr(fault.__cause__, "sqlstate", None) in STUCK:
                fault.code, fault.hint = "MB913", STUCK_HINT
            raise


@dataclass
class Editor:
    """What `migrate` does about migrations that were edited since they were applied."""

    conn: psycopg.Connection
    workshop: scratch.Workshop
    say: Callable[[str], None]
    dry_run: bool = False  # then what is replaced is shown
    edited: Sequence[Migration] = ()
    later: Sequence[Migration] = ()  # applied when they go live

    @classmethod
    def of(cls, ctx: Context, conn: psycopg.Connection) -> "Editor":
        """What a command brings edited files live with."""
        workshop = scratch.Workshop(ctx.project, ctx.target, conn)
        return cls(conn, workshop, ctx.screen.say, ctx.args.dry_run)

    def begin(self, files: list[Migration], states: list[State],
              last: str | None) -> list[Migration]:
        """Refuses, before anything is changed, what can't be brought live once `last` is applied.

        Returns the edited migrations; none where no inventory is kept. What is live already as the
        files say, it accepts. Raises MB111, MB913, MB914, MB915.
        """
        self.edited = edited(files, states)
        if not registry.has_inventory(self.conn):
            return []
        names = [state.migration for state in states]
        end = names.index(last) + 1 if last else len(names)
        self.later = [m for m in files if m.id in {
            s.migration for place, s in enumerate(states) if s.state != "pending" or place < end}]
        self.workshop.content(self.later)  # kept: it could not be made while we hold locks
        now = applied(files, states)
        found = self.survey(now)
        refuse(found)
        changes(found, found.changed("files"))
        with self.conn.transaction():
            accept(self.conn, found.arrived, f"{now[-1].id}, found in place")
        return self.edited

    def survey(self, applied: list[Migration]) -> Survey:
        """Compares what the applied migrations make with the database. Raises MB905, MB915."""
        return diff.survey(self.conn, self.workshop.content(applied), applied)

    def bring(self, newest: Migration, operation: str, started: float) -> None:
        """Replaces, accepts, verifies and records, in the caller's transaction."""
        marked = {mark.migration_id for mark in registry.marks(self.conn)}
        now = [m for m in self.later if m.id in marked]  # a dry run may have left one out
        found = self.survey(now)
        refuse(found)
        made = changes(found, found.changed("files"))
        if made:
            registry.expect(self.conn)
            self._run(made, reason := f"{newest.id}, edited")
            self.conn.execute("select security.accept_inventory(%s)", [reason])
            if left := self.survey(now).differences:
                raise FleetError("MB913", "replaced, it is not yet as the files say: "
                                 + "; ".join(d.shown for d in left), STUCK_HINT, exit_code=DRIFT)
        for migration in now:
            verify.require(self.conn, migration)
        for migration in self.edited:
            registry.mark(self.conn, migration, operation, time.monotonic() - started)
        for change in made:
            self.say(change.shown)
        for difference in found.differences if self.dry_run else []:
            self.say(difference.text())

    def take(self, found: Survey, chosen: list[Difference], reason: str) -> list[Change]:
        """Makes the chosen differences as the files say and accepts them, in one transaction."""
        made = changes(found, chosen)
        with self.conn.transaction():
            self._run(made, reason)
            accept(self.conn, [d.name for d in chosen], reason)
            if registry.exists(self.conn, "audit.seal"):
                self.conn.execute("select audit.log_event('files_taken', 'notice', %s)",
                                  [Jsonb({"taken": [change.shown for change in made]})])
        return made

    def _run(self, made: list[Change], reason: str) -> None:
        self.conn.execute(SETTINGS)
        run(self.conn, made)
        self.conn.execute(_audit(made, reason))

    def planned(self, files: list[Migration], states: list[State]) -> list[tuple[str, ...]]:
        """(migration, what migrate would do, with what, old text beside new) of what was edited."""
        mine = edited(files, states)
        if not mine or not registry.has_inventory(self.conn):
            return []
        try:
            found = self.survey(applied(files, states))
        except FleetError as fault:
            if fault.code != "MB915":
                raise
            return [(m.id, "refuse: edited", fault.message, "") for m in mine]
        rows = {}
        for difference in found.differences:
            verb, what = _would(found, difference)
            rows.setdefault(what, (difference.place.partition("/")[2].partition("/")[0], verb, what,
                                   difference.text()))
        return [*rows.values()] or [
            (m.id, "note the files", "nothing but comments and blanks were edited", "")
            for m in mine]

    def script(self, files: list[Migration], states: list[State]) -> str:
        """What brings the edited files live, for psql -1; nothing if nothing is to be replaced.

        Raises MB111, MB913, MB914, MB915.
        """
        mine = edited(files, states)
        if not mine or not registry.has_inventory(self.conn):
            return ""
        found = self.survey(applied(files, states))
        refuse(found)
        if not (made := changes(found, found.changed("files"))):
            return ""
        reason = f"{mine[-1].id}, edited"
        return "\n".join([EXPECT + SETTINGS, *(f"-- {c.shown}\n{c.statements}\n" for c in made),
                          _audit(made, reason) + ACCEPT.format(reason=sql.quote(reason))])


def edited(files: list[Migration], states: list[State]) -> list[Migration]:
    """The migrations whose files changed since they were applied."""
    names = {state.migration for state in states if state.state == "edited"}
    return [migration for migration in files if migration.id in names]


def applied(files: list[Migration], states: list[State]) -> list[Migration]:
    """The migrations that are applied, in order."""
    names = {s.migration for s in states if s.state in ("applied", "edited", "adopt")}
    return [migration for migration in files if migration.id in names]


def _would(found: Survey, difference: Difference) -> tuple[str, str]:
    """What migrate would do about a difference, and with which piece of code."""
    if difference.changed != "files":
        return f"refuse: changed in {difference.changed}", difference.shown
    try:
        change = changes(found, [difference])[0]
        return change.verb, " ".join(change.name)
    except FleetError:
        return "refuse: write a migration", difference.shown


def refuse(found: Survey) -> None:
    """Raises MB914 for what changed in both places, MB111 for what changed in the database."""
    both, database = found.changed("both", "accepted"), found.changed("database")
    if both:
        raise FleetError(
            "MB914", "changed in the files and in the database: "
            + "; ".join(d.shown for d in both) + "\n" + "\n".join(d.text() for d in both),
            "For each: runner.py diff --take files OBJECT, or put what runner.py diff --show "
            "OBJECT prints into the file.", both[0].place, DRIFT)
    if database:
        raise FleetError(
            "MB111", f"the database is not what was accepted: {len(database)} differences\n"
            + "\n".join(d.shown for d in database),
            "runner.py diff shows each. Put it back: runner.py diff --take files OBJECT; or put "
            "what runner.py diff --show OBJECT prints into the file.", database[0].place, DRIFT)


def accept(conn: psycopg.Connection, names: list[Name], reason: str) -> None:
    """Accepts these facts as they are now, and no others."""
    if names:
        conn.execute("select security.accept_facts(%s, %s)",
                     [reason, [" ".join(name) for name in names]])
