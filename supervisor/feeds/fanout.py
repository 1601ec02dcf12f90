"""Routes each frame, writes it into its slot and notifies the shards it belongs to: the supervisor's hot path.

No book is decoded here; the worker does that, and only for the newest frame of a slot. Each connection writes
through a ``Lane`` of its own. Where two lanes carry one market, ``contest`` decides between them; where there is
one, that costs nothing.
"""

from collections.abc import Callable, Iterable, KeysView, Mapping, Sequence
from typing import Protocol

from arbshard.errors import FrameError
from arbshard.model.universe import Universe
from arbshard.shm.doorbell import ShardNotifier
from arbshard.venues.base.market import ControlFrame, Venue
from supervisor.feeds.contest import Contest

Notify = Callable[[int], None]
"""Called with the slot that has changed."""
SlotTarget = tuple[int, tuple[Notify, ...]]
"""Slot, and what is notified of its changes: the shards' rings, and an observer if there is one."""

OnControl = Callable[[ControlFrame], None]
Peek = Callable[[int], bytes | None]
"""Returns the frame that is in a slot."""


class WritableSlots(Protocol):
    """Is where frames are written: ``shm.books.BooksWriter``."""

    def write(self, slot: int, frame: bytes, received_ns: int, /) -> None:
        """Replace the slot's frame. Raises ``FrameError`` for a frame that does not fit."""
        ...

    def set_live(self, slot: int, live: bool) -> None:
        """Set whether a connection or REST still brings this market."""
        ...

    def sequence(self, slot: int) -> int:
        """Return a number that grows with every change of the slot."""
        ...


class VenueFanout:
    """Knows one venue's markets: the slot and shards of each, and which lanes bring it."""

    def __init__(
        self,
        venue: Venue,
        targets: Mapping[str, tuple[int, tuple[int, ...]]],
        books: WritableSlots,
        notifiers: Sequence[ShardNotifier],
        on_control: OnControl,
        peek: Peek | None = None,
    ) -> None:
        """Begin with the markets ``targets``, which maps symbol to (slot, shards).

        ``peek`` returns the frame in a slot; it is called only when a second lane begins to bring a market.
        """
        self.venue = venue
        self.books = books
        self._notifiers = notifiers
        self._peek = peek
        self._shards: dict[str, tuple[int, ...]] = {}
        self._observers: dict[str, Notify] = {}
        self._all: dict[str, SlotTarget] = {}
        self.targets: dict[str, SlotTarget] = {}
        """Targets of the markets that a single lane writes, without comparison."""
        self.down: set[int] = set()
        """Slots without a frame since their connection came up."""
        self._contests: dict[str, Contest[Lane]] = {}
        self._lanes: dict[str, list[Lane]] = {}
        self._gone: set[str] = set()
        """Markets that were removed; frames that still come until the venue has stopped them are not errors."""
        self._flips: dict[int, int] = {}
        """Number of changes of each slot that were not frames."""
        self._ended_frames = 0
        self._open: set[Lane] = set()
        self.refused = 0
        """Number of frames that no slot accepted: too long, empty, or of a market that was not asked for."""
        self.duplicates = 0
        """Number of frames that another lane had brought before."""
        self.late = 0
        """Number of frames of markets that had just been removed, or of lanes that had just been closed."""
        self.add(targets)
        self._own = self.lane(on_control)

    @property
    def frames(self) -> int:
        """Return the number of frames received on all lanes."""
        return self._ended_frames + sum(lane.frames for lane in self._open)

    def __call__(self, frame: bytes, received_ns: int) -> None:
        """Receive one frame, for a caller with a single connection."""
        self._own(frame, received_ns)

    def lane(self, on_control: OnControl) -> "Lane":
        """Open a lane, which has to be closed at its end."""
        lane = Lane(self, on_control)
        self.open_lane(lane)
        return lane

    def open_lane(self, lane: "Lane") -> None:
        """Accept what comes through ``lane`` from now on, until it is closed."""
        self._open.add(lane)

    def attach(self, lane: "Lane", symbols: Iterable[str]) -> None:
        """Expect frames of ``symbols`` from ``lane``, perhaps beside another lane's."""
        for symbol in symbols:
            lanes = self._lanes[symbol]
            if lane in lanes:
                continue
            if lanes:
                self._contend(symbol, lanes[0])
            lanes.append(lane)
            if len(lanes) > 1:
                lane.tally[symbol] = lane.before[symbol] = 0
            else:
                lane.before[symbol] = -self.writes(symbol)

    def detach(self, lane: "Lane", symbols: Iterable[str]) -> None:
        """Expect no more frames of ``symbols`` from ``lane``.

        Those that no other lane brings are not live until a new frame comes.
        """
        lost = []
        for symbol in symbols:
            lanes = self._lanes.get(symbol, [])
            if lane not in lanes:
                continue
            lanes.remove(lane)
            if symbol in self._contests:
                self._contests[symbol].leave(lane)
            if not lanes:
                self._settle(symbol)
                lost.append(symbol)
        self.mark_down(lost)

    def close(self, lane: "Lane") -> None:
        """Accept nothing more from ``lane``."""
        if lane in self._open:
            self.detach(lane, [symbol for symbol, lanes in self._lanes.items() if lane in lanes])
            self._open.discard(lane)
            self._ended_frames += lane.frames
            lane.shut()

    def mark_stale(self, lane: "Lane", symbols: Iterable[str]) -> None:
        """Mark the frames of ``symbols`` from ``lane`` as unreliable; other lanes may bring them."""
        self.mark_down(
            symbol for symbol in symbols if self._lanes.get(symbol) == [lane] and not self.is_down(symbol)
        )

    def is_contested(self, symbol: str) -> bool:
        """Return whether more than one lane brings ``symbol``, or the one that is left has yet to catch up."""
        return symbol in self._contests

    def writes(self, symbol: str) -> int:
        """Return the number of frames written into the market's slot."""
        slot = self._all[symbol][0]
        return self.books.sequence(slot) // 2 - self._flips.get(slot, 0)

    def is_down(self, symbol: str) -> bool:
        """Return whether no frame has come since its connection came up."""
        return self._all[symbol][0] in self.down

    def slot_of(self, symbol: str) -> int:
        """Return the slot of a market."""
        return self._all[symbol][0]

    @property
    def symbols(self) -> KeysView[str]:
        """Return all its markets."""
        return self._all.keys()

    def is_observed(self, symbol: str) -> bool:
        """Return whether the market has an observer beside its shards."""
        return symbol in self._observers

    def observe(self, symbol: str, observer: Notify | None) -> None:
        """Notify ``observer`` too of the market's changes from the next frame on; None leaves its shards alone."""
        if observer is None:
            self._observers.pop(symbol, None)
        else:
            self._observers[symbol] = observer
        self.retarget(symbol, self._shards[symbol])

    def add(self, targets: Mapping[str, tuple[int, tuple[int, ...]]]) -> None:
        """Add these markets."""
        for symbol, (slot, shards) in targets.items():
            assert symbol not in self._all, symbol
            self._shards[symbol] = shards
            self._all[symbol] = self.targets[symbol] = self._target(symbol, slot)
            self._lanes[symbol] = []
            self._gone.discard(symbol)
            self.down.add(slot)

    def remove(self, symbols: Iterable[str]) -> None:
        """Remove these markets: their slots are not live and may be given to others."""
        for symbol in symbols:
            self.mark_down([symbol])
            self._settle(symbol)
            for lane in self._lanes[symbol]:
                del lane.before[symbol]
            self.down.discard(self._all[symbol][0])
            del self._all[symbol], self.targets[symbol], self._lanes[symbol], self._shards[symbol]
            self._observers.pop(symbol, None)
            self._gone.add(symbol)

    def retarget(self, symbol: str, shards: tuple[int, ...]) -> None:
        """Give the frames of ``symbol`` to ``shards`` from the next one on."""
        self._shards[symbol] = shards
        target = self._all[symbol] = self._target(symbol, self._all[symbol][0])
        if symbol in self.targets:
            self.targets[symbol] = target

    def mark_down(self, symbols: Iterable[str]) -> None:
        """Mark ``symbols``, which no lane brings any more: their books are not live until a new frame comes."""
        for symbol in symbols:
            slot, notified = self._all[symbol]
            self.down.add(slot)
            self._set_live(slot, live=False)
            for notify in notified:
                notify(slot)

    def admit(self, lane: "Lane", symbol: str, frame: bytes, received_ns: int) -> SlotTarget | None:
        """Return where a frame goes whose market several lanes bring, or none; None if it is dropped and counted."""
        contest = self._contests.get(symbol)
        if contest is None or lane not in self._lanes[symbol]:
            if symbol in self._gone or lane not in self._open:
                self.late += 1
            else:
                self.refused += 1
            return None
        lane.tally[symbol] += 1
        mark = self.venue.sequence_number(frame)
        if mark is None:  # which of two frames is newer cannot be known without a mark
            self.refused += 1
            return None
        if not contest.wins(lane, mark, received_ns):
            self.duplicates += 1
            return None
        if len(self._lanes[symbol]) == 1:  # the last one left has caught up
            self._settle(symbol)
        return self._all[symbol]

    def mark_live(self, slot: int) -> None:
        """Mark the slot's book as live, because the first frame has come."""
        self.down.discard(slot)
        self._set_live(slot, live=True)

    def _set_live(self, slot: int, *, live: bool) -> None:
        self._flips[slot] = self._flips.get(slot, 0) + 1
        self.books.set_live(slot, live=live)

    def _contend(self, symbol: str, first: "Lane") -> None:
        if symbol in self._contests:
            return
        slot = self._all[symbol][0]
        found = self._peek(slot) if self._peek is not None and slot not in self.down else None
        self._contests[symbol] = Contest(first, self.venue.sequence_number(found) if found else None)
        del self.targets[symbol]
        first.before[symbol] += self.writes(symbol)
        first.tally[symbol] = 0

    def _settle(self, symbol: str) -> None:
        """End the comparison of frames: one lane is left, or none."""
        if self._contests.pop(symbol, None) is not None:
            self.targets[symbol] = self._all[symbol]
            for lane in self._lanes[symbol]:
                lane.before[symbol] += lane.tally.pop(symbol) - self.writes(symbol)

    def _target(self, symbol: str, slot: int) -> SlotTarget:
        rings = tuple(self._notifiers[shard].push for shard in self._shards[symbol])
        observer = self._observers.get(symbol)
        return slot, rings if observer is None else (*rings, observer)


class Lane:
    """Writes one connection's frames into the slots. It is called with each frame."""

    def __init__(self, fanout: VenueFanout, on_control: OnControl) -> None:
        self._route = fanout.venue.route
        self._classify = fanout.venue.classify
        self._on_control = on_control
        self._write = fanout.books.write
        self._targets: Mapping[str, SlotTarget] = fanout.targets
        self._down = fanout.down
        self._fanout = fanout
        self.frames = 0
        self.tally: dict[str, int] = {}
        """Number of frames of the markets that other lanes bring too."""
        self.before: dict[str, int] = {}
        """Offsets that make ``frames_received`` count from 0, whatever was written to the slot before."""

    def __call__(self, frame: bytes, received_ns: int) -> None:
        """Receive one frame."""
        self.frames += 1
        symbol = self._route(frame)
        if symbol is None:
            self._on_control(self._classify(frame))
            return
        target = self._targets.get(symbol)
        if target is None:
            target = self._fanout.admit(self, symbol, frame, received_ns)
            if target is None:
                return
        slot, notified = target
        try:
            self._write(slot, frame, received_ns)
        except FrameError:
            self._fanout.refused += 1
            return
        # Only after the write: the frame that was there before must not become live again.
        if slot in self._down:
            self._fanout.mark_live(slot)
        for notify in notified:
            notify(slot)

    def attach(self, symbols: Iterable[str]) -> None:
        """Expect frames of ``symbols``."""
        self._fanout.attach(self, symbols)

    def detach(self, symbols: Iterable[str]) -> None:
        """Expect no more frames of ``symbols``."""
        self._fanout.detach(self, symbols)

    def mark_stale(self, symbols: Iterable[str]) -> None:
        """Mark its frames of ``symbols`` as unreliable."""
        self._fanout.mark_stale(self, symbols)

    def frames_received(self, symbol: str) -> int:
        """Return the number of frames it has brought of a market that it is attached to."""
        if self._fanout.is_contested(symbol):
            return self.before[symbol] + self.tally[symbol]
        return self.before[symbol] + self._fanout.writes(symbol)

    def close(self) -> None:
        """Accept nothing more."""
        self._fanout.close(self)

    def shut(self) -> None:
        """Drop what is still read from the socket."""
        self._targets = {}
        self._on_control = _ignore


def _ignore(_: ControlFrame) -> None:
    """Ignore a frame on a connection that we have closed."""


def targets_of(universe: Universe, venue: str) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return (slot, shards) of one venue's markets by symbol; the FX market goes to every shard.

    A pair that is in no shard goes to none; its slot is written all the same.
    """
    owners = universe.owners()
    targets: dict[str, tuple[int, tuple[int, ...]]] = {}
    for pair in universe.pairs:
        shards = (owners[pair.base],) if pair.base in owners else ()
        for leg in (pair.home, pair.away):
            if leg.market.venue == venue:
                targets[leg.market.symbol] = (leg.slot, shards)
    if universe.fx.market.venue == venue:
        targets[universe.fx.market.symbol] = (universe.fx.slot, tuple(range(len(universe.shards))))
    return targets
