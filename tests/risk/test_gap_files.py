"""What is known of a pair's gap outlives a restart, as far as it is still within the window."""

import math

import pytest

from arbshard.engine.series import SpreadSeries
from arbshard.risk.gap_files import GapFiles

SECOND = 1_000_000_000


class Clock:
    def __init__(self, uptime_s=10_000, wall_s=1_795_000_000):
        self.uptime_s, self.wall_s = uptime_s, wall_s

    def monotonic_ns(self):
        return int(self.uptime_s * SECOND)

    def wall_ms(self):
        return int(self.wall_s * 1000)

    def sleep(self, seconds):
        self.uptime_s += seconds
        self.wall_s += seconds


@pytest.fixture
def clock():
    return Clock()


def filled(clock, seconds=20, window=30):
    series = SpreadSeries(window, 1000.0, samples_min=2)
    for number in range(seconds):
        if number != 5:
            series.add(clock.monotonic_ns(), float(number))
        clock.sleep(1)
    return series


def loaded(folder, clock, base="BTC", window=30, sample_ms=1000.0):
    series = SpreadSeries(window, sample_ms, samples_min=2)
    GapFiles(folder, clock).load(base, series)
    return series


def values(series):
    return [value for value in series.intervals()[1] if not math.isnan(value)]


def test_a_successor_has_the_same_samples_at_the_same_times(tmp_path, clock):
    before = filled(clock)
    GapFiles(tmp_path / "gaps", clock).save_all([("BTC", before)])
    after = loaded(tmp_path / "gaps", clock)
    assert after.intervals()[0] == before.intervals()[0]
    assert values(after) == values(before)
    assert after.count == 19
    assert after.mean == pytest.approx(before.mean)


def test_what_has_left_the_window_meanwhile_is_not_taken_for_new(tmp_path, clock):
    GapFiles(tmp_path, clock).save_all([("BTC", filled(clock))])
    clock.sleep(15)
    series = loaded(tmp_path, clock)
    series.add(clock.monotonic_ns(), 99.0)
    assert values(series) == [*map(float, range(6, 20)), 99.0]
    clock.sleep(100)
    series = loaded(tmp_path, clock)
    series.add(clock.monotonic_ns(), 99.0)
    assert values(series) == [99.0]


def test_after_a_boot_the_monotonic_clock_is_another_one(tmp_path, clock):
    GapFiles(tmp_path, clock).save_all([("BTC", filled(clock))])
    clock.sleep(10)
    clock.uptime_s = 25.0
    series = loaded(tmp_path, clock)
    series.add(clock.monotonic_ns(), 99.0)
    assert values(series) == [*map(float, range(6, 20)), 99.0][-len(values(series)) :]
    assert series.count >= 14


def test_a_clock_that_was_set_back_says_nothing(tmp_path, clock):
    GapFiles(tmp_path, clock).save_all([("BTC", filled(clock))])
    clock.wall_s -= 3600
    assert loaded(tmp_path, clock).count == 0


def test_samples_of_another_pace_are_not_taken(tmp_path, clock):
    GapFiles(tmp_path, clock).save_all([("BTC", filled(clock))])
    assert loaded(tmp_path, clock, sample_ms=500.0).count == 0


@pytest.mark.parametrize("damage", [b"", b"\x00", b"not a message", None])
def test_a_damaged_file_costs_what_it_held(tmp_path, clock, damage):
    files = GapFiles(tmp_path, clock)
    files.save_all([("BTC", filled(clock))])
    path = tmp_path / "BTC.gap"
    path.write_bytes(path.read_bytes()[:-3] if damage is None else damage)
    series = SpreadSeries(30, 1000.0, samples_min=2)
    files.load("BTC", series)
    assert (series.count, files.failures) == (0, 1)


def test_one_pair_at_a_time_and_each_once_a_minute(tmp_path, clock):
    files = GapFiles(tmp_path, clock)
    series = {base: filled(clock) for base in ("A", "B", "C")}
    for expected in (1, 2, 3, 3):
        files.save_next(series.items())
        assert len(list(tmp_path.glob("*.gap"))) == expected
    (tmp_path / "A.gap").unlink()
    clock.sleep(59)
    files.save_next(series.items())
    assert not (tmp_path / "A.gap").exists()
    clock.sleep(1)
    files.save_next(series.items())
    assert (tmp_path / "A.gap").exists()


def test_a_name_that_is_no_name_of_a_file_is_not_kept(tmp_path, clock):
    files = GapFiles(tmp_path / "gaps", clock)
    files.save_all([("../A", filled(clock)), ("", filled(clock))])
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_counted(tmp_path, clock):
    (tmp_path / "gaps").write_text("in the way")
    files = GapFiles(tmp_path / "gaps", clock)
    files.save_all([("A", filled(clock)), ("B", filled(clock))])
    assert files.failures == 2


def test_without_a_folder_nothing_is_kept(clock):
    files = GapFiles(None, clock)
    files.save_all([("A", filled(clock))])
    files.load("A", SpreadSeries(30, 1000.0, samples_min=2))
    assert files.failures == 0
