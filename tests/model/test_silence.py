"""When a supervisor is silent, and when trading may go on after it."""

import pytest

from arbshard.model.silence import SilenceWatch

MS = 1_000_000


class Follower:
    """Looks every 20 ms; the supervisor beats every 20 ms unless it is held."""

    def __init__(self):
        self.watch = SilenceWatch()
        self.now_ms = 10_000
        self.beat_ms = 10_000
        self.back_ms = 0

    def go(self, span_ms, *, held=False):
        """Whether trading was stopped, at each look."""
        found = []
        for _ in range(0, span_ms, 20):
            self.now_ms += 20
            if not held:
                self.beat()
            found.append(self.watch.update(self.beat_ms * MS, self.back_ms * MS, self.now_ms * MS))
        return found

    def beat(self):
        """The supervisor beats, and says so if it was silent before."""
        if self.now_ms - self.beat_ms > 1_000:
            self.back_ms = self.now_ms
        self.beat_ms = self.now_ms


@pytest.fixture
def follower():
    return Follower()


def test_one_that_beats_is_not_silent(follower):
    assert not any(follower.go(10_000))


def test_before_the_first_beat_there_is_no_silence():
    assert SilenceWatch().update(0, 0, 100_000 * MS) is False


def test_after_a_second_it_is_silent_and_says_for_how_long(follower):
    follower.go(100)
    assert not any(follower.go(1_000, held=True))
    assert all(follower.go(3_000, held=True))
    assert follower.watch.silent_ns == 4_000 * MS


def test_trading_goes_on_by_itself_half_a_second_after_the_first_beat(follower):
    follower.go(100)
    follower.go(4_000, held=True)
    found = follower.go(1_000)
    assert found == [True] * 25 + [False] * 25
    assert follower.watch.silent_ns == 4_020 * MS


def test_one_beat_alone_is_not_a_return(follower):
    follower.go(100)
    follower.go(4_000, held=True)
    follower.go(20)
    assert all(follower.go(3_000, held=True))
    assert follower.go(1_000).index(False) == 25


def test_a_silence_in_which_we_stood_still_ourselves_is_seen(follower):
    """The frames that waited meanwhile look new, whether or not this process saw the pause."""
    follower.go(100)
    follower.now_ms += 3_000
    assert follower.go(20) == [True]
    assert follower.go(1_000).index(False) == 24
    assert follower.watch.silent_ns == 3_020 * MS


def test_a_pause_of_our_own_is_no_silence(follower):
    follower.go(100)
    for _ in range(150):
        follower.now_ms += 20
        follower.beat()
    assert not any(follower.go(1_000))


def test_one_that_begins_right_after_a_silence_waits_for_the_same_half_second(follower):
    follower.now_ms += 3_000
    follower.beat()
    follower.now_ms += 100
    follower.beat()
    assert follower.go(1_000).index(False) == 19
    assert follower.watch.silent_ns == 0


def test_one_that_begins_long_after_a_silence_trades_at_once(follower):
    follower.now_ms += 3_000
    follower.beat()
    follower.now_ms += 500
    follower.beat()
    assert not any(follower.go(1_000))


def test_one_that_begins_in_a_silence_waits_for_its_end(follower):
    follower.beat_ms -= 2_000
    assert all(follower.go(1_000, held=True))
    assert follower.go(1_000).index(False) == 25
