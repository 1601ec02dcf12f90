"""Keeps what is known of our orders at one venue, from all that its stream and REST have reported. The code is pure.

``stream`` and ``recovery`` feed it; it returns the events that workers receive, each piece of news once.
"""

from collections.abc import Mapping
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

from arbshard.model.market import Market
from arbshard.model.money import ZERO
from arbshard.model.order import FINAL_STATES, Fill, OrderState
from arbshard.venues.base.account import ReportedFill, ReportedOrder
from arbshard.venues.ids import client_id_of, fill_id
from arbshard.wire.order_events import OrderEvent

_RECENT_ORDERS = 500
ORDERS_MAX = 20_000
"""Number of orders that are remembered; the oldest are forgotten first."""


class OpenOrder(NamedTuple):
    """Is an order of which no end was reported."""

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
    """Holds the orders of one venue whose ids carry ``tag``."""

    def __init__(self, venue: str, tag: str, markets: Mapping[str, Market], kept: int = ORDERS_MAX) -> None:
        """Begin without orders. ``markets``: those of this run, by symbol."""
        self._venue = venue
        self._tag = tag
        self.markets = markets
        """Markets of this run, by symbol."""
        self._kept = kept
        self._known: dict[str, _Known] = {}
        self.changes = 0
        """How often an order of this account was reported to have changed, whichever program placed it."""
        self.repeated = 0
        """Number of reports with nothing new in them."""
        self.foreign = 0
        """Number of reports of orders that are not ours."""

    def update(self, report: ReportedOrder) -> OrderEvent | None:
        """Return what is new in ``report``; None when nothing is, or when the order is not ours."""
        self.changes += 1
        client_id = client_id_of(self._tag, report.client_id)
        if client_id is None:
            self.foreign += 1
            return None
        known = self._known.get(client_id)
        if known is None:
            known = self._remember(client_id, _Known(report.symbol, report.venue_order_id))
        market = self.markets.get(report.symbol)
        fills: tuple[Fill, ...] = ()
        if report.fill is not None and market is not None:
            fill = _fill(client_id, market, report, report.fill)
            if fill.fill_id not in known.fill_ids:
                known.fill_ids.add(fill.fill_id)
                fills = (fill,)
        state, filled = _newest(known.state, report.state), max(known.filled, report.filled)
        if not fills and (state, filled) == (known.state, known.filled):
            self.repeated += 1
            return None
        known.state, known.filled = state, filled
        return OrderEvent(
            venue=self._venue,
            client_id=client_id,
            venue_order_id=report.venue_order_id,
            state=state,
            filled=filled,
            fills=fills,
            detail=f"unknown order state {report.state_name!r}"
            if report.state == "UNKNOWN"
            else report.detail,
            at_ms=report.at_ms,
            fault=report.fault,
        )

    def unfinished(self) -> tuple[OpenOrder, ...]:
        """Return the orders of which no end was reported."""
        return tuple(
            OpenOrder(known.symbol, known.venue_order_id)
            for known in self._known.values()
            if known.state not in FINAL_STATES
        )

    def recent_symbols(self, count: int) -> tuple[str, ...]:
        """Return the markets of the newest orders, at most ``count``."""
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
    """Return the newer of two states. Reports overtake each other: an end stays, and a fill is not taken back."""
    if old in FINAL_STATES or (old == "PARTIAL" and new == "ACCEPTED"):
        return old
    return new


def _fill(client_id: str, market: Market, report: ReportedOrder, fill: ReportedFill) -> Fill:
    return Fill(
        fill_id=fill_id(market, fill.trade_id),
        client_id=client_id,
        market=market,
        side=report.side,
        quantity=fill.quantity,
        price=fill.price,
        fee=fill.fee,
        fee_currency=fill.fee_currency or market.quote,
    )
