"""What silence is a stall, and what is done about it: on times that the test makes up."""

import itertools

import pytest

from arbshard.venues.base.market import SilenceRules
from supervisor.feeds.silence import Remedy, SilenceAction, SilenceDetector

S = 10**9
RULES = SilenceRules(connection_min_s=3.0, connection_max_s=30.0, symbol_min_s=10.0, symbol_max_s=120.0)


class Feed:
    """Markets that send every so many seconds; looked at twice a second."""

    def __init__(self, silence, **gaps_s):
        self.silence = silence
        self.gaps_s = gaps_s
        self.heard = dict.fromkeys(gaps_s, 0)
        self.next_s = dict(gaps_s)
        self.now_s = 0.0
        self.done = []

    def run(self, seconds, *mute):
        """Verdicts of the time, with when."""
        found = []
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 0.5
            for symbol, gap_s in self.gaps_s.items():
                while self.next_s[symbol] <= self.now_s:
                    self.next_s[symbol] += gap_s
                    if symbol not in mute:
                        self.heard[symbol] += 1
            verdicts = self.silence.judge(sum(self.heard.values()), self.heard, int(self.now_s * S))
            found += [(self.now_s, verdict) for verdict in verdicts]
        return found


def test_a_connection_that_talks_all_the_time_is_missed_after_a_few_seconds():
    feed = Feed(SilenceDetector(RULES, 0.0, 0), A=0.05, B=0.05)
    assert feed.run(60) == []
    ((at_s, verdict),) = feed.run(4, "A", "B")
    assert verdict == SilenceAction(Remedy.RECONNECT)
    assert 63 <= at_s <= 64
    assert feed.silence.stalls == 1


def test_a_connection_that_talks_seldom_is_given_time():
    feed = Feed(SilenceDetector(RULES, 0.0, 0), A=5.0)
    assert feed.run(300) == []
    assert feed.run(15, "A") == []
    found = feed.run(30, "A")
    assert found[0][1].remedy is Remedy.RECONNECT


def test_nothing_is_learned_yet():
    silence = SilenceDetector(RULES, 0.0, 0)
    feed = Feed(silence, A=1.0)
    assert feed.run(29, "A") == []
    assert [one.remedy for _, one in feed.run(3, "A")] == [Remedy.RECONNECT]


def test_one_market_falls_silent_while_others_go_on():
    """Asked for again, then renewed once, then left be with growing pauses and shown as quiet."""
    feed = Feed(SilenceDetector(RULES, 0.0, 0), A=0.1, B=0.1)
    assert feed.run(60) == []
    found = feed.run(1200, "B")
    cures = [(verdict.remedy, verdict.symbols) for _, verdict in found]
    assert cures[:3] == [
        (Remedy.RESUBSCRIBE, ("B",)), (Remedy.RENEW, ("B",)), (Remedy.RESUBSCRIBE, ("B",)),
    ]  # fmt: skip
    assert {remedy for remedy, _ in cures[2:]} == {Remedy.RESUBSCRIBE}
    times = [at_s for at_s, _ in found]
    gaps = [b - a for a, b in zip([60.0, *times], times, strict=False)]
    assert gaps[0] == pytest.approx(10, abs=1)
    assert all(later > 1.8 * earlier for earlier, later in itertools.pairwise(gaps))
    assert feed.silence.quiet == ("B",)
    assert feed.silence.stalls == 1
    feed.run(5)
    assert feed.silence.quiet == ()


def test_many_quiet_markets_do_not_keep_a_connection_in_renewal():
    names = [f"Q{n}" for n in range(30)]
    feed = Feed(SilenceDetector(RULES, 0.0, 0), A=0.1, **dict.fromkeys(names, 0.5))
    feed.run(60)
    renewals = 0
    for n in range(1, 31):  # one after the other
        renewals += sum(one.remedy is Remedy.RENEW for _, one in feed.run(20, *names[:n]))
    assert 1 <= renewals <= 2
    assert len(feed.silence.quiet) >= 20


def test_a_market_that_is_usually_quiet_is_no_fault():
    feed = Feed(SilenceDetector(RULES, 0.0, 0), A=0.1, B=25.0)
    feed.run(1000)
    before = feed.silence.stalls
    assert feed.run(2000) == []
    assert feed.silence.stalls == before


def test_bursts_are_learned_too():
    """Busy for a while, then nothing for half a minute, and so on: what is usual is the long pause."""
    feed = Feed(SilenceDetector(RULES, 0.0, 0), A=0.1, B=0.1)
    found = []
    for _ in range(20):
        feed.run(30)
        found.append(len(feed.run(30, "B")))
    assert found[0] == 1
    assert sum(found[1:]) == 0


def test_a_new_connection_starts_the_wait_anew_and_patience_grows_until_something_comes():
    silence = SilenceDetector(RULES, 2.0, 0)
    feed = Feed(silence, A=0.1)
    feed.run(30)
    waits = []
    for _ in range(4):
        began_s = feed.now_s
        ((at_s, verdict),) = feed.run(2 * 2.0 ** len(waits) + 1.5, "A")[:1]
        assert verdict.remedy is Remedy.RECONNECT
        waits.append(at_s - began_s)
        feed.heard["A"] = 0
        silence.begin(int(feed.now_s * S))
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(waits))
    feed.run(5)
    assert len(feed.run(3, "A")) == 1  # at once again


def test_markets_taken_out_are_forgotten():
    feed = Feed(SilenceDetector(RULES, 0.0, 0), A=0.1, B=0.1)
    feed.run(60)
    del feed.gaps_s["B"], feed.heard["B"]
    assert feed.run(100) == []


class Answering:
    """A connection of quiet markets on which the venue answers pings for a while."""

    def __init__(self, silence, *symbols):
        self.silence, self.now_s, self.ponged_s = silence, 0.0, 0.0
        self.heard = dict.fromkeys(symbols, 0)

    def run(self, seconds, *, answers=True, snapshots=True):
        found, end_s = [], self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 0.5
            if answers and self.silence.needs_ping(int(self.now_s * S)):
                self.ponged_s = self.now_s
            actions = self.silence.judge(
                sum(self.heard.values()), self.heard, int(self.now_s * S), int(self.ponged_s * S)
            )
            for action in actions:
                found.append((self.now_s, action.remedy))
                for symbol in action.symbols if snapshots else ():
                    self.heard[symbol] += 1  # the venue sends the book once more
                if action.remedy is Remedy.RECONNECT:
                    self.silence.begin(int(self.now_s * S))
                    self.heard = {symbol: int(snapshots) for symbol in self.heard}
        return found


def test_quiet_markets_keep_a_connection_on_which_pings_are_answered():
    feed = Answering(SilenceDetector(SilenceRules(), 0.0, 0), "A", "B")
    feed.heard = {"A": 1, "B": 1}
    found = feed.run(3600)
    assert {remedy for _, remedy in found} == {Remedy.RESUBSCRIBE}
    assert len(found) <= 3600 / 120  # so often at most they are asked for again


def test_a_connection_on_which_no_ping_is_answered_is_replaced():
    feed = Answering(SilenceDetector(SilenceRules(), 0.0, 0), "A")
    feed.heard = {"A": 1}
    found = feed.run(31, answers=False)
    assert [remedy for _, remedy in found] == [Remedy.RECONNECT]
    assert feed.run(10, answers=True) == []


def test_an_answer_that_came_before_the_silence_proves_nothing():
    feed = Answering(SilenceDetector(SilenceRules(), 0.0, 0), "A")
    feed.run(20)
    assert feed.ponged_s > 0
    feed.heard["A"] += 1
    assert [remedy for _, remedy in feed.run(31, answers=False)] == [Remedy.RECONNECT]


def test_an_answered_ping_does_not_excuse_a_connection_that_used_to_talk():
    silence = SilenceDetector(SilenceRules(), 0.0, 0)
    feed = Feed(silence, A=0.05)
    assert feed.run(60) == []
    count, now_ns = feed.heard["A"], int(feed.now_s * S)
    for step in range(1, 10):
        at_ns = now_ns + step * S // 2
        found = silence.judge(count, {"A": count}, at_ns, at_ns)
        if found:
            break
    assert found == [SilenceAction(Remedy.RECONNECT)]
    assert step <= 8
    quiet = Answering(silence, "A")  # the successor brings the book, and nothing after it
    quiet.now_s, quiet.heard = at_ns / S, {"A": 1}
    silence.begin(at_ns)
    assert {remedy for _, remedy in quiet.run(600)} <= {Remedy.RESUBSCRIBE}
