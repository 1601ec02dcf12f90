"""The venues arbshard knows, by name. Everything that needs one asks here."""

from arbshard.errors import UsageError
from arbshard.venues.base.market import Venue
from arbshard.venues.binance.market import Binance
from arbshard.venues.upbit.market import Upbit

VENUES: dict[str, Venue] = {venue.name: venue for venue in (Upbit(), Binance())}


def get_venue(name: str) -> Venue:
    """The venue called ``name``. Raises ``UsageError`` for one we do not know."""
    try:
        return VENUES[name]
    except KeyError:
        known = ", ".join(sorted(VENUES))
        raise UsageError(f"unknown venue '{name}'; known: {known}") from None
