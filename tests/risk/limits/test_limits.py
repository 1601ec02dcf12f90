"""Each limit refuses at its edge, and only there."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.model.book import BookTop
from arbshard.model.refusal import Refusal
from arbshard.risk.limits.effective import SymbolRiskLimits
from arbshard.risk.limits.guard import RiskGuard, amount_of
from arbshard.risk.validation import Moment
from arbshard.wire.messages import Approved, Refused
from support import world as w

NOTIONAL = Decimal(350) * 1401
"""Of the world's usual entry, bought away."""


def reason_of(reply) -> Refusal | None:
    if isinstance(reply, Approved):
        return None
    assert isinstance(reply, Refused)
    return reply.reason


def test_symbol_notional() -> None:
    at = w.World(config=w.with_limits(symbol_notional_max=NOTIONAL))
    assert reason_of(at.submit(at.entry())) is None
    below = w.World(config=w.with_limits(symbol_notional_max=NOTIONAL - 1))
    assert reason_of(below.submit(below.entry())) is Refusal.SYMBOL_NOTIONAL


def test_symbol_notional_counts_what_is_open() -> None:
    world = w.World(config=w.with_limits(symbol_notional_max=NOTIONAL * 2 - 600, symbol_positions_max=5))
    world.open_position()
    assert reason_of(world.submit(world.entry())) is Refusal.SYMBOL_NOTIONAL
    assert reason_of(world.submit(world.entry("ETH"))) is None


def test_symbol_positions() -> None:
    world = w.World(config=w.with_limits(symbol_positions_max=2))
    world.open_position()
    world.open_position()
    assert reason_of(world.submit(world.entry())) is Refusal.SYMBOL_POSITIONS
    assert reason_of(world.submit(world.entry("ETH"))) is None


def test_portfolio_notional_counts_what_is_open_and_what_is_under_way() -> None:
    world = w.World(("A", "B", "C"), config=w.with_limits(portfolio_notional_max=NOTIONAL * 2))
    assert reason_of(world.submit(world.entry("A"))) is None
    assert reason_of(world.submit(world.entry("B"))) is None
    assert reason_of(world.submit(world.entry("C"))) is Refusal.PORTFOLIO_NOTIONAL


def test_portfolio_positions_count_entries_under_way() -> None:
    world = w.World(("A", "B", "C"), config=w.with_limits(portfolio_positions_max=2))
    world.open_position("A")
    assert reason_of(world.submit(world.entry("B"))) is None
    assert reason_of(world.submit(world.entry("C"))) is Refusal.PORTFOLIO_POSITIONS


def test_open_intents() -> None:
    world = w.World(("A", "B"), config=w.with_limits(open_intents_max=1))
    first = world.entry("A")
    assert reason_of(world.submit(first)) is None
    assert reason_of(world.submit(world.entry("B"))) is Refusal.OPEN_INTENTS
    world.report(first, w.expired(first.home), w.expired(first.away))
    world.conclude(first)
    assert reason_of(world.submit(world.entry("B"))) is None


def test_daily_loss_of_the_portfolio_until_the_day_ends() -> None:
    world = w.World(config=w.with_limits(daily_loss_max=Decimal(1000)))
    lost = world.round_trip()  # four fees
    assert lost.pnl < -1000
    assert reason_of(world.submit(world.entry("ETH"))) is Refusal.DAILY_LOSS
    world.now_ms += 86_400_000
    assert reason_of(world.submit(world.entry("ETH"))) is None


def test_a_gain_makes_room_for_a_loss() -> None:
    world = w.World(config=w.with_limits(daily_loss_max=Decimal(1000)))
    world.round_trip(home_out=Decimal(980_000))
    world.round_trip()
    assert reason_of(world.submit(world.entry("ETH"))) is None


def test_a_symbol_with_limits_of_its_own() -> None:
    world = w.World()
    guard = world.core.guard
    assert guard.get_symbol_limits("BTC") == SymbolRiskLimits(
        "BTC", Decimal(3_000_000), 1, 2, Decimal(5_000_000), Decimal(3_000_000), 20, 60.0
    )
    guard.set_symbol_limits(SymbolRiskLimits("BTC", Decimal(3_000_000), max_positions=2))
    world.open_position("BTC")
    world.open_position("ETH")
    assert reason_of(world.submit(world.entry("BTC"))) is None
    assert reason_of(world.submit(world.entry("ETH"))) is Refusal.SYMBOL_POSITIONS


def test_a_symbols_own_daily_loss_stops_that_symbol_only() -> None:
    world = w.World()
    world.core.guard.set_symbol_limits(
        SymbolRiskLimits("BTC", Decimal(3_000_000), 1, max_daily_loss=Decimal(1000))
    )
    world.round_trip("BTC")
    reply = world.submit(world.entry("BTC"))
    assert reason_of(reply) is Refusal.SYMBOL_DAILY_LOSS
    assert reply.detail.startswith("BTC has lost")
    assert reason_of(world.submit(world.entry("ETH"))) is None


@pytest.mark.parametrize(
    ("direction", "paper", "missing"),
    [
        ("buy_away", {"quote_away": Decimal("349.99")}, "binance USDT: 350 needed, 349.99 free"),
        ("buy_home", {"quote_home": Decimal(500_249)}, "upbit KRW: 500250 needed, 500249 free"),
        ("buy_away", {"inventory_notional": Decimal(400_000)}, "upbit BTC: 0.5 needed, 0.4 free"),
        ("buy_home", {"inventory_notional": Decimal(400_000)}, "binance BTC: 0.5 needed, 0.4 free"),
    ],
)
def test_balances(direction, paper, missing) -> None:
    world = w.World(config=w.with_paper(**paper))
    reply = world.submit(world.entry(direction=direction))
    assert (reason_of(reply), reply.detail) == (Refusal.BALANCE, missing)


def test_a_balance_is_enough_to_the_last_digit() -> None:
    world = w.World(config=w.with_paper(quote_home=Decimal(500_250)))
    assert reason_of(world.submit(world.entry(direction="buy_home"))) is None


def test_what_is_held_is_not_free() -> None:
    world = w.World(config=w.with_paper(quote_away=Decimal(500)))
    assert reason_of(world.submit(world.entry("BTC"))) is None
    assert reason_of(world.submit(world.entry("ETH"))) is Refusal.BALANCE


def test_a_pair_without_inventory() -> None:
    world = w.World(ready=False)
    world.start()
    world.ask(world.hello())
    assert reason_of(world.submit(world.entry())) is Refusal.NOT_FUNDED


def test_a_pair_with_an_intent_under_way() -> None:
    world = w.World()
    first = world.entry()
    world.submit(first)
    reply = world.submit(world.entry())
    busy = f"{first.intent_id} has no outcome yet"
    assert (reason_of(reply), reply.detail) == (Refusal.PAIR_BUSY, busy)
    assert reason_of(world.submit(world.entry("ETH"))) is None


def test_exits_pass_where_entries_do_not() -> None:
    world = w.World(config=w.with_limits(daily_loss_max=Decimal(1), open_intents_max=1))
    position = world.open_position("BTC")
    other = world.open_position("ETH")
    world.carry_out(world.exit_of(other), done=True)  # the day's loss is reached
    world.phase = w.Phase.DRAINING
    assert reason_of(world.submit(world.entry("ETH"))) is Refusal.DAILY_LOSS
    assert reason_of(world.submit(world.exit_of(position))) is None


def test_exits_still_need_what_they_spend() -> None:
    world = w.World(config=w.with_paper(quote_home=Decimal(20_000)))
    position = world.open_position()  # sells at home, buys away
    reply = world.submit(world.exit_of(position, home_limit=Decimal(2_000_000)))
    assert reason_of(reply) is Refusal.BALANCE


def test_a_leg_of_an_exit_that_is_too_small_to_be_sent_needs_nothing() -> None:
    """It is of one lot where the pair's residue makes up for it: an exit is not refused for want of that."""
    world = w.World(config=w.with_paper(quote_home=Decimal(20_000)))
    position = world.open_position()  # sells at home, buys away
    intent = world.exit_of(position)
    lot = replace(intent.home, quantity=world.pairs["BTC"].home.rules.lot)
    assert lot.quantity * lot.limit < world.pairs["BTC"].home.rules.notional_min
    world.state.balances.add("upbit", "KRW", -world.state.balances.available("upbit", "KRW"))
    assert reason_of(world.submit(replace(intent, home=lot))) is None
    held = {hold.client_id: hold.amount for hold in world.state.trades[intent.intent_id].holds}
    assert held[lot.client_id] == 0
    assert held[intent.away.client_id] > 0


@pytest.mark.parametrize("phase", ["DRAINING", "DRAINING_KEEP"])
def test_no_entries_while_the_run_ends(phase) -> None:
    world = w.World(phase=w.Phase.RUNNING)
    world.phase = w.Phase[phase]
    assert reason_of(world.submit(world.entry())) is Refusal.STOPPING
    world.phase = w.Phase.RUNNING
    assert reason_of(world.submit(world.entry())) is None


def test_the_lower_number_is_named_first() -> None:
    world = w.World(config=w.with_limits(symbol_notional_max=Decimal(1), portfolio_notional_max=Decimal(1)))
    world.phase = w.Phase.DRAINING
    assert reason_of(world.submit(world.entry())) is Refusal.SYMBOL_NOTIONAL


def test_stats_of_a_symbol() -> None:
    world = w.World()
    world.round_trip()
    world.submit(world.entry())
    world.submit(world.entry())
    world.submit(world.entry("ETH"))
    world.submit(world.entry())  # the same again: counted, not stored
    stats = world.core.guard.get_symbol_stats("BTC", world.day)
    assert stats.allowed == 3
    assert stats.rejected == {Refusal.PAIR_BUSY: 2}
    assert stats.loss == -world.state.results.daily[world.day, "BTC"] > 0
    assert world.core.guard.get_symbol_stats("BTC", world.day + 1).loss == 0


def test_stats_of_a_symbol_are_not_those_of_another() -> None:
    world = w.World()
    world.submit(world.entry("ETH"))
    world.submit(world.entry("ETH"))
    world.submit(world.entry("ETH"))
    assert world.core.guard.get_symbol_stats("BTC", world.day).rejected == {}
    assert world.core.guard.get_symbol_stats("ETH", world.day).rejected == {Refusal.PAIR_BUSY: 2}


def test_the_room_of_a_symbol_is_that_of_its_narrowest_limit() -> None:
    """It is what an entry may be, and what a person is shown."""
    world = w.World()
    guard = world.core.guard
    wide = SymbolRiskLimits("BTC", Decimal(3_000_000), max_positions=2)
    guard.set_symbol_limits(wide)
    assert guard.room("BTC") == (Decimal(3_000_000), Refusal.SYMBOL_NOTIONAL)
    guard.set_symbol_limits(replace(wide, max_order_notional=NOTIONAL))
    assert guard.room("BTC") == (NOTIONAL, Refusal.ORDER_NOTIONAL)
    assert reason_of(world.submit(world.entry("BTC"))) is None
    guard.set_symbol_limits(replace(wide, max_order_notional=NOTIONAL - 1))
    assert reason_of(world.submit(world.entry("BTC"))) is not None


def test_a_pair_that_is_not_traded_in_this_run_is_refused_by_its_name() -> None:
    world = w.World(("BTC",))
    other = w.World(("BTC", "ETH"))
    for leave in (False, True):
        intent = other.exit_of(other.open_position("ETH")) if leave else other.entry("ETH")
        reply = world.submit(replace(intent, intent_id=f"s1-0-1-{7 + leave}"))
        assert reason_of(reply) in (Refusal.UNKNOWN_PAIR, Refusal.NOT_OWNER), reply
        assert world.state.busy == {}


def test_a_balance_that_is_not_listed_is_a_defect_and_not_zero() -> None:
    available = (("upbit", "KRW", Decimal(5)), ("binance", "KRW", Decimal(7)))
    assert amount_of(available, "binance", "KRW") == 7
    with pytest.raises(KeyError):
        amount_of(available, "binance", "USDT")


def test_what_a_failed_exit_costs_is_remembered_when_its_venue_refuses_orders_besides() -> None:
    """Which leg goes first follows from what is known now; how long it waits, from what has failed."""
    world = w.World()
    position = world.open_position("BTC")
    leaving = world.exit_of(position)
    world.carry_out(leaving, w.expired(leaving.home), w.expired(leaving.away))
    assert world.state.attempts["BTC", "exit"].lead == "both"
    tries = world.state.attempts["BTC", "exit"].tries
    entry = world.entry("ETH")
    world.submit(entry)
    refused = w.OrderResult(entry.away, "REJECTED", detail="-2015: key", fault="venue")
    world.report(entry, w.expired(entry.home), refused)
    world.conclude(entry)
    known = world.core.guard.exit_attempts(world.pairs["BTC"])
    assert (known.lead, known.is_small, known.tries) == ("away", True, tries)
    assert known.why == "binance takes no orders: -2015: key"


def test_the_exposure_to_fx_is_valued_at_the_rate_that_risk_saw_last() -> None:
    world = w.World()
    world.open_position("BTC")
    held = abs(world.state.away_held)
    assert world.core.guard.fx_exposure() == round(held * w.FX.mid, 2)  # before any book: that of the entry
    moment = Moment(world.now_ms, world.now_ms * 1_000_000, world.day)
    world.core.guard.fx.set_rate(BookTop(1499.0, 1.0, 1501.0, 1.0, moment.now_ns), moment.now_ns)
    world.core.guard.fx.judge(moment)
    assert world.core.guard.fx_exposure() == round(held * 1500, 2)


def test_checks_change_nothing() -> None:
    world = w.World()
    before = world.state.state_hash()
    guard = RiskGuard(world.config.limits, world.state)
    moment = Moment(world.now_ms, 0, world.day)
    pair = world.pairs["BTC"]
    for _ in range(1000):
        available = guard.available(pair)
        assert guard.check_trade_allowed(world.entry(), pair, available, moment, draining=False) is None
    assert world.state.state_hash() == before
