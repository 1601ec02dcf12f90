from collections.abc import Sequence

from arbshard.exchanges.hub import Hub
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import SharedStream
from arbshard.exchanges.world import SimWorld
from arbshard.exchanges.wsframe import WsFrame


def stream(symbol: str, kind: str = "orderbook") -> SharedStream:
    return SharedStream(symbol, kind, 5, slow=False, form="DEFAULT", name=symbol)


class CountingFeed:
    def __init__(self, market: SimMarket) -> None:
        self.market = market
        self.made = 0
        self.sent = 0

    def on_step(self) -> None: ...

    def payloads(self, stream: SharedStream, now_ms: int) -> Sequence[bytes]:
        self.made += 1
        return (f"{stream.symbol}/{stream.kind}/{now_ms}".encode(),)

    def on_sent(self) -> None:
        self.sent += 1


class Client:
    def __init__(self) -> None:
        self.frames: list[WsFrame] = []

    def send(self, frame: WsFrame) -> None:
        self.frames.append(frame)


def test_nobody_listens_nothing_is_made(world: SimWorld) -> None:
    hub, feed = Hub(binary=True), CountingFeed(world.upbit["KRW-BTC"])
    hub.publish(feed, 1)
    assert (feed.made, feed.sent) == (0, 1)


def test_a_message_is_made_once_for_all(world: SimWorld) -> None:
    hub, feed = Hub(binary=True), CountingFeed(world.upbit["KRW-BTC"])
    clients = [Client() for _ in range(5)]
    for client in clients:
        hub.change(client, (), [stream("KRW-BTC")])
    hub.change(clients[0], (), [stream("KRW-ETH")])
    hub.publish(feed, 1)
    assert feed.made == 1
    first = clients[0].frames
    assert len(first) == 1
    assert all(client.frames[0] is first[0] for client in clients)


def test_leaving_and_joining(world: SimWorld) -> None:
    hub, feed = Hub(binary=True), CountingFeed(world.upbit["KRW-BTC"])
    one, two = Client(), Client()
    hub.change(one, (), [stream("KRW-BTC"), stream("KRW-BTC", "trade")])
    hub.change(two, (), [stream("KRW-BTC")])
    hub.change(one, [stream("KRW-BTC")], ())
    hub.publish(feed, 1)
    assert (len(one.frames), len(two.frames)) == (1, 1)
    hub.change(two, [stream("KRW-BTC")], ())
    hub.change(one, [stream("KRW-BTC", "trade")], ())
    hub.publish(feed, 2)
    assert feed.made == 2


def test_a_client_may_leave_while_it_is_served(world: SimWorld) -> None:
    hub, feed = Hub(binary=True), CountingFeed(world.upbit["KRW-BTC"])

    both = [stream("KRW-BTC"), stream("KRW-BTC", "trade")]

    class Leaver(Client):
        def send(self, frame: WsFrame) -> None:
            super().send(frame)
            if len(self.frames) == 1:
                hub.change(self, both, ())

    leaver, stayer = Leaver(), Client()
    hub.change(leaver, (), both)
    hub.change(stayer, (), both)
    hub.publish(feed, 1)
    served = len(leaver.frames)
    hub.publish(feed, 2)
    assert len(leaver.frames) == served
    assert len(stayer.frames) == 4
