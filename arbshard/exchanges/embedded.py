"""The embedded exchanges without sockets and accounts: their sessions, feeds and listings, by the venue's name.

For whole-system simulations, which bring frames over virtual connections.
"""

from urllib.parse import parse_qs, urlsplit

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
"""Whether the venue sends its text in binary frames."""
TAKES_COIN = {"upbit": False, "binance": True}
"""Whether the venue takes a buyer's fee in the coin. Written down here and not asked of the product's venues."""


class _DepthFeed(BinanceFeed):
    """A feed without the windows of diff streams: nobody subscribes to any, and they cost as much as a frame."""

    def on_step(self) -> None:
        """See ``Feed``."""

    def on_sent(self) -> None:
        """See ``Feed``."""


def open_session(name: str, world: SimWorld, address: str, now_ns: int) -> ClientSession:
    """The venue's side of a new connection to ``address``."""
    if name == "upbit":
        return UpbitSession(world.upbit)
    parts = urlsplit(address)
    streams = parse_qs(parts.query).get("streams", [None])[0]
    combined, names = opening_streams(parts.path, streams)
    symbols = {symbol.lower(): market for symbol, market in world.binance.items()}
    return BinanceSession(symbols, combined=combined, names=names, now_ns=now_ns)


def feeds_of(world: SimWorld, updates_per_s: float) -> dict[str, dict[str, Feed]]:
    """What each venue sends, by venue and symbol."""
    return {
        "upbit": {symbol: UpbitFeed(market) for symbol, market in world.upbit.items()},
        "binance": {symbol: _DepthFeed(market, updates_per_s) for symbol, market in world.binance.items()},
    }


def listing_of(name: str, world: SimWorld, path: str, number: int, wall_ms: int) -> RestReply:
    """The answer to the venue's listing at ``path``. ``number``: of the call, each a second after the one before."""
    if name == "binance":
        return RestReply(200, {}, MarketData(world.binance).exchange_info(BinanceParams({}), wall_ms))
    where, _, query = path.partition("?")
    params = tuple((key, value) for key, _, value in (one.partition("=") for one in query.split("&")))
    asked = Query("GET", where, params, "virtual", number * 1_000_000_000, wall_ms)
    return UpbitRest(world.upbit).answer(asked)
