"""Plans: few moves, an end to moving on steady loads, and pairs with positions left where they are if possible."""

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.shards.balance import GOAL, Judge, fill, plan_moves, ratio, spread
from support.effort import effort

SECOND = 1_000_000_000


def carried_out(shards, plan):
    places = {shard: list(bases) for shard, bases in shards.items()}
    for move in plan:
        for bases in places.values():
            if move.base in bases:
                bases.remove(move.base)
        places[move.to].append(move.base)
    return places


@st.composite
def desks(draw):
    loads = {f"P{n}": draw(st.floats(0, 1000)) for n in range(draw(st.integers(0, 24)))}
    count = draw(st.integers(1, 6))
    shards = {shard: [] for shard in range(count)}
    for base in loads:
        shards[draw(st.integers(0, count - 1))].append(base)
    held = draw(st.sets(st.sampled_from(sorted(loads)))) if loads else set()
    return shards, loads, held


@settings(max_examples=effort(150, 1500))
@given(desks())
def test_a_plan_that_was_carried_out_is_followed_by_none(desk):
    shards, loads, held = desk
    after = carried_out(shards, plan_moves(shards, loads, held))
    assert plan_moves(after, loads, held) == []
    assert sorted(base for bases in after.values() for base in bases) == sorted(loads)


@settings(max_examples=effort(150, 1500))
@given(desks())
def test_a_plan_never_makes_it_worse_and_names_each_pair_once(desk):
    shards, loads, held = desk
    plan = plan_moves(shards, loads, held)
    after = carried_out(shards, plan)
    assert ratio(after, loads) <= ratio(shards, loads)
    assert len({move.base for move in plan}) == len(plan)
    where = {base: shard for shard, bases in shards.items() for base in bases}
    assert all(where[move.base] != move.to for move in plan)


@given(st.integers(2, 6), st.integers(3, 10))
def test_equal_pairs_all_on_one_shard_are_spread(shards, each):
    bases = [f"P{n}" for n in range(shards * each)]
    places = {shard: bases if shard == 0 else [] for shard in range(shards)}
    loads = dict.fromkeys(bases, 10.0)
    after = carried_out(places, plan_moves(places, loads))
    assert ratio(after, loads) <= GOAL + 1e-9


def test_one_move_where_one_is_enough():
    shards = {0: ["A", "B", "C"], 1: ["D"]}
    loads = {"A": 10.0, "B": 10.0, "C": 10.0, "D": 10.0}
    assert plan_moves(shards, loads) == [("A", 1)]


def test_a_held_pair_stays_when_another_will_do():
    shards = {0: ["A", "B", "C"], 1: ["D"]}
    loads = dict.fromkeys("ABCD", 10.0)
    assert plan_moves(shards, loads, {"A", "B"}) == [("C", 1)]
    assert plan_moves(shards, loads, {"A", "B", "C"}) == [("A", 1)]


def test_nothing_to_gain():
    assert plan_moves({0: ["A"], 1: []}, {"A": 100.0}) == [], "it would only be on the other side"
    assert plan_moves({0: ["A"], 1: ["B"]}, {}) == []
    assert plan_moves({}, {}) == []
    assert ratio({0: [], 1: []}, {}) == 1.0


@given(desks())
def test_every_homeless_pair_gets_a_shard_with_little_to_do(desk):
    shards, loads, _ = desk
    places = spread(["X", "Y", "Z"], shards, loads)
    assert places.keys() == {"X", "Y", "Z"}
    assert set(places.values()) <= shards.keys()


def test_the_heaviest_goes_where_there_is_least():
    shards, loads = {0: ["A"], 1: ["B"]}, {"A": 50.0, "B": 10.0, "X": 30.0, "Y": 5.0}
    assert spread(["Y", "X"], shards, loads) == {"X": 1, "Y": 1}


def test_a_shard_that_comes_back_is_filled_to_an_even_number():
    shards = {0: [], 1: ["A", "B", "C"], 2: ["D", "E", "F"]}
    plan = fill(0, shards, dict.fromkeys("ABCDEF", 1.0), {"A", "D"})
    after = carried_out(shards, plan)
    assert sorted(map(len, after.values())) == [2, 2, 2]
    assert {move.base for move in plan}.isdisjoint({"A", "D"})
    assert fill(0, {0: [], 1: ["A"]}, {}, ()) == []


class TestJudge:
    def test_uneven_for_a_whole_window_and_busy(self):
        judge = Judge(30.0)
        assert not any(judge.is_due(1.5, 0.5, at * SECOND) for at in range(30))
        assert judge.is_due(1.5, 0.5, 30 * SECOND)
        assert not judge.is_due(1.5, 0.5, 31 * SECOND), "a new window begins"

    def test_a_moment_of_evenness_begins_the_window_anew(self):
        judge = Judge(30.0)
        for at in range(60):
            assert not judge.is_due(1.3 if at == 20 else 1.5, 0.5, at * SECOND) or at >= 51

    def test_an_idle_desk_is_left_alone(self):
        judge = Judge(1.0)
        assert not any(judge.is_due(3.0, 0.1, at * SECOND) for at in range(100))

    def test_never(self):
        judge = Judge(0.0)
        assert not any(judge.is_due(3.0, 1.0, at * SECOND) for at in range(100))
