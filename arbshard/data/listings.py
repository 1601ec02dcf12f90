"""Finds what can be traded: reads both venues' market lists over REST and makes a universe of them."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import urlencode

from msgspec.structs import replace

from arbshard.config import Config, VenueConfig
from arbshard.data.address_block import CallRefused, blocked_s
from arbshard.data.clients import open_fetch
from arbshard.errors import MarketsClosed, UsageError, VenueUnavailable
from arbshard.model.market import FeeSchedule, Leg, Pair
from arbshard.model.universe import Universe
from arbshard.model.warning import CoinName, MarketWarning
from arbshard.sharding import split
from arbshard.venues.base.client import ClosableFetch, Fetch
from arbshard.venues.base.market import ListedMarket, Venue
from arbshard.venues.base.rules import RulesReply
from arbshard.venues.listing import (
    fx_leg,
    names_without_pair,
    pairs_of,
    select_pairs,
    why_closed,
    with_slots,
)
from arbshard.venues.registry import HOME, get_adapter, get_venue

_TIMEOUT_S = 15.0
_BODY_BYTES_MAX = 1 << 26
"""Largest answer in bytes. The longest list of markets that a venue sends has more than ten megabytes."""
_TRIES = 3
_PAUSE_S_MAX = 3.0
"""A venue that wants a longer pause than this, in seconds, is not asked again."""


async def find_universe(config: Config, symbols: Sequence[str] = (), shards: int = 1) -> Universe:
    """Ask both venues over REST what they list, pair their markets, select pairs and divide them into ``shards``.

    ``symbols`` are bases or names of either market. Without any, those of ``run.symbols`` in the configuration are
    taken, and without those all pairs, up to ``run.max_pairs``. Of ``run.symbols``, pairs of which a market is listed
    as not trading are left out, unless none remains. Each venue is asked three times at most.

    Raises ``UsageError`` for a symbol that no pair has, a missing address and venues without a common base;
    raises ``VenueUnavailable`` when a venue does not answer, and as one of them ``MarketsClosed`` when no wanted pair
    is listed as trading, as in a venue's maintenance.
    """
    home, away = await asyncio.gather(_listing(config, HOME), _listing(config, config.venues.away))
    fees = home_fees, _ = _fees(config, HOME), _fees(config, config.venues.away)
    pairs = pairs_of(home, away, *fees, symbols=config.symbols)
    if not pairs and not pairs_of(home, away, *fees, symbols=config.symbols, closed_too=True):
        raise UsageError(f"{HOME} and {config.venues.away} list no base in common")
    wanted = select_pairs(pairs, symbols) if symbols else _configured(config, pairs, home, away)
    if not wanted:
        raise MarketsClosed(f"{HOME} and {config.venues.away} list no common base as trading now")
    chosen = with_slots(wanted[: config.run.max_pairs])
    universe = Universe(fx_leg(home, home_fees), tuple(chosen), split([pair.base for pair in chosen], shards))
    warnings, coin_names = said_of(universe.legs(), {HOME: home, config.venues.away: away})
    return replace(universe, warnings=warnings, coin_names=coin_names)


def _configured(
    config: Config, pairs: Sequence[Pair], home: Mapping[str, ListedMarket], away: Mapping[str, ListedMarket]
) -> list[Pair]:
    """Return the pairs of ``run.symbols`` that are trading. Raises ``MarketsClosed`` when there is none, and
    ``UsageError`` for a name that means no pair.
    """
    names = config.run.symbols
    if not names_without_pair(pairs, names):
        return select_pairs(pairs, names)
    fees = _fees(config, HOME), _fees(config, config.venues.away)
    chosen = select_pairs(pairs_of(home, away, *fees, symbols=config.symbols, closed_too=True), names)
    closed = {pair.base: why_closed(pair, home, away) for pair in chosen}
    if all(closed.values()):
        raise MarketsClosed("; ".join(f"{base} cannot be traded now: {why}" for base, why in closed.items()))
    return [pair for pair in chosen if not closed[pair.base]]


def said_of(
    legs: Iterable[Leg], listed: Mapping[str, Mapping[str, ListedMarket]]
) -> tuple[tuple[MarketWarning, ...], tuple[CoinName, ...]]:
    """Return what the listings, by venue and symbol, warn of for the markets of ``legs``, and how they name the
    coins.
    """
    warnings: list[MarketWarning] = []
    names: list[CoinName] = []
    for leg in legs:
        market = leg.market
        said = listed.get(market.venue, {}).get(market.symbol)
        if said is not None:
            warnings += [MarketWarning(market.venue, market.symbol, *one) for one in said.warnings]
            if said.coin_name:
                names.append(CoinName(market.venue, market.base, said.coin_name))
    return tuple(warnings), tuple(names)


OpenFetch = Callable[[str, VenueConfig], ClosableFetch]
"""Opens a connection to a venue for public calls."""


class Listings(NamedTuple):
    """Holds what the traded venues list now."""

    markets: Mapping[str, Mapping[str, ListedMarket]]
    """Listed markets by venue and symbol."""
    ticks: Mapping[str, Mapping[str, Decimal]]
    """The tick at the present price by venue and symbol, of venues whose list of markets does not have the ticks."""


async def read_listings(
    config: Config, symbols: Mapping[str, Sequence[str]], opener: OpenFetch | None = None
) -> Listings:
    """Ask both venues again what they list; ``symbols`` by venue are those whose ticks are wanted.

    A symbol that is not listed any more is not asked about: the venue would refuse the question for all.

    Raises ``VenueUnavailable`` when a venue does not answer, and ``VenueError`` for an answer that cannot be read.
    """
    names = config.venues.traded
    found = await asyncio.gather(*(_listing(config, name, opener) for name in names))
    markets = dict(zip(names, found, strict=True))
    asked = {name: [one for one in symbols.get(name, ()) if one in markets[name]] for name in names}
    ticks = await asyncio.gather(*(_ticks(config, name, asked[name], opener) for name in names))
    return Listings(markets, dict(zip(names, ticks, strict=True)))


async def _ticks(
    config: Config, name: str, symbols: Sequence[str], opener: OpenFetch | None
) -> dict[str, Decimal]:
    rules, settings = get_adapter(name).rules, config.venues.get(name)
    calls = rules.ticks_calls(symbols)
    if not calls or settings.adapter != "folder":
        return {}
    found: dict[str, Decimal] = {}
    fetch = (opener or _open_fetch)(name, settings)
    try:
        for call in calls:
            body = await _get(fetch, name, f"{settings.rest_url}{call.path}?{urlencode(call.params)}")
            found |= rules.ticks_of(RulesReply(body, {}))
    finally:
        await fetch.close()
    return found


def _fees(config: Config, name: str) -> FeeSchedule:
    venue = config.venues.get(name)
    fees = get_venue(name).fee_schedule(venue.buy_fee_bps, venue.sell_fee_bps)
    return fees if venue.adapter == "folder" else replace(fees, buy_fee_in_base=venue.buy_fee_in_base)


def _open_fetch(name: str, settings: VenueConfig) -> ClosableFetch:
    return open_fetch(name, settings, timeout_s=_TIMEOUT_S, body_bytes_max=_BODY_BYTES_MAX)


async def _listing(config: Config, name: str, opener: OpenFetch | None = None) -> dict[str, ListedMarket]:
    venue: Venue = get_venue(name)
    settings = config.venues.get(name)
    rest_url = settings.rest_url
    if not rest_url and settings.adapter == "folder":
        raise UsageError(f"venues.{name}.rest_url is empty: where is {name} to be asked?")
    fetch = (opener or _open_fetch)(name, settings)
    try:
        bodies = [await _get(fetch, name, rest_url + path) for path in venue.listing_paths()]
    finally:
        await fetch.close()
    return venue.listing(bodies)


async def _get(fetch: Fetch, name: str, url: str) -> bytes:
    why = ""
    pause_s = 0.0
    for number in range(_TRIES):
        if number:
            await asyncio.sleep(max(0.5 * number, pause_s))
        try:
            answer = await fetch(url)
        except VenueUnavailable as error:
            why = str(error)
            continue
        if answer.status == 200:
            return answer.body
        why, pause_s = f"HTTP {answer.status}", blocked_s(name, answer)
        if pause_s > _PAUSE_S_MAX:  # an earlier question would make the block longer
            why += f", the venue wants no question for {pause_s:g} s"
            raise CallRefused(f"{name}: {url} does not answer: {why}", name, answer)
    raise VenueUnavailable(f"{name}: {url} does not answer: {why}")
