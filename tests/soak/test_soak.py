"""The real thing, briefly; and one that leaks, to see that it would be noticed."""

import subprocess
import sys
import time

import psutil
import pytest

from soaking.judge import Bounds, judge
from soaking.run import soak, table
from soaking.sampler import Sampler

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

LEAKING = """
import os, time
held = []
while True:
    held.append((os.open(os.devnull, os.O_RDONLY), bytearray(b"x" * 200_000)))
    time.sleep(0.02)
"""


def test_a_leaking_process_is_caught():
    process = subprocess.Popen([sys.executable, "-c", LEAKING])
    try:
        sampler = Sampler()
        end_s = time.monotonic() + 2.0
        while time.monotonic() < end_s:
            sampler.look({"leaky": psutil.Process(process.pid)})
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait(10)
    row = judge("leaky", sampler.samples["leaky"], Bounds(least_s=0.5))
    assert any("descriptors" in fault for fault in row.faults), row
    assert any("MB in ten minutes" in fault for fault in row.faults), row


def test_one_that_ends_is_noticed():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    known = psutil.Process(process.pid)
    process.wait(10)
    with pytest.raises(RuntimeError, match="gone has ended"):
        Sampler().look({"gone": known})


def test_a_short_run_keeps_its_descriptors():
    # Beside other tests the machine may not bring all that is asked for, which is not judged here.
    outcome = soak(4.0, 1_000.0, every_s=0.1, least_share=0.1)
    print(table(outcome))
    assert not outcome.faults, table(outcome)
    assert {row.name for row in outcome.rows} >= {"supervisor", "risk", "worker-0", "worker-1", "spare"}
