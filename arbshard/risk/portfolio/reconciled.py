"""Where venues and ledger stand to each other, as far as it outlives a restart: accounts, differences, strays. Pure.

Part of ``portfolio.PortfolioState``, which hands it the events concerned; ``reconciler`` decides on them.
"""

from decimal import Decimal

import msgspec

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import (
    AccountOpened,
    DifferenceFound,
    DifferenceResolved,
    ReconciliationEvent,
    StrayFound,
    StrayGone,
)
from arbshard.risk.portfolio.balances import Account
from arbshard.risk.portfolio.journal import Journal


class KnownDifference(msgspec.Struct, frozen=True):
    """Venue and ledger say different amounts."""

    stated: Decimal
    booked: Decimal
    since_ms: int

    @property
    def amount(self) -> Decimal:
        """What the venue has more; negative: less."""
        return self.stated - self.booked


class KnownStray(msgspec.Struct, frozen=True):
    """An open order of ours that no open intent owns."""

    symbol: str
    remaining: Decimal
    pair: str
    since_ms: int


class Reconciled:
    """Changed through the journal of the state that owns it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.opened: dict[str, int] = {}
        """When each venue first stated what we own there: wall time by venue."""
        self.differences: dict[Account, KnownDifference] = {}
        self.strays: dict[tuple[str, str], KnownStray] = {}
        """By (venue, client id)."""

    def apply(self, event: ReconciliationEvent) -> None:
        """Take in an event. Raises ``LedgerDamaged`` when it contradicts what stands."""
        put, drop = self._journal.put, self._journal.drop
        match event:
            case AccountOpened():
                if (
                    event.venue in self.opened
                ):  # a simulated exchange that began anew: nothing of before is there
                    self._forget(event.venue)
                put(self.opened, event.venue, event.at_ms)
            case DifferenceFound():
                account = event.venue, event.currency
                known = self.differences.get(account)
                since_ms = known.since_ms if known is not None else event.at_ms
                put(self.differences, account, KnownDifference(event.stated, event.booked, since_ms))
            case DifferenceResolved():
                if (event.venue, event.currency) not in self.differences:
                    raise LedgerDamaged(f"{event.venue} {event.currency} did not differ")
                drop(self.differences, (event.venue, event.currency))
            case StrayFound():
                stray = KnownStray(event.symbol, event.remaining, event.pair, event.at_ms)
                put(self.strays, (event.venue, event.client_id), stray)
            case StrayGone():
                if (event.venue, event.client_id) not in self.strays:
                    raise LedgerDamaged(f"{event.client_id} was not astray at {event.venue}")
                drop(self.strays, (event.venue, event.client_id))

    def _forget(self, venue: str) -> None:
        for account in [one for one in self.differences if one[0] == venue]:
            self._journal.drop(self.differences, account)
        for order in [one for one in self.strays if one[0] == venue]:
            self._journal.drop(self.strays, order)

    def parts(self) -> tuple[object, ...]:
        """Everything, for the state's hash."""
        return self.opened, self.differences, self.strays
