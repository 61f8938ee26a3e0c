"""`runner.py plan`: what migrate would do, as a table, or as SQL in one piece."""

from fleet import files, sqlfile
from fleet.code import Editor
from fleet.command import Command, Context, arg
from fleet.errors import DONE
from fleet.status import states as find_states


def plan(ctx: Context) -> int:
    if ctx.args.script:
        return _print_scripts(ctx, [files.pick(ctx.files, ctx.args.script)], "")
    with ctx.connect() as conn:
        found = find_states(conn, ctx.files)
        states = {s.migration: s.state for s in found}
        editor = Editor.of(ctx, conn)
        if ctx.args.script is not None:
            return _print_scripts(ctx, [m for m in ctx.files if states[m.id] == "pending"],
                                  editor.script(ctx.files, found))
        edits = editor.planned(ctx.files, found)
    passed = ("applied", "edited") if edits else ("applied",)
    rows = [(m.id, {"pending": "apply", "adopt": "verify and adopt"}.get(state, f"refuse: {state}")
             + ("" if m.script("apply").in_transaction else ", in no transaction"),
             m.header(m.id), m.header("locks"), m.header("undo"))
            for m in ctx.files if (state := states[m.id]) not in passed]
    rows += [(migration, verb, what, "", "") for migration, verb, what, _ in edits]
    ctx.screen.rows(["migration", "migrate_would", "what", "locks", "undo"], rows,
                    below=[text for *_, text in edits], key="difference")
    return DONE


def _print_scripts(ctx: Context, chosen: list[files.Migration], edits: str) -> int:
    """Each apply.sql with its parts in place, for a tool that runs what is pasted into it, and what
    brings edited files live."""
    scripts = [(m.id, m.script("apply")) for m in chosen]
    for _, script in scripts:
        sqlfile.refuse(script)
    texts = [(name, script.in_transaction, script.text) for name, script in scripts]
    texts += [("edits", True, edits)] if edits else []
    if ctx.screen.as_json:
        ctx.screen.document([{"migration": name, "transaction": whole, "sql": text}
                             for name, whole, text in texts])
        return DONE
    for name, whole, text in texts:
        first, last = ("begin;\n", "commit;\n") if whole else ("", "")
        ctx.screen.verbatim(f"{first}{text}{last}")
        ctx.screen.say("where they have run: runner.py migrate" if name == "edits" else
                       f"where it has run, mark it: runner.py adopt {name}")
    return DONE


COMMANDS = (
    Command("plan", "show what migrate would do", plan, arguments=(
        arg("--sql", dest="script", metavar="ID", nargs="?", const="",
            help="instead, print the SQL of what is pending or edited, or of ID, in one piece"),)),
)
