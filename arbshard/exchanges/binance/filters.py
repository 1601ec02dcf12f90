"""Defines a symbol's trading rules, checks orders against them, and formats them for ``exchangeInfo``.

The filters are the venue's, in its order; the errors have its texts. ``marketdata`` and ``neworder`` use it.
"""

from decimal import Decimal
from typing import NamedTuple

from arbshard.exchanges.binance.refusals import Json, filter_failure
from arbshard.exchanges.market import RuleFactors, SimListing
from arbshard.exchanges.units import UNIT, fixed8
from arbshard.model.money import ZERO

OPEN_ORDERS_MAX = 200
"""Largest number of open orders of an account, per symbol."""
_BAND_UP = Decimal(2)
_BAND_DOWN = Decimal("0.5")


class Rules(NamedTuple):
    """Holds what one symbol accepts. Prices are in quote, quantities in base."""

    tick: Decimal
    price_max: Decimal
    lot: Decimal
    quantity_max: Decimal
    market_quantity_max: Decimal
    notional_min: Decimal
    notional_max: Decimal

    def check_price(self, price: Decimal, reference: Decimal) -> None:
        """Raise ``BinanceRefusal`` for a limit price off the tick, out of bounds, or too far from ``reference``."""
        if not self.tick <= price <= self.price_max or price % self.tick != 0:
            raise filter_failure("PRICE_FILTER")
        if not reference * _BAND_DOWN <= price <= reference * _BAND_UP:
            raise filter_failure("PERCENT_PRICE_BY_SIDE")

    def check_quantity(self, quantity: Decimal, *, is_market: bool) -> None:
        """Raise ``BinanceRefusal`` for a quantity off the lot or out of bounds."""
        if not self.lot <= quantity <= self.quantity_max or quantity % self.lot != 0:
            raise filter_failure("LOT_SIZE")
        if is_market and quantity > self.market_quantity_max:
            raise filter_failure("MARKET_LOT_SIZE")

    def check_notional(self, notional: Decimal, *, is_market: bool) -> None:
        """Raise ``BinanceRefusal`` for an order worth too little, or (limit orders only) too much."""
        if notional < self.notional_min or (notional > self.notional_max and not is_market):
            raise filter_failure("NOTIONAL")

    @staticmethod
    def check_open_orders(open_orders: int) -> None:
        """Raise ``BinanceRefusal`` when one more open order would be one too many."""
        if open_orders >= OPEN_ORDERS_MAX:
            raise filter_failure("MAX_NUM_ORDERS")


def rules_of(listing: SimListing, factors: RuleFactors) -> Rules:
    """Return the rules of a market."""
    tick, lot = _decimal(listing.tick * factors.tick), _decimal(listing.lot * factors.lot)
    quantity_max = _decimal(listing.quantity_max) or lot * 900_000_000
    return Rules(
        tick=tick,
        price_max=tick * 100_000_000,
        lot=lot,
        quantity_max=quantity_max,
        market_quantity_max=quantity_max / 50,
        notional_min=(_decimal(listing.notional_min) or Decimal(5)) * factors.minimum,
        notional_max=Decimal(9_000_000),
    )


def _decimal(units: int) -> Decimal:
    return Decimal(units) / UNIT


def filters_json(rules: Rules) -> list[Json]:
    """Return the filters as ``exchangeInfo`` prints them, PRICE_FILTER first: some clients read
    ``filters[0].tickSize``.
    """
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": text8(rules.tick),
            "maxPrice": text8(rules.price_max),
            "tickSize": text8(rules.tick),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": text8(rules.lot),
            "maxQty": text8(rules.quantity_max),
            "stepSize": text8(rules.lot),
        },
        {"filterType": "ICEBERG_PARTS", "limit": 100},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": text8(ZERO),
            "maxQty": text8(rules.market_quantity_max),
            "stepSize": text8(ZERO),
        },
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": 10,
            "maxTrailingAboveDelta": 2000,
            "minTrailingBelowDelta": 10,
            "maxTrailingBelowDelta": 2000,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": str(_BAND_UP),
            "bidMultiplierDown": str(_BAND_DOWN),
            "askMultiplierUp": str(_BAND_UP),
            "askMultiplierDown": str(_BAND_DOWN),
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": text8(rules.notional_min),
            "applyMinToMarket": True,
            "maxNotional": text8(rules.notional_max),
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": OPEN_ORDERS_MAX},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
    ]


def text8(value: Decimal) -> str:
    """Return ``value`` with exactly 8 decimals, as the venue prints every amount. It must not have more."""
    units = value * UNIT
    whole = int(units)
    assert whole == units, value
    return fixed8(whole)
