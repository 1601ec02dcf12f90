"""Lists the venues that arbshard supports, by name.

All code looks venues up here; only the configuration names them too.
"""

from collections.abc import Iterable

from arbshard.config.venues import AWAY, HOME
from arbshard.errors import UsageError
from arbshard.shm.budget import Window
from arbshard.venues import binance, upbit
from arbshard.venues.base.adapter import Adapter
from arbshard.venues.base.market import Venue
from arbshard.venues.unified import is_known, make_adapter

__all__ = ["ADAPTERS", "AWAY", "HOME", "TRADED", "codecs", "get_adapter", "get_venue", "rate_windows"]

ADAPTERS: dict[str, Adapter] = {adapter.name: adapter for adapter in (upbit.ADAPTER, binance.ADAPTER)}

TRADED = (HOME, AWAY)
"""The venues that a run trades on unless the configuration says otherwise (``venues.away``)."""


def get_adapter(name: str) -> Adapter:
    """Return the adapter of the venue called ``name``: that of its folder, else one made from what ccxt offers for
    it.

    Raises ``UsageError`` for a venue that has no folder and that the installed ccxt does not know.
    """
    adapter = ADAPTERS.get(name)
    if adapter is not None:
        return adapter
    if is_known(name):
        return make_adapter(name)
    known = ", ".join(sorted(ADAPTERS))
    raise UsageError(f"unknown venue '{name}'; known: {known}, and those of ccxt where it is installed")


def get_venue(name: str) -> Venue:
    """Return the order-book codec of the venue called ``name``. Raises ``UsageError`` for an unknown venue."""
    return get_adapter(name).market


def codecs(names: Iterable[str] = ADAPTERS) -> dict[str, Venue]:
    """Return the order-book codecs of the venues called ``names``, by name.

    Raises ``UsageError`` for an unknown venue.
    """
    return {name: get_venue(name) for name in names}


def rate_windows(names: Iterable[str] = ADAPTERS) -> tuple[Window, ...]:
    """Return the rate limits of the venues called ``names``. Raises ``UsageError`` for an unknown venue."""
    return tuple(window for name in names for window in get_adapter(name).limits.windows)
