"""SQL read with PostgreSQL's own scanner and parser."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pglast
from pglast import ast
from pglast.parser import ParseError

from checks.tree import files, place, read

DOLLAR_QUOTED = re.compile(r"(\$\w*\$)(.*)\1", re.S)
BEFORE = re.compile(r"(?:\s+|--[^\n]*|/\*.*?\*/)*", re.S)  # what may stand before a statement
INCLUDE = re.compile(r"^\\ir (\w+\.sql)$", re.M)  # the one command of psql's that may be there
PART = 300  # lines of a topic file at most
HEADER = ("-- {id}: ", "-- depends: ", "-- locks: ", "-- undo: ")


def code(text: str, inside: bool = False) -> str:
    """The text with blanks for what strings, quoted names and comments hold: the rest is code.

    Bodies are code. Every character keeps its place. All blank if the scanner can't read the text.
    """
    text = server_text(text)
    try:
        tokens = pglast.scan(text)
    except ParseError:
        return blank(text)
    result, end, before = "", 0, ""
    for token in tokens:
        word = text[token.start:token.end + 1]
        body = DOLLAR_QUOTED.fullmatch(word)
        if body and (inside or before in ("as", "do")):
            shown = body[1] + code(body[2], inside=True) + body[1]
        elif token.name.endswith("COMMENT"):
            shown = word[:2] + blank(word[2:])
        elif word[-1] in "'\"$":
            shown = word[-1] + blank(word[1:-1]) + word[-1]
        else:
            shown = before = word
        result += text[end:token.start] + shown
        end = token.end + 1
    return result + text[end:]


def server_text(text: str) -> str:
    """The text with \\ir lines turned into comments of the same length."""
    return INCLUDE.sub(lambda line: "--" + line[0][2:], text)


def blank(text: str) -> str:
    """Blanks in place of all but the ends of lines."""
    return re.sub(r"[^\n]", " ", text)


def backslashes(root: Path) -> Iterator[str]:
    """A string that holds a backslash begins with e, and so means the same in every session."""
    for path in files(root, "sql/*.sql"):
        text = read(root, path)
        for start in _plain_backslashes(server_text(text)):
            yield f"{place(path, text, start)}: write e'…', or standard_conforming_strings decides"


def _plain_backslashes(text: str) -> Iterator[int]:
    with suppress(ParseError):
        for token in pglast.scan(text):
            word = text[token.start:token.end + 1]
            if body := DOLLAR_QUOTED.fullmatch(word):
                inside = token.start + len(body[1])
                yield from (inside + start for start in _plain_backslashes(body[2]))
            elif word[0] == "'" and "\\" in word:
                yield token.start


def parse(root: Path) -> Iterator[str]:
    """Every file parses, and every body in it."""
    for path in files(root, "sql/*.sql"):
        text, start = server_text(read(root, path)), 0
        try:
            # as ASCII, because the parser misplaces an error after other characters
            for found in pglast.parse_sql(text.encode("ascii", "replace").decode()):
                start = BEFORE.match(text, found.stmt_location).end()
                end = found.stmt_location + (found.stmt_len or len(text))
                _parse_body(found.stmt, text[start:end])
        except ParseError as fault:
            within = "" if not start else "the body of this: "
            yield f"{place(path, text, start or fault.args[1] or 0)}: {within}{fault.args[0]}"


def _parse_body(node: ast.Node, statement: str) -> None:
    """Raises ParseError if the statement holds a body that is wrong."""
    if not isinstance(node, ast.CreateFunctionStmt | ast.DoStmt):
        return
    options = node.args if isinstance(node, ast.DoStmt) else node.options
    said = {option.defname: option.arg for option in options}
    if "language" not in said or said["language"].sval == "plpgsql":
        pglast.parse_plpgsql(statement)
    elif said["language"].sval == "sql" and "as" in said:
        pglast.parse_sql(said["as"][0].sval)


def headers(root: Path) -> Iterator[str]:
    """Each apply.sql begins with what it is, depends on, locks, and how to undo it."""
    for path in files(root, "sql/*/apply.sql", "sql/*/create.sql"):
        comment = re.match(r"(--.*\n)*", read(root, path))[0]
        for line in (pattern.format(id=path.split("/")[1]) for pattern in HEADER):
            if line not in comment:
                yield f"{path}:1: begin with a comment that has a line `{line}…`"


def in_transaction(root: Path, path: str) -> bool:
    """False for a script whose header says `-- transaction: none`, and for what it includes."""
    folder, name = path.rpartition("/")[::2]
    for script in ("apply.sql", "rollback.sql"):
        text = read(root, f"{folder}/{script}")
        if re.match(r"(--.*\n)*-- transaction: none\n", text) and (
                name == script or f"\n\\ir {name}\n" in text):
            return False
    return True


def outside(root: Path) -> Iterator[str]:
    """A script in no transaction says so in header and entry, and resets what it sets."""
    for path in files(root, "sql/*/apply.sql"):
        folder, stepwise = path.rpartition("/")[0], False
        for script in (path, f"{folder}/rollback.sql"):
            text = read(root, script)
            for found in re.finditer(r"^-- transaction:(?! none$).*", text, re.M):
                yield f"{place(script, text, found.start())}: say none, or leave the line out"
            if not in_transaction(root, script):
                stepwise = True
                for found in re.finditer(r"^set (\w+)", text, re.M):
                    if f"\nreset {found[1]};\n" not in text:
                        yield f"{place(script, text, found.start())}: reset it at the end"
        if stepwise != ("\n__transactional__ = False\n" in read(root, f"{folder}.py")):
            yield (f"{folder}.py:1: let it say __transactional__ = False where a header says "
                   "`-- transaction: none`, and only there")


def parts(root: Path) -> Iterator[str]:
    """apply.sql and rollback.sql are tables of contents, and every topic file is in one of them."""
    for apply in files(root, "sql/*/apply.sql"):
        folder, listed = apply.rpartition("/")[0], []
        for path in (apply, f"{folder}/rollback.sql"):
            text = read(root, path)
            for found in INCLUDE.finditer(text):
                listed.append(f"{folder}/{found[1]}")
                if not (root / listed[-1]).is_file():
                    yield f"{place(path, text, found.start())}: {found[1]} is not there"
        for path in files(root, f"{folder}/*.sql"):
            if path.rpartition("/")[2] in ("apply.sql", "rollback.sql", "verify.sql"):
                continue
            text = read(root, path)
            if listed.count(path) != 1:
                yield f"{path}:1: let apply.sql or rollback.sql include it, once"
            if not re.match(r"-- .+\n\n", text):
                yield f"{path}:1: begin with one line that says what is in it, and a blank one"
            if (lines := text.count("\n")) > PART:
                yield f"{path}:{lines}: split it: more than {PART} lines"
            for found in INCLUDE.finditer(text):
                yield f"{place(path, text, found.start())}: name it in apply.sql: a part has none"


def mirrored(root: Path) -> Iterator[str]:
    """rollback.sql undoes the groups of apply.sql in reverse, under the same titles."""
    for path in files(root, "sql/*/apply.sql"):
        titles = re.findall(r"^-- (.+)\n\\ir ", read(root, path), re.M)
        if not titles:
            continue
        rollback = f"{path.rpartition('/')[0]}/rollback.sql"
        known, found = set(titles), []
        for line in re.finditer(r"^-- (.+?)(?: -+)?$", read(root, rollback), re.M):
            if line[1] in known:
                found.append(line[1])
        if found != titles[::-1]:
            lacks = ", ".join(t for t in titles[::-1] if t not in found) or "they stand otherwise"
            yield f"{rollback}:1: undo in this order: {' / '.join(titles[::-1])} ({lacks})"
