"""What risk wants of a shard: asked for when its word changes, and nothing else."""

import asyncio

import pytest

from arbshard.execution.ports import Fenced
from arbshard.wire.messages import Instructed, Welcome
from arbshard.worker.standing_orders import StandingOrders


class Page:
    def __init__(self):
        self.number = 0

    def serial(self, word, now_ns):
        assert word == "instructions"
        return self.number


class Risk:
    def __init__(self):
        self.asked = 0
        self.answer = Instructed(0, False, ())
        self.go_on = asyncio.Event()

    async def instructions(self):
        self.asked += 1
        await self.go_on.wait()
        self.go_on.clear()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
async def room():
    risk, page, failures = Risk(), Page(), []
    orders = StandingOrders(risk, page, failures.append)
    orders.risk, orders.page, orders.failures = risk, page, failures
    yield orders
    await orders.close()


async def turn():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_begins_with_what_the_welcome_says(room):
    room.apply(
        Welcome(1, (), (), (), (), halted=True, closing=(("BTC", "manual"),), serial=7, apart=("SOL",))
    )
    assert room.halted
    assert room.apart == {"SOL"}
    assert room.closing == {"BTC": "manual"}
    room.page.number = 7
    room.poll(0)
    await turn()
    assert room.risk.asked == 0


async def test_asks_once_for_each_news(room):
    room.page.number = 1
    room.poll(0)
    room.poll(0)
    await turn()
    room.poll(0)
    assert room.risk.asked == 1
    room.risk.answer = Instructed(1, True, (("ETH", "kill_switch"),), ("BTC", "SOL"))
    room.risk.go_on.set()
    await turn()
    assert (room.halted, room.closing) == (True, {"ETH": "kill_switch"})
    assert room.apart == {"BTC", "SOL"}
    room.poll(0)
    await turn()
    assert room.risk.asked == 1


async def test_news_that_came_while_it_asked_is_asked_for_again(room):
    room.page.number = 1
    room.poll(0)
    await turn()
    room.page.number = 2
    room.risk.answer = Instructed(1, True, ())
    room.risk.go_on.set()
    await turn()
    room.poll(0)
    await turn()
    assert room.risk.asked == 2


async def test_without_a_page_nothing_changes(room):
    room.apply(Welcome(1, (), (), (), (), halted=True, serial=3))
    room.page.number = None
    room.poll(0)
    await turn()
    assert room.risk.asked == 0
    assert room.halted


async def test_a_fence_is_told(room):
    room.page.number = 1
    room.risk.answer = Fenced("newer")
    room.risk.go_on.set()
    room.poll(0)
    await turn()
    assert [type(error) for error in room.failures] == [Fenced]


async def test_close_gives_the_question_up(room):
    room.page.number = 1
    room.poll(0)
    await turn()
    await room.close()
    assert room.failures == []
