"""What a trade may cost, how long a leg may be open and how often an order may be repeated, event by event."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from arbshard.config import ExecutionConfig
from arbshard.ledger.events import (
    Hold,
    IntentApproved,
    IntentConcluded,
    OrderExtended,
    OrderReported,
    PairSetApart,
    VenueStateChanged,
)
from arbshard.model.intent import FxQuote, Intent
from arbshard.model.market import Market
from arbshard.model.order import Fill, Order
from arbshard.virtual.budgets import REPEATS, WASTE, Budgets
from arbshard.virtual.executions import Execution, Executions, VenueFee

HOME, AWAY = Market("upbit", "KRW-ABC", "ABC", "KRW"), Market("binance", "ABCUSDT", "ABC", "USDT")
FX = FxQuote(Decimal(1000), Decimal(1000))
NO_FEES = {name: VenueFee(Decimal(0), Decimal(0), takes_coin=False) for name in ("upbit", "binance")}
HOLD = Hold("s0-0-1-1-a1", "binance", "ABC", Decimal(10))
SECOND_NS = 1_000_000_000


class Desk:
    """Budgets, and somebody who trades 10 coins of 100,000 KRW against them."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.executions = Executions(NO_FEES)
        self.budgets = Budgets(
            ExecutionConfig(), self.executions, lambda _: Decimal(1_000_000), lambda _: self.imbalance,
            self.said.append,
        )  # fmt: skip
        self.imbalance = Decimal(0)
        """What is naked before an exit."""
        self.now_ns = 0
        self._number = 0

    def approve(self, kind: Any = "exit", reason: Any = "max_hold") -> Intent:
        self._number += 1
        name = f"s0-0-1-{self._number}"
        home = Order(f"{name}-h0", HOME, "sell", Decimal(10), Decimal(100_000), "leg")
        away = Order(f"{name}-a0", AWAY, "buy", Decimal(10), Decimal(100), "leg")
        intent = Intent(
            intent_id=name, kind=kind, pair="ABC", direction="buy_away", position_id="s0-0-1-0", home=home, away=away,
            reason=reason, edge_bps=10.0, fx=FX, decided_ms=0,
        )  # fmt: skip
        self.budgets.add(IntentApproved(at_ms=1, intent=intent, holds=()), self.now_ns)
        return intent

    def fill(self, intent: Intent, order: Order, price: Decimal, number: int) -> None:
        execution = Execution(
            order.client_id, "", order.market.venue, order.market.symbol, "ABC", order.market.quote, order.side,
            order.quantity, price, trade_id=f"{order.client_id}-{number}",
        )  # fmt: skip
        self.executions.happened(execution.fill_id, execution)
        fill = Fill(
            execution.fill_id, order.client_id, order.market, order.side, order.quantity, price, Decimal(0),
            order.market.quote,
        )  # fmt: skip
        self.report(intent, order, "FILLED", (fill,))

    def report(
        self, intent: Intent, order: Order, state: Any, fills: tuple[Fill, ...] = (), fault: Any = ""
    ) -> None:
        event = OrderReported(
            at_ms=1, intent_id=intent.intent_id, pair="ABC", client_id=order.client_id, state=state, detail="",
            decision_price=Decimal(0), fills=fills, fault=fault,
        )  # fmt: skip
        self.budgets.add(event, self.now_ns)

    def there_and_back(self, loss: int, reason: str = "max_hold") -> None:
        """An exit whose away leg is bought and sold back at a loss of so many KRW."""
        intent = self.approve(reason=reason)
        back = replace(intent.away, client_id=f"{intent.intent_id}-a1", side="sell", role="unwind")
        self.budgets.add(
            OrderExtended(at_ms=1, intent_id=intent.intent_id, pair="ABC", order=back, hold=HOLD), self.now_ns
        )
        self.fill(intent, intent.away, Decimal(100), 0)
        self.fill(intent, back, Decimal(100) - Decimal(loss) / 10_000, 1)
        self.conclude(intent)

    def conclude(self, intent: Intent) -> None:
        event = IntentConcluded(
            at_ms=1, intent_id=intent.intent_id, pair="ABC", mark=Decimal(100_000), fx=FX, done=False,
            position_id="s0-0-1-0", position_state="OPEN",
        )  # fmt: skip
        self.budgets.add(event, self.now_ns)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_exits_in_vain_may_cost_a_position_so_much(desk: Desk) -> None:
    for _ in range(WASTE * 5_000 // 2_000 + 1):
        desk.there_and_back(2_000)
    assert desk.said == [], "before the last of them it was less than so many times 50 bps"
    desk.approve()
    assert [one.partition(":")[0] for one in desk.said] == ["waste"]


def test_what_a_person_orders_is_not_limited(desk: Desk) -> None:
    for _ in range(20):
        desk.there_and_back(2_000, reason="manual")
    assert desk.said == []


def test_one_intent_may_lose_so_much(desk: Desk) -> None:
    desk.there_and_back(36_000)
    assert desk.said == []
    desk.there_and_back(36_100, reason="manual")
    assert desk.said[0].startswith("waste: s0-0-1-2 has lost 36100 KRW")


def test_an_exit_that_closes_wastes_nothing(desk: Desk) -> None:
    intent = desk.approve()
    desk.fill(intent, intent.home, Decimal(90_000), 0)
    desk.fill(intent, intent.away, Decimal(120), 0)
    desk.conclude(intent)
    assert desk.said == [], "it lost by its prices, which is for the bounds of prices"


@pytest.mark.parametrize(("pause_s", "found"), [(0.2, True), (1.0, False)])
def test_orders_are_not_repeated_without_a_pause(desk: Desk, pause_s: float, found: bool) -> None:
    intent = desk.approve()
    for _ in range(REPEATS + 1):
        desk.report(intent, intent.home, "REJECTED")
        desk.now_ns += int(pause_s * SECOND_NS)
    assert [one.partition(":")[0] for one in desk.said] == (["repeats"] if found else [])


def test_orders_of_either_venue_count_for_themselves(desk: Desk) -> None:
    intent = desk.approve()
    for _ in range(REPEATS):
        desk.report(intent, intent.home, "REJECTED")
        desk.report(intent, intent.away, "NOT_ACCEPTED")
    assert desk.said == []


def _seconds_until_found(
    desk: Desk, worth: int, works: Callable[[str, str], bool], *, asked: bool = False
) -> int | None:
    desk.budgets.works = works
    intent = desk.approve()
    if asked:
        apart = PairSetApart(at_ms=1, pair="ABC", cause="stuck", reason="a trial", intent_id=intent.intent_id)
        desk.budgets.add(apart, 0)
    for second in range(1, 1_000):
        desk.budgets.judge_naked([(intent.intent_id, Decimal(worth))], 1.0, is_disturbed=False)
        if desk.said:
            return second
    return None


def test_a_naked_leg_is_brought_home_while_a_venue_works(desk: Desk) -> None:
    found = _seconds_until_found(desk, 1_000_000, lambda venue, _: venue == "upbit")
    assert found is not None
    assert 70 <= found <= 73, "60 million KRW s, and ten seconds to send the last orders"
    assert desk.said[0].startswith("budget")


def test_a_person_is_asked_when_nothing_can_be_done(desk: Desk) -> None:
    found = _seconds_until_found(desk, 1_000_000, lambda *_: False)
    assert found is not None
    assert 90 <= found <= 92
    assert desk.said[0].startswith("stuck")


def test_nothing_can_be_done_while_no_venue_works(desk: Desk) -> None:
    assert _seconds_until_found(desk, 1_000_000, lambda *_: False, asked=True) is None


def test_an_intent_that_waits_for_a_person_may_take_one_pause_more(desk: Desk) -> None:
    found = _seconds_until_found(desk, 1_000_000, lambda *_: True, asked=True)
    assert found is not None
    assert 370 <= found <= 373


def test_a_disturbance_begins_the_count_anew(desk: Desk) -> None:
    intent = desk.approve()
    for second in range(400):
        desk.budgets.judge_naked([(intent.intent_id, Decimal(1_000_000))], 1.0, is_disturbed=second % 60 == 0)
    assert desk.said == []


def test_time_with_an_order_of_unknown_fate_does_not_count(desk: Desk) -> None:
    intent = desk.approve()
    for state, seconds, count in (
        ("SUBMITTED", 60, 0),
        ("UNKNOWN", 400, 0),
        ("EXPIRED", 9, 0),
        ("EXPIRED", 3, 1),
    ):
        desk.report(intent, intent.home, state)
        for _ in range(seconds):
            desk.budgets.judge_naked([(intent.intent_id, Decimal(1_000_000))], 1.0, is_disturbed=False)
        assert bool(desk.said) is bool(count), f"after {state}"
    assert desk.said[0].startswith("budget"), "what was naked before the fate was unknown still counts"


def test_a_hedge_stays_within_the_loss_budget(desk: Desk) -> None:
    intent = desk.approve()
    for limit, count in ((Decimal(96), 0), (Decimal(104), 1)):
        order = replace(intent.away, client_id="s0-0-1-1-a1", limit=limit, role="hedge")
        desk.budgets.add(
            OrderExtended(at_ms=1, intent_id=intent.intent_id, pair="ABC", order=order, hold=HOLD), 0
        )
        assert len(desk.said) == count
    assert desk.said[0].startswith("loss")


def test_the_leg_that_was_refused_is_tried_first(desk: Desk) -> None:
    first = desk.approve()
    desk.fill(first, first.away, Decimal(100), 0)
    desk.report(first, first.home, "REJECTED")
    desk.conclude(first)
    second = desk.approve()
    desk.fill(second, second.home, Decimal(100_000), 0)
    desk.fill(second, second.away, Decimal(100), 0)
    assert desk.said == []
    desk.report(second, second.home, "REJECTED")
    third = desk.approve()
    desk.fill(third, third.away, Decimal(100), 0)
    assert [one.partition(":")[0] for one in desk.said] == ["probe"]


@pytest.mark.parametrize(("before", "found"), [(10, []), (9, ["probe"]), (-10, ["probe"])])
def test_what_was_naked_before_an_exit_may_be_brought_home_at_the_other_venue(
    desk: Desk, before: int, found: list[str]
) -> None:
    """Ten coins too many were there, or too few: the unwind sells ten."""
    first = desk.approve()
    desk.fill(first, first.away, Decimal(100), 0)
    desk.report(first, first.home, "REJECTED")
    desk.conclude(first)
    desk.imbalance = Decimal(before)
    second = desk.approve()
    unwind = replace(second.away, client_id=f"{second.intent_id}-a1", side="sell", role="unwind")
    desk.budgets.add(
        OrderExtended(at_ms=1, intent_id=second.intent_id, pair="ABC", order=unwind, hold=HOLD), 0
    )
    desk.said.clear()
    desk.fill(second, unwind, Decimal(100), 0)
    assert [one.partition(":")[0] for one in desk.said] == found


def test_what_refuses_is_not_entered(desk: Desk) -> None:
    intent = desk.approve()
    desk.report(intent, intent.home, "REJECTED", fault="market")
    desk.now_ns += 9 * SECOND_NS
    desk.approve("entry")
    assert desk.said == []
    desk.now_ns += 2 * SECOND_NS
    desk.approve("entry")
    assert [one.partition(":")[0] for one in desk.said] == ["facts"]
    unknown = VenueStateChanged(at_ms=1, venue="upbit", symbol="KRW-ABC", state="unknown", why="a trial")
    desk.budgets.add(unknown, desk.now_ns)
    desk.approve("entry")
    assert len(desk.said) == 1
