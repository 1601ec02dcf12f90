"""Statements: what is in them, when they are settled, and what happens when the venue is silent."""

import asyncio
from decimal import Decimal

import pytest

from arbshard.accounts.fees import FeeReader
from arbshard.accounts.poller import Poller, Sight
from arbshard.accounts.wallets import WalletReader
from arbshard.config import VenuesConfig
from arbshard.venues.binance.account import BinanceAccount
from arbshard.venues.upbit.account import UpbitAccount
from arbshard.venues.upbit.rules import UpbitRules

UPBIT = VenuesConfig().upbit


def money(free="1000", locked="0"):
    return [{"currency": "KRW", "balance": free, "locked": locked}]


class World:
    """A poller of Upbit, with all around it."""

    def __init__(self, script, clock, counted, venue=None, every_s=0.01, **answers):
        self.asker = script(**answers)
        self.sight = Sight(is_up=True, changes=0)
        self.sent = []
        self.ahead = []
        self.counts = counted.counts
        self.came = asyncio.Event()
        venue = venue or UpbitAccount()
        self.poller = Poller(
            venue,
            self.asker,
            lambda: self.sight,
            self.send,
            self.ahead.append,
            counted,
            clock,
            every_s,
            WalletReader(venue, self.asker, {}, counted, clock, 0.0),
            FeeReader(venue.name, UpbitRules(), self.asker, {}, UPBIT, counted, clock),
        )

    async def send(self, statement):
        self.sent.append(statement)
        self.came.set()


@pytest.fixture
def world(script, clock, counted):
    return lambda **answers: World(script, clock, counted, **answers)


async def test_a_quiet_account_is_settled(world, clock):
    one = world(accounts=money("1000.5"))
    statement = await one.poller.statement()
    assert statement.settled
    assert statement.venue == "upbit"
    assert statement.at_ms == clock.wall_ms()
    assert statement.balances == (("KRW", Decimal("1000.5"), Decimal(0)),)
    assert statement.open_orders == ()
    assert one.asker.paths == ["accounts", "accounts"], "nothing is locked, so no order is open"


async def test_it_is_dated_from_before_the_reading(world, clock):
    one = world(accounts=money())
    began_ms = clock.wall_ms()
    one.asker.before = lambda path: clock.advance_ms(50)
    assert (await one.poller.statement()).at_ms == began_ms


async def test_open_orders_are_stated_as_the_venue_names_them(world):
    row = {
        "market": "KRW-BTC", "uuid": "u", "side": "bid", "state": "wait", "executed_volume": "0.1",
        "remaining_volume": "0.2", "identifier": "ab12c-x",
    }  # fmt: skip
    one = world(accounts=money("1", "5"), orders_open=[row])
    statement = await one.poller.statement()
    assert statement.open_orders == (("ab12c-x", "KRW-BTC", Decimal("0.2")),)
    assert statement.settled


async def test_balances_that_moved_between_the_readings_are_not_settled(world):
    one = world(accounts=None)
    one.asker.then("accounts", money("1000"), money("999"))
    statement = await one.poller.statement()
    assert not statement.settled
    assert statement.balances[0][1] == Decimal(999)


@pytest.mark.parametrize(
    "later", [Sight(is_up=True, changes=1), Sight(is_up=False, changes=0)], ids=["a change", "a loss"]
)
async def test_what_the_stream_tells_between_the_readings_unsettles(world, later):
    one = world(accounts=money())

    def happen(path):
        if len(one.asker.asked) == 2:
            one.sight = later

    one.asker.before = happen
    assert not (await one.poller.statement()).settled


async def test_without_a_stream_nothing_is_settled(world):
    one = world(accounts=money())
    one.sight = Sight(is_up=False, changes=0)
    assert not (await one.poller.statement()).settled


async def test_the_clock_of_the_venue_is_measured(world, clock, script, counted):
    one = world(venue=BinanceAccount(), time={"serverTime": clock.wall_ms() + 4321})
    await one.poller.measure_clock()
    assert one.ahead == [4321]
    assert one.counts["skew_ms"] == 4321


async def test_a_clock_that_tells_seconds_is_not_taken_at_its_word_for_less(world, clock):
    one = world(accounts=money())
    told_ms = 1_795_237_200_500
    clock.advance_ms(told_ms + 300 - clock.wall_ms())
    await one.poller.measure_clock()
    assert one.counts["skew_ms"] == -300
    assert one.ahead == [0]
    clock.advance_ms(5000)
    await one.poller.measure_clock()
    assert one.ahead == [0, -5300]


async def test_silence_is_counted_and_waited_out(world, lost):
    one = world(accounts=lost)
    task = asyncio.create_task(one.poller.run())
    try:
        async with asyncio.timeout(5):
            while one.counts.get("poll_errors", 0) < 2:
                await asyncio.sleep(0.005)
            assert one.sent == []
            one.asker.then("accounts", money())
            await one.came.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert one.sent[0].settled
    assert one.counts["statements"] >= 1
    assert one.counts["polls"] == one.counts["poll_errors"] + one.counts["statements"]


async def test_activity_is_followed_by_a_statement_soon(script, clock, counted):
    one = World(script, clock, counted, every_s=2.0, accounts=money())
    task = asyncio.create_task(one.poller.run())
    try:
        async with asyncio.timeout(1.9):
            await one.came.wait()
            one.came.clear()
            one.poller.nudge()
            await one.came.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(one.sent) == 2


async def test_an_order_in_an_unknown_state_does_not_hide_the_balances(world):
    row = {
        "market": "KRW-BTC", "uuid": "u", "side": "bid", "state": "a new word", "executed_volume": "0",
        "remaining_volume": "0.1", "identifier": "x",
    }  # fmt: skip
    one = world(accounts=money(locked="5"), orders_open=[row])
    statement = await one.poller.statement()
    assert statement.open_orders == (("x", "KRW-BTC", Decimal("0.1")),)
    assert one.counts["unknown_words"] == 1
