"""One venue's account, watched, without its sockets."""

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from arbshard.accounts.orders import VenueOrders
from arbshard.accounts.watch import VenueWatch
from arbshard.clock import ManualClock
from arbshard.config import Config
from arbshard.venues.upbit.account import UpbitAccount

UPBIT = UpbitAccount()


@pytest.fixture
def watching(markets, tag, upbit_keys, script, counted):
    """A watch of Upbit, and what it publishes."""
    config = Config()
    upbit = replace(config.venues.upbit, ws_url="wss://upbit.invalid/websocket/v1")
    published = []
    watch = VenueWatch(
        UPBIT,
        replace(config, venues=replace(config.venues, upbit=upbit)),
        upbit_keys,
        script(),
        VenueOrders("upbit", tag, markets["upbit"]),
        published.append,
        lambda _: None,
        lambda _: None,
        counted,
        ManualClock(),
    )
    return SimpleNamespace(watch=watch, published=published, counts=counted.counts)


def test_an_unknown_state_is_counted_and_passed_on(watching, frames):
    watching.watch.on_order(UPBIT.read(frames.upbit_order("a new word")))
    (event,) = watching.published
    assert (event.state, event.detail) == ("UNKNOWN", "unknown order state 'a new word'")
    assert watching.counts["unknown_words"] == 1
    watching.watch.on_order(UPBIT.read(frames.upbit_order("cancel")))
    assert watching.published[-1].state == "EXPIRED"
    assert watching.counts["unknown_words"] == 1
