"""Opens files that only their owner can read, and corrects the mode of existing ones."""

import os
import stat
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def open_private(path: Path, mode: str, encoding: str | None = "utf-8") -> TextIOWrapper:
    """Open a text file like ``open``; it gets mode 0600, whether it is new or existed. Raises ``OSError``."""
    file = open(path, mode, encoding=encoding, opener=_opener)  # noqa: SIM115 - Path has no opener
    assert isinstance(file, TextIOWrapper)
    return file


def tighten(folder: Path) -> list[str]:
    """Take the permissions of others at ``folder`` and its files away; return what was changed.

    Files of another owner stay as they are, and are named with the reason.
    """
    return list(_tightened(folder))


def _tightened(folder: Path) -> Iterator[str]:
    for path in (folder, *folder.iterdir()):
        try:
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and mode & _OTHERS:
                path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
                yield f"{path} (mode {stat.S_IMODE(mode):o})"
        except FileNotFoundError:
            continue  # another process has just rotated the file away
        except PermissionError as error:
            yield f"{path} stays open to others: {error.strerror}"


def _opener(name: str, flags: int) -> int:
    descriptor = os.open(name, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor
