"""From the ledger to the state: start-up and recovery are this one function. Called by ``arbshard.risk``."""

from collections.abc import Iterable
from typing import Protocol

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import Event

_COMMIT_EVERY = 1000


class Replayable(Protocol):
    """What events add up to: ``risk.portfolio.PortfolioState``."""

    def apply(self, event: Event) -> None:
        """Take in one event. Raises ``LedgerDamaged`` when it contradicts the earlier ones."""
        ...

    def commit(self) -> None:
        """What was applied is final."""
        ...


def replay(events: Iterable[tuple[int, Event]], state: Replayable) -> int:
    """Apply all events in order; the number of events. Raises ``LedgerDamaged`` naming the event at fault."""
    count = 0
    for seq, event in events:
        count += 1
        if seq != count:
            raise LedgerDamaged(f"event {count} is missing")
        try:
            state.apply(event)
        except LedgerDamaged as error:
            raise LedgerDamaged(f"event {seq}: {error}") from error
        if count % _COMMIT_EVERY == 0:
            state.commit()
    state.commit()
    return count
