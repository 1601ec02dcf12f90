"""Describes money and coins that a person moves: between venues, from outside, or to outside. The code is pure."""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.model.money import ZERO

OUTSIDE = "outside"
"""The other end of a deposit or a withdrawal: a bank, a wallet, a venue that is not traded on."""

AdjustmentKind = Literal["deposit", "withdrawal", "fee", "unexplained"]
"""What a person declares a difference between venue and ledger to be. ``fee`` and ``unexplained`` count as results.
"""

TransferEnd = Literal["arrived", "cancelled", "lost"]


class Transfer(msgspec.Struct, frozen=True):
    """Is a transfer that was announced and has not ended."""

    transfer_id: str
    source: str
    """A venue, or ``OUTSIDE``."""
    target: str
    """A venue, or ``OUTSIDE``."""
    currency: str
    amount: Decimal
    """The amount that leaves the source in all, with the fee."""
    fee: Decimal
    """The part of it that does not arrive."""
    price: Decimal
    """Value of one unit in reporting currency when it was announced: fee and loss are valued with it."""
    announced_ms: int
    reason: str
    left_ms: int = 0
    """Wall time in ms at which the amount had left the source; 0 while it has not."""
    left: Decimal = ZERO
    """The amount that has left the source, with the fee, and has not arrived at a venue."""

    @property
    def is_waiting(self) -> bool:
        """Return whether the amount has not left its source."""
        return not self.left_ms

    @property
    def under_way(self) -> Decimal:
        """Return the part of it that is ours and on no venue.

        An amount from outside is not ours yet, and one to outside is ours no more.
        """
        return ZERO if OUTSIDE in (self.source, self.target) else self.left

    @property
    def expected(self) -> Decimal:
        """Return the amount that is still to arrive."""
        return (self.amount if self.is_waiting else self.left) - self.fee

    @property
    def text(self) -> str:
        """Return id, currency and both ends, for people."""
        return f"{self.transfer_id}, {self.currency} from {self.source} to {self.target}"
