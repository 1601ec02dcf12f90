"""Sends orders to the real venues, asks about them, and decides when an order's end is known.

Answers and private events feed one ``Tracker``; whichever is first and whole ends the order. Sending never waits
longer than ``live.order_timeout_s``, and what is then not known is UNKNOWN, never failed.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from arbshard.clock import Clock
from arbshard.config import LiveConfig
from arbshard.crashpoint import reach
from arbshard.engine.edge import walk
from arbshard.errors import VenueError
from arbshard.execution.live.limits import sum_costs
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.execution.live.tracker import Tracked, Tracker
from arbshard.execution.live.venue_session import CallResult, VenueSession
from arbshard.execution.ports import BookPort
from arbshard.log import get_logger
from arbshard.model.market import Leg, Market, Pair
from arbshard.model.money import ZERO, exact, plain
from arbshard.model.order import FINAL_STATES, Order, OrderFault, OrderResult
from arbshard.repeat import BackgroundTasks
from arbshard.venues.base.client import PreparedCall, Veto
from arbshard.venues.base.orders import OrderVenue
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.ids import venue_id
from arbshard.venues.registry import get_adapter

_TAKEN_NS_MAX = 50_000_000
"""How long before its order rate budget may have been taken, in ns: the venue counts the order when it arrives."""
_ROOMY = 4
"""Number of entries for which there has to be room, so that an entry soon after it is not looked at."""
_FOLLOW_S = 0.05
_FOLLOW_MAX_S = 0.4

DRY_RUN = "DRY RUN: not sent"


class _ReadyOrder(NamedTuple):
    """Is an order that was checked, and whose request was built."""

    request: VenueRequest
    problem: str
    """Which of the venue's rules it breaks; empty if it breaks none."""
    promised: Decimal
    """The average price that the book promised when it was built; 0 without a book."""
    prepared: PreparedCall | None = None
    """The request with a signature that was made beforehand."""
    taken_ns: int = 0
    """When its cost was taken from the rate budget beforehand (monotonic ns); 0 if it was not."""


class LivePort:
    """Is the ``execution.ports.OrderPort`` of all pairs of a worker.

    ``count`` adds one to a counter by name; ``on_failure`` is called with defects in what runs in the background.
    """

    def __init__(
        self,
        legs: Iterable[Leg],
        lines: Mapping[str, VenueSession],
        gate: RateLimiter,
        books: BookPort,
        live: LiveConfig,
        clock: Clock,
        count: Callable[[str], None],
        on_failure: Callable[[BaseException], None],
        is_fenced: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make a port. ``is_fenced``, called before every order, returns whether this worker has been replaced."""
        self._is_fenced = is_fenced
        self._legs: dict[Market, Leg] = {leg.market: leg for leg in legs}
        self._lines = dict(lines)
        self._gate = gate
        self._books = books
        self._live = live
        self._clock = clock
        self._count = count
        self._tasks = BackgroundTasks(on_failure)
        self._ready: dict[str, _ReadyOrder] = {}
        """Orders that were prepared and are neither sent nor discarded, by client id."""
        self._launched: dict[str, Tracked] = {}
        """Orders that were sent by ``launch``, and for whose end ``send`` does not wait yet."""
        self._entry_costs: dict[tuple[str, str], Mapping[str, int]] = {}
        """What the orders of an entry cost of the rate limits, by home and away venue."""
        self._roomy: set[tuple[str, str]] = set()
        """Home and away venues between which there was room for several entries at the last look."""
        self.tracker = Tracker()
        self.tag = ""
        """The ledger's tag, set before the first order (``venues.ids.venue_id``)."""

    def add_legs(self, legs: Iterable[Leg]) -> None:
        """Trade these markets from now on, by these rules."""
        self._legs.update((leg.market, leg) for leg in legs)
        for ready in self._ready.values():
            self._give_back(ready)
        self._ready.clear()  # it was checked by the former rules

    def remove_legs(self, legs: Iterable[Leg]) -> None:
        """Stop trading these markets, of which nothing is under way and nothing will be."""
        for leg in legs:
            self._legs.pop(leg.market, None)

    async def start(self) -> None:
        """Open connections to every venue and keep them open."""
        connections = self._live.connections
        await asyncio.gather(*(line.connect(connections) for line in self._lines.values()))
        for line in self._lines.values():
            self._tasks.start(line.keep_warm(connections, self._live.warm_every_s))
            self._tasks.start(line.keep_open())

    async def close(self) -> None:
        """Stop what runs in the background, and close the connections."""
        await self._tasks.close()
        await asyncio.gather(*(line.close() for line in self._lines.values()))

    def has_room_for_entry(self, pair: Pair) -> bool:
        """Return whether the rate limits of both venues have room for an entry's orders now.

        They are looked at only where the last ``look_at_limits`` has found little room: it costs time on the way of
        an order.
        """
        venues = pair.home.market.venue, pair.away.market.venue
        if venues in self._roomy:
            return True
        cost = self._entry_costs.get(venues)
        if cost is None:
            orders = _orders(pair.home.market), _orders(pair.away.market)
            cost = self._entry_costs[venues] = sum_costs(*(venue.order_cost for venue in orders))
        return self._gate.has_room_for_entry(cost)

    def look_at_limits(self) -> None:
        """Find out between which venues there is room for several entries. Call it several times a second."""
        self._roomy = {
            venues
            for venues, cost in self._entry_costs.items()
            if self._gate.has_room_for_entry(sum_costs(*[cost] * _ROOMY))
        }

    async def admit_legs(self, orders: Iterable[Order], *, is_entry: bool) -> bool:
        """Take the rate budget of all ``orders`` or of none, unless ``prepare`` has; entries leave exits and hedges
        their reserve.
        """
        wanted = {order.client_id: self._get_ready(order) for order in orders}
        if all(self._has_budget(ready) for ready in wanted.values()):
            return True
        for client_id, ready in wanted.items():
            if self._give_back(ready):
                self._ready[client_id] = ready._replace(taken_ns=0)
        cost = sum_costs(*(ready.request.cost for ready in wanted.values()))
        return await (self._gate.admit_entry(cost) if is_entry else self._gate.admit(cost))

    def prepare(self, orders: Iterable[Order], *, is_entry: bool) -> None:
        """Check, build and sign ``orders`` before it is known whether they may be sent, and take their rate budget if
        all of it is there. Nothing is sent here.

        ``send`` uses what was prepared, and ``discard`` removes it.
        """
        built: dict[str, _ReadyOrder] = {}
        for order in orders:
            ready = self._build(order)
            if not ready.problem and not self._live.dry_run:
                prepared = self._lines[order.market.venue].prepare(ready.request)
                ready = ready._replace(prepared=prepared)
            built[order.client_id] = ready
        if not self._live.dry_run and not any(ready.problem for ready in built.values()):
            cost = sum_costs(*(ready.request.cost for ready in built.values()))
            now_ns = self._clock.monotonic_ns()
            if self._gate.take_beforehand(cost, now_ns, is_entry=is_entry):
                built = {name: ready._replace(taken_ns=now_ns) for name, ready in built.items()}
        self._ready.update(built)

    @property
    def prepared(self) -> int:
        """Return how many orders are prepared, and neither sent nor discarded."""
        return len(self._ready)

    def discard(self, orders: Iterable[Order]) -> None:
        """Forget what was prepared of ``orders`` and not sent, and give its rate budget back."""
        for order in orders:
            ready = self._ready.pop(order.client_id, None)
            if ready is not None:
                self._give_back(ready)

    def problem_of(self, orders: Iterable[Order]) -> str:
        """Return why one of ``orders`` must not be sent by the venue's present rules; empty if all may be."""
        for order in orders:
            problem = self._get_ready(order).problem
            if problem:
                self._count("rules_broken")
                get_logger().warning("order breaks rules", order=order.client_id, problem=problem)
                return f"{order.market}: {problem}"
        return ""

    def launch(self, order: Order, on_sent: Callable[[], None] | None, objection: Veto | None = None) -> None:
        """Send an order that the rate limit has admitted at once; ``send`` then only waits for its end.

        Where a connection must be opened first, ``objection`` may keep it from being sent after that.
        Nothing is done here with an order that is not to be sent, as in a dry run: ``send`` says why.
        """
        ready = self._get_ready(order)
        if ready.problem or self._live.dry_run:
            return
        self._ready.pop(order.client_id, None)
        tracked = self.tracker.begin(order, self._clock.monotonic_ns(), ready.promised)
        self._start(tracked, ready, on_sent, objection)
        self._launched[order.client_id] = tracked

    async def send(
        self,
        order: Order,
        *,
        admitted: bool = False,
        on_sent: Callable[[], None] | None = None,
        objection: Veto | None = None,
    ) -> OrderResult:
        """Send an order, as ``OrderPort`` does.

        ``admitted``: whether the order was counted against the rate limit already. ``on_sent`` is called when the
        order is written to the socket. ``objection`` is asked where a connection must be opened first, once it is.
        """
        launched = self._launched.pop(order.client_id, None)
        if launched is not None:
            return await self._await_end(launched)
        ready = self._get_ready(order)
        self._ready.pop(order.client_id, None)
        tracked = self.tracker.begin(order, self._clock.monotonic_ns(), ready.promised)
        if ready.problem:
            tracked.end("REJECTED", f"not sent: {ready.problem}", "order")
        elif not admitted and not await self._admit(ready):
            tracked.end("NOT_ACCEPTED", "not sent: no rate budget left", "busy")
        elif self._live.dry_run:
            await self._rehearse(tracked, venue_id(self.tag, order.client_id))
        else:
            self._start(tracked, ready, on_sent, objection)
            return await self._await_end(tracked)
        return self.tracker.release(tracked)

    async def _await_end(self, tracked: Tracked) -> OrderResult:
        if not await tracked.wait(self._live.order_timeout_s):
            self._count("unknown")
            get_logger().warning("order unknown", order=tracked.order.client_id, detail=tracked.detail)
        return self.tracker.release(tracked)

    async def ask(self, order: Order) -> OrderResult:
        """Ask the venue for the state of an order, as ``OrderPort`` does.

        The state is final only if the venue states it, or has not known the order for long enough.
        """
        tracked = self.tracker.get(order.client_id)
        if tracked is None:  # sent by a process that has ended, if at all
            tracked = self.tracker.begin(order, self._clock.monotonic_ns())
        if tracked.result is None:
            await self._find(tracked)
        return self.tracker.release(tracked)

    async def wait_for_news(self, orders: Iterable[Order], timeout_s: float) -> None:
        """Wait until the end of one of ``orders`` has become known by itself, or the time is over."""
        tracked = [found for order in orders if (found := self.tracker.get(order.client_id)) is not None]
        if not tracked:
            await asyncio.sleep(timeout_s)
            return
        waits = [asyncio.ensure_future(one.wait(timeout_s)) for one in tracked]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _start(
        self,
        tracked: Tracked,
        ready: _ReadyOrder,
        on_sent: Callable[[], None] | None,
        objection: Veto | None,
    ) -> None:
        def object_to_it() -> str:
            # It was approved before this process was suspended, and a successor has taken it over since.
            if self._is_fenced():
                return "this worker has been replaced"
            return objection() if objection is not None else ""

        # An approval that is too old concerns both legs alike, so the executor decides on that before the first.
        if self._is_fenced():
            tracked.end("NOT_ACCEPTED", f"not sent: {object_to_it()}")
            return
        line = self._lines[tracked.order.market.venue]

        def sent() -> None:
            # This is done in the next turn of the loop, when the socket has it.
            asyncio.get_running_loop().call_soon(reach, "after_send")
            if on_sent is not None:
                on_sent()

        reach("before_send")
        tracked.sending = True
        self._tasks.start(self._place(tracked, line.call(ready.request, sent, ready.prepared, object_to_it)))

    async def _place(self, tracked: Tracked, coming: Coroutine[None, None, CallResult]) -> None:
        try:
            answer = await coming
        finally:
            tracked.sending = False
        reach("after_reply")
        if answer.meaning == "accepted":
            tracked.accept()
            await self._settle(tracked, answer)
            if tracked.result is None:
                await self._follow(tracked)
        elif answer.meaning == "rejected":
            tracked.end("REJECTED", answer.detail, answer.fault)
        elif answer.meaning == "not_accepted":
            tracked.end("NOT_ACCEPTED", f"not accepted: {answer.detail}", answer.fault)
        else:
            tracked.mark_unknown(answer.detail)

    async def _follow(self, tracked: Tracked) -> None:
        """Ask about an order until it is over, because the answer shows it as it was before it met the book.

        The private stream is usually faster; ``send`` stops waiting, and then the executor asks.
        """
        pause_s = _FOLLOW_S
        end_ns = tracked.since_ns + int(self._live.order_timeout_s * 1e9)
        while True:
            await asyncio.sleep(pause_s)
            if tracked.result is not None or self._clock.monotonic_ns() >= end_ns:
                return
            await self._find(tracked)
            pause_s = min(2 * pause_s, _FOLLOW_MAX_S)

    async def _find(self, tracked: Tracked) -> None:
        order = tracked.order
        request = _orders(order.market).find(order.market, venue_id(self.tag, order.client_id))
        if not await self._gate.admit(request.cost):
            return
        if tracked.result is not None:
            return  # it ended while this waited for the budget
        self._count("asks")
        answer = await self._lines[order.market.venue].call(request)
        reach("after_ask")
        if answer.meaning == "accepted":
            tracked.accept()
            await self._settle(tracked, answer)
        elif answer.meaning == "not_found":
            self._miss(tracked, answer.detail)
        else:
            tracked.detail = answer.detail

    async def _settle(self, tracked: Tracked, answer: CallResult) -> None:
        """Apply an answer that shows the order."""
        order = tracked.order
        try:
            standing = _orders(order.market).read(order, answer.body)
            listed = sum((fill.quantity for fill in standing.fills), ZERO)
            is_short = standing.state in FINAL_STATES and listed != standing.filled
            # Some venues show an order without its fills.
            request = (
                _orders(order.market).trades(order.market, standing.venue_order_id) if is_short else None
            )
            if request is not None:
                if not await self._gate.admit(request.cost):
                    return
                trades = await self._lines[order.market.venue].call(request)
                if trades.meaning != "accepted":
                    tracked.detail = trades.detail
                    return
                standing = standing._replace(fills=_orders(order.market).read_trades(order, trades.body))
        except VenueError as error:
            self._count("unreadable")
            get_logger().error("unreadable answer", order=order.client_id, error=str(error))
            tracked.mark_unknown(str(error))
            return
        if standing.state == "UNKNOWN":
            self._count("unknown_words")
            get_logger().error("unknown order state", order=order.client_id, state=standing.state_name)
        tracked.settle(standing)

    def _miss(self, tracked: Tracked, detail: str) -> None:
        """Note that the venue does not know the order. It has ended once its request cannot arrive any more."""
        age_ns = self._clock.monotonic_ns() - tracked.since_ns
        if tracked.sending or tracked.accepted or age_ns < self._live.not_found_after_s * 1e9:
            tracked.detail = detail
            return
        tracked.end("NOT_ACCEPTED", f"never accepted: {detail}", "busy")

    async def _rehearse(self, tracked: Tracked, name: str) -> None:
        """Do everything but the sending, for a dry run. The venue's own check is called while there is budget to
        spare.
        """
        order = tracked.order
        request = _orders(order.market).rehearse(order, name)
        checked = "not checked by the venue"
        fault: OrderFault = ""
        if request is not None and self._gate.spare(request.cost):
            answer = await self._lines[order.market.venue].call(request)
            checked = (
                "would be accepted" if answer.meaning == "accepted" else f"{answer.meaning}: {answer.detail}"
            )
            fault = answer.fault
        self._count("dry_run")
        get_logger().info(
            DRY_RUN,
            order=order.client_id,
            market=str(order.market),
            side=order.side,
            quantity=plain(order.quantity),
            limit=plain(order.limit),
            venue_says=checked,
        )
        tracked.end("NOT_ACCEPTED", f"{DRY_RUN} ({checked})", fault)

    async def _admit(self, ready: _ReadyOrder) -> bool:
        """Take the rate budget of an order, unless ``prepare`` has."""
        if self._has_budget(ready):
            return True
        self._give_back(ready)
        return await self._gate.admit(ready.request.cost)

    def _has_budget(self, ready: _ReadyOrder) -> bool:
        """Return whether an order may be sent with the rate budget that was taken beforehand."""
        age_ns = self._clock.monotonic_ns() - ready.taken_ns
        return (
            ready.taken_ns > 0 and age_ns <= _TAKEN_NS_MAX and not self._gate.is_blocked(ready.request.cost)
        )

    def _give_back(self, ready: _ReadyOrder) -> bool:
        """Give back the rate budget that was taken beforehand. Return whether there was any."""
        if ready.taken_ns:
            self._gate.give_back(ready.request.cost, ready.taken_ns)
        return ready.taken_ns > 0

    def _get_ready(self, order: Order) -> _ReadyOrder:
        """Return what was prepared of ``order``, or build it now."""
        return self._ready.get(order.client_id) or self._build(order)

    def _build(self, order: Order) -> _ReadyOrder:
        request = _orders(order.market).place(order, venue_id(self.tag, order.client_id))
        return _ReadyOrder(request, self._problem(order), self._promised(order))

    def _problem(self, order: Order) -> str:
        """Return which of the venue's rules ``order`` breaks; empty for an order that it must accept."""
        rules = self._legs[order.market].rules
        if rules.round_price(order.limit, order.side) != order.limit:
            return f"price {plain(order.limit)} is off the tick"
        if rules.round_quantity(order.quantity) != order.quantity:
            return f"quantity {plain(order.quantity)} is off the lot or above the largest"
        if not rules.accepts(order.limit, order.quantity):
            return (
                f"{plain(order.quantity)} at {plain(order.limit)} is outside the venue's minimum and maximum"
            )
        return ""

    def _promised(self, order: Order) -> Decimal:
        """Return the average price that the book promises for the order now; 0 without a book."""
        book = self._books.tradable(self._legs[order.market])
        if book is None:
            return ZERO
        levels = book.asks if order.side == "buy" else book.bids
        return exact(round(walk(levels, float(order.quantity)).price, 12))


def _orders(market: Market) -> OrderVenue:
    return get_adapter(market.venue).orders
