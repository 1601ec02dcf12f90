"""What the venues' answers say of an order: ``Standing``. Pure.

Both ways to a fill, answer and private event, must book the same: fill ids come from ``ids``, and fees are the
venue's own amounts, never computed from a rate. Upbit tells an order's fee as one sum; each fill bears its share by
the money that changed hands, and the last one what is left, so that the sum is exact.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from arbshard.errors import VenueError
from arbshard.model.money import ZERO
from arbshard.model.order import Fill, Order, OrderState
from arbshard.venues.binance import states as binance_states
from arbshard.venues.frame import UNREADABLE, clipped
from arbshard.venues.ids import fill_id
from arbshard.venues.upbit import states as upbit_states


class Standing(NamedTuple):
    """How an order stands, by one answer."""

    venue_order_id: str
    state: OrderState
    """UNKNOWN for a word that is in no table."""
    filled: Decimal
    """Base executed so far; ``fills`` may say less when the answer does not list them all."""
    fills: tuple[Fill, ...]
    word: str = ""
    """The venue's own word for the state."""


class _BinanceFill(msgspec.Struct, rename="camel"):
    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str
    trade_id: int


class _BinanceOrder(msgspec.Struct, rename="camel"):
    order_id: int
    status: str
    executed_qty: Decimal
    fills: list[_BinanceFill] = []


class _BinanceTrade(msgspec.Struct, rename="camel"):
    id: int
    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str


class _UpbitTrade(msgspec.Struct):
    uuid: str
    price: Decimal
    volume: Decimal
    funds: Decimal


class _UpbitOrder(msgspec.Struct):
    uuid: str
    state: str
    executed_volume: Decimal
    paid_fee: Decimal
    trades: list[_UpbitTrade] = []


# Decimals are texts; the lax mode also takes numbers, which some of Upbit's answers have.
_binance_order = msgspec.json.Decoder(_BinanceOrder, strict=False).decode
_binance_trades = msgspec.json.Decoder(list[_BinanceTrade], strict=False).decode
_upbit_order = msgspec.json.Decoder(_UpbitOrder, strict=False).decode


def read_order(order: Order, body: bytes) -> Standing:
    """The answer to placing or finding ``order``. Raises ``VenueError`` for one that cannot be read."""
    try:
        return _read_upbit(order, body) if order.market.venue == "upbit" else _read_binance(order, body)
    except (*UNREADABLE, ArithmeticError) as error:
        raise VenueError(f"{order.market}: an answer that cannot be read: {error}") from error


def read_trades(order: Order, body: bytes) -> tuple[Fill, ...]:
    """Binance's list of an order's fills. Raises ``VenueError``."""
    try:
        rows = _binance_trades(body)
    except UNREADABLE as error:
        raise VenueError(f"{order.market}: an answer that cannot be read: {error}") from error
    return tuple(
        _fill(order, row.id, row.qty, row.price, row.commission, row.commission_asset) for row in rows
    )


def _read_binance(order: Order, body: bytes) -> Standing:
    said = _binance_order(body)
    fills = tuple(
        _fill(order, row.trade_id, row.qty, row.price, row.commission, row.commission_asset)
        for row in said.fills
    )
    state = binance_states.state_of(said.status)
    filled = _amount(order, said.executed_qty)
    return Standing(str(said.order_id), state, filled, fills, clipped(said.status))


def _read_upbit(order: Order, body: bytes) -> Standing:
    said = _upbit_order(body)
    fees = shares(said.paid_fee, [trade.funds for trade in said.trades])
    fills = tuple(
        _fill(order, trade.uuid, trade.volume, trade.price, fee, order.market.quote)
        for trade, fee in zip(said.trades, fees, strict=True)
    )
    filled = _amount(order, said.executed_volume)
    state = upbit_states.state_of(said.state, filled)
    return Standing(said.uuid, state, filled, fills, clipped(said.state))


def shares(total: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """``total`` divided by ``weights``; the parts add up to it exactly. No weights, no parts."""
    if not weights:
        return []
    whole = sum(weights, ZERO)
    parts = [total * weight / whole if whole else ZERO for weight in weights[:-1]]
    return [*parts, total - sum(parts, ZERO)]


def _fill(
    order: Order, trade_id: str | int, quantity: Decimal, price: Decimal, fee: Decimal, currency: str
) -> Fill:
    return Fill(
        fill_id=fill_id(order.market, trade_id),
        client_id=order.client_id,
        market=order.market,
        side=order.side,
        quantity=_amount(order, quantity),
        price=_amount(order, price),
        fee=_amount(order, fee),
        fee_currency=currency,
    )


def _amount(order: Order, value: Decimal) -> Decimal:
    """``value``, if it may be booked. Raises ``VenueError``."""
    if not value.is_finite() or value < ZERO:  # "NaN" reads as a decimal, too
        raise VenueError(f"{order.market}: an answer with {value} in the place of an amount")
    return value
