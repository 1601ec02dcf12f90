"""Loops of a script: counted in all and by symbol, with and without an event loop."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from arbshard.errors import UsageError
from arbshard.runner.metrics import MetricsCollector
from arbshard.runner.report import TradeReport


def report(result):
    return TradeReport("BTC", "entry", result, "s1-0-1-1", "net_edge", edge_bps=40.0, at_ms=1)


@pytest.fixture
def metrics():
    with MetricsCollector(["BTC", "ETH"]) as metrics:
        yield metrics


def test_before_the_first_loop_all_is_nought(metrics):
    for symbol in (None, "BTC"):
        found = metrics.get(symbol)
        assert (found.loops, found.errors, found.mean_ms, found.p99_ms, found.max_ms) == (0, 0, 0, 0, 0)
        assert set(found.results.values()) == {0}


def test_a_loop_of_a_symbol_counts_there_and_in_the_total(metrics):
    metrics.update_loop_metrics(0.002, [report("opened"), report("refused")], symbol="BTC")
    metrics.update_loop_metrics(0.004, [report("closed")], errors=2, symbol="ETH")
    metrics.update_loop_metrics(0.006)
    total, btc, eth = metrics.get(), metrics.get("BTC"), metrics.get("ETH")
    assert (total.loops, btc.loops, eth.loops) == (3, 1, 1)
    assert (total.errors, btc.errors, eth.errors) == (2, 0, 2)
    assert {name: count for name, count in total.results.items() if count} == {
        "opened": 1,
        "refused": 1,
        "closed": 1,
    }
    assert {name: count for name, count in btc.results.items() if count} == {"opened": 1, "refused": 1}
    assert total.mean_ms == pytest.approx(4.0)
    assert (btc.p50_ms, btc.max_ms) == pytest.approx((2.0, 2.0))
    assert 4.0 <= total.p50_ms <= 4.5
    assert total.max_ms == pytest.approx(6.0)


async def test_the_same_with_an_event_loop(metrics):
    await metrics.aupdate_loop_metrics(0.002, [report("missed")], errors=1, symbol="BTC")
    found = metrics.get("BTC")
    assert (found.loops, found.errors, found.results["missed"]) == (1, 1, 1)
    assert metrics.get("ETH").loops == 0


def test_threads_lose_no_count(metrics):
    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(lambda: [metrics.update_loop_metrics(0.001, symbol="BTC") for _ in range(500)])
    assert metrics.get("BTC").loops == metrics.get().loops == 2000


@pytest.mark.parametrize(
    ("duration_s", "given", "said"),
    [
        (0.1, {"symbol": "XRP"}, "metrics: there is no symbol XRP; known: BTC, ETH"),
        (-0.1, {}, "metrics: duration_s -0.1 and errors 0 must be 0 or more"),
        (float("nan"), {}, "metrics: duration_s nan and errors 0 must be 0 or more"),
        (0.1, {"errors": -1}, "metrics: duration_s 0.1 and errors -1 must be 0 or more"),
    ],
)
def test_what_cannot_be_counted_is_refused_and_counts_nothing(metrics, duration_s, given, said):
    with pytest.raises(UsageError) as refused:
        metrics.update_loop_metrics(duration_s, **given)
    assert str(refused.value) == said
    assert metrics.get().loops == 0


def test_a_symbol_that_was_not_named_cannot_be_read(metrics):
    with pytest.raises(UsageError, match="no symbol XRP"):
        metrics.get("XRP")


def test_a_symbol_that_is_named_twice_is_one_symbol():
    with MetricsCollector(["BTC", "BTC"]) as metrics:
        assert metrics.symbols == ("BTC",)
    metrics.close()  # again
