"""003_audit: what changes is on record, and the record is sealed (SQL: folder 003_audit)."""
from pathlib import Path

from yoyo import step

__depends__ = {"002_security"}
sql = Path(__file__).with_suffix("")
step((sql / "apply.sql").read_text("utf-8"), (sql / "rollback.sql").read_text("utf-8"))
