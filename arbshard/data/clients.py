"""Opens the ``VenueClient`` of a venue: the worker, the accounts process and the doctor make their calls with it."""

from collections.abc import Callable
from secrets import token_hex
from typing import Final
from urllib.parse import urlsplit

from yarl import URL

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.data.http import HttpFetch
from arbshard.data.proxy import is_loopback, proxy_for
from arbshard.data.trust import trust_of
from arbshard.errors import UsageError
from arbshard.venues.base.client import Answer, NoAnswer, VenueClient
from arbshard.venues.base.request import Request
from arbshard.venues.base.signing import Moment, Signing, target_of
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter


def open_client(venue: str, config: Config, keys: Keys, clock: Clock) -> VenueClient:
    """The client of ``venue`` at its configured address. Use and close it in one loop.

    Raises ``UsageError`` without an address, for an address that would carry the key in clear text off this machine,
    and for a ``ca_file`` or a proxy that cannot be used.
    """
    settings = config.venues.get(venue)
    url = settings.rest_url.rstrip("/")
    if not url:
        raise UsageError(f"venues.{venue}.rest_url is empty: where is {venue} to be asked?")
    _check_address(venue, url)
    http = HttpFetch(trust_of(venue, settings), timeout_s=config.live.order_timeout_s)
    signing = get_adapter(venue).signing
    return HttpVenueClient(venue, url, signing, keys, http, clock, config.live.recv_window_ms)


class HttpVenueClient:
    """Implements ``VenueClient`` over HTTP, with the venue's own signatures."""

    def __init__(
        self,
        venue: str,
        url: str,
        signing: Signing,
        keys: Keys,
        http: HttpFetch,
        clock: Clock,
        window_ms: int,
    ) -> None:
        """``window_ms``: for how long the venue may accept a request. Raises ``UsageError`` for the proxy."""
        self.venue = venue
        self._url = url
        self._signing = signing
        self._keys = keys
        self._http = http
        self._clock = clock
        self._window_ms = window_ms
        self._ahead_ms = 0
        # Never shown: it may hold a password.
        self._proxy: Final = proxy_for(url)

    async def call(self, request: Request, on_sent: Callable[[], None] | None = None) -> Answer:
        """See ``VenueClient``."""
        if request.private:
            moment = Moment(self._clock.wall_ms() + self._ahead_ms, self._window_ms, token_hex(16))
            target, body, headers = self._signing.sign(request, self._keys, moment)
        else:
            target, body, headers = target_of(request), None, {}
        try:
            return await self._http.send(
                request.method,
                URL(self._url + target, encoded=True),
                headers=headers,
                body=body,
                proxy=self._proxy,
                is_secret=True,
                on_sent=on_sent,
            )
        except NoAnswer as error:
            raise NoAnswer(f"{self.venue}: {error}", sent=error.sent) from None

    def set_clock(self, ahead_ms: int) -> None:
        """See ``VenueClient``."""
        self._ahead_ms = ahead_ms

    async def close(self) -> None:
        """See ``VenueClient``."""
        await self._http.close()


def _check_address(venue: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise UsageError(f"venues.{venue}.rest_url {url}: keys travel by https only, except on this machine")
