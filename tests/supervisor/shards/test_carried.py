"""The parts of a universe of a cluster: what a host's feeds carry, and what a lost leader left undone."""

import pytest
from msgspec.structs import replace

from supervisor.shards.carried import carried_by, lost_pairs
from support import world as w


class TestCarried:
    """The part of the universe that a host's feeds carry."""

    @pytest.fixture
    def universe(self):
        found = w.make_universe("BTC", "ETH", "SOL", "XRP")
        return replace(found, shards=(("BTC", "ETH"), ("SOL", "XRP")))

    def bases(self, universe):
        return {pair.base for pair in universe.pairs}

    def test_only_the_pairs_of_held_shards(self, universe):
        for shard in (0, 1):
            carried = carried_by(universe, frozenset({shard}), None)
            assert self.bases(carried) == set(universe.shards[shard])
            assert carried.fx == universe.fx
            assert [set(one) for one in carried.shards][shard] == set(universe.shards[shard])
        assert carried_by(universe, frozenset({0, 1}), None).pairs == universe.pairs

    def test_a_pair_between_two_shards_stays_with_the_host_that_had_it(self, universe):
        base = universe.shards[0][0]
        between = universe.without_shard([base])
        mine = carried_by(universe, frozenset({0}), None)
        others = carried_by(universe, frozenset({1}), None)
        assert base in self.bases(carried_by(between, frozenset({0}), mine))
        assert base not in self.bases(carried_by(between, frozenset({1}), others))
        moved = between.on_shards({base: 1})
        assert base not in self.bases(carried_by(moved, frozenset({0}), mine))
        assert base in self.bases(carried_by(moved, frozenset({1}), others))

    def test_what_a_lost_leader_left_undone(self, universe):
        assert lost_pairs(universe) == ()
        base = universe.shards[0][0]
        assert lost_pairs(universe.without_shard([base])) == (base,)
        assert lost_pairs(universe.with_leaving([base])) == (base,)
