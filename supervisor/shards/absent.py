"""Takes pairs up that were left out when the run began because a market of theirs was closed.

They are those that a person has chosen. Where all pairs are traded, they are those of which a run before has left
something open, a position or an order whose outcome is not known: it has no worker until its pair is traded.
``manager`` asks the venues for these pairs again and again, and adds each as soon as both list it as trading.
"""

from collections.abc import Callable, Sequence

from arbshard.log import get_logger
from arbshard.model.universe import Universe
from arbshard.venues.listing import names_without_pair
from supervisor.shards.changes import Add, ListingRequest

_EVERY_S_MAX = 60.0


class AbsentPairs:
    """Knows which pairs are missed, and asks for one after the other."""

    def __init__(
        self,
        find: Callable[[Sequence[str]], ListingRequest],
        open_pairs: Callable[[], frozenset[str] | None],
        chosen: Sequence[str],
        every_s: float,
        alert: Callable[[str], None],
    ) -> None:
        """Begin. ``find`` begins to ask the venues for pairs by name.

        ``open_pairs``: bases of which something is open; None while risk has not shown it. ``chosen``: the names that
        a person has given; empty for all pairs. ``every_s``: how often the venues are asked what they list, in
        seconds; here it is a minute at most.
        """
        self._find = find
        self._open_pairs = open_pairs
        self._chosen = tuple(chosen)
        self._every_ns = int(min(every_s, _EVERY_S_MAX) * 1e9)
        self._alert = alert
        self._missed: list[str] | None = None
        """Names that are missed, the next to be asked for first; None before that is known. What a person takes out
        of the run later is not among them.
        """
        self._asked: ListingRequest | None = None
        self._due_ns = 0

    def step(self, universe: Universe, now_ns: int) -> Add | None:
        """Return the change that adds a pair once its markets are open. Call it at each tick while none is made."""
        if self._missed == []:
            return None
        missed = self._still_missed(universe)
        if missed is None:
            return None
        if self._missed is None and self._chosen and missed:
            what = ", ".join(missed)
            self._alert(
                f"{what}: left out while a market is closed; added once both venues list it as trading"
            )
        before = self._missed or []
        left_out = names_without_pair(universe.pairs, before)
        for name in before:
            if name not in left_out:
                self._alert(f"{name} is traded again: it was left out when the run began")
        self._missed = missed
        asked, self._asked = self._asked, None
        if asked is None:
            if missed and now_ns >= self._due_ns:
                self._due_ns = now_ns + self._every_ns // len(missed)
                self._asked = self._find(missed[:1])
        elif asked.universe is not None:
            found = [pair.base for pair in asked.universe.pairs]
            return Add(found, lambda _: asked)
        elif asked.problem:
            get_logger().info("a pair is still left out", pair=missed[:1], why=asked.problem)
            self._missed = [*missed[1:], *missed[:1]]
        else:
            self._asked = asked
        return None

    def _still_missed(self, universe: Universe) -> list[str] | None:
        """Return what is missed now; None while risk shows nothing."""
        if self._chosen:
            return names_without_pair(universe.pairs, self._chosen if self._missed is None else self._missed)
        still_open = self._open_pairs()
        if still_open is None:
            return None
        candidates = sorted(still_open) if self._missed is None else self._missed
        return [base for base in names_without_pair(universe.pairs, candidates) if base in still_open]
