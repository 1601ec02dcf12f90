"""The venues arbshard knows, by name. Whoever needs one asks here; only the configuration names them, too."""

from arbshard.config.venues import AWAY, HOME
from arbshard.errors import UsageError
from arbshard.shm.budget import Window
from arbshard.venues import binance, upbit
from arbshard.venues.base.adapter import Adapter
from arbshard.venues.base.market import Venue

__all__ = ["ADAPTERS", "AWAY", "HOME", "TRADED", "codecs", "get_adapter", "get_venue", "rate_windows"]

ADAPTERS: dict[str, Adapter] = {adapter.name: adapter for adapter in (upbit.ADAPTER, binance.ADAPTER)}

TRADED = (HOME, AWAY)
"""The venues that a run trades on."""


def get_adapter(name: str) -> Adapter:
    """Return all of the venue called ``name``. Raises ``UsageError`` for one we do not know."""
    try:
        return ADAPTERS[name]
    except KeyError:
        known = ", ".join(sorted(ADAPTERS))
        raise UsageError(f"unknown venue '{name}'; known: {known}") from None


def get_venue(name: str) -> Venue:
    """Return the order books' side of the venue called ``name``. Raises ``UsageError`` for one we do not know."""
    return get_adapter(name).market


def codecs() -> dict[str, Venue]:
    """Return the order books' side of every venue, by name."""
    return {name: adapter.market for name, adapter in ADAPTERS.items()}


def rate_windows() -> tuple[Window, ...]:
    """Return the rate limits of all venues."""
    return tuple(window for adapter in ADAPTERS.values() for window in adapter.limits.windows)
