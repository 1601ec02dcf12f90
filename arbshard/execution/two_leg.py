"""The two-leg state machine decides what to send next so that an intent ends with no open leg. The code is pure.

Both legs are sent at once (or, after an exit that failed, the leg that failed first and alone). When they are final,
what was bought and what was sold are compared. A difference is first completed on the lagging venue (hedging), then
taken back on the leading one, and then a person is asked (stuck). ``TRANSITIONS`` is the whole table; what follows
depends on the state and one event, and each state needs the book of its own venue alone. The lagging venue completes
what its leg has still to trade. What was traded beyond that, as by an execution that the venue reported after its
order's end, is taken back where it happened: traded on the other venue, it would reverse the position. If both legs
were traded beyond what there was, nothing need be naked, yet the position is reversed: both are taken back.

Two budgets bound what an intent may cost. No order's limit is farther than ``intent_loss_bps_max`` behind the limit
of its leg. And what is naked, in reporting currency times seconds, may come to half of ``naked_krw_s_max`` while
hedging and to as much again while taking back. Whichever is spent leads to the next state. Each order of an intent
that is stuck is still within the first budget, and the pauses between them double.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from msgspec.structs import replace

from arbshard.config import ExecutionConfig
from arbshard.execution.plan import base_kept, make_order
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.intent import Intent
from arbshard.model.market import Leg, Market, Pair, Side
from arbshard.model.money import BPS, ONE, ZERO, exact
from arbshard.model.order import Order, OrderResult
from arbshard.model.position import Position

State = Literal["legs", "first_leg", "hedging", "taking_back", "stuck", "done"]
"""``legs``: both legs are out. ``first_leg``: one leg is out alone, the other waits for it. ``hedging``: the
difference is completed on the lagging venue. ``taking_back``: it is taken back on the leading venue. ``stuck``:
neither could be done within the budgets; a person is asked."""

StateEvent = Literal[
    "level",
    "open",
    "moved",
    "missed",
    "refused",
    "barred",
    "out_of_tries",
    "dark",
    "too_small",
    "too_dear",
    "turned",
    "overdue",
    "waited",
    "renewed",
]
"""``level``: no leg is open, or too little for either venue. ``open``: the legs are final and one is open, or an
execution that was reported late has opened one again. ``moved``, ``missed``: an order filled something, or nothing
at its price. ``refused``: the venue rejected it or did not accept it. ``barred``: the venue refused it, and will
refuse it again (key, market, rules). ``out_of_tries``: ``hedge_tries`` orders filled nothing. ``dark``: the venue
has had no tradable book for a while. ``too_small``: the venue accepts no order of this size. ``too_dear``: the price
is too far behind the leg's limit. ``turned``: both legs were traded beyond what there was, which only the venues
where it happened can undo. ``overdue``: the state's part of the naked budget is spent. ``waited``: a venue had
refused an order for the rules of its market, and these have been read again, or did not come in time. ``renewed``: a
person ordered the pair closed, which grants both budgets anew.
"""

TRANSITIONS: Final[Mapping[tuple[State, StateEvent], State]] = {
    ("legs", "level"): "done",
    ("legs", "open"): "hedging",
    ("first_leg", "level"): "done",
    ("first_leg", "open"): "hedging",
    ("hedging", "level"): "done",
    ("hedging", "moved"): "hedging",
    ("hedging", "missed"): "hedging",
    ("hedging", "refused"): "hedging",
    ("hedging", "barred"): "taking_back",
    ("hedging", "out_of_tries"): "taking_back",
    ("hedging", "dark"): "taking_back",
    ("hedging", "too_small"): "taking_back",
    ("hedging", "too_dear"): "taking_back",
    ("hedging", "turned"): "taking_back",
    ("hedging", "overdue"): "taking_back",
    ("taking_back", "level"): "done",
    ("taking_back", "moved"): "taking_back",
    ("taking_back", "missed"): "taking_back",
    ("taking_back", "refused"): "taking_back",
    ("taking_back", "barred"): "stuck",
    ("taking_back", "out_of_tries"): "stuck",
    ("taking_back", "dark"): "stuck",
    ("taking_back", "too_small"): "stuck",
    ("taking_back", "too_dear"): "stuck",
    ("taking_back", "overdue"): "stuck",
    ("taking_back", "waited"): "hedging",
    ("stuck", "level"): "done",
    ("stuck", "moved"): "stuck",
    ("stuck", "missed"): "stuck",
    ("stuck", "refused"): "stuck",
    ("stuck", "barred"): "stuck",
    ("stuck", "renewed"): "hedging",
    ("done", "open"): "hedging",
}
"""(state, event) → next state. An event that is not listed for a state cannot happen there."""

Books = Mapping[Market, OrderBookSnapshot | None]
"""The newest tradable book of both markets; None where there is none."""
_BARRED = ("order", "funds", "market", "venue")
"""Faults that the same order would meet again at once (``model.order.OrderFault``)."""
_FOLLOW_UP_STATE: Final[Mapping[str, State]] = {"hedge": "hedging", "unwind": "taking_back"}
_SLIPPAGE_BPS_MAX = Decimal(1000)
_EXIT_PRICE_SHARE = Decimal("0.95")
_DARK_NS = 2_000_000_000
"""A venue that has had no tradable book for so long, in ns, counts as unusable, if the other one has one."""
_RULES_NS = 5_000_000_000
"""Before a person is asked about an intent of which a venue has refused an order for the rules of its market (tick,
lot, minimum), the machine waits once for so long (ns) for new rules: they are read again at once, and workers follow
within a second.
"""
_DOUBLINGS_MAX = 10
_STUCK_TRIES_MAX = 100
"""After so many tries only a person makes a stuck intent send again: about eight hours at the longest pause by
default.
"""


class SendOrders(NamedTuple):
    """Says to send these orders, all at once."""

    orders: tuple[Order, ...]


class Withhold(NamedTuple):
    """Says not to send this leg at all."""

    order: Order
    why: str


class Ask(NamedTuple):
    """Says to ask the venues for the state of these orders."""

    orders: tuple[Order, ...]


class Pause(NamedTuple):
    """Says that nothing may be sent now. Come back after ``wait_ns`` at the latest."""

    wait_ns: int


class TwoLegEnd(NamedTuple):
    """Says that all orders are final and no leg is open."""

    closed: bool
    """Whether what is left of the position cannot be traded, so that it is over."""


Step = SendOrders | Withhold | Ask | Pause | TwoLegEnd


class TwoLeg:
    """Is one intent under way. Record results as they come; ask for the next step.

    All times are monotonic nanoseconds.
    """

    def __init__(
        self,
        intent: Intent,
        pair: Pair,
        before: Position | None,
        execution: ExecutionConfig,
        known: Iterable[OrderResult] = (),
        residue: Decimal = ZERO,
        now_ns: int = 0,
    ) -> None:
        """Begin, or continue from what is ``known``, in the order in which the orders were recorded.

        ``before``: the position that an exit closes. ``residue``: base that earlier positions of the pair left over;
        an exit was planned to use it up. The naked budget of an intent that is continued begins anew.
        """
        self._residue = residue if intent.kind == "exit" else ZERO
        self.intent = intent
        self._pair = pair
        self._execution = execution
        self._long, self._short = (
            (before.long_base, before.short_base) if before is not None else (ZERO, ZERO)
        )
        self._results: dict[str, OrderResult] = {}
        self.state: State = "legs" if intent.lead == "both" else "first_leg"
        self.why: StateEvent = "open"
        """The event that led to the state."""
        self._tries = 0
        """Number of orders of this state that filled nothing."""
        self._reach = 0
        """Number of orders of this intent that found nothing at their price: each further one reaches twice as far.
        """
        self._not_before_ns = now_ns
        self._dark_since_ns: int | None = None
        self._watched_ns = now_ns
        self._naked_krw_ns = ZERO
        """Amount that was naked in this state, in reporting currency times nanoseconds."""
        self._from_touch = False
        """Whether a person has renewed the budgets: the present price replaces the legs' limits."""
        self._doubts_rules = False
        """Whether a venue has refused an order for rules that have not been revised since."""
        self._rules_until_ns = 0
        """Time until which the machine waits for revised rules; 0 when it does not wait."""
        self._has_waited = False
        """Whether it has waited for them. All states after that share what was left of the naked budget."""
        for result in known:
            self.record(result, now_ns)

    def revise(self, pair: Pair) -> None:
        """Go on with changed rules and fees of the same two markets."""
        self._pair = pair
        self._doubts_rules = False
        if self._rules_until_ns:
            self._enter("waited", self._watched_ns)

    def record(self, result: OrderResult, now_ns: int) -> None:
        """Record the state of an order. A final state is never left again, and a known fill stays.

        A venue may report an execution after the end of its order: it counts like any other.
        """
        name = result.order.client_id
        old = self._results.get(name)
        if old is not None:
            fills = tuple({fill.fill_id: fill for fill in (*old.fills, *result.fills)}.values())
            if old.is_final:
                self._results[name] = replace(old, fills=fills)
                return
            result = replace(result, fills=fills)
        if result.order.role != "leg" and old is None:
            self._follow_role(result.order.role)
        self._results[name] = result
        self._doubts_rules = self._doubts_rules or result.fault == "order"
        if result.is_final and result.order.role != "leg":
            self._judge(result, now_ns)

    def is_news(self, result: OrderResult) -> bool:
        """Return whether ``result`` says anything that was not recorded yet."""
        old = self._results.get(result.order.client_id)
        known = {fill.fill_id for fill in old.fills} if old is not None else set()
        return (
            old is None
            or result.state != old.state
            or any(fill.fill_id not in known for fill in result.fills)
        )

    @property
    def results(self) -> tuple[OrderResult, ...]:
        """Return the results of all orders of the intent that were sent."""
        return tuple(self._results.values())

    @property
    def follow_ups(self) -> int:
        """Return how many hedges and unwinds there have been, sent or not."""
        return sum(1 for result in self._results.values() if result.order.role != "leg")

    @property
    def _next_number(self) -> int:
        """Return the number for the next order's name, above all numbers so far.

        They are not counted: an order that could not be paid for had a number too, which no successor learns.
        """
        return 1 + max((int(name.rpartition("-")[2][1:]) for name in self._results), default=0)

    @property
    def imbalance(self) -> Decimal:
        """Return how much base there is too much (negative: too little) of, from the position and the residue."""
        long, short = self._open()
        return long - short + self._residue

    def renew(self, now_ns: int) -> None:
        """Grant both budgets anew, from the present prices on. A person has ordered the pair closed."""
        if self.state == "stuck":
            self._from_touch = True
            self._has_waited = False
            self._reach = 0
            self._enter("renewed", now_ns)

    def next_step(self, home: OrderBookSnapshot | None, away: OrderBookSnapshot | None, now_ns: int) -> Step:
        """Return what to do now, at these books."""
        waiting = self._unsent()
        if waiting is not None:
            return waiting
        unclear = tuple(result.order for result in self._results.values() if not result.is_final)
        if unclear:
            self._watched_ns = (
                now_ns  # nothing can be done about a naked leg meanwhile, so the time does not count
            )
            return Ask(unclear)
        if self._is_level(home, away) and not self.turned(home, away):
            self._enter("level", now_ns)
            return TwoLegEnd(closed=not self._is_tradable(home, away))
        if self.state in ("legs", "first_leg", "done"):
            self._enter("open", now_ns)
        self._watch(now_ns)
        if now_ns < self._not_before_ns:
            return Pause(self._not_before_ns - now_ns)
        return self._follow_up(home, away, now_ns)

    def _unsent(self) -> Step | None:
        """Return the step for legs that are still to be sent or withheld; None if there are none."""
        intent = self.intent
        unsent = tuple(order for order in (intent.home, intent.away) if order.client_id not in self._results)
        if not unsent:
            return None
        for order in unsent:
            if self._is_too_small(order):
                return Withhold(order, "it is below the venue's minimum")
            if self._is_too_small(self._other(order)) and not self._lessens_imbalance(order):
                return Withhold(order, "the other leg is below its venue's minimum")
        first = intent.home if intent.lead == "home" else intent.away
        if self.state != "first_leg" or (self._is_too_small(first) and intent.reason != "one_leg"):
            return SendOrders(unsent)
        if first in unsent:
            return SendOrders((first,))
        if not self._results[first.client_id].is_final:
            return None  # it is asked about before anything else
        return Withhold(unsent[0], "the leg before it decides")

    def _other(self, leg: Order) -> Order:
        return self.intent.away if leg is self.intent.home else self.intent.home

    def _is_too_small(self, leg: Order) -> bool:
        """Return whether a leg of an exit is below the minimum of its venue, which would always refuse it.

        An exit plans a leg of one lot where the pair's residue leaves no more to be traded. It stays residue.
        """
        rules = self._pair.leg(leg.market.venue).rules
        return self.intent.kind == "exit" and rules.is_too_small(leg.limit, leg.quantity)

    def _lessens_imbalance(self, leg: Order) -> bool:
        """Return whether ``leg`` alone makes the imbalance smaller; otherwise it would only have to be taken back."""
        kept = base_kept(self._pair.leg(leg.market.venue))
        change = leg.quantity * kept if leg.side == "buy" else -leg.quantity
        return abs(self.imbalance + change) < abs(self.imbalance)

    def _follow_up(self, home: OrderBookSnapshot | None, away: OrderBookSnapshot | None, now_ns: int) -> Step:
        """Return the next hedge or unwind on the state's venue; the state changes where it cannot be sent."""
        books = {self._pair.home.market: home, self._pair.away.market: away}
        if self._rules_until_ns and self._naked_krw_ns < self._naked_krw_ns_max:
            if now_ns < self._rules_until_ns:
                return self._retry()
            self._enter("waited", now_ns)
        if self._is_level(home, away):  # but turned, or the end would have come
            return self._turn_back(books, now_ns)
        while self.state in ("hedging", "taking_back"):
            leg = self._lagging if self.state == "hedging" else self._leading
            event = self._obstacle(leg, books, now_ns)
            if event is None:
                book = books[leg.market]
                return self._send(leg, book) if book is not None else self._retry()
            self._enter(event, now_ns)
            if self._rules_until_ns:
                return self._retry()
        return self._unstick(books)

    def _turn_back(self, books: Books, now_ns: int) -> Step:
        """Return the two orders that take both legs back to nothing. Neither goes alone: it would be a naked leg."""
        if self.state == "hedging":
            self._enter("turned", now_ns)
        if self._is_dark(books.values(), now_ns) and any(books.values()):
            if self.state == "taking_back":
                self._enter("dark", now_ns)
            return self._retry()
        beyond = self.turned(*books.values())
        orders: list[Order] = []
        for leg in (self._pair.home, self._pair.away):
            book, side = books[leg.market], self._side_back(leg)
            order = self._order_of(leg, book, beyond, side)
            if book is None or order is None:
                return self._retry()
            if not self._is_within(leg, book, side):
                if self.state == "taking_back":
                    self._enter("too_dear", now_ns)
                return self._retry()
            orders.append(order)
        return SendOrders(tuple(orders)) if self._tries < _STUCK_TRIES_MAX else self._retry()

    def _is_dark(self, books: Iterable[OrderBookSnapshot | None], now_ns: int) -> bool:
        """Return whether one of the ``books`` that are needed has been missing for a while."""
        if all(books):
            self._dark_since_ns = None
            return False
        if self._dark_since_ns is None:
            self._dark_since_ns = now_ns
        return now_ns - self._dark_since_ns >= _DARK_NS

    def _obstacle(self, leg: Leg, books: Books, now_ns: int) -> StateEvent | None:
        """Return the event for which this state's venue is given up; None while it is not."""
        if self._naked_krw_ns >= self._naked_krw_ns_max:
            return "overdue"
        book = books[leg.market]
        if self._is_dark((book,), now_ns) and any(books.values()):
            return "dark"
        if book is None:
            return None
        if self._order(leg, book) is None:
            return "too_small"
        return None if self._is_within(leg, book, self._side) else "too_dear"

    def _unstick(self, books: Books) -> Step:
        """Return an order that is still within the loss budget, on both venues in turn."""
        legs: tuple[Leg, ...] = (self._lagging, self._leading)
        if self.intent.reason == "one_leg":
            legs = (self._lagging,)
        elif self._tries % 2:
            legs = (self._leading, self._lagging)
        if self._tries < _STUCK_TRIES_MAX:
            for leg in legs:
                book = books[leg.market]
                if (
                    book is not None
                    and self._order(leg, book) is not None
                    and self._is_within(leg, book, self._side)
                ):
                    return self._send(leg, book)
        return self._retry()

    def _send(self, leg: Leg, book: OrderBookSnapshot) -> SendOrders:
        order = self._order(leg, book)
        assert order is not None, leg.market
        return SendOrders((order,))

    def _retry(self) -> Pause:
        return Pause(int(self._execution.retry_ms * 1e6))

    def _judge(self, result: OrderResult, now_ns: int) -> None:
        """Change the state as the end of a hedge or unwind requires."""
        event: StateEvent = "moved"
        if not result.fills:
            self._tries += 1
            is_refused = result.state in ("REJECTED", "NOT_ACCEPTED")
            event = "refused" if is_refused else "missed"
            # A venue that did not examine the order shows nothing about its price.
            if result.state != "NOT_ACCEPTED":
                self._reach += 1
            if result.fault in _BARRED:
                event = "barred"
            elif self.state != "stuck" and self._tries >= self._execution.hedge_tries:
                event = "out_of_tries"
        before = self.state
        self._enter(event, now_ns)
        if not result.fills and self.state == before:  # another venue need not be waited for
            self._not_before_ns = now_ns + self._pause_ns()

    def _pause_ns(self) -> int:
        """Return the pause after an order that filled nothing.

        It doubles, and starts with seconds for a stuck intent.
        """
        execution = self._execution
        if self.state == "stuck":
            doubled_s = execution.pause_s * (1 << min(self._tries, _DOUBLINGS_MAX))
            return int(min(doubled_s, execution.pause_max_s) * 1e9)
        return int(execution.retry_ms * 1e6) << min(max(self._tries - 1, 0), _DOUBLINGS_MAX)

    def _enter(self, event: StateEvent, now_ns: int) -> None:
        """Go to the state that follows. ``KeyError``: a defect."""
        if (self.state, event) == ("done", "level"):  # the end was asked for once more
            return
        after = TRANSITIONS[self.state, event]
        if self.intent.reason == "one_leg" and after == "taking_back":
            after = "stuck"  # a person wanted one leg closed alone: it is not taken back
        if self._waits_for_rules(after, event):
            self._has_waited = True
            self._rules_until_ns = now_ns + _RULES_NS
            return
        if after != self.state:
            self._change_state(after, event, now_ns)

    def _waits_for_rules(self, after: State, event: StateEvent) -> bool:
        """Return whether rules that are being read again may help before a person is asked."""
        is_last = (self.state, after) == ("taking_back", "stuck") and event != "overdue"
        return is_last and self._doubts_rules and not self._has_waited

    def _change_state(self, after: State, event: StateEvent, now_ns: int) -> None:
        self.state, self.why = after, event
        self._tries = 0
        self._dark_since_ns = None
        self._rules_until_ns = 0
        if not self._has_waited:
            self._naked_krw_ns = ZERO
        self._watched_ns = self._not_before_ns = now_ns

    def _follow_role(self, role: str) -> None:
        """Enter the state in which a predecessor decided on an order that was sent."""
        if self.state == "stuck":
            return
        meant = _FOLLOW_UP_STATE[role]
        if self.state == "taking_back" and meant == "hedging":
            meant = "stuck"  # hedging comes after taking back only then
        if meant != self.state:
            self._change_state(meant, "open", self._watched_ns)

    def _watch(self, now_ns: int) -> None:
        """Count what was naked since the last step."""
        worth = abs(self.imbalance) * self.intent.home.limit
        self._naked_krw_ns += worth * max(0, now_ns - self._watched_ns)
        self._watched_ns = now_ns

    @property
    def _naked_krw_ns_max(self) -> Decimal:
        """Return the share of the naked budget that one state may use."""
        return Decimal(repr(self._execution.naked_krw_s_max)) * 1_000_000_000 / 2

    def _open(self) -> tuple[Decimal, Decimal]:
        """Return (long, short) base of the position after all fills so far."""
        home, away = ZERO, ZERO
        for result in self._results.values():
            is_home = result.order.market == self._pair.home.market
            for fill in result.fills:
                change = sum((amount for coin, amount in fill.changes() if coin == fill.market.base), ZERO)
                home, away = (home + change, away) if is_home else (home, away + change)
        entered_home = (self.intent.direction == "buy_home") == (self.intent.kind == "entry")
        if entered_home:
            return self._long + home, self._short - away
        return self._long + away, self._short - home

    @property
    def _side(self) -> Side:
        """Return the side of an order that takes the imbalance away."""
        return "sell" if self.imbalance > 0 else "buy"

    @property
    def _lagging(self) -> Leg:
        """Return the leg whose intended order is on that side: it traded too little."""
        return self._pair.home if self.intent.home.side == self._side else self._pair.away

    @property
    def _leading(self) -> Leg:
        """Return the other leg: it traded too much."""
        return self._pair.away if self._lagging is self._pair.home else self._pair.home

    def _is_level(self, home: OrderBookSnapshot | None, away: OrderBookSnapshot | None) -> bool:
        """Return whether what is open is too little for an order on either venue."""
        if not self.imbalance:
            return True
        return all(
            self._order(leg, book) is None for leg, book in ((self._pair.home, home), (self._pair.away, away))
        )

    def _order(self, leg: Leg, book: OrderBookSnapshot | None) -> Order | None:
        """Return the order on ``leg`` that takes the imbalance away; None when it is too small for the venue.

        Without a book it is priced at the limit of the leg, to know whether the venue would take it.
        """
        excess = abs(self.imbalance)
        if leg is self._lagging and self.intent.reason != "one_leg":
            beyond = max(excess - self._room, ZERO)
            if self._order_of(self._leading, None, beyond, self._side) is not None:
                excess -= beyond
        return self._order_of(leg, book, excess, self._side)

    def _order_of(
        self, leg: Leg, book: OrderBookSnapshot | None, excess: Decimal, side: Side
    ) -> Order | None:
        """Return the order on ``leg`` that trades ``excess``; None when it is too small for the venue."""
        quantity = leg.rules.round_quantity(excess / base_kept(leg) if side == "buy" else excess)
        name = "h" if leg is self._pair.home else "a"
        order = make_order(
            leg,
            side,
            quantity,
            self._limit(leg, book, side),
            f"{self.intent.intent_id}-{name}{self._next_number}",
            "hedge" if side == self.intent.order(leg.market.venue).side else "unwind",
        )
        # Venues measure their minimum at the limit: what only the touch lifts above it is refused for ever.
        return order if leg.rules.accepts(order.limit, quantity) else None

    def turned(self, home: OrderBookSnapshot | None = None, away: OrderBookSnapshot | None = None) -> Decimal:
        """Return the base by which both legs were traded beyond what there was; 0 if a venue would not take it back.

        The residue may lie on either venue, and was to be used up.
        """
        back = -max(self._open()) - abs(self._residue)
        if back <= 0 or self.intent.reason == "one_leg":
            return ZERO
        are_taken = all(
            self._order_of(leg, book, back, self._side_back(leg)) is not None
            for leg, book in ((self._pair.home, home), (self._pair.away, away))
        )
        return back if are_taken else ZERO

    def _side_back(self, leg: Leg) -> Side:
        """Return the side that makes the position on ``leg`` larger: that of its entry."""
        side = self.intent.order(leg.market.venue).side
        if self.intent.kind == "entry":
            return side
        return "buy" if side == "sell" else "sell"

    @property
    def _room(self) -> Decimal:
        """Return the base that the lagging leg may still trade.

        That is for an entry what was approved, and for an exit what is open. What earlier positions have left over
        may lie on either venue.
        """
        long, short = self._open()
        is_selling = self._side == "sell"
        if self.intent.kind == "exit":
            return max(long if is_selling else short, ZERO) + abs(self._residue)
        order = self.intent.order(self._lagging.market.venue)
        planned = order.quantity * (ONE if is_selling else base_kept(self._lagging))
        return max(planned - (short if is_selling else long), ZERO)

    def _limit(self, leg: Leg, book: OrderBookSnapshot | None, side: Side) -> Decimal:
        """Return a limit behind the touch by the reach of this try, and never beyond the loss budget."""
        bound = self._bound(leg, book, side)
        if book is None:
            return bound
        doubled = Decimal(str(self._execution.max_hedge_slippage_bps)) * (
            1 << min(self._reach, _DOUBLINGS_MAX)
        )
        slip = min(doubled, _SLIPPAGE_BPS_MAX) / BPS
        touch = exact(_touch(book, side))
        if side == "buy":
            return min(touch * (ONE + slip), bound)
        return max(touch * (ONE - slip), bound)

    def _bound(self, leg: Leg, book: OrderBookSnapshot | None, side: Side) -> Decimal:
        """Return the worst price that the loss budget allows on ``leg``."""
        reference = self.intent.order(leg.market.venue).limit
        if self._from_touch and book is not None:
            reference = exact(_touch(book, side))
        loss = Decimal(repr(self._execution.intent_loss_bps_max)) / BPS
        return reference * (ONE + loss if side == "buy" else ONE - loss)

    def _is_within(self, leg: Leg, book: OrderBookSnapshot, side: Side) -> bool:
        """Return whether the price to be had is near enough: while hedging within ``max_hedge_slippage_bps`` of the
        leg's limit, otherwise as far as the loss budget reaches.
        """
        best = exact(_touch(book, side))
        bound = self._bound(leg, book, side)
        if self.state == "hedging" and not self._from_touch and self.intent.reason != "one_leg":
            near = Decimal(str(self._execution.max_hedge_slippage_bps)) / BPS
            limit = self.intent.order(leg.market.venue).limit
            near_bound = limit * (ONE + near if side == "buy" else ONE - near)
            bound = min(bound, near_bound) if side == "buy" else max(bound, near_bound)
        return best <= bound if side == "buy" else best >= bound

    def _is_tradable(self, home: OrderBookSnapshot | None, away: OrderBookSnapshot | None) -> bool:
        """Return whether both legs that are left could still be closed by orders that their venues accept.

        They are valued a little below the books, because an exit's limits are behind them: a position that is just
        large enough today could never be closed tomorrow. Without a book the limit of the leg is used.
        """
        long, short = self._open()
        quantity = max(min(long, short), ZERO)
        return all(
            leg.rules.accepts(
                (exact(book.mid) if book is not None else order.limit) * _EXIT_PRICE_SHARE,
                leg.rules.round_quantity(quantity),
            )
            for leg, book, order in (
                (self._pair.home, home, self.intent.home),
                (self._pair.away, away, self.intent.away),
            )
        )


def _touch(book: OrderBookSnapshot, side: Side) -> float:
    """Return the price that an order on ``side`` meets first."""
    return book.best_ask if side == "buy" else book.best_bid
