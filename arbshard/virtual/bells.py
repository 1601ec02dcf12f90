"""Doorbells of a virtual machine: descriptors of the virtual loop in place of named FIFOs."""

from arbshard.virtual.loop import VirtualLoop


class VirtualBell:
    """Both sides of one shard's doorbell: ``shm.doorbell.Bell`` and ``Ringer``. It outlives its worker."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._fd = loop.new_descriptor()

    def fileno(self) -> int:
        """See ``Bell``."""
        return self._fd

    def ring(self) -> None:
        """See ``Ringer``."""
        self._loop.ring(self._fd)

    def clear(self) -> None:
        """See ``Bell``."""
        self._loop.clear(self._fd)

    def close(self) -> None:
        """Nothing is to be given back."""


class Bells:
    """One for each shard of a run."""

    def __init__(self, loop: VirtualLoop, shards: int) -> None:
        self._bells = [VirtualBell(loop) for _ in range(shards)]

    def bell(self, shard: int) -> VirtualBell:
        """The doorbell of ``shard``."""
        return self._bells[shard]
