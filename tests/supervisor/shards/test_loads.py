"""Rates by pair from the sequences of its slots; CPU by process."""

import os
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from arbshard.model.universe import Universe
from supervisor.processes.posix import PosixHost
from supervisor.shards.loads import LoadMeter

SECOND = 1_000_000_000


@pytest.fixture
def room(make):
    eth = make.other_pair("ETH", (3, 4))
    universe = Universe(make.fx_leg, (make.pair, eth), (("BTC", "ETH"),))
    sequences = dict.fromkeys(range(9), 0)
    return SimpleNamespace(
        universe=universe, sequences=sequences, meter=LoadMeter(sequences.__getitem__, PosixHost().cpu_s)
    )


def test_frames_of_both_markets_per_second(room):
    room.meter.sample(room.universe, {}, 5 * SECOND)
    assert room.meter.frames_s == {}
    room.sequences[1], room.sequences[2], room.sequences[4] = 40, 20, 10  # two a write
    room.meter.sample(room.universe, {}, 6 * SECOND)
    assert room.meter.frames_s == {"BTC": 30.0, "ETH": 5.0}
    room.meter.sample(room.universe, {}, 7 * SECOND)
    assert 0 < room.meter.frames_s["BTC"] < 30.0, "smoothed"


def test_a_pair_in_another_slot_is_another_pair(make, room):
    room.meter.sample(room.universe, {}, SECOND)
    moved = replace(room.universe.pairs[1], home=replace(room.universe.pairs[1].home, slot=7))
    universe = replace(room.universe, pairs=(room.universe.pairs[0], moved))
    room.sequences[7] = 1000
    room.meter.sample(universe, {}, 2 * SECOND)
    assert room.meter.frames_s == {"BTC": 0.0}


def test_processes_that_run_and_those_that_have_ended(room):
    pids = {0: os.getpid(), 1: 2**22 - 1}
    room.meter.sample(room.universe, pids, SECOND)
    room.meter.sample(room.universe, pids, 2 * SECOND)
    assert set(room.meter.cpu) == {0}
    assert room.meter.cpu[0] >= 0
