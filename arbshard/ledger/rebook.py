"""Computes the positions a second time, from approved intents and fills, for ``verify`` to compare with the
statements.

It deliberately shares nothing with ``risk.portfolio.settlement``: amounts are added up leg by leg here. Pure.
"""

from collections.abc import Callable
from decimal import Decimal

from arbshard.ledger.carry import CarriedHolding, CarriedIntent, CarriedOrder, Carry
from arbshard.ledger.events import (
    AccountOpened,
    Deposited,
    DifferenceFound,
    DifferenceResolved,
    EquityMarked,
    Event,
    Halted,
    IntentApproved,
    IntentConcluded,
    OrderExtended,
    OrderReported,
    PairReleased,
    PairSetApart,
    PositionChanged,
    PositionClosed,
    PositionOpened,
    PositionStatement,
    Resumed,
    StrayFound,
    StrayGone,
    TransferEnded,
    VenueStateChanged,
)
from arbshard.ledger.reblock import Blocks
from arbshard.model.intent import BY_HAND, FxQuote, Intent
from arbshard.model.money import ZERO, plain
from arbshard.model.order import FINAL_STATES, Fill, Order, OrderState
from arbshard.model.position import Position

_ROUNDED = Decimal("0.02")
"""By how much the difference of two valuations may be off, because each is rounded to two places."""


class _Running:
    """Is an approved intent without an outcome."""

    def __init__(self, intent: Intent) -> None:
        self.intent = intent
        self.orders: dict[str, Order] = {}
        self.states: dict[str, OrderState] = {}
        self.executed: dict[str, Decimal] = {}
        self.fills: list[Fill] = []
        self.add(intent.home)
        self.add(intent.away)

    def add(self, order: Order) -> None:
        self.orders[order.client_id] = order
        self.states[order.client_id] = "INTENT"
        self.executed[order.client_id] = ZERO


class _Holding:
    """Is a position as its fills make it."""

    def __init__(self, intent: Intent) -> None:
        self.entry = intent
        self.home_base = self.home_quote = self.away_base = self.away_quote = self.fees = ZERO
        self.other_fees = ZERO
        self.away_cost: Decimal | None = ZERO
        self.is_open = True

    def add(self, fill: Fill, fx: FxQuote) -> None:
        signed = fill.quantity if fill.side == "buy" else -fill.quantity
        # A fee in any other coin is in neither amount; its sum is stated separately.
        in_coin, in_quote = (fill.fee_currency == one for one in (fill.market.base, fill.market.quote))
        base = signed - (fill.fee if in_coin else ZERO)
        quote = -signed * fill.price - (fill.fee if in_quote else ZERO)
        paid = fill.fee * fill.price if in_coin else fill.fee if in_quote else ZERO
        if fill.market == self.entry.home.market:
            self.home_base += base
            self.home_quote += quote
            self.fees += paid
        else:
            self.away_base += base
            self.away_quote += quote
            self.fees += paid * fx.ask

    @classmethod
    def resumed(cls, carried: CarriedHolding) -> "_Holding":
        holding = cls(carried.entry)
        holding.home_base, holding.home_quote = carried.home_base, carried.home_quote
        holding.away_base, holding.away_quote = carried.away_base, carried.away_quote
        holding.fees, holding.other_fees = carried.fees, carried.other_fees
        holding.away_cost = carried.away_cost
        return holding

    def worth(self, fx: FxQuote, mark: Decimal) -> Decimal:
        rate = fx.bid if self.away_quote >= 0 else fx.ask
        held = self.home_quote + self.away_quote * rate + (self.home_base + self.away_base) * mark
        return held - self.other_fees

    def flows(self) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        return self.home_base, self.home_quote, self.away_base, self.away_quote


class Rebook:
    """Applies the events in order and calls ``differ`` with each thing that does not follow from the fills."""

    def __init__(self, differ: Callable[[str], None]) -> None:
        self._differ = differ
        self._running: dict[str, _Running] = {}
        self._ended: set[str] = set()
        self._fill_ids: set[str] = set()
        self._due: tuple[int, IntentConcluded, Intent, _Holding] | None = None
        """A conclusion whose statement must be the next event."""
        self._halted = False
        self._stopped = False
        """Whether the halt stops exits too."""
        self._realised: tuple[Decimal, Decimal] | None = None
        """The realised result at the last valuation, and ``pnl`` at that time."""
        self._blocks = Blocks(differ)
        self.positions: dict[str, _Holding] = {}
        self.fills = 0
        self.closed = 0
        self.pnl = ZERO
        """Result of closed positions, in reporting currency."""
        self.beside = ZERO
        """What counts as a result beside them, in reporting currency."""

    def resume(self, carry: Carry) -> None:
        """Begin with what the period before has left open. Called before the first event."""
        self.positions = {one.position_id: _Holding.resumed(one) for one in carry.holdings}
        for carried in carry.intents:
            running = _Running(carried.intent)
            for one in carried.orders:
                running.add(one.order)
                running.states[one.order.client_id] = one.state
            for fill in carried.fills:
                running.fills.append(fill)
                running.executed[fill.client_id] += fill.quantity
                self._fill_ids.add(fill.fill_id)
            self._running[carried.intent.intent_id] = running
        self._halted, self._stopped = carry.halted, carry.stopped
        self._blocks.resume(carry.differences, carry.strays, carry.apart, carry.refusing)

    def carry(self) -> Carry:
        """Return what is open now. Not to be called between a conclusion and its statement (``is_settled``)."""
        differences, strays, apart = self._blocks.carry()
        return Carry(
            holdings=tuple(
                CarriedHolding(name, one.entry, *one.flows(), one.fees, one.other_fees, one.away_cost)
                for name, one in self.positions.items()
                if one.is_open
            ),
            intents=tuple(
                CarriedIntent(
                    running.intent,
                    tuple(
                        CarriedOrder(order, running.states[name]) for name, order in running.orders.items()
                    ),
                    tuple(running.fills),
                )
                for running in self._running.values()
            ),
            halted=self._halted,
            stopped=self._stopped,
            apart=apart,
            refusing=self._blocks.refusing,
            differences=differences,
            strays=strays,
        )

    def forget_ended(self) -> None:
        """Forget intents, positions and fills that no later event can refer to."""
        self.positions = {name: one for name, one in self.positions.items() if one.is_open}
        self._ended.clear()
        self._fill_ids = {fill.fill_id for running in self._running.values() for fill in running.fills}

    @property
    def is_settled(self) -> bool:
        """Return whether no statement of a position is due."""
        return self._due is None

    def add(self, seq: int, event: Event) -> None:
        """Apply the next event."""
        if isinstance(event, PositionOpened | PositionChanged | PositionClosed):
            self._statement(seq, event)
            return
        self.finish()
        match event:
            case IntentApproved():
                self._approved(seq, event.intent)
            case OrderExtended():
                running = self._known(seq, event.intent_id)
                if running is not None:
                    running.add(event.order)
            case OrderReported():
                self._reported(seq, event)
            case IntentConcluded():
                self._concluded(seq, event)
            case Halted() | Resumed() | EquityMarked() | Deposited() | TransferEnded():
                self._watched(seq, event)
            case AccountOpened() | DifferenceFound() | DifferenceResolved() | StrayFound() | StrayGone():
                self._blocks.add(seq, event)
            case PairSetApart() | PairReleased() | VenueStateChanged():
                self._blocks.bar(seq, event)
            case _:
                pass  # moves no position

    def _moved(self, seq: int, event: Deposited | TransferEnded) -> None:
        """Count what was moved beside trading; only some kinds of deposits may count as a result."""
        counts = event.value
        self.beside += counts
        result_kinds = ("fee", "unexplained")
        is_result = event.why in result_kinds if isinstance(event, Deposited) else counts <= 0
        if counts and not is_result:
            self._differ(f"event {seq}: {plain(counts)} count as a result, and nothing was gained or lost")

    def finish(self) -> None:
        """Report a statement that is missing: there is no further event, or the next one is not a statement."""
        if self._due is not None:
            self._differ(
                f"event {self._due[0]}: the position that {self._due[1].intent_id} left is not stated"
            )
            self._due = None

    def _approved(self, seq: int, intent: Intent) -> None:
        if intent.intent_id in self._running or intent.intent_id in self._ended:
            self._differ(f"event {seq}: {intent.intent_id} was approved before")
            return
        if self._halted and intent.kind == "entry":
            self._differ(f"event {seq}: {intent.intent_id} was approved while everything was halted")
        if self._stopped and intent.kind == "exit" and intent.reason not in BY_HAND:
            self._differ(f"event {seq}: {intent.intent_id} was approved while exits were stopped")
        why = self._blocks.block_of(intent) if intent.kind == "entry" else None
        if why is not None:
            self._differ(f"event {seq}: {intent.intent_id} was approved though {why}")
        self._running[intent.intent_id] = _Running(intent)

    def _watched(self, seq: int, event: Halted | Resumed | EquityMarked | Deposited | TransferEnded) -> None:
        """Follow halts, transfers and valuations.

        What is realised between two valuations must equal the results of the positions closed meanwhile and what
        counts beside them.
        """
        if isinstance(event, Deposited | TransferEnded):
            self._moved(seq, event)
            return
        if not isinstance(event, EquityMarked):
            self._halted = isinstance(event, Halted)
            self._stopped = isinstance(event, Halted) and event.level == "stopped"
            return
        realised = event.equity - event.unrealised
        before = self._realised
        pnl = self.pnl + self.beside
        if before is not None and abs(realised - before[0] - pnl + before[1]) > _ROUNDED:
            self._differ(
                f"event {seq}: {plain(realised)} is stated as realised, "
                f"{plain(before[0])} at the last valuation, {plain(pnl - before[1])} since"
            )
        self._realised = realised, pnl

    def _reported(self, seq: int, event: OrderReported) -> None:
        running = self._known(seq, event.intent_id)
        if running is None:
            return
        order = running.orders.get(event.client_id)
        if order is None:
            self._differ(f"event {seq}: {event.client_id} was never approved")
            return
        before = running.states[event.client_id]
        if before in FINAL_STATES and event.state != before:
            self._differ(f"event {seq}: {event.client_id} was {before} and became {event.state}")
        running.states[event.client_id] = event.state
        for fill in event.fills:
            if fill.fill_id in self._fill_ids:
                self._differ(f"event {seq}: fill {fill.fill_id} is booked twice")
            if (fill.client_id, fill.market, fill.side) != (order.client_id, order.market, order.side):
                self._differ(f"event {seq}: fill {fill.fill_id} is not of {order.client_id}")
            self._fill_ids.add(fill.fill_id)
            self.fills += 1
            running.fills.append(fill)
            running.executed[event.client_id] += fill.quantity
        executed = running.executed[event.client_id]
        if executed > order.quantity or (event.state == "FILLED" and executed != order.quantity):
            self._differ(
                f"event {seq}: {event.client_id} is {event.state} with {plain(executed)} executed of "
                f"{plain(order.quantity)}"
            )

    def _concluded(self, seq: int, event: IntentConcluded) -> None:
        running = self._known(seq, event.intent_id)
        if running is None:
            return
        del self._running[event.intent_id]
        self._ended.add(event.intent_id)
        for client_id, state in running.states.items():
            if state not in FINAL_STATES:
                self._differ(f"event {seq}: {event.intent_id} ended while {client_id} was {state}")
        intent = running.intent
        if intent.kind == "entry" and running.fills:
            self.positions[intent.position_id] = _Holding(intent)
        holding = self.positions.get(intent.position_id)
        if intent.kind == "entry" and not running.fills:
            if event.position_state is not None:
                self._differ(f"event {seq}: {event.intent_id} filled nothing and left a position")
        elif holding is None or not holding.is_open:
            self._differ(f"event {seq}: {event.intent_id} ends {intent.position_id}, which is not open")
        else:
            self._left(seq, event, running, holding)

    def _left(self, seq: int, event: IntentConcluded, running: _Running, holding: _Holding) -> None:
        intent = running.intent
        away_before = holding.away_quote
        for fill in running.fills:
            holding.add(fill, intent.fx)
        if holding.away_cost is not None:
            rate = (event.fx.bid + event.fx.ask) / 2
            holding.away_cost += (holding.away_quote - away_before) * rate
        self._other_fees(seq, event, running, holding)
        if event.position_id != intent.position_id:
            self._differ(f"event {seq}: {event.intent_id} left {intent.position_id}, not {event.position_id}")
        if event.position_state == "CLOSED":
            if not event.done:
                self._differ(f"event {seq}: {intent.position_id} was closed though it was not done")
            holding.is_open = False
            self.closed += 1
            self.pnl += holding.worth(event.fx, event.mark)
        self._due = seq, event, intent, holding

    def _other_fees(self, seq: int, event: IntentConcluded, running: _Running, holding: _Holding) -> None:
        """Check whether there are fees in other coins; their value cannot be recomputed."""
        paid = any(
            fill.fee and fill.fee_currency not in (fill.market.base, fill.market.quote)
            for fill in running.fills
        )
        if event.other_fees < 0 or (event.other_fees and not paid):
            self._differ(
                f"event {seq}: {event.intent_id} values fees in other coins at {plain(event.other_fees)}, "
                f"its fills have {'some' if paid else 'none'}"
            )
        holding.fees += event.other_fees
        holding.other_fees += event.other_fees

    def _statement(self, seq: int, event: PositionStatement) -> None:
        due, self._due = self._due, None
        stated = event.position
        if due is None or due[1].intent_id != event.intent_id:
            self._differ(f"event {seq}: nothing before it led to this state of {stated.position_id}")
            return
        _, conclusion, intent, holding = due
        for name, said, found in (
            *_figures(stated, holding),
            ("state", stated.state, "OPEN" if holding.is_open else "CLOSED"),
            ("pair", stated.pair, holding.entry.pair),
            ("direction", stated.direction, holding.entry.direction),
            ("kind", isinstance(event, PositionClosed), not holding.is_open),
            ("reason", stated.reason, _reason(intent, holding)),
            ("PnL", _text(stated.pnl), _text(_pnl(conclusion, holding))),
            *_fx_figures(stated, conclusion, holding),
        ):
            if said != found:
                self._differ(
                    f"event {seq}: {name} of {stated.position_id} is stated as {said}, its fills make {found}"
                )

    def _known(self, seq: int, intent_id: str) -> _Running | None:
        running = self._running.get(intent_id)
        if running is None:
            self._differ(f"event {seq}: intent {intent_id} is not open")
        return running


def _figures(stated: Position, holding: _Holding) -> list[tuple[str, str, str]]:
    flows = stated.flows
    said = (
        flows.home_base,
        flows.home_quote,
        flows.away_base,
        flows.away_quote,
        stated.fees,
        stated.other_fees,
    )
    names = ("home base", "home quote", "away base", "away quote", "fees", "fees in other coins")
    found = (*holding.flows(), holding.fees, holding.other_fees)
    return [(name, plain(one), plain(other)) for name, one, other in zip(names, said, found, strict=True)]


def _fx_figures(
    stated: Position, conclusion: IntentConcluded, holding: _Holding
) -> list[tuple[str, str, str]]:
    """Return what FX has brought; empty where this statement or an earlier one comes from a program that did not
    state it.
    """
    cost = holding.away_cost
    if stated.fx_pnl is None or cost is None:
        return []
    rate = (conclusion.fx.bid + conclusion.fx.ask) / 2
    return [("FX part", plain(stated.fx_pnl), plain(holding.away_quote * rate - cost))]


def _reason(intent: Intent, holding: _Holding) -> str | None:
    if holding.is_open:
        return None
    return "entry_unwound" if intent.kind == "entry" else intent.reason


def _pnl(conclusion: IntentConcluded, holding: _Holding) -> Decimal | None:
    return None if holding.is_open else holding.worth(conclusion.fx, conclusion.mark)


def _text(value: Decimal | None) -> str:
    return "none" if value is None else plain(value)
