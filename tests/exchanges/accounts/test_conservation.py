"""Over any sequence of orders, cancels and steps no money appears or vanishes, and the book gives what orders get."""

import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.matching import Shortage
from arbshard.exchanges.accounts.order import WalletChanged
from arbshard.model.money import MONEY_CONTEXT, ZERO
from support.effort import effort

# Sampled, not drawn from ranges: hypothesis likes small numbers, and what matters is the size beside the book's
# (about 10 a level), and the price beside the best one.
SIDES = ["buy", "sell"]
QUANTITIES = ["0.001", "0.017", "3", "12.345", "40", "100", "400", "20000"]
OFFSETS = [-150, -20, -7, -3, -1, 0, 1, 3, 7, 20, 150]
TIFS = ["gtc", "gtc", "ioc", "fok", "post_only"]
FUNDS = ["0.5", "10", "1234.56789012", "5000", "100000", "2000000"]
MOVES = [-0.02, -0.003, -0.0005, 0.0, 0.0005, 0.003, 0.02]

Action = tuple[Any, ...]
CHOICES: list[tuple[str, list[list[Any]]]] = [
    ("limit", [SIDES, QUANTITIES, OFFSETS, TIFS]),
    ("limit", [SIDES, QUANTITIES, OFFSETS, TIFS]),
    ("market", [SIDES, QUANTITIES]),
    ("funds", [FUNDS]),
    ("cancel", [list(range(10))]),
    ("step", [MOVES]),
    ("step", [MOVES]),
]
actions = st.one_of(*(st.tuples(st.just(name), *map(st.sampled_from, terms)) for name, terms in CHOICES))


def flows(account: TradingAccount) -> dict[str, Decimal]:
    """What all fills must have done to the balances."""
    net = {"USDT": ZERO, "ABC": ZERO}
    for order in account.orders.values():
        sign = 1 if order.side == "buy" else -1
        for fill in order.fills:
            net["ABC"] += sign * fill.quantity
            net["USDT"] -= sign * fill.funds
            net[fill.fee_currency] -= fill.fee
    return net


def check(desk: Any) -> None:
    account, wallet = desk.account, desk.account.wallet
    net, held = flows(account), desk.held()
    for opening in account.opening:
        currency = opening.currency
        now = wallet.balance(currency)
        assert now.free >= 0
        assert now.free + now.locked == opening.free + net[currency]
        assert now.locked == held[currency]
    for order in account.orders.values():
        assert order.executed == sum((fill.quantity for fill in order.fills), ZERO)
        assert order.executed_funds == sum((fill.price * fill.quantity for fill in order.fills), ZERO)
        assert order.fee_paid == sum((fill.fee for fill in order.fills), ZERO)
        if order.quantity is not None:
            assert order.executed <= order.quantity
        if order.funds is not None:
            assert order.executed_funds <= order.funds
        if order.price is not None:
            sign = 1 if order.side == "buy" else -1
            assert all(sign * fill.price <= sign * order.price for fill in order.fills)
        assert order.is_open == (order.id in account.open_orders)
        if order.is_open:
            assert order.tif in ("gtc", "post_only")
            needed = (
                order.remaining
                if order.side == "sell"
                else desk.matcher._rules.lock(order.remaining * order.price, order.fee_rate)
            )
            assert order.held == needed > 0
        else:
            assert order.held == 0


def check_told(desk: Any, seen: dict[str, tuple[Decimal, Decimal]]) -> None:
    """The wallet events, played one after the other, end where the wallet stands."""
    for event in desk.account.take_events():
        if isinstance(event, WalletChanged):
            for balance in event.balances:
                seen[balance.currency] = (balance.free, balance.locked)
    for currency, (free, locked) in seen.items():
        assert desk.account.wallet.balance(currency)[1:] == (free, locked)


def executed(account: TradingAccount) -> Decimal:
    return sum((fill.quantity for order in account.orders.values() for fill in order.fills), ZERO)


def levels(desk: Any) -> dict[tuple[int, int], int]:
    book = desk.market.book
    return {
        (side.sign, key): size
        for side in (book.bids, book.asks)
        for key, size in zip(side.keys, side.sizes, strict=True)
    }


def eaten(before: dict[tuple[int, int], int], after: dict[tuple[int, int], int]) -> Decimal:
    """What is less now on levels that stood; a level that came anew (behind an empty side) does not count."""
    return Decimal(sum(size - after.get(key, 0) for key, size in before.items())).scaleb(-8)


def ticket_of(desk: Any, price: float, action: Action) -> Any:
    if action[0] == "limit":
        _, side, quantity, offset, tif = action
        return desk.ticket(side, quantity=quantity, price=round(price + offset / 100, 2), tif=tif)
    if action[0] == "market":
        return desk.ticket(action[1], quantity=action[2])
    return desk.ticket("buy", funds=action[1])


def play(desk: Any, plan: list[Action]) -> Counter[str]:
    """Do what the plan says and check everything after each action; what was seen."""
    account, book, price = desk.account, desk.market.book, 100.0
    told: dict[str, tuple[Decimal, Decimal]] = {}
    seen: Counter[str] = Counter()
    for action in plan:
        if action[0] == "step":
            price *= 1 + action[1]
            desk.market.advance(price, 0.1)
        before, first_id, executed_before = levels(desk), book.update_id, executed(account)
        if action[0] == "step":
            desk.matcher.on_step("ABCUSDT", 1)
        elif action[0] == "cancel":
            waiting = list(account.open_orders.values())
            if waiting:
                desk.matcher.cancel(account, waiting[action[1] % len(waiting)], 1)
        else:
            result = desk.matcher.place(account, ticket_of(desk, price, action), 1)
            if isinstance(result, Shortage):
                seen["shortage"] += 1
                assert result.needed > result.free == account.wallet.free(result.currency)
        filled = executed(account) - executed_before
        assert eaten(before, levels(desk)) == filled
        assert (book.update_id > first_id) == (filled > 0)
        assert book.bids.keys
        assert book.asks.keys
        check(desk)
        check_told(desk, told)
    for order in account.orders.values():
        seen[order.ended] += 1
        seen["maker"] += any(fill.is_maker for fill in order.fills)
        seen["in parts"] += len(order.fills) > 1
    return seen


@pytest.mark.parametrize("fees", ["upbit", "received"])
@settings(
    max_examples=effort(75, 750), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(plan=st.lists(actions, min_size=1, max_size=30), seed=st.integers(0, 2**16))
def test_money_is_conserved(make_desk: Callable[..., Any], fees: str, plan: list[Action], seed: int) -> None:
    with localcontext(MONEY_CONTEXT):
        play(make_desk(fees, seed=seed, depth=6), plan)


@pytest.mark.parametrize("fees", ["upbit", "received"])
@pytest.mark.parametrize("seed", [1, 2])
def test_money_is_conserved_over_a_long_day(make_desk: Callable[..., Any], fees: str, seed: int) -> None:
    rng = random.Random(seed)
    chosen = rng.choices(CHOICES, k=250)
    plan = [(name, *map(rng.choice, terms)) for name, terms in chosen]
    with localcontext(MONEY_CONTEXT):
        seen = play(make_desk(fees, seed=seed, depth=6), plan)
    ends = {"filled", "user", "ioc", "fok", "post_only", "no_liquidity", "dust"}
    assert {"shortage", "maker", "in parts"} | ends <= {name for name, count in seen.items() if count}


@pytest.mark.parametrize("fees", ["upbit", "received"])
def test_money_is_conserved_when_takers_get_a_part(make_desk: Callable[..., Any], fees: str) -> None:
    rng = random.Random(3)
    chosen = rng.choices(CHOICES, k=250)
    plan = [(name, *map(rng.choice, terms)) for name, terms in chosen]
    with localcontext(MONEY_CONTEXT):
        desk = make_desk(fees, seed=3, depth=6, fill_share=lambda: rng.choice((1.0, 0.6, 0.01, 0.0)))
        seen = play(desk, plan)
    assert {"maker", "in parts", "filled", "ioc", "fok", "no_liquidity"} <= set(seen)
