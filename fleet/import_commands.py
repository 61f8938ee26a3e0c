"""What import, retry, rejects, export-rejects and report do; the rules themselves are in SQL."""

import os
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import psycopg

from fleet import bot_files, importer, lock, one_bot
from fleet.command import BOT, Command, Context, arg
from fleet.errors import DONE, DRIFT, LOCKED, QUARANTINED, USAGE, FleetError
from fleet.output import writing
from fleet.progress import progress
from fleet.query import Query


def import_files(ctx: Context) -> int:
    """Loads a folder of bots' JSON files; exit 6 if this run put a file into quarantine."""
    args, started = ctx.args, time.monotonic()
    if args.jobs < 1 or args.max_bytes < 1:
        raise FleetError("MB900", "--jobs and --max-bytes are at least 1", exit_code=USAGE)
    which, folders = one_bot.of(ctx.target), bot_files.bot_folders(args.folder, args.bot)
    if not args.bot and (names := bot_files.strays(args.folder, folders)):
        ctx.screen.warn(f"no bot's folder, so not read: {', '.join(names)}")
    with ctx.connect() as conn, \
            conn.transaction(force_rollback=True) if args.dry_run else nullcontext(), \
            lock.hold(conn, lock.IMPORT, ctx.correlation_id, args.dry_run) as held:
        _say_whether_dry(conn, args.dry_run)
        run_id = conn.execute("select json_import.start_run(%s, %s::jsonb)", [
            bot_files.spell(os.fsencode(args.folder)),
            psycopg.types.json.Jsonb(_options(args))]).fetchone()[0]
        bots = {name: _ensure_bot(args, conn, which, name) for name in folders}
        entries = importer.classify(conn, run_id, [
            entry for name, folder in folders.items()
            for entry in bot_files.walk(folder, bots[name][0])])
        counts, busy = _load(ctx, conn, run_id, entries, held)
        in_the_way = [conn.execute("select json_import.busy_sessions(%s)", [bot_id]).fetchone()[0]
                      for bot_id in sorted({entry.bot_id for entry in busy})]
        conn.execute("select json_import.finish_run(%s)", [run_id])
        found = Counter(entry.bot_id for entry in entries)
        rows = [(name, bot_id, "new" if is_new else "", found[bot_id],
                 *(counts[bot_id, outcome] for outcome in importer.OUTCOMES))
                for name, (bot_id, is_new) in bots.items()]
        changed = conn.execute(
            "select * from json_import.list_changes(%s)", [run_id]
        ).fetchall() if args.dry_run else []
    if args.dry_run and (args.all or ctx.screen.as_json):
        ctx.screen.rows(["bot", "path", "would_be", "rows", "defects"], changed)
    elif args.dry_run:
        ctx.screen.rows(["bot", "would_be", "files", "rows", "defects", "for_example"],
                        _grouped(changed))
    else:
        ctx.screen.rows(["bot", "bot_id", "new", "found", *importer.OUTCOMES], rows)
    total = Counter({outcome: sum(n for (_, o), n in counts.items() if o == outcome)
                     for outcome in importer.OUTCOMES})
    if missing := len(entries) - sum(total.values()) - len(busy):
        raise FleetError("MB912", f"{missing} of {len(entries)} entries are in no count",
                         "This is a fault of the importer: report it.")
    ctx.log("import", run_id=run_id, found=len(entries), busy=len(busy), **total)
    ctx.closing(f"{len(entries)} entries: " + ", ".join(
        f"{total[o]} {o}" for o in importer.OUTCOMES) + f" in {time.monotonic() - started:.1f} s")
    if busy:
        raise FleetError(
            "MB435", f"{len(busy)} files were not loaded, the first {busy[0].path}: another "
            f"session holds rows that they need: {'; '.join(filter(None, in_the_way)) or 'gone'}",
            "End the session, or wait until it has finished; then import again.", exit_code=LOCKED)
    if total["quarantined"]:
        ctx.screen.say("why, and what to do: runner.py rejects")
        return QUARANTINED
    return DONE


def _say_whether_dry(conn: psycopg.Connection, dry_run: bool) -> None:
    """A dry run draws ids that nothing else uses; to be rolled back."""
    if dry_run:
        conn.execute("select set_config('app.dry_run', 'on', true)")


def _grouped(changed: list[tuple]) -> list[tuple]:
    """(bot, would_be, files, rows, defects, a path) of what a dry run says of each file."""
    groups: dict[tuple, list[tuple]] = {}
    for bot, path, status, rows, defects in changed:
        groups.setdefault((bot, status), []).append((path, rows or 0, defects or 0))
    return [(*group, len(files), sum(f[1] for f in files), sum(f[2] for f in files), files[0][0])
            for group, files in sorted(groups.items())]


def _options(args: Namespace) -> dict:
    return {name: getattr(args, name) for name in ("bot", "jobs", "strict", "dry_run", "max_bytes")}


def _ensure_bot(args: Namespace, conn: psycopg.Connection, which: one_bot.Bots, name: str
                ) -> tuple[int, bool]:
    """The bot of this name as (bot_id, is_new). In one-bot mode only the configured one."""
    create = not args.no_create and which.multi
    bot_id, is_new = conn.execute("select * from json_import.ensure_bot(%s, %s)",
                                  [name, create]).fetchone()
    which.choose(bot_id)
    return bot_id, is_new


def _load(ctx: Context, conn: psycopg.Connection, run_id: int,
          entries: list[bot_files.Entry], held: lock.Held
          ) -> tuple[Counter, list[bot_files.Entry]]:
    octets = sum(entry.octets for entry in entries)

    def connect():
        if ctx.args.dry_run:  # one transaction, to be rolled back
            return nullcontext(conn)
        other = ctx.connect()
        other.pins["synchronous_commit"] = "off"  # a batch lost in a crash is read again
        return other

    with progress(ctx.screen, "importing", octets) as advance:
        work = importer.Importer(connect, run_id, ctx.args.strict, ctx.args.max_bytes, advance,
                                 held.require)
        work.load(entries, 1 if ctx.args.dry_run else ctx.args.jobs)
    return work.counts, work.busy


def compare(ctx: Context) -> int:
    """Compares the files of a folder with the tables, for `verify --source`; exit 4 if one differs.
    """
    columns = ("bot", "path", "verdict", "records", "octets", "digest", "difference")
    totals, differences = {}, []
    with ctx.connect() as conn:
        for name, folder in bot_files.bot_folders(ctx.args.source, one_bot.named(ctx)).items():
            bot_id = conn.execute("select security.find_bot(%s)", [name]).fetchone()[0]
            totals[name] = Counter()
            for row in _reconcile(conn, folder, bot_id):
                totals[name].update({row[1]: 1, "records": row[2], "octets": row[3],
                                     "digest": row[4]})
                if row[1] == "different":
                    differences.append((name, *row))
    ctx.screen.rows(columns, differences or [
        (name, f"{t['equal']} files", "equal", t["records"], t["octets"], t["digest"],
         f"{t['quarantined']} more in quarantine" if t["quarantined"] else "")
        for name, t in totals.items()])
    ctx.screen.say(f"{len(differences) or 'no'} files differ from the tables")
    return DRIFT if differences else DONE


def _reconcile(conn: psycopg.Connection, folder: bytes, bot_id: int) -> Iterator[tuple]:
    """(path, verdict, records, octets, digest, difference) of each file that is one of ours."""
    entries = [entry for entry in bot_files.walk(folder, bot_id) if entry.name.endswith(b".json")]
    kinds = conn.execute("select kind, chat_id, reason from json_import.classify(%s)"
                         " order by ordinal", [[e.path for e in entries]]).fetchall()
    ours = [entry for entry, kind in zip(entries, kinds, strict=True) if kind[2] is None]
    for batch in importer.batches(ours):
        contents = [(entry.path, content) for entry in batch
                    if (content := bot_files.read_or_none(entry)) is not None]
        yield from conn.execute(
            "select path, verdict, records, octets, digest, difference"
            " from json_import.reconcile(%s, %s, %b)",
            [bot_id, [path for path, _ in contents], [content for _, content in contents]])


def retry(ctx: Context) -> int:
    """Tries quarantined files again from the bytes kept; exit 6 if one stays there."""
    with ctx.connect() as conn, conn.transaction(force_rollback=ctx.args.dry_run), \
            lock.hold(conn, lock.IMPORT, ctx.correlation_id, here=True):
        _say_whether_dry(conn, ctx.args.dry_run)
        run_id = conn.execute("select json_import.start_run('(retry)')").fetchone()[0]
        rows = conn.execute(
            "select * from json_import.retry(%s, security.find_bot(%s), %s, %s)",
            [run_id, one_bot.named(ctx), ctx.args.file, ctx.args.code]).fetchall()
        conn.execute("select json_import.finish_run(%s)", [run_id])
    ctx.screen.rows(["bot", "path", "status", "defects"], rows)
    ctx.closing(f"{len(rows)} tried again")
    return QUARANTINED if any(row[2] == "quarantined" for row in rows) else DONE


def export_rejects(ctx: Context) -> int:
    """Writes the original bytes of quarantined files to DIR/<bot>/<path>; replaces no file."""
    with ctx.connect() as conn:
        rows = conn.execute(
            "select * from json_import.list_kept(security.find_bot(%s))",
            [one_bot.named(ctx)]).fetchall()
        for bot, path, *ids in rows:
            if not ctx.args.dry_run:
                parts = conn.execute("select json_import.kept_parts(%s, %s)", ids)
                _write(ctx.args.folder, bot, path, b"".join(part for part, in parts))
    ctx.screen.rows(["bot", "path"], [row[:2] for row in rows])
    ctx.closing(f"{len(rows)} files written to {ctx.args.folder}")
    return DONE


def _write(folder: Path, bot: str, path: str, content: bytes) -> None:
    name = bot_files.unspell(path)
    target = os.path.join(os.fsencode(folder), bot_files.unspell(bot), name)
    inside = os.path.realpath(os.fsencode(folder)) + b"/"
    if not os.path.realpath(target).startswith(inside):
        raise FleetError("MB900", f"{path!r} leads out of {folder}", exit_code=USAGE)
    with writing(path, "Name an empty folder that you may write to."):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "xb") as file:
            file.write(content)


CODE = arg("--code", metavar="MBnnn", help="only files with this defect")
COMMANDS = (
    Command("import", "load a folder of bots' JSON files (exit 6: quarantined some)",
            import_files, changes=True,
            arguments=(arg("folder", type=Path, metavar="DIR",
                           help="a folder of bots' folders or, with --bot, one bot's folder"),
                       BOT, arg("--no-create", action="store_true",
                                help="refuse a bot that doesn't exist yet"),
                       arg("--jobs", type=int, default=2, metavar="N",
                           help="connections at work (default 2)"),
                       arg("--all", action="store_true",
                           help="with --dry-run: list each file, not how many of a kind"),
                       arg("--strict", action="store_true",
                           help="quarantine unknown keys and chats without a profile"),
                       arg("--max-bytes", type=int, default=32 << 20, metavar="N",
                           help="quarantine larger files (default 32 MiB)"))),
    Command("rejects", "list what is wrong with files in quarantine (exit 6: some)",
            Query("select * from json_import.list_rejects(security.find_bot(%(bot)s), %(code)s)",
                  lambda rows: QUARANTINED if rows else DONE), arguments=(BOT, CODE)),
    Command("retry", "try quarantined files again from the bytes kept",
            retry, changes=True,
            arguments=(BOT, CODE, arg("--file", metavar="PATH", help="this one only"))),
    Command("export-rejects", "write the quarantined files back, byte for byte",
            export_rejects, changes=True,
            arguments=(BOT, arg("folder", type=Path, metavar="DIR"))),
)
