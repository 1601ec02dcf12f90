"""A venue that answers 429 or 418 is asked nothing by any lane for as long as it says. On virtual time."""

import asyncio

import pytest

from arbshard.data.poller import RestPoller
from arbshard.venues.base.client import Answer
from arbshard.venues.registry import get_adapter
from support import virtual_time as v

BOOK = Answer(200, b'{"lastUpdateId":1,"bids":[["100","1"]],"asks":[["200","1"]]}')


class Taker:
    def answered(self, call, body, asked_ns):
        pass

    def missed(self, call, what, why):
        pass


@pytest.mark.parametrize(
    ("refusal", "pause_s"),
    [
        (Answer(429, b"", {"retry-after": "7"}), 7.0),
        (Answer(418, b"", {"retry-after": "7"}), 7.0),
        (Answer(429, b""), 1.0),
        (Answer(418, b""), 120.0),
    ],
)
def test_a_block_is_remembered_by_all_lanes(refusal, pause_s):
    async def work():
        clock = v.LoopClock()
        asked_s = []

        async def fetch(address):
            asked_s.append(clock.monotonic_ns() / 1e9)
            await asyncio.sleep(0.001)
            return refusal if len(asked_s) == 5 else BOOK

        poller = RestPoller("binance", "https://b", get_adapter("binance").rest, clock, fetch, Taker(), 0.01)
        lanes = [asyncio.ensure_future(lane) for lane in poller.lanes(["AUSDT", "BUSDT", "CUSDT"], 20)]
        await asyncio.sleep(pause_s + 5)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        blocked_s = asked_s[4] + 0.001
        during = [at for at in asked_s[5:] if at < blocked_s + pause_s - 0.1]
        assert during == []
        assert [at for at in asked_s[5:] if at <= blocked_s + pause_s + 0.2] != []

    v.run(work())


class Upbit:
    """Answers 404 for a whole call that has a market it does not list."""

    def __init__(self, clock, gone):
        self.clock, self.gone, self.asked = clock, gone, []

    async def fetch(self, address):
        symbols = address.partition("markets=")[2].partition("&")[0].split(",")
        self.asked.append((self.clock.monotonic_ns() / 1e9, symbols))
        await asyncio.sleep(0.001)
        if self.gone & set(symbols):
            return Answer(404, b'{"error":{"name":404,"message":"Code not found"}}')
        return Answer(200, ",".join(symbols).encode())


class Tally:
    def __init__(self):
        self.books, self.misses = [], []

    def answered(self, call, body, asked_ns):
        assert body == ",".join(call.symbols).encode()
        self.books += call.symbols

    def missed(self, call, what, why):
        self.misses.append((call.symbols, what, why))


@pytest.mark.parametrize("gone", [{"KRW-C7"}, {"KRW-C0", "KRW-C49"}, {"KRW-C10", "KRW-C11", "KRW-C30"}])
def test_a_market_that_is_not_listed_is_found_and_left_out(gone):
    async def work():
        clock = v.LoopClock()
        venue, tally = Upbit(clock, gone), Tally()
        symbols = [f"KRW-C{number}" for number in range(50)]
        poller = RestPoller("upbit", "https://u", get_adapter("upbit").rest, clock, venue.fetch, tally, 1.0)
        assert await poller.ask_once(symbols, 15) is False
        assert sorted(tally.books) == sorted(set(symbols) - gone)
        assert sorted(tally.misses) == [
            ((symbol,), "unlisted", f"upbit: it does not list {symbol}") for symbol in sorted(gone)
        ]
        assert len(venue.asked) <= 1 + 12 * len(gone)  # two calls for each halving
        gaps = [later[0] - one[0] for one, later in zip(venue.asked, venue.asked[1:], strict=False)]
        assert min(gaps) >= 1 / get_adapter("upbit").rest.calls_per_s - 1e-6
        venue.asked.clear()
        assert await poller.ask_once(symbols, 15) is True
        assert [set(asked) for _, asked in venue.asked] == [set(symbols) - gone]
        assert await poller.ask_once(sorted(gone), 15) is False
        assert len(venue.asked) == 1  # nothing is asked about what is left out
        await asyncio.sleep(61)
        venue.gone = set()  # it is listed again
        assert await poller.ask_once(symbols, 15) is True
        assert set(venue.asked[-1][1]) == set(symbols)

    v.run(work())


def test_a_venue_that_knows_nothing_is_asked_for_each_market_once_and_then_rests():
    async def work():
        clock = v.LoopClock()
        symbols = [f"KRW-C{number}" for number in range(8)]
        venue, tally = Upbit(clock, set(symbols)), Tally()
        poller = RestPoller("upbit", "https://u", get_adapter("upbit").rest, clock, venue.fetch, tally, 1.0)
        assert await poller.ask_once(symbols, 15) is False
        assert len(venue.asked) == 2 * len(symbols) - 1
        assert await poller.ask_once(symbols, 15) is False
        assert len(venue.asked) == 2 * len(symbols) - 1

    v.run(work())
