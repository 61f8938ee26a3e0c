"""What differs between the files, what was accepted, and the live database, and who changed it."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from fleet import scratch
from fleet.errors import USAGE, FleetError
from fleet.files import Migration
from fleet.scratch import Content, Name
from fleet.screen import Screen

CODE = ("routine", "relation", "trigger", "comment")
EACH = " (each partition)"  # what the inventory adds to a fact about a table's partitions
# audit.refresh() makes these, from what the tables are and what an operator chose.
DERIVED = re.compile(r"(^|\s)audit\.(insert|update|delete)_of_\w+\(\)$")
REASONS = """
    select distinct on (c.kind, c.object) c.kind, c.object, a.reason
    from security.acceptance as a
    cross join lateral jsonb_to_recordset(a.changes) as c (kind text, object text)
    order by c.kind, c.object, a.acceptance_id desc"""


@dataclass(frozen=True)
class Difference:
    """A fact that files and database tell differently: its definitions (None: not there).

    `changed` says where: files, database, both, or accepted: in the database, where somebody
    accepted it by hand. `old` and `new` are what the database holds and what the files say.
    """

    name: Name
    changed: str
    files: str | None
    accepted: str | None
    live: str | None
    place: str
    old: str
    new: str

    @property
    def shown(self) -> str:
        return " ".join(self.name)

    def text(self) -> str:
        """Old beside new, as `diff -u` shows it."""
        lines = difflib.unified_diff(self.old.splitlines(), self.new.splitlines(), "database",
                                     self.place or "files", lineterm="")
        return "\n".join(lines)


def show(screen: Screen, columns: Sequence[str], rows: Sequence[Sequence[Any]],
         texts: Sequence[str]) -> None:
    """A result of rows, of which the last ones have texts: below the table, or in JSON's objects.
    """
    if screen.as_json:
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        for one, text in zip(found[len(found) - len(texts):], texts, strict=True):
            one["difference"] = text
        screen.document(found)
        return
    screen.rows(columns, rows)
    for text in filter(None, texts):
        screen.text(f"\n{text}")


@dataclass(frozen=True)
class Survey:
    """The files' content beside the live one, and where they differ."""

    files: Content
    live: Content
    differences: list[Difference]
    arrived: list[Name]  # facts that are as the files say, though something else was accepted

    def changed(self, *where: str) -> list[Difference]:
        return [d for d in self.differences if d.changed in where]


def survey(conn: psycopg.Connection, files: Content, applied: list[Migration]) -> Survey:
    """Compares `files`, what the applied migrations make, with the database; reads only."""
    live, accepted = scratch.read(conn), scratch.accepted(conn)
    reasons = {(kind, name): reason for kind, name, reason in conn.execute(REASONS)}
    ids = {migration.id for migration in applied}
    lawful = {name.partition("(")[0] for kind, name in files.facts if kind == "routine"}
    schemas = "|".join(re.escape(name) for kind, name in files.facts if kind == "schema")
    ours = re.compile(rf"(?<![\w.])({schemas})(\.|$)")
    found = []
    for name in sorted(files.facts.keys() | live.facts.keys()):
        said, kept, is_live = (of.get(name) for of in (files.facts, accepted, live.facts))
        theirs = not ours.search(name[1]) and (
            said is None or name[0] == "extension" or " on schema " in name[1])
        if said == is_live or (kept == is_live and (theirs or DERIVED.search(name[1]))):
            continue  # as the files say; or there before us, or made from what the tables are
        reason = reasons.get(name, "").partition(",")[0]
        changed = _changed(said, kept, is_live, not reason or reason in ids)
        if changed == "accepted" and (said is None or name[0] not in CODE or reason in lawful):
            continue  # a DBA's own, or what functions of ours lawfully do
        found.append((name, changed, said, kept, is_live))
    found += [(name, "both" if name in live.pieces else "files", None, None, None)
              for name in _unlisted(files, live, accepted)]
    found = [Difference(*seen, place(applied, seen[0]), *_texts(seen[0], live, files))
             for seen in found]
    names = {d.name for d in found}
    found = [d for d in found  # a partition's trigger goes with its table's
             if not (d.name[1].endswith(EACH) and (d.name[0], d.name[1][:-len(EACH)]) in names)]
    arrived = [name for name, text in files.facts.items()
               if text == live.facts.get(name) != accepted.get(name)]
    arrived += [name for name in accepted if name not in files.facts and name not in live.facts]
    return Survey(files, live, found, arrived)


def _changed(files: str | None, accepted: str | None, live: str | None, migrated: bool) -> str:
    if live == accepted:
        return "files" if migrated else "accepted"
    return "database" if files == accepted else "both"


def _unlisted(files: Content, live: Content, accepted: dict[Name, str]) -> list[Name]:
    """Code that the files make where the inventory does not look, and that is not the same live."""
    return [name for name, piece in files.pieces.items() if name[0] in (*CODE, "policy")
            and name not in files.facts and name not in live.facts and name not in accepted
            and (name not in live.pieces or live.pieces[name].made != piece.made)]


def _texts(name: Name, *contents: Content) -> Iterator[str]:
    """How each content tells it: as statements where it is code, else as the fact's definition."""
    made = [content.pieces[name].made if name in content.pieces else "" for content in contents]
    facts = [content.facts.get(name, "") for content in contents]
    return iter(made if made[0] != made[1] else facts)


def pick(names: Iterable[Name], wanted: str) -> Name:
    """The object called so, with or without its kind and arguments. Raises MB900."""
    def forms(name: Name) -> set[str]:
        whole = {name[1], " ".join(name)}
        return whole | {form.partition("(")[0] for form in whole}
    found = [name for name in names if wanted in forms(name)]
    found = [name for name in found if name[0] in CODE] or found
    if len(found) != 1:
        what = f"{len(found)} objects are" if found else "nothing is"
        raise FleetError("MB900", f"{what} called {wanted!r}",
                         f"Name one of: {'; '.join(' '.join(name) for name in found)}." if found
                         else "Name it as runner.py diff does.", exit_code=USAGE)
    return found[0]


def place(applied: Iterable[Migration], name: Name) -> str:
    """part:line where the files make the object, as well as its name can be found; or nothing."""
    scripts = [migration.script("apply") for migration in applied]
    for pattern in _patterns(name[0], name[1].removesuffix(EACH)):
        for script in reversed(scripts):  # what comes later replaces what came before
            if found := [*re.finditer(pattern, script.text, re.I)]:
                return script.place(found[-1].start())
    return ""


def _patterns(kind: str, name: str) -> Iterator[str]:
    """What to look for, the surest first."""
    piece, _, table = name.removeprefix("on ").partition(" on ")
    word = re.escape(piece.partition("(")[0].rpartition(" ")[2])
    whole, last = rf"(?<![\w.]){word}(?![\w.])", rf"\b{word.rpartition('.')[2]}\b"
    on = re.escape(table.partition("(")[0])
    if kind == "comment":
        yield rf"comment on [\w ]+ {word}(?![\w.])" + (rf" on {on}(?![\w.])" if table else "")
    if kind in ("right", "column right"):
        yield rf"(?:grant|revoke) [^;]*(?<![\w.]){on}(?![\w.])"
    if kind == "column":
        table = word.rpartition(r"\.")[0]
        yield rf"alter table {table}\s[^;]*{last}"
        yield rf"(?:(?<=create table {table} \(\n)|(?<=\n))    {last} (?=[^;]*constraint )"
        yield rf"create table {table}(?![\w.])"
    if table:
        yield rf"create (or replace )?(constraint )?\w+ {word}\s[^;]*\bon {on}(?![\w.])"
    yield rf"create (or replace )?(\w+ )?\w+ {word}(?![\w.])"
    yield whole
    yield last
    if table:
        yield rf"create table {on}(?![\w.])"
