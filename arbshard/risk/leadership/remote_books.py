"""Holds newest books of other hosts, so that the leader's risk can value what they trade. Pure.

A host sends the newest frames of its slots a few times a second. How old a frame was when it was sent is added to how
long ago it came, so an old sample counts as old. Of two hosts' frames of one slot a live one counts, then the newer.
"""

from collections.abc import Callable

from arbshard.model.universe import Universe
from arbshard.risk.gap_sampler import SampledSlots
from arbshard.wire.cluster import Samples

_LIVE_NS = 5_000_000_000
"""How long a sample counts as one of a connection that lives, in ns."""


class RemoteBooks:
    """Provides the newest frame of each slot: this host's own, or that of the host which has the shard."""

    def __init__(self, own: SampledSlots, universe: Universe, monotonic_ns: Callable[[], int]) -> None:
        self._own = own
        self._monotonic_ns = monotonic_ns
        self._frames: dict[int, tuple[int, int, bool, bytes]] = {}
        """By slot: sequence, time of receipt at its host by this host's clock, whether it was live, and frame."""
        self._came_ns: dict[int, int] = {}
        self._sequence = 0
        self._serial = 0
        self._slots: frozenset[int] = frozenset()
        self.ignored = 0
        """Number of samples of another universe, or of slots that it does not have."""
        self.set_universe(universe)

    def set_universe(self, universe: Universe) -> None:
        """Keep frames of these pairs from now on."""
        self._serial = universe.serial
        legs = (universe.fx, *(leg for pair in universe.pairs for leg in (pair.home, pair.away)))
        self._slots = frozenset(leg.slot for leg in legs)
        self._frames.clear()  # a slot may have been given to another market
        self._came_ns.clear()

    def add(self, samples: Samples) -> None:
        """Keep the frames that another host has sent."""
        if samples.universe != self._serial:
            self.ignored += len(samples.books)
            return
        now_ns = self._monotonic_ns()
        for one in samples.books:
            if one.slot not in self._slots:
                self.ignored += 1
                continue
            received_ns = now_ns - max(one.age_ns, 0)
            known = self._frames.get(one.slot)
            self._came_ns[one.slot] = now_ns
            if known is not None and known[3] == one.frame:
                continue  # it is the same one, and its age is known already
            self._sequence -= 1  # never that of an own frame
            self._frames[one.slot] = self._sequence, received_ns, True, one.frame

    def read(self, slot: int) -> tuple[int, int, bool, bytes] | None:
        """Return (sequence, received_ns, live, frame), or None for an empty slot."""
        own = self._own.read(slot)
        remote = self._frames.get(slot)
        if remote is not None and self._monotonic_ns() - self._came_ns[slot] >= _LIVE_NS:
            remote = (*remote[:2], False, remote[3])
        if own is None or remote is None:
            return own or remote
        # A connection that lives comes first: in a quiet market the one that has ended may have the newer frame.
        return own if (own[2], own[1]) >= (remote[2], remote[1]) else remote
