"""``arbshard.repeat``: turns come one after the other until they end or fail; tasks run in the background."""

import asyncio
import gc

import pytest

from arbshard.repeat import BackgroundTasks, repeat


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


class TestBackgroundTasks:
    async def test_a_failure_is_heard_of_and_ends_no_other_task(self):
        failures, done = [], asyncio.Event()

        async def fail():
            raise RuntimeError("a defect")

        async def work():
            await asyncio.sleep(0)
            done.set()

        tasks = BackgroundTasks(failures.append)
        tasks.start(fail(), name="one that fails")
        tasks.start(work())
        await asyncio.wait_for(done.wait(), 5)
        assert [str(failure) for failure in failures] == ["a defect"]
        await tasks.close()
        assert len(failures) == 1

    async def test_what_still_runs_is_cancelled_and_its_end_is_waited_for(self):
        failures, ended = [], []

        async def work():
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                ended.append(None)

        tasks = BackgroundTasks(failures.append)
        tasks.start(work())
        await asyncio.sleep(0)
        await tasks.close()
        assert (ended, failures) == ([None], [])

    async def test_work_that_is_ended_before_it_has_begun_leaves_no_coroutine_unawaited(self, recwarn):
        failures = []

        async def answer():
            pass

        async def work(coming):
            await coming

        tasks = BackgroundTasks(failures.append)
        tasks.start(work(work(answer())))
        await tasks.close()
        gc.collect()
        assert [str(one.message) for one in recwarn] == []
        assert failures == []
