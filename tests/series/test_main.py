"""The pace of the writer, and what it shows of itself."""

import pytest

from arbshard.clock import ManualClock
from arbshard.series.counters import COUNTERS
from arbshard.series.main import SeriesWriter
from arbshard.shm.pages import PageReader, PageWriter


class Sampler:
    """Counts what it is asked for; ``lasts_ms`` is how long a sample takes."""

    def __init__(self, clock):
        self.clock = clock
        self.samples = []
        self.error = None
        self.lasts_ms = 0

    def sample(self, *, is_last):
        self.samples.append(is_last)
        self.clock.advance_ms(self.lasts_ms)
        if self.error is not None:
            raise self.error


class Segments:
    def __init__(self):
        self.ended = []
        self.written, self.failures, self.lost_rows, self.kept_bytes, self.last_error = 3, 1, 20, 4000, ""

    def end_segment(self, now_ms):
        self.ended.append(now_ms)


class Rig:
    def __init__(self, page):
        self.clock = ManualClock()
        self.sampler, self.segments = Sampler(self.clock), Segments()
        self.writer = SeriesWriter(self.sampler, self.segments, page, self.clock, every_s=1.0, segment_s=5.0)

    def turn(self):
        wait_s = self.writer.turn()
        self.clock.advance_ms(wait_s * 1000)
        return wait_s


@pytest.fixture
def page(tmp_path):
    with PageWriter.create(tmp_path / "page", COUNTERS, (), 1024) as writer:
        yield writer


@pytest.fixture
def shown(page):
    with PageReader.attach(page.path) as reader:
        yield reader


@pytest.fixture
def rig(page):
    return Rig(page)


def test_samples_are_taken_at_an_even_pace_however_long_they_take(rig):
    rig.sampler.lasts_ms = 300
    assert [rig.turn() for _ in range(3)] == [0.7, 0.7, 0.7]


def test_what_was_missed_is_counted_and_not_made_up_for(rig, shown):
    rig.sampler.lasts_ms = 3200
    assert rig.turn() == pytest.approx(0.8)
    assert (shown.value("samples"), shown.value("missed")) == (1, 3)


def test_a_segment_ends_after_its_time(rig):
    began_ms = rig.clock.wall_ms()
    for _ in range(11):
        rig.turn()
    assert [at_ms - began_ms for at_ms in rig.segments.ended] == [5000, 10_000]


def test_the_end_takes_a_last_sample_and_writes_the_segment(rig, shown):
    rig.turn()
    rig.writer.end()
    assert rig.sampler.samples == [False, True]
    assert len(rig.segments.ended) == 1
    values = shown.values()
    assert (values["samples"], values["segments"], values["failures"]) == (2, 3, 1)
    assert (values["lost_rows"], values["kept_bytes"], values["beat"]) == (20, 4000, 2)


def test_a_sample_that_fails_is_counted_and_shown_and_the_next_is_taken(rig, shown):
    rig.sampler.error = ValueError("odd")
    rig.turn()
    rig.sampler.error = None
    rig.turn()
    assert (shown.value("samples"), shown.value("missed")) == (1, 1)
    assert shown.note() == b"a sample cannot be taken: odd"


def test_trouble_with_the_disk_is_shown(rig, shown):
    rig.turn()
    assert shown.note() == b""
    rig.segments.last_error = "a segment of the series is lost: " + "No space left on device " * 100
    rig.turn()
    assert shown.note().startswith(b"a segment of the series is lost: No space left")
