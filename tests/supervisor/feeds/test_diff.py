"""Books kept from their changes, on virtual time: whole from a snapshot on, dark from a gap to the next."""

import asyncio
import itertools
import json

from arbshard.errors import VenueUnavailable
from arbshard.venues.base.client import Answer
from arbshard.venues.registry import get_adapter, get_venue
from supervisor.feeds.diff import DiffBooks
from supervisor.feeds.fanout import VenueFanout
from support import virtual_time as v


class Slots:
    def __init__(self):
        self.frames = {}
        self.stamps = {}
        self.live = {}
        self.count = {}

    def write(self, slot, frame, received_ns):
        self.frames[slot], self.stamps[slot] = frame, received_ns
        self.count[slot] = self.count.get(slot, 0) + 1

    def set_live(self, slot, live):
        self.live[slot] = live

    def sequence(self, slot):
        return 2 * self.count.get(slot, 0)


class Exchange:
    """One truth for both: update ids and a bid that carries them."""

    def __init__(self):
        self.ids = {"AUSDT": 100, "BUSDT": 500}
        self.asked = []
        self.failures = []
        self.delay_s = 0.1

    def event(self, symbol, first=None):
        last = self.ids[symbol] = self.ids[symbol] + 1
        data = {
            "e": "depthUpdate", "E": 1, "s": symbol, "U": first or last, "u": last,
            "b": [["10.0", f"{last}.0"]], "a": [["11.0", "1.0"]],
        }  # fmt: skip
        return json.dumps(
            {"stream": f"{symbol.lower()}@depth@100ms", "data": data}, separators=(",", ":")
        ).encode()

    async def fetch(self, address):
        symbol = address.partition("symbol=")[2].partition("&")[0]
        self.asked.append((asyncio.get_running_loop().time(), symbol))
        await asyncio.sleep(self.delay_s)
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        last = self.ids[symbol]
        body = {"lastUpdateId": last, "bids": [["10.0", f"{last}.0"]], "asks": [["11.0", "1.0"]]}
        return Answer(200, json.dumps(body).encode())


class Bench:
    def __init__(self):
        self.exchange = Exchange()
        self.slots = Slots()
        self.clock = v.LoopClock()
        targets = {"AUSDT": (1, ()), "BUSDT": (2, ())}
        self.fanout = VenueFanout(get_venue("binance"), targets, self.slots, [], lambda _: None)
        self.books = DiffBooks(get_adapter("binance").diff, self.fanout, "", self.exchange.fetch, self.clock)
        self.controls = []
        self.lane = self.begin_lane()
        self.task = asyncio.ensure_future(self.books.run())

    def begin_lane(self):
        lane = self.books.lane(self.controls.append)
        lane.attach(["AUSDT", "BUSDT"])
        return lane

    def say(self, symbol, first=None, lane=None):
        (lane or self.lane)(self.exchange.event(symbol, first), self.clock.monotonic_ns())

    def size(self, slot):
        """Of the only bid in the slot: the update id it is from."""
        book = get_venue("binance").decode(self.slots.frames[slot], 1)
        return book.bids[0][1]

    def is_live(self, symbol):
        return not self.fanout.is_down(symbol)

    async def whole(self):
        for symbol in ("AUSDT", "BUSDT"):
            self.say(symbol)
        await asyncio.sleep(3)
        assert self.is_live("AUSDT")
        assert self.is_live("BUSDT")


def test_whole_from_a_snapshot_on_and_then_in_step():
    async def work():
        bench = Bench()
        bench.say("AUSDT")
        assert not bench.is_live("AUSDT")
        await asyncio.sleep(0.05)
        bench.say("AUSDT")
        await asyncio.sleep(0.1)
        assert bench.is_live("AUSDT")
        assert bench.size(1) == 102.0
        assert bench.slots.stamps[1] == int(1000.05 * 1e9)  # of the newest event in it
        bench.say("AUSDT")
        assert bench.size(1) == 103.0
        assert not bench.is_live("BUSDT")  # nothing has come of it
        assert len(bench.exchange.asked) == 1
        assert bench.books.resyncs == 0

    v.run(work())


def test_a_book_says_when_its_last_event_was_sent_unless_a_snapshot_was_the_last_to_change_it():
    async def work():
        bench = Bench()
        await bench.whole()
        assert get_venue("binance").sent_ms(bench.slots.frames[1]) is None
        bench.say("AUSDT")
        assert get_venue("binance").sent_ms(bench.slots.frames[1]) == 1

    v.run(work())


def test_a_gap_is_that_markets_alone():
    async def work():
        bench = Bench()
        await bench.whole()
        bench.exchange.ids["AUSDT"] += 5  # lost on the way
        bench.say("AUSDT")
        bench.say("BUSDT")
        assert not bench.is_live("AUSDT")
        assert bench.size(2) == bench.exchange.ids["BUSDT"]
        await asyncio.sleep(3)
        assert bench.is_live("AUSDT")
        assert bench.size(1) == bench.exchange.ids["AUSDT"]
        assert bench.books.resyncs == 1
        assert [symbol for _, symbol in bench.exchange.asked] == ["AUSDT", "BUSDT", "AUSDT"]

    v.run(work())


def test_snapshots_one_at_a_time_and_never_too_fast_whatever_goes_wrong():
    async def work():
        bench = Bench()
        bench.exchange.failures = [
            VenueUnavailable("nobody there"),
            Answer(200, b"<html>"),
            Answer(500, b""),
            Answer(429, b"", {"retry-after": "7"}),
        ]
        bench.say("AUSDT")
        bench.say("BUSDT")
        await asyncio.sleep(60)
        assert bench.is_live("AUSDT")
        assert bench.is_live("BUSDT")
        times = [at for at, _ in bench.exchange.asked]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert len(times) == 6
        assert all(gap >= 0.599 for gap in gaps)
        assert any(gap >= 7 for gap in gaps)
        assert [symbol for _, symbol in bench.exchange.asked[:2]] == [
            "AUSDT",
            "BUSDT",
        ]  # none waits for the other
        assert "429" in bench.books.last_error

    v.run(work())


def test_a_snapshot_that_is_too_old_is_asked_for_again():
    async def work():
        bench = Bench()
        old = json.dumps({"lastUpdateId": 50, "bids": [["10.0", "50.0"]], "asks": [["11.0", "1.0"]]})
        bench.exchange.failures = [Answer(200, old.encode())]
        bench.say("AUSDT")
        await asyncio.sleep(0.2)
        assert not bench.is_live("AUSDT")
        await asyncio.sleep(5)
        assert bench.is_live("AUSDT")
        assert len(bench.exchange.asked) == 2

    v.run(work())


def test_two_streams_feed_one_book():
    async def work():
        bench = Bench()
        await bench.whole()
        other = bench.begin_lane()
        for step in range(20):
            frame = bench.exchange.event("AUSDT")
            first, second = (bench.lane, other) if step % 3 else (other, bench.lane)
            first(frame, bench.clock.monotonic_ns())
            second(frame, bench.clock.monotonic_ns())
        assert bench.books.duplicates == 20
        bench.lane.close()
        assert bench.is_live("AUSDT")
        bench.say("AUSDT", lane=other)
        assert bench.size(1) == bench.exchange.ids["AUSDT"]
        assert bench.books.resyncs == 0
        other.close()
        assert not bench.is_live("AUSDT")

    v.run(work())


def test_after_a_loss_the_book_is_made_anew():
    async def work():
        bench = Bench()
        await bench.whole()
        bench.lane.close()
        assert not bench.is_live("AUSDT")
        late = bench.slots.count[1]
        bench.say("AUSDT")
        assert bench.slots.count[1] == late
        bench.lane = bench.begin_lane()
        await bench.whole()
        assert bench.size(1) == bench.exchange.ids["AUSDT"]

    v.run(work())


def test_a_bad_event_is_counted_and_its_gap_closed():
    async def work():
        bench = Bench()
        await bench.whole()
        frame = bench.exchange.event("AUSDT").replace(b'"10.0"', b'"nan"')
        bench.lane(frame, 1)
        assert bench.books.bad == 1
        assert bench.is_live("AUSDT")
        bench.say("AUSDT")
        assert not bench.is_live("AUSDT")
        await asyncio.sleep(3)
        assert bench.is_live("AUSDT")
        bench.lane(b'{"result":null,"id":1}', 1)
        assert len(bench.controls) == 1
        bench.books.remove(["AUSDT"])
        bench.say("AUSDT")
        assert not bench.is_live("AUSDT")

    v.run(work())
