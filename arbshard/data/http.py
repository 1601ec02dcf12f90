"""One way to ask a venue something over HTTP without a key: ``Fetch``. ``poller`` and the feeds' snapshots use it."""

import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiohttp

from arbshard.errors import VenueUnavailable

_TIMEOUT_S = 5.0
_BODY_BYTES_MAX = 1 << 22
_LIMITED_S = 1.0
"""Pause after 429 where the venue does not say how long."""
_BANNED_S = 120.0
"""Pause after 418 where it does not: the shortest ban."""
_PAUSE_S_MAX = 3 * 24 * 3600.0


class Answer(NamedTuple):
    """What a venue said."""

    status: int
    body: bytes
    retry_after: str | None = None
    """The header, as it came."""

    @property
    def pause_s(self) -> float:
        """How long the venue wants nobody to ask; 0 for an answer that says no such thing."""
        if self.status not in (418, 429):
            return 0.0
        asked = self.retry_after
        if asked is not None and asked.isascii() and asked.isdigit():
            return max(min(float(asked), _PAUSE_S_MAX), _LIMITED_S)
        return _LIMITED_S if self.status == 429 else _BANNED_S


Fetch = Callable[[str], Awaitable[Answer]]
"""Asks for an address. Raises ``VenueUnavailable`` when there is no answer."""


class HttpFetch:
    """``Fetch`` over sockets, kept open from call to call. Made on the loop that uses it; ``close`` at the end."""

    def __init__(self, ca_file: str = "") -> None:
        """``ca_file``: authorities to trust; empty for those of the system."""
        self._tls = ssl.create_default_context(cafile=ca_file) if ca_file else True
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, address: str) -> Answer:
        """See ``Fetch``. At most 4 MiB of a body are read."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        try:
            async with self._session.get(address, ssl=self._tls) as reply:
                body = await reply.content.read(_BODY_BYTES_MAX)
                while chunk := await reply.content.read(_BODY_BYTES_MAX - len(body)):
                    body += chunk
                return Answer(reply.status, body, reply.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise VenueUnavailable(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Close all connections. May be called again."""
        if self._session is not None:
            await self._session.close()
            self._session = None
