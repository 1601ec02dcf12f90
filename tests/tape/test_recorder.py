"""The recorder between a real bus, a ledger and a tape: frames in are frames out, and what was lost is marked."""

import tempfile
import time
from pathlib import Path

import msgspec
import pytest

from arbshard.clock import SystemClock
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.notes import VenueNote, WorkerNote
from arbshard.shm.pages import PageWriter
from arbshard.tape.format import DROPPED, UNIVERSE, SegmentInfo
from arbshard.tape.reading import Tape, verify
from arbshard.tape.recorder import LedgerTail, Recorder, RefusalTail, WorkerRefusals
from arbshard.tape.writing import TapeBounds, TapeWriter
from arbshard.wire import topics
from arbshard.wire.bus import Publisher
from arbshard.wire.recording import FeedRecord, FeedRecords, encode, raw_topic
from supervisor.rundir import write_whole

pytestmark = pytest.mark.needs("analysis", "tape")


class World:
    """A publisher and a recorder that subscribes to it."""

    def __init__(self, folder, socket, high_water):
        self.folder = folder
        self.numbers = {}
        endpoint = f"ipc://{socket}/bus"
        self.bus = Publisher(endpoint, high_water=high_water)

        def describe(segment, first_row):
            return SegmentInfo(
                recording=1, segment=segment, first_row=first_row, instance="t", version="0", boot="b"
            )

        self.writer = TapeWriter(folder, 1, describe, TapeBounds(free_bytes_min=0))
        self.recorder = Recorder(
            endpoint,
            endpoint,
            folder / "ledger.sqlite",
            folder / "universe.json",
            lambda: folder.glob("page-worker-*"),
            self.writer,
            SystemClock(),
            time.time_ns,
        )
        deadline_s = time.monotonic() + 60
        while not (self.bus.wanted(b"raw.upbit.") and self.bus.wanted(b"venue.upbit.")):
            assert time.monotonic() < deadline_s
            self.bus.pump()
            time.sleep(0.001)

    def send(self, number, venue="upbit", kind="frame"):
        record = FeedRecord(kind, f"{venue}-1", number, 0, "", "", b"frame %d" % number)
        first = self.numbers[venue] = self.numbers.get(venue, 0) + 1
        self.bus.publish(raw_topic(venue).encode(), encode(FeedRecords(first, [record])))

    def step_until(self, condition):
        deadline_s = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline_s
            self.recorder.step(0.01)


@pytest.fixture
def make(tmp_path):
    made = []
    with tempfile.TemporaryDirectory(prefix="arb") as socket:

        def make_world(high_water=4096):
            made.append(World(tmp_path, Path(socket), high_water))
            return made[-1]

        make_world.folder = tmp_path
        yield make_world
        for world in made:
            world.bus.close()
            world.recorder._bus.close()
            world.recorder._raw.close()


def test_frames_in_are_frames_out_with_both_clocks(make):
    world = make()
    before_ns = time.time_ns() - time.monotonic_ns()
    for number in range(1000):
        world.send(number, ("upbit", "binance")[number % 2])
    note = VenueNote(name="upbit", state="connected", connections=1, symbols=2, frames=3, msg_s=1.0, reconnects=0,
                     bad_frames=0)  # fmt: skip
    world.bus.publish(b"venue.upbit.", topics.encode(topics.VenueUpdate(7, note)))
    world.step_until(
        lambda: world.recorder.frames == 1000 and world.writer.rows + len(world.writer._pending) > 1000
    )
    world.recorder.close()
    rows = [row for _, row in Tape(world.folder).rows()]
    frames = [row for row in rows if row.kind == "frame"]
    assert sorted(row.at_ns for row in frames) == list(range(1000))
    assert all(row.data == b"frame %d" % row.at_ns for row in frames)
    assert all(row.venue == ("upbit", "binance")[row.at_ns % 2] for row in frames)
    assert all(abs(row.wall_ns - row.at_ns - before_ns) < 1e9 for row in frames)
    assert [row.kind for row in rows if row.kind != "frame"] == ["venue"]
    assert verify(Tape(world.folder)).faults == []


def test_a_change_of_what_is_traded_is_a_row_with_its_time(make):
    """The universe that is there at first is in the description; each later one is a row, and others are none."""
    first = b'{"serial":3,"pairs":[]}'
    path = make.folder / "universe.json"
    write_whole(path, first)
    world = make()
    world.send(1)
    world.step_until(lambda: world.recorder.frames == 1)
    for serial in (4, 5):
        before_ns = time.time_ns()
        write_whole(path, b'{"serial":%d,"pairs":[]}' % serial)
        after_ns = time.time_ns()
        for _ in range(3):
            world.recorder.step(0.001)
    path.unlink()  # the run is over
    world.recorder.close()
    rows = [row for _, row in Tape(world.folder).rows() if row.kind == UNIVERSE]
    assert [(row.number, row.data) for row in rows] == [
        (serial, b'{"serial":%d,"pairs":[]}' % serial) for serial in (4, 5)
    ]
    # Times of files are those of the last tick of the kernel's clock, which are up to 10 ms apart.
    assert before_ns - 10_000_000 <= rows[-1].wall_ns <= after_ns
    assert abs(rows[-1].wall_ns - rows[-1].at_ns - (time.time_ns() - time.monotonic_ns())) < 1e9
    assert verify(Tape(world.folder)).faults == []


def test_what_the_bus_drops_is_marked_exactly(make):
    world = make(high_water=50)
    world.recorder._raw._socket.rcvhwm = 50
    for number in range(60_000):
        world.send(number)
    for _ in range(2000):  # it reads again, and what comes now shows what did not
        world.recorder.step(0.001)
        world.send(60_000)
        if world.recorder.missed:
            break
    world.recorder.close()
    assert world.recorder.missed > 0
    rows = [row for _, row in Tape(world.folder).rows()]
    marks = [row for row in rows if row.kind == DROPPED]
    assert sum(row.number for row in marks) == world.recorder.missed
    assert {row.detail for row in marks} == {"bus: the recorder was too slow"}
    report = verify(Tape(world.folder))
    assert report.faults == []
    assert report.marked == world.recorder.missed
    last = [row for row in rows if row.kind == "frame"][-1].number
    assert last == len(rows) - len(marks) + world.recorder.missed


def test_a_message_that_cannot_be_read_is_counted_and_marked(make):
    world = make()
    world.send(1)
    world.bus.publish(b"raw.upbit.", (b"arb1", b"nonsense"))
    world.numbers["upbit"] += 5
    world.send(3)
    world.step_until(lambda: world.recorder.frames == 2)
    world.recorder.close()
    assert world.recorder.unreadable == 1
    rows = [row for _, row in Tape(world.folder).rows()]
    assert [row.kind for row in rows] == ["frame", DROPPED, "frame"]
    assert (rows[1].number, rows[1].detail) == (5, "bus: messages could not be read")
    assert verify(Tape(world.folder)).faults == []


def test_several_records_of_a_message_are_a_row_each(make):
    world = make()
    records = [FeedRecord("frame", "c", number, 0, "", "", b"%d" % number) for number in range(5)]
    world.bus.publish(b"raw.upbit.", encode(FeedRecords(1, records[:3])))
    world.bus.publish(b"raw.upbit.", encode(FeedRecords(4, records[3:])))
    world.step_until(lambda: world.recorder.frames == 5)
    world.recorder.close()
    assert [(row.number, row.data) for _, row in Tape(world.folder).rows()] == [
        (number + 1, b"%d" % number) for number in range(5)
    ]
    assert verify(Tape(world.folder)).faults == []


def test_numbers_that_begin_anew_end_the_recording(make):
    world = make()
    world.send(1)
    world.send(2)
    world.step_until(lambda: world.recorder.frames == 2)
    world.numbers.clear()
    world.send(3)
    world.step_until(lambda: world.recorder.is_over)
    world.recorder.close()
    assert [row.at_ns for _, row in Tape(world.folder).rows()] == [1, 2]


def test_a_ledger_that_is_damaged_costs_its_decisions_alone_and_is_reported(tmp_path):
    path = tmp_path / "ledger.sqlite"
    tail = LedgerTail(path)
    assert tail.poll() == []
    path.write_bytes(b"this is no ledger" * 500)
    assert tail.poll() == []
    assert tail.last_error.startswith(str(path))


def worker_page(folder, pid):
    page = PageWriter.create(
        folder / "page-worker-0", ("pid", "refusal_BOOK_STALE", "refusal_LATE", "ticks"), (), 4096
    )
    page.set(page.counter("pid"), pid)
    return page


def test_what_workers_refuse_is_read_from_their_pages_as_it_changes(tmp_path):
    tail = RefusalTail(lambda: [tmp_path / "page-worker-0", tmp_path / "page-worker-1"])
    assert list(tail.poll()) == []
    with worker_page(tmp_path, 7) as page:
        page.add(page.counter("ticks"))
        assert list(tail.poll()) == []
        page.add(page.counter("refusal_BOOK_STALE"), 3)
        assert list(tail.poll()) == [("worker-0", WorkerRefusals(7, {"BOOK_STALE": 3}, {}))]
        assert list(tail.poll()) == []
        page.add(page.counter("refusal_LATE"))
        funnel = EdgeFunnel(wanted=5, barred=2)
        page.write_note(msgspec.json.encode(WorkerNote(funnel={"BTC": funnel})))
        assert list(tail.poll()) == [("worker-0", WorkerRefusals(7, {"LATE": 1}, {"BTC": funnel}))]
    with worker_page(tmp_path, 8) as page:  # a successor begins to count anew
        page.add(page.counter("refusal_BOOK_STALE"), 3)
        assert list(tail.poll()) == [("worker-0", WorkerRefusals(8, {"BOOK_STALE": 3}, {}))]


def test_refusals_of_workers_are_rows_with_the_time_between_two_readings(make):
    world = make()
    with worker_page(world.folder, 7) as page:
        page.add(page.counter("refusal_BOOK_STALE"))
        world.step_until(lambda: world.recorder.refusals == 1)
        page.add(page.counter("refusal_BOOK_STALE"))
        world.step_until(lambda: world.recorder.refusals == 2)
        world.recorder.close()
    first, second = [row for _, row in Tape(world.folder).rows()]
    assert (first.kind, first.connection, first.number) == ("refused", "worker-0", 1)
    assert msgspec.json.decode(second.data) == {"pid": 7, "reasons": {"BOOK_STALE": 2}, "edges": {}}
    assert second.began_ns == first.at_ns < second.at_ns
    assert verify(Tape(world.folder)).faults == []
