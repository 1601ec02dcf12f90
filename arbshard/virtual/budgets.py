"""Judges what a trade may cost, how long and how much may be naked, and how often an order may be repeated. Pure.

==============  ================================================================================================
waste           what was bought and sold back on one venue within an intent, with its fees, is lost. Exits by rule
                are no longer approved once such exits have cost a position ``WASTE`` times
                ``exit_cost_bps_max`` of its notional, and no intent loses more than ``intent_loss_bps_max``
                beside its fees and what its own orders may slip
naked           while a venue of the pair works, an open leg accumulates ``naked_krw_s_max`` at most, and as much
                more as it takes to send the last orders. A pair that waits for a person may take one more pause.
                Time during which the state of an order is unknown does not count: nothing may be sent then
loss            no hedge or unwind may trade farther than ``intent_loss_bps_max`` behind the limit of the leg on its
                venue, unless a person has ordered the pair closed
stuck           an intent that has spent ``naked_krw_s_max`` has its pair set apart: a person is asked
probe           after an exit that a venue refused, nothing is traded on the other venue before the first one has
                filled something
facts           nothing is entered where a venue has refused an order for its market, key or address, from
                ``FACTS_S`` after the refusal until it takes an order again or is tried again
repeats         no more than ``REPEATS`` orders of a pair on one side of one venue fill nothing within
                ``REPEATS_S``
==============  ================================================================================================
"""

from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal

from arbshard.config import ExecutionConfig
from arbshard.ledger.events import (
    ClosesOrdered,
    Event,
    IntentApproved,
    IntentConcluded,
    OrderExtended,
    OrderReported,
    PairReleased,
    PairSetApart,
    PositionClosed,
    VenueStateChanged,
)
from arbshard.model.intent import Intent
from arbshard.model.market import Market
from arbshard.model.order import Order
from arbshard.virtual.executions import Execution, Executions

_ZERO = Decimal(0)
_BPS = Decimal(10_000)
REPEATS = 20
REPEATS_S = 10
WASTE = 3
FACTS_S = 10
_TICK_BPS = Decimal(20)
"""Largest effect of rounding prices to ticks, in basis points."""
_FEES_BPS = Decimal(60)
"""Fees of an intent that is closed by as many orders again, and both spreads, in basis points."""
_SENT_S = 10
"""Longest time that sending the last orders takes, in seconds."""
_ASKED_S = 30
"""Longest time from the moment when the budget is spent until a person is asked, in seconds."""
_BY_HAND = ("manual", "kill_switch", "shutdown")


_FEE_IN_COIN = Decimal("0.002")
"""Share of an order that is bought in addition because the fee is taken in coins."""


class _Turnover:
    """Holds what an intent has bought and sold on one venue."""

    def __init__(self) -> None:
        self.bought = self.paid = self.sold = self.received = self.fees = _ZERO

    def add(self, execution: Execution, quote_fee: Decimal, rate: Decimal) -> None:
        """Add an execution; ``rate``: KRW per unit of its quote."""
        worth = execution.quantity * execution.price * rate
        if execution.side == "buy":
            self.bought += execution.quantity
            self.paid += worth
        else:
            self.sold += execution.quantity
            self.received += worth
        self.fees += quote_fee * rate

    @property
    def wasted(self) -> Decimal:
        """Return the loss in KRW from coins that were bought and sold back."""
        there_and_back = min(self.bought, self.sold)
        if not there_and_back:
            return _ZERO
        lost = there_and_back * (self.paid / self.bought - self.received / self.sold)
        return lost + self.fees * 2 * there_and_back / (self.bought + self.sold)


class _Running:
    """Holds the state of an intent under way."""

    def __init__(self, intent: Intent) -> None:
        self.intent = intent
        self.orders: dict[str, Order] = {one.client_id: one for one in (intent.home, intent.away)}
        self.turnover = {intent.home.market: _Turnover(), intent.away.market: _Turnover()}
        self.fills: set[str] = set()
        self.refused: dict[Market, bool] = {}
        """By market: whether an order in the direction of its leg was refused, and not filled in any part."""
        self.unknown: set[str] = set()
        """Its orders whose state is unknown: until it is known, nothing may be sent."""
        self.known_ns = 0
        """Time at which the state of the last of them became known (monotonic ns)."""
        self.refusing: set[Market] = set()
        """Markets that have refused an order of it, and have filled none of its orders since."""
        self.is_asked = False
        """Whether a person was asked about it."""
        self.first: Market | None = None
        """Market on which an exit has to fill something first: its venue refused the exit before. None without such
        a refusal.
        """
        self.naked_before = _ZERO
        """Quantity that was naked before the exit: this much may be closed on either venue."""

    @property
    def wasted(self) -> Decimal:
        return sum((one.wasted for one in self.turnover.values()), _ZERO)


class _Waste:
    """Holds what exits that led nowhere have cost a position."""

    def __init__(self, notional: Decimal) -> None:
        self.notional = notional
        self.cost = _ZERO
        self.exits = 0


class _Nakedness:
    """Accumulates the value of an intent's open leg over time."""

    def __init__(self) -> None:
        self.venues: frozenset[str] = frozenset()
        """Venues that worked at the last check."""
        self.krw_s = 0.0
        self.all_krw_s = 0.0
        """Total over the whole time, whether venues worked or not (KRW times seconds)."""


class Budgets:
    """Judges the budgets: it takes every stored event in order, after ``own_books``, and checks naked legs once a
    second.
    """

    def __init__(
        self,
        execution: ExecutionConfig,
        executions: Executions,
        notional: Callable[[str], Decimal],
        naked_before: Callable[[Intent], Decimal],
        differ: Callable[[str], None],
    ) -> None:
        """Make the judge.

        ``notional`` returns the notional of a position, and ``naked_before`` what was naked before an exit began.
        """
        self._exit_cost_bps_max = Decimal(str(execution.exit_cost_bps_max))
        self._loss_bps_max = Decimal(str(execution.intent_loss_bps_max)) + _FEES_BPS
        self._naked_krw_s_max = execution.naked_krw_s_max
        self._pause_s_max = execution.pause_max_s
        self._executions = executions
        self._notional = notional
        self._naked_before = naked_before
        self.works: Callable[[str, str], bool] = lambda _venue, _symbol: True
        """Returns whether a venue takes orders of a symbol, as the exchanges themselves know."""
        self._differ = differ
        self._running: dict[str, _Running] = {}
        self._waste: dict[str, _Waste] = {}
        """Cost of exits that led nowhere, by position."""
        self._in_vain: dict[tuple[str, str, str], deque[int]] = {}
        """When orders that filled nothing ended, by pair, venue and side."""
        self._naked: dict[str, _Nakedness] = {}
        self._first: dict[str, Market] = {}
        """Market whose venue refused the last exit, by pair."""
        self._refusing_ns: dict[tuple[str, str], int] = {}
        """Time since when a venue refuses orders, by venue and symbol; the symbol is empty for the whole venue."""
        self._closing: dict[str, None] = {}
        """Pairs that a person has ordered closed: the loss of their intents counts from the prices at that time."""
        self.apart: dict[str, str] = {}
        """Pairs that wait for a person, with the reasons."""

    def add(self, event: Event, now_ns: int) -> None:
        """Apply the next event."""
        match event:
            case IntentApproved():
                self._approved(event.intent, now_ns)
            case OrderExtended():
                self._extended(event)
            case OrderReported():
                self._reported(event, now_ns)
            case IntentConcluded():
                self._concluded(event.intent_id)
            case PositionClosed():
                self._waste.pop(event.position.position_id, None)
                self._first.pop(event.position.pair, None)
                self._closing.pop(event.position.pair, None)
            case _:
                self._ordered(event)

    def _ordered(self, event: Event) -> None:
        match event:
            case PairSetApart():
                self.apart[event.pair] = event.cause
                running = self._running.get(event.intent_id)
                if running is not None:
                    running.is_asked = True
            case PairReleased():
                self.apart.pop(event.pair, None)
            case ClosesOrdered():
                self._closing.update(dict.fromkeys(event.pairs))
            case VenueStateChanged():
                if event.state != "refuses":
                    self._refusing_ns.pop((event.venue, event.symbol), None)
            case _:
                pass  # an order without executions costs nothing

    def _extended(self, event: OrderExtended) -> None:
        running, order = self._running.get(event.intent_id), event.order
        if running is None:
            return
        running.orders[order.client_id] = order
        intent = running.intent
        if event.pair in self._closing or intent.reason in _BY_HAND:
            return
        leg = intent.home if order.market == intent.home.market else intent.away
        reach = (self._loss_bps_max - _FEES_BPS + _TICK_BPS) / _BPS
        bound = leg.limit * (1 + reach if order.side == "buy" else 1 - reach)
        if order.limit > bound if order.side == "buy" else order.limit < bound:
            self._differ(
                f"loss: {order.client_id} may {order.side} at {order.limit:f}, its leg was to trade at {leg.limit:f}"
            )

    def last_trouble_ns(self, intent_id: str, now_ns: int) -> int:
        """Return when an intent last could not go on: the state of an order of it was unknown, or both venues had
        refused its orders, after which it is tried with pauses that grow.
        """
        running = self._running.get(intent_id)
        if running is None:
            return 0
        is_refused = len(running.refusing) > 1
        return now_ns if running.unknown or is_refused else running.known_ns

    def is_asked(self, intent_id: str) -> bool:
        """Return whether a person was asked about an intent: it is tried again with long pauses."""
        running = self._running.get(intent_id)
        return running is not None and running.is_asked

    def judge_naked(
        self, naked: Iterable[tuple[str, Decimal]], seconds: float, *, is_disturbed: bool
    ) -> None:
        """Judge ``naked``: the intents of which one leg is open, and its value. Call this every ``seconds``.

        ``is_disturbed`` is whether a fault of processes, network or machine may be the reason.
        """
        seen = set[str]()
        for intent_id, worth in naked:
            running = self._running.get(intent_id)
            if running is None:
                continue
            seen.add(intent_id)
            if running.unknown:
                continue
            known = self._naked.setdefault(intent_id, _Nakedness())
            legs = (running.intent.home.market, running.intent.away.market)
            working = frozenset(one.venue for one in legs if self.works(one.venue, one.symbol))
            known.all_krw_s = 0.0 if is_disturbed else known.all_krw_s + float(worth) * seconds
            spent = self._naked_krw_s_max + float(worth) * _ASKED_S
            if not running.is_asked and known.all_krw_s > spent:
                self._differ(
                    f"stuck: {intent_id} was naked for {known.all_krw_s:.0f} KRW s, and no person is asked"
                )
            if is_disturbed or working != known.venues or not working:
                known.venues, known.krw_s = working, 0.0
                continue
            known.krw_s += float(worth) * seconds
            most = self._naked_krw_s_max + float(worth) * _SENT_S
            if running.is_asked:
                most += float(worth) * self._pause_s_max
            if known.krw_s > most:
                self._differ(
                    f"budget: {intent_id} was naked for {known.krw_s:.0f} KRW s though "
                    f"{' and '.join(sorted(working))} took orders, {most:.0f} may be"
                )
        for intent_id in self._naked.keys() - seen:
            del self._naked[intent_id]

    def _approved(self, intent: Intent, now_ns: int) -> None:
        running = self._running[intent.intent_id] = _Running(intent)
        if intent.kind == "entry":
            self._entered(intent, now_ns)
        elif intent.reason not in _BY_HAND:
            running.first = self._first.get(intent.pair)
            running.naked_before = self._naked_before(intent)
        waste = self._waste.get(intent.position_id)
        if intent.kind == "entry" or waste is None or intent.reason in _BY_HAND:
            return
        most = WASTE * self._exit_cost_bps_max * waste.notional / _BPS
        if waste.cost > most:
            self._differ(
                f"waste: {intent.intent_id} was approved; {waste.exits} exits of {intent.position_id} have cost "
                f"{waste.cost:.0f} KRW in vain, {most:.0f} may be"
            )

    def _entered(self, intent: Intent, now_ns: int) -> None:
        for market in (intent.home.market, intent.away.market):
            for symbol in (market.symbol, ""):
                since_ns = self._refusing_ns.get((market.venue, symbol), now_ns)
                if now_ns - since_ns > FACTS_S * 1_000_000_000:
                    self._differ(
                        f"facts: {intent.intent_id} was approved, {market.venue} {symbol} refuses orders for "
                        f"{(now_ns - since_ns) / 1e9:.1f} s"
                    )

    def _state_facts(self, event: OrderReported, order: Order, now_ns: int) -> None:
        """Record what a reply to an order implies about its venue and market."""
        market = order.market
        if event.state in ("REJECTED", "NOT_ACCEPTED"):
            if event.fault in ("market", "venue"):
                symbol = market.symbol if event.fault == "market" else ""
                self._refusing_ns.setdefault((market.venue, symbol), now_ns)
        elif event.state in ("FILLED", "EXPIRED"):
            self._refusing_ns.pop((market.venue, market.symbol), None)
            self._refusing_ns.pop((market.venue, ""), None)

    def _state_direction(self, event: OrderReported, running: _Running, order: Order) -> None:
        """Record which venue has refused an exit, and check that the other one waits for it."""
        intent = running.intent
        leg = intent.home if order.market == intent.home.market else intent.away
        if event.fills and running.first not in (None, order.market):
            filled = any(
                one.bought + one.sold for key, one in running.turnover.items() if key == running.first
            )
            if not filled and not self._brings_home(event, running, order):
                self._differ(
                    f"probe: {order.client_id} was traded, and {running.first} had refused the exit before it"
                )
        if order.side != leg.side:
            return
        if event.fills:
            running.refused[order.market] = False
        elif event.state == "REJECTED":
            running.refused.setdefault(order.market, True)

    def _brings_home(self, event: OrderReported, running: _Running, order: Order) -> bool:
        """Return whether an exit's trades on an order's market are part of what was naked before the exit."""
        traded = running.turnover[order.market]
        sign = 1 if order.side == "buy" else -1
        brought = traded.bought - traded.sold + sign * sum((fill.quantity for fill in event.fills), _ZERO)
        return brought * running.naked_before < 0 and abs(brought) <= abs(
            running.naked_before
        ) + _FEE_IN_COIN * abs(brought)

    def _reported(self, event: OrderReported, now_ns: int) -> None:
        running = self._running.get(event.intent_id)
        order = running.orders.get(event.client_id) if running is not None else None
        if running is None or order is None:
            return  # the second bookkeeping of the ledger reports an unknown order
        if event.state == "UNKNOWN":
            running.unknown.add(event.client_id)
        else:
            if event.client_id in running.unknown:
                running.known_ns = now_ns
            running.unknown.discard(event.client_id)
        if event.fills:
            running.refusing.discard(order.market)
        elif event.state in ("REJECTED", "NOT_ACCEPTED") and event.fault:  # without one it was not sent
            running.refusing.add(order.market)
        self._state_facts(event, order, now_ns)
        if running.intent.kind == "exit":
            self._state_direction(event, running, order)
        for fill in event.fills:
            execution = self._executions.get(fill.fill_id)
            if execution is not None and fill.fill_id not in running.fills:
                running.fills.add(fill.fill_id)
                change = self._executions.change(execution)
                is_coin = change.fee_currency == execution.base
                fee = change.fee * execution.price if is_coin else change.fee
                rate = Decimal(1) if order.market == running.intent.home.market else running.intent.fx.ask
                running.turnover[order.market].add(execution, fee, rate)
        if event.state in ("REJECTED", "NOT_ACCEPTED") and event.detail != "approved too late":
            self._repeated(running.intent.pair, order, now_ns)

    def _repeated(self, pair: str, order: Order, now_ns: int) -> None:
        key = pair, order.market.venue, order.side
        times = self._in_vain.setdefault(key, deque(maxlen=REPEATS))
        if len(times) == REPEATS and now_ns - times[0] < REPEATS_S * 1_000_000_000:
            self._differ(
                f"repeats: {order.client_id} is the {REPEATS + 1}st order to {order.side} {pair} at "
                f"{order.market.venue} within {(now_ns - times[0]) / 1e9:.1f} s that was refused"
            )
        times.append(now_ns)

    def _concluded(self, intent_id: str) -> None:
        running = self._running.pop(intent_id, None)
        if running is None:
            return
        intent, wasted = running.intent, running.wasted
        refused = [market for market, is_refused in running.refused.items() if is_refused]
        if len(refused) == 1 and running.fills:
            self._first[intent.pair] = refused[0]
        elif running.fills:
            self._first.pop(intent.pair, None)
        notional = max(
            intent.home.quantity * intent.home.limit, self._notional(intent.position_id), Decimal(1)
        )
        if wasted <= 0:
            return
        most = notional * self._loss_bps_max / _BPS
        if wasted > most:
            self._differ(
                f"waste: {intent_id} has lost {wasted:.0f} KRW by trading forth and back, {most:.0f} may be"
            )
        if intent.kind == "exit":
            waste = self._waste.setdefault(intent.position_id, _Waste(notional))
            waste.cost += wasted
            waste.exits += 1
