"""Defines ``Signing``: how a venue's calls become signed HTTP requests. Pure.

The module ``signing`` of a venue's folder implements it; ``data.clients`` sends the requests.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlencode

from arbshard.secret import Secret
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.keys import Keys


class SignedRequest(NamedTuple):
    """Is a signed HTTP request. Its headers are secrets, because they hold the key or a token made with it."""

    target: str
    """Path and query, percent-encoded, exactly as they are to be sent."""
    body: bytes | None
    """None for a request without a body."""
    headers: Mapping[str, Secret]


class SigningMoment(NamedTuple):
    """Holds what makes two signatures of the same call different."""

    now_ms: int
    """Wall time by the venue's clock, in milliseconds."""
    window_ms: int
    """For how many milliseconds the venue may accept the request, where a request can state that."""
    nonce: str
    """A text that was never used before."""


class Signing(Protocol):
    """Signs calls to a venue."""

    @property
    def takes_ed25519(self) -> bool:
        """Return whether the key may be an Ed25519 key in a file instead of a shared secret."""
        ...

    def sign(self, request: VenueRequest, keys: Keys, moment: SigningMoment) -> SignedRequest:
        """Return the request as it is sent with the signature of ``keys``.

        Raises ``UsageError`` for a key that cannot sign.
        """
        ...


def query_of(params: Mapping[str, str]) -> str:
    """Return ``params`` percent-encoded, in their order."""
    return urlencode(params)


def target_of(request: VenueRequest) -> str:
    """Return path and query of a request whose parameters are all in its query."""
    return f"{request.path}?{query_of(request.params)}" if request.params else request.path
