"""The universe's file and word, and what one shard takes of it."""

import msgspec
import pytest

from arbshard.errors import SharedMemoryError
from arbshard.model.universe import Universe
from arbshard.shm.universe import UniverseFile


class Word:
    universe = 4


@pytest.fixture
def universe(make):
    pairs = (make.pair, make.other_pair("ETH", (3, 4)), make.other_pair("SOL", (5, 6)))
    return Universe(make.fx_leg, pairs, (("BTC",), ("ETH", "SOL")), 4, ("ETH", "BTC"))


@pytest.fixture
def source(tmp_path, universe):
    path = tmp_path / "universe.json"
    path.write_bytes(msgspec.json.encode(universe))
    return UniverseFile(Word(), path)


def test_all_of_it(source, universe):
    assert source.serial == 4
    assert source.load() == universe


def test_a_shard_takes_its_own_and_of_those_what_it_does_not_know(source, universe):
    part = source.load_shard(1, {"ETH"})
    assert (part.serial, part.mine, part.leaving) == (4, {"ETH", "SOL"}, {"ETH"})
    assert part.new == {"SOL": universe.pairs[2]}
    assert source.load_shard(1, {"ETH", "SOL"}).new == {}


def test_a_shard_takes_what_has_changed_of_its_own_since_a_serial(tmp_path, universe):
    changed = universe.with_listing(universe.pairs[:2], universe.fx, (), 7)
    path = tmp_path / "universe.json"
    path.write_bytes(msgspec.json.encode(changed))
    source = UniverseFile(Word(), path)
    part = source.load_shard(1, {"ETH", "SOL"}, 4)
    assert (part.serial, part.new, part.revised) == (5, {}, {"ETH": universe.pairs[1]})
    assert source.load_shard(1, {"ETH", "SOL"}, 5).revised == {}
    assert source.load_shard(1, {"SOL"}, 4).revised == {}  # what is new comes as it is now


def test_what_cannot_be_read(tmp_path):
    path = tmp_path / "universe.json"
    source = UniverseFile(Word(), path)
    for content in (None, b"", b'{"pairs": 3}'):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SharedMemoryError):
            source.load()
        with pytest.raises(SharedMemoryError):
            source.load_shard(0, ())
