"""Judges whether a shard's worker does its work, by what its page and its ring show. Pure.

A worker is stuck when it does nothing about quotes that go on coming: its timer's beats have stopped, or its loop
has stopped reading its ring. Without quotes there is no verdict: then the feed is at fault, which others watch. A
judge that was itself held up begins anew, because it has not seen what the worker did meanwhile.
"""

from typing import Literal, NamedTuple

WorkerHealth = Literal["unjudged", "alive", "quiet", "stuck"]
"""``unjudged``: not up yet, or of another incarnation. ``quiet``: no quotes to judge it by."""


class Sample(NamedTuple):
    """Holds what can be seen of a worker and its ring at one moment."""

    epoch: int
    """The epoch on its page."""
    is_running: bool
    """Whether its page says that it is at work: RUNNING or DRAINING."""
    beats: int
    """Number of beats of its timer, ever growing."""
    seen: int
    """How far its loop has read its ring, as of its last beat."""
    head: int
    """How far the supervisor has written the ring: grows with every quote."""


class LivenessVerdict(NamedTuple):
    """Is what was found about a worker."""

    health: WorkerHealth
    reason: str = ""
    """The reason of ``stuck``, as the end of a sentence for people."""


_UNJUDGED = LivenessVerdict("unjudged")
_ALIVE = LivenessVerdict("alive")
_QUIET = LivenessVerdict("quiet")


class _Neglect:
    """Measures for how long quotes have come since a number last moved."""

    def __init__(self, moved: int, head: int) -> None:
        self.moved = moved
        self.head = head
        """Head of the ring when it moved."""
        self.since_ns: int | None = None
        """Time of the first quote after that (monotonic ns)."""

    def update(self, moved: int, head: int, now_ns: int) -> int:
        """Return the nanoseconds since the first quote that was not acted on; 0 for none."""
        if moved != self.moved:
            self.moved, self.head, self.since_ns = moved, head, None
        elif head != self.head and self.since_ns is None:
            self.since_ns = now_ns
        return now_ns - self.since_ns if self.since_ns is not None else 0


class ShardJudge:
    """Judges one shard through all its incarnations."""

    def __init__(self, stuck_after_ns: int) -> None:
        assert stuck_after_ns > 0, stuck_after_ns
        self._stuck_after_ns = stuck_after_ns
        self._recent_ns = stuck_after_ns // 2
        """A quote that is older does not show that quotes go on; a longer time since the last call was a pause of
        ours.
        """
        self._epoch = 0
        self._looked_ns = 0
        self._head = 0
        self._quoted_ns: int | None = None
        self._beats: _Neglect | None = None
        self._seen: _Neglect | None = None

    def judge(self, sample: Sample | None, epoch: int, now_ns: int) -> LivenessVerdict:
        """Return the verdict at ``now_ns``. ``sample``: None without a page; ``epoch``: the one that may send
        requests.

        Call it several times within ``stuck_after``: a longer pause between two calls makes all times begin anew.
        """
        paused = now_ns - self._looked_ns > self._recent_ns
        self._looked_ns = now_ns
        if sample is None or not sample.is_running or sample.epoch != epoch:
            self._beats = self._seen = None
            return _UNJUDGED
        if self._beats is None or self._seen is None or paused or epoch != self._epoch:
            self._begin(sample)
            return _ALIVE
        if sample.head != self._head:
            self._head, self._quoted_ns = sample.head, now_ns
        idle_ns = self._beats.update(sample.beats, sample.head, now_ns)
        unread_ns = self._seen.update(sample.seen, sample.head, now_ns)
        if sample.seen == sample.head:  # a worker that has read everything has nothing to do
            self._seen.since_ns, unread_ns = None, 0
        if self._quoted_ns is None or now_ns - self._quoted_ns > self._recent_ns:
            return _QUIET
        if max(idle_ns, unread_ns) < self._stuck_after_ns:
            return _ALIVE
        # A worker that does not beat does not read either, and may have been found so a moment before.
        if idle_ns > self._stuck_after_ns // 2:
            return _stuck("no beat", idle_ns, sample.head - self._beats.head)
        return _stuck("nothing was looked at", unread_ns, sample.head - self._seen.head)

    def _begin(self, sample: Sample) -> None:
        self._epoch = sample.epoch
        self._head, self._quoted_ns = sample.head, None
        self._beats = _Neglect(sample.beats, sample.head)
        self._seen = _Neglect(sample.seen, sample.head)


def _stuck(what: str, span_ns: int, quotes: int) -> LivenessVerdict:
    return LivenessVerdict("stuck", f"{what} for {span_ns / 1e9:.2f} s while {quotes} quotes came")
