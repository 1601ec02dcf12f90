"""ccxt clients: signing and HTTP, nothing else. The one place that imports ccxt, and only when a client is made.

ccxt's own markets, rounding, pacing, retries and words for errors are not used: a venue's rules are known from its
listing, and what an answer means is read from the answer itself. Made by workers, the accounts process and the
doctor, once per venue, inside a running loop.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from logging import WARNING, Logger
from types import SimpleNamespace
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import aiohttp

from arbshard.config import Config
from arbshard.data.proxy import is_loopback, proxy_for
from arbshard.data.trust import trust_of
from arbshard.errors import UsageError, VenueUnavailable
from arbshard.execution.live.session import DirectSession
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter

_CONNECTIONS_MAX = 32
_KEEPALIVE_S = 75.0
"""Longer than the pause between two uses, see ``live.warm_every_s``."""

Params = Mapping[str, str]


class Exchange(Protocol):
    """What is used of a ``ccxt.async_support`` exchange."""

    options: dict[str, object]

    async def request(self, path: str, api: list[str], method: str, params: dict[str, str]) -> object:
        """Sign, send, wait; raises one of ccxt's errors."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


class Answer(NamedTuple):
    """What a venue said, good or bad."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    """Names in lower case."""


class NoAnswer(VenueUnavailable):
    """No HTTP answer came. ``sent``: whether anything may have left; if not, nothing has happened."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class _Seen:
    """What was noticed of one call while it went on."""

    __slots__ = ("answer", "on_sent", "sent")

    def __init__(self, on_sent: Callable[[], None] | None) -> None:
        self.answer: Answer | None = None
        self.sent = False
        self.on_sent = on_sent


# Tasks copy their context: the hooks below find the call they belong to, however many run at once.
_seen: ContextVar[_Seen | None] = ContextVar("_seen", default=None)


def require_ccxt() -> None:
    """Raises ``UsageError`` when ccxt is not installed."""
    if find_spec("ccxt") is None:
        raise UsageError("live orders need ccxt: pip install --require-hashes -r requirements-live.lock")


def make_client(venue: str, config: Config, keys: Keys) -> Exchange:
    """A ``ccxt.async_support`` exchange for ``venue`` at its configured address, with one session kept open.

    Close it in the same loop. Raises ``UsageError`` without ccxt or an address, for an address that would carry the
    key in clear text off this machine, and for a ``ca_file`` or a proxy that cannot be used.
    """
    require_ccxt()
    settings = config.venues.get(venue)
    url = settings.rest_url.rstrip("/")
    if not url:
        raise UsageError(f"venues.{venue}.rest_url is empty: where is {venue} to be asked?")
    _check_address(venue, url)
    proxy = proxy_for(url)
    signing = get_adapter(venue).signing
    exchange = getattr(import_module("ccxt.async_support"), signing.ccxt_id)(
        {
            "enableRateLimit": False,  # the budget is ours, and for all processes together
            "timeout": round(config.live.order_timeout_s * 1000),
            "options": {"recvWindow": config.live.recv_window_ms, "fetchCurrencies": False},
        }
    )
    keys.put_into(exchange)
    addresses = exchange.urls["api"]
    for name, address in addresses.items():
        if isinstance(address, str):
            addresses[name] = url  # whatever is not set below must not reach another host
    addresses.update(signing.ccxt_addresses(url))
    exchange.hostname = urlsplit(url).netloc
    exchange.ssl_context = trust_of(venue, settings).context()
    exchange.tcp_connector = aiohttp.TCPConnector(
        ssl=exchange.ssl_context, limit=_CONNECTIONS_MAX, keepalive_timeout=_KEEPALIVE_S
    )
    session = aiohttp.ClientSession(connector=exchange.tcp_connector, trace_configs=[_trace()])
    exchange.session = DirectSession(session, proxy)
    exchange.on_rest_response = _on_answer
    exchange.timeout_on_exit = 0
    logger: Logger = exchange.logger
    logger.setLevel(WARNING)  # at debug it writes headers, and with them the key
    made: Exchange = exchange
    return made


class VenueClient:
    """Calls one venue and hands back what it answered, word for word."""

    def __init__(self, venue: str, exchange: Exchange) -> None:
        self.venue = venue
        self._exchange = exchange
        # None in tests without ccxt, where nothing of ccxt's can be raised.
        self._failures: type[Exception] = import_module("ccxt").BaseError if find_spec("ccxt") else NoAnswer

    async def call(
        self,
        method: str,
        path: str,
        params: Params,
        *,
        private: bool = True,
        on_sent: Callable[[], None] | None = None,
    ) -> Answer:
        """The venue's answer, whatever its status. ``on_sent`` is called when the body goes to the socket.

        Raises ``NoAnswer`` when there was none.
        """
        seen = _Seen(on_sent)
        token = _seen.set(seen)
        try:
            await self._exchange.request(path, ["private" if private else "public"], method, dict(params))
        except self._failures as error:
            if seen.answer is None:
                # The error's own words hold the signed address: its kind says enough.
                raise NoAnswer(f"{self.venue}: {type(error).__name__}", sent=seen.sent) from None
        finally:
            _seen.reset(token)
        if seen.answer is None:
            raise NoAnswer(f"{self.venue}: an answer that was not seen", sent=True)
        return seen.answer

    def set_clock(self, ahead_ms: int) -> None:
        """Sign with the venue's time, which is ``ahead_ms`` ahead of ours."""
        self._exchange.options["timeDifference"] = -ahead_ms

    async def close(self) -> None:
        """Close its connections."""
        await self._exchange.close()


def _on_answer(
    status: int,
    _reason: str,
    _url: str,
    _method: str,
    headers: Mapping[str, str],
    body: str,
    _request_headers: object,
    _request_body: object,
) -> str:
    seen = _seen.get()
    if seen is not None:
        lower = {name.lower(): value for name, value in headers.items()}
        seen.answer = Answer(status, body.encode(), lower)
    return body.strip()


def _trace() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_on_headers_sent)
    trace.on_request_chunk_sent.append(_on_chunk_sent)
    return trace


async def _on_headers_sent(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, _params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    seen = _seen.get()
    if seen is not None:
        seen.sent = True


async def _on_chunk_sent(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, _params: aiohttp.TraceRequestChunkSentParams
) -> None:
    seen = _seen.get()
    if seen is not None:
        seen.sent = True
        if seen.on_sent is not None:
            seen.on_sent()
            seen.on_sent = None


def _check_address(venue: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise UsageError(f"venues.{venue}.rest_url {url}: keys travel by https only, except on this machine")
