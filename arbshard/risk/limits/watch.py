"""Decides what risk does by itself: it halts and tightens by what was just decided, and by the passing of time.
Pure.

``Watch`` is owned by ``core`` and returns events, which it has applied. ``KillSwitch`` decides when to halt: what
was acknowledged by the last ``Resumed`` does not halt again (``losses`` states until when), unless the limit was
changed since. Errors are counted in monotonic time and anew after each start and each resume. An order of unknown
outcome counts at once when the worker that reports it has sent it. A leg of a worker that is gone counts only when it
is still unknown after the time in which its outcome should have been learned: a worker or a host that is lost leaves
many of them at once, and that says nothing of the venue.

The limits of all together are tightened while the drawdown is at ``tighten_at`` of its limit, until it is back at
half of that. A symbol's limits are tightened while its results scatter ``tighten_volatility`` times as widely as
they used to, until they are back at three quarters of that, or for ``tighten_lapse_s`` when too little is closed to
judge.

A pair is set apart when an open position has lost too much, and when its exits show that its gap does not come back
(``reversion``).
"""

from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal

from arbshard.clock import KnownInstants
from arbshard.config import Config, LimitsConfig
from arbshard.ledger.events import (
    Deposited,
    Event,
    Halted,
    LimitsChanged,
    LimitsScaled,
    OrderExtended,
    OrderReported,
    PositionClosed,
    Resumed,
    TransferEnded,
)
from arbshard.model.money import ONE, plain
from arbshard.risk.limits.guard import RiskGuard
from arbshard.risk.limits.losses import HaltReason, LossFigures, figures_of, halts_of, refusing_losses
from arbshard.risk.limits.reversion import not_reverting
from arbshard.risk.portfolio.operator_state import set_apart
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.validation import Moment
from arbshard.risk.valuation import Valuation

_MINUTE_NS = 60_000_000_000
_WINDOW_MAX = 100_000
"""Largest number of times that are kept. No limit can be above it."""
_CALM = Decimal("0.5")
_QUIET = 0.75
_LEARN_S = 60.0
"""How long the outcome of an order that another worker has left may stay unknown, in seconds, beside the time after
which the venue's not knowing it means that it was never accepted."""


class _Window:
    """Keeps how often something happened within the last minute."""

    def __init__(self) -> None:
        self._times: deque[int] = deque(maxlen=_WINDOW_MAX)

    def add(self, now_ns: int) -> None:
        self._times.append(now_ns)

    def count(self, now_ns: int) -> int:
        times = self._times
        while times and now_ns - times[0] >= _MINUTE_NS:
            times.popleft()
        return len(times)

    def clear(self) -> None:
        self._times.clear()


class KillSwitch:
    """Decides on a halt or a stop by what risk decides and receives."""

    def __init__(self, not_found_after_s: float) -> None:
        """Begin. ``not_found_after_s``: after how long an order that its venue does not know was never accepted."""
        self._rejects = _Window()
        self._hedges = _Window()
        self._unknown = _Window()
        self._left: deque[tuple[int, str, str]] = deque(maxlen=_WINDOW_MAX)
        """The orders of unknown outcome that other workers have left, the oldest first: (since when, intent id,
        client id)."""
        self._learn_ns = int((not_found_after_s + _LEARN_S) * 1e9)
        self._silent_since_ns: int | None = None
        self._losses: tuple[HaltReason, ...] = ()
        """The losses that cause a stop or a halt, by the figures in ``_judged``."""
        self._judged: tuple[LossFigures, LimitsConfig, int] | None = None

    def count(self, event: Event, now_ns: int) -> bool:
        """Count ``event`` if it is a kind of trouble. Returns whether it is."""
        window: _Window | None = None
        if isinstance(event, OrderExtended):
            window = self._hedges
        elif isinstance(event, OrderReported):
            window = {"REJECTED": self._rejects, "UNKNOWN": self._unknown}.get(event.state)
        if window is not None:
            window.add(now_ns)
        return window is not None

    def note_left(self, intent_id: str, client_id: str, now_ns: int) -> None:
        """Note that another worker has left an order of unknown outcome, which is being asked for."""
        self._left.append((now_ns, intent_id, client_id))

    def count_left(self, state: PortfolioState, now_ns: int) -> None:
        """Count the orders that other workers have left and whose outcome could not be learned in time."""
        left = self._left
        while left and now_ns - left[0][0] >= self._learn_ns:
            _, intent_id, client_id = left.popleft()
            trade = state.trades.get(intent_id)
            result = trade.result(client_id) if trade is not None else None
            if result is not None and result.state == "UNKNOWN":
                self._unknown.add(now_ns)

    def note_feeds(self, now_ns: int, *, is_silent: bool) -> None:
        """Note whether no venue sends anything."""
        if not is_silent:
            self._silent_since_ns = None
        elif self._silent_since_ns is None:
            self._silent_since_ns = now_ns

    def reset(self) -> None:
        """Set all counts to zero."""
        for window in (self._rejects, self._hedges, self._unknown):
            window.clear()
        self._left.clear()
        self._silent_since_ns = None

    def verdict(
        self, state: PortfolioState, figures: LossFigures, limits: LimitsConfig, moment: Moment
    ) -> HaltReason | None:
        """Return why to halt now, or why to stop what is only halted; None when neither is new.

        ``figures`` are those of the losses now.
        """
        standing = state.standing
        if standing.is_stopped:
            return None
        for loss in self._halting(figures, limits, moment.day):
            is_more = standing.halt is None or loss.level == "stopped"
            if is_more and loss.key not in standing.acknowledged:
                return loss
        if standing.halt is not None:
            return None
        for name, window, limit in (
            ("orders rejected", self._rejects, limits.halt_rejects_per_min),
            ("hedges and unwinds", self._hedges, limits.halt_hedges_per_min),
            ("orders of unknown outcome", self._unknown, limits.halt_unknown_per_min),
        ):
            count = window.count(moment.now_ns)
            if count >= limit:
                return HaltReason("errors", f"{count} {name} within a minute, the limit is {limit}", "")
        since_ns = self._silent_since_ns
        if since_ns is not None and moment.now_ns - since_ns >= limits.halt_stale_feeds_s * 1e9:
            reason = f"no venue has sent anything for {limits.halt_stale_feeds_s:g} s"
            return HaltReason("stale_feeds", reason, "")
        return None

    def _halting(self, figures: LossFigures, limits: LimitsConfig, day: int) -> tuple[HaltReason, ...]:
        """Return what ``halts_of`` does. Most ticks find the figures of the tick before."""
        judged = self._judged
        if judged is None or judged[1] is not limits or judged[0] != figures or judged[2] != day:
            self._judged = figures, limits, day
            self._losses = tuple(halts_of(figures, limits, day))
        return self._losses


class Watch:
    """Kill switch and tightening rules of one core."""

    def __init__(
        self,
        guard: RiskGuard,
        state: PortfolioState,
        valuation: Valuation,
        apply: Callable[[Event], None],
        config: Config,
    ) -> None:
        self._guard = guard
        self._strategy = config.strategy
        self._valuation = valuation
        self._state = state
        self._apply = apply
        self._tightened = KnownInstants()
        """Since when each symbol is tightened."""
        self.kill_switch = KillSwitch(config.live.not_found_after_s)
        self.day: int | None = None
        """The trading day that the figures of losses are of."""
        self._judged: tuple[LossFigures, LimitsConfig] | None = None
        """The figures and limits from which the guard's ``lost`` was computed."""
        guard.unrealised_by = valuation.unrealised_by

    def begin(self, now_ns: int) -> None:
        """Begin a session: what an earlier one has left unknown is not forgotten."""
        for trade in self._state.trades.values():
            for result in trade.orders:
                if result.state == "UNKNOWN":
                    self.kill_switch.note_left(trade.intent.intent_id, result.order.client_id, now_ns)

    def begin_day(self, moment: Moment) -> None:
        """Bring what is kept by trading day up to date, before the first decision of a day."""
        self._look_at_losses(moment)

    def after(self, events: Sequence[Event], moment: Moment, *, is_left: bool = False) -> list[Event]:
        """Apply and return the events that follow from ``events``, which were applied.

        ``is_left``: whether they are of an order that a worker did not send itself: another one has left it.
        Nothing follows from an approval or a refusal, so it need not be called for them.
        """
        closed: list[str] = []
        is_trouble = is_changed = is_result = False
        for event in events:
            if is_left and isinstance(event, OrderReported) and event.state == "UNKNOWN":
                self.kill_switch.note_left(event.intent_id, event.client_id, moment.now_ns)
            else:
                is_trouble |= self.kill_switch.count(event, moment.now_ns)
            is_result |= isinstance(event, Deposited | TransferEnded) and bool(event.value)
            match event:
                case PositionClosed():
                    is_result = True
                    closed.append(event.position.pair)
                    self._valuation.closed(event.position)
                case Resumed() | LimitsChanged():
                    is_changed = True
                    if isinstance(event, Resumed):
                        self.kill_switch.reset()
                        self._valuation.resumed(event.high_water)
                case _:
                    pass  # nothing follows from it
        made: list[Event] = []
        if is_result or is_changed:
            self._look_at_losses(moment)
        if is_result:
            limits = self._guard.limits.portfolio()
            for symbol in closed:
                self._take(made, scale_symbol(self._state, symbol, limits, moment))
                self._doubt_reversion(made, symbol, moment)
            self._take(made, scale_all(self._state, self._valuation, limits, moment))
        if is_result or is_trouble:
            self._take(made, self._verdict(moment, figures_of(self._valuation, moment.day)))
        return made

    def tick(self, moment: Moment, *, feeds_silent: bool) -> list[Event]:
        """Apply and return the events that follow from the time alone."""
        self.kill_switch.note_feeds(moment.now_ns, is_silent=feeds_silent)
        self.kill_switch.count_left(self._state, moment.now_ns)
        made: list[Event] = []
        limits = self._guard.limits.portfolio()
        figures = self._look_at_losses(moment)
        self._take(made, scale_all(self._state, self._valuation, limits, moment))
        if self._state.standing.scales:
            self._take(made, scales_lapsed(self._state, limits, self._tightened, moment))
        self._take(made, self._verdict(moment, figures))
        self._set_apart(made, moment)
        self._take(made, self._valuation.statement(moment.now_ms))
        return made

    def _look_at_losses(self, moment: Moment) -> LossFigures:
        """Keep for the guard which limits of losses and of naked exposure hold. Return the figures."""
        valuation, limits = self._valuation, self._guard.limits.portfolio()
        valuation.raise_mark()  # by results beside trading, too
        valuation.roll(moment.day)
        self.day = moment.day
        figures, judged = figures_of(valuation, moment.day), self._judged
        if judged is None or judged[1] is not limits or judged[0] != figures:
            self._judged = figures, limits
            self._guard.lost = dict(refusing_losses(figures, limits))
        return figures

    def _set_apart(self, made: list[Event], moment: Moment) -> None:
        """Set apart the pairs of positions that have lost too much by their last valuation."""
        bps_max = self._guard.limits.portfolio().position_loss_bps_max
        for position, mark in self._valuation.losing(bps_max):
            lost = plain(-round(mark.bps, 1))
            reason = f"{position.position_id} has lost {lost} bps, the limit is {plain(bps_max)}"
            standing, pair = self._state.standing, position.pair
            self._take(made, set_apart(standing, pair, "position_loss", reason, moment.now_ms))

    def _doubt_reversion(self, made: list[Event], symbol: str, moment: Moment) -> None:
        """Set apart a symbol whose exits show that its gap does not come back."""
        reason = not_reverting(symbol, self._state.results, self._strategy)
        if reason is not None:
            self._take(made, set_apart(self._state.standing, symbol, "no_reversion", reason, moment.now_ms))

    def _verdict(self, moment: Moment, figures: LossFigures) -> list[Event]:
        limits = self._guard.limits.portfolio()
        verdict = self.kill_switch.verdict(self._state, figures, limits, moment)
        if verdict is None:
            return []
        halted = Halted(at_ms=moment.now_ms, cause=verdict.cause, reason=verdict.reason, level=verdict.level)
        is_loss = bool(verdict.key)
        return [*self._valuation.statement(moment.now_ms, at_once=True), halted] if is_loss else [halted]

    def _take(self, made: list[Event], events: Sequence[Event]) -> None:
        for event in events:
            self._apply(event)
            made.append(event)


def scale_all(
    state: PortfolioState, valuation: Valuation, limits: LimitsConfig, moment: Moment
) -> list[LimitsScaled]:
    """Return the event by which the drawdown changes the limits of all together; none without a change."""
    drawdown = valuation.drawdown
    at = limits.drawdown_max * Decimal(repr(limits.tighten_at))
    is_tight = "" in state.standing.scales
    wanted = drawdown >= (at * _CALM if is_tight else at)
    if wanted is is_tight and not is_tight:
        return []  # unchanged, which is the usual case, many times a second
    cause = f"drawdown {plain(drawdown)} of {plain(limits.drawdown_max)}"
    return _scaled(state, "", _factor(limits) if wanted else ONE, cause, moment)


def scale_symbol(
    state: PortfolioState, symbol: str, limits: LimitsConfig, moment: Moment
) -> list[LimitsScaled]:
    """Return the event by which the scatter of a symbol's results changes its limits. Call it after each result."""
    scatter = state.results.scatter.get(symbol)
    ratio = scatter.ratio if scatter is not None else None
    if ratio is None:
        return []
    most = limits.tighten_volatility * (_QUIET if symbol in state.standing.scales else 1.0)
    cause = f"results scatter {ratio:.1f} times as wide as usual"
    return _scaled(state, symbol, _factor(limits) if ratio >= most else ONE, cause, moment)


def scales_lapsed(
    state: PortfolioState, limits: LimitsConfig, tightened: KnownInstants, moment: Moment
) -> list[LimitsScaled]:
    """Return the symbols that were tightened long enough; ``tightened`` has since when each is (monotonic)."""
    lapse_ns = int(limits.tighten_lapse_s * 1e9)
    return [
        LimitsScaled(
            at_ms=moment.now_ms, symbol=symbol, factor=ONE, cause=f"{limits.tighten_lapse_s:g} s over"
        )
        for symbol, scale in state.standing.scales.items()
        if symbol
        and moment.now_ns - tightened.monotonic_of(symbol, scale.since_ms, moment.now_ns, moment.now_ms)
        >= lapse_ns
    ]


def _factor(limits: LimitsConfig) -> Decimal:
    return Decimal(repr(limits.tighten_factor))


def _scaled(
    state: PortfolioState, symbol: str, factor: Decimal, cause: str, moment: Moment
) -> list[LimitsScaled]:
    scale = state.standing.scales.get(symbol)
    if factor == (scale.factor if scale is not None else ONE):
        return []
    return [LimitsScaled(at_ms=moment.now_ms, symbol=symbol, factor=factor, cause=cause)]
