"""Defects put into the product on purpose: the simulation must find each of them within a few seeds.

This is what says that an uneventful run is worth anything.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

import arbshard.execution.executor as executor_module
import arbshard.risk.core
import arbshard.risk.limits.guard
import arbshard.risk.portfolio.state
import arbshard.worker.loop
from arbshard.config import Config
from arbshard.engine import engine as engine_module
from arbshard.engine.quality import Quality, View
from arbshard.engine.quality import data_refusal as true_doubt
from arbshard.execution import plan
from arbshard.execution.executor import BaseExecutor, PaperExecutor
from arbshard.execution.two_leg import TwoLeg
from arbshard.ledger.events import Event, IntentApproved, ShardJoined
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.intent import FxQuote, Intent
from arbshard.model.market import Leg, MarketRules, Side
from arbshard.model.money import ONE, ceil_to
from arbshard.model.order import Order
from arbshard.model.refusal import Refusal
from arbshard.model.silence import SilenceWatch
from arbshard.model.universe import Universe
from arbshard.risk.core import RiskCore
from arbshard.risk.limits.guard import RiskGuard
from arbshard.risk.portfolio import settlement
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.service import RiskService
from arbshard.risk.shards.workers import WorkerWatch
from arbshard.virtual import costs
from arbshard.virtual.system import VirtualSupervisor
from arbshard.virtual.worker import VirtualSurroundings
from arbshard.wire.messages import Conclude, Extend, Report
from arbshard.worker.desk import Desk
from arbshard.worker.fence import Fence
from arbshard.worker.standing_orders import StandingOrders
from supervisor.feeds.fanout import VenueFanout
from supervisor.processes.child import Child
from supervisor.processes.process_supervisor import ProcessSupervisor
from support.mutations import Break, Mutation, each


def no_epoch_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arbshard.risk.core, "objection_to_speaker", lambda known, request: None)
    patch.setattr(Fence, "is_fenced", lambda self: False)


def no_rollback(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PortfolioState, "rollback", lambda self: None)


def reply_before_commit(patch: pytest.MonkeyPatch) -> None:
    keep = RiskService._keep

    def late(self: RiskService, events: list[Event]) -> None:
        waiting = [*self.__dict__.pop("waiting", []), *events]
        if any(isinstance(event, IntentApproved) for event in events):
            self.__dict__["waiting"] = waiting
        else:
            keep(self, waiting)

    patch.setattr(RiskService, "_keep", late)


def no_age_check(patch: pytest.MonkeyPatch) -> None:
    def doubt(home: View, away: View, fx: View, now_ns: int, quality: Quality, confirmed: object = None):
        return true_doubt(home, away, fx, now_ns, Quality(2**62, 2**62, 2**62))

    patch.setattr(engine_module, "data_refusal", doubt)


def losses_not_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(VenueFanout, "mark_down", lambda self, *args, **kwargs: None)


def no_portfolio_limits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RiskGuard, "check_trade_allowed_for_portfolio", lambda self, *args: None)


def halts_not_heeded(patch: pytest.MonkeyPatch) -> None:
    take = StandingOrders.apply
    patch.setattr(StandingOrders, "apply", lambda self, said: take(self, replace(said, halted=False)))
    patch.setattr(RiskGuard, "check_halt", lambda self, symbol: None)


def open_intents_forgotten(patch: pytest.MonkeyPatch) -> None:
    adopt = Desk.adopt
    patch.setattr(
        Desk, "adopt", lambda self, welcome, bases: adopt(self, replace(welcome, intents=()), bases)
    )


def joins_not_stored(patch: pytest.MonkeyPatch) -> None:
    keep = RiskService._keep
    patch.setattr(
        RiskService,
        "_keep",
        lambda self, events: keep(self, [one for one in events if not isinstance(one, ShardJoined)]),
    )


def repeats_are_new(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RiskCore, "_is_repeat", lambda self, intent: False)


def fills_counted_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arbshard.risk.validation, "new_fills", lambda result, trade: result.fills)


def orphans_live_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(VirtualSurroundings, "is_orphan", lambda self: False)


def silence_is_not_heeded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SilenceWatch, "update", lambda self, beat_ns, back_ns, now_ns: False)


def silence_before_the_start_is_not_heeded(patch: pytest.MonkeyPatch) -> None:
    update = SilenceWatch.update
    old: dict[SilenceWatch, int] = {}

    def without_old(self: SilenceWatch, beat_ns: int, back_ns: int, now_ns: int) -> bool:
        return update(self, beat_ns, 0 if back_ns == old.setdefault(self, back_ns) else back_ns, now_ns)

    patch.setattr(SilenceWatch, "update", without_old)


def late_executions_are_not_reckoned_with(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PaperExecutor, "_on_late_fill", lambda self, intent_id, result: None)


def what_was_traded_twice_is_traded_on_the_other_venue_too(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TwoLeg, "_room", Decimal(10**9))
    patch.setattr(TwoLeg, "turned", lambda *_: Decimal(0))  # which would take it back on both venues


def stuck_is_not_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkerWatch, "judge", lambda self, now_ns, shards: {})


def refusals_are_not_caught(patch: pytest.MonkeyPatch) -> None:
    def raise_it(self: ProcessSupervisor, child: Child, error: OSError, now_ns: int) -> None:
        raise error

    patch.setattr(ProcessSupervisor, "_on_refusal", raise_it)


# Of what the issue calls half blind: the oracle shared the arithmetic of what it checked.


def _plan_exit_with(patch: pytest.MonkeyPatch, within: Break) -> None:
    """Have the desk plan its exits while ``within`` is in force, and nothing else."""
    true_plan = plan.plan_exit

    def plan_exit(*args, **kwargs):
        with pytest.MonkeyPatch.context() as inner:
            within(inner)
            return true_plan(*args, **kwargs)

    patch.setattr(executor_module, "plan_exit", plan_exit)


def fee_in_coin_forgotten_on_exit(patch: pytest.MonkeyPatch) -> None:
    _plan_exit_with(patch, lambda inner: inner.setattr(plan, "base_kept", lambda leg: ONE))


def lot_rounded_up_on_exit(patch: pytest.MonkeyPatch) -> None:
    def round_up(self: MarketRules, quantity: Decimal) -> Decimal:
        return ceil_to(min(quantity, self.quantity_max), self.lot)

    _plan_exit_with(patch, lambda inner: inner.setattr(MarketRules, "round_quantity", round_up))


def hedge_on_the_wrong_side_after_two_partial_fills(patch: pytest.MonkeyPatch) -> None:
    true_imbalance = TwoLeg.imbalance

    def imbalance(self: TwoLeg) -> Decimal:
        legs = [one for one in self.results if one.order.role == "leg"]
        are_partial = all(0 < one.filled < one.order.quantity for one in legs)
        excess = true_imbalance.__get__(self)
        return -excess if are_partial and not self.follow_ups else excess

    patch.setattr(TwoLeg, "imbalance", property(imbalance))


def fill_told_after_the_end_dropped(patch: pytest.MonkeyPatch) -> None:
    true_report = arbshard.risk.core.book_report

    def book_report(request, trade, now_ms):
        known = trade.result(request.result.order.client_id)
        return [] if known is not None and known.is_final else true_report(request, trade, now_ms)

    patch.setattr(arbshard.risk.core, "book_report", book_report)


def _epoch_ignored_for(patch: pytest.MonkeyPatch, kind: type) -> None:
    true_objection = arbshard.risk.core.objection_to_speaker
    patch.setattr(
        arbshard.risk.core,
        "objection_to_speaker",
        lambda known, request: None if isinstance(request, kind) else true_objection(known, request),
    )


def epoch_ignored_for_extend(patch: pytest.MonkeyPatch) -> None:
    _epoch_ignored_for(patch, Extend)


def epoch_ignored_for_conclude(patch: pytest.MonkeyPatch) -> None:
    _epoch_ignored_for(patch, Conclude)


def epoch_ignored_for_report(patch: pytest.MonkeyPatch) -> None:
    _epoch_ignored_for(patch, Report)


def _notional_at_bid(intent: Intent) -> Decimal:
    if intent.home.side == "buy":
        return intent.home.quantity * intent.home.limit
    return intent.away.quantity * intent.away.limit * intent.fx.bid


def exposure_of_the_away_leg_at_the_bid(patch: pytest.MonkeyPatch) -> None:
    for module in (arbshard.risk.limits.guard, arbshard.risk.portfolio.state):
        patch.setattr(module, "notional_of", _notional_at_bid)


def orders_compared_with_limits_at_the_bid(patch: pytest.MonkeyPatch) -> None:
    # Workers that knew the room would not come close enough to the limits.
    patch.setattr(RiskGuard, "room", lambda *_: (Decimal(10**12), Refusal.ORDER_NOTIONAL))
    patch.setattr(arbshard.risk.limits.guard, "notional_of", _notional_at_bid)


def entries_valued_at_the_bid(patch: pytest.MonkeyPatch) -> None:
    true_opened = settlement._opened

    def opened(intent: Intent, *args):
        position = true_opened(intent, *args)
        if intent.direction == "buy_home":
            return position
        return replace(position, entry_notional=position.entry_notional * intent.fx.bid / intent.fx.ask)

    patch.setattr(settlement, "_opened", opened)


# One for each bound.


def hedges_a_third_at_a_time(patch: pytest.MonkeyPatch) -> None:
    true_order = TwoLeg._order

    def order(self: TwoLeg, leg: Leg, book: OrderBookSnapshot | None) -> Order | None:
        whole = true_order(self, leg, book)
        if whole is None:
            return None
        return replace(whole, quantity=max(leg.rules.round_quantity(whole.quantity / 3), leg.rules.lot))

    patch.setattr(TwoLeg, "_order", order)


def gives_up_while_an_order_is_possible(patch: pytest.MonkeyPatch) -> None:
    true_order = TwoLeg._order

    def order(self: TwoLeg, leg: Leg, book: OrderBookSnapshot | None) -> Order | None:
        found = true_order(self, leg, book)
        is_home = found is not None and leg is self._pair.home
        return None if found is not None and is_home and found.quantity * found.limit < 60_000 else found

    patch.setattr(TwoLeg, "_order", order)


def exit_slippage_in_the_wrong_unit(patch: pytest.MonkeyPatch) -> None:
    true_plan = plan.plan_exit

    def plan_exit(trade, position, intent_id, now_ms, execution, *args, **kwargs):
        far = replace(execution, exit_slippage_bps=execution.exit_slippage_bps * 100)
        return true_plan(trade, position, intent_id, now_ms, far, *args, **kwargs)

    patch.setattr(executor_module, "plan_exit", plan_exit)


def hedges_reach_ten_times_as_far(patch: pytest.MonkeyPatch) -> None:
    true_limit = TwoLeg._limit

    def limit(self: TwoLeg, leg: Leg, book: OrderBookSnapshot | None, side: Side) -> Decimal:
        near = true_limit(self, leg, book, side)
        if book is None:
            return near
        touch = Decimal(repr(book.best_ask if side == "buy" else book.best_bid))
        return touch + (near - touch) * 10

    patch.setattr(TwoLeg, "_limit", limit)


def hedges_wait_for_half_a_minute(patch: pytest.MonkeyPatch) -> None:
    true_send = BaseExecutor._send_all

    async def send_all(self, machine, orders):
        if any(order.role != "leg" for order in orders):
            await asyncio.sleep(30)
        await true_send(self, machine, orders)

    patch.setattr(BaseExecutor, "_send_all", send_all)


def left_over_base_valued_in_usdt(patch: pytest.MonkeyPatch) -> None:
    true_mark = BaseExecutor._mark
    patch.setattr(BaseExecutor, "_mark", lambda self, intent: round(true_mark(self, intent) / 1_450, 4))


def edge_without_the_fee_for_selling(patch: pytest.MonkeyPatch) -> None:
    true_terms = engine_module.terms_of
    patch.setattr(engine_module, "terms_of", lambda *args: true_terms(*args)._replace(proceeds_factor=1.0))


def better_side_of_the_fx_in_results(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FxQuote, "value", lambda self, amount: amount * (self.ask if amount >= 0 else self.bid))


def tracebacks_rendered_on_the_loop(patch: pytest.MonkeyPatch) -> None:
    """An error in the supervisor, rendered with all local variables, took this long."""

    true_find = VirtualSupervisor._find_universe

    async def find(self: VirtualSupervisor, config: Config, names: Sequence[str], *more: Any) -> Universe:
        if names:
            raise RuntimeError("the venue's certificates are gone")
        return await true_find(self, config, names, *more)

    patch.setattr(costs, "ERROR_NS", 1_900_000_000)
    patch.setattr(VirtualSupervisor, "_find_universe", find)


MUTATIONS = (
    Mutation(no_epoch_check, "wake_fenced", "fencing|defect"),
    Mutation(no_rollback, "disk_full", "rollback"),
    Mutation(reply_before_commit, "", "ledger first"),
    Mutation(no_age_check, "stall,slow_frames", "stale data"),
    Mutation(losses_not_told, "outage,cut", "stale data"),
    Mutation(no_portfolio_limits, "", "limits"),
    Mutation(halts_not_heeded, "command", "halt|event"),
    Mutation(open_intents_forgotten, "kill_worker_at", "liveness|naked"),
    Mutation(joins_not_stored, "kill_risk", "replay"),
    Mutation(repeats_are_new, "slow_requests,lossy", "liveness|defect", is_nightly=True),
    Mutation(fills_counted_again, "slow_requests,lossy", "replay"),
    Mutation(orphans_live_on, "kill_supervisor", "orphans"),
    Mutation(silence_is_not_heeded, "stop_supervisor", "silence"),
    Mutation(silence_before_the_start_is_not_heeded, "stop_supervisor", "silence", is_nightly=True),
    Mutation(stuck_is_not_seen, "stop_worker", "liveness"),
    Mutation(refusals_are_not_caught, "no_room", "defect"),
    Mutation(fee_in_coin_forgotten_on_exit, "", "plan"),
    Mutation(lot_rounded_up_on_exit, "", "plan"),
    Mutation(
        hedge_on_the_wrong_side_after_two_partial_fills, "", "budget|direction|naked", seed=2, is_nightly=True
    ),
    Mutation(fill_told_after_the_end_dropped, "late_fills", "fills"),
    Mutation(late_executions_are_not_reckoned_with, "late_fills", "residue"),
    Mutation(what_was_traded_twice_is_traded_on_the_other_venue_too, "late_fills", "turned"),
    Mutation(epoch_ignored_for_extend, "straggler", "fencing", is_nightly=True),
    Mutation(epoch_ignored_for_conclude, "straggler", "fencing"),
    Mutation(epoch_ignored_for_report, "straggler", "fencing", is_nightly=True),
    Mutation(exposure_of_the_away_leg_at_the_bid, "", "exposure"),
    Mutation(orders_compared_with_limits_at_the_bid, "command", "limits"),
    Mutation(entries_valued_at_the_bid, "", "exposure"),
    Mutation(hedges_a_third_at_a_time, "", "hedges"),
    Mutation(gives_up_while_an_order_is_possible, "", "residue", seed=12, is_nightly=True),
    Mutation(exit_slippage_in_the_wrong_unit, "", "cost"),
    Mutation(hedges_reach_ten_times_as_far, "", "cost"),
    Mutation(left_over_base_valued_in_usdt, "", "cost"),
    Mutation(hedges_wait_for_half_a_minute, "", "naked"),
    Mutation(edge_without_the_fee_for_selling, "", "promise"),
    Mutation(better_side_of_the_fx_in_results, "", "results"),
    Mutation(tracebacks_rendered_on_the_loop, "symbols", "slow"),
)


@each(MUTATIONS)
def test_a_broken_system_is_found_out(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.find(monkeypatch)
