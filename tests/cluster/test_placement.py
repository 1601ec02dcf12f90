"""Where shards run: what must hold for any hosts, loads and histories."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from arbshard.cluster.neighbours import Neighbours
from arbshard.cluster.placement import IMBALANCE_MAX, OwnHost, ShardPlacer, move, place
from arbshard.cluster.terms import times_of
from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.model.cluster_note import HostView, ShardPlace
from arbshard.wire.cluster import Placement

MS = 1_000_000
S = 1_000_000_000
HOSTS = "abcde"
LOADS = st.integers(0, 10_000).map(float)


class Case(NamedTuple):
    """Hosts, and where the shards are."""

    shards: int
    placed: dict[int, str]
    capacities: dict[str, float]
    loads: dict[int, float]
    keeping: frozenset[str]

    def placed_anew(self) -> dict[int, str]:
        return place(self.shards, self.placed, self.capacities, self.loads, self.keeping)


@st.composite
def cases(draw: st.DrawFn, *, has_hosts: bool = True) -> Case:
    shards = draw(st.integers(1, 12))
    numbers = st.integers(0, shards - 1)
    able = draw(st.frozensets(st.sampled_from(HOSTS), min_size=1)) if has_hosts else frozenset()
    return Case(
        shards,
        draw(st.dictionaries(numbers, st.sampled_from(HOSTS))),
        {host: draw(st.sampled_from([0.5, 1.0, 2.0, 7.0])) for host in sorted(able)},
        draw(st.dictionaries(numbers, LOADS)),
        draw(st.frozensets(st.sampled_from(HOSTS))) - able,
    )


def ratios(placed: dict[int, str], capacities: dict[str, float], loads: dict[int, float]) -> dict[str, float]:
    return {
        host: sum(loads.get(shard, 0.0) for shard, one in placed.items() if one == host) / capacities[host]
        for host in capacities
    }


class TestPlace:
    @given(cases())
    def test_each_shard_has_one_host_which_can_run_it(self, case):
        result = case.placed_anew()
        assert list(result) == list(range(case.shards))
        for shard, host in result.items():
            assert host in case.capacities or (host in case.keeping and case.placed[shard] == host)

    @given(cases())
    def test_no_shard_leaves_a_host_that_is_there(self, case):
        result = case.placed_anew()
        for shard, host in case.placed.items():
            if host in case.capacities or host in case.keeping:
                assert result[shard] == host

    @given(cases())
    def test_it_is_stable(self, case):
        result = case.placed_anew()
        assert case._replace(placed=result).placed_anew() == result

    @given(cases(has_hosts=False))
    def test_all_stays_as_it_is_while_no_host_can_run_shards(self, case):
        assert case.placed_anew() == case.placed

    @given(cases())
    def test_a_beginning_is_balanced_but_for_one_shard(self, case):
        case = case._replace(placed={}, keeping=frozenset())
        found = ratios(case.placed_anew(), case.capacities, case.loads)
        # The shard that a host got last went to it because every other one would have had as much with it.
        total, largest = sum(case.loads.values()), max(case.loads.values(), default=0.0)
        whole = sum(case.capacities.values())
        bound = (total + (len(case.capacities) - 1) * largest) / whole
        assert max(found.values()) <= bound + 1e-3

    @given(st.integers(1, 12), st.integers(1, 5))
    def test_shards_without_load_are_spread_evenly(self, shards, hosts):
        result = place(shards, {}, dict.fromkeys(HOSTS[:hosts], 1.0), {})
        counts = [list(result.values()).count(host) for host in HOSTS[:hosts]]
        assert max(counts) - min(counts) <= 1


class TestMove:
    @given(cases())
    def test_each_move_is_from_the_most_loaded_host_to_the_least_and_they_end(self, case):
        placed = case.placed_anew()
        capacities, loads = case.capacities, case.loads
        seen = [dict(placed)]
        while (found := move(placed, capacities, loads)) is not None:
            shard, target = found
            source, before = placed[shard], ratios(placed, capacities, loads)
            placed[shard] = target
            assert before[source] >= max(before.values()) - 1e-3
            assert before[target] <= min(before.values()) + 1e-3
            assert ratios(placed, capacities, loads)[target] <= before[source] / IMBALANCE_MAX + 1e-3
            assert placed not in seen, "no move is taken back"
            seen.append(dict(placed))
            assert len(seen) <= 2 * case.shards + 1

    @given(cases())
    def test_loads_are_about_equal_once_nothing_moves(self, case):
        placed = case.placed_anew()
        capacities = dict.fromkeys(case.capacities, 1.0)
        loads = dict.fromkeys(range(case.shards), 100.0)
        while (found := move(placed, capacities, loads)) is not None:
            placed[found[0]] = found[1]
        counts = sorted(sum(one == host for one in placed.values()) for host in capacities)
        assert len(counts) == 1 or counts[-1] < IMBALANCE_MAX * (counts[0] + 1)

    def test_a_host_alone_keeps_everything(self):
        assert move({0: "a", 1: "a"}, {"a": 1.0}, {0: 9.0}) is None


STATES = ("well", "silent", "no pairs", "leaving", "apart")
"""What a host may be: ``apart`` lives, and is not in contact with this leader."""


class Step(NamedTuple):
    """A span of time, and what the hosts are in it."""

    ms: int
    states: dict[str, str]
    frames: dict[str, float]


def steps() -> st.SearchStrategy[Step]:
    others = "bcd"
    state = st.sampled_from((*STATES, "well", "well", "well"))
    return st.builds(
        Step,
        st.sampled_from([250, 1_000, 3_000, 12_000]),
        st.fixed_dictionaries(
            {"a": st.sampled_from(("well", "well", "no pairs", "leaving")), **dict.fromkeys(others, state)}
        ),
        st.fixed_dictionaries(dict.fromkeys("abcd", LOADS)),
    )


class Leader:
    """The placer of host a, which leads term 3, and three others."""

    SHARDS = 6
    TERM = 3

    def __init__(self) -> None:
        config = ClusterConfig(
            name="x",
            hosts={name: HostConfig(address=name, key="k" * 40) for name in "abcd"},
            nats=("nats://n",),
            shards=self.SHARDS,
            host="a",
        )
        times = times_of(config)
        self.patience_ns = times.patience_ns
        self.now_ns = 3 * S  # No host is waited for any more that has not joined this leader yet.
        self.neighbours = Neighbours(("b", "c", "d"), times.patience_ns, 0)
        self.placer = ShardPlacer(config, times, self.neighbours, 0)
        self.changed_ns = 0
        self.heard: dict[str, tuple[str, int]] = {}
        """What a host was when the leader heard of it last, and when that was."""
        self.supplied_ns = dict.fromkeys("abcd", 0)
        """When a host had the pairs last."""

    def run(self, step: Step) -> None:
        for _ in range(0, step.ms, 250):
            self.now_ns += 250 * MS
            for host, state in step.states.items():
                self._hear(host, state, step.frames[host])
            self._decide(step)

    def _hear(self, host: str, state: str, frames_s: float) -> None:
        if state == "silent":
            return
        self.heard[host] = state, self.now_ns
        if state != "no pairs":
            self.supplied_ns[host] = self.now_ns
        if host == "a":
            self.placer.note_pairs(self.now_ns, has_pairs=state != "no pairs")
            return
        shards = tuple(ShardPlace(shard, 1, 1001, 1) for shard in self.shards_of(host))
        term = self.TERM if state != "apart" else 0
        view = HostView(
            host, 0, "1", leads=False, term=term, seq=1, shards=shards, frames_s=frames_s, cpu=0.1, nats=True,
            leaving=state == "leaving", universe=int(state != "no pairs"),
        )  # fmt: skip
        self.neighbours.heed(host, view, self.now_ns)

    def shards_of(self, host: str) -> list[int]:
        return [shard for shard, one in enumerate(self.placer.hosts) if one == host]

    def known(self, state: str) -> set[str]:
        """The hosts of this state, as far as the leader knows."""
        return {
            host for host, (one, at_ns) in self.heard.items()
            if one == state and self.now_ns - at_ns < self.patience_ns
        }  # fmt: skip

    def _decide(self, step: Step) -> None:
        before = self.placer.hosts
        own = OwnHost(self.TERM, step.states["a"] == "leaving", step.frames["a"], self.shards_of("a"))
        self.placer.decide(own, self.now_ns)
        after = self.placer.hosts
        if not after:
            return
        assert len(after) == self.SHARDS
        able = self.known("well")
        moved = [shard for shard in range(self.SHARDS) if before and before[shard] != after[shard]]
        for shard in moved if before else range(self.SHARDS):
            assert after[shard] in able, "a shard goes only to a host that can run it"
        by_choice = [shard for shard in moved if before[shard] in able]
        if by_choice:
            assert len(by_choice) == 1, "one shard at a time moves for the sake of balance"
            assert self.now_ns - self.changed_ns >= 10 * S, "and only when nothing has changed for a while"
        if moved:
            self.changed_ns = self.now_ns
        if able:
            waited_for = {
                host for host in self.known("no pairs") if self.now_ns - self.supplied_ns[host] < 5 * S
            }
            assert set(after) <= able | waited_for, "no shard stays on a host that cannot run it"


class TestShardPlacer:
    @given(st.lists(steps(), min_size=1, max_size=12))
    def test_no_shard_stays_on_a_lost_host_or_moves_without_a_reason(self, history):
        leader = Leader()
        for step in history:
            leader.run(step)

    def test_the_most_loaded_host_gives_one_shard_away_at_a_time(self):
        leader = Leader()
        alone = dict.fromkeys("abcd", "silent") | {"a": "well"}
        frames = dict.fromkeys("abcd", 0.0) | {"a": 6_000.0}
        leader.run(Step(4_000, alone, frames))
        assert set(leader.placer.hosts) == {"a"}
        all_well = dict.fromkeys("abcd", "well")
        leader.run(Step(5_000, all_well, frames))
        assert set(leader.placer.hosts) == {"a"}
        leader.run(Step(2_000, all_well, frames))
        assert leader.placer.hosts.count("a") == 5

    def test_a_placement_of_another_leader_counts_when_it_is_newer(self):
        leader = Leader()
        placer = leader.placer
        for term, serial, host, expected in [
            (3, 2, "b", "b"), (3, 1, "c", "b"), (2, 9, "c", "b"), (3, 3, "d", "d"), (4, 1, "a", "a"),
        ]:  # fmt: skip
            placer.heed(Placement(term, serial, (host,) * Leader.SHARDS))
            assert set(placer.hosts) == {expected}
        placer.heed(Placement(5, 1, ("b",)))
        assert set(placer.hosts) == {"a"}, "it is of another number of shards"
        placer.heed(None)
        assert set(placer.hosts) == {"a"}
