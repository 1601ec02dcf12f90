"""The venues whose accounts can be watched, by name."""

from arbshard.venues.base.account import AccountVenue
from arbshard.venues.binance.account import BinanceAccount
from arbshard.venues.upbit.account import UpbitAccount


def account_venues() -> tuple[AccountVenue, ...]:
    """All of them."""
    return (UpbitAccount(), BinanceAccount())


def account_venue(name: str) -> AccountVenue:
    """The one called ``name``. Raises ``KeyError``."""
    return {venue.name: venue for venue in account_venues()}[name]
