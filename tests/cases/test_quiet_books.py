"""A coin whose book is quiet can be left: frames every four seconds, on real feeds, slots, shard and engine.

The venues are scripted and time is virtual; everything between a frame and a decision is the product's own.
"""

import asyncio
import json

import pytest
from msgspec.structs import replace

from arbshard.config import Config, VenuesConfig
from arbshard.engine.engine import ArbitrageEngine, Exit
from arbshard.errors import VenueUnavailable
from arbshard.model.refusal import Refusal
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.doorbell import ShardNotifier, ShardWaiter
from arbshard.venues.base.client import Answer
from arbshard.venues.registry import codecs, get_venue
from arbshard.worker.feed import BookView, ShardFeed
from supervisor.feeds.venue import VenueFeed
from support import virtual_time as v

EVERY_S = 4.0
LOOK_S = 0.1
HELD_MS = 20_000
HOME = 145_999_000.0
"""Beside an away price of 105,000 USDT: no gap."""


class Bus:
    """Nobody subscribes to anything."""

    def on_subscriptions(self, callback):
        pass

    def wanted(self, topic):
        return False

    def publish(self, topic, payload):
        return False


class Markets:
    """What the venues truly have, and how their streams and REST tell it."""

    def __init__(self):
        self.mids = {"KRW-BTC": HOME, "KRW-USDT": 1390.5, "BTCUSDT": 105_000.0}
        self.numbers = dict.fromkeys(self.mids, 1_795_000_000_000)
        self.rest_works = True
        self.asked = 0
        self.streams = {}

    def move(self, symbol, mid):
        self.mids[symbol] = mid
        self.numbers[symbol] += 1

    def upbit(self, symbol):
        mid, tick = self.mids[symbol], 0.5 if symbol == "KRW-USDT" else 1000.0
        sides = (("ask_price", 1), ("bid_price", -1))
        sizes = {"ask_size": 500.0, "bid_size": 500.0}
        units = [{**{side: mid + sign * tick * n for side, sign in sides}, **sizes} for n in range(1, 6)]
        return {"timestamp": self.numbers[symbol], "orderbook_units": units}

    def binance(self, symbol):
        mid = self.mids[symbol]
        bids, asks = ([[f"{mid + sign * n / 2:.2f}", "500.0"] for n in range(1, 6)] for sign in (-1, 1))
        return {"lastUpdateId": self.numbers[symbol], "bids": bids, "asks": asks}

    def say(self, symbol):
        if symbol == "BTCUSDT":
            frame = {"stream": "btcusdt@depth20@100ms", "data": self.binance(symbol)}
        else:
            frame = {"type": "orderbook", "code": symbol, **self.upbit(symbol), "level": 0}
        text = json.dumps(frame, separators=(",", ":"))
        self.streams["binance" if symbol == "BTCUSDT" else "upbit"].open_now[-1].say(text.encode())

    def tell_new(self, name, symbols):
        """Whoever subscribes is told the books as they are."""
        loop = asyncio.get_running_loop()

        def tell(stream, _):
            for symbol in symbols:
                loop.call_later(0.1, lambda one=symbol: stream.closed_s is None and self.say(one))

        self.streams[name].on_text = tell

    async def fetch(self, address):
        self.asked += 1
        await asyncio.sleep(0.2)
        if not self.rest_works:
            raise VenueUnavailable("no REST")
        if "depth" in address:
            return Answer(200, json.dumps(self.binance("BTCUSDT")).encode())
        symbols = address.partition("markets=")[2].partition("&")[0].split(",")
        return Answer(200, json.dumps([{"market": one, **self.upbit(one)} for one in symbols]).encode())


class Rig:
    """Both venues' feeds, and a shard that holds one position."""

    def __init__(self, folder, make, *, answers_pings, has_rest, is_confirmed):
        clock = self.clock = v.LoopClock()
        universe = Universe(make.fx_leg, (make.pair,), (("BTC",),))
        self.writer = BooksWriter.create(folder / "books", 3, epoch=1)
        self.reader = BooksReader.attach(folder / "books")
        self.notifier = ShardNotifier.create(folder, 0)
        self.waiter = ShardWaiter.attach(folder, 0)
        self.markets = Markets()
        self.alerts = []
        self.feeds = {}
        config = Config()
        for name in ("upbit", "binance"):
            host = self.markets.streams[name] = v.Host()
            host.answers_pings = answers_pings
            settings = replace(VenuesConfig().get(name), rest_url="https://venue" if has_rest else "")
            self.feeds[name] = VenueFeed(
                get_venue(name), settings, universe, self.writer, [self.notifier], Bus(), clock,
                opener=host.open, fetch=self.markets.fetch, alert=self.alerts.append,
            )  # fmt: skip
        legs = [make.fx_leg, make.home, make.away]
        self.shard = ShardFeed(self.reader, self.waiter, legs, codecs())
        confirmed = [self.shard.confirmed_ns] if is_confirmed else []  # without it: as before there were any
        self.engine = ArbitrageEngine([make.pair], make.fx_leg, config, *confirmed)
        self.state = self.engine.pairs["BTC"]
        self.books = BookView(self.shard, self.engine, make.fx_leg, config.data_quality, clock)
        self.make = make
        self.refusals = {}

    def hold(self):
        """A position is open: risk's note says so to the supervisor, its reply to the worker."""
        opened_ms = self.clock.wall_ms()
        self.engine.set_positions(
            self.state,
            [self.make.position("buy_home", opened_ms=opened_ms)],
            self.clock.monotonic_ns(),
            opened_ms,
        )
        for feed in self.feeds.values():
            feed.attend(frozenset((0, 1, 2)))

    def look(self):
        """What a worker does on its timer."""
        for slot in self.shard.changed():
            view = self.shard.read(slot)
            if view is not None:
                self.engine.observe(slot, view)
        trade = self.engine.evaluate(self.state, self.clock.monotonic_ns())
        if self.state.refusal is not None:
            self.refusals[self.state.refusal] = self.refusals.get(self.state.refusal, 0) + 1
        return trade

    async def until_exit(self, seconds):
        """The first exit and after how many seconds, looking ten times a second; (None, seconds) without one."""
        for number in range(round(seconds / LOOK_S)):
            trade = self.look()
            if trade is not None:
                return trade, number * LOOK_S
            await asyncio.sleep(LOOK_S)
        return None, seconds

    async def speak(self):
        """Each market every four seconds; the coin's two markets two seconds apart."""
        while True:
            for symbol in ("KRW-BTC", "KRW-USDT"):
                self.markets.say(symbol)
            await asyncio.sleep(EVERY_S / 2)
            self.markets.say("BTCUSDT")
            await asyncio.sleep(EVERY_S / 2)

    async def start(self):
        for feed in self.feeds.values():
            await feed.start()
        await asyncio.sleep(1)

    async def stop(self):
        for feed in self.feeds.values():
            feed.check()
            await feed.stop()
        for one in (self.waiter, self.notifier, self.reader, self.writer):
            one.close()


@pytest.fixture
def on(tmp_path, make):
    def begin(work, *, answers_pings=True, has_rest=True, is_confirmed=True):
        async def whole():
            rig = Rig(
                tmp_path, make, answers_pings=answers_pings, has_rest=has_rest, is_confirmed=is_confirmed
            )
            await rig.start()
            try:
                return await work(rig)
            finally:
                await rig.stop()

        return v.run(whole())

    return begin


def test_before_there_were_confirmations_no_rule_could_end_the_position(on):
    """The finding: in 20 minutes of a gap of -400 basis points there is no exit."""

    async def work(rig):
        rig.hold()
        rig.markets.move("KRW-BTC", HOME * 0.96)
        speaking = asyncio.ensure_future(rig.speak())
        trade, waited_s = await rig.until_exit(1200)
        speaking.cancel()
        assert (trade, waited_s) == (None, 1200)
        assert rig.refusals[Refusal.BOOK_STALE] >= 11_900

    on(work, is_confirmed=False)


@pytest.mark.parametrize("answers_pings", [True, False], ids=["pings are answered", "by REST alone"])
class TestExit:
    def test_stop_loss_comes_within_seconds(self, on, answers_pings):
        async def work(rig):
            rig.hold()
            speaking = asyncio.ensure_future(rig.speak())
            assert (await rig.until_exit(10))[0] is None
            rig.markets.move("KRW-BTC", HOME * 0.96)
            trade, waited_s = await rig.until_exit(1200)
            speaking.cancel()
            assert isinstance(trade, Exit)
            assert trade.reason == "stop_loss"
            assert waited_s <= EVERY_S + 3  # the frame that shows the gap comes within four seconds
            assert rig.alerts == []

        on(work, answers_pings=answers_pings)

    def test_max_hold_is_kept(self, on, answers_pings):
        async def work(rig):
            rig.hold()
            speaking = asyncio.ensure_future(rig.speak())
            trade, waited_s = await rig.until_exit(1200)
            speaking.cancel()
            assert isinstance(trade, Exit)
            assert trade.reason == "max_hold"
            assert HELD_MS / 1000 <= waited_s <= HELD_MS / 1000 + 3

        on(work, answers_pings=answers_pings)

    def test_a_market_without_any_change_can_be_left_for_minutes(self, on, answers_pings):
        """Both venues' books stand still, and their streams say nothing but what a new connection is told."""

        async def work(rig):
            for name, symbols in (("upbit", ("KRW-BTC", "KRW-USDT")), ("binance", ("BTCUSDT",))):
                rig.markets.tell_new(name, symbols)
            for symbol in rig.markets.mids:
                rig.markets.say(symbol)
            for feed in rig.feeds.values():
                feed.attend(frozenset((0, 1, 2)))
            await asyncio.sleep(120)
            rig.hold()
            usable = 0
            for _ in range(300):
                await asyncio.sleep(LOOK_S)
                rig.look()
                legs = (rig.make.home, rig.make.away)
                usable += all(rig.books.tradable(leg) is not None for leg in legs)
            assert usable >= 270
            trade, _ = await rig.until_exit(60)
            assert isinstance(trade, Exit)
            assert rig.alerts == []

        on(work, answers_pings=answers_pings)


def test_nothing_is_entered_on_quiet_books(on):
    """A gap that would pay for everything, books that are confirmed all the time, and not one entry."""

    async def work(rig):
        rig.hold()
        rig.engine.set_positions(rig.state, [], rig.clock.monotonic_ns(), rig.clock.wall_ms())
        rig.markets.move("KRW-BTC", HOME * 0.97)
        speaking = asyncio.ensure_future(rig.speak())
        assert (await rig.until_exit(300))[0] is None
        speaking.cancel()
        assert set(rig.refusals) <= {Refusal.BOOK_STALE, Refusal.LEG_SKEW, Refusal.BOOK_MISSING}

    on(work)


@pytest.mark.parametrize("has_rest", [True, False], ids=["REST does not answer", "there is no REST"])
def test_a_frozen_book_is_not_traded_when_nobody_confirms_it(on, has_rest):
    """One market stops without a word, and its connection lives: ten seconds and no longer."""

    async def work(rig):
        rig.markets.rest_works = False
        rig.hold()
        for symbol in rig.markets.mids:
            rig.markets.say(symbol)
        began_ns = rig.clock.monotonic_ns()
        last_s = 0.0
        for _ in range(600):
            await asyncio.sleep(LOOK_S)
            rig.markets.say("KRW-USDT")
            rig.markets.say("BTCUSDT")
            rig.look()
            if rig.books.tradable(rig.make.home) is not None:
                last_s = (rig.clock.monotonic_ns() - began_ns) / 1e9
        assert 9.0 <= last_s <= 10.0
        assert rig.state.refusal is Refusal.BOOK_STALE

    on(work, has_rest=has_rest)


def test_a_frozen_book_is_left_at_the_price_that_rest_shows(on):
    """The same with REST: the stream is found dead within seconds, and the exit is decided on the true book."""

    async def work(rig):
        rig.hold()
        for symbol in rig.markets.mids:
            rig.markets.say(symbol)
        rig.look()
        rig.markets.move("KRW-BTC", HOME * 0.96)  # and the stream does not tell
        began_ns = rig.clock.monotonic_ns()
        for _ in range(200):
            await asyncio.sleep(LOOK_S)
            rig.markets.say("KRW-USDT")
            rig.markets.say("BTCUSDT")
            trade = rig.look()
            if trade is not None:
                break
        assert isinstance(trade, Exit)
        assert (trade.reason, rig.state.home.top.best_bid) == ("stop_loss", HOME * 0.96 - 1000)
        assert rig.clock.monotonic_ns() - began_ns <= 6e9
        await asyncio.sleep(3)
        note = rig.feeds["upbit"].report()
        assert (note.dead, rig.feeds["binance"].report().dead) == (1, 0)
        assert len(rig.alerts) == 1
        assert "KRW-BTC has stopped" in rig.alerts[0]

    on(work)
