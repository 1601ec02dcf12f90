"""When the budget runs short, exits go first and entries wait."""

import asyncio

import pytest

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


WEIGHT = {"binance_weight": 1}


@pytest.mark.parametrize(
    ("venue", "cost", "other", "status", "said_s"),
    [
        ("binance", WEIGHT, ORDER, 418, 7),
        ("binance", WEIGHT, ORDER, 429, 7),
        ("upbit", ORDER, WEIGHT, 429, 7),
    ],
)
async def test_a_venue_that_refuses_is_left_alone_for_as_long_as_it_says(
    open_room, said, clock, venue, cost, other, status, said_s
):
    room = open_room(clock)
    room.gate.read_limits(venue, said.answer({"code": -1003, "msg": "?"}, status, retry_after=str(said_s)))
    assert not room.gate.spare(cost)
    assert room.gate.spare(other)
    clock.advance_ms(6900)
    assert not room.gate.spare(cost)
    assert not await room.gate.admit(cost)
    assert not await room.gate.admit_entry(cost)
    clock.advance_ms(100)
    assert room.gate.spare(cost)
    assert room.counts["rate_limited"] == 1


@pytest.mark.parametrize(
    ("status", "body", "blocked_s"),
    [(429, b"", 1), (418, b"", 120), (418, "5초".encode(), 5), (418, b"blocked for 30 seconds", 30)],
)
async def test_a_refusal_without_a_header_is_remembered_too(open_room, said, clock, status, body, blocked_s):
    room = open_room(clock)
    room.gate.read_limits("upbit", said.answer(body, status))
    clock.advance_ms(blocked_s * 1000 - 100)
    assert not room.gate.spare(ORDER)
    clock.advance_ms(100)
    assert room.gate.spare(ORDER)


async def test_a_shorter_refusal_does_not_shorten_a_longer_one(open_room, said, clock):
    room = open_room(clock)
    room.gate.read_limits("binance", said.answer({}, 418, retry_after="7"))
    room.gate.read_limits("binance", said.answer({}, 429, retry_after="1"))
    clock.advance_ms(6900)
    assert not room.gate.spare(WEIGHT)


async def test_a_redirect_says_nothing_of_the_limits(open_room, said, clock):
    room = open_room(clock)
    room.gate.read_limits("upbit", said.answer({}, 307, remaining_req="group=order; min=1; sec=0"))
    assert room.gate.spare(ORDER)


async def test_headers_count(open_room, said, clock):
    room = open_room(clock)
    room.gate.read_limits("upbit", said.answer({}, 200, remaining_req="group=order; min=1; sec=0"))
    assert not room.gate.spare(ORDER)
