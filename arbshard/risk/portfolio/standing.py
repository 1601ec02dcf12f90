"""What people and rules have ordered and what still stands: halt, closes, changed and tightened limits. Pure.

Part of ``portfolio.PortfolioState``, which hands it the events concerned; ``core`` decides on them. It survives
every restart because it is nothing but those events.
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import ClosesOrdered, HaltCause, Halted, LimitsChanged, LimitsScaled, Resumed
from arbshard.model.intent import ExitReason
from arbshard.model.money import ONE
from arbshard.risk.portfolio.journal import Journal

StandingEvent = Halted | Resumed | ClosesOrdered | LimitsChanged | LimitsScaled


class Halt(msgspec.Struct, frozen=True):
    """The kill switch is on."""

    at_ms: int
    cause: HaltCause
    reason: str


class Scale(msgspec.Struct, frozen=True):
    """Limits are tightened."""

    factor: Decimal
    cause: str
    since_ms: int


class Standing:
    """Changed through the journal of the state that owns it. Tables are replaced, never changed in place, so that
    ``is`` tells whether something changed.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.halt: Halt | None = None
        self.acknowledged: tuple[str, ...] = ()
        """What the last ``Resumed`` accepted."""
        self.closing: dict[str, ExitReason] = {}
        """Pairs that are being closed."""
        self.changes: dict[tuple[str, str], str] = {}
        """(symbol or empty, key) → value, where it is not the configuration's."""
        self.scales: dict[str, Scale] = {}
        """By symbol, empty for all."""
        self.serial = 0
        """Number of changes of ``halt`` and ``closing``: what workers look at."""

    def apply(self, event: StandingEvent) -> None:
        """Take in an event. Raises ``LedgerDamaged`` when it contradicts what stands."""
        match event:
            case Halted():
                self._instruct("halt", Halt(event.at_ms, event.cause, event.reason))
            case Resumed():
                if self.halt is None:
                    raise LedgerDamaged("resumed though nothing was halted")
                self._journal.assign(self, "acknowledged", event.acknowledged)
                self._instruct("halt", None)
            case ClosesOrdered():
                self._instruct("closing", {**self.closing, **dict.fromkeys(event.pairs, event.reason)})
            case LimitsChanged():
                self._change(event.symbol, event.changes)
            case LimitsScaled():
                scales = {symbol: scale for symbol, scale in self.scales.items() if symbol != event.symbol}
                if event.factor != ONE:
                    scales[event.symbol] = Scale(event.factor, event.cause, event.at_ms)
                self._journal.assign(self, "scales", scales)

    def became_flat(self, pair: str) -> None:
        """Nothing of ``pair`` is open or under way any more: it need not be closed."""
        if pair in self.closing:
            self._instruct("closing", {one: why for one, why in self.closing.items() if one != pair})

    def factor(self, symbol: str) -> Decimal:
        """What the limits of ``symbol`` (empty: of all together) are multiplied with."""
        scales = self.scales
        if not scales:
            return ONE
        return min((scales[one].factor for one in ("", symbol) if one in scales), default=ONE)

    def parts(self) -> tuple[object, ...]:
        """Everything, for the state's hash."""
        return self.halt, self.acknowledged, self.closing, self.changes, self.scales, self.serial

    def _instruct(self, name: str, value: object) -> None:
        self._journal.assign(self, name, value)
        self._journal.assign(self, "serial", self.serial + 1)

    def _change(self, symbol: str, changes: Iterable[tuple[str, str]]) -> None:
        table = dict(self.changes)
        for key, value in changes:
            if value:
                table[symbol, key] = value
            else:
                table.pop((symbol, key), None)
        self._journal.assign(self, "changes", table)
