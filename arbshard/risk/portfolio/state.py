"""``PortfolioState`` is all that the ledger's events add up to. Pure.

``core`` owns it, and ``ledger.replay`` rebuilds it. ``apply`` is the only way it changes, so a replayed state is the
live one. ``add_symbol_order`` and ``add_symbol_position`` are its parts. Changes are provisional until ``commit``,
which follows the ledger's; ``rollback`` undoes them.
"""

from decimal import Decimal
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import (
    AccountOpened,
    ClosesOrdered,
    CoinConfirmed,
    Deposited,
    DifferenceFound,
    DifferenceResolved,
    EquityMarked,
    Event,
    Halted,
    Hold,
    IntentApproved,
    IntentConcluded,
    IntentRefused,
    LeaderBegan,
    LimitsChanged,
    LimitsScaled,
    OrderExtended,
    OrderReported,
    PairReleased,
    PairSetApart,
    PositionChanged,
    PositionClosed,
    PositionOpened,
    PositionStatement,
    RefusalsCounted,
    Resumed,
    ShardFenced,
    ShardGranted,
    ShardJoined,
    Started,
    Stopped,
    StrayFound,
    StrayGone,
    TransferAnnounced,
    TransferEnded,
    VenueStateChanged,
)
from arbshard.model.intent import FxQuote, Intent, IntentKind
from arbshard.model.market import Direction, Pair
from arbshard.model.money import ZERO
from arbshard.model.order import Order, OrderResult
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.model.transfer import OUTSIDE
from arbshard.risk.portfolio.attempts import Attempts, attempts_after
from arbshard.risk.portfolio.equity import EquityState
from arbshard.risk.portfolio.holdings import (
    Balance,
    Balances,
    ConcludedIntent,
    Journal,
    Part,
    Trade,
    away_change_of,
    notional_of,
    outcome_of,
)
from arbshard.risk.portfolio.operator_state import OperatorState, Reconciled
from arbshard.risk.portfolio.results import ALL, Results, Totals, day_of
from arbshard.risk.portfolio.settlement import away_cost_after, settle
from arbshard.risk.portfolio.transfers import Transfers
from arbshard.risk.portfolio.venue_states import VenueStates
from arbshard.wire.cluster import EPOCHS_PER_GRANT

CLOSED_KEPT = 1000
OUTCOMES_KEPT = 2048
REFUSALS_KEPT = 2048

_encoder = msgspec.json.Encoder(decimal_format="string")
_NO_TOTALS = Totals()


class Shard(msgspec.Struct, frozen=True):
    """Is a shard's incarnation that may send requests."""

    epoch: int
    pid: int
    fence: int = 0
    """The lowest epoch that may send requests, whichever incarnation has joined."""
    fenced_for: str = ""
    """Why the last one was fenced."""

    @property
    def lowest(self) -> int:
        """Return the lowest epoch that may still send requests."""
        return max(self.epoch, self.fence)

    @property
    def is_fenced(self) -> bool:
        """Return whether no incarnation may send requests for the shard before a new one comes."""
        return self.epoch < self.fence


class GrantedShard(msgspec.Struct, frozen=True):
    """States which host of a cluster may run a shard."""

    host: str
    number: int
    """Number of the grant; epochs are this times ``EPOCHS_PER_GRANT`` and more."""


def _no_exposures() -> dict[Direction, Decimal]:
    return {"buy_home": ZERO, "buy_away": ZERO}


class PortfolioState(Part):
    """Holds balances, open intents, positions and results."""

    session: int = 0
    run: str = ""
    is_stopped: bool = True
    balances: Balances = msgspec.field(default_factory=Balances)
    shards: dict[int, Shard] = msgspec.field(default_factory=dict)
    funded: dict[str, bool] = msgspec.field(default_factory=dict)
    """Pairs whose paper inventory exists."""
    trades: dict[str, Trade] = msgspec.field(default_factory=dict)
    """Open intents by id."""
    busy: dict[str, str] = msgspec.field(default_factory=dict)
    """The open intent of each pair that has one."""
    positions: dict[str, Position] = msgspec.field(default_factory=dict)
    """Open positions by id."""
    per_symbol_positions: dict[str, dict[str, Position]] = msgspec.field(default_factory=dict)
    away_costs: dict[str, Decimal] = msgspec.field(default_factory=dict)
    """What the away quote of each open position was worth when it came (``settlement.away_cost_after``)."""
    exposure: Decimal = ZERO
    """Entry notional of all open positions and of entries under way, in reporting currency. It is kept because
    every check of an entry needs it."""
    exposures: dict[Direction, Decimal] = msgspec.field(default_factory=_no_exposures)
    """The same by direction: what is bought on one venue and sold on the other."""
    entering: int = 0
    """Number of entries under way."""
    closed: dict[str, Position] = msgspec.field(default_factory=dict)
    """The newest closed positions, oldest first."""
    outcomes: dict[str, ConcludedIntent] = msgspec.field(default_factory=dict)
    """The newest concluded intents, oldest first."""
    refusals: dict[str, IntentRefused] = msgspec.field(default_factory=dict)
    """The newest refusals, oldest first."""
    spent: dict[str, int] = msgspec.field(default_factory=dict)
    """The highest number that has been forgotten, by prefix of intent ids. An unknown id at or below it is not the
    id of a new intent.
    """
    attempts: dict[tuple[str, IntentKind], Attempts] = msgspec.field(default_factory=dict)
    """Trades of a pair in a row that achieved nothing."""
    results: Results = msgspec.field(default_factory=Results)
    standing: OperatorState = msgspec.field(default_factory=OperatorState)
    reconciled: Reconciled = msgspec.field(default_factory=Reconciled)
    venues: VenueStates = msgspec.field(default_factory=VenueStates)
    equity: EquityState = msgspec.field(default_factory=EquityState)
    transfers: Transfers = msgspec.field(default_factory=Transfers)
    due: tuple[str, Position, bool] | None = None
    """(intent, position, is new) that the next event must state."""
    term: int = 0
    """Number of the last leadership of a cluster; 0 for a ledger that was never one of a cluster."""
    leader: str = ""
    """The host that leads in this term."""
    grants: dict[int, GrantedShard] = msgspec.field(default_factory=dict)
    """The host that may run each shard, in a cluster."""

    def __post_init__(self) -> None:
        """Give all parts one journal; called for a fresh state and for one that was read from a snapshot."""
        journal = Journal()
        for part in (
            self,
            self.balances,
            self.results,
            self.standing,
            self.reconciled,
            self.venues,
            self.equity,
            self.transfers,
        ):
            part.use(journal)

    # What other parts ask.

    @property
    def per_symbol_orders(self) -> dict[str, tuple[OrderResult, ...]]:
        """Return the orders of open intents by base."""
        return {pair: self.trades[intent_id].orders for pair, intent_id in self.busy.items()}

    def get_symbol_positions(self, symbol: str) -> tuple[Position, ...]:
        """Return the open positions of a base."""
        return tuple(self.per_symbol_positions.get(symbol, {}).values())

    def get_symbol_orders(self, symbol: str) -> tuple[OrderResult, ...]:
        """Return the orders of the open intent of a base, if it has one."""
        intent_id = self.busy.get(symbol)
        return self.trades[intent_id].orders if intent_id is not None else ()

    def get_total_symbol_position_value(self, symbol: str) -> Decimal:
        """Return the entry notional of a base's open positions, in reporting currency."""
        return sum((position.entry_notional for position in self.get_symbol_positions(symbol)), ZERO)

    def get_symbol_exposure(self, symbol: str) -> Decimal:
        """Return the entry notional of a base's open positions and of its entry under way."""
        intent_id = self.busy.get(symbol)
        intent = self.trades[intent_id].intent if intent_id is not None else None
        entering = notional_of(intent) if intent is not None and intent.kind == "entry" else ZERO
        return self.get_total_symbol_position_value(symbol) + entering

    @property
    def away_held(self) -> Decimal:
        """Return the away quote that open positions hold (negative: owe); entries under way count as if filled."""
        held = sum((position.flows.away_quote for position in self.positions.values()), ZERO)
        if not self.entering:
            return held
        return held + sum((away_change_of(trade.intent) for trade in self.trades.values()), ZERO)

    @property
    def realised(self) -> Decimal:
        """Return the PnL of all positions ever closed, and what counts beside them, in reporting currency."""
        return self.results.lifetime.get(ALL, _NO_TOTALS).pnl

    def balance(self, venue: str, currency: str) -> Balance:
        """Return a balance; zero for an account that was never used."""
        return self.balances.get(venue, currency)

    def is_funded(self, pair: Pair) -> bool:
        """Return whether it is known what the pair can be traded with, by its paper inventory or its venues'
        statements.
        """
        opened = self.reconciled.opened
        return pair.base in self.funded or all(leg.market.venue in opened for leg in (pair.home, pair.away))

    def state_hash(self) -> str:
        """Return a hash of all fields. It must be equal after replay and live."""
        return blake2b(_encoder.encode(_canonical(self)), digest_size=16).hexdigest()

    # How the state changes.

    def apply(self, event: Event) -> None:
        """Apply the next event. Raises ``LedgerDamaged`` when it contradicts the events before."""
        if self.due is not None and not isinstance(event, PositionStatement):
            raise LedgerDamaged(f"no statement of the position follows the end of {self.due[0]}")
        match event:
            case Deposited() | TransferAnnounced() | TransferEnded():
                self._move(event)
            case (
                Started()
                | Stopped()
                | RefusalsCounted()
                | ShardJoined()
                | ShardFenced()
                | LeaderBegan()
                | ShardGranted()
            ):
                self._apply_housekeeping(event)
            case (
                Halted()
                | ClosesOrdered()
                | PairSetApart()
                | CoinConfirmed()
                | LimitsChanged()
                | LimitsScaled()
            ):
                self.standing.apply(event)
            case Resumed() | PairReleased() | EquityMarked():
                self._accept(event)
            case AccountOpened() | DifferenceFound() | DifferenceResolved() | StrayFound() | StrayGone():
                self.reconciled.apply(event)
            case VenueStateChanged():
                self.venues.apply(event)
            case IntentApproved() | IntentRefused() | OrderExtended() | OrderReported() | IntentConcluded():
                self._apply_trading(event)
            case PositionOpened() | PositionChanged() | PositionClosed():
                self._stated(event)

    def _apply_trading(
        self, event: IntentApproved | IntentRefused | OrderExtended | OrderReported | IntentConcluded
    ) -> None:
        match event:
            case IntentApproved():
                self._approved(event.intent, event.holds)
            case IntentRefused():
                self._refused(event)
            case OrderExtended():
                self.add_symbol_order(self._trade(event.intent_id), event.order, event.hold)
            case OrderReported():
                self._reported(event)
            case IntentConcluded():
                self._concluded(event)

    def commit(self) -> None:
        """Keep what was applied: the ledger has stored it."""
        self._journal.commit()

    def rollback(self) -> None:
        """Restore the state of the last commit."""
        self._journal.rollback()

    @property
    def is_settled(self) -> bool:
        """Return whether no change is provisional."""
        return self._journal.is_empty

    def add_symbol_order(self, trade: Trade, order: Order, hold: Hold) -> None:
        """Add one more order of an open intent, as a part of ``apply``."""
        if trade.result(order.client_id) is not None:
            raise LedgerDamaged(f"{order.client_id} was recorded before")
        self.balances.hold(hold.venue, hold.currency, hold.amount)
        self._journal.set_item(self.trades, trade.intent.intent_id, trade.extended(order, hold))

    def add_symbol_position(self, position: Position) -> None:
        """Add an open position, new or changed, as a part of ``apply``."""
        mine = self.per_symbol_positions.get(position.pair)
        if mine is None:
            mine = {}
            self._journal.set_item(self.per_symbol_positions, position.pair, mine)
        if position.position_id not in mine:
            self._expose(position.entry_notional, position.direction)
        self._journal.set_item(mine, position.position_id, position)
        self._journal.set_item(self.positions, position.position_id, position)

    def _accept(self, event: Resumed | PairReleased | EquityMarked) -> None:
        """Apply what a person accepted, and what is valued."""
        match event:
            case Resumed():
                self.equity.resumed(event)
                self.standing.apply(event)
            case PairReleased():
                apart = self.standing.apart.get(event.pair)
                if apart is not None and "position_loss" in apart.causes:
                    self.equity.accept_losses(self.per_symbol_positions.get(event.pair, ()))
                if apart is not None and "no_reversion" in apart.causes:
                    self.results.forget_returns(event.pair)
                self.standing.apply(event)
            case EquityMarked():
                self.equity.mark(event, self.realised)

    def _apply_shard(self, event: ShardJoined | ShardFenced) -> None:
        known = self.shards.get(event.shard, Shard(0, 0))
        match event:
            case ShardJoined():
                if event.epoch < known.fence:
                    raise LedgerDamaged(f"shard {event.shard} joined at the fenced epoch {event.epoch}")
                new = replace(known, epoch=event.epoch, pid=event.pid)
            case ShardFenced():
                new = replace(known, fence=event.epoch + 1, fenced_for=event.reason)
        self._journal.set_item(self.shards, event.shard, new)

    def _apply_cluster(self, event: LeaderBegan | ShardGranted) -> None:
        if isinstance(event, LeaderBegan):
            if event.term <= self.term:
                raise LedgerDamaged(f"term {event.term} follows term {self.term}")
            self._journal.keep_fields(self)
            self.term, self.leader = event.term, event.host
            return
        known = self.grants.get(event.shard)
        if known is not None and event.grant <= known.number:
            raise LedgerDamaged(
                f"grant {event.grant} of shard {event.shard} follows its grant {known.number}"
            )
        self._journal.set_item(self.grants, event.shard, GrantedShard(event.host, event.grant))
        shard = self.shards.get(event.shard, Shard(0, 0))
        lowest = max(shard.fence, event.grant * EPOCHS_PER_GRANT)
        new = replace(shard, fence=lowest, fenced_for=f"it was granted to {event.host}")
        self._journal.set_item(self.shards, event.shard, new)

    def _move(self, event: Deposited | TransferAnnounced | TransferEnded) -> None:
        """Change a balance otherwise than by trading. What a transfer is going to take away is held for it."""
        match event:
            case TransferAnnounced():
                self.transfers.announce(event)
                if event.source != OUTSIDE:
                    self.balances.hold(event.source, event.currency, event.amount)
                return
            case TransferEnded():
                ended = self.transfers.end(event)
                if ended.is_waiting:
                    self.balances.hold(ended.source, ended.currency, -ended.amount)
            case Deposited():
                self._deposited(event)
        if event.value:
            day = event.day if event.day is not None else day_of(event.at_ms)
            self.results.add_beside(event.value, day)
            if not self.positions and not self.trades:
                self.equity.reach(self.realised)

    def _deposited(self, event: Deposited) -> None:
        self.balances.add(event.venue, event.currency, event.amount)
        if event.why == "rounding":
            self.results.rounded(event.venue, event.currency, event.amount)
        if event.pair:
            self._journal.set_item(self.funded, event.pair, True)
        if event.transfer:
            released = self.transfers.move(event)
            self.balances.hold(event.venue, event.currency, -released)

    def _apply_housekeeping(
        self,
        event: Started | Stopped | RefusalsCounted | ShardJoined | ShardFenced | LeaderBegan | ShardGranted,
    ) -> None:
        match event:
            case ShardJoined() | ShardFenced():
                self._apply_shard(event)
            case LeaderBegan() | ShardGranted():
                self._apply_cluster(event)
            case Started():
                if event.session != self.session + 1:
                    raise LedgerDamaged(f"session {event.session} follows session {self.session}")
                self._journal.keep_fields(self)
                if event.run != self.run:  # each run counts its epochs from the beginning
                    self.shards, self.spent = {}, {}
                    self.results.start_run()
                    self.venues.begin_run()
                    self.standing.begin_run()
                self.session, self.run, self.is_stopped = event.session, event.run, False
            case Stopped():
                if event.balances != self.balances.totals():
                    raise LedgerDamaged("the balances at the stop are not what the fills add up to")
                self._journal.keep_fields(self)
                self.is_stopped = True
            case RefusalsCounted():
                self.results.count_refusals(event.counts)

    def _approved(self, intent: Intent, holds: tuple[Hold, ...]) -> None:
        if intent.intent_id in self.trades or intent.pair in self.busy:
            raise LedgerDamaged(f"{intent.intent_id} was approved while {intent.pair} was busy")
        for hold in holds:
            self.balances.hold(hold.venue, hold.currency, hold.amount)
        self._journal.set_item(self.trades, intent.intent_id, Trade.begin(intent, holds))
        self._journal.set_item(self.busy, intent.pair, intent.intent_id)
        if intent.kind == "entry":
            self._expose(notional_of(intent), intent.direction, entries=1)
        self.results.count(self.results.approved, intent.pair)

    def _refused(self, event: IntentRefused) -> None:
        self._journal.set_item(self.refusals, event.intent_id, event)
        if len(self.refusals) > REFUSALS_KEPT:
            self._forget(self._journal.drop_oldest(self.refusals))
        # A name that is not a pair's must not become a symbol.
        known = event.reason is not Refusal.UNKNOWN_PAIR
        self.results.count_refusal(event.pair if known else "", event.reason)

    def _reported(self, event: OrderReported) -> None:
        trade = self._trade(event.intent_id)
        old = trade.result(event.client_id)
        if old is None:
            raise LedgerDamaged(f"{event.client_id} is not an order of {event.intent_id}")
        hold = trade.hold(event.client_id)
        left = hold.amount if hold is not None else ZERO
        venue = old.order.market.venue
        for fill in event.fills:
            if trade.find_fill(fill.fill_id) is not None:
                raise LedgerDamaged(f"fill {fill.fill_id} is booked twice")
            for currency, change in fill.changes():
                self.balances.add(venue, currency, change)
                if hold is not None and currency == hold.currency:
                    left = min(hold.amount, max(ZERO, left + change))
        new = OrderResult(
            old.order,
            event.state,
            (*old.fills, *event.fills),
            event.detail,
            event.decision_price,
            event.fault,
        )
        kept: Hold | None = None
        if hold is not None:
            if new.is_final:  # nothing more can be spent
                left = ZERO
            self.balances.hold(venue, hold.currency, left - hold.amount)
            kept = Hold(hold.client_id, hold.venue, hold.currency, left) if left else None
        self._journal.set_item(self.trades, event.intent_id, trade.reported(new, kept))
        self.venues.record(event, old.order)

    def _concluded(self, event: IntentConcluded) -> None:
        trade = self._trade(event.intent_id)
        intent = trade.intent
        before = self.positions.get(intent.position_id)
        if (before is None) != (intent.kind == "entry"):
            raise LedgerDamaged(f"position {intent.position_id} does not fit an {intent.kind}")
        position = settle(
            trade,
            before,
            event.mark,
            event.fx,
            done=event.done,
            now_ms=event.at_ms,
            other_fees=event.other_fees,
            away_cost=self.away_costs.get(intent.position_id),
        )
        derived = (position.position_id, position.state) if position is not None else ("", None)
        if derived != (event.position_id, event.position_state):
            raise LedgerDamaged(f"the end of {intent.intent_id} leaves {derived}, not what it states")
        for hold in trade.holds:
            self.balances.hold(hold.venue, hold.currency, -hold.amount)
        self._journal.drop(self.trades, intent.intent_id)
        self._journal.drop(self.busy, intent.pair)
        if intent.kind == "entry":
            self._expose(-notional_of(intent), intent.direction, entries=-1)
        self._attempted(trade, before, position, event)
        if event.other_fees:
            self.results.paid_in_other_coins(trade.fills(), event.at_ms)
        self._journal.set_item(self.outcomes, intent.intent_id, outcome_of(trade, position))
        if len(self.outcomes) > OUTCOMES_KEPT:
            self._forget(self._journal.drop_oldest(self.outcomes))
        if position is not None:
            day = event.day if event.day is not None else day_of(event.at_ms)
            self._left(position, intent, day, is_new=before is None, done=event.done)
            self._keep_away_cost(position, before, event.fx)
        if not self.per_symbol_positions.get(intent.pair):
            self.standing.became_flat(intent.pair)

    def _attempted(
        self, trade: Trade, before: Position | None, left: Position | None, event: IntentConcluded
    ) -> None:
        """Remember whether the trade achieved anything."""
        key = trade.intent.pair, trade.intent.kind
        known = self.attempts.get(key)
        after = attempts_after(trade, before, left, known, event.mark, event.fx)
        if after is not None:
            self._journal.set_item(self.attempts, key, after)
        elif known is not None:
            self._journal.drop(self.attempts, key)

    def _keep_away_cost(self, position: Position, before: Position | None, fx: FxQuote) -> None:
        known = self.away_costs.get(position.position_id)
        after = away_cost_after(position, before, known, fx) if position.state == "OPEN" else None
        if after is not None:
            self._journal.set_item(self.away_costs, position.position_id, after)
        elif known is not None:
            self._journal.drop(self.away_costs, position.position_id)

    def _left(self, position: Position, intent: Intent, day: int, *, is_new: bool, done: bool) -> None:
        """Book the position that a concluded intent leaves."""
        if is_new:
            self.results.opened(position)
        if position.state == "CLOSED":
            if not is_new:
                self._journal.drop(self.positions, position.position_id)
                self._expose(-position.entry_notional, position.direction)
                self._journal.drop(self.per_symbol_positions[position.pair], position.position_id)
            self._journal.set_item(self.closed, position.position_id, position)
            if len(self.closed) > CLOSED_KEPT:
                self._journal.drop_oldest(self.closed)
            self.equity.forget(position.position_id)
            self.results.closed(position, intent.home.market, intent.away.market, day)
        else:
            if done:
                self.results.count(self.results.doubted, intent.pair)
            self.add_symbol_position(position)
        self._journal.keep_fields(self)
        self.due = intent.intent_id, position, is_new

    def _stated(self, event: PositionStatement) -> None:
        due, stated = self.due, event.position
        derived = due[1] if due is not None else None
        if derived is not None and stated.fx_pnl is None:  # an older program did not state it
            derived = replace(derived, fx_pnl=None)
        if due is None or (due[0], derived) != (event.intent_id, stated):
            raise LedgerDamaged(f"position {event.position.position_id} is not what its fills add up to")
        if not isinstance(event, statement_kind(due[1], is_new=due[2])):
            raise LedgerDamaged(f"position {event.position.position_id} is stated as {type(event).__name__}")
        self._journal.keep_fields(self)
        self.due = None
        if not self.positions and not self.trades:  # nothing is unrealised, so equity is known exactly
            self.equity.reach(self.realised)

    def _trade(self, intent_id: str) -> Trade:
        trade = self.trades.get(intent_id)
        if trade is None:
            raise LedgerDamaged(f"intent {intent_id} is not open")
        return trade

    def _expose(self, notional: Decimal, direction: Direction, *, entries: int = 0) -> None:
        self._journal.keep_fields(self)
        self.entering += entries
        self.exposure += notional
        self._journal.set_item(self.exposures, direction, self.exposures[direction] + notional)

    def _forget(self, intent_id: str) -> None:
        prefix, _, number = intent_id.rpartition("-")
        if number.isdecimal():
            self._journal.set_item(self.spent, prefix, max(self.spent.get(prefix, 0), int(number)))


def statement_kind(position: Position, *, is_new: bool) -> type[PositionStatement]:
    """Return the event that states ``position`` after a conclusion."""
    if position.state == "CLOSED":
        return PositionClosed
    return PositionOpened if is_new else PositionChanged


def _canonical(value: object) -> object:
    """Return tables as lists sorted by key, so that the order in which they were filled does not count."""
    if isinstance(value, Part):
        return [[name, _canonical(getattr(value, name))] for name in value.__struct_fields__]
    if isinstance(value, dict):  # the fields' only kind of table
        items = {msgspec.json.encode(key): item for key, item in value.items()}
        # Most values are structs, which hold no table: thousands of them in a state.
        return [
            [key.decode(), _canonical(item) if isinstance(item, dict) else item]
            for key, item in sorted(items.items())
        ]
    return value
