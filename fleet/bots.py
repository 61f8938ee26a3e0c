"""The bots and their logins: what `runner.py bot …` does; the rules themselves are in 002."""

import secrets
import sys

import psycopg
from psycopg import sql

from fleet import one_bot
from fleet.command import DISCARD, YES, Command, Context, arg
from fleet.errors import DONE, USAGE, FleetError
from fleet.query import Query


def add(ctx: Context) -> int:
    """Makes a bot and its login; prints the password once, unless it was asked for."""
    if not one_bot.of(ctx.target).multi:
        raise FleetError("MB911", "MULTI_BOT_ENABLED is false, so no bot is added",
                         "Set it to true in the shell or in .env.", exit_code=USAGE)
    password = new_password(ctx)
    call = "preview_create_bot" if ctx.args.dry_run else "create_bot"  # no id is used up
    with ctx.connect() as conn:
        bot_id = conn.execute(sql.SQL("select security.{}(%s, %s)").format(sql.Identifier(call)),
                              [ctx.args.name, verifier(conn, password)]).fetchone()[0]
    return _show(ctx, ctx.args.name, bot_id, password, "added")


def rotate(ctx: Context) -> int:
    """Gives a bot another password; prints it once, unless it was asked for."""
    password = new_password(ctx)
    with ctx.connect() as conn, conn.transaction(force_rollback=ctx.args.dry_run):
        bot_id = find(ctx, conn, ctx.args.name)
        conn.execute("select security.rotate_bot_password(%s, %s)",
                     [bot_id, verifier(conn, password)])
    return _show(ctx, ctx.args.name, bot_id, password, "has a new password")


def drop(ctx: Context) -> int:
    """Drops a bot and its login; --discard-data deletes its rows, too."""
    with ctx.connect() as conn:
        bot_id = find(ctx, conn, ctx.args.name)
        if ctx.args.dry_run:
            ctx.screen.rows(["what", "count"], conn.execute(
                "select * from security.preview_drop_bot(%s)", [bot_id]).fetchall())
            return ctx.closing(f"would drop bot {ctx.args.name} and its login bot_{bot_id}")
        ctx.screen.confirm(
            f"Drop bot {ctx.args.name} and its login bot_{bot_id}"
            f"{', with all its rows' if ctx.args.discard_data else ''}?", ctx.args.yes)
        with conn.transaction():
            conn.execute("select security.drop_bot(%s, %s)", [bot_id, ctx.args.discard_data])
    return ctx.finish(f"bot {ctx.args.name} and its login bot_{bot_id} are dropped")


def pause(ctx: Context) -> int:
    """Closes a bot, until it is resumed."""
    return _close(ctx, "pause_bot", "is paused: no session of it or of its workers is left")


def retire(ctx: Context) -> int:
    """Closes a bot for good; its rows stay."""
    if not ctx.args.dry_run:
        ctx.screen.confirm(f"Retire bot {ctx.args.name} for good? Nothing resumes it.",
                           ctx.args.yes)
    return _close(ctx, "retire_bot", "is retired; its rows stay")


def resume(ctx: Context) -> int:
    """Opens a paused bot again, to its workers too."""
    with ctx.connect() as conn, conn.transaction(force_rollback=ctx.args.dry_run):
        conn.execute("select security.resume_bot(%s)", [find(ctx, conn, ctx.args.name)])
    return ctx.finish(f"bot {ctx.args.name} is active")


def limit(ctx: Context) -> int:
    """Sets what a login may take; what is not given stays as it is."""
    args = ctx.args
    columns = "login, connection_limit, statement_timeout, transaction_idle, lock_timeout"
    with ctx.connect() as conn, conn.transaction(force_rollback=args.dry_run):
        (login,) = conn.execute("select security.find_login(%s)", [args.name]).fetchone()
        conn.execute("select security.set_limits(%s, %s, %s, %s, %s)", [
            login, args.connections, args.statement_timeout, args.idle, args.lock_timeout])
        row = next(row for listed in ("bots", "logins") for row in conn.execute(sql.SQL(
            "select {} from security.{}() where login = %s").format(
                sql.SQL(columns), sql.Identifier(f"list_{listed}")), [login]).fetchall())
    ctx.screen.rows(columns.split(", "), [row])
    return ctx.closing(f"{login} has these limits from its next connection on")


def token(ctx: Context) -> int:
    """Gives a bot the token for its messenger, asked for or, without a terminal, from stdin."""
    given = (ctx.screen.ask("Token", secret=True) if sys.stdin.isatty()
             else sys.stdin.readline()).strip()
    ctx.screen.hide(given)
    with ctx.connect() as conn, conn.transaction(force_rollback=ctx.args.dry_run):
        bot_id = find(ctx, conn, ctx.args.name)
        conn.execute("select security.set_bot_token(%s, %s)", [bot_id, given])
    return ctx.finish(f"bot {ctx.args.name} has its token")


def new_password(ctx: Context) -> str:
    """The password to set: asked for twice (--ask), else 192 random bits. No log shows it."""
    if ctx.args.ask:
        password = ctx.screen.ask("Password", secret=True)
        if not password or ctx.screen.ask("Again", secret=True) != password:
            raise FleetError("MB910", "the two passwords are not the same, or empty",
                             "Repeat the command.")
    else:
        password = secrets.token_urlsafe(24)
    ctx.screen.hide(password)
    return password


def verifier(conn: psycopg.Connection, password: str) -> str:
    """What the server keeps of a password: it never gets the password itself."""
    return conn.pgconn.encrypt_password(password.encode(), b"", b"scram-sha-256").decode()


def _close(ctx: Context, function: str, what: str) -> int:
    """Calls a function that ends a bot's sessions, and once more: for who got in before it was
    committed."""
    with ctx.connect() as conn:
        bot_id = find(ctx, conn, ctx.args.name)
        for _ in range(1 if ctx.args.dry_run else 2):
            with conn.transaction(force_rollback=ctx.args.dry_run):
                as_dry_run(ctx, conn)
                conn.execute(sql.SQL("select security.{}(%s)").format(sql.Identifier(function)),
                             [bot_id])
    return ctx.finish(f"bot {ctx.args.name} {what}")


def as_dry_run(ctx: Context, conn: psycopg.Connection) -> None:
    """Has a transaction of a dry run end no session: no rollback brings one back."""
    if ctx.args.dry_run:
        conn.execute("select set_config('app.dry_run', 'on', true)")


def find(ctx: Context, conn: psycopg.Connection, bot: str) -> int:
    """The id of a bot that a command names, by name or id. Raises MB003, MB911."""
    bot_id = conn.execute("select security.find_bot(%s)", [bot]).fetchone()[0]
    one_bot.of(ctx.target).choose(bot_id)
    return bot_id


def _show(ctx: Context, name: str, bot_id: int, password: str, what: str) -> int:
    made = not ctx.args.ask and not ctx.args.dry_run
    ctx.screen.rows(["bot", "bot_id", "login", "password"], [
        (name, bot_id, f"bot_{bot_id}", password if made else "")])
    ctx.closing(f"bot {name} {what}" + ("; the password is shown this once" if made else ""))
    return DONE


NAME = arg("name", metavar="NAME", help="the bot, by name or id")
ASK = arg("--ask", action="store_true", help="ask for the password instead of making one")
COMMANDS = (
    Command("bot add", "make a bot and its login; prints the password once", add,
            changes=True, arguments=(arg("name", metavar="NAME"), ASK)),
    Command("bot list", "list the bots, their logins, connections and limits",
            Query("select * from security.list_bots()")),
    Command("bot logins", "list workers, admins and super_admins with their limits",
            Query("select * from security.list_logins()")),
    Command("bot limit", "set what a bot's, worker's or admin's login may take", limit,
            changes=True, arguments=(
                arg("name", metavar="NAME", help="a bot, by name or id, or a login"),
                arg("--connections", type=int, metavar="N", help="at a time"),
                arg("--statement-timeout", metavar="TIME", help="for a statement, as '30 s'"),
                arg("--idle", metavar="TIME",
                    help="that a transaction may wait for the next statement"),
                arg("--lock-timeout", metavar="TIME",
                    help="that a statement may wait for a lock"))),
    Command("bot rotate", "give a bot another password; prints it once", rotate,
            changes=True, arguments=(NAME, ASK)),
    Command("bot token", "give a bot its messenger's token; asks, or reads stdin", token,
            changes=True, arguments=(NAME,)),
    Command("bot pause", "close a bot: its login, its workers' way to it, their sessions", pause,
            changes=True, arguments=(NAME,)),
    Command("bot resume", "open a paused bot again, to its workers too", resume,
            changes=True, arguments=(NAME,)),
    Command("bot retire", "pause a bot for good; its rows stay", retire,
            changes=True, arguments=(NAME, YES)),
    Command("bot drop", "drop a bot and its login; refuses to lose rows", drop,
            changes=True, arguments=(NAME, YES, DISCARD)),
)
