"""``arbshard.repeat``: turns come one after the other until they end, fail or are cancelled."""

import asyncio

import pytest

from arbshard.repeat import repeat


async def test_turns_come_until_one_returns_none():
    pauses = [0.0, 0.001, 0.0, None]
    turns = []

    def turn():
        turns.append(None)
        return pauses[len(turns) - 1]

    await asyncio.wait_for(repeat(turn), 5)
    assert len(turns) == 4


async def test_the_first_turn_comes_at_once_or_after_a_pause():
    at_once, later = [], []
    tasks = [
        asyncio.create_task(repeat(lambda: at_once.append(None) or 60.0)),
        asyncio.create_task(repeat(lambda: later.append(None) or 60.0, first_after_s=60.0)),
    ]
    await asyncio.sleep(0)
    assert (len(at_once), len(later)) == (1, 0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_others_run_between_turns_without_a_pause():
    task = asyncio.create_task(repeat(lambda: 0.0))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("first_after_s", [0.0, 0.001])
async def test_raises_what_a_turn_raises(first_after_s):
    def turn():
        raise ValueError("the third wheel")

    with pytest.raises(ValueError, match="the third wheel"):
        await asyncio.wait_for(repeat(turn, first_after_s=first_after_s), 5)


async def test_no_turn_comes_after_a_cancellation():
    turns = []
    task = asyncio.create_task(repeat(lambda: turns.append(None) or 0.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    count = len(turns)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(turns) == count
