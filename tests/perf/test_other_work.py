import time

import psutil
import pytest

from perf.other_work import other_work, pause_s


def test_the_pause_brings_the_cpu_time_to_its_share():
    assert pause_s(0.4, 0.5, 0.4) == pytest.approx(0.5)
    assert pause_s(0.04, 0.5, 0.4) == 0.0  # others left it less


def test_a_process_works_until_the_block_is_left():
    before = {child.pid for child in psutil.Process().children()}
    with other_work(0.2):
        (child,) = (one for one in psutil.Process().children() if one.pid not in before)
        end_s = time.monotonic() + 60
        while sum(child.cpu_times()[:2]) < 0.3:  # more than its start alone costs
            assert time.monotonic() < end_s
            time.sleep(0.05)
    assert not child.is_running()


def test_nothing_is_started_for_no_share():
    before = {child.pid for child in psutil.Process().children()}
    with other_work(0.0):
        assert {child.pid for child in psutil.Process().children()} == before
