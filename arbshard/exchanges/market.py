"""One market of one simulated venue: its book, the trades printed on it, and the day's figures.

``world`` advances it; the venues' frames and REST answers read it.
"""

import random
from typing import NamedTuple

from arbshard.exchanges.book import Shape, SimBook, Text
from arbshard.exchanges.ladder import Ladder
from arbshard.exchanges.units import UNIT

_TRADES_PER_S = 1.5


class Print(NamedTuple):
    """A trade between others, as a venue reports it."""

    number: int
    price: int
    """Units of 1e-8."""
    size: int
    """Units of 1e-8."""
    taker_buys: bool


class SimListing(NamedTuple):
    """What a venue says of a market."""

    symbol: str
    base: str
    quote: str
    english_name: str
    korean_name: str
    tick: int
    """Where the tick is the same at every price; units of 1e-8."""
    lot: int
    """Units of 1e-8."""


class SimMarket:
    """A book that moves, and what happened on it. Prices in units of 1e-8 unless said otherwise."""

    def __init__(
        self, listing: SimListing, ladder: Ladder, shape: Shape, text: Text, price: float, rng: random.Random
    ) -> None:
        """``text`` prints amounts the venue's way; ``price`` in quote; ``rng`` is the market's own."""
        self.listing = listing
        self.symbol = listing.symbol
        self.book = SimBook(ladder, shape, text, price, rng)
        self._rng = rng
        self._last_price = price
        self.steps = 0
        self.prints: tuple[Print, ...] = ()
        """Of the last step."""
        bid, ask = self.best_bid, self.best_ask
        self.last_print = Print(rng.randrange(10**9, 10**10), bid, self.book.bids.sizes[0], False)
        self.previous_close = ask
        self.open = self.high = self.low = bid
        self.volume = rng.randrange(200, 2_000) * self.book.bids.sizes[0]
        """Traded since midnight, units of 1e-8 of the base."""
        self.turnover = self.volume // UNIT * bid
        """Traded since midnight, units of 1e-8 of the quote."""

    @property
    def best_bid(self) -> int:
        """Highest bid."""
        return self.book.ladder.price(-self.book.bids.keys[0])

    @property
    def best_ask(self) -> int:
        """Lowest ask."""
        return self.book.ladder.price(self.book.asks.keys[0])

    def advance(self, price: float, dt_s: float) -> None:
        """Step the book to ``price`` (quote) after ``dt_s``, and maybe print a trade in the move's direction."""
        book = self.book
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
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.volume += size
        self.turnover += size * price // UNIT
