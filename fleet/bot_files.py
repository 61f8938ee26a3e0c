"""The folders that the bots' files lie in: what is there, and the bytes of a file inside."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import USAGE, FleetError

FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Entry:
    """One directory entry of a bot's folder; `path` is relative, as the ledger spells it."""

    bot_id: int
    folder: bytes
    name: bytes
    path: str
    octets: int
    kind: str = "other"
    chat_id: int | None = None


def bot_folders(root: Path, bot: str | None) -> dict[str, bytes]:
    """The folders to import by bot name. Raises MB431 where there is nothing to import."""
    if not root.is_dir():
        raise FleetError("MB431", f"{root} is no folder", "Name the folder that holds the files.",
                         exit_code=USAGE)
    if bot is not None:
        return {bot: os.fsencode(root)}
    if any((root / name).exists()
           for name in ("girls_data", "girls_data.json", "conversations", "backups")):
        raise FleetError("MB431", f"{root} is one bot's folder, and no bot is named",
                         f"Name it: runner.py import {root} --bot NAME", exit_code=USAGE)
    found = {spell(os.fsencode(entry.name)): os.fsencode(entry.path)
             for entry in sorted(os.scandir(root), key=lambda e: e.name)
             if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")}
    if not found:
        raise FleetError("MB431", f"{root} holds no bot's folder",
                         "Name a folder of bots' folders, or one bot's folder with --bot.",
                         exit_code=USAGE)
    return found


def strays(root: Path, folders: dict[str, bytes]) -> list[str]:
    """What lies beside the bots' folders: loose files, links, hidden folders."""
    known = {os.path.basename(folder) for folder in folders.values()}
    return sorted(spell(name) for name in os.listdir(os.fsencode(root)) if name not in known)


def spell(name: bytes) -> str:
    """A file name as text, reversibly: \\xNN for a byte that is no UTF-8, \\\\ for a backslash."""
    return name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def unspell(path: str) -> bytes:
    """The file name that `spell` made a text of."""
    return re.sub(rb"\\(\\|x[0-9a-f]{2})",
                  lambda m: b"\\" if m[1] == b"\\" else bytes([int(m[1][1:], 16)]), path.encode())


def walk(folder: bytes, bot_id: int) -> Iterator[Entry]:
    """Every entry below `folder` that is no real directory; links are not followed.

    What vanishes meanwhile is no entry. Raises MB426 for a folder that can't be listed.
    """
    pending = [b""]
    while pending:
        prefix = pending.pop()
        try:
            entries = list(os.scandir(os.path.join(folder, prefix)))
        except FileNotFoundError:
            continue
        except OSError as fault:
            path = os.fsdecode(os.path.join(folder, prefix))
            raise FleetError("MB426", f"the folder {path} can't be listed: {fault.strerror}",
                             "Allow reading it, or move it away.") from None
        for entry in entries:
            name = os.path.join(prefix, entry.name)
            if entry.is_dir(follow_symlinks=False):
                pending.append(name)
                continue
            try:
                octets = entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
            yield Entry(bot_id, folder, name, spell(name), octets)


def read(entry: Entry, limit: int) -> bytes:
    """The bytes of a regular file inside the bot's folder. Raises OSError; never blocks.

    Raises FleetError MB408 for a file over `limit` bytes.
    """
    handle = open_inside(entry)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "no regular file")
        if status.st_size > limit:
            raise FleetError("MB408", f"{status.st_size:,} bytes, more than {limit:,}")
        parts = []
        while part := os.read(handle, status.st_size + 1 if not parts else 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)


def open_inside(entry: Entry) -> int:
    """A handle of a file that is, links and all, inside the bot's folder. Raises OSError."""
    handle = os.open(entry.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, name = entry.name.split(b"/")
        for folder in folders:  # step by step: a name with slashes would follow links on the way
            handle, outer = os.open(folder, FOLDER, dir_fd=handle), handle
            os.close(outer)
        return os.open(name, FILE, dir_fd=handle)
    except OSError as fault:
        if fault.errno not in (errno.ELOOP, errno.ENOTDIR):  # a link?
            raise
    finally:
        os.close(handle)
    path = os.path.realpath(os.path.join(entry.folder, entry.name), strict=True)
    if os.path.commonpath([path, os.path.realpath(entry.folder)]) != os.path.realpath(entry.folder):
        raise OSError(0, "a link out of the folder")
    return os.open(path, FILE)


def read_or_none(entry: Entry) -> bytes | None:
    """The same without a limit, or None where there is nothing to read."""
    try:
        return read(entry, entry.octets)
    except (OSError, FleetError):
        return None
