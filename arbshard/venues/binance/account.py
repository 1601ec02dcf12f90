"""Implements Binance's ``AccountVenue``: user data on the WebSocket API, balances and open orders by REST. Pure.

With a shared secret the subscription itself is signed; with an Ed25519 key the connection logs on first. What each
method promises is documented in ``base.account.AccountVenue``.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType, field

from arbshard.config import VenueConfig
from arbshard.errors import FrameError, UsageError
from arbshard.model.market import Side
from arbshard.model.warning import CoinName, WalletWarning
from arbshard.secret import Secret, encode_revealed
from arbshard.venues.base.account import (
    DETAIL_CHARS_MAX,
    AccountMessage,
    Leaving,
    Nothing,
    Proceed,
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
from arbshard.venues.binance import limits
from arbshard.venues.binance.signing import sign
from arbshard.venues.binance.states import fault_of, state_of
from arbshard.venues.frame import clipped, reader
from arbshard.venues.keys import Keys

_PATH = "/ws-api/v3"
_HOSTS: Final[Mapping[str, str]] = {
    "stream.binance.com": "ws-api.binance.com:443",
    "data-stream.binance.vision": "ws-api.binance.com:443",
    "stream.testnet.binance.vision": "ws-api.testnet.binance.vision",
    "demo-stream.binance.com": "demo-ws-api.binance.com",
}
"""Host of the WebSocket API for each host of the public streams."""
_LOGON, _SUBSCRIBE = "logon", "subscribe"
_SIDES: Final[Mapping[str, Side]] = {"BUY": "buy", "SELL": "sell"}


class _Asset(msgspec.Struct):
    currency: str = field(name="a")
    free: Decimal = field(name="f")
    locked: Decimal = field(name="l")


class _Position(msgspec.Struct):
    assets: list[_Asset] = field(name="B")


class _Report(msgspec.Struct):
    symbol: str = field(name="s")
    client_id: str = field(name="c")
    side: str = field(name="S")
    state: str = field(name="X")
    order_id: int = field(name="i")
    quantity: Decimal = field(name="q")
    filled: Decimal = field(name="z")
    last_quantity: Decimal = field(name="l")
    last_price: Decimal = field(name="L")
    original_client_id: str = field(name="C", default="")
    fee: Decimal | None = field(name="n", default=None)
    fee_currency: str | None = field(name="N", default=None)
    trade_id: int = field(name="t", default=-1)
    at_ms: int = field(name="T", default=0)
    reject_reason: str = field(name="r", default="NONE")
    expiry_reason: str = field(name="eR", default="")


class _Fault(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Frame(msgspec.Struct):
    id: str | int | None = None
    status: int = 0
    error: _Fault | None = None
    event: msgspec.Raw | UnsetType = UNSET


class _Kind(msgspec.Struct):
    kind: str = field(name="e")


class _Row(msgspec.Struct):
    symbol: str
    order_id: int = field(name="orderId")
    client_id: str = field(name="clientOrderId")
    side: str
    status: str
    quantity: Decimal = field(name="origQty")
    filled: Decimal = field(name="executedQty")
    updated_ms: int = field(name="updateTime", default=0)


class _Held(msgspec.Struct):
    asset: str
    free: Decimal
    locked: Decimal


class _Account(msgspec.Struct):
    balances: list[_Held]


class _Network(msgspec.Struct):
    network: str
    deposits: bool = field(name="depositEnable")
    withdrawals: bool = field(name="withdrawEnable")
    is_busy: bool = field(name="busy", default=False)
    units: object = field(name="denomination", default=1)
    """Number of the coin's own units in one unit here; some networks do not state it."""


class _Coin(msgspec.Struct):
    coin: str
    name: str = ""
    deposits: bool = field(name="depositAllEnable", default=True)
    withdrawals: bool = field(name="withdrawAllEnable", default=True)
    networks: list[_Network] = field(name="networkList", default_factory=list)


class _Time(msgspec.Struct):
    server_time: int = field(name="serverTime")


_frame = reader(msgspec.json.Decoder(_Frame).decode)
_kind = reader(msgspec.json.Decoder(_Kind).decode)
_report = reader(msgspec.json.Decoder(_Report).decode)
_position = reader(msgspec.json.Decoder(_Position).decode)
_account = reader(msgspec.json.Decoder(_Account).decode)
_rows = reader(msgspec.json.Decoder(list[_Row]).decode)
_row = reader(msgspec.json.Decoder(_Row).decode)
_coins = reader(msgspec.json.Decoder(list[_Coin]).decode)
_time = reader(msgspec.json.Decoder(_Time).decode)


class BinanceAccount:
    """Implements ``AccountVenue``."""

    name = "binance"
    ping_interval_s = 60.0
    orders_per_page = 1
    """All orders come in one answer; there is no second page."""

    def address(self, config: VenueConfig) -> str:
        """Return the configured address, else that of the WebSocket API that belongs to the public streams' host."""
        if config.private_ws_url:
            return secret_safe(self.name, config.private_ws_url)
        parts = urlsplit(config.ws_url)
        host = _HOSTS.get(parts.hostname or "")
        if host is not None:
            return f"wss://{host}{_PATH}"
        if not config.ws_url:
            raise UsageError("venues.binance.ws_url is empty: give the address of binance's streams")
        return secret_safe(self.name, config.ws_url.rstrip("/") + _PATH)

    def headers(self, keys: Keys, nonce: str) -> tuple[tuple[str, str], ...]:
        """Return no headers, because the requests are signed."""
        del keys, nonce
        return ()

    def opening(self, keys: Keys, ticket: str, now_ms: int, window_ms: int) -> tuple[Secret, ...]:
        """Return the subscription, or the logon that comes before it."""
        del ticket
        # What is signed are the parameters in the order of their names.
        payload = Secret.join("apiKey=", keys.key, f"&recvWindow={window_ms}&timestamp={now_ms}")
        signed: dict[str, str | int | Secret] = {
            "apiKey": keys.key,
            "recvWindow": window_ms,
            "timestamp": now_ms,
            "signature": sign(keys, payload),
        }
        logs_on = keys.is_ed25519
        request = {
            "id": _LOGON if logs_on else _SUBSCRIBE,
            "method": "session.logon" if logs_on else "userDataStream.subscribe.signature",
            "params": signed,
        }
        return (Secret(encode_revealed(request).decode()),)

    def read(self, frame: bytes) -> AccountMessage:
        """Decode a frame of the WebSocket API: an event or an answer."""
        message = _frame(frame)
        if message.event is not UNSET:
            return _event(message.event)
        if message.error is not None:
            return SubscriptionEnded(f"{message.error.code}: {message.error.msg}"[:DETAIL_CHARS_MAX])
        if message.status != 200:
            return Nothing()
        if message.id == _LOGON:
            return Proceed(f'{{"id":"{_SUBSCRIBE}","method":"userDataStream.subscribe"}}')
        return Subscribed() if message.id == _SUBSCRIBE else Nothing()

    def balances_call(self) -> VenueRequest:
        """Make the request for all balances that are not zero."""
        return VenueRequest("GET", "/api/v3/account", {"omitZeroBalances": "true"}, limits.ACCOUNT)

    def balances_of(self, body: bytes) -> dict[str, VenueBalance]:
        """Return all balances that are not zero, by currency."""
        rows = _account(body).balances
        found = {row.asset: _balance(row.free, row.locked) for row in rows}
        return {currency: one for currency, one in found.items() if one.free or one.locked}

    def orders_call(self, page: int) -> VenueRequest | None:
        """Make the request for all open orders, which come in one answer."""
        return VenueRequest("GET", "/api/v3/openOrders", {}, limits.OPEN_ORDERS) if page == 1 else None

    def orders_of(self, body: bytes) -> list[ReportedOrder]:
        """Return the orders of the answer, which has one row for each."""
        return [_listed(row) for row in _rows(body)]

    def order_call(self, symbol: str, venue_order_id: str) -> VenueRequest:
        """Make the request for an order by the venue's id, which is unique within the market."""
        params = {"symbol": symbol, "orderId": venue_order_id}
        return VenueRequest("GET", "/api/v3/order", params, limits.QUERY)

    def order_of(self, body: bytes) -> ReportedOrder:
        """Return the order of the answer."""
        return _listed(_row(body))

    def recent_calls(self, symbols: Collection[str], since_ms: int) -> tuple[VenueRequest, ...]:
        """Make one request for each market."""
        return tuple(
            VenueRequest(
                "GET", "/api/v3/allOrders", {"symbol": symbol, "startTime": str(since_ms)}, limits.ACCOUNT
            )
            for symbol in symbols
        )

    def wallets_call(self) -> VenueRequest:
        """Make the request for all coins, whose answer has some megabytes."""
        return VenueRequest("GET", "/sapi/v1/capital/config/getall", {}, limits.WALLETS)

    def wallets_of(self, body: bytes) -> tuple[list[WalletWarning], list[CoinName]]:
        """Read one row for each coin. A coin that the venue calls a thousand of another counts by the thousand."""
        warnings: list[WalletWarning] = []
        names: list[CoinName] = []
        for coin in _coins(body):
            networks = [
                WalletNetwork(clipped(one.network), one.deposits, one.withdrawals, one.is_busy)
                for one in coin.networks
            ] or [WalletNetwork("all", coin.deposits, coin.withdrawals)]
            warnings += wallet_warnings(self.name, coin.coin, networks)
            units = max((one.units for one in coin.networks if isinstance(one.units, int)), default=1)
            names.append(CoinName(self.name, coin.coin, coin.name, units))
        return warnings, names

    def clock_call(self) -> VenueRequest:
        """Make the request for the venue's time, for which it has a call."""
        return VenueRequest("GET", "/api/v3/time", {}, limits.TIME, private=False)

    def clock_of(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, int]:
        """Return the time, which is exact to the millisecond."""
        del headers
        return _time(body).server_time, 0


def _event(raw: msgspec.Raw) -> AccountMessage:
    """Decode an event by its kind: different kinds use the same letters for values of different types."""
    match _kind(raw).kind:
        case "executionReport":
            return _order(_report(raw))
        case "outboundAccountPosition":
            assets = _position(raw).assets
            return ReportedBalances({one.currency: _balance(one.free, one.locked) for one in assets})
        case "serverShutdown":
            return Leaving()
        case "eventStreamTerminated":
            return SubscriptionEnded("the venue ended the subscription")
        case _:
            return Nothing()


def _order(event: _Report) -> ReportedOrder:
    side = _SIDES.get(event.side)
    if side is None:
        raise FrameError("shape", f"executionReport of state {event.state!r}, side {event.side!r}")
    fill = None
    if event.trade_id >= 0:
        fee = amount(event.fee, "n")
        if fee and not event.fee_currency:
            raise FrameError("shape", "a commission in no currency")
        fill = ReportedFill(
            trade_id=str(event.trade_id),
            quantity=amount(event.last_quantity, "l"),
            price=amount(event.last_price, "L"),
            fee=fee,
            fee_currency=event.fee_currency or "",
        )
    filled = amount(event.filled, "z")
    remaining = amount(amount(event.quantity, "q") - filled, "q - z")
    state = state_of(event.state)
    reason = (event.reject_reason if event.reject_reason != "NONE" else "") or event.expiry_reason
    return ReportedOrder(
        client_id=event.original_client_id or event.client_id,  # a cancel has an id of its own
        venue_order_id=str(event.order_id),
        symbol=event.symbol,
        side=side,
        state_name=clipped(event.state),
        state=state,
        filled=filled,
        remaining=remaining,
        at_ms=event.at_ms,
        fill=fill,
        detail=reason[:DETAIL_CHARS_MAX],
        fault=fault_of(state, event.reject_reason),
    )


def _listed(row: _Row) -> ReportedOrder:
    side = _SIDES.get(row.side)
    if side is None:
        raise FrameError("shape", f"an order of state {row.status!r}, side {row.side!r}")
    filled = amount(row.filled, "executedQty")
    remaining = amount(amount(row.quantity, "origQty") - filled, "origQty - executedQty")
    state = state_of(row.status)
    return ReportedOrder(
        client_id=row.client_id,
        venue_order_id=str(row.order_id),
        symbol=row.symbol,
        side=side,
        state_name=clipped(row.status),
        state=state,
        filled=filled,
        remaining=remaining,
        at_ms=row.updated_ms,
        fault=fault_of(state),
    )


def _balance(free: Decimal, locked: Decimal) -> VenueBalance:
    return VenueBalance(amount(free, "free"), amount(locked, "locked"))
