"""`runner.py env` and `exec`: how other programs (psql, pg_dump, yoyo) find the server in use."""

import argparse
import os
import shlex
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NoReturn

from fleet import server
from fleet.command import Command, Context, arg
from fleet.config import LIBPQ, SECRETS, VARIABLES, DatabaseConfig
from fleet.errors import DONE, USAGE, FleetError


def env(ctx: Context) -> int:
    ctx.connect().close()  # what it prints must work
    ctx.screen.text(exports(ctx.target, os.environ), "exports")
    return DONE


def execute(ctx: Context) -> NoReturn:
    """Becomes another program that talks to the same server (psql, yoyo, pg_dump)."""
    ctx.connect().close()
    if not ctx.args.program:
        raise FleetError("MB900", "exec needs a program to run",
                         "For example: runner.py exec psql", exit_code=USAGE)
    surrounding = environment(ctx.target, os.environ)
    ours = [str(Path(sys.executable).parent), str(server.wheel_binaries())]
    first, last = (ours, []) if ctx.target.embedded else (ours[:1], ours[1:])
    surrounding["PATH"] = os.pathsep.join([*first, surrounding.get("PATH", os.defpath), *last])
    sys.stdout.flush()
    try:
        os.execvpe(ctx.args.program[0], ctx.args.program, surrounding)  # noqa: S606
    except OSError as fault:
        raise FleetError("MB900", f"can't run {ctx.args.program[0]}: {fault.strerror}",
                         "Install it, or put its folder on PATH.", exit_code=USAGE) from None


def environment(config: DatabaseConfig, base: Mapping[str, str]) -> dict[str, str]:
    """`base` for a child process (psql, pg_dump, yoyo), which then connects as we do."""
    kept = {name: base[name] for name in base if name not in LIBPQ | {"DATABASE_URL"}}
    return kept | {VARIABLES[k]: value for k, value in config.parts.items() if k in VARIABLES}


def exports(config: DatabaseConfig, environ: Collection[str] = frozenset(VARIABLES.values())
            ) -> str:
    """Shell lines for psql to connect as we do: no secret; what misleads in `environ` unset."""
    said = {VARIABLES[key]: shlex.quote(value) for key, value in config.parts.items()
            if key in VARIABLES and key not in SECRETS}
    used = {*said, *" ".join(config.sources.values()).split()}
    other = [name for name in VARIABLES.values() if name in environ and name not in used]
    words = {"unset": other, "export": [f"{name}={value}" for name, value in said.items()]}
    return "\n".join(" ".join([verb, *rest]) for verb, rest in words.items() if rest)


COMMANDS = (
    Command("env", "print the connection as shell exports, never a password", env),
    Command("exec", "run a program (psql, yoyo, pg_dump) against the server in use",
            execute, arguments=(arg("program", nargs=argparse.REMAINDER),)),
)
