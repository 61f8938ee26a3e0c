"""The files of a tree, and how a check names a place in one of them."""

import os
import re
from fnmatch import fnmatch, translate
from pathlib import Path


def files(root: Path, *patterns: str) -> list[str]:
    """Paths, relative to `root`, that match a pattern and that .gitignore doesn't name."""
    names = [".git", *(line.rstrip("/") for line in read(root, ".gitignore").split())]
    ignored, found = re.compile("|".join(translate(name) for name in names)), []
    for folder, subfolders, here in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not ignored.match(name))
        found += [Path(folder, name).relative_to(root).as_posix() for name in sorted(here)
                  if not ignored.match(name)]
    return [path for path in found if any(fnmatch(path, pattern) for pattern in patterns)]


def read(root: Path, path: str) -> str:
    """The file as it is, CR and BOM included; empty if it doesn't exist."""
    file = root / path
    return file.read_bytes().decode("utf-8", "replace") if file.is_file() else ""


def place(path: str, text: str, offset: int) -> str:
    """path:line of a character."""
    return f"{path}:{text.count(chr(10), 0, offset) + 1}"
