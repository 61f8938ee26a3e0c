"""005_json_import: the bots' JSON files become rows (SQL: folder 005_json_import)."""
from pathlib import Path

from yoyo import step

__depends__ = {"004_performance"}
sql = Path(__file__).with_suffix("")
step((sql / "apply.sql").read_text("utf-8"), (sql / "rollback.sql").read_text("utf-8"))
