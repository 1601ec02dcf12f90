"""Creates and maps the files of this package: every one of them begins as described here.

A file has one writer; all others map it read-only. It appears under its name only when it is whole, so a reader
never sees half a header. Words are 8 bytes in the machine's own order; a word is read and written in one piece,
because ``memoryview.cast`` copies an aligned item with a single machine instruction.
"""

import mmap
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from arbshard import native
from arbshard.closable import Closable
from arbshard.errors import SharedMemoryError
from arbshard.model.rundir import reason_of

LAYOUT_VERSION = 1
WORD = 8
HEADER_BYTES = 256
"""Size of every file's header: three common words, five of its kind, then words that change, a cache line apart."""

FIRST_ARG = 3
ARGS_MAX = 5
HOT_A = 8
"""First word of the header's second cache line."""
HOT_B = 16
"""First word of the header's third cache line."""


def aligned(size: int, step: int = 64) -> int:
    """Return ``size`` rounded up to a multiple of ``step`` bytes."""
    return -(-size // step) * step


class Segment(Closable):
    """Is a mapped file. ``raw`` is addressed by byte, ``words`` and ``signed`` by 8-byte word."""

    def __init__(self, path: Path, raw: mmap.mmap, *, writable: bool) -> None:
        self.path = path
        self.raw = raw
        self._view = memoryview(raw)
        self.words = self._view.cast("Q")
        self.signed = self._view.cast("q")
        self.memory = native.Memory(raw, writable) if native.IS_BUILT else None
        """The same for the compiled twin; None where it is not built."""

    def args(self) -> tuple[int, ...]:
        """Return the words of the header that belong to the file's kind."""
        return tuple(self.words[FIRST_ARG : FIRST_ARG + ARGS_MAX].tolist())

    def close(self) -> None:
        """Unmap the file. May be called again."""
        # A mapping with an exported view cannot be closed, so the views are released first.
        for view in (self.words, self.signed, self._view):
            view.release()
        if self.memory is not None:
            self.memory.release()
        self.raw.close()


class Mapped(Closable):
    """Is the base of all classes that own one segment: ``path``, ``close()``, context manager."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment

    @property
    def path(self) -> Path:
        """Return the path of the mapped file."""
        return self._segment.path

    def close(self) -> None:
        """Unmap the file. May be called again."""
        self._segment.close()


def create_segment(
    path: Path, magic: bytes, size: int, args: Sequence[int], *, blob: bytes = b"", replace: bool = True
) -> Segment:
    """Create a file of ``size`` zero bytes with its header and ``blob`` behind it, and map it for writing.

    With ``replace`` an older file of the name is replaced (its readers keep the old one); without, it is an error.
    Raises ``SharedMemoryError``.
    """
    assert len(magic) == WORD, magic
    assert len(args) <= ARGS_MAX, args
    assert size >= HEADER_BYTES + len(blob), size
    segment: Segment | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            segment = Segment(path, _map_new(descriptor, size), writable=True)
            segment.raw[HEADER_BYTES : HEADER_BYTES + len(blob)] = blob
            words = segment.words
            for index, value in enumerate((_number(magic), LAYOUT_VERSION, size, *args)):
                words[index] = value
            if replace:
                Path(name).replace(path)
            else:
                path.hardlink_to(name)
        finally:
            os.close(descriptor)
            Path(name).unlink(missing_ok=True)  # it does not exist any more when it was renamed
    except OSError as error:
        if segment is not None:
            segment.close()
        raise SharedMemoryError(f"{path}: cannot be created: {reason_of(error)}") from error
    return segment


def attach_segment(path: Path, magic: bytes, *, writable: bool = False) -> Segment:
    """Map an existing file, read-only unless ``writable``.

    Raises ``SharedMemoryError`` when it is missing, cut, of another kind or of another layout version.
    """
    try:
        descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            if size < HEADER_BYTES:
                raise SharedMemoryError(f"{path}: {size} bytes are too few")
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            segment = Segment(path, mmap.mmap(descriptor, size, access=access), writable=writable)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SharedMemoryError(f"{path}: cannot be attached: {error.strerror or error}") from error
    found, version, stated = segment.words[0:FIRST_ARG].tolist()
    problem = None
    if found != _number(magic):
        problem = f"is not a {magic.decode().strip()} file of this machine"
    elif version != LAYOUT_VERSION:
        problem = f"has layout version {version}, not {LAYOUT_VERSION}"
    elif stated != size:
        problem = f"is {size} bytes long, its header says {stated}"
    if problem is not None:
        segment.close()
        raise SharedMemoryError(f"{path}: {problem}")
    return segment


def require(segment: Segment, fits: bool) -> None:
    """Close ``segment`` and raise ``SharedMemoryError`` unless what its header states fits its size (``fits``)."""
    if not fits:
        segment.close()
        raise SharedMemoryError(f"{segment.path}: the header contradicts the size")


def _number(magic: bytes) -> int:
    return memoryview(magic).cast("Q")[0]


def _map_new(descriptor: int, size: int) -> mmap.mmap:
    if hasattr(os, "posix_fallocate"):
        # Allocate the pages now: a full file system is an error here, and would be a SIGBUS in a later store.
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)
    return mmap.mmap(descriptor, size, access=mmap.ACCESS_WRITE)
