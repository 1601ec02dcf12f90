"""Keeps the oracle's own books: what every position and account is worth by what the exchanges have executed. Pure.

Which fills belong to which intent is read from the stored events, because no other source contains it. Every amount
is taken from the exchanges' record (``executions``) and calculated here a second time; what the system states about
fees, flows, notional and results is only compared. ``bounds`` defines how much may be left over, and how expensive
it may be.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import NamedTuple

from arbshard.ledger.events import (
    Deposited,
    Event,
    IntentApproved,
    IntentConcluded,
    OrderExtended,
    OrderReported,
    PairSetApart,
    PositionChanged,
    PositionClosed,
    PositionOpened,
)
from arbshard.model.intent import FxQuote, Intent
from arbshard.model.order import Fill, Order
from arbshard.virtual.bounds import Bounds, PositionCost, price_of, value_of
from arbshard.virtual.executions import Execution, Executions

_ZERO = Decimal(0)
_TOLERANCE = Decimal("0.001")
"""Tolerance of amounts in reporting currency: average prices are stored with twelve decimals."""


class PairFlows:
    """Sums what was received and spent on both venues of a pair."""

    def __init__(self) -> None:
        self.home_base = self.home_quote = self.away_base = self.away_quote = _ZERO

    def add(self, *, is_home: bool, base: Decimal, quote: Decimal) -> None:
        """Add an execution."""
        if is_home:
            self.home_base += base
            self.home_quote += quote
        else:
            self.away_base += base
            self.away_quote += quote

    def join(self, other: "PairFlows") -> None:
        """Add everything that ``other`` holds."""
        self.add(is_home=True, base=other.home_base, quote=other.home_quote)
        self.add(is_home=False, base=other.away_base, quote=other.away_quote)

    @property
    def excess(self) -> Decimal:
        """Return the base that was bought and not sold; negative: sold and not bought."""
        return self.home_base + self.away_base


class Running:
    """Is an approved intent that has no outcome yet."""

    def __init__(self, intent: Intent, approved_ns: int) -> None:
        self.intent = intent
        self.approved_ns = approved_ns
        self.orders: dict[str, Order] = {one.client_id: one for one in (intent.home, intent.away)}
        self.executed: dict[str, Decimal] = {}
        self.fees: dict[str, Decimal] = {}
        """Stated fee less recorded fee, by order: some venues report an order's fee as one sum."""
        self.flows = PairFlows()
        self.late_base = _ZERO
        """Part of the flows that was reported after its order's end: a follow-up may have been decided on before."""
        self.fills: dict[str, None] = {}
        self.over: set[str] = set()
        """Orders that have ended."""
        self.follow_ups = 0
        """Follow-up orders that a venue has received, or may have received."""
        self.excused = 0
        """Follow-up orders that were executed in part or whole, or that a fault of the venue had refused."""
        self.is_stuck = False
        """Whether a person was asked about it: other bounds apply afterwards (``budgets``)."""
        self.bought = self.paid = _ZERO
        """Gross base and quote without fees, on the side where an entry buys."""
        self.naked_since_ns = 0
        """Time since when one leg is open (monotonic ns); 0 while none is."""
        self.shortfall = self.allowed = _ZERO
        """Excess of the executions' cost over the books' promise, and the excess that was allowed, in KRW."""
        self.residue = _ZERO
        """Base that an exit was to use up."""


class Holding:
    """Holds what has been received and spent for a position."""

    def __init__(self, intent: Intent) -> None:
        self.pair = intent.pair
        self.is_home_bought = intent.home.side == "buy"
        self.flows = PairFlows()
        self.notional = _ZERO
        self.shortfall = self.allowed = _ZERO
        """Sums over all intents of the position, as in ``Running``."""

    @property
    def long(self) -> Decimal:
        """Return the base on the venue where the entry bought."""
        return self.flows.home_base if self.is_home_bought else self.flows.away_base

    @property
    def short(self) -> Decimal:
        """Return the base that the entry sold on the other venue and that has not come back."""
        return -(self.flows.away_base if self.is_home_bought else self.flows.home_base)

    def held(self) -> PositionCost:
        """Return what the position has received and paid so far."""
        flows = self.flows
        return PositionCost(self.long, self.short, flows.home_quote, flows.away_quote, self.notional)

    def worth(self, fx: FxQuote, mark: Decimal) -> Decimal:
        """Return the value in KRW of everything that was received and spent."""
        return self.flows.home_quote + value_of(self.flows.away_quote, fx) + self.flows.excess * mark


class Naked(NamedTuple):
    """Is an intent of which one leg is open."""

    intent_id: str
    worth: Decimal
    since_ns: int


class _Due(NamedTuple):
    """Is a position whose intent was concluded and which the next event has to state."""

    holding: Holding
    concluded: IntentConcluded
    running: Running


class OwnBooks:
    """Keeps the books: it takes every stored event in order."""

    def __init__(
        self,
        executions: Executions,
        bounds: Bounds,
        differ: Callable[[str], None],
        *,
        tolerance: Decimal = _ZERO,
    ) -> None:
        """Make the books. ``tolerance`` is the largest difference that the digits of a venue's printed amounts
        cause.
        """
        self._printed = tolerance
        self._executions = executions
        self._bounds = bounds
        self._differ = differ
        self.owned: dict[tuple[str, str], Decimal] = {}
        """What we own, by venue and currency."""
        self.running: dict[str, Running] = {}
        self.holdings: dict[str, Holding] = {}
        """Open positions by id."""
        self.realised = _ZERO
        """Result of all closed positions, in KRW."""
        self.closed_count = 0
        self.residue: dict[str, Decimal] = {}
        """Base that closed positions of a pair have left over."""
        self._due: _Due | None = None
        """Position that the next event must state."""

    def add(self, event: Event, now_ns: int) -> None:
        """Apply the next stored event."""
        match event:
            case Deposited():
                self._move(event.venue, event.currency, event.amount)
            case IntentApproved():
                self._approved(event.intent, now_ns)
            case OrderExtended():
                self._extended(event)
            case OrderReported():
                self._reported(event, now_ns)
            case PairSetApart():
                if event.cause == "stuck" and event.intent_id in self.running:
                    self.running[event.intent_id].is_stuck = True
            case IntentConcluded():
                self._conclude(event)
            case PositionOpened() | PositionChanged() | PositionClosed():
                self._stated(event)
            case _:
                pass  # this event moves nothing

    def notional(self, position_id: str) -> Decimal:
        """Return the notional of an open position's entry, in KRW; 0 for a position that is not open."""
        holding = self.holdings.get(position_id)
        return holding.notional if holding is not None else _ZERO

    def naked_before(self, intent: Intent) -> Decimal:
        """Return the base that was bought and not sold before an exit began, or the reverse (negative)."""
        holding = self.holdings.get(intent.position_id)
        excess = holding.flows.excess if holding is not None else _ZERO
        return excess + self.residue.get(intent.pair, _ZERO)

    def free_coins(self, venue: str, base: str) -> Decimal:
        """Return the coins on a venue, less those that it has sold and that the ledger does not know of yet."""
        booked = {fill_id for running in self.running.values() for fill_id in running.fills}
        sold = (
            execution.quantity
            for fill_id, execution in self._executions.of_account(venue, base)
            if execution.side == "sell" and fill_id not in booked
        )
        return self.owned.get((venue, base), _ZERO) - sum(sold, _ZERO)

    def free_quote(self, venue: str, quote: str) -> Decimal:
        """Return the money on a venue, less what it has spent and the ledger does not know of yet."""
        booked = {fill_id for running in self.running.values() for fill_id in running.fills}
        spent = (
            self._executions.change(execution).quote
            for fill_id, execution in self._executions.in_quote(venue, quote)
            if execution.side == "buy" and fill_id not in booked
        )
        return self.owned.get((venue, quote), _ZERO) + sum(spent, _ZERO)

    def is_booked(self, intent_id: str, fill_id: str) -> bool:
        """Return whether a fill of an intent is in the ledger; this holds if the intent has ended."""
        running = self.running.get(intent_id)
        return running is None or fill_id in running.fills

    def unbooked(self, intent_id: str, holder: str) -> Iterator[str]:
        """Yield the fills of an intent that the exchanges have executed for ``holder`` and the ledger has not."""
        running = self.running.get(intent_id)
        for client_id in running.orders if running is not None else ():
            for fill_id, execution in self._executions.of_order(client_id).items():
                # Where a venue keeps accounts, every part of an order can be queried, whichever process sent it.
                is_asked = execution.holder in ("", holder)
                if running is not None and is_asked and fill_id not in running.fills:
                    yield fill_id

    def naked(self) -> Iterator[Naked]:
        """Yield the intents of which one leg is open."""
        for intent_id, running in self.running.items():
            if running.naked_since_ns:
                yield Naked(intent_id, self._worth_open(running), running.naked_since_ns)

    def _move(self, venue: str, currency: str, amount: Decimal) -> None:
        total = self.owned[venue, currency] = self.owned.get((venue, currency), _ZERO) + amount
        if total < 0:
            self._differ(f"money: {total:f} {currency} on {venue}, which is less than nothing")

    def _approved(self, intent: Intent, now_ns: int) -> None:
        running = self.running[intent.intent_id] = Running(intent, now_ns)
        running.residue = self.residue.get(intent.pair, _ZERO)
        holding = self.holdings.get(intent.position_id)
        held = holding.held() if intent.kind == "exit" and holding is not None else None
        if held is not None:
            self._bounds.planned_exit(intent, held, running.residue, self._kept(intent))
        self._bounds.approved(intent, held)

    def _kept(self, intent: Intent) -> Decimal:
        """Return the base that arrives if the intent's buying order fills whole."""
        order = intent.home if intent.home.side == "buy" else intent.away
        market = order.market
        whole = Execution(
            order.client_id, "", market.venue, market.symbol, market.base, market.quote, "buy", order.quantity,
            order.limit,
        )  # fmt: skip
        return self._executions.change(whole).base

    def _extended(self, event: OrderExtended) -> None:
        running = self.running.get(event.intent_id)
        if running is None:
            return
        order = event.order
        running.orders[order.client_id] = order
        excess = self._excess(running)
        back = self._turned(running, order)
        # What was reported after an order's end may have arrived when the follow-up had been decided on.
        self._bounds.follow_up(
            running.intent,
            order,
            running.follow_ups,
            running.follow_ups if running.is_stuck else running.excused,
            (excess, excess - running.late_base, back),
            running.approved_ns,
        )
        running.follow_ups += 1
        price = price_of(running.intent)
        if order.role == "unwind" and abs(back) * price >= self._bounds.least_order(running.intent):
            running.excused += 1  # it is no attempt to hedge

    def _excess(self, running: Running) -> Decimal:
        """Return the base that is too much or too little, and that the intent has to reduce to nothing."""
        excess = running.flows.excess
        if running.intent.kind == "exit":
            holding = self.holdings.get(running.intent.position_id)
            excess += holding.flows.excess if holding is not None else _ZERO
            excess += self.residue.get(running.intent.pair, _ZERO)
        return excess

    def _turned(self, running: Running, order: Order) -> Decimal:
        """Return the base that is too much or too little on the order's venue, if the direction of both legs has
        reversed.
        """
        intent = running.intent
        holding, residue = self.holdings.get(intent.position_id), _ZERO
        after = PairFlows()
        after.join(running.flows)
        if intent.kind == "exit" and holding is not None:
            after.join(holding.flows)
            residue = abs(self.residue.get(intent.pair, _ZERO))
        enters_home = (intent.home.side == "buy") == (intent.kind == "entry")
        long, short = after.home_base, -after.away_base
        if not enters_home:
            long, short = -short, -long
        beyond = min(-long, -short) - residue
        if beyond <= 0:
            return _ZERO
        is_long_venue = (order.market == intent.home.market) == enters_home
        return -beyond if is_long_venue else beyond

    def _reported(self, event: OrderReported, now_ns: int) -> None:
        running = self.running.get(event.intent_id)
        order = running.orders.get(event.client_id) if running is not None else None
        if running is None or order is None:
            return  # the second bookkeeping of the ledger reports an unknown order
        for fill in event.fills:
            execution = self._executions.get(fill.fill_id)
            if execution is None or fill.fill_id in running.fills:
                self._differ(f"fills: {fill.fill_id} is booked, the exchange has not executed it once more")
                continue
            self._compare(fill, execution, order, running)
            running.fills[fill.fill_id] = None
            self._book(running, order, execution)
        if order.role != "leg":
            self._excuse(running, event)
        if event.state not in ("SUBMITTED", "UNKNOWN"):
            running.over.add(event.client_id)
        whole = running.executed.get(event.client_id, _ZERO) == order.quantity
        if event.state == "FILLED" and not whole:
            self._differ(f"fills: {event.client_id} is called filled and is not")
        open_leg = self._worth_open(running) > self._bounds.least_order(running.intent)
        if not open_leg:
            running.naked_since_ns = 0
        elif not running.naked_since_ns:
            running.naked_since_ns = now_ns

    def _excuse(self, running: Running, event: OrderReported) -> None:
        """Excuse a follow-up that was executed in part, or that a fault had refused: it is no reason to give up.

        A follow-up that never reached its venue does not count.
        """
        if event.state == "NOT_ACCEPTED":
            running.follow_ups -= 1
        elif event.state == "REJECTED" or (event.fills and event.state != "FILLED"):
            running.excused += 1

    def _book(self, running: Running, order: Order, execution: Execution) -> None:
        change = self._executions.change(execution)
        is_home = order.market == running.intent.home.market
        self._move(execution.venue, execution.base, change.base)
        self._move(execution.venue, execution.quote, change.quote)
        running.flows.add(is_home=is_home, base=change.base, quote=change.quote)
        running.executed[order.client_id] = running.executed.get(order.client_id, _ZERO) + execution.quantity
        if execution.is_late:
            running.late_base += change.base
        leg = running.intent.home if is_home else running.intent.away
        if execution.side == "buy" == leg.side:
            running.bought += execution.quantity
            running.paid += execution.quantity * execution.price
        cost = self._bounds.cost(running.intent, order, execution)
        # A venue with another fee than the configured one makes the trade more or less expensive by the difference.
        dearer = self._executions.unexpected_fee(execution) * (1 if is_home else running.intent.fx.ask)
        running.shortfall += cost.shortfall + dearer
        running.allowed += cost.allowed + dearer

    def _compare(self, fill: Fill, execution: Execution, order: Order, running: Running) -> None:
        change = self._executions.change(execution)
        market = fill.market
        said = (fill.client_id, market.venue, market.symbol, fill.side, fill.quantity, fill.price)
        true = (
            execution.client_id, execution.venue, execution.symbol, execution.side, execution.quantity,
            execution.price,
        )  # fmt: skip
        if said != true:
            self._differ(f"fills: {fill.fill_id} is booked as {said}, the exchange has executed {true}")
        if execution.fee is not None and fill.fee_currency == change.fee_currency:
            fees = running.fees
            fees[order.client_id] = fees.get(order.client_id, _ZERO) + fill.fee - change.fee
        elif (fill.fee, fill.fee_currency) != (change.fee, change.fee_currency):
            self._differ(
                f"fees: {fill.fill_id} is booked with {fill.fee} {fill.fee_currency}, "
                f"the venue takes {change.fee} {change.fee_currency}"
            )
        is_worse = execution.price > order.limit if order.side == "buy" else execution.price < order.limit
        if is_worse or execution.quantity <= 0:
            self._differ(
                f"fills: {fill.fill_id} is of {execution.quantity} at {execution.price}, beyond its limit"
            )

    def _worth_open(self, running: Running) -> Decimal:
        return abs(self._excess(running)) * price_of(running.intent)

    def _conclude(self, event: IntentConcluded) -> None:
        running = self.running.pop(event.intent_id, None)
        if running is None:
            return
        intent = running.intent
        for client_id, over in running.fees.items():
            if abs(over) > self._printed:
                self._differ(f"fees: {client_id} is booked with {over:f} more than its venue has taken")
        excess = self._excess(running)
        holding = self.holdings.get(intent.position_id)
        if intent.kind == "entry" and running.fills:
            holding = Holding(intent)
            buys_home = holding.is_home_bought
            average = running.paid / running.bought if running.bought else _ZERO
            kept = running.flows.home_base if buys_home else running.flows.away_base
            # USDT that is spent must be bought: an entry that buys on the away venue costs the FX ask.
            holding.notional = max(kept, _ZERO) * average * (1 if buys_home else intent.fx.ask)
        if holding is not None and running.fills:
            holding.flows.join(running.flows)
            holding.shortfall += running.shortfall
            holding.allowed += running.allowed
            self._bounds.left_over(intent, excess, event.mark)
        self._executions.forget(running.orders)
        if holding is not None and event.position_state is not None:
            self._due = _Due(holding, event, running)
        else:
            self._bounds.forget(intent.intent_id, running.orders)

    def _stated(self, event: PositionOpened | PositionChanged | PositionClosed) -> None:
        due, self._due = self._due, None
        if due is None:
            return  # the second bookkeeping of the ledger reports an unknown order
        self._compare_statement(event, due.holding)
        if isinstance(event, PositionClosed):
            self._closed(event, due)
        else:
            self.holdings[event.position.position_id] = due.holding
        self._bounds.forget(due.running.intent.intent_id, due.running.orders)

    def _compare_statement(
        self, event: PositionOpened | PositionChanged | PositionClosed, holding: Holding
    ) -> None:
        stated = event.position
        flows = stated.flows
        said = (flows.home_base, flows.home_quote, flows.away_base, flows.away_quote)
        mine = holding.flows
        if said != (mine.home_base, mine.home_quote, mine.away_base, mine.away_quote):
            self._differ(
                f"positions: {stated.position_id} is stated with flows that its executions do not make"
            )
        if abs(stated.entry_notional - holding.notional) > _TOLERANCE:
            self._differ(
                f"exposure: the entry of {stated.position_id} is stated as {stated.entry_notional:.3f}, "
                f"its executions come to {holding.notional:.3f}"
            )

    def _closed(self, event: PositionClosed, due: _Due) -> None:
        stated, (holding, concluded, running) = event.position, due
        self.holdings.pop(stated.position_id, None)
        self.residue[holding.pair] = self.residue.get(holding.pair, _ZERO) + holding.flows.excess
        worth = holding.worth(concluded.fx, concluded.mark)
        self.realised += worth
        self.closed_count += 1
        if stated.pnl is None or abs(stated.pnl - worth) > _TOLERANCE:
            self._differ(
                f"results: {stated.position_id} is closed with {stated.pnl}, its executions make {worth}"
            )
        self._bounds.closed(stated.position_id, holding.shortfall, holding.allowed)
        intent = running.intent
        if intent.reason != "one_leg":
            self._bounds.left_on_each_venue(
                intent, (holding.long, holding.short), abs(running.residue), concluded.mark
            )
        if intent.kind == "exit" and not running.late_base:
            # At the rate of the decision: no order is responsible for what the FX market has moved since.
            worth = holding.worth(intent.fx, concluded.mark)
            aside = abs(running.residue) + abs(holding.long) + abs(holding.short)
            self._bounds.brought(intent, holding.notional, worth, running.shortfall, aside, concluded.mark)
