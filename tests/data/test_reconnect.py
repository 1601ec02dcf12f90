"""Pauses between tries to connect."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from arbshard.data.reconnect import Backoff

S = 1_000_000_000


class Most(Random):
    """Always the longest pause."""

    def uniform(self, a, b):
        return b


def test_at_once_then_doubling_up_to_half_a_minute():
    backoff = Backoff(Most())
    assert [backoff.after_loss(0) for _ in range(10)] == [0.0, 0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_connection_that_held_starts_anew():
    backoff = Backoff(Most())
    for _ in range(5):
        backoff.after_loss(0)
    assert backoff.after_loss(10 * S - 1) == 4
    assert backoff.after_loss(10 * S) == 0.0
    assert backoff.after_loss(0) == 0.25


@given(seed=st.integers(0, 2**32), failures=st.integers(1, 60))
def test_jitter_stays_between_half_and_all(seed, failures):
    steady, jittered = Backoff(Most()), Backoff(Random(seed))
    for _ in range(failures):
        most, pause = steady.after_loss(0), jittered.after_loss(0)
        assert most / 2 <= pause <= most


def test_two_connections_lost_together_come_back_apart():
    one, other = Backoff(Random(1)), Backoff(Random(2))
    assert [one.after_loss(0) for _ in range(4)][1:] != [other.after_loss(0) for _ in range(4)][1:]


def test_fails_for_ever_without_overflow():
    backoff = Backoff(Random(1))
    assert max(backoff.after_loss(0) for _ in range(5000)) <= 30.0


def test_a_success_makes_the_next_failure_a_first_one():
    backoff = Backoff(Random(1))
    for _ in range(3):
        backoff.after_loss(0)
    backoff.succeeded()
    assert backoff.after_loss(0) == 0.0
