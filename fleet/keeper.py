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
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from fleet import config, server
from fleet.errors import FleetError

PREFIX = "fleet_scratch_"
FORGOTTEN = 3600  # seconds after which a scratch database is nobody's: its server or host crashed


@contextmanager
def on_server(parts: dict[str, str]) -> Iterator[dict[str, str]]:
    """A new empty database of the server that `parts` name; yields what to connect with."""
    name = f"{PREFIX}{int(time.time())}_{secrets.token_hex(4)}"
    target = config.DatabaseConfig(parts, {})
    with config.connect(target, application_name="runner scratch") as conn:
        conn.cursor_factory = psycopg.Cursor  # what makes a database can't be in a transaction
        for (old,) in conn.execute(
                "select d.datname from pg_database as d where pg_has_role(d.datdba, 'usage')"
                " and d.datname ~ %s and split_part(d.datname, '_', 3)::bigint < %s",
                [f"^{PREFIX}[0-9]+_[0-9a-f]+$", time.time() - FORGOTTEN]).fetchall():
            _drop(conn, old)
        try:
            # one locale everywhere, so that nothing read from it depends on the server's
            conn.execute(sql.SQL("create database {} template template0 encoding 'UTF8'"
                                 " locale_provider libc locale 'C'").format(sql.Identifier(name)))
            yield parts | {"dbname": name}
        finally:
            _drop(conn, name)


def _drop(conn: psycopg.Connection, name: str) -> None:
    conn.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


@contextmanager
def on_embedded(binaries: Path, login: str, superuser: bool, replays: bool
                ) -> Iterator[dict[str, str]]:
    """A database of a temporary server; `login` owns it, with the rights it has elsewhere."""
    with tempfile.TemporaryDirectory(prefix="fleet-scratch-") as folder:
        Path(folder).chmod(0o711)  # a root's server runs as somebody else
        made = server.Server(binaries, Path(folder) / "server", "postgres", (("fsync", "off"),))
        try:
            made.start()
            with psycopg.connect(**made.parts(), autocommit=True) as conn:
                if login != "postgres":
                    conn.execute(sql.SQL("create role {} login {}").format(
                        sql.Identifier(login), sql.SQL("superuser" if superuser else "createrole")))
                if replays:
                    conn.execute("grant set on parameter session_replication_role to public")
                conn.execute(sql.SQL("create database scratch owner {} template template0").format(
                    sql.Identifier(login)))
            yield made.parts() | {"dbname": "scratch", "user": login}
        finally:
            made.stop("immediate")
            for path in (made.parts()["host"], made.home):  # its socket's folder lies elsewhere
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
