"""Has Upbit's rules: ticks and order sizes of KRW markets, and what it reports of fees, limits and ticks. Pure."""

import re
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from arbshard.model.market import MarketRules, TickBand
from arbshard.model.money import BPS
from arbshard.venues.base.account import amount
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.rules import Rates, ReportedLimit, Rights, RulesReply, StatedDigits
from arbshard.venues.frame import reader
from arbshard.venues.upbit import limits

_REMAINING = re.compile(r"group=default;.*\bsec=(\d+)")
_DEFAULT_KEPT = next(window.limit for window in limits.WINDOWS if window.name == "upbit_default")
_INSTRUMENTS_PER_CALL = 50


class _Chance(msgspec.Struct):
    bid_fee: Decimal
    ask_fee: Decimal


class _Instrument(msgspec.Struct):
    market: str
    tick_size: Decimal


_chance = reader(msgspec.json.Decoder(_Chance).decode)
_instruments = reader(msgspec.json.Decoder(list[_Instrument]).decode)


def _bands(*rows: tuple[str, str]) -> tuple[TickBand, ...]:
    return tuple(TickBand(price_min=Decimal(price), tick=Decimal(tick)) for price, tick in rows)


KRW_TICKS = _bands(
    ("1000000", "1000"),
    ("500000", "500"),
    ("100000", "100"),
    ("50000", "50"),
    ("10000", "10"),
    ("5000", "5"),
    ("100", "1"),
    ("10", "0.1"),
    ("1", "0.01"),
    ("0.1", "0.001"),
    ("0.01", "0.0001"),
    ("0.001", "0.00001"),
    ("0.0001", "0.000001"),
    ("0.00001", "0.0000001"),
    ("0", "0.00000001"),
)
"""Tick sizes of KRW markets, in force since 2025-07-31."""

# The orderbook/instruments call wants the markets named one by one, so the published table is used in its place.
KRW_RULES = MarketRules(
    ticks=KRW_TICKS,
    lot=Decimal("0.00000001"),
    quantity_min=Decimal("0.00000001"),
    notional_min=Decimal(5_000),
    notional_max=Decimal(1_000_000_000),
)
"""They are the same for every KRW market."""


class UpbitRules:
    """Implements ``AccountRules``. The venue does not report what a key may do."""

    fee_coins: frozenset[str] = frozenset()
    stated_digits = StatedDigits(is_cut=True)

    def rates_call(self, symbol: str) -> VenueRequest:
        """Ask for the terms of a market."""
        return VenueRequest("GET", "/v1/orders/chance", {"market": symbol}, limits.READ)

    def rates_of(self, symbol: str, reply: RulesReply) -> Rates:
        """Read the fee of each side."""
        terms = _chance(reply.body)
        return Rates(symbol, amount(terms.bid_fee, "bid_fee") * BPS, amount(terms.ask_fee, "ask_fee") * BPS)

    def limits_call(self, symbol: str) -> VenueRequest:
        """Make any private request, because each answer reports the limit in a header."""
        return self.rates_call(symbol)

    def limits_of(self, reply: RulesReply) -> tuple[ReportedLimit, ...]:
        """Read what is left of the second. The limit itself is not reported: the venue declares ``min`` unused."""
        found = _REMAINING.search(reply.headers.get("remaining-req", ""))
        if found is None:
            return ()
        # The call that reports it is itself one of those that are used.
        left = int(found[1]) + 1
        return (
            ReportedLimit(
                "upbit_default", max(_DEFAULT_KEPT, left), _DEFAULT_KEPT, max(_DEFAULT_KEPT - left, 0)
            ),
        )

    def rights_call(self) -> VenueRequest | None:
        """Return None: the venue has no such call."""
        return None

    def rights_of(self, key_reply: RulesReply | None, account: RulesReply) -> Rights:
        """Return no rights: none are reported, and the test order shows whether the key may trade."""
        del key_reply, account
        return Rights()

    def ticks_calls(self, symbols: Sequence[str]) -> tuple[VenueRequest, ...]:
        """Ask for fifty markets in each call."""
        shares = [
            symbols[n : n + _INSTRUMENTS_PER_CALL] for n in range(0, len(symbols), _INSTRUMENTS_PER_CALL)
        ]
        return tuple(
            VenueRequest("GET", "/v1/orderbook/instruments", {"markets": ",".join(share)}, {}, private=False)
            for share in shares
        )

    def ticks_of(self, reply: RulesReply) -> dict[str, Decimal]:
        """Read the tick of each market."""
        return {one.market: amount(one.tick_size, "tick_size") for one in _instruments(reply.body)}
