"""Questions about an account keep to a block for as long as the venue says."""

import pytest

from arbshard.accounts.rest_client import Asker
from arbshard.config import LiveConfig
from arbshard.errors import VenueUnavailable
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.shm.budget import Budget
from arbshard.venues.base.client import Answer
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.registry import rate_windows

QUESTION = VenueRequest("GET", "/api/v3/account", {}, {"binance_weight": 20})


class Venue:
    """``VenueClient`` that gives one answer after the other."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = 0

    async def call(self, request, on_sent=None, prepared=None, objection=None):
        self.calls += 1
        return self.answers.pop(0)


@pytest.fixture
def ask(clock, tmp_path):
    """Builds an asker over answers; returns it with its venue."""
    budget = Budget.open(tmp_path, "accounts", rate_windows())
    gate = RateLimiter(budget, LiveConfig(budget_wait_s=0.01), clock, lambda _: None)

    def build(*answers):
        venue = Venue(*answers)
        return Asker("binance", venue, gate), venue

    yield build
    budget.close()


@pytest.mark.parametrize("status", [429, 418])
@pytest.mark.parametrize("urgent", [False, True])
async def test_a_block_lasts_as_long_as_the_venue_says(ask, clock, status, urgent):
    asker, venue = ask(Answer(status, b"", {"retry-after": "7"}), Answer(200, b"[]", {}))
    with pytest.raises(VenueUnavailable, match=str(status)):
        await asker.ask(QUESTION, urgent=urgent)
    clock.advance_ms(6900)
    with pytest.raises(VenueUnavailable, match="no room in the rate limits"):
        await asker.ask(QUESTION, urgent=urgent)
    assert venue.calls == 1
    clock.advance_ms(100)
    assert (await asker.ask(QUESTION, urgent=urgent)).status == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_no_answer(ask, status):
    asker, _ = ask(Answer(status, b'[{"currency":"BTC","balance":"9"}]', {"location": "http://evil.test/"}))
    with pytest.raises(VenueUnavailable, match=f"HTTP {status}: a redirect, which is not followed"):
        await asker.ask(QUESTION)
