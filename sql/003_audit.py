"""003_audit: what changes is on record, and the record is sealed (SQL: folder 003_audit)."""
import re
from pathlib import Path

from yoyo import step

__depends__ = {"002_security"}
sql = Path(__file__).with_suffix("")


def whole(name: str) -> str:
    """The file with those that it includes, as `psql -f` reads it."""
    return re.sub(r"^\\ir (\w+\.sql)\n", lambda part: (sql / part[1]).read_text("utf-8"),
                  (sql / name).read_text("utf-8"), flags=re.M)


step(whole("apply.sql"), whole("rollback.sql"))
