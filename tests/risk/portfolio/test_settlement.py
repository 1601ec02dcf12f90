"""From fills to positions, by hand-made figures."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from arbshard.model.intent import FxQuote
from arbshard.model.position import Flows
from arbshard.risk.portfolio.holdings import Trade
from arbshard.risk.portfolio.settlement import RESIDUE_MAX, add_fills, fee_value, left_over, settle
from support import world as w


def trade_of(intent, *results) -> Trade:
    trade = Trade.begin(intent, ())
    for result in results:
        trade = trade.reported(result, None)
    return trade


def settled(intent, *results, before=None, done=False, mark=None):
    return settle(trade_of(intent, *results), before, mark or w.HOME_PRICE, w.FX, done=done, now_ms=77)


def test_an_entry_without_fills_leaves_nothing() -> None:
    intent = w.World().entry()
    assert settled(intent, w.expired(intent.home), w.expired(intent.away), done=True) is None


def test_an_entry_opens_a_position_by_its_fills() -> None:
    intent = w.World().entry(direction="buy_away")
    position = settled(intent, w.filled(intent.home), w.filled(intent.away))
    assert position.state == "OPEN"
    assert position.flows == Flows(Decimal("-0.5"), Decimal(499_750), Decimal("0.4995"), Decimal(-350))
    assert (position.long_base, position.short_base) == (Decimal("0.4995"), Decimal("0.5"))
    assert (position.entry_home_price, position.entry_away_price) == (Decimal(1_000_000), Decimal(700))
    assert position.entry_notional == Decimal("0.4995") * 700 * 1401
    assert position.fees == 250 + Decimal("0.0005") * 700 * 1401
    assert (position.opened_ms, position.pnl, position.reason) == (77, None, None)


def test_the_other_direction() -> None:
    intent = w.World().entry(direction="buy_home")
    position = settled(intent, w.filled(intent.home), w.filled(intent.away))
    assert position.flows == Flows(Decimal("0.5"), Decimal(-500_250), Decimal("-0.5"), Decimal("349.65"))
    assert position.entry_notional == Decimal(500_000)
    assert position.fees == 250 + Decimal("0.35") * 1401


def test_the_entry_price_is_that_of_the_leg_not_of_what_was_taken_back() -> None:
    intent = w.World().entry(direction="buy_away")
    unwind = w.Order(
        f"{intent.intent_id}-a1", intent.away.market, "sell", Decimal("0.2"), Decimal(600), "unwind"
    )
    trade = trade_of(intent, w.filled(intent.home, Decimal("0.3")), w.filled(intent.away))
    trade = trade.extended(unwind, w_hold(unwind)).reported(w.filled(unwind), None)
    position = settle(trade, None, w.HOME_PRICE, w.FX, done=False, now_ms=1)
    assert position.entry_away_price == Decimal(700)
    assert position.long_base == Decimal("0.4995") - Decimal("0.2")
    assert position.entry_notional == position.long_base * 700 * 1401


def w_hold(order):
    from arbshard.ledger.events import Hold

    return Hold(order.client_id, order.market.venue, order.market.base, Decimal(0))


def test_a_done_exit_realises_what_was_paid_and_received() -> None:
    world = w.World()
    entry = world.entry(direction="buy_away")
    position = settled(entry, w.filled(entry.home), w.filled(entry.away))
    leave = world.exit_of(position, home_limit=Decimal(990_000))
    closed = settled(leave, w.filled(leave.home), w.filled(leave.away), before=position, done=True)
    # sold 0.5 for 1,000,000 and bought it back for 990,000; bought 0.5 and sold what arrived for 700; four fees
    assert closed.flows == Flows(Decimal(0), Decimal("4502.5"), Decimal(0), Decimal("-0.69965"))
    assert closed.pnl == Decimal("4502.5") - Decimal("0.69965") * 1401
    assert (closed.state, closed.reason, closed.closed_ms) == ("CLOSED", "take_profit", 77)
    assert closed.entry_notional == position.entry_notional
    assert closed.fees > position.fees


def test_an_exit_that_is_not_done_leaves_the_rest_open() -> None:
    world = w.World()
    entry = world.entry()
    position = settled(entry, w.filled(entry.home), w.filled(entry.away))
    leave = world.exit_of(position)
    half = leave.home.quantity / 2
    rest = settled(leave, w.filled(leave.home, half), w.filled(leave.away, half), before=position)
    assert rest.state == "OPEN"
    assert rest.short_base == position.short_base - half
    assert rest.pnl is None


def test_an_entry_that_was_taken_back_is_closed_at_once() -> None:
    intent = w.World().entry()
    position = settled(intent, w.expired(intent.home), w.filled(intent.away, Decimal("0.01")), done=True)
    assert (position.state, position.reason) == ("CLOSED", "entry_unwound")
    assert position.pnl == -7 * w.FX.ask + Decimal("0.00999") * w.HOME_PRICE


def test_what_is_left_is_valued_at_the_mark_and_too_much_is_not_believed() -> None:
    intent = w.World().entry()
    most = RESIDUE_MAX / w.HOME_PRICE / Decimal("0.999")
    fits = settled(intent, w.expired(intent.home), w.filled(intent.away, most), done=True)
    assert fits.state == "CLOSED"
    more = settled(
        intent, w.expired(intent.home), w.filled(intent.away, most + Decimal("0.00001")), done=True
    )
    assert more.state == "OPEN"
    assert left_over(more, w.HOME_PRICE) > RESIDUE_MAX


def test_a_balanced_position_that_is_still_large_is_not_done() -> None:
    intent = w.World().entry()
    position = settled(intent, w.filled(intent.home), w.filled(intent.away), done=True)
    assert abs(position.imbalance) * w.HOME_PRICE < RESIDUE_MAX
    assert position.state == "OPEN"


def test_fees_are_valued_at_the_worse_side_when_paid() -> None:
    pair = w.make_pair("BTC", 1)
    fx = FxQuote(Decimal(10), Decimal(20))
    home = w.make_fill(w.Order("x", pair.home.market, "buy", Decimal(2), Decimal(100)))
    assert fee_value(home, pair.home.market, fx) == Decimal("0.1")
    sold = w.make_fill(w.Order("x", pair.away.market, "sell", Decimal(2), Decimal(100)))
    assert fee_value(sold, pair.home.market, fx) == Decimal("0.2") * 20
    bought = w.make_fill(w.Order("x", pair.away.market, "buy", Decimal(2), Decimal(100)))
    assert fee_value(bought, pair.home.market, fx) == Decimal("0.002") * 100 * 20


quantities = st.decimals(Decimal("0.00001"), Decimal(100), places=5)
prices = st.decimals(Decimal("0.01"), Decimal(10**8), places=2)
orders = st.tuples(st.booleans(), st.sampled_from(("buy", "sell")), quantities, prices)


@given(st.lists(orders, max_size=6), st.randoms())
def test_flows_are_the_change_of_the_balances_in_any_order(made, random) -> None:
    pair = w.make_pair("BTC", 1)
    fills = [
        w.make_fill(w.Order(str(n), (pair.home if home else pair.away).market, side, quantity, price))
        for n, (home, side, quantity, price) in enumerate(made)
    ]
    sums = {}
    for fill in fills:
        for currency, change in fill.changes():
            key = fill.market.venue, currency
            sums[key] = sums.get(key, Decimal(0)) + change
    random.shuffle(fills)
    flows = add_fills(Flows(), pair.home.market, fills)
    assert flows.home_base == sums.get(("upbit", "BTC"), 0)
    assert flows.home_quote == sums.get(("upbit", "KRW"), 0)
    assert flows.away_base == sums.get(("binance", "BTC"), 0)
    assert flows.away_quote == sums.get(("binance", "USDT"), 0)
