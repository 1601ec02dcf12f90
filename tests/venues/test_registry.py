"""Venues by name."""

import pytest

from arbshard.errors import UsageError
from arbshard.venues.registry import ADAPTERS, get_adapter, get_venue


def test_every_venue_is_found_under_its_own_name():
    assert set(ADAPTERS) == {"upbit", "binance"}
    for name, adapter in ADAPTERS.items():
        assert adapter.name == name
        assert get_adapter(name) is adapter
        assert get_venue(name) is adapter.market


def test_unknown_venue_names_the_known_ones():
    with pytest.raises(UsageError, match="unknown venue 'no-such-venue'; known: binance, upbit"):
        get_venue("no-such-venue")


@pytest.mark.parametrize(("name", "in_base"), [("upbit", False), ("binance", True)])
def test_coin_a_buyer_pays_in(name, in_base):
    assert get_venue(name).buy_fee_in_base is in_base
