"""Makes pairs from the listings of two venues: their markets, their slots, and the selection that a user asks for.

The code that sets up a run calls it once, before any process of the run starts.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import msgspec

from arbshard.config import SymbolsConfig
from arbshard.errors import UsageError, VenueError
from arbshard.model.market import FeeSchedule, Leg, Market, Pair
from arbshard.venues.base.market import ListedMarket

FX_SLOT = 0
"""Slot of the FX market; the pairs' slots begin at 1."""
_SUGGESTIONS_MAX = 5

FX_BASE = "USDT"
"""Quote currency of the away venue, unless the configuration names another."""


def fx_leg(home: Mapping[str, ListedMarket], fees: FeeSchedule, fx_base: str = FX_BASE) -> Leg:
    """Return the home market whose book is the FX rate, in slot 0. Raises ``VenueError`` if home does not list it."""
    for listed in home.values():
        if listed.market.base == fx_base:
            return Leg(market=listed.market, rules=listed.rules, fees=fees, slot=FX_SLOT)
    raise VenueError(f"home venue lists no {fx_base} market, which is needed as the FX rate")


def pairs_of(
    home: Mapping[str, ListedMarket],
    away: Mapping[str, ListedMarket],
    home_fees: FeeSchedule,
    away_fees: FeeSchedule,
    fx_base: str = FX_BASE,
    symbols: SymbolsConfig | None = None,
    *,
    closed_too: bool = False,
) -> list[Pair]:
    """Return every base that is tradable on both venues, sorted by base, in slots 1, 2 (home, away), 3, 4 and so
    on. ``closed_too``: those as well that a venue lists as not trading.

    ``home`` and ``away`` are listings by symbol, each in one quote only; the quote of away is ``fx_base``. The FX
    market itself is not a pair; ``fx_leg`` has slot 0. ``symbols`` holds aliases and homonyms. The base of a pair
    is its ticker at home.
    """
    known = symbols if symbols is not None else SymbolsConfig()
    homes = _by_base(home.values(), closed_too=closed_too)
    in_fx_base = (one for one in away.values() if one.market.quote == fx_base)
    aways = {
        base: listed
        for listed in _by_base(in_fx_base, closed_too=closed_too).values()
        if (base := _home_ticker(known, homes, listed.market)) is not None
    }
    bases = sorted((homes.keys() & aways.keys()) - {fx_base})
    pairs = [
        Pair(
            base=base,
            home=Leg(homes[base].market, homes[base].rules, home_fees, slot=0),
            away=Leg(aways[base].market, aways[base].rules, away_fees, slot=0),
        )
        for base in bases
    ]
    return with_slots(pairs)


def with_slots(pairs: Iterable[Pair]) -> list[Pair]:
    """Return ``pairs`` in the same order with slots numbered without gaps from 1: home then away of each pair."""
    replace = msgspec.structs.replace
    return [
        replace(
            pair,
            home=replace(pair.home, slot=FX_SLOT + 1 + 2 * number),
            away=replace(pair.away, slot=FX_SLOT + 2 + 2 * number),
        )
        for number, pair in enumerate(pairs)
    ]


def select_pairs(pairs: Sequence[Pair], names: Sequence[str]) -> list[Pair]:
    """Return the pairs that ``names`` mean (base or either market's name, any case), each once and with new slots.

    They keep the order of ``pairs``, so the same set gets the same slots in whatever order it was typed. Without
    names all pairs are returned. Raises ``UsageError`` with every name that means no pair and up to five near
    matches each.
    """
    if not names:
        return with_slots(pairs)
    by_name = _by_name(pairs)
    unknown = names_without_pair(pairs, names)
    if unknown:
        raise UsageError("; ".join(_no_such_pair(name, by_name) for name in unknown))
    wanted = {by_name[_key(name)].base for name in names}
    return with_slots(pair for pair in pairs if pair.base in wanted)


def names_without_pair(pairs: Iterable[Pair], names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that mean none of ``pairs``, each once."""
    by_name = _by_name(pairs)
    return [name for name in dict.fromkeys(names) if _key(name) not in by_name]


def why_closed(pair: Pair, home: Mapping[str, ListedMarket], away: Mapping[str, ListedMarket]) -> str:
    """Return which market of ``pair`` is listed as not trading, and why; empty when both are trading."""
    listed = home[pair.home.market.symbol], away[pair.away.market.symbol]
    return ", ".join(
        f"{one.market} takes no orders ({one.note or 'no reason given'})"
        for one in listed
        if not one.tradable
    )


def _by_name(pairs: Iterable[Pair]) -> dict[str, Pair]:
    return {
        name.upper(): pair
        for pair in pairs
        for name in (pair.home.market.symbol, pair.away.market.symbol, pair.base)
    }


def _home_ticker(symbols: SymbolsConfig, homes: Mapping[str, ListedMarket], away: Market) -> str | None:
    home = next((listed.market.venue for listed in homes.values()), "")
    return symbols.home_ticker(home, away.venue, away.base)


def _by_base(listing: Iterable[ListedMarket], *, closed_too: bool) -> dict[str, ListedMarket]:
    return {listed.market.base: listed for listed in listing if listed.tradable or closed_too}


def _key(name: str) -> str:
    return name.strip().upper()


def _no_such_pair(name: str, by_name: Mapping[str, Pair]) -> str:
    """Return one clause with ``name`` and the bases whose names look like it."""
    near = get_close_matches(_key(name), by_name, n=3 * _SUGGESTIONS_MAX)
    bases = list(dict.fromkeys(by_name[match].base for match in near))[:_SUGGESTIONS_MAX]
    hint = f", did you mean {', '.join(bases)}?" if bases else ""
    return f"'{name}' is not tradable on both venues{hint}"
