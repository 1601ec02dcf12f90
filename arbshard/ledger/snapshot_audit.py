"""Checks whether each snapshot is what the events before it add up to. Part of ``verify``."""

from collections.abc import Callable
from decimal import Decimal
from typing import Generic, NamedTuple

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import Event
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.replay import CONTRADICTIONS, State, StateCodec, begin_period
from arbshard.ledger.snapshots import BalanceTable

_COMMIT_EVERY = 1000


class _Claim(NamedTuple):
    version: str
    hash: str
    balances: BalanceTable


class SnapshotAudit(Generic[State]):
    """Follows ``verify`` from event to event and calls ``differ`` with each difference of a snapshot.

    The balances of every snapshot are compared. Its state's hash is compared only with a ``codec``, and only if this
    program's version made it: another version's hash may cover what this one does not.
    """

    def __init__(self, codec: StateCodec[State] | None, differ: Callable[[str], None]) -> None:
        self._codec = codec
        self._differ = differ
        self._claims: dict[int, _Claim] = {}
        self._state: State | None = None
        """The replayed state; None when no further snapshot is to be compared."""
        self._until = 0
        self.compared = 0

    def begin(self, reader: LedgerReader) -> None:
        """Read what the snapshots state. Raises ``LedgerError``."""
        for snapshot in reader.snapshots():
            if isinstance(snapshot, LedgerDamaged):
                self._differ(str(snapshot))
            else:
                self._claims[snapshot.seq] = _Claim(snapshot.version, snapshot.hash, snapshot.balances)
        if self._codec is not None:
            mine = [seq for seq, one in self._claims.items() if one.version == self._codec.version]
            self._until = max(mine, default=0)
            self._state = begin_period(reader.period, self._codec, reader.path) if mine else None

    def add(self, seq: int, event: Event, balances: dict[tuple[str, str], Decimal]) -> None:
        """Apply the next event, and compare the running balances after it with those of a snapshot."""
        state = self._state
        if state is not None:
            try:
                state.apply(event)
            except CONTRADICTIONS as error:
                self._differ(f"event {seq}: it does not fit the state before it: {error}")
                self._state = state = None
            else:
                if seq % _COMMIT_EVERY == 0:
                    state.commit()
        claim = self._claims.get(seq)
        if claim is not None:
            self.compared += 1
            if claim.balances != balances:
                self._differ(f"the snapshot at event {seq} has other balances than the postings up to it")
            if self._codec is not None and state is not None and claim.version == self._codec.version:
                state.commit()
                if state.state_hash() != claim.hash:
                    self._differ(f"the snapshot at event {seq} is of another state than replaying leads to")
        if seq >= self._until:
            self._state = None
