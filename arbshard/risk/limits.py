"""``RiskGuard``: what an intent may not go beyond. Pure checks over portfolio, intent and day.

Called by ``core`` for every new intent. The first check that fails names the reason. Checks run by the numbers of
``model.refusal``, but for NOT_FUNDED (502): it comes before BALANCE (501), which would only be its consequence.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

import msgspec

from arbshard.config import LimitsConfig
from arbshard.ledger.events import Hold
from arbshard.model.intent import Intent
from arbshard.model.market import Pair
from arbshard.model.money import ZERO, plain
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio import PortfolioState
from arbshard.risk.results import ALL
from arbshard.risk.trade import hold_for, notional_of


class Objection(NamedTuple):
    """Why an intent is refused."""

    reason: Refusal
    detail: str


class SymbolRiskLimits(msgspec.Struct, frozen=True):
    """What one symbol may tie up and lose. Amounts in reporting currency."""

    symbol: str
    capital_limit_notional: Decimal
    """Entry notional of its open positions."""
    max_positions: int
    max_daily_loss: Decimal | None = None
    """Realised loss of a UTC day; None for no limit of its own."""


class SymbolStats(NamedTuple):
    """What risk has said to a symbol since the last start, and what it has lost today."""

    allowed: int
    rejected: dict[Refusal, int]
    loss: Decimal
    """Realised loss of the day in reporting currency; 0 when it has gained."""


class RiskGuard:
    """The limits, and the checks against them."""

    def __init__(self, limits: LimitsConfig) -> None:
        self.limits = limits
        self._own: dict[str, SymbolRiskLimits] = {}

    def set_symbol_limits(self, limits: SymbolRiskLimits) -> None:
        """Give a symbol limits of its own."""
        self._own[limits.symbol] = limits

    def get_symbol_limits(self, symbol: str) -> SymbolRiskLimits:
        """The symbol's own limits, or those of the configuration."""
        own = self._own.get(symbol)
        if own is not None:
            return own
        return SymbolRiskLimits(symbol, self.limits.symbol_notional_max, self.limits.symbol_positions_max)

    def check_trade_allowed(
        self, state: PortfolioState, intent: Intent, pair: Pair, day: int, *, draining: bool
    ) -> Objection | None:
        """All checks of a well-formed intent, None when it may be traded.

        ``day`` is the number of the day whose realised losses count. Exits are spared what limits exposure.
        """
        is_entry = intent.kind == "entry"
        if is_entry:
            objection = self.check_trade_allowed_for_symbol(state, intent, day)
            objection = objection or self.check_trade_allowed_for_portfolio(state, intent, day)
            if objection is not None:
                return objection
        objection = self.check_balances(state, intent, pair)
        if objection is not None:
            return objection
        if is_entry and draining:
            return Objection(Refusal.STOPPING, "no new entries: the run is ending")
        other = state.busy.get(intent.pair)
        if other is not None:
            return Objection(Refusal.PAIR_BUSY, f"{other} has no outcome yet")
        return None

    def check_trade_allowed_for_symbol(
        self, state: PortfolioState, intent: Intent, day: int
    ) -> Objection | None:
        """301, 302, and 404 for a symbol with a daily loss limit of its own."""
        limits = self.get_symbol_limits(intent.pair)
        notional = state.get_total_symbol_position_value(intent.pair) + notional_of(intent)
        if notional > limits.capital_limit_notional:
            return _above(Refusal.SYMBOL_NOTIONAL, intent.pair, notional, limits.capital_limit_notional)
        positions = len(state.get_symbol_positions(intent.pair))
        if positions >= limits.max_positions:
            return Objection(Refusal.SYMBOL_POSITIONS, f"{intent.pair} has {positions} open")
        if limits.max_daily_loss is not None:
            return _loss_objection(state, intent.pair, day, limits.max_daily_loss)
        return None

    def check_trade_allowed_for_portfolio(
        self, state: PortfolioState, intent: Intent, day: int
    ) -> Objection | None:
        """401 to 404. What entries under way may come to counts as if they had."""
        limits = self.limits
        notional = state.exposure + notional_of(intent)
        if notional > limits.portfolio_notional_max:
            return _above(Refusal.PORTFOLIO_NOTIONAL, "portfolio", notional, limits.portfolio_notional_max)
        if len(state.positions) + state.entering >= limits.portfolio_positions_max:
            return Objection(
                Refusal.PORTFOLIO_POSITIONS, f"{len(state.positions)} open, {state.entering} under way"
            )
        if len(state.trades) >= limits.open_intents_max:
            return Objection(Refusal.OPEN_INTENTS, f"{len(state.trades)} intents have no outcome yet")
        return _loss_objection(state, ALL, day, limits.daily_loss_max)

    def check_balances(self, state: PortfolioState, intent: Intent, pair: Pair) -> Objection | None:
        """502, 501: whether both legs can be paid for out of what is free."""
        if intent.pair not in state.funded:
            return Objection(Refusal.NOT_FUNDED, f"{intent.pair} has no inventory yet")
        for hold in holds_for(intent, pair):
            free = state.balance(hold.venue, hold.currency).available
            if hold.amount > free:
                return Objection(
                    Refusal.BALANCE,
                    f"{hold.venue} {hold.currency}: {plain(hold.amount)} needed, {plain(free)} free",
                )
        return None

    def get_symbol_stats(self, state: PortfolioState, symbol: str, day: int) -> SymbolStats:
        """Counts of the session and the loss of ``day``."""
        results = state.results
        return SymbolStats(
            allowed=results.approved.get(symbol, 0),
            rejected={reason: n for (base, reason), n in results.refused.items() if base == symbol},
            loss=max(ZERO, -results.daily.get((day, symbol), ZERO)),
        )


def holds_for(intent: Intent, pair: Pair) -> tuple[Hold, ...]:
    """What both legs can spend at most."""
    return tuple(_holds(intent, pair))


def _holds(intent: Intent, pair: Pair) -> Iterator[Hold]:
    yield hold_for(intent.home, pair.home)
    yield hold_for(intent.away, pair.away)


def _above(reason: Refusal, what: str, value: Decimal, limit: Decimal) -> Objection:
    return Objection(reason, f"{what} would come to {plain(value)}, the limit is {plain(limit)}")


def _loss_objection(state: PortfolioState, symbol: str, day: int, limit: Decimal) -> Objection | None:
    loss = -state.results.daily.get((day, symbol), ZERO)
    if loss < limit:
        return None
    whose = symbol or "portfolio"
    return Objection(Refusal.DAILY_LOSS, f"{whose} has lost {plain(loss)} today, the limit is {plain(limit)}")
