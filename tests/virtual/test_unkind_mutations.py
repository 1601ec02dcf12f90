"""Defects put into the rules against unkind exchanges: the simulation must find each within a few seeds."""

import pytest
from msgspec.structs import replace

import arbshard.risk.core
from arbshard.config import ExecutionConfig
from arbshard.execution.executor import BaseExecutor
from arbshard.execution.two_leg import Books, StateEvent, TwoLeg
from arbshard.model.intent import IntentKind, Retry
from arbshard.model.market import Leg
from arbshard.model.refusal import Refusal
from arbshard.risk.limits.guard import RiskGuard
from arbshard.risk.portfolio.attempts import Attempts
from arbshard.risk.validation import Objection
from arbshard.worker.standing_orders import StandingOrders
from support.mutations import Mutation

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


MUTATIONS = (
    Mutation(exits_in_vain_are_repeated_at_once, _REFUSALS, "waste|repeats|probe|left over"),
    Mutation(entries_in_vain_are_repeated_at_once, _REFUSALS, "repeats|event"),
    Mutation(the_leg_that_failed_is_not_tried_first, _REFUSALS, "probe|left over"),
    Mutation(nobody_is_asked_about_a_stuck_intent, "pair_refuses", "stuck"),
    Mutation(stuck_intents_do_not_pause, "pair_refuses", "repeats"),
    Mutation(a_naked_leg_waits_for_the_venue_that_refuses, _REFUSALS, "budget|stuck|repeats"),
    Mutation(orders_may_lose_anything, "pair_refuses", "loss"),
    Mutation(pairs_that_wait_for_a_person_go_on, "pair_refuses", "apart"),
    Mutation(refusing_venues_are_entered, "venue_refuses,market_closes", "facts|event"),
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.break_it.__name__)
def test_a_broken_rule_is_found(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.find(monkeypatch)
