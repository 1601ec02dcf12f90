"""Checks whether a request makes sense: legs that belong together, amounts that are amounts. Pure.

Each function returns what is wrong as a sentence, or None. ``core`` calls it before anything is looked up.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from math import isfinite
from typing import NamedTuple

from arbshard.ledger.events import Event
from arbshard.model.intent import FxQuote, Intent
from arbshard.model.market import Leg, Pair, reverse
from arbshard.model.money import BPS, MONEY_CONTEXT, ONE, ZERO, ceil_to
from arbshard.model.order import Fill, Order, OrderResult
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.holdings import Trade
from arbshard.wire.messages import CommandReply

_INTENT_ID = re.compile(r"s([0-9]+)-([0-9]+)-([0-9]+)-([0-9]+)")
_INTENT_ID_MAX = 24
_CURRENCY_MAX = 24
_CURRENCY = re.compile(rf"[^\s:]{{1,{_CURRENCY_MAX}}}")
"""Pattern of a currency: venues list coins with letters of any alphabet."""
_FOLLOW_UP = re.compile(r"-([ha])([1-9][0-9]*)")
_EXIT_SLACK = Decimal("1.01")
"""How many times what it holds an exit may trade, apart from one lot: the fee that is charged in the coin."""

# Wide enough for any market, narrow enough that 50 digits hold every product exactly.
_ADJUSTED_MAX = 20
_EXPONENT_MIN = -34


class Objection(NamedTuple):
    """Is the reason of a refusal of an intent, with its explanation."""

    reason: Refusal
    detail: str


class Moment(NamedTuple):
    """Holds the wall time and the monotonic time of a decision."""

    now_ms: int
    """Wall time in milliseconds."""
    now_ns: int
    """Monotonic time in nanoseconds."""
    day: int
    """Number of the trading day (``portfolio.results``)."""


CommandOutcome = tuple[CommandReply, list[Event]]
"""The reply to a person's command or to a statement of a venue, and the events to store before it is sent."""


def is_amount(value: Decimal) -> bool:
    """Return whether ``value`` is finite, not negative, and of a size that is calculated exactly."""
    if not value.is_finite() or value < 0:
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= _EXPONENT_MIN and value.adjusted() <= _ADJUSTED_MAX


def is_positive(value: Decimal) -> bool:
    """Return whether ``value`` is an amount above 0."""
    return is_amount(value) and value > 0


def is_currency(name: str) -> bool:
    """Return whether ``name`` could be a venue's name of a coin or money."""
    return _CURRENCY.fullmatch(name) is not None


def fx_problem(fx: FxQuote) -> str | None:
    """Return what is wrong with a rate, or None."""
    if is_positive(fx.bid) and is_positive(fx.ask):
        return None
    return f"fx {fx.bid} / {fx.ask} is not a rate"


def id_problem(intent_id: str, shard: int, epoch: int) -> str | None:
    """Return what is wrong with the id of an intent that this incarnation of a shard submits, or None."""
    named = _INTENT_ID.fullmatch(intent_id)
    if named is None or len(intent_id) > _INTENT_ID_MAX:
        return f"{intent_id[:_INTENT_ID_MAX]!r} is not an intent id"
    if (int(named[2]), int(named[3])) != (shard, epoch):
        return f"{intent_id} is not an id of shard {shard}, epoch {epoch}"
    return None


def maker_of(intent_id: str) -> tuple[int, int] | None:
    """Return (shard, epoch) of the worker that made an intent; None for an invalid id."""
    named = _INTENT_ID.fullmatch(intent_id)
    return (int(named[2]), int(named[3])) if named is not None else None


def intent_problem(intent: Intent, pair: Pair) -> str | None:
    """Return what is wrong with an intent of ``pair``, apart from its id, or None."""
    return (
        fx_problem(intent.fx)
        or _leg_problem(intent, intent.home, pair.home, "h")
        or _leg_problem(intent, intent.away, pair.away, "a")
        or _shape_problem(intent)
    )


def exit_problem(intent: Intent, pair: Pair, position: Position) -> str | None:
    """Return what is wrong with an exit of ``position``, apart from the intent itself."""
    if position.pair != intent.pair:
        return f"{position.position_id} is a position of {position.pair}"
    if intent.direction != reverse(position.direction):
        return f"{intent.direction} does not close a position entered by {position.direction}"
    for order, leg in ((intent.home, pair.home), (intent.away, pair.away)):
        held = max(ZERO, position.long_base if order.side == "sell" else position.short_base)
        most = held * _EXIT_SLACK + leg.rules.lot
        if order.quantity > most:
            return f"{order.client_id} trades {order.quantity}, the position has {held}"
    return None


def extension_problem(
    order: Order,
    trade: Trade,
    pair: Pair,
    before: Position | None,
    residue: Decimal,
    late: Iterable[Fill] = (),
) -> str | None:
    """Return what is wrong with a hedge or unwind of ``trade``: it takes away what is out of balance, and no more.

    Or it takes back what was traded on both venues beyond what there was. ``before``, ``residue``: the position that
    an exit closes, and the base that earlier positions of its pair have left over. ``late``: fills that were booked
    after the end of their orders, of which the worker may not know.
    """
    home = order.market == pair.home.market
    if not home and order.market != pair.away.market:
        return f"{order.market} is not a market of {pair.base}"
    prefix = trade.intent.intent_id
    named = _FOLLOW_UP.fullmatch(order.client_id.removeprefix(prefix))
    if not order.client_id.startswith(prefix) or named is None or (named[1] == "h") != home:
        return f"{order.client_id} does not name a further order of {prefix} on {order.market.venue}"
    if order.role == "leg":
        return f"{order.client_id} is neither hedge nor unwind"
    problem = _amounts_problem(order)
    if problem is not None:
        return problem
    bases = [before.flows.home_base, before.flows.away_base] if before is not None else [ZERO, ZERO]
    for fill in trade.fills():
        bases[fill.market != pair.home.market] += _base_change(fill)
    imbalance = sum(bases, residue)
    leg = pair.home if home else pair.away
    as_known = imbalance - sum(map(_base_change, late), ZERO)
    turned = _turned(trade.intent, bases[0], bases[1], residue)[0 if home else 1]
    if any(_takes_away(order, excess, leg) for excess in (imbalance, as_known, turned)):
        return None
    return f"{order.client_id}: {order.side} {order.quantity} does not take away an imbalance of {imbalance}"


def _turned(
    intent: Intent, home_base: Decimal, away_base: Decimal, residue: Decimal
) -> tuple[Decimal, Decimal]:
    """Return what is too much (negative: too little) on each venue because both legs went beyond what there was."""
    enters_home = (intent.direction == "buy_home") == (intent.kind == "entry")
    sign = 1 if enters_home else -1
    beyond = max(min(-sign * home_base, sign * away_base) - abs(residue), ZERO)
    return -sign * beyond, sign * beyond


def _base_change(fill: Fill) -> Decimal:
    """Return the change of the base balance by the fill, a fee taken in the coin included."""
    return sum((amount for currency, amount in fill.changes() if currency == fill.market.base), ZERO)


def _takes_away(order: Order, excess: Decimal, leg: Leg) -> bool:
    """Return whether ``order`` makes the excess (negative: the shortage) of base smaller, beyond zero by a lot at
    most.
    """
    if not excess or order.side != ("sell" if excess > 0 else "buy"):
        return False
    is_kept = order.side == "buy" and leg.fees.buy_fee_in_base
    kept = ONE - leg.fees.buy_bps / BPS if is_kept else ONE
    return order.quantity <= ceil_to(MONEY_CONTEXT.divide(abs(excess), kept), leg.rules.lot)


def report_problem(result: OrderResult, trade: Trade) -> str | None:
    """Return what is wrong with a report of an order of ``trade``, or None."""
    order = result.order
    known = trade.result(order.client_id)
    if known is None or known.order != order:
        return f"{order.client_id} is not the order that was approved"
    if not is_amount(result.decision_price):
        return f"{order.client_id}: decision price {result.decision_price} is not a price"
    executed = known.filled
    seen: set[str] = set()
    for fill in result.fills:
        problem = _fill_problem(fill, order)
        if problem is not None:
            return problem
        booked = trade.find_fill(fill.fill_id)
        if booked is not None and booked != fill:
            return f"fill {fill.fill_id} was booked with other figures"
        if fill.fill_id in seen:
            return f"fill {fill.fill_id} is reported twice in one report"
        seen.add(fill.fill_id)
        executed += ZERO if booked is not None else fill.quantity
    if executed > order.quantity:
        return f"{order.client_id}: {executed} executed of {order.quantity} ordered"
    if result.state == "FILLED" and executed != order.quantity:  # to conclude on this would lose the fill
        return f"{order.client_id} is called FILLED with {executed} executed of {order.quantity}"
    return None


def new_fills(result: OrderResult, trade: Trade) -> tuple[Fill, ...]:
    """Return the fills of a report that are not booked yet."""
    return tuple(fill for fill in result.fills if trade.find_fill(fill.fill_id) is None)


def _leg_problem(intent: Intent, order: Order, leg: Leg, letter: str) -> str | None:
    if order.market != leg.market:
        return f"{order.market} is not the pair's market {leg.market}"
    if order.client_id != f"{intent.intent_id}-{letter}0":
        return f"{order.client_id} is not the name of this leg"
    if order.role != "leg":
        return f"{order.client_id} is a {order.role}, not a leg"
    return _amounts_problem(order)


def _amounts_problem(order: Order) -> str | None:
    for name, value in (("quantity", order.quantity), ("limit", order.limit)):
        if not is_positive(value):
            return f"{order.client_id}: {name} {value} is not positive"
    return None


def _shape_problem(intent: Intent) -> str | None:
    bought = "buy" if intent.direction == "buy_home" else "sell"
    if intent.home.side != bought or intent.away.side == intent.home.side:
        return f"{intent.direction} with home {intent.home.side} and away {intent.away.side}"
    if (intent.kind == "entry") != (intent.reason == "net_edge"):
        return f"{intent.reason} is not a reason for an {intent.kind}"
    if (intent.kind == "entry") != (intent.position_id == intent.intent_id):
        return f"{intent.position_id} cannot be the position of this {intent.kind}"
    if not isfinite(intent.edge_bps):
        return f"edge {intent.edge_bps} is not a number"
    return None


def _fill_problem(fill: Fill, order: Order) -> str | None:
    if (fill.client_id, fill.market, fill.side) != (order.client_id, order.market, order.side):
        return f"fill {fill.fill_id} is not of {order.client_id}"
    if not fill.fill_id:
        return f"a fill of {order.client_id} has no id"
    if not (is_positive(fill.quantity) and is_positive(fill.price) and is_amount(fill.fee)):
        return f"fill {fill.fill_id}: {fill.quantity} at {fill.price}, fee {fill.fee}"
    if not is_currency(fill.fee_currency):
        return f"fill {fill.fill_id}: {fill.fee_currency[:_CURRENCY_MAX]!r} is not a currency"
    return None
