"""How far a long command is: a bar in a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fleet.screen import Screen


@contextmanager
def progress(screen: Screen, title: str, total: int) -> Iterator[Any]:
    """Yields advance(n, text): a bar with rate and time left, or plain lines (no terminal)."""
    if screen.quiet or not screen.err.is_terminal:
        yield lambda _n, text="": screen.say(text) if text else None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=screen.err, transient=True) as bar:
        task = bar.add_task(title, total=total, rate="")

        def advance(count: int, text: str = "") -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=count, rate=f"{speed:,.0f}/s" if speed else "")
            if text:
                screen.say(text)
        yield advance
