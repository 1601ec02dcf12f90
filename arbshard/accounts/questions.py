"""What the doctor asks each venue beside balances, and how the answers read. Pure; used by ``probing``."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

import msgspec
from msgspec import field

from arbshard.accounts.facts import Rates, Rights, ToldLimit
from arbshard.execution.live import limits
from arbshard.execution.live.limits import WINDOWS
from arbshard.model.money import BPS, ZERO
from arbshard.venues.base.account import amount
from arbshard.venues.base.request import Request
from arbshard.venues.frame import UNREADABLE, refusal_of

_KEPT = {window.name: window.limit for window in WINDOWS}
_REMAINING = re.compile(r"group=default;.*min=(\d+);.*sec=(\d+)")
_WEIGHT = re.compile(r"\d+")
_INSTRUMENTS_PER_CALL = 50


class Reply(NamedTuple):
    """A good answer."""

    body: bytes
    headers: Mapping[str, str]


class Questions(Protocol):
    """A venue's. Every reader raises ``FrameError`` for an answer of another form."""

    def rates_call(self, symbol: str) -> Request:
        """Asks for the fees on a market."""
        ...

    def rates_of(self, symbol: str, reply: Reply) -> Rates:
        """A taker's fees."""
        ...

    def limits_call(self, symbol: str) -> Request:
        """Asks for something that tells the rate limits."""
        ...

    def limits_of(self, reply: Reply) -> tuple[ToldLimit, ...]:
        """Those we keep to."""
        ...

    def rights_path(self) -> str:
        """Where the venue tells what a key may do (below ``/sapi/v1``); empty where nowhere."""
        ...

    def rights_of(self, told: object, account: Reply) -> Rights:
        """What the key may do: ``told`` there (None: nothing), else by the account's own words."""
        ...

    def ticks_calls(self, symbols: Sequence[str]) -> tuple[Request, ...]:
        """Ask for the ticks of markets; none where the listing has them."""
        ...

    def ticks_of(self, reply: Reply) -> dict[str, Decimal]:
        """Ticks at the price of now, by symbol."""
        ...


class _Chance(msgspec.Struct):
    bid_fee: Decimal
    ask_fee: Decimal


class _Instrument(msgspec.Struct):
    market: str
    tick_size: Decimal


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


_chance = msgspec.json.Decoder(_Chance).decode
_instruments = msgspec.json.Decoder(list[_Instrument]).decode
_commissions = msgspec.json.Decoder(_Commissions).decode
_info = msgspec.json.Decoder(_Info).decode
_account_rights = msgspec.json.Decoder(_AccountRights).decode

_BINANCE_WINDOWS = {
    ("REQUEST_WEIGHT", "MINUTE", 1): "binance_weight",
    ("ORDERS", "SECOND", 10): "binance_orders_10s",
    ("ORDERS", "DAY", 1): "binance_orders_1d",
}


class UpbitQuestions:
    """Implements ``Questions``. Upbit does not tell what a key may do."""

    def rates_call(self, symbol: str) -> Request:
        """See ``Questions``."""
        return Request("GET", "orders/chance", {"market": symbol}, limits.UPBIT_READ)

    def rates_of(self, symbol: str, reply: Reply) -> Rates:
        """See ``Questions``."""
        try:
            told = _chance(reply.body)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        return Rates(symbol, amount(told.bid_fee, "bid_fee") * BPS, amount(told.ask_fee, "ask_fee") * BPS)

    def limits_call(self, symbol: str) -> Request:
        """Any private answer tells in a header."""
        return self.rates_call(symbol)

    def limits_of(self, reply: Reply) -> tuple[ToldLimit, ...]:
        """``min`` is sixty times the limit of a second."""
        found = _REMAINING.search(reply.headers.get("remaining-req", ""))
        if found is None:
            return ()
        allowed = int(found[1]) // 60
        # The call that tells is itself one of those that are used.
        used = max(allowed - int(found[2]) - 1, 0)
        return (ToldLimit("upbit_default", allowed, _KEPT["upbit_default"], used),)

    def rights_path(self) -> str:
        """Nowhere."""
        return ""

    def rights_of(self, told: object, account: Reply) -> Rights:
        """Not told; the test order shows the right to trade."""
        del told, account
        return Rights()

    def ticks_calls(self, symbols: Sequence[str]) -> tuple[Request, ...]:
        """Fifty markets a call."""
        shares = [
            symbols[n : n + _INSTRUMENTS_PER_CALL] for n in range(0, len(symbols), _INSTRUMENTS_PER_CALL)
        ]
        return tuple(
            Request("GET", "orderbook/instruments", {"markets": ",".join(share)}, {}, private=False)
            for share in shares
        )

    def ticks_of(self, reply: Reply) -> dict[str, Decimal]:
        """See ``Questions``."""
        try:
            return {one.market: amount(one.tick_size, "tick_size") for one in _instruments(reply.body)}
        except UNREADABLE as error:
            raise refusal_of(error) from error


class BinanceQuestions:
    """Implements ``Questions``."""

    def rates_call(self, symbol: str) -> Request:
        """See ``Questions``."""
        return Request("GET", "account/commission", {"symbol": symbol}, {"binance_weight": 20})

    def rates_of(self, symbol: str, reply: Reply) -> Rates:
        """A taker pays his rate and that of his side: the standard one, the special one and the tax."""
        try:
            told = _commissions(reply.body)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        parts = [told.standard_commission, told.special_commission, told.tax_commission]
        given = [part for part in parts if part is not None]
        buy = sum((amount(part.taker, "taker") + amount(part.buyer, "buyer") for part in given), ZERO)
        sell = sum((amount(part.taker, "taker") + amount(part.seller, "seller") for part in given), ZERO)
        discounted = told.discount.enabled_for_account and told.discount.enabled_for_symbol
        return Rates(symbol, buy * BPS, sell * BPS, told.discount.discount_asset if discounted else "")

    def limits_call(self, symbol: str) -> Request:
        """One market's listing: that of all is large."""
        return Request("GET", "exchangeInfo", {"symbol": symbol}, {"binance_weight": 20}, private=False)

    def limits_of(self, reply: Reply) -> tuple[ToldLimit, ...]:
        """See ``Questions``."""
        try:
            told = _info(reply.body).rate_limits
        except UNREADABLE as error:
            raise refusal_of(error) from error
        found = _WEIGHT.fullmatch(reply.headers.get("x-mbx-used-weight-1m", ""))
        weight = int(found[0]) if found else 0
        by_window = {
            _BINANCE_WINDOWS.get((one.rate_limit_type, one.interval, one.interval_num)): one for one in told
        }
        return tuple(
            ToldLimit(name, one.limit, _KEPT[name], weight if name == "binance_weight" else 0)
            for name, one in by_window.items()
            if name is not None
        )

    def rights_path(self) -> str:
        """See ``Questions``."""
        return "account/apiRestrictions"

    def rights_of(self, told: object, account: Reply) -> Rights:
        """By the key's own restrictions, else by what the account may do: the key may do no more."""
        try:
            if told is None:
                may = _account_rights(account.body)
                return Rights(withdraw=may.can_withdraw, trade=may.can_trade, by_account=True)
            key = msgspec.convert(told, _Restrictions, strict=False)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        return Rights(key.enable_withdrawals, key.enable_spot_and_margin_trading, key.ip_restrict)

    def ticks_calls(self, symbols: Sequence[str]) -> tuple[Request, ...]:
        """None: our rules are out of the venue's own listing."""
        del symbols
        return ()

    def ticks_of(self, reply: Reply) -> dict[str, Decimal]:
        """Nothing was asked."""
        del reply
        return {}


def questions_of(venue: str) -> Questions:
    """Those of ``venue``. Raises ``KeyError``."""
    every: dict[str, Questions] = {"upbit": UpbitQuestions(), "binance": BinanceQuestions()}
    return every[venue]
