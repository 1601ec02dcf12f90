"""``arbshard ledger verify`` recomputes everything from deposits and fills alone, and compares.

It is written a second time on purpose, without ``risk.portfolio`` and ``ledger.postings``: it shows a mistake there,
an edit of the file or a bad disk. It never begins from a snapshot; the snapshots are compared with what is found. A
period begins with what this same code found at the end of the period before. It only reads, and may run while risk
writes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, localcontext
from pathlib import Path
from types import MappingProxyType

import msgspec

from arbshard.errors import LedgerDamaged
from arbshard.ledger.archive import ArchiveReader, Header, folder_of
from arbshard.ledger.carry import Carry
from arbshard.ledger.events import (
    Deposited,
    DifferenceFound,
    Event,
    OrderReported,
    Stopped,
    TransferEnded,
    decode_event,
    kind_of,
    subject_of,
)
from arbshard.ledger.period import PeriodOpening, table_of_balances
from arbshard.ledger.postings import Line
from arbshard.ledger.reader import EventRow, LedgerReader
from arbshard.ledger.rebook import Rebook
from arbshard.ledger.replay import State, StateCodec
from arbshard.ledger.snapshot_audit import SnapshotAudit
from arbshard.model.money import MONEY_CONTEXT, ZERO, plain
from arbshard.model.position import Position

NOTHING = Carry()
EMPTY: Mapping[tuple[str, str], Decimal] = MappingProxyType({})

_DIFFERENCES_MAX = 100
"""How many differences a run lists; a damaged ledger need not be listed row by row."""


class VerifyReport(msgspec.Struct, frozen=True):
    """Says what was examined and what does not agree, a sentence each."""

    events: int
    postings: int
    deposits: int
    fills: int
    intents: int
    positions: int
    """Number of positions opened."""
    closed: int
    pnl: Decimal
    """Result of all closed positions, recomputed, in reporting currency."""
    beside: Decimal
    """Result of transfer fees and losses and of unexplained differences, in reporting currency as risk
    valued them.
    """
    kinds: dict[str, int]
    """Number of events by kind."""
    snapshots: int
    """Number of snapshots compared with what was recomputed."""
    differences: tuple[str, ...]
    suppressed: int
    """Number of differences beyond the first 100."""

    @property
    def is_clean(self) -> bool:
        """Return whether everything agrees."""
        return not self.differences


def verify(path: Path, codec: StateCodec[State] | None = None) -> VerifyReport:
    """Check the ledger at ``path``. With ``codec``, the states that it holds are checked too, by replaying up to
    them.

    In a ledger with archives this checks the period since the newest of them, beginning with what that archive
    carries over. Raises ``UsageError`` (no ledger), ``LedgerVersionError``, ``LedgerDamaged`` (not readable as a
    ledger at all), ``LedgerError`` (the newest archive is missing).
    """
    with localcontext(MONEY_CONTEXT), LedgerReader(path) as reader:
        reader.check_pages()
        opening = reader.period
        if opening is None:
            return _of_live(Verifier(), reader, codec)
        before = ArchiveReader(folder_of(path) / opening.archive.name)
        verifier = Verifier(opening.seq, before.header.carry, before.closing_balances())
        verifier.compare_opening(opening, before, codec)
        return _of_live(verifier, reader, codec)


def verify_archive(path: Path) -> VerifyReport:
    """Check the archive at ``path``, beginning with what its predecessor carries over. Raises ``LedgerError``."""
    with localcontext(MONEY_CONTEXT):
        archive = ArchiveReader(path)
        header, previous = archive.header, archive.header.previous
        carry = Carry() if previous is None else ArchiveReader(path.with_name(previous.name)).header.carry
        verifier = Verifier(header.first_seq - 1, carry, archive.opening_balances())
        lines = (line for _, line in archive.lines())
        for _ in verifier.walk(archive.rows(), lines):
            pass
        verifier.compare_closing(header)
        return verifier.report()


def _of_live(verifier: "Verifier", reader: LedgerReader, codec: StateCodec[State] | None) -> VerifyReport:
    audit = SnapshotAudit(codec, verifier.differ)
    audit.begin(reader)
    for seq, event in verifier.walk_events(reader.rows(), reader.lines()):
        audit.add(seq, event, verifier.balances)
    for seq, number in reader.stray_lines():
        verifier.stray(seq, number)
    return verifier.report(audit.compared)


class Verifier:
    """Follows the events of a period, and the postings beside them."""

    def __init__(
        self, after: int = 0, carry: Carry = NOTHING, balances: Mapping[tuple[str, str], Decimal] = EMPTY
    ) -> None:
        """Begin after the event ``after``, whose state is ``carry`` and ``balances``."""
        self._differences: list[str] = []
        self._suppressed = 0
        self._rebook = Rebook(self.differ)
        self._rebook.resume(carry)
        self._carried = len(carry.holdings)
        self._last_seq = after
        self._kinds: Counter[str] = Counter()
        self._postings_seen = 0
        self._owned: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        """Our balances by (venue, currency), from deposits and fills alone."""
        self._event_taken: Event | None = None
        """The event that the newest row held."""
        self.balances: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO, balances)
        """Running balance by (account, currency), from the amounts of the postings."""
        self._under_way: dict[str, Decimal] = defaultdict(lambda: ZERO)
        """Amount between venues by currency, from deposits and ended transfers alone."""
        for (account, currency), balance in balances.items():
            owner, _, venue = account.partition(":")
            if owner == "venue":
                self._owned[venue, currency] = balance
            elif account == "transfers":
                self._under_way[currency] = balance

    @property
    def differences(self) -> tuple[str, ...]:
        """Return what does not agree so far."""
        return tuple(self._differences)

    @property
    def postings(self) -> int:
        """Return the number of postings so far."""
        return self._postings_seen

    @property
    def is_settled(self) -> bool:
        """Return whether a period may end here: no statement of a position is due."""
        return self._rebook.is_settled

    def carry(self) -> Carry:
        """Return what is open now."""
        return self._rebook.carry()

    def forget_ended(self) -> None:
        """Forget what has ended, as if a period began here: in a long ledger it would fill the memory."""
        self._rebook.forget_ended()

    def walk(self, rows: Iterable[EventRow], lines: Iterable[Line]) -> Iterator[EventRow]:
        """Check ``rows`` with their postings ``lines``. Yield each row when it has been checked."""
        waiting = iter(lines)
        line = next(waiting, None)
        for row in rows:
            seq = row[0]
            mine: list[Line] = []
            while line is not None and line[0] <= seq:
                if line[0] < seq:
                    self.stray(line[0], line[1])
                else:
                    self._postings_seen += 1
                    mine.append(line)
                line = next(waiting, None)
            self._take(row, mine)
            yield row
        while line is not None:
            self.stray(line[0], line[1])
            line = next(waiting, None)

    def walk_events(self, rows: Iterable[EventRow], lines: Iterable[Line]) -> Iterator[tuple[int, Event]]:
        """Check as ``walk`` does. Yield the number and the event of each row that holds a readable one."""
        for row in self.walk(rows, lines):
            if self._event_taken is not None:
                yield row[0], self._event_taken

    def stray(self, seq: int, number: int) -> None:
        """Report a posting that belongs to no event."""
        self._postings_seen += 1
        self.differ(f"posting {seq}.{number} belongs to no event")

    def compare_opening(
        self, opening: PeriodOpening, before: ArchiveReader, codec: StateCodec[State] | None
    ) -> None:
        """Compare what the period begins with to what its predecessor ended with."""
        header = before.header
        if (opening.seq, opening.archive.digest, opening.number) != (
            header.last_seq,
            header.digest,
            header.period + 1,
        ):
            self.differ(
                f"the period follows event {opening.seq} of an archive with digest {opening.archive.digest}; "
                f"{before.path.name} ends at event {header.last_seq} with digest {header.digest}"
            )
        for account, said, found in differing(opening.state.balances, before.closing_balances()):
            self.differ(
                f"the opening balance of {' '.join(account)} is {plain(said)}, its archive closes with {plain(found)}"
            )
        if codec is None:
            return
        state = codec.adopt(opening.state)
        if opening.state.version == codec.version and state.state_hash() != opening.state.hash:
            self.differ("the state that opens the period is not the one it was made of")
        owned = {(venue, currency): amount for venue, currency, amount in codec.owned(state)}
        for account, said, found in differing(owned, self._owned):
            self.differ(
                f"the state that opens the period owns {plain(said)} {account[1]} on {account[0]}, "
                f"deposits and fills come to {plain(found)}"
            )
        self._compare_positions(codec.open_positions(state), header.carry)

    def _compare_positions(self, stated: Iterable[Position], carry: Carry) -> None:
        said = {one.position_id: _figures(one) for one in stated}
        found = {
            one.position_id: (
                one.home_base,
                one.home_quote,
                one.away_base,
                one.away_quote,
                one.fees,
                one.other_fees,
            )
            for one in carry.holdings
        }
        for name in sorted(said.keys() | found.keys()):
            if said.get(name) != found.get(name):
                self.differ(f"the state that opens the period has {name} as its fills do not make it")

    def compare_closing(self, header: Header) -> None:
        """Compare what an archive states as its end to what its events lead to."""
        for account, said, found in differing(table_of_balances(header.closing), self.balances):
            self.differ(
                f"the closing balance of {' '.join(account)} is {plain(said)}, the events lead to {plain(found)}"
            )
        if header.carry != self.carry():
            self.differ("what it carries over is not what its events leave open")

    def report(self, snapshots: int = 0) -> VerifyReport:
        """Return what was found. Called after the last event."""
        self._balances()
        self._rebook.finish()
        return VerifyReport(
            events=sum(self._kinds.values()),
            postings=self._postings_seen,
            deposits=self._kinds["Deposited"],
            fills=self._rebook.fills,
            intents=self._kinds["IntentApproved"],
            positions=len(self._rebook.positions) - self._carried,
            closed=self._rebook.closed,
            pnl=self._rebook.pnl,
            beside=self._rebook.beside,
            kinds=dict(self._kinds),
            snapshots=snapshots,
            differences=tuple(self._differences),
            suppressed=self._suppressed,
        )

    def _take(self, row: EventRow, lines: list[Line]) -> None:
        seq, ts_ms, kind, pair, intent_id, body = row
        if seq != self._last_seq + 1:
            self.differ(f"events {self._last_seq + 1} to {seq - 1} are missing")
        self._last_seq = seq
        self._event_taken = None
        try:
            event = decode_event(body)
        except LedgerDamaged as error:
            self.differ(f"event {seq}: {error}")
            return
        if (ts_ms, kind, pair, intent_id) != (event.at_ms, kind_of(event), *subject_of(event)):
            self.differ(f"event {seq}: its columns are not what its body says")
        try:
            self._event(seq, event, lines)
        except ArithmeticError as error:  # such as NaN: a number that cannot be computed with
            self.differ(f"event {seq}: it holds an invalid number: {error!r}")
        self._event_taken = event

    def _event(self, seq: int, event: Event, lines: list[Line]) -> None:
        self._kinds[kind_of(event)] += 1
        moved = self._moved_by(event)
        for account, amount in moved.items():
            self._owned[account] += amount
        self._postings(seq, moved, lines)
        if isinstance(event, Deposited | TransferEnded):
            self._transfers(seq, event.currency)
        if isinstance(event, Stopped):
            self._stopped(seq, event)
        elif isinstance(event, DifferenceFound):
            self._compared(seq, event)
        self._rebook.add(seq, event)

    def _moved_by(self, event: Event) -> dict[tuple[str, str], Decimal]:
        """Return by how much an event changes our balances, and note what it puts under way."""
        moved: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        if isinstance(event, Deposited):
            moved[event.venue, event.currency] += event.amount
            if event.why == "transfer":
                self._under_way[event.currency] -= event.amount
        elif isinstance(event, TransferEnded):
            self._under_way[event.currency] -= event.fee + event.lost
        elif isinstance(event, OrderReported):
            for fill in event.fills:
                for currency, amount in fill.changes():
                    moved[fill.market.venue, currency] += amount
        return moved

    def _transfers(self, seq: int, currency: str) -> None:
        """Compare what the ledger has under way with what has left and not arrived, which is never below zero."""
        booked = self.balances.get(("transfers", currency), ZERO)
        found = self._under_way[currency]
        if booked != found or found < 0:
            self.differ(
                f"event {seq}: {plain(booked)} {currency} are booked as under way, the transfers make {plain(found)}"
            )

    def _postings(self, seq: int, moved: dict[tuple[str, str], Decimal], lines: list[Line]) -> None:
        sums: dict[str, Decimal] = defaultdict(lambda: ZERO)
        venues: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        for number, (_, line, account, currency, amount_text, balance_text) in enumerate(lines):
            amount, balance = _amount(amount_text), _amount(balance_text)
            if amount is None or balance is None:
                self.differ(f"posting {seq}.{line}: {amount_text!r} or {balance_text!r} is not an amount")
                continue
            if line != number:
                self.differ(f"posting {seq}.{number} is missing")
            sums[currency] += amount
            owner, _, venue = account.partition(":")
            if owner == "venue":
                venues[venue, currency] += amount
            key = account, currency
            self.balances[key] += amount
            if balance != self.balances[key]:
                self.differ(
                    f"posting {seq}.{line}: {account} {currency} is stated as {plain(balance)}, "
                    f"the amounts add up to {plain(self.balances[key])}"
                )
                self.balances[key] = balance  # so that the lines that follow are no further differences
        for currency, total in sums.items():
            if total:
                self.differ(f"event {seq}: its postings in {currency} add up to {plain(total)}, not to 0")
        for venue, currency in sorted(moved.keys() | venues.keys()):
            booked, due = venues[venue, currency], moved[venue, currency]
            if booked != due:
                self.differ(
                    f"event {seq}: {plain(booked)} {currency} booked on {venue}, its fills say {plain(due)}"
                )

    def _stopped(self, seq: int, event: Stopped) -> None:
        stated = {(venue, currency): amount for venue, currency, amount in event.balances}
        for venue, currency in sorted(stated.keys() | self._owned.keys()):
            said, found = stated.get((venue, currency), ZERO), self._owned[venue, currency]
            if said != found:
                self.differ(
                    f"event {seq}: the stop states {plain(said)} {currency} on {venue}, "
                    f"deposits and fills come to {plain(found)}"
                )

    def _compared(self, seq: int, event: DifferenceFound) -> None:
        found = self._owned[event.venue, event.currency]
        if event.booked != found:
            self.differ(
                f"event {seq}: {plain(event.booked)} {event.currency} on {event.venue} was compared with what the "
                f"venue said, deposits and fills come to {plain(found)}"
            )

    def _balances(self) -> None:
        booked = {
            (account.removeprefix("venue:"), currency): balance
            for (account, currency), balance in self.balances.items()
            if account.startswith("venue:")
        }
        for venue, currency in sorted(booked.keys() | self._owned.keys()):
            last, found = booked.get((venue, currency), ZERO), self._owned[venue, currency]
            if last != found:
                self.differ(
                    f"{venue} {currency} is booked as {plain(last)}, deposits and fills come to {plain(found)}"
                )

    def differ(self, sentence: str) -> None:
        """Note what does not agree."""
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


def differing(
    said: Mapping[tuple[str, str], Decimal], found: Mapping[tuple[str, str], Decimal]
) -> Iterator[tuple[tuple[str, str], Decimal, Decimal]]:
    """Yield (account, said, found) wherever the two tables differ; an account that one lacks counts as zero there."""
    for account in sorted(said.keys() | found.keys()):
        one, other = said.get(account, ZERO), found.get(account, ZERO)
        if one != other:
            yield account, one, other


def _figures(one: Position) -> tuple[Decimal, ...]:
    flows = one.flows
    return (
        *(flows.home_base, flows.home_quote, flows.away_base, flows.away_quote),
        *(one.fees, one.other_fees),
    )
