"""Makes an intent (exact orders) from a trade that the engine found (floats). The code is pure."""

from decimal import Decimal

from msgspec.structs import replace

from arbshard.config import ExecutionConfig
from arbshard.engine.engine import Entry, Exit
from arbshard.model.intent import FxQuote, Intent, LeadingLeg, Retry
from arbshard.model.market import Leg, Pair, Side
from arbshard.model.money import BPS, MONEY_CONTEXT, ONE, ZERO, ceil_to, exact
from arbshard.model.order import Order, OrderRole
from arbshard.model.position import Position
from arbshard.wire.messages import Available

_SMALL_PRICE_SHARE = Decimal("0.9")
"""Share of the present price at which the smallest exit is valued: prices move, and an exit's limits are behind
them.
"""


def make_order(
    leg: Leg, side: Side, quantity: Decimal, limit: Decimal, client_id: str, role: OrderRole
) -> Order:
    """Return an IOC limit order; its limit is rounded to the tick, never against ourselves."""
    return Order(client_id, leg.market, side, quantity, leg.rules.round_price(limit, side), role)


def base_kept(leg: Leg) -> Decimal:
    """Return the share of a bought quantity that arrives: less than 1 where the fee is taken in the coin."""
    return ONE - leg.fees.buy_bps / BPS if leg.fees.buy_fee_in_base else ONE


def plan_entry(trade: Entry, intent_id: str, now_ms: int) -> Intent:
    """Return an entry with both legs at the worst price that the walk touched."""
    edge = trade.edge
    buys_home = trade.direction == "buy_home"
    home, away = trade.pair.home, trade.pair.away
    buy, sell = (home, away) if buys_home else (away, home)
    kept = base_kept(buy)
    whole = max(buy, sell, key=lambda leg: leg.rules.lot) if kept == ONE else buy
    quantity = whole.rules.round_quantity(min(_lots(edge.buy_quantity, whole), _most(home, away)))
    bought = make_order(
        buy,
        "buy",
        quantity,
        exact(edge.buy_worst),
        f"{intent_id}-{'h' if buys_home else 'a'}0",
        "leg",
    )
    sold = make_order(
        sell,
        "sell",
        sell.rules.round_quantity(quantity * kept),  # a float of many coins is not exact to the lot
        exact(edge.sell_worst),
        f"{intent_id}-{'a' if buys_home else 'h'}0",
        "leg",
    )
    return Intent(
        intent_id=intent_id,
        kind="entry",
        pair=trade.pair.base,
        direction=trade.direction,
        position_id=intent_id,
        home=bought if buys_home else sold,
        away=sold if buys_home else bought,
        reason="net_edge",
        edge_bps=edge.net_bps,
        fx=FxQuote(exact(trade.fx[0]), exact(trade.fx[1])),
        decided_ms=now_ms,
    )


def plan_exit(
    trade: Exit,
    position: Position,
    intent_id: str,
    now_ms: int,
    execution: ExecutionConfig,
    residue: Decimal = ZERO,
    retry: Retry | None = None,
) -> Intent:
    """Return an exit with both legs for all that is open, ``exit_slippage_bps`` behind the walk.

    To leave the position matters more than a tick. ``residue`` is base that earlier positions of the pair left over
    (negative: are short of). It is used up here: what is left over need not be bought back, and what is missing is
    not sold. ``retry``: after exits that failed, the leg that is sent first, and whether it only tests with the
    smallest order.
    """
    slip = Decimal(str(execution.exit_slippage_bps)) / BPS
    buys_home = trade.direction == "buy_home"
    home, away = trade.pair.home, trade.pair.away
    buy, sell = (home, away) if buys_home else (away, home)
    lead: LeadingLeg = trade.lead if retry is None or trade.lead != "both" else retry.lead
    most = _most(home, away)  # the rest is left to the next exit
    short, long = position.short_base - max(residue, ZERO), position.long_base + min(residue, ZERO)
    if retry is not None and retry.is_small:
        smallest = _smallest_exit(trade, position, home, away)
        short, long = min(short, smallest), min(long, smallest)
    to_buy = ceil_to(min(max(short, ZERO) / base_kept(buy), most), buy.rules.lot)
    to_sell = sell.rules.round_quantity(min(max(long, ZERO), most))
    bought = make_order(
        buy,
        "buy",
        max(to_buy, buy.rules.lot),
        exact(trade.closing.buy_worst) * (1 + slip),
        f"{intent_id}-{'h' if buys_home else 'a'}0",
        "leg",
    )
    sold = make_order(
        sell,
        "sell",
        max(to_sell, sell.rules.lot),
        exact(trade.closing.sell_worst) * (1 - slip),
        f"{intent_id}-{'a' if buys_home else 'h'}0",
        "leg",
    )
    return Intent(
        intent_id=intent_id,
        kind="exit",
        pair=trade.pair.base,
        direction=trade.direction,
        position_id=position.position_id,
        home=bought if buys_home else sold,
        away=sold if buys_home else bought,
        reason=trade.reason,
        edge_bps=trade.closing.net_bps,
        fx=FxQuote(exact(trade.fx[0]), exact(trade.fx[1])),
        decided_ms=now_ms,
        lead=lead,
    )


def _smallest_exit(trade: Exit, position: Position, home: Leg, away: Leg) -> Decimal:
    """Return the smallest quantity that both venues accept, also if it is taken back a little lower.

    It is all of the position when what is left after that could not be traded any more.
    """
    smallest = ZERO
    for leg in (home, away):
        is_bought = (leg is home) == (trade.direction == "buy_home")
        worst = trade.closing.buy_worst if is_bought else trade.closing.sell_worst
        price = exact(worst) * _SMALL_PRICE_SHARE
        least = max(leg.rules.quantity_min, MONEY_CONTEXT.divide(leg.rules.notional_min, price))
        smallest = max(smallest, ceil_to(least / base_kept(leg), leg.rules.lot))
    largest_lot = max(home.rules.lot, away.rules.lot)
    smallest = ceil_to(smallest, largest_lot) + largest_lot
    return smallest if position.quantity >= 2 * smallest else position.quantity


def affordable(order: Order, leg: Leg, available: Available) -> Order | None:
    """Return ``order``, or as much of it as ``available`` pays for; None when its venue accepts no order so small."""
    market = order.market
    currency = market.base if order.side == "sell" else market.quote
    free = sum(
        (amount for where, what, amount in available if (where, what) == (market.venue, currency)), ZERO
    )
    fee = ZERO if leg.fees.buy_fee_in_base else leg.fees.buy_bps / BPS
    unit = ONE if order.side == "sell" else order.limit * (ONE + fee)
    quantity = leg.rules.round_quantity(min(order.quantity, MONEY_CONTEXT.divide(free, unit)))
    return replace(order, quantity=quantity) if leg.rules.accepts(order.limit, quantity) else None


def part_of_exit(intent: Intent, pair: Pair, available: Available, intent_id: str) -> Intent | None:
    """Return the largest part of an exit that ``available`` pays for, under a new id; None if there is none.

    Both legs are made smaller by the same quantity, in whole lots of both venues, so that no more is left over
    than by the whole exit. Both venues must accept what is sent. A leg that is too small to be sent stays as it is.
    """
    legs = ((intent.home, pair.home, "h"), (intent.away, pair.away, "a"))
    kept = base_kept(pair.home if intent.home.side == "buy" else pair.away)
    cut = ZERO  # gross base of the buying leg
    for order, leg, _ in legs:
        if leg.rules.is_too_small(order.limit, order.quantity):
            continue
        most = affordable(order, leg, available)
        if most is None:
            return None
        missing = order.quantity - most.quantity
        cut = max(cut, missing if order.side == "buy" else MONEY_CONTEXT.divide(missing, kept))
    cut = ceil_to(cut, max(pair.home.rules.lot, pair.away.rules.lot))
    parts: list[Order] = []
    for order, leg, letter in legs:
        if leg.rules.is_too_small(order.limit, order.quantity):
            parts.append(replace(order, client_id=f"{intent_id}-{letter}0"))
            continue
        smaller = order.quantity - (cut if order.side == "buy" else cut * kept)
        quantity = leg.rules.round_quantity(max(smaller, ZERO))
        if not leg.rules.accepts(order.limit, quantity):
            return None
        parts.append(replace(order, quantity=quantity, client_id=f"{intent_id}-{letter}0"))
    return replace(intent, intent_id=intent_id, home=parts[0], away=parts[1])


def _most(home: Leg, away: Leg) -> Decimal:
    """Return the largest quantity that one order may have on either venue."""
    return min(home.rules.quantity_max, away.rules.quantity_max)


def _lots(quantity: float, leg: Leg) -> Decimal:
    """Return the quantity in whole lots that is nearest to the float."""
    return Decimal(round(quantity / float(leg.rules.lot))) * leg.rules.lot
