"""Implements ``AccountVenue`` by ccxt's unified calls. There is no private stream: the account is polled. Pure."""

from collections.abc import Collection, Mapping
from decimal import Decimal

import msgspec

from arbshard.config import VenueConfig
from arbshard.errors import FrameError
from arbshard.model.market import Side
from arbshard.model.money import ZERO
from arbshard.model.warning import CoinName, WalletWarning
from arbshard.secret import Secret
from arbshard.venues.base.account import AccountMessage, ReportedOrder, VenueBalance, amount
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.frame import clipped, reader
from arbshard.venues.keys import Keys
from arbshard.venues.unified import calls
from arbshard.venues.unified.calls import Time, UnifiedOrder
from arbshard.venues.unified.limits import cost_of
from arbshard.venues.unified.states import fault_of, state_of


class _Held(msgspec.Struct):
    free: Decimal | None = None
    used: Decimal | None = None
    total: Decimal | None = None


_balances = reader(msgspec.json.Decoder(dict[str, _Held], strict=False).decode)
_order = reader(msgspec.json.Decoder(UnifiedOrder, strict=False).decode)
_orders = reader(msgspec.json.Decoder(list[UnifiedOrder], strict=False).decode)
_time = reader(msgspec.json.Decoder(Time).decode)


class UnifiedAccount:
    """Implements ``AccountVenue``."""

    ping_interval_s = 60.0
    orders_per_page = 1
    """All orders come in one answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._cost = cost_of(name)

    def address(self, config: VenueConfig) -> str | None:
        """Return None: there is no private stream."""
        del config
        return None

    def headers(self, keys: Keys, nonce: str) -> tuple[tuple[str, str], ...]:
        """Return none: there is no private stream."""
        del keys, nonce
        return ()

    def opening(self, keys: Keys, ticket: str, now_ms: int, window_ms: int) -> tuple[Secret, ...]:
        """Return none: there is no private stream."""
        del keys, ticket, now_ms, window_ms
        return ()

    def read(self, frame: bytes) -> AccountMessage:
        """Refuse every frame: there is no private stream."""
        raise FrameError("shape", f"a frame of {len(frame)} bytes from a venue without a private stream")

    def balances_call(self) -> VenueRequest:
        """Ask for all balances."""
        return VenueRequest("GET", calls.BALANCES, {}, self._cost)

    def balances_of(self, body: bytes) -> dict[str, VenueBalance]:
        """Read those that are not zero."""
        rows = _balances(body)
        held = {coin: _balance(coin, row) for coin, row in rows.items()}
        return {coin: one for coin, one in held.items() if one.free or one.locked}

    def orders_call(self, page: int) -> VenueRequest | None:
        """Ask for all open orders at once."""
        return VenueRequest("GET", calls.OPEN_ORDERS, {}, self._cost) if page == 1 else None

    def orders_of(self, body: bytes) -> list[ReportedOrder]:
        """Read the orders."""
        return [self._reported(one) for one in _orders(body)]

    def order_call(self, symbol: str, venue_order_id: str) -> VenueRequest:
        """Ask by the venue's id."""
        return VenueRequest("GET", calls.FIND_ORDER, {"symbol": symbol, "id": venue_order_id}, self._cost)

    def order_of(self, body: bytes) -> ReportedOrder:
        """Read the order."""
        return self._reported(_order(body))

    def recent_calls(self, symbols: Collection[str], since_ms: int) -> tuple[VenueRequest, ...]:
        """Ask market by market: few venues list the ended orders of all markets together."""
        return tuple(
            VenueRequest("GET", calls.RECENT_ORDERS, {"symbol": symbol, "since": str(since_ms)}, self._cost)
            for symbol in symbols
        )

    def wallets_call(self) -> None:
        """Return None: ccxt knows it for some venues only."""

    def wallets_of(self, body: bytes) -> tuple[list[WalletWarning], list[CoinName]]:
        """Refuse every answer: nothing is asked."""
        raise FrameError("shape", f"{len(body)} bytes about wallets, which were not asked for")

    def clock_call(self) -> VenueRequest:
        """Ask for the venue's time."""
        return VenueRequest("GET", calls.TIME, {}, self._cost, private=False)

    def clock_of(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, int]:
        """Read the time; a venue that has no call for it cannot tell."""
        del headers
        time_ms = _time(body).time
        if time_ms is None:
            raise FrameError("shape", f"{self.name} has no call for its time")
        return time_ms, 0

    def _reported(self, order: UnifiedOrder) -> ReportedOrder:
        filled = amount(order.filled if order.filled is not None else ZERO, "filled")
        remaining = order.remaining
        if remaining is None and order.amount is not None:
            remaining = order.amount - filled
        state = state_of(order.status, filled)
        return ReportedOrder(
            client_id=order.client_id or "",
            venue_order_id=order.id,
            symbol=order.symbol or "",
            side=_side(order.side),
            state=state,
            filled=filled,
            remaining=amount(remaining, "remaining"),
            at_ms=order.timestamp or 0,
            state_name=clipped(order.status or "accepted"),
            fault=fault_of(state),
        )


def _balance(coin: str, row: _Held) -> VenueBalance:
    """Make a balance of ``row``; a part that is not stated follows from the other two."""
    free = row.free
    if free is None and row.total is not None:
        free = row.total - (row.used or ZERO)
    locked = row.used
    if locked is None:
        locked = row.total - free if row.total is not None and free is not None else ZERO
    return VenueBalance(amount(free, f"free {coin}"), amount(locked, f"used {coin}"))


def _side(side: str | None) -> Side:
    if side == "buy":
        return "buy"
    if side == "sell":
        return "sell"
    raise FrameError("shape", f"an order on the side {side!r}")
