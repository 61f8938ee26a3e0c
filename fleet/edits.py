"""`runner.py diff`: how files and database differ, and which of the two is to be right."""

from fleet import diff as comparison
from fleet import lock, registry, status
from fleet.code import Editor, applied
from fleet.command import YES, Command, Context, arg
from fleet.diff import Difference, Survey
from fleet.errors import DIFFERS, DONE, DRIFT, USAGE, FleetError
from fleet.files import Migration

COLUMNS = ["changed_in", "kind", "object", "files"]


def diff(ctx: Context) -> int:
    """Shows what files and database tell differently; --show and --take are about one object.

    Exit 3 if there is a difference. Where no scratch database can be had, what was accepted stands
    for the files.
    """
    if (ctx.args.show or ctx.args.take) and not ctx.args.object:
        raise FleetError("MB900", "no object is named", "Name it as runner.py diff does.",
                         exit_code=USAGE)
    with ctx.connect() as conn:
        if not registry.has_inventory(conn):
            raise FleetError("MB907", "there is nothing to compare by: 002_security isn't applied",
                             "runner.py migrate", exit_code=DRIFT)
        found = status.states(conn, ctx.files)
        status.refuse_drift(found, "edited", "late")
        editor, now = Editor.of(ctx, conn), applied(ctx.files, found)
        try:
            survey = editor.survey(now)
        except FleetError as fault:
            if fault.code != "MB915" or ctx.args.show or ctx.args.take:
                raise
            ctx.screen.warn(fault.message)
            return _accepted(ctx, registry.differences(conn))
        if ctx.args.show:
            return _show(ctx, survey)
        if ctx.args.take:
            return _take(ctx, editor, survey, now)
    return _list(ctx, _chosen(ctx, survey))


def _list(ctx: Context, found: list[Difference]) -> int:
    comparison.show(ctx.screen, COLUMNS, [(d.changed, *d.name, d.place) for d in found],
                    [d.text() for d in found])
    ctx.screen.say(f"{len(found) or 'no'} differences")
    return DIFFERS if found else DONE


def _accepted(ctx: Context, found: list[tuple[str, str, str]]) -> int:
    """The differences from what was accepted, without the files."""
    ctx.screen.rows(["object", "accepted", "live"], found)
    ctx.screen.say(f"{len(found) or 'no'} differences from what was accepted")
    return DIFFERS if found else DONE


def _chosen(ctx: Context, found: Survey) -> list[Difference]:
    """The differences of the object that the command line names, or all."""
    if not ctx.args.object:
        return found.differences
    name = comparison.pick((d.name for d in found.differences), ctx.args.object)
    return [d for d in found.differences if d.name == name or (d.name[0] in ("owner", "right")
            and d.name[1].removeprefix("to ").partition(" on ")[2] == name[1])]


def _show(ctx: Context, found: Survey) -> int:
    known = [name for name in found.live.facts if name[0] not in ("right", "owner")]
    name = comparison.pick(dict.fromkeys([*known, *found.live.pieces]), ctx.args.object)
    piece = found.live.pieces.get(name)
    ctx.screen.text(piece.made if piece else found.live.facts[name])
    return DONE


def _take(ctx: Context, editor: Editor, found: Survey, now: list[Migration]) -> int:
    """Makes one object live as the files say, whatever the database holds."""
    chosen = _chosen(ctx, found)
    for difference in chosen:
        ctx.screen.say(f"{difference.shown}, changed in {difference.changed}")
        ctx.screen.say(difference.text())
    if ctx.args.dry_run:
        return ctx.finish(f"would make {ctx.args.object} as the files say")
    ctx.screen.confirm(f"Make {ctx.args.object} as the files say, on {ctx.target.shown()}?",
                       ctx.args.yes)
    with (lock.hold(editor.conn, lock.MIGRATION, ctx.correlation_id) as held,
          editor.conn.transaction()):
        if editor.survey(now).differences != found.differences:
            raise FleetError("MB907", "somebody else changed something while this command waited",
                             "See runner.py diff, then repeat.", exit_code=DRIFT)
        made = editor.take(found, chosen, f"{ctx.files[-1].id}, diff --take files")
        held.require(editor.conn)
    return ctx.finish("; ".join(change.shown for change in made))


COMMANDS = (
    Command("diff", "compare the files with the database (exit 3: they differ)", diff,
            changes=True,
            arguments=(arg("object", nargs="?", metavar="OBJECT", help="this object only"),
                       arg("--show", action="store_true", help="print its live text"),
                       arg("--take", choices=["files"], help="make it live as the files say"),
                       YES)),
)
