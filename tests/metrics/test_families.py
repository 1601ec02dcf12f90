"""The figures for Prometheus: the same numbers as the status has, in base units, and exact buckets."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.model.cluster_note import COUNTED, LEADING_COUNTS, LEADING_GAUGES
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.risk_note import NO_NOTE, EquityNote, PortfolioTally
from arbshard.shm.pages import Histogram
from arbshard.status.model import ClusterHostStatus, ClusterStatus

pytestmark = pytest.mark.needs("metrics")
families = pytest.importorskip("arbshard.metrics.families")

NO_PAGES = families.ProcessPages({}, {}, {}, {})


def samples(found):
    """Every sample by name and labels; each appears once."""
    every = [one for family in found for one in family.samples]
    table = {(one.name, tuple(sorted(one.labels.items()))): one.value for one in every}
    assert len(table) == len(every)
    return table


def value(table, name, **labels):
    return table[name, tuple(sorted(labels.items()))]


@pytest.fixture
def table(status):
    return samples(families.families(status, None, NO_PAGES, Config()))


def test_figures_are_those_of_the_status_in_base_units(status, table):
    upbit = status.venues[0]
    assert value(table, "arbshard_venue_oldest_book_seconds", venue="upbit") == upbit.oldest_ms / 1000
    assert value(table, "arbshard_venue_lag_seconds", venue="upbit") == 7.474
    assert ("arbshard_venue_lag_seconds", (("venue", "binance"),)) not in table
    assert value(table, "arbshard_venue_frames_total", venue="upbit") == upbit.frames
    assert value(table, "arbshard_venue_touches_total", venue="upbit") == 7_575
    assert value(table, "arbshard_venue_touches_overdue_total", venue="upbit") == 7_676
    assert value(table, "arbshard_venue_touch_mismatches_total", venue="upbit") == 7_777
    assert value(table, "arbshard_venue_touches_total", venue="binance") == 0
    assert value(table, "arbshard_memory_bytes") == status.memory_mb * 1e6
    assert value(table, "arbshard_equity", currency="KRW") == float(status.equity.equity)
    assert value(table, "arbshard_entries_total") == status.portfolio.entries
    assert value(table, "arbshard_process_restarts_total", process="worker-1") == status.shards[1].restarts
    assert [one for one in table if one[0] == "arbshard_state" and table[one]] == [
        ("arbshard_state", (("state", status.state),))
    ]


def test_parts_of_the_result_add_up(status, table):
    for since in ("run", "ledger"):
        parts = {
            part: value(table, "arbshard_pnl", currency="KRW", since=since, part=part)
            for part in ("trade", "fees", "fx", "beside", "realised")
        }
        assert sum(parts.values()) - parts["realised"] == pytest.approx(parts["realised"])


def test_refusals_have_their_number_and_are_added_up_over_shards(status, table):
    stale = sum(shard.refusals.get("BOOK_STALE", 0) for shard in status.shards)
    assert (
        value(table, "arbshard_refusals_total", by="worker", number="202", reason="BOOK_STALE") == stale > 0
    )


def test_limits_stand_beside_what_is_used_and_follow_changes(status):
    note = replace(
        NO_NOTE,
        equity=EquityNote(naked="500000", day_loss="-7"),
        portfolio=PortfolioTally(exposure="25000000"),
        limits_changed={"portfolio_notional_max": "50000000"},
    )
    table = samples(families.families(status, note, NO_PAGES, Config()))
    names = ("portfolio_notional_max", "naked_notional_max", "daily_loss_max")
    ratio = {name: value(table, "arbshard_limit_used_ratio", limit=name) for name in names}
    assert ratio == {"portfolio_notional_max": 0.5, "naked_notional_max": 0.025, "daily_loss_max": 0.0}
    assert value(table, "arbshard_limit", limit="portfolio_notional_max") == 50_000_000


def test_edges_are_summed_over_pairs_and_busy_pairs_have_their_own(status):
    pages = NO_PAGES._replace(
        funnels={
            "BTC": EdgeFunnel(wanted=4, wanted_bps=80.0, decided=1, decided_bps=25.0),
            "ETH": EdgeFunnel(wanted=6, wanted_bps=120.0),
        }
    )
    table = samples(families.families(status, NO_NOTE, pages, Config(), ("BTC",)))
    assert value(table, "arbshard_edge_evaluations_total", step="wanted") == 10
    assert value(table, "arbshard_edge_sum_ratio_total", step="wanted") == pytest.approx(0.02)
    assert value(table, "arbshard_pair_edge_evaluations_total", pair="BTC", step="decided") == 1
    assert not [labels for _, labels in table if ("pair", "ETH") in labels]


def test_a_cluster_is_shown_as_this_host_knows_it(status, table):
    assert not [name for name, _ in table if name.startswith("arbshard_cluster")]  # there is none on one host
    cluster = ClusterStatus(
        name="c", host="a", leader="b", term=4, may_trade=True, why="", contact_s=0.1, nats=False,
        replication="sync",
        hosts=(
            ClusterHostStatus("a", 0.1, shards=(0, 2), behind=7),
            ClusterHostStatus("b", 0.2, leads=True, shards=(1,)),
            ClusterHostStatus("c", None),
        ),
        unplaced=(3,), kept=("halt by anna: look",), phase="running",
        counts=dict.fromkeys(COUNTED, 5), leading=dict.fromkeys((*LEADING_GAUGES, *LEADING_COUNTS), 6),
    )  # fmt: skip
    table = samples(families.families(replace(status, cluster=cluster), None, NO_PAGES, Config()))
    names = ("led", "leads", "may_trade", "term", "nats_up", "unplaced_shards", "kept_commands")
    assert [value(table, f"arbshard_cluster_{name}") for name in names] == [1, 0, 1, 4, 0, 1, 1]
    assert value(table, "arbshard_cluster_host_shards", host="a") == 2
    assert value(table, "arbshard_cluster_host_behind_events", host="a") == 7
    assert value(table, "arbshard_cluster_host_age_seconds", host="b") == 0.2
    for absent in (("behind_events", "b"), ("age_seconds", "c"), ("behind_events", "c")):
        assert (f"arbshard_cluster_host_{absent[0]}", (("host", absent[1]),)) not in table
    for counted in COUNTED:  # nothing that an agent counts is left out
        assert value(table, f"arbshard_cluster_{counted}_total") == 5
    assert ("arbshard_cluster_followers", ()) not in table  # another host leads, and shows it
    cluster = replace(cluster, host="b")
    table = samples(families.families(replace(status, cluster=cluster), None, NO_PAGES, Config()))
    for name in LEADING_GAUGES:
        assert value(table, f"arbshard_cluster_{name}") == 6
    for name in LEADING_COUNTS:
        assert value(table, f"arbshard_cluster_{name}_total") == 6


@given(st.lists(st.integers(0, 1 << 43), max_size=50))
def test_buckets_count_exactly_what_the_page_recorded(durations):
    histogram = Histogram.of(durations)
    buckets = families.buckets_of(histogram)
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert counts[-1] == len(durations)
    for edge, count in buckets[:-1]:
        edge_ns = round(Decimal(edge) * 1_000_000_000)
        assert count == sum(one <= edge_ns for one in durations)
