"""Storms of refusals: exact counts, few events."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.ledger.events import IntentRefused, RefusalsCounted
from arbshard.model.refusal import Refusal
from arbshard.risk.limits.refusal_log import _ANSWERS_KEPT, RefusalLog
from arbshard.risk.validation import Objection
from arbshard.wire.messages import Approved, Refused, Submit
from support import world as w


def refused_of(events):
    return [event for event in events if isinstance(event, IntentRefused)]


def counted_of(events):
    return sum(n for event in events if isinstance(event, RefusalsCounted) for _, _, n in event.counts)


def storm(world, count: int, base="BTC", apart_ms=100) -> None:
    for _ in range(count):
        world.now_ms += apart_ms - 1
        assert isinstance(world.submit(world.entry(base)), Refused)


def test_the_first_is_stored_and_the_others_counted() -> None:
    world = w.World()
    world.open_position()
    storm(world, 50)
    assert len(refused_of(world.events)) == 1
    assert counted_of(world.events) == 0
    stats = world.core.guard.get_symbol_stats("BTC", world.day)
    assert stats.rejected == {Refusal.SYMBOL_POSITIONS: 50}
    world.tick(10_000)
    assert counted_of(world.events) == 49
    assert world.state.results.refused == {("BTC", Refusal.SYMBOL_POSITIONS): 50}
    assert world.core.guard.get_symbol_stats("BTC", world.day).rejected == stats.rejected


def test_a_long_storm_costs_the_ledger_little() -> None:
    world = w.World()
    world.open_position("BTC")
    world.open_position("ETH")
    before = len(world.events)
    for _ in range(600):  # a minute
        storm(world, 1, "BTC", 50)
        storm(world, 1, "ETH", 50)
    world.stop()
    assert len(world.events) - before <= 2 * 6 + 6 + 2
    assert sum(world.state.results.refused.values()) == 1200


def test_without_ticks_it_is_counted_all_the_same() -> None:
    """As in library use, where nobody ticks."""
    world = w.World()
    world.open_position()
    storm(world, 400)
    assert counted_of(world.events) >= 250


def test_another_reason_or_pair_or_kind_is_new() -> None:
    world = w.World()
    position = world.open_position("BTC")
    world.open_position("ETH")
    world.submit(world.entry("BTC"))
    world.submit(world.entry("ETH"))
    world.submit(world.exit_of(position))
    world.submit(world.entry("BTC"))  # another position would be too many, before it is too many trades
    world.submit(world.exit_of(position))
    assert [(one.pair, one.intent_kind, one.reason) for one in refused_of(world.events)] == [
        ("BTC", "entry", Refusal.SYMBOL_POSITIONS),
        ("ETH", "entry", Refusal.SYMBOL_POSITIONS),
        ("BTC", "exit", Refusal.PAIR_BUSY),
    ]


def test_after_a_while_it_is_stored_whole_again() -> None:
    world = w.World()
    world.open_position()
    storm(world, 3, apart_ms=10_000)
    assert len(refused_of(world.events)) == 3


def test_a_refusal_that_is_only_counted_is_given_again_too() -> None:
    world = w.World()
    position = world.open_position()
    world.submit(world.entry())
    again = world.entry()
    first = world.submit(again)
    world.carry_out(world.exit_of(position), done=True)  # now it would pass
    reply = world.ask(Submit(0, 1, again))
    assert (reply.reason, reply.detail) == (first.reason, first.detail)
    assert isinstance(world.submit(world.entry()), Approved)


def test_a_stop_counts_what_is_pending() -> None:
    world = w.World()
    world.open_position()
    storm(world, 5)
    world.stop()
    assert world.state.results.refused == {("BTC", Refusal.SYMBOL_POSITIONS): 5}
    assert world.core.guard.refusals.pending == {}


@given(
    st.lists(st.tuples(st.sampled_from(["BTC", "ETH"]), st.booleans(), st.integers(0, 12_000)), max_size=60)
)
def test_counts_are_exact_whatever_the_pace(steps) -> None:
    world = w.World()
    world.open_position("BTC")
    world.open_position("ETH")
    asked = 0
    for base, ticks, wait_ms in steps:
        world.now_ms += wait_ms
        asked += isinstance(world.submit(world.entry(base)), Refused)
        if ticks:
            world.tick()
    assert asked == len(steps)
    world.stop()
    assert sum(world.state.results.refused.values()) == asked


def test_the_answers_that_are_remembered_are_bounded_and_the_newest_stay() -> None:
    world = w.World()
    log, intent = RefusalLog(), world.entry()
    ids = [f"s1-0-1-{number}" for number in range(1, _ANSWERS_KEPT + 11)]
    for number, intent_id in enumerate(ids):
        log.count(
            replace(intent, intent_id=intent_id), Objection(Refusal.SYMBOL_POSITIONS, str(number)), number
        )
    assert [log.answers.get(one) for one in ids[:10]] == [None] * 10
    assert all(one in log.answers for one in ids[10:])
    assert sum(log.pending.values()) == len(ids)


def test_the_counts_of_one_pair_are_not_those_of_another() -> None:
    log, world = RefusalLog(), w.World()
    log.count(world.entry("BTC"), Objection(Refusal.SYMBOL_POSITIONS, ""), 0)
    log.count(world.entry("ETH"), Objection(Refusal.SYMBOL_POSITIONS, ""), 0)
    log.count(world.entry("ETH"), Objection(Refusal.SYMBOL_POSITIONS, ""), 0)
    assert log.pending == {("BTC", Refusal.SYMBOL_POSITIONS): 1, ("ETH", Refusal.SYMBOL_POSITIONS): 2}
