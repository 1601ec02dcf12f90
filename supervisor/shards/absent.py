"""Takes pairs up that could not be traded when the run began although something of them is open.

A market that is closed for a while is left out at the start of a run. What a run before has left open on it, a
position or an order whose outcome is not known, has no worker then. ``manager`` asks the venues for these pairs again
and again, and adds each as soon as both list it as trading.
"""

from collections.abc import Callable, Sequence

from arbshard.log import get_logger
from arbshard.model.universe import Universe
from supervisor.shards.changes import Add, ListingRequest

_EVERY_S_MAX = 60.0


class AbsentPairs:
    """Knows which pairs are missed, and asks for one after the other."""

    def __init__(
        self,
        find: Callable[[Sequence[str]], ListingRequest],
        open_pairs: Callable[[], frozenset[str] | None],
        every_s: float,
        alert: Callable[[str], None],
    ) -> None:
        """Begin. ``find`` begins to ask the venues for pairs by name.

        ``open_pairs``: bases of which something is open; None while risk has not shown it. ``every_s``: how often the
        venues are asked what they list, in seconds; here it is a minute at most.
        """
        self._find = find
        self._open_pairs = open_pairs
        self._every_ns = int(min(every_s, _EVERY_S_MAX) * 1e9)
        self._alert = alert
        self._missed: list[str] | None = None
        """Bases that are missed, the next to be asked for first; None before risk has shown what is open. What a
        person takes out of the run later, with its positions kept, is not among them.
        """
        self._asked: ListingRequest | None = None
        self._due_ns = 0

    def step(self, universe: Universe, now_ns: int) -> Add | None:
        """Return the change that adds a pair once its markets are open. Call it at each tick while none is made."""
        if self._missed == []:
            return None
        still_open = self._open_pairs()
        if still_open is None:
            return None
        traded = {pair.base for pair in universe.pairs}
        candidates = sorted(still_open) if self._missed is None else self._missed
        missed = self._missed = [base for base in candidates if base in still_open and base not in traded]
        asked, self._asked = self._asked, None
        if asked is None:
            if missed and now_ns >= self._due_ns:
                self._due_ns = now_ns + self._every_ns // len(missed)
                self._asked = self._find(missed[:1])
        elif asked.universe is not None:
            (name,) = (pair.base for pair in asked.universe.pairs)
            self._alert(f"{name} is traded again: it was left out at the start, and something of it is open")
            return Add((name,), lambda _: asked)
        elif asked.problem:
            get_logger().warning(
                "a pair with something open is not traded", pair=missed[:1], why=asked.problem
            )
            self._missed = [*missed[1:], *missed[:1]]
        else:
            self._asked = asked
        return None
