"""Holds money and coins under way between venues, from outside and to outside. Pure.

It is a part of ``state.PortfolioState``, which passes it the events concerned. ``risk.transfers`` decides on them.
"""

from collections import defaultdict
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import Deposited, TransferAnnounced, TransferEnded
from arbshard.model.money import ZERO
from arbshard.model.transfer import OUTSIDE, Transfer
from arbshard.risk.portfolio.holdings import Part


class Transfers(Part):
    """Holds all transfers that have not ended."""

    count: int = 0
    """Count of all announced transfers: the next one's id follows from it."""
    open: dict[str, Transfer] = msgspec.field(default_factory=dict)
    """Transfers by id, the oldest first."""

    def under_way(self) -> dict[str, Decimal]:
        """Return what is ours and on no venue, by currency."""
        sums: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        for one in self.open.values():
            if one.under_way:
                sums[one.currency] += one.under_way
        return dict(sums)

    def announce(self, event: TransferAnnounced) -> None:
        """Apply an announcement. Raises ``LedgerDamaged`` when it contradicts the state."""
        if event.transfer_id in self.open:
            raise LedgerDamaged(f"transfer {event.transfer_id} was announced twice")
        is_from_outside = event.source == OUTSIDE
        transfer = Transfer(
            event.transfer_id,
            event.source,
            event.target,
            event.currency,
            event.amount,
            event.fee,
            event.price,
            event.at_ms,
            event.reason,
            left_ms=event.at_ms if is_from_outside else 0,
            left=event.amount if is_from_outside else ZERO,
        )
        self._journal.keep_fields(self)
        self.count += 1
        self._journal.set_item(self.open, event.transfer_id, transfer)

    def move(self, event: Deposited) -> Decimal:
        """Apply a deposit that belongs to a transfer: a part has left its source, has arrived, or has come back.

        Returns what of the amount held for the transfer is no longer held. Raises ``LedgerDamaged``.
        """
        before = self._known(event.transfer)
        ends = (before.source,) if event.amount < 0 else (before.source, before.target)
        left = before.left - event.amount
        if event.venue not in ends or not 0 <= left <= before.amount:
            raise LedgerDamaged(
                f"transfer {before.text}: {event.amount} on {event.venue} is not a part of it"
            )
        left_ms = before.left_ms or event.at_ms
        self._journal.set_item(self.open, before.transfer_id, replace(before, left_ms=left_ms, left=left))
        return max(ZERO, -event.amount)

    def end(self, event: TransferEnded) -> Transfer:
        """Apply the end of a transfer; returns it as it was. Raises ``LedgerDamaged``."""
        before = self._known(event.transfer_id)
        if event.fee + event.lost != before.under_way:
            raise LedgerDamaged(f"transfer {before.text} ended with {before.under_way} under way")
        self._journal.drop(self.open, before.transfer_id)
        return before

    def _known(self, transfer_id: str) -> Transfer:
        known = self.open.get(transfer_id)
        if known is None:
            raise LedgerDamaged(f"transfer {transfer_id} is not open")
        return known
