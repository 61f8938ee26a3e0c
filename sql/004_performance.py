"""004_performance: roll-ups, maintenance, health, metrics (SQL: folder 004_performance)."""
from pathlib import Path

from yoyo import step

__depends__ = {"003_audit"}
sql = Path(__file__).with_suffix("")
step((sql / "apply.sql").read_text("utf-8"), (sql / "rollback.sql").read_text("utf-8"))
