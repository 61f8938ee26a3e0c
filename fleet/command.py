"""A line of a module's table of commands, and the arguments that several commands share."""

from collections.abc import Callable
from dataclasses import dataclass

from fleet.context import Context

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


BOT = arg("--bot", metavar="NAME", help="this bot only, by name or id")
YES = arg("--yes", action="store_true", help="don't ask")
DISCARD = arg("--discard-data", action="store_true",
              help="throw away the rows that are in the way")
