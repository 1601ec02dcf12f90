"""``UniverseFile`` reads what is traded now, as the supervisor writes it: a file, and a word with its newest serial.

The file is written whole before the word is set. Workers and risk read the word on their timers.
"""

from collections.abc import Container, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

import msgspec

from arbshard.errors import SharedMemoryError
from arbshard.model.market import Pair
from arbshard.model.universe import Universe, with_shared_rules


class Word(Protocol):
    """Gives the newest serial: ``books.BooksReader``."""

    @property
    def universe(self) -> int:
        """Return the newest serial; 0 before the first change."""
        ...


class ShardUniverse(NamedTuple):
    """Holds what one shard must know of a universe."""

    serial: int
    mine: frozenset[str]
    """The shard's bases."""
    leaving: frozenset[str]
    """Those of its bases that are being closed and removed."""
    new: dict[str, Pair]
    """Those of its pairs that it did not know."""
    revised: Mapping[str, Pair] = MappingProxyType({})
    """Those that it knew, and whose rules or fees have changed since."""


class _Base(msgspec.Struct, frozen=True):
    base: str


class _Outline(msgspec.Struct, frozen=True):
    """Is a universe whose pairs are left undecoded, as they are in the file."""

    pairs: tuple[msgspec.Raw, ...]
    shards: tuple[tuple[str, ...], ...]
    serial: int = 0
    leaving: tuple[str, ...] = ()
    revised: dict[str, int] = {}


class UniverseFile:
    """Is the file with the universe of one run directory."""

    def __init__(self, word: Word, path: Path) -> None:
        self._word = word
        self._path = path

    @property
    def serial(self) -> int:
        """Return the serial of the newest universe; a load finds this one or a later one."""
        return self._word.universe

    def load(self) -> Universe:
        """Return all of the universe. Raises ``SharedMemoryError``."""
        try:
            return msgspec.json.decode(self._read(), type=Universe)
        except msgspec.MsgspecError as error:
            raise SharedMemoryError(f"{self._path}: {error}") from error

    def load_shard(self, shard: int, known: Container[str], since: int = -1) -> ShardUniverse:
        """Return what ``shard`` must know; of its pairs those that are not ``known``, or changed after serial
        ``since``.

        Raises ``SharedMemoryError``.
        """
        try:
            return _part_of(msgspec.json.decode(self._read(), type=_Outline), shard, known, since)
        except msgspec.MsgspecError as error:
            raise SharedMemoryError(f"{self._path}: {error}") from error

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise SharedMemoryError(f"{self._path}: {error}") from error


def _part_of(outline: _Outline, shard: int, known: Container[str], since: int) -> ShardUniverse:
    mine = frozenset(outline.shards[shard])
    wanted = {base for base in mine if base not in known or outline.revised.get(base, -1) > since}
    found = [
        msgspec.json.decode(raw, type=Pair)
        for raw in (outline.pairs if wanted else ())
        if msgspec.json.decode(raw, type=_Base).base in wanted
    ]
    new: dict[str, Pair] = {}
    revised: dict[str, Pair] = {}
    for pair in with_shared_rules(found):
        (revised if pair.base in known else new)[pair.base] = pair
    return ShardUniverse(outline.serial, mine, mine.intersection(outline.leaving), new, revised)
