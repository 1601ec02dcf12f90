import pytest

from perf import baseline
from perf.baseline import Baseline, compare
from perf.figures import Percentiles
from perf.results import Conditions, Highest, Results


@pytest.fixture
def results():
    return Results(conditions=Conditions(python="3.11", cores=2, cpu="x", load_before=0.0))


def test_stages_are_told_relative_to_the_reference(results):
    results.stages_us = {"decode binance": 5.0, "slot write": 0.5}
    assert baseline.ratios_of(results) == {"stage: slot write": 0.1}


def test_peers_are_told_relative_to_us(results, row):
    results.highest = [
        Highest(client="arbshard", processes=2, rate=60_000),
        Highest(client="ccxt", processes=1, rate=5_000),
    ]
    results.load = [row(rate=1_000.0, send_us=Percentiles(p50=100.0, p99=200.0, count=1))]
    results.equal = [
        row(
            client="ccxt",
            rate=1_000.0,
            send_us=Percentiles(p50=300.0, p99=800.0, count=1),
            cpu_s={"ccxt-0": 2.1, "generator": 0.3},
        )
    ]
    assert baseline.ratios_of(results) == {
        "peer: ccxt, highest sustained rate": 12.0,
        "peer: ccxt, CPU per message at 1,000": 10.0,
        "peer: ccxt, p50 at 1,000": 3.0,
        "peer: ccxt, p99 at 1,000": 4.0,
    }


def test_a_quarter_more_is_still_well_and_more_is_worse():
    before = {"stage: a": 1.0, "peer: b": 10.0}
    assert not any(change.is_worse for change in compare(before, {"stage: a": 1.25, "peer: b": 8.0}))
    assert all(change.is_worse for change in compare(before, {"stage: a": 1.26, "peer: b": 7.9}))


def test_getting_better_is_not_worse():
    changes = compare({"stage: a": 1.0, "peer: b": 10.0}, {"stage: a": 0.1, "peer: b": 99.0})
    assert [change.is_worse for change in changes] == [False, False]


def test_only_what_is_in_both_is_compared():
    assert compare({"stage: gone": 1.0}, {"stage: new": 9.0}) == ()


def test_it_is_kept_in_a_file(tmp_path):
    path = tmp_path / "baseline.json"
    assert baseline.load(path) is None
    kept = Baseline("abc", {"stage: a": 1.5})
    baseline.save(kept, path)
    assert baseline.load(path) == kept


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "baseline.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"baseline\.json"):
        baseline.load(path)
