"""Plays a recording as a world: books, trades and losses in the order in which they were received. It is pure.

``RecordedWorld`` is a ``world.MarketWorld``, so sessions, REST, accounts, matching and limits work on it as they do
on ``SimWorld``. It takes its events from an iterator that reads the recording, one at a time.

A level of which customers have taken a part, or all, stays so until the recorded book has another size at that
price, or until ``REFILL_NS`` of the recording have passed. When all recorded levels of a side are taken, one more
level is shown a tick behind the last one, with the size of the last one.

Trades are those of the recording. For a venue without recorded trades they are inferred from the books: when a best
price is gone, a trade of its whole size at that price is printed, at most one per market and second.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from typing_extensions import override

from arbshard.exchanges.book import PrintUnits, SimBook, SimSide
from arbshard.exchanges.ladder import Ladder
from arbshard.exchanges.market import MarketState, Print, RuleFactors, SimListing, SimMarket
from arbshard.exchanges.session import SECOND_NS
from arbshard.exchanges.units import fixed8, plain
from arbshard.exchanges.world import FX_SYMBOL, Place

REFILL_NS = 10 * SECOND_NS
"""A level that was taken is whole again after this time, if the recording shows no change there earlier."""
_LATE_NS = SECOND_NS
"""When the next event is later than this, the recording is played from now on, at its own pace."""
_FIRST_TRADE = 1_000_000_000
"""The number of a market's first trade: numbers in the recording may have gaps, those of a venue have none."""
_EVERY_UNIT = Ladder([(0, 1)])
"""A ladder whose rungs are prices in units: recorded prices may be between the ticks of today."""

RecordedLevels = Sequence[tuple[int, int]]
"""(price, size) in units of 1e-8, best first."""
Ticks = tuple[tuple[int, int], ...]
"""(price from, tick) in units of 1e-8, rising; the first begins at 0."""


class RecordedBookEvent(NamedTuple):
    """Holds the whole book of a market, as far as it was received."""

    at_ns: int
    """When it was received, by the clock of the recording."""
    venue: str
    symbol: str
    bids: RecordedLevels
    asks: RecordedLevels
    lag_ms: int = 0
    """How much older the venue's own time was, in milliseconds; 0 where the venue states none."""


class RecordedTrade(NamedTuple):
    """Describes a public trade. Price and size are in units of 1e-8."""

    at_ns: int
    venue: str
    symbol: str
    price: int
    size: int
    taker_buys: bool


class RecordedLoss(NamedTuple):
    """Reports that something was lost: a connection, or changes of books."""

    at_ns: int
    venue: str
    symbols: frozenset[str]
    """The markets concerned."""
    is_connection: bool
    why: str


class RecordedState(NamedTuple):
    """Puts a market into another state: it is listed, not listed any more, or takes no orders."""

    at_ns: int
    venue: str
    symbol: str
    state: MarketState


RecordedEvent = RecordedBookEvent | RecordedTrade | RecordedLoss | RecordedState


class RecordedListing(NamedTuple):
    """Describes a market that was recorded."""

    venue: str
    listing: SimListing
    ticks: Ticks


class ReplayPace(NamedTuple):
    """Says how a recording is played."""

    speed: float = 1.0
    loops: bool = False
    """Whether it begins again after its end."""
    hole_ns: int = 60 * SECOND_NS
    """A longer time in which nothing was recorded is shortened to this."""


class _Taken(NamedTuple):
    """Records what customers have taken of a level."""

    size: int
    recorded: int
    """The recorded size at that time."""
    since_ns: int


class RecordedBook(SimBook):
    """Keeps a book as it was recorded, less what customers have taken."""

    def __init__(self, text: PrintUnits, tick_at: Callable[[int], int], first: RecordedBookEvent) -> None:
        """Show ``first``; ``tick_at`` returns the tick at a price, both in units."""
        super().__init__(_EVERY_UNIT, text)
        self._tick_at = tick_at
        self._shown_ns = first.at_ns
        self._recorded: dict[int, dict[int, int]] = {1: {}, -1: {}}
        """Recorded sizes by key, by the sign of the side."""
        self._taken: dict[int, dict[int, _Taken]] = {1: {}, -1: {}}
        self.show(first.bids, first.asks, first.at_ns)
        self.update_id = 1

    def show(self, bids: RecordedLevels, asks: RecordedLevels, at_ns: int) -> None:
        """Show these levels; neither side is empty."""
        self.begin_step()
        self._shown_ns = at_ns
        self._show_side(self.bids, bids)
        self._show_side(self.asks, asks)

    @override
    def eat(self, side: SimSide, sizes: Sequence[int]) -> None:
        taken, recorded = self._taken[side.sign], self._recorded[side.sign]
        for key, size in zip(side.keys, sizes, strict=False):
            before = taken[key].size if key in taken else 0
            taken[key] = _Taken(before + size, recorded.get(key, 0), self._shown_ns)
        super().eat(side, sizes)

    @override
    def add_behind(self, side: SimSide) -> None:
        key, size = self._behind(side.sign, side.keys[-1]), side.sizes[-1]
        side.insert(len(side.keys), [key], [size])

    def _behind(self, sign: int, key: int) -> int:
        return min(key + self._tick_at(key * sign), -1) if sign < 0 else key + self._tick_at(key)

    def _show_side(self, side: SimSide, levels: RecordedLevels) -> None:
        sign = side.sign
        recorded = self._recorded[sign] = {price * sign: size for price, size in levels}
        taken = self._taken[sign]
        if not taken:
            side.replace(list(recorded), list(recorded.values()))
            return
        for key, one in tuple(taken.items()):
            if recorded.get(key, 0) != one.recorded or self._shown_ns - one.since_ns >= REFILL_NS:
                del taken[key]
        left = {
            key: size - taken[key].size if key in taken else size
            for key, size in recorded.items()
            if key not in taken or size > taken[key].size
        }
        if not left:
            last = next(reversed(recorded))
            left = {self._behind(sign, last): recorded[last]}
        side.replace(list(left), list(left.values()))


class RecordedMarket(SimMarket):
    """Plays a market whose book and trades are those of a recording."""

    def __init__(self, recorded: RecordedListing, first: RecordedBookEvent) -> None:
        """Begin with ``first``, the market's first book."""
        self._ticks = recorded.ticks
        self._tick_from = [price for price, _ in recorded.ticks]
        self._shown = first
        """The newest recorded book."""
        self.shift_bps = 0.0
        """How far all prices are shown off the recorded ones, in basis points."""
        self._step_ns = self._printed_ns = first.at_ns
        text = plain if recorded.venue == "upbit" else fixed8
        self.book: RecordedBook
        super().__init__(
            recorded.listing,
            RecordedBook(text, self._usual_tick_at, first),
            Print(_FIRST_TRADE, first.bids[0][0], recorded.listing.lot, False),
            first.bids[0][0],
        )

    @override
    def tick_at(self, price: int) -> int:
        return self._usual_tick_at(price) * self.factors.tick

    @override
    def change_rules(self, factors: RuleFactors) -> None:
        self.factors = factors  # the recorded book stays as it is

    @override
    def show_wrong(self) -> None:
        shift, self.shift_bps, self.wrong_bps = self.shift_bps, self.wrong_bps, 0.0
        self.prints = ()
        self._show()
        self.shift_bps = shift

    @override
    def show_right(self) -> None:
        self._show()

    def play_book(self, event: RecordedBookEvent, *, makes_trades: bool) -> None:
        """Show the next recorded book; ``makes_trades`` infers trades from it where the venue's were not recorded."""
        before, self._shown = self._shown, event
        self.lag_ms = event.lag_ms
        is_eaten = bool(self.book.bids.eaten or self.book.asks.eaten)
        waited_ns = self._wait_since_step(event.at_ns)
        self.moved = self.is_open and (is_eaten or waited_ns >= self.quiet_s * SECOND_NS)
        if not self.moved:
            return
        self._begin_step(event.at_ns)
        if makes_trades:
            self._print_what_is_gone(before)
        self._show()

    def play_trade(self, event: RecordedTrade) -> None:
        """Print a recorded trade; the book stays as it is."""
        self.moved = self.is_open
        if self.moved:
            self._begin_step(event.at_ns)
            self._print(event.price, event.size, taker_buys=event.taker_buys)
            self.book.begin_step()
            self.book.number_changes()

    def _wait_since_step(self, at_ns: int) -> int:
        """Return how long before ``at_ns`` the last step was: 0 when the recording has begun again since."""
        if at_ns < self._step_ns:
            self._step_ns = self._printed_ns = at_ns
        return at_ns - self._step_ns

    def _begin_step(self, at_ns: int) -> None:
        self.steps += 1
        self.step_weight = min(self._wait_since_step(at_ns) / SECOND_NS, 1.0)
        self._step_ns = at_ns
        self.prints = ()

    def _print_what_is_gone(self, before: RecordedBookEvent) -> None:
        now = self._shown
        if now.at_ns - self._printed_ns < SECOND_NS:
            return
        if now.asks[0][0] > before.asks[0][0]:
            self._print(*before.asks[0], taker_buys=True)
        elif now.bids[0][0] < before.bids[0][0]:
            self._print(*before.bids[0], taker_buys=False)

    def _print(self, price: int, size: int, *, taker_buys: bool) -> None:
        self._printed_ns = self._step_ns
        self.last_print = Print(self.last_print.number + 1, price, size, taker_buys)
        self.prints = (self.last_print,)

    def _show(self) -> None:
        shown = self._shown
        bids, asks = shown.bids, shown.asks
        if self.shift_bps:
            bids, asks = self._shifted(bids), self._shifted(asks)
        self.book.show(bids, asks, shown.at_ns)
        self.book.number_changes()

    def _shifted(self, levels: RecordedLevels) -> RecordedLevels:
        moved: dict[int, int] = {}
        for price, size in levels:
            wanted = price * (1 + self.shift_bps / 10_000)
            tick = self._usual_tick_at(int(wanted))
            moved.setdefault(max(round(wanted / tick), 1) * tick, size)
        return tuple(moved.items())

    def _usual_tick_at(self, price: int) -> int:
        return self._ticks[max(bisect_right(self._tick_from, price) - 1, 0)][1]


def _ignore(_loss: RecordedLoss) -> None:
    """Do nothing about a loss."""


def _accept(_late_ns: int) -> None:
    """Do nothing about a delay."""


class RecordedWorld:
    """Holds the markets of a recording, and is its own schedule."""

    def __init__(
        self,
        listings: Sequence[RecordedListing],
        first: Mapping[tuple[str, str], RecordedBookEvent],
        events: Callable[[], Iterator[RecordedEvent]],
        pace: ReplayPace = ReplayPace(),  # noqa: B008 - it is immutable
    ) -> None:
        """Prepare to play ``events``, a function that begins the recording anew.

        ``first`` holds the first book of each market, by venue and symbol. States at the beginning of ``events`` are
        in force at once.
        """
        markets = [(one.venue, RecordedMarket(one, first[one.venue, one.listing.symbol])) for one in listings]
        self.upbit = {market.symbol: market for venue, market in markets if venue == "upbit"}
        self.binance = {market.symbol: market for venue, market in markets if venue == "binance"}
        self.places = tuple(Place(venue, market) for venue, market in markets)
        self._markets = [market for _, market in markets]
        self._place_of = {(venue, market.symbol): place for place, (venue, market) in enumerate(self.places)}
        self.on_loss: Callable[[RecordedLoss], None] = _ignore
        """Is called with each loss when it is due."""
        self.late_ns = 0
        """How much later than at the asked speed the recording is played by now."""
        self.on_late: Callable[[int], None] = _accept
        """Is called with ``late_ns`` each time it has grown."""
        self.with_trades: set[str] = set()
        """The venues whose trades were recorded."""
        self.played = 0
        """Number of events that were played."""
        self.unknown = 0
        """Number of events of markets that are not listed."""
        self.rounds = 0
        """How often the recording was played to its end."""
        self._events = events
        self._pace = pace
        self._playing: Iterator[RecordedEvent]
        self._next: RecordedEvent | None
        """The event that is due next."""
        self._begin()
        self._due: RecordedBookEvent | RecordedTrade | None = None
        """The event that the next ``step`` plays."""
        self._now_ns = 0
        self._is_playing = False
        self._from_ns = self._next.at_ns if self._next is not None else 0
        """The time of the recording that is due at ``_start_ns``."""
        self._start_ns = 0

    @property
    def is_over(self) -> bool:
        """Return whether the recording has been played to its end."""
        return self._next is None

    def open(self, now_ms: int) -> None:
        """Begin the trades of every market."""
        for market in self._markets:
            market.open(now_ms)

    def markets(self, venue: str) -> dict[str, RecordedMarket]:
        """Return the markets of a venue by symbol."""
        return self.upbit if venue == "upbit" else self.binance

    def shift_fx(self, bps: float) -> None:
        """Show the FX market so many basis points off."""
        if FX_SYMBOL in self.upbit:
            self.upbit[FX_SYMBOL].shift_bps = bps

    def hold_gap(self, venue: str, base: str, bps: float | None) -> None:
        """Leave prices as they were recorded."""

    def schedule(self, now_ns: int) -> "RecordedWorld":
        """Play from now on; return the schedule, which is the world itself."""
        self._now_ns = self._start_ns = now_ns
        self._is_playing = True
        return self

    def time_at(self, now_ns: int) -> int:
        """Return the time of the recording at ``now_ns``."""
        if not self._is_playing:
            return self._from_ns
        return self._from_ns + int((now_ns - self._start_ns) * self._pace.speed)

    @property
    def due_ns(self) -> int:
        """Return when the next event is due, in monotonic nanoseconds; a second from now when there is none."""
        if self._next is None:
            return self._now_ns + SECOND_NS
        return self._start_ns + int((self._next.at_ns - self._from_ns) / self._pace.speed)

    def next_due(self, now_ns: int) -> tuple[int, bool] | None:
        """Return the place of the next event that is due; None when none is. All are sent, however late."""
        self._now_ns = now_ns
        while self._next is not None and self.due_ns <= now_ns:
            event = self._next
            self.played += 1
            self._read_next()
            if isinstance(event, RecordedLoss):
                self.on_loss(event)
                continue
            if isinstance(event, RecordedState):
                self._put_in_force(event)
                continue
            place = self._place_of.get((event.venue, event.symbol))
            if place is None:
                self.unknown += 1
                continue
            self._due = event
            return place, True
        return None

    def jumped(self, now_ns: int) -> bool:
        """Continue from ``now_ns`` if the process was suspended, or cannot keep up with the speed; return whether it
        did.
        """
        late_ns = now_ns - self.due_ns
        if late_ns <= _LATE_NS:
            return False
        self._start_ns += late_ns
        self.late_ns += late_ns
        self.on_late(self.late_ns)
        return True

    def step(self, place: int) -> Place:
        """Play the event that ``next_due`` has named; return its place."""
        event, self._due = self._due, None
        assert event is not None, "nothing is due"
        if isinstance(event, RecordedTrade):
            self.with_trades.add(event.venue)
            self._markets[place].play_trade(event)
        else:
            self._markets[place].play_book(event, makes_trades=event.venue not in self.with_trades)
        return self.places[place]

    def _read_next(self) -> None:
        """Read the next event, shorten a hole before it, and begin again after the end if that is wanted."""
        played = self._next
        assert played is not None
        self._next = next(self._playing, None)
        if self._next is None:
            self.rounds += 1
            if self._pace.loops:
                self._begin_anew(played.at_ns)
            return
        hole_ns = self._next.at_ns - played.at_ns - self._pace.hole_ns
        if hole_ns > 0:
            self._from_ns += hole_ns

    def _begin_anew(self, ended_ns: int) -> None:
        self._start_ns += int((ended_ns - self._from_ns) / self._pace.speed)
        self._begin()
        if self._next is not None:
            self._from_ns = self._next.at_ns

    def _begin(self) -> None:
        """Read the first event, and put the states before it in force; all other markets trade."""
        for market in self._markets:
            market.change_usual_state("trading")
        self._playing = self._events()
        self._next = next(self._playing, None)
        while isinstance(self._next, RecordedState):
            self._put_in_force(self._next)
            self._next = next(self._playing, None)

    def _put_in_force(self, event: RecordedState) -> None:
        place = self._place_of.get((event.venue, event.symbol))
        if place is None:
            self.unknown += 1
        else:
            self._markets[place].change_usual_state(event.state)
