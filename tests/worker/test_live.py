"""A worker's way to real orders: what it hears, what it refuses, and that it closes what it opened."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import ClassVar

import pytest
import structlog
from msgspec.structs import replace

from arbshard.clock import SystemClock
from arbshard.config import Config, LiveConfig
from arbshard.errors import LedgerError
from arbshard.model.rundir import RunFiles
from arbshard.shm.budget import Budget
from arbshard.venues.base.client import Answer
from arbshard.venues.keys import Keys
from arbshard.venues.registry import TRADED, rate_windows
from arbshard.wire import order_events
from arbshard.wire.bus import Publisher
from arbshard.worker import live as live_module
from arbshard.worker.live import LiveSide, open_live_ports


class Client:
    """A venue that answers everything and has nothing to say."""

    made: ClassVar[list["Client"]] = []

    def __init__(self, venue, config, keys, clock, opener, name):
        self.venue = venue
        self.opener = opener
        self.name = name
        self.closed = False
        self.made.append(self)

    async def call(self, request, on_sent=None, prepared=None, objection=None):
        return Answer(200, b'{"serverTime":1}', {})

    def prepare(self, request):
        return None

    async def keep_open(self):
        pass

    def set_clock(self, ahead_ms):
        pass

    async def close(self):
        self.closed = True


class Books:
    def tradable(self, leg):
        return None

    def tradable_fx(self):
        return None

    def fx(self):
        return None


@pytest.fixture
async def open_side(make, tmp_path, monkeypatch):
    monkeypatch.setattr(live_module, "open_order_client", Client)
    monkeypatch.setattr(Client, "made", [])
    sides = []

    def build(*, dry_run=False, shard=0):
        config = replace(Config(mode="live"), live=LiveConfig(dry_run=dry_run))
        counts, failures = Counter(), []
        keys = {venue: Keys(venue, "key", "secret") for venue in TRADED}
        side = LiveSide(
            config, open_live_ports(config, keys, RunFiles(tmp_path), SystemClock(), shard), SystemClock(),
            [make.home, make.away], Books(), lambda name: counts.update([name]), failures.append, lambda: False,
        )  # fmt: skip
        side.counts, side.failures = counts, failures
        sides.append(side)
        return side

    yield build
    for side in sides:
        await side.close()
        assert side.failures == []
    assert all(client.closed for client in Client.made)
    structlog.contextvars.clear_contextvars()


@pytest.fixture
async def publisher(tmp_path):
    with Publisher(RunFiles(tmp_path).accounts_endpoint) as publisher:
        publisher.start()
        yield publisher


async def until(condition):
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not come")


def event(order, make):
    fill = make.fill(order, order.quantity, order.limit)
    return order_events.OrderEvent(
        "upbit", order.client_id, "u-1", "FILLED", Decimal(order.quantity), (fill,), "", 0
    )


async def test_hears_of_its_own_shard_only(make, open_side, publisher):
    side = open_side(shard=1)
    order = make.order(make.home, "buy", "0.001", 146_000_000, client_id="s1-1-1-1-h0")
    await side.start("ab1cd")
    tracked = side.port.tracker.begin(order, 0)
    own, other = order_events.topic(1), order_events.topic(10)
    await until(lambda: publisher.wanted(own))
    assert not publisher.wanted(other)
    publisher.publish(own, b"garbage")
    publisher.publish(own, order_events.encode(event(order, make)))
    await until(lambda: tracked.result is not None)
    assert tracked.result.state == "FILLED"
    assert side.counts["events"] == 1
    assert side.counts["events_bad"] == 1


async def test_each_worker_connects_under_its_own_name_within_the_limits_of_all(open_side, tmp_path):
    """Workers that share a name would all try to connect again at the same moments after an outage."""
    open_side(shard=0)
    open_side(shard=1)
    assert {client.name for client in Client.made} == {"worker-0", "worker-1"}
    tried = []

    @asynccontextmanager
    async def opened(*arguments):
        tried.append(arguments)
        yield None

    budget = Budget.open(tmp_path, "accounts", rate_windows())
    try:
        now_ns = SystemClock().monotonic_ns()
        budget.block("binance", now_ns + 60_000_000_000)
        for client in (one for one in Client.made if one.venue == "binance"):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05), client.opener("target", None, None, "auto"):
                    pass
    finally:
        budget.close()
    assert tried == []


async def test_ledger_without_a_tag_is_refused(open_side):
    with pytest.raises(LedgerError, match="no tag"):
        await open_side().start("")


async def test_dry_run_is_on_every_line(open_side):
    open_side(dry_run=True)
    assert structlog.contextvars.get_contextvars()["orders"] == "DRY RUN"


async def test_real_run_is_not_called_dry(open_side):
    open_side()
    assert "orders" not in structlog.contextvars.get_contextvars()
