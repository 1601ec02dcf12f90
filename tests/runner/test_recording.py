"""The recording's time: sleepers wake in order, at their own moments."""

import asyncio

from arbshard.data.recorded import RecordedMarketDataProvider
from arbshard.runner.recording import RecordedClock, RecordedPace


async def test_sleepers_wake_in_order_at_their_times():
    clock = RecordedClock(1_000_000_000, 5)
    woken = []

    async def sleeper(name, *pauses):
        for pause in pauses:
            await clock.sleep(pause)
            woken.append((name, clock.monotonic_ns()))

    tasks = [asyncio.ensure_future(sleeper("late", 0.3)), asyncio.ensure_future(sleeper("two", 0.1, 0.1))]
    await clock.turn()
    await clock.run_until(1_050_000_000)
    assert (woken, clock.monotonic_ns()) == ([], 1_050_000_000)
    await clock.run_until(1_250_000_000)
    assert woken == [("two", 1_100_000_000), ("two", 1_200_000_000)]
    assert clock.monotonic_ns() == 1_250_000_000
    await clock.run_until(2_000_000_000)
    assert woken[-1] == ("late", 1_300_000_000)
    assert clock.wall_ms() == 2005
    await asyncio.gather(*tasks)


async def test_a_cancelled_sleeper_is_passed_over():
    clock = RecordedClock(0, 0)
    first, second = (asyncio.ensure_future(clock.sleep(1)) for _ in range(2))
    await clock.turn()
    first.cancel()
    await clock.run_until(1_000_000_000)
    await second
    assert first.cancelled()


async def test_time_does_not_go_back():
    clock = RecordedClock(100, 0)
    await clock.run_until(50)
    assert clock.monotonic_ns() == 100


async def test_after_the_end_only_time_passes(make):
    pace = RecordedPace(RecordedMarketDataProvider([make.home_book(received_ns=1_000)]))
    assert not pace.has_ended
    assert await pace.changes(9) == {"KRW-BTC"}
    assert pace.has_ended
    before = pace.clock.monotonic_ns()
    assert await pace.changes(9) == frozenset()
    assert pace.clock.monotonic_ns() > before


async def test_whoever_shares_the_event_loop_gets_turns(make):
    records = [make.home_book(received_ns=n) for n in range(100)]
    pace = RecordedPace(RecordedMarketDataProvider(records))
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    while not pace.has_ended:
        await pace.changes(0)
    task.cancel()
    assert turns >= 99
