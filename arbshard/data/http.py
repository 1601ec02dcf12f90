"""One way to ask a venue something over HTTP without a key: ``Fetch``.

``poller``, ``listings``, the feeds' snapshots and the doctor's probes use it.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiohttp

from arbshard.data.proxy import proxy_for
from arbshard.data.redirects import is_redirect, refusal
from arbshard.data.trust import Trust, system_trust
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
    """``Fetch`` over sockets, kept open from call to call. Made on the loop that uses it; ``close`` at the end.

    It follows no redirect, see ``redirects``, and takes the environment's proxy, see ``proxy``.
    """

    def __init__(
        self,
        trust: Trust | None = None,
        *,
        timeout_s: float = _TIMEOUT_S,
        body_bytes_max: int = _BODY_BYTES_MAX,
    ) -> None:
        """``trust``: the authorities that may vouch for the host; None for those of the system."""
        self._trust = trust or system_trust()
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._body_bytes_max = body_bytes_max
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, address: str) -> Answer:
        """See ``Fetch``. A body that is longer than the limit is no answer.

        Raises ``UsageError`` for a proxy that cannot be used.
        """
        proxy = proxy_for(address)
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.get(
                address, ssl=self._trust.context(), proxy=proxy, allow_redirects=False
            ) as reply:
                if is_redirect(reply.status):
                    raise VenueUnavailable(
                        refusal(reply.status, reply.headers.get("Location", ""), str(reply.url))
                    )
                body = await self._read(reply)
                return Answer(reply.status, body, reply.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise VenueUnavailable(str(error) or f"no answer within {self._timeout.total:g} s") from error

    async def _read(self, reply: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in reply.content.iter_chunked(1 << 16):
            size += len(part)
            if size > self._body_bytes_max:
                raise VenueUnavailable(f"an answer of more than {self._body_bytes_max} bytes")
            parts.append(part)
        return b"".join(parts)

    async def close(self) -> None:
        """Close all connections. May be called again."""
        if self._session is not None:
            await self._session.close()
            self._session = None
