"""When silence is a stall: what a connection and each of its markets usually send, and what to do when they do not.

Pure: a few times a second ``SilenceDetector`` is given the numbers of frames so far, and returns what is to be done.
A market that stays silent after every remedy is quiet, not broken: it is asked for again at growing pauses, and it
is shown.

A connection whose markets are all quiet is not replaced while the venue answers pings on it. An answer proves nothing
where frames used to come all the time: such a connection is replaced once whatever it answers. If its successor
brings each book once and then nothing, the markets have become quiet.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from arbshard.venues.base.market import SilenceRules

_MEANS = 20.0
"""So many times the mean gap is unusual, and"""
_LONGEST = 4.0
"""so many times the longest of late."""
_FADES = 0.998
"""How the longest gap of late fades, with each count that is higher than the last."""
_SMOOTHING = 0.05
_LEARNED_AFTER = 20
"""Frames, before what was learned counts."""
_PAUSE_MAX_S = 3600.0
_RENEW_EVERY_NS = 600 * 10**9
"""One quiet market after the other must not keep a connection in renewal."""


class Remedy(Enum):
    """What is to be done."""

    RECONNECT = "reconnect"
    """The whole connection is silent."""
    RESUBSCRIBE = "resubscribe"
    """Some of its markets are: ask for them again."""
    RENEW = "renew"
    """Asking again did not help: a new connection for all, without losing the old one first."""


class SilenceAction(NamedTuple):
    """One remedy."""

    remedy: Remedy
    symbols: tuple[str, ...] = ()


class GapStatistics:
    """The usual gap between frames, and since when no frame has come."""

    def __init__(self, floor_s: float, ceiling_s: float, now_ns: int) -> None:
        self._floor_s = floor_s
        self._ceiling_s = ceiling_s
        self._mean_s = 0.0
        self._longest_s = 0.0
        self._gaps = 0
        self._heard = 0
        self._heard_ns = now_ns
        self._since_ns = now_ns
        """When a frame last came, or something was last done about the silence."""
        self.tries = 0
        """Remedies since a frame last came."""
        self._limit_s: float | None = None
        """What ``limit_s`` comes to; None after a change of what it is made of."""

    def count(self, heard: int, now_ns: int) -> bool:
        """Take in how many frames have come on this connection; whether there are more than before."""
        if heard == self._heard:
            return False
        if self._heard:  # a gap that a new connection ended says nothing of the market
            gap_s = (now_ns - self._heard_ns) / 1e9
            mean_s = gap_s / max(heard - self._heard, 1)
            self._mean_s = mean_s if not self._gaps else self._mean_s + _SMOOTHING * (mean_s - self._mean_s)
            self._longest_s = max(gap_s, self._longest_s * _FADES)
            self._gaps += max(heard - self._heard, 1)
        self._heard, self._heard_ns, self._since_ns, self.tries = heard, now_ns, now_ns, 0
        self._limit_s = None
        return True

    @property
    def limit_s(self) -> float:
        """Longer than this is unusual; twice as long after each remedy that did not help."""
        if self._limit_s is not None:
            return self._limit_s
        usual_s = self._usual_s()
        self._limit_s = min(usual_s * 2.0 ** min(self.tries, 32), max(_PAUSE_MAX_S, usual_s))
        return self._limit_s

    def _usual_s(self) -> float:
        if self._gaps < _LEARNED_AFTER:
            return self._ceiling_s
        learned_s = max(_MEANS * self._mean_s, _LONGEST * self._longest_s)
        return min(max(learned_s, self._floor_s), self._ceiling_s)

    def is_silent(self, now_ns: int) -> bool:
        """Whether it is time to do something."""
        return self.silent_s(now_ns) > self.limit_s

    @property
    def is_usual(self) -> bool:
        """Whether silences up to the ceiling are nothing unusual, as far as is known."""
        return self._usual_s() >= self._ceiling_s

    def silent_s(self, now_ns: int) -> float:
        """For how long no frame has come, and nothing has been done about it."""
        return (now_ns - self._since_ns) / 1e9

    def answers(self, ponged_ns: int, now_ns: int) -> bool:
        """Whether the venue has answered a ping meanwhile; the wait then begins anew."""
        if ponged_ns <= self._since_ns:
            return False
        self._since_ns = now_ns
        return True

    def remedied(self, now_ns: int) -> None:
        """Something was done; wait again."""
        self.tries += 1
        self._limit_s = None
        self._since_ns = now_ns

    def begin(self, now_ns: int) -> None:
        """A new connection: the wait begins anew, what was learned stays."""
        self._since_ns = now_ns
        self._heard = 0


class SilenceDetector:
    """Judges one connection and the markets it carries."""

    def __init__(self, rules: SilenceRules, silence_s: float, now_ns: int) -> None:
        """``silence_s``: what is unusual for the whole connection, and the least for one market; 0: it is learned."""
        if silence_s:
            rules = SilenceRules(silence_s, silence_s, silence_s, max(silence_s, rules.symbol_max_s))
        self._rules = rules
        self._connection = GapStatistics(rules.connection_min_s, rules.connection_max_s, now_ns)
        self._markets: dict[str, GapStatistics] = {}
        self._renewed_ns: int | None = None
        self.stalls = 0
        """Silences found."""

    @property
    def quiet(self) -> tuple[str, ...]:
        """Markets that were asked for again and given a new connection, and have sent nothing since."""
        return tuple(symbol for symbol, gap in self._markets.items() if gap.tries > 1)

    def begin(self, now_ns: int) -> None:
        """A new connection is up, in place of one that ended or beside it."""
        self._connection.begin(now_ns)
        for gap in self._markets.values():
            gap.begin(now_ns)

    def needs_ping(self, now_ns: int) -> bool:
        """Whether the whole connection has been silent for half as long as makes it be replaced."""
        return self._connection.silent_s(now_ns) > self._connection.limit_s / 2

    def judge(
        self, frames: int, heard: Mapping[str, int], now_ns: int, ponged_ns: int = 0
    ) -> list[SilenceAction]:
        """What is to be done, given how much the connection has brought in all, and of each of its markets.

        ``ponged_ns``: when the venue last answered a ping on it; 0 for never.
        """
        gaps = self._markets
        if len(gaps) > len(heard) or gaps.keys() != heard.keys():
            for symbol in gaps.keys() - heard.keys():
                del gaps[symbol]
        spoke = self._connection.count(frames, now_ns)
        silent = []
        for symbol, count in heard.items():
            gap = gaps.get(symbol)
            if gap is None:
                gap = gaps[symbol] = GapStatistics(self._rules.symbol_min_s, self._rules.symbol_max_s, now_ns)
            if not gap.count(count, now_ns) and gap.is_silent(now_ns):
                silent.append(symbol)
        if spoke:  # only while others go on is a single market at fault
            return self._remedy(silent, now_ns)
        connection = self._connection
        if not connection.is_silent(now_ns):
            return []
        has_snapshots_alone = frames <= len(heard)
        is_excused = frames > 0 and (connection.is_usual or has_snapshots_alone)
        if is_excused and connection.answers(ponged_ns, now_ns):
            return self._remedy(silent, now_ns)
        self._connection.remedied(now_ns)
        self.stalls += 1
        return [SilenceAction(Remedy.RECONNECT)]

    def _remedy(self, silent: list[str], now_ns: int) -> list[SilenceAction]:
        again: list[str] = []
        renew: list[str] = []
        for symbol in silent:
            gap = self._markets[symbol]
            (renew if gap.tries == 1 else again).append(symbol)
            if gap.tries == 0:
                self.stalls += 1
            gap.remedied(now_ns)
        verdicts = [SilenceAction(Remedy.RESUBSCRIBE, tuple(again))] if again else []
        if renew and (self._renewed_ns is None or now_ns - self._renewed_ns >= _RENEW_EVERY_NS):
            self._renewed_ns = now_ns
            verdicts.append(SilenceAction(Remedy.RENEW, tuple(renew)))
        return verdicts
