"""The exchange that outlives the workers: what it records, what it refuses, and what it tells late."""

import asyncio
from decimal import Decimal
from random import Random

import pytest

from arbshard.config import PaperConfig
from arbshard.execution.paper_port import LateFills
from arbshard.model.order import Order, OrderResult
from arbshard.virtual.clock import VirtualClock
from arbshard.virtual.exchange_port import ExchangePort
from arbshard.virtual.executions import Execution
from arbshard.virtual.loop import VirtualLoop
from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.virtual.unkind import OrderRefusal
from support.paper import KIND_PAPER

KIND = PaperConfig(**KIND_PAPER | {"latency_ms": 1.0, "depth_share": 1.0})


class Account:
    def __init__(self) -> None:
        self.is_rich = True
        self.executions: dict[str, Execution] = {}

    def executed(self, fill_id: str, execution: Execution) -> None:
        self.executions[fill_id] = execution

    def has_coins(self, order: Order) -> bool:
        return self.is_rich


class Books:
    """Every order meets a book of two levels."""

    def __init__(self, make) -> None:
        self.book = make.book(
            make.home, [(140_001_000.0, 0.01), (140_000_000.0, 0.01)], [(141_000_000.0, 1.0)]
        )
        self.asked = 0

    def tradable(self, leg):
        self.asked += 1
        return self.book


class Risk:
    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    async def report(self, intent_id: str, result: OrderResult) -> None:
        self.said.append(("report", intent_id, result.state, len(result.fills)))

    async def conclude(self, intent_id: str, mark, fx, *, done: bool):
        self.said.append(("conclude", intent_id))


class Room:
    def __init__(self, make) -> None:
        self.loop = VirtualLoop()
        self.account, self.books, self.risk = Account(), Books(make), Risk()
        self.network = NetworkConditions(Random(1))
        self.news = LateFills(self.risk, Random(1))
        self.holder = self.loop.new_process("worker-0.1")
        self.refusal: OrderRefusal | None = None
        self.port = ExchangePort(
            make.pair, KIND, self.books, VirtualClock(self.loop), self.news, self.holder, self.network, Random(1),
            self.account, lambda _: self.refusal,
        )  # fmt: skip
        self.order = Order("s1-0-1-1-h0", make.home.market, "sell", Decimal("0.02"), Decimal(140_000_000))


@pytest.fixture
def room(make):
    room = Room(make)
    yield room
    room.loop.finish()


def test_what_is_executed_is_recorded_whatever_is_told(room) -> None:
    result = room.loop.run_until_complete(room.port.send(room.order))
    assert (result.state, len(result.fills)) == ("FILLED", 2)
    assert [one.quantity for one in room.account.executions.values()] == [Decimal("0.01")] * 2
    assert {one.holder for one in room.account.executions.values()} == {str(room.holder.pid)}
    assert not any(one.is_late for one in room.account.executions.values())
    assert room.risk.said == []


def test_the_last_execution_is_told_after_the_orders_end_and_before_the_intents(room) -> None:
    room.network.late_share = 1.0

    async def trade() -> OrderResult:
        result = await room.port.send(room.order)
        await room.news.report("s1-0-1-1", result)
        await room.news.conclude("s1-0-1-1", Decimal(1), None, done=True)
        return result

    result = room.loop.run_until_complete(trade())
    assert (result.state, len(result.fills)) == ("EXPIRED", 1)
    assert [one.is_late for one in room.account.executions.values()] == [False, True]
    assert room.risk.said == [
        ("report", "s1-0-1-1", "EXPIRED", 1),
        ("report", "s1-0-1-1", "EXPIRED", 2),
        ("conclude", "s1-0-1-1"),
    ]


def test_another_intent_is_concluded_without_waiting(room) -> None:
    room.network.late_share = 1.0

    async def trade() -> None:
        await room.port.send(room.order)
        await room.news.conclude("s1-0-1-2", Decimal(1), None, done=True)
        assert room.risk.said == [("conclude", "s1-0-1-2")]
        await asyncio.sleep(1)

    room.loop.run_until_complete(trade())
    assert room.risk.said[1:] == [("report", "s1-0-1-1", "EXPIRED", 2)]


def test_coins_that_the_account_has_not_are_not_sold(room) -> None:
    room.account.is_rich = False
    result = room.loop.run_until_complete(room.port.send(room.order))
    assert (result.state, result.fault) == ("REJECTED", "funds")
    assert not room.account.executions


def test_what_the_exchange_refuses_is_not_sent(room: Room) -> None:
    room.refusal = OrderRefusal("NOT_ACCEPTED", "venue", "no_authorization_ip")
    result = room.loop.run_until_complete(room.port.send(room.order))
    assert (result.state, result.fault, result.detail) == ("NOT_ACCEPTED", "venue", "no_authorization_ip")
    assert not room.books.asked
