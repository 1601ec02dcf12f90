"""Keeps the newest universe of the cluster on this host: what the leader publishes, every other host takes over.

It is kept in the state directory too, so that a host has it before it has read NATS, and also when NATS has lost it.
That copy is written in a thread, because the agent must not wait for a disk.
"""

import asyncio
import zlib
from pathlib import Path

import msgspec

from arbshard.cluster.files import write_durably, write_whole
from arbshard.errors import ProtocolError
from arbshard.log import get_logger

_BYTES_MAX = 64 * 1024 * 1024
"""A universe of 3,000 pairs has about 3 MB."""


class _Serial(msgspec.Struct, frozen=True):
    serial: int


class SharedUniverse:
    """Is the newest universe that this host knows."""

    def __init__(self, folder: Path, target: Path) -> None:
        """Begin with what an earlier agent has left in ``folder``. ``target`` is where the supervisor reads it.

        Raises ``OSError``.
        """
        self._copy = folder / target.name
        self._target = target
        self.serial = 0
        """Serial of the universe at ``target``; 0 for none."""
        self._published = 0
        """The serial that NATS has, as far as is known."""
        self._unkept: bytes | None = None
        """What is still to be written to the disk."""
        self._keeping = asyncio.Lock()
        self._trouble = ""
        """Why it could not be published at the last try; empty when it could."""
        try:
            raw = self._copy.read_bytes()
            serial = _serial_of(raw)
        except FileNotFoundError:
            return
        except ProtocolError as error:
            get_logger().error(
                "the universe that was kept cannot be read", file=str(self._copy), why=str(error)
            )
            return
        write_whole(self._target, raw)
        self.serial = serial

    @property
    def is_kept(self) -> bool:
        """Return whether the newest one is on the disk of this host."""
        return self._unkept is None

    async def keep(self) -> None:
        """Write the newest one to the disk of this host. Raises ``OSError``."""
        async with self._keeping:
            raw = self._unkept
            if raw is None:
                return
            await asyncio.to_thread(write_durably, self._copy, raw)
            if self._unkept is raw:
                self._unkept = None

    def heed(self, packed: bytes | None) -> None:
        """Take over what NATS has, if it is newer. Raises ``OSError``; ``ProtocolError`` when it cannot be read."""
        if not packed:
            self._published = 0
            return
        unpacking = zlib.decompressobj()
        try:
            raw = unpacking.decompress(packed, _BYTES_MAX)
        except zlib.error as error:
            raise ProtocolError(f"the universe at NATS: {error}") from error
        if unpacking.unconsumed_tail:
            raise ProtocolError(f"the universe at NATS has more than {_BYTES_MAX} bytes")
        if not unpacking.eof:
            raise ProtocolError("the universe at NATS is cut off")
        self._published = _serial_of(raw)
        if self._published > self.serial:
            self._take(raw, self._published)

    def publish(self, source: Path, serial: int) -> bytes | None:
        """Return what the leader is to write to NATS; None when that is there already, or cannot be read or kept.

        ``serial`` is that of its supervisor's universe, whose file is at ``source``. Call it again and again: the
        same trouble is logged once.
        """
        if serial <= self._published:
            return None
        try:
            raw = source.read_bytes()
            found = _serial_of(raw)  # it may be a later one by now
            if found > self.serial:
                self._take(raw, found)
        except (OSError, ProtocolError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                get_logger().error("the universe cannot be published", why=self._trouble)
            return None
        self._trouble = ""
        return zlib.compress(raw)

    def is_published(self, serial: int) -> None:
        """Note that NATS has this serial."""
        self._published = max(self._published, serial)

    async def forget(self) -> None:
        """Remove what is kept, because this host ends in order. Raises ``OSError``."""
        async with self._keeping:
            self._unkept = None
            self._copy.unlink(missing_ok=True)

    def _take(self, raw: bytes, serial: int) -> None:
        write_whole(self._target, raw)
        self._unkept = raw
        self.serial = serial


def _serial_of(raw: bytes) -> int:
    try:
        return msgspec.json.decode(raw, type=_Serial).serial
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"not a universe: {error}") from error
