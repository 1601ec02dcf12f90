"""Tests whether a venue's addresses answer at all, and names what prevents it: name, network, or certificate.

It needs neither a key nor a market. ``venue_probe`` uses it, and ``probing`` when the markets could not be listed.
"""

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.data.clients import open_fetch
from arbshard.data.stream import HandshakeRefused, open_stream, target_of
from arbshard.doctor.facts import ProbeResult
from arbshard.errors import VenueUnavailable
from arbshard.venues.base.client import Answer
from arbshard.venues.base.signing import target_of as request_target
from arbshard.venues.registry import get_adapter, get_venue


async def probe_rest(config: Config, name: str) -> ProbeResult:
    """Return whether the REST address answers one cheap public call."""
    settings = config.venues.get(name)
    url = settings.rest_url + request_target(get_adapter(name).orders.warm())
    fetch = open_fetch(name, settings)
    try:
        answer = await fetch(url)
    except VenueUnavailable as error:
        return ProbeResult(ok=False, why=str(error), may_pass=True)
    finally:
        await fetch.close()
    if answer.status == 200:
        return ProbeResult(ok=True)
    return ProbeResult(ok=False, why=f"HTTP {answer.status}", may_pass=may_pass(answer))


async def probe_public_stream(config: Config, name: str, clock: Clock) -> ProbeResult:
    """Return whether the public stream can be opened."""
    settings, venue = config.venues.get(name), get_venue(name)
    if not venue.is_streamed:
        return ProbeResult(ok=True)
    address = venue.ws_address(settings.ws_url)
    target = target_of(name, settings, address, venue.connection_rules.ping_interval_s)
    try:
        async with open_stream(target, _ignore, clock.monotonic_ns, config.run.receiver):
            return ProbeResult(ok=True)
    except HandshakeRefused as error:
        return ProbeResult(ok=False, why=str(error), may_pass=may_pass(error.answer))
    except VenueUnavailable as error:
        return ProbeResult(ok=False, why=str(error), may_pass=True)


def may_pass(answer: Answer) -> bool:
    """Return whether a venue refuses with ``answer`` only for now: it is overloaded, or has had too many calls."""
    return answer.status >= 500 or answer.status in (418, 429)


def _ignore(frame: bytes, received_ns: int) -> None:
    """Ignore frames: the stream only has to open."""
