"""Both ways to an order and to a fill give it the same name."""

import pytest

from arbshard.venues.ids import VENUE_ID_MAX, client_id_of, fill_id, venue_id


def test_there_and_back():
    name = venue_id("ab1cd", "s1-0-1-1-h0")
    assert name == "ab1cd-s1-0-1-1-h0"
    assert client_id_of("ab1cd", name) == "s1-0-1-1-h0"


def test_longest_intent_id_fits():
    assert len(venue_id("ab1cd", "s99999-63-9999-999999999-a99")) <= VENUE_ID_MAX


@pytest.mark.parametrize("name", ["x9y8z-s1-0-1-1-h0", "s1-0-1-1-h0", "", "ab1cd"])
def test_what_is_not_ours(name):
    assert client_id_of("ab1cd", name) is None


def test_without_a_tag_nothing_is_ours():
    assert client_id_of("", "-s1-0-1-1-h0") is None
    with pytest.raises(AssertionError):
        venue_id("", "s1-0-1-1-h0")


def test_binance_numbers_trades_per_market(make):
    other = make.other_pair()
    assert fill_id(make.away.market, 5) == fill_id(make.away.market, "5")
    assert fill_id(make.away.market, 5) != fill_id(other.away.market, 5)
    assert fill_id(make.home.market, 5) != fill_id(make.away.market, 5)
