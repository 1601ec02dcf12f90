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
