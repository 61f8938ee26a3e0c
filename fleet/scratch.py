"""What the files mean: their inventory and their code, read from a scratch database.

It is built from `sql/` in one transaction that is never committed, so that it makes no role and
changes none; what was read is kept by the files' digest, so that most of the time none is built.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psycopg

from fleet import config, registry, server, settings, sqlfile, stepwise
from fleet.errors import FleetError
from fleet.files import Migration

FOLDER, KEPT = ".scratch", 12  # of the project; how many contents stay in it
Name = tuple[str, str]  # kind, object
PROVISIONER = re.compile(r"\bapp_provisioner_[0-9a-f]{8}\b")  # each installation has its own
ACCEPTANCE = re.compile(r"^select security\.(expect|accept)_inventory\([^;\n]*\);$", re.M)
# What stands in the way on one server and not on another: roles that are there, rights that aren't.
ELSEWHERE = ("MB101", "MB103", "MB901", "MB904")
# What can't be in a transaction makes nothing that is compared.
NOT_IN_TRANSACTION = (psycopg.errors.ActiveSqlTransaction,
                      psycopg.errors.InvalidTransactionTermination)
# On what else but the files it depends what they make.
SURROUNDINGS = """
    select current_setting('server_version_num'), r.rolname, r.rolsuper,
           has_parameter_privilege('session_replication_role', 'set'),
           (select enumvals::text from pg_settings where name = 'default_toast_compression'),
           to_char(now() at time zone 'UTC', 'YYYY-MM'), r.rolsuper or r.rolcreatedb
    from pg_roles as r where r.rolname = current_user"""


class Piece(NamedTuple):
    """A row of code.sql: a piece of code as statements."""

    kind: str
    object: str
    rank: int
    made: str
    more: str
    dropped: str
    shape: list[str]
    needed: str | None


@dataclass(frozen=True)
class Content:
    """What a database holds: each fact's definition, and the code as statements."""

    facts: Mapping[Name, str]
    pieces: Mapping[Name, Piece]

    def named(self, own: str | None) -> "Content":
        """The same as an installation whose provisioner is called `own` has it; none: as it is."""
        if not own:
            return self
        return Content(self.facts, {
            name: piece._replace(**{part: PROVISIONER.sub(own, getattr(piece, part) or "")
                                    for part in ("made", "more", "dropped")})
            for name, piece in self.pieces.items()})


@dataclass(frozen=True)
class Workshop:
    """Where scratch databases are made: for the project `folder`, beside the one `conn` is in."""

    folder: Path
    target: config.DatabaseConfig
    conn: psycopg.Connection
    made: dict[str, Content] = field(default_factory=dict)  # by their files, for as long as we run

    def content(self, files: list[Migration]) -> Content:
        """What these migrations make on a server like this one, for a login like this one.

        Raises MB905 for a file that fails, MB915 where no scratch database can be had.
        """
        scripts = registry.script("code.sql"), *(m.script("apply") for m in files)
        texts = json.dumps([script.text for script in scripts])
        if texts not in self.made:
            *surroundings, may_create = self.conn.execute(SURROUNDINGS).fetchone()
            digest = hashlib.sha256(f"{surroundings} {texts}".encode()).hexdigest()
            path = self.folder / FOLDER / f"{digest}.json"
            if (found := _load(path)) is None:
                found = self._build(files, *surroundings[:4], may_create)
                _keep(path, found)
            self.made[texts] = found.named(provisioner(self.conn))
        return self.made[texts]

    def _build(self, files: list[Migration], version: str, login: str,
               superuser: bool, replays: bool, may_create: bool) -> Content:
        """Tries the server itself, then a temporary one of the same version."""
        places = [{"parts": dict(self.target.parts)}] if may_create else []
        if binaries := server.binaries_of(version[:2]):
            places.append({"binaries": str(binaries), "login": login,
                           "superuser": superuser, "replays": replays})
        why = [] if may_create else [f"{login} may create none"]
        for order in places:
            try:
                with kept(order) as parts:
                    return build(parts, files)
            except FleetError as fault:
                if fault.code not in ELSEWHERE:
                    raise
                why.append(fault.message)
        raise FleetError(
            "MB915", f"no scratch database to compare the files in: {'; '.join(why)}",
            f"Let {login} make databases, as a superuser: alter role … createdb. Without it the "
            "database can be compared with what was accepted only: runner.py verify")


@contextmanager
def kept(order: Mapping[str, object]) -> Iterator[dict[str, str]]:
    """A database made as ordered by a process that outlives this one to take it away again.

    Raises MB901 where it could not be had.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "fleet.keeper"], cwd=Path(__file__).parent.parent, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True)  # Ctrl-C is for us
    try:
        child.stdin.write(json.dumps(order) + "\n")
        child.stdin.flush()
        answer = json.loads(child.stdout.readline() or '{"error": "its keeper ended"}')
        if "error" in answer:
            raise FleetError("MB901", answer["error"])
        yield answer["parts"]
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()


def build(parts: Mapping[str, str], files: list[Migration]) -> Content:
    """Runs the files in an empty database, reads what came of it, undoes it. Raises MB905."""
    target = config.DatabaseConfig(parts, {})
    with (config.connect(target, application_name="runner scratch") as conn,
          conn.transaction(force_rollback=True)):
        for migration in files:
            with settings.as_connected(conn):
                _apply(conn, alone(migration.script("apply")))
                conn.execute("set constraints all immediate")
        with settings.as_connected(conn):
            _check_bodies(conn, files)
        return read(conn)


def _apply(conn: psycopg.Connection, script: sqlfile.Script) -> None:
    """Runs a file in the caller's transaction, also one that should run in none."""
    stepwise.refuse(script)
    whole = [(0, script.text)]
    for at, text in whole if script.in_transaction else stepwise.split(script):
        try:
            with conn.transaction():
                sqlfile.execute(conn, script, at, text)
        except FleetError as fault:
            if not isinstance(fault.__cause__, NOT_IN_TRANSACTION) or script.in_transaction:
                raise


def _check_bodies(conn: psycopg.Connection, files: list[Migration]) -> None:
    """Raises MB905 with part:line for a body that can't run though all of the tables are there."""
    with sqlfile.blaming(lambda diag: _place(files, diag)):
        conn.execute("select security.validate_body(oid::regprocedure) from pg_proc"
                     " where oid >= 16384 order by oid")


def _place(files: list[Migration], diag: psycopg.errors.Diagnostic) -> str:
    """part:line of what the server says is wrong in a body."""
    for script in reversed([migration.script("apply") for migration in files]):
        if diag.internal_query and (at := script.text.find(diag.internal_query)) >= 0:
            return script.place(at + int(diag.internal_position or 1) - 1)
    return ""


def alone(script: sqlfile.Script) -> sqlfile.Script:
    """The script as an empty database runs it, in one transaction of many migrations: it has no
    other session to be CONCURRENTLY with, and nothing was accepted that it could differ from."""
    def piece(text: str) -> str:
        text = ACCEPTANCE.sub(lambda found: "--" + found[0][2:], text)
        words = [token for token in sqlfile.tokens(text) if token[0].lower() == "concurrently"]
        for word in words:
            text = text[:word.start()] + " " * len(word[0]) + text[word.end():]
        return text
    return sqlfile.Script(tuple((shown, line, piece(text)) for shown, line, text in script.pieces))


def read(conn: psycopg.Connection) -> Content:
    """The facts and the code of the database that `conn` is in; reads only."""
    with conn.transaction():
        facts = {(kind, name): text for kind, name, text in conn.execute(
            "select kind, object, definition from security.inventory() where scope = 'database'")}
        pieces = [Piece(*row) for row in registry.run(conn, "code.sql")]
    return Content(facts, {(piece.kind, piece.object): piece for piece in pieces})


def provisioner(conn: psycopg.Connection) -> str | None:
    """What the role is called that makes this installation's logins."""
    if not registry.exists(conn, "security.provisioner()"):
        return None
    return conn.execute("select security.provisioner()").fetchone()[0]


def accepted(conn: psycopg.Connection) -> dict[Name, str]:
    """The facts that were accepted last."""
    return {(kind, name): text for kind, name, text in conn.execute(
        "select kind, object, definition from security.accepted_fact where scope = 'database'")}


def _load(path: Path) -> Content | None:
    """What is kept at `path`; nothing if it is not there or can't be read."""
    try:
        facts, pieces = json.loads(path.read_text("utf-8"))
        path.touch()
        return Content({(kind, name): text for kind, name, text in facts},
                       {(kind, name): Piece(kind, name, *rest) for kind, name, *rest in pieces})
    except (OSError, ValueError, TypeError):
        return None


def _keep(path: Path, content: Content) -> None:
    """Writes it whole or not at all, for its owner alone; forgets the oldest. May fail silently."""
    text = json.dumps([[[*name, text] for name, text in content.facts.items()],
                       [*content.pieces.values()]], ensure_ascii=False)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.parent.chmod(0o700)
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_text(text, "utf-8")
        part.replace(path)
        for old in sorted(path.parent.glob("*"), key=lambda p: -p.stat().st_mtime)[KEPT:]:
            old.unlink(missing_ok=True)
    except OSError:
        pass  # then the next one is built again
