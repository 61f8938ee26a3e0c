"""`--log FILE`: one JSON line per thing done, with no secret in it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleet.output import writing
from fleet.screen import json_text


class Journal:
    """Appends JSON lines to a file."""

    def __init__(self, path: Path, command: str, correlation_id: str) -> None:
        self.path, self.failed = path, False
        self.common = {"command": command, "correlation_id": correlation_id}

    def write(self, event: str, **fields: Any) -> None:
        """One line: time, command, correlation id, event and the given fields. Raises MB900, once.
        """
        if self.failed:
            return
        line = json_text({"time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                          **self.common, "event": event, **fields})
        self.failed = True
        with writing(f"the log {self.path}"), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.failed = False
