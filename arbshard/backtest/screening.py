"""Screening: frames on which nothing can be decided go into their slots, and the worker is not run for them.

What is skipped is the worker's turn on one frame of a pair, and only if that turn could decide nothing and leaves
nothing behind that a later turn depends on.

**It decides nothing.** ``ArbitrageEngine.evaluate`` makes an exit only of a pair that holds a position, and an entry
only if the net edge of the two best prices in one direction reaches ``least_edge_bps(entry_bps, -level, floor)``
(``_entry``: no quantity nets more than its first unit). ``level`` and ``floor`` change only between frames, by what
risk says. So a frame is skipped only if its pair holds nothing, has nothing under way, follows no refused entry, and
both edges at the prices after this frame are more than ``_MARGIN_BPS`` below that bound; the margin is far above what
rounding of floats can make of these figures. Every other test in ``evaluate`` can only refuse.

**It leaves nothing behind.** A turn leaves the market's view, with what is settled about its top (``View.compare``),
and counters. As long as no top jumps away from the one before, ``compare`` leaves the view as the frame alone makes
it: settled is its own top. So a frame is skipped only if the market's last view was in that state and this top is no
jump from the last one, skipped or not; and before a pair's next real turn the newest frame of each of its markets is
read as it would have been. A pair without funds is not skipped, as it is funded at the top that its worker sees.
Frames of the FX market are never skipped, and neither are frames of markets that are down, that two streams bring,
whose books are kept from changes, or that cannot be read. Slots, and the numbers of frames by which streams are
judged, are brought up to date with every frame, so whoever reads books on a timer (risk, the confirmation of quiet
books, the watch of lags) reads the same.

The market and the best prices of a frame are those that were parsed once for the tape (``tops``), where its row has
them, and are parsed here otherwise.

What differs is only what counts turns: ticks, refusals of data and latencies on the worker's page.
"""

from math import nan

from arbshard.backtest.rows import Glance
from arbshard.backtest.slots import TapeBooks
from arbshard.config import Config
from arbshard.engine.edge import least_edge_bps, top_edge_bps
from arbshard.engine.engine import ArbitrageEngine, PairState
from arbshard.engine.quality import has_jumped, quality_of
from arbshard.errors import FrameError
from arbshard.model.book import BookTop
from arbshard.model.market import Leg
from arbshard.venues.registry import get_venue
from arbshard.worker.feed import ShardFeed
from supervisor.feeds.fanout import Lane, VenueFanout

_MARGIN_BPS = 1e-6


class _ScreenedPair:
    """A pair, and the bounds that its edges must reach for anything to happen."""

    def __init__(self, state: PairState, config: Config) -> None:
        self.state = state
        self.home = _ScreenedMarket(self, state.pair.home, is_home=True)
        self.away = _ScreenedMarket(self, state.pair.away, is_home=False)
        self._entry_bps = config.strategy.entry_bps
        self._floor_bps = config.limits.edge_bps_min
        self._level_bps = 0.0
        self._bounds = self._bounds_at(0.0)

    def is_out_of_reach(self, home: BookTop, away: BookTop, fx: BookTop) -> bool:
        """Whether no entry can be made at these tops."""
        state = self.state
        if state.level_bps != self._level_bps:
            self._level_bps = state.level_bps
            self._bounds = self._bounds_at(state.level_bps)
        buy_home_bps, buy_away_bps = self._bounds
        return (
            top_edge_bps(home.best_ask, away.best_bid, state.buy_home, fx.best_bid) < buy_home_bps
            and top_edge_bps(away.best_ask, home.best_bid, state.buy_away, fx.best_ask) < buy_away_bps
        )

    def _bounds_at(self, level_bps: float) -> tuple[float, float]:
        return (
            least_edge_bps(self._entry_bps, -level_bps, self._floor_bps) - _MARGIN_BPS,
            least_edge_bps(self._entry_bps, level_bps, self._floor_bps) - _MARGIN_BPS,
        )


class _ScreenedMarket:
    """One market of a pair: its newest top, skipped or not, and whether the engine has yet to see it."""

    def __init__(self, pair: _ScreenedPair, leg: Leg, *, is_home: bool) -> None:
        self.pair = pair
        self.slot = leg.slot
        self.is_home = is_home
        self.glance = get_venue(leg.market.venue).top_of_book
        self.top: BookTop | None = None
        """None where a frame must not be skipped."""
        self.is_pending = False


class Screen:
    """Screens all lanes of a system. ``settle`` before anything but a frame changes a slot, and ``refresh`` after."""

    def __init__(self, engine: ArbitrageEngine, feed: ShardFeed, books: TapeBooks, config: Config) -> None:
        self._engine = engine
        self._feed = feed
        self.books = books
        self._quality = quality_of(config.data_quality)
        self._pairs = [_ScreenedPair(state, config) for state in engine.pairs.values()]
        self.markets: dict[int, _ScreenedMarket] = {
            market.slot: market for pair in self._pairs for market in (pair.home, pair.away)
        }
        self.screened = 0
        """Frames that were skipped."""

    def lane(self, fanout: VenueFanout, lane: Lane) -> "ScreenedLane":
        """A way in for the frames of ``lane``, which skips what can be skipped."""
        return ScreenedLane(self, fanout, lane)

    def settle(self) -> None:
        """Have the engine see the newest frame of every market."""
        for pair in self._pairs:
            self.settle_pair(pair)

    def refresh(self) -> None:
        """Go by what the engine sees of every market now."""
        for market in self.markets.values():
            self.follow(market)

    def skips(self, market: _ScreenedMarket, top: BookTop) -> bool:
        """Whether a frame with this top is to be skipped; it is then the market's newest. Sizes are not used."""
        pair = market.pair
        state, other = pair.state, pair.away if market.is_home else pair.home
        fx = self._engine.fx.top
        if (
            state.held
            or state.busy
            or not state.is_funded
            or state.followed is not None
            or other.top is None
            or fx is None
            or market.top is None
        ):
            return False
        home, away = (top, other.top) if market.is_home else (other.top, top)
        if has_jumped(market.top, top, self._quality) or not pair.is_out_of_reach(home, away, fx):
            return False
        market.top = top
        market.is_pending = True
        return True

    def settle_pair(self, pair: _ScreenedPair) -> None:
        """Have the engine see the newest frames of one pair."""
        for market in (pair.home, pair.away):
            if not market.is_pending:
                continue
            market.is_pending = False
            view = self._feed.read(market.slot)
            assert view is not None, market.slot
            if market.is_home:
                pair.state.home = view
            else:
                pair.state.away = view

    def follow(self, market: _ScreenedMarket) -> None:
        """Go by what the engine sees of one market now."""
        state = market.pair.state
        view = state.home if market.is_home else state.away
        market.is_pending = False
        is_clear = view.live and not view.bad and not view.jumped_ns and view.settled is view.top
        market.top = view.top if is_clear else None


class ScreenedLane:
    """A lane whose frames go through the screen. Calling it takes in a frame."""

    def __init__(self, screen: Screen, fanout: VenueFanout, lane: Lane) -> None:
        self._screen = screen
        self._lane = lane
        self._route = fanout.venue.route
        self._targets, self._down, self._books = fanout.targets, fanout.down, screen.books
        self._by_symbol = {
            symbol: market
            for symbol in fanout.symbols
            if (market := screen.markets.get(fanout.slot_of(symbol))) is not None
        }

    def __call__(self, frame: bytes, received_ns: int) -> None:
        """Take in a frame, skipped or not."""
        symbol = self._route(frame)
        market = self._by_symbol.get(symbol) if symbol is not None else None
        if symbol is None or market is None:
            self._lane(frame, received_ns)
            return
        try:
            top = market.glance(frame, received_ns) if market.top is not None else None
        except FrameError:
            top = None
        if top is None or not self._skip(symbol, market, frame, top):
            self._screen.settle_pair(market.pair)
            self._lane(frame, received_ns)
            self._screen.follow(market)

    def skip(self, frame: bytes, received_ns: int, glance: Glance) -> bool:
        """Skip a frame of which ``glance`` is known, if it can be skipped; whether it was."""
        symbol, bid, ask = glance
        market = self._by_symbol.get(symbol)
        # Comparisons with prices that are NaN are false, so that such a frame counts as a jump.
        return market is not None and self._skip(
            symbol, market, frame, BookTop(bid, nan, ask, nan, received_ns)
        )

    def _skip(self, symbol: str, market: _ScreenedMarket, frame: bytes, top: BookTop) -> bool:
        slot, books = market.slot, self._books
        if (
            market.top is None
            or symbol not in self._targets
            or slot in self._down
            or len(frame) > books.slot_bytes
            or not self._screen.skips(market, top)
        ):
            return False
        self._lane.frames += 1
        books.frames[slot] = frame
        books.received_ns[slot] = top.received_ns
        books.sequences[slot] += 2
        self._screen.screened += 1
        return True
