"""Opens files that only their owner can read, and corrects the mode of existing ones."""

import os
import stat
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from arbshard.errors import ConfigError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_CREDENTIALS = Path("/run/credentials")
"""Where systemd puts what it hands to services. Its folders keep others out; the access list by which the service
may read a file looks like a right of the group."""


def open_private(path: Path, mode: str, encoding: str | None = "utf-8") -> TextIOWrapper:
    """Open a text file like ``open``; it gets mode 0600, whether it is new or existed. Raises ``OSError``."""
    file = open(path, mode, encoding=encoding, opener=_opener)  # noqa: SIM115 - Path has no opener
    assert isinstance(file, TextIOWrapper)
    return file


def read_private(path: Path, where: str) -> str:
    """Return the text of a file that no other user can read. Raises ``ConfigError`` about the setting ``where``."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if path.is_relative_to(_CREDENTIALS):
                mode &= ~stat.S_IRGRP
            if mode & _OTHERS:
                raise ConfigError(
                    where, f"{path} is open to others (mode {mode & 0o777:o}): chmod 600 {path}"
                )
            return file.read()
    except OSError as error:
        raise ConfigError(where, f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(where, f"{path} is not text") from None


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
