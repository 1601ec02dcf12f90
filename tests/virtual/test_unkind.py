"""Exchanges that are not kind: every kind can be drawn, ends, and leaves the exchanges as they were."""

import pytest

from arbshard.virtual.machine import Simulation
from arbshard.virtual.rates import LIVE_PER_HOUR, PER_HOUR, UNKIND_LIVE_PER_HOUR, UNKIND_PER_HOUR
from arbshard.virtual.settings import Settings
from arbshard.virtual.spells import Spell
from arbshard.virtual.unkind import Unkind
from support.effort import effort

KINDS = (*UNKIND_PER_HOUR, *UNKIND_LIVE_PER_HOUR)


@pytest.fixture
def unkind() -> Unkind:
    return Simulation(Settings(3, mode="live")).world.unkind


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_ends_and_leaves_nothing_behind(unkind: Unkind, kind: str) -> None:
    made: Spell | str | None = getattr(unkind, kind)()
    assert made
    if isinstance(made, Spell):
        assert 0 < made.seconds < 1_000
        made.begin()
        assert getattr(unkind, kind)() is None or kind not in ("revoked_key", "venue_refuses", "fx_blip")
        made.end()
    assert list(unkind.disturbed()) == []


@pytest.mark.parametrize(
    "kind", ["market_refuses", "venue_refuses", "market_closes", "other_rules", "revoked_key"]
)
def test_a_market_that_takes_no_orders_is_known_to(unkind: Unkind, kind: str) -> None:
    made = next(
        one for one in (getattr(unkind, kind)() for _ in range(9)) if "tick 1 lot 1 minimum 1" not in one.what
    )
    made.begin()
    assert list(unkind.disturbed())


def test_no_name_is_given_twice() -> None:
    assert not set(KINDS) & {*PER_HOUR, *LIVE_PER_HOUR}


@pytest.mark.parametrize("mode", [pytest.param("paper", marks=pytest.mark.nightly), "live"])
def test_odd_books_and_gaps_break_no_invariant(mode: str) -> None:
    kinds = ("quiet_book", "closed_wallet", "fx_blip", "wrong_frame")
    if mode == "live":
        kinds += ("other_fees", "hand_trade")
    report = Simulation(Settings(11, hours=effort(4, 10) / 100, faults="heavy", only=kinds, mode=mode)).run()
    assert not report.violations, report.violations
    assert sum(report.faults.values()) > effort(2, 4)


def test_digits_that_the_venue_shows_are_no_difference() -> None:
    settings = next(
        one for seed in range(50) if (one := Settings(seed, 0.05, faults="none", mode="live")).is_rounded
    )
    report = Simulation(settings).run()
    assert not report.violations, report.violations
    assert report.tally.exits > 20


@pytest.mark.nightly  # in the gate tests/cases/test_bounded_losses.py has small orders that pass
def test_a_test_that_was_taken_back_has_not_moved_anything() -> None:
    """Fees in coin and lots made the position a little smaller, and the next exit went out whole and at once."""
    report = Simulation(Settings(3, hours=0.19, faults="heavy", only=("market_refuses",))).run()
    assert not report.violations, report.violations
    assert report.faults["market_refuses"] > 4
