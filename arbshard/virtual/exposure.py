"""Calculates the limits a second time: exposure, positions and halts from events and executions, compared with
approvals. Pure.

It shares nothing with ``risk.limits``: sums are calculated anew from the stored events and from the books that
``own_books`` keeps of the exchanges' executions. Which side of the FX rate applies: an entry that buys at home
spends KRW, and no rate is needed; one that buys away spends USDT, which must be bought with KRW, so it is valued at
the ask. The bid is the price at which USDT is sold, and would make an exposure appear smaller than it is.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from arbshard.config import LimitsConfig
from arbshard.ledger.events import (
    ClosesOrdered,
    Event,
    Halted,
    IntentApproved,
    IntentConcluded,
    LimitsChanged,
    LimitsScaled,
    PairReleased,
    PairSetApart,
    PositionChanged,
    PositionClosed,
    PositionOpened,
    Resumed,
)
from arbshard.model.intent import Intent

ZERO, ONE = Decimal(0), Decimal(1)

WATCHED = ("symbol_notional_max", "order_notional_max", "portfolio_notional_max")


_TOLERANCE = Decimal("0.01")
"""Tolerance in KRW: average prices are stored with twelve decimals."""


class Stated(NamedTuple):
    """Is the exposure as risk calculates it, in reporting currency."""

    exposure: Decimal
    buy_home: Decimal
    buy_away: Decimal
    entering: int
    equity: Decimal
    high_water: Decimal


class Exposure:
    """Judges exposure and positions: it takes every stored event in order, after ``own_books``."""

    def __init__(
        self, limits: LimitsConfig, notional: Callable[[str], Decimal], differ: Callable[[str], None]
    ) -> None:
        """Make the judge. ``notional`` returns the notional of a position's entry by its executions; 0 if it is not
        open.
        """
        self._notional = notional
        self._differ = differ
        self.costs: dict[str, Decimal] = {}
        """Largest possible cost of the last entry of each pair."""
        self._direction: dict[str, str] = {}
        """Direction of open positions and of entries under way, by the entry's id."""
        self._configured: dict[str, Decimal] = {key: getattr(limits, key) for key in WATCHED}
        self._positions_max = limits.symbol_positions_max
        self._changed: dict[tuple[str, str], Decimal] = {}
        """Limits that an operator has set, by (symbol or empty, key)."""
        self._factors: dict[str, Decimal] = {}
        self._halted = False
        self._stopped = False
        """Whether the halt stops exits too."""
        self._closing: dict[str, None] = {}
        self._apart: dict[str, None] = {}
        self._entering: dict[str, Intent] = {}
        """Entries under way, by base."""
        self._held: dict[str, dict[str, Decimal]] = {}
        """Entry notional of open positions, by base and position."""

    def add(self, event: Event) -> None:
        """Apply the next stored event."""
        match event:
            case IntentApproved():
                self._approved(event.intent)
            case IntentConcluded():
                self._entering.pop(event.pair, None)
                if event.position_state is None:
                    self._direction.pop(event.intent_id, None)
                    self._if_flat(event.pair)
            case PositionOpened() | PositionChanged() | PositionClosed():
                self._position(event)
            case Halted() | Resumed():
                self._halted = isinstance(event, Halted)
                self._stopped = isinstance(event, Halted) and event.level == "stopped"
            case ClosesOrdered() | PairSetApart() | PairReleased():
                self._barred(event)
            case LimitsChanged():
                self._change(event)
            case LimitsScaled():
                self._factors[event.symbol] = event.factor
            case _:
                pass  # this event limits nothing

    def _barred(self, event: ClosesOrdered | PairSetApart | PairReleased) -> None:
        match event:
            case ClosesOrdered():
                self._closing.update(dict.fromkeys(event.pairs))
            case PairSetApart():
                self._apart[event.pair] = None
            case PairReleased():
                self._apart.pop(event.pair, None)

    def _position(self, event: PositionOpened | PositionChanged | PositionClosed) -> None:
        position = event.position
        held = self._held.setdefault(position.pair, {})
        if isinstance(event, PositionClosed):
            held.pop(position.position_id, None)
            self._direction.pop(position.position_id, None)
            self._if_flat(position.pair)
        else:
            held[position.position_id] = self._notional(position.position_id)

    def _if_flat(self, base: str) -> None:
        """Delete the order to close a pair that is flat."""
        if not self._held.get(base):
            self._closing.pop(base, None)

    def _approved(self, intent: Intent) -> None:
        if intent.kind == "exit":
            if self._stopped and intent.reason not in ("manual", "kill_switch", "one_leg"):
                self._differ(f"halt: {intent.intent_id} was approved while exits were stopped")
            return
        base = intent.pair
        if self._halted:
            self._differ(f"halt: {intent.intent_id} was approved while everything was halted")
        if base in self._closing:
            self._differ(f"close: {intent.intent_id} was approved while {base} was being closed")
        if base in self._apart:
            self._differ(f"apart: {intent.intent_id} was approved while {base} was set apart")
        if len(self._held.get(base, {})) >= self._positions_max or base in self._entering:
            self._differ(f"limits: {intent.intent_id} was approved, {base} has all it may have")
        order = self.costs[base] = _cost(intent)
        self._entering[base] = intent
        self._direction[intent.intent_id] = intent.direction
        mine = self._of(base)
        gross = sum((self._of(each) for each in self._held.keys() | self._entering.keys()), ZERO)
        self._compare(intent, "order_notional_max", order, base)
        self._compare(intent, "symbol_notional_max", mine, base)
        self._compare(intent, "portfolio_notional_max", gross, "")

    def compare(self, stated: Stated) -> None:
        """Report where risk's figures differ from the true ones: the next approval of risk depends on them."""
        sums = {"buy_home": ZERO, "buy_away": ZERO}
        for held in self._held.values():
            for position_id, notional in held.items():
                sums[self._direction[position_id]] += notional
        for intent in self._entering.values():
            sums[intent.direction] += _cost(intent)
        for name, said, found in (
            ("of all pairs", stated.exposure, sums["buy_home"] + sums["buy_away"]),
            ("bought at home", stated.buy_home, sums["buy_home"]),
            ("bought away", stated.buy_away, sums["buy_away"]),
        ):
            if abs(said - found) > _TOLERANCE:
                self._differ(f"exposure: {name} risk reckons with {said:.3f}, there is {found:.3f}")
        if stated.entering != len(self._entering):
            self._differ(
                f"exposure: risk has {stated.entering} entries under way, there are {len(self._entering)}"
            )

    def _of(self, base: str) -> Decimal:
        entering = self._entering.get(base)
        held = sum(self._held.get(base, {}).values(), ZERO)
        return held + (_cost(entering) if entering is not None else ZERO)

    def _compare(self, intent: Intent, key: str, value: Decimal, symbol: str) -> None:
        limit = self._limit(key, symbol)
        if value > limit:
            self._differ(
                f"limits: with {intent.intent_id} {key} is at {value:f}, the limit in force is {limit:f}"
            )

    def _limit(self, key: str, symbol: str) -> Decimal:
        factor = self._factors.get("", ONE)
        if symbol:
            factor = min(factor, self._factors.get(symbol, ONE))
        own = self._changed.get((symbol, key)) if symbol else None
        everyones = self._changed.get(("", key), self._configured[key])
        return (own if own is not None else everyones) * factor

    def _change(self, event: LimitsChanged) -> None:
        for key, value in event.changes:
            if key not in self._configured:
                continue
            if value:
                self._changed[event.symbol, key] = Decimal(value)
            else:
                self._changed.pop((event.symbol, key), None)


def _cost(intent: Intent) -> Decimal:
    """Return what an entry may cost at its limit price, in reporting currency (the module says at which FX side)."""
    if intent.home.side == "buy":
        return intent.home.quantity * intent.home.limit
    return intent.away.quantity * intent.away.limit * intent.fx.ask
