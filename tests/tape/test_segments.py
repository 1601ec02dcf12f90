"""Rows become segments and are read again: all, to the last whole batch, or with marks where some are missing."""

import errno
import os
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.tape import TapeError, writing
from arbshard.tape.format import DROPPED, KINDS, Row, SegmentInfo, name_of
from arbshard.tape.reading import Tape, TapeSegment, verify
from arbshard.tape.writing import TapeBounds, TapeWriter

pytestmark = pytest.mark.needs("analysis", "tape")

RECORDING = 1_700_000_000_000
AMPLE = TapeBounds(free_bytes_min=0)
NS = 1_000_000_000


def writer_in(folder, bounds=AMPLE, recording=RECORDING):
    def describe(segment, first_row):
        return SegmentInfo(recording=recording, segment=segment, first_row=first_row, instance="t",
                           version="0", boot="b")  # fmt: skip

    return TapeWriter(folder, recording, describe, bounds)


def frame(number, data=b"{}", venue="upbit"):
    return Row("frame", venue, f"{venue}-1", "", number * NS, number * NS + 5, 0, number, "", data)


def write(writer, rows, now_ns=0):
    for row in rows:
        writer.add(row)
    writer.flush(now_ns, 0)


def rows_in(folder):
    return [row for _, row in Tape(folder).rows()]


_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_INT = st.integers(-(2**63), 2**63 - 1)
_ROWS = st.lists(
    st.builds(Row, st.sampled_from(KINDS), _TEXT, _TEXT, _TEXT, _INT, _INT, _INT, _INT, _TEXT, st.binary()),
    max_size=20,
)  # fmt: skip


@given(st.lists(st.tuples(_ROWS, st.integers(0, 3)), max_size=6))
def test_what_goes_in_comes_out(batches):
    with tempfile.TemporaryDirectory() as place:
        folder, now_ns = Path(place), 0
        writer = writer_in(folder, AMPLE._replace(segment_ns=2 * NS))
        for rows, seconds in batches:
            now_ns += seconds * NS
            write(writer, rows, now_ns)
        writer.close(now_ns, 0)
        wanted = [row for rows, _ in batches for row in rows]
        if not wanted:
            assert writer.rows == 0
            return
        found = list(Tape(folder).rows())
        assert [row for _, row in found] == wanted
        assert [number for number, _ in found] == list(range(len(wanted)))
        assert all(segment.is_closed for segment in Tape(folder).segments())


def test_a_killed_writers_segment_is_read_to_its_last_whole_batch_wherever_it_ends(tmp_path):
    writer = writer_in(tmp_path)
    ends = []
    for batch in range(3):
        write(writer, [frame(batch * 10 + n, os.urandom(20)) for n in range(10)])
        ends.append(writer._file.size)
    path = tmp_path / name_of(RECORDING, 0)
    whole = path.read_bytes()
    assert len(whole) == ends[-1]
    wanted = rows_in(tmp_path)
    assert len(wanted) == 30
    for end in range(ends[0], len(whole), 7):
        path.write_bytes(whole[:end])
        batches = sum(end >= one for one in ends)
        assert rows_in(tmp_path) == wanted[: batches * 10], end
        report = verify(Tape(tmp_path))
        assert (report.faults, report.open_segments, report.rows) == ([], 1, batches * 10)


def test_a_changed_byte_of_the_data_is_found(tmp_path):
    writer = writer_in(tmp_path)
    write(writer, [frame(n, b"price %d" % n) for n in range(50)])
    writer.close(0, 0)
    path = tmp_path / name_of(RECORDING, 0)
    whole = path.read_bytes()
    assert verify(Tape(tmp_path)).faults == []
    unnoticed = []
    for place in range(len(whole) // 2, len(whole) - 16, 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            is_same = rows_in(tmp_path) == [frame(n, b"price %d" % n) for n in range(50)]
        except TapeError:
            continue
        if not is_same:
            unnoticed.append(place)
    assert unnoticed == []


def test_files_that_are_no_tape_are_refused_and_named(tmp_path):
    with pytest.raises(TapeError, match="there is no tape in"):
        Tape(tmp_path / "nothing")
    path = tmp_path / name_of(RECORDING, 0)
    for content in (b"", b"hello, this is no tape", b"\xff\xff\xff\xff\x00\x00\x00\x00"):
        path.write_bytes(content)
        with pytest.raises(TapeError, match=str(path)):
            TapeSegment(path)
        assert len(verify(Tape(tmp_path)).faults) == 1


def test_a_missing_segment_and_missing_records_are_faults(tmp_path):
    writer = writer_in(tmp_path, AMPLE._replace(segment_ns=NS))
    for second in range(4):
        write(writer, [frame(second)], second * NS)
    writer.close(4 * NS, 0)
    (tmp_path / name_of(RECORDING, 1)).unlink()
    (fault,) = verify(Tape(tmp_path)).faults
    assert "follows segment 0; those in between are missing" in fault
    other = tmp_path / "other"
    write(
        writer_in(other), [frame(1), frame(2), frame(4), frame(1, venue="binance"), frame(2, venue="binance")]
    )
    (fault,) = verify(Tape(other)).faults
    assert "upbit has 4 after 2, and 0 are marked as missing" in fault
    marked = tmp_path / "marked"
    mark = Row(DROPPED, "upbit", "", "", 0, 0, 0, 1, "bus", b"")
    write(writer_in(marked), [frame(1), frame(2), mark, frame(4)])
    report = verify(Tape(marked))
    assert (report.faults, report.marked) == ([], 1)


class FullDisk:
    """Lets so many bytes through, then fails as a full disk does, after a part of what is left."""

    def __init__(self, monkeypatch, room):
        self.room = room
        self.write = os.write
        monkeypatch.setattr(writing.os, "write", self)

    def __call__(self, descriptor, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.write(descriptor, data[: self.room])
        self.room -= written
        return written


def test_what_a_full_disk_costs_is_counted_and_marked(tmp_path, monkeypatch):
    writer = writer_in(tmp_path)
    write(writer, [frame(n, venue=venue) for n in range(5) for venue in ("upbit", "binance")])
    disk = FullDisk(monkeypatch, 300)
    for second in range(1, 40):  # far more often than it is tried again
        write(writer, [frame(second + 4, venue=venue) for venue in ("upbit", "binance")], second * NS)
    assert (writer.lost, writer.written) == (78, 10)
    assert 2 <= writer.failures <= 8
    assert "No space left" in writer.last_error
    assert [path.name for path in Tape(tmp_path).paths] == [name_of(RECORDING, 0)]
    disk.room = 10**9
    write(writer, [frame(44, venue=venue) for venue in ("upbit", "binance")], 100 * NS)
    writer.close(100 * NS, 0)
    found = rows_in(tmp_path)
    assert found[:10] == [frame(n, venue=venue) for n in range(5) for venue in ("upbit", "binance")]
    marks = found[10:12]
    assert [(row.kind, row.venue, row.number) for row in marks] == [
        (DROPPED, "binance", 39),
        (DROPPED, "upbit", 39),
    ]
    assert {row.detail for row in marks} == {"disk: No space left on device"}
    assert found[12:] == [frame(44), frame(44, venue="binance")]
    report = verify(Tape(tmp_path))
    assert (report.faults, report.marked, writer.last_error) == ([], 78, "")


def test_a_mark_that_is_lost_counts_what_it_stood_for(tmp_path, monkeypatch):
    writer = writer_in(tmp_path)
    write(writer, [frame(1)])
    disk = FullDisk(monkeypatch, 0)
    write(writer, [Row(DROPPED, "upbit", "", "", 0, 0, 0, 3, "bus", b""), frame(5)], NS)
    disk.room = 10**9
    write(writer, [frame(6)], 10 * NS)
    report = verify(Tape(tmp_path))
    assert (report.faults, report.marked) == ([], 4)


def test_nothing_is_written_where_too_little_is_free(tmp_path):
    writer = writer_in(tmp_path, AMPLE._replace(free_bytes_min=2**62))
    write(writer, [frame(1)])
    assert (writer.lost, list(tmp_path.iterdir())) == (1, [])
    assert "MB are free on its disk" in writer.last_error


def test_segments_are_bounded_by_age_and_size_and_the_oldest_are_removed(tmp_path):
    writer = writer_in(tmp_path, AMPLE._replace(segment_bytes=50_000, keep_bytes=200_000))
    for number in range(100):
        write(writer, [frame(number, os.urandom(10_000))])
    writer.close(0, 0)
    sizes = [path.stat().st_size for path in Tape(tmp_path).paths]
    assert sum(sizes) <= 200_000 + 70_000  # the newest is never removed
    assert all(40_000 < size < 70_000 for size in sizes[:-1])
    assert writer.removed > 10
    numbers = [number for number, _ in Tape(tmp_path).rows()]
    assert numbers[-1] == 99
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))
    assert verify(Tape(tmp_path)).faults == []


def test_what_backtests_keep_of_a_segment_counts_and_goes_with_it(tmp_path):
    writer = writer_in(tmp_path, AMPLE._replace(segment_bytes=50_000, keep_bytes=400_000))
    kept = tmp_path / "tops"
    kept.mkdir()
    for number in range(60):
        write(writer, [frame(number, os.urandom(10_000))])
        for path in Tape(tmp_path).paths:
            (kept / f"{path.name}.tops").write_bytes(bytes(50_000))
    writer.close(0, 0)
    segments = Tape(tmp_path).paths
    assert sum(path.stat().st_size for path in (*segments, *kept.iterdir())) <= 400_000 + 120_000
    assert {path.stem for path in kept.iterdir()} <= {path.name for path in segments}
    assert writer.removed > 5


def test_a_file_in_the_place_of_that_folder_is_left_alone(tmp_path):
    (tmp_path / "tops").write_text("mine")
    writer = writer_in(tmp_path, AMPLE._replace(segment_bytes=20_000, keep_bytes=50_000))
    for number in range(20):
        write(writer, [frame(number, os.urandom(10_000))])
    writer.close(0, 0)
    assert writer.removed > 2
    assert writer.failures == 0
    assert (tmp_path / "tops").read_text() == "mine"


def test_old_segments_are_removed_also_those_of_other_recordings(tmp_path):
    old = writer_in(tmp_path, recording=RECORDING - 1)
    write(old, [frame(1)])
    old.close(0, 0)
    stranger = tmp_path / "notes.txt"
    stranger.write_text("mine")
    writer = writer_in(tmp_path, AMPLE._replace(keep_ms=1000))
    write(writer, [frame(1)])
    mtime_ms = Tape(tmp_path).paths[0].stat().st_mtime_ns // 1_000_000
    writer.close(0, mtime_ms + 2000)
    assert [path.name for path in Tape(tmp_path).paths] == [name_of(RECORDING, 0)]
    assert stranger.exists()
