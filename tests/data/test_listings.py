"""Markets are asked for a few times, and not while the venue wants to be left alone. On virtual time."""

import asyncio
import itertools

import pytest

from arbshard.config import Config, RunConfig
from arbshard.data import listings
from arbshard.data.address_block import CallRefused
from arbshard.data.listings import _get
from arbshard.errors import MarketsClosed, UsageError, VenueUnavailable
from arbshard.venues.base.client import Answer
from arbshard.venues.base.market import ListedMarket
from support import virtual_time as v


@pytest.mark.parametrize(
    ("answers", "gaps_s", "why"),
    [
        ([VenueUnavailable("nobody there")] * 3, [0.5, 1.0], "nobody there"),
        ([Answer(500, b"")] * 3, [0.5, 1.0], "HTTP 500"),
        ([Answer(429, b"", {"retry-after": "2"})] * 3, [2.0, 2.0], "HTTP 429"),
        ([Answer(429, b"", {"retry-after": "7"})], [], "HTTP 429, the venue wants no question for 7 s"),
        ([Answer(418, b"")], [], "HTTP 418, the venue wants no question for 120 s"),
        ([Answer(429, b""), Answer(200, b"[]")], [1.0], ""),
    ],
)
def test_tries(answers, gaps_s, why):
    async def work():
        loop = asyncio.get_running_loop()
        asked_s = []

        async def fetch(address):
            asked_s.append(loop.time())
            said = answers[len(asked_s) - 1]
            if isinstance(said, Exception):
                raise said
            return said

        if why:
            with pytest.raises(VenueUnavailable) as caught:
                await _get(fetch, "upbit", "https://u/v1")
            assert str(caught.value) == f"upbit: https://u/v1 does not answer: {why}"
            if "wants no question" in why:
                assert isinstance(caught.value, CallRefused)
                assert (caught.value.venue, caught.value.answer) == ("upbit", answers[0])
        else:
            assert await _get(fetch, "upbit", "https://u/v1") == b"[]"
        assert [b - a for a, b in itertools.pairwise(asked_s)] == pytest.approx(gaps_s)

    v.run(work())


class TestClosedMarkets:
    """In a venue's maintenance all of its markets are listed as not trading. That passes; a wrong name does not."""

    @pytest.fixture
    def find(self, make, monkeypatch):
        legs = make.pair.home, make.pair.away, make.fx_leg

        def find(*closed, **settings):
            async def listing(config, name):
                return {
                    leg.market.symbol: ListedMarket(leg.market, leg.rules, leg.market not in closed, "BREAK")
                    for leg in legs
                    if leg.market.venue == name
                }

            monkeypatch.setattr(listings, "_listing", listing)
            return asyncio.run(listings.find_universe(Config(run=RunConfig(**settings))))

        return find

    def test_a_pair_whose_markets_are_open_is_found(self, find, make):
        assert [pair.base for pair in find().pairs] == [make.pair.base]

    def test_no_pair_that_trades_now(self, find, make):
        with pytest.raises(MarketsClosed, match="upbit and binance list no common base as trading now"):
            find(make.pair.away.market)

    def test_no_chosen_pair_that_trades_now(self, find, make):
        with pytest.raises(
            MarketsClosed, match=r"BTC cannot be traded now: upbit:KRW-BTC takes no orders \(BREAK\)"
        ):
            find(make.pair.home.market, symbols=("BTC",))

    def test_a_name_that_means_no_pair(self, find, make):
        with pytest.raises(UsageError, match="'XYZ' is not tradable on both venues"):
            find(make.pair.home.market, symbols=("XYZ",))
