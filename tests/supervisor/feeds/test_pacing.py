"""The shared bucket: no window sees more than the venue allows, and a lone request does not wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.venues.base.market import RateLimit
from supervisor.feeds.pacing import Bucket, Spacing

S = 10**9


@given(
    st.integers(1, 50),
    st.floats(0.5, 300),
    st.lists(st.floats(0, 20), min_size=1, max_size=200),
)
def test_no_window_sees_more_than_the_limit(count, window_s, gaps_s):
    bucket = Bucket(RateLimit(count, window_s))
    now_ns, uses = 0, []
    for gap_s in gaps_s:
        now_ns += int(gap_s * S)
        uses.append(now_ns + bucket.reserve(now_ns))
    assert uses == sorted(uses)
    window_ns = int(window_s * S) - 1_000  # the division leaves a rest of nanoseconds
    for index, at in enumerate(uses):
        inside = sum(1 for other in uses[index:] if other < at + window_ns)
        assert inside <= count


@pytest.mark.parametrize("count", [1, 5, 300])
def test_after_a_pause_half_of_it_goes_at_once(count):
    bucket = Bucket(RateLimit(count, 10.0))
    at_once = [bucket.reserve(100 * S) for _ in range(max(count // 2, 1))]
    assert set(at_once) == {0}
    assert bucket.reserve(100 * S) > 0
    assert bucket.reserve(200 * S) == 0


def test_messages_keep_their_distance():
    spacing = Spacing(0.25)
    assert spacing.reserve(S) == 0
    assert spacing.reserve(S) == S // 4
    assert spacing.reserve(S + S // 8) == S // 4 * 2 - S // 8
    assert spacing.reserve(10 * S) == 0
