"""Uses a share of one core, as another program on the same machine would: ``python -m perf.other_work SHARE``.

It works in bursts of 1 to 40 ms of CPU time, drawn from a fixed seed, and then sleeps until its CPU time is the
asked share of the time that has passed. What others have left it less, it works off later.
"""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from arbshard.process import Parent
from perf.running import ROOT, end_process

_BURST_S = (0.001, 0.040)
_SEED = 1


@contextmanager
def other_work(share: float) -> Iterator[None]:
    """Have a process use ``share`` of a core (0 to 1) until the block is left; with 0 none is started."""
    if not share:
        yield
        return
    process = subprocess.Popen([sys.executable, "-m", "perf.other_work", str(share)], cwd=ROOT)
    try:
        yield
    finally:
        end_process(process)


def pause_s(used_s: float, elapsed_s: float, share: float) -> float:
    """Return how long to sleep so that ``used_s`` of CPU time becomes ``share`` of the time; 0 when it is less.

    Pure.
    """
    return max(used_s / share - elapsed_s, 0.0)


def main() -> None:
    """Work and sleep until the parent ends or sends SIGTERM."""
    share = float(sys.argv[1])
    draw = random.Random(_SEED)
    parent = Parent()
    began_s, began_used_s = time.monotonic(), time.process_time()
    while not parent.is_gone():
        end_s = time.process_time() + draw.uniform(*_BURST_S)
        while time.process_time() < end_s:
            pass
        time.sleep(pause_s(time.process_time() - began_used_s, time.monotonic() - began_s, share))


if __name__ == "__main__":
    main()
