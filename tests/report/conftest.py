"""What the tests of this folder share: the context of money, and a run in which a little of everything happened."""

import decimal
from decimal import Decimal

import pytest

from arbshard.model.money import MONEY_CONTEXT
from arbshard.model.order import Order
from arbshard.wire.messages import Extend
from support import world as w


@pytest.fixture(autouse=True)
def _money():
    with decimal.localcontext(MONEY_CONTEXT):
        yield


def eventful_world() -> w.World:
    """A gain, a loss, an entry that filled nothing, one that filled on one venue, and one position left open."""
    world = w.World()
    world.round_trip("BTC", "buy_away", Decimal(990_000))
    world.tick(60_000)
    world.round_trip("ETH", "buy_home", Decimal(960_000))
    missed = world.entry("BTC")
    world.carry_out(missed, w.expired(missed.home), w.expired(missed.away), done=True)
    one_legged = world.entry("BTC")
    world.submit(one_legged)
    world.report(one_legged, w.filled(one_legged.away), w.expired(one_legged.home))
    unwind = Order(
        f"{one_legged.intent_id}-a1",
        one_legged.away.market,
        "sell",
        Decimal("0.4995"),
        Decimal(690),
        "unwind",
    )
    world.ask(Extend(world.shard, world.epoch, one_legged.intent_id, unwind))
    world.report(one_legged, w.filled(unwind))
    world.conclude(one_legged, done=True)
    world.open_position("ETH", "buy_away")
    return world


@pytest.fixture
def run_dir(tmp_path):
    """The state directory of such a run."""
    world = eventful_world()
    world.stop()
    world.write_ledger(tmp_path / "ledger.sqlite")
    return tmp_path
