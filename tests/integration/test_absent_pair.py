"""A run begins while a market is closed that was chosen, or on which the run before has left a position open."""

import msgspec
import pytest

from arbshard.clock import SystemClock
from arbshard.model.universe import Universe
from arbshard.status.collect import Collector
from support.exchanges import VENUES, running_exchanges, set_faults
from support.instance import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONFIG = f"""
data = "public"
[run]
shards = 1
[venues]
listing_every_s = 1.0
{VENUES}[strategy]
max_hold_s = {{max_hold_s}}
"""


def bases(instance):
    universe = msgspec.json.decode(instance.files.universe.read_bytes(), type=Universe)
    return {pair.base for pair in universe.pairs}


def problems(instance):
    status = Collector(instance.files.dir, SystemClock()).collect()
    return " | ".join(status.problems) if status is not None else ""


def test_its_pair_comes_when_the_market_opens_and_the_position_is_closed(tmp_path):
    """Before, it stayed open for as long as the run went on, and nobody asked about its orders."""
    folder = tmp_path / "instance"
    folder.mkdir()
    with (
        running_exchanges(tmp_path, coins=4, seed=11, updates_per_s=5.0) as said,
        Instance(folder, CONFIG.format(max_hold_s=600.0, **said)) as instance,
    ):
        instance.start()
        (position, *_) = instance.wait_for(lambda: instance.risk_note().positions)
        instance.do("stop", "--keep-positions")
        assert instance.ended().code == 0
        set_faults(
            said,
            "binance",
            {"set": {"market_state": {"share": 1.0, "market": position.pair, "state": "break"}}},
        )
        instance.config.write_text(
            instance.config.read_text().replace("max_hold_s = 600.0", "max_hold_s = 3.0")
        )
        instance.start()
        instance.wait_for(lambda: f"open position without a worker: {position.pair}" in problems(instance))
        assert position.pair not in bases(instance)
        set_faults(said, "binance", {"clear": ["market_state"]})
        instance.wait_for(lambda: position.pair in bases(instance))
        instance.wait_for(
            lambda: position.position_id not in {one.position_id for one in instance.risk_note().positions}
        )
        instance.wait_for(lambda: f"{position.pair} is traded again" in instance.alerts())
        instance.verify()
        assert instance.stop().code == 0


def test_a_chosen_pair_that_is_closed_does_not_keep_the_others_from_being_traded(tmp_path):
    """Before, such a run did not begin at all, and neither did its restart by a service manager."""
    folder = tmp_path / "instance"
    folder.mkdir()
    with (
        running_exchanges(tmp_path, coins=4, seed=11, updates_per_s=5.0) as said,
        Instance(folder, CONFIG.format(max_hold_s=3.0, **said)) as instance,
    ):
        closed = {"share": 1.0, "market": "ETH", "state": "break"}
        set_faults(said, "binance", {"set": {"market_state": closed}})
        alone = instance.run("--symbols", "ETH")
        assert alone.code == 2
        assert alone.err == (
            "arbshard: could not start: ETH cannot be traded now: binance:ETHUSDT takes no orders (BREAK)\n"
        )
        unknown = instance.run("--symbols", "BTC,ETH,ETHH")
        assert unknown.code == 2
        assert "'ETHH' is not tradable on both venues, did you mean ETH" in unknown.err
        instance.start("--symbols", "BTC,ETH")
        instance.until_running()
        assert bases(instance) == {"BTC"}
        instance.wait_for(lambda: "ETH: left out while a market is closed" in instance.alerts())
        set_faults(said, "binance", {"clear": ["market_state"]})
        instance.wait_for(lambda: bases(instance) == {"BTC", "ETH"})
        instance.wait_for(lambda: "ETH is traded again" in instance.alerts())
        assert instance.stop().code == 0
        instance.verify()
