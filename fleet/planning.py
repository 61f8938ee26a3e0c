"""`runner.py plan`: what migrate would do, as a table, or as SQL in one piece."""

from fleet import migrations, sqlfile
from fleet.commands import Context
from fleet.errors import DONE


def plan(ctx: Context) -> int:
    if ctx.args.script:
        return _print_scripts(ctx, [migrations.pick(ctx.files, ctx.args.script)])
    with ctx.connect() as conn:
        found = {s.migration: s for s in migrations.states(conn, ctx.files)}
    if ctx.args.script is not None:
        return _print_scripts(ctx, [m for m in ctx.files if found[m.id].state == "pending"])
    rows = [(m.id, {"pending": "apply", "adopt": "verify and adopt"}.get(state, f"refuse: {state}")
             + ("" if m.script("apply").in_transaction else ", in no transaction"),
             m.header(m.id), m.header("locks"), m.header("undo"))
            for m in ctx.files if (state := found[m.id].state) != "applied"]
    ctx.screen.rows(["migration", "migrate_would", "what", "locks", "undo"], rows)
    return DONE


def _print_scripts(ctx: Context, chosen: list[migrations.Migration]) -> int:
    """Each apply.sql with its parts in place, for a tool that runs what is pasted into it."""
    scripts = [(m, m.script("apply")) for m in chosen]
    for _, script in scripts:
        sqlfile.refuse(script)
    if ctx.screen.as_json:
        ctx.screen.document([{"migration": m.id, "transaction": s.in_transaction, "sql": s.text}
                             for m, s in scripts])
        return DONE
    for migration, script in scripts:
        first, last = ("begin;\n", "commit;\n") if script.in_transaction else ("", "")
        ctx.screen.verbatim(f"{first}{script.text}{last}")
        ctx.screen.say(f"where it has run, mark it: runner.py adopt {migration.id}")
    return DONE
