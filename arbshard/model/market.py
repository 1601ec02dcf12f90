"""Defines markets, pairs, and the trading rules of a market."""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.model.money import ceil_to, floor_to

Side = Literal["buy", "sell"]


def opposite(side: Side) -> Side:
    """Return the other side."""
    return "sell" if side == "buy" else "buy"


class Market(msgspec.Struct, frozen=True, order=True):
    """Is one instrument as its venue names it."""

    venue: str
    symbol: str
    base: str
    quote: str

    def __str__(self) -> str:
        return f"{self.venue}:{self.symbol}"


class TickBand(msgspec.Struct, frozen=True):
    """Is a range of prices: those at or above ``price_min`` move in steps of ``tick`` (quote units)."""

    price_min: Decimal
    tick: Decimal


class MarketRules(msgspec.Struct, frozen=True):
    """States what the venue accepts on one market, all in quote or base units of that market."""

    ticks: tuple[TickBand, ...]
    """Bands by falling ``price_min``; the last one starts at 0."""
    lot: Decimal
    """Smallest step of a quantity (base units)."""
    quantity_min: Decimal
    """Smallest quantity of an order (base units)."""
    notional_min: Decimal
    """Smallest price x quantity of an order (quote units)."""
    notional_max: Decimal
    """Largest price x quantity of an order (quote units)."""
    quantity_max: Decimal = Decimal(10) ** 18
    """Largest quantity of an order (base units)."""

    def tick_at(self, price: Decimal) -> Decimal:
        """Return the tick of the band that ``price`` is in."""
        for band in self.ticks:
            if price >= band.price_min:
                return band.tick
        return self.ticks[-1].tick

    def round_price(self, price: Decimal, side: Side) -> Decimal:
        """Round a limit price to the tick, never worse for us: down when buying, up when selling."""
        tick = self.tick_at(price)
        return floor_to(price, tick) if side == "buy" else ceil_to(price, tick)

    def round_quantity(self, quantity: Decimal) -> Decimal:
        """Round a quantity down to the lot, and to the largest quantity of one order."""
        return floor_to(min(quantity, self.quantity_max), self.lot)

    def allows(self, price: Decimal, quantity: Decimal, side: Side) -> bool:
        """Return whether an order meets all of these rules: tick, lot, minimum and maximum."""
        is_on_grid = self.round_price(price, side) == price and self.round_quantity(quantity) == quantity
        return is_on_grid and self.accepts(price, quantity)

    def accepts(self, price: Decimal, quantity: Decimal) -> bool:
        """Return whether an order of ``quantity`` at ``price`` meets the venue's minimum and maximum."""
        notional = price * quantity
        is_between = quantity > 0 and self.quantity_min <= quantity <= self.quantity_max
        return is_between and self.notional_min <= notional <= self.notional_max

    def is_too_small(self, price: Decimal, quantity: Decimal) -> bool:
        """Return whether an order of ``quantity`` at ``price`` is below the venue's minimum."""
        return quantity <= 0 or quantity < self.quantity_min or price * quantity < self.notional_min


class FeeSchedule(msgspec.Struct, frozen=True):
    """States a venue's taker fees in basis points of the notional, and the coin in which a buyer's fee is paid."""

    buy_bps: Decimal
    sell_bps: Decimal
    buy_fee_in_base: bool
    """Whether a buyer pays in the coin received; a seller always pays in the quote."""


class Leg(msgspec.Struct, frozen=True):
    """Is a market of a pair with all that is needed to trade it."""

    market: Market
    rules: MarketRules
    fees: FeeSchedule
    slot: int
    """Number of the market's slot in the shared-memory feed."""


class Pair(msgspec.Struct, frozen=True):
    """Is one base on two venues.

    ``home`` is quoted in the reporting currency (KRW), ``away`` in the other quote (USDT). FX is the price of one
    away quote in home quote.
    """

    base: str
    home: Leg
    away: Leg

    def leg(self, venue: str) -> Leg:
        """Return the leg on ``venue``. Raises ``KeyError`` for a venue the pair does not trade on."""
        if venue == self.home.market.venue:
            return self.home
        if venue == self.away.market.venue:
            return self.away
        raise KeyError(venue)

    def answers_to(self, name: str) -> bool:
        """Return whether ``name`` (base or either market, any case), as typed by a person, means this pair."""
        return name.upper() in (self.base, self.home.market.symbol, self.away.market.symbol)


Direction = Literal["buy_home", "buy_away"]
"""``buy_home``: buy on home, sell on away. ``buy_away``: buy on away, sell on home."""


def reverse(direction: Direction) -> Direction:
    """Return the direction that undoes ``direction``."""
    return "buy_away" if direction == "buy_home" else "buy_home"
