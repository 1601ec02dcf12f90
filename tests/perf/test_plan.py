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


def test_a_peer_that_cannot_be_installed_fails_nothing(results, row, monkeypatch):
    def unavailable(name, *_, **__):
        raise PeerUnavailable(f"{name}: no index")

    monkeypatch.setattr(plan, "measure_peer", unavailable)
    monkeypatch.setattr(load, "measure", lambda rate, *_, **__: row(rate=rate))
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


@pytest.fixture
def clients(row, monkeypatch):
    """What was measured, in order: client, processes and rate. A peer with two processes is the better one."""
    asked = []

    def ours(rate, *_, **__):
        asked.append(("arbshard", 2, rate))
        return row(rate=rate, delivered=10_000 if rate <= 30_000 else 0)

    def peer(name, rate, *_, processes):
        asked.append((name, processes, rate))
        latency = Percentiles(p50=900.0 / processes, p99=900.0 / processes, count=1)
        delivered = 10_000 if rate <= 2_000 * processes else 0
        cpu_s = {name: 1.0 / processes}
        return row(
            client=name, processes=processes, rate=rate, send_us=latency, delivered=delivered, cpu_s=cpu_s
        )

    monkeypatch.setattr(load, "measure", ours)
    monkeypatch.setattr(plan, "measure_peer", peer)
    return asked


def test_this_system_and_the_peers_take_three_turns_each_in_another_order(results, clients):
    assert measure(plan_of("peers")._replace(quick=False), results, lambda _: None)
    assert [(name, processes) for name, processes, _ in clients] == [
        ("arbshard", 2),
        ("ccxt", 1),
        ("ccxt", 2),
        ("cryptofeed", 1),
        ("cryptofeed", 2),
        # From here on each peer has the number of processes that was better.
        ("ccxt", 2),
        ("cryptofeed", 2),
        ("arbshard", 2),
        ("cryptofeed", 2),
        ("arbshard", 2),
        ("ccxt", 2),
    ]
    assert [one.turn for one in results.load] == [0, 1, 2]
    assert [one.turn for one in results.equal if one.client == "ccxt"] == [0, 0, 1, 2]


def test_a_number_of_processes_that_is_cheaper_goes_on_beside_the_faster_one(
    results, clients, row, monkeypatch
):
    def peer(name, rate, *_, processes):
        latency = Percentiles(p50=900.0 / processes, p99=900.0 / processes, count=1)
        return row(
            client=name, processes=processes, rate=rate, send_us=latency, cpu_s={name: float(processes)}
        )

    monkeypatch.setattr(plan, "measure_peer", peer)
    measure(plan_of("peers")._replace(quick=False), results, lambda _: None)
    found = [(one.turn, one.processes) for one in results.equal if one.client == "ccxt"]
    assert found == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_quick_run_takes_one_turn_and_one_process(results, clients):
    measure(plan_of("peers"), results, lambda _: None)
    assert clients == [("arbshard", 2, 1_000), ("ccxt", 1, 1_000), ("cryptofeed", 1, 1_000)]


def test_rates_that_are_measured_in_turns_are_not_measured_twice(results, clients):
    measure(plan_of("load", "peers", rates=(1_000, 50_000)), results, lambda _: None)
    assert sorted(one.rate for one in results.load) == [1_000, 50_000]
    assert {rate for name, _, rate in clients if name != "arbshard"} == {1_000}


def test_rates_above_those_of_the_peers_are_measured_once_and_that_is_said(results, clients):
    rates = (30_000, 50_000, 60_000)
    assert measure(plan_of("load", "peers", rates=rates), results, lambda _: None)
    assert [one.rate for one in results.load] == [*rates]
    assert results.equal == []
    assert results.not_measured == {"peers at these rates": "they are measured up to 20,000 msg/s"}
    assert [one.client for one in results.highest] == ["arbshard", "ccxt", "cryptofeed"]


def test_highest_rates_are_searched_in_each_turn_from_the_one_before_on(results, clients):
    plan = plan_of("peers", rates=(1_000, 2_000, 3_000))._replace(quick=False)
    assert measure(plan, results, lambda _: None)
    found = [(one.turn, one.processes, one.rate) for one in results.highest if one.client == "ccxt"]
    assert found == [(0, 1, 2_000), (0, 2, 3_000), (1, 2, 3_000), (2, 2, 3_000)]
    ours = [one.rate for one in results.highest if one.client == "arbshard"]
    assert ours == [30_000] * 3
    # The last two searches try the rate that was held and the one above it.
    assert [rate for name, _, rate in clients if name == "arbshard"][-2:] == [30_000, 40_000]


def test_a_turn_of_ours_that_fails_makes_the_run_incomplete(results, row, clients, monkeypatch):
    def fails(*_, **__):
        raise MeasurementFailed("it fell over")

    monkeypatch.setattr(load, "measure", fails)
    assert not measure(plan_of("peers"), results, lambda _: None)
    assert results.not_measured == {"arbshard x 2 at 1,000 msg/s, turn 1 of 1": "it fell over"}
    assert len(results.equal) == 2


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
