"""`runner.py plan --sql`: what migrate would run, for a tool that runs what is pasted into it."""

from fleet import files, stepwise
from fleet.code import Editor
from fleet.command import Context
from fleet.errors import DONE
from fleet.screen import printable
from fleet.status import states


def print_sql(ctx: Context) -> int:
    """Prints the SQL of the migration that --sql names; without one, of all that is to be done."""
    if ctx.args.script:
        return _print(ctx, [files.pick(ctx.files, ctx.args.script)], "")
    with ctx.connect() as conn:
        found = states(conn, ctx.files)
        pending = {state.migration for state in found if state.state == "pending"}
        edits = Editor.of(ctx, conn).script(ctx.files, found)
    return _print(ctx, [m for m in ctx.files if m.id in pending], edits)


def _print(ctx: Context, chosen: list[files.Migration], edits: str) -> int:
    """Each apply.sql with its parts in place, and what brings edited files live."""
    scripts = [(m.id, m.script("apply")) for m in chosen]
    for _, script in scripts:
        stepwise.refuse(script)
    texts = [(name, script.in_transaction, script.text) for name, script in scripts]
    texts += [("edits", True, edits)] if edits else []
    if ctx.screen.as_json:
        ctx.screen.document([{"migration": name, "transaction": whole, "sql": text}
                             for name, whole, text in texts])
        return DONE
    out = ctx.screen.out
    for name, whole, text in texts:
        first, last = ("begin;\n", "commit;\n") if whole else ("", "")
        made = f"{first}{text}{last}"  # for another program as it is, with its tabs and long lines
        out.file.write(printable(made, "\n\t") if out.is_terminal else made)
        ctx.screen.say("where they have run: runner.py migrate" if name == "edits" else
                       f"where it has run, mark it: runner.py adopt {name}")
    return DONE
