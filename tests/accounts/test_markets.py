"""Markets that come are known to whoever was given the table; those that went stay known."""

import msgspec
import pytest

from arbshard.accounts.markets import MarketTables
from arbshard.model.universe import Universe
from arbshard.shm.universe import UniverseFile


class Word:
    universe = 0


@pytest.fixture
def room(tmp_path, make):
    path, word = tmp_path / "universe.json", Word()
    path.write_bytes(msgspec.json.encode(Universe(make.fx_leg, (make.pair,), (("BTC",),))))
    return path, word, MarketTables(UniverseFile(word, path))


def test_a_market_that_comes_is_in_the_table_that_was_given(room, make):
    path, word, markets = room
    table = markets.of("upbit")
    assert table.keys() == {"KRW-USDT", "KRW-BTC"}
    eth = make.other_pair("ETH", (3, 4))
    path.write_bytes(msgspec.json.encode(Universe(make.fx_leg, (eth,), (("ETH",),), serial=2)))
    markets.follow()
    assert "KRW-ETH" not in table, "the word comes after the file"
    word.universe = 2
    markets.follow()
    assert table["KRW-ETH"] == eth.home.market
    assert "KRW-BTC" in table
    assert markets.of("nowhere") == {}


def test_a_file_that_cannot_be_read_is_read_again(room, make):
    path, word, markets = room
    whole = msgspec.json.encode(Universe(make.fx_leg, (make.other_pair("ETH", (3, 4)),), ((),), serial=1))
    path.write_bytes(whole[:40])
    word.universe = 1
    markets.follow()
    path.write_bytes(whole)
    markets.follow()
    assert "KRW-ETH" in markets.of("upbit")
