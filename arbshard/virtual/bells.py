"""Contains the doorbells of a virtual machine: they use descriptors of the virtual loop in place of named FIFOs."""

from arbshard.virtual.loop import VirtualLoop


class VirtualBell:
    """Is both sides of one shard's doorbell, ``shm.doorbell.Bell`` and ``Ringer``. It outlives its worker."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._fd = loop.new_descriptor()

    def fileno(self) -> int:
        """Return the descriptor that is readable after a ring, as ``Bell`` does."""
        return self._fd

    def ring(self) -> None:
        """Wake the worker, as ``Ringer`` does."""
        self._loop.ring(self._fd)

    def clear(self) -> None:
        """Make the descriptor unreadable until the next ring, as ``Bell`` does."""
        self._loop.clear(self._fd)

    def close(self) -> None:
        """Do nothing: a virtual descriptor needs no release."""


class Bells:
    """Holds one doorbell for each shard of a run."""

    def __init__(self, loop: VirtualLoop, shards: int) -> None:
        self._bells = [VirtualBell(loop) for _ in range(shards)]

    def bell(self, shard: int) -> VirtualBell:
        """Return the doorbell of ``shard``."""
        return self._bells[shard]
