"""Executes the system's own audits on the simulated ledger: the second bookkeeping of ``ledger verify``, and replay.

These are programs of the system, so they run in addition to the oracle and never replace it: they find a state that
differs from what the ledger leads to, but cannot know what is true. ``oracle`` judges by what it knows from outside.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from arbshard.errors import LedgerError
from arbshard.ledger.events import Event, PositionClosed
from arbshard.ledger.rebook import Rebook
from arbshard.ledger.replay import recover
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.virtual.ledger import Disk, MemoryLedger
from arbshard.virtual.trace import Trace

_ENDED_KEPT = 4_000


class _Recent(set[str]):
    """Is a set that keeps only its newest names, so that it cannot grow without bound."""

    def __init__(self) -> None:
        super().__init__()
        self._order: deque[str] = deque()

    def add(self, element: str) -> None:
        """Add ``element``, and drop the oldest name when there are too many."""
        if element not in self:
            super().add(element)
            self._order.append(element)
            if len(self._order) > _ENDED_KEPT:
                self.discard(self._order.popleft())


class _Books(Rebook):
    """Is the second bookkeeping of the ledger, with a bounded memory."""

    def __init__(self, differ: Callable[[str], None]) -> None:
        super().__init__(differ)
        self._ended = _Recent()
        self._fill_ids = _Recent()


class Differ(Protocol):
    """Takes reports of invariants that do not hold."""

    def differs(self, what: str) -> None:
        """Report that an invariant does not hold."""
        ...


class Audit:
    """Compares the states of risk with the ledger; risk calls it at each step."""

    def __init__(self, oracle: Differ, trace: Trace) -> None:
        self._differ = oracle.differs
        self._trace = trace
        self._books = _Books(self._differ)
        self._hash = ""
        """Hash of the state that risk had committed at the last comparison; empty before the first."""

    def add(self, seq: int, event: Event) -> None:
        """Check the next stored event against the second bookkeeping."""
        self._books.add(seq, event)
        if isinstance(event, PositionClosed):  # an intent that has ended needs no entry: memory is bounded
            self._books.positions.pop(event.position.position_id, None)

    def began(self, state: PortfolioState) -> None:
        """Check that a new incarnation of risk has found by replay the state that the last one had committed."""
        found = state.state_hash()
        self._trace.note("replayed", found)
        if self._hash and found != self._hash:
            self._differ(f"replay: state {found} is not the {self._hash} that risk had before it ended")

    def left(self, state: PortfolioState) -> None:
        """Keep the hash of the state that risk had committed when it ended or was killed."""
        state.rollback()  # changes under reserve are lost with the process
        self._hash = state.state_hash()

    def damaged(self, why: str) -> None:
        """Report that the ledger cannot be replayed."""
        self._differ(f"replay: {why}")

    def rolled_back(self, state: PortfolioState) -> None:
        """Check that the state was restored after the ledger could not be written, and keep its hash."""
        self._trace.note("full", "the ledger could not be written")
        if not state.is_settled:
            self._differ("rollback: risk's state holds what the ledger has not")
        self._hash = state.state_hash()

    def replayed(self, disk: Disk, state: PortfolioState) -> None:
        """Check that a replay of the stored events leads to exactly this state."""
        try:
            found = recover(MemoryLedger(disk), PortfolioCodec()).state.state_hash()
        except LedgerError as error:
            self._differ(f"replay: {error}")
            return
        if found != state.state_hash():
            self._differ(f"replay: the ledger leads to {found}, risk was at {state.state_hash()}")
