"""When an alert begins, is sent, repeated and over."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.alerts.book import AlertBook, OpenAlert
from arbshard.alerts.conditions import Condition, Picture

SECOND = 1_000_000_000
REPEAT_S = 900.0


def condition(kind="feed", subject="upbit", after_s=0.0, text="it is down"):
    return Condition(kind, subject, "critical", text, "status", after_s)


class Follower:
    """A book with a clock."""

    def __init__(self, **levels):
        self.book = AlertBook(levels, REPEAT_S, 7200.0)
        self.now_s = 1000.0
        self.changes = []

    def show(self, *conditions, unknown=(), left=(), for_s=0.0):
        """Show a picture once, and every second for a while; the steps that followed."""
        before = len(self.changes)
        for _ in range(int(for_s) + 1):
            picture = Picture(conditions, frozenset(unknown), frozenset(left))
            self.changes += self.book.update(picture, int(self.now_s * SECOND), int(self.now_s * 1000))
            self.now_s += 1
        return [(one.step, one.is_sent) for one in self.changes[before:]]


@pytest.fixture
def follow():
    return Follower()


def test_it_begins_is_repeated_with_growing_pauses_and_is_withdrawn_once(follow):
    assert follow.show(condition()) == [("begins", True)]
    assert follow.show(condition(), for_s=REPEAT_S - 3) == []
    assert follow.show(condition(), for_s=2) == [("repeats", True)]
    assert follow.show(condition(), for_s=2 * REPEAT_S - 10) == []
    assert follow.show(condition(), for_s=20) == [("repeats", True)]
    assert follow.show(for_s=20) == [("over", True)]
    assert follow.book.holding == 0


HALT = condition("halt", "entries")


def test_what_another_host_sends_is_kept_and_not_sent(follow):
    assert follow.show(HALT, left=[HALT.key], for_s=3 * REPEAT_S) == [("begins", False)]
    assert follow.book.holding == 1
    assert follow.show(for_s=20) == [("over", False)]


def test_it_is_sent_when_the_other_host_is_lost(follow):
    assert follow.show(HALT, left=[HALT.key], for_s=5) == [("begins", False)]
    assert follow.show(HALT, for_s=3) == [("announced", True)]
    assert follow.show(for_s=20) == [("over", True)]


def test_what_was_sent_here_is_not_repeated_while_another_host_sends_and_its_end_is_told(follow):
    assert follow.show(HALT) == [("begins", True)]
    assert follow.show(HALT, left=[HALT.key], for_s=3 * REPEAT_S) == []
    assert follow.show(for_s=20) == [("over", True)]


def test_what_ends_before_its_time_is_no_alert(follow):
    assert follow.show(condition(after_s=10), for_s=8) == []
    assert follow.show(for_s=1) == []
    assert follow.show(condition(after_s=10), for_s=8) == []
    assert follow.show(condition(after_s=10), for_s=3) == [("begins", True)]


def test_a_short_absence_is_no_end(follow):
    follow.show(condition())
    assert follow.show(for_s=3) == []
    assert follow.show(condition(), for_s=30) == []
    assert follow.show(for_s=6) == [("over", True)]


def test_how_long_it_lasted_is_counted_until_it_went_away(follow):
    follow.show(condition(), for_s=39)
    follow.show(for_s=30)
    assert follow.changes[-1].step == "over"
    assert follow.changes[-1].lasted_s == 40


def test_what_is_not_known_neither_begins_nor_ends(follow):
    follow.show(condition(), condition("halt", ""))
    assert follow.show(unknown=["feed", "halt"], for_s=100) == []
    assert follow.book.holding == 2
    assert follow.show(condition(), for_s=20) == [("over", True)]


def test_what_comes_and_goes_is_kept_each_time_and_sent_less_and_less(follow):
    steps = []
    for _ in range(60):
        steps += follow.show(condition(), for_s=9)
        steps += follow.show(for_s=9)
    begun = [is_sent for step, is_sent in steps if step == "begins"]
    assert len(begun) == 60
    sent = Counter(step for step, is_sent in steps if is_sent)
    assert sent["begins"] + sent["announced"] <= 6
    assert sent["over"] == sent["begins"] + sent["announced"]


def test_what_was_not_sent_is_sent_once_its_pause_has_passed_and_it_still_holds(follow):
    follow.show(condition(), for_s=5)
    follow.show(for_s=10)
    assert follow.show(condition()) == [("begins", False)]
    assert follow.show(condition(), for_s=60) == [("announced", True)]


@pytest.mark.parametrize(("level", "steps"), [("off", []), ("silent", [("begins", False), ("over", False)])])
def test_levels(level, steps):
    follow = Follower(feed=level)
    assert [*follow.show(condition(), for_s=2000), *follow.show(for_s=20)] == steps


def test_alerts_of_an_earlier_process_go_on(follow):
    begun = OpenAlert(condition(), 1, is_announced=True, repeats=0)
    unsent = OpenAlert(condition("halt", ""), 1, is_announced=False, repeats=0)
    follow.book.restore([begun, unsent], 1000 * SECOND, 1_000_000)
    assert follow.show(condition(), condition("halt", "")) == [("announced", True)]
    assert sorted(follow.show(for_s=20)) == [("over", True), ("over", True)]
    assert follow.changes[-1].lasted_s == pytest.approx(1000, abs=2)


def test_events_of_one_kind_are_sent_with_pauses_and_all_are_kept(follow):
    steps = []
    for _ in range(200):
        steps += follow.book.add_event(
            "worker-# ended", "worker-1 ended", "alerts", int(follow.now_s * SECOND), 1
        )
        follow.now_s += 10
    assert len(steps) == 200
    sent = [one for one in steps if one.is_sent]
    assert 3 <= len(sent) <= 6
    assert "and 5 like it before" in sent[1].text
    assert Follower(event="off").book.add_event("a", "a", "alerts", 1, 1) == []


KEYS = [("feed", "upbit"), ("feed", "binance"), ("halt", "")]
MOMENTS = st.lists(
    st.tuples(
        st.sets(st.sampled_from(KEYS)), st.sets(st.sampled_from(["feed", "halt"])), st.integers(1, 400)
    ),
    max_size=60,
)


@given(MOMENTS, st.sampled_from([0.0, 7.0]))
def test_no_condition_is_lost_and_each_alert_begins_and_ends_once(moments, after_s):
    """Whatever comes, goes and is unknown, in whatever pace."""
    book = AlertBook({}, REPEAT_S, 7200.0)
    now_s, steps = 1000, defaultdict(list)
    held_s = dict.fromkeys(KEYS, 0)
    for shown, unknown, for_s in moments:
        holding = {key for key in shown if key[0] not in unknown}
        conditions = tuple(condition(*key, after_s) for key in KEYS if key in holding)
        for _ in range(for_s):
            now_s += 1
            for one in book.update(Picture(conditions, frozenset(unknown)), now_s * SECOND, now_s * 1000):
                steps[one.kind, one.subject].append((one.step, one.is_sent, now_s))
        for key in KEYS:
            if key in holding:
                held_s[key] = held_s[key] + for_s
                if held_s[key] > after_s + 1:
                    assert steps[key], f"{key} holds, and no alert of it began"
                    assert steps[key][-1][0] != "over"
            elif key[0] not in unknown:
                held_s[key] = 0
    for found in steps.values():
        is_open = was_sent = False
        last_sent_s, sent = None, 0
        for step, is_sent, at_s in found:
            assert (step == "begins") != is_open
            if step == "over":
                assert is_sent == was_sent  # withdrawn if, and only if, it was sent
            is_open = step != "over"
            was_sent = (was_sent and step != "begins") or is_sent
            if is_sent and step != "over":
                assert last_sent_s is None or at_s - last_sent_s >= 60
                last_sent_s, sent = at_s, sent + 1
        assert sent <= 2 + (now_s - 1000) / 60
