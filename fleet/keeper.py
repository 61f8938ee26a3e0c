"""The process that makes a scratch database and takes it away again, however its caller ends.

It reads one JSON line, answers with one, and cleans up at the end of its input: a caller that was
killed closes its end of the pipe as well. Run as `python -m fleet.keeper`.
"""

import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql

from fleet import config, server, settings
from fleet.errors import FleetError

DATABASE, FOLDER = "fleet_scratch_", "fleet-scratch-"
FORGOTTEN = 3600  # seconds after which what is there is nobody's: its keeper was killed as well


@contextmanager
def on_server(parts: dict[str, str]) -> Iterator[dict[str, str]]:
    """A new empty database of the server that `parts` name; yields what to connect with."""
    with _connect(parts) as conn:
        settings.pin(conn, "set", "_timeout$")  # or a login's limits would leave it behind
        (now,) = conn.execute("select extract(epoch from now())::bigint").fetchone()
        for (old,) in conn.execute(
                "select datname from pg_database where pg_has_role(datdba, 'usage')"
                " and substring(datname from %s)::bigint < %s",
                [f"^{DATABASE}([0-9]{{1,12}})_[0-9a-f]+$", now - FORGOTTEN]).fetchall():
            with suppress(psycopg.errors.ObjectInUse):
                conn.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(old)))
        name = sql.Identifier(made := f"{DATABASE}{now}_{secrets.token_hex(4)}")
        try:
            # one locale everywhere, so that nothing read from it depends on the server's
            conn.execute(sql.SQL("create database {} template template0 encoding 'UTF8'"
                                 " locale_provider libc locale 'C'").format(name))
            yield parts | {"dbname": made}
        finally:
            conn.execute(sql.SQL("drop database if exists {} with (force)").format(name))


@contextmanager
def on_embedded(binaries: Path, login: str, superuser: bool, replays: bool
                ) -> Iterator[dict[str, str]]:
    """A database of a temporary server; `login` owns it, with the rights it has elsewhere."""
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError):  # another one removes it as well
            seen = left.lstat()
            if seen.st_uid == os.geteuid() and seen.st_mtime < time.time() - FORGOTTEN:
                _remove(server.Server(binaries, left / "server"))
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
        Path(folder).chmod(0o711)  # a root's server runs as somebody else
        made = server.Server(binaries, Path(folder) / "server", "postgres", (("fsync", "off"),))
        try:
            made.start()
            with _connect(made.parts()) as conn:
                if login != "postgres":
                    conn.execute(sql.SQL("create role {} login {}").format(
                        sql.Identifier(login), sql.SQL("superuser" if superuser else "createrole")))
                if replays:
                    conn.execute("grant set on parameter session_replication_role to public")
                conn.execute(sql.SQL("create database scratch owner {} template template0").format(
                    sql.Identifier(login)))
            yield made.parts() | {"dbname": "scratch", "user": login}
        finally:
            _remove(made)


def _connect(parts: dict[str, str]) -> psycopg.Connection:
    conn = config.connect(config.DatabaseConfig(parts, {}), application_name="runner scratch")
    conn.cursor_factory = psycopg.Cursor  # what makes a database can't be in a transaction
    return conn


def _remove(left: server.Server) -> None:
    left.stop("immediate")
    for path in (left.parts()["host"], left.home):  # its socket's folder lies elsewhere
        shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    """One order on stdin; one answer on stdout: {"parts": …} or {"error": …}."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # cleans up on its way out
    order = json.loads(sys.stdin.readline())
    binaries = order.pop("binaries", None)
    try:
        with (on_embedded(Path(binaries), **order) if binaries else on_server(**order)) as parts:
            print(json.dumps({"parts": parts}), flush=True)
            sys.stdin.read()
    except (FleetError, psycopg.Error, OSError) as fault:
        print(json.dumps({"error": str(fault).partition("\n")[0]}), flush=True)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the caller is gone
        os._exit(0)
