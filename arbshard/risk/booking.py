"""Decides which events a request becomes, or why it is refused, and what a paper ledger is given. Pure; ``core``
calls it.

Everything is passed in. A report without news becomes no event. A paper ledger is given money at its first start,
and coins when a pair's price is known.
"""

from collections.abc import Iterable
from decimal import ROUND_FLOOR, Decimal

from arbshard.config import PaperConfig
from arbshard.ledger.events import (
    Deposited,
    Event,
    Hold,
    IntentConcluded,
    OrderExtended,
    OrderReported,
    PositionStatement,
)
from arbshard.model.market import Pair
from arbshard.model.money import MONEY_CONTEXT, plain
from arbshard.model.order import FINAL_STATES, Fill
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.model.universe import Universe
from arbshard.risk import validation as forms
from arbshard.risk.limits.guard import amount_of
from arbshard.risk.portfolio.holdings import Balances, Trade, hold_for
from arbshard.risk.portfolio.settlement import settle, value_other_fees
from arbshard.risk.portfolio.state import statement_kind
from arbshard.risk.validation import Moment, Objection
from arbshard.wire.messages import Available, Conclude, Extend, Report

_COIN_STEP = Decimal("1e-8")


def book_extension(
    request: Extend,
    trade: Trade,
    pair: Pair,
    available: Available,
    now_ms: int,
    *,
    before: Position | None,
    residue: Decimal,
    late: Iterable[Fill],
    is_paper: bool,
) -> OrderExtended | Objection | None:
    """Return the event of one more order; None when it is known, or the objection to it.

    ``before``, ``residue``, ``late``: see ``extension_problem``. The order reduces exposure, so live it holds what
    it can spend, or as much of that as is ``available``: the venue decides whether that suffices. On paper no venue
    decides it, so what is not available is not spent.
    """
    order = request.order
    known = trade.result(order.client_id)
    if known is not None and known.order == order:
        return None
    problem = forms.extension_problem(order, trade, pair, before, residue, late)
    if known is not None or problem is not None:
        return Objection(Refusal.MALFORMED, problem or f"{order.client_id} is another order")
    wanted = hold_for(order, pair.leg(order.market.venue))
    free = amount_of(available, wanted.venue, wanted.currency)
    if is_paper and wanted.amount > free:
        needed = f"{plain(wanted.amount)} needed, {plain(free)} free"
        return Objection(Refusal.BALANCE, f"{wanted.venue} {wanted.currency}: {needed}")
    amount = min(wanted.amount, free)
    hold = Hold(wanted.client_id, wanted.venue, wanted.currency, amount)
    return OrderExtended(at_ms=now_ms, intent_id=request.intent_id, pair=pair.base, order=order, hold=hold)


def book_report(request: Report, trade: Trade, now_ms: int) -> list[Event] | Objection:
    """Return the events that book the state of an order and its fills that are not booked yet, or an objection."""
    result = request.result
    problem = forms.report_problem(result, trade)
    known = trade.result(result.order.client_id)
    if problem is not None or known is None:
        return Objection(Refusal.MALFORMED, problem or f"{result.order.client_id} is not of this intent")
    fills = forms.new_fills(result, trade)
    # A final state stays; a fill that is reported late is booked all the same.
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
            fault=known.fault if known.is_final else result.fault,
            matched_ns=result.matched_ns,
            book_ns=result.book_ns,
        )
    ]


def book_conclusion(
    request: Conclude,
    trade: Trade,
    pair: Pair,
    before: Position | None,
    moment: Moment,
    away_cost: Decimal | None,
) -> tuple[Position | None, list[Event]] | Objection:
    """Return the position that the intent leaves and the events, or an objection.

    ``before`` is the position that an exit closes, ``away_cost`` is what ``settlement.away_cost_after`` returned for
    it.
    """
    problem = _conclusion_problem(request, trade)
    if problem is not None:
        return Objection(Refusal.MALFORMED, problem)
    return _concluded(request, trade, pair, before, moment, away_cost)


def book_ending(
    trade: Trade,
    pair: Pair,
    before: Position | None,
    reason: str,
    moment: Moment,
    away_cost: Decimal | None,
) -> tuple[Position | None, list[Event]]:
    """Return the position that an intent leaves and the events that end it by a person's order.

    Nothing more is expected of its unfinished orders.
    """
    intent = trade.intent
    ended: list[Event] = [
        OrderReported(
            at_ms=moment.now_ms,
            intent_id=intent.intent_id,
            pair=intent.pair,
            client_id=result.order.client_id,
            state="EXPIRED",
            detail=f"ended by hand: {reason}",
            decision_price=result.decision_price,
            fills=(),
        )
        for result in trade.orders
        if not result.is_final
    ]
    request = Conclude(0, 0, intent.intent_id, intent.home.limit, intent.fx, done=True)
    position, events = _concluded(request, trade, pair, before, moment, away_cost)
    return position, ended + events


def _concluded(
    request: Conclude,
    trade: Trade,
    pair: Pair,
    before: Position | None,
    moment: Moment,
    away_cost: Decimal | None,
) -> tuple[Position | None, list[Event]]:
    now_ms, other_fees = moment.now_ms, value_other_fees(trade, pair)
    position = settle(
        trade,
        before,
        request.mark,
        request.fx,
        done=request.done,
        now_ms=now_ms,
        other_fees=other_fees,
        away_cost=away_cost,
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


def opening_deposits(
    universe: Universe, paper: PaperConfig, balances: Balances, now_ms: int
) -> list[Deposited]:
    """Return an opening balance for every quote currency that has none."""
    amounts = {
        (leg.market.venue, leg.market.quote): amount
        for pair in universe.pairs
        for leg, amount in ((pair.home, paper.quote_home), (pair.away, paper.quote_away))
    }
    return [
        Deposited(at_ms=now_ms, venue=venue, currency=currency, amount=amount, why="opening")
        for (venue, currency), amount in amounts.items()
        if (venue, currency) not in balances
    ]


def inventory_deposits(pair: Pair, home_price: Decimal, paper: PaperConfig, now_ms: int) -> list[Deposited]:
    """Return deposits of coins worth ``inventory_notional`` at ``home_price`` on each of the pair's venues."""
    coins = MONEY_CONTEXT.divide(paper.inventory_notional, home_price)
    amount = coins.quantize(_COIN_STEP, ROUND_FLOOR, MONEY_CONTEXT)
    return [
        Deposited(
            at_ms=now_ms,
            venue=leg.market.venue,
            currency=leg.market.base,
            amount=amount,
            why="inventory",
            pair=pair.base,
        )
        for leg in (pair.home, pair.away)
    ]


def _conclusion_problem(request: Conclude, trade: Trade) -> str | None:
    if not forms.is_positive(request.mark):
        return f"mark {request.mark} is not a price"
    waiting = trade.unfinished()
    if waiting is not None:
        return f"{waiting.order.client_id} is {waiting.state}, not final"
    return forms.fx_problem(request.fx)
