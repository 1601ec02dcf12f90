"""Implements Upbit's ``AccountVenue``: the private WebSocket, balances and open orders by REST. Pure.

The private stream has myOrder and myAsset. A subscription is not acknowledged, so the list of subscriptions is
asked for right after it: its answer shows that the stream is active. What each method promises is documented in
``base.account.AccountVenue``.
"""

from collections.abc import Collection, Mapping
from datetime import UTC
from decimal import Decimal
from typing import Final

import msgspec

from arbshard.config import VenueConfig
from arbshard.errors import FrameError, UsageError
from arbshard.model.market import Side
from arbshard.model.money import ZERO
from arbshard.model.warning import CoinName, WalletWarning
from arbshard.secret import Secret
from arbshard.venues.base.account import (
    DETAIL_CHARS_MAX,
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
from arbshard.venues.frame import clipped, reader
from arbshard.venues.keys import Keys
from arbshard.venues.upbit import limits
from arbshard.venues.upbit.signing import token
from arbshard.venues.upbit.states import state_of

_SIDES: Final[Mapping[str, Side]] = {"BID": "buy", "ASK": "sell", "bid": "buy", "ask": "sell"}
_PAGES_MAX = 10
_RECENT_MAX = 1000
_DATE_OFF_MS = 500
"""The header has whole seconds, so its time is off by at most this (milliseconds)."""


class _Error(msgspec.Struct):
    name: str | int = ""
    message: str = ""


class _Asset(msgspec.Struct):
    currency: str
    balance: Decimal
    locked: Decimal


class _Frame(msgspec.Struct):
    """Holds all that shows what a frame is, and an order's fields; other frames have none of these."""

    type: str = ""
    method: str = ""
    error: _Error | None = None
    assets: list[_Asset] = []
    code: str = ""
    uuid: str = ""
    ask_bid: str = ""
    state: str = ""
    trade_uuid: str | None = None
    price: Decimal | None = None
    volume: Decimal | None = None
    remaining_volume: Decimal | None = None
    executed_volume: Decimal | None = None
    trade_fee: Decimal | None = None
    identifier: str | None = None
    timestamp: int = 0


class _Row(msgspec.Struct):
    market: str
    uuid: str
    side: str
    state: str
    executed_volume: Decimal
    remaining_volume: Decimal | None = None
    identifier: str | None = None


class _Wallet(msgspec.Struct):
    currency: str
    wallet_state: str
    block_state: str | None = None
    net_type: str | None = None
    network_name: str | None = None


_frame = reader(msgspec.json.Decoder(_Frame).decode)
_assets = reader(msgspec.json.Decoder(list[_Asset]).decode)
_rows = reader(msgspec.json.Decoder(list[_Row]).decode)
_row = reader(msgspec.json.Decoder(_Row).decode)
_wallets = reader(msgspec.json.Decoder(list[_Wallet]).decode)


class UpbitAccount:
    """Implements ``AccountVenue``."""

    name = "upbit"
    ping_interval_s = 30.0
    orders_per_page = 100

    def address(self, config: VenueConfig) -> str:
        """Return the configured address, else the public one with ``/private``."""
        if not config.ws_url and not config.private_ws_url:
            raise UsageError("venues.upbit.ws_url is empty: give the address of upbit's streams")
        return secret_safe(self.name, config.private_ws_url or config.ws_url.rstrip("/") + "/private")

    def headers(self, keys: Keys, nonce: str) -> tuple[tuple[str, str], ...]:
        """Return the header with the token."""
        return (("Authorization", token(keys, nonce).use("Bearer {}".format)),)

    def opening(self, keys: Keys, ticket: str, now_ms: int, window_ms: int) -> tuple[Secret, ...]:
        """Return the subscription to orders and balances of all markets. The key was in the handshake."""
        del keys, now_ms, window_ms
        wanted = [{"ticket": ticket}, {"type": "myOrder"}, {"type": "myAsset"}]
        asked = [{"ticket": ticket}, {"method": "LIST_SUBSCRIPTIONS"}]
        return tuple(Secret(msgspec.json.encode(message).decode()) for message in (wanted, asked))

    def read(self, frame: bytes) -> AccountMessage:
        """Decode a frame of the private WebSocket."""
        message = _frame(frame)
        if message.type == "myOrder":
            return _order(message)
        if message.type == "myAsset":
            return ReportedBalances({one.currency: _balance(one) for one in message.assets})
        if message.error is not None:
            return SubscriptionEnded(f"{message.error.name}: {message.error.message}"[:DETAIL_CHARS_MAX])
        return Subscribed() if message.method == "LIST_SUBSCRIPTIONS" else Nothing()

    def balances_call(self) -> VenueRequest:
        """Make the request for the balances of all currencies that were ever held."""
        return VenueRequest("GET", "/v1/accounts", {}, limits.READ)

    def balances_of(self, body: bytes) -> dict[str, VenueBalance]:
        """Return all balances that are not zero, by currency."""
        rows = _assets(body)
        found = {row.currency: _balance(row) for row in rows}
        return {currency: one for currency, one in found.items() if one.free or one.locked}

    def orders_call(self, page: int) -> VenueRequest | None:
        """Make the request for a page of a hundred orders."""
        if page > _PAGES_MAX:
            return None
        params = {"limit": str(self.orders_per_page), "page": str(page)}
        return VenueRequest("GET", "/v1/orders/open", params, limits.READ)

    def orders_of(self, body: bytes) -> list[ReportedOrder]:
        """Return the orders of the answer, which has one row for each."""
        return [_listed(row) for row in _rows(body)]

    def order_call(self, symbol: str, venue_order_id: str) -> VenueRequest:
        """Make the request for an order by the venue's id."""
        del symbol
        return VenueRequest("GET", "/v1/order", {"uuid": venue_order_id}, limits.READ)

    def order_of(self, body: bytes) -> ReportedOrder:
        """Return the order of the answer."""
        return _listed(_row(body))

    def recent_calls(self, symbols: Collection[str], since_ms: int) -> tuple[VenueRequest, ...]:
        """Make the request for orders that have ended, which come for all markets in one answer."""
        del symbols
        params = {"start_time": str(since_ms), "limit": str(_RECENT_MAX)}
        return (VenueRequest("GET", "/v1/orders/closed", params, limits.READ),)

    def wallets_call(self) -> VenueRequest:
        """Make the request for all coins. According to the venue, the answer may lag behind by minutes."""
        return VenueRequest("GET", "/v1/status/wallet", {}, limits.READ)

    def wallets_of(self, body: bytes) -> tuple[list[WalletWarning], list[CoinName]]:
        """Read one row for each coin and network. An unknown state counts as closed."""
        networks: dict[str, list[WalletNetwork]] = {}
        for row in _wallets(body):
            state = row.wallet_state
            networks.setdefault(row.currency, []).append(
                WalletNetwork(
                    clipped(row.network_name or row.net_type or row.currency),
                    deposits=state in {"working", "deposit_only"},
                    withdrawals=state in {"working", "withdraw_only"},
                    is_delayed=state == "working" and row.block_state not in (None, "", "normal"),
                )
            )
        found = [one for coin, of in networks.items() for one in wallet_warnings(self.name, coin, of)]
        return found, []

    def clock_call(self) -> VenueRequest:
        """Make the request for the balances: it needs no market's name, and every answer has the time in a header."""
        return self.balances_call()

    def clock_of(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, int]:
        """Return the time of the header ``Date``: it has whole seconds, so the middle of that second is returned."""
        from email.utils import parsedate_to_datetime  # imported here because workers do not need it

        del body
        try:
            date = parsedate_to_datetime(headers["date"])
        except (KeyError, ValueError) as error:
            raise FrameError("shape", f"no usable Date header: {error}") from error
        return round(date.replace(tzinfo=date.tzinfo or UTC).timestamp() * 1000) + _DATE_OFF_MS, _DATE_OFF_MS


def _order(message: _Frame) -> ReportedOrder:
    side = _SIDES.get(message.ask_bid)
    if side is None or not message.state or not message.code or not message.uuid:
        raise FrameError("shape", f"myOrder of state {message.state!r}, side {message.ask_bid!r}")
    filled = amount(message.executed_volume or ZERO, "executed_volume")
    remaining = amount(message.remaining_volume or ZERO, "remaining_volume")
    state = state_of(message.state, filled)
    fill = None
    if message.state == "trade":
        fill = ReportedFill(
            trade_id=message.trade_uuid or "",
            quantity=amount(message.volume, "volume"),
            price=amount(message.price, "price"),
            fee=amount(message.trade_fee, "trade_fee"),
            fee_currency=message.code.partition("-")[0],
        )
        if not fill.trade_id:
            raise FrameError("shape", "a trade without an id")
        state = state if remaining else "FILLED"
    return ReportedOrder(
        client_id=message.identifier or "",
        venue_order_id=message.uuid,
        symbol=message.code,
        side=side,
        state_name=clipped(message.state),
        state=state,
        filled=filled,
        remaining=remaining,
        at_ms=message.timestamp,
        fill=fill,
    )


def _listed(row: _Row) -> ReportedOrder:
    side = _SIDES.get(row.side)
    if side is None:
        raise FrameError("shape", f"an order of state {row.state!r}, side {row.side!r}")
    filled = amount(row.executed_volume, "executed_volume")
    return ReportedOrder(
        client_id=row.identifier or "",
        venue_order_id=row.uuid,
        symbol=row.market,
        side=side,
        state_name=clipped(row.state),
        state=state_of(row.state, filled),
        filled=filled,
        remaining=amount(row.remaining_volume or ZERO, "remaining_volume"),
        at_ms=0,
    )


def _balance(asset: _Asset) -> VenueBalance:
    return VenueBalance(amount(asset.balance, "balance"), amount(asset.locked, "locked"))
