"""Live orders, the accounts process and reconciliation on virtual time: nothing is lost, doubled or forgotten."""

import pytest

from arbshard.virtual.machine import Simulation
from arbshard.virtual.outcome import SimulationReport
from arbshard.virtual.rates import LIVE_PER_HOUR, PER_HOUR
from arbshard.virtual.settings import Settings, config_of
from support.effort import effort


def _run(seed: int, **settings: object) -> SimulationReport:
    report = Simulation(Settings(seed, mode="live")._replace(**settings)).run()
    assert not report.violations, f"{report.violations}\nagain: {report.settings.command()}"
    return report


def test_without_faults_everything_is_traded_and_settled() -> None:
    report = _run(1, hours=0.05, faults="none")
    assert report.tally.exits > 20
    assert report.tally.orders["FILLED"] > 50
    assert set(report.tally.ends) == {
        "worker ended in order",
        "accounts ended in order",
        "risk ended in order",
    }


@pytest.mark.nightly  # the same kinds as heavy faults, and fewer of them
def test_the_invariants_hold_with_the_usual_faults() -> None:
    assert _run(301, hours=0.15).tally.exits > 20


@pytest.mark.parametrize("seed", [401, pytest.param(402, marks=pytest.mark.nightly)])
def test_the_invariants_hold_with_heavy_faults(seed: int) -> None:
    report = _run(seed, hours=effort(4, 12) / 100, faults="heavy")
    assert sum(report.faults.values()) > effort(4, 15)


_GROUPS = {
    "calls": ("slow_calls", "silent_calls", "lost_calls", "lost_answers", "late_replies", "server_errors"),
    "sockets": ("cut_orders", "doubled_replies", "lost_logons"),
    "refusals": ("rate_limits", "refusals"),
    "events": ("disordered_events", "cut_private", "stall"),
    "kills": ("kill_live_worker_at", "kill_accounts", "kill_accounts_at", "stop_accounts", "kill_risk"),
    "others": ("by_hand", "stray"),
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", _GROUPS)
def test_each_group_of_faults_alone_is_survived(name: str) -> None:
    report = _run(7, hours=0.1, faults="heavy", only=_GROUPS[name])
    assert report.faults.keys() <= set(_GROUPS[name])
    assert sum(report.faults.values()) > 2
    assert report.tally.approved > 10


def test_every_kind_of_fault_is_in_a_group() -> None:
    grouped = {kind for group in _GROUPS.values() for kind in group}
    assert grouped - set(PER_HOUR) == set(LIVE_PER_HOUR)


def test_a_seed_draws_how_its_orders_go_to_binance() -> None:
    drawn = [Settings(seed, mode="live") for seed in range(200)]
    assert 30 < sum(one.order_api == "rest" for one in drawn) < 80
    for one in drawn[:20]:
        config = config_of(one)
        assert config.venues.binance.order_api == one.order_api
        assert bool(config.sim.accounts.binance_ed25519_public) is one.logs_on


@pytest.mark.needs("live")
def test_half_of_the_seeds_have_a_key_that_logs_on() -> None:
    assert 70 < sum(Settings(seed, mode="live").logs_on for seed in range(200)) < 130
    assert not any(Settings(seed, mode="paper").logs_on for seed in range(20))


def test_a_seed_draws_where_its_orders_go() -> None:
    drawn = [Settings(seed, mode="mixed").is_live for seed in range(200)]
    assert 60 < sum(drawn) < 140
    settings = Settings(3, mode="mixed")
    assert settings.command().endswith(f"--mode {'live' if settings.is_live else 'paper'}")
