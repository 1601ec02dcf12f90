"""Screens frames: those on which nothing can be decided go into their slots, and the worker is not run for them.

What is skipped is the worker's turn on one frame of a pair, and only if that turn could decide nothing and leaves
nothing behind that a later turn depends on.

**It decides nothing.** ``ArbitrageEngine.evaluate`` makes an exit only of a pair that holds a position, and an entry
only if the net edge of the two best prices in one direction reaches ``least_edge_bps(entry_bps, -level, floor)``
(``_entry``: no quantity nets more than its first unit). ``level`` and ``floor`` change only between frames, by what
risk reports. So a frame is skipped only if its pair holds nothing, has nothing under way, and both edges at the
prices after this frame are more than ``_MARGIN_BPS`` below that bound; the margin is far above the rounding errors of
these figures. Every other test in ``evaluate`` can only refuse. Refused entries are not followed in a backtest
(``ArbitrageEngine.follows``), with screening or without.

**It leaves nothing behind.** A turn leaves the market's view, with what is settled about its top (``View.compare``),
and counters. As long as no top jumps away from the one before, ``compare`` leaves the view as the frame alone makes
it: settled is its own top. So a frame is skipped only if the market's last view was in that state and this top is no
jump from the last one, skipped or not; and before a pair's next real turn the newest frame of each of its markets is
read as it would have been. A pair without funds is not skipped, as it is funded at the top that its worker sees.
Frames of the FX market are never skipped, and neither are frames of markets that are down, that two streams bring,
whose books are kept from changes, or that cannot be read. Slots, and the numbers of frames by which streams are
judged, are brought up to date with every frame, so everything that reads books on a timer (risk, the confirmation of
quiet books, the watch of lags) reads the same.

The market and the best prices of a frame are those that were parsed once for the tape (``tops``), where its row has
them, and are parsed here otherwise.

What differs is only what counts turns: ticks, refusals of data and latencies on the worker's page.
"""

from math import nan

from arbshard.backtest.blocks import Glance
from arbshard.backtest.slots import TapeBooks
from arbshard.config import Config
from arbshard.engine.edge import BPS, Terms, least_edge_bps
from arbshard.engine.engine import ArbitrageEngine, PairState
from arbshard.engine.quality import View, quality_of
from arbshard.errors import FrameError
from arbshard.model.book import BookTop
from arbshard.model.market import Leg
from arbshard.model.universe import Universe
from arbshard.venues.registry import get_venue
from arbshard.worker.feed import ShardFeed
from supervisor.feeds.fanout import Lane, VenueFanout

_MARGIN_BPS = 1e-6


class ScreenedPair:
    """Holds a pair, and the limits that its prices must reach for anything to happen."""

    def __init__(self, number: int, state: PairState, config: Config) -> None:
        self.number = number
        """Position of the pair among all pairs."""
        self.state = state
        self.home = ScreenedMarket(self, state.pair.home, is_home=True)
        self.away = ScreenedMarket(self, state.pair.away, is_home=False)
        self._entry_bps = config.strategy.entry_bps
        self._floor_bps = config.limits.edge_bps_min
        self._renew_limits()

    def is_out_of_reach(
        self, home_bid: float, home_ask: float, away_bid: float, away_ask: float, fx: BookTop
    ) -> bool:
        """Return whether no entry can be made at these prices."""
        limit_home, limit_away = self.limits()
        return (
            away_bid * fx.best_bid < home_ask * limit_home and home_bid < away_ask * fx.best_ask * limit_away
        )

    def limits(self) -> tuple[float, float]:
        """Return the limits below which the ratios of both prices must be for no entry to be possible.

        They follow from ``top_edge_bps(ask, bid, terms, fx) < bound``, with all constants on one side: the
        difference in rounding is far below the margin.
        """
        state = self.state
        if (
            state.level_bps != self._level_bps
            or state.buy_home is not self._buy_home
            or state.buy_away is not self._buy_away
        ):
            self._renew_limits()
        return self._limits

    def limits_between(self, least_bps: float, most_bps: float) -> tuple[float, float]:
        """Return limits below which both ratios must be for no entry to be possible at any level of the gap between
        these two (bps).
        """
        state = self.state
        return self._limit(-most_bps, state.buy_home), self._limit(least_bps, state.buy_away)

    def _renew_limits(self) -> None:
        state = self.state
        level_bps, self._buy_home, self._buy_away = state.level_bps, state.buy_home, state.buy_away
        self._level_bps = level_bps
        self._limits = self._limit(-level_bps, state.buy_home), self._limit(level_bps, state.buy_away)

    def _limit(self, against_bps: float, terms: Terms) -> float:
        bound_bps = least_edge_bps(self._entry_bps, against_bps, self._floor_bps) - _MARGIN_BPS
        return (1 + bound_bps / BPS) / (terms.base_kept * terms.proceeds_factor / terms.cost_factor)


class ScreenedMarket:
    """Represents one market of a pair: its newest prices, skipped or not, and whether the engine has yet to see
    them.
    """

    def __init__(self, pair: ScreenedPair, leg: Leg, *, is_home: bool) -> None:
        self.pair = pair
        self.slot = leg.slot
        self.venue, self.symbol = leg.market.venue, leg.market.symbol
        self.is_home = is_home
        self.glance = get_venue(leg.market.venue).top_of_book
        self.is_clear = False
        """Whether a frame may be skipped."""
        self.bid = self.ask = nan
        self.is_pending = False

    @property
    def view(self) -> View:
        """Return what the engine sees of the market."""
        return self.pair.state.home if self.is_home else self.pair.state.away

    @property
    def is_dead(self) -> bool:
        """Return whether there is no book, or its connection is lost: the pair is not traded until a frame comes."""
        return self.view.top is None or not self.view.live


class Screen:
    """Decides for all lanes of a system which frames are skipped.

    Call ``settle`` before anything but a frame changes a slot, and ``refresh`` after it. While other pairs are about
    to be traded, nothing is skipped: call ``suspend`` before they come and go, and ``renew`` when they have.
    """

    def __init__(
        self, engine: ArbitrageEngine, feed: ShardFeed, universe: Universe, books: TapeBooks, config: Config
    ) -> None:
        """Make a screen for the pairs of ``universe`` that the engine has. ``engine`` and ``feed`` are those of the
        worker.
        """
        self._engine = engine
        self._feed = feed
        self.books = books
        quality = quality_of(config.data_quality)
        self.jump_up, self.jump_down = quality.jump_up, quality.jump_down
        self._config = config
        self._fx = universe.fx.market
        self.fx_leg = universe.fx
        self.pairs: list[ScreenedPair] = []
        """The pairs that the engine has, in the order of the universe."""
        self.markets: dict[int, ScreenedMarket] = {}
        self._by_name: dict[str, dict[str, ScreenedMarket]] = {}
        """Markets by venue and symbol."""
        self.is_suspended = False
        """Whether nothing is skipped."""
        self.has_all_pairs = True
        """Whether the engine has all pairs of the universe."""
        self.screened = 0
        """Number of frames that were skipped."""
        self.renew(universe)

    def suspend(self) -> None:
        """Skip nothing from now on. The engine has seen the newest frame of every market (``settle``)."""
        self.is_suspended = True

    def renew(self, universe: Universe) -> None:
        """Skip frames of those pairs of ``universe`` that the engine has, and of no others, from now on."""
        known = self._engine.pairs
        states = [known[pair.base] for pair in universe.pairs if pair.base in known]
        self.has_all_pairs = len(states) == len(universe.pairs)
        self.pairs = [ScreenedPair(number, state, self._config) for number, state in enumerate(states)]
        self.markets = {market.slot: market for pair in self.pairs for market in (pair.home, pair.away)}
        for markets in self._by_name.values():
            markets.clear()
        for market in self.markets.values():
            self.markets_of(market.venue)[market.symbol] = market
        self.is_suspended = False
        self.refresh()

    def markets_of(self, venue: str) -> dict[str, ScreenedMarket]:
        """Return the markets of pairs on a venue by their symbols, as they are now and will be."""
        return self._by_name.setdefault(venue, {})

    def lane(self, fanout: VenueFanout, lane: Lane) -> "ScreenedLane":
        """Return a lane for the frames of ``lane`` that skips what can be skipped."""
        return ScreenedLane(self, fanout, lane)

    def settle(self) -> None:
        """Let the engine see the newest frame of every market."""
        for pair in self.pairs:
            self.settle_pair(pair)

    def refresh(self) -> None:
        """Use what the engine sees of every market from now on."""
        for market in self.markets.values():
            self.follow(market)

    @property
    def fx(self) -> BookTop | None:
        """Return the best prices of the FX market that the engine sees; None before the first."""
        return self._engine.fx.top

    def is_fx(self, venue: str, symbol: str) -> bool:
        """Return whether this is the FX market."""
        return symbol == self._fx.symbol and venue == self._fx.venue

    def market_of(self, venue: str, symbol: str) -> ScreenedMarket | None:
        """Return a market of a pair; None for any other."""
        return self.markets_of(venue).get(symbol)

    def is_idle(self, pair: ScreenedPair) -> bool:
        """Return whether nothing of the pair is held or under way, and its newest books are sound, though the engine
        may doubt a price that has jumped, and a market may be ``is_dead``.
        """
        state = pair.state
        if state.held or state.busy:
            return False
        is_funded = state.is_funded or state.home.top is None  # without a price it is funded later
        return is_funded and not (state.home.bad or state.away.bad)

    def is_screened(self, pair: ScreenedPair) -> bool:
        """Return whether frames of the pair may be skipped if their prices are out of reach."""
        state = pair.state
        return not (
            self.is_suspended
            or state.held
            or state.busy
            or not state.is_funded
            or self._engine.fx.top is None
            or not (pair.home.is_clear and pair.away.is_clear)
        )

    def jumps(self, market: ScreenedMarket, bid: float, ask: float) -> bool:
        """Return whether these prices are a jump from the market's newest ones, as ``has_jumped`` defines it.

        Comparisons with NaN are false, so a frame without prices counts as a jump.
        """
        up, down, last_bid, last_ask = self.jump_up, self.jump_down, market.bid, market.ask
        return not (last_bid * down <= bid <= last_bid * up and last_ask * down <= ask <= last_ask * up)

    def skips(self, market: ScreenedMarket, bid: float, ask: float) -> bool:
        """Return whether to skip a frame with these best prices; if so, they become the market's newest."""
        pair, fx = market.pair, self._engine.fx.top
        if fx is None or not self.is_screened(pair) or self.jumps(market, bid, ask):
            return False
        home, away = pair.home, pair.away
        if not (
            pair.is_out_of_reach(bid, ask, away.bid, away.ask, fx)
            if market.is_home
            else pair.is_out_of_reach(home.bid, home.ask, bid, ask, fx)
        ):
            return False
        market.bid, market.ask = bid, ask
        market.is_pending = True
        return True

    def settle_pair(self, pair: ScreenedPair) -> None:
        """Let the engine see the newest frames of one pair."""
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

    def follow(self, market: ScreenedMarket) -> None:
        """Use what the engine sees of one market from now on."""
        view = market.view
        market.is_pending = False
        top = view.top
        market.is_clear = (
            top is not None and view.live and not view.bad and not view.jumped_ns and view.settled is top
        )
        if top is not None:
            market.bid, market.ask = top.best_bid, top.best_ask


class ScreenedLane:
    """Applies the screen to the frames of a lane. Calling it processes a frame."""

    def __init__(self, screen: Screen, fanout: VenueFanout, lane: Lane) -> None:
        self._screen = screen
        self.lane = lane
        self.venue = fanout.venue.name
        self._route = fanout.venue.route
        self._targets, self._down, self._books = fanout.targets, fanout.down, screen.books
        self._by_symbol = screen.markets_of(fanout.venue.name)

    def __call__(self, frame: bytes, received_ns: int, glance: Glance | None = None) -> None:
        """Process a frame, skipped or not.

        Without a ``glance``, or with one that has no market, the market is found in the frame.
        """
        symbol, bid, ask = glance if glance is not None and glance[0] else self._glance(frame, received_ns)
        market = self._by_symbol.get(symbol)
        if market is None:
            self.lane(frame, received_ns)
            return
        slot, books = market.slot, self._books
        if self.is_open(market) and len(frame) <= books.slot_bytes and self._screen.skips(market, bid, ask):
            self.lane.frames += 1
            books.write(slot, frame, received_ns)
            self._screen.screened += 1
            return
        self._screen.settle_pair(market.pair)
        self.lane(frame, received_ns)
        self._screen.follow(market)

    def screened(self, symbol: str) -> "ScreenedLane | None":
        """Return the lane for frames of a market; None where they may not be skipped."""
        return self if symbol in self._by_symbol else None

    def takes(self, symbol: str, slot: int) -> bool:
        """Return whether the next frame of any market of the venue goes into its slot, and is compared with no other
        stream's.
        """
        return symbol in self._targets and slot not in self._down

    def is_open(self, market: ScreenedMarket) -> bool:
        """Return whether the next frame of a market goes into its slot and does nothing else."""
        return self.takes(market.symbol, market.slot)

    def _glance(self, frame: bytes, received_ns: int) -> Glance:
        symbol = self._route(frame) or ""
        market = self._by_symbol.get(symbol)
        if market is None or not market.is_clear:
            return symbol, nan, nan
        try:
            top = market.glance(frame, received_ns)
        except FrameError:  # the feed counts it when it reaches the frame
            return symbol, nan, nan
        return symbol, top.best_bid, top.best_ask
