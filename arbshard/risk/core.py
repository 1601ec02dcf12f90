"""``RiskCore`` turns one request into one reply and its events. Pure; ``service`` calls it.

Every request may come twice, late, or after a restart of risk: what is known already is answered as before and makes
no event. Decisions are provisional until ``commit``; when the ledger cannot be written, ``rollback`` undoes them.
"""

from decimal import Decimal
from statistics import median

from arbshard.config import Config, zone_of
from arbshard.engine.baseline import Baselines
from arbshard.ledger.events import (
    ClosesOrdered,
    Deposited,
    Event,
    Halted,
    IntentApproved,
    IntentConcluded,
    IntentRefused,
    LeaderBegan,
    OrderReported,
    ShardGranted,
    Started,
    Stopped,
)
from arbshard.model.intent import Intent, IntentKind, Retry
from arbshard.model.money import BPS, ZERO, plain
from arbshard.model.order import Fill, Order
from arbshard.model.phase import Phase
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.model.risk_note import Orders
from arbshard.model.universe import Universe
from arbshard.risk import validation as forms
from arbshard.risk.booking import (
    book_conclusion,
    book_ending,
    book_extension,
    book_report,
    inventory_deposits,
    opening_deposits,
)
from arbshard.risk.coin_identity import CoinIdentity
from arbshard.risk.entry_terms import TermsKeeper
from arbshard.risk.fee_rule import FeeRule
from arbshard.risk.inventory import InventoryKeeper
from arbshard.risk.limits.fx_guard import FxGuard
from arbshard.risk.limits.guard import LEGS, RiskGuard, holds_for
from arbshard.risk.limits.reversion import Rearming, ReversionRule
from arbshard.risk.limits.watch import Watch
from arbshard.risk.operators import REASON_MAX, Operators
from arbshard.risk.portfolio.attempts import retry_of
from arbshard.risk.portfolio.operator_state import set_apart
from arbshard.risk.portfolio.results import TradingDays
from arbshard.risk.portfolio.state import GrantedShard, PortfolioState
from arbshard.risk.portfolio.venue_states import unclosable
from arbshard.risk.reconcile.reconciler import Reconciler, reconciliation_of
from arbshard.risk.reconcile.tolerance import Tolerances
from arbshard.risk.rest import RestSpan
from arbshard.risk.shards.ownership import (
    HandOver,
    Ownership,
    fenced,
    greeting_objection,
    joined,
    objection_to_speaker,
)
from arbshard.risk.transfers import TransferDesk
from arbshard.risk.validation import Moment, Objection
from arbshard.risk.valuation import Valuation
from arbshard.risk.venue_facts import VenueAcceptance
from arbshard.risk.venue_warnings import VenueWarnings
from arbshard.wire.inventory import (
    AnnounceTransfer,
    ArriveTransfer,
    EndTransfer,
    ShowInventory,
    ShowTransfers,
)
from arbshard.wire.messages import (
    Adopt,
    Approved,
    Available,
    Command,
    CommandReply,
    Conclude,
    ConfirmCoin,
    Denied,
    Done,
    Extend,
    Fund,
    Funded,
    Hello,
    Instructed,
    Instructions,
    Noted,
    ReadTerms,
    Refused,
    Reply,
    Report,
    Request,
    SetApart,
    Settled,
    Statement,
    Submit,
)
from arbshard.wire.reconciliation import AcceptDifference, EndIntent, Reconciliation, ShowReconciliation

RequestOutcome = tuple[Reply, list[Event]]


class RiskCore:
    """Decides on requests with the portfolio, and changes it by the events that it decides on."""

    def __init__(self, config: Config, universe: Universe, state: PortfolioState, tag: str = "") -> None:
        """Make a core. ``tag`` is the ledger's: part of every order's name at its venue."""
        self._config = config
        self.ownership = Ownership(universe)
        self._pairs = self.ownership.pairs
        self.state = state
        self._tag = tag
        self._has_cluster = config.cluster is not None
        self.valuation = Valuation(state)
        self.reconciler: Reconciler | None = None
        """The comparison with the venues; None on paper, where no venue keeps accounts."""
        if config.mode == "live":
            self.reconciler = Reconciler(
                self._pairs,
                state,
                tolerances=Tolerances(config.live, self.valuation.price_of),
                age_max_s=config.live.statement_age_max_s,
                tag=tag,
            )
        self.orders = orders_of(config)
        self.states_every_s = config.live.reconcile_every_s if self.reconciler is not None else 0.0
        fx = FxGuard(config.fx, config.series.sample_ms, self._baseline_level)
        self.guard = RiskGuard(config.limits, state, self.reconciler, self._pairs, fx)
        self.rearming = Rearming(config.strategy, state, self._level_of)
        self.guard.entry_rules += (fx, self.rearming)
        self.terms = TermsKeeper(self.guard, self.ownership, state.session + 1, config.sizing)
        self.venue_facts = VenueAcceptance(state, self.reconciler)
        self.warnings = VenueWarnings(config.warnings, self._pairs, state)
        self.warnings.set_universe(universe)
        self.guard.entry_rules.append(self.warnings)
        self.identity = CoinIdentity(config.symbols, self._pairs, state)
        self.identity.set_names(self.warnings.coin_names())
        self.guard.entry_rules.append(self.identity)
        self.fee_rule = FeeRule()
        if self.reconciler is not None:  # on paper no account states fees
            self.guard.entry_rules.append(self.fee_rule)
        self._handover = HandOver(state, self.ownership, self.guard.available_to_enter, self._retries, tag)
        self.days = TradingDays(config.limits.day_starts, zone_of(config.limits.time_zone))
        self._late: dict[str, tuple[Fill, ...]] = {}
        """Fills of open intents that were booked after the end of their orders."""
        self.broken: str | None = None
        """Why the books do not balance; None when they do."""
        self._watch = Watch(self.guard, state, self.valuation, state.apply, config)
        self._operators = Operators(self._pairs, state, self.guard, self.valuation, self.unclosable, config)
        self._baselines: Baselines | None = None
        self.has_new_terms = False
        """Whether the last tick completed a round over the terms of entry of all pairs."""
        self.inventory = InventoryKeeper(config, state, self.ownership, self.guard, self.valuation)
        self._transfers = TransferDesk(
            state,
            self.reconciler,
            self.inventory.price_of,
            self.inventory.movable,
            lambda: self.ownership.venues,
        )
        if self.reconciler is not None:
            self.reconciler.recognise = self._transfers.recognise
        self.lost_feeds: frozenset[str] = frozenset()
        """Venues from which no books come, as the supervisor reports."""

    def note_gap(self, base: str, gap: float, implied_rate: float, now_ns: int) -> None:
        """Use a sample of a pair: its gap in basis points, and its home mid over its away mid."""
        self.rearming.note_gap(base, gap)
        self.guard.fx.set_implied(base, implied_rate, now_ns)

    def start(self, now_ms: int, run: str, version: str, now_ns: int | None = None) -> list[Event]:
        """Begin a session; the first one of a ledger on paper is given its opening balances."""
        config = self._config
        events: list[Event] = [
            Started(
                at_ms=now_ms,
                session=self.state.session + 1,
                run=run,
                mode=mode_of(config),
                version=version,
                reporting=config.reporting,
            )
        ]
        if run != self.state.run:
            events += self.venue_facts.begin_run(now_ms)
        if self.reconciler is None:
            events += opening_deposits(self.ownership.universe, config.paper, self.state.balances, now_ms)
        else:
            self.reconciler.activity.begin(self._moment(now_ms, now_ns).now_ns)
            if config.data == "sim" and run != self.state.run:
                self.reconciler.begin_anew()
        self._apply(events)
        self.guard.ways_out.recalculate()
        moment = self._moment(now_ms, now_ns)
        self._watch.begin(moment.now_ns)
        return events + self._compare_listing(moment)

    def stop(self, now_ms: int, cut_off: str = "") -> list[Event]:
        """End the session. ``cut_off``: why the run does not end in order; empty where it does."""
        events: list[Event] = [*self.guard.refusals.flush(now_ms, 0, is_last=True)]
        events += self.valuation.statement(now_ms, at_once=True)
        events.append(Stopped(at_ms=now_ms, balances=self.state.balances.totals(), cut_off=cut_off))
        self._apply(events)
        return events

    def set_universe(self, universe: Universe, now_ms: int, now_ns: int | None = None) -> list[Event]:
        """Take over pairs that came, went, or changed; returns the events to store, applied already."""
        self.ownership.set(universe)
        self.warnings.set_universe(universe)
        self.identity.set_names(self.warnings.coin_names())
        self.guard.ways_out.recalculate()
        events: list[Event] = []
        if self.reconciler is not None:
            self.reconciler.set_pairs()
        else:  # a quote that was not traded before has its opening balance, too
            events += opening_deposits(universe, self._config.paper, self.state.balances, now_ms)
        self._apply(events)
        return events + self._compare_listing(self._moment(now_ms, now_ns))

    def handle(self, request: Request, now_ms: int, phase: int, now_ns: int | None = None) -> RequestOutcome:
        """Return the reply to ``request`` and the events to store before it is sent; they are applied already.

        ``phase`` is the run's (``model.phase``). ``now_ns`` is monotonic; without it the wall time is used, which is
        right for a virtual clock. Nothing is raised for what a worker sends: it is refused.
        """
        moment = self._moment(now_ms, now_ns)
        if moment.day != self._watch.day:
            self._watch.begin_day(moment)
        reply, events = self._decide(request, moment, phase)
        if events and not isinstance(request, Submit):  # neither an approval nor a refusal is a result
            events += self._watch.after(events, moment, is_left=_is_left(request))
        return reply, events

    def command(
        self, command: Command, now_ms: int, now_ns: int | None = None
    ) -> tuple[CommandReply, list[Event]]:
        """Return the reply to a person's command, or to a statement of the accounts process, and the events to store.

        The events are applied already.
        """
        moment = self._moment(now_ms, now_ns)
        answer, events = self._answer(command, moment)
        ended = [
            self.state.trades[one.intent_id].intent for one in events if isinstance(one, IntentConcluded)
        ]
        self._apply(events)
        for intent in ended:  # a person has ended it
            self._set_rest(intent.pair, intent.kind, moment)
        events += self._watch.after(events, moment)
        return answer, events

    def tick(self, now_ms: int, now_ns: int | None = None, *, feeds_silent: bool = False) -> list[Event]:
        """Return what follows from the passing of time. Call it often; ``feeds_silent``: no venue sends anything."""
        moment = self._moment(now_ms, now_ns)
        events: list[Event] = [*self.guard.refusals.flush(now_ms, moment.now_ns)]
        events += self.venue_facts.tick(moment)
        events += self.identity.tick(moment)
        if self.warnings.by_pair:
            events += self.warnings.closes(self.unclosable(), now_ms)
        self._apply(events)
        self.guard.ways_out.refresh()
        self._refresh_terms(moment)
        return events + self._watch.tick(moment, feeds_silent=feeds_silent)

    def is_at_rest(self, now_ms: int, until_ms: int) -> bool:
        """Return whether ticks up to ``until_ms`` decide nothing as long as no event comes and FX is calm.

        Nothing is held, under way, counted for later or to be stated, nothing was refused or tightened for a time,
        and no trading day begins. What is left of a tick are rounds that change nothing but the terms of entry.
        """
        state, guard = self.state, self.guard
        return not (
            state.positions
            or state.trades
            or state.standing.scales
            or state.standing.halt is not None
            or state.venues.refuses
            or self.reconciler is not None
            or self.lost_feeds
            or self.broken is not None
            or guard.refusals.pending
            or guard.fx.doubt
            or guard.is_supervisor_silent
            or not guard.correlations.is_idle
            or not self.rearming.is_settled
            or not self.terms.is_between_rounds
            or self.days.day_at(now_ms).number != self.days.day_at(until_ms).number
            or self._watch.day != self.days.day_at(now_ms).number
            or self.valuation.naked
            or self.valuation.statement(now_ms, at_once=True)
        )

    def rest(self, span: RestSpan) -> None:
        """Continue as if ``tick`` had been called at each tick of a span of rest."""
        self.guard.fx.rest(span)
        self.guard.correlations.rest(span.ticks)
        self.terms.rest(span.ticks)
        self.has_new_terms = False

    def use_baselines(self, baselines: Baselines) -> None:
        """Judge entries by what each pair's gap returns to; the sampler of gaps changes ``baselines`` in place."""
        self._baselines = baselines
        self.guard.baselines = baselines.known
        self.guard.correlations.set_series(baselines.series)
        config = self._config
        self.guard.entry_rules.append(ReversionRule(config.baseline, config.strategy.max_hold_s, baselines))

    def gap_samples(self, base: str) -> int:
        """Return how many samples of a pair's gap there are, also before its level can be estimated."""
        series = self._baselines.series.get(base) if self._baselines is not None else None
        return series.count if series is not None else 0

    def refresh_terms(self, now_ms: int, now_ns: int) -> None:
        """Work out what entries a few of the pairs may make. ``tick`` does it too."""
        self._refresh_terms(self._moment(now_ms, now_ns))

    def fence(self, shard: int, reason: str, now_ms: int) -> list[Event]:
        """Refuse the shard's incarnation, and whatever is older, from now on. Nothing new when that is so."""
        events = fenced(self.state.shards.get(shard), shard, reason, now_ms)
        self._apply(events)
        return events

    def lead(self, term: int, host: str, now_ms: int) -> list[Event]:
        """Begin a leadership of a cluster."""
        return self._applied(LeaderBegan(at_ms=now_ms, term=term, host=host))

    def grant(self, shard: int, host: str, number: int, now_ms: int) -> list[Event]:
        """Allow a host of the cluster to run a shard, and no other one. Nothing new when that is so."""
        if self.state.grants.get(shard) == GrantedShard(host, number):
            return []
        return self._applied(ShardGranted(at_ms=now_ms, shard=shard, host=host, grant=number))

    def note_break(self, broken: str, now_ms: int) -> list[Event]:
        """Halt because the books do not balance. Nothing changes when that is known."""
        is_known, self.broken = self.broken is not None, broken
        if is_known or self.state.standing.halt is not None:
            return []
        events: list[Event] = [Halted(at_ms=now_ms, cause="accounting", reason=broken)]
        self._apply(events)
        return events

    def unclosable(self) -> dict[str, str]:
        """Return why open pairs cannot be closed on both venues now, by base."""
        state = self.state
        held = {base for base, positions in state.per_symbol_positions.items() if positions}
        return unclosable(self._pairs, held | state.busy.keys(), state.busy, state.venues, self.lost_feeds)

    def reconciliation(self, now_ns: int) -> Reconciliation:
        """Return how venues and ledger differ."""
        return reconciliation_of(self.reconciler, self.state, self._tag, now_ns)

    def commit(self) -> None:
        """Keep what was applied: the ledger has stored the events."""
        self.state.commit()

    def rollback(self) -> None:
        """Undo what was applied since the last commit: the ledger has not stored the events."""
        self.state.rollback()
        if self.reconciler is not None:
            self.reconciler.activity.forget_agreements()
        self.guard.ways_out.recalculate()

    def _answer(self, command: Command, moment: Moment) -> tuple[CommandReply, list[Event]]:
        match command:
            case Statement() | AcceptDifference():
                return self._reconcile(command, moment)
            case AnnounceTransfer() | ArriveTransfer() | EndTransfer() | ShowTransfers():
                return self._transfers.answer(command, moment)
            case ShowInventory():
                return self.inventory.of_now(moment.now_ms), []
            case ShowReconciliation():
                return self.reconciliation(moment.now_ns), []
            case ConfirmCoin():
                return self.identity.confirm(command, moment)
            case EndIntent():
                return self._end_intent(command, moment)
            case _:
                day = self.days.day_at(moment.now_ms)
                reply, events = self._operators.answer(command, moment, day, self.broken)
                for event in events:
                    if isinstance(event, ClosesOrdered):
                        self.guard.end_rests(event.pairs)
                return reply, events

    def _reconcile(
        self, command: Statement | AcceptDifference, moment: Moment
    ) -> tuple[CommandReply, list[Event]]:
        if self.reconciler is None:
            return Denied("on paper there is nothing to be stated"), []
        if isinstance(command, AcceptDifference):
            price = self.inventory.price_of(command.currency, command.venue)
            return self.reconciler.accept(command, price, moment)
        if command.wallets is not None:
            self.warnings.set_wallets(command.venue, command.wallets)
            self.identity.set_names(self.warnings.coin_names())
        if command.fees is not None and command.venue in self.reconciler.venues:
            self.fee_rule.set_fees(command.venue, command.fees, moment.now_ms)
        return self.reconciler.compare(command, moment)

    def _decide(self, request: Request, moment: Moment, phase: int) -> RequestOutcome:
        now_ms = moment.now_ms
        if isinstance(request, Hello):
            return self._hello(request, now_ms)
        replaced = objection_to_speaker(self.state.shards.get(request.shard), request)
        if replaced is not None:
            return _refused(*replaced)
        match request:
            case Submit():
                return self._submit(request, moment, phase)
            case Report():
                return self._report(request, moment)
            case Conclude():
                return self._conclude(request, moment)
            case Extend():
                return self._extend(request, moment)
            case Fund() | Adopt() | Instructions() | ReadTerms() | SetApart():
                return self._decide_beside_trading(request, now_ms)

    def _decide_beside_trading(
        self, request: Fund | Adopt | Instructions | ReadTerms | SetApart, now_ms: int
    ) -> RequestOutcome:
        match request:
            case Fund():
                return self._fund(request, now_ms)
            case Adopt():
                return self._handover.adopt(request.pairs, request.shard), []
            case Instructions():
                standing = self.state.standing
                closing, apart = tuple(standing.closing.items()), tuple(standing.apart)
                halted = standing.halt is not None
                return Instructed(standing.serial, halted, closing, apart, standing.is_stopped), []
            case ReadTerms():
                owners = self.ownership.universe.owners()
                mine = (base for base, owner in owners.items() if owner == request.shard)
                return self.terms.since(request.serial, mine), []
            case SetApart():
                return self._set_apart(request, now_ms)

    def _hello(self, request: Hello, now_ms: int) -> RequestOutcome:
        known = self.state.shards.get(request.shard)
        grant = None
        if self._has_cluster:
            granted = self.state.grants.get(request.shard)
            grant = granted.number if granted is not None else 0
        objection = greeting_objection(known, request, grant)
        if objection is not None:
            return _refused(*objection)
        events = joined(known, request, now_ms)
        self._apply(events)
        return self._handover.welcome(request.pairs, request.shard), events

    def _fund(self, request: Fund, now_ms: int) -> RequestOutcome:
        pair = self._pairs.get(request.pair)
        if pair is None:
            return _refused(Refusal.UNKNOWN_PAIR, f"{request.pair} is not traded in this run")
        not_owner = self.ownership.objection(request.pair, request.shard)
        if not_owner is not None:
            return _refused(*not_owner)
        if not forms.is_positive(request.home_price):
            return _refused(Refusal.MALFORMED, f"{request.home_price} is not a price")
        events: list[Event] = []
        if self.reconciler is not None:
            if not self.state.is_funded(pair):
                return _refused(Refusal.NO_STATEMENT, "its venues have not stated what we own there")
        elif pair.base not in self.state.funded:
            events += inventory_deposits(pair, request.home_price, self._config.paper, now_ms)
            self._apply(events)
        return Funded(self.guard.available_to_enter(pair)), events

    def _is_repeat(self, intent: Intent) -> bool:
        """Return whether this very intent is approved and open: its worker did not get the reply and asks again."""
        known = self.state.trades.get(intent.intent_id)
        return known is not None and known.intent == intent

    def _submit(self, request: Submit, moment: Moment, phase: int) -> RequestOutcome:
        intent = request.intent
        pair = self._pairs.get(intent.pair)
        available = self.guard.available(pair) if pair is not None else ()
        # A repeat is answered before any check: it is approved already, and limits may have been reached since.
        if self._is_repeat(intent):
            return Approved(intent.intent_id, self.guard.left_to_enter(available)), []
        # Nothing is stored under an id that is not this intent's own.
        objection = self.guard.check_id(request)
        if objection is not None:
            return self._refusal(intent, objection, available), []
        draining = phase in (Phase.DRAINING, Phase.DRAINING_KEEP)
        expiry_ms = self._config.execution.approval_expiry_ms
        objection = self.ownership.trade_objection(intent, request.shard) or self.guard.check_intent(
            intent, pair, available, moment, expiry_ms, draining=draining
        )
        if objection is not None:
            return self._refusal(intent, objection, available), self._refuse(intent, objection, moment)
        assert pair is not None, intent.pair
        holds = holds_for(intent, pair)
        events: list[Event] = [IntentApproved(at_ms=moment.now_ms, intent=intent, holds=holds)]
        self._apply(events)
        self.guard.count_orders(LEGS, moment)
        return Approved(intent.intent_id, self.guard.left_to_enter(available, holds)), events

    def _refusal(self, intent: Intent, objection: Objection, available: Available) -> Refused:
        """Return a refusal: of an exit with all that it may spend, and of an entry with what entries may spend."""
        if intent.kind == "entry":
            return Refused(objection.reason, objection.detail, self.guard.left_to_enter(available))
        return Refused(objection.reason, objection.detail, available, self._retry(intent.pair, "exit"))

    def _refuse(self, intent: Intent, objection: Objection, moment: Moment) -> list[Event]:
        if not self.guard.refusals.is_new(intent, objection.reason, moment.now_ns):
            self.guard.refusals.count(intent, objection, moment.now_ns)
            counted: list[Event] = [*self.guard.refusals.flush(moment.now_ms, moment.now_ns)]
            self._apply(counted)
            return counted
        events: list[Event] = [
            IntentRefused(
                at_ms=moment.now_ms,
                intent_id=intent.intent_id,
                pair=intent.pair,
                intent_kind=intent.kind,
                reason=objection.reason,
                detail=objection.detail,
                decided_ns=intent.decided_ns,
                seen_ns=intent.seen_ns,
            )
        ]
        self._apply(events)
        return events

    def _extend(self, request: Extend, moment: Moment) -> RequestOutcome:
        trade = self.state.trades.get(request.intent_id)
        if trade is None:
            return self._unknown(request.intent_id)
        pair = self._pairs.get(trade.intent.pair)
        if pair is None:
            return _refused(Refusal.UNKNOWN_PAIR, f"{trade.intent.pair} is not traded in this run")
        available = self.guard.available(pair)
        before = self.state.positions.get(trade.intent.position_id)
        residue = self.state.results.residue_of(pair.base) if before is not None else ZERO
        extended = book_extension(
            request,
            trade,
            pair,
            available,
            moment.now_ms,
            before=before,
            residue=residue,
            late=self._late.get(request.intent_id, ()),
            is_paper=self.reconciler is None,
        )
        if isinstance(extended, Objection):
            return Refused(*extended, available), []
        if extended is None:  # the order is known
            return Approved(request.intent_id, self.guard.left_to_enter(available)), []
        events: list[Event] = [extended]
        self._apply(events)
        self.guard.count_orders(1, moment)
        return Approved(request.intent_id, self.guard.left_to_enter(available, (extended.hold,))), events

    def _report(self, request: Report, moment: Moment) -> RequestOutcome:
        noted = Noted(request.intent_id)
        trade = self.state.trades.get(request.intent_id)
        if trade is None:
            outcome = self.state.outcomes.get(request.intent_id)
            if outcome is not None and outcome.knows(request.result):
                return noted, []
            return self._unknown(request.intent_id)
        events = book_report(request, trade, moment.now_ms)
        if isinstance(events, Objection):
            return _refused(*events)
        known = trade.result(request.result.order.client_id)
        if events and known is not None and known.is_final:  # its worker may consider it over without these
            late = forms.new_fills(request.result, trade)
            self._late[request.intent_id] = (*self._late.get(request.intent_id, ()), *late)
        self._apply(events)
        if events and self.reconciler is not None:
            booked = [fill for one in events if isinstance(one, OrderReported) for fill in one.fills]
            self.reconciler.activity.booked(booked, moment.now_ns)
        return noted, events + self._learn(events, request.result.order, trade.intent.pair, moment)

    def _learn(self, events: list[Event], order: Order, base: str, moment: Moment) -> list[Event]:
        """Apply what a report shows about the venue and the market."""
        pair = self._pairs.get(base)
        leg = pair.leg(order.market.venue) if pair is not None else None
        made: list[Event] = []
        for event in events:
            if isinstance(event, OrderReported):
                rules = leg.rules if leg is not None else None
                made += self.venue_facts.after(event, order, rules, moment)
                if leg is not None:
                    self.venue_facts.compare_fees(event.fills, leg, moment.now_ms)
        self._apply(made)
        return made

    def _compare_listing(self, moment: Moment) -> list[Event]:
        events = self.venue_facts.compare_listing(self.ownership.universe, moment)
        self._apply(events)
        return events

    def _conclude(self, request: Conclude, moment: Moment) -> RequestOutcome:
        trade = self.state.trades.get(request.intent_id)
        if trade is None:
            outcome = self.state.outcomes.get(request.intent_id)
            if outcome is None:
                return self._unknown(request.intent_id)
            base = outcome.pair
            known = self._pairs.get(base)
            available: Available = self.guard.available_to_enter(known) if known is not None else ()
            return self._settled(request.intent_id, outcome.position, available, base), []
        pair = self._pairs.get(trade.intent.pair)
        if pair is None:
            return _refused(Refusal.UNKNOWN_PAIR, f"{trade.intent.pair} is not traded in this run")
        before = self.state.positions.get(trade.intent.position_id)
        concluded = book_conclusion(
            request, trade, pair, before, moment, self.state.away_costs.get(trade.intent.position_id)
        )
        if isinstance(concluded, Objection):
            return _refused(*concluded)
        position, events = concluded
        failed = self.state.attempts.get((pair.base, "exit"))
        self._apply(events)
        self._late.pop(request.intent_id, None)
        if self.reconciler is not None:
            self.reconciler.activity.ended(trade, moment.now_ns)
        kind = trade.intent.kind
        if kind == "exit" and before is not None:
            events += self._check_exit_cost(before, failed.cost if failed is not None else ZERO, moment)
        self._set_rest(pair.base, kind, moment)
        return self._settled(
            request.intent_id, position, self.guard.available_to_enter(pair), pair.base
        ), events

    def _set_rest(self, base: str, kind: IntentKind, moment: Moment) -> None:
        """Begin the pause after a trade of the pair that has ended, when it has achieved nothing."""
        retry = self._retry(base, kind)
        wait_ns = retry.wait_ms * 1_000_000 if retry is not None else 0
        self.guard.set_rest(base, kind, moment.now_ns + wait_ns)

    def _check_exit_cost(self, position: Position, before: Decimal, moment: Moment) -> list[Event]:
        """Set a pair apart whose failed exits have cost so much that only a person may have it closed.

        ``before``: what they had cost before the last one. Another one like it must not exceed the limit.
        """
        attempts = self.state.attempts.get((position.pair, "exit"))
        share = Decimal(repr(self._config.execution.exit_cost_bps_max)) / BPS
        if attempts is None or 2 * attempts.cost - before <= position.entry_notional * share:
            return []
        reason = f"{attempts.tries} exits that failed have cost {plain(attempts.cost)}: {attempts.why}"
        events = set_apart(
            self.state.standing, position.pair, "exits_fail", reason[:REASON_MAX], moment.now_ms
        )
        self._apply(events)
        return events

    def _set_apart(self, request: SetApart, now_ms: int) -> RequestOutcome:
        if request.pair not in self._pairs and request.pair not in self.state.busy:
            return _refused(Refusal.UNKNOWN_PAIR, f"{request.pair} is not traded in this run")
        events = set_apart(
            self.state.standing,
            request.pair,
            request.cause,
            request.reason[:REASON_MAX],
            now_ms,
            request.intent_id[:REASON_MAX],
        )
        self._apply(events)
        return Noted(request.intent_id), events

    def _end_intent(self, command: EndIntent, moment: Moment) -> tuple[CommandReply, list[Event]]:
        pair = next((pair for pair in self._pairs.values() if pair.answers_to(command.symbol)), None)
        if pair is None:
            return Denied(f"{command.symbol} is not traded in this run"), []
        if pair.base not in self.state.standing.apart:
            return Denied(f"{pair.base} is not set apart: its intents come to their end by themselves"), []
        intent_id = self.state.busy.get(pair.base)
        if intent_id is None:
            return Denied(f"{pair.base} has no open intent"), []
        trade = self.state.trades[intent_id]
        before = self.state.positions.get(trade.intent.position_id)
        reason = command.reason[:REASON_MAX] or "by hand"
        position, events = book_ending(
            trade, pair, before, reason, moment, self.state.away_costs.get(trade.intent.position_id)
        )
        self._late.pop(intent_id, None)
        if self.reconciler is not None:
            self.reconciler.activity.ended(trade, moment.now_ns)
        left = "nothing is open" if position is None or position.state == "CLOSED" else "its position is open"
        return Done(
            f"{intent_id} is over with what is booked of it; {left}; {pair.base} stays set apart"
        ), events

    def _settled(self, intent_id: str, position: Position | None, available: Available, base: str) -> Settled:
        return Settled(
            intent_id,
            position,
            available,
            self.state.results.residue_of(base),
            self._retry(base, "exit"),
            self._retry(base, "entry"),
        )

    def _retries(self, base: str) -> list[Retry]:
        kinds: tuple[IntentKind, ...] = ("exit", "entry")
        return [retry for kind in kinds if (retry := self._retry(base, kind)) is not None]

    def _retry(self, base: str, kind: IntentKind) -> Retry | None:
        """Return how the pair's next trade of this kind may be made, after some that achieved nothing."""
        pair = self._pairs.get(base)
        attempts = self.state.attempts.get((base, kind))
        if kind == "exit" and pair is not None:
            attempts = self.guard.exit_attempts(pair)
        return retry_of(attempts, kind, self._config.execution)

    def _refresh_terms(self, moment: Moment) -> None:
        self.guard.fx.judge(moment)
        self.guard.correlations.update(moment.now_ns)
        self.has_new_terms = self.terms.refresh(moment)

    def _level_of(self, base: str) -> float:
        """Return the level of a pair's gap; 0 while it is not known."""
        known = self.guard.baselines.get(base)
        return known.level_bps if known is not None else 0.0

    def _baseline_level(self) -> float | None:
        """Return the median of the levels of all pairs' gaps; None while fewer than half of them are known.

        The levels of a few pairs differ from the median of all that they would be compared with.
        """
        levels = [known.level_bps for known in self.guard.baselines.values()]
        least = max(self._config.fx.pairs_min, (len(self._pairs) + 1) // 2)
        return median(levels) if len(levels) >= least else None

    def _moment(self, now_ms: int, now_ns: int | None) -> Moment:
        day = self.days.day_at(now_ms).number
        return Moment(now_ms, now_ms * 1_000_000 if now_ns is None else now_ns, day)

    def _unknown(self, intent_id: str) -> RequestOutcome:
        over = intent_id in self.state.outcomes
        detail = f"{intent_id} is over" if over else f"no intent {intent_id} is open"
        return _refused(Refusal.UNKNOWN_INTENT, detail)

    def _applied(self, event: Event) -> list[Event]:
        events = [event]
        self._apply(events)
        return events

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            self.state.apply(event)
            self.guard.ways_out.add(event)
            if isinstance(event, Deposited):
                self.valuation.deposited(event)


def mode_of(config: Config) -> str:
    """Return the mode that a ledger belongs to: results of one mode must not be mixed with another's."""
    return f"{config.data}-{config.mode}"


def orders_of(config: Config) -> Orders:
    """Return where orders are sent."""
    if config.mode == "paper":
        return "paper"
    return "dry run" if config.live.dry_run else "live"


def _is_left(request: Request) -> bool:
    """Return whether a worker reports a leg of an intent that another one has made.

    It never sends such a leg itself. Of hedges and unwinds, which are few, it may.
    """
    return (
        isinstance(request, Report)
        and request.result.order.role == "leg"
        and forms.maker_of(request.intent_id) != (request.shard, request.epoch)
    )


def _refused(reason: Refusal, detail: str) -> RequestOutcome:
    return Refused(reason, detail), []
