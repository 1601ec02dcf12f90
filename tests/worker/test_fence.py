"""A worker that was replaced learns of it by itself."""

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
    return Fence(page, 3, 2, clock, told.append)


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
