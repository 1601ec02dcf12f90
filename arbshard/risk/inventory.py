"""Computes what is owned where, what of it is free, and how long that lasts. Pure; ``core`` and the CLI call it.

Free is what entries may spend. What round trips use up per day is measured over the last 24 to 28 hours
(``portfolio.results``): coins come back with every round trip, but the profit arises on the venue whose price moves
back, and the other venue pays for it.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal

from arbshard.config import Config, InventoryConfig
from arbshard.model.money import MONEY_CONTEXT, ONE, ZERO
from arbshard.risk.limits.guard import RiskGuard
from arbshard.risk.portfolio.holdings import Account
from arbshard.risk.portfolio.results import DAY_MS
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.shards.ownership import Ownership
from arbshard.risk.valuation import Valuation
from arbshard.wire.inventory import Ends, Inventory, InventoryLine

_DAYS_MAX = 365


class InventoryKeeper:
    """Computes what one account owns, what of it is free, and what it is worth."""

    def __init__(
        self,
        config: Config,
        state: PortfolioState,
        ownership: Ownership,
        guard: RiskGuard,
        valuation: Valuation,
    ) -> None:
        self.settings = config.inventory
        self._reporting = config.reporting
        self._away = config.venues.away
        self._state = state
        self._ownership = ownership
        self._guard = guard
        self._valuation = valuation

    def price_of(self, currency: str, at: str = "") -> Decimal | None:
        """Return the value of a unit of a currency in reporting currency, ``at`` that venue if it has a price there.

        None while no book has given it.
        """
        if currency == self._reporting:
            return ONE
        venues = sorted(self._ownership.venues, key=lambda venue: (venue != at, venue))
        prices = (self._valuation.price_of(venue, currency) for venue in venues)
        return next((price for price in prices if price is not None), None)

    def movable(self, venue: str, currency: str) -> Decimal:
        """Return what of a balance is neither held for anything nor needed to leave open positions."""
        needed = self._guard.ways_out.needed().get((venue, currency), ZERO)
        return max(ZERO, self._guard.free(venue, currency) - needed)

    def of_now(self, now_ms: int) -> Inventory:
        """Return all that is owned, by venue and currency, and how long it will last."""
        fx = self._ownership.universe.fx.market
        return inventory_of(
            self._state,
            Ends(fx.venue, self._away, fx.base, fx.quote),
            self.settings,
            self._guard.ways_out.needed(),
            self._guard.free,
            self.price_of,
            now_ms,
        )


def inventory_of(
    state: PortfolioState,
    ends: Ends,
    config: InventoryConfig,
    ways_out: Mapping[Account, Decimal],
    free_of: Callable[[str, str], Decimal],
    price_of: Callable[[str], Decimal | None],
    now_ms: int,
) -> Inventory:
    """Return all that is owned, by venue and currency.

    ``ways_out``: what leaving all open positions needs. ``free_of``: what of a balance nothing is held for.
    ``price_of``: value of one unit of a currency.
    """
    drift, window_h = state.results.drift_per_day(now_ms)
    lines = []
    for (venue, currency), balance in sorted(state.balances.items()):
        needed = ways_out.get((venue, currency), ZERO)
        per_day = drift.get((venue, currency), ZERO)
        if not (balance.total or balance.held or per_day):
            continue
        free = max(ZERO, free_of(venue, currency) - needed)
        price = price_of(currency)
        lines.append(
            InventoryLine(
                venue,
                currency,
                have=balance.total,
                free=free,
                for_orders=balance.held,
                for_ways_out=needed,
                per_day=per_day,
                runs_out_ms=_runs_out_ms(free, per_day, now_ms),
                worth=balance.total * price if price is not None else None,
            )
        )
    return Inventory(
        at_ms=now_ms,
        window_h=window_h,
        ends=ends,
        transfer_min=config.transfer_min,
        cover_days=config.cover_days,
        lines=tuple(lines),
        under_way=tuple(state.transfers.open.values()),
    )


def _runs_out_ms(free: Decimal, per_day: Decimal, now_ms: int) -> int:
    if per_day >= 0 or free > -per_day * _DAYS_MAX:
        return 0
    return now_ms + int(MONEY_CONTEXT.divide(free * DAY_MS, -per_day))


def needs_at_entry(state: PortfolioState, ends: Ends) -> dict[Account, Decimal]:
    """Return what leaving all open positions needs at their entry prices, for a time without books."""
    needs: dict[Account, Decimal] = {}
    for position in state.positions.values():
        bought, sold = ends.home, ends.away
        quote, price = ends.away_quote, position.entry_away_price
        if position.direction == "buy_away":
            bought, sold = sold, bought
            quote, price = ends.home_quote, position.entry_home_price
        for account, amount in (
            ((bought, position.pair), position.long_base),
            ((sold, quote), position.short_base * price),
        ):
            needs[account] = needs.get(account, ZERO) + max(ZERO, amount)
    return needs


def last_prices(state: PortfolioState, ends: Ends) -> dict[str, Decimal]:
    """Return the value of one unit of each currency at its newest position's prices, for a time without books."""
    prices = {ends.home_quote: Decimal(1)}
    for position in (*state.closed.values(), *state.positions.values()):
        fx = position.entry_fx
        if fx is not None:
            prices[ends.away_quote] = fx.bid
            prices[position.pair] = position.entry_home_price or position.entry_away_price * fx.bid
    return prices
