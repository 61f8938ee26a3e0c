"""`runner.py graph`: what depends on what."""

from fleet import files
from fleet.command import Command, Context, arg
from fleet.errors import DONE
from fleet.status import states


def graph(ctx: Context) -> int:
    with ctx.connect() as conn:
        found = {s.migration: s.state for s in states(conn, ctx.files)}
    chain = []
    if ctx.args.rollback:
        root = files.pick(ctx.files, ctx.args.rollback).id
        chain = [m.id for m in reversed(files.dependants(ctx.files, root))]
    if ctx.args.mermaid:
        lines = ["flowchart TD"]
        lines += [f'    {m.id}["{m.id}<br/>{found[m.id]}"]' for m in ctx.files]
        lines += [f"    {need} --> {m.id}" for m in ctx.files for need in sorted(m.depends)]
        lines += [f"    style {name} stroke-dasharray: 4" for name in chain]
        ctx.screen.text("\n".join(lines), "mermaid")
        return DONE
    ctx.screen.rows(["migration", "depends_on", "state", "rollback_step"], [
        (m.id, ", ".join(sorted(m.depends)), found[m.id],
         chain.index(m.id) + 1 if m.id in chain else None) for m in ctx.files])
    return DONE


COMMANDS = (
    Command("graph", "show what depends on what", graph,
            arguments=(arg("--mermaid", action="store_true", help="as a Mermaid flowchart"),
                       arg("--rollback", metavar="ID",
                           help="number the steps of a rollback --only ID"))),
)
