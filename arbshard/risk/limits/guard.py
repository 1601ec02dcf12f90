"""``RiskGuard`` decides whether an intent may be traded. Pure checks of portfolio, intent and time; ``core`` calls
it.

The first check that fails names the reason. Halt and ordered closes come first; then checks run by the numbers of
``model.refusal``, except BALANCE (501): it comes after 502 to 504, because it would only be their consequence.
Entries alone are limited: an exit is checked only for STOPPED, balances, PAIR_BUSY and, for a pair that only a
person closes, PAIR_SET_APART. Hedges are not checked here.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from arbshard.clock import KnownInstants
from arbshard.config import FxConfig, LimitsConfig
from arbshard.ledger.events import Hold
from arbshard.model.book import PairView
from arbshard.model.entry_terms import Baseline
from arbshard.model.intent import BY_HAND, Intent, IntentKind, LeadingLeg
from arbshard.model.market import Direction, Leg, Pair
from arbshard.model.money import ZERO, exact, plain
from arbshard.model.order import Order
from arbshard.model.refusal import Refusal
from arbshard.risk import validation as forms
from arbshard.risk.limits.correlations import GapCorrelations
from arbshard.risk.limits.effective import EffectiveLimits, SymbolRiskLimits, TokenBucket
from arbshard.risk.limits.fx_guard import FxGuard
from arbshard.risk.limits.refusal_log import RefusalLog
from arbshard.risk.limits.ways_out import WaysOut
from arbshard.risk.portfolio.attempts import Attempts
from arbshard.risk.portfolio.holdings import Account, away_change_of, hold_for, notional_of
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.reconcile.reconciler import Reconciler
from arbshard.risk.validation import Moment, Objection
from arbshard.wire.messages import Available, Submit

LEGS = 2
"""Number of legs of an intent."""
_HOLDERS_NAMED = 5
_VIEW_AGE_NS_MAX = 5_000_000_000
"""Books that are older than this, in ns, are not used as a view. Risk reads those of 400 pairs in a second."""


class EntryRule(Protocol):
    """A rule that refuses entries whatever their size. Add it to ``RiskGuard.entry_rules``."""

    def objection(self, pair: Pair, direction: Direction, moment: Moment) -> Objection | None:
        """Return why the pair makes no entry of this direction now, or None."""
        ...


class SymbolStats(NamedTuple):
    """Holds approvals and refusals of a symbol since the last start, and its loss of the day."""

    allowed: int
    rejected: dict[Refusal, int]
    loss: Decimal
    """Realised loss of the day in reporting currency; 0 when it has gained."""


class RiskGuard:
    """Compares intents with the limits and the state of the portfolio."""

    def __init__(
        self,
        limits: LimitsConfig,
        state: PortfolioState,
        reconciler: Reconciler | None = None,
        pairs: Mapping[str, Pair] | None = None,
        fx: FxGuard | None = None,
    ) -> None:
        """Begin with an empty log of refusals.

        ``reconciler``: what the venues state; None on paper, where only the ledger has balances. ``pairs``: all that
        are traded, by base; changed in place. ``fx``: None for one with the default settings.
        """
        self.limits = EffectiveLimits(limits, state.standing)
        self.ways_out = WaysOut(pairs if pairs is not None else {}, state, self.limits)
        self.refusals = RefusalLog()
        self._state = state
        self._bucket = TokenBucket()
        self._last_losses = KnownInstants()
        """Time at which each symbol last lost."""
        self.fx = fx if fx is not None else FxGuard(FxConfig())
        self.correlations = GapCorrelations(self._exposed)
        self._views: Mapping[str, PairView] = {}
        self.entry_rules: list[EntryRule] = [reconciler] if reconciler is not None else []
        """``standing_objection`` asks these in their order."""
        self.baselines: Mapping[str, Baseline] = {}
        """What each pair's gap returns to, by base. The sampler of the gaps changes it, and rules read it too."""
        self.unviewed = 0
        """Number of entries whose limit prices were compared with no books, because risk had read none of the pair
        lately.
        """
        self.disk_short = ""
        """Why there is too little room for the ledger to enter anything; empty when there is enough."""
        self.is_supervisor_silent = False
        """Whether entries are refused because no beat of the supervisor is seen."""
        self.lost: Mapping[Refusal, str] = {}
        """Refusals that hold because of a loss or of naked exposure, and why: ``watch`` keeps them, and they are
        read here.
        """
        self.unrealised_by: Mapping[str, Decimal] = {}
        """What closing its open positions would bring, by symbol: kept by ``risk.valuation``."""
        self._reconciler = reconciler
        self.rests: dict[tuple[str, IntentKind], int] = {}
        """Pairs whose last trades of a kind achieved nothing: monotonic time before which none may follow. A restart
        forgets it, and the first trade after it finds out again."""
        self._is_draining = False

    def set_symbol_limits(self, limits: SymbolRiskLimits) -> None:
        """Give a symbol limits of its own."""
        self.limits.set_own(limits)

    def get_symbol_limits(self, symbol: str) -> SymbolRiskLimits:
        """Return the symbol's own limits, or those of the configuration, before any tightening."""
        return self.limits.of(symbol)

    def set_views(self, views: Mapping[str, PairView]) -> None:
        """Use these books, by base, as risk's own view of the pairs; they are changed in place."""
        self._views = views
        self.ways_out.set_views(views)

    def standing_objection(self, pair: Pair, direction: Direction, moment: Moment) -> Objection | None:
        """Return why entries of this direction are refused whatever their size, or None.

        Workers receive it (``risk.entry_terms``), so that they do not ask in vain.
        """
        for rule in self.entry_rules:
            objection = rule.objection(pair, direction, moment)
            if objection is not None:
                return objection
        return None

    def room(self, symbol: str) -> tuple[Decimal, Refusal]:
        """Return the largest entry of ``symbol`` in reporting currency for which the limits in force have room, and
        the refusal of a larger one.

        Only limits of amounts count; the smaller of both venues' room is taken.
        """
        state, limits, own = self._state, self.limits.portfolio(), self.limits.of(symbol)
        factor, all_factor = self.limits.factor(symbol), self.limits.factor("")
        of_symbol = own.capital_limit_notional * factor - state.get_total_symbol_position_value(symbol)
        of_venue = limits.venue_notional_max * all_factor - max(state.exposures.values())
        rooms = [
            (of_symbol, Refusal.SYMBOL_NOTIONAL),
            (limits.portfolio_notional_max * all_factor - state.exposure, Refusal.PORTFOLIO_NOTIONAL),
            (of_venue, Refusal.VENUE_NOTIONAL),
        ]
        if own.max_order_notional is not None:
            rooms.append((own.max_order_notional * factor, Refusal.ORDER_NOTIONAL))
        return min(rooms)

    def check_id(self, request: Submit) -> Objection | None:
        """Return the known refusal of the intent, or why its id cannot be that of a new one; None for a new one."""
        state, intent_id = self._state, request.intent.intent_id
        problem = forms.id_problem(intent_id, request.shard, request.epoch)
        if problem is not None:
            return Objection(Refusal.MALFORMED, problem)
        if intent_id in state.trades:
            return Objection(Refusal.MALFORMED, f"{intent_id} is another intent")
        before = state.refusals.get(intent_id)
        if before is not None:
            return Objection(before.reason, before.detail)
        answered = self.refusals.answers.get(intent_id)
        if answered is not None:
            return answered
        prefix, _, number = intent_id.rpartition("-")
        if intent_id in state.outcomes or int(number) <= state.spent.get(prefix, 0):
            # To approve it again would send its orders again.
            return Objection(Refusal.MALFORMED, f"{intent_id} is over")
        return None

    def check_intent(
        self,
        intent: Intent,
        pair: Pair | None,
        available: Available,
        moment: Moment,
        expiry_ms: float,
        *,
        draining: bool,
    ) -> Objection | None:
        """Return why a new intent is refused; None when it may be traded.

        ``available``: what the pair's orders may spend. ``expiry_ms``: how old an entry's decision may be.
        ``draining``: the run is ending, only exits are let through.
        """
        if pair is None:
            return Objection(Refusal.UNKNOWN_PAIR, f"{intent.pair} is not traded in this run")
        problem = forms.intent_problem(intent, pair)
        if problem is not None:
            return Objection(Refusal.MALFORMED, problem)
        if intent.kind == "exit":
            position = self._state.positions.get(intent.position_id)
            if position is None:
                return Objection(Refusal.UNKNOWN_POSITION, f"{intent.position_id} is not open")
            problem = forms.exit_problem(intent, pair, position)
            if problem is not None:
                return Objection(Refusal.MALFORMED, problem)
            objection = self._check_exit_way(intent, pair)
            if objection is not None:
                return objection
        if draining and not self._is_draining:  # the run ends: every position may be left at once, once
            self.rests.clear()
        self._is_draining = draining
        objection = self._check_rest(intent, moment) or self.check_trade_allowed(
            intent, pair, available, moment, draining=draining
        )
        if objection is not None:
            return objection
        age_ms = moment.now_ms - intent.decided_ms
        if intent.kind == "entry" and age_ms > expiry_ms:
            return Objection(Refusal.EXPIRED, f"decided {age_ms} ms ago")
        return None

    def check_trade_allowed(
        self, intent: Intent, pair: Pair, available: Available, moment: Moment, *, draining: bool
    ) -> Objection | None:
        """Run all checks of a well-formed intent. Return the first objection, None when it may be traded."""
        is_entry = intent.kind == "entry"
        if is_entry:
            objection = (
                self.check_halt(intent.pair)
                or self._check_venues(pair)
                or self.standing_objection(pair, intent.direction, moment)
                or self.check_trade_allowed_for_symbol(intent, moment)
                or self.fx.objection_to(intent.fx)
                or self._check_prices(intent, pair, moment)
                or self.check_trade_allowed_for_portfolio(intent, pair, moment)
            )
        else:
            objection = self._check_apart(intent) or self._check_stop(intent)
        if objection is not None:
            return objection
        objection = self.check_balances(intent, pair, available)
        if objection is not None:
            return objection
        if is_entry and draining:
            return Objection(Refusal.STOPPING, "no new entries: the run is ending")
        other = self._state.busy.get(intent.pair)
        if other is not None:
            return Objection(Refusal.PAIR_BUSY, f"{other} has no outcome yet")
        return None

    def exit_attempts(self, pair: Pair) -> Attempts | None:
        """Return the exits of the pair that achieved nothing, and which leg goes first; None for as usual.

        A venue or market that is known to take no orders counts like an exit that has failed there.
        """
        known = self._state.attempts.get((pair.base, "exit"))
        if known is not None and known.lead != "both":
            return known
        refusal = self._state.venues.refusal(pair) if self._state.venues.refuses else None
        if refusal is None:
            return known
        is_home = refusal.venue == pair.home.market.venue
        lead: LeadingLeg = "home" if is_home else "away"
        why = f"{refusal.where} takes no orders: {refusal.why}"
        if known is not None:
            return replace(known, lead=lead, is_small=True, why=why)
        return Attempts(tries=0, lead=lead, is_small=True, is_waiting=False, why=why)

    def _check_exit_way(self, intent: Intent, pair: Pair) -> Objection | None:
        """Refuse (613) an exit unless the leg that failed, or whose venue refuses orders, goes first and alone."""
        known = self.exit_attempts(pair)
        if known is None or known.lead in ("both", intent.lead) or intent.reason == "one_leg":
            return None
        return Objection(Refusal.EXIT_WAITS, f"the {known.lead} leg has to go first: {known.why}")

    def _check_rest(self, intent: Intent, moment: Moment) -> Objection | None:
        """Refuse (613, 614) a trade in the pause after trades that achieved nothing."""
        until_ns = self.rests.get((intent.pair, intent.kind), 0)
        if moment.now_ns >= until_ns:
            return None
        reason = Refusal.EXIT_WAITS if intent.kind == "exit" else Refusal.ENTRY_WAITS
        wait_ms = (until_ns - moment.now_ns) // 1_000_000
        return Objection(reason, f"{wait_ms} ms: {self._state.attempts[intent.pair, intent.kind].why}")

    def set_rest(self, pair: str, kind: IntentKind, until_ns: int) -> None:
        """Refuse trades of this kind of the pair before ``until_ns`` (monotonic) if the last achieved nothing."""
        if (pair, kind) in self._state.attempts:
            self.rests[pair, kind] = until_ns
        else:
            self.rests.pop((pair, kind), None)

    def end_rests(self, pairs: Iterable[str]) -> None:
        """Allow exits of these pairs at once: a person has ordered them."""
        for pair in pairs:
            self.rests.pop((pair, "exit"), None)

    def count_orders(self, count: int, moment: Moment) -> None:
        """Count ``count`` orders of any kind against the rate of orders."""
        self._bucket.consume(count, moment.now_ns, self.limits.portfolio().orders_per_s_max)

    def check_halt(self, symbol: str) -> Objection | None:
        """Return the objection of 605 to 609, or None."""
        if self.is_supervisor_silent:
            return Objection(
                Refusal.SUPERVISOR_SILENT, "no beat of the supervisor: the books are not updated"
            )
        if self.disk_short:
            return Objection(Refusal.DISK_SHORT, self.disk_short)
        halt = self._state.standing.halt
        if halt is not None:
            return Objection(Refusal.HALTED, halt.reason)
        reason = self._state.standing.closing.get(symbol)
        if reason is not None:
            return Objection(Refusal.PAIR_CLOSING, f"{symbol} is being closed ({reason})")
        apart = self._state.standing.apart.get(symbol)
        if apart is not None:
            return Objection(Refusal.PAIR_SET_APART, f"{symbol} is set apart ({apart.cause}): {apart.reason}")
        return None

    def _check_venues(self, pair: Pair) -> Objection | None:
        """Refuse (610, 611) intents of a pair of which a venue or market refuses orders."""
        if not self._state.venues.refuses:  # the usual case
            return None
        refusal = self._state.venues.refusal(pair)
        if refusal is None:
            return None
        reason = Refusal.MARKET_REFUSES if refusal.symbol else Refusal.VENUE_REFUSES
        return Objection(reason, f"{refusal.where} takes no orders: {refusal.why}")

    def _check_apart(self, intent: Intent) -> Objection | None:
        """Refuse (609) exits of a pair that is set apart for a cause that leaves it to a person to close the pair."""
        apart = self._state.standing.apart.get(intent.pair)
        if apart is None or not apart.is_closed_by_hand or intent.reason in BY_HAND:
            return None
        detail = f"{intent.pair} is set apart ({apart.cause}) and is closed only by hand: {apart.reason}"
        return Objection(Refusal.PAIR_SET_APART, detail)

    def _check_stop(self, intent: Intent) -> Objection | None:
        """Refuse (612) exits under a halt of a level that leaves it to a person to close anything."""
        halt = self._state.standing.halt
        if halt is None or halt.level != "stopped" or intent.reason in BY_HAND:
            return None
        return Objection(Refusal.STOPPED, f"exits are stopped too ({halt.cause}): {halt.reason}")

    def check_trade_allowed_for_symbol(self, intent: Intent, moment: Moment) -> Objection | None:
        """Return the first objection of 301 to 307, or None."""
        state, symbol = self._state, intent.pair
        limits, factor = self.limits.of(symbol), self.limits.factor(symbol)
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
        loss = state.results.loss(moment.day, symbol) - self.unrealised_by.get(symbol, ZERO)
        if limits.max_daily_loss is not None and loss >= limits.max_daily_loss:
            return _lost(Refusal.SYMBOL_DAILY_LOSS, symbol, loss, limits.max_daily_loss)
        return self._check_streak(limits, moment) or _check_edge(intent, self.limits.portfolio())

    def check_trade_allowed_for_portfolio(
        self, intent: Intent, pair: Pair, moment: Moment
    ) -> Objection | None:
        """Return the first objection of 401 to 413, or None. Entries under way count as filled."""
        state, limits = self._state, self.limits.portfolio()
        factor = self.limits.factor("")
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
        if Refusal.DAILY_LOSS in self.lost:
            return Objection(Refusal.DAILY_LOSS, self.lost[Refusal.DAILY_LOSS])
        venue = state.exposures[intent.direction] + order
        if venue > limits.venue_notional_max * factor:
            bought, sold = (
                (pair.home, pair.away) if intent.direction == "buy_home" else (pair.away, pair.home)
            )
            what = f"bought on {bought.market.venue}, sold on {sold.market.venue}"
            return _above(Refusal.VENUE_NOTIONAL, what, venue, limits.venue_notional_max * factor)
        if Refusal.DRAWDOWN in self.lost:
            return Objection(Refusal.DRAWDOWN, self.lost[Refusal.DRAWDOWN])
        if self._bucket.tokens(moment.now_ns, limits.orders_per_s_max) < LEGS:
            return Objection(Refusal.ORDER_RATE, f"{limits.orders_per_s_max:g} orders per second")
        crowd = self._check_crowd(intent.pair, order, gross, limits, factor)
        if crowd is not None:
            return crowd
        if self.lost:
            return Objection(*min(self.lost.items()))
        return self._check_fx_exposure(intent, limits, factor)

    def free(self, venue: str, currency: str) -> Decimal:
        """Return what of a balance is held for nothing, by the ledger and, live, by the venue."""
        source = self._state.balances if self._reconciler is None else self._reconciler
        return source.available(venue, currency)

    def available(self, pair: Pair) -> Available:
        """Return what new orders of the pair may spend: its four balances, less what is held for orders under way.

        Live, what orders of others have locked at the venue is not available either.
        """
        return tuple(
            (leg.market.venue, currency, self.free(leg.market.venue, currency))
            for leg in (pair.home, pair.away)
            for currency in (leg.market.quote, leg.market.base)
        )

    def available_to_enter(self, pair: Pair) -> Available:
        """Return what entries of the pair may spend: ``available``, less what the ways out of all pairs need."""
        return self.left_to_enter(self.available(pair))

    def left_to_enter(self, available: Available, holds: Iterable[Hold] = ()) -> Available:
        """Return what entries may spend of ``available`` after ``holds`` are set aside."""
        taken = {(hold.venue, hold.currency): hold.amount for hold in holds}
        needed = self.ways_out.needed()
        return tuple(
            (where, what, max(ZERO, free - taken.get((where, what), ZERO) - needed.get((where, what), ZERO)))
            for where, what, free in available
        )

    def check_balances(self, intent: Intent, pair: Pair, available: Available) -> Objection | None:
        """Refuse (502, 501) what cannot be paid for out of what is ``available``.

        An entry cannot spend what the ways out of all pairs need, and needs one itself.
        """
        if not self._state.is_funded(pair):
            return Objection(Refusal.NOT_FUNDED, f"{intent.pair} has no inventory yet")
        wanted: list[tuple[Account, Decimal]] = [
            ((hold.venue, hold.currency), hold.amount) for hold in holds_for(intent, pair)
        ]
        needed: Mapping[Account, Decimal] = {}
        if intent.kind == "entry":
            wanted += self.ways_out.of_entry(intent, pair)
            needed = self.ways_out.needed()
        for number, (account, amount) in enumerate(wanted):
            free, held = amount_of(available, *account), needed.get(account, ZERO)
            if amount > free - held:
                what = "needed" if number < LEGS else "needed to leave again"
                detail = f"{' '.join(account)}: {plain(amount)} {what}, {plain(free)} free"
                return Objection(Refusal.BALANCE, detail + self._why_held(account, held))
        return None

    def _why_held(self, account: Account, held: Decimal) -> str:
        if not held:
            return ""
        holders = self.ways_out.holders(account)
        named = ", ".join(holders[:_HOLDERS_NAMED])
        more = f" and {len(holders) - _HOLDERS_NAMED} more" if len(holders) > _HOLDERS_NAMED else ""
        return f", {plain(held)} of it held for the ways out of {named}{more}"

    def get_symbol_stats(self, symbol: str, day: int) -> SymbolStats:
        """Return the counts of the session and the loss of ``day``."""
        results = self._state.results
        rejected: dict[Refusal, int] = {}
        for table in (results.refused, self.refusals.pending):
            for (base, reason), count in table.items():
                if base == symbol:
                    rejected[reason] = rejected.get(reason, 0) + count
        allowed = results.approved.get(symbol, 0)
        return SymbolStats(allowed, rejected, max(ZERO, results.loss(day, symbol)))

    def correlated_exposure(self, symbol: str) -> tuple[Decimal, str]:
        """Return the exposure of ``symbol`` and of all that correlate with it, and why pairs without a known
        correlation count too.
        """
        state, limits = self._state, self.limits.portfolio()
        stress = self.stress()
        if stress:
            return state.exposure, f"all pairs count as one: {stress}"
        mine = state.get_symbol_exposure(symbol)
        unknown = []
        for base in self._exposed():
            if base == symbol:
                continue
            known = self.correlations.get(base, symbol)
            if known is None:
                unknown.append(base)
            if (known is None and limits.unknown_correlated) or (known or 0.0) > limits.correlation_min:
                mine += state.get_symbol_exposure(base)
        if not unknown or not limits.unknown_correlated:
            return mine, ""
        return mine, f"the correlation with {len(unknown)} of them is not known yet"

    def fx_exposure(self) -> Decimal:
        """Return the worth of the away quote that open positions hold or owe, at the FX rate that risk saw last."""
        held, figures = self._state.away_held, self.fx.figures
        if figures is not None:
            return round(abs(held) * exact(figures.rate), 2)
        rates = [one.entry_fx.mid for one in self._state.positions.values() if one.entry_fx is not None]
        return round(abs(held) * rates[-1], 2) if rates else ZERO

    def stress(self) -> str:
        """Return why all pairs count as one for the limit of correlated exposure; empty while they do not."""
        if self.fx.doubt:
            return self.fx.doubt
        typical, least = self.correlations.typical, self.limits.portfolio().stress_correlation
        if typical is not None and typical >= least:
            return f"half of the known correlations are {typical:.2f} or more, the limit is {least:g}"
        return ""

    def _exposed(self) -> set[str]:
        """Return the bases with an open position or an intent under way."""
        state = self._state
        return {base for base, held in state.per_symbol_positions.items() if held} | state.busy.keys()

    def _check_streak(self, limits: SymbolRiskLimits, moment: Moment) -> Objection | None:
        """Refuse (306) an entry in the pause after every ``loss_streak_max``-th loss in a row, and not after each
        further one.
        """
        streak = self._state.results.streaks.get(limits.symbol)
        if streak is None or limits.loss_streak_max is None or streak.losses % limits.loss_streak_max:
            return None
        last_ns = self._last_losses.monotonic_of(limits.symbol, streak.last_ms, moment.now_ns, moment.now_ms)
        left_ms = int(limits.loss_streak_pause_s * 1000) - (moment.now_ns - last_ns) // 1_000_000
        if left_ms <= 0:
            return None
        detail = f"{limits.symbol} has lost {streak.losses} times in a row and pauses for {left_ms} ms more"
        return Objection(Refusal.LOSS_STREAK, detail)

    def _check_prices(self, intent: Intent, pair: Pair, moment: Moment) -> Objection | None:
        """Refuse (309, 310) an entry by its own limit prices, compared with each other and with risk's books."""
        limits = self.limits.portfolio()
        net_bps = net_edge_bps(intent, pair)
        if net_bps < limits.edge_bps_min:
            detail = f"{net_bps:.1f} bps after fees at its limit prices, the least is {limits.edge_bps_min:g}"
            return Objection(Refusal.EDGE_BELOW_FLOOR, detail)
        view = self._views.get(intent.pair)
        if view is None or moment.now_ns - view.seen_ns > _VIEW_AGE_NS_MAX:
            self.unviewed += 1
            return None
        for order, top in ((intent.home, view.home), (intent.away, view.away)):
            seen = top.best_ask if order.side == "buy" else top.best_bid
            if abs(float(order.limit) / seen - 1) * 1e4 > limits.price_bound_bps:
                detail = f"{order.client_id}: limit {plain(order.limit)}, risk has seen {seen:.12g}"
                return Objection(
                    Refusal.PRICE_OUT_OF_BOUNDS,
                    f"{detail}; {limits.price_bound_bps:g} bps are allowed between them",
                )
        return None

    def _check_crowd(
        self, symbol: str, order: Decimal, gross: Decimal, limits: LimitsConfig, factor: Decimal
    ) -> Objection | None:
        """Refuse (408, 409) an entry when there is too much of one kind."""
        mine = self._state.get_symbol_exposure(symbol) + order
        if gross > limits.concentration_floor and mine > gross * Decimal(repr(limits.concentration_max)):
            detail = f"{symbol} would be {plain(mine)} of {plain(gross)}"
            return Objection(
                Refusal.CONCENTRATION, f"{detail}, the limit is {limits.concentration_max:g} of it"
            )
        limit = limits.correlated_notional_max * factor
        if gross <= limit:  # all pairs together are below it
            return None
        alike, why = self.correlated_exposure(symbol)
        if alike + order > limit:
            what = f"{symbol} and what moves with it{f' ({why})' if why else ''}"
            return _above(Refusal.CORRELATED_NOTIONAL, what, alike + order, limit)
        return None

    def _check_fx_exposure(self, intent: Intent, limits: LimitsConfig, factor: Decimal) -> Objection | None:
        """Refuse (413) an entry by what open positions and entries under way hold or owe of the away quote."""
        held, change = self._state.away_held, away_change_of(intent)
        limit, rate = limits.fx_exposure_max * factor, intent.fx.ask
        if abs(held + change) * rate <= limit or abs(held + change) <= abs(held):
            return None
        quote = intent.away.market.quote
        what = f"{plain(held + change)} {quote} in open positions"
        return _above(Refusal.FX_EXPOSURE, what, abs(held + change) * rate, limit)


def holds_for(intent: Intent, pair: Pair) -> tuple[Hold, Hold]:
    """Return what both legs can spend at most. A leg of an exit that is below its venue's minimum is not sent."""
    home, away = hold_for(intent.home, pair.home), hold_for(intent.away, pair.away)
    if intent.kind == "entry":
        return home, away
    return _of_sent(home, intent.home, pair.home), _of_sent(away, intent.away, pair.away)


def _of_sent(hold: Hold, order: Order, leg: Leg) -> Hold:
    return replace(hold, amount=ZERO) if leg.rules.is_too_small(order.limit, order.quantity) else hold


def amount_of(available: Available, venue: str, currency: str) -> Decimal:
    """Return how much of ``available`` is of one venue and currency. Raises ``KeyError`` when it is not listed."""
    for where, what, amount in available:
        if where == venue and what == currency:
            return amount
    raise KeyError((venue, currency))


def implied_edge_bps(intent: Intent) -> float:
    """Return what both legs bring at their limit prices, before fees, in basis points of what is bought."""
    home, away = intent.home, intent.away
    at_home = float(home.quantity) * float(home.limit)
    rate = intent.fx.ask if away.side == "buy" else intent.fx.bid
    at_away = float(away.quantity) * float(away.limit) * float(rate)
    cost, proceeds = (at_home, at_away) if home.side == "buy" else (at_away, at_home)
    return (proceeds / cost - 1) * 1e4


def net_edge_bps(intent: Intent, pair: Pair) -> float:
    """Return what a coin brings, bought and sold at the limit prices, after fees, in basis points of its cost.

    Quantities do not count: what a lot leaves over is kept.
    """
    buy, sell = (intent.home, intent.away) if intent.home.side == "buy" else (intent.away, intent.home)
    home_is_bought = buy is intent.home
    bought, sold = (pair.home, pair.away) if home_is_bought else (pair.away, pair.home)
    fee, kept = float(bought.fees.buy_bps) / 1e4, 1.0
    if bought.fees.buy_fee_in_base:
        fee, kept = 0.0, 1.0 - fee
    cost = float(buy.limit) * (1.0 + fee)
    proceeds = float(sell.limit) * kept * (1.0 - float(sold.fees.sell_bps) / 1e4)
    if home_is_bought:
        proceeds *= float(intent.fx.bid)
    else:
        cost *= float(intent.fx.ask)
    return (proceeds / cost - 1.0) * 1e4


def _check_edge(intent: Intent, limits: LimitsConfig) -> Objection | None:
    """Refuse (307) an entry whose own limit prices promise too little, whatever its worker says."""
    edge_bps = max(intent.edge_bps, implied_edge_bps(intent))
    if edge_bps <= limits.edge_bps_max:
        return None
    detail = f"{edge_bps:.1f} bps promised, the limit is {limits.edge_bps_max:g}"
    return Objection(Refusal.EDGE_IMPLAUSIBLE, detail)


def _above(reason: Refusal, what: str, value: Decimal, limit: Decimal) -> Objection:
    return Objection(reason, f"{what} would come to {plain(value)}, the limit is {plain(limit)}")


def _lost(reason: Refusal, whose: str, loss: Decimal, limit: Decimal) -> Objection:
    return Objection(reason, f"{whose} has lost {plain(loss)} today, the limit is {plain(limit)}")
