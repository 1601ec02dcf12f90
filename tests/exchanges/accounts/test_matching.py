"""Placing, filling and cancelling, case by case; ``test_conservation`` says what always holds."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from arbshard.exchanges.accounts.matching import Shortage
from arbshard.exchanges.accounts.order import OrderChanged
from arbshard.exchanges.accounts.state import audit
from arbshard.exchanges.accounts.taking import amount_of
from arbshard.model.money import ZERO

MakeDesk = Callable[..., Any]


def test_a_market_buy_eats_the_asks_best_first(make_desk: MakeDesk) -> None:
    desk = make_desk()
    prices, sizes = list(desk.market.book.asks.prices), list(desk.market.book.asks.sizes)
    quantity = amount_of(sizes[0] + sizes[1] + 1_000_000)
    before = desk.depth(desk.market.book.asks)
    order = desk.place("buy", quantity=quantity)
    assert (order.status, order.ended, order.executed) == ("done", "filled", quantity)
    assert [fill.price for fill in order.fills] == [Decimal(price) for price in prices[:3]]
    assert [fill.quantity for fill in order.fills] == [
        amount_of(sizes[0]),
        amount_of(sizes[1]),
        Decimal("0.01"),
    ]
    assert before - desk.depth(desk.market.book.asks) == quantity
    assert desk.market.book.asks.prices[0] == prices[2]
    assert not any(fill.is_maker for fill in order.fills)
    assert desk.told() == ["new", "wallet", *["trade", "wallet"] * 3, "done"]


def test_more_than_the_depth_fills_in_part_and_the_side_is_never_empty(make_desk: MakeDesk) -> None:
    desk = make_desk("received", depth=5)
    asks = desk.market.book.asks
    depth = desk.depth(asks)
    order = desk.place("buy", quantity=depth + 1)
    assert (order.status, order.ended, order.executed) == ("canceled", "no_liquidity", depth)
    assert len(asks.keys) == 1
    assert desk.account.wallet.locked("USDT") == 0
    desk.step(100.0)
    assert len(asks.keys) == 5


def test_a_limit_order_takes_what_it_may_and_rests(make_desk: MakeDesk) -> None:
    desk = make_desk()
    first = amount_of(desk.market.book.asks.sizes[0])
    price = desk.best("ask")
    order = desk.place("buy", price=price, quantity=first + 2)
    assert (order.status, order.executed, order.remaining) == ("open", first, 2)
    assert desk.account.wallet.locked("USDT") == order.held == 2 * price * Decimal("1.0005")
    assert desk.told() == ["new", "wallet", "trade", "wallet"]


def test_a_better_price_than_the_limit_gives_the_difference_back_at_once(make_desk: MakeDesk) -> None:
    desk = make_desk()
    price = desk.best("ask")
    order = desk.place("buy", price=price + 10, quantity="0.1")
    paid = Decimal("0.1") * price * Decimal("1.0005")
    assert order.status == "done"
    assert desk.account.wallet.balance("USDT")[1:] == (1_000_000 - paid, 0)
    assert order.fee_paid == Decimal("0.1") * price * Decimal("0.0005")


def test_what_was_bought_below_the_limit_is_not_held_for_the_rest(make_desk: MakeDesk) -> None:
    desk = make_desk(depth=5)
    order = desk.place("buy", price=110, quantity=desk.depth(desk.market.book.asks) + 1)
    assert order.is_open
    assert order.held == desk.account.wallet.locked("USDT") == 110 * Decimal("1.0005")


def test_a_resting_order_fills_as_maker_at_its_own_price_when_the_book_comes(make_desk: MakeDesk) -> None:
    desk = make_desk()
    order = desk.place("sell", price=101, quantity="0.5")
    assert order.fills == []
    assert not desk.step(100.1)
    assert desk.step(103.0)
    (fill,) = order.fills
    assert (fill.price, fill.quantity, fill.is_maker) == (101, Decimal("0.5"), True)
    assert fill.fee == 101 * Decimal("0.5") * Decimal("0.0005")
    assert order.status == "done"
    assert not desk.step(110.0)
    assert desk.told() == ["new", "wallet", "trade", "wallet", "done"]


def test_a_resting_order_fills_up_to_the_depth_that_crossed(make_desk: MakeDesk) -> None:
    desk = make_desk(depth=5)
    order = desk.place("buy", price=99, quantity=5_000)
    desk.market.advance(98.97, 0.1)
    asks = desk.market.book.asks
    crossed = sum(
        amount_of(size) for price, size in zip(asks.prices, asks.sizes, strict=True) if Decimal(price) <= 99
    )
    assert crossed
    before = desk.depth(asks)
    assert desk.matcher.on_step("ABCUSDT", 1)
    assert order.executed == crossed
    assert desk.market.best_ask > 99 * 10**8
    assert before - desk.depth(asks) <= crossed  # somebody may have come to stand behind
    assert order.is_open


@pytest.mark.parametrize(("side", "sign"), [("sell", 1), ("buy", -1)])
def test_best_price_first_then_the_older(make_desk: MakeDesk, side: str, sign: int) -> None:
    desk = make_desk()
    late = desk.place(side, price=100 + sign, quantity=120)
    later = desk.place(side, price=100 + sign, quantity=120)
    best = desk.place(side, price=Decimal(100) + sign * Decimal("0.9"), quantity=120)
    assert desk.step(100.0 + 4 * sign)
    executed = [best.executed, late.executed, later.executed]
    assert executed[0] == 120
    assert executed[1] > executed[2]


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_ioc_cancels_the_rest_and_fok_takes_all_or_nothing(make_desk: MakeDesk, side: str) -> None:
    desk = make_desk()
    book = desk.market.book
    opposite = book.asks if side == "buy" else book.bids
    price, first = desk.best("ask" if side == "buy" else "bid"), amount_of(opposite.sizes[0])
    fok = desk.place(side, price=price, quantity=first * 2, tif="fok")
    assert (fok.status, fok.ended, fok.executed) == ("canceled", "fok", 0)
    assert desk.told() == ["new", "wallet", "canceled", "wallet"]
    ioc = desk.place(side, price=price, quantity=first * 2, tif="ioc")
    assert (ioc.status, ioc.ended, ioc.executed) == ("canceled", "ioc", first)
    assert desk.told() == ["new", "wallet", "trade", "wallet", "canceled", "wallet"]
    assert desk.account.wallet.locked(ioc.held_currency) == 0
    whole = desk.place(side, price=desk.best("ask" if side == "buy" else "bid"), quantity="0.001", tif="fok")
    assert whole.ended == "filled"


def test_post_only_rests_or_is_cancelled(make_desk: MakeDesk) -> None:
    desk = make_desk()
    assert desk.matcher.would_take("ABCUSDT", "buy", desk.best("ask"))
    assert not desk.matcher.would_take("ABCUSDT", "buy", desk.best("bid"))
    crossing = desk.place("buy", price=desk.best("ask"), quantity=1, tif="post_only")
    assert (crossing.status, crossing.ended, crossing.fills) == ("canceled", "post_only", [])
    resting = desk.place("buy", price=desk.best("bid"), quantity=1, tif="post_only")
    assert resting.is_open


@pytest.mark.parametrize(("fees", "status"), [("upbit", "canceled"), ("received", "done")])
def test_funds_buy_whole_lots_and_the_dust_comes_back(make_desk: MakeDesk, fees: str, status: str) -> None:
    desk = make_desk(fees)
    price = desk.best("ask")
    order = desk.place("buy", funds=price / 100 + Decimal("0.000001"))
    assert (order.status, order.ended) == (status, "dust")
    assert order.executed == Decimal("0.010")
    assert order.executed_funds == price / 100
    assert desk.account.wallet.locked("USDT") == 0
    exact = desk.place("buy", funds=desk.best("ask") / 100)
    assert (exact.status, exact.ended) == ("done", "filled")


def test_funds_walk_several_levels_and_never_beyond_themselves(make_desk: MakeDesk) -> None:
    desk = make_desk()
    order = desk.place("buy", funds=50_000)
    assert len(order.fills) > 2
    assert order.executed_funds <= 50_000
    free = desk.account.wallet.free("USDT")
    assert free == 1_000_000 - order.executed_funds * Decimal("1.0005")


def test_a_worst_price_bounds_an_order_by_funds(make_desk: MakeDesk) -> None:
    desk = make_desk()
    first, price = amount_of(desk.market.book.asks.sizes[0]), desk.best("ask")
    order = desk.place("buy", kind="market", price=price, funds=first * price * 2, tif="ioc")
    assert (order.ended, order.executed) == ("ioc", first)


def test_a_shortage_changes_nothing(make_desk: MakeDesk) -> None:
    desk = make_desk()
    ticket = desk.ticket("buy", price=100, quantity=10_000)
    lack = desk.matcher.place(desk.account, ticket, 1)
    assert lack == Shortage("USDT", Decimal(1_000_500), Decimal(1_000_000))
    assert desk.matcher.shortage(desk.account, ticket) == lack
    sell = desk.matcher.place(desk.account, desk.ticket("sell", price=100, quantity=10_001), 1)
    assert sell == Shortage("ABC", Decimal(10_001), Decimal(10_000))
    assert desk.told() == []
    assert desk.account.orders == {}
    assert desk.matcher.shortage(desk.account, desk.ticket("sell", price=100, quantity=10_000)) is None


def test_received_fees_are_taken_from_what_comes_in(make_desk: MakeDesk) -> None:
    desk = make_desk("received")
    bought = desk.place("buy", quantity=1)
    assert desk.account.wallet.free("ABC") == 10_000 + 1 - bought.fee_paid
    assert {fill.fee_currency for fill in bought.fills} == {"ABC"}
    assert bought.fee_paid == Decimal("0.001")
    before = desk.account.wallet.free("USDT")
    sold = desk.place("sell", quantity=1)
    assert desk.account.wallet.free("USDT") - before == sold.executed_funds - sold.fee_paid
    assert {fill.fee_currency for fill in sold.fills} == {"USDT"}


def test_cancel_gives_everything_back(make_desk: MakeDesk) -> None:
    desk = make_desk()
    order = desk.place("buy", price=90, quantity=3)
    assert desk.account.wallet.locked("USDT") > 0
    desk.matcher.cancel(desk.account, order, 77)
    assert (order.status, order.ended, order.updated_ms) == ("canceled", "user", 77)
    assert desk.account.wallet.balance("USDT")[1:] == (1_000_000, 0)
    assert desk.account.open_orders == {}
    assert not desk.step(50.0)
    with pytest.raises(AssertionError):
        desk.matcher.cancel(desk.account, order, 78)


def test_events_are_pictures_of_their_moment(make_desk: MakeDesk) -> None:
    desk = make_desk()
    order = desk.place("buy", price=desk.best("ask"), quantity=amount_of(desk.market.book.asks.sizes[0]))
    new, _, trade, _, done = desk.account.take_events()
    assert isinstance(new, OrderChanged)
    assert isinstance(trade, OrderChanged)
    assert isinstance(done, OrderChanged)
    assert (new.order.executed, new.order.status, new.order.fills) == (ZERO, "open", [])
    assert (trade.order.executed, trade.order.status, trade.fill) == (order.executed, "done", order.fills[0])
    assert done.order == order


def test_ids_count_on_from_the_first_number(make_desk: MakeDesk) -> None:
    desk = make_desk("received")
    first, second = desk.place("buy", quantity=1), desk.place("buy", quantity=1)
    assert (first.id, second.id) == ("1", "2")
    trades = [fill.trade_id for order in (first, second) for fill in order.fills]
    assert trades == [str(number) for number in range(1, len(trades) + 1)]


def test_audit_shows_plain_values(make_desk: MakeDesk) -> None:
    desk = make_desk("received")
    desk.place("buy", quantity="1.500", client_id="mine")
    desk.place("sell", price="200.00", quantity=2)
    seen = audit(desk.account)
    assert seen["opening"] == {"USDT": "1000000", "ABC": "10000"}
    filled, resting = seen["orders"]
    assert (filled["client_id"], filled["quantity"], filled["executed"], filled["price"]) == (
        "mine",
        "1.5",
        "1.5",
        None,
    )
    assert sum(Decimal(fill["quantity"]) for fill in filled["fills"]) == Decimal("1.5")
    assert (resting["held"], resting["held_currency"], resting["status"]) == ("2", "ABC", "open")
    assert seen["balances"]["ABC"] == {"free": "9999.4985", "locked": "2"}


@pytest.mark.parametrize(
    ("terms", "status", "ended", "executed"),
    [
        ({"tif": "ioc"}, "canceled", "ioc", "2.5"),
        ({"tif": "gtc"}, "open", "", "2.5"),
        ({"tif": "fok"}, "canceled", "fok", "0"),
        ({"price": None}, "canceled", "no_liquidity", "2.5"),
        ({"price": None, "quantity": None, "funds": 1000}, "canceled", "no_liquidity", None),
    ],
)
def test_a_taker_may_get_a_part_only(
    make_desk: MakeDesk, terms: dict[str, Any], status: str, ended: str, executed: str | None
) -> None:
    desk = make_desk("received", fill_share=lambda: 0.25)
    terms = {"price": desk.best("ask") + 5, "quantity": 10} | terms
    order = desk.place("buy", **({"kind": "market"} if terms["price"] is None else {}), **terms)
    assert (order.status, order.ended) == (status, ended)
    if executed is None:
        assert 200 < order.executed_funds < 251
    else:
        assert order.executed == Decimal(executed)
    assert desk.account.wallet.locked("USDT") == order.held


def test_only_takers_are_asked_for_their_part(make_desk: MakeDesk) -> None:
    asked = []
    desk = make_desk(fill_share=lambda: asked.append(1) or 0.5)
    desk.place("buy", price=desk.best("bid") - 1, quantity=1)
    desk.place("buy", price=desk.best("ask"), quantity=1, tif="post_only")
    assert not asked
    desk.place("buy", price=desk.best("ask"), quantity=1, tif="ioc")
    assert asked == [1]
