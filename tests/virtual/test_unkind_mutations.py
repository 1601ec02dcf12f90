"""Defects put into the rules against unkind exchanges: the simulation must find each within a few seeds."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

import arbshard.risk.core
import arbshard.risk.valuation
from arbshard.config import ExecutionConfig
from arbshard.engine.edge import Terms
from arbshard.execution.executor import BaseExecutor
from arbshard.execution.two_leg import Books, StateEvent, TwoLeg
from arbshard.ledger.events import EquityMarked
from arbshard.model.intent import IntentKind, Retry
from arbshard.model.market import Direction, Leg, Pair
from arbshard.model.money import ZERO
from arbshard.model.refusal import Refusal
from arbshard.risk.limits.guard import RiskGuard
from arbshard.risk.limits.ways_out import WaysOut
from arbshard.risk.portfolio.attempts import Attempts
from arbshard.risk.portfolio.equity import EquityState
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.validation import Objection
from arbshard.risk.valuation import Valuation
from arbshard.worker.risk_link import RiskLink
from arbshard.worker.standing_orders import StandingOrders
from support.mutations import Mutation, each

_REFUSALS = "market_refuses,market_closes,other_rules"


def _retry_of(patch: pytest.MonkeyPatch, kind: IntentKind, **changes: object) -> None:
    """Change how a trade of ``kind`` is tried again; without ``changes`` it is tried again as usual."""
    true_retry = arbshard.risk.core.retry_of

    def retry_of(attempts: Attempts | None, asked: IntentKind, execution: ExecutionConfig) -> Retry | None:
        retry = true_retry(attempts, asked, execution)
        if retry is None or asked != kind:
            return retry
        return replace(retry, **changes) if changes else None

    patch.setattr(arbshard.risk.core, "retry_of", retry_of)


def exits_in_vain_are_repeated_at_once(patch: pytest.MonkeyPatch) -> None:
    _retry_of(patch, "exit")


def entries_in_vain_are_repeated_at_once(patch: pytest.MonkeyPatch) -> None:
    _retry_of(patch, "entry")
    patch.setattr(RiskGuard, "_check_venues", lambda self, pair: None)


def the_leg_that_failed_is_not_tried_first(patch: pytest.MonkeyPatch) -> None:
    _retry_of(patch, "exit", lead="both", is_small=False)


def nobody_is_asked_about_a_stuck_intent(patch: pytest.MonkeyPatch) -> None:
    async def report(self: BaseExecutor, machine: TwoLeg) -> None:
        del machine

    patch.setattr(BaseExecutor, "_report_stuck", report)


def stuck_intents_do_not_pause(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TwoLeg, "_pause_ns", lambda self: int(self._execution.retry_ms * 1e6))


def a_naked_leg_waits_for_the_venue_that_refuses(patch: pytest.MonkeyPatch) -> None:
    """Neither refusals nor the naked budget lead to the other venue."""
    true_enter, true_obstacle = TwoLeg._enter, TwoLeg._obstacle

    def enter(self: TwoLeg, event: str, now_ns: int) -> None:
        if self.state == "hedging" and event in ("barred", "out_of_tries", "overdue", "dark", "too_dear"):
            event = "refused"
        true_enter(self, event, now_ns)

    patch.setattr(TwoLeg, "_enter", enter)

    def obstacle(self: TwoLeg, leg: Leg, books: Books, now_ns: int) -> StateEvent | None:
        event = true_obstacle(self, leg, books, now_ns)
        return event if event == "too_small" else None  # there is no order that could be sent

    patch.setattr(TwoLeg, "_obstacle", obstacle)


def orders_may_lose_anything(patch: pytest.MonkeyPatch) -> None:
    true_init = TwoLeg.__init__

    def init(self: TwoLeg, intent, pair, before, execution, *more, **named) -> None:
        true_init(self, intent, pair, before, replace(execution, intent_loss_bps_max=9_000.0), *more, **named)

    patch.setattr(TwoLeg, "__init__", init)


def pairs_that_wait_for_a_person_go_on(patch: pytest.MonkeyPatch) -> None:
    true_check = RiskGuard.check_halt

    def check_halt(self: RiskGuard, symbol: str) -> Objection | None:
        objection = true_check(self, symbol)
        is_apart = objection is not None and objection.reason is Refusal.PAIR_SET_APART
        return None if is_apart else objection

    patch.setattr(RiskGuard, "check_halt", check_halt)
    take = StandingOrders.apply
    patch.setattr(StandingOrders, "apply", lambda self, said: take(self, replace(said, apart=())))


def refusing_venues_are_entered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RiskGuard, "_check_venues", lambda self, pair: None)


def equity_lacks_what_is_unrealised(patch: pytest.MonkeyPatch) -> None:
    """As it was once: only closed positions count."""
    patch.setattr(Valuation, "unrealised", property(lambda self: ZERO, lambda self, _: None), raising=False)


def open_positions_are_valued_without_the_fees_of_closing(patch: pytest.MonkeyPatch) -> None:
    true_terms = arbshard.risk.valuation.terms_of

    def terms_of(pair: Pair, direction: Direction) -> Terms:
        return true_terms(pair, direction)._replace(proceeds_factor=1.0, cost_factor=1.0)

    patch.setattr(arbshard.risk.valuation, "terms_of", terms_of)


def a_restart_resets_the_high_water_mark(patch: pytest.MonkeyPatch) -> None:
    """Neither what is replayed nor what is stored keeps the mark from falling."""
    true_init, true_mark = Valuation.__init__, EquityState.mark

    def init(self: Valuation, state: PortfolioState) -> None:
        true_init(self, state)
        self._peak = self.equity

    def mark(self: EquityState, event: EquityMarked, realised: Decimal) -> None:
        true_mark(self, replace(event, high_water=max(event.high_water, self.high_water)), realised)
        self.high_water = event.high_water

    patch.setattr(Valuation, "__init__", init)
    patch.setattr(Valuation, "high_water", property(lambda self: self._peak))
    patch.setattr(EquityState, "mark", mark)


def the_money_of_the_way_out_is_not_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WaysOut, "_of_pair", lambda self, base: ())
    patch.setattr(WaysOut, "of_entry", lambda self, intent, pair: ())


def a_pair_that_is_set_apart_ends_its_worker(patch: pytest.MonkeyPatch) -> None:
    """As it was once: a report that risk would not book ended the worker, and each of its successors."""
    true_set_apart = RiskLink.set_apart

    async def set_apart(self: RiskLink, *args: Any) -> None:
        await true_set_apart(self, *args)
        raise RuntimeError("risk has refused a report")

    patch.setattr(RiskLink, "set_apart", set_apart)


# No other mutation of the gate breaks the invariants of the first and the third: tests/cases/test_bounded_losses.py
# finds both defects there.
MUTATIONS = (
    Mutation(exits_in_vain_are_repeated_at_once, _REFUSALS, "waste|repeats|probe|left over", is_nightly=True),
    Mutation(entries_in_vain_are_repeated_at_once, _REFUSALS, "repeats|event"),
    Mutation(the_leg_that_failed_is_not_tried_first, _REFUSALS, "probe|left over", is_nightly=True),
    Mutation(nobody_is_asked_about_a_stuck_intent, "pair_refuses", "stuck", seed=7),
    Mutation(stuck_intents_do_not_pause, "pair_refuses", "repeats"),
    Mutation(a_naked_leg_waits_for_the_venue_that_refuses, _REFUSALS, "budget|stuck|repeats"),
    Mutation(orders_may_lose_anything, "pair_refuses", "loss"),
    Mutation(pairs_that_wait_for_a_person_go_on, "pair_refuses", "apart", seed=2),
    Mutation(equity_lacks_what_is_unrealised, "", "equity"),
    Mutation(open_positions_are_valued_without_the_fees_of_closing, "", "equity", is_nightly=True),
    Mutation(a_restart_resets_the_high_water_mark, "kill_risk", "high water"),
    Mutation(the_money_of_the_way_out_is_not_held, "", "way out", seed=3),
    Mutation(a_pair_that_is_set_apart_ends_its_worker, "pair_refuses", "defect"),
    Mutation(refusing_venues_are_entered, "venue_refuses,market_closes", "facts|event"),
)


@each(MUTATIONS)
def test_a_broken_rule_is_found(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.find(monkeypatch)
