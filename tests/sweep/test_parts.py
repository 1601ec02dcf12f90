"""A tape in parts of equal recorded time."""

import pytest

from arbshard.errors import UsageError
from arbshard.sweep.parts import cut, digest_of
from support.sweep_rig import BEGAN_MS, MINUTE_NS, write_tape

pytestmark = pytest.mark.needs("tape")
BEGAN_NS = BEGAN_MS * 1_000_000


def test_parts_follow_each_other_and_hold_the_same_time(tmp_path):
    parts = cut(write_tape(tmp_path, 121), 4)
    assert [(one.start_ns - BEGAN_NS) / MINUTE_NS for one in parts] == [0, 30, 60, 90]
    assert parts[0].end_ns == parts[1].start_ns
    assert parts[-1].end_ns == BEGAN_NS + 120 * MINUTE_NS + 1
    assert [one.number for one in parts] == [1, 2, 3, 4]
    assert parts[0].first_segment.endswith("-000000.arrows")
    assert parts[-1].last_segment.endswith("-000004.arrows")


def test_time_in_which_nothing_was_recorded_does_not_count(tmp_path):
    write_tape(tmp_path, 61)
    later = BEGAN_MS + 24 * 3_600_000
    write_tape(tmp_path, 61, recording=later)
    parts = cut(tmp_path, 2)
    assert [(one.start_ns - BEGAN_NS) / MINUTE_NS for one in parts] == [0, 24 * 60]
    assert parts[1].first_segment.startswith(str(later))


def test_a_tape_that_grows_or_loses_its_beginning_keeps_the_parts_digests(tmp_path):
    write_tape(tmp_path, 121)
    parts = cut(tmp_path, 4)
    write_tape(tmp_path, 30, recording=BEGAN_MS + 86_400_000)
    (tmp_path / parts[0].first_segment).unlink()
    assert digest_of(tmp_path, parts[2].first_segment, parts[2].last_segment) == parts[2].digest
    assert digest_of(tmp_path, parts[0].first_segment, parts[0].last_segment) != parts[0].digest


def test_a_changed_segment_is_another_part(tmp_path):
    write_tape(tmp_path, 121)
    (part,) = cut(tmp_path, 1)
    path = tmp_path / part.first_segment
    path.write_bytes(path.read_bytes() + b"\0")
    assert digest_of(tmp_path, part.first_segment, part.last_segment) != part.digest


def test_what_cannot_be_cut_is_said(tmp_path):
    with pytest.raises(UsageError, match="there is no tape in"):
        cut(tmp_path, 2)
    write_tape(tmp_path / "short", 5)
    with pytest.raises(UsageError, match=r"4\.0 minutes are recorded, and each of 6 parts needs one"):
        cut(tmp_path / "short", 6)
