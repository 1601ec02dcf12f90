"""The best prices beside a tape are what the codecs say of its frames, and are parsed anew where anything changed."""

from math import isnan

import pytest

from arbshard.backtest import tops
from arbshard.backtest.tops import FOLDER, NO_UPDATE, UNSENT_MS, TapeTops
from arbshard.errors import FrameError
from arbshard.tape import TapeError
from arbshard.tape.reading import Tape
from arbshard.tape.writing import TapeBounds, TapeWriter
from arbshard.venues.registry import get_adapter, get_venue
from perf.tapes import make_tape

pytestmark = pytest.mark.needs("analysis", "tape")


@pytest.fixture
def tape(tmp_path):
    """Some seconds of two pairs, with frames that are cut, and two batches that differ in one."""
    made, folder = tmp_path / "made", tmp_path / "tape"
    make_tape(made, seconds=4, pairs=2, updates_per_s=3, seed=3)
    folder.mkdir()
    info = next(Tape(made).segments()).info
    writer = TapeWriter(folder, info.recording, lambda *_: info, TapeBounds(free_bytes_min=0))
    for number, (_, row) in enumerate(Tape(made).rows()):
        writer.add(row if number % 7 else row._replace(data=row.data[:-9]))
        if number % 20 == 19:
            writer.flush(0, 0)
    writer.close(0, 0)
    return folder


def read(folder):
    """What each row is given, and how many batches were parsed for it."""
    found = TapeTops()
    rows = []
    for segment in Tape(folder).segments():
        for batch in found.batches(segment):
            names = (
                [batch.names[number] for number in column.tolist()]
                for column in (batch.kinds, batch.venues, batch.connections, batch.markets)
            )
            columns = (
                batch.at_ns,
                batch.at_ns + batch.offset_ns,
                batch.bids,
                batch.asks,
                batch.sent_ms,
                batch.updates,
                batch.is_touch,
            )
            kinds, venues, connections, markets = names
            data = [one for _, load in batch.sources for one in load().column("data").to_pylist()]
            numbers = [column.tolist() for column in columns]
            rows += zip(kinds, venues, data, markets, *numbers[2:], connections, *numbers[:2], strict=True)
    return rows, found.parsed


def plain(rows):
    return [tuple(map(repr, row)) for row in rows]  # NaN is not equal to itself


def kept_file(folder):
    (path,) = (folder / FOLDER).iterdir()
    return path


def test_each_frame_is_given_what_its_codec_says(tape):
    rows, parsed = read(tape)
    written = [row for _, row in Tape(tape).rows()]
    assert len(rows) == len(written)
    sound = 0
    for given, row in zip(rows, written, strict=True):
        kind, venue, data, market, bid, ask, sent_ms, update, is_touch, connection, at_ns, wall_ns = given
        assert (kind, venue, data, connection) == (row.kind, row.venue, row.data, row.connection)
        assert (at_ns, wall_ns) == (row.at_ns, row.wall_ns)
        codec = get_venue(venue)
        assert (market or None) == (codec.route(data) if kind == "frame" else None)
        try:
            top = codec.top_of_book(data, 1) if market else None
        except FrameError:
            top = None
        if top is None:
            assert isnan(bid)
            assert isnan(ask)
        else:
            assert (bid, ask) == (top.best_bid, top.best_ask)
            sound += 1
        expected_ms = codec.sent_ms(data) if market else None
        assert sent_ms == (UNSENT_MS if expected_ms is None else expected_ms)
        fused = get_adapter(venue).fused
        if fused is not None and market:
            touch = fused.touch_of(data)
            number = touch.update_id if touch is not None else fused.depth_id(data)
            assert (update, is_touch) == (NO_UPDATE if number is None else number, touch is not None)
        else:
            assert (update, is_touch) == (NO_UPDATE, 0)
    assert parsed > 1
    assert 0.5 * len(rows) < sound < len(rows)


def test_what_was_parsed_is_kept(tape):
    first, _ = read(tape)
    again, parsed = read(tape)
    assert parsed == 0
    assert plain(again) == plain(first)


def test_batches_that_have_changed_are_parsed_anew(tape):
    first, before = read(tape)
    (path,) = Tape(tape).paths
    rows = [row for _, row in Tape(tape).rows()]
    info = next(Tape(tape).segments()).info
    path.unlink()
    writer = TapeWriter(tape, info.recording, lambda *_: info, TapeBounds(free_bytes_min=0))
    for number, row in enumerate(rows):
        writer.add(row._replace(data=b"{}") if number == 25 else row)
        if number % 20 == 19:
            writer.flush(0, 0)
    writer.close(0, 0)
    again, parsed = read(tape)
    assert 0 < parsed < before
    differing = [place for place, (a, b) in enumerate(zip(plain(again), plain(first), strict=True)) if a != b]
    assert differing == [25]
    assert again[25][3] == ""


def test_another_codec_parses_anew(tape, monkeypatch):
    _, before = read(tape)
    monkeypatch.setattr(tops, "_codecs_hash", lambda: "other")
    assert read(tape)[1] == before
    assert read(tape)[1] == 0


@pytest.mark.parametrize("place", [0.0, 0.2, 0.5, 0.9])
def test_a_damaged_file_is_not_used(tape, place):
    first, before = read(tape)
    path = kept_file(tape)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0x55
    path.write_bytes(content)
    again, parsed = read(tape)
    assert plain(again) == plain(first)
    assert parsed == before
    assert read(tape)[1] == 0


def test_a_file_cut_short_is_not_used(tape):
    first, before = read(tape)
    path = kept_file(tape)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    again, parsed = read(tape)
    assert plain(again) == plain(first)
    assert parsed == before


def test_what_is_kept_goes_with_its_segment(tape):
    read(tape)
    kept = kept_file(tape)
    kept.rename(kept.with_name("1000000000000-000000.arrows.tops"))
    read(tape)
    assert kept_file(tape) == kept


def test_a_folder_that_cannot_be_written_costs_the_time_alone(tape):
    (tape / FOLDER).write_bytes(b"")
    first, parsed = read(tape)
    again, parsed_again = read(tape)
    assert plain(first) == plain(again)
    assert parsed == parsed_again > 0


def test_a_batch_is_unpacked_only_on_demand_and_checked_then(tape):
    """Where the bytes of the segment are those that were read before, none of its batches is unpacked."""
    read(tape)
    segment = next(Tape(tape).segments())
    whole = list(segment.batches())
    segment.checked_batches = None  # nothing reads the segment as a whole
    batches = list(TapeTops().batches(segment))
    assert [load() for batch in batches for _, load in batch.sources] == whole
    segment.batch = lambda number, content, load=segment.batch: load(number, b"0")
    with pytest.raises(TapeError, match="batch 0 is damaged"):
        next(TapeTops().batches(segment)).sources[0][1]()


def test_a_segment_whose_bytes_have_changed_is_read_anew_and_refused(tape):
    read(tape)
    (path,) = Tape(tape).paths
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(TapeError, match="damaged"):
        read(tape)


@pytest.mark.parametrize("is_fused", [False, True])
def test_levels_and_touches_are_told_apart(tmp_path, is_fused):
    make_tape(tmp_path, seconds=3, pairs=2, updates_per_s=5, seed=3, is_fused=is_fused)
    rows, _ = read(tmp_path)
    touches = [row for row in rows if row[8]]
    assert bool(touches) is is_fused
    assert all(bid < ask for _, _, _, _, bid, ask, *_ in touches)
    assert all(market for _, _, _, market, *_ in touches)
    assert all(update > NO_UPDATE for *_, update, _, _, _, _ in touches)
