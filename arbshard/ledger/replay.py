"""Builds the state from the ledger. Start and recovery are the same code, and ``arbshard.risk`` calls it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

from arbshard.errors import LedgerDamaged, LedgerError
from arbshard.ledger.events import Amounts, Event
from arbshard.ledger.file import damaged
from arbshard.ledger.period import PeriodOpening
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.snapshots import Snapshot
from arbshard.ledger.store import LedgerStore
from arbshard.model.position import Position

_COMMIT_EVERY = 1000
CONTRADICTIONS = (
    LedgerDamaged,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""Errors raised by an event that does not fit the state before it. A stored event cannot be refused like a
request.
"""


class Replayable(Protocol):
    """Is a state that events add up to: ``risk.portfolio.state.PortfolioState``."""

    def apply(self, event: Event) -> None:
        """Apply one event. Raises ``LedgerDamaged`` when it contradicts the earlier ones."""
        ...

    def commit(self) -> None:
        """Make what was applied final."""
        ...


class Hashed(Replayable, Protocol):
    """Is a state that can be compared with another."""

    def state_hash(self) -> str:
        """Return a text that is equal for equal states."""
        ...


State = TypeVar("State", bound=Hashed)


class StateCodec(Protocol[State]):
    """Makes states and stores them in snapshots: ``risk.portfolio.snapshot.PortfolioCodec``."""

    @property
    def version(self) -> str:
        """Return the version of the snapshots that ``dump`` makes."""
        ...

    def fresh(self) -> State:
        """Return a state before the first event."""
        ...

    def load(self, snapshot: Snapshot) -> State:
        """Return the state that a snapshot was made of. Raises ``LedgerDamaged``, also for a snapshot of another
        version.
        """
        ...

    def adopt(self, snapshot: Snapshot) -> State:
        """Return the state that a period opens with, which an older version of the program may have made.

        Raises ``LedgerDamaged`` when this program cannot take it over.
        """
        ...

    def dump(self, state: State) -> tuple[str, bytes]:
        """Return hash and body, which ``load`` and ``adopt`` can read. Raises ``LedgerError``."""
        ...

    def open_positions(self, state: State) -> tuple[Position, ...]:
        """Return the positions that are open."""
        ...

    def owned(self, state: State) -> Amounts:
        """Return (venue, currency, total) of all that we own."""
        ...


class Recovery(NamedTuple, Generic[State]):
    """Holds a recovered state, and says how it was found."""

    state: State
    snapshot_seq: int
    """Last event of the snapshot, or of the archived period, that it began with; 0 for neither."""
    replayed: int
    """Number of events replayed."""
    ignored: tuple[str, ...]
    """Why snapshots were not used, a sentence each."""


def _no_progress() -> None:
    pass


def recover(
    store: LedgerStore, codec: StateCodec[State], on_progress: Callable[[], None] = _no_progress
) -> Recovery[State]:
    """Return the state after the last event, from the newest snapshot that can be trusted, or from the beginning.

    Afterwards the store is ready to append. ``on_progress`` is called every thousand events, because replaying a
    long ledger takes time and the caller can show that it goes on. Raises ``LedgerDamaged`` naming what is at fault,
    or ``LedgerError``.
    """
    ignored: list[str] = []
    found = _load_newest(store, codec, ignored)
    if found is not None:
        snapshot, state = found
        try:
            count = _carry_on(store, codec, state, snapshot, on_progress)
        except LedgerDamaged as error:
            # Either what follows the snapshot is damaged or the snapshot is wrong: a replay from the beginning
            # shows which.
            ignored.append(f"what follows the snapshot at event {snapshot.seq} does not fit: {error}")
        else:
            store.inspect()
            return Recovery(state, snapshot.seq, count, tuple(ignored))
    if ignored or not store.ended_in_order:
        store.check_pages()
    opening = store.period
    state = begin_period(opening, codec, store.path)
    count = _carry_on(store, codec, state, opening.state if opening is not None else None, on_progress)
    return Recovery(state, opening.seq if opening is not None else 0, count, tuple(ignored))


def begin_period(opening: PeriodOpening | None, codec: StateCodec[State], ledger: Path) -> State:
    """Return the state before the first event of the ledger's period. Raises ``LedgerDamaged``."""
    if opening is None:
        return codec.fresh()
    try:
        state = codec.adopt(opening.state)
    except LedgerDamaged as error:
        raise damaged(ledger, f"the state that opens its period cannot be taken over: {error}") from error
    if opening.state.version == codec.version and state.state_hash() != opening.state.hash:
        raise damaged(ledger, "the state that opens its period is not the one that was stored")
    return state


def state_at(reader: LedgerReader, codec: StateCodec[State], seq: int) -> State:
    """Return the state after the event ``seq`` of the ledger's period. Raises ``LedgerError``."""
    opening = reader.period
    after = opening.seq if opening is not None else 0
    state = begin_period(opening, codec, reader.path)
    rows = reader.rows(until=seq)
    replay(((row[0], reader.decode(row[0], row[5])) for row in rows), state, after=after, ledger=reader.path)
    return state


def newest_state(reader: LedgerReader, codec: StateCodec[State]) -> State:
    """Return the state after the last event, from the newest snapshot that can be used. Raises ``LedgerError``."""
    for snapshot in reader.snapshots():
        if isinstance(snapshot, LedgerDamaged):
            continue
        try:
            state = codec.load(snapshot)
        except LedgerDamaged:
            continue  # an older program made it: what comes before it is replayed as well
        rows = reader.rows(after=snapshot.seq)
        events = ((row[0], reader.decode(row[0], row[5])) for row in rows)
        replay(events, state, after=snapshot.seq, ledger=reader.path)
        return state
    return state_at(reader, codec, reader.last_seq)


def replay(
    events: Iterable[tuple[int, Event]],
    state: Replayable,
    *,
    after: int = 0,
    ledger: Path | None = None,
    on_progress: Callable[[], None] = _no_progress,
) -> int:
    """Apply all events in order. Return their number. ``after`` is the last event that ``state`` already holds.

    Raises ``LedgerDamaged`` naming the event at fault, and ``ledger``.
    """
    expected = after
    for seq, event in events:
        expected += 1
        if seq != expected:
            raise _damaged(ledger, f"event {expected} is missing")
        try:
            state.apply(event)
        except CONTRADICTIONS as error:
            said = (
                str(error)
                if isinstance(error, LedgerDamaged)
                else f"it contradicts what came before ({error!r})"
            )
            raise _damaged(ledger, f"event {seq}: {said}") from error
        if expected % _COMMIT_EVERY == 0:
            state.commit()
            on_progress()
    state.commit()
    return expected - after


def _carry_on(
    store: LedgerStore,
    codec: StateCodec[State],
    state: State,
    snapshot: Snapshot | None,
    on_progress: Callable[[], None],
) -> int:
    after = snapshot.seq if snapshot is not None else 0
    count = replay(store.events(after), state, after=after, ledger=store.path, on_progress=on_progress)
    store.resume(snapshot, codec.owned(state))
    return count


def _load_newest(
    store: LedgerStore, codec: StateCodec[State], ignored: list[str]
) -> tuple[Snapshot, State] | None:
    """Return the newest snapshot that can be read, with its state; add to ``ignored`` why newer ones cannot."""
    try:
        for snapshot in store.snapshots():
            if isinstance(snapshot, LedgerDamaged):
                ignored.append(str(snapshot))
                continue
            try:
                return snapshot, codec.load(snapshot)
            except LedgerDamaged as error:
                ignored.append(f"the snapshot at event {snapshot.seq}: {error}")
    except LedgerError as error:
        ignored.append(f"the snapshots cannot be read: {error}")
    return None


def _damaged(ledger: Path | None, problem: str) -> LedgerDamaged:
    return damaged(ledger, problem) if ledger is not None else LedgerDamaged(problem)
