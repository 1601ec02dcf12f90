"""What risk does by itself: halts and tightens by what it has just decided, and by the passing of time. Pure.

Owned by ``core``. It returns events; ``core`` applies them.
"""

from collections.abc import Callable, Sequence

from arbshard.ledger.events import Event, Halted, IntentApproved, OrderExtended, PositionClosed, Resumed
from arbshard.risk.limits.guard import RiskGuard
from arbshard.risk.limits.kill_switch import KillSwitch
from arbshard.risk.limits.tightening import scale_all, scale_symbol, scales_lapsed
from arbshard.risk.objection import Moment
from arbshard.risk.portfolio.state import PortfolioState

_LEGS = 2


class Watch:
    """Kill switch and tightening rules of one core."""

    def __init__(self, guard: RiskGuard, state: PortfolioState, apply: Callable[[Event], None]) -> None:
        self._guard = guard
        self._state = state
        self._apply = apply
        self.kill_switch = KillSwitch()

    def after(self, events: Sequence[Event], moment: Moment) -> list[Event]:
        """What follows from ``events``, which were applied; applied as well."""
        closed: list[str] = []
        is_trouble = False
        for event in events:
            is_trouble |= self.kill_switch.take(event, moment.now_ns)
            match event:
                case IntentApproved():
                    self._guard.count_orders(_LEGS, moment)
                case OrderExtended():
                    self._guard.count_orders(1, moment)
                case PositionClosed():
                    closed.append(event.position.pair)
                case Resumed():
                    self.kill_switch.reset()
                case _:
                    pass  # nothing follows from it
        made: list[Event] = []
        limits = self._guard.limits.portfolio()
        for symbol in closed:
            self._take(made, scale_symbol(self._state, symbol, limits, moment))
        if closed:
            self._take(made, scale_all(self._state, limits, moment))
        if closed or is_trouble:
            self._take(made, self._verdict(moment))
        return made

    def tick(self, moment: Moment, *, feeds_silent: bool) -> list[Event]:
        """What follows from the time alone; applied."""
        self.kill_switch.hear_feeds(moment.now_ns, is_silent=feeds_silent)
        made: list[Event] = []
        limits = self._guard.limits.portfolio()
        self._take(made, scale_all(self._state, limits, moment))
        if self._state.standing.scales:
            self._take(made, scales_lapsed(self._state, limits, moment))
        self._take(made, self._verdict(moment))
        return made

    def _verdict(self, moment: Moment) -> list[Halted]:
        verdict = self.kill_switch.verdict(self._state, self._guard.limits.portfolio(), moment)
        if verdict is None:
            return []
        return [Halted(at_ms=moment.now_ms, cause=verdict.cause, reason=verdict.reason)]

    def _take(self, made: list[Event], events: Sequence[Event]) -> None:
        for event in events:
            self._apply(event)
            made.append(event)
