"""The loop of risk: what it does in pauses."""

from types import SimpleNamespace

import pytest

from arbshard.clock import ManualClock
from arbshard.ledger import snapshots
from arbshard.ledger.events import ShardJoined
from arbshard.ledger.replay import recover
from arbshard.ledger.store import LedgerStore
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.server import RiskServer
from arbshard.shm.pages import PageWriter

TICK_NS = 100_000_000


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A server over a real ledger and page; ``transport.batches`` is what workers have asked."""
    monkeypatch.setattr(snapshots, "SNAPSHOT_DUE", 5)
    store = LedgerStore.open(tmp_path / "ledger.sqlite", name="sim", mode="sim-paper", now_ms=1)
    codec = PortfolioCodec()
    state = recover(store, codec).state
    store.keep_snapshots(codec.version, lambda: codec.dump(state))
    page = PageWriter.create(tmp_path / "page", COUNTERS, HISTOGRAMS, 0)
    transport = SimpleNamespace(batches=0, requests=0, unsent=0, bad=0)
    quiet = SimpleNamespace(look=lambda *_: None)
    server = RiskServer(
        service=SimpleNamespace(is_changed=False, tick=lambda **_: None),
        state=state,
        store=store,
        page=page,
        transport=transport,
        is_orphan=lambda: False,
        feeds=quiet,
        gaps=quiet,
        note=SimpleNamespace(),
        workers=SimpleNamespace(look=lambda *_: {}),
        disk=quiet,
        stuck_after_ms=1000.0,
        clock=ManualClock(),
        archivist=quiet,
    )
    yield SimpleNamespace(server=server, store=store, state=state, transport=transport, now_ns=TICK_NS)
    store.abandon()
    page.close()


def trade(shop) -> None:
    """As many events as make a snapshot due when nothing else is to do."""
    made = [ShardJoined(at_ms=1, shard=0, epoch=epoch, pid=1) for epoch in range(1, 7)]
    shop.store.append(made)
    for event in made:
        shop.state.apply(event)
    shop.state.commit()


def tick(shop) -> None:
    shop.now_ns += TICK_NS
    shop.server._tick(shop.now_ns, shop.now_ns)


def test_a_snapshot_is_taken_when_no_worker_asks(shop) -> None:
    trade(shop)
    for _ in range(2):  # the state becomes bytes in one pause, and is stored in the next
        tick(shop)
    assert shop.store.snapshot_seq == shop.store.last_seq == 6


def test_no_snapshot_is_taken_early_while_workers_ask(shop) -> None:
    trade(shop)
    for _ in range(5):
        shop.transport.batches += 1
        tick(shop)
    assert shop.store.snapshot_seq == 0
