"""Connects cryptofeed to the generator, with L2 book callbacks for both venues.

This runs in an environment of its own. cryptofeed has uvloop, which it sets by itself, and book objects in
C, which are its default. It requires ``wss://`` addresses; they are turned back into ``ws://`` before it
connects.
"""

import asyncio
import importlib
from typing import Any, ClassVar

from perf.peers.measure import Addresses, Desk, arguments_of, serve

# These are no dependencies of the project: only the environment in which this runs has them.
cryptofeed: Any = importlib.import_module("cryptofeed")
connection: Any = importlib.import_module("cryptofeed.connection")
defines: Any = importlib.import_module("cryptofeed.defines")
exchanges: Any = importlib.import_module("cryptofeed.exchanges")
uvloop: Any = importlib.import_module("uvloop")


def _plain(venue: type[Any], rest: str, ws: str) -> type[Any]:
    """Return a subclass of ``venue`` with other addresses, and without TLS."""

    class Plain(venue):  # type: ignore[misc]
        rest_endpoints: ClassVar[list[Any]] = [
            connection.RestEndpoint(rest, routes=venue.rest_endpoints[0].routes)
        ]
        websocket_endpoints: ClassVar[list[Any]] = [
            connection.WebsocketEndpoint(ws.replace("ws://", "wss://", 1))
        ]

        def connect(self) -> Any:
            found = super().connect()
            for one, *_ in found:
                one.address = one.address.replace("wss://", "ws://", 1)
            return found

    return Plain


class _Callbacks:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def on_home(self, book: Any, _received_s: float) -> None:
        desk, sides = self._desk, book.book
        desk.messages += 1
        (bid, size), ask = sides.bids.index(0), sides.asks.index(0)[0]
        base = book.symbol.partition("-")[0]
        if base == "USDT":
            desk.on_fx(float(bid), float(ask))
        else:
            desk.on_home(base, float(bid), float(ask), float(size))

    async def on_away(self, book: Any, _received_s: float) -> None:
        desk, sides = self._desk, book.book
        desk.messages += 1
        (bid, size), ask = sides.bids.index(0), sides.asks.index(0)[0]
        desk.on_away(book.symbol.partition("-")[0], float(bid), float(ask), float(size))


def _start(addresses: Addresses, bases: list[str], desk: Desk) -> Any:
    handler = cryptofeed.FeedHandler(config={"uvloop": True, "log": {"disabled": True}})
    callbacks, channel = _Callbacks(desk), defines.L2_BOOK
    upbit = _plain(exchanges.Upbit, addresses.upbit_rest, addresses.upbit_ws)
    binance = _plain(exchanges.Binance, addresses.binance_rest, addresses.binance_ws)
    home = [f"{base}-KRW" for base in [*bases, "USDT"]]
    away = [f"{base}-USDT" for base in bases]
    handler.add_feed(upbit(symbols=home, channels=[channel], callbacks={channel: callbacks.on_home}))
    handler.add_feed(binance(symbols=away, channels=[channel], callbacks={channel: callbacks.on_away}))
    return handler


def main() -> None:
    """Run until the line ``stop`` arrives on standard input."""
    addresses, bases = arguments_of("cryptofeed_peer")
    desk = Desk(bases)
    handler = _start(addresses, bases, desk)
    loop = asyncio.new_event_loop()  # a uvloop one, because the handler has set its policy
    asyncio.set_event_loop(loop)
    handler.run(start_loop=False, install_signal_handlers=False)
    loop.run_until_complete(serve(desk, lambda: {"version": "2.4.1", "loop": type(loop).__module__}))


if __name__ == "__main__":
    main()
