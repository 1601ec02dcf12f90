"""Buckets lie side by side; percentiles are never below the truth and at most 12.5 % above it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.shm.pages import BUCKETS, NS_MAX, Histogram, bucket_end, bucket_of

durations = st.one_of(st.integers(0, 100), st.integers(0, 10**6), st.integers(0, NS_MAX))


def test_buckets_lie_side_by_side_and_reach_the_last():
    for bucket in range(BUCKETS - 1):
        assert bucket_of(bucket_end(bucket)) == bucket
        assert bucket_of(bucket_end(bucket) + 1) == bucket + 1
    assert bucket_end(BUCKETS - 1) == NS_MAX
    assert bucket_of(NS_MAX) == bucket_of(NS_MAX + 1) == bucket_of(10**30) == BUCKETS - 1
    assert bucket_of(-5) == bucket_of(0) == 0


@given(durations)
def test_a_bucket_is_at_most_an_eighth_wide(ns):
    assert ns <= bucket_end(bucket_of(ns)) <= ns * 1.125


@given(
    st.lists(durations, min_size=1, max_size=200),
    st.one_of(st.floats(0, 100), st.sampled_from([0, 50, 99, 100])),
)
def test_percentiles_against_exact_ones(values, p):
    rank = max(1, math.ceil(len(values) * p / 100))
    exact = sorted(values)[rank - 1]
    found = Histogram.of(values).percentile_ns(p)
    assert exact <= found <= exact * 1.125


@given(st.lists(durations), st.lists(durations))
def test_merging_is_recording_both_and_minus_is_its_reverse(first, second):
    a, b = Histogram.of(first), Histogram.of(second)
    both = Histogram.of(first + second)
    assert a.merge(b) == both
    rest = both.minus(a)
    assert (rest.buckets, rest.total_ns, rest.count) == (b.buckets, b.total_ns, len(second))
    assert b.max_ns <= rest.max_ns <= b.max_ns * 1.125


@given(st.lists(durations, min_size=1))
def test_count_mean_and_longest_are_exact(values):
    histogram = Histogram.of(values)
    assert histogram.count == len(values)
    assert histogram.mean_ns == pytest.approx(sum(values) / len(values))
    assert histogram.max_ns == histogram.percentile_ns(100) == max(values)


def test_an_empty_one_is_all_zero():
    empty = Histogram()
    assert (empty.count, empty.mean_ns, empty.percentile_ns(99), empty.max_ns) == (0, 0.0, 0, 0)
    assert empty == Histogram.of([])


def test_after_a_restart_of_the_page_all_is_new():
    assert Histogram.of([5]).minus(Histogram.of([5, 7])) == Histogram.of([5])


def test_longer_than_the_last_bucket_is_told_by_the_longest():
    assert Histogram.of([1, 10**14]).percentile_ns(99) == 10**14
