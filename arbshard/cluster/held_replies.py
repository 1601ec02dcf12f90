"""Holds replies of the leader until this host has stored what they rest on. Pure.

A reply may be used when a majority of the hosts has stored every event that it may rest on. Where the host that asked
makes up this majority together with those that have stored the events already, the leader sends the reply right
after them, and does not wait for an acknowledgement: the host itself knows first when it has them. It counts only
what it has stored on the link to the leader of the reply's term: under another leader an event of the same number may
be another event.
"""

from collections import deque
from typing import Generic, NamedTuple, TypeVar

Reply = TypeVar("Reply")

HELD_MAX = 4096
HELD_BYTES_MAX = 32 * 1024 * 1024
"""Largest number of replies that are held at a time, and of their bytes."""


class _Held(NamedTuple, Generic[Reply]):
    reply: Reply
    term: int
    seq: int
    size: int


class HeldReplies(Generic[Reply]):
    """Holds them. What exceeds the bounds is dropped, and whoever asked asks again."""

    def __init__(self) -> None:
        self._term = 0
        self._seq = 0
        self._held: deque[_Held[Reply]] = deque()
        self._bytes = 0
        self.dropped = 0
        """Number of replies dropped for want of room."""

    def __len__(self) -> int:
        return len(self._held)

    def admit(self, reply: Reply, term: int, seq: int, size: int = 0) -> bool:
        """Return whether a reply that rests on the event ``seq`` of the leader of ``term`` may be used now.

        Otherwise it is held. ``seq`` is 0 for one that may be used anyway.
        """
        if seq == 0 or self._has_stored(term, seq):
            return True
        if len(self._held) >= HELD_MAX or self._bytes + size > HELD_BYTES_MAX:
            self.dropped += 1
        else:
            self._held.append(_Held(reply, term, seq, size))
            self._bytes += size
        return False

    def stored(self, term: int, seq: int) -> list[Reply]:
        """Note that this host has stored all events of the leader of ``term`` up to ``seq``.

        Return the replies that may be used by that.
        """
        self._term, self._seq = term, seq
        if not self._held:
            return []
        held, self._held = self._held, deque()
        free: list[Reply] = []
        for one in held:
            if self._has_stored(one.term, one.seq):
                free.append(one.reply)
                self._bytes -= one.size
            else:
                self._held.append(one)
        return free

    def unfollow(self) -> None:
        """Forget everything: the link to the leader is closed."""
        self._term = self._seq = self._bytes = 0
        self._held.clear()

    def _has_stored(self, term: int, seq: int) -> bool:
        return term == self._term and seq <= self._seq
