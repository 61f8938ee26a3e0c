"""`runner.py setup`: asks where the server is, tests it, writes `.env`."""

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlencode

from dotenv import dotenv_values, set_key, unset_key

from fleet import one_bot, registry
from fleet.command import Command, Context, arg
from fleet.config import NAMES_A_SERVER, SECRETS, VARIABLES, DatabaseConfig, connect, said_by
from fleet.errors import DONE, USAGE, FleetError

MANAGED = {*VARIABLES.values(), "PGSERVICEFILE", "DATABASE_URL"}  # the lines of .env that are ours
MASK = "********"
QUESTIONS = (("host", "Host, socket directory or URL", "localhost"), ("port", "Port", "5432"),
             ("dbname", "Database", "fleet"), ("user", "User", "postgres"))
ASKED = "Password (empty: none needed, or in a passfile)"
TRIES = 4  # of a connection, before setup gives up
KEEP = ("passfile", "service", "env", "nowhere")

Ask, Say = Callable[..., str], Callable[[str], None]
_escaped = partial(re.sub, r"([:\\])", r"\\\1")  # a field of a passfile


def set_up(ctx: Context) -> int:
    """Asks, tests, writes; or shows where each part of the connection comes from."""
    if ctx.args.show:
        ctx.screen.rows(["name", "value", "source"], show(ctx.target))
        return DONE
    given = {name: getattr(ctx.args, name) for name in (
        "defaults", "embedded", "url", "host", "port", "user", "dbname", "passfile", "service",
        "keep", "dry_run")}
    setup(ctx.project, os.environ, ctx.screen.ask, ctx.screen.say, **given)
    return ctx.finish("setup done")


def setup(project: Path, environ: Mapping[str, str], ask: Ask, say: Say, *,
          defaults: bool = False, embedded: bool | None = None, url: str | None = None,
          service: str | None = None, keep: str | None = None, dry_run: bool = False,
          **flags: str | None) -> int:
    """Asks for what flags (host, port, user, dbname, passfile) leave open, tests, writes .env.

    `ask(question, default, secret=False)` isn't called with `defaults`. What can't be reached, or
    is refused, is asked for again. Raises MB900 to MB904.
    """
    given = {key: str(Path(value).absolute()) if key == "passfile" else value
             for key, value in flags.items() if value}
    ask = (lambda question, default, secret=False: default) if defaults else ask
    if embedded and (given or url or service):
        raise FleetError("MB900", "--embedded and another server", "name one", exit_code=USAGE)
    if not (embedded or given or url or service):
        embedded = _choose(ask, "Which server?", "embedded", "existing") == "embedded"
    parts, verb = {}, "would write" if dry_run else "writing"
    if not embedded and not service:
        parts = _asked(given, url, environ.get("PGPASSWORD"), ask)
        for left in reversed(range(TRIES)):
            try:
                probe(parts, say)
                break
            except FleetError as refused:
                if defaults or not left:
                    raise
                parts = _corrected(parts, refused, ask, say)
        keep = "" if "password" not in parts else keep
        if "password" in parts and not keep:
            keep = _choose(ask, "Keep the password where?", *KEEP)
        if keep == "service":
            service = ask("Name of its entry in pg_service.conf", "fleet")
    if service:
        parts, file = {"service": service}, environ.get("PGSERVICEFILE")
        probe(said_by("pg_service.conf", {"PGSERVICE": service, "PGSERVICEFILE": file}), say)
    if keep == "passfile":
        home = Path(environ.get("HOME") or Path.home(), ".pgpass")
        passfile = Path(environ.get("PGPASSFILE") or home).absolute()
        lines = _entries(parts)
        say(f"{verb} to {passfile}: {' '.join(line + MASK for line in lines)}")
        if not dry_run:
            _change(passfile, lambda copy: _put_entries(copy, lines, parts["password"]))
        parts |= {} if passfile == home else {"passfile": str(passfile)}
    said = {key: value for key, value in parts.items() if key != "password" or keep == "env"}
    variables = {VARIABLES[key]: said.pop(key) for key in [*said] if key in VARIABLES}
    variables |= {"DATABASE_URL": url_of(said)} if said else {}  # has no variable
    say(f"{verb} to .env: " + (" ".join(
        f"{name}={MASK if name in ('PGPASSWORD', 'DATABASE_URL') else value}"
        for name, value in variables.items()) or "no connection, so the embedded server is used"))
    if not dry_run:
        _change(project / ".env", lambda copy: _put_variables(copy, variables))
    if named := [name for name in NAMES_A_SERVER if environ.get(name)]:
        say(f"the shell's {', '.join(named)} goes before .env: unset it to use what .env says")
    return DONE


def url_of(parts: Mapping[str, str]) -> str:
    """A libpq URI, password included; sockets and several hosts stand in its query."""
    rest = dict(parts)
    login, server = quote(rest.pop("user", ""), safe=""), ""
    if "password" in rest:
        login += ":" + quote(rest.pop("password"), safe="")
    if re.fullmatch("[A-Za-z0-9_.-]+", rest.get("host", "")):
        server = f"{rest.pop('host')}:{rest.pop('port', '5432')}"
    path = f"/{quote(rest.pop('dbname', ''), safe='')}"
    query = urlencode(rest, quote_via=quote, safe="")
    return f"postgresql://{login}{'@' if login else ''}{server}{path}{query and f'?{query}'}"


def show(config: DatabaseConfig) -> list[tuple[str, str, str]]:
    """(name, value, source) of each part and setting; secrets masked."""
    bots = one_bot.of(config)
    settings = {"CURRENT_BOT_ID": str(bots.current or ""),
                "MULTI_BOT_ENABLED": str(bots.multi).lower()}
    return [(VARIABLES.get(name, name), MASK if name in SECRETS else value,
             config.sources.get(name, "default"))
            for name, value in ({**config.parts, **settings}).items()]


def probe(parts: Mapping[str, str], say: Say) -> None:
    """Connects and asks for the rights that migrating takes; raises MB901 or MB904."""
    config = DatabaseConfig(parts, {})
    with connect(config) as conn:
        registry.preflight(conn, config.shown(), say)


def _corrected(parts: dict[str, str], refused: FleetError, ask: Ask, say: Say) -> dict[str, str]:
    """The parts with other answers to the questions that were to blame; what was typed stays the
    default. Raises the refusal where nobody can be asked.
    """
    again = {"password": ("password",), "host": ("host", "port"), "dbname": ("dbname",),
             "user": ("user", "password")}.get(refused.part, ("dbname", "user", "password"))
    say(f"{refused.message}; {refused.hint}")
    try:
        for key, question, default in QUESTIONS:
            if key in again:
                parts = parts | {key: ask(question, parts.get(key, default))}
        if "password" in again:
            parts = parts | {"password": ask(ASKED, "", secret=True), "passfile": ""}
    except FleetError:  # nobody is there to answer
        raise refused from None
    return {key: value for key, value in parts.items() if value}


def _asked(given: dict[str, str], url: str | None, password: str | None, ask: Ask
           ) -> dict[str, str]:
    parts = dict(said_by("--url", {"DATABASE_URL": url}))
    if SECRETS & parts.keys():
        raise FleetError("MB900", "--url holds a password, and others can see a command line",
                         "leave it out: setup asks for it", exit_code=USAGE)
    parts |= given
    for key, question, default in QUESTIONS:
        if key not in parts:
            answer = default if key == "port" and (given or url) else ask(question, default)
            parts |= said_by("URL", {"DATABASE_URL": answer}) if "://" in answer else {key: answer}
    if not {"password", "passfile"} & parts.keys():
        parts["password"] = password or ask(ASKED, "", secret=True)
    return {key: str(value) for key, value in parts.items() if value}


def _choose(ask: Ask, question: str, *options: str) -> str:
    while True:
        answer = ask(f"{question} ({', '.join(options)})", options[0]).lower()
        if len(found := [option for option in options if option.startswith(answer)]) == 1:
            return found[0]


def _change(path: Path, change: Callable[[Path], None]) -> None:
    """Lets `change` work on a copy, then puts it in place: whole, and for its owner alone."""
    path = path.resolve()
    try:  # of the same name, so that git ignores what a crash leaves behind
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            copy = Path(folder, path.name)
            copy.write_bytes(path.read_bytes() if path.exists() else b"")
            copy.chmod(0o600)
            change(copy)
            copy.replace(path)
    except (OSError, UnicodeError) as error:
        raise FleetError("MB903", f"can't write {path}: {type(error).__name__}",
                         "make it a UTF-8 text in a folder that you may write to") from None


def _put_variables(copy: Path, variables: Mapping[str, str]) -> None:
    for name in dotenv_values(copy, interpolate=False).keys() & (MANAGED - variables.keys()):
        unset_key(copy, name)
    for name, value in variables.items():
        set_key(copy, name, value)
    kept = dotenv_values(copy, interpolate=False)
    if {name: value for name, value in kept.items() if name in MANAGED} != variables:
        raise FleetError("MB903", ".env has a line that can't be understood",
                         "close its quotes, or remove it", ".env")


def _entries(parts: Mapping[str, str]) -> list[str]:
    """The passfile's lines up to the password; libpq looks for most sockets as localhost."""
    hosts = (parts.get("host") or parts.get("hostaddr", "localhost")).split(",")
    hosts += ["localhost"] if any(host.startswith("/") for host in hosts) else []
    return [":".join([*map(_escaped, (host, port, parts["dbname"], parts["user"])), ""])
            for host, port in zip(hosts, parts["port"].split(",") * len(hosts), strict=False)]


def _put_entries(copy: Path, lines: list[str], password: str) -> None:
    """Puts ours first, since the first that matches counts."""
    rest = [old for old in copy.read_text("utf-8").split("\n")
            if old and not old.startswith(tuple(lines))]
    copy.write_text("\n".join([*(line + _escaped(password) for line in lines), *rest, ""]), "utf-8")


COMMANDS = (
    Command("setup", "choose the server, test it, write .env", set_up, changes=True,
            arguments=(
                arg("--show", action="store_true", help="each value and where it came from"),
                arg("--defaults", action="store_true",
                    help="ask nothing; without a server named: the embedded one"),
                arg("--embedded", action="store_true", default=None, help="the embedded server"),
                arg("--url", help="an existing server as a URL without a password"),
                arg("--host"), arg("--port"), arg("--user"), arg("--dbname"),
                arg("--keep", choices=KEEP, help="where to keep the password, which is asked for, "
                    "or taken from PGPASSWORD"),
                arg("--passfile", metavar="FILE", help="where the password is kept"),
                arg("--service", metavar="NAME", help="an entry of pg_service.conf"))),
)
