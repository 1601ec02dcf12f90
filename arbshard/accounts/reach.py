"""Whether a venue's addresses answer at all, in words that say what stands between: name, network, certificate.

Needs neither a key nor a market. Used by ``venue_probe``, and by ``probing`` when the markets could not be listed.
"""

import ssl

import aiohttp

from arbshard.accounts.facts import Probe
from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.data.stream import Target, open_stream
from arbshard.errors import VenueUnavailable
from arbshard.execution.live.requests import warm
from arbshard.venues.registry import get_venue

_TIMEOUT_S = 5.0
_ROOT = {"upbit": "/v1/", "binance": "/api/v3/"}


async def probe_rest(config: Config, name: str) -> Probe:
    """By one cheap public call."""
    settings = config.venues.get(name)
    request = warm(name)
    tls = ssl.create_default_context(cafile=settings.ca_file or None)
    url = settings.rest_url.rstrip("/") + _ROOT[name] + request.path
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), connector=aiohttp.TCPConnector(ssl=tls)
            ) as session,
            session.get(url, params=request.params) as reply,
        ):
            ok = reply.status == 200
            return Probe(ok=ok, why="" if ok else f"HTTP {reply.status} {reply.reason}")
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return Probe(ok=False, why=str(error) or "no answer in time")


async def probe_public_stream(config: Config, name: str, clock: Clock) -> Probe:
    """By opening it."""
    settings, venue = config.venues.get(name), get_venue(name)
    tls = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else None
    target = Target(venue.ws_address(settings.ws_url), venue.connection_rules.ping_interval_s, tls=tls)
    try:
        async with open_stream(target, _ignore, clock.monotonic_ns, config.run.receiver):
            return Probe(ok=True)
    except VenueUnavailable as error:
        return Probe(ok=False, why=str(error))


def _ignore(frame: bytes, received_ns: int) -> None:
    """The stream only has to open."""
