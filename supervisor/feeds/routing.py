"""Has the feed of a venue follow a change of the universe. Pure: what the feed does about it is its own."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from arbshard.model.universe import NOT_LISTED, Universe
from supervisor.feeds.fanout import targets_of


class RoutedFeed(Protocol):
    """Brings the books of one venue's markets: ``venue.VenueFeed``."""

    def add(self, targets: Mapping[str, tuple[int, tuple[int, ...]]]) -> None:
        """Carry these symbols too. ``targets`` maps symbol to (slot, shards)."""
        ...

    def remove(self, symbols: Sequence[str]) -> None:
        """Carry these symbols no longer: their slots are free at once."""
        ...

    def retarget(self, symbol: str, shards: tuple[int, ...]) -> None:
        """Give the frames of ``symbol`` to ``shards`` from the next one on."""
        ...

    def set_unlisted(self, symbols: Collection[str]) -> None:
        """Let the streams ask for all but these ``symbols``, which the venue does not list any more."""
        ...


def route(name: str, feed: RoutedFeed, before: Universe, after: Universe) -> None:
    """Have the feed of the venue ``name`` carry the markets of ``after`` where it carried those of ``before``."""
    had, has = targets_of(before, name), targets_of(after, name)
    gone = [symbol for symbol in had if symbol not in has or has[symbol][0] != had[symbol][0]]
    feed.remove(gone)
    for symbol in gone:
        del had[symbol]
    feed.add({symbol: target for symbol, target in has.items() if symbol not in had})
    for symbol, (_, shards) in has.items():
        if symbol in had and had[symbol][1] != shards:
            feed.retarget(symbol, shards)
    feed.set_unlisted({one for venue, one, why in after.stopped if venue == name and why == NOT_LISTED})
