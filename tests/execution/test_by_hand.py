"""The executor as a library user drives it: trades of the engine, and trades by hand."""

from decimal import Decimal
from itertools import count
from random import Random

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.errors import VenueUnavailable
from arbshard.execution.executor import PaperExecutor
from arbshard.execution.paper_port import LateFills
from arbshard.model.intent import FxQuote
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.holdings import Trade
from arbshard.risk.portfolio.settlement import settle
from arbshard.wire.messages import Settled

QUANTITY = Decimal("0.004")


class SettlingRisk:
    """Approves everything and settles as risk does, from the fills that were reported."""

    def __init__(self, make, fake):
        self.make, self.fake = make, fake
        self.trades, self.positions = {}, {}

    async def submit(self, intent):
        self.trades[intent.intent_id] = Trade.begin(intent, ())
        return await self.fake.submit(intent)

    async def extend(self, intent_id, order):
        raise AssertionError("nothing to hedge here")

    async def report(self, intent_id, result):
        self.trades[intent_id] = self.trades[intent_id].reported(result, None)

    async def conclude(self, intent_id, mark, fx, *, done):
        trade = self.trades[intent_id]
        before = self.positions.get(trade.intent.position_id)
        position = settle(trade, before, mark, fx, done=done, now_ms=1)
        self.positions[position.position_id] = position
        return Settled(intent_id, position, (), Decimal("0.000003"))


@pytest.fixture
def settling(make, risk):
    return SettlingRisk(make, risk)


@pytest.fixture
def executor(make, port, books, settling, observer, clock):
    books.rate = FxQuote(Decimal(1390), Decimal(1391))
    late_fills = LateFills(settling, Random(1))
    return PaperExecutor(make.pair, port, late_fills, books, Config().execution, clock, observer)


@pytest.fixture
def next_id():
    numbers = count(1)
    return lambda: f"s1-0-1-{next(numbers)}"


@pytest.mark.parametrize(("method", "direction"), [("execute_buy", "buy_home"), ("execute_sell", "buy_away")])
async def test_in_by_hand_and_out_by_hand(executor, next_id, method, direction):
    opened = await getattr(executor, method)(QUANTITY, next_id)
    assert opened.settled.position.direction == direction
    (position,) = executor.get_positions()
    assert position.long_base == pytest.approx(QUANTITY, rel=Decimal("0.002"))
    assert position.short_base > 0
    assert executor.get_pnl() == 0
    closed = await executor.close_position(position.position_id, next_id)
    assert closed.settled.position.state == "CLOSED"
    assert closed.settled.position.reason == "manual"
    assert executor.get_positions() == ()
    assert executor.get_pnl() == closed.settled.position.pnl
    assert executor.get_pnl() < 0  # in and out at the same books costs four fees and two spreads


async def test_two_trades_add_up(executor, next_id):
    results = []
    for _ in range(2):
        opened = await executor.execute_buy(QUANTITY, next_id)
        closed = await executor.close_position(opened.settled.position.position_id, next_id)
        results.append(closed.settled.position.pnl)
    assert executor.get_pnl() == sum(results)


async def test_less_than_a_lot_is_refused_and_nothing_sent(executor, next_id, calls):
    outcome = await executor.execute_buy(Decimal("0.000001"), next_id)
    assert outcome.refused.reason is Refusal.MALFORMED
    assert calls == []


async def test_no_books_no_trade(executor, next_id, books, make, calls):
    books.books[make.away.market] = None
    with pytest.raises(VenueUnavailable, match="BTC"):
        await executor.execute_sell(QUANTITY, next_id)
    books.books[make.away.market] = make.away_book()
    books.tradable_rate = None
    with pytest.raises(VenueUnavailable, match="FX"):
        await executor.execute_buy(QUANTITY, next_id)
    assert calls == []


async def test_an_old_fx_rate_will_do_to_close_a_position_and_none_will_not(executor, next_id, books):
    opened = await executor.execute_buy(QUANTITY, next_id)
    position_id = opened.settled.position.position_id
    books.rate, books.tradable_rate = None, None
    with pytest.raises(VenueUnavailable, match="FX"):
        await executor.close_position(position_id, next_id)
    books.rate = FxQuote(Decimal(1390), Decimal(1391), 3_600_000)
    closed = await executor.close_position(position_id, next_id)
    assert closed.settled.position.state == "CLOSED"


async def test_a_position_of_before_can_be_closed(executor, next_id, make, settling):
    old = replace(make.position("buy_home", QUANTITY), position_id="s1-0-1-0")
    settling.positions["s1-0-1-0"] = old
    executor.take_over([old])
    assert executor.get_positions() == (old,)
    await executor.close_position("s1-0-1-0", next_id)
    assert executor.get_positions() == ()
    with pytest.raises(KeyError):
        await executor.close_position("s1-0-1-0", next_id)
