"""What maintain and metrics do; what is due, and what is measured, is decided in SQL."""

from pathlib import Path

from fleet.command import Command, Context, arg
from fleet.errors import DONE, DRIFT
from fleet.query import Query


def maintain(ctx: Context) -> int:
    """Runs each task that is due, each in a transaction of its own; MB302 if one failed."""
    done, failed = [], []
    with ctx.connect() as conn:
        if ctx.args.dry_run:
            found = conn.execute("select * from performance.preview_maintain()").fetchall()
            ctx.screen.rows(["task", "what", "count"], found)
            return ctx.closing(f"{len({task for task, *_ in found})} tasks are due")
        for task, in conn.execute("select task from performance.due_tasks()").fetchall():
            ok, result, duration = conn.execute(
                "select ok, result, duration from performance.run_task(%s, true)", [task]
            ).fetchone()
            done.append((task, ok, result, duration))
            failed += [] if ok else [task]
            ctx.log("task", task=task, ok=ok, result=result)
        ctx.screen.rows(["task", "ok", "result", "duration"], done)
        conn.execute("select performance.refuse_failures(%s)", [failed])
    return ctx.closing(f"{len(done)} tasks done" if done else "nothing is due")


def metrics(ctx: Context) -> int:
    from fleet.exporter import export  # it brings an HTTP server, which no other command needs
    return export(ctx)


COMMANDS = (
    Command("maintain", "run what is due: partitions, roll-ups, seals, retention",
            maintain, changes=True),
    Command("health", "show what is amiss, the worst first (exit 4: critical)",
            Query("select * from performance.health_check()", lambda rows: (
                DRIFT if any(row[1] == "critical" for row in rows) else DONE))),
    Command("metrics", "print what is measured, in Prometheus' text format", metrics,
            arguments=(arg("--textfile", type=Path, metavar="FILE",
                           help="write it there, whole or not at all, for the node exporter"),
                       arg("--serve", metavar="HOST:PORT",
                           help="serve it until Ctrl-C, measured anew for each scrape"))),
)
