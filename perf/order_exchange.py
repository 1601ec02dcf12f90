"""Runs the embedded exchanges and stamps, for each order, how long after the newest frame of its coin it has come.

``python -m perf.order_exchange STAMPS ...`` takes the arguments of ``python -m arbshard.exchanges`` after the file
of stamps, to which a line is added for each order: venue and nanoseconds. The newest frame is that of either venue
which was last sent to any client, so a slow client is shown faster than it is when a newer frame was sent meanwhile.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from arbshard.exchanges import main as exchanges
from arbshard.exchanges.binance.refusals import Json
from arbshard.exchanges.binance.trading import Trading, VerifiedCall
from arbshard.exchanges.connection import ClientConnection
from arbshard.exchanges.hub import Hub
from arbshard.exchanges.session import Feed
from arbshard.exchanges.upbit.desk import AccountCall, UpbitDesk
from arbshard.exchanges.wsframe import WsFrame

_sent_ns: dict[str, int] = {}
"""When a frame of a coin was last sent, by the coin."""


def _coin(symbol: str) -> str:
    return symbol.removeprefix("KRW-") if "-" in symbol else symbol.removesuffix("USDT")


class _Stamps:
    """Adds a line for each order."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def note(self, venue: str, symbol: str) -> None:
        """Write how long ago a frame of the coin was sent."""
        sent_ns = _sent_ns.get(_coin(symbol))
        if sent_ns is not None:
            self._file.write(f"{venue} {time.monotonic_ns() - sent_ns}\n")


class _Sends:
    """Notes whether a frame was sent to any client while a market's streams were published."""

    def __init__(self) -> None:
        self.any = False

    def stamped(self, symbol: str, send: Callable[[], None]) -> None:
        """Call ``send``, and stamp the coin if that has sent anything."""
        self.any = False
        send()
        if self.any:
            _sent_ns[_coin(symbol)] = time.monotonic_ns()


def _install(stamps: _Stamps) -> None:
    publish, prepare, place, create = Hub.publish, Hub.prepare, Trading.place, UpbitDesk.create
    write, sends = ClientConnection.send, _Sends()

    def write_noted(self: ClientConnection, frame: WsFrame) -> None:
        sends.any = True
        write(self, frame)

    def publish_stamped(self: Hub, feed: Feed, now_ms: int) -> None:
        sends.stamped(feed.market.symbol, lambda: publish(self, feed, now_ms))

    def prepare_stamped(self: Hub, feed: Feed, now_ms: int) -> Callable[[], None]:
        symbol, send = feed.market.symbol, prepare(self, feed, now_ms)
        return lambda: sends.stamped(symbol, send)

    def place_stamped(self: Trading, call: VerifiedCall) -> Json:
        stamps.note("binance", call.params.need("symbol"))
        return place(self, call)

    def create_stamped(self: UpbitDesk, call: AccountCall) -> Json:
        stamps.note("upbit", call.params.need("market"))
        return create(self, call)

    ClientConnection.send = write_noted  # type: ignore[method-assign]
    Hub.publish, Hub.prepare = publish_stamped, prepare_stamped  # type: ignore[method-assign]
    Trading.place = place_stamped  # type: ignore[method-assign]
    UpbitDesk.create = create_stamped  # type: ignore[method-assign]


if __name__ == "__main__":
    _install(_Stamps(Path(sys.argv[1])))
    raise SystemExit(exchanges.main(sys.argv[2:]))
