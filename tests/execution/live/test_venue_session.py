"""A line says what came of a call, whatever the venue does."""

import asyncio

import pytest

from arbshard.venues.base.client import LogonLost
from arbshard.venues.registry import get_adapter

ORDERS = get_adapter("binance").orders


async def test_answers_are_understood(open_room, said, ask):
    room = open_room()
    room.binance.says(
        "order",
        said.answer(said.binance()),
        said.lost,
        said.unsent,
        said.answer({"code": -2010, "msg": "no"}, 400),
    )
    line, request = room.lines["binance"], ORDERS.place(ask, "n")
    assert [(await line.call(request)).meaning for _ in range(4)] == [
        "accepted", "unknown", "not_accepted", "rejected",
    ]  # fmt: skip


async def test_clock_is_read_while_warm(open_room, said, clock):
    room = open_room(clock)
    room.binance.says("time", said.answer({"serverTime": clock.wall_ms() + 3000}))
    await room.lines["binance"].warm(1)
    assert room.binance.clock_ms == [3000]
    assert room.lines["binance"].skew_ms == 3000
    assert room.binance.calls == [("GET", "time", {}, False)]


async def test_wrong_clock_is_put_right_at_once(open_room, said, ask, clock):
    room = open_room(clock)
    line = room.lines["binance"]
    keeping = asyncio.ensure_future(line.keep_warm(1, 3600))
    room.binance.says("order", said.answer({"code": -1021, "msg": "outside"}, 400))
    room.binance.says("time", said.answer({"serverTime": clock.wall_ms() - 9000}))
    assert (await line.call(ORDERS.place(ask, "n"))).meaning == "not_accepted"
    for _ in range(20):
        await asyncio.sleep(0)
    assert room.binance.clock_ms == [-9000]
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_failures_are_counted(open_room, said):
    room = open_room()
    room.upbit.says("orderbook", said.unsent, said.answer([]), said.answer(b"", 500))
    for _ in range(3):
        await room.lines["upbit"].warm(1)
    assert room.counts == {"warm_failed": 2}
    assert room.upbit.calls[0][3] is False


@pytest.mark.parametrize(("sent", "meaning"), [(True, "unknown"), (False, "not_accepted")])
async def test_a_lost_logon_is_counted(open_room, said, ask, sent, meaning):
    room = open_room()
    room.binance.says("order", LogonLost("binance: the logon has ended", sent=sent))
    assert (await room.lines["binance"].call(ORDERS.place(ask, "n"))).meaning == meaning
    assert room.counts == {"logons_lost": 1}


async def test_time_that_cannot_be_read_changes_nothing(open_room, said):
    room = open_room()
    room.binance.says("time", said.answer(b"<html>"))
    await room.lines["binance"].warm(1)
    assert room.binance.clock_ms == []


async def test_busy_line_needs_no_warming(open_room, clock):
    room = open_room(clock)
    assert room.gate.spare({"binance_weight": 4200})
    await room.lines["binance"].warm(1)
    assert room.binance.calls == []


async def test_without_room_in_the_budget_nothing_is_connected_at_the_start(open_room, clock):
    """The first order opens its connection; a start that insisted would take the weight of orders under way."""
    room = open_room(clock, budget_wait_s=0.01)
    assert await room.gate.admit({"binance_weight": 6000})
    await room.lines["binance"].connect(2)
    assert room.binance.calls == []
    assert room.counts["budget_refused"] == 1
