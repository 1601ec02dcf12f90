"""``RiskGuard``: what an intent may not go beyond. Pure checks over portfolio, intent and time.

Called by ``core`` for every new intent. The first check that fails names the reason. Halt and ordered closes come
first; then checks run by the numbers of ``model.refusal``, but for BALANCE (501): it comes after 502 to 504, of which
it would only be the consequence. Entries alone are limited: an exit is spared all but balances and PAIR_BUSY, and
a hedge is never asked about here.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from arbshard.config import LimitsConfig
from arbshard.ledger.events import Hold
from arbshard.model.intent import Intent
from arbshard.model.market import Pair
from arbshard.model.money import ZERO, plain
from arbshard.model.refusal import Refusal
from arbshard.risk.limits.effective import EffectiveLimits
from arbshard.risk.limits.rate import TokenBucket
from arbshard.risk.limits.refusals import RefusalLog
from arbshard.risk.limits.symbol_limits import SymbolRiskLimits
from arbshard.risk.objection import Moment, Objection
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.portfolio.trade import hold_for, notional_of
from arbshard.risk.reconcile.reconciler import Reconciler

_LEGS = 2


class SymbolStats(NamedTuple):
    """What risk has said to a symbol since the last start, and what it has lost today."""

    allowed: int
    rejected: dict[Refusal, int]
    loss: Decimal
    """Realised loss of the day in reporting currency; 0 when it has gained."""


class RiskGuard:
    """The limits, and the checks of intents against them and the state of the portfolio."""

    def __init__(
        self, limits: LimitsConfig, state: PortfolioState, accounts: Reconciler | None = None
    ) -> None:
        """``accounts``: what the venues say; None on paper."""
        self.limits = EffectiveLimits(limits, state.standing)
        self.refusals = RefusalLog()
        self._state = state
        self._bucket = TokenBucket()
        self._correlations: Mapping[tuple[str, str], float] = {}
        self.disk_short = ""
        """Why there is too little room for the ledger to enter anything; empty when there is enough."""
        self.is_supervisor_silent = False
        """Whether entries are refused because no beat of the supervisor is seen."""
        self._accounts = accounts or Reconciler({}, state, is_live=False, tolerance=ZERO, tag="")

    def set_symbol_limits(self, limits: SymbolRiskLimits) -> None:
        """Give a symbol limits of its own."""
        self.limits.set_own(limits)

    def get_symbol_limits(self, symbol: str) -> SymbolRiskLimits:
        """The symbol's own limits, or those of the configuration; before any tightening."""
        return self.limits.of(symbol)

    def set_correlations(self, correlations: Mapping[tuple[str, str], float]) -> None:
        """How symbols' gaps move together: (base, base) in alphabetical order → -1 to 1. Empty: nobody knows, and
        the limit of correlated exposure is not in force.
        """
        self._correlations = correlations

    def check_trade_allowed(
        self, intent: Intent, pair: Pair, moment: Moment, *, draining: bool
    ) -> Objection | None:
        """All checks of a well-formed intent, None when it may be traded."""
        is_entry = intent.kind == "entry"
        if is_entry:
            objection = (
                self.check_halt(intent.pair)
                or self.check_trade_allowed_for_symbol(intent, moment)
                or self.check_trade_allowed_for_portfolio(intent, pair, moment)
                or self._accounts.objection(pair)
            )
            if objection is not None:
                return objection
        objection = self.check_balances(intent, pair)
        if objection is not None:
            return objection
        if is_entry and draining:
            return Objection(Refusal.STOPPING, "no new entries: the run is ending")
        other = self._state.busy.get(intent.pair)
        if other is not None:
            return Objection(Refusal.PAIR_BUSY, f"{other} has no outcome yet")
        return None

    def count_orders(self, count: int, moment: Moment) -> None:
        """So many orders go out; of whatever kind, they count against the rate."""
        self._bucket.take(count, moment.now_ns, self.limits.portfolio().orders_per_s_max)

    def check_halt(self, symbol: str) -> Objection | None:
        """605 to 608."""
        if self.is_supervisor_silent:
            return Objection(Refusal.SUPERVISOR_SILENT, "no beat of the supervisor: the books stand still")
        if self.disk_short:
            return Objection(Refusal.DISK_SHORT, self.disk_short)
        halt = self._state.standing.halt
        if halt is not None:
            return Objection(Refusal.HALTED, halt.reason)
        reason = self._state.standing.closing.get(symbol)
        if reason is not None:
            return Objection(Refusal.PAIR_CLOSING, f"{symbol} is being closed ({reason})")
        return None

    def check_trade_allowed_for_symbol(self, intent: Intent, moment: Moment) -> Objection | None:
        """301 to 307."""
        state, symbol = self._state, intent.pair
        limits, factor = self.limits.of(symbol), state.standing.factor(symbol)
        order = notional_of(intent)
        notional = state.get_total_symbol_position_value(symbol) + order
        if notional > limits.capital_limit_notional * factor:
            return _above(Refusal.SYMBOL_NOTIONAL, symbol, notional, limits.capital_limit_notional * factor)
        positions = len(state.get_symbol_positions(symbol))
        if positions >= limits.max_positions:
            return Objection(Refusal.SYMBOL_POSITIONS, f"{symbol} has {positions} open")
        if int(symbol in state.busy) >= limits.max_concurrent_trades:
            return Objection(Refusal.SYMBOL_TRADES, f"{state.busy[symbol]} has no outcome yet")
        if limits.max_order_notional is not None and order > limits.max_order_notional * factor:
            return _above(Refusal.ORDER_NOTIONAL, intent.intent_id, order, limits.max_order_notional * factor)
        loss = state.results.loss(moment.day, symbol)
        if limits.max_daily_loss is not None and loss >= limits.max_daily_loss:
            return _lost(Refusal.SYMBOL_DAILY_LOSS, symbol, loss, limits.max_daily_loss)
        return self._check_streak(limits, moment) or _check_edge(intent, self.limits.portfolio())

    def check_trade_allowed_for_portfolio(
        self, intent: Intent, pair: Pair, moment: Moment
    ) -> Objection | None:
        """401 to 409. What entries under way may come to counts as if they had."""
        state, limits = self._state, self.limits.portfolio()
        factor = state.standing.factor("")
        order = notional_of(intent)
        gross = state.exposure + order
        if gross > limits.portfolio_notional_max * factor:
            return _above(
                Refusal.PORTFOLIO_NOTIONAL, "portfolio", gross, limits.portfolio_notional_max * factor
            )
        if len(state.positions) + state.entering >= limits.portfolio_positions_max:
            detail = f"{len(state.positions)} open, {state.entering} under way"
            return Objection(Refusal.PORTFOLIO_POSITIONS, detail)
        if len(state.trades) >= limits.open_intents_max:
            return Objection(Refusal.OPEN_INTENTS, f"{len(state.trades)} intents have no outcome yet")
        loss = state.results.loss(moment.day)
        if loss >= limits.daily_loss_max:
            return _lost(Refusal.DAILY_LOSS, "portfolio", loss, limits.daily_loss_max)
        venue = state.exposures[intent.direction] + order
        if venue > limits.venue_notional_max * factor:
            bought, sold = (
                (pair.home, pair.away) if intent.direction == "buy_home" else (pair.away, pair.home)
            )
            what = f"bought on {bought.market.venue}, sold on {sold.market.venue}"
            return _above(Refusal.VENUE_NOTIONAL, what, venue, limits.venue_notional_max * factor)
        drawdown = state.results.drawdown(moment.day)
        if drawdown >= limits.drawdown_max:
            detail = f"{plain(drawdown)} below today's peak, the limit is {plain(limits.drawdown_max)}"
            return Objection(Refusal.DRAWDOWN, detail)
        if self._bucket.tokens(moment.now_ns, limits.orders_per_s_max) < _LEGS:
            return Objection(Refusal.ORDER_RATE, f"{limits.orders_per_s_max:g} orders per second")
        return self._check_crowd(intent.pair, order, gross, limits, factor)

    def available(self, venue: str, currency: str) -> Decimal:
        """What a new order may spend."""
        return self._accounts.available(venue, currency)

    def check_balances(self, intent: Intent, pair: Pair) -> Objection | None:
        """502, 501: whether both legs can be paid for out of what is free."""
        if not self._accounts.is_funded(intent.pair):
            return Objection(Refusal.NOT_FUNDED, f"{intent.pair} has no inventory yet")
        for hold in holds_for(intent, pair):
            free = self.available(hold.venue, hold.currency)
            if hold.amount > free:
                return Objection(
                    Refusal.BALANCE,
                    f"{hold.venue} {hold.currency}: {plain(hold.amount)} needed, {plain(free)} free",
                )
        return None

    def get_symbol_stats(self, symbol: str, day: int) -> SymbolStats:
        """Counts of the session and the loss of ``day``."""
        results = self._state.results
        rejected: dict[Refusal, int] = {}
        for table in (results.refused, self.refusals.pending):
            for (base, reason), count in table.items():
                if base == symbol:
                    rejected[reason] = rejected.get(reason, 0) + count
        allowed = results.approved.get(symbol, 0)
        return SymbolStats(allowed, rejected, max(ZERO, results.loss(day, symbol)))

    def correlated_exposure(self, symbol: str) -> Decimal:
        """Exposure of ``symbol`` and of all that move with it."""
        state, least = self._state, self.limits.portfolio().correlation_min
        others = {base for base, held in state.per_symbol_positions.items() if held} | state.busy.keys()
        alike = (base for base in others if base != symbol and self._correlation(base, symbol) > least)
        return sum(map(state.get_symbol_exposure, alike), state.get_symbol_exposure(symbol))

    def _check_streak(self, limits: SymbolRiskLimits, moment: Moment) -> Objection | None:
        """306. At every ``loss_streak_max``-th loss in a row, not at each one after it."""
        streak = self._state.results.streaks.get(limits.symbol)
        if streak is None or limits.loss_streak_max is None or streak.losses % limits.loss_streak_max:
            return None
        left_ms = streak.last_ms + int(limits.loss_streak_pause_s * 1000) - moment.now_ms
        if left_ms <= 0:
            return None
        detail = f"{limits.symbol} has lost {streak.losses} times in a row and pauses for {left_ms} ms more"
        return Objection(Refusal.LOSS_STREAK, detail)

    def _check_crowd(
        self, symbol: str, order: Decimal, gross: Decimal, limits: LimitsConfig, factor: Decimal
    ) -> Objection | None:
        """408, 409: too much of one thing."""
        mine = self._state.get_symbol_exposure(symbol) + order
        if gross > limits.concentration_floor and mine > gross * Decimal(repr(limits.concentration_max)):
            detail = f"{symbol} would be {plain(mine)} of {plain(gross)}"
            return Objection(
                Refusal.CONCENTRATION, f"{detail}, the limit is {limits.concentration_max:g} of it"
            )
        if not self._correlations:
            return None
        alike = self.correlated_exposure(symbol) + order
        if alike > limits.correlated_notional_max * factor:
            what = f"{symbol} and what moves with it"
            return _above(Refusal.CORRELATED_NOTIONAL, what, alike, limits.correlated_notional_max * factor)
        return None

    def _correlation(self, a: str, b: str) -> float:
        return self._correlations.get((a, b) if a < b else (b, a), 0.0)


def holds_for(intent: Intent, pair: Pair) -> tuple[Hold, ...]:
    """What both legs can spend at most."""
    return tuple(_holds(intent, pair))


def implied_edge_bps(intent: Intent) -> float:
    """What both legs bring at their limit prices, before fees, in basis points of what is bought."""
    home, away = intent.home, intent.away
    at_home = float(home.quantity) * float(home.limit)
    rate = intent.fx.ask if away.side == "buy" else intent.fx.bid
    at_away = float(away.quantity) * float(away.limit) * float(rate)
    cost, proceeds = (at_home, at_away) if home.side == "buy" else (at_away, at_home)
    return (proceeds / cost - 1) * 1e4


def _holds(intent: Intent, pair: Pair) -> Iterator[Hold]:
    yield hold_for(intent.home, pair.home)
    yield hold_for(intent.away, pair.away)


def _check_edge(intent: Intent, limits: LimitsConfig) -> Objection | None:
    """307. The worker's word is not enough: what its own limit prices promise is looked at too."""
    edge_bps = max(intent.edge_bps, implied_edge_bps(intent))
    if edge_bps <= limits.edge_bps_max:
        return None
    detail = f"{edge_bps:.1f} bps promised, the limit is {limits.edge_bps_max:g}"
    return Objection(Refusal.EDGE_IMPLAUSIBLE, detail)


def _above(reason: Refusal, what: str, value: Decimal, limit: Decimal) -> Objection:
    return Objection(reason, f"{what} would come to {plain(value)}, the limit is {plain(limit)}")


def _lost(reason: Refusal, whose: str, loss: Decimal, limit: Decimal) -> Objection:
    return Objection(reason, f"{whose} has lost {plain(loss)} today, the limit is {plain(limit)}")
