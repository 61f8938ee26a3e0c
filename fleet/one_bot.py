"""Which bot a command is about: --bot, CURRENT_BOT_ID, MULTI_BOT_ENABLED."""

import re
from dataclasses import dataclass

from fleet.command import Context
from fleet.config import DatabaseConfig
from fleet.errors import USAGE, FleetError

VALUES = {"CURRENT_BOT_ID": "0*[1-9][0-9]{0,17}",
          "MULTI_BOT_ENABLED": "(?i:true|1|yes|on|false|0|no|off)"}


@dataclass(frozen=True)
class Bots:
    """Which bots an installation is about: all (`multi`), or the one with the id `current`."""

    current: int | None = None
    multi: bool = True

    def choose(self, asked: int | None) -> int | None:
        """The bot a command is about: `asked`, else CURRENT_BOT_ID; MB911 in one-bot mode."""
        if not self.multi and (self.current is None or asked not in (None, self.current)):
            raise FleetError("MB911", f"MULTI_BOT_ENABLED is false, CURRENT_BOT_ID is "
                             f"{self.current or 'not set'}, --bot is {asked or 'not given'}",
                             "set CURRENT_BOT_ID to the bot and leave --bot out", exit_code=USAGE)
        return self.current if asked is None else asked


def of(config: DatabaseConfig) -> Bots:
    """What a configuration says of it; raises MB903 for what can't be understood."""
    for name, value in config.settings.items():
        if not re.fullmatch(VALUES[name], value):
            raise FleetError("MB903", f"{name} is {str(value)!r}", "set CURRENT_BOT_ID to a bot's "
                             "number, MULTI_BOT_ENABLED to true or false", value.source, USAGE)
    multi = config.settings.get("MULTI_BOT_ENABLED", "on").lower() in ("true", "1", "yes", "on")
    return Bots(int(config.settings.get("CURRENT_BOT_ID", 0)) or None, multi)


def named(ctx: Context) -> str | None:
    """The bot that a command is about, as --bot or CURRENT_BOT_ID names it: by name or id."""
    asked = ctx.args.bot
    if asked is None or asked.isdigit():
        found = of(ctx.target).choose(None if asked is None else int(asked))
        return None if found is None else str(found)
    return asked
