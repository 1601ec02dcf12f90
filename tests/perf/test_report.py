import io

import pytest
from rich.console import Console

from perf import report
from perf.baseline import Change
from perf.budgets import judge
from perf.figures import Percentiles
from perf.results import Conditions, Highest, Results
from perf.startup import Footprint, Startup

WIDTH = 100


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=WIDTH)


def text(console):
    return console.file.getvalue()


def everything(row):
    slow = Percentiles(5242.9, 25165.8, 41943.0, 146137.3, 1_054_526.0, 194_544)
    return Results(
        conditions=Conditions(
            python="3.11.7", cores=2, cpu="x", load_before=0.5, others=("cc1 (7): 90% of a core",)
        ),
        load=[row(), row(rate=100_000.0, coins=1_000, late=9_000, receive_us=slow, send_us=slow)],
        equal=[row(client="cryptofeed", processes=1, send_us=slow, lost=2)],
        highest=[
            Highest(client="arbshard", processes=2, rate=50_000),
            Highest(client="ccxt", processes=1, rate=0),
        ],
        not_measured={"cryptofeed": "could not be installed"},
        approval_us=slow,
        startup=Startup(
            first_decision_s=(1.2, 1.3),
            footprints=(
                Footprint(
                    pairs=1_000,
                    shards=4,
                    total_mb=257.2,
                    uss_mb=226.8,
                    rss_mb=369.1,
                    worker_rss_mb=58.6,
                    exchanges_rss_mb=96.0,
                ),
            ),
        ),
        more={"failover": {"killed → decided again, ms": 120.0}},
    )


def test_all_tables_fit_a_hundred_columns_and_hide_no_number(console, row):
    results = everything(row)
    report.show_conditions(console, results.conditions)
    report.show_stages(console, {"decode upbit": 6.1})
    report.show_load(console, results.load)
    report.show_equal(console, results.equal)
    report.show_rest(console, results)
    report.show_budgets(console, judge(results))
    shown = text(console)
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert "…" not in shown
    for number in ("1,054,526", "100,000", "257.2", "120.00", "6.10"):
        assert number in shown
    for word in (
        "could not be installed",
        "generator late",
        "2 connections lost",
        "cc1 (7)",
        "met",
        "missed",
    ):
        assert word in " ".join(shown.split()), word


def test_only_what_got_worse_is_listed(console):
    report.show_changes(
        console, "abc", [Change("stage: a", 1.0, 2.0, True), Change("stage: b", 1.0, 1.0, False)]
    )
    shown = text(console)
    assert "2 ratios compared, 1 worse" in " ".join(shown.split())
    assert "stage: a" in shown
    assert "stage: b" not in shown
