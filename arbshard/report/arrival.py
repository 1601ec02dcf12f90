"""Computes the edge at arrival: what an entry's fills netted, by the formula of the edge at the decision. It is
pure.

``engine.edge`` computes what an entry would net at the books of the decision. Until its orders arrive the books
move, a leg fills in part, and a hedge completes it at a worse price. Comparing both edges shows what that costs.
Fills that always have exactly the promised prices show that arrival is not simulated, so a verdict compares them
too.
"""

from collections.abc import Iterable
from decimal import Decimal, localcontext

from arbshard.model.intent import Intent
from arbshard.model.money import BPS, MONEY_CONTEXT, ONE, ZERO
from arbshard.model.order import Fill, Order


class _Side:
    """Sums up what one leg of the entry has filled, hedges included."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.quantity = ZERO
        """Quantity executed, before fees."""
        self.base = ZERO
        """Change of the coin balance, fees included; above 0 on both sides."""
        self.quote = ZERO
        """Quote paid or received, fees included; above 0 on both sides."""

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
        """Return the share of the order's quantity that was executed."""
        return MONEY_CONTEXT.divide(self.quantity, self._order.quantity)


def edge_at_arrival(intent: Intent, fills: Iterable[Fill], other_fees: Decimal = ZERO) -> Decimal | None:
    """Return the net edge in basis points of what the entry ``intent`` bought on one venue and sold on the other.

    It is ``engine.edge`` computed with the average prices and the fees of ``fills`` and the FX of the decision, for
    the part of both orders that was executed on both venues: an entry of which each leg filled 40 % at the promised
    prices has the promised edge. Coins left over by rounding are worth nothing, as at the decision; missing coins
    are bought at the price that was paid. Unwinds are left out, because what they take back was never an edge; their
    cost is in the position's result. ``other_fees`` is the worth of fees in other coins, in reporting currency.

    The result is None when nothing was executed on one of the venues: such an entry has no edge.
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
