"""Defines what a venue's protocol session and the shell exchange: streams, actions, message windows.

A session is pure: text and the time go in, actions come out, the set of streams is its state. ``connection`` carries
the actions out. There is one session per connection. ``upbit.session`` and ``binance.session`` implement
``ClientSession``. Sessions that report the changes of an account implement ``PrivateSession`` too, and those whose
protocol announces a shutdown implement ``ForewarningSession``.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.order import AccountEvent
from arbshard.exchanges.market import SimMarket

SECOND_NS = 1_000_000_000


class SharedStream(NamedTuple):
    """Describes a stream that is sent again and again: the same text for every client that subscribed to it."""

    symbol: str
    kind: str
    depth: int
    """Number of levels; 0 where the kind has none."""
    slow: bool
    """Whether it is sent about once a second, and not with every update."""
    form: str
    """The venue's name for the outer form of the message."""
    name: str
    """The name of the stream as the client wrote it."""


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
    """Drop the TCP connection without a close frame."""

    reason: str


class SendLater(NamedTuple):
    """Send ``payload`` as ``SendData`` does, ``wait_ms`` milliseconds from now."""

    wait_ms: float
    payload: bytes


SessionAction = SendData | SendPing | SendLater | CloseClient | Cut

ClientJson = None | bool | int | float | str | list["ClientJson"] | dict[str, "ClientJson"]
"""What a client may send, parsed. Replies, in which every amount is text, are of other types."""


class ClientSession(Protocol):
    """Handles one client's side of the protocol. Times are monotonic nanoseconds, ``now_ms`` is wall time in
    milliseconds.
    """

    @property
    def streams(self) -> frozenset[SharedStream]:
        """Return the streams that the client is subscribed to in real time."""
        ...

    def on_open(self, now_ms: int) -> Sequence[SessionAction]:
        """Return the actions after the handshake."""
        ...

    def on_text(self, text: str, now_ns: int, now_ms: int) -> Sequence[SessionAction]:
        """Handle a data message; return the actions."""
        ...

    def on_ping(self, now_ns: int) -> Sequence[SessionAction]:
        """Handle a ping frame, which the shell has answered already; return the actions."""
        ...

    def on_pong(self, payload: bytes, now_ns: int) -> Sequence[SessionAction]:
        """Handle a pong frame; return the actions."""
        ...

    def on_time(self, now_ns: int, quiet_ns: int) -> Sequence[SessionAction]:
        """Return the actions that are due; it is called a few times a second.

        ``quiet_ns`` is how long nothing was sent or received.
        """
        ...


@runtime_checkable
class PrivateSession(ClientSession, Protocol):
    """Handles a session that may report events of accounts."""

    def on_events(
        self, account: TradingAccount, events: Sequence[AccountEvent], now_ms: int
    ) -> Sequence[SessionAction]:
        """Handle events of ``account``, which need not be the client's. It is called after every change, in order."""
        ...


@runtime_checkable
class ForewarningSession(ClientSession, Protocol):
    """Handles a session whose protocol announces a coming shutdown."""

    def on_shutdown(self, now_ms: int) -> Sequence[SessionAction]:
        """Return the actions that announce that the connection will be closed soon."""
        ...


FeedTurn = Literal["interval", "all"]
"""The streams whose messages are sent: only those of a fixed interval, or all."""


class Feed(Protocol):
    """Makes the real-time text of one market's streams."""

    @property
    def market(self) -> SimMarket:
        """Return the market."""
        ...

    def on_step(self) -> None:
        """Handle a step of the market; this is called for every step, whether anything is sent or not."""
        ...

    def payloads(self, stream: SharedStream, now_ms: int) -> Sequence[bytes]:
        """Return the messages of ``stream`` about the last step: none, one or several."""
        ...

    def on_sent(self) -> None:
        """Note that all streams of the step have been served."""
        ...

    def wait_ms(self, now_ms: int) -> int:
        """Return how long after a step its streams of a fixed interval are due; 0 if they go with every step."""
        ...

    def choose(self, turn: FeedTurn) -> None:
        """Determine what ``payloads`` returns until ``on_sent``; without a choice that is what goes with a step."""
        ...


class RestReply(NamedTuple):
    """Holds a reply over REST."""

    status: int
    headers: dict[str, str]
    body: bytes
    content_type: str = "application/json"


class Query(NamedTuple):
    """Holds a REST request: path, parameters in order, caller and time."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...]
    peer: str
    now_ns: int
    now_ms: int
    raw_query: str = ""
    """The query as sent, percent-encoded; signatures cover it."""
    body: bytes = b""
    """The body as sent."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Headers; names are in lower case."""

    def get(self, *names: str) -> str | None:
        """Return the first parameter that has one of ``names``; None when there is none."""
        return next((value for name, value in self.params if name in names), None)


class Rest(Protocol):
    """Implements a venue's REST interface."""

    def answer(self, query: Query) -> RestReply:
        """Return the reply to ``query``."""
        ...


class MessageWindow:
    """Counts messages in a sliding window; at most ``limit`` times are kept."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._span_ns = int(seconds * SECOND_NS)
        self._times: deque[int] = deque(maxlen=limit)

    def admit(self, now_ns: int) -> bool:
        """Count a message; return False when it is one too many."""
        times = self._times
        while times and now_ns - times[0] >= self._span_ns:
            times.popleft()
        if len(times) == self._limit:
            return False
        times.append(now_ns)
        return True
