"""A database behind PgBouncer in transaction mode, started for a test and stopped by its pid."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest
from conftest import Database
from project import until

from fleet.server import _private, _server_user

HOW = "no pgbouncer: apt-get install pgbouncer, or set TEST_PGBOUNCER to the program"


@cache
def program() -> str:
    """PgBouncer's path; without it the test is skipped, and fails under CI=true."""
    known = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    if not (found := shutil.which(os.environ.get("TEST_PGBOUNCER", "pgbouncer"), path=known)):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(HOW)
    return found


@cache
def knows_prepared_statements() -> bool:
    """Whether it is 1.21 or newer."""
    said = subprocess.check_output([program(), "--version"], text=True)
    return tuple(map(int, re.search(r"(\d+)\.(\d+)", said).groups())) >= (1, 21)


@contextmanager
def pooled(database: Database, pool_size: int, verifiers: dict[str, str] | None = None,
           **settings: str) -> Iterator[Database]:
    """The database behind a pooler with `pool_size` connections: each transaction is on another one
    than that before it, so that nothing of a session is left to it.

    It logs in as `database` does; with SCRAM verifiers by login, as whoever connects to it does.
    """
    found, parts = program(), database.parts
    if not knows_prepared_statements():
        settings.pop("max_prepared_statements", None)
    options = {"pool_mode": "transaction", "default_pool_size": pool_size, "auth_type": "any",
               "server_round_robin": "1", "listen_addr": "", "listen_port": "6432",
               "max_client_conn": "100", **settings}
    server = " ".join(f"{key}='{parts[key]}'" for key in ("host", "port", "user", "password")
                      if key in parts and not (verifiers and key in ("user", "password")))
    with tempfile.TemporaryDirectory(prefix="fleet-pooler-", dir="/tmp") as folder:
        words, how = _server_user()
        ini = _private(_private(Path(folder)) / "ini")
        if verifiers:
            users = _private(Path(folder) / "users")
            users.write_text("".join(f'"{login}" "{verifier}"\n'
                                     for login, verifier in verifiers.items()))
            options |= {"auth_type": "scram-sha-256", "auth_file": str(users)}
        ini.write_text("\n".join([
            "[databases]", f"* = {server}", "[pgbouncer]", f"unix_socket_dir = {folder}",
            *(f"{name} = {value}" for name, value in options.items()), ""]))
        with (_private(Path(folder) / "log")).open("w") as log:
            child = subprocess.Popen([*words, found, str(ini)], stdout=log, stderr=log, **how)
        made = Database(parts | {"host": folder, "port": "6432"})
        try:
            until(lambda: answers(made) or child.poll() is not None, "PgBouncer answers")
            assert child.poll() is None, (Path(folder) / "log").read_text()
            with ExitStack() as stack:  # at once, so that there are as many of the server's
                for _ in range(min(pool_size, 4)):
                    stack.enter_context(made.connect()).execute("begin")
            yield made
        finally:
            child.terminate()
            child.wait(20)


def answers(database: Database) -> bool:
    """Whether one can connect."""
    try:
        return bool(database.execute("select 1"))
    except psycopg.OperationalError:
        return False
