"""What a month of the default run comes to, from events that the whole system made on virtual time."""

import time

import pytest

from arbshard.ledger import archiving
from arbshard.ledger.archive import folder_of
from arbshard.ledger.archiving import close_period, take_cut
from arbshard.ledger.prove import prove
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.replay import recover
from arbshard.ledger.store import LedgerStore
from arbshard.ledger.verify import verify
from arbshard.risk.portfolio.snapshot import VERSION, PortfolioCodec
from arbshard.virtual.machine import Simulation
from arbshard.virtual.settings import Settings
from support import history
from support.effort import effort

pytestmark = pytest.mark.timeout(
    280
)  # the simulation computes for some seconds, on a machine that may be busy

ROUND_TRIPS_A_MONTH = 6_900 * 24 * 30
"""A default run closes 6,650 to 6,900 positions an hour."""
LIVE_BYTES = 60_000_000
"""The file of the open period: 40,000 events (``ledger.archive_events``) of 900 bytes, and some more."""
MONTH_BYTES_MAX = 2_000_000_000


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    """A ledger with real amounts, ids and times: some virtual minutes of four coins without faults."""
    path = tmp_path_factory.mktemp("month") / "ledger.sqlite"
    simulation = Simulation(Settings(seed=7, hours=effort(12, 30) / 100, pairs=4, faults="none"))
    store = LedgerStore.open(path, name="sim", mode="sim-paper", now_ms=1)
    check = simulation.disk.on_stored

    def stored(first, events, bodies) -> None:
        check(first, events, bodies)
        store.append(events)

    simulation.disk.on_stored = stored
    report = simulation.run()
    assert not report.violations
    store.close()
    return path


def test_a_month_stays_below_two_gigabytes(traded, codec, opened, monkeypatch) -> None:
    before = traded.stat().st_size
    with LedgerReader(traded) as reader:
        round_trips = reader.counts()["PositionClosed"]
        last = reader.last_seq
    assert round_trips > effort(60, 200)
    monkeypatch.setattr(archiving, "PERIOD_EVENTS", last)
    with LedgerReader(traded) as reader:
        successor = close_period(reader, take_cut(reader, codec, last))
    store = LedgerStore.open(traded, name="sim", mode="sim-paper", now_ms=1)
    store.take_over(successor)
    store.abandon()
    archived = sum(one.stat().st_size for one in folder_of(traded).iterdir())
    each, was = archived / round_trips, before / round_trips
    print(f"bytes per round trip: {was:,.0f} in the ledger, {each:,.0f} in the archive")
    assert each * 20 < was
    assert each * ROUND_TRIPS_A_MONTH + LIVE_BYTES < MONTH_BYTES_MAX
    assert list(prove(traded))[-1].last_seq == last
    assert verify(traded, codec).differences == ()


def test_a_start_does_not_depend_on_what_is_in_archives(tmp_path, codec, close_at, opened) -> None:
    """It reads what opens the period and the events since, though no snapshot can be used (another version)."""
    path = tmp_path / "ledger.sqlite"
    kept, archived = effort(2_000, 50_000), effort(3_000, 10_000)
    last = history.History(30).write(path, kept + archived, positions=20, intents=5)
    close_at(path, last - kept)
    with LedgerReader(path) as reader:
        events = last - reader.first_seq + 1
    assert events <= kept + 1  # at 50,000 events a period is archived, so no start replays many more
    began = time.process_time()
    store = opened(path)
    found = recover(store, PortfolioCodec(VERSION + 1))
    took = time.process_time() - began
    assert found.replayed == events
    assert len(found.state.positions) == 20
    print(f"{events:,} events replayed in {took:.2f} s of computing")
