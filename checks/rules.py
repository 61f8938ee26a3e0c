"""House style as tables: a pattern that must not be found, where, and what to do about it."""

import re
from collections.abc import Iterator
from pathlib import Path

from checks import sql
from checks.tree import files, place, read

SCREEN = 60  # lines that can be read without scrolling

# In any text. With brackets, so that no pattern finds itself.
TEXT = (
    (r"^.{101}", "*.sql", "break the line: more than 100 columns"),  # ruff sees to Python's
    (r"\t|[ \t]+$", "*.sql", "write blanks for tabs, and none at the end"),
    (r"\A\ufeff|\ufffd|\r", "*.sql *.py", "save it as UTF-8 without a BOM, with LF line ends"),
    (r"\b(?:TO[D]O|FIX[M]E|XX[X])\b", "*", "do it now, or open an issue"),
    (r"(?<![\w.~-])/(?:r[o]ot|h[o]me|w[o]rk|U[s]ers)/", "*", "name no folder of one machine"),
    (r"/t[m]p/[a-z]|f[i]le:///", "*", "name no folder of one machine"),
    (r"https?://[^\s/:@]+:[^\s/@]+@", "*", "remove the password from the URL, and change it"),
    (r"-----B[E]GIN [A-Z ]*PRIVATE KEY", "*", "remove the private key, and replace it"),
)

# As CODE, but for scripts whose header says `-- transaction: none`: those may have to run again.
WHOLE = ((r"\bif not exists\b(?! *\()", "*", "leave it out: a surprise must fail"),)
# As CODE, for those scripts only.
STEPWISE = (
    (r"^set\s+local\b", "*", "write a plain set, and reset it at the end: no transaction here"),
    (r"\bcreate\s+(?:unique\s+)?index\s+concurrently\b", "*",
     "let `drop index concurrently if exists` of it stand before: a failed one stays, broken"),
    (r"^create\s+(?:table|schema|sequence)\b(?!\s+if\s+not\s+exists\b)|^alter\s+table\b[^;]*\badd"
     r"\s+column\b(?!\s+if\s+not\s+exists\b)", "*", "write `if not exists`: it may run again"),
    (r"^drop\b(?![^;]*\bif\s+exists\b)", "*", "write `if exists`: it may have to run again"),
)
CLEARED = re.compile(r"drop\s+index\s+concurrently\s+if\s+exists\s+(?:\w+\.)?(\w+)\s*;\s*create"
                     r"\s+(?:unique\s+)?index\s+concurrently\s+\1\b")

# In the code of an SQL file, where strings and comments are blank (but their quotes and dashes).
CODE = (
    (r"(?<![%$\w])\w*[A-Z]\w*", "*", "write it in lower case"),  # but %I of a template
    (r"\bcascade\b(?!.*--)", "*/rollback.sql", "name what goes, or say why in a comment here"),
    (r"\b(?:begin|commit|rollback)\s*;(?!.*--)", "*",
     "remove it: the caller holds the transaction; or say why in a comment here"),
    (r"\\", "*", "remove it: of psql's commands only \\ir NAME.sql in apply.sql, rollback.sql"),
    (r"\bfrom\s+stdin\b", "*", "write an insert: only psql can copy from stdin"),
    (r"\bbegin\s+atomic\b|^return\b", "*", "make the body a string: pgspot crashes on this"),
    (r"\bsecurity\s+definer\b(?!\s+set search_path = pg_catalog, pg_temp\s+set row_security = on)",
     "*", "let `set search_path = pg_catalog, pg_temp` and `set row_security = on` follow"),
    (rf"\b(?:as|do)\s+(\$\w*\$)(?:(?:(?!\1).)*\n){{{SCREEN + 2}}}", "*",
     f"split it: the body has more than {SCREEN} lines"),
    (r"\bwhen\s+others\s+then\b(?:(?!\braise\s*(?:;|exception\b)|\bsqlerrm\b)[\s\S])*?\bend\s*(?:;|\$)",
     "*", "name the conditions, keep sqlerrm, or raise again before the handler ends"),
    (r"^set local search_path = pg_catalog, pg_temp;\n(?!set local quote_all_identifiers = off;\n)",
     "*", "let `set local quote_all_identifiers = off;` follow: what it makes holds names"),
    (r"\braise\b(?!\s*;|\s+(?:debug|log|info|notice|warning|exception)\b)", "*", "name its level"),
    (r"\braise\s+exception\b(?![^;]*\berrcode\s*=\s*')", "*", "give it errcode = 'MBnnn'"),
    (r"\braise\s+exception\b(?!\s+'|[^;]*\bmessage\s*=)", "*", "give it a message"),
    (r"\braise\s+exception\b(?![^;]*\bhint\s*=)", "*", "give it a hint: the next step"),
)

# What makes SQL, or the text of a name: by %I, by a function, from a reg… type.
WRITES = re.compile(r"\bexecute\b(?!\s+(?:function|on)\b)|\bpg_get_\w+|\bpg_(?:identify|describe)"
                    r"_object\b|\bquote_ident\b|\bformat_type\b|::reg\w+::text|\brelation::text"
                    r"|%(?:\d+\$)?I")
NAMES = re.compile(r"\b(\w+)\s+reg(?:class|proc\w*|type|role|namespace)\b|[\w)]::reg\w+")
ROUTINE = re.compile(r"^create (?:or replace )?(?:function|procedure) ([\w.]+)\b"
                     r".*?\bas (\$\w*\$)(.*?)\2", re.S | re.M)


def text(root: Path) -> Iterator[str]:
    """Every file keeps the rules for text."""
    for path in files(root, "*"):
        yield from _find(path, read(root, path), TEXT)


def code(root: Path) -> Iterator[str]:
    """Every SQL file keeps the rules for code."""
    for path in files(root, "sql/*.sql"):
        text = sql.code(read(root, path))
        if sql.in_transaction(root, path):
            yield from _find(path, text, CODE + WHOLE)
        else:
            yield from _find(path, text, CODE)
            yield from _find(path, CLEARED.sub(lambda pair: sql.blank(pair[0]), text), STEPWISE)


def quoting(root: Path) -> Iterator[str]:
    """A routine that makes SQL, or the text of a name, says how names are written."""
    for path in files(root, "sql/*.sql"):
        content = read(root, path)
        for found in ROUTINE.finditer(content):
            head = content[found.start():found.start(3)]
            if "\nset quote_all_identifiers = off\n" not in head and _names(head, found[3]):
                yield (f"{place(path, content, found.start())}: {found[1]}: let it set "
                       "quote_all_identifiers = off")


def _names(head: str, body: str) -> bool:
    """Whether code makes SQL or the text of a name."""
    head, body = (re.sub(r"--.*", "", code) for code in (head, body))
    typed = [found[1] or "" for found in NAMES.finditer(head + body)]
    known = "|".join(filter(None, typed)) or "$^"
    return bool(WRITES.search(body)
                or (typed and re.search(rf"\bformat\(|\b(?:{known})::text", body)))


def _find(path: str, content: str, rules: tuple) -> Iterator[str]:
    for pattern, globs, what in rules:
        if any(Path(path).match(glob) for glob in globs.split()):
            for found in re.finditer(pattern, content, re.M):
                shown = " ".join(found[0][:30].split())
                yield f"{place(path, content, found.start())}: {shown}: {what}"
