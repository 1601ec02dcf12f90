"""The way of a frame: route it, put it into its slot, tell the shards it belongs to. The supervisor's hot path.

No book is decoded here; that is the worker's, and only for the newest frame of a slot.
"""

from collections.abc import Callable, Mapping, Sequence

from arbshard.errors import FrameError
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from arbshard.venues.base import ControlFrame, Venue
from arbshard.wire.bus import Publisher


class VenueFanout:
    """One venue's markets: where each goes."""

    def __init__(
        self,
        venue: Venue,
        targets: Mapping[str, tuple[int, tuple[int, ...]]],
        books: BooksWriter,
        notifiers: Sequence[ShardNotifier],
        bus: Publisher,
        on_control: Callable[[ControlFrame], None],
    ) -> None:
        """``targets``: symbol → (slot, shards)."""
        self._route = venue.route
        self._classify = venue.classify
        self._write = books.write
        self._on_control = on_control
        self._bus = bus
        self._wanted = bus.wanted
        self._books = books
        self._targets = {
            symbol: (
                slot,
                tuple(notifiers[shard].push for shard in shards),
                tuple(b"book.%d." % shard for shard in shards),
            )
            for symbol, (slot, shards) in targets.items()
        }
        self._dark = {slot for slot, _, _ in self._targets.values()}
        """Slots without a frame since their connection came up."""
        self.frames = 0
        self.refused = 0
        """Frames no slot took: too long, empty, or of a market nobody asked for."""

    def __call__(self, frame: bytes, received_ns: int) -> None:
        """Take in one frame."""
        self.frames += 1
        symbol = self._route(frame)
        if symbol is None:
            self._on_control(self._classify(frame))
            return
        target = self._targets.get(symbol)
        if target is None:
            self.refused += 1
            return
        slot, pushes, topics = target
        try:
            self._write(slot, frame, received_ns)
        except FrameError:
            self.refused += 1
            return
        if slot in self._dark:  # only now: what stood there before must not come back to life
            self._dark.discard(slot)
            self._books.set_live(slot, live=True)
        for push in pushes:
            push(slot)
        for topic in topics:
            if self._wanted(topic):
                self._bus.publish(topic, (slot.to_bytes(4, "little"), frame))

    def lose(self, symbols: Sequence[str]) -> None:
        """The connection that carried ``symbols`` is gone: their books are not live until a new frame comes."""
        for symbol in symbols:
            slot, pushes, _ = self._targets[symbol]
            self._dark.add(slot)
            self._books.set_live(slot, live=False)
            for push in pushes:
                push(slot)


def targets_of(universe: Universe, venue: str) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Symbol → (slot, shards) of one venue's markets; the FX market goes to every shard."""
    shard_of = {base: shard for shard, bases in enumerate(universe.shards) for base in bases}
    targets: dict[str, tuple[int, tuple[int, ...]]] = {}
    for pair in universe.pairs:
        for leg in (pair.home, pair.away):
            if leg.market.venue == venue:
                targets[leg.market.symbol] = (leg.slot, (shard_of[pair.base],))
    if universe.fx.market.venue == venue:
        targets[universe.fx.market.symbol] = (universe.fx.slot, tuple(range(len(universe.shards))))
    return targets
