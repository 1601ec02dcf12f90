"""Whether the supervisor is silent: a verdict from its beats. Pure: the time is an argument.

A supervisor that gets no CPU, or that a person has stopped, hands on no books. Nothing may be decided meanwhile, but
its children need not end: that its process has died they know from the pid of their parent (``process.Parent``).
"""

from arbshard.model.phase import SUPERVISOR_SILENT_NS

SETTLED_NS = 500_000_000
"""The supervisor must have beaten for so long before trading goes on. Frames that waited in its sockets while it was
silent are stamped with the time at which it read them, so they look new; within this time newer ones replace them.
"""


class SilenceWatch:
    """Follows the beats of one supervisor. Call ``update`` several times a second."""

    def __init__(self) -> None:
        self.is_silent = False
        """Whether trading must stop, as of the last look."""
        self.silent_ns = 0
        """How long no beat was seen when silence was found; it grows while the silence lasts."""
        self._beat_ns = 0
        """The newest beat that was seen."""
        self._back_ns = 0
        """The first beat after the silence; 0 while it lasts."""

    def update(self, beat_ns: int, now_ns: int) -> bool:
        """Whether trading must stop. ``beat_ns``: the newest beat, 0 before the first, when nobody trades yet.

        Two beats that lie far apart are a silence too, even if the second one has come by now: this process may have
        stood still at the same time and have seen nothing of the pause.
        """
        before_ns, self._beat_ns = self._beat_ns, beat_ns
        if not beat_ns:
            return self.is_silent
        gap_ns = max(now_ns - beat_ns, beat_ns - before_ns if before_ns else 0)
        if gap_ns > SUPERVISOR_SILENT_NS:
            self.is_silent, self.silent_ns = True, gap_ns
            self._back_ns = beat_ns if now_ns - beat_ns <= SUPERVISOR_SILENT_NS else 0
        elif self.is_silent:
            self._back_ns = self._back_ns or beat_ns
            self.is_silent = beat_ns - self._back_ns < SETTLED_NS
        return self.is_silent
