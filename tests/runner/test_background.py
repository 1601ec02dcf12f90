"""The event loop of synchronous calls."""

import asyncio
import threading

import pytest

from arbshard.errors import UsageError
from arbshard.runner.background import BackgroundLoop, require_no_loop


@pytest.fixture
def background():
    loop = BackgroundLoop("under-test")
    yield loop
    loop.close()


def test_results_and_errors_come_back(background):
    async def add(a, b):
        await asyncio.sleep(0)
        return a + b

    async def fail():
        raise ZeroDivisionError

    async def time_out():
        raise TimeoutError("its own")

    assert background.call(lambda: add(1, 2)) == 3
    with pytest.raises(ZeroDivisionError):
        background.call(fail)
    with pytest.raises(TimeoutError, match="its own"):
        background.call(time_out)


def test_it_goes_on_between_calls(background):
    done = threading.Event()

    async def later():
        asyncio.get_running_loop().call_later(0.02, done.set)

    background.call(later)
    assert done.wait(5)


def test_an_interrupted_wait_cancels_the_work(background, monkeypatch):
    begun, cancelled = threading.Event(), threading.Event()

    async def work():
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    submit = asyncio.run_coroutine_threadsafe

    def interrupted(work, loop):
        future = submit(work, loop)

        def result(_):
            assert begun.wait(5)
            raise KeyboardInterrupt

        future.result = result
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        background.call(work)
    assert cancelled.wait(5)


def test_closing_ends_the_thread():
    loop = BackgroundLoop("to-be-closed")
    assert any(thread.name == "to-be-closed" for thread in threading.enumerate())
    loop.close()
    assert not any(thread.name == "to-be-closed" for thread in threading.enumerate())
    loop.close()


async def test_inside_a_loop_it_says_what_to_use():
    with pytest.raises(UsageError, match=r"run_once\(\) would block .* 'await arun_once\(\)'"):
        require_no_loop("run_once")


def test_outside_a_loop_it_may_be_called_also_after_one_has_run():
    async def inside():
        with pytest.raises(UsageError):
            require_no_loop("run_once")
        return "ran"

    assert asyncio.run(inside()) == "ran"
    require_no_loop("run_once")  # raises where a loop runs
