"""Distributes streams to subscribers, per market: each message is made once, and only if there is a subscriber.

``connection`` subscribes, ``loop`` publishes.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from arbshard.exchanges.session import Feed, SharedStream
from arbshard.exchanges.wsframe import WsFrame


class StreamSubscriber(Protocol):
    """Receives the frames of the streams it has subscribed to."""

    def send(self, frame: WsFrame) -> None:
        """Send without waiting; a client that is too slow may be dropped."""
        ...


class Hub:
    """Holds the subscriptions of one venue."""

    def __init__(self, *, binary: bool) -> None:
        self.binary = binary
        """Whether the venue's data frames are binary."""
        self._by_symbol: dict[str, dict[SharedStream, tuple[StreamSubscriber, ...]]] = {}

    def change(self, who: StreamSubscriber, old: Iterable[SharedStream], new: Iterable[SharedStream]) -> None:
        """Let ``who`` leave the streams of ``old`` and join those of ``new``."""
        for stream in old:
            members = self._by_symbol[stream.symbol]
            left = tuple(one for one in members[stream] if one is not who)
            if left:
                members[stream] = left
            else:
                del members[stream]
        for stream in new:
            members = self._by_symbol.setdefault(stream.symbol, {})
            members[stream] = (*members.get(stream, ()), who)

    def publish(self, feed: Feed, now_ms: int) -> None:
        """Send the messages of the market's last step to all subscribers."""
        streams = self._by_symbol.get(feed.market.symbol)
        if streams:
            # A slow client may be dropped, and leave, while this goes on: hence the copy.
            for stream, members in tuple(streams.items()):
                for payload in feed.payloads(stream, now_ms):
                    frame = WsFrame(payload, binary=self.binary)
                    for member in members:
                        member.send(frame)
        feed.on_sent()

    def prepare(self, feed: Feed, now_ms: int) -> Callable[[], None]:
        """Make the messages that ``publish`` would send; return a function that sends them to the subscribers of
        then.
        """
        symbol = feed.market.symbol
        frames = [
            (stream, WsFrame(payload, binary=self.binary))
            for stream in self._by_symbol.get(symbol, {})
            for payload in feed.payloads(stream, now_ms)
        ]
        feed.on_sent()

        def send() -> None:
            for stream, frame in frames:
                for member in self._by_symbol.get(symbol, {}).get(stream, ()):
                    member.send(frame)

        return send
