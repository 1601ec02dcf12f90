"""Defines ``VenueClient``: it carries calls to a venue and returns the answers. ``data.clients`` opens one.

The worker, the accounts process and the doctor make every call about an account through a ``VenueClient``. The
client of a venue with a folder of its own is ``data.clients.HttpVenueClient``; the simulation has a virtual one.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from arbshard.errors import VenueUnavailable
from arbshard.secret import Secret
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.signing import SignedRequest, SigningMoment

_LIMITED_S = 1.0
"""Pause in seconds after HTTP 429 where the venue does not say how long it lasts."""
_BANNED_S = 120.0
"""Pause in seconds after HTTP 418 where the venue does not say how long it lasts: the shortest ban."""
PAUSE_S_MAX = 3 * 24 * 3600.0
"""Longest pause in seconds: the longest ban."""


class Answer(NamedTuple):
    """Is what a venue answered to a call, with a status of success or of failure."""

    status: int
    """The HTTP status."""
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})
    """Their names are in lower case."""

    @property
    def pause_s(self) -> float:
        """Return for how many seconds no further call may be made; 0 for an answer that does not require a pause."""
        if self.status not in (418, 429):
            return 0.0
        asked = self.headers.get("retry-after", "")
        if asked.isascii() and asked.isdigit():
            return max(min(float(asked), PAUSE_S_MAX), _LIMITED_S)
        return _LIMITED_S if self.status == 429 else _BANNED_S


class NoAnswer(VenueUnavailable):
    """Is raised when no answer came.

    ``sent`` is whether any part of the request may have left. If it is False, nothing has happened at the venue.
    """

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Withheld(NoAnswer):
    """Is raised when the caller's ``objection`` kept a call from being sent."""

    def __init__(self, why: str, *, sent: bool = False) -> None:
        super().__init__(why, sent=sent)


class LogonLost(NoAnswer):
    """Is raised when the venue has ended the logon of a connection, without which a call needs a signature."""


class PreparedCall(NamedTuple):
    """Is a call that was signed before it may be made, by ``VenueClient.prepare``. It is made once at most."""

    request: VenueRequest
    moment: SigningMoment
    signed: SignedRequest | Secret
    """The request over HTTP, or the message over a WebSocket."""


Veto = Callable[[], str]
"""Returns why a call must not be sent now; empty if it may be."""


def check(objection: Veto | None) -> None:
    """Raise ``Withheld`` if there is an objection. A client that opens a connection first calls this just before it
    writes, because that may have taken seconds.
    """
    if objection is not None and (why := objection()):
        raise Withheld(f"not sent: {why}")


Fetch = Callable[[str], Awaitable[Answer]]
"""Requests an address. Raises ``VenueUnavailable`` when there is no answer."""


class ClosableFetch(Protocol):
    """Is a ``Fetch`` that must be closed at its end."""

    async def __call__(self, address: str) -> Answer:
        """Request ``address``, as a ``Fetch`` does."""
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...


class VenueClient(Protocol):
    """Carries calls to one venue."""

    def call(
        self,
        request: VenueRequest,
        on_sent: Callable[[], None] | None = None,
        prepared: PreparedCall | None = None,
        objection: Veto | None = None,
    ) -> Coroutine[None, None, Answer]:
        """Return the venue's answer, whatever its status. ``on_sent`` is called when the whole request is at the
        socket. ``objection`` is asked just before it is written, unless that happens in the call itself.

        Where a connection is open, a client may send the request in the call itself, before the answer is awaited.
        ``prepared`` is the same request, signed before; it is signed anew if that was too long ago. Raises
        ``NoAnswer`` when there was no answer in time, and ``Withheld`` for an objection; its text shows neither a
        key nor a signature.
        """
        ...

    def prepare(self, request: VenueRequest) -> PreparedCall | None:
        """Sign a call without making it; None where only the call itself can sign."""
        ...

    async def keep_open(self) -> None:
        """Keep open the connections that calls do not open by themselves. Runs until cancelled, or returns at once if
        there are none.
        """
        ...

    def set_clock(self, ahead_ms: int) -> None:
        """Sign from now on with the venue's time, which is ``ahead_ms`` milliseconds ahead of ours."""
        ...

    async def close(self) -> None:
        """Close its connections. Call it in the loop that made the calls."""
        ...
