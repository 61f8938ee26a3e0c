"""000_name: say in one line what it brings (SQL: folder 000_name)."""
import re
from collections.abc import Callable
from pathlib import Path

from yoyo import step

__depends__ = {"000_before"}
__transactional__ = False
sql = Path(__file__).with_suffix("")
STATEMENT = re.compile(r"""(?:--[^\n]* | /\*.*?\*/ | [eE]'(?:[^'\\]|\\.)*' | '[^']*' | "[^"]*"
                           | (\$(?:[^\W\d]\w*)?\$).*?\1 | [\w$]+ | [^;])+;?""", re.S | re.X)


def whole(name: str) -> str:
    """The file with those that it includes, as `psql -f` reads it."""
    return re.sub(r"^\\ir (\w+\.sql)\n", lambda part: (sql / part[1]).read_text("utf-8"),
                  (sql / name).read_text("utf-8"), flags=re.M)


def run(name: str) -> Callable:
    """Runs a file statement by statement, or whole if its header does not ask for that."""
    text = whole(name)
    alone = re.match(r"(?:--.*\n)*-- transaction: none\n", text)
    parts = [found[0] for found in STATEMENT.finditer(text)] if alone else [text]

    def execute(conn: object) -> None:
        for part in parts:
            conn.execute(part)
    return execute


step(run("apply.sql"), run("rollback.sql"))
