"""A worker that was replaced learns of it by itself."""

import asyncio

import pytest

from arbshard.worker.fence import Fence


class Page:
    def __init__(self):
        self.lowest = 0
        self.looks = 0

    def fence(self, shard, now_ns):
        assert shard == 3
        self.looks += 1
        return self.lowest


@pytest.fixture
def page():
    return Page()


@pytest.fixture
def told():
    return []


@pytest.fixture
def fence(page, told, clock):
    one = Fence(page, 3, 2, clock, told.append)
    yield one
    one.close()


@pytest.mark.parametrize(("lowest", "is_fenced"), [(0, False), (1, False), (2, False), (3, True)])
def test_only_a_higher_epoch_fences(fence, page, told, lowest, is_fenced):
    page.lowest = lowest
    assert fence.is_fenced() is is_fenced
    assert len(told) == is_fenced


def test_told_once_and_for_good(fence, page, told):
    page.lowest = 3
    assert fence.is_fenced()
    page.lowest = 0
    assert fence.is_fenced()
    assert [str(one) for one in told] == ["shard 3 is at epoch 3, this is 2"]


async def test_looks_by_itself_until_it_is_fenced(fence, page, told):
    fence.start()
    async with asyncio.timeout(10):
        while page.looks < 2:
            await asyncio.sleep(0.01)
        assert told == []
        page.lowest = 3
        while not told:
            await asyncio.sleep(0.01)
    looks = page.looks
    await asyncio.sleep(0.06)
    assert page.looks == looks


async def test_closed_it_looks_no_more(fence, page):
    fence.start()
    fence.close()
    await asyncio.sleep(0.05)
    assert page.looks == 0
