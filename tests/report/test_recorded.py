"""What a report says of the recording of its run."""

import pytest

from arbshard.report.build import build
from arbshard.report.model import RecordedVenue
from arbshard.report.recorded import read_recorded
from arbshard.report.sources import read_sources
from arbshard.tape.format import Row, SegmentInfo
from arbshard.tape.writing import TapeBounds, TapeWriter

pytestmark = pytest.mark.needs("analysis", "tape")

RECORDING = 1_700_000_000_000


def row(kind, venue, at_ms, number=1):
    return Row(kind, venue, "c", "", 0, at_ms * 1_000_000, 0, number, "", b"data")


@pytest.fixture
def tape(run_dir):
    """Two venues, one of them with every kind of trouble, and what belongs to no venue."""

    def describe(segment, first_row):
        return SegmentInfo(recording=RECORDING, segment=segment, first_row=first_row, instance="t",
                           version="0", boot="b")  # fmt: skip

    writer = TapeWriter(run_dir / "tape", RECORDING, describe, TapeBounds(free_bytes_min=0))
    for one in (
        row("frame", "upbit", 1_000),
        row("frame", "upbit", 2_000),
        row("frame", "binance", 2_000),
        row("gap", "binance", 2_500),
        row("rest", "binance", 2_600),
        row("dropped", "binance", 3_000, number=7),
        row("dropped", "binance", 3_000, number=5),
        row("disconnect", "binance", 3_000),
        row("resubscribe", "binance", 3_000),
        row("decision", "", 3_000, number=41),
    ):
        writer.add(one)
    writer.flush(0, 0)
    writer.close(0, 0)
    return run_dir / "tape"


def test_rows_are_counted_by_venue(tape):
    troubled = RecordedVenue("binance", frames=1, requests=1, disconnects=1, resubscribed=1, gaps=1, lost=12)
    assert read_recorded(tape, 0) == (
        (RecordedVenue("", decisions=1), troubled, RecordedVenue("upbit", frames=2)),
        "",
    )
    found, _ = read_recorded(tape, 2_000)
    assert found[-1] == RecordedVenue("upbit", frames=1)


def test_the_report_shows_the_recording_of_its_run(run_dir, tape):
    report = build(read_sources(run_dir), 0)
    assert [one.venue for one in report.recorded] == ["", "binance", "upbit"]


def test_a_damaged_segment_is_named_and_what_comes_before_it_counts(run_dir, tape):
    (tape / "1700000000000-000001.arrows").write_bytes(b"something else")
    report = build(read_sources(run_dir), 0)
    assert report.recorded[-1] == RecordedVenue("upbit", frames=2)
    (note,) = [one for one in report.notes if "recording" in one]
    assert "1700000000000-000001.arrows" in note


def test_without_a_recording_the_report_has_none(run_dir):
    report = build(read_sources(run_dir), 0)
    assert report.recorded == ()
    assert not [one for one in report.notes if "recording" in one]
