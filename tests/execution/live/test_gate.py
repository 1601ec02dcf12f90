"""When the budget runs short, exits go first and entries wait."""

import asyncio

ORDER = {"upbit_order": 1}


async def test_entries_leave_the_reserve(open_room):
    room = open_room()
    entered = [await room.gate.admit_entry(ORDER) for _ in range(10)]
    assert entered.count(True) == 8
    left = [await room.gate.admit(ORDER) for _ in range(4)]
    assert left == [True] * 4
    assert room.counts == {"budget_waits": 2, "budget_refused": 2}


async def test_nobody_goes_over(open_room):
    room = open_room()
    assert [await room.gate.admit(ORDER) for _ in range(14)].count(True) == 12
    assert room.counts["budget_refused"] == 2


async def test_waiting_pays(open_room, clock):
    room = open_room(clock, budget_wait_s=5.0)
    for _ in range(12):
        assert await room.gate.admit(ORDER)
    waiting = asyncio.ensure_future(room.gate.admit(ORDER))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    clock.advance_ms(1200)
    assert await waiting
    assert room.counts == {"budget_waits": 1}


async def test_spare_leaves_the_reserve_and_does_not_wait(open_room):
    room = open_room()
    assert [room.gate.spare(ORDER) for _ in range(10)].count(True) == 8
    assert not room.counts


async def test_venue_that_refuses_is_left_alone(open_room, said, clock):
    room = open_room(clock)
    room.gate.learn("binance", said.answer({"code": -1003, "msg": "?"}, 418, retry_after="7"))
    assert not room.gate.spare({"binance_weight": 1})
    assert room.gate.spare(ORDER)
    clock.advance_ms(7000)
    assert room.gate.spare({"binance_weight": 1})
    assert room.counts == {"rate_limited": 1}


async def test_headers_count(open_room, said, clock):
    room = open_room(clock)
    room.gate.learn("upbit", said.answer({}, 200, remaining_req="group=order; min=1; sec=0"))
    assert not room.gate.spare(ORDER)
