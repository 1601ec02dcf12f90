"""What can be traded: both venues' market lists over REST, made into a universe."""

import asyncio
import ssl
from collections.abc import Sequence

import aiohttp

from arbshard.config import Config
from arbshard.errors import UsageError, VenueUnavailable
from arbshard.model.market import FeeSchedule
from arbshard.model.universe import Universe
from arbshard.sharding import split
from arbshard.venues.base import ListedMarket, Venue
from arbshard.venues.listing import fx_leg, pairs_of, select_pairs, with_slots
from arbshard.venues.registry import get_venue

HOME, AWAY = "upbit", "binance"
_TIMEOUT_S = 15.0
_TRIES = 3


async def find_universe(config: Config, symbols: Sequence[str] = (), shards: int = 1) -> Universe:
    """Ask both venues, pair their markets, select and shard.

    ``symbols`` by base or either market's name; none for those of the configuration, and none there for all pairs.
    Raises ``UsageError`` for a symbol that is not there, ``VenueUnavailable`` when a venue does not answer.
    """
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        home, away = await asyncio.gather(_listing(session, config, HOME), _listing(session, config, AWAY))
    home_fees = _fees(config, HOME)
    pairs = pairs_of(home, away, home_fees, _fees(config, AWAY))
    if not pairs:
        raise UsageError(f"{HOME} and {AWAY} list no base in common")
    wanted = select_pairs(pairs, symbols or config.run.symbols)[: config.run.max_pairs]
    chosen = with_slots(wanted)
    return Universe(fx_leg(home, home_fees), tuple(chosen), split([pair.base for pair in chosen], shards))


def _fees(config: Config, name: str) -> FeeSchedule:
    venue = config.venues.get(name)
    return get_venue(name).fee_schedule(venue.buy_fee_bps, venue.sell_fee_bps)


async def _listing(session: aiohttp.ClientSession, config: Config, name: str) -> dict[str, ListedMarket]:
    venue: Venue = get_venue(name)
    settings = config.venues.get(name)
    rest_url = settings.rest_url
    if not rest_url:
        raise UsageError(f"venues.{name}.rest_url is empty: where is {name} to be asked?")
    tls = ssl.create_default_context(cafile=settings.ca_file or None)
    bodies = [await _get(session, name, rest_url + path, tls) for path in venue.listing_paths()]
    return venue.listing(bodies)


async def _get(session: aiohttp.ClientSession, name: str, url: str, tls: ssl.SSLContext) -> bytes:
    why = ""
    for number in range(_TRIES):
        if number:
            await asyncio.sleep(0.5 * number)
        try:
            async with session.get(url, ssl=tls) as reply:
                if reply.status == 200:
                    return await reply.read()
                why = f"HTTP {reply.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            why = str(error) or type(error).__name__
    raise VenueUnavailable(f"{name}: {url} does not answer: {why}")
