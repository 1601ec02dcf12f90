"""The rules of the venue's markets, and what it tells of fees; it tells no limits, rights or ticks."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from arbshard.model.market import MarketRules, TickBand
from arbshard.model.money import BPS
from arbshard.venues.base.account import amount
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.rules import Rates, ReportedLimit, Rights, RulesReply, StatedDigits
from arbshard.venues.frame import UNREADABLE, refusal_of
from third_venue import limits


def market_rules(tick: Decimal, lot: Decimal, least: Decimal) -> MarketRules:
    """Of a market as the venue lists it."""
    return MarketRules(
        ticks=(TickBand(Decimal(0), tick),),
        lot=lot,
        quantity_min=lot,
        notional_min=least,
        notional_max=Decimal(10) ** 9,
    )


class _Fees(msgspec.Struct):
    taker: Decimal


_fees = msgspec.json.Decoder(_Fees).decode


class ThirdRules:
    """Implements ``AccountRules``."""

    fee_coins: frozenset[str] = frozenset()
    stated_digits = StatedDigits()

    def rates_call(self, symbol: str) -> VenueRequest:
        """The fees."""
        return VenueRequest("GET", "/v2/fees", {"market": symbol}, limits.CALL)

    def rates_of(self, symbol: str, reply: RulesReply) -> Rates:
        """The same for both sides."""
        try:
            taker = amount(_fees(reply.body).taker, "taker") * BPS
        except UNREADABLE as error:
            raise refusal_of(error) from error
        return Rates(symbol, taker, taker)

    def limits_call(self, symbol: str) -> VenueRequest:
        """Any call."""
        return self.rates_call(symbol)

    def limits_of(self, reply: RulesReply) -> tuple[ReportedLimit, ...]:
        """None."""
        del reply
        return ()

    def rights_call(self) -> VenueRequest | None:
        """Nowhere."""
        return None

    def rights_of(self, key_reply: RulesReply | None, account: RulesReply) -> Rights:
        """Nothing is told."""
        del key_reply, account
        return Rights()

    def ticks_calls(self, symbols: Sequence[str]) -> tuple[VenueRequest, ...]:
        """None: the listing has the ticks."""
        del symbols
        return ()

    def ticks_of(self, reply: RulesReply) -> dict[str, Decimal]:
        """Nothing was asked."""
        del reply
        return {}
