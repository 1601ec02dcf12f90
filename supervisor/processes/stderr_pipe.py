"""What a child writes to stderr: a pipe, of which the supervisor keeps the end.

A file would be lost on the very disk whose failure the child wants to tell of. The pipe needs no disk, and it never
blocks a child: when it is full, because the supervisor stands still, what is written more is lost.
"""

import os

_KEPT = 4096
_READ = 65536
"""A read of this size empties the pipe, which holds no more."""


class StderrPipe:
    """The words of one incarnation. ``drain`` is called all the time, so that the pipe has room."""

    def __init__(self) -> None:
        """Raises ``OSError`` when there is no descriptor left."""
        self._reader, self.writer = os.pipe()
        """``writer``: the child's stderr."""
        self._kept = bytearray()
        os.set_blocking(self._reader, False)
        os.set_blocking(self.writer, False)

    def hand_over(self) -> None:
        """The child has its end by now; ours is closed."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def drain(self) -> None:
        """Take out what was written since the last time."""
        if self._reader < 0:
            return
        try:
            some = os.read(self._reader, _READ)
        except BlockingIOError:
            return
        self._kept += some
        del self._kept[:-_KEPT]
        if not some:  # the child has ended: nothing can come any more
            self._close_reader()

    def text(self) -> str:
        """The last 4 KB."""
        self.drain()
        return self._kept.decode(errors="replace").strip()

    def last_line(self) -> str:
        """The last line that says anything; empty when there is none."""
        return next((line.strip() for line in reversed(self.text().splitlines()) if line.strip()), "")

    def close(self) -> None:
        """Listen no more; what was kept stays. May be called again."""
        self.drain()
        self.hand_over()
        self._close_reader()

    def _close_reader(self) -> None:
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1
