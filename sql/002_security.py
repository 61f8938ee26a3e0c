"""002_security: roles, row level security, the bots' logins (SQL: folder 002_security)."""
import re
from pathlib import Path

from yoyo import step

__depends__ = {"001_core_schema"}
sql = Path(__file__).with_suffix("")


def whole(name: str) -> str:
    """The file with those that it includes, as `psql -f` reads it."""
    return re.sub(r"^\\ir (\w+\.sql)\n", lambda part: (sql / part[1]).read_text("utf-8"),
                  (sql / name).read_text("utf-8"), flags=re.M)


step(whole("apply.sql"), whole("rollback.sql"))
