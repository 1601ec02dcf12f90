"""The paper venue: an order meets the book that is there when it arrives, as far as its depth goes. Pure.

What makes paper results too good elsewhere is answered here one by one: orders take time to arrive (log-normal
latency), they find only a share of what was displayed (others came first), what they took stays taken until
the level shows new size, fees are charged as the venue charges them, and now and then the venue says no.
"""

from decimal import Decimal
from math import exp
from random import Random
from typing import NamedTuple

from arbshard.config import PaperConfig
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.market import Leg
from arbshard.model.money import BPS, ZERO, exact
from arbshard.model.order import Fill, Order, OrderFault, OrderResult, OrderState

_LEVELS_REMEMBERED = 256


class _Taken(NamedTuple):
    displayed: float
    """Size of the level when it was taken from: a change means the level is new."""
    quantity: Decimal


class PaperVenue:
    """One market's paper matching. The caller waits out the latency and brings the book of that moment."""

    def __init__(self, leg: Leg, paper: PaperConfig, random: Random) -> None:
        self.leg = leg
        self._paper = paper
        self._random = random
        self._taken: dict[tuple[str, float], _Taken] = {}

    def latency_ms(self) -> float:
        """How long the next order is under way."""
        return self._paper.latency_ms * exp(self._random.gauss(0.0, self._paper.latency_sigma))

    def match(self, order: Order, book: OrderBookSnapshot | None, decision_price: Decimal) -> OrderResult:
        """The final result of an IOC order that arrives now. ``book`` None: the venue cannot be reached."""

        def ended(state: OrderState, detail: str, fault: OrderFault = "") -> OrderResult:
            return OrderResult(order, state, detail=detail, decision_price=decision_price, fault=fault)

        if book is None:
            return ended("REJECTED", "venue not connected", "busy")
        if not self.leg.rules.accepts(order.limit, order.quantity):
            return ended("REJECTED", "below the minimum or above the maximum order", "order")
        if self._random.random() < self._paper.reject_share:
            return ended("REJECTED", "refused by the venue (paper.reject_share)", "busy")
        fills = self._fills(order, book)
        if not fills:
            return ended("EXPIRED", "nothing at or better than the limit")
        filled = sum((fill.quantity for fill in fills), ZERO)
        state: OrderState = "FILLED" if filled == order.quantity else "EXPIRED"
        return OrderResult(order, state, fills, decision_price=decision_price)

    def _fills(self, order: Order, book: OrderBookSnapshot) -> tuple[Fill, ...]:
        levels = book.asks if order.side == "buy" else book.bids
        share = Decimal(str(self._paper.depth_share))
        left = order.quantity
        fills: list[Fill] = []
        for price, size in levels:
            at = exact(price)
            if left <= 0 or (at > order.limit if order.side == "buy" else at < order.limit):
                break
            before = self._taken.get((order.side, price))
            used = before.quantity if before is not None and before.displayed == size else ZERO
            free = self.leg.rules.round_quantity(exact(size) * share - used)
            take = min(left, free)
            if take <= 0:
                continue
            self._remember((order.side, price), _Taken(size, used + take))
            left -= take
            fills.append(self._fill(order, take, at, len(fills)))
        return tuple(fills)

    def _fill(self, order: Order, quantity: Decimal, price: Decimal, number: int) -> Fill:
        fees = self.leg.fees
        if order.side == "buy" and fees.buy_fee_in_base:
            fee, currency = quantity * fees.buy_bps / BPS, order.market.base
        else:
            bps = fees.buy_bps if order.side == "buy" else fees.sell_bps
            fee, currency = quantity * price * bps / BPS, order.market.quote
        return Fill(
            fill_id=f"{order.client_id}:{number}",
            client_id=order.client_id,
            market=order.market,
            side=order.side,
            quantity=quantity,
            price=price,
            fee=fee,
            fee_currency=currency,
        )

    def _remember(self, level: tuple[str, float], taken: _Taken) -> None:
        self._taken.pop(level, None)
        self._taken[level] = taken
        if len(self._taken) > _LEVELS_REMEMBERED:
            del self._taken[next(iter(self._taken))]
