"""A recorded world shows what was recorded, less what customers took; it keeps the pace, and its losses happen."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.clock import ManualClock
from arbshard.config.sim import MarketStateFault, SimPermissions
from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.matching import Matcher
from arbshard.exchanges.accounts.order import SimOrder, Ticket
from arbshard.exchanges.accounts.wallet import Wallet
from arbshard.exchanges.binance.frames import BinanceFeed, depth
from arbshard.exchanges.binance.money import BinanceMoney
from arbshard.exchanges.binance.statistics import last_trade
from arbshard.exchanges.counters import Counters
from arbshard.exchanges.faults.conditions import Conditions
from arbshard.exchanges.hub import Hub
from arbshard.exchanges.loop import run_world
from arbshard.exchanges.market import MarketState, RuleFactors, SimListing
from arbshard.exchanges.recorded import (
    REFILL_NS,
    RecordedBookEvent,
    RecordedEvent,
    RecordedListing,
    RecordedLoss,
    RecordedMarket,
    RecordedState,
    RecordedTrade,
    RecordedWorld,
    ReplayPace,
)
from arbshard.exchanges.session import Feed, SharedStream
from arbshard.exchanges.units import UNIT
from arbshard.exchanges.wsframe import WsFrame

NS = 1_000_000_000
AT = 1_795_000_000 * NS
LISTING = RecordedListing(
    "binance", SimListing("ABCUSDT", "ABC", "USDT", "Abc", "", UNIT // 100, UNIT // 1000), ((0, UNIT // 100),)
)
Levels = list[tuple[float, float]]


def units(levels: Levels) -> list[tuple[int, int]]:
    return [(round(price * UNIT), round(size * UNIT)) for price, size in levels]


def book(seconds: float, bids: Levels, asks: Levels, lag_ms: int = 0) -> RecordedBookEvent:
    return RecordedBookEvent(AT + int(seconds * NS), "binance", "ABCUSDT", units(bids), units(asks), lag_ms)


BIDS: Levels = [(99.99, 1.0), (99.98, 2.0)]
ASKS: Levels = [(100.01, 1.0), (100.02, 2.0), (100.03, 3.0)]
FIRST = book(0, BIDS, ASKS)


class Desk:
    """A customer of one recorded market."""

    def __init__(self) -> None:
        self.market = RecordedMarket(LISTING, FIRST)
        self.matcher = Matcher({"ABCUSDT": self.market}, BinanceMoney())
        money = {"USDT": Decimal(10_000), "ABC": Decimal(100)}
        self.account = TradingAccount("key", "secret", Wallet(money), SimPermissions())

    def buy(self, quantity: str, price: str, tif: str = "ioc") -> SimOrder:
        ticket = Ticket("ABCUSDT", "buy", "limit", tif, Decimal(price), Decimal(quantity))  # type: ignore[arg-type]
        order = self.matcher.place(self.account, ticket, 5)
        assert isinstance(order, SimOrder)
        return order

    def play(self, seconds: float, bids: Levels = BIDS, asks: Levels = ASKS) -> None:
        self.market.play_book(book(seconds, bids, asks), makes_trades=True)
        self.matcher.on_step("ABCUSDT", 5)

    def asks(self) -> Levels:
        side = self.market.book.asks
        return [
            (side.ladder.price(key) / UNIT, size / UNIT)
            for key, size in zip(side.keys, side.sizes, strict=True)
        ]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_what_was_taken_stays_taken_until_the_recording_shows_a_change_there(desk: Desk) -> None:
    assert desk.buy("1.5", "100.02").executed == Decimal("1.5")
    assert desk.asks() == [(100.02, 1.5), (100.03, 3.0)]
    desk.play(1)
    assert desk.asks() == [(100.02, 1.5), (100.03, 3.0)]
    assert desk.buy("1", "100.01").executed == 0
    desk.play(2, asks=[(100.01, 0.7), (100.02, 2.0), (100.03, 3.0)])
    assert desk.asks() == [(100.01, 0.7), (100.02, 1.5), (100.03, 3.0)]
    desk.play(3)  # the recorded size comes back: what was taken before is forgotten
    assert desk.asks() == [(100.01, 1.0), (100.02, 1.5), (100.03, 3.0)]


def test_what_was_taken_comes_back_after_a_stated_time(desk: Desk) -> None:
    desk.buy("1", "100.01")
    desk.play(REFILL_NS / NS - 0.1)
    assert desk.asks()[0] == (100.02, 2.0)
    desk.play(REFILL_NS / NS)
    assert desk.asks()[0] == (100.01, 1.0)


def test_takes_of_one_level_add_up(desk: Desk) -> None:
    for _ in range(2):
        assert desk.buy("0.4", "100.01").executed == Decimal("0.4")
        desk.play(1)
    assert desk.asks()[0] == (100.01, 0.2)
    assert desk.buy("0.4", "100.01").executed == Decimal("0.2")


def test_a_side_that_was_taken_whole_still_has_a_level(desk: Desk) -> None:
    assert desk.buy("6", "101").executed == 6
    assert desk.asks() == [(100.04, 3.0)]
    desk.play(1)
    assert desk.asks() == [(100.04, 3.0)]


def test_a_resting_order_fills_when_the_recorded_book_comes_to_it(desk: Desk) -> None:
    order = desk.buy("2", "99.99", "gtc")
    desk.play(1)
    assert order.is_open
    desk.play(2, bids=[(99.5, 1.0)], asks=[(99.9, 0.5), (100.0, 5.0)])
    assert order.executed == Decimal("0.5")
    assert desk.asks() == [(100.0, 5.0)]


def test_trades_are_made_of_the_books_where_none_were_recorded(desk: Desk) -> None:
    desk.market.open(1000)
    desk.play(1)
    assert desk.market.prints == ()
    desk.play(2, asks=[(100.02, 2.0)])
    assert [(one.price, one.size, one.taker_buys) for one in desk.market.prints] == [
        (round(100.01 * UNIT), UNIT, True)
    ]
    desk.market.record(2000)
    desk.play(2.5, bids=[(99.98, 2.0)], asks=[(100.02, 2.0)])
    assert desk.market.prints == (), "one per second at most"
    desk.play(3.5, bids=[(99.97, 2.0)], asks=[(100.02, 2.0)])
    assert [(one.size, one.taker_buys) for one in desk.market.prints] == [(2 * UNIT, False)]
    assert last_trade(desk.market, 9).price == round(100.01 * UNIT)


def test_what_customers_took_is_not_printed_as_a_trade_of_others(desk: Desk) -> None:
    desk.buy("1", "100.01")
    desk.play(2)
    assert desk.market.prints == ()


def test_recorded_trades_are_printed_and_leave_the_book_alone(desk: Desk) -> None:
    desk.market.open(1000)
    trade = RecordedTrade(AT + NS, "binance", "ABCUSDT", 100 * UNIT, UNIT // 2, taker_buys=False)
    before = depth(desk.market.book, 20)
    desk.market.play_trade(trade)
    desk.market.record(2000)
    assert depth(desk.market.book, 20) == before
    assert last_trade(desk.market, 9)[1:] == (2000, 100 * UNIT, UNIT // 2, False)


_PRICES = st.lists(st.integers(1, 12), min_size=1, max_size=8, unique=True)
_SIDES = st.tuples(_PRICES, _PRICES, st.integers(1, 3))


@given(st.lists(_SIDES, min_size=1, max_size=12), st.lists(st.integers(0, 40), max_size=6))
def test_snapshot_and_diffs_rebuild_the_book_whatever_is_recorded_and_taken(
    sides: list[tuple[list[int], list[int], int]], orders: list[int]
) -> None:
    desk = Desk()
    feed = BinanceFeed(desk.market, 1.0)
    stream = SharedStream("ABCUSDT", "diff", 0, slow=False, form="raw", name="abcusdt@depth@100ms")
    known = json.loads(depth(desk.market.book, 5000))
    bids, asks = dict(known["bids"]), dict(known["asks"])
    for number, (below, above, size) in enumerate(sides, 1):
        if number <= len(orders) and orders[number - 1]:
            desk.buy(str(orders[number - 1] / 10), "150")
        desk.play(
            number,
            bids=[(100 - one / 100, float(size)) for one in sorted(below)],
            asks=[(100 + one / 100, float(size)) for one in sorted(above)],
        )
        feed.on_step()
        for payload in feed.payloads(stream, number):
            event = json.loads(payload)
            for side, changes in ((bids, event["b"]), (asks, event["a"])):
                side.update(changes)
                for price in [price for price, amount in side.items() if not float(amount)]:
                    del side[price]
        feed.on_sent()
        shown = json.loads(depth(desk.market.book, 5000))
        assert (bids, asks) == (dict(shown["bids"]), dict(shown["asks"]))


def test_faults_act_on_recorded_books_too(desk: Desk) -> None:
    desk.market.quiet_s = 4.0
    desk.play(1, asks=[(100.05, 1.0)])
    assert not desk.market.moved
    desk.play(4, asks=[(100.06, 1.0)])
    assert desk.market.moved
    assert desk.asks() == [(100.06, 1.0)]
    desk.market.wrong_bps = 1000.0
    desk.market.show_wrong()
    assert desk.asks() == [(110.07, 1.0)]
    desk.market.show_right()
    assert desk.asks() == [(100.06, 1.0)]
    desk.market.change_rules(RuleFactors(tick=5))
    assert desk.market.tick_at(100 * UNIT) == UNIT // 20
    desk.market.state = "halt"
    desk.play(9)
    assert not desk.market.moved


class Client:
    def __init__(self) -> None:
        self.frames: list[dict[str, object]] = []

    def send(self, frame: WsFrame) -> None:
        self.frames.append(json.loads(frame.wire(0)[4:] if len(frame.wire(0)) > 129 else frame.wire(0)[2:]))


class Show:
    """A recorded world that is played on a clock of its own."""

    def __init__(self, events: list[RecordedEvent], pace: ReplayPace) -> None:
        def read() -> Iterator[RecordedEvent]:
            yield from events

        self.world = RecordedWorld([LISTING], {("binance", "ABCUSDT"): FIRST}, read, pace)
        self.clock, self.counters, self.client = ManualClock(), Counters(), Client()
        self.losses: list[RecordedLoss] = []
        self.world.on_loss = self.losses.append
        hub = Hub(binary=False)
        stream = SharedStream("ABCUSDT", "diff", 0, slow=False, form="raw", name="abcusdt@depth@100ms")
        hub.change(self.client, (), [stream])
        self.world.open(self.clock.wall_ms())
        feeds: dict[str, Feed] = {"ABCUSDT": BinanceFeed(self.world.binance["ABCUSDT"], 1.0)}
        self.task = asyncio.create_task(
            run_world(self.world, {"binance": feeds}, {"binance": hub}, self.clock, self.counters)
        )

    async def advance(self, milliseconds: float) -> int:
        """Return how many frames the client has. Events are 40 ms apart, so the loop wakes often enough."""
        self.clock.advance_ms(milliseconds)
        await asyncio.sleep(0.06)
        return len(self.client.frames)

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


STEP = 0.04
"""Seconds between two events."""


def three() -> list[RecordedEvent]:
    return [book(number * STEP, BIDS, [(100.02 + number / 100, 1.0)], lag_ms=40) for number in range(3)]


async def test_events_are_sent_at_the_pace_of_the_recording_with_the_venues_lag() -> None:
    show = Show(three(), ReplayPace(speed=2.0))
    assert await show.advance(0) == 1
    assert await show.advance(19) == 1
    assert await show.advance(1) == 2
    assert show.client.frames[-1]["E"] == show.clock.wall_ms() - 40
    assert not show.world.is_over
    assert await show.advance(20) == 3
    assert show.world.is_over
    assert (show.world.rounds, show.world.played, show.counters.skipped_sends) == (1, 3, 0)
    await show.end()


async def test_a_loop_begins_anew_and_a_hole_is_shortened() -> None:
    last = book(1000, BIDS, [(100.09, 1.0)])
    show = Show([*three(), last], ReplayPace(loops=True, hole_ns=NS // 20))
    assert await show.advance(0) == 1
    await show.advance(40)
    assert await show.advance(40) == 3
    assert await show.advance(49) == 3
    assert await show.advance(1) == 5, "the last event, and at the same time the first of the next round"
    assert (show.world.rounds, show.world.is_over) == (1, False)
    assert await show.advance(40) == 6
    await show.end()


async def test_after_a_standstill_nothing_is_left_out() -> None:
    show = Show(three(), ReplayPace())
    late_ns: list[int] = []
    show.world.on_late = late_ns.append
    await show.advance(0)
    assert await show.advance(60_000) == 2
    assert show.counters.time_jumps == 1
    assert await show.advance(40) == 3
    assert late_ns == [show.world.late_ns] == [60 * NS - 40_000_000]
    await show.end()


async def test_a_loss_happens_when_it_is_due() -> None:
    loss = RecordedLoss(AT + NS // 50, "binance", frozenset(("ABCUSDT",)), True, "closed with code 1001")
    show = Show([FIRST, loss, book(STEP, BIDS, [(100.02, 1.0)])], ReplayPace())
    await show.advance(0)
    await show.advance(19)
    assert show.losses == []
    await show.advance(1)
    assert show.losses == [loss]
    await show.end()


def state(seconds: float, now: MarketState, symbol: str = "ABCUSDT") -> RecordedState:
    return RecordedState(AT + int(seconds * NS), "binance", symbol, now)


async def test_a_market_comes_and_goes_when_it_did_and_in_each_round_again() -> None:
    first, second, third = three()
    events = [state(0, "delisted"), first, state(STEP, "trading"), second, state(2 * STEP, "break"), third]
    show = Show([*events, state(2 * STEP, "halt", symbol="OTHERUSDT")], ReplayPace(loops=True))
    market = show.world.binance["ABCUSDT"]
    assert market.state == "delisted"
    assert await show.advance(0) == 0
    assert await show.advance(40) == 1
    assert market.state == "trading"
    assert market.best_ask == round(100.03 * UNIT)
    assert await show.advance(40) == 1
    assert (show.world.rounds, show.world.unknown) == (1, 1)
    assert market.state == "delisted"
    await show.advance(40)
    assert market.state == "trading"
    await show.end()


def test_a_fault_hides_the_recorded_state_as_long_as_it_lasts() -> None:
    world = RecordedWorld(
        [LISTING], {("binance", "ABCUSDT"): FIRST}, lambda: iter([state(0, "cancel_only"), FIRST])
    )
    market, conditions = world.binance["ABCUSDT"], Conditions("binance", world)
    assert market.state == "cancel_only"
    conditions.set_states(MarketStateFault(market="ABC", state="halt"))
    market.change_usual_state("break")
    assert market.state == "halt"
    conditions.set_states(None)
    assert market.state == "break"
    market.change_usual_state("trading")
    assert market.state == "trading"


def test_the_time_of_the_recording_can_be_shown() -> None:
    world = RecordedWorld(
        [LISTING], {("binance", "ABCUSDT"): FIRST}, lambda: iter(three()), ReplayPace(speed=4.0)
    )
    assert world.time_at(77) == AT
    world.schedule(1000)
    assert world.time_at(1000 + NS) == AT + 4 * NS
