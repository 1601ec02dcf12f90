"""Whether an intent may be traded: its id, then its form, then the limits. Pure; called by ``core``."""

from arbshard.model.intent import Intent
from arbshard.model.market import Pair
from arbshard.model.refusal import Refusal
from arbshard.risk import forms
from arbshard.risk.limits.guard import RiskGuard
from arbshard.risk.limits.refusals import RefusalLog
from arbshard.risk.objection import Moment, Objection
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.wire.messages import Submit


def is_open(state: PortfolioState, intent: Intent) -> bool:
    """Whether this very intent was approved and has no outcome: a repeat, to be approved again."""
    trade = state.trades.get(intent.intent_id)
    return trade is not None and trade.intent == intent


def id_objection(state: PortfolioState, refusals: RefusalLog, request: Submit) -> Objection | None:
    """Why the intent's id cannot be that of a new intent; a refusal that is known is given again."""
    intent_id = request.intent.intent_id
    problem = forms.id_problem(intent_id, request.shard, request.epoch)
    if problem is not None:
        return Objection(Refusal.MALFORMED, problem)
    if intent_id in state.trades:
        return Objection(Refusal.MALFORMED, f"{intent_id} is another intent")
    before = state.refusals.get(intent_id)
    if before is not None:
        return Objection(before.reason, before.detail)
    answered = refusals.answer(intent_id)
    if answered is not None:
        return answered
    prefix, _, number = intent_id.rpartition("-")
    if intent_id in state.outcomes or int(number) <= state.spent.get(prefix, 0):
        # To approve it again would have its orders sent again.
        return Objection(Refusal.MALFORMED, f"{intent_id} is over")
    return None


def objection_to(
    intent: Intent,
    pair: Pair | None,
    state: PortfolioState,
    guard: RiskGuard,
    moment: Moment,
    expiry_ms: float,
    *,
    draining: bool,
) -> Objection | None:
    """Why a new intent is refused, None when it may be traded.

    ``expiry_ms``: how old an entry's decision may be. ``draining``: the run is ending, only exits are let through.
    """
    if pair is None:
        return Objection(Refusal.UNKNOWN_PAIR, f"{intent.pair} is not traded in this run")
    problem = forms.intent_problem(intent, pair)
    if problem is not None:
        return Objection(Refusal.MALFORMED, problem)
    is_entry = intent.kind == "entry"
    if not is_entry:
        position = state.positions.get(intent.position_id)
        if position is None:
            return Objection(Refusal.UNKNOWN_POSITION, f"{intent.position_id} is not open")
        problem = forms.exit_problem(intent, pair, position)
        if problem is not None:
            return Objection(Refusal.MALFORMED, problem)
    objection = guard.check_trade_allowed(intent, pair, moment, draining=draining)
    if objection is not None:
        return objection
    age_ms = moment.now_ms - intent.decided_ms
    if is_entry and age_ms > expiry_ms:
        return Objection(Refusal.EXPIRED, f"decided {age_ms} ms ago")
    return None
