"""Asks about an account over REST: within the rate budget, and with a venue's refusal distinguished from silence.

``poller`` and ``recovery`` use it.
"""

from typing import Protocol

from arbshard.errors import VenueUnavailable
from arbshard.execution.live.errors import understand
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.venues.base.client import Answer, VenueClient
from arbshard.venues.base.request import VenueRequest


class Questioned(Protocol):
    """Is what requests are sent with: an ``Asker``."""

    async def ask(self, request: VenueRequest, *, urgent: bool = False) -> Answer:
        """Return the answer, which is never a refusal. Raises ``VenueUnavailable``."""
        ...


class Asker:
    """Asks one venue."""

    def __init__(self, venue: str, client: VenueClient, gate: RateLimiter) -> None:
        self._venue = venue
        self._client = client
        self._gate = gate

    async def ask(self, request: VenueRequest, *, urgent: bool = False) -> Answer:
        """Ask as ``Questioned.ask``. A request that is not ``urgent`` leaves exits and hedges their share of the
        rate limits.
        """
        admitted = await self._gate.admit(request.cost) if urgent else self._gate.spare(request.cost)
        if not admitted:
            raise VenueUnavailable("no room in the rate limits")
        answer = await self._client.call(request)
        self._gate.read_limits(self._venue, answer)
        said = understand(self._venue, answer.status, answer.body)
        if said.meaning != "accepted":
            raise VenueUnavailable(said.detail)
        return answer
