"""Defines the messages between people and risk about money and coins: inventory and transfers. Part of
``messages``.
"""

from decimal import Decimal

import msgspec

from arbshard.model.transfer import Transfer, TransferEnd


class AnnounceTransfer(msgspec.Struct, frozen=True, tag=True):
    """Announces that a person moves money or coins. Answer: ``Done`` or ``Denied``."""

    source: str
    """A venue, or ``outside``."""
    target: str
    """A venue, or ``outside``."""
    currency: str
    amount: Decimal
    """The amount that leaves the source in all, with the fee."""
    fee: Decimal
    reason: str
    price: Decimal | None = None
    """Value of one unit in reporting currency; None: as the books state it."""


class ArriveTransfer(msgspec.Struct, frozen=True, tag=True):
    """Reports that a transfer, or a part of it, has arrived. Answer: ``Done`` or ``Denied``."""

    transfer_id: str
    amount: Decimal | None = None
    """The amount that has arrived; None: all that was expected."""


class EndTransfer(msgspec.Struct, frozen=True, tag=True):
    """Reports that a transfer is cancelled (what has left comes back) or lost. Answer: ``Done`` or ``Denied``."""

    transfer_id: str
    how: TransferEnd


class ShowTransfers(msgspec.Struct, frozen=True, tag=True):
    """Asks which transfers have not ended. Answer: ``OpenTransfers``."""


class OpenTransfers(msgspec.Struct, frozen=True, tag=True):
    """Answers with all transfers that have not ended, the oldest first."""

    transfers: tuple[Transfer, ...]


class ShowInventory(msgspec.Struct, frozen=True, tag=True):
    """Asks what we own where, and how long it will last. Answer: ``Inventory``."""


class Ends(msgspec.Struct, frozen=True):
    """Names the two venues and their money. The away venue's money is bought and sold on the home venue."""

    home: str
    away: str
    away_quote: str
    """Quote currency of the away venue, such as USDT."""
    home_quote: str
    """Quote currency of the home venue, such as KRW, and the reporting currency. It cannot be moved to the away
    venue.
    """


class InventoryLine(msgspec.Struct, frozen=True):
    """Is one currency on one venue. Amounts are in its own units unless stated otherwise."""

    venue: str
    currency: str
    have: Decimal
    free: Decimal
    """What entries may spend: held neither for orders nor for ways out."""
    for_orders: Decimal
    """What is held for orders under way, and for transfers that have not left."""
    for_ways_out: Decimal
    """What leaving all open positions needs, beyond what is held for orders."""
    per_day: Decimal
    """By how much round trips change it per day; negative where it is used up."""
    runs_out_ms: int
    """Wall time in ms at which nothing is free at this rate; 0: not within a year."""
    worth: Decimal | None
    """Value of what we have, in reporting currency; None without a price."""
    refused: int = 0
    """Number of entries of this run that were not made for lack of it. Workers count them, so risk reports 0."""


class Inventory(msgspec.Struct, frozen=True, tag=True):
    """Is the answer with all that we own, by venue and currency."""

    at_ms: int
    window_h: float
    """Number of hours over which ``per_day`` is measured; 0: no round trip was closed yet."""
    ends: Ends
    transfer_min: Decimal
    """An amount whose value in reporting currency is less than this is not proposed to be moved."""
    cover_days: float
    """Number of days for which a moved amount should last."""
    lines: tuple[InventoryLine, ...]
    under_way: tuple[Transfer, ...]


InventoryCommand = AnnounceTransfer | ArriveTransfer | EndTransfer | ShowTransfers | ShowInventory
