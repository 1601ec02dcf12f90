"""The section ``[inventory]``: when to warn that money or coins run out, and what to propose."""

from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from arbshard.config.section import Positive, Section


class InventoryConfig(Section, frozen=True):
    """Money and coins on both venues, and transfers between them."""

    transfer_min: Decimal = Decimal(500_000)
    """What is worth less than this is not proposed to be moved, in reporting currency."""
    cover_days: Annotated[float, Meta(gt=0, le=365)] = 7.0
    """A proposal moves as much as lasts for so long at the present rate."""
    warn_days: Annotated[float, Meta(gt=0, le=365)] = 1.0
    """``arbshard status`` names what runs out within so long."""
    overdue_h: Positive = 24.0
    """A transfer that was announced so long ago and has not ended is a problem."""
