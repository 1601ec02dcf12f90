"""Keeps room beside the ledger for the moment in which its disk is full: a file that can be given up.

``store`` owns it. Its blocks are really allocated on the disk. Giving it up lets the commit through that found no
room, and some hundred after it, so that open positions can still be closed and booked.
"""

import errno
import os
from pathlib import Path

from arbshard.ledger.file import free_bytes

RESERVE_BYTES = 2_000_000
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Reserve:
    """Is the reserve file beside one ledger."""

    def __init__(self, ledger: Path, size: int = RESERVE_BYTES) -> None:
        self.path = ledger.with_name(f"{ledger.name}.reserve")
        self._size = size

    @property
    def is_kept(self) -> bool:
        """Return whether the file is there in its full size. Raises ``OSError``."""
        try:
            return self.path.stat().st_size >= self._size
        except FileNotFoundError:
            return False

    def keep(self, spare_bytes: int = 0) -> bool:
        """Make the file if it is missing and ``spare_bytes`` stay free beside it. Return whether it is there.

        Raises ``OSError`` for anything but a lack of room.
        """
        if self.is_kept:
            return True
        if free_bytes(self.path.parent) < self._size + spare_bytes:
            return False
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(descriptor, self._size)
        except OSError as error:
            self.path.unlink(missing_ok=True)
            if error.errno in _NO_ROOM:
                return False
            raise
        finally:
            os.close(descriptor)
        return True

    def give_up(self) -> bool:
        """Return its room to the disk. Return whether there was any. Raises ``OSError``."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True


def _take(descriptor: int, size: int) -> None:
    """Make the file ``size`` bytes long, with blocks for all of them. Raises ``OSError``."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    left = size
    while left:
        left -= os.write(descriptor, bytes(min(left, 65_536)))
