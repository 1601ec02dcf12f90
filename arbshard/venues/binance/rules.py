"""Reads Binance's rules: those of a market from its filters, and what it reports of fees, limits and rights. Pure."""

import re
from collections.abc import Sequence
from decimal import Decimal

import msgspec
from msgspec import field

from arbshard.errors import VenueError
from arbshard.model.market import MarketRules, TickBand
from arbshard.model.money import BPS, ZERO
from arbshard.venues.base.account import amount
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.rules import Rates, ReportedLimit, Rights, RulesReply, StatedDigits
from arbshard.venues.binance import limits
from arbshard.venues.frame import UNREADABLE, reader, unreadable_body

NO_STEP = Decimal("0.00000001")
"""Tick or lot where the venue has switched the rule off: it keeps eight decimals."""
NO_LIMIT = Decimal(10) ** 18
"""Largest notional or quantity where the venue has switched the rule off."""

_KEPT = {window.name: window.limit for window in limits.WINDOWS}
_WEIGHT = re.compile(r"\d+")
_WINDOWS = {
    ("REQUEST_WEIGHT", "MINUTE", 1): "binance_weight",
    ("ORDERS", "SECOND", 10): "binance_orders_10s",
    ("ORDERS", "DAY", 1): "binance_orders_1d",
}


class _Filter(msgspec.Struct, rename="camel"):
    """Holds the fields we use of any filter.

    A filter that is missing, or a value of 0, means that there is no such rule.
    """

    filter_type: str
    tick_size: Decimal = ZERO
    step_size: Decimal = ZERO
    min_qty: Decimal = ZERO
    max_qty: Decimal = ZERO
    min_notional: Decimal = ZERO
    max_notional: Decimal = ZERO


class _Commission(msgspec.Struct):
    taker: Decimal
    buyer: Decimal = ZERO
    seller: Decimal = ZERO


class _Discount(msgspec.Struct, rename="camel"):
    enabled_for_account: bool = False
    enabled_for_symbol: bool = False
    discount_asset: str = "BNB"


class _Commissions(msgspec.Struct, rename="camel"):
    standard_commission: _Commission
    special_commission: _Commission | None = None
    tax_commission: _Commission | None = None
    discount: _Discount = field(default_factory=_Discount)


class _Limit(msgspec.Struct, rename="camel"):
    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


class _Info(msgspec.Struct, rename="camel"):
    rate_limits: list[_Limit]


class _Restrictions(msgspec.Struct, rename="camel"):
    enable_withdrawals: bool
    enable_spot_and_margin_trading: bool
    ip_restrict: bool | None = None


class _AccountRights(msgspec.Struct, rename="camel"):
    can_trade: bool
    can_withdraw: bool


_decode_filters = msgspec.json.Decoder(list[_Filter]).decode
_commissions = reader(msgspec.json.Decoder(_Commissions).decode)
_info = reader(msgspec.json.Decoder(_Info).decode)
_account_rights = reader(msgspec.json.Decoder(_AccountRights).decode)
_restrictions = reader(msgspec.json.Decoder(_Restrictions, strict=False).decode)


def market_rules(filters: msgspec.Raw, where: str) -> MarketRules:
    """Return the rules of a market from its filters. ``where`` names their place in errors. Raises ``VenueError``."""
    try:
        rows = _decode_filters(filters)
    except UNREADABLE as error:
        raise unreadable_body(where, error, bytes(filters)) from error
    by_type = {each.filter_type: each for each in rows}
    none = _Filter(filter_type="")
    price, lot = by_type.get("PRICE_FILTER", none), by_type.get("LOT_SIZE", none)
    notionals = (by_type.get("NOTIONAL", none), by_type.get("MIN_NOTIONAL", none))
    amounts = (price.tick_size, lot.step_size, lot.min_qty, lot.max_qty)
    bounds = tuple(bound for each in notionals for bound in (each.min_notional, each.max_notional))
    for value in (*amounts, *bounds):
        if not value.is_finite() or value < 0:
            raise VenueError(f"{where}: a filter holds {value}")
    step = lot.step_size or NO_STEP
    return MarketRules(
        ticks=(TickBand(price_min=ZERO, tick=price.tick_size or NO_STEP),),
        lot=step,
        quantity_min=max(lot.min_qty, step),
        notional_min=max(each.min_notional for each in notionals),
        notional_max=min(each.max_notional or NO_LIMIT for each in notionals),
        quantity_max=lot.max_qty or NO_LIMIT,
    )


class BinanceRules:
    """Implements ``AccountRules``."""

    fee_coins = frozenset({"BNB"})
    stated_digits = StatedDigits()

    def rates_call(self, symbol: str) -> VenueRequest:
        """Ask for the commission rates of a market."""
        return VenueRequest("GET", "/api/v3/account/commission", {"symbol": symbol}, limits.ACCOUNT)

    def rates_of(self, symbol: str, reply: RulesReply) -> Rates:
        """Add up a taker's rate and that of his side, each as the standard one, the special one and the tax."""
        rates = _commissions(reply.body)
        parts = [rates.standard_commission, rates.special_commission, rates.tax_commission]
        given = [part for part in parts if part is not None]
        buy = sum((amount(part.taker, "taker") + amount(part.buyer, "buyer") for part in given), ZERO)
        sell = sum((amount(part.taker, "taker") + amount(part.seller, "seller") for part in given), ZERO)
        discounted = rates.discount.enabled_for_account and rates.discount.enabled_for_symbol
        return Rates(symbol, buy * BPS, sell * BPS, rates.discount.discount_asset if discounted else "")

    def limits_call(self, symbol: str) -> VenueRequest:
        """Ask for one market's listing, because that of all markets is large."""
        return VenueRequest("GET", "/api/v3/exchangeInfo", {"symbol": symbol}, limits.LISTING, private=False)

    def limits_of(self, reply: RulesReply) -> tuple[ReportedLimit, ...]:
        """Read the limits of the listing, and the weight used from its header."""
        stated = _info(reply.body).rate_limits
        found = _WEIGHT.fullmatch(reply.headers.get("x-mbx-used-weight-1m", ""))
        weight = int(found[0]) if found else 0
        by_window = {
            _WINDOWS.get((one.rate_limit_type, one.interval, one.interval_num)): one for one in stated
        }
        return tuple(
            ReportedLimit(name, one.limit, _KEPT[name], weight if name == "binance_weight" else 0)
            for name, one in by_window.items()
            if name is not None
        )

    def rights_call(self) -> VenueRequest | None:
        """Ask for the key's restrictions."""
        return VenueRequest("GET", "/sapi/v1/account/apiRestrictions", {}, {})

    def rights_of(self, key_reply: RulesReply | None, account: RulesReply) -> Rights:
        """Read the key's own restrictions, else what the account may do: the key may do no more than that."""
        if key_reply is None:
            may = _account_rights(account.body)
            return Rights(withdraw=may.can_withdraw, trade=may.can_trade, by_account=True)
        key = _restrictions(key_reply.body)
        return Rights(key.enable_withdrawals, key.enable_spot_and_margin_trading, key.ip_restrict)

    def ticks_calls(self, symbols: Sequence[str]) -> tuple[VenueRequest, ...]:
        """Return none: our rules are read from the venue's own listing."""
        del symbols
        return ()

    def ticks_of(self, reply: RulesReply) -> dict[str, Decimal]:
        """Return nothing, since nothing was asked."""
        del reply
        return {}
