"""A line of a module's table of commands, and the arguments that several commands share."""

from collections.abc import Callable
from dataclasses import dataclass

from fleet.context import Context
from fleet.errors import DONE

Argument = tuple[tuple[str, ...], dict]


def arg(*flags: str, **options: object) -> Argument:
    return flags, options


@dataclass(frozen=True)
class Command:
    """A line of the table: its name, what it does, whether it changes anything, its arguments.

    A name of two words is a command of a group.
    """

    name: str
    help: str
    run: Callable[[Context], int]
    changes: bool = False
    arguments: tuple[Argument, ...] = ()
    one_of: tuple[Argument, ...] = ()  # exactly one of these is needed


@dataclass(frozen=True)
class Query:
    """What a command does that is one query: prints its rows; the exit code follows from them."""

    text: str
    exit_rule: Callable[[list], int] = lambda rows: DONE

    def __call__(self, ctx: Context) -> int:
        named = vars(ctx.args) | ({"bot": ctx.bot()} if "bot" in ctx.args else {})
        with ctx.connect() as conn:
            cursor = conn.execute(self.text, named)
            rows = cursor.fetchall()
            ctx.screen.rows([column.name for column in cursor.description], rows)
        return self.exit_rule(rows)


BOT = arg("--bot", metavar="NAME", help="this bot only, by name or id")
YES = arg("--yes", action="store_true", help="don't ask")
DISCARD = arg("--discard-data", action="store_true",
              help="throw away the rows that are in the way")
