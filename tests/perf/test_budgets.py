import pytest

from perf.budgets import BUDGETS, judge
from perf.figures import Percentiles
from perf.results import Conditions, Highest, Results
from perf.startup import Footprint, Startup


@pytest.fixture
def results():
    return Results(conditions=Conditions(python="3.11", cores=2, cpu="x", load_before=0.0))


def verdicts(results):
    return {one.budget.name: one.verdict for one in judge(results)}


def numbers(results):
    return {one.budget.name: one.number for one in judge(results)}


def test_without_measurements_nothing_is_judged(results):
    assert set(verdicts(results).values()) == {"not measured"}
    assert len(verdicts(results)) == len(BUDGETS)


def test_supervisor_is_charged_per_message_and_worker_per_tick(results, row):
    results.load = [row(rate=20_000.0)]
    found = numbers(results)
    assert found["supervisor, CPU per message at 20,000 msg/s"] == pytest.approx(10.0)
    assert found["worker, CPU per evaluated tick at 20,000 msg/s"] == pytest.approx(0.11 / 9_900 * 1e6)


def test_the_limit_itself_is_met_and_beyond_it_missed(results, row):
    results.load = [row(rate=5_000.0, receive_us=Percentiles(p50=80.0, p99=500.1, count=1))]
    found = verdicts(results)
    assert found["5,000 msg/s: receive → decision p50"] == "met"
    assert found["5,000 msg/s: receive → decision p99"] == "missed"


def test_rates_are_compared_with_the_peer_s_better_number_of_processes(results):
    results.highest = [
        Highest(client="arbshard", processes=2, rate=50_000),
        Highest(client="ccxt", processes=1, rate=10_000),
        Highest(client="ccxt", processes=2, rate=15_000),
        Highest(client="cryptofeed", processes=1, rate=20_000),
    ]
    found = {one.budget.name: one for one in judge(results)}
    assert found["highest sustained rate"].verdict == "met"
    against = found["highest sustained rate against ccxt.pro"]
    assert against.number == pytest.approx(50_000 / 15_000)
    assert against.verdict == "missed"
    assert found["highest sustained rate against cryptofeed"].verdict == "met"


def test_p99_is_compared_at_the_same_rate_with_the_peer_s_better_row(results, row):
    results.load = [row(rate=10_000.0, send_us=Percentiles(p99=900.0, count=1))]
    results.equal = [
        row(client="ccxt", rate=10_000.0, processes=1, send_us=Percentiles(p99=5_000.0, count=1)),
        row(client="ccxt", rate=10_000.0, processes=2, send_us=Percentiles(p99=1_000.0, count=1)),
        row(client="ccxt", rate=1_000.0, send_us=Percentiles(p99=1.0, count=1)),
    ]
    name = "p99 at 10,000 msg/s, send → decision, to ccxt.pro"
    assert numbers(results)[name] == pytest.approx(0.9)
    assert verdicts(results)[name] == "met"


def test_memory_is_that_of_the_largest_worker_anywhere(results, row):
    results.load = [row()]
    results.startup = Startup(
        first_decision_s=(1.0, 3.5), footprints=(_footprint(30, 44.0), _footprint(1_000, 61.0))
    )
    found = numbers(results)
    assert found["largest worker, resident"] == 61.0
    assert found["1,000 pairs in all (USS + shared once)"] == 300.0
    assert found["arbshard run --shards 4 → first decision, slowest"] == 3.5


def _footprint(pairs, worker_mb):
    return Footprint(
        pairs=pairs,
        shards=4,
        total_mb=300.0,
        uss_mb=250.0,
        rss_mb=400.0,
        worker_rss_mb=worker_mb,
        exchanges_rss_mb=90.0,
    )
