"""``arbshard ledger verify``: recomputes everything from deposits and fills alone, and compares.

Written a second time on purpose, without ``risk.portfolio`` and ``ledger.postings``: a mistake there, a hand in the
file or a bad disk shows here. Never begins from a snapshot; the snapshots are compared with what is found. Reads
only; may run while risk writes.
"""

from collections import Counter, defaultdict
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Generic

import msgspec

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import (
    Deposited,
    DifferenceFound,
    Event,
    OrderReported,
    Stopped,
    decode_event,
    kind_of,
    subject_of,
)
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.rebook import Rebook
from arbshard.ledger.replay import State, StateCodec
from arbshard.ledger.running import Line
from arbshard.ledger.snapshot_audit import SnapshotAudit
from arbshard.model.money import MONEY_CONTEXT, ZERO, plain

_DIFFERENCES_MAX = 100
"""Of each run; a damaged ledger need not be listed row by row."""


class VerifyReport(msgspec.Struct, frozen=True):
    """What was looked at and what does not agree, a sentence each."""

    events: int
    postings: int
    deposits: int
    fills: int
    intents: int
    positions: int
    """Positions opened."""
    closed: int
    pnl: Decimal
    """Of all closed positions, recomputed, in reporting currency."""
    kinds: dict[str, int]
    """Events by kind."""
    snapshots: int
    """Snapshots compared with what was recomputed."""
    differences: tuple[str, ...]
    suppressed: int
    """Differences beyond the first 100."""

    @property
    def is_clean(self) -> bool:
        """Whether everything agrees."""
        return not self.differences


def verify(path: Path, codec: StateCodec[State] | None = None) -> VerifyReport:
    """Check the ledger at ``path``. With ``codec`` the states of its snapshots too, by replaying up to them.

    Raises ``UsageError`` (no ledger), ``LedgerVersionError``, ``LedgerDamaged`` (not readable as a ledger at all).
    """
    with localcontext(MONEY_CONTEXT), LedgerReader(path) as reader:
        reader.check_pages()
        return _Verifier(codec).run(reader)


class _Verifier(Generic[State]):
    def __init__(self, codec: StateCodec[State] | None) -> None:
        self._differences: list[str] = []
        self._suppressed = 0
        self._rebook = Rebook(self._differ)
        self._kinds: Counter[str] = Counter()
        self._owned: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        """Our balances by (venue, currency), from deposits and fills alone."""
        self._chain: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        """Running balance by (account, currency), from the amounts of the postings."""
        self._snapshots = SnapshotAudit(codec, self._differ)

    def run(self, reader: LedgerReader) -> VerifyReport:
        self._snapshots.begin(reader)
        lines = reader.lines()
        line = next(lines, None)
        postings = 0
        expected = 1
        for seq, ts_ms, kind, pair, intent_id, body in reader.rows():
            if seq != expected:
                self._differ(f"events {expected} to {seq - 1} are missing")
            expected = seq + 1
            mine: list[Line] = []
            while line is not None and line[0] <= seq:
                postings += 1
                if line[0] < seq:
                    self._differ(f"posting {line[0]}.{line[1]} belongs to no event")
                else:
                    mine.append(line)
                line = next(lines, None)
            try:
                event = decode_event(body)
            except LedgerDamaged as error:
                self._differ(f"event {seq}: {error}")
                continue
            if (ts_ms, kind, pair, intent_id) != (event.at_ms, kind_of(event), *subject_of(event)):
                self._differ(f"event {seq}: its columns are not what its body says")
            try:
                self._event(seq, event, mine)
            except ArithmeticError as error:  # such as NaN: a number, but none to count with
                self._differ(f"event {seq}: it holds a number that is none: {error!r}")
            self._snapshots.take(seq, event, self._chain)
        while line is not None:
            postings += 1
            self._differ(f"posting {line[0]}.{line[1]} belongs to no event")
            line = next(lines, None)
        for seq, number in reader.stray_lines():
            postings += 1
            self._differ(f"posting {seq}.{number} belongs to no event")
        self._balances()
        self._rebook.finish()
        return VerifyReport(
            events=sum(self._kinds.values()),
            postings=postings,
            deposits=self._kinds["Deposited"],
            fills=self._rebook.fills,
            intents=self._kinds["IntentApproved"],
            positions=len(self._rebook.positions),
            closed=self._rebook.closed,
            pnl=self._rebook.pnl,
            kinds=dict(self._kinds),
            snapshots=self._snapshots.compared,
            differences=tuple(self._differences),
            suppressed=self._suppressed,
        )

    def _event(self, seq: int, event: Event, lines: list[Line]) -> None:
        self._kinds[kind_of(event)] += 1
        moved: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        if isinstance(event, Deposited):
            moved[event.venue, event.currency] += event.amount
        elif isinstance(event, OrderReported):
            for fill in event.fills:
                for currency, amount in fill.changes():
                    moved[fill.market.venue, currency] += amount
        for account, amount in moved.items():
            self._owned[account] += amount
        self._postings(seq, moved, lines)
        if isinstance(event, Stopped):
            self._stopped(seq, event)
        elif isinstance(event, DifferenceFound):
            self._compared(seq, event)
        self._rebook.take(seq, event)

    def _postings(self, seq: int, moved: dict[tuple[str, str], Decimal], lines: list[Line]) -> None:
        sums: dict[str, Decimal] = defaultdict(lambda: ZERO)
        venues: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        for number, (_, line, account, currency, amount_text, balance_text) in enumerate(lines):
            amount, balance = _amount(amount_text), _amount(balance_text)
            if amount is None or balance is None:
                self._differ(f"posting {seq}.{line}: {amount_text!r} or {balance_text!r} is no amount")
                continue
            if line != number:
                self._differ(f"posting {seq}.{number} is missing")
            sums[currency] += amount
            owner, _, venue = account.partition(":")
            if owner == "venue":
                venues[venue, currency] += amount
            key = account, currency
            self._chain[key] += amount
            if balance != self._chain[key]:
                self._differ(
                    f"posting {seq}.{line}: {account} {currency} stands at {plain(balance)}, "
                    f"the amounts add up to {plain(self._chain[key])}"
                )
                self._chain[key] = balance  # one difference, not one for every line that follows
        for currency, total in sums.items():
            if total:
                self._differ(f"event {seq}: its postings in {currency} add up to {plain(total)}, not to 0")
        for venue, currency in sorted(moved.keys() | venues.keys()):
            booked, due = venues[venue, currency], moved[venue, currency]
            if booked != due:
                self._differ(
                    f"event {seq}: {plain(booked)} {currency} booked on {venue}, its fills say {plain(due)}"
                )

    def _stopped(self, seq: int, event: Stopped) -> None:
        stated = {(venue, currency): amount for venue, currency, amount in event.balances}
        for venue, currency in sorted(stated.keys() | self._owned.keys()):
            said, found = stated.get((venue, currency), ZERO), self._owned[venue, currency]
            if said != found:
                self._differ(
                    f"event {seq}: the stop states {plain(said)} {currency} on {venue}, "
                    f"deposits and fills come to {plain(found)}"
                )

    def _compared(self, seq: int, event: DifferenceFound) -> None:
        found = self._owned[event.venue, event.currency]
        if event.booked != found:
            self._differ(
                f"event {seq}: {plain(event.booked)} {event.currency} on {event.venue} was compared with what the "
                f"venue said, deposits and fills come to {plain(found)}"
            )

    def _balances(self) -> None:
        booked = {
            (account.removeprefix("venue:"), currency): balance
            for (account, currency), balance in self._chain.items()
            if account.startswith("venue:")
        }
        for venue, currency in sorted(booked.keys() | self._owned.keys()):
            last, found = booked.get((venue, currency), ZERO), self._owned[venue, currency]
            if last != found:
                self._differ(
                    f"{venue} {currency} stands at {plain(last)}, deposits and fills come to {plain(found)}"
                )

    def _differ(self, sentence: str) -> None:
        if len(self._differences) < _DIFFERENCES_MAX:
            self._differences.append(sentence)
        else:
            self._suppressed += 1


def _amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except ArithmeticError:
        return None
    return amount if amount.is_finite() else None
