"""Prepares a worker that waits for a shard, with everything imported and read. ``main`` uses it with ``--spare``.

The supervisor's line is shard and epoch. Until then risk and the ledger do not know of it.
"""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from arbshard.config import Config
from arbshard.errors import FrameError
from arbshard.model.universe import Universe
from arbshard.ready import wait_for_numbers
from arbshard.shm.books import BooksReader
from arbshard.venues.registry import get_venue


class Assignment(NamedTuple):
    """States which incarnation of which shard a worker is."""

    shard: int
    epoch: int


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
    numbers = await wait_for_numbers(is_orphan, "shard", "epoch")
    return None if numbers is None else Assignment(*numbers)
