"""Targets: what the venues' public streams and REST answers are read with. Only ``FrameError`` (a listing:
``VenueError``), or a book that may be traded on.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite

from msgspec.structs import replace

from arbshard.errors import FrameError, VenueError
from arbshard.model.book import BookTop, OrderBookSnapshot
from arbshard.venues.base.diff import DiffBook, DiffOutcome
from arbshard.venues.base.market import ControlFrame, Venue
from arbshard.venues.base.rest import BookRequest
from arbshard.venues.binance.diff import BinanceDiff
from arbshard.venues.frame import FRAME_REASONS
from arbshard.venues.registry import get_adapter, get_venue
from fuzzing import corpus
from fuzzing.target import require

_NS = 10_000_000_000
_DETAIL_MAX = 200


def require_sound(book: OrderBookSnapshot) -> None:
    """Finite, positive, strictly best first, not crossed."""
    for levels, sign in ((book.bids, -1), (book.asks, 1)):
        require(len(levels) > 0, "an empty side")
        require(all(isfinite(x) and x > 0 for level in levels for x in level), "a level that is no level")
        prices = [sign * price for price, _ in levels]
        require(all(a < b for a, b in pairwise(prices)), "not strictly best first")
    require(book.best_bid < book.best_ask, "crossed")


def _refused(error: FrameError) -> str:
    require(error.reason in FRAME_REASONS, f"unknown reason {error.reason!r}")
    require(len(str(error)) < 400, "a long story")
    return error.reason


class PublicStream:
    """``route``, ``classify``, ``top_of_book`` and ``decode`` of one venue."""

    blind = 0.3

    def __init__(self, venue: Venue, frames: Sequence[bytes]) -> None:
        self.name = f"{venue.name} stream"
        self.corpus = frames
        self._venue = venue

    def __call__(self, case: bytes) -> str:
        """All four, and that they agree."""
        venue = self._venue
        symbol = venue.route(case)
        control = venue.classify(case)
        require(isinstance(control, ControlFrame), "no control frame")
        require(len(control.detail) <= _DETAIL_MAX, "a long detail")
        top: BookTop | None
        try:
            top = venue.top_of_book(case, _NS)
        except FrameError as error:
            _refused(error)
            top = None
        else:
            require(top.best_bid < top.best_ask, "a crossed top")
            sides = (top.best_bid, top.bid_size, top.best_ask, top.ask_size)
            require(all(isfinite(one) and one > 0 for one in sides), "a top that is no top")
        try:
            book = venue.decode(case, _NS)
        except FrameError as error:
            return _refused(error) if top is None else "glanced only"
        require_sound(book)
        require(top is not None, "decoded and not glanced")
        # Keys that stand twice are read first by one and last by the other.
        if not _repeats_keys(case):
            require(top == book.top, f"glanced {top}, decoded {book.top}")
            require(symbol in (book.symbol, None), f"routed {symbol}, decoded {book.symbol}")
        return "book"

    def close(self) -> None:
        """Nothing is held."""


def _repeats_keys(case: bytes) -> bool:
    keys = (b'"obu"', b'"orderbook_units"', b'"bids"', b'"asks"', b'"cd"', b'"code"', b'"stream"', b'"data"')
    inner = (b'"ap"', b'"bp"', b'"as"', b'"bs"')
    first = case[: case.find(b"}") + 1]
    return any(case.count(key) > 1 for key in keys) or any(first.count(key) > 1 for key in inner)


class Listing:
    """A venue's list of markets."""

    blind = 0.3

    def __init__(self, venue: Venue, bodies: Sequence[bytes]) -> None:
        self.name = f"{venue.name} listing"
        self.corpus = bodies
        self._venue = venue

    def __call__(self, case: bytes) -> str:
        """Markets, or ``VenueError``."""
        try:
            found = self._venue.listing((case,))
        except VenueError:
            return "refused"
        for symbol, listed in found.items():
            require(symbol == listed.market.symbol, "under another name")
            for amount in (listed.rules.lot, listed.rules.ticks[-1].tick):
                require(amount.is_finite() and amount > 0, f"a step of {amount}")
        return "listed" if found else "empty"

    def close(self) -> None:
        """Nothing is held."""


class RestBooksTarget:
    """A venue's books over REST."""

    blind = 0.3

    def __init__(self, venue: str, symbols: tuple[str, ...], bodies: Sequence[bytes]) -> None:
        self.name = f"{venue} REST books"
        self.corpus = bodies
        self._books = get_adapter(venue).rest
        self._call = BookRequest("/", symbols)

    def __call__(self, case: bytes) -> str:
        """Good books, ``FrameError`` instead of bad ones."""
        asked = set(self._call.symbols)
        outcome = "nothing"
        try:
            for symbol, found in self._books.decode(self._call, case, _NS):
                require(symbol in asked, f"{symbol!r} was not asked for")
                asked.discard(symbol)
                if isinstance(found, FrameError):
                    outcome = _refused(found)
                else:
                    require_sound(found)
                    outcome = "book"
        except FrameError as error:
            return _refused(error)
        return outcome

    def close(self) -> None:
        """Nothing is held."""


class DiffTarget:
    """A book kept from differences: whatever comes, its top is good or it asks for a snapshot."""

    blind = 0.3
    name = "diff book"

    def __init__(self) -> None:
        self._updates = corpus.binance_updates()
        self._depths = corpus.binance_depths()
        self.corpus = [*self._updates, *self._depths]
        self._good = BinanceDiff().snapshot_of(self._depths[0])
        self._book = DiffBook(events_held_max=20)
        self._fed = 0

    def __call__(self, case: bytes) -> str:
        """As event and as snapshot."""
        self._fed += 1
        if self._fed % 50 == 0:
            self._book = DiffBook(events_held_max=20)
        if self._book.needs_snapshot and self._fed % 3 == 0:
            self._book.apply_snapshot(replace(self._good, last_id=2**60 + self._fed))
        outcome = "neither"
        for read in (self._event, self._snapshot):
            try:
                outcome = read(case).value
            except FrameError as error:
                _refused(error)
        bids, asks = self._book.top(5)
        if bids and asks:
            require(bids[0][0] < asks[0][0], "crossed")
        require(
            all(isfinite(x) and x > 0 for level in (*bids, *asks) for x in level), "a level that is no level"
        )
        require(not (self._book.needs_snapshot and (bids or asks)), "levels without a book")
        return outcome

    def _event(self, case: bytes) -> DiffOutcome:
        event = BinanceDiff().update_of(case)
        at = self._book.last_id
        if at is not None and self._fed % 2:  # what it says, as the very next change of the book
            event = replace(event, first_id=at + 1, last_id=at + 1)
        return self._book.apply_event(event)

    def _snapshot(self, case: bytes) -> DiffOutcome:
        return self._book.apply_snapshot(BinanceDiff().snapshot_of(case))

    def close(self) -> None:
        """Nothing is held."""


def targets() -> list[PublicStream | Listing | RestBooksTarget | DiffTarget]:
    """All of them."""
    upbit, binance = get_venue("upbit"), get_venue("binance")
    listings = corpus.listings()
    return [
        PublicStream(upbit, corpus.upbit_frames()),
        PublicStream(binance, corpus.binance_frames()),
        Listing(upbit, listings["upbit"]),
        Listing(binance, listings["binance"]),
        RestBooksTarget("upbit", ("KRW-BTC", "KRW-ETH", "KRW-USDT", "KRW-XRP"), corpus.upbit_books()),
        RestBooksTarget("binance", ("BTCUSDT",), corpus.binance_depths()),
        DiffTarget(),
    ]
