"""Where the server is: the shell's libpq environment, then `.env`, then the embedded server."""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from dotenv import dotenv_values
from psycopg.conninfo import conninfo_to_dict

from fleet import settings
from fleet.errors import USAGE, FleetError

_KNOWN = psycopg.pq.Conninfo.get_defaults()
VARIABLES = {o.keyword.decode(): o.envvar.decode() for o in _KNOWN if o.envvar}
SECRETS = {o.keyword.decode() for o in _KNOWN if o.dispchar in (b"*", b"D")}  # D: SCRAM keys
LIBPQ = {*VARIABLES.values(), "PGSERVICEFILE", "PGDATESTYLE", "PGTZ", "PGGEQO"}  # 4 lack a keyword
NAMES_A_SERVER = ("DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGSERVICE", "PGPORT")
SERVER = {"host", "hostaddr", "service"}
SETTINGS = ("CURRENT_BOT_ID", "MULTI_BOT_ENABLED")  # one_bot has what they mean
_LOCK = threading.Lock()

# libpq keeps the SQLSTATE of a refused connection to itself, so its English text has to tell; a
# server that speaks another language gets the last hint.
# Each: pattern, the part that is probably wrong, next step.
_HINTS = (
    ("timeout expired|timed out", "host", "check address and firewall, or raise PGCONNECT_TIMEOUT"),
    ('database ".*" does not exist', "dbname",  # 3D000
     "run `createdb`, or name another with PGDATABASE"),
    ("password", "password", "put the right one into ~/.pgpass, or run `runner.py setup`"),  # 28P01
    ('role ".*" (does|is) not|pg_hba|(Peer|Ident) auth', "user",  # 28000
     "name another user with PGUSER, or let this one in (`create role … login`, pg_hba.conf)"),
    ("too many|connection slots", "", "close idle sessions, or raise the limit"),  # 53300
    ("refused|No such file|resolve|unreachable|route|idna|label empty", "host",
     "start it, or run `runner.py setup`"),
    ("", "host", "see where each part comes from with `runner.py setup --show`"))


class Said(str):
    """A value that knows where it was said."""

    def __new__(cls, value: str, source: str) -> "Said":
        said = super().__new__(cls, value)
        said.source = source
        return said


@dataclass(frozen=True)
class DatabaseConfig:
    """One server, database and user as libpq parameters; `shown` is the form for human eyes."""

    parts: Mapping[str, str] = field(repr=False)
    sources: Mapping[str, str]  # keyword or setting -> "shell PGHOST", ".env DATABASE_URL", …
    embedded: bool = False
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, Said] = field(default_factory=dict)  # of SETTINGS, as they are said

    def shown(self) -> str:
        """user@host:port/db, never a secret; sockets and IPv6 addresses in brackets."""
        hosts = (self.parts.get("host") or self.parts.get("hostaddr") or "local").split(",")
        ports = self.parts.get("port", "5432").split(",")
        servers = ",".join((f"[{host}]" if re.search("[/:@]|^local$", host) else host) + f":{port}"
                           for host, port in zip(hosts, ports * len(hosts), strict=False))
        user = f"{self.parts['user']}@" if "user" in self.parts else ""
        return f"{user}{servers}/{self.parts.get('dbname', '')}"


def load(project: Path, environ: Mapping[str, str],
         embedded_parts: Callable[[], Mapping[str, str]]) -> DatabaseConfig:
    """The configuration of `project`; raises FleetError MB903 for what can't be understood.

    * A source (the shell, `.env`) says its parts in DATABASE_URL, then in the service named there
      or by PGSERVICE, then in PG* variables; a URL that names one of SERVER leaves none to PG*.
      What is empty is not said.
    * The shell wins over `.env` part by part. But if it names a server (NAMES_A_SERVER) and `.env`
      doesn't name the same one (host, hostaddr, port), no connection part of `.env` counts: user,
      password, certificates, even options belong to the server they stand beside.
    * No server named, or the host is its socket directory: the embedded server. In the first case
      nothing else counts: a lone PGUSER, PGDATABASE or PGPASSWORD is meant for another server.
    """
    try:
        values = dotenv_values(project / ".env", interpolate=False)  # keeps a $ in passwords
    except (OSError, UnicodeError) as error:
        raise FleetError("MB903", f".env can't be read: {type(error).__name__}",
                         "make it a UTF-8 text that you may read", exit_code=USAGE) from None
    shell = said_by("shell", environ)
    dotenv = said_by(".env", {"PGSERVICEFILE": environ.get("PGSERVICEFILE"), **values})
    shell_names, dotenv_names = (any(map(s.get, NAMES_A_SERVER)) for s in (environ, values))
    same = dotenv_names and all(shell.get(*key) == dotenv.get(*key)
                                for key in (("host",), ("hostaddr",), ("port", "5432")))
    found, unused, local, warnings = dotenv | shell, {}, {}, []
    if not shell_names and not dotenv_names:
        found, unused, local = {}, found, embedded_parts()
    elif shell_names and not same:
        found, unused = shell, dotenv
    if found.get("host", "").startswith("/"):
        with suppress(FleetError):  # one that was never started isn't the one meant
            local = embedded_parts()
        if local and any(found.get(k, local[k]) != local[k] for k in ("host", "port")):
            local = {}
    found = {key: Said(value, "embedded") for key, value in local.items()} | found
    if SECRETS & dotenv.keys() and (project / ".env").stat().st_mode & 0o077:
        warnings.append(".env holds a password and others can read it: run `chmod 600 .env`")
    if unused:
        names = sorted({value.source for value in unused.values()})
        warnings.append(f"not used, because not said of the server in use: {', '.join(names)}")
    if mute := sorted(found.keys() - VARIABLES.keys()):
        warnings.append(f"psql and pg_dump have no variable for {', '.join(mute)}: not handed on")
    settings = {name: Said(source[name], f"{label} {name}") for name in SETTINGS
                for label, source in ((".env", values), ("shell", environ)) if source.get(name)}
    return DatabaseConfig({key: str(value) for key, value in found.items()},
                          {key: value.source for key, value in (found | settings).items()},
                          bool(local), tuple(warnings), settings)


def connect(config: DatabaseConfig, **extra: str) -> settings.Connection:
    """An open autocommit connection; raises FleetError MB901 that says what to do next."""
    arguments = {"connect_timeout": "10", "application_name": "bot-fleet", **config.parts,
                 "client_encoding": "utf8", **extra}
    try:
        # A variable whose part is said does no harm: left alone for the threads beside us.
        with _environment({}, LIBPQ - {VARIABLES.get(key) for key in arguments}):
            conn = settings.Connection.connect(**arguments, autocommit=True, prepare_threshold=None)
        conn.settle()
        return conn
    except (psycopg.Error, UnicodeError) as error:  # UnicodeError: no possible host name
        fact = re.sub("^connection .*?: (.* failed: )?(FATAL: +)?", "", str(error).split("\n")[0])
        part, hint = next(rest for pattern, *rest in _HINTS if re.search(pattern, str(error)))
        refused = FleetError("MB901", f"no connection: {fact}", hint, config.shown())
        refused.part = part  # what setup asks for again
        raise refused from error


def said_by(label: str, values: Mapping[str, str | None]) -> dict[str, Said]:
    """What one source says, by keyword."""
    url = re.sub(r"^(?i:postgres(ql)?(\+\w+)?)://", "postgresql://",
                 values.get("DATABASE_URL") or "")
    try:
        parts = conninfo_to_dict(url)
    except (psycopg.Error, UnicodeError):
        parts = {"port": "unknown"}  # the message would quote the password
    # An @ or / left as it is in a password makes a host, port or database of its rest.
    if (re.match("postgresql://([^/]*@[^/]*@|[^/]*/[^?]*@)", url)
            or not re.fullmatch("[0-9,]*", parts.get("port", ""))):
        raise FleetError("MB903", "DATABASE_URL is no connection URL", "percent-encode its user "
                         "and password (@ is %40, : %3A, / %2F, ? %3F, # %23, % %25), or set "
                         "PGHOST, PGUSER and PGPASSWORD", f"{label} DATABASE_URL", USAGE)
    parts = {key: Said(said, f"{label} DATABASE_URL") for key, said in parts.items() if said}
    variables = {key: Said(values[name], f"{label} {name}") for key, name in VARIABLES.items()
                 if values.get(name) and not (key in SERVER and SERVER & parts.keys())}
    service = parts.pop("service", variables.pop("service", None))
    return variables | (_service_parts(service, values) if service else {}) | parts


def _service_parts(service: Said, values: Mapping[str, str | None]) -> dict[str, Said]:
    """What pg_service.conf says: as it beats the environment, a mark shows what it leaves open."""
    marked = dict.fromkeys(VARIABLES.values(), "\x01")
    file = {"PGSERVICEFILE": values["PGSERVICEFILE"]} if values.get("PGSERVICEFILE") else {}
    with _environment(marked | {"PGSERVICE": service} | file, LIBPQ):
        said = {o.keyword.decode(): Said(o.val.decode(), f"{service.source} {service}")
                for o in psycopg.pq.Conninfo.get_defaults() if o.val not in (None, b"\x01")}
    del said["service"]
    if not said:
        raise FleetError("MB903", f"service {service} is not in pg_service.conf",
                         "correct its name or PGSERVICEFILE", service.source, USAGE)
    return said


@contextmanager
def _environment(values: Mapping[str, str], without: set[str]) -> Iterator[None]:
    """libpq asks the process's environment for what it isn't told; here it finds just `values`."""
    with _LOCK:
        before = {name: os.environ.pop(name) for name in without if name in os.environ}
        os.environ.update(values)
        try:
            yield
        finally:
            for name in values:
                del os.environ[name]
            os.environ.update(before)
