"""Defines the section ``[inventory]``: when to warn that money or coins run out, and what to propose."""

from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from arbshard.config.section import Positive, Section


class InventoryConfig(Section, frozen=True):
    """Decides when to warn of shortages on both venues, and which transfers between them to propose."""

    transfer_min: Decimal = Decimal(500_000)
    """An amount whose value in reporting currency is less than this is not proposed to be moved."""
    cover_days: Annotated[float, Meta(gt=0, le=365)] = 7.0
    """A proposal moves as much as lasts for so many days at the present rate."""
    warn_days: Annotated[float, Meta(gt=0, le=365)] = 1.0
    """``arbshard status`` names what runs out within so many days."""
    overdue_h: Positive = 24.0
    """A transfer that was announced so many hours ago and has not ended is a problem."""
