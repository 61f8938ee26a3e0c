"""000_name: say in one line what it brings (SQL: folder 000_name)."""
import re
from pathlib import Path

from yoyo import step

__depends__ = {"000_before"}
sql = Path(__file__).with_suffix("")


def whole(name: str) -> str:
    """The file with those that it includes, as `psql -f` reads it."""
    return re.sub(r"^\\ir (\w+\.sql)\n", lambda part: (sql / part[1]).read_text("utf-8"),
                  (sql / name).read_text("utf-8"), flags=re.M)


step(whole("apply.sql"), whole("rollback.sql"))
