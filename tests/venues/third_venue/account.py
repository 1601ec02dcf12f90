"""The account: a private stream that a signature in the handshake opens, and lists by REST."""

from collections.abc import Collection, Mapping
from decimal import Decimal

import msgspec

from arbshard.config import VenueConfig
from arbshard.model.market import Side
from arbshard.model.warning import CoinName, WalletWarning
from arbshard.secret import Secret
from arbshard.venues.base.account import (
    AccountMessage,
    Nothing,
    ReportedBalances,
    ReportedFill,
    ReportedOrder,
    Subscribed,
    SubscriptionEnded,
    VenueBalance,
    WalletNetwork,
    amount,
    secret_safe,
    wallet_warnings,
)
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.frame import UNREADABLE, refusal_of
from arbshard.venues.keys import Keys
from third_venue import limits
from third_venue.states import state_of


class _Fill(msgspec.Struct):
    id: int
    price: Decimal
    amount: Decimal
    fee: Decimal


class _Order(msgspec.Struct):
    name: str
    id: str
    market: str
    side: Side
    state: str
    filled: Decimal
    remaining: Decimal
    fill: _Fill | None = None


class _Frame(msgspec.Struct):
    ready: bool = False
    error: str = ""
    order: _Order | None = None
    balances: dict[str, tuple[Decimal, Decimal]] = {}


class _Time(msgspec.Struct):
    time: int


_frame = msgspec.json.Decoder(_Frame).decode
_balances = msgspec.json.Decoder(dict[str, tuple[Decimal, Decimal]]).decode
_orders = msgspec.json.Decoder(list[_Order]).decode
_order = msgspec.json.Decoder(_Order).decode
_time = msgspec.json.Decoder(_Time).decode


class _Wallet(msgspec.Struct):
    name: str
    into: bool
    out: bool


_wallets = msgspec.json.Decoder(dict[str, _Wallet]).decode


class ThirdAccount:
    """Implements ``AccountVenue``."""

    name = "third"
    ping_interval_s = 20.0
    orders_per_page = 1

    def address(self, config: VenueConfig) -> str:
        """Beside the books."""
        return secret_safe(self.name, config.private_ws_url or f"{config.ws_url}/account")

    def headers(self, keys: Keys, nonce: str) -> tuple[tuple[str, str], ...]:
        """Key, nonce and the nonce signed."""
        signature = keys.secret.digest(nonce, "sha256").hex()
        return (("X-Key", keys.key.use(str)), ("X-Nonce", nonce), ("X-Signature", signature))

    def opening(self, keys: Keys, ticket: str, now_ms: int, window_ms: int) -> tuple[Secret, ...]:
        """Everything of the account."""
        del keys, ticket, now_ms, window_ms
        return (Secret('{"subscribe":"account"}'),)

    def read(self, frame: bytes) -> AccountMessage:
        """An order, balances, or that the stream is on."""
        try:
            heard = _frame(frame)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        if heard.order is not None:
            return _heard(heard.order)
        if heard.balances:
            return ReportedBalances(_held(heard.balances))
        if heard.error:
            return SubscriptionEnded(heard.error)
        return Subscribed() if heard.ready else Nothing()

    def balances_call(self) -> VenueRequest:
        """All."""
        return VenueRequest("GET", "/v2/balances", {}, limits.CALL)

    def balances_of(self, body: bytes) -> dict[str, VenueBalance]:
        """See ``AccountVenue``."""
        try:
            return _held(_balances(body))
        except UNREADABLE as error:
            raise refusal_of(error) from error

    def orders_call(self, page: int) -> VenueRequest | None:
        """All in one answer."""
        return VenueRequest("GET", "/v2/orders", {"state": "open"}, limits.CALL) if page == 1 else None

    def orders_of(self, body: bytes) -> list[ReportedOrder]:
        """See ``AccountVenue``."""
        try:
            return [_heard(order) for order in _orders(body)]
        except UNREADABLE as error:
            raise refusal_of(error) from error

    def order_call(self, symbol: str, venue_order_id: str) -> VenueRequest:
        """By the venue's id."""
        return VenueRequest("GET", "/v2/order", {"market": symbol, "id": venue_order_id}, limits.CALL)

    def order_of(self, body: bytes) -> ReportedOrder:
        """See ``AccountVenue``."""
        try:
            return _heard(_order(body))
        except UNREADABLE as error:
            raise refusal_of(error) from error

    def recent_calls(self, symbols: Collection[str], since_ms: int) -> tuple[VenueRequest, ...]:
        """All markets in one answer."""
        del symbols
        return (VenueRequest("GET", "/v2/orders", {"since": str(since_ms)}, limits.CALL),)

    def wallets_call(self) -> VenueRequest:
        """All coins in one answer."""
        return VenueRequest("GET", "/v2/wallets", {}, limits.CALL)

    def wallets_of(self, body: bytes) -> tuple[list[WalletWarning], list[CoinName]]:
        """One network for each coin."""
        try:
            rows = _wallets(body)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        warnings = [
            one
            for coin, row in rows.items()
            for one in wallet_warnings(self.name, coin, [WalletNetwork(coin, row.into, row.out)])
        ]
        return warnings, [CoinName(self.name, coin, row.name) for coin, row in rows.items()]

    def clock_call(self) -> VenueRequest:
        """The venue's time."""
        return VenueRequest("GET", "/v2/time", {}, limits.CALL, private=False)

    def clock_of(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, int]:
        """To the millisecond."""
        del headers
        try:
            return _time(body).time, 0
        except UNREADABLE as error:
            raise refusal_of(error) from error


def _held(told: Mapping[str, tuple[Decimal, Decimal]]) -> dict[str, VenueBalance]:
    return {
        coin: VenueBalance(amount(free, "free"), amount(locked, "locked"))
        for coin, (free, locked) in told.items()
        if free or locked
    }


def _heard(order: _Order) -> ReportedOrder:
    fill = order.fill
    return ReportedOrder(
        client_id=order.name,
        venue_order_id=order.id,
        symbol=order.market,
        side=order.side,
        state=state_of(order.state),
        filled=amount(order.filled, "filled"),
        remaining=amount(order.remaining, "remaining"),
        at_ms=0,
        fill=ReportedFill(
            str(fill.id),
            amount(fill.amount, "amount"),
            amount(fill.price, "price"),
            amount(fill.fee, "fee"),
            order.market.partition("-")[2],
        )
        if fill is not None
        else None,
        state_name=order.state,
    )
