"""Workers and admins: what `runner.py worker …` and `admin …` do; the rules are in 002."""

import psycopg

from fleet.bots import ASK, as_dry_run, find, new_password, verifier
from fleet.command import YES, Command, Context, arg
from fleet.errors import DONE, FleetError
from fleet.query import Query


def add_worker(ctx: Context) -> int:
    """Makes a worker of some bots; prints the password once, unless it was asked for."""
    password = new_password(ctx)
    with ctx.connect() as conn, conn.transaction(force_rollback=ctx.args.dry_run):
        conn.execute("select security.create_worker(%s, %s, %s)",
                     [ctx.args.name, [find(ctx, conn, bot) for bot in ctx.args.bots],
                      verifier(conn, password)])
        return _show(ctx, conn, password)


def add_admin(ctx: Context) -> int:
    """Makes an admin or a super_admin; prints the password once, unless it was asked for."""
    password = new_password(ctx)
    with ctx.connect() as conn, conn.transaction(force_rollback=ctx.args.dry_run):
        conn.execute("select security.create_admin(%s, %s, %s)",
                     [ctx.args.name, verifier(conn, password), ctx.args.super])
        return _show(ctx, conn, password)


def grant(ctx: Context) -> int:
    """Gives a worker some more bots."""
    with ctx.connect() as conn, conn.transaction(force_rollback=ctx.args.dry_run):
        _require(conn, ctx.args.name, "worker")
        for bot in ctx.args.bots:
            conn.execute("select security.grant_bot_to_admin(%s, %s)",
                         [find(ctx, conn, bot), ctx.args.name])
    return ctx.finish(f"worker {ctx.args.name} may act as {', '.join(ctx.args.bots)}")


def drop(ctx: Context) -> int:
    """Drops a worker or an admin and ends its sessions."""
    what = ctx.args.command.split()[0]
    with ctx.connect() as conn:
        _require(conn, ctx.args.name, what)
        if not ctx.args.dry_run:
            ctx.screen.confirm(f"Drop {what} {ctx.args.name} and end its sessions?", ctx.args.yes)
        with conn.transaction(force_rollback=ctx.args.dry_run):
            as_dry_run(ctx, conn)
            conn.execute("select security.drop_login(%s)", [ctx.args.name])
    return ctx.finish(f"{what} {ctx.args.name} is dropped")


def _require(conn: psycopg.Connection, name: str, what: str) -> None:
    """Raises MB105 unless a worker, or an admin of whatever level, has this name."""
    if not conn.execute("select from security.list_logins() where login = %s"
                        " and (level = 'worker') = (%s = 'worker')", [name, what]).fetchall():
        raise FleetError("MB105", f"there is no {what} {name}",
                         f"runner.py {what} list names those that there are.")


def _show(ctx: Context, conn: psycopg.Connection, password: str) -> int:
    made = not ctx.args.ask and not ctx.args.dry_run
    columns = ["login", "level", "bots", "password"]
    ctx.screen.rows(columns, conn.execute(
        "select login, level, bots, %s::text from security.list_logins() where login = %s",
        [password if made else "", ctx.args.name]).fetchall())
    ctx.closing(f"{ctx.args.name} added" + ("; the password is shown this once" if made else ""))
    return DONE


NAME = arg("name", metavar="NAME", help="the login")
COMMANDS = (
    Command("worker add", "make a login for many bots; prints the password once", add_worker,
            changes=True, arguments=(NAME, ASK, arg(
                "bots", nargs="*", metavar="BOT", help="a bot that it may act as, by name or id"))),
    Command("worker list", "list the workers, their bots, connections and limits", Query(
        "select * from security.list_logins() where level = 'worker'")),
    Command("worker grant", "let a worker act as more bots", grant,
            changes=True, arguments=(NAME, arg(
                "bots", nargs="+", metavar="BOT", help="the bot, by name or id"))),
    Command("worker drop", "drop a worker and end its sessions", drop,
            changes=True, arguments=(NAME, YES)),
    Command("admin add", "make a login for a person; prints the password once", add_admin,
            changes=True, arguments=(NAME, ASK, arg(
                "--super", action="store_true", help="a super_admin, who sees and does all"))),
    Command("admin list", "list the admins and super_admins, their bots and limits", Query(
        "select * from security.list_logins() where level <> 'worker'")),
    Command("admin drop", "drop an admin or super_admin and end its sessions", drop,
            changes=True, arguments=(NAME, YES)),
)
