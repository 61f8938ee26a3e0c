"""Commands that are one query: its rows are what they print. And `runner.py codes`, one of them."""

from collections.abc import Callable
from dataclasses import dataclass

from fleet import one_bot
from fleet.command import Command, Context
from fleet.errors import DONE


@dataclass(frozen=True)
class Query:
    """What a command does that is one query: prints its rows; the exit code follows from them."""

    text: str
    exit_rule: Callable[[list], int] = lambda rows: DONE

    def __call__(self, ctx: Context) -> int:
        named = vars(ctx.args) | ({"bot": one_bot.named(ctx)} if "bot" in ctx.args else {})
        with ctx.connect() as conn:
            cursor = conn.execute(self.text, named)
            rows = cursor.fetchall()
            ctx.screen.rows([column.name for column in cursor.description], rows)
        return self.exit_rule(rows)


COMMANDS = (
    Command("codes", "list the error codes and what to do about each", Query(
        "select code, name, meaning, remedy from core.error_code order by code")),
)
