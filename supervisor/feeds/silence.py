"""Decides when silence is a stall, from what a connection and its markets usually send, and what to do then.

It is pure: a few times a second ``SilenceDetector`` is given the numbers of frames so far, and returns the
remedies. A market that stays silent after every remedy is quiet, not broken: it is subscribed to again after
growing pauses, and it is shown.

A connection whose markets are all quiet is not replaced while the venue answers pings on it. An answer proves
nothing where frames used to come all the time: such a connection is replaced once whatever it answers. If its
successor brings each book once and then nothing, the markets have become quiet.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from arbshard.venues.base.market import SilenceRules

_MEANS = 20.0
"""A gap is unusual if it is longer than this multiple of the mean gap and than ``_LONGEST`` times the longest one."""
_LONGEST = 4.0
"""Multiple of the longest recent gap."""
_FADES = 0.998
"""Factor by which the longest recent gap shrinks with each count that is higher than the last."""
_SMOOTHING = 0.05
_LEARNED_AFTER = 20
"""Number of frames after which the learned values are used."""
_PAUSE_MAX_S = 3600.0
_RENEW_EVERY_NS = 600 * 10**9
"""Shortest time between two renewals, so that successive quiet markets do not keep renewing a connection."""


class Remedy(Enum):
    """Is what is to be done about a silence."""

    RECONNECT = "reconnect"
    """The whole connection is silent."""
    RESUBSCRIBE = "resubscribe"
    """Some of its markets are silent: subscribe to them again."""
    RENEW = "renew"
    """Subscribing again did not help: open a new connection for all, and keep the old one until then."""


class SilenceAction(NamedTuple):
    """Is one remedy, and the markets that it is for."""

    remedy: Remedy
    symbols: tuple[str, ...] = ()


class GapStatistics:
    """Measures the usual gap between frames, and since when no frame has come."""

    def __init__(self, floor_s: float, ceiling_s: float, now_ns: int) -> None:
        self._floor_s = floor_s
        self._ceiling_s = ceiling_s
        self._mean_s = 0.0
        self._longest_s = 0.0
        self._gaps = 0
        self._count = 0
        self._counted_ns = now_ns
        self._since_ns = now_ns
        """When a frame last came, or something was last done about the silence (monotonic nanoseconds)."""
        self.tries = 0
        """Number of remedies since a frame last came."""
        self._limit_s: float | None = None
        """Cached value of ``limit_s``; None after a change of what it is computed from."""

    def count(self, frames: int, now_ns: int) -> bool:
        """Update the statistics with the number of frames so far on this connection; return whether it has grown."""
        if frames == self._count:
            return False
        if self._count:  # a gap that a new connection ended shows nothing about the market
            gap_s = (now_ns - self._counted_ns) / 1e9
            mean_s = gap_s / max(frames - self._count, 1)
            self._mean_s = mean_s if not self._gaps else self._mean_s + _SMOOTHING * (mean_s - self._mean_s)
            self._longest_s = max(gap_s, self._longest_s * _FADES)
            self._gaps += max(frames - self._count, 1)
        self._count, self._counted_ns, self._since_ns, self.tries = frames, now_ns, now_ns, 0
        self._limit_s = None
        return True

    @property
    def limit_s(self) -> float:
        """Return the longest usual gap in seconds; it doubles after each remedy that did not help."""
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
        """Return whether a remedy is due."""
        return self.silent_s(now_ns) > self.limit_s

    @property
    def is_usual(self) -> bool:
        """Return whether silences up to the ceiling are usual, as far as is known."""
        return self._usual_s() >= self._ceiling_s

    def silent_s(self, now_ns: int) -> float:
        """Return for how many seconds no frame has come and no remedy was applied."""
        return (now_ns - self._since_ns) / 1e9

    def answers(self, ponged_ns: int, now_ns: int) -> bool:
        """Return whether the venue has answered a ping meanwhile; the wait then begins anew."""
        if ponged_ns <= self._since_ns:
            return False
        self._since_ns = now_ns
        return True

    def remedied(self, now_ns: int) -> None:
        """Record that a remedy was applied, and wait again."""
        self.tries += 1
        self._limit_s = None
        self._since_ns = now_ns

    def begin(self, now_ns: int) -> None:
        """Begin the wait anew for a new connection; what was learned is kept."""
        self._since_ns = now_ns
        self._count = 0


class SilenceDetector:
    """Judges one connection and the markets it carries."""

    def __init__(self, rules: SilenceRules, silence_s: float, now_ns: int) -> None:
        """Set the bounds of what is usual.

        ``silence_s`` is what is unusual for the whole connection, and the least for one market, in seconds; with 0
        it is learned.
        """
        if silence_s:
            rules = SilenceRules(silence_s, silence_s, silence_s, max(silence_s, rules.symbol_max_s))
        self._rules = rules
        self._connection = GapStatistics(rules.connection_min_s, rules.connection_max_s, now_ns)
        self._markets: dict[str, GapStatistics] = {}
        self._renewed_ns: int | None = None
        self.stalls = 0
        """Number of silences found."""

    @property
    def quiet(self) -> tuple[str, ...]:
        """Return the markets that were subscribed to again and given a new connection, and sent nothing since."""
        return tuple(symbol for symbol, gap in self._markets.items() if gap.tries > 1)

    def begin(self, now_ns: int) -> None:
        """Begin anew for a new connection that is up, in place of one that ended or beside it."""
        self._connection.begin(now_ns)
        for gap in self._markets.values():
            gap.begin(now_ns)

    def needs_ping(self, now_ns: int) -> bool:
        """Return whether the whole connection has been silent for half the time after which it is replaced."""
        return self._connection.silent_s(now_ns) > self._connection.limit_s / 2

    def judge(
        self, frames: int, counts: Mapping[str, int], now_ns: int, ponged_ns: int = 0
    ) -> list[SilenceAction]:
        """Return the remedies, given the number of frames on the whole connection and that of each of its markets.

        ``ponged_ns`` is when the venue last answered a ping on it (monotonic nanoseconds); 0 for never.
        """
        gaps = self._markets
        if len(gaps) > len(counts) or gaps.keys() != counts.keys():
            for symbol in gaps.keys() - counts.keys():
                del gaps[symbol]
        received = self._connection.count(frames, now_ns)
        silent = []
        for symbol, count in counts.items():
            gap = gaps.get(symbol)
            if gap is None:
                gap = gaps[symbol] = GapStatistics(self._rules.symbol_min_s, self._rules.symbol_max_s, now_ns)
            if not gap.count(count, now_ns) and gap.is_silent(now_ns):
                silent.append(symbol)
        if received:  # a single market is at fault only while others go on
            return self._remedy(silent, now_ns)
        connection = self._connection
        if not connection.is_silent(now_ns):
            return []
        has_snapshots_alone = frames <= len(counts)
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
