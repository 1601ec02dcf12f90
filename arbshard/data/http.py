"""``HttpFetch`` is the only code that calls a venue over HTTP.

The pollers, the listings, the feeds' snapshots and the doctor fetch public addresses with it (``Fetch``);
``clients`` sends signed calls with it. Its library takes longer to import than most programs of arbshard, so it is
imported with the first call, or by ``load_library``.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol

from arbshard.data.proxy import proxy_for
from arbshard.data.redirects import is_redirect, refusal
from arbshard.data.trust import Trust, system_trust
from arbshard.errors import VenueUnavailable
from arbshard.secret import Secret, reveal_values
from arbshard.venues.base.client import Answer, NoAnswer, Veto, check

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

_SSL_CONTEXT = re.compile(r" ssl:<[^>]*>")
"""Part of aiohttp's messages that is an object and tells a person nothing."""
_TIMEOUT_S = 5.0
_BODY_BYTES_MAX = 1 << 22
_CONNECTIONS_MAX = 32
_KEEPALIVE_S = 75.0
"""How long an unused connection is kept, in seconds: longer than the pause between two uses (``live.warm_every_s``).
"""
_NO_HEADERS: Mapping[str, Secret] = {}


def load_library() -> None:
    """Import the library now, so that no call has to wait for it. This may be done in a thread."""
    import aiohttp  # noqa: F401 - only the import is wanted


class HttpSender(Protocol):
    """Sends signed calls: ``HttpFetch``, or ``direct_http.DirectHttp`` where there is no proxy."""

    def send(
        self,
        method: str,
        url: "URL",
        *,
        headers: Mapping[str, Secret],
        body: bytes | None,
        proxy: str | None,
        is_secret: bool,
        on_sent: Callable[[], None] | None,
        objection: Veto | None,
    ) -> Coroutine[None, None, Answer]:
        """Return the answer to a call, whatever its status. Raises ``NoAnswer``, or ``Withheld`` for an objection."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class _Progress:
    """Records how far a request has come; aiohttp's hooks below write it."""

    __slots__ = ("objection", "on_sent", "sent")

    def __init__(self, on_sent: Callable[[], None] | None, objection: Veto | None) -> None:
        self.sent = False
        """Whether any part of the request may have been sent."""
        self.on_sent = on_sent
        self.objection = objection


class HttpFetch:
    """Makes calls over sockets that are kept open. Make and use it in one loop; ``close`` it at the end.

    It follows no redirect (``redirects``), uses the environment's proxy (``proxy``), and keeps no cookie.
    """

    def __init__(
        self,
        trust: Trust | None = None,
        *,
        timeout_s: float = _TIMEOUT_S,
        body_bytes_max: int = _BODY_BYTES_MAX,
    ) -> None:
        """Begin without a connection. ``trust``: the authorities that may certify the host; None for those of the
        system.
        """
        self._trust = trust or system_trust()
        self._timeout_s = timeout_s
        self._body_bytes_max = body_bytes_max
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, address: str) -> Answer:
        """Request ``address`` as a ``Fetch``. A redirect, or an answer longer than the limit, raises
        ``VenueUnavailable``.

        Raises ``UsageError`` for a proxy that cannot be used.
        """
        from yarl import URL

        answer = await self.send("GET", URL(address), proxy=proxy_for(address), is_secret=False)
        if is_redirect(answer.status):
            raise VenueUnavailable(refusal(answer.status, answer.headers.get("location", ""), address))
        return answer

    async def send(
        self,
        method: str,
        url: "URL",
        *,
        headers: Mapping[str, Secret] = _NO_HEADERS,
        body: bytes | None = None,
        proxy: str | None,
        is_secret: bool,
        on_sent: Callable[[], None] | None = None,
        objection: Veto | None = None,
    ) -> Answer:
        """Return the answer to a call, whatever its status. ``on_sent`` is called when the body is given to the
        socket, and ``objection`` just before anything is.

        Raises ``NoAnswer`` when there is none; for an address that ``is_secret`` its text and cause show only the
        kind of the failure, because the library's texts hold the address.
        """
        import aiohttp

        progress = _Progress(on_sent, objection)
        session = self._session or self._open()
        try:
            async with session.request(
                method,
                url,
                headers=reveal_values(headers),
                data=body,
                ssl=self._trust.context() if url.scheme == "https" else True,
                proxy=proxy,
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as reply:
                read = await self._read(reply)
                lower = {name.lower(): value for name, value in reply.headers.items()}
                return Answer(reply.status, read, lower)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if is_secret:
                raise NoAnswer(type(error).__name__, sent=progress.sent) from None
            why = _SSL_CONTEXT.sub("", str(error)) or f"no answer within {self._timeout_s:g} s"
            raise NoAnswer(why, sent=progress.sent) from error

    async def close(self) -> None:
        """Close all connections. May be called again."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> "aiohttp.ClientSession":
        import aiohttp

        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_on_headers_sent)
        trace.on_request_chunk_sent.append(_on_chunk_sent)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, keepalive_timeout=_KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            trace_configs=[trace],
        )
        return self._session

    async def _read(self, reply: "aiohttp.ClientResponse") -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in reply.content.iter_chunked(1 << 16):
            size += len(part)
            if size > self._body_bytes_max:
                raise ValueError(f"an answer of more than {self._body_bytes_max} bytes")
            parts.append(part)
        return b"".join(parts)


async def _on_headers_sent(
    _session: "aiohttp.ClientSession",
    context: SimpleNamespace,
    _params: "aiohttp.TraceRequestHeadersSentParams",
) -> None:
    progress: _Progress = context.trace_request_ctx
    check(progress.objection)  # a connection is open by now, and nothing has been written over it
    progress.sent = True


async def _on_chunk_sent(
    _session: "aiohttp.ClientSession",
    context: SimpleNamespace,
    _params: "aiohttp.TraceRequestChunkSentParams",
) -> None:
    progress: _Progress = context.trace_request_ctx
    progress.sent = True
    if progress.on_sent is not None:
        progress.on_sent()
        progress.on_sent = None
