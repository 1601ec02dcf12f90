"""Gives whole-system simulations the embedded exchanges without sockets: sessions, feeds and listings by venue.

Such simulations bring the frames over virtual connections; accounts are not part of it.
"""

from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from arbshard.config import SimConfig
from arbshard.exchanges.binance.frames import BinanceFeed
from arbshard.exchanges.binance.marketdata import MarketData
from arbshard.exchanges.binance.params import BinanceParams
from arbshard.exchanges.binance.session import BinanceSession, opening_streams
from arbshard.exchanges.session import ClientSession, Feed, Query, RestReply
from arbshard.exchanges.upbit.frames import UpbitFeed
from arbshard.exchanges.upbit.rest import UpbitRest
from arbshard.exchanges.upbit.session import UpbitSession
from arbshard.exchanges.world import SimWorld

BINARY = {"upbit": True, "binance": False}
"""Whether the venue sends its messages in binary frames."""
TAKES_COIN = {"upbit": False, "binance": True}
"""Whether the venue takes a buyer's fee in the coin. It is written down here, independently of the
product's venues.
"""


class _DepthFeed(BinanceFeed):
    """Makes the messages of a market without the windows of diff streams: nothing subscribes to them, and they cost
    as much as a frame.
    """

    @override
    def on_step(self) -> None: ...


def open_session(name: str, world: SimWorld, address: str, now_ns: int) -> ClientSession:
    """Return the venue's session for a new connection to ``address``."""
    if name == "upbit":
        return UpbitSession(world.upbit)
    parts = urlsplit(address)
    streams = parse_qs(parts.query).get("streams", [None])[0]
    combined, names = opening_streams(parts.path, streams)
    symbols = {symbol.lower(): market for symbol, market in world.binance.items()}
    return BinanceSession(symbols, combined=combined, names=names, now_ns=now_ns)


def feeds_of(world: SimWorld, config: SimConfig) -> dict[str, dict[str, Feed]]:
    """Return the feeds of each venue, by venue and symbol."""
    return {
        "upbit": {symbol: UpbitFeed(market) for symbol, market in world.upbit.items()},
        "binance": {
            symbol: _DepthFeed(market, config.updates_per_s, interval_ms=config.depth_interval_ms)
            for symbol, market in world.binance.items()
        },
    }


def listing_of(name: str, world: SimWorld, path: str, number: int, wall_ms: int) -> RestReply:
    """Return the answer to a request for the venue's listing at ``path``.

    ``number`` is that of the call; each call is taken to be a second after the one before.
    """
    if name == "binance":
        return RestReply(200, {}, MarketData(world.binance).exchange_info(BinanceParams({}), wall_ms))
    where, _, query = path.partition("?")
    params = tuple((key, value) for key, _, value in (one.partition("=") for one in query.split("&")))
    asked = Query("GET", where, params, "virtual", number * 1_000_000_000, wall_ms)
    return UpbitRest(world.upbit).answer(asked)
