"""Rows come in the order of their receipt, whatever the order in which they were written."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.backtest import rows
from arbshard.backtest.rows import TapePart, TapeRows, delayed
from arbshard.config import Config
from arbshard.tape.format import Row, SegmentInfo
from arbshard.tape.writing import TapeBounds, TapeWriter
from arbshard.virtual.exchange import SimWorld
from arbshard.virtual.settings import universe_of

pytestmark = pytest.mark.needs("analysis", "tape")

RECORDING = 1_700_000_000_000
OFFSET = RECORDING * 1_000_000 - 1_000_000_000
CONFIG = Config()
UNIVERSE = universe_of(SimWorld(CONFIG.sim), CONFIG)


def write(folder, received, boot="one", recording=RECORDING, offset_ns=OFFSET):
    def describe(segment, first_row):
        return SegmentInfo(
            recording=recording, segment=segment, first_row=first_row, instance="t", version="0", boot=boot,
            universe=msgspec.Raw(msgspec.json.encode(UNIVERSE)), config=msgspec.Raw(msgspec.json.encode(CONFIG)),
        )  # fmt: skip

    writer = TapeWriter(folder, recording, describe, TapeBounds(free_bytes_min=0))
    for number, (venue, at_ns) in enumerate(received):
        data = b"%d" % number
        writer.add(Row("frame", venue, venue, "", at_ns, at_ns + offset_ns, 0, number, "", data))
        if number % 3 == 2:
            writer.flush(0, 0)
    writer.close(0, 0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["upbit", "binance"]), st.integers(0, 400_000_000)), min_size=1, max_size=40
    )
)
def test_rows_come_in_the_order_of_receipt(tmp_path_factory, steps):
    times = {"upbit": 1_000_000_000, "binance": 1_000_000_000}
    received = []
    for venue, step_ns in steps:
        times[venue] += step_ns
        received.append((venue, times[venue]))
    folder = tmp_path_factory.mktemp("rows")
    write(folder, received)
    found = TapeRows(TapePart(str(folder)))
    read = [row for batch in found.rows() for row in batch]
    assert [row[0] for row in read] == sorted(row[0] for row in read)
    assert sorted(int(row[3]) for row in read) == list(range(len(received)))
    for venue in times:
        mine = [int(row[3]) for row in read if row[5] == venue]
        assert mine == sorted(mine)
    assert all(row[0] >= row[1] for row in read)


def test_rows_that_come_too_late_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_BLOCK_ROWS", 1)
    late = [("binance", 2_000_000_000)] * 3
    write(tmp_path, [("upbit", 9_000_000_000)] * 3 + [("upbit", 12_000_000_000)] * 3 + late)
    found = TapeRows(TapePart(str(tmp_path)))
    read = [row for batch in found.rows() for row in batch]
    assert [row[0] for row in read] == sorted(row[0] for row in read)
    assert [row[0] for row in read if row[5] == "binance"] == [9_000_000_000] * 3
    assert found.late == 3


def test_another_boot_goes_on_by_the_wall_clock(tmp_path):
    write(tmp_path, [("upbit", 1_000_000_000)])
    later_ns = RECORDING * 1_000_000 + 60_000_000_000
    write(tmp_path, [("upbit", 5)], boot="two", recording=RECORDING + 60_000, offset_ns=later_ns - 5)
    read = [row for batch in TapeRows(TapePart(str(tmp_path))).rows() for row in batch]
    assert [row[1] for row in read] == [1_000_000_000, 61_000_000_000]


def test_a_frame_is_delayed_by_frames_of_its_own_market():
    def row(at_ns, data):
        return (at_ns, at_ns, "c", data, None, "upbit", (data.decode(), 1.0, 2.0))

    given_rows = [
        row(1, b"a1"),
        row(2, b"b1"),
        row(3, b"a2"),
        row(4, b"control"),
        row(5, b"a3"),
        row(6, b"b2"),
    ]
    route = {"upbit": lambda data: data[:1].decode() if data != b"control" else None}
    found = [(one[0], one[1], one[3]) for batch in delayed(iter([given_rows]), 1, route) for one in batch]
    assert found == [(3, 3, b"a1"), (4, 4, b"control"), (5, 5, b"a2"), (6, 6, b"b1")]
    again = [one for batch in delayed(iter([given_rows]), 1, route) for one in batch]
    assert all(one[6][0] == one[3].decode() for one in again)  # each frame keeps its own glance
