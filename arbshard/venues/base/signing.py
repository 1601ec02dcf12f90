"""``Signing``: how a venue's calls become HTTP requests that it takes as ours. Pure.

The room ``signing`` of a venue's folder implements it; ``data.clients`` sends what it makes.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlencode

from arbshard.secret import Secret
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.keys import Keys


class SignedRequest(NamedTuple):
    """An HTTP request. Headers are secrets, because they hold the key or a token made with it."""

    target: str
    """Path and query, percent-encoded, exactly as they are to be sent."""
    body: bytes | None
    """None for a request without one."""
    headers: Mapping[str, Secret]


class SigningMoment(NamedTuple):
    """What makes two signatures of the same call different."""

    now_ms: int
    """The venue's time."""
    window_ms: int
    """For how long the venue may accept the request, where it can be told."""
    nonce: str
    """Never used before."""


class Signing(Protocol):
    """A venue's way to sign calls."""

    @property
    def takes_ed25519(self) -> bool:
        """Whether the key may be an Ed25519 key in a file instead of a shared secret."""
        ...

    def sign(self, request: VenueRequest, keys: Keys, moment: SigningMoment) -> SignedRequest:
        """The request as it is sent with the signature of ``keys``.

        Raises ``UsageError`` for a key that cannot sign.
        """
        ...


def query_of(params: Mapping[str, str]) -> str:
    """``params`` percent-encoded, in their order."""
    return urlencode(params)


def target_of(request: VenueRequest) -> str:
    """Path and query of a request whose parameters are all in its query."""
    return f"{request.path}?{query_of(request.params)}" if request.params else request.path
