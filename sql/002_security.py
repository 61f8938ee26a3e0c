"""002_security: roles, row level security, the bots' logins (SQL: folder 002_security)."""
from pathlib import Path

from yoyo import step

__depends__ = {"001_core_schema"}
sql = Path(__file__).with_suffix("")
step((sql / "apply.sql").read_text("utf-8"), (sql / "rollback.sql").read_text("utf-8"))
