"""Opens connections to a venue: ``open_client`` for an account's calls, ``open_fetch`` for public ones.

The worker, the accounts process and the doctor use the first; feeds, listings and the doctor the second.
"""

from collections.abc import Callable, Coroutine
from secrets import token_hex
from typing import Final
from urllib.parse import urlsplit

from yarl import URL

from arbshard.clock import Clock
from arbshard.config import Config, VenueConfig
from arbshard.data.ccxt_client import CcxtClient
from arbshard.data.http import HttpFetch, HttpSender, load_library
from arbshard.data.proxy import is_loopback, proxy_for
from arbshard.data.stream import Opener, open_stream
from arbshard.data.stream import target_of as stream_target_of
from arbshard.data.trust import trust_of
from arbshard.errors import UsageError
from arbshard.venues.base.client import Answer, NoAnswer, PreparedCall, VenueClient, Veto
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.signing import SignedRequest, Signing, SigningMoment, target_of
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter

_ANSWER_BYTES_MAX = 1 << 24
"""Largest answer in bytes. The states of all wallets of a venue come in one answer of some megabytes."""
_PREPARED_SHARE = 0.1
"""Share of its window for which a signature that was made beforehand may be used."""


def open_client(venue: str, config: Config, keys: Keys, clock: Clock) -> VenueClient:
    """Return the client of ``venue`` at its configured address. Use and close it in one loop.

    Raises ``UsageError`` without an address, for an address that would carry the key in clear text off this machine,
    and for a ``ca_file`` or a proxy that cannot be used.
    """
    return _open(venue, config, keys, clock, HttpFetch)


def _open(
    venue: str, config: Config, keys: Keys, clock: Clock, sender: Callable[..., HttpSender]
) -> VenueClient:
    settings, live = config.venues.get(venue), config.live
    url = settings.rest_url
    signing = get_adapter(venue).signing
    if signing is None:
        if url:
            _check_address(venue, url)
        return CcxtClient(
            venue, settings, keys, timeout_s=live.order_timeout_s, window_ms=live.recv_window_ms
        )
    if not url:
        raise UsageError(f"venues.{venue}.rest_url is empty: where is {venue} to be asked?")
    _check_address(venue, url)
    if sender is HttpFetch:
        load_library()  # a call must not wait for that
    http = sender(trust_of(venue, settings), timeout_s=live.order_timeout_s, body_bytes_max=_ANSWER_BYTES_MAX)
    return HttpVenueClient(venue, url, signing, keys, http, clock, live.recv_window_ms)


def open_order_client(
    venue: str, config: Config, keys: Keys, clock: Clock, opener: Opener = open_stream, name: str = ""
) -> VenueClient:
    """Return the client of ``venue`` for orders: as ``open_client``, with ``DirectHttp`` unless there is a proxy, and
    over the venue's WebSocket where it has one for orders and ``order_api`` asks for it. ``name`` is that of the
    process.
    """
    from arbshard.data.direct_http import DirectHttp

    settings = config.venues.get(venue)
    sender = HttpFetch if settings.rest_url and proxy_for(settings.rest_url) else DirectHttp
    client = _open(venue, config, keys, clock, sender)
    if isinstance(client, HttpVenueClient):
        return over_socket(client, config, keys, clock, opener, name)
    return client


def over_socket(
    client: "HttpVenueClient",
    config: Config,
    keys: Keys,
    clock: Clock,
    opener: Opener = open_stream,
    name: str = "",
) -> VenueClient:
    """Return a client that makes calls about orders over the venue's WebSocket, and all others as ``client`` does;
    ``client`` itself where the venue has none or ``order_api`` does not ask for it.
    """
    venue = client.venue
    settings, socket = config.venues.get(venue), get_adapter(venue).order_socket
    if socket is None or settings.order_api != "ws":
        return client
    from arbshard.data.order_socket import SocketVenueClient

    target = stream_target_of(venue, settings, socket.address(settings), socket.ping_interval_s)
    timeout_s, receiver = config.live.order_timeout_s, config.run.receiver
    return SocketVenueClient(venue, socket, target, keys, client, clock, timeout_s, receiver, opener, name)


def open_fetch(
    venue: str, settings: VenueConfig, *, timeout_s: float = 5.0, body_bytes_max: int = 1 << 22
) -> HttpFetch | CcxtClient:
    """Return a ``Fetch`` for public calls to ``venue``. Use and close it in one loop.

    Raises ``UsageError`` for a ``ca_file`` that cannot be used and for a venue that ccxt does not know.
    """
    if get_adapter(venue).signing is None:
        return CcxtClient(venue, settings, None, timeout_s=timeout_s)
    return HttpFetch(trust_of(venue, settings), timeout_s=timeout_s, body_bytes_max=body_bytes_max)


class HttpVenueClient:
    """Is a ``VenueClient`` over HTTP, with the venue's own signatures."""

    def __init__(
        self,
        venue: str,
        url: str,
        signing: Signing,
        keys: Keys,
        http: HttpSender,
        clock: Clock,
        window_ms: int,
    ) -> None:
        """Prepare the client. ``window_ms``: for how long the venue may accept a request. Raises ``UsageError`` for
        the proxy.
        """
        self.venue = venue
        self._url = url
        self._signing = signing
        self._keys = keys
        self._http = http
        self._clock = clock
        self._window_ms = window_ms
        self._ahead_ms = 0
        # The proxy is never shown, because it may hold a password.
        self._proxy: Final = proxy_for(url)

    def call(
        self,
        request: VenueRequest,
        on_sent: Callable[[], None] | None = None,
        prepared: PreparedCall | None = None,
        objection: Veto | None = None,
    ) -> Coroutine[None, None, Answer]:
        """Make a call, as ``VenueClient`` does."""
        if (
            prepared is not None
            and isinstance(prepared.signed, SignedRequest)
            and self.is_recent(prepared.moment)
        ):
            target, body, headers = prepared.signed
        elif request.private:
            target, body, headers = self._signing.sign(request, self._keys, self.moment())
        else:
            target, body, headers = target_of(request), None, {}
        return self._named(
            self._http.send(
                request.method,
                URL(self._url + target, encoded=True),
                headers=headers,
                body=body,
                proxy=self._proxy,
                is_secret=True,
                on_sent=on_sent,
                objection=objection,
            )
        )

    async def _named(self, sending: Coroutine[None, None, Answer]) -> Answer:
        try:
            return await sending
        except NoAnswer as error:
            raise type(error)(f"{self.venue}: {error}", sent=error.sent) from None

    def prepare(self, request: VenueRequest) -> PreparedCall | None:
        """Sign a call, as ``VenueClient`` does."""
        moment = self.moment()
        return PreparedCall(request, moment, self._signing.sign(request, self._keys, moment))

    def moment(self) -> SigningMoment:
        """Return what a call is signed with now."""
        return SigningMoment(self._clock.wall_ms() + self._ahead_ms, self._window_ms, token_hex(16))

    def is_recent(self, moment: SigningMoment) -> bool:
        """Return whether what was signed at ``moment`` may still be sent, with most of its window left."""
        age_ms = self._clock.wall_ms() + self._ahead_ms - moment.now_ms
        return abs(age_ms) <= self._window_ms * _PREPARED_SHARE

    async def keep_open(self) -> None:
        """Return at once: calls open the connections."""

    def set_clock(self, ahead_ms: int) -> None:
        """Sign with the venue's time, as ``VenueClient`` does."""
        self._ahead_ms = ahead_ms

    async def close(self) -> None:
        """Close all connections, as ``VenueClient`` does."""
        await self._http.close()


def _check_address(venue: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise UsageError(f"venues.{venue}.rest_url {url}: keys travel by https only, except on this machine")
