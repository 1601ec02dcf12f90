"""What lasting faults change at a venue: markets, rules, fees, the key; and that all of it comes back."""

from decimal import Decimal
from typing import Any

import pytest

from arbshard.config.sim import (
    ChangedFeesFault,
    ChangedRulesFault,
    ClosedWalletFault,
    MarketStateFault,
    QuietBookFault,
)
from arbshard.exchanges.binance.filters import rules_of
from arbshard.exchanges.binance.money import BinanceMoney
from arbshard.exchanges.faults.conditions import Conditions, is_meant
from arbshard.exchanges.faults.spells import Spells
from arbshard.exchanges.market import RuleFactors, SimMarket
from arbshard.exchanges.world import SimWorld

SECOND_NS = 1_000_000_000


@pytest.mark.parametrize(
    ("names", "expected"),
    [("", True), ("BTC", True), ("BTCUSDT", True), ("ETH, BTC", True), ("ETH", False), ("KRW-BTC", False)],
)
def test_a_market_is_named_by_its_coin_or_its_symbol(world: SimWorld, names: str, expected: bool) -> None:
    assert is_meant(names, world.binance["BTCUSDT"]) is expected


def test_a_market_is_closed_warned_of_or_delisted_and_comes_back(world: SimWorld) -> None:
    conditions, btc, eth = Conditions("binance", world), world.binance["BTCUSDT"], world.binance["ETHUSDT"]
    conditions.set_states(MarketStateFault(market="BTC", state="halt"))
    assert (btc.state, btc.takes_orders, eth.state) == ("halt", False, "trading")
    conditions.set_states(MarketStateFault(market="ETH", state="warned"))
    assert (btc.state, eth.state, eth.is_warned, eth.takes_orders) == ("trading", "trading", True, True)
    conditions.set_states(None)
    assert (eth.is_warned, eth.state) == (False, "trading")


@pytest.mark.parametrize(
    ("state", "moves"), [("cancel_only", True), ("break", False), ("halt", False), ("delisted", False)]
)
def test_the_book_of_a_closed_market_stands_still(make_market: Any, state: Any, moves: bool) -> None:
    market = make_market()
    market.state = state
    before = market.book.update_id
    market.advance(101.0, 0.1)
    assert market.moved is moves
    assert (market.book.update_id != before) is moves


def test_a_quiet_book_moves_now_and_then_and_after_an_order(make_market: Any) -> None:
    market: SimMarket = make_market()
    market.quiet_s = 4.0
    market.advance(100.0, 4.0)
    moved = []
    for step in range(80):
        market.advance(100.0 + step, 0.1)
        moved.append(market.moved)
    assert moved.count(True) == 2
    market.book.eat(market.book.asks, [market.book.asks.sizes[0]])
    market.advance(100.0, 0.1)
    assert market.moved, "an order has changed the book, so the venue sends it"


@pytest.mark.parametrize("venue", ["upbit", "binance"])
@pytest.mark.parametrize("tick", [2, 5, 10])
def test_other_ticks_and_lots_are_those_of_the_book_at_once(
    world: SimWorld, advance: Any, venue: str, tick: Any
) -> None:
    markets = world.upbit if venue == "upbit" else world.binance
    conditions = Conditions(venue, world)
    lot = 100 if venue == "binance" else 1
    conditions.set_rules(ChangedRulesFault(tick=tick, lot=lot))
    for _ in range(20):
        for market in markets.values():
            for side in (market.book.bids, market.book.asks):
                prices = [side.ladder.price(key * side.sign) for key in side.keys]
                assert all(price % market.tick_at(price) == 0 for price in prices), market.symbol
                assert all(size % market.lot == 0 and size for size in side.sizes), market.symbol
            assert market.best_bid < market.best_ask
        advance(world, 1)
    conditions.set_rules(None)
    assert all(market.factors == RuleFactors() for market in markets.values())


def test_levels_that_go_with_the_old_ticks_are_published(make_market: Any) -> None:
    market = make_market()
    old = {key: side.sizes[side.keys.index(key)] for side in (market.book.asks,) for key in side.keys}
    number = market.book.update_id
    market.change_rules(RuleFactors(tick=10))
    assert market.book.update_id > number
    market.advance(100.0, 0.1)
    assert set(old) <= market.book.asks.changed | set(market.book.asks.keys)


def test_binances_filters_are_those_in_force(world: SimWorld) -> None:
    market = world.binance["BTCUSDT"]
    usual = rules_of(market.listing, market.factors)
    Conditions("binance", world).set_rules(ChangedRulesFault(tick=10, lot=100, minimum=4))
    changed = rules_of(market.listing, market.factors)
    assert (changed.tick, changed.lot) == (usual.tick * 10, usual.lot * 100)
    assert changed.notional_min == 20


def test_fees_change_and_come_back(world: SimWorld) -> None:
    money = BinanceMoney()
    conditions = Conditions("binance", world, money)
    conditions.set_fees(ChangedFeesFault(bps=7.5))
    assert money.fee_rate == Decimal("0.00075")
    conditions.set_fees(None)
    assert money.fee_rate == Decimal("0.001")


def test_what_lasts_ends_with_its_time_or_when_it_is_cleared(
    world: SimWorld, make_board: Any, make_client: Any
) -> None:
    conditions, market = Conditions("binance", world), world.binance["BTCUSDT"]
    board = make_board(
        market_state={"times": 1, "market": "BTC", "state": "break", "ms_min": 1500, "ms_max": 1500},
        key_revoked={"times": 1},
        quiet_book={"share": 1.0, "market": "BTC", "every_s": 4},
    )
    private, public = make_client("p", private=True), make_client("q")
    spells = Spells(board, (), conditions)
    spells.on_time(0, [private, public])
    assert (market.state, market.quiet_s, conditions.is_key_revoked) == ("break", 4.0, True)
    assert (private.heard, public.heard) == (["fault: key_revoked clean"], [])
    spells.on_time(2 * SECOND_NS, [])
    assert (market.state, conditions.is_key_revoked) == ("trading", True)
    spells.on_time(3_600 * SECOND_NS, [])
    assert conditions.is_key_revoked, "until it is cleared"
    for name in ("key_revoked", "quiet_book"):
        spells.end(name)
    assert (market.quiet_s, conditions.is_key_revoked) == (0.0, False)


def test_quiet_books_are_those_named(world: SimWorld) -> None:
    conditions = Conditions("upbit", world)
    conditions.set_quiet(QuietBookFault(market="KRW-ETH", every_s=9))
    assert {one.symbol: one.quiet_s for one in world.upbit.values() if one.quiet_s} == {"KRW-ETH": 9.0}


def test_the_gap_of_a_coin_whose_wallet_is_closed_stays(world: SimWorld, advance: Any) -> None:
    conditions, (btc, eth, _) = Conditions("upbit", world), world.processes
    conditions.set_gaps(ClosedWalletFault(market="BTC", gap_bps=150))
    advance(world, 300)
    gaps = []
    for _ in range(100):
        advance(world, 30)
        gaps.append(btc.gap_bps)
    assert min(gaps) > 80, "no arbitrage closes it"
    conditions.set_gaps(None)
    advance(world, 600)
    assert abs(btc.gap_bps) < 150
    assert eth.gap_bps < 150


def test_the_fx_market_moves_alone(world: SimWorld, advance: Any) -> None:
    fx, btc = world.upbit["KRW-USDT"], world.upbit["KRW-BTC"]
    before, coin = fx.best_bid, btc.best_bid
    Conditions("upbit", world).set_fx(300)
    advance(world, 1)
    assert fx.best_bid / before == pytest.approx(1.03, abs=0.002)
    assert btc.best_bid / coin == pytest.approx(1, abs=0.005)


def test_a_wrong_frame_is_followed_by_the_right_one(make_market: Any) -> None:
    market: SimMarket = make_market()
    market.advance(100.0, 0.1)
    right = market.best_bid
    market.wrong_bps = 1_000
    market.show_wrong()
    assert market.best_bid / right == pytest.approx(1.1, abs=0.002)
    assert market.best_bid < market.best_ask
    market.show_right()
    assert (market.best_bid, market.wrong_bps) == (right, 0)
