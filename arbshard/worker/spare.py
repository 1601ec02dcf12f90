"""Prepares a worker that waits for a shard, with everything imported and read. ``main`` uses it with ``--spare``.

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
    """States which incarnation of which shard a worker is."""

    shard: int
    epoch: int


def parse(line: bytes) -> Assignment:
    """Read the supervisor's line. Raises ``ProtocolError`` for another line than shard and epoch."""
    words = line.split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        raise ProtocolError(f"{line!r} is not shard and epoch")
    return Assignment(int(words[0]), int(words[1]))


def warm_up(config: Config, universe: Universe, books: BooksReader) -> None:
    """Run once what the first moments of a worker consist of, because code that has not been run yet is slow."""
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
            continue  # such a frame is not traded on


async def wait_for_shard(is_orphan: Callable[[], bool]) -> Assignment | None:
    """Report that the process is ready, and wait for a shard; None when the supervisor has died.

    Raises ``ProtocolError`` for an invalid line.
    """
    loop = asyncio.get_running_loop()
    line: asyncio.Future[bytes] = loop.create_future()
    received = bytearray()

    def read() -> None:
        some = os.read(STDIN, _LINE_MAX)
        received.extend(some)
        if (not some or received.endswith(b"\n") or len(received) > _LINE_MAX) and not line.done():
            line.set_result(bytes(received))

    loop.add_reader(STDIN, read)
    os.write(_STDOUT, b"+")
    try:
        while not line.done():
            await asyncio.wait((line,), timeout=_BEAT_S)
            if is_orphan() and not line.done():
                return None
    finally:
        loop.remove_reader(STDIN)
    text = line.result()
    if not text:
        return None
    assignment = parse(text)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (STDIN, _STDOUT):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return assignment
