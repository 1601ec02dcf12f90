"""Money and coins that a person moves: between venues, from outside, or to outside. Pure."""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.model.money import ZERO

OUTSIDE = "outside"
"""The other end of a deposit or a withdrawal: a bank, a wallet, a venue that is not traded on."""

AdjustmentKind = Literal["deposit", "withdrawal", "fee", "unexplained"]
"""What a person says that a difference between venue and ledger is. ``fee`` and ``unexplained`` count as results."""

TransferEnd = Literal["arrived", "cancelled", "lost"]


class Transfer(msgspec.Struct, frozen=True):
    """A transfer that was announced and has not ended."""

    transfer_id: str
    source: str
    """A venue, or ``OUTSIDE``."""
    target: str
    """Likewise."""
    currency: str
    amount: Decimal
    """What leaves the source in all, the fee included."""
    fee: Decimal
    """What of it does not arrive."""
    price: Decimal
    """Worth of one unit in reporting currency when it was announced: fee and loss are valued with it."""
    announced_ms: int
    reason: str
    left_ms: int = 0
    """When the amount had left the source (wall time); 0 while it has not."""
    left: Decimal = ZERO
    """What has left the source, the fee included, and has not arrived at a venue."""

    @property
    def is_waiting(self) -> bool:
        """Whether the amount has not left its source."""
        return not self.left_ms

    @property
    def under_way(self) -> Decimal:
        """What of it is ours and on no venue. What comes from outside is not ours yet, what goes there is no more."""
        return ZERO if OUTSIDE in (self.source, self.target) else self.left

    @property
    def expected(self) -> Decimal:
        """What is still to arrive."""
        return (self.amount if self.is_waiting else self.left) - self.fee

    @property
    def text(self) -> str:
        """Currency and both ends, for people."""
        return f"{self.transfer_id}, {self.currency} from {self.source} to {self.target}"
