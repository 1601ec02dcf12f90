"""What is known of our orders at one venue, out of all that its stream and REST have told. Pure.

``stream`` and ``recovery`` feed it; what comes out are the events that workers are to hear, each piece of news once.
"""

from collections.abc import Mapping
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

from arbshard.model.market import Market
from arbshard.model.money import ZERO
from arbshard.model.order import FINAL_STATES, Fill, OrderState
from arbshard.venues.base.account import HeardFill, HeardOrder
from arbshard.venues.ids import client_id_of, fill_id
from arbshard.wire.order_events import OrderEvent

_RECENT_ORDERS = 500
ORDERS_MAX = 20_000
"""Remembered; the oldest are forgotten first."""


class OpenOrder(NamedTuple):
    """One of which no end was heard."""

    symbol: str
    venue_order_id: str


class _Known:
    __slots__ = ("fill_ids", "filled", "state", "symbol", "venue_order_id")

    def __init__(self, symbol: str, venue_order_id: str) -> None:
        self.symbol = symbol
        self.venue_order_id = venue_order_id
        self.state: OrderState = "SENT"
        self.filled: Decimal = ZERO
        self.fill_ids: set[str] = set()


class VenueOrders:
    """The orders of one venue whose ids carry ``tag``."""

    def __init__(self, venue: str, tag: str, markets: Mapping[str, Market], kept: int = ORDERS_MAX) -> None:
        """``markets`` of this run, by symbol."""
        self._venue = venue
        self._tag = tag
        self.markets = markets
        """Those of this run, by symbol."""
        self._kept = kept
        self._known: dict[str, _Known] = {}
        self.changes = 0
        """How often an order of this account was told to have changed, whoever placed it."""
        self.repeated = 0
        """Tellings with nothing new in them."""
        self.foreign = 0
        """Tellings of orders that are not ours."""

    def update(self, heard: HeardOrder) -> OrderEvent | None:
        """What is new in ``heard``; None when nothing is, or when the order is not ours."""
        self.changes += 1
        client_id = client_id_of(self._tag, heard.client_id)
        if client_id is None:
            self.foreign += 1
            return None
        known = self._known.get(client_id)
        if known is None:
            known = self._remember(client_id, _Known(heard.symbol, heard.venue_order_id))
        market = self.markets.get(heard.symbol)
        fills: tuple[Fill, ...] = ()
        if heard.fill is not None and market is not None:
            fill = _fill(client_id, market, heard, heard.fill)
            if fill.fill_id not in known.fill_ids:
                known.fill_ids.add(fill.fill_id)
                fills = (fill,)
        state, filled = _newest(known.state, heard.state), max(known.filled, heard.filled)
        if not fills and (state, filled) == (known.state, known.filled):
            self.repeated += 1
            return None
        known.state, known.filled = state, filled
        return OrderEvent(
            venue=self._venue,
            client_id=client_id,
            venue_order_id=heard.venue_order_id,
            state=state,
            filled=filled,
            fills=fills,
            detail=f"unknown order state {heard.word!r}" if heard.state == "UNKNOWN" else heard.detail,
            at_ms=heard.at_ms,
            fault=heard.fault,
        )

    def unfinished(self) -> tuple[OpenOrder, ...]:
        """Those of which no end was heard."""
        return tuple(
            OpenOrder(known.symbol, known.venue_order_id)
            for known in self._known.values()
            if known.state not in FINAL_STATES
        )

    def recent_symbols(self, count: int) -> tuple[str, ...]:
        """The markets of the newest orders, at most ``count``."""
        symbols: dict[str, None] = {}
        for known in islice(reversed(self._known.values()), _RECENT_ORDERS):
            symbols[known.symbol] = None
            if len(symbols) == count:
                break
        return tuple(symbols)

    def _remember(self, client_id: str, known: _Known) -> _Known:
        self._known[client_id] = known
        if len(self._known) > self._kept:
            del self._known[next(iter(self._known))]
        return known


def _newest(old: OrderState, new: OrderState) -> OrderState:
    """Tellings overtake each other: an end stays, and a fill is not taken back."""
    if old in FINAL_STATES or (old == "PARTIAL" and new == "ACCEPTED"):
        return old
    return new


def _fill(client_id: str, market: Market, heard: HeardOrder, fill: HeardFill) -> Fill:
    return Fill(
        fill_id=fill_id(market, fill.trade_id),
        client_id=client_id,
        market=market,
        side=heard.side,
        quantity=fill.quantity,
        price=fill.price,
        fee=fill.fee,
        fee_currency=fill.fee_currency or market.quote,
    )
