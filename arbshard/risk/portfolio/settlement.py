"""Computes from the fills of an intent the position they leave. Pure; ``portfolio`` calls it when an intent
concludes.

Nothing but fills, the conclusion's price and rate, and the position before enter here, so that live and replay
cannot differ. ``ledger.verify`` has the same arithmetic written a second time.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal

from msgspec.structs import replace

from arbshard.model.intent import CloseReason, FxQuote, Intent
from arbshard.model.market import Market, Pair, Side
from arbshard.model.money import BPS, MONEY_CONTEXT, ZERO
from arbshard.model.order import Fill
from arbshard.model.position import Flows, Position
from arbshard.risk.portfolio.holdings import Trade

RESIDUE_MAX = Decimal(20_000)
"""Largest value in KRW of what may be left of a position called done. Venues accept orders from about 5,000 KRW up,
so what cannot be traded is worth less than this; a leg that is worth more must not be forgotten.
"""

_PRICE_STEP = Decimal("1e-12")
"""Step to which average prices are rounded. They are for views and limits, and nothing else is rounded."""


def settle(
    trade: Trade,
    before: Position | None,
    mark: Decimal,
    fx: FxQuote,
    *,
    done: bool,
    now_ms: int,
    other_fees: Decimal = ZERO,
    away_cost: Decimal | None = None,
) -> Position | None:
    """Return the position after ``trade``; None when an entry filled nothing.

    ``before`` is the position an exit closes. ``mark`` is the home price of the base. A position called ``done``
    is closed unless more than ``RESIDUE_MAX`` is left of it. ``other_fees``: see ``value_other_fees``.
    ``away_cost``: of ``before``, see ``away_cost_after``.
    """
    fills = trade.fills()
    intent = trade.intent
    if intent.kind == "entry":
        if not fills:
            return None
        position = _opened(intent, fills, now_ms)
    else:
        assert before is not None, intent.intent_id
        position = _changed(before, intent, fills)
    if other_fees:
        position = replace(
            position, fees=position.fees + other_fees, other_fees=position.other_fees + other_fees
        )
    if done and left_over(position, mark) <= RESIDUE_MAX:
        cost = away_cost_after(position, before, away_cost, fx)
        return _closed(position, intent, mark, fx, now_ms, cost)
    return position


def left_over(position: Position, mark: Decimal) -> Decimal:
    """Return the value of the larger of the open quantity and the imbalance, in reporting currency."""
    return max(abs(position.imbalance), position.quantity) * mark


def away_cost_after(
    position: Position, before: Position | None, known: Decimal | None, fx: FxQuote
) -> Decimal | None:
    """Return what the away quote that ``position`` holds (negative: owes) was worth when it came, in home quote.

    Each part is valued at the mid rate at the end of the intent that brought it. ``known``: the same of ``before``;
    None where an older program did not keep it. ``fx``: at the end of this intent.
    """
    if before is None:
        return position.flows.away_quote * fx.mid
    if known is None:
        return None
    return known + (position.flows.away_quote - before.flows.away_quote) * fx.mid


def add_fills(flows: Flows, home: Market, fills: Iterable[Fill]) -> Flows:
    """Return ``flows`` after ``fills``; those not on ``home`` are of the away market."""
    amounts = {
        (True, True): flows.home_base,
        (True, False): flows.home_quote,
        (False, True): flows.away_base,
        (False, False): flows.away_quote,
    }
    for fill in fills:
        for currency, change in fill.changes():
            if currency in (fill.market.base, fill.market.quote):
                amounts[fill.market == home, currency == fill.market.base] += change
    return Flows(*amounts.values())


def has_other_fee(fill: Fill) -> bool:
    """Return whether the fee was paid in a coin that is neither base nor quote, but one of the venue's own."""
    return bool(fill.fee) and fill.fee_currency not in (fill.market.base, fill.market.quote)


def value_other_fees(trade: Trade, pair: Pair) -> Decimal:
    """Return the value of fees in other coins, in reporting currency: as if paid at the venue's full rate.

    The other coin's price is not known here; the discount for which people pay with it is left out, against
    ourselves.
    """
    total = ZERO
    for fill in trade.fills():
        if has_other_fee(fill):
            fees = pair.leg(fill.market.venue).fees
            bps = fees.buy_bps if fill.side == "buy" else fees.sell_bps
            amount = fill.quantity * fill.price * bps / BPS
            total += amount if fill.market == pair.home.market else amount * trade.intent.fx.ask
    return total


def fee_value(fill: Fill, home: Market, fx: FxQuote) -> Decimal:
    """Return the fee in reporting currency when it was paid: coins at the fill's price, away quote at the FX ask.

    0 for a fee in another coin: see ``value_other_fees``.
    """
    if has_other_fee(fill):
        return ZERO
    amount = fill.fee * fill.price if fill.fee_currency == fill.market.base else fill.fee
    return amount if fill.market == home else amount * fx.ask


def _opened(intent: Intent, fills: tuple[Fill, ...], now_ms: int) -> Position:
    home, away = intent.home.market, intent.away.market
    flows = add_fills(Flows(), home, fills)
    home_price = _average(fills, home, intent.home.side)
    away_price = _average(fills, away, intent.away.side)
    if intent.direction == "buy_home":
        notional = max(flows.home_base, ZERO) * home_price
    else:
        notional = max(flows.away_base, ZERO) * away_price * intent.fx.ask
    return Position(
        position_id=intent.position_id,
        pair=intent.pair,
        direction=intent.direction,
        state="OPEN",
        flows=flows,
        entry_home_price=home_price,
        entry_away_price=away_price,
        entry_fx=intent.fx,
        entry_notional=notional,
        entry_edge_bps=intent.edge_bps,
        fees=sum((fee_value(fill, home, intent.fx) for fill in fills), ZERO),
        opened_ms=now_ms,
    )


def _changed(before: Position, intent: Intent, fills: tuple[Fill, ...]) -> Position:
    home = intent.home.market
    paid = sum((fee_value(fill, home, intent.fx) for fill in fills), ZERO)
    return replace(before, flows=add_fills(before.flows, home, fills), fees=before.fees + paid)


def _closed(
    position: Position, intent: Intent, mark: Decimal, fx: FxQuote, now_ms: int, away_cost: Decimal | None
) -> Position:
    reason: CloseReason = "entry_unwound" if intent.reason == "net_edge" else intent.reason
    pnl = position.value(fx, mark)
    fx_pnl = position.flows.away_quote * fx.mid - away_cost if away_cost is not None else None
    return replace(position, state="CLOSED", closed_ms=now_ms, reason=reason, pnl=pnl, fx_pnl=fx_pnl)


def _average(fills: Iterable[Fill], market: Market, side: Side) -> Decimal:
    """Return the average price of the fills on one side of ``market``; 0 when there are none."""
    quantity = notional = ZERO
    for fill in fills:
        if fill.market == market and fill.side == side:
            quantity += fill.quantity
            notional += fill.quantity * fill.price
    if not quantity:
        return ZERO
    return MONEY_CONTEXT.divide(notional, quantity).quantize(_PRICE_STEP, ROUND_HALF_EVEN, MONEY_CONTEXT)
