"""Venues by name."""

import pytest

from arbshard.errors import UsageError
from arbshard.venues.registry import VENUES, get_venue


def test_every_venue_is_found_under_its_own_name():
    assert set(VENUES) == {"upbit", "binance"}
    for name, venue in VENUES.items():
        assert venue.name == name
        assert get_venue(name) is venue


def test_unknown_venue_names_the_known_ones():
    with pytest.raises(UsageError, match="unknown venue 'kraken'; known: binance, upbit"):
        get_venue("kraken")


@pytest.mark.parametrize(("name", "in_base"), [("upbit", False), ("binance", True)])
def test_coin_a_buyer_pays_in(name, in_base):
    assert get_venue(name).buy_fee_in_base is in_base
