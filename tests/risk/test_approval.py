"""Intents: approved, refused, repeated, too late. Through the core, as workers submit them."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.model.refusal import Refusal
from arbshard.wire.messages import Approved, Refused, Submit
from support import world as w


@pytest.fixture
def world():
    return w.World()


def quiet(world, request):
    """The reply to a request that must make no event and change nothing."""
    events, before = len(world.events), world.state.state_hash()
    reply = world.ask(request)
    assert len(world.events) == events
    assert world.state.state_hash() == before
    return reply


def test_an_approval_says_what_is_left(world) -> None:
    reply = world.submit(world.entry(direction="buy_home"))
    assert reply == Approved(
        "s1-0-1-1",
        (
            ("upbit", "KRW", Decimal("99499750.0000")),
            ("upbit", "BTC", Decimal(4)),
            # To buy the 0.5 back costs 2 % more at most and 10 bps of fee; the sale brings 349.65.
            (
                "binance",
                "USDT",
                Decimal(70_000) - (Decimal(350) * Decimal("1.001002") * Decimal("1.02") - Decimal("349.65")),
            ),
            ("binance", "BTC", Decimal("3.5")),
        ),
    )


def test_a_repeated_submit_is_approved_again_and_holds_once(world) -> None:
    intent = world.entry()
    first = world.submit(intent)
    assert quiet(world, Submit(0, 1, intent)) == first
    again = world.restart()
    assert quiet(again, Submit(0, 1, intent)) == first


def test_another_intent_under_a_known_id(world) -> None:
    intent = world.entry()
    world.submit(intent)
    reply = quiet(world, Submit(0, 1, replace(intent, edge_bps=99.0)))
    assert (reply.reason, reply.detail) == (Refusal.MALFORMED, f"{intent.intent_id} is another intent")


def test_a_refusal_is_stored_and_given_again() -> None:
    world = w.World()
    world.open_position()
    refused = world.entry()
    first = world.submit(refused)
    assert first.reason is Refusal.SYMBOL_POSITIONS
    position = world.state.get_symbol_positions("BTC")[0]
    world.carry_out(world.exit_of(position), done=True)  # now it would pass
    again = quiet(world, Submit(0, 1, refused))
    assert (again.reason, again.detail) == (first.reason, first.detail)
    later = quiet(world.restart(), Submit(0, 1, refused))
    assert (later.reason, later.detail) == (first.reason, first.detail)


def test_an_intent_that_is_over_is_not_approved_again(world) -> None:
    intent = world.entry()
    world.carry_out(intent)
    reply = quiet(world, Submit(0, 1, intent))
    assert (reply.reason, reply.detail) == (Refusal.MALFORMED, f"{intent.intent_id} is over")


def test_an_intent_so_old_that_it_was_forgotten_is_not_taken_for_new(monkeypatch) -> None:
    monkeypatch.setattr("arbshard.risk.portfolio.state.OUTCOMES_KEPT", 1)
    world = w.World()
    first = world.entry()
    world.carry_out(first, w.expired(first.home), w.expired(first.away))
    second = world.entry()
    world.carry_out(second, w.expired(second.home), w.expired(second.away))
    assert first.intent_id not in world.state.outcomes
    assert quiet(world, Submit(0, 1, first)).detail == f"{first.intent_id} is over"
    assert isinstance(world.submit(world.entry()), Approved)


@pytest.mark.parametrize("intent_id", ["", "nonsense", "s1-5-1-1", "s1-0-7-1"])
def test_an_id_that_is_not_the_shards_leaves_no_trace(world, intent_id) -> None:
    reply = quiet(world, Submit(0, 1, replace(world.entry(), intent_id=intent_id)))
    assert reply.reason is Refusal.MALFORMED


def test_a_malformed_intent_is_refused_and_stored(world) -> None:
    intent = replace(world.entry(), direction="buy_home")
    assert world.submit(intent).reason is Refusal.MALFORMED
    assert world.events[-1].reason is Refusal.MALFORMED
    assert quiet(world, Submit(0, 1, intent)).reason is Refusal.MALFORMED


def test_a_pair_that_is_not_traded(world) -> None:
    reply = world.submit(replace(world.entry(), pair="XRP"))
    assert reply == Refused(Refusal.UNKNOWN_PAIR, "XRP is not traded in this run")


def test_an_exit_of_nothing(world) -> None:
    position = world.round_trip()
    leave = world.intent(
        "exit",
        "BTC",
        "buy_home",
        Decimal(1),
        Decimal(1),
        Decimal(5),
        Decimal(5),
        position.position_id,
        "take_profit",
    )
    reply = world.submit(leave)
    assert (reply.reason, reply.detail) == (Refusal.UNKNOWN_POSITION, "s1-0-1-1 is not open")


def test_an_exit_that_goes_the_wrong_way(world) -> None:
    position = world.open_position(direction="buy_away")
    leave = world.intent(
        "exit",
        "BTC",
        "buy_away",
        Decimal("0.1"),
        Decimal("0.1"),
        Decimal(5),
        Decimal(5),
        position.position_id,
        "manual",
    )
    assert world.submit(leave).reason is Refusal.MALFORMED


def test_an_entry_that_came_too_late(world) -> None:
    intent = world.entry()
    world.now_ms += 150
    reply = world.submit(intent)
    assert (reply.reason, reply.detail) == (Refusal.EXPIRED, "decided 151 ms ago")
    position = world.open_position()
    leave = world.exit_of(position)
    world.now_ms += 5000
    assert isinstance(world.submit(leave), Approved)


def test_a_repeat_does_not_expire(world) -> None:
    intent = world.entry()
    world.submit(intent)
    world.now_ms += 5000
    assert isinstance(world.submit(intent), Approved)
