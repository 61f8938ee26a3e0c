"""`runner.py report`: what an import brought, in the terminal, as JSON, or as one HTML page."""

import html
from decimal import Decimal
from pathlib import Path
from typing import Any

from fleet import one_bot
from fleet.command import BOT, Command, Context, arg
from fleet.errors import DONE, DRIFT
from fleet.output import writing
from fleet.screen import plain, printable

SECTIONS = (
    ("bots", "Per bot", "select * from json_import.report(security.find_bot(%(bot)s))"),
    ("rejects", "In quarantine",
     "select * from json_import.rejects_by_code(security.find_bot(%(bot)s))"),
    ("months", "Messages by month",
     "select * from json_import.messages_by_month(security.find_bot(%(bot)s))"),
    ("runs", "Latest runs", "select * from json_import.recent_runs()"),
)
STYLE = ("body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
         "color:#222}table{border-collapse:collapse;margin:.5rem 0 2rem}td,th{padding:.2rem .8rem;"
         "text-align:left;border-bottom:1px solid #ddd}td.n{text-align:right}.ok{color:#176f2c}"
         ".bad{color:#b3261e}rect.in{fill:#4477aa}rect.out{fill:#ccbb44}")


def report(ctx: Context) -> int:
    """Prints the report; with --html FILE writes it as a page that needs nothing else. Exit 4 if
    the tables do not hold what the ledger says."""
    with ctx.connect() as conn:
        found = {}
        for name, _, query in SECTIONS:
            cursor = conn.execute(query, {"bot": one_bot.named(ctx)})
            columns = [column.name for column in cursor.description]
            found[name] = [dict(zip(columns, row, strict=True)) for row in cursor]
        checks = conn.execute("select * from json_import.check()").fetchall()
    failed = [f"{name} ({detail})" for name, ok, detail in checks if not ok]
    verdict = "; ".join(failed) or f"the tables hold what the ledger says ({len(checks)} checks)"
    if ctx.args.html:
        _write(ctx, page(found, verdict, not failed))
    if ctx.screen.as_json:
        ctx.screen.document(found | {"verdict": verdict, "ok": not failed})
    else:
        for name, title, _ in SECTIONS:
            rows = with_bars(found[name]) if name == "months" else found[name]
            _heading(ctx, title)
            ctx.screen.rows(list(rows[0]) if rows else [], [list(row.values()) for row in rows])
        _heading(ctx, "Verdict")
        ctx.screen.text(verdict)
    return DRIFT if failed else DONE


def _heading(ctx: Context, title: str) -> None:
    ctx.screen.out.print(f"\n{title}", style="bold")


def with_bars(months: list[dict]) -> list[dict]:
    """The months with a bar of up to 40 characters each."""
    most = max((m["messages_in"] + m["messages_out"] for m in months), default=0)
    return [m | {"": "█" * max(1, round(40 * (m["messages_in"] + m["messages_out"]) / most))}
            for m in months]


def page(found: dict[str, list[dict]], verdict: str, ok: bool) -> str:
    """The whole report as HTML; every value is escaped, nothing is fetched."""
    verdict = f"<p class={'ok' if ok else 'bad'}>{html.escape(printable(verdict))}</p>"
    parts = ["<!doctype html><meta charset=utf-8><title>Import report</title>",
             f"<style>{STYLE}</style><h1>Import report</h1>{verdict}"]
    for name, title, _ in SECTIONS:
        parts.append(f"<h2>{title}</h2>")
        parts.append(picture(found[name]) if name == "months" else table(found[name]))
    return "\n".join(parts)


def table(rows: list[dict]) -> str:
    """Rows as an HTML table."""
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{html.escape(column)}</th>" for column in rows[0])
    body = "".join("<tr>" + "".join(_cell(value) for value in row.values()) + "</tr>"
                   for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    text = f"{value:,}" if number else printable(str(plain(value)))
    return f"<td{' class=n' if number else ''}>{html.escape(text)}</td>"


def picture(months: list[dict]) -> str:
    """Messages by month as an SVG: received below, sent on top."""
    if not months:
        return "<p>none</p>"
    most = max(m["messages_in"] + m["messages_out"] for m in months)
    bars, width = [], 24
    for place, m in enumerate(months):
        low, high = (round(160 * m[key] / most) for key in ("messages_in", "messages_out"))
        x, label = place * width, f"{m['month']}: {m['messages_in']} in, {m['messages_out']} out"
        bars.append(f"<g><title>{label}</title>"
                    f"<rect class=out x={x} y={170 - low - high} width=20 height={high} />"
                    f"<rect class=in x={x} y={170 - low} width=20 height={low} />"
                    f"<text x={x + 14} y=176 font-size=10 transform='rotate(60 {x + 14} 176)'>"
                    f"{m['month']}</text></g>")
    return (f"<svg width={len(months) * width + 40} height=230 role=img "
            f"aria-label='Messages by month'>{''.join(bars)}</svg>")


def _write(ctx: Context, text: str) -> None:
    with writing(ctx.args.html):
        ctx.args.html.write_text(text, "utf-8")
    ctx.screen.say(f"written to {ctx.args.html}")


COMMANDS = (
    Command("report", "show what the import brought (exit 4: not all is there)",
            report, arguments=(BOT, arg("--html", type=Path, metavar="FILE",
                                        help="write it as a self-contained page as well"))),
)
