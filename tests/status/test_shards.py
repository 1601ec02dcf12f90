"""What is said of shards that do not run, and of what they leave open."""

import pytest
from msgspec.structs import replace

from arbshard.model.risk_note import PositionNote
from arbshard.model.universe import Universe
from arbshard.status.shards import problems_of_shards, unattended_of


@pytest.fixture
def universe(make):
    bases = [f"C{n}" for n in range(12)]
    return Universe(make.fx_leg, (make.pair, *map(make.other_pair, bases)), (("BTC",), tuple(bases)))


def position(pair):
    return PositionNote(
        f"s1-{pair}", pair, "buy_home", "1", "1", "1", "1", opened_ms=1, closed_ms=0, reason=None, pnl=None
    )


def said(shard, universe):
    (line,) = (one.text for one in problems_of_shards([shard], universe))
    return line


def test_one_that_runs_is_no_problem(shards, universe):
    assert [one.text for one in problems_of_shards(shards[:1], universe)] == []


def test_one_that_waits_says_how_long_and_why(shards, universe):
    shard = replace(shards[0], state="restarting", again_in_s=0.4, reason="ended with code 1: boom")
    assert said(shard, universe) == "shard 0 is restarting in 0.4 s (its worker ended with code 1: boom)"


def test_one_that_was_given_up_names_its_pairs_and_the_way_back(shards, universe):
    assert said(shards[1], universe) == (
        "shard 1 is quarantined: C0, C1, C2, C3, C4, C5, C6, C7 and 4 more are not traded; "
        "'arbshard shards restart 1' starts it again"
    )
    assert "BTC is not traded" in said(replace(shards[0], state="quarantined"), universe)
    assert said(shards[1], None) == "shard 1 is quarantined; 'arbshard shards restart 1' starts it again"


def test_what_it_holds_is_unattended(shards, universe):
    held = [position("BTC"), position("C3")]
    assert unattended_of(shards, universe, held) == ("C3 s1-C3",)
    assert unattended_of(shards[:1], universe, held) == ()


@pytest.mark.parametrize("state", ["draining", "drained", "ended"])
def test_a_shard_that_ends_with_its_run_is_no_problem(shards, universe, state):
    ending = replace(shards[0], state=state)
    assert [one.text for one in problems_of_shards([ending], universe, is_ending=True)] == []
    assert [one.text for one in problems_of_shards([ending], universe)] == [f"shard 0 is {state}"]


def test_a_quarantined_shard_is_a_problem_also_while_the_run_ends(shards, universe):
    assert list(problems_of_shards(shards[1:], universe, is_ending=True))
