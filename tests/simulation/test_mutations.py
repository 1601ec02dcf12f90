"""Defects put into the product on purpose: the simulation must find each of them within a few seeds.

This is what says that an uneventful run is worth anything.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from msgspec.structs import replace

import arbshard.risk.core
from arbshard.engine import engine as engine_module
from arbshard.engine.quality import Quality, View
from arbshard.engine.quality import doubt as true_doubt
from arbshard.ledger.events import Event, IntentApproved, ShardJoined
from arbshard.model.silence import SilenceWatch
from arbshard.risk.limits import RiskGuard
from arbshard.risk.portfolio import PortfolioState
from arbshard.risk.service import RiskService
from arbshard.risk.workers import WorkerWatch
from arbshard.simulation.machine import Simulation
from arbshard.simulation.settings import Settings
from arbshard.simulation.worker import Surroundings
from arbshard.worker.desk import Desk
from arbshard.worker.fence import Fence
from arbshard.worker.standing_orders import StandingOrders
from supervisor.feeds.fanout import VenueFanout
from supervisor.processes.child import Child
from supervisor.processes.tree import Tree

SEEDS = range(1, 7)

Break = Callable[[pytest.MonkeyPatch], None]


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
    def doubt(home: View, away: View, fx: View, now_ns: int, quality: Quality):
        return true_doubt(home, away, fx, now_ns, Quality(2**62, 2**62, 2**62))

    patch.setattr(engine_module, "doubt", doubt)


def losses_not_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(VenueFanout, "lose", lambda self, *args, **kwargs: None)


def no_portfolio_limits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RiskGuard, "check_trade_allowed_for_portfolio", lambda self, *args: None)


def halts_not_heeded(patch: pytest.MonkeyPatch) -> None:
    take = StandingOrders.take
    patch.setattr(StandingOrders, "take", lambda self, said: take(self, replace(said, halted=False)))
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
    patch.setattr(arbshard.risk.core, "is_open", lambda state, intent: False)


def fills_counted_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arbshard.risk.forms, "new_fills", lambda result, trade: result.fills)


def orphans_live_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Surroundings, "is_orphan", lambda self: False)


def silence_is_not_heeded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SilenceWatch, "look", lambda self, beat_ns, now_ns: False)


def stuck_is_not_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkerWatch, "look", lambda self, now_ns, shards: {})


def refusals_are_not_caught(patch: pytest.MonkeyPatch) -> None:
    def raise_it(self: Tree, child: Child, error: OSError, now_ns: int) -> None:
        raise error

    patch.setattr(Tree, "_on_refusal", raise_it)


class Mutation(NamedTuple):
    break_it: Break
    faults: str
    """Kinds that bring it to light; empty for none."""
    says: str
    """What the violation begins with, one of several."""


MUTATIONS = (
    Mutation(no_epoch_check, "wake_fenced", "fencing|defect"),
    Mutation(no_rollback, "disk_full", "rollback"),
    Mutation(reply_before_commit, "", "ledger first"),
    Mutation(no_age_check, "stall,slow_frames", "stale data"),
    Mutation(losses_not_told, "outage,cut", "stale data"),
    Mutation(no_portfolio_limits, "", "limits"),
    Mutation(halts_not_heeded, "command", "halt|event"),
    Mutation(open_intents_forgotten, "kill_worker_at", "liveness"),
    Mutation(joins_not_stored, "kill_risk", "replay"),
    Mutation(repeats_are_new, "slow_requests,lossy", "liveness|defect"),
    Mutation(fills_counted_again, "slow_requests,lossy", "replay"),
    Mutation(orphans_live_on, "kill_supervisor", "orphans"),
    Mutation(silence_is_not_heeded, "stop_supervisor", "silence"),
    Mutation(stuck_is_not_seen, "stop_worker", "liveness"),
    Mutation(refusals_are_not_caught, "no_room", "defect"),
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.break_it.__name__)
def test_a_broken_system_is_found_out(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.break_it(monkeypatch)
    only = tuple(mutation.faults.split(",")) if mutation.faults else ()
    for seed in SEEDS:
        level = "heavy" if only else "none"
        report = Simulation(Settings(seed, hours=0.2, faults=level, only=only)).run()
        if report.violations:
            assert report.violations[0].startswith(tuple(mutation.says.split("|"))), report.violations
            return
    pytest.fail(f"not found with seeds {list(SEEDS)}")
