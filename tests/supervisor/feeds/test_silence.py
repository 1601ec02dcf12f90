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
