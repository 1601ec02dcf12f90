"""Answers people's commands: halt, resume, release, close, change limits, and their questions. Pure; ``core`` calls
it.

Each command gives an answer and the events that carry it out. What a person orders is an event first: it survives
whatever happens to the processes that carry it out.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from arbshard.config import Config
from arbshard.errors import ConfigError
from arbshard.ledger.events import ClosesOrdered, Event, Halted, LimitsChanged, PairReleased, Resumed
from arbshard.model.intent import ExitReason, HaltLevel
from arbshard.model.market import Pair
from arbshard.model.money import plain
from arbshard.model.refusal import Refusal
from arbshard.risk.limits.guard import RiskGuard
from arbshard.risk.limits.limit_lines import consequence_of, grouped, limit_lines, text_of
from arbshard.risk.limits.losses import figures_of, halts_of, is_drawdown_reached, refusing_losses
from arbshard.risk.portfolio.results import TradingDay
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.validation import CommandOutcome, Moment
from arbshard.risk.valuation import Valuation
from arbshard.wire.messages import (
    Close,
    CommandReply,
    Denied,
    Done,
    Halt,
    Limits,
    Positions,
    Resume,
    SetLimits,
    ShowLimits,
    ShowPositions,
    ValuedPosition,
)

OperatorCommand = Halt | Resume | Close | SetLimits | ShowLimits | ShowPositions
"""The commands that are answered here."""
REASON_MAX = 200
"""Largest number of characters of a reason that is stored."""
BY_MAX = 80
"""Largest number of characters that are stored of who ordered something."""
_GOES_ON: Mapping[HaltLevel, str] = {
    "reduce_only": "halted: no new entries until a person resumes; exits go on",
    "stopped": "stopped: no entries and no exits until a person resumes, except by 'arbshard close'",
}


class Operators:
    """Answers commands by the state, and does not change it itself."""

    def __init__(
        self,
        pairs: dict[str, Pair],
        state: PortfolioState,
        guard: RiskGuard,
        valuation: Valuation,
        unclosable: Callable[[], Mapping[str, str]],
        config: Config,
    ) -> None:
        """Make the desk. ``unclosable`` returns why open pairs cannot be closed on both venues now, by base."""
        self._config = config
        self._unclosable = unclosable
        self._pairs = pairs
        self._valuation = valuation
        self._state = state
        self._guard = guard

    def answer(
        self, command: OperatorCommand, moment: Moment, day: TradingDay, broken: str | None
    ) -> CommandOutcome:
        """Return the answer, and the events to apply and store before it is given.

        ``broken``: why the books do not balance; None when they do.
        """
        match command:
            case Halt():
                answer = self._halt(command, moment)
            case Resume() if command.symbols:
                answer = self._release(command, moment)
            case Resume():
                answer = self._resume(command, moment, broken)
            case Close():
                answer = self._close(command, moment)
            case SetLimits():
                answer = self._set_limits(command, moment, day)
            case ShowLimits():
                return self._show_limits(command, day), []
            case ShowPositions():
                return self._show_positions(), []
        reply, events = answer
        return reply, [_signed(event, command.by) for event in events]

    def _halt(self, command: Halt, moment: Moment) -> CommandOutcome:
        events: list[Event] = []
        halt = self._state.standing.halt
        is_raised = halt is not None and command.level == "stopped" and halt.level != "stopped"
        if halt is None or is_raised:
            reason = command.reason[:REASON_MAX] or "by hand"
            events.append(Halted(at_ms=moment.now_ms, cause="operator", reason=reason, level=command.level))
            text = _GOES_ON[command.level]
        else:
            text = f"halted already, since {_clock(halt.at_ms)}: {halt.reason}; {_GOES_ON[halt.level]}"
        pairs = self._open_pairs() if command.flatten else []
        if pairs:
            events += self._closes(pairs, "kill_switch", moment)
            text += f"; closing {', '.join(pairs)}{self._not_closed(pairs)}"
        return Done(text + self._strays(), tuple(pairs)), events

    def _resume(self, command: Resume, moment: Moment, broken: str | None) -> CommandOutcome:
        halt = self._state.standing.halt
        valuation, limits = self._valuation, self._guard.limits.portfolio()
        is_fallen = is_drawdown_reached(valuation, limits)
        if halt is None and not is_fallen:
            return Done("nothing is halted"), []
        if broken is not None:
            return Denied(f"the books do not balance: {broken}"), []
        # A drawdown is accepted by moving the mark, so that as much again halts again.
        losses = halts_of(figures_of(valuation, moment.day), limits, moment.day)
        accepted = tuple(loss.key for loss in losses if loss.cause != "drawdown")
        high_water = valuation.equity if is_fallen else None
        events: list[Event] = [*valuation.statement(moment.now_ms, at_once=True)] if is_fallen else []
        events.append(
            Resumed(
                at_ms=moment.now_ms,
                reason=command.reason[:REASON_MAX] or "by hand",
                acknowledged=accepted,
                high_water=high_water,
            )
        )
        texts = [f"resumed; it was halted since {_clock(halt.at_ms)}: {halt.reason}"] if halt else []
        if high_water is not None:
            drawdown = plain(valuation.drawdown)
            texts.append(
                f"the drawdown of {drawdown} is accepted: the high-water mark is {plain(high_water)}"
            )
        texts += [
            f"entries are still refused: {text}"
            for refusal, text in refusing_losses(figures_of(valuation, moment.day), limits)
            if high_water is None or refusal is not Refusal.DRAWDOWN
        ]
        return Done("; ".join(texts)), events

    def _release(self, command: Resume, moment: Moment) -> CommandOutcome:
        """Release all of the pairs, or none when one of them is not set apart."""
        apart = self._state.standing.apart
        bases: list[str] = []
        for symbol in command.symbols:
            base = self._base_of(symbol) or symbol.upper()  # it may have been taken out of the run
            if base not in apart:
                return Denied(f"{symbol} is not set apart"), []
            if base not in bases:
                bases.append(base)
        reason = command.reason[:REASON_MAX] or "by hand"
        events: list[Event] = [PairReleased(at_ms=moment.now_ms, pair=base, reason=reason) for base in bases]
        known = "; ".join(
            f"{base} was set apart since {_clock(apart[base].since_ms)}: {apart[base].reason}"
            for base in bases
        )
        return Done(f"released; {known}"), events

    def _close(self, command: Close, moment: Moment) -> CommandOutcome:
        bases: list[str] = []
        for symbol in command.symbols:
            base = self._base_of(symbol)
            if base is None:
                return Denied(f"{symbol} is not traded in this run"), []
            bases.append(base)
        is_open = self._open_pairs()
        pairs = [base for base in is_open if not bases or base in bases]
        if not pairs:
            return Done("nothing is open" + self._strays()), []
        text = f"closing {', '.join(pairs)}{self._not_closed(pairs)}" + ("" if bases else self._strays())
        reason: ExitReason = "one_leg" if command.one_leg else "manual"
        # An order to close that is repeated is stored again: an intent that is stuck is granted its budgets anew.
        ordered = ClosesOrdered(at_ms=moment.now_ms, pairs=tuple(pairs), reason=reason)
        return Done(text, tuple(pairs)), [ordered]

    def _set_limits(self, command: SetLimits, moment: Moment, day: TradingDay) -> CommandOutcome:
        symbol = ""
        if command.symbol:
            symbol = self._base_of(command.symbol) or ""
            if not symbol:
                return Denied(f"{command.symbol} is not traded in this run"), []
        try:
            checked = self._guard.limits.check(symbol, command.changes)
        except ConfigError as error:
            return Denied(str(error)), []
        known = self._state.standing.changes
        changes = tuple(
            (key, value) for key, value in command.changes if known.get((symbol, key), "") != value
        )
        if not changes:
            return Done("nothing changes"), []
        lines = limit_lines(self._state, self._guard, self._valuation, symbol, day.number)
        before = {line.key: line for line in lines}
        # A limit of a symbol that is taken back becomes the limit of all symbols again.
        below = self._guard.limits.portfolio() if symbol else self._guard.limits.configured
        said = []
        for key, value in changes:
            new = getattr(checked if value else below, key)
            what = f"{key} = {grouped(text_of(new))}" + ("" if value else ", as configured")
            if value == "" and symbol:
                what = f"{key} = {grouped(text_of(new))}, as for all pairs"
            follows = consequence_of(key, new, before[key].used, self._config)
            said.append(f"{what} (it was {grouped(before[key].value)})" + (f": {follows}" if follows else ""))
        whose = f"{symbol}: " if symbol else ""
        return Done(whose + "; ".join(said)), [
            LimitsChanged(at_ms=moment.now_ms, symbol=symbol, changes=changes)
        ]

    def _show_limits(self, command: ShowLimits, day: TradingDay) -> CommandReply:
        symbol = ""
        if command.symbol:
            symbol = self._base_of(command.symbol) or ""
            if not symbol:
                return Denied(f"{command.symbol} is not traded in this run")
        halt = self._state.standing.halt
        return Limits(
            symbol=symbol,
            lines=limit_lines(self._state, self._guard, self._valuation, symbol, day.number),
            day=day.label,
            day_ends_ms=day.ends_ms,
            halted=f"{halt.cause}: {halt.reason}; {_GOES_ON[halt.level]}" if halt is not None else "",
            tightened=tuple(
                (whose, format(scale.factor, "f"), scale.cause)
                for whose, scale in sorted(self._state.standing.scales.items())
                if not symbol or whose in ("", symbol)
            ),
        )

    def _show_positions(self) -> Positions:
        state = self._state
        values = tuple(
            ValuedPosition(name, mark.pnl, mark.books_ms, mark.is_whole)
            for name, mark in self._valuation.marks.items()
        )
        return Positions(tuple(state.positions.values()), tuple(state.standing.closing.items()), values)

    def _base_of(self, name: str) -> str | None:
        return next((base for base, pair in self._pairs.items() if pair.answers_to(name)), None)

    def _open_pairs(self) -> list[str]:
        """Return the pairs of this run with anything open or under way."""
        state = self._state
        busy = {base for base in state.busy if base in self._pairs}
        held = {base for base, held in state.per_symbol_positions.items() if held and base in self._pairs}
        return sorted(busy | held)

    def _closes(self, pairs: Sequence[str], reason: ExitReason, moment: Moment) -> list[Event]:
        closing = self._state.standing.closing
        new = tuple(pair for pair in pairs if closing.get(pair) != reason)
        return [ClosesOrdered(at_ms=moment.now_ms, pairs=new, reason=reason)] if new else []

    def _not_closed(self, pairs: Sequence[str]) -> str:
        """Return those of ``pairs`` that wait for a venue: a hedged position is left alone until both can be used."""
        reasons = self._unclosable()
        return "".join(f"; {pair}: not closed, {reasons[pair]}" for pair in pairs if pair in reasons)

    def _strays(self) -> str:
        held = self._state.per_symbol_positions.items()
        strays = sorted(base for base, open_ in held if open_ and base not in self._pairs)
        return f"; not traded in this run, so left open: {', '.join(strays)}" if strays else ""


def _signed(event: Event, by: str) -> Event:
    """Return ``event`` with the person who ordered it, if it is one of those that people order."""
    if isinstance(event, Halted | Resumed | PairReleased | ClosesOrdered | LimitsChanged):
        return msgspec.structs.replace(event, by=by[:BY_MAX])
    return event


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
