"""A whole run whose coins fall silent while they are held: each is left when it is due, and not before it may be."""

import time

import msgspec
import pytest

from arbshard.model.universe import Universe
from arbshard.shm.books import BooksReader
from support.instance import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

HOLD_S = 8.0
CONFIG = f"""
[sim]
coins = 8
seed = 11
updates_per_s = 5.0
[run]
shards = 2
[strategy]
max_hold_s = {HOLD_S}
take_profit_bps = 500.0
close_on_spread_reversal = false
[data_quality]
quiet_confirm_s = 4.0
"""
"""Positions end by ``max_hold`` alone, and REST must confirm their books before they do."""


@pytest.fixture
def instance(tmp_path):
    with Instance(tmp_path, CONFIG) as one:
        yield one


@pytest.mark.nightly  # in the gate tests/cases/test_quiet_books.py closes them
def test_positions_in_coins_that_fall_silent_are_closed_when_they_are_due(instance):
    instance.start()
    instance.until(lambda s: s["state"] == "running" and s["portfolio"]["open"] >= 2)
    held = {position.position_id: position.pair for position in instance.risk_note().positions}
    coins = ",".join(sorted(set(held.values())))
    for venue in ("upbit", "binance"):
        instance.set_faults(venue, {"set": {"quiet_book": {"share": 1.0, "market": coins, "every_s": 3600}}})
    universe = msgspec.json.decode(instance.files.universe.read_bytes(), type=Universe)
    slots = {pair.base: (pair.home.slot, pair.away.slot) for pair in universe.pairs}
    closed = {}
    with BooksReader.attach(instance.files.books) as books:

        def are_closed():
            for position in instance.risk_note().closed:
                if position.position_id in held and position.position_id not in closed:
                    received_ns = [books.read(slot)[1] for slot in slots[position.pair]]
                    silent_s = (time.monotonic_ns() - max(received_ns)) / 1e9
                    closed[position.position_id] = (position, silent_s)
            return closed.keys() == held.keys()

        instance.wait_for(are_closed, 40.0, lambda: (held, closed, instance.status()))
    for position, silent_s in closed.values():
        assert position.reason == "max_hold"
        took_s = (position.closed_ms - position.opened_ms) / 1000
        assert took_s >= HOLD_S
        assert silent_s > 1.5, "its books were not quiet when it was left"
    venues = instance.status()["venues"]
    assert sum(venue["confirmed"] for venue in venues) >= 1
    assert [venue["dead"] for venue in venues] == [0, 0]
    entered = [event for event in instance.events("IntentApproved") if event["intent"]["kind"] == "entry"]
    for venue in ("upbit", "binance"):
        instance.set_faults(venue, {"clear": ["quiet_book"]})
    instance.until(lambda s: s["portfolio"]["entries"] > len(entered))
    assert instance.stop().code == 0
    instance.verify()
    assert instance.leftovers() == []
