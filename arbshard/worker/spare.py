"""A worker without a shard: everything imported and read, waiting for one. Used by ``main`` with ``--spare``.

The supervisor writes one line to its stdin, shard and epoch; when it closes that instead, or dies, the spare ends.
Until then risk and the ledger do not know of it.
"""

import asyncio
import os
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from arbshard.config import Config
from arbshard.errors import FrameError, ProtocolError
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksReader
from arbshard.venues.registry import get_venue

STDIN, _STDOUT = 0, 1
_LINE_MAX = 64
_BEAT_S = 0.25


class Assignment(NamedTuple):
    """Which incarnation of which shard a worker is."""

    shard: int
    epoch: int


def parse(line: bytes) -> Assignment:
    """The line of the supervisor. Raises ``ProtocolError``."""
    words = line.split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        raise ProtocolError(f"{line!r} is not shard and epoch")
    return Assignment(int(words[0]), int(words[1]))


def warm_up(config: Config, universe: Universe, books: BooksReader) -> None:
    """Do once what the first moments of a worker consist of: what was never run is slow."""
    if config.mode == "live":
        import_module("arbshard.worker.live")
    for leg in universe.legs():
        found = books.read(leg.slot)
        if found is None:
            continue
        codec, (_, received_ns, _, frame) = get_venue(leg.market.venue), found
        try:
            codec.top_of_book(frame, received_ns)
            codec.decode(frame, received_ns)
        except FrameError:
            continue  # it is not traded on


async def wait_for_shard(is_orphan: Callable[[], bool]) -> Assignment | None:
    """Say that we are ready, and wait to be told; None when the supervisor is gone. Raises ``ProtocolError``."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[bytes] = loop.create_future()
    heard = bytearray()

    def hear() -> None:
        some = os.read(STDIN, _LINE_MAX)
        heard.extend(some)
        if (not some or heard.endswith(b"\n") or len(heard) > _LINE_MAX) and not told.done():
            told.set_result(bytes(heard))

    loop.add_reader(STDIN, hear)
    os.write(_STDOUT, b"+")
    try:
        while not told.done():
            await asyncio.wait((told,), timeout=_BEAT_S)
            if is_orphan() and not told.done():
                return None
    finally:
        loop.remove_reader(STDIN)
    line = told.result()
    if not line:
        return None
    assignment = parse(line)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (STDIN, _STDOUT):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return assignment
