"""Keeps what is known of orders under way, from whichever source came first: answers to calls, or private events.

An order ends here once, with all its fills from one source: only when the fills that are known add up to what the
venue states was executed. Until then it is unknown, and nothing of it is passed on. Pure except for the wake-up.
"""

import asyncio
from decimal import Decimal

from arbshard.log import get_logger
from arbshard.model.money import ZERO
from arbshard.model.order import FINAL_STATES, Fill, Order, OrderFault, OrderResult, OrderState
from arbshard.venues.base.orders import OrderStatus


class Tracked:
    """Is an order under way."""

    def __init__(self, order: Order, since_ns: int, decision_price: Decimal = ZERO) -> None:
        self.order = order
        self.since_ns = since_ns
        """When it was sent or, if that was not here, first asked about (monotonic ns)."""
        self.decision_price = decision_price
        self.result: OrderResult | None = None
        """Its end, once it is known."""
        self.venue_order_id = ""
        self.accepted = False
        """Whether the venue has shown that it has the order."""
        self.sending = False
        """Whether the call that places it has not come back yet."""
        self.detail = ""
        """The last report that was not final."""
        self._fills: dict[str, Fill] = {}
        self._final_event: tuple[OrderState, Decimal, str, OrderFault] | None = None
        """The final event, kept as long as fills that it overtook are missing."""
        self._news = asyncio.Event()

    def apply(
        self,
        state: OrderState,
        filled: Decimal,
        fills: tuple[Fill, ...],
        venue_order_id: str,
        detail: str,
        fault: OrderFault = "",
    ) -> None:
        """Apply a private event: ``fills`` are new ones, ``filled`` is the sum so far.

        Repeated events change nothing.
        """
        self.accept(venue_order_id)
        for fill in fills:
            self._fills.setdefault(fill.fill_id, fill)
        if state in FINAL_STATES:
            self._final_event = self._final_event or (state, filled, detail, fault)
        if state == "UNKNOWN":
            self.mark_unknown(detail)
        if self._final_event is not None:
            ended, total, why, refused_for = self._final_event
            self._finish(ended, total, tuple(self._fills.values()), why, refused_for)

    def settle(self, standing: OrderStatus) -> None:
        """Apply an answer. It ends the order only if it is final and whole."""
        self.accept(standing.venue_order_id)
        if standing.state == "UNKNOWN":
            self.mark_unknown(f"unknown order state {standing.state_name!r}")
        self._finish(standing.state, standing.filled, standing.fills, "", standing.fault)

    def accept(self, venue_order_id: str = "") -> None:
        """Note that the venue has the order, whatever comes of it."""
        self.accepted = True
        self.venue_order_id = self.venue_order_id or venue_order_id

    def end(self, state: OrderState, detail: str, fault: OrderFault = "") -> None:
        """End the order: nothing was executed or can be any more. Ignored for an order that the venue has shown."""
        if self.accepted:
            self.mark_unknown(f"contradiction: {detail}")
            get_logger().warning("a known order was denied", order=self.order.client_id, detail=detail)
            return
        self._finish(state, ZERO, (), detail, fault)

    def mark_unknown(self, detail: str) -> None:
        """Note that the call that placed it brought no certainty: a caller that waits need not wait longer."""
        self.detail = detail
        self._news.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until there is news or the time is over. Return whether the final result is known."""
        if self.result is None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                self.detail = self.detail or f"nothing received within {timeout_s:g} s"
            self._news.clear()
        return self.result is not None

    def now(self) -> OrderResult:
        """Return the final result, or one with the state UNKNOWN."""
        return self.result or OrderResult(
            self.order, "UNKNOWN", detail=self.detail, decision_price=self.decision_price
        )

    def _finish(
        self, state: OrderState, filled: Decimal, fills: tuple[Fill, ...], detail: str, fault: OrderFault
    ) -> None:
        if self.result is not None or state not in FINAL_STATES:
            return
        listed = sum((fill.quantity for fill in fills), ZERO)
        if listed != filled:
            self.detail = f"{state}, but fills of {listed} are known out of {filled}"
            return
        if state == "FILLED" and filled < self.order.quantity:
            state = "CANCELED"  # an end without all of it, whatever the venue calls it
        self.result = OrderResult(self.order, state, fills, detail, self.decision_price, fault)
        self._news.set()


class Tracker:
    """Holds all orders under way in this process, by our id. It is bounded: an order leaves when it has ended."""

    def __init__(self) -> None:
        self._orders: dict[str, Tracked] = {}
        self.strays = 0
        """Number of events about orders that are not (or no longer) under way here."""

    def begin(self, order: Order, now_ns: int, decision_price: Decimal = ZERO) -> Tracked:
        """Follow ``order`` from now on."""
        tracked = self._orders[order.client_id] = Tracked(order, now_ns, decision_price)
        return tracked

    def get(self, client_id: str) -> Tracked | None:
        """Return an order under way, or None."""
        return self._orders.get(client_id)

    def apply(
        self,
        client_id: str,
        state: OrderState,
        filled: Decimal,
        fills: tuple[Fill, ...],
        venue_order_id: str,
        detail: str,
        fault: OrderFault = "",
    ) -> None:
        """Apply a private event to the order it is about, as ``Tracked.apply`` does."""
        tracked = self._orders.get(client_id)
        if tracked is None:
            self.strays += 1
        else:
            tracked.apply(state, filled, fills, venue_order_id, detail, fault)

    def release(self, tracked: Tracked) -> OrderResult:
        """Return the state of an order, and drop the order if the state is final."""
        if tracked.result is not None:
            self._orders.pop(tracked.order.client_id, None)
        return tracked.now()

    def __len__(self) -> int:
        return len(self._orders)
