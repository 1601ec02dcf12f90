"""Defines a venue's warnings of a market, or of a coin's deposits and withdrawals. Risk has a rule for each kind."""

from typing import Literal

import msgspec

MarketWarningKind = Literal[
    "warning",
    "price_fluctuations",
    "trading_volume_soaring",
    "deposit_amount_soaring",
    "global_price_differences",
    "concentration_of_small_accounts",
    "other_caution",
    "not_trading",
    "not_permitted",
]
"""``warning``: the venue has put the market on its watch list, and may end trading there. ``other_caution``: a kind
that the venue has added since. ``not_trading``: the market's status. ``not_permitted``: accounts like ours may not
trade it. The others are the venue's cautions of these names.
"""
WalletKind = Literal["deposits_closed", "withdrawals_closed", "network_closed", "network_delayed"]
"""The first two: on every network. ``network_closed``: on some of them. ``network_delayed``: the venue receives the
network's blocks late or not at all, though the wallet is open."""


class MarketWarning(msgspec.Struct, frozen=True):
    """Is a venue's warning of one of its markets."""

    venue: str
    symbol: str
    kind: MarketWarningKind
    detail: str = ""
    """The venue's own name of it, where ``kind`` is not specific."""

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


class WalletWarning(msgspec.Struct, frozen=True):
    """States that a coin cannot be moved to or from a venue as usual."""

    venue: str
    currency: str
    kind: WalletKind
    detail: str = ""
    """The networks concerned."""

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


class CoinName(msgspec.Struct, frozen=True):
    """Is a venue's full name of a coin."""

    venue: str
    currency: str
    name: str
    units: int = 1
    """How many of the coin's own units one unit at the venue is: 1,000,000 for a coin traded by the million."""


class WalletReport(msgspec.Struct, frozen=True):
    """States what a venue reports about the deposits and withdrawals of the coins that are traded there."""

    at_ms: int
    """Wall time in ms at which the venue last stated it; 0 for never in this process."""
    warnings: tuple[WalletWarning, ...] = ()
    coin_names: tuple[CoinName, ...] = ()
    problem: str = ""
    """Why it could not be asked the last time; empty when it could."""
