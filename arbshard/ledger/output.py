"""Makes a new file that appears whole or not at all, and never replaces another. Backups and exports use it.

Only its owner may read the file.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arbshard.errors import UsageError
from arbshard.ledger.file import sync_directory


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield the path to write to; what was written becomes ``path`` unless something is raised meanwhile.

    Raises ``UsageError`` when ``path`` exists or cannot be made, ``OSError`` when the disk fails.
    """
    partial = path.with_name(f".{path.name}.partial")
    _must_not_exist(path)
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError as error:
        raise UsageError(
            f"{partial}: is being written, or was left by a killed command: remove it"
        ) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be created: {error.strerror}") from error
    try:
        yield partial
        try:
            path.hardlink_to(partial)
        except FileExistsError:
            _must_not_exist(path)
        except OSError:  # a file system without links
            _must_not_exist(path)
            partial.rename(path)
        sync_directory(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _must_not_exist(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path}: exists already, and nothing is overwritten")
