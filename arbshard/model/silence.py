"""Judges from its beats whether the supervisor is silent. The code is pure: the time is an argument.

A supervisor that gets no CPU, or that a person has stopped, delivers no books. Nothing may be decided meanwhile, but
its children need not end: they know from the pid of their parent (``process.Parent``) whether its process has died.
"""

from arbshard.model.phase import SUPERVISOR_SILENT_NS

SETTLED_NS = 500_000_000
"""The supervisor must have beaten for so long before trading goes on. Frames that waited in its sockets while it was
silent are stamped with the time at which it read them, so they look new; within this time newer ones replace them.
"""


class SilenceWatch:
    """Follows the beats of one supervisor. Call ``update`` before the first decision, and several times a second."""

    def __init__(self) -> None:
        self.is_silent = False
        """Whether trading must stop, as of the last update."""
        self.silent_ns = 0
        """How long this process saw no beat in the last silence; 0 if it has seen none, because it began after it."""
        self._beat_ns = 0
        """The newest beat that was seen."""

    def update(self, beat_ns: int, back_ns: int, now_ns: int) -> bool:
        """Return whether trading must stop.

        ``beat_ns``: the newest beat, 0 before the first, when nothing is traded yet. ``back_ns``: the first beat
        after the supervisor's last silence, 0 if there was none. The supervisor states the second, because a process
        that begins right after a silence, or that was itself stopped at the same time, has seen nothing of it.
        """
        before_ns, self._beat_ns = self._beat_ns, beat_ns
        if not beat_ns:
            return self.is_silent
        seen_ns = max(now_ns - beat_ns, beat_ns - before_ns if before_ns else 0)
        is_back = now_ns - beat_ns <= SUPERVISOR_SILENT_NS
        self.is_silent = not is_back or (back_ns > 0 and beat_ns - back_ns < SETTLED_NS)
        if self.is_silent and seen_ns > SUPERVISOR_SILENT_NS:
            self.silent_ns = seen_ns
        return self.is_silent
