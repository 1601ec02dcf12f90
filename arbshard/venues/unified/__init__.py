"""Adapts any venue that ccxt knows, in the terms of ccxt's unified API, by one adapter that is made for each name.

The wire format of these modules is the JSON text of ccxt's unified structures, in which every amount is an exact
text. ``data.ccxt_client`` makes the calls and writes the texts; nothing here imports ccxt. A request's path is the
name of the unified call, and its parameters are that call's arguments.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from arbshard.venues.base.adapter import Adapter
from arbshard.venues.unified.account import UnifiedAccount
from arbshard.venues.unified.limits import UnifiedLimits
from arbshard.venues.unified.market import UnifiedMarket
from arbshard.venues.unified.orders import UnifiedOrders
from arbshard.venues.unified.rest import UnifiedBooks
from arbshard.venues.unified.rules import UnifiedRules
from arbshard.venues.unified.states import understand


@cache
def make_adapter(name: str) -> Adapter:
    """Return the adapter of the venue that ccxt calls ``name``."""
    return Adapter(
        market=UnifiedMarket(name),
        rest=UnifiedBooks(name),
        orders=UnifiedOrders(name),
        understand=understand,
        account=UnifiedAccount(name),
        limits=UnifiedLimits(name),
        rules=UnifiedRules(name),
        signing=None,
    )


@cache
def is_known(name: str) -> bool:
    """Return whether the installed ccxt has a class of this name; ccxt is not imported for that."""
    spec = find_spec("ccxt")
    places = spec.submodule_search_locations if spec is not None else None
    return (
        bool(places)
        and name.isidentifier()
        and any((Path(place) / f"{name}.py").is_file() for place in places or ())
    )
