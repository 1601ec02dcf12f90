"""Which part of an account's limits a host may use follows its grants."""

import pytest

from arbshard.config.cluster import ClusterConfig, HostConfig
from arbshard.execution.live.account_part import AccountPart
from arbshard.model.cluster_note import counters
from arbshard.shm.pages import PageWriter
from arbshard.venues.registry import rate_windows

CLUSTER = ClusterConfig(
    "c", {name: HostConfig("127.0.0.1", "k" * 40) for name in "abc"}, ("nats://127.0.0.1:4222",), shards=5
)


@pytest.fixture
def now():
    return [1_000_000_000]


@pytest.fixture
def part(tmp_path, now):
    return AccountPart(tmp_path / "page-cluster", CLUSTER, lambda: now[0])


def hold(tmp_path, *grants):
    with PageWriter.create(tmp_path / "page-cluster", counters(5), note_bytes=0) as page:
        for shard, grant in enumerate(grants):
            page.set(page.counter(f"grant_{shard}"), grant)


def test_without_an_agent_it_is_that_of_a_host_without_shards(part):
    assert part() == pytest.approx(1 / 8)


def test_it_follows_the_grants(part, now, tmp_path):
    hold(tmp_path, 3, 0, 1)
    assert part() == pytest.approx(3 / 8)
    hold(tmp_path, 3, 4, 1)
    assert part() == pytest.approx(3 / 8)  # until it is read again
    now[0] += 200_000_000
    assert part() == pytest.approx(4 / 8)


@pytest.mark.parametrize("held", [(5, 0, 0), (2, 2, 1), (0, 0, 0)])
def test_the_parts_of_all_hosts_are_no_more_than_the_whole(held, tmp_path, now):
    parts = []
    for count in held:
        hold(tmp_path, *[1] * count)
        parts.append(AccountPart(tmp_path / "page-cluster", CLUSTER, lambda: now[0])())
    assert sum(parts) <= 1 + 1e-9


def test_every_limit_of_orders_is_counted_by_account():
    windows = {window.name: window.is_of_account for window in rate_windows(("upbit", "binance"))}
    assert windows == {
        "upbit_default": True,
        "upbit_order": True,
        "upbit_order_test": True,
        "upbit_orderbook": False,
        "upbit_connects": True,
        "binance_weight": False,
        "binance_orders_10s": True,
        "binance_orders_1d": True,
        "binance_connects": False,
    }
