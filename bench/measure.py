"""What a benchmark needs: a private server, clones of a template, and what a process cost.

Linux only: times and memory of the server's processes are read from /proc.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from fleet import config, programs, server
from fleet.server import Server, wheel_binaries

PROJECT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
# A visit of autovacuum would fall on one contender and not on its neighbour. All else is default.
SETTINGS = (("autovacuum", "off"),)


@dataclass(frozen=True)
class Cost:
    """What a process and the backends that served it took: seconds, and peaks in MiB.

    `backend_mb` is the largest backend's VmHWM, which counts every page of shared_buffers that it
    touched; `backend_own_mb` is the memory that it had for itself. `said` is the process's stdout.
    """

    wall: float
    client_cpu: float
    backend_cpu: float
    client_mb: float
    backend_mb: float
    backend_own_mb: float
    said: str


class Watch(threading.Thread):
    """Samples the memory of a process and of the backends that came since, until `ended` is set."""

    def __init__(self, postmaster: int, client: int, before: set[int]) -> None:
        super().__init__(daemon=True)
        self.postmaster, self.client, self.before = postmaster, client, before
        self.ended = threading.Event()
        self.client_kb = self.backend_kb = self.backend_own_kb = 0

    def run(self) -> None:
        while not self.ended.wait(0.02):
            self.client_kb = max(self.client_kb, status(self.client).get("VmHWM", 0))
            for pid in children(self.postmaster) - self.before:
                seen = status(pid)
                self.backend_kb = max(self.backend_kb, seen.get("VmHWM", 0))
                self.backend_own_kb = max(self.backend_own_kb, seen.get("RssAnon", 0))


def status(pid: int) -> dict[str, int]:
    """The lines of /proc/PID/status that are in kB; none if the process is gone."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    return {}


def children(pid: int) -> set[int]:
    """The processes that `pid` started and that still run."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def reaped_cpu(pid: int) -> float:
    """CPU seconds of all children of `pid` that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICK


class Lab:
    """A private server: makes migrated templates, clones them, and runs processes against them."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def connect(self, dbname: str = "postgres", user: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(**self.server.parts() | {"dbname": dbname, "user": user},
                               autocommit=True)

    def environment(self, dbname: str, user: str = "postgres") -> dict[str, str]:
        """For child processes: the libpq environment of a database."""
        parts = self.server.parts() | {"dbname": dbname, "user": user}
        return programs.environment(config.DatabaseConfig(parts, {}), os.environ)

    def make(self, dbname: str, owner: str = "postgres") -> None:
        """Makes a database in which its owner has applied every migration."""
        with self.connect() as conn:
            create_database(conn, dbname, owner)
        subprocess.run([sys.executable, PROJECT / "runner.py", "migrate", "--quiet"], check=True,
                       stdout=subprocess.DEVNULL, env=self.environment(dbname, owner))

    def clone(self, template: str, dbname: str, owner: str = "postgres") -> None:
        """Makes a copy of a template in place of an older copy, whose logins go with it."""
        with self.connect() as conn:
            server.drop_database(conn, dbname)
            conn.execute(sql.SQL("create database {} template {} owner {}").format(
                *map(sql.Identifier, (dbname, template, owner))))

    def run(self, arguments: Sequence[str | Path], dbname: str, user: str = "postgres",
            codes: Sequence[int] = (0,)) -> Cost:
        """Runs a Python program until it and its backends have ended; raises unless its exit code
        is one of `codes`. Nothing that came before is left for the server to write."""
        with self.connect() as conn:
            conn.execute("checkpoint")
        postmaster = self.server.pid()
        before = self._settled(postmaster)
        cpu, mine = reaped_cpu(postmaster), resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, *arguments], cwd=PROJECT, text=True,
                                   env=self.environment(dbname, user),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        watch = Watch(postmaster, process.pid, before)
        watch.start()
        said, complaint = process.communicate()
        wall = time.perf_counter() - started
        watch.ended.set()
        watch.join()
        if process.returncode not in codes:
            raise RuntimeError(f"{arguments} ended with {process.returncode}:\n{complaint}")
        self._settled(postmaster)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Cost(wall, used.ru_utime + used.ru_stime - mine.ru_utime - mine.ru_stime,
                    reaped_cpu(postmaster) - cpu, watch.client_kb / 1024, watch.backend_kb / 1024,
                    watch.backend_own_kb / 1024, said)

    @staticmethod
    def _settled(postmaster: int) -> set[int]:
        """The processes of the server, once no backend is among them."""
        for _ in range(500):
            found = children(postmaster)
            if not any("[local]" in _title(pid) for pid in found):
                break
            time.sleep(0.01)
        return found


def _title(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def create_database(conn: psycopg.Connection, name: str, owner: str) -> None:
    """Makes an empty database for `owner`, who may use the roles that an earlier one has made.

    From 16 on, who made them must allow it; in a cluster without them the owner makes its own.
    """
    conn.execute(sql.SQL("create database {} owner {} template template0").format(
        sql.Identifier(name), sql.Identifier(owner)))
    for (role,) in conn.execute("select rolname from pg_roles where rolname ~ '^app_[a-z_]+$'"
                                " and not (select rolsuper from pg_roles where rolname = %s)",
                                [owner]).fetchall():
        conn.execute(sql.SQL("grant {} to {} with admin option").format(
            sql.Identifier(role), sql.Identifier(owner)))


def binaries() -> Path:
    """The folder of server programs: PG_BIN, or else the wheel's."""
    return Path(os.environ.get("PG_BIN") or wheel_binaries())


@contextmanager
def laboratory(settings: Sequence[tuple[str, str]] = ()) -> Iterator[Lab]:
    """A server of its own, from PG_BIN or else the wheel, with default settings; ends with it."""
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        Path(folder).chmod(0o755)  # a root's server runs as somebody else
        server = Server(binaries(), Path(folder) / "server", settings=(*SETTINGS, *settings))
        server.start()
        try:
            yield Lab(server)
        finally:
            server.stop("immediate")


def cpu(conn: psycopg.Connection) -> float:
    """Seconds that a connection's backend has spent on a CPU."""
    return int(Path(f"/proc/{conn.info.backend_pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def clock(conn: psycopg.Connection) -> Iterator[list[float]]:
    """Measures what happens inside: afterwards the list holds seconds of CPU and of wall."""
    spent = []
    used, started = cpu(conn), time.perf_counter()
    yield spent
    wall = time.perf_counter() - started
    spent += [cpu(conn) - used, wall]


def conditions(lab: Lab, settings: Sequence[tuple[str, str]]) -> str:
    """The server's version and settings, the CPUs and the load, in words."""
    with lab.connect() as conn:
        version = conn.info.parameter_status("server_version")
    return (f"PostgreSQL {version}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; "
            "settings: the server's defaults, "
            + ", ".join(f"{name} {value}" for name, value in (*SETTINGS, *settings)))


def verdict(is_reached: bool) -> str:
    """The last word of a limit's row."""
    return "reached" if is_reached else "NOT REACHED"


def ratio(costs: Sequence[float], base: Sequence[float]) -> float:
    """Median of the ratios of two contenders, round by round."""
    return statistics.median(one / other for one, other in zip(costs, base, strict=True))
