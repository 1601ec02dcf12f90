"""The edge at arrival: what an entry's fills netted, by the formula that promised the edge at the decision. Pure.

``engine.edge`` says what an entry would net at the books of the decision. Until its orders arrive the books move, a
leg fills in part, and a hedge completes it at a worse price. Comparing both edges shows what that costs; fills that
always bring exactly what was promised show that nothing arrived anywhere, so a verdict compares them too.
"""

from collections.abc import Iterable
from decimal import Decimal, localcontext

from arbshard.model.intent import Intent
from arbshard.model.money import BPS, MONEY_CONTEXT, ONE, ZERO
from arbshard.model.order import Fill, Order


class _Side:
    """What one leg of the entry has filled, hedges included."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.quantity = ZERO
        """Executed, before fees."""
        self.base = ZERO
        """By how much the coins changed, fees included; above 0 on both sides."""
        self.quote = ZERO
        """Paid or received, fees included; above 0 on both sides."""

    def matches(self, fill: Fill) -> bool:
        return fill.market == self._order.market and fill.side == self._order.side

    def add(self, fill: Fill) -> None:
        sign = 1 if fill.side == "buy" else -1
        market = fill.market
        self.quantity += fill.quantity
        self.base += fill.quantity - (sign * fill.fee if fill.fee_currency == market.base else ZERO)
        self.quote += fill.quantity * fill.price + (
            sign * fill.fee if fill.fee_currency == market.quote else ZERO
        )

    @property
    def share(self) -> Decimal:
        """The part of the order's quantity that was executed."""
        return MONEY_CONTEXT.divide(self.quantity, self._order.quantity)


def edge_at_arrival(intent: Intent, fills: Iterable[Fill], other_fees: Decimal = ZERO) -> Decimal | None:
    """Net edge in basis points of what the entry ``intent`` bought on one venue and sold on the other.

    It is ``engine.edge`` computed with the average prices and the fees of ``fills`` and the FX of the decision, for
    the part of both orders that was executed on both venues: an entry of which each leg filled 40 % at the promised
    prices has the promised edge. Coins left over by rounding are worth nothing, as at the decision; coins that are
    short are bought at the price that was paid. Unwinds are left out, because what they take back was never an edge;
    their cost is in the position's result. ``other_fees``: worth of the fees in other coins, in reporting currency.

    None where nothing was executed on one of the venues: such an entry has no edge.
    """
    with localcontext(MONEY_CONTEXT):
        is_home = intent.direction == "buy_home"
        buy, sell = (intent.home, intent.away) if is_home else (intent.away, intent.home)
        bought, sold = _Side(buy), _Side(sell)
        for fill in fills:
            for side in (bought, sold):
                if side.matches(fill):
                    side.add(fill)
        if bought.base <= 0 or sold.quantity <= 0:
            return None
        both = min(bought.share, sold.share)
        of_bought, of_sold = both / bought.share, both / sold.share
        short = max(ZERO, sold.base * of_sold - bought.base * of_bought)
        buy_fx, sell_fx = (ONE, intent.fx.bid) if is_home else (intent.fx.ask, ONE)
        cost = bought.quote * buy_fx * (of_bought + short / bought.base)
        proceeds = sold.quote * sell_fx * of_sold - other_fees
        return (proceeds / cost - 1) * BPS
