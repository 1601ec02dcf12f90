"""Remembers trades of a pair that achieved nothing: what they cost, and how the next one may be made. Pure.

It is part of ``state.PortfolioState``, so a restart forgets none of it. An exit that one venue rejects is filled on
the other one and taken back there, which costs two fees and two spreads; repeated at once, it would cost more than
the position within an hour. So each such trade doubles the pause before the next one, and an exit sends the leg that
failed first and alone: as long as its venue refuses, nothing else is sent and nothing is paid. A first leg that
finds no price doubles the pause as well, and so do two legs of which neither found one: what is shown at the venues
may be out of reach for long. Only an exit of which nothing was sent is not remembered.
"""

from decimal import Decimal

import msgspec

from arbshard.config import ExecutionConfig
from arbshard.model.intent import FxQuote, IntentKind, LeadingLeg, Retry
from arbshard.model.money import ZERO
from arbshard.model.order import OrderResult
from arbshard.model.position import Position
from arbshard.risk.portfolio.holdings import Trade

_MOVED = Decimal("0.9")
"""An exit that leaves more than this share of the open quantity has moved nothing."""
_TESTED = Decimal("0.5")
"""An exit that sent one leg first has moved something when it closed more than this share of its quantity."""
_DOUBLINGS_MAX = 20


class Attempts(msgspec.Struct, frozen=True):
    """Says how many trades of one kind of a pair achieved nothing in a row, and what follows from that."""

    tries: int
    """How many of them achieved nothing, at a cost or against a refusal."""
    cost: Decimal = ZERO
    """What those exits cost the position, in reporting currency."""
    lead: LeadingLeg = "both"
    """Exits: the leg that failed last and has to be sent first."""
    is_small: bool = False
    """Exits: whether its venue refused it, so that the smallest order tests it first."""
    is_waiting: bool = True
    """Whether the next one waits; not after a test that the venue passed."""
    why: str = ""


def attempts_after(
    trade: Trade,
    before: Position | None,
    left: Position | None,
    known: Attempts | None,
    mark: Decimal,
    fx: FxQuote,
) -> Attempts | None:
    """Return what ``trade``, now concluded, makes of ``known``; None when nothing has to be remembered.

    ``before`` and ``left``: the position before and after it. ``mark`` (home quote per base) and ``fx`` value what it
    cost.
    """
    if trade.intent.kind == "entry":
        return _after_entry(trade, left, known)
    assert before is not None, trade.intent.intent_id
    assert left is not None, trade.intent.intent_id
    if left.state == "CLOSED":
        return None
    # A test that was taken back leaves a little less than before: what fees in coin and lots come to.
    tested = min(trade.intent.home.quantity, trade.intent.away.quantity) * _TESTED
    if left.quantity < before.quantity * _MOVED or (
        trade.intent.lead != "both" and before.quantity - left.quantity > tested
    ):
        # The venue accepts orders again. The rest is closed in the same way, without a pause.
        return _passed(known)
    if not any(map(_is_turned_away, trade.orders)):
        if not trade.fills():
            return _missed(trade, known)
        if _went_alone(trade):  # it was filled in part, by too little for a hedge: its venue accepts orders
            return _passed(known)
    lead, is_small = _failed_leg(trade)
    if known is not None and _went_alone(trade) and not trade.fills():
        # Only the leg that goes first was sent; that it never arrived, or met a busy venue, does not end its test.
        lead, is_small = trade.intent.lead, is_small or known.is_small
    cost = max(ZERO, before.value(fx, mark) - left.value(fx, mark))
    return Attempts(
        tries=(known.tries if known is not None else 0) + 1,
        cost=(known.cost if known is not None else ZERO) + cost,
        lead=lead,
        is_small=is_small,
        why=_why(trade, lead),
    )


def retry_of(attempts: Attempts | None, kind: IntentKind, execution: ExecutionConfig) -> Retry | None:
    """Return how the next trade may be made; None for as usual."""
    if attempts is None:
        return None
    wait_s = 0.0
    if attempts.is_waiting:
        doubled_s = execution.pause_s * (1 << min(attempts.tries - 1, _DOUBLINGS_MAX))
        wait_s = min(doubled_s, execution.pause_max_s)
    return Retry(kind, attempts.tries, int(wait_s * 1000), attempts.lead, attempts.is_small, attempts.why)


def _after_entry(trade: Trade, left: Position | None, known: Attempts | None) -> Attempts | None:
    """Return what remains after an entry: it achieved nothing if it was taken back, or a venue refused it."""
    if left is not None and left.state == "OPEN":
        return None
    if left is None and not any(_is_refused(result) for result in trade.orders):
        return known
    return Attempts(tries=(known.tries if known is not None else 0) + 1, why=_why(trade, "both"))


def _passed(known: Attempts | None) -> Attempts | None:
    """Return what remains of ``known`` after the first leg was filled, at least in part."""
    return msgspec.structs.replace(known, is_small=False, is_waiting=False) if known is not None else None


def _missed(trade: Trade, known: Attempts | None) -> Attempts | None:
    """Return what an exit that filled nothing and was not turned away makes of ``known``; it cost nothing."""
    if all(result.state == "NOT_ACCEPTED" for result in trade.orders):
        return known  # nothing was sent
    # A leg that went first goes first again, also when its worker ended meanwhile and both legs are over unfilled.
    lead = trade.intent.lead
    which = "neither leg" if lead == "both" else f"its {lead} leg"
    known = known if known is not None else Attempts(tries=0)
    return msgspec.structs.replace(
        known,
        tries=known.tries + 1,
        lead=lead,
        is_small=known.is_small and not _went_alone(trade),  # alone, its venue has looked at the order
        is_waiting=True,
        why=f"{which} found {'a' if lead == 'both' else 'no'} price within its bounds",
    )


def _went_alone(trade: Trade) -> bool:
    """Return whether one leg was sent first, and neither the other leg nor any hedge was sent."""
    leads: dict[str, LeadingLeg] = {"home": "away", "away": "home"}
    other = leads.get(trade.intent.lead)
    if other is None or len(trade.orders) != len(leads):
        return False
    return all(result.state == "NOT_ACCEPTED" for result in _meant(trade, other))


def _failed_leg(trade: Trade) -> tuple[LeadingLeg, bool]:
    """Return (leg, whether its venue refused it): the leg of which nothing was traded the way it was meant."""
    names: tuple[LeadingLeg, ...] = ("home", "away")
    failed = [name for name in names if not any(result.fills for result in _meant(trade, name))]
    refused = [name for name in names if any(map(_is_refused, _meant(trade, name)))]
    turned_away = [name for name in names if any(map(_is_turned_away, _meant(trade, name)))]
    candidates = (
        [name for name in failed if name in refused]
        or [name for name in failed if name in turned_away]
        or failed
        or refused
    )
    return (candidates[0], candidates[0] in refused) if candidates else ("both", False)


def _meant(trade: Trade, lead: LeadingLeg) -> list[OrderResult]:
    """Return the orders that were to trade this leg the way it was meant: the leg itself and its hedges."""
    leg = trade.intent.home if lead == "home" else trade.intent.away
    return [
        result
        for result in trade.orders
        if result.order.market == leg.market and result.order.side == leg.side
    ]


def _is_refused(result: OrderResult) -> bool:
    """Return whether the venue refused the order, for whatever reason but its price."""
    return result.state == "REJECTED" or result.fault in ("order", "funds", "market", "venue")


def _is_turned_away(result: OrderResult) -> bool:
    """Return whether the order was refused, or not taken because the venue or our rate budget was busy."""
    return result.state == "REJECTED" or bool(result.fault)


def _why(trade: Trade, lead: LeadingLeg) -> str:
    """Return why the last order of the leg was turned away (of either leg, where both go first)."""
    for result in reversed(trade.orders if lead == "both" else _meant(trade, lead)):
        if _is_turned_away(result):
            return f"{result.order.market.venue}: {result.detail}"
    return "one leg found no price within its bounds"
