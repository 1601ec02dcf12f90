"""Requests that contradict themselves."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.model.intent import FxQuote
from arbshard.model.position import Flows, Position
from arbshard.risk import validation as forms
from arbshard.risk.portfolio.holdings import Trade
from support import world as w


@pytest.fixture
def world():
    return w.World()


@pytest.fixture
def intent(world):
    return world.entry()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "sNaN", "-1", "1E+21", "1E-35"])
def test_what_is_no_amount(value) -> None:
    assert not forms.is_amount(Decimal(value))


@pytest.mark.parametrize("value", ["0", "1", "0.00000001", "1E+9", "123456789012.12345678"])
def test_what_is_an_amount(value) -> None:
    assert forms.is_amount(Decimal(value))


def test_nothing_is_not_positive() -> None:
    assert not forms.is_positive(Decimal(0))
    assert forms.is_positive(Decimal("1E-8"))


@pytest.mark.parametrize(
    ("intent_id", "said"),
    [
        ("", "not an intent id"),
        ("s1-0-1", "not an intent id"),
        ("x1-0-1-1", "not an intent id"),
        ("s1-0-1-1 ", "not an intent id"),
        ("s1-0-1-123456789012345678", "not an intent id"),
        ("s1-1-1-1", "not an id of shard 0, epoch 1"),
        ("s1-0-2-1", "not an id of shard 0, epoch 1"),
    ],
)
def test_ids_that_are_not_the_shards(intent_id, said) -> None:
    assert said in forms.id_problem(intent_id, 0, 1)


def test_a_good_id() -> None:
    assert forms.id_problem("s12-0-1-99", 0, 1) is None


def test_a_good_intent(world, intent) -> None:
    assert forms.intent_problem(intent, world.pairs["BTC"]) is None


def leg(intent, name, **changes):
    return replace(intent, **{name: replace(getattr(intent, name), **changes)})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda i: replace(i, fx=FxQuote(Decimal(0), Decimal(1))), "is not a rate"),
        (lambda i: replace(i, fx=FxQuote(Decimal("NaN"), Decimal(1))), "is not a rate"),
        (lambda i: replace(i, edge_bps=float("nan")), "is not a number"),
        (lambda i: replace(i, direction="buy_home"), "buy_home with home sell"),
        (lambda i: leg(i, "home", side="buy"), "home buy and away buy"),
        (lambda i: leg(i, "away", side="sell"), "home sell and away sell"),
        (lambda i: leg(i, "home", quantity=Decimal(0)), "quantity 0 is not positive"),
        (lambda i: leg(i, "home", quantity=Decimal("NaN")), "quantity NaN is not positive"),
        (lambda i: leg(i, "away", limit=Decimal(-1)), "limit -1 is not positive"),
        (lambda i: leg(i, "away", limit=Decimal("Infinity")), "limit Infinity is not positive"),
        (lambda i: leg(i, "home", client_id="s1-0-1-9-h0"), "is not the name of this leg"),
        (lambda i: leg(i, "away", client_id=f"{i.intent_id}-h0"), "is not the name of this leg"),
        (lambda i: leg(i, "home", role="hedge"), "is a hedge, not a leg"),
        (lambda i: replace(i, home=i.away, away=i.home), "is not the pair's market"),
        (lambda i: replace(i, reason="max_hold"), "max_hold is not a reason for an entry"),
        (lambda i: replace(i, position_id="s1-0-1-0"), "cannot be the position of this entry"),
        (lambda i: replace(i, kind="exit", reason="manual"), "cannot be the position of this exit"),
    ],
)
def test_intents_that_make_no_sense(world, intent, spoil, said) -> None:
    assert said in forms.intent_problem(spoil(intent), world.pairs["BTC"])


def test_an_intent_with_another_pairs_legs(world, intent) -> None:
    assert "is not the pair's market" in forms.intent_problem(intent, world.pairs["ETH"])


def test_exits_as_the_worker_plans_them(world) -> None:
    for direction in ("buy_home", "buy_away"):
        world = type(world)()
        position = world.open_position(direction=direction)
        assert forms.exit_problem(world.exit_of(position), world.pairs["BTC"], position) is None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda i: replace(i, direction="buy_away"), "does not close a position"),
        (lambda i: leg(i, "home", quantity=Decimal("0.51")), "trades 0.51, the position has 0.5"),
        (lambda i: leg(i, "away", quantity=Decimal("0.51")), "the position has 0.4995"),
    ],
)
def test_exits_that_do_not_fit_their_position(world, spoil, said) -> None:
    position = world.open_position(direction="buy_away")
    leave = spoil(world.exit_of(position))
    assert said in forms.exit_problem(leave, world.pairs["BTC"], position)


def test_an_exit_of_another_pairs_position(world) -> None:
    position = world.open_position()
    leave = replace(world.exit_of(position), pair="ETH")
    assert "is a position of BTC" in forms.exit_problem(leave, world.pairs["ETH"], position)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"role": "unwind"}, None),
        ({"role": "leg"}, "neither hedge nor unwind"),
        ({"client_id": "s1-0-1-99-h1"}, "does not name a further order"),
        ({"client_id": "{}-h0"}, "does not name a further order"),
        ({"client_id": "{}-a1"}, "does not name a further order"),
        ({"client_id": "{}-h1x"}, "does not name a further order"),
        ({"quantity": Decimal(0)}, "is not positive"),
        ({"limit": Decimal("NaN")}, "is not positive"),
        ({"side": "buy"}, "buy 0.1 does not take away an imbalance of 0.4995"),
        ({"quantity": Decimal("0.49950001")}, "does not take away an imbalance of 0.4995"),
        ({"quantity": Decimal("0.4995")}, None),
    ],
)
def test_hedges(world, intent, changes, said) -> None:
    trade = Trade.begin(intent, ()).reported(w.filled(intent.away), None)  # bought 0.5, less the fee
    named = {
        key: value.format(intent.intent_id) if isinstance(value, str) else value
        for key, value in {"client_id": "{}-h1", "role": "hedge", **changes}.items()
    }
    order = replace(w.Order("", intent.home.market, "sell", Decimal("0.1"), Decimal(5)), **named)
    problem = forms.extension_problem(order, trade, world.pairs["BTC"], None, Decimal(0))
    assert problem is None if said is None else said in problem


def test_a_hedge_on_another_pairs_market(world, intent) -> None:
    market = world.pairs["ETH"].home.market
    order = w.Order(f"{intent.intent_id}-h1", market, "sell", Decimal(1), Decimal(1), "hedge")
    trade = Trade.begin(intent, ())
    assert "not a market of BTC" in forms.extension_problem(
        order, trade, world.pairs["BTC"], None, Decimal(0)
    )


@pytest.mark.parametrize(
    ("carried", "side", "venue", "most"),
    [
        ("0.3", "sell", "home", "0.3"),
        ("-0.3", "buy", "home", "0.3"),
        # Of 0.3004 bought away the venue keeps 10 bps; 0.30030 is too little by less than a lot.
        ("-0.3", "buy", "away", "0.30031"),
    ],
)
def test_a_hedge_is_at_most_what_is_out_of_balance_and_a_lot(
    world, intent, carried, side, venue, most
) -> None:
    """Also of what a position and its residue brought into the intent."""
    order = intent.home if venue == "home" else intent.away
    lot = world.pairs["BTC"].leg(order.market.venue).rules.lot
    name = f"{intent.intent_id}-{venue[0]}1"
    for quantity, is_right in ((Decimal(most), True), (Decimal(most) + lot, False)):
        hedge = w.Order(name, order.market, side, quantity, Decimal(5), "hedge")
        problem = forms.extension_problem(
            hedge, Trade.begin(intent, ()), world.pairs["BTC"], None, Decimal(carried)
        )
        assert (problem is None) is is_right, problem


@pytest.mark.parametrize(
    ("venue", "side", "quantity", "residue", "is_right"),
    [
        ("home", "sell", "0.3", "0", True),
        ("home", "sell", "0.3001", "0", False),
        ("home", "buy", "0.3", "0", False),
        ("away", "buy", "0.3", "0", True),
        ("away", "sell", "0.3", "0", False),
        ("away", "buy", "0.2", "0.1", True),
        ("away", "buy", "0.3", "0.1", False),  # the residue may lie there, and was to be used up
    ],
)
def test_legs_that_have_both_turned_may_be_taken_back(
    world, intent, venue, side, quantity, residue, is_right
) -> None:
    """A position that bought away has come to 0.3 too much at home and 0.3 too little away."""
    flows = Flows(home_base=Decimal("0.3"), away_base=Decimal("-0.3"))
    position = Position("p", "BTC", "buy_away", "OPEN", flows)
    back = replace(intent, kind="exit", direction="buy_home")
    order = intent.home if venue == "home" else intent.away
    unwind = w.Order(
        f"{intent.intent_id}-{venue[0]}1", order.market, side, Decimal(quantity), Decimal(5), "unwind"
    )
    problem = forms.extension_problem(
        unwind, Trade.begin(back, ()), world.pairs["BTC"], position, Decimal(residue)
    )
    assert (problem is None) is is_right, problem


def fill(result, **changes):
    return replace(result, fills=(replace(result.fills[0], **changes),))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda r: replace(r, order=replace(r.order, quantity=Decimal(9))),
            "not the order that was approved",
        ),
        (lambda r: replace(r, order=replace(r.order, client_id="x")), "not the order that was approved"),
        (lambda r: replace(r, decision_price=Decimal("NaN")), "is not a price"),
        (lambda r: fill(r, client_id="x"), "is not of"),
        (lambda r: fill(r, side="buy"), "is not of"),
        (lambda r: fill(r, fill_id=""), "has no id"),
        (lambda r: fill(r, quantity=Decimal(0)), "fee"),
        (lambda r: fill(r, price=Decimal("NaN")), "fee"),
        (lambda r: fill(r, fee=Decimal(-1)), "fee -1"),
        (lambda r: fill(r, fee_currency=""), "is not a currency"),
        (lambda r: fill(r, quantity=Decimal("0.6")), "0.6 executed of 0.5 ordered"),
        (lambda r: replace(r, fills=r.fills * 2), "reported twice"),
        (lambda r: replace(r, fills=()), "called FILLED with 0 executed of 0.5"),
        (lambda r: fill(r, quantity=Decimal("0.4")), "called FILLED with 0.4 executed"),
    ],
)
def test_reports_that_make_no_sense(world, intent, spoil, said) -> None:
    trade = Trade.begin(intent, ())
    assert said in forms.report_problem(spoil(w.filled(intent.home)), trade)


def test_a_good_report_and_what_is_new_in_it(world, intent) -> None:
    trade = Trade.begin(intent, ())
    first, second = (w.make_fill(intent.home, Decimal("0.2"), n=n) for n in (0, 1))
    one = w.OrderResult(intent.home, "PARTIAL", (first,))
    both = w.OrderResult(intent.home, "EXPIRED", (first, second))
    assert forms.report_problem(both, trade) is None
    trade = trade.reported(one, None)
    assert forms.new_fills(both, trade) == (second,)
    assert (
        forms.report_problem(fill(one, price=Decimal(7)), trade)
        == f"fill {first.fill_id} was booked with other figures"
    )
