"""What is traded in this run: pairs, slots, shards. Written by the supervisor, read by every child."""

import msgspec
from msgspec.structs import replace

from arbshard.model.market import Leg, MarketRules, Pair


class Universe(msgspec.Struct, frozen=True):
    """All pairs of a run and the shard each belongs to."""

    fx: Leg
    """The market whose book is the FX rate (home quote per away quote)."""
    pairs: tuple[Pair, ...]
    shards: tuple[tuple[str, ...], ...]
    """Bases by shard number."""

    def pairs_of(self, shard: int) -> tuple[Pair, ...]:
        """The pairs of ``shard``. Equal rules are one object: hundreds of markets share a venue's tick table."""
        mine = frozenset(self.shards[shard])
        rules: dict[MarketRules, MarketRules] = {}

        def shared(leg: Leg) -> Leg:
            return replace(leg, rules=rules.setdefault(leg.rules, leg.rules))

        return tuple(
            replace(pair, home=shared(pair.home), away=shared(pair.away))
            for pair in self.pairs
            if pair.base in mine
        )

    def legs(self) -> tuple[Leg, ...]:
        """Every market of the feed, by slot."""
        legs = [self.fx, *(leg for pair in self.pairs for leg in (pair.home, pair.away))]
        return tuple(sorted(legs, key=lambda leg: leg.slot))
