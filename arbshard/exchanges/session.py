"""What a venue's protocol session and the shell agree on: streams, what a session wants done, message windows.

A session is pure: text and the time go in, actions come out, the set of streams is its state. ``connection`` carries
the actions out. One session per connection; ``upbit.session`` and ``binance.session`` implement
``ClientSession``, those that tell an account's owner of its changes implement ``PrivateSession`` too, those that
tell that the exchange will shut down ``ForewarningSession``.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.order import Event
from arbshard.exchanges.market import SimMarket

SECOND_NS = 1_000_000_000


class SharedStream(NamedTuple):
    """Something to be sent again and again: the same text for everybody who subscribed to it."""

    symbol: str
    kind: str
    depth: int
    """Levels; 0 where the kind has none."""
    slow: bool
    """About once a second instead of every update."""
    form: str
    """The venue's word for the outer form of the message."""
    name: str
    """As the client wrote it."""


class SendData(NamedTuple):
    """Send ``payload`` as a data frame of the venue's kind (binary or text)."""

    payload: bytes


class SendPing(NamedTuple):
    """Send a ping frame."""

    payload: bytes


class CloseClient(NamedTuple):
    """Close with a WebSocket code and a reason."""

    code: int
    reason: str


class Cut(NamedTuple):
    """Drop the TCP connection without a word."""

    reason: str


Action = SendData | SendPing | CloseClient | Cut


class ClientSession(Protocol):
    """One client's side of the protocol. Times are monotonic nanoseconds, ``now_ms`` wall milliseconds."""

    @property
    def streams(self) -> frozenset[SharedStream]:
        """What the client is subscribed to and gets in real time."""
        ...

    def on_open(self, now_ms: int) -> Sequence[Action]:
        """The handshake is done."""
        ...

    def on_text(self, text: str, now_ns: int, now_ms: int) -> Sequence[Action]:
        """A data message came."""
        ...

    def on_ping(self, now_ns: int) -> Sequence[Action]:
        """A ping frame came; the shell has answered it."""
        ...

    def on_pong(self, payload: bytes, now_ns: int) -> Sequence[Action]:
        """A pong frame came."""
        ...

    def on_time(self, now_ns: int, quiet_ns: int) -> Sequence[Action]:
        """Time passes; ``quiet_ns`` is how long nothing was sent or received. Called a few times a second."""
        ...


@runtime_checkable
class PrivateSession(ClientSession, Protocol):
    """A session that may tell of accounts."""

    def on_events(self, account: TradingAccount, events: Sequence[Event], now_ms: int) -> Sequence[Action]:
        """Something happened in ``account``, which need not be the client's. Called after every change, in order."""
        ...


@runtime_checkable
class ForewarningSession(ClientSession, Protocol):
    """A session whose protocol has a word for a shutdown to come."""

    def on_shutdown(self, now_ms: int) -> Sequence[Action]:
        """The connection will be closed soon."""
        ...


class Feed(Protocol):
    """Makes the real-time text of one market's streams."""

    @property
    def market(self) -> SimMarket:
        """The market."""
        ...

    def on_step(self) -> None:
        """The market made a step; called for every step, whether anything is sent or not."""
        ...

    def payloads(self, stream: SharedStream, now_ms: int) -> Sequence[bytes]:
        """What ``stream`` says of the last step: nothing, one message or several."""
        ...

    def on_sent(self) -> None:
        """All streams of the step have been served."""
        ...


class RestReply(NamedTuple):
    """A REST reply."""

    status: int
    headers: dict[str, str]
    body: bytes
    content_type: str = "application/json"


class Query(NamedTuple):
    """A REST request: path, parameters in order, who asks, when."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...]
    peer: str
    now_ns: int
    now_ms: int
    raw_query: str = ""
    """As sent, percent-encoded: what signatures cover."""
    body: bytes = b""
    """As sent."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Names in lower case."""

    def get(self, *names: str) -> str | None:
        """The first parameter that has one of ``names``."""
        return next((value for name, value in self.params if name in names), None)


class Rest(Protocol):
    """A venue's REST interface."""

    def answer(self, query: Query) -> RestReply:
        """The reply to ``query``."""
        ...


class MessageWindow:
    """Counts messages in a sliding window. Holds at most ``limit`` times."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._span_ns = int(seconds * SECOND_NS)
        self._times: deque[int] = deque(maxlen=limit)

    def admit(self, now_ns: int) -> bool:
        """Count a message; False when it is one too many."""
        times = self._times
        while times and now_ns - times[0] >= self._span_ns:
            times.popleft()
        if len(times) == self._limit:
            return False
        times.append(now_ns)
        return True
