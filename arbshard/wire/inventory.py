"""What people and risk say to each other of money and coins: inventory and transfers. Part of ``messages``."""

from decimal import Decimal

import msgspec

from arbshard.model.transfer import Transfer, TransferEnd


class AnnounceTransfer(msgspec.Struct, frozen=True, tag=True):
    """A person moves money or coins. Answer: ``Done`` or ``Denied``."""

    source: str
    """A venue, or ``outside``."""
    target: str
    """Likewise."""
    currency: str
    amount: Decimal
    """What leaves the source in all, the fee included."""
    fee: Decimal
    reason: str
    price: Decimal | None = None
    """Worth of one unit in reporting currency; None: as the books have it."""


class ArriveTransfer(msgspec.Struct, frozen=True, tag=True):
    """A transfer, or a part of it, has arrived. Answer: ``Done`` or ``Denied``."""

    transfer_id: str
    amount: Decimal | None = None
    """None: all that was expected."""


class EndTransfer(msgspec.Struct, frozen=True, tag=True):
    """A transfer is cancelled (what has left comes back), or lost. Answer: ``Done`` or ``Denied``."""

    transfer_id: str
    how: TransferEnd


class ShowTransfers(msgspec.Struct, frozen=True, tag=True):
    """Which transfers have not ended? Answer: ``OpenTransfers``."""


class OpenTransfers(msgspec.Struct, frozen=True, tag=True):
    """All transfers that have not ended, the oldest first."""

    transfers: tuple[Transfer, ...]


class ShowInventory(msgspec.Struct, frozen=True, tag=True):
    """What do we own where, and how long will it last? Answer: ``Inventory``."""


class Ends(msgspec.Struct, frozen=True):
    """The two venues and their money. The away venue's money is bought and sold on the home venue."""

    home: str
    away: str
    away_quote: str
    """USDT."""
    home_quote: str
    """KRW, which is also the reporting currency: it cannot be moved to the away venue."""


class InventoryLine(msgspec.Struct, frozen=True):
    """One currency on one venue. Amounts in its own units unless said otherwise."""

    venue: str
    currency: str
    have: Decimal
    free: Decimal
    """What entries may spend: neither held for orders nor for ways out."""
    for_orders: Decimal
    """Held for orders under way, and for transfers that have not left."""
    for_ways_out: Decimal
    """What leaving all open positions needs, beyond what is held for orders."""
    per_day: Decimal
    """By how much round trips change it per day; negative where it is used up."""
    runs_out_ms: int
    """When nothing is free at this rate (wall time); 0: not within a year."""
    worth: Decimal | None
    """Of what we have, in reporting currency; None without a price."""
    refused: int = 0
    """Entries of this run that were not made for want of it; workers count them, so risk says 0."""


class Inventory(msgspec.Struct, frozen=True, tag=True):
    """All that we own, by venue and currency."""

    at_ms: int
    window_h: float
    """``per_day`` is measured over so many hours; 0: no round trip was closed yet."""
    ends: Ends
    transfer_min: Decimal
    """What is worth less than this (in reporting currency) is not proposed to be moved."""
    cover_days: float
    """How long what is moved should last."""
    lines: tuple[InventoryLine, ...]
    under_way: tuple[Transfer, ...]


InventoryCommand = AnnounceTransfer | ArriveTransfer | EndTransfer | ShowTransfers | ShowInventory
