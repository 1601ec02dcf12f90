"""Derives a market's rules from ccxt's ``precision`` and ``limits``, and reads a taker's fees. Pure."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from arbshard.model.market import MarketRules, TickBand
from arbshard.model.money import BPS, ZERO
from arbshard.venues.base.account import amount
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.rules import Rates, ReportedLimit, Rights, RulesReply, StatedDigits
from arbshard.venues.frame import reader
from arbshard.venues.unified import calls
from arbshard.venues.unified.limits import cost_of

_NO_LIMIT = Decimal(10) ** 18


class Precision(msgspec.Struct):
    """Holds step sizes. ``data.ccxt_client`` accepts only venues whose precision mode is TICK_SIZE."""

    price: Decimal | None = None
    amount: Decimal | None = None


class Range(msgspec.Struct):
    """Holds a smallest and a largest value, where the venue has them."""

    min: Decimal | None = None
    max: Decimal | None = None


class OrderSizeLimits(msgspec.Struct):
    """Bounds how large an order may be."""

    amount: Range = msgspec.field(default_factory=Range)
    cost: Range = msgspec.field(default_factory=Range)


class _Fees(msgspec.Struct):
    taker: Decimal


_fees = reader(msgspec.json.Decoder(_Fees, strict=False).decode)


def market_rules(precision: Precision, limits: OrderSizeLimits) -> MarketRules | None:
    """Return a market's rules; None without a usable tick or lot, because it then cannot be traded safely."""
    tick, lot = precision.price, precision.amount
    if not _is_step(tick) or not _is_step(lot):
        return None
    assert tick is not None
    assert lot is not None
    return MarketRules(
        ticks=(TickBand(ZERO, tick),),
        lot=lot,
        quantity_min=max(limits.amount.min or lot, lot),
        notional_min=limits.cost.min or ZERO,
        notional_max=limits.cost.max or _NO_LIMIT,
        quantity_max=limits.amount.max or _NO_LIMIT,
    )


def _is_step(value: Decimal | None) -> bool:
    return value is not None and value.is_finite() and value > ZERO


class UnifiedRules:
    """Implements ``AccountRules``. ccxt states neither limits in use nor what a key may do."""

    fee_coins: frozenset[str] = frozenset()
    stated_digits = StatedDigits(is_cut=True)

    def __init__(self, name: str) -> None:
        self._cost = cost_of(name)

    def rates_call(self, symbol: str) -> VenueRequest:
        """Ask for the fees on a market."""
        return VenueRequest("GET", calls.FEES, {"symbol": symbol}, self._cost)

    def rates_of(self, symbol: str, reply: RulesReply) -> Rates:
        """Read the taker's fee, which ccxt states once for both sides."""
        taker = amount(_fees(reply.body).taker, "taker") * BPS
        return Rates(symbol, taker, taker)

    def limits_call(self, symbol: str) -> VenueRequest:
        """Use the call for fees; no answer states the limits."""
        return self.rates_call(symbol)

    def limits_of(self, reply: RulesReply) -> tuple[ReportedLimit, ...]:
        """Return none, because no answer states them."""
        del reply
        return ()

    def rights_call(self) -> VenueRequest | None:
        """Return None: there is no unified call."""
        return None

    def rights_of(self, key_reply: RulesReply | None, account: RulesReply) -> Rights:
        """Return no rights, because none are reported."""
        del key_reply, account
        return Rights()

    def ticks_calls(self, symbols: Sequence[str]) -> tuple[VenueRequest, ...]:
        """Return none: the ticks are those of the listing."""
        del symbols
        return ()

    def ticks_of(self, reply: RulesReply) -> dict[str, Decimal]:
        """Return nothing, since nothing was asked."""
        del reply
        return {}
