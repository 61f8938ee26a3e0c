"""`runner.py plan`: what migrate would do."""

from fleet.command import Command, Context, arg
from fleet.errors import DONE
from fleet.status import states as find_states


def plan(ctx: Context) -> int:
    if ctx.args.script is not None:
        from fleet.plan_sql import print_sql
        return print_sql(ctx)
    with ctx.connect() as conn:
        found = find_states(conn, ctx.files)
        states, edits = {s.migration: s.state for s in found}, []
        if "edited" in states.values():
            from fleet.code import Editor
            edits = Editor.of(ctx, conn).planned(ctx.files, found)
    passed = ("applied", "edited") if edits else ("applied",)
    rows = [(m.id, {"pending": "apply", "adopt": "verify and adopt"}.get(state, f"refuse: {state}")
             + ("" if m.script("apply").in_transaction else ", in no transaction"),
             m.header(m.id), m.header("locks"), m.header("undo"))
            for m in ctx.files if (state := states[m.id]) not in passed]
    columns = ["migration", "migrate_would", "what", "locks", "undo"]
    if edits:
        from fleet import diff
        rows += [(migration, verb, what, "", "") for migration, verb, what, _ in edits]
        diff.show(ctx.screen, columns, rows, [text for *_, text in edits])
    else:
        ctx.screen.rows(columns, rows)
    return DONE


COMMANDS = (
    Command("plan", "show what migrate would do", plan, arguments=(
        arg("--sql", dest="script", metavar="ID", nargs="?", const="",
            help="instead, print the SQL of what is pending or edited, or of ID, in one piece"),)),
)
