"""Who may trade a pair, and who may take it over."""

import pytest
from msgspec.structs import replace

from arbshard.model.refusal import Refusal
from arbshard.wire.messages import Adopt, Approved, Fund, Funded, Hello, Refused, Submit, Welcome
from support import world as w


@pytest.fixture
def world():
    return w.World()


def on(world, **shards):
    """The universe with these pairs in these shards (None: in none)."""
    owned = tuple(tuple(base for base, shard in shards.items() if shard == number) for number in range(2))
    world.universe = replace(world.universe, shards=owned, serial=world.universe.serial + 1)
    world.events += world.core.set_universe(world.universe, world.now_ms)
    world.core.commit()


def refused(reply):
    assert isinstance(reply, Refused), reply
    return reply.reason


def test_only_the_owner_may_trade(world):
    on(world, BTC=1, ETH=0)
    assert refused(world.submit(world.entry("BTC"))) is Refusal.NOT_OWNER
    assert isinstance(world.submit(world.entry("ETH")), Approved)
    on(world, BTC=None, ETH=0)
    reply = world.submit(world.entry("BTC"))
    assert "on its way" in reply.detail
    assert refused(world.ask(Fund(0, 1, "BTC", w.HOME_PRICE))) is Refusal.NOT_OWNER
    on(world, BTC=0, ETH=0)
    assert isinstance(world.submit(world.entry("BTC")), Approved)


def test_an_exit_too(world):
    position = world.open_position()
    on(world, BTC=1, ETH=0)
    assert refused(world.submit(world.exit_of(position))) is Refusal.NOT_OWNER


def test_what_was_approved_before_comes_to_its_end(world):
    intent = world.entry()
    world.submit(intent)
    on(world, BTC=None, ETH=0)
    assert isinstance(world.submit(intent), Approved), "a repeat is answered as before"
    world.report(intent, w.filled(intent.home), w.filled(intent.away))
    assert world.conclude(intent).position.state == "OPEN"


def test_a_pair_that_comes_brings_its_position(world):
    position = world.open_position()
    world.ask(Hello(1, 1, 5, ()))
    assert refused(world.ask(Adopt(1, 1, ("BTC",)))) is Refusal.NOT_OWNER
    on(world, BTC=1, ETH=0)
    reply = world.ask(Adopt(1, 1, ("BTC",)))
    assert isinstance(reply, Welcome)
    assert (reply.positions, reply.funded, reply.intents) == ((position,), ("BTC",), ())
    assert refused(world.ask(Adopt(1, 1, ("BTC", "ETH")))) is Refusal.NOT_OWNER
    assert refused(world.ask(Adopt(1, 1, ("XRP",)))) is Refusal.UNKNOWN_PAIR


def test_an_intent_of_a_living_shard_is_not_handed_over(world):
    world.submit(world.entry())
    world.ask(Hello(1, 1, 5, ()))
    on(world, BTC=1, ETH=0)
    assert refused(world.ask(Adopt(1, 1, ("BTC",)))) is Refusal.PAIR_BUSY
    assert isinstance(world.ask(Adopt(1, 1, ())), Welcome)


def test_an_intent_of_one_that_has_ended_is(world):
    intent = world.entry()
    world.submit(intent)
    world.ask(Hello(1, 1, 5, ()))
    world.ask(replace(world.hello(2), pairs=("ETH",)))
    on(world, BTC=1, ETH=0)
    reply = world.ask(Adopt(1, 1, ("BTC",)))
    assert [one.intent for one in reply.intents] == [intent]


def test_and_of_one_that_was_given_up_or_fenced(world):
    for change in ("given up", "fenced"):
        again = world.restart()
        again.ask(again.hello())
        again.submit(again.entry())
        again.ask(Hello(1, 1, 5, ()))
        on(again, BTC=1, ETH=0)
        if change == "given up":
            again.core.set_universe(replace(again.universe, given_up=(0,)), again.now_ms)
        else:
            again.events += again.core.fence(0, "stuck", again.now_ms)
            again.core.commit()
        assert isinstance(again.ask(Adopt(1, 1, ("BTC",))), Welcome), change


def test_nothing_is_entered_of_a_pair_that_leaves(world):
    position = world.open_position()
    world.core.set_universe(replace(world.universe, leaving=("BTC",), serial=1), world.now_ms)
    assert refused(world.submit(world.entry("BTC"))) is Refusal.PAIR_CLOSING
    assert isinstance(world.submit(world.exit_of(position)), Approved)


def test_a_new_pair_can_be_funded_and_traded(world):
    universe = w.make_universe("BTC", "ETH", "SOL")
    world.core.set_universe(replace(universe, serial=1), world.now_ms)
    world.pairs = {pair.base: pair for pair in universe.pairs}
    assert isinstance(world.ask(Fund(0, 1, "SOL", w.HOME_PRICE)), Funded)
    assert isinstance(world.submit(world.entry("SOL")), Approved)


def test_a_repeat_of_what_was_refused_is_refused_again(world):
    on(world, BTC=1, ETH=0)
    intent = world.entry("BTC")
    world.submit(intent)
    on(world, BTC=0, ETH=0)
    assert refused(world.ask(Submit(0, 1, intent))) is Refusal.NOT_OWNER
