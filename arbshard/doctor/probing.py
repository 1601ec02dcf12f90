"""Asks both venues everything that the checks need. ``arbshard doctor`` and the start of a live run use it.

Nothing is bought or sold: the one order that is sent is a test order, which venues check and do not execute.
"""

import asyncio
from collections.abc import Mapping

from arbshard.clock import Clock, SystemClock
from arbshard.config import Config
from arbshard.data.clients import open_fetch
from arbshard.doctor.facts import DoctorFacts, ProbeResult, VenueFacts
from arbshard.doctor.reach import probe_public_stream, probe_rest
from arbshard.doctor.venue_probe import VenueProbe
from arbshard.errors import FrameError, VenueUnavailable
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.market import Market
from arbshard.model.money import exact
from arbshard.model.universe import Universe
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter

ProbedBooks = dict[str, OrderBookSnapshot]
"""Books by symbol; a market whose book could not be read is missing."""

_GAP_S = 0.15
"""Seconds between two calls: the stricter venue allows ten a second."""


async def gather_facts(config: Config, universe: Universe, keys: Mapping[str, Keys]) -> DoctorFacts:
    """Return all facts, from both venues at once. Raises ``UsageError`` for an address or a key that
    cannot be used.
    """
    clock = SystemClock()
    home, away = universe.fx.market.venue, universe.pairs[0].away.market.venue
    books = await _books(config, home, [leg.market for leg in universe.legs()], clock)
    # Away's prices are needed for one test order only, and each of its markets costs a call.
    books |= await _books(config, away, [universe.pairs[0].away.market], clock)
    probes = [VenueProbe(config, universe, name, keys[name], books, clock) for name in (home, away)]
    venues = await asyncio.gather(*(probe.facts() for probe in probes))
    fx_book = books.get(universe.fx.market.symbol)
    return DoctorFacts(
        venues=tuple(venues),
        pairs=universe.pairs,
        prices={
            pair.base: exact(books[pair.home.market.symbol].mid)
            for pair in universe.pairs
            if pair.home.market.symbol in books
        },
        fx=exact(fx_book.best_bid) if fx_book is not None else None,
    )


async def reach_only(config: Config) -> tuple[VenueFacts, ...]:
    """Return only whether the venues' addresses answer: for when their markets could not be listed."""
    clock = SystemClock()
    found = []
    for name in config.venues.traded:
        rest, public = await asyncio.gather(
            probe_rest(config, name), probe_public_stream(config, name, clock)
        )
        found.append(
            VenueFacts(
                venue=name,
                rest_url=config.venues.get(name).rest_url,
                rest=rest,
                public_stream=public,
                private_stream=ProbeResult(ok=False, why="not tried"),
            )
        )
    return tuple(found)


async def _books(config: Config, venue: str, markets: list[Market], clock: Clock) -> ProbedBooks:
    """Return the books of those of ``markets`` that are on ``venue``."""
    settings, rest = config.venues.get(venue), get_adapter(venue).rest
    symbols = [market.symbol for market in markets if market.venue == venue]
    fetch = open_fetch(venue, settings)
    found: ProbedBooks = {}
    try:
        for number, call in enumerate(rest.calls(symbols, depth=1)):
            if number:
                await asyncio.sleep(_GAP_S)
            try:
                answer = await fetch(settings.rest_url + call.path)
                for symbol, book in rest.decode(call, answer.body, clock.monotonic_ns()):
                    if isinstance(book, OrderBookSnapshot):
                        found[symbol] = book
            except (VenueUnavailable, FrameError):
                continue  # the checks report missing prices, and why the venue does not answer
    finally:
        await fetch.close()
    return found
