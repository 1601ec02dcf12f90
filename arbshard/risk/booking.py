"""What a worker's word on an open intent becomes: the events to book, or why it is refused. Pure; called by ``core``.

Nothing here looks anything up; a word that says nothing new becomes no event.
"""

from collections.abc import Callable
from decimal import Decimal

from arbshard.ledger.events import (
    Event,
    Hold,
    IntentConcluded,
    OrderExtended,
    OrderReported,
    PositionStatement,
)
from arbshard.model.market import Pair
from arbshard.model.order import FINAL_STATES
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.risk import forms
from arbshard.risk.objection import Moment, Objection
from arbshard.risk.portfolio.settlement import settle, value_other_fees
from arbshard.risk.portfolio.state import statement_kind
from arbshard.risk.portfolio.trade import Trade, hold_for
from arbshard.wire.messages import Conclude, Extend, Report

Available = Callable[[str, str], Decimal]
"""Of (venue, currency): what a new order may spend."""


def book_extension(
    request: Extend, trade: Trade, pair: Pair, available: Available, now_ms: int
) -> list[Event] | Objection:
    """One more order. It holds what it can spend, or as much of that as is free: it reduces exposure and may go."""
    order = request.order
    known = trade.result(order.client_id)
    if known is not None and known.order == order:
        return []
    problem = forms.extension_problem(order, trade, pair)
    if known is not None or problem is not None:
        return Objection(Refusal.MALFORMED, problem or f"{order.client_id} is another order")
    wanted = hold_for(order, pair.leg(order.market.venue))
    amount = min(wanted.amount, available(wanted.venue, wanted.currency))
    hold = Hold(wanted.client_id, wanted.venue, wanted.currency, amount)
    return [OrderExtended(at_ms=now_ms, intent_id=request.intent_id, pair=pair.base, order=order, hold=hold)]


def book_report(request: Report, trade: Trade, now_ms: int) -> list[Event] | Objection:
    """How an order stands, and its fills that are not booked yet."""
    result = request.result
    problem = forms.report_problem(result, trade)
    known = trade.result(result.order.client_id)
    if problem is not None or known is None:
        return Objection(Refusal.MALFORMED, problem or f"{result.order.client_id} is not of this intent")
    fills = forms.new_fills(result, trade)
    # What is final stays so; a fill that was heard of late is booked all the same.
    state = known.state if known.state in FINAL_STATES else result.state
    if not fills and state == known.state:
        return []
    return [
        OrderReported(
            at_ms=now_ms,
            intent_id=request.intent_id,
            pair=trade.intent.pair,
            client_id=result.order.client_id,
            state=state,
            detail=known.detail if known.is_final else result.detail,
            decision_price=result.decision_price or known.decision_price,
            fills=fills,
        )
    ]


def book_conclusion(
    request: Conclude, trade: Trade, pair: Pair, before: Position | None, moment: Moment
) -> tuple[Position | None, list[Event]] | Objection:
    """The position that the intent leaves, and the events. ``before``: the one that an exit closes."""
    problem = _conclusion_problem(request, trade)
    if problem is not None:
        return Objection(Refusal.MALFORMED, problem)
    now_ms, other_fees = moment.now_ms, value_other_fees(trade, pair)
    position = settle(
        trade, before, request.mark, request.fx, done=request.done, now_ms=now_ms, other_fees=other_fees
    )
    events: list[Event] = [
        IntentConcluded(
            at_ms=now_ms,
            intent_id=request.intent_id,
            pair=pair.base,
            mark=request.mark,
            fx=request.fx,
            done=request.done,
            position_id=position.position_id if position is not None else "",
            position_state=position.state if position is not None else None,
            day=moment.day,
            other_fees=other_fees,
        )
    ]
    if position is not None:
        kind: type[PositionStatement] = statement_kind(position, is_new=before is None)
        events.append(kind(at_ms=now_ms, intent_id=request.intent_id, position=position))
    return position, events


def _conclusion_problem(request: Conclude, trade: Trade) -> str | None:
    if not forms.is_positive(request.mark):
        return f"mark {request.mark} is no price"
    waiting = trade.unfinished()
    if waiting is not None:
        return f"{waiting.order.client_id} is {waiting.state}, not final"
    return forms.fx_problem(request.fx)
