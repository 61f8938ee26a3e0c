"""001_core_schema: the tables that every bot's data lives in (SQL: folder 001_core_schema)."""
from pathlib import Path

from yoyo import step

__depends__ = set()
sql = Path(__file__).with_suffix("")
step((sql / "apply.sql").read_text("utf-8"), (sql / "rollback.sql").read_text("utf-8"))
