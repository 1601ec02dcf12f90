"""Which incarnation of a shard may speak, and that a fence holds whatever is restarted."""

import pytest

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import ShardFenced, ShardJoined
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import Approved, Hello, Instructed, Instructions, Refused, Welcome
from support import world as w


@pytest.fixture
def world():
    return w.World()


def fence(world, reason="no beat for 1.02 s"):
    events = world.core.fence(world.shard, reason, world.now_ms)
    world.core.commit()
    world.events += events
    return events


def is_stale(reply):
    return isinstance(reply, Refused) and reply.reason is Refusal.STALE_EPOCH


def test_a_fenced_incarnation_is_refused_whatever_it_says(world):
    (event,) = fence(world)
    assert event == ShardFenced(at_ms=world.now_ms, shard=0, epoch=1, reason="no beat for 1.02 s")
    assert is_stale(world.submit(world.entry()))
    assert is_stale(world.ask(Instructions(0, 1)))
    assert is_stale(world.ask(world.hello(epoch=1)))


def test_its_successor_carries_on_where_it_stood(world):
    intent = world.entry()
    assert isinstance(world.submit(intent), Approved)
    fence(world)
    welcome = world.ask(world.hello(epoch=2))
    assert isinstance(welcome, Welcome)
    assert [one.intent.intent_id for one in welcome.intents] == [intent.intent_id]
    assert isinstance(world.ask(Instructions(0, 2)), Instructed)
    assert is_stale(world.ask(Instructions(0, 1)))


def test_fencing_twice_changes_nothing(world):
    fence(world)
    assert fence(world) == []
    world.ask(world.hello(epoch=2))
    (event,) = fence(world, "again")
    assert event.epoch == 2
    assert world.state.shards[0].fenced_for == "again"


def test_a_shard_nobody_speaks_for_is_not_fenced(world):
    assert world.core.fence(7, "no beat", world.now_ms) == []


def test_a_fence_survives_a_restart_of_risk_and_ends_with_the_run(world):
    fence(world)
    again = world.restart("run-1")
    assert is_stale(again.ask(again.hello(epoch=1)))
    assert isinstance(again.ask(again.hello(epoch=2)), Welcome)
    assert again.state.shards[0].fence == 2
    assert isinstance(world.restart("run-2").ask(world.hello(epoch=1)), Welcome)


def test_a_fence_that_could_not_be_stored_does_not_stand(world):
    world.core.fence(0, "no beat", world.now_ms)
    world.core.rollback()
    assert isinstance(world.ask(Instructions(0, 1)), Instructed)


@pytest.mark.parametrize(("shard", "epoch"), [(-1, 1), (64, 1), (2**62, 1), (0, -1), (0, 2**63)])
def test_an_incarnation_that_cannot_be_is_malformed(world, shard, epoch):
    reply = world.ask(Hello(shard, epoch, 1, ()))
    assert (type(reply), reply.reason) == (Refused, Refusal.MALFORMED)


def test_a_ledger_in_which_a_fenced_one_joined_is_damaged(world):
    fence(world)
    with pytest.raises(LedgerDamaged, match="fenced epoch"):
        world.state.apply(ShardJoined(at_ms=1, shard=0, epoch=1, pid=1))


class TestGrants:
    """In a cluster, only workers of the host that the ledger gives the shard to may begin."""

    @pytest.fixture
    def world(self):
        one = w.World()
        one.core._has_cluster = True
        return one

    def grant(self, world, host, number):
        events = world.core.grant(0, host, number, world.now_ms)
        world.core.commit()
        world.events += events
        return events

    @pytest.mark.parametrize(
        ("epoch", "is_let_in"), [(2999, False), (3000, True), (3001, True), (3999, True), (4000, False)]
    )
    def test_an_epoch_belongs_to_the_grant_that_is_stored(self, world, epoch, is_let_in):
        self.grant(world, "b", 3)
        answer = world.ask(world.hello(epoch=epoch))
        assert isinstance(answer, Welcome) == is_let_in
        assert is_stale(answer) != is_let_in

    def test_without_a_grant_nobody_begins(self, world):
        assert is_stale(world.ask(world.hello(epoch=3001)))

    def test_a_former_holder_is_refused_though_its_epoch_is_new(self, world):
        self.grant(world, "b", 3)
        assert isinstance(world.ask(world.hello(epoch=3001)), Welcome)
        self.grant(world, "c", 4)
        assert is_stale(world.ask(world.hello(epoch=3002)))
        assert isinstance(world.ask(world.hello(epoch=4001)), Welcome)
        assert is_stale(world.submit(world.entry()))  # of the epoch with which this world began

    def test_the_same_grant_is_stored_once(self, world):
        (event,) = self.grant(world, "b", 3)
        assert (event.shard, event.host, event.grant) == (0, "b", 3)
        assert self.grant(world, "b", 3) == []
