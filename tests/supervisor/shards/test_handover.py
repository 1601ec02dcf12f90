"""Hand-overs of pairs with crashes of the old worker, the new one and risk at every step."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor.shards.changes import Add, FillShard, ListingRequest, Move, Remove
from support import handover_model as model
from support.effort import effort

BASES = ("BTC", "ETH", "SOL", "XRP")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Risk that is silent is asked again in the next turn of the loop."""
    monkeypatch.setattr("arbshard.worker.risk_link._AGAIN_AFTER_S", 0)


@pytest.fixture
async def room(tmp_path):
    one = model.Room(tmp_path)
    for _ in range(3):
        await one.step()
    yield one
    await one.close()


def listing(*bases):
    """What venues would answer."""
    found = ListingRequest()
    found.universe = model.world.make_universe(*bases)
    return lambda names: found


async def until_idle(room, rounds=60):
    for _ in range(rounds):
        if room.assignments.is_idle:
            return
        await room.step()
    raise AssertionError(room.assignments.changes)


def last(room):
    return room.assignments.changes[-1]


async def test_an_idle_pair_moves_within_a_few_ticks(room):
    room.assignments.queue(Move({"BTC": 2}))
    for _ in range(5):
        await room.step()
    assert last(room).state == "done", last(room)
    assert room.assignments.universe.owners()["BTC"] == 2
    assert "BTC" in room.workers[2].active()
    assert "BTC" not in room.workers[0].engine.pairs


async def test_a_position_moves_with_its_pair_and_is_closed_by_the_new_owner(room):
    room.workers[0].trade("BTC")
    room.finish_trades()
    await room.step()
    (position,) = room.risk.state.positions
    room.assignments.queue(Move({"BTC": 1}))
    await until_idle(room)
    assert [held.position_id for held in room.workers[1].engine.pairs["BTC"].held] == [position]
    room.workers[1].trade("BTC")
    await room.settle(20)
    assert not room.risk.state.positions
    assert room.risk.state.closed[position].state == "CLOSED"


async def test_a_pair_with_an_intent_under_way_is_let_come_to_its_end_first(room):
    room.workers[0].trade("BTC")
    await room.step()
    room.assignments.queue(Move({"BTC": 1}))
    for _ in range(10):
        await room.step()
    assert room.workers[0].under_way() == {"BTC"}
    assert "BTC" not in room.workers[1].engine.pairs
    room.finish_trades()
    await until_idle(room)
    assert "BTC" in room.workers[1].active()
    assert len(room.workers[1].engine.pairs["BTC"].held) == 1


async def test_who_does_not_let_go_in_time_gets_its_pair_back(room):
    room.workers[0].trade("BTC")
    await room.step()
    room.assignments.queue(Move({"BTC": 1, "ETH": 2}))
    for _ in range(10):
        await room.step(ms=4000)
    change = last(room)
    assert change.state == "failed"
    assert "BTC" in change.text
    owners = room.assignments.universe.owners()
    assert (owners["BTC"], owners["ETH"]) == (0, 2)
    room.finish_trades()
    await room.settle(20)
    room.workers[0].trade("BTC")
    await room.step()
    assert room.workers[0].under_way() == {"BTC"}


async def test_the_old_worker_refused_by_risk_before_it_has_looked(room):
    """The word is set, the worker's timer has not come yet."""
    room.assignments.queue(Move({"BTC": 1}))
    room.assignments.step(room.now_ns)
    room.workers[0].trade("BTC")
    await model.turns()
    assert not room.risk.state.trades
    await room.settle(20)
    assert "BTC" in room.workers[1].active()


async def test_nobody_gets_a_pair_whose_owner_has_not_looked_yet(room):
    room.late.add(0)
    room.assignments.queue(Move({"BTC": 1}))
    for _ in range(10):
        await room.step()
    assert "BTC" in room.workers[0].active()
    assert room.assignments.universe.unassigned() == ("BTC",)
    room.late.clear()
    await until_idle(room)
    assert "BTC" in room.workers[1].active()


async def test_the_successor_of_a_worker_that_died_in_the_middle_counts(room):
    room.workers[0].trade("BTC")
    await room.step()
    room.assignments.queue(Move({"BTC": 1}))
    await room.step()
    await room.kill_worker(0)
    for _ in range(5):
        await room.step()
    assert room.assignments.universe.unassigned() == ("BTC",)
    room.start_worker(0)
    await until_idle(room)
    assert room.workers[1].under_way() == {"BTC"}, "the dead worker's intent is carried on by the new owner"
    await room.settle(20)


async def test_pairs_of_a_shard_that_is_given_up_go_to_the_others(room):
    room.workers[0].trade("BTC")
    await room.step()
    await room.kill_worker(0)
    room.given_up.add(0)
    await room.settle(20)
    assert room.assignments.universe.shards[0] == ()
    assert any("given up" in line for line in room.alerts)
    assert len(room.risk.state.positions) == 1


async def test_every_shard_given_up_is_said_once_and_mended_when_one_comes_back(room):
    for shard in (0, 1, 2):
        await room.kill_worker(shard)
        room.given_up.add(shard)
    for _ in range(5):
        await room.step()
    assert len(room.alerts) == 1
    room.given_up.discard(1)
    await room.settle(20)
    assert sorted(room.assignments.universe.shards[1]) == sorted(BASES)


async def test_a_shard_that_comes_back_gets_its_share(room):
    await room.kill_worker(0)
    room.given_up.add(0)
    await room.settle(10)
    room.given_up.discard(0)
    room.start_worker(0)
    room.assignments.queue(FillShard(0, lambda: room.carried_out(0) >= 0, frozenset))
    await until_idle(room)
    assert sorted(len(mine) for mine in room.assignments.universe.shards) == [1, 1, 2]
    assert len(room.assignments.universe.shards[0]) == 1
    await room.settle(10)


async def test_a_shard_that_is_given_up_again_is_not_waited_for(room):
    """Its pairs are moved to other shards as soon as the restart has failed."""
    room.given_up.add(0)
    await room.kill_worker(0)
    room.given_up.discard(0)
    room.assignments.queue(FillShard(0, lambda: room.carried_out(0) >= 0, frozenset))
    await room.step()
    room.given_up.add(0)
    await room.settle(10)
    assert (last(room).state, "given up again" in last(room).text) == ("failed", True)
    assert room.assignments.universe.shards[0] == ()


async def test_new_pairs_are_traded_at_once(room):
    room.assignments.queue(Add(("DOGE",), listing("DOGE")))
    await until_idle(room)
    assert last(room).state == "done", last(room)
    shard = room.assignments.universe.owners()["DOGE"]
    room.workers[shard].trade("DOGE")
    await room.step()
    room.finish_trades()
    await room.settle(10)
    assert [position.pair for position in room.risk.state.positions.values()] == ["DOGE"]
    slots = [leg.slot for leg in room.assignments.universe.legs()]
    assert len(set(slots)) == len(slots)


async def test_no_room_for_more_pairs(room):
    room.assignments.queue(Add(("A", "B", "C"), listing("A", "B", "C")))
    await until_idle(room)
    assert (last(room).state, "no free slot" in last(room).text) == ("refused", True)


async def test_slots_of_a_pair_that_went_are_used_again(room):
    for number in range(6):
        room.assignments.queue(Add((f"N{number}",), listing(f"N{number}")))
        room.assignments.queue(Remove((f"N{number}",), keep_positions=False))
        await until_idle(room)
        await room.step()
        assert last(room).state == "done", last(room)
    assert room.assignments.universe.owners().keys() == set(BASES)


async def test_a_pair_that_leaves_is_closed_first_and_nothing_is_entered(room):
    room.workers[0].trade("BTC")
    room.finish_trades()
    await room.step()
    room.assignments.queue(Remove(("BTC",), keep_positions=False))
    for _ in range(4):
        await room.step()
    assert room.workers[0].membership.leaving == {"BTC"}
    assert room.assignments.universe.owners()["BTC"] == 0, "not before it is flat"
    room.finish_trades()
    await until_idle(room)
    assert last(room).state == "done", last(room)
    assert not room.risk.state.positions
    assert "BTC" not in room.workers[0].engine.pairs


async def test_positions_are_kept_when_asked_for(room):
    room.workers[0].trade("BTC")
    room.finish_trades()
    await room.step()
    room.assignments.queue(Remove(("BTC",), keep_positions=True))
    await until_idle(room)
    assert len(room.risk.state.positions) == 1
    assert "BTC" not in room.assignments.pairs()


async def test_a_pair_is_not_taken_out_with_what_a_worker_that_died_had_under_way(room):
    room.workers[0].trade("BTC")
    await room.step()
    room.assignments.queue(Remove(("BTC",), keep_positions=True))
    await room.step()
    await room.kill_worker(0)
    await room.step()
    room.start_worker(0)
    await until_idle(room)
    assert (last(room).state, "replaced" in last(room).text) == ("failed", True)
    await room.settle(10)
    assert len(room.risk.state.positions) == 1, "its successor has carried it on"


@pytest.mark.parametrize("keep_positions", [True, False])
async def test_a_pair_of_a_shard_that_was_given_up_is_taken_over_before_it_is_taken_out(room, keep_positions):
    """The pair gets its new owner and is to be taken out in the same step."""
    room.workers[0].trade("BTC")
    await room.step()
    await room.kill_worker(0)
    room.given_up.add(0)
    room.assignments.queue(Remove(("BTC",), keep_positions=keep_positions))
    await room.settle(10)
    assert last(room).state == "done", last(room)
    assert "BTC" not in room.assignments.pairs()
    assert len(room.risk.state.positions) == keep_positions


async def test_a_pair_that_moved_away_from_a_dead_worker_is_taken_over_before_it_is_taken_out(room):
    """The move has ended without having seen the new owner take the pair over."""
    room.workers[0].trade("BTC")
    await room.step()
    room.late.add(1)
    room.assignments.queue(Move({"BTC": 1}))
    await room.step()
    await room.kill_worker(0)
    room.given_up.add(0)
    while not room.assignments.is_idle:
        await room.step(ms=3000)
    assert room.assignments.universe.owners()["BTC"] == 1
    room.assignments.queue(Remove(("BTC",), keep_positions=True))
    await room.step()
    await room.settle(10)
    assert last(room).state == "done", last(room)
    assert len(room.risk.state.positions) == 1, "its new owner has carried the intent on"


async def test_a_pair_that_is_not_taken_over_in_time_is_not_taken_out(room):
    room.workers[0].trade("BTC")
    await room.step()
    await room.kill_worker(0)
    room.given_up.add(0)
    room.late |= {1, 2}
    room.assignments.queue(Remove(("BTC",), keep_positions=True))
    while not room.assignments.is_idle:
        await room.step(ms=3000)
    assert (last(room).state, "not taken over" in last(room).text) == ("failed", True)
    await room.settle(10)
    assert len(room.risk.state.positions) == 1, "its new owner has carried the intent on"


async def test_a_pair_is_not_taken_out_when_its_shard_is_given_up_meanwhile(room):
    await room.kill_worker(0)
    room.assignments.queue(Remove(("BTC",), keep_positions=True))
    await room.step()
    room.given_up.add(0)
    await room.settle(10)
    assert (last(room).state, "given up" in last(room).text) == ("failed", True)
    assert "BTC" in room.assignments.pairs()


async def test_a_pair_that_cannot_be_closed_stays(room):
    room.workers[0].trade("BTC")
    room.finish_trades()
    await room.step()
    room.assignments.queue(Remove(("BTC",), keep_positions=False))
    for _ in range(20):
        await room.step(ms=5000)
    assert last(room).state == "failed"
    await room.settle(10)
    assert "BTC" in room.workers[0].active()


async def test_the_last_pairs_are_not_taken_out(room):
    room.assignments.queue(Remove(BASES, keep_positions=True))
    await until_idle(room)
    assert last(room).state == "refused"


async def test_the_end_of_the_run_leaves_no_pair_without_an_owner(room):
    room.workers[0].trade("BTC")
    await room.step()
    room.assignments.queue(Move({"BTC": 1}))
    room.assignments.queue(Move({"ETH": 2}))
    await room.step()
    assert room.assignments.universe.unassigned() == ("BTC",)
    room.assignments.end(room.now_ns)
    assert room.assignments.universe.owners()["BTC"] == 0, "who has it under way closes it"
    assert {change.state for change in room.assignments.changes} >= {"failed"}
    await room.settle(10)


async def test_a_worker_with_a_newer_universe_than_risk_is_not_kept_waiting(room):
    """It reads the file between its writing and the word."""
    after = room.assignments.universe.without_shard(["BTC"])
    await room.kill_worker(1)
    newer = replace(after.on_shards({"BTC": 1}), given_up=())
    room.path.write_bytes(model.msgspec.json.encode(newer))
    room.start_worker(1)
    await model.turns(20)
    assert room.workers[1].active() == {"ETH"}
    assert room.workers[1].desk.is_suspended("BTC")
    room.word = newer.serial
    await room.kill_worker(0)
    room.start_worker(0)
    for _ in range(8):
        room.now_ns += 50_000_000
        await model.turns(20)
        for worker in room.workers.values():
            worker.look()
    assert room.workers[1].active() == {"ETH", "BTC"}


KINDS = (
    ("kill", "start", "late", "late", "risk dies", "risk comes", "full disk", "trade", "trade", "finish")
    + ("give up", "restart")
    + 4 * ("move",)
    + ("add", "remove", "keep", "wait")
)
what_happens = st.tuples(st.sampled_from(KINDS), st.integers(0, 4), st.integers(0, 2), st.integers(0, 5))
"""What, which pair, which shard, and so many ticks after it."""


@settings(max_examples=effort(30, 300), deadline=None, suppress_health_check=list(HealthCheck))
@example(script=[("move", 0, 1, 3), ("remove", 0, 0, 2), ("full disk", 0, 0, 1)], given_up=None)
@example(
    script=[
        ("trade", 1, 2, 3),
        ("add", 0, 0, 4),
        ("wait", 0, 2, 1),
        ("late", 1, 2, 2),
        ("kill", 2, 1, 0),
        ("trade", 0, 1, 4),
        ("move", 4, 2, 5),
        ("late", 0, 1, 3),
        ("finish", 2, 2, 4),
        ("trade", 3, 1, 3),
        ("keep", 0, 0, 5),
        ("full disk", 1, 1, 5),
        ("late", 3, 0, 4),
        ("wait", 4, 1, 5),
        ("start", 3, 0, 4),
        ("trade", 0, 2, 1),
    ],
    given_up=0,
)
@example(script=[("give up", 0, 0, 1), ("restart", 0, 0, 0), ("give up", 0, 0, 1)], given_up=None)
@given(script=st.lists(what_happens, min_size=2, max_size=20), given_up=st.sampled_from([None, 0, 1, 2]))
def test_whatever_dies_when_no_pair_has_two_owners_and_all_comes_to_rest(script, given_up):
    # asyncio.run would unset the loop that pytest-asyncio keeps for this thread.
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_play(script, given_up))
    finally:
        loop.close()


async def _play(script, given_up):
    with tempfile.TemporaryDirectory() as folder:
        room = model.Room(Path(folder))
        names = (*BASES, "DOGE")
        try:
            await room.step()
            for what, pair, shard, ticks in script:
                await _happens(room, what, names[pair], shard)
                for _ in range(ticks):
                    await room.step()
            if given_up is not None:
                await _give_up(room, given_up)
            await room.settle(40 + 80 * len(script))
        finally:
            await room.close()


async def _give_up(room, shard):
    """The worker of ``shard`` ends for good, unless it is the last one: nobody would be left to trade."""
    if len(room.given_up | {shard}) < len(room.epochs):
        await room.kill_worker(shard)
        room.given_up.add(shard)


async def _happens(room, what, base, shard):
    if what == "kill":
        await room.kill_worker(shard)
    elif what == "start":
        if shard not in room.workers and shard not in room.given_up:
            room.start_worker(shard)
    elif what == "give up":
        await _give_up(room, shard)
    elif what == "restart":
        if shard in room.given_up:
            room.given_up.discard(shard)
            room.start_worker(shard)
            room.assignments.queue(FillShard(shard, lambda: room.carried_out(shard) >= 0, frozenset))
    elif what == "late":
        room.late ^= {shard}
    elif what == "risk dies":
        room.stop_risk()
    elif what == "risk comes":
        if room.risk is None:
            room.start_risk()
    elif what == "full disk":
        room.full = 2
    elif what == "trade":
        for worker in room.workers.values():
            worker.trade(base)
    elif what == "finish":
        room.finish_trades()
    elif what == "move":
        room.assignments.queue(Move({base: shard}))
    elif what == "add":
        room.assignments.queue(Add(("DOGE",), listing("DOGE")))
    elif what in ("remove", "keep"):
        room.assignments.queue(Remove((base,), keep_positions=what == "keep"))
    else:
        await room.step(7000)
    await model.turns(2)
    room.check()
