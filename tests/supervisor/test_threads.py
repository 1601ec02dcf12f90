"""Work beside the supervisor's loop: the loop goes on meanwhile, and hears how it ended."""

import asyncio
import threading
import time

import pytest

from arbshard.errors import VenueUnavailable
from supervisor.threads import call_from_thread, run_in_thread


async def test_the_loop_goes_on():
    turns = 0

    async def work():
        time.sleep(0.2)
        return threading.get_ident()

    task = asyncio.create_task(run_in_thread(work, 10.0))
    while not task.done():
        turns += 1
        await asyncio.sleep(0.005)
    assert await task != threading.get_ident()
    assert turns > 3


async def test_what_it_raises_is_raised():
    async def work():
        raise VenueUnavailable("no answer")

    with pytest.raises(VenueUnavailable, match="no answer"):
        await run_in_thread(work, 10.0)


async def test_it_has_a_time_out():
    async def work():
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await run_in_thread(work, 0.05)


async def test_it_may_tell_the_loop_something():
    told = []
    tell = call_from_thread(lambda line: told.append((line, threading.get_ident())))

    async def work():
        tell("half way")

    await run_in_thread(work, 10.0)
    await asyncio.sleep(0)
    assert told == [("half way", threading.get_ident())]
