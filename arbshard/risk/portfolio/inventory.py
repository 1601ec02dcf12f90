"""What a paper ledger is given to trade with: money at its first start, coins when a pair's price is known. Pure."""

from decimal import ROUND_FLOOR, Decimal

from arbshard.config import PaperConfig
from arbshard.ledger.events import Deposited
from arbshard.model.market import Pair
from arbshard.model.money import MONEY_CONTEXT
from arbshard.model.universe import Universe
from arbshard.risk.portfolio.balances import Balances

_COIN_STEP = Decimal("1e-8")


def opening_deposits(
    universe: Universe, paper: PaperConfig, balances: Balances, now_ms: int
) -> list[Deposited]:
    """The opening balance of every quote that has none."""
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
    """Coins worth ``inventory_notional`` at ``home_price`` on each of the pair's venues."""
    coins = MONEY_CONTEXT.divide(paper.inventory_notional, home_price)
    amount = coins.quantize(_COIN_STEP, ROUND_FLOOR, MONEY_CONTEXT)
    return [
        Deposited(
            at_ms=now_ms,
            venue=leg.market.venue,
            currency=pair.base,
            amount=amount,
            why="inventory",
            pair=pair.base,
        )
        for leg in (pair.home, pair.away)
    ]
