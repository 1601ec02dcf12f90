"""Whatever comes, in whatever order and however often: books that balance, and a replay that is the live state."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.ledger.verify import verify
from arbshard.wire.messages import (
    Approved,
    Conclude,
    Extend,
    Fund,
    Instructions,
    Report,
    Settled,
    Submit,
)
from support import world as w
from support.effort import effort
from support.paper_chaos import Chaos, check_books, check_halts, replayed, steps


@settings(max_examples=effort(75, 750), deadline=None)
@given(steps)
def test_the_replayed_state_is_the_live_one_whatever_was_said(made) -> None:
    chaos = Chaos(w.World())
    for step in made:
        chaos.do(*step)
    world = chaos.world
    assert replayed(world.events).state_hash() == world.state.state_hash()
    check_books(world.state, world.events)
    check_halts(world.events)
    standing = world.state.standing
    told = world.ask(Instructions(0, world.epoch))
    if world.state.shards[0].epoch == world.epoch:
        assert (told.halted, dict(told.closing)) == (standing.halt is not None, standing.closing)
        assert told.apart == tuple(standing.apart)


@settings(max_examples=effort(25, 125), deadline=None)
@given(steps)
def test_every_ledger_that_can_come_about_verifies(tmp_path_factory, made) -> None:
    chaos = Chaos(w.World())
    for step in made:
        chaos.do(*step)
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    chaos.world.write_ledger(path)
    assert verify(path).differences == ()


def script(world) -> list:
    """A worker's day: entries, partial fills, a hedge, exits; every request in its order."""
    said = []

    def ask(request):
        said.append(request)
        return world.ask(request)

    for base in ("BTC", "ETH", "BTC"):
        entry = world.entry(base, "buy_home")
        assert isinstance(ask(Submit(0, 1, entry)), Approved)
        half = w.make_fill(entry.home, entry.home.quantity / 2)
        ask(Report(0, 1, entry.intent_id, w.OrderResult(entry.home, "PARTIAL", (half,))))
        rest = w.make_fill(entry.home, entry.home.quantity / 2, n=1)
        ask(Report(0, 1, entry.intent_id, w.OrderResult(entry.home, "FILLED", (half, rest))))
        ask(Report(0, 1, entry.intent_id, w.filled(entry.away, Decimal("0.3"))))
        hedge = w.Order(
            f"{entry.intent_id}-a1", entry.away.market, "sell", Decimal("0.2"), Decimal(690), "hedge"
        )
        ask(Extend(0, 1, entry.intent_id, hedge))
        ask(Report(0, 1, entry.intent_id, w.filled(hedge)))
        opened = ask(Conclude(0, 1, entry.intent_id, w.HOME_PRICE, w.FX, False)).position
        leave = world.exit_of(opened, home_limit=Decimal(1_010_000))
        assert isinstance(ask(Submit(0, 1, leave)), Approved)
        ask(Report(0, 1, leave.intent_id, w.filled(leave.away)))
        ask(Report(0, 1, leave.intent_id, w.filled(leave.home)))
        closed = ask(Conclude(0, 1, leave.intent_id, w.HOME_PRICE, w.FX, True))
        assert isinstance(closed, Settled)
        assert closed.position.state == "CLOSED"
    return said


def books(state):
    totals = state.results.lifetime[""]
    return state.balances.totals(), totals, state.results.residue, dict(state.positions)


@settings(max_examples=effort(30, 300), deadline=None)
@given(st.data())
def test_lost_and_repeated_messages_change_nothing(data) -> None:
    """Request are lost (and asked again), replies are lost (and the request repeated), old ones come late."""
    smooth = w.World()
    said = script(smooth)
    rough = w.World()
    for at, request in enumerate(said):
        for _ in range(data.draw(st.integers(1, 3), label="deliveries")):
            rough.ask(request)
            late = data.draw(st.integers(-2, at), label="late one")
            if late >= 0:
                rough.ask(said[late])
            if data.draw(st.integers(0, 9), label="restart") == 0:
                rough = rough.restart()
                rough.ask(Fund(0, 1, "BTC", Decimal(1)))
    assert books(rough.state) == books(smooth.state)
    check_books(rough.state, rough.events)
