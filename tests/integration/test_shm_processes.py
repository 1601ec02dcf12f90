"""Shared memory between real processes: a writer at full speed, a writer that dies, a worker that sleeps."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arbshard.native import ORDERED_STORES
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from arbshard.shm.pages import PageReader

pytestmark = pytest.mark.integration

Spawn = Callable[[str, Path], subprocess.Popen]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    children: list[subprocess.Popen] = []

    def start(program: str, directory: Path) -> subprocess.Popen:
        child = subprocess.Popen([sys.executable, "-c", program, str(directory)])
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait(10)


def wait_for(condition: Callable[[], bool], child: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert child.poll() is None, f"the child ended with {child.returncode}"
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.001)


FAST_WRITER = """
import sys
from pathlib import Path
from arbshard.shm.books import BooksWriter
writer = BooksWriter.create(Path(sys.argv[1]) / "books", 2, epoch=1)
patterns = [bytes([n]) * 8000 for n in range(256)]
n = 0
while True:
    writer.write(1, patterns[n & 255][: 1 + n % 8000], n)
    n += 1
"""


def test_a_reader_beside_a_writer_at_full_speed_never_takes_a_torn_frame(spawn, tmp_path):
    child = spawn(FAST_WRITER, tmp_path)
    wait_for((tmp_path / "books").exists, child)
    seen = set()
    with BooksReader.attach(tmp_path / "books") as reader:
        deadline = time.monotonic() + 60
        reads = 0
        while reads < 30_000 or len(seen) <= 100:
            reads += 1
            found = reader.read(1)
            if found is None:
                time.sleep(0)
                continue
            sequence, n, live, frame = found
            assert sequence == 2 * (n + 1)
            assert frame == bytes([n & 255]) * (1 + n % 8000)
            assert live is False
            seen.add(n)
            assert time.monotonic() < deadline
    assert child.poll() is None
    assert len(seen) > 100


def test_a_reader_waits_for_a_write_that_is_under_way(spawn, tmp_path):
    child = spawn(FAST_WRITER.replace("[: 1 + n % 8000]", ""), tmp_path)
    wait_for((tmp_path / "books").exists, child)
    with BooksReader.attach(tmp_path / "books") as reader:
        wait_for(lambda: reader.sequence(1) > 0, child)
        for _ in range(200_000):
            reader.read(1)
        assert reader.torn < 40_000
    assert child.poll() is None


DYING_WRITER = """
import os, signal, sys
from pathlib import Path
from arbshard.shm.books import BooksWriter

class Death:
    def __index__(self):
        os.kill(os.getpid(), signal.SIGKILL)

writer = BooksWriter.create(Path(sys.argv[1]) / "books", 2, epoch=1)
writer.write(0, b"whole", 5)
writer.write(1, b"whole", 5)
writer._slots._write(1, b"never finished", Death())  # the compiled twin has converted all numbers before it begins
"""


def test_a_writer_killed_inside_a_write_leaves_a_slot_without_a_frame(spawn, tmp_path):
    assert spawn(DYING_WRITER, tmp_path).wait(20) == -signal.SIGKILL
    with BooksReader.attach(tmp_path / "books") as reader:
        assert reader.read(1) is None
        assert reader.torn == 1
        assert reader.sequence(1) % 2 == 1
        assert reader.read(0) == (2, 5, False, b"whole")
    with BooksWriter.create(tmp_path / "books", 2, epoch=2), BooksReader.attach(tmp_path / "books") as reader:
        assert reader.epoch == 2


SLEEPER = """
import select, sys
from pathlib import Path
from arbshard.shm.doorbell import ShardWaiter
from arbshard.shm.pages import PageWriter
directory = Path(sys.argv[1])
page = PageWriter.create(directory / "page", ["seen", "sleeps", "started_up", "late"], note_bytes=0)
seen, sleeps, started_up, late = (page.counter(name) for name in ("seen", "sleeps", "started_up", "late"))
waiter = ShardWaiter.attach(directory, 0)
while True:
    slots = waiter.drain()
    if slots is None:
        page.set(seen, 1)
    elif slots:
        page.set(seen, slots[-1])
    elif waiter.park():
        page.add(sleeps)
        rung = select.select([waiter.fileno()], [], [], 0.5)[0]
        waiter.unpark()
        waiter.clear()
        if not rung and (slots := waiter.drain()):
            page.add(late)
            page.set(seen, slots[-1])
    else:
        page.add(started_up)
"""


def test_no_wake_up_is_lost_however_the_change_meets_the_falling_asleep(spawn, tmp_path):
    """Each change comes as soon as the one before was seen, after a pause that sweeps over the falling asleep."""
    with ShardNotifier.create(tmp_path, 0) as notifier:
        child = spawn(SLEEPER, tmp_path)
        wait_for((tmp_path / "page").exists, child)
        with PageReader.attach(tmp_path / "page") as page:
            wait_for(lambda: page.value("seen") >= 1, child)
            for number in range(2, 10_000):
                notifier.push(number)
                spins = 0
                while page.value("seen") != number:
                    spins += 1
                    if spins > 1000:  # on one core, or a busy one, the worker needs ours
                        time.sleep(0.0001)
                    assert spins < 100_000, "the change was never seen"
                for _ in range(number % 41):
                    pass
            assert page.value("sleeps") > 100
            if ORDERED_STORES:
                assert page.value("late") == 0
            assert notifier.rings <= page.value("sleeps") + page.value("started_up") + 1


NOTER = """
import sys
from pathlib import Path
from arbshard.shm.pages import PageWriter
page = PageWriter.create(Path(sys.argv[1]) / "page", ["notes"], note_bytes=65536)
count = page.counter("notes")
patterns = [bytes([n]) * 60000 for n in range(256)]
n = 0
while True:
    page.write_note(patterns[n & 255][: 60000 - n % 1000])
    page.add(count)
    n += 1
"""


def test_a_note_is_whole_while_it_is_rewritten_and_after_the_owner_was_killed(spawn, tmp_path):
    for _ in range(3):
        (tmp_path / "page").unlink(missing_ok=True)
        child = spawn(NOTER, tmp_path)
        wait_for((tmp_path / "page").exists, child)
        with PageReader.attach(tmp_path / "page") as page:
            wait_for(lambda page=page: page.value("notes") > 10, child)
            for _ in range(500):
                note = page.note()
                assert note == note[:1] * len(note)
                assert len(note) > 59_000
            child.kill()
            child.wait(10)
            note = page.note()
            assert note == note[:1] * len(note)
            assert page.value("notes") > 10
