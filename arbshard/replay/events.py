"""Makes of a tape what ``exchanges.recorded`` plays: markets, first books, the events after them. Needs pyarrow.

The code of the venues reads the frames, with exact numbers. Frames that cannot be played are counted by their
reason.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import chain
from typing import NamedTuple

from arbshard.errors import FrameError, UsageError
from arbshard.exchanges.market import MarketState, SimListing
from arbshard.exchanges.recorded import (
    RecordedBookEvent,
    RecordedEvent,
    RecordedLevels,
    RecordedListing,
    RecordedLoss,
    RecordedState,
    RecordedTrade,
)
from arbshard.exchanges.units import UNIT
from arbshard.model.market import Leg
from arbshard.model.universe import NOT_LISTED, Universe
from arbshard.replay.stretch import Stretch
from arbshard.tape.format import Row
from arbshard.venues.base.adapter import Adapter
from arbshard.venues.base.diff import DepthSnapshot, DiffBook, DiffOutcome, DiffVenue
from arbshard.venues.base.exact import ExactLevels
from arbshard.venues.base.fusion import BookFuser, FusionCounts
from arbshard.venues.registry import ADAPTERS

FIRST_BOOKS_NS = 120_000_000_000
"""A market without a book in this much of the tape, from when it is traded on, is left out (nanoseconds)."""
_CLOSED_BY_US = "closed by us"
"""Why a stream ended that the recorded run itself closed: in order to renew it, or at its end."""
_LEVELS = 100
"""Levels per side that are shown of a book that is kept from its changes."""
_SIZE_MAX = 1 << 62
_STATES: dict[str, MarketState] = {NOT_LISTED: "delisted", "BREAK": "break", "HALT": "halt"}
"""States by the reason for which a listing says that nothing is traded. For any other one orders are refused, and
books are shown as they were recorded.
"""

MarketName = tuple[str, str]
"""A venue and a symbol."""


class _Change(NamedTuple):
    """Says how states of markets change at a time."""

    at_ns: int
    states: dict[MarketName, MarketState]

    @property
    def listed(self) -> set[MarketName]:
        """Return the markets that are listed from then on, and were not or were in another state."""
        return {market for market, state in self.states.items() if state != "delisted"}


class TapeEvents:
    """Reads the events of a stretch, as often as ``read`` is called."""

    def __init__(self, stretch: Stretch) -> None:
        """Raise ``TapeError`` or ``UsageError`` for a tape that cannot be played."""
        self._stretch = stretch
        self.refused: Counter[str] = Counter()
        """Number of frames that were left out, by venue and reason."""
        listings, self._changes = _listings(stretch)
        self.first: dict[MarketName, RecordedBookEvent] = {}
        """The first book of each market."""
        self.venues_with_trades: set[str] = set()
        """Venues whose trades were found before all first books were."""
        known = {(one.venue, one.listing.symbol) for one in listings}
        self._find_first_books(stretch, known & self._changes[0].listed)
        self._found_at_once = frozenset(self.first)
        for change in self._changes[1:]:
            part = stretch._replace(start_ns=change.at_ns)
            self._find_first_books(part, (known & change.listed) - self.first.keys())
        self.listings = [one for one in listings if (one.venue, one.listing.symbol) in self.first]
        """The markets of the tape, in the order of the recorded run."""
        self._markets = [(one.venue, one.listing.symbol) for one in self.listings]
        self.without_book = [
            f"{one.venue}:{one.listing.symbol}"
            for one in listings
            if (one.venue, one.listing.symbol) not in self.first
        ]
        """Markets that are left out because they have no book."""
        if not self.listings:
            raise UsageError(f"{stretch.tape.folder}: there is no order book in this part of the tape")
        self.refused.clear()

    def read(self) -> Iterator[RecordedEvent]:
        """Yield the events in the order of time. Raises ``TapeError`` where the tape is damaged."""
        decoded = self._decoded(self._stretch)
        first = next(decoded, None)
        if first is None:
            return
        listed = _ListedMarkets(self._markets, self._changes, self._found_at_once)
        yield from listed.begin(first.at_ns)
        for event in chain((first,), decoded):
            yield from listed.before(event)
            yield event

    def _decoded(self, stretch: Stretch) -> Iterator[RecordedEvent]:
        """Yield the events of a stretch without the states of markets. Raises ``TapeError``."""
        decoders = {name: _VenueDecoder(adapter) for name, adapter in ADAPTERS.items()}
        for at_ns, row in stretch.rows():
            decoder = decoders.get(row.venue)
            if decoder is None:
                self.refused[f"{row.venue}: frames of this venue cannot be played"] += 1
                continue
            try:
                yield from decoder.events(at_ns, row)
            except FrameError as error:
                self.refused[f"{row.venue}: {error.reason}"] += 1

    def _find_first_books(self, stretch: Stretch, wanted: set[MarketName]) -> None:
        """Find the first book of each of the ``wanted`` markets in a stretch."""
        began_ns: int | None = None
        for event in self._decoded(stretch) if wanted else ():
            began_ns = event.at_ns if began_ns is None else began_ns
            if event.at_ns - began_ns > FIRST_BOOKS_NS:
                return
            if isinstance(event, RecordedTrade):
                self.venues_with_trades.add(event.venue)
            elif isinstance(event, RecordedBookEvent) and (event.venue, event.symbol) in wanted:
                self.first[event.venue, event.symbol] = event
                wanted.discard((event.venue, event.symbol))
                if not wanted:
                    return


class _ListedMarkets:
    """Follows which markets are listed while a stretch is read."""

    def __init__(
        self, markets: Iterable[MarketName], changes: Iterable[_Change], found_at_once: Collection[MarketName]
    ) -> None:
        """Begin with the first of ``changes``. Only markets that were ``found_at_once`` have a book by then."""
        self._later = deque(changes)
        states = self._later.popleft().states
        self._coming: dict[MarketName, MarketState] = {}
        """States of markets that are listed, but have no book yet."""
        self._shown: dict[MarketName, MarketState] = {}
        for market in markets:
            state = states.get(market, "delisted")
            self._shown[market] = state if market in found_at_once else "delisted"
            if state != self._shown[market]:
                self._coming[market] = state

    def begin(self, at_ns: int) -> Iterator[RecordedState]:
        """Yield the state of every market that is not traded at the beginning."""
        for market, state in self._shown.items():
            if state != "trading":
                yield RecordedState(at_ns, *market, state)

    def before(self, event: RecordedEvent) -> Iterator[RecordedState]:
        """Yield the states that change before an event."""
        while self._later and self._later[0].at_ns <= event.at_ns:
            for market, state in self._later.popleft().states.items():
                if market not in self._shown:
                    continue
                self._coming.pop(market, None)
                if self._shown[market] != "delisted" or state == "delisted":
                    yield self._show(event.at_ns, market, state)
                else:
                    self._coming[market] = state
        # There is nothing to show of a market that comes before its first book.
        if self._coming and isinstance(event, RecordedBookEvent):
            market = event.venue, event.symbol
            coming = self._coming.pop(market, None)
            if coming is not None:
                yield self._show(event.at_ns, market, coming)

    def _show(self, at_ns: int, market: MarketName, state: MarketState) -> RecordedState:
        self._shown[market] = state
        return RecordedState(at_ns, *market, state)


class _VenueDecoder:
    """Decodes the rows of one venue."""

    def __init__(self, adapter: Adapter) -> None:
        self._name = adapter.name
        self._adapter = adapter
        self._kept: dict[str, DiffBook] = {}
        """Books that are kept from their changes."""
        self._carried: dict[str, frozenset[str]] = {}
        """The markets of each open connection of the recorded run."""
        self._marks: dict[str, tuple[str, int]] = {}
        """The connection that brought the newest book of each market, and that book's sequence number."""
        self._fusers: dict[str, BookFuser] = {}
        """Joins touches to levels, by connection."""
        self._trades: dict[str, str] = {}
        """The kind of stream whose trades are played, by market: others repeat them."""

    def events(self, at_ns: int, row: Row) -> Iterator[RecordedEvent]:
        """Yield the events of a row. Raises ``FrameError`` for a frame that cannot be played."""
        if row.kind in ("frame", "known"):
            yield from self._of_frame(at_ns, row)
        elif row.kind == "rest":
            yield from self._of_answer(at_ns, row)
        elif row.kind == "connect":
            self._carried[row.connection] = frozenset(row.detail.removeprefix("carries ").split())
        elif row.kind == "disconnect":
            yield from self._of_disconnect(at_ns, row)
        elif row.kind == "gap":
            yield RecordedLoss(at_ns, self._name, frozenset((row.symbol,)), False, row.detail)

    def _of_frame(self, at_ns: int, row: Row) -> Iterator[RecordedEvent]:
        adapter = self._adapter
        data = row.data if row.kind == "known" else self._fused(at_ns, row)
        if data is None:
            return
        symbol = adapter.market.route(data)
        if symbol is not None:
            assert adapter.exact_levels is not None, adapter.name
            if self._is_repeated(symbol, row.connection, data):
                return
            bids, asks = adapter.exact_levels(data)
            if row.kind == "known" and adapter.diff is not None:
                self._begin_kept(symbol, adapter.market.sequence_number(data), bids, asks)
            sent_ms = adapter.market.sent_ms(data)
            # A known book was received before the recording: how late it was is not known any more.
            lag_ms = at_ns // 1_000_000 - sent_ms if sent_ms is not None and row.kind == "frame" else 0
            yield self._book(at_ns, symbol, bids, asks, lag_ms)
        elif adapter.diff is not None and (symbol := adapter.diff.route(data)) is not None:
            yield from self._of_change(at_ns, symbol, adapter.diff, data)
        else:
            trade = adapter.exact_trade(data) if adapter.exact_trade is not None else None
            if trade is not None and self._trades.setdefault(trade.symbol, trade.stream) == trade.stream:
                price, size = _units(trade.price), _units(trade.size)
                yield RecordedTrade(at_ns, self._name, trade.symbol, price, size, trade.taker_buys)

    def _fused(self, at_ns: int, row: Row) -> bytes | None:
        """Return the book after a frame, as the recorded run saw it; None for a touch that changes nothing."""
        fused = self._adapter.fused
        if fused is None:
            return row.data
        fuser = self._fusers.get(row.connection)
        if fuser is None:
            fuser = self._fusers[row.connection] = BookFuser(fused, FusionCounts())
        return fuser.fuse(row.data, at_ns)

    def _is_repeated(self, symbol: str, connection: str, frame: bytes) -> bool:
        """Return whether another connection has brought this book or a newer one: two may carry one market."""
        mark = self._adapter.market.sequence_number(frame)
        if mark is None:
            return False
        owner, known = self._marks.get(symbol, (connection, -1))
        # A book that was known before the recording is of no connection.
        if owner not in ("", connection) and mark <= known:
            return True
        self._marks[symbol] = connection, mark
        return False

    def _of_change(self, at_ns: int, symbol: str, diff: DiffVenue, data: bytes) -> Iterator[RecordedEvent]:
        book = self._kept.setdefault(symbol, DiffBook())
        event = diff.update_of(data)
        if book.apply_event(event) is DiffOutcome.APPLIED:
            yield self._kept_book(at_ns, symbol, book, at_ns // 1_000_000 - event.event_ms)

    def _of_answer(self, at_ns: int, row: Row) -> Iterator[RecordedEvent]:
        """Begin a kept book from a snapshot over REST.

        Other answers are ignored, because streams did not send them.
        """
        diff = self._adapter.diff
        path, _, outcome = row.detail.partition(" ")
        if diff is None or outcome != "HTTP 200":
            return
        for symbol, book in self._kept.items():
            if diff.snapshot_path(symbol) == path:
                if book.apply_snapshot(diff.snapshot_of(row.data)) is DiffOutcome.APPLIED:
                    yield self._kept_book(at_ns, symbol, book, 0)
                return

    def _begin_kept(self, symbol: str, last_id: int | None, bids: ExactLevels, asks: ExactLevels) -> None:
        """Begin a kept book from the levels that were known when the recording began."""
        if last_id is not None:
            sides = ([(f"{price:.8f}", f"{size:.8f}") for price, size in side] for side in (bids, asks))
            self._kept[symbol] = book = DiffBook()
            book.apply_snapshot(DepthSnapshot(last_id, *map(tuple, sides)))

    def _of_disconnect(self, at_ns: int, row: Row) -> Iterator[RecordedEvent]:
        self._fusers.pop(row.connection, None)
        carried = self._carried.pop(row.connection, frozenset())
        lost = carried.difference(*self._carried.values())
        if lost and row.detail != _CLOSED_BY_US:
            yield RecordedLoss(at_ns, self._name, lost, True, row.detail)

    def _kept_book(self, at_ns: int, symbol: str, book: DiffBook, lag_ms: int) -> RecordedBookEvent:
        # The shortest text of a float is the number that the venue wrote, up to 15 digits.
        bids, asks = (
            tuple((Decimal(repr(price)), Decimal(repr(size))) for price, size in side)
            for side in book.top(_LEVELS)
        )
        return self._book(at_ns, symbol, bids, asks, lag_ms)

    def _book(
        self, at_ns: int, symbol: str, bids: ExactLevels, asks: ExactLevels, lag_ms: int
    ) -> RecordedBookEvent:
        if not bids or not asks:
            raise FrameError("empty", f"{symbol}: a side without a level")
        return RecordedBookEvent(at_ns, self._name, symbol, _levels(bids), _levels(asks), lag_ms)


def _levels(levels: ExactLevels) -> RecordedLevels:
    return [(_units(price), _units(size)) for price, size in levels]


def _units(value: Decimal) -> int:
    units = int(value * UNIT)
    if not 0 < units < _SIZE_MAX:
        raise FrameError("number", f"{value}")
    return units


def _listings(stretch: Stretch) -> tuple[list[RecordedListing], list[_Change]]:
    """Return the markets of all universes in the stretch, of which the newest rules count, and how their states
    change. The first change has the states at the beginning.
    """
    legs: dict[MarketName, tuple[Leg, str]] = {}
    names: dict[MarketName, str] = {}
    states: dict[MarketName, MarketState] = {}
    changes: list[_Change] = []
    for at_ns, universe in stretch.universes():
        found = _states_of(universe)
        if stretch.start_ns is not None and at_ns <= stretch.start_ns:  # a later one may be in force by then
            legs.clear()
            changes.clear()
        changed = {
            market: found.get(market, "delisted")
            for market in states | found
            if found.get(market) != states.get(market)
        }
        if not changes:
            changes.append(_Change(at_ns, found))
        elif changed:
            changes.append(_Change(at_ns, changed))
        states = found
        names |= {(one.venue, one.currency): one.name for one in universe.coin_names}
        legs |= {(leg.market.venue, leg.market.symbol): (leg, coin) for leg, coin in _legs_of(universe)}
    if not legs:
        raise UsageError(
            f"{stretch.tape.folder}: the tape does not say which markets it holds, so it cannot be played"
        )
    played = [_listing(leg, coin, names) for leg, coin in legs.values() if leg.market.venue in ADAPTERS]
    return played, changes


def _states_of(universe: Universe) -> dict[MarketName, MarketState]:
    """Return the state of each market of a universe."""
    stopped = {(venue, symbol): _STATES.get(why, "cancel_only") for venue, symbol, why in universe.stopped}
    return {
        market: stopped.get(market, "trading")
        for market in ((leg.market.venue, leg.market.symbol) for leg in universe.legs())
    }


def _legs_of(universe: Universe) -> Iterable[tuple[Leg, str]]:
    yield universe.fx, universe.fx.market.base
    for pair in universe.pairs:
        yield pair.home, pair.base
        yield pair.away, pair.base


def _listing(leg: Leg, coin: str, names: Mapping[tuple[str, str], str]) -> RecordedListing:
    market, rules = leg.market, leg.rules
    ticks = tuple((int(band.price_min * UNIT), int(band.tick * UNIT)) for band in reversed(rules.ticks))
    name = names.get((market.venue, market.base), market.base)
    listing = SimListing(
        market.symbol,
        market.base,
        market.quote,
        name,
        name,
        ticks[0][1],
        int(rules.lot * UNIT),
        ticker_at_home=coin,
        notional_min=int(rules.notional_min * UNIT),
        quantity_max=min(int(rules.quantity_max * UNIT), _SIZE_MAX),
    )
    return RecordedListing(market.venue, listing, ticks)
