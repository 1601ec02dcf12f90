"""The paper venue matches an order with the book that is there when it arrives, as far as its depth goes. Pure.

What makes paper results too good elsewhere is modelled here: orders take time to arrive (log-normal latency), they
find only a share of what was displayed (others came first), and what they took comes back over seconds (``_Side``).
Fees are charged as the venue charges them. Now and then the venue refuses an order, or all orders of a market for
minutes, executes only a part, or leaves us without news of an order (``paper_port``). The time is an argument, in
monotonic nanoseconds.
"""

from decimal import Decimal
from math import exp
from random import Random
from typing import NamedTuple

from arbshard.config import PaperConfig
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.market import Leg, Side
from arbshard.model.money import BPS, ZERO, exact
from arbshard.model.order import Fill, Order, OrderFault, OrderResult, OrderState

_SECOND_NS = 1_000_000_000
_DAY_S = 86_400.0
_LEVELS_REMEMBERED = 256
_FORGOTTEN_AFTER = 5.0
"""Number of time constants after which a level is as if nothing had been taken from it: less than a hundredth is
missing.
"""
_SAME_MAKER = Decimal("0.0005")
"""A share of the price: a level this near to one that we took from is the same maker's next quote, as long as what
is missing there has not come back. Otherwise a book whose prices move by a tick would forget what we took.
"""
_STEP = Decimal("0.1")
"""A share of a level: less than this is not there yet, because others come back with whole orders."""
_LONGEST_UNKNOWN = 10.0
"""No order stays unknown for longer than so many times ``paper.unknown_s``."""


class _Taken(NamedTuple):
    """Is the quantity that we took from one level, and when."""

    quantity: Decimal
    """Quantity that is missing at ``at_ns``; it comes back from then on."""
    at_ns: int
    least: float
    """The smallest size that the level has displayed since."""


class _Side:
    """Keeps what we took from one side of a book, and how much of it has not come back yet."""

    def __init__(self) -> None:
        self._taken: dict[float, _Taken] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def observe(self, levels: tuple[tuple[float, float], ...], now_ns: int, refill_s: float) -> None:
        """Learn what the levels display, and forget what has come back."""
        displayed = dict(levels)
        for price, taken in tuple(self._taken.items()):
            if now_ns - taken.at_ns > _FORGOTTEN_AFTER * refill_s * _SECOND_NS:
                del self._taken[price]
            elif price in displayed and displayed[price] < taken.least:
                self._taken[price] = taken._replace(least=displayed[price])

    def missing(self, now_ns: int, refill_s: float) -> list[tuple[Decimal, Decimal]]:
        """Return (price, quantity) of what has not come back."""
        return [
            (exact(price), taken.quantity * _share_left(now_ns - taken.at_ns, refill_s))
            for price, taken in self._taken.items()
        ]

    def least(self, price: float, size: float) -> float:
        """Return the smallest size that a level has displayed since we took from it, ``size`` included."""
        taken = self._taken.get(price)
        return size if taken is None else min(size, taken.least)

    def remember(self, price: float, size: float, quantity: Decimal, now_ns: int, refill_s: float) -> None:
        """Remember that ``quantity`` was taken from a level of ``size``."""
        before = self._taken.pop(price, None)
        if before is not None:
            quantity += before.quantity * _share_left(now_ns - before.at_ns, refill_s)
            size = min(size, before.least)
        self._taken[price] = _Taken(quantity, now_ns, size)
        if len(self._taken) > _LEVELS_REMEMBERED:
            del self._taken[next(iter(self._taken))]


def _share_left(passed_ns: int, refill_s: float) -> Decimal:
    return exact(round(exp(-passed_ns / _SECOND_NS / refill_s), 12))


class _RefusalSpells:
    """Decides when a market refuses every order: spells begin and last by chance, drawn as time passes."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._begins_ns = self._ends_ns = -1
        self._fault: OrderFault = "market"

    def fault(self, now_ns: int, paper: PaperConfig) -> OrderFault:
        """Return why every order is refused now; empty while none is."""
        if not paper.refusals_per_day:
            return ""
        if self._ends_ns < 0:
            self._ends_ns = now_ns
        while now_ns >= self._ends_ns:
            waits_s = self._random.expovariate(paper.refusals_per_day / _DAY_S)
            self._begins_ns = self._ends_ns + int(waits_s * _SECOND_NS)
            self._ends_ns = (
                self._begins_ns + int(self._random.expovariate(1 / paper.refusal_s) * _SECOND_NS) + 1
            )
            self._fault = "market" if self._random.random() < 0.5 else "busy"
        return self._fault if now_ns >= self._begins_ns else ""


class PaperVenue:
    """Matches orders of one market on paper. The caller waits out the latency and brings the book of that moment."""

    def __init__(self, leg: Leg, paper: PaperConfig, random: Random) -> None:
        self.leg = leg
        self._paper = paper
        self._random = random
        self._spells = _RefusalSpells(Random(f"{random.random()}:refusals"))
        self._sides: dict[Side, _Side] = {"buy": _Side(), "sell": _Side()}

    def latency_ms(self) -> float:
        """Return the latency of the next order in ms."""
        return self._paper.latency_ms * exp(self._random.gauss(0.0, self._paper.latency_sigma))

    def unknown_ns(self) -> int:
        """Return for how long, in ns, the result of the order is unknown; mostly 0."""
        if not self._paper.unknown_share or self._random.random() >= self._paper.unknown_share:
            return 0
        mean_s = self._paper.unknown_s
        return int(min(self._random.expovariate(1 / mean_s), _LONGEST_UNKNOWN * mean_s) * _SECOND_NS) + 1

    def is_reported_late(self, result: OrderResult) -> bool:
        """Return whether the last execution of ``result`` is reported after the order's end."""
        share = self._paper.late_fill_share
        return len(result.fills) > 1 and share > 0 and self._random.random() < share

    def match(
        self, order: Order, book: OrderBookSnapshot | None, decision_price: Decimal, now_ns: int
    ) -> OrderResult:
        """Return the final result of an IOC order that arrives now. ``book`` is None when the venue cannot be
        reached.
        """

        def ended(state: OrderState, detail: str, fault: OrderFault = "") -> OrderResult:
            return OrderResult(order, state, detail=detail, decision_price=decision_price, fault=fault)

        if book is None:
            return ended("REJECTED", "venue not connected", "busy")
        spell = self._spells.fault(now_ns, self._paper)
        if spell:
            return ended("REJECTED", "the market refuses all orders (paper.refusals_per_day)", spell)
        if not self.leg.rules.accepts(order.limit, order.quantity):
            return ended("REJECTED", "below the minimum or above the maximum order", "order")
        if self._random.random() < self._paper.reject_share:
            return ended("REJECTED", "refused by the venue (paper.reject_share)", "busy")
        fills = self._fills(order, book, now_ns)
        if not fills:
            return ended("EXPIRED", "nothing at or better than the limit")
        filled = sum((fill.quantity for fill in fills), ZERO)
        state: OrderState = "FILLED" if filled == order.quantity else "EXPIRED"
        return OrderResult(order, state, fills, decision_price=decision_price)

    def _fills(self, order: Order, book: OrderBookSnapshot, now_ns: int) -> tuple[Fill, ...]:
        levels = book.asks if order.side == "buy" else book.bids
        side, refill_s = self._sides[order.side], self._paper.refill_s
        side.observe(levels, now_ns, refill_s)
        missing = side.missing(now_ns, refill_s)
        share = self._depth_share()
        left = order.quantity
        fills: list[Fill] = []
        for price, size in levels:
            at = exact(price)
            if left <= 0 or (at > order.limit if order.side == "buy" else at < order.limit):
                break
            least = side.least(price, size)
            there = exact(least) * share
            free = _less_missing(there, at, missing)
            take = min(left, self.leg.rules.round_quantity(free))
            if take <= 0 or free < there * _STEP:
                continue
            side.remember(price, least, take, now_ns, refill_s)
            left -= take
            fills.append(self._fill(order, take, at, len(fills)))
        return tuple(fills)

    def _depth_share(self) -> Decimal:
        """Return the share of the displayed sizes that the next order finds."""
        share = Decimal(str(self._paper.depth_share))
        if self._paper.partial_share and self._random.random() < self._paper.partial_share:
            return share * exact(round(self._random.random(), 6))
        return share

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


def _less_missing(free: Decimal, price: Decimal, missing: list[tuple[Decimal, Decimal]]) -> Decimal:
    """Return ``free`` less what we took from this level and those near it. Uses ``missing`` up."""
    for number, (where, quantity) in enumerate(missing):
        if free <= 0:
            return ZERO
        if abs(where - price) <= price * _SAME_MAKER:
            part = min(free, quantity)
            free -= part
            missing[number] = (where, quantity - part)
    return free
