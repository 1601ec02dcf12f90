"""cryptofeed: books, trades, tickers and candles of both venues. It trades nothing.

It insists on ``wss://`` addresses; they are turned back into ``ws://`` before it connects.
"""

import asyncio
import threading
from typing import Any, ClassVar

from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, WebsocketEndpoint
from cryptofeed.defines import CANDLES, L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import Binance, Upbit
from steps import Account, check, run, step, until


def plain(venue: type[Any], account: Account) -> type[Any]:
    """``venue`` at another address, without TLS."""
    ws_url, rest_url = account.ws_url, account.rest_url

    class Plain(venue):  # type: ignore[misc]
        rest_endpoints: ClassVar[list[Any]] = [RestEndpoint(rest_url, routes=venue.rest_endpoints[0].routes)]
        websocket_endpoints: ClassVar[list[Any]] = [
            WebsocketEndpoint(ws_url.replace("ws://", "wss://", 1), options={"compression": None})
        ]

        def connect(self) -> Any:
            found = super().connect()
            for one, *_ in found:
                one.address = one.address.replace("wss://", "ws://", 1)
            return found

    return Plain


class Received:
    """What came, by venue and channel."""

    def __init__(self) -> None:
        self.newest: dict[tuple[str, str], Any] = {}

    def callback(self, venue: str, channel: str) -> Any:
        async def keep(data: Any, _received: float) -> None:
            self.newest[venue, channel] = data

        return keep


async def main(venues: dict[str, Account]) -> None:
    received = Received()
    upbit, binance = plain(Upbit, venues["upbit"]), plain(Binance, venues["binance"])
    wanted = {
        "upbit": (upbit, "BTC-KRW", (L2_BOOK, TRADES)),
        "binance": (binance, "BTC-USDT", (L2_BOOK, TRADES, TICKER, CANDLES)),
    }

    async def listed(venue: type[Any], symbol: str) -> Any:
        found = await asyncio.to_thread(venue.symbols)
        check(symbol in found, found[:5])

    for name, (venue, symbol, _) in wanted.items():
        await step(f"{name} symbols", lambda venue=venue, symbol=symbol: listed(venue, symbol))

    def serve() -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        handler = FeedHandler(config={"log": {"disabled": True}, "uvloop": False})
        for name, (venue, symbol, channels) in wanted.items():
            callbacks = {channel: received.callback(name, channel) for channel in channels}
            options = {"candle_interval": "1m", "candle_closed_only": False} if CANDLES in channels else {}
            handler.add_feed(venue(symbols=[symbol], channels=list(channels), callbacks=callbacks, **options))
        handler.run(start_loop=False, install_signal_handlers=False)
        loop.run_forever()

    threading.Thread(target=serve, daemon=True).start()
    for name, (_, _, channels) in wanted.items():
        for channel in channels:

            async def came(name: str = name, channel: str = channel) -> Any:
                found = await until(lambda: received.newest.get((name, channel)))
                if channel == L2_BOOK:
                    check(found.book.bids.index(0)[0] < found.book.asks.index(0)[0], found)

            await step(f"{name} {channel}", came)


run(main)
