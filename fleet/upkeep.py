"""What maintain and metrics do; what is due, and what is measured, is decided in SQL."""

from fleet.commands import Context


def maintain(ctx: Context) -> int:
    """Runs each task that is due, each in a transaction of its own; MB302 if one failed."""
    done, failed = [], []
    with ctx.connect() as conn:
        due = conn.execute("select task, last_run, every, description"
                           " from performance.due_tasks()").fetchall()
        if ctx.args.dry_run:
            ctx.screen.rows(["task", "last_run", "every", "description"], due)
            return ctx.closing(f"{len(due)} tasks are due")
        for task, *_ in due:
            ok, result, duration = conn.execute(
                "select ok, result, duration from performance.run_task(%s, true)", [task]
            ).fetchone()
            done.append((task, ok, result, duration))
            failed += [] if ok else [task]
            ctx.journal.write("task", task=task, ok=ok, result=result)
        ctx.screen.rows(["task", "ok", "result", "duration"], done)
        conn.execute("select performance.refuse_failures(%s)", [failed])
    return ctx.closing(f"{len(done)} tasks done" if done else "nothing is due")


def metrics(ctx: Context) -> int:
    from fleet.exporter import export  # it brings an HTTP server, which no other command needs
    return export(ctx)
