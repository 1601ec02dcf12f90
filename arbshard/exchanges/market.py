"""Holds one market of one simulated venue: its book, its rules, and its trades with their history.

``world`` advances it; the venues' frames and REST answers read it.
"""

import random
from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

from typing_extensions import override

from arbshard.exchanges.book import GeneratedBook, PrintUnits, Shape, SimBook
from arbshard.exchanges.ladder import Ladder
from arbshard.exchanges.trades import TradeHistory

_TRADES_PER_S = 1.5

WalletState = Literal["working", "paused", "deposit_only", "withdraw_only"]
MarketState = Literal["trading", "cancel_only", "break", "halt", "delisted"]
"""States of a market. Orders are taken only in ``trading``; the book moves in ``trading`` and ``cancel_only``."""


class RuleFactors(NamedTuple):
    """Says by which factors the rules of a market are coarser than usual."""

    tick: int = 1
    """Factor on ticks: 1, 2, 5 or 10, because no other divides the bands of Upbit's ticks."""
    lot: int = 1
    """Factor on lots; Binance only, because Upbit has no lots."""
    minimum: int = 1
    """Factor on the smallest value of an order."""


class Print(NamedTuple):
    """Describes a trade between other participants, as a venue reports it."""

    number: int
    price: int
    """Price in units of 1e-8."""
    size: int
    """Size in units of 1e-8."""
    taker_buys: bool


class SimListing(NamedTuple):
    """Describes a market as its venue lists it."""

    symbol: str
    base: str
    quote: str
    english_name: str
    korean_name: str
    tick: int
    """Tick in units of 1e-8, where it is the same at every price."""
    lot: int
    """Step of quantities in units of 1e-8."""
    ticker_at_home: str = ""
    """The ticker of the same coin at Upbit; empty where it is ``base``."""
    notional_min: int = 0
    """Smallest value of an order, in units of 1e-8 of the quote; 0 for the venue's usual one."""
    quantity_max: int = 0
    """Largest quantity of an order, in units of 1e-8; 0 for the venue's usual one."""

    @property
    def coin(self) -> str:
        """Return the name of the coin that is the same for both venues."""
        return self.ticker_at_home or self.base


class SimMarket(ABC):
    """Holds a book, its rules and its trades. Prices are in units of 1e-8 unless stated otherwise."""

    def __init__(self, listing: SimListing, book: SimBook, last_print: Print, previous_close: int) -> None:
        self.listing = listing
        self.symbol = listing.symbol
        self.book = book
        self.steps = 0
        self.step_weight = 1.0
        """As how many of the steps that its feed expects the last step counts: 1 where steps come regularly."""
        self.moved = False
        """Whether the last step changed the book."""
        self.state: MarketState = "trading"
        self.usual_state: MarketState = "trading"
        """The state while no fault changes it."""
        self.is_warned = False
        """Whether the venue warns of this market in its listing; orders are taken all the same."""
        self.caution = ""
        """The caution that the venue's listing shows; empty for none."""
        self.wallet: WalletState = "working"
        """Whether the coin can be deposited and withdrawn."""
        self.quiet_s = 0.0
        """Shortest time between two moves of the book, unless a customer's order has changed it, in seconds; 0 for
        none.
        """
        self.late_ms = 0
        """How long frames are held back before they are sent, in milliseconds."""
        self.lag_ms = 0
        """How much older than the time of sending the venue's time in a frame is, in milliseconds."""
        self.wrong_bps = 0.0
        """The next step also sends a valid frame with prices that are wrong by so much, in basis points;
        0 for none.
        """
        self.factors = RuleFactors()
        self.prints: tuple[Print, ...] = ()
        """Trades of the last step."""
        self.last_print = last_print
        """The last trade. The one before the first step is public too."""
        self.previous_close = previous_close
        """Price at the end of the day before the exchange was started."""
        self.history = TradeHistory()

    @property
    def best_bid(self) -> int:
        """Return the highest bid."""
        return self.book.ladder.price(-self.book.bids.keys[0])

    @property
    def best_ask(self) -> int:
        """Return the lowest ask."""
        return self.book.ladder.price(self.book.asks.keys[0])

    @property
    def takes_orders(self) -> bool:
        """Return whether new orders are accepted."""
        return self.state == "trading"

    @property
    def is_open(self) -> bool:
        """Return whether the book moves."""
        return self.state in ("trading", "cancel_only")

    def change_usual_state(self, state: MarketState) -> None:
        """Put a state in force where no fault has put another one in force."""
        if self.state == self.usual_state:
            self.state = state
        self.usual_state = state

    @property
    def lot(self) -> int:
        """Return the lot in force, in units of 1e-8."""
        return self.listing.lot * self.factors.lot

    @abstractmethod
    def tick_at(self, price: int) -> int:
        """Return the tick in force at ``price``; both in units of 1e-8."""

    @abstractmethod
    def change_rules(self, factors: RuleFactors) -> None:
        """Put other rules in force."""

    @abstractmethod
    def show_wrong(self) -> None:
        """Lay the book ``wrong_bps`` off its price, for one frame."""

    @abstractmethod
    def show_right(self) -> None:
        """Lay the book around its own price again, after ``show_wrong``."""

    def open(self, now_ms: int) -> None:
        """Begin the history with the trade before the first step."""
        self._add(self.last_print, now_ms)

    def record(self, now_ms: int) -> None:
        """Add the trades of the last step to the history."""
        for one in self.prints:
            self._add(one, now_ms)

    def _add(self, one: Print, now_ms: int) -> None:
        self.history.add(one.number, one.price, one.size, now_ms, taker_buys=one.taker_buys)


class GeneratedMarket(SimMarket):
    """Generates a market whose book and trades are drawn at random around a price that moves."""

    def __init__(
        self,
        listing: SimListing,
        ladder: Ladder,
        shape: Shape,
        text: PrintUnits,
        price: float,
        rng: random.Random,
    ) -> None:
        """Begin at ``price`` (in quote); ``text`` prints amounts as the venue does, ``rng`` is used by this market
        alone.
        """
        self.book: GeneratedBook
        book = GeneratedBook(ladder, shape, text, price, rng)
        number, share = rng.randrange(10**9, 10**10), rng.randrange(200, 2_000)
        size = max(book.bids.sizes[0] * share // 2_000 // shape.lot, 1) * shape.lot
        best_bid, best_ask = ladder.price(-book.bids.keys[0]), ladder.price(book.asks.keys[0])
        super().__init__(listing, book, Print(number, best_bid, size, False), best_ask)
        self._rng = rng
        self._last_price = price
        self._waited_s = 0.0

    @override
    def tick_at(self, price: int) -> int:
        return self.book.ladder.tick_at(price) * self.factors.tick

    @override
    def change_rules(self, factors: RuleFactors) -> None:
        if factors != self.factors:
            self.factors = factors
            self.book.change_rules(factors.tick, self.lot)

    @override
    def show_wrong(self) -> None:
        wrong, self.wrong_bps = self._last_price * (1 + self.wrong_bps / 10_000), 0.0
        self.prints = ()
        self.book.step(wrong, orders=0)
        self.book.number_changes()

    @override
    def show_right(self) -> None:
        self.book.step(self._last_price, orders=0)
        self.book.number_changes()

    def advance(self, price: float, dt_s: float) -> None:
        """Step the book to ``price`` (in quote) after ``dt_s``, and perhaps print a trade in the direction of the
        move.

        The book of a market that is closed or quiet stays as it is, and ``moved`` is false.
        """
        book = self.book
        self._waited_s += dt_s
        is_eaten = bool(book.bids.eaten or book.asks.eaten)
        self.moved = self.is_open and (is_eaten or self._waited_s >= self.quiet_s)
        if not self.moved:
            return
        self._waited_s = 0.0
        book.step(price)
        self.steps += 1
        self.prints = ()
        if self._rng.random() < _TRADES_PER_S * dt_s:
            self._trade(buys=self._rng.random() < (0.7 if price > self._last_price else 0.3))
        self._last_price = price
        book.number_changes()

    def _trade(self, *, buys: bool) -> None:
        price = self.best_ask if buys else self.best_bid
        side = self.book.asks if buys else self.book.bids
        size = self.book.consume(side, 0.05 + 0.45 * self._rng.random())
        if not size:
            return
        self.last_print = Print(self.last_print.number + 1, price, size, buys)
        self.prints = (self.last_print,)
