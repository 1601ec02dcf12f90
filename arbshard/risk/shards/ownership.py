"""Which shard a pair belongs to, as the newest universe has it: who may trade it, and who may take it over. Pure.

Owned by ``core``. The table of pairs is changed in place, because others of risk look into it.
"""

from arbshard.model.intent import Intent
from arbshard.model.market import Pair
from arbshard.model.refusal import Refusal
from arbshard.model.universe import Universe
from arbshard.risk.forms import maker_of
from arbshard.risk.objection import Objection
from arbshard.risk.portfolio.state import PortfolioState


class Ownership:
    """Of one run."""

    def __init__(self, universe: Universe) -> None:
        self.universe = universe
        self.pairs: dict[str, Pair] = {}
        self._owners: dict[str, int] = {}
        self._leaving: frozenset[str] = frozenset()
        self.set(universe)

    def set(self, universe: Universe) -> None:
        """The newest universe."""
        self.universe = universe
        self.pairs.clear()
        self.pairs.update((pair.base, pair) for pair in universe.pairs)
        self._owners = universe.owners()
        self._leaving = frozenset(universe.leaving)

    def objection(self, base: str, shard: int) -> Objection | None:
        """102, 106: why a pair is not this shard's."""
        if base not in self.pairs:
            return Objection(Refusal.UNKNOWN_PAIR, f"{base} is not traded in this run")
        owner = self._owners.get(base)
        if owner == shard:
            return None
        whose = "on its way to another shard" if owner is None else f"shard {owner}'s"
        return Objection(Refusal.NOT_OWNER, f"{base} is {whose}, not shard {shard}'s")

    def trade_objection(self, intent: Intent, shard: int) -> Objection | None:
        """102, 106, 606: why an intent is not this shard's to make, or of a pair that is being taken out."""
        objection = self.objection(intent.pair, shard)
        if objection is not None:
            return objection
        if intent.kind == "entry" and intent.pair in self._leaving:
            return Objection(Refusal.PAIR_CLOSING, f"{intent.pair} is being taken out")
        return None

    def still_at_work(self, base: str, shard: int, state: PortfolioState) -> Objection | None:
        """602: why a pair cannot be taken over, for all that the universe says: its owner of before is not done."""
        intent_id = state.busy.get(base)
        maker = maker_of(intent_id) if intent_id is not None else None
        if maker is None or maker[0] == shard or maker[0] in self.universe.given_up:
            return None
        known = state.shards.get(maker[0])
        if known is None or known.epoch != maker[1] or known.is_fenced:
            return None  # an incarnation that has ended, or may do nothing any more
        return Objection(Refusal.PAIR_BUSY, f"{intent_id} is under way at shard {maker[0]}")
