"""Records what happened, as lines in order and as one hash of all of them, which is equal for equal runs."""

from collections import deque
from collections.abc import Callable
from hashlib import blake2b

from arbshard.virtual.loop import START_NS, VirtualLoop

_KEPT = 60


class Trace:
    """Writes lines and hashes them. ``write`` gets every line as well, so that two runs can be compared."""

    def __init__(self, loop: VirtualLoop, write: Callable[[str], object] | None = None) -> None:
        self._loop = loop
        self._write = write
        self._hash = blake2b(digest_size=16)
        self.lines = 0
        self.last: deque[str] = deque(maxlen=_KEPT)

    def note(self, kind: str, what: str) -> None:
        """Add a line. ``what`` must hold nothing that differs between two runs of one seed."""
        line = f"{self._loop.now_ns - START_NS} {kind} {what}"
        self._hash.update(line.encode())
        self._hash.update(b"\n")
        self.lines += 1
        self.last.append(line)
        if self._write is not None:
            self._write(line + "\n")

    @property
    def hash(self) -> str:
        """Return the hash of all lines so far."""
        return self._hash.hexdigest()
