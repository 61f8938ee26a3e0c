"""`--log FILE`: one JSON line per thing done, with no secret in it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleet.errors import USAGE, FleetError
from fleet.screen import json_text


class Journal:
    """Appends JSON lines to a file; does nothing without one."""

    def __init__(self, path: Path | None, command: str, correlation_id: str) -> None:
        self.path = path
        self.common = {"command": command, "correlation_id": correlation_id}
        self.secrets: tuple[str, ...] = ()

    def hide(self, secrets: Iterable[str]) -> None:
        """From now on these values are written as ***."""
        self.secrets = tuple(s for s in secrets if s)

    def mask(self, text: str) -> str:
        """The text with every known secret as ***."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def write(self, event: str, **fields: Any) -> None:
        """One line: time, command, correlation id, event and the given fields."""
        if self.path is None:
            return
        line = json_text({"time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                          **self.common, "event": event, **fields})
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as fault:
            path, self.path = self.path, None  # said once
            raise FleetError("MB900", f"can't write the log {path}: {fault.strerror}",
                             "Name a file in a folder that you may write to.",
                             exit_code=USAGE) from None
