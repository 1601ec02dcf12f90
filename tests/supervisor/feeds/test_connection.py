"""A connection on virtual time: lost and begun again, renewed before its end, told of other symbols."""

import asyncio
import itertools
import json

import pytest
from msgspec.structs import replace

from arbshard.config import VenuesConfig
from arbshard.data.address_block import AddressBlock
from arbshard.data.stream import Target
from arbshard.venues.base.client import Answer
from arbshard.venues.base.market import ControlFrame, FrameKind, RateLimit
from arbshard.venues.registry import get_venue
from supervisor.feeds.connection import ConnectionState, FeedConnection
from supervisor.feeds.link import Dial
from supervisor.feeds.pacing import Bucket
from support import virtual_time as v


class Intake:
    """Frames are symbols; ``!`` begins a word of control, and ``?`` is a defect."""

    def __init__(self, on_control, log):
        self._on_control = on_control
        self._log = log
        self.frames = 0
        self.counts = {}
        self.closed = False
        log.append(self)

    def __call__(self, frame, received_ns):
        if self.closed:
            return
        self.frames += 1
        word = frame.decode()
        if word == "?":
            raise ZeroDivisionError("a defect of ours")
        if word.startswith("!"):
            self._on_control(ControlFrame(FrameKind(word[1:]), word))
        else:
            self.counts[word] += 1

    def attach(self, symbols):
        for symbol in symbols:
            self.counts.setdefault(symbol, 0)

    def detach(self, symbols):
        for symbol in symbols:
            self.counts.pop(symbol, None)

    def frames_received(self, symbol):
        return self.counts.get(symbol, 0)

    def close(self):
        self.closed = True


OFTEN = RateLimit(300, 300.0)


class Bench:
    def __init__(self, venue="binance", symbols=("BTCUSDT", "ETHUSDT"), connects=OFTEN, **settings):
        self.host = v.Host()
        self.intakes = []
        self.dial = Dial(
            venue=get_venue(venue),
            depth=15,
            target=Target("ws://nowhere", 20.0),
            clock=v.LoopClock(),
            opener=self.host.open,
            receiver="auto",
            connects=Bucket(connects),
            block=AddressBlock(venue, v.LoopClock()),
            intake=lambda on_control: Intake(on_control, self.intakes),
        )
        config = replace(VenuesConfig().get(venue), **settings)
        self.connection = FeedConnection(f"{venue}-1", self.dial, config, symbols, "t")
        self.task = asyncio.ensure_future(self.connection.run())

    def say(self, *words, stream=-1):
        for word in words:
            self.host.opened[stream].say(word.encode())


async def now_s():
    return asyncio.get_running_loop().time()


def test_the_first_try_is_at_once_and_the_others_wait():
    async def work():
        bench = Bench()
        await asyncio.sleep(30)  # it has held for a while
        bench.host.refuse = 5
        bench.host.opened[0].end()
        lost = await now_s()
        await asyncio.sleep(60)
        waits = [at - lost for at in bench.host.tries_s[1:]]
        assert len(waits) == 6
        assert waits[0] == 0.0
        gaps = [later - earlier for earlier, later in itertools.pairwise(waits)]
        assert all(0.125 * 2**n <= gap <= 0.25 * 2**n + 0.1 for n, gap in enumerate(gaps))
        assert bench.connection.state is ConnectionState.CONNECTED
        assert bench.connection.reconnects == 6
        return gaps

    assert v.run(work()) == v.run(work())  # jittered, and the same again


@pytest.mark.parametrize("what", ["open", "send"])
def test_what_hangs_is_given_up(what):
    async def work():
        bench = Bench()
        bench.host.refuse, bench.host.send_hangs = ("hang", False) if what == "open" else (0, True)
        await asyncio.sleep(20)
        assert len(bench.host.tries_s) >= 3
        assert "in time" in bench.connection.last_error
        assert bench.connection.state is not ConnectionState.CONNECTED
        bench.host.refuse, bench.host.send_hangs = 0, False
        await asyncio.sleep(30)
        assert bench.connection.state is ConnectionState.CONNECTED
        assert len(bench.host.open_now) == 1

    v.run(work())


def test_a_storm_stays_inside_the_venues_limit():
    async def work():
        limit = RateLimit(5, 1.0)
        first = Bench(connects=limit)
        rest = []
        for number in range(19):
            one = FeedConnection(
                f"binance-{number + 2}", first.dial, VenuesConfig().binance, ["BTCUSDT"], "t"
            )
            rest.append(asyncio.ensure_future(one.run()))
        await asyncio.sleep(20)
        assert len(first.host.open_now) == 20
        for stream in first.host.opened[:]:
            stream.end("the venue went away")
        await asyncio.sleep(30)
        assert len(first.host.open_now) == 20
        tries = first.host.tries_s
        for at in tries:
            assert len([other for other in tries if at <= other < at + limit.window_s - 1e-6]) <= limit.count

    v.run(work())


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (Answer(429, b"", {"retry-after": "40"}), 40),
        (Answer(418, b"", {"retry-after": "300"}), 300),
        (Answer(418, b"<html>"), 120),
        (Answer(429, b""), 1),
    ],
)
def test_nothing_is_opened_while_the_venue_refuses_this_address(answer, wait_s):
    """Each attempt during a ban makes it longer, and all connections of the venue have one address."""

    async def work():
        bench = Bench()
        others = [
            FeedConnection(f"binance-{n}", bench.dial, VenuesConfig().binance, ["X"], "t") for n in (2, 3)
        ]
        tasks = [asyncio.ensure_future(one.run()) for one in others]
        await asyncio.sleep(30)
        bench.host.refuse, bench.host.answer = 1, answer
        bench.host.opened[0].end()
        began = await now_s()
        await asyncio.sleep(0.1)
        for stream in bench.host.open_now:
            stream.end()
        await asyncio.sleep(wait_s - 0.5)
        assert bench.host.tries_s[3:] == [began]
        if wait_s > 1:
            assert f"this address is refused for {wait_s} s" in bench.connection.last_error
            assert bench.connection.state is ConnectionState.DOWN
        await asyncio.sleep(40)
        assert len(bench.host.open_now) == 3
        assert all(task.done() is False for task in tasks)

    v.run(work())


def test_what_waits_for_its_turn_heeds_a_refusal_that_came_meanwhile():
    async def work():
        limit = RateLimit(2, 10.0)
        bench = Bench(connects=limit)
        bench.host.refuse, bench.host.answer = 1, Answer(418, b"", {"retry-after": "60"})
        more = [
            FeedConnection(f"binance-{n}", bench.dial, VenuesConfig().binance, ["X"], "t") for n in (2, 3, 4)
        ]
        tasks = [asyncio.ensure_future(one.run()) for one in more]
        began = await now_s()
        await asyncio.sleep(59)
        assert bench.host.tries_s == [began]
        await asyncio.sleep(100)
        assert len(bench.host.open_now) == 1 + len(tasks)

    v.run(work())


def test_a_successor_is_not_opened_while_the_venue_refuses_this_address():
    async def work():
        bench = Bench(life_max_s=100.0, life_margin_s=20.0)
        await asyncio.sleep(30)
        bench.dial.block.learn(Answer(418, b"", {"retry-after": "60"}))
        await asyncio.sleep(59)
        assert len(bench.host.tries_s) == 1
        assert len(bench.host.open_now) == 1
        await asyncio.sleep(10)
        assert len(bench.host.tries_s) == 2

    v.run(work())


def test_a_successor_takes_over_when_all_has_come_on_it():
    async def work():
        bench = Bench()
        await asyncio.sleep(0.1)
        bench.say("BTCUSDT", "ETHUSDT")
        bench.connection.renew()
        await asyncio.sleep(0.1)
        assert len(bench.host.open_now) == 2
        assert bench.connection.state is ConnectionState.RENEWING
        bench.say("BTCUSDT")
        await asyncio.sleep(0.1)
        assert len(bench.host.open_now) == 2
        bench.say("ETHUSDT")
        await asyncio.sleep(0.1)
        assert bench.host.open_now == bench.host.opened[1:]
        assert bench.intakes[0].closed
        assert not bench.intakes[1].closed
        assert (bench.connection.planned, bench.connection.reconnects) == (1, 0)
        assert bench.connection.state is ConnectionState.CONNECTED

    v.run(work())


def test_quiet_markets_hold_a_renewal_up_for_a_while_only():
    async def work():
        bench = Bench()
        await asyncio.sleep(0.1)
        bench.connection.renew()
        await asyncio.sleep(0.1)
        bench.say("BTCUSDT")
        await asyncio.sleep(9)
        assert bench.connection.planned == 0
        await asyncio.sleep(2)
        assert bench.connection.planned == 1

    v.run(work())


def test_a_successor_that_fails_is_tried_again_while_the_old_goes_on():
    async def work():
        bench = Bench(life_max_s=100.0, life_margin_s=20.0)
        await asyncio.sleep(60)
        bench.host.refuse = 4
        await asyncio.sleep(25)
        assert bench.host.open_now[0] is bench.host.opened[0]
        assert len(bench.host.tries_s) == 1 + 4 + 1
        gaps = [b - a for a, b in zip(bench.host.tries_s[1:], bench.host.tries_s[2:], strict=False)]
        assert gaps[-1] > 0.4  # with growing pauses
        bench.say("BTCUSDT", "ETHUSDT")
        await asyncio.sleep(0.1)
        assert (bench.connection.planned, bench.connection.reconnects) == (1, 0)

    v.run(work())


def test_a_successor_that_is_refused_does_not_take_over():
    """An unknown market among many has Upbit refuse the whole request of a new connection."""

    async def work():
        bench = Bench()
        await asyncio.sleep(0.1)
        bench.say("BTCUSDT", "ETHUSDT")
        bench.connection.renew()
        await asyncio.sleep(0.1)
        bench.say("!error", stream=1)
        await asyncio.sleep(15)
        assert bench.host.open_now[0] is bench.host.opened[0], "what brings books is kept"
        assert not bench.intakes[0].closed
        assert (bench.connection.planned, bench.connection.reconnects) == (0, 0)
        assert bench.connection.refusals == 1
        assert len(bench.host.opened) > 2, "and it is tried again"

    v.run(work())


def test_a_successor_on_which_nothing_comes_is_given_up():
    async def work():
        bench = Bench()
        await asyncio.sleep(0.1)
        bench.say("BTCUSDT", "ETHUSDT")
        bench.connection.renew()
        tries = []
        for _ in range(120):
            await asyncio.sleep(1)
            bench.say("BTCUSDT", "ETHUSDT", stream=0)
            tries.append(len(bench.host.opened))
        assert bench.host.open_now[0] is bench.host.opened[0]
        assert (bench.connection.planned, bench.connection.reconnects) == (0, 0)
        assert bench.connection.last_error == "nothing came on a new connection"
        assert tries[5] == 2, "it is waited for"
        assert 5 <= tries[-1] <= 12, "and tried again, with growing pauses"

    v.run(work())


def test_the_old_one_dies_first():
    """The successor goes on; with what it has not brought yet, and counted as a loss."""

    async def work():
        bench = Bench()
        await asyncio.sleep(0.1)
        bench.connection.renew()
        await asyncio.sleep(0.1)
        bench.host.opened[0].end()
        await asyncio.sleep(0.1)
        assert bench.host.open_now == bench.host.opened[1:]
        assert (bench.connection.planned, bench.connection.reconnects) == (0, 1)
        assert len(bench.host.tries_s) == 2
        bench.host.opened[1].end()
        await asyncio.sleep(1)
        assert len(bench.host.open_now) == 1

    v.run(work())


def test_renewed_well_before_its_life_ends_each_time():
    async def work():
        bench = Bench()
        bench.host.on_text = lambda stream, _: [stream.say(word) for word in (b"BTCUSDT", b"ETHUSDT")]
        await asyncio.sleep(5 * 24 * 3600)
        opened = bench.host.tries_s
        lives = [b - a for a, b in itertools.pairwise(opened)]
        assert len(lives) == 5
        assert all(24 * 3600 - 900 <= life <= 24 * 3600 - 600 for life in lives)
        assert len(set(lives)) == 5
        assert bench.connection.reconnects == 0

    v.run(work())


def test_a_notice_renews_the_connection_it_came_on():
    async def work():
        bench = Bench()
        await asyncio.sleep(0.1)
        bench.say("!shutdown")
        await asyncio.sleep(0.1)
        assert len(bench.host.open_now) == 2
        bench.say("!shutdown")  # the successor's own server goes too: another one
        await asyncio.sleep(1)
        assert bench.host.opened[1].closed_s is not None
        assert len(bench.host.opened) == 3
        bench.say("BTCUSDT", "ETHUSDT")
        await asyncio.sleep(0.1)
        bench.say("!shutdown", stream=0)  # read from the old one's socket
        await asyncio.sleep(1)
        assert len(bench.host.opened) == 3
        assert (bench.connection.planned, bench.connection.reconnects) == (1, 0)

    v.run(work())


def test_a_defect_in_the_taker_ends_it():
    async def work():
        bench = Bench()
        await asyncio.sleep(0.1)
        bench.say("?")
        with pytest.raises(ZeroDivisionError):
            await bench.task
        assert bench.host.open_now == []

    v.run(work())


def test_ended_in_the_middle_of_a_renewal():
    async def work():
        bench = Bench()
        await asyncio.sleep(0.1)
        bench.connection.renew()
        await asyncio.sleep(0.1)
        bench.task.cancel()
        await asyncio.gather(bench.task, return_exceptions=True)
        assert bench.host.open_now == []
        assert all(intake.closed for intake in bench.intakes)

    v.run(work())


def test_changes_that_come_together_go_out_together_and_never_too_fast():
    async def work():
        bench = Bench()
        await asyncio.sleep(1)
        stream = bench.host.opened[0]
        for number in range(20):
            bench.connection.change([f"C{number}USDT"], ["ETHUSDT"] if number == 3 else [])
        await asyncio.sleep(0.1)
        for number in range(40):
            bench.connection.change([f"D{number}USDT"], [])
            await asyncio.sleep(0.06)
        await asyncio.sleep(5)
        asked = [json.loads(text) for _, text in stream.sent]
        assert [(one["method"], len(one["params"])) for one in asked[:3]] == [
            ("SUBSCRIBE", 2), ("UNSUBSCRIBE", 1), ("SUBSCRIBE", 20),
        ]  # fmt: skip
        assert sum(len(one["params"]) for one in asked[3:]) == 40
        times = [at for at, _ in stream.sent]
        assert all(later - earlier >= 0.249 for earlier, later in itertools.pairwise(times))
        assert bench.connection.reconnects == 0
        assert set(bench.intakes[0].counts) == set(bench.connection.symbols)
        assert "ETHUSDT" not in bench.connection.symbols

    v.run(work())


def test_what_changed_while_it_was_down_is_subscribed_on_the_new_stream():
    async def work():
        bench = Bench()
        await asyncio.sleep(0.1)
        bench.host.refuse = 3
        bench.host.opened[0].end()
        await asyncio.sleep(0.05)
        bench.connection.change(["SOLUSDT"], ["BTCUSDT"])
        await asyncio.sleep(10)
        (_, text), *_ = bench.host.opened[1].sent
        assert json.loads(text)["params"] == [
            "ethusdt@depth15@100ms".replace("15", "20"),
            "solusdt@depth20@100ms",
        ]

    v.run(work())


def test_a_refused_request_is_shown_and_made_again_with_growing_pauses():
    async def work():
        bench = Bench("upbit", ("KRW-BTC", "KRW-NONE"))
        bench.host.on_text = lambda stream, _: stream.say(b"!error")
        await asyncio.sleep(40)
        stream = bench.host.opened[0]
        times = [at for at, _ in stream.sent]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert len(bench.host.opened) == 1
        assert 4 <= len(gaps) <= 6
        assert gaps == sorted(gaps)
        assert bench.connection.refusals == len(times)
        assert "refused" in bench.connection.line(0)
        bench.host.on_text = None
        bench.say("KRW-BTC", "KRW-NONE")
        await asyncio.sleep(120)
        assert "refused" not in bench.connection.line(0)

    v.run(work())


def test_silence_is_cured_by_a_new_connection_with_growing_patience():
    async def work():
        bench = Bench(silence_s=2.0)
        await asyncio.sleep(0.1)
        for _ in range(240):
            await asyncio.sleep(0.5)
            bench.connection.judge_silence(bench.dial.clock.monotonic_ns())
        gaps = [b - a for a, b in zip(bench.host.tries_s, bench.host.tries_s[1:], strict=False)]
        assert 4 <= len(gaps) <= 6
        assert gaps[0] == pytest.approx(2.5, abs=1.0)
        assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(gaps))
        assert bench.connection.stalls == len(gaps)
        assert bench.connection.last_error == "connected, and nothing came"

    v.run(work())


class TestSignsOfLife:
    def test_a_frame_counts_from_the_look_before_it(self):
        """It may have come right after that look, and what the venue sent later may still be under way."""

        async def work():
            bench = Bench()
            await asyncio.sleep(1)
            looked_ns = []

            def look():
                looked_ns.append(bench.dial.clock.monotonic_ns())
                return bench.connection.alive_ns(looked_ns[-1])

            assert look() == 0
            await asyncio.sleep(0.2)
            assert look() == 0
            bench.say("BTCUSDT")
            await asyncio.sleep(0.2)
            assert look() == looked_ns[1]
            await asyncio.sleep(5)
            assert look() == looked_ns[1]
            bench.say("!status")  # any message will do
            assert look() == looked_ns[3]
            bench.host.opened[0].end()
            await asyncio.sleep(0.001)
            assert look() == 0  # another stream has brought nothing yet
            assert bench.connection.frames_received("BTCUSDT") == 0

        v.run(work())

    def test_the_answer_to_a_ping_counts_when_it_comes(self):
        async def work():
            bench = Bench()
            clock, connection = bench.dial.clock, bench.connection
            connection.ping(clock.monotonic_ns(), 0)  # not up yet
            await asyncio.sleep(1)
            stream = bench.host.opened[0]
            assert (stream.pings, connection.alive_ns(clock.monotonic_ns())) == (0, 0)
            for _ in range(10):
                connection.ping(clock.monotonic_ns(), 500_000_000)
                await asyncio.sleep(0.1)
            assert stream.pings == 2
            at_ns = clock.monotonic_ns()
            assert connection.alive_ns(at_ns) == at_ns - 500_000_000
            bench.host.answers_pings = False
            await asyncio.sleep(3)
            connection.ping(clock.monotonic_ns(), 0)
            await asyncio.sleep(0.1)
            assert connection.alive_ns(clock.monotonic_ns()) == at_ns - 500_000_000

        v.run(work())

    def test_a_ping_that_cannot_be_sent_ends_the_stream(self):
        async def work():
            bench = Bench()
            await asyncio.sleep(1)
            bench.host.send_hangs = True
            bench.connection.ping(bench.dial.clock.monotonic_ns(), 0)
            await asyncio.sleep(2)
            bench.host.send_hangs = False
            assert len(bench.host.opened) == 1
            await asyncio.sleep(4)
            assert len(bench.host.opened) == 2
            assert "a ping could not be sent in time" in bench.connection.last_error

        v.run(work())
