"""When a worker is called stuck, and when not."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.risk.shards.liveness import Sample, ShardJudge

MS = 1_000_000
STUCK_MS = 1000
TICK_MS = 50


class Room:
    """A worker and its ring, looked at every 50 ms."""

    def __init__(self, stuck_ms=STUCK_MS):
        self.judge = ShardJudge(stuck_ms * MS)
        self.now_ns = 10**12
        self.epoch = 1
        self.page = SimpleNamespace(epoch=1, is_running=True, beats=0, seen=0, head=0)
        self.has_page = True

    def step(self, *, beats=True, sees=True, quotes=1, ms=TICK_MS):
        self.now_ns += ms * MS
        self.page.head += quotes
        self.page.beats += beats
        if sees and beats:
            self.page.seen = self.page.head
        return self.look()

    def look(self):
        sample = Sample(**vars(self.page)) if self.has_page else None
        return self.judge.judge(sample, self.epoch, self.now_ns)

    def run(self, ms, **how):
        """The health at each look."""
        return [self.step(**how) for _ in range(ms // TICK_MS)]


@pytest.fixture
def room():
    return Room()


def kinds(verdicts):
    return {one.health for one in verdicts}


def until_stuck_ms(verdicts):
    return next((n + 1) * TICK_MS for n, one in enumerate(verdicts) if one.health == "stuck")


def test_a_worker_that_works_is_alive(room):
    assert kinds(room.run(5000)) == {"alive"}


def test_beats_that_stand_still_while_quotes_go_on(room):
    room.run(500)
    found = room.run(2000, beats=False)
    assert until_stuck_ms(found) == STUCK_MS + TICK_MS  # from the first quote that was not served
    assert found[-1].reason.startswith("no beat for ")
    assert "quotes came" in found[-1].reason


def test_a_loop_that_looks_at_nothing_though_its_timer_beats(room):
    room.run(500)
    found = room.run(2000, sees=False)
    assert until_stuck_ms(found) == STUCK_MS + TICK_MS
    assert found[-1].reason.startswith("nothing was looked at for ")


def test_without_quotes_nothing_is_said(room):
    room.run(500)
    found = room.run(5000, beats=False, quotes=0)
    assert "stuck" not in kinds(found)
    assert found[-1].health == "quiet"


def test_a_feed_that_dies_together_with_the_worker_is_the_feeds_fault(room):
    room.run(500)
    room.step(beats=False)
    room.step(beats=False)
    assert "stuck" not in kinds(room.run(5000, beats=False, quotes=0))


def test_quotes_that_come_again_show_that_it_stands_still(room):
    room.run(500)
    room.step(beats=False)
    room.run(5000, beats=False, quotes=0)
    assert room.step(beats=False).health == "stuck"


def test_quotes_far_apart_are_quotes(room):
    room.run(500)
    found = [room.step(beats=False, quotes=n % 40 == 0) for n in range(100)]
    assert "stuck" in kinds(found)


def test_one_that_has_looked_at_everything_has_nothing_to_do(room):
    """Its timer beats, its ring is empty: asleep, as it should be."""
    room.run(500)
    assert "stuck" not in kinds(room.run(5000, quotes=0))


@pytest.mark.parametrize("change", [{"is_running": False}, {"epoch": 2}, {"epoch": 0}])
def test_who_is_not_up_or_another_is_not_judged(room, change):
    room.run(500)
    vars(room.page).update(change)
    assert kinds(room.run(3000, beats=False)) == {"unjudged"}


def test_a_worker_without_a_page_is_not_judged(room):
    room.has_page = False
    assert kinds(room.run(3000, beats=False)) == {"unjudged"}


def test_a_successor_begins_with_a_clean_slate(room):
    room.run(500)
    assert room.run(900, beats=False)[-1].health == "alive"
    room.epoch = room.page.epoch = 2
    assert kinds(room.run(900, beats=False)) == {"alive"}
    assert room.run(300, beats=False)[-1].health == "stuck"


def test_a_judge_that_slept_does_not_shoot_the_living(room):
    """All of the machine stood still, or risk alone: the worker had no chance to be seen."""
    room.run(500)
    assert room.step(beats=False, quotes=1000, ms=60_000).health == "alive"
    assert room.step(beats=False).health == "alive"
    assert kinds(room.run(3000)) == {"alive"}


def test_and_finds_the_dead_all_the_same(room):
    room.run(500)
    room.step(beats=False, ms=60_000)
    assert room.run(1200, beats=False)[-1].health == "stuck"


STEPS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.integers(0, 3), st.integers(1, 900)), min_size=1, max_size=120
)


@given(steps=STEPS, stuck_ms=st.sampled_from([100, 400, 1000]))
def test_nobody_is_called_stuck_without_cause(steps, stuck_ms):
    """Only who neglected quotes for long enough, as seen without a pause, while quotes still come."""
    room = Room(stuck_ms)
    room.look()
    beaten_ns = seen_ns = watched_ns = room.now_ns
    quoted_ns = 0
    for beats, sees, quotes, ms in steps:
        if ms * 2 > stuck_ms:
            watched_ns = room.now_ns + ms * MS
        verdict = room.step(beats=beats, sees=sees, quotes=quotes, ms=ms)
        if beats:
            beaten_ns = room.now_ns
        if room.page.seen == room.page.head:
            seen_ns = room.now_ns
        if quotes:
            quoted_ns = room.now_ns
        if verdict.health == "stuck":
            assert room.now_ns - min(beaten_ns, seen_ns) >= stuck_ms * MS
            assert room.now_ns - watched_ns >= stuck_ms * MS
            assert (room.now_ns - quoted_ns) * 2 <= stuck_ms * MS


@given(before=st.lists(st.integers(0, 5), max_size=40), quotes=st.integers(1, 5), deaf=st.booleans())
def test_everybody_who_stands_still_is_found_in_time(before, quotes, deaf):
    room = Room()
    for number in before:
        room.step(quotes=number)
    found = room.run(STUCK_MS + 3 * TICK_MS, beats=deaf, sees=False, quotes=quotes)
    assert found[-1].health == "stuck"
