import pytest

from perf import load, plan
from perf.figures import Percentiles
from perf.peers import environment
from perf.peers.environment import PeerUnavailable, ensure_environment
from perf.plan import Plan, measure
from perf.results import Conditions, Results
from perf.running import MeasurementFailed


@pytest.fixture
def results():
    return Results(conditions=Conditions(python="3.11", cores=2, cpu="x", load_before=0.0))


def plan_of(*parts, rates=(1_000,), peers=True):
    return Plan(parts=parts, rates=rates, seconds=1.0, quick=True, peers=peers, receiver=None)


def test_a_peer_that_cannot_be_installed_fails_nothing(results, monkeypatch):
    def unavailable(name, *_, **__):
        raise PeerUnavailable(f"{name}: no index")

    monkeypatch.setattr(plan, "measure_peer", unavailable)
    assert measure(plan_of("peers"), results, lambda _: None)
    assert results.not_measured == {"ccxt": "ccxt: no index", "cryptofeed": "cryptofeed: no index"}


def test_peers_may_be_left_out(results, monkeypatch):
    monkeypatch.setattr(plan, "measure_peer", lambda *_, **__: pytest.fail("was measured"))
    assert measure(plan_of("peers", peers=False), results, lambda _: None)
    assert list(results.not_measured) == ["peers"]


def test_our_own_failure_is_told_and_the_rest_goes_on(results, row, monkeypatch):
    def fails_at_first(rate, *_, **__):
        if rate == 1_000:
            raise MeasurementFailed("it fell over")
        return row(rate=rate)

    monkeypatch.setattr(load, "measure", fails_at_first)
    assert not measure(plan_of("load", rates=(1_000, 2_000)), results, lambda _: None)
    assert [one.rate for one in results.load] == [2_000]
    assert results.not_measured == {"arbshard at 1,000 msg/s": "it fell over"}


def test_the_search_begins_at_the_highest_rate_that_held(results, row, monkeypatch):
    asked = []

    def holds_up_to_20_000(rate, *_, **__):
        asked.append(rate)
        return row(rate=rate, delivered=10_000 if rate <= 20_000 else 0)

    monkeypatch.setattr(load, "measure", holds_up_to_20_000)
    measure(plan_of("load", rates=(5_000, 20_000, 50_000)), results, lambda _: None)
    assert asked == [5_000, 20_000, 50_000, 20_000, 30_000]
    assert results.highest_of("arbshard") == 20_000


def test_both_transports_are_measured_in_turn_and_the_median_counts(results, row, monkeypatch):
    p50s = {"local": iter((80.0, 70.0, 500.0)), "zmq": iter((120.0, 100.0, 110.0))}
    asked = []

    def measured(rate, *_, transport, **__):
        asked.append(transport)
        return row(rate=rate, receive_us=Percentiles(p50=next(p50s[transport]), count=1))

    monkeypatch.setattr(load, "measure", measured)
    assert measure(plan_of("transports")._replace(quick=False), results, lambda _: None)
    assert asked == ["local", "zmq"] * 3
    found = results.more["Transports at 5,000 msg/s, µs"]
    assert (found["local: receive → decision p50"], found["zmq: receive → decision p50"]) == (80.0, 110.0)


def test_an_environment_that_cannot_be_made_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_PLACE", tmp_path)
    monkeypatch.setattr(environment.sys, "executable", "/bin/false")
    with pytest.raises(PeerUnavailable, match="ccxt could not be installed"):
        ensure_environment("ccxt")
