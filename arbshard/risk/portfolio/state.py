"""``PortfolioState``: all that the ledger's events add up to. Pure.

Owned by ``core``, rebuilt by ``ledger.replay``. ``apply`` is the only way it changes, so a replayed state is the
live one. ``add_symbol_order`` and ``add_symbol_position`` are its parts. Changes stand under reserve until
``commit``, which follows the ledger's; ``rollback`` takes them back.
"""

from collections import OrderedDict
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import (
    AccountOpened,
    ClosesOrdered,
    Deposited,
    DifferenceFound,
    DifferenceResolved,
    Event,
    Halted,
    Hold,
    IntentApproved,
    IntentConcluded,
    IntentRefused,
    LimitsChanged,
    LimitsScaled,
    OrderExtended,
    OrderReported,
    PositionChanged,
    PositionClosed,
    PositionOpened,
    PositionStatement,
    RefusalsCounted,
    Resumed,
    ShardFenced,
    ShardJoined,
    Started,
    Stopped,
    StrayFound,
    StrayGone,
)
from arbshard.model.intent import Intent
from arbshard.model.market import Direction
from arbshard.model.money import ZERO
from arbshard.model.order import Order, OrderResult
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.balances import Balance, Balances
from arbshard.risk.portfolio.fingerprint import fingerprint
from arbshard.risk.portfolio.journal import Journal
from arbshard.risk.portfolio.reconciled import Reconciled
from arbshard.risk.portfolio.results import Results, day_of
from arbshard.risk.portfolio.settlement import settle
from arbshard.risk.portfolio.standing import Standing
from arbshard.risk.portfolio.trade import Outcome, Trade, notional_of, outcome_of

CLOSED_KEPT = 1000
OUTCOMES_KEPT = 2048
REFUSALS_KEPT = 2048


class Shard(msgspec.Struct, frozen=True):
    """A shard's incarnation that may speak."""

    epoch: int
    pid: int
    fence: int = 0
    """The lowest epoch that may speak, whoever has said hello."""
    fenced_for: str = ""
    """Why the last one was fenced."""

    @property
    def lowest(self) -> int:
        """The lowest epoch that may still speak."""
        return max(self.epoch, self.fence)

    @property
    def is_fenced(self) -> bool:
        """Whether nobody may speak for it before a new incarnation comes."""
        return self.epoch < self.fence


class PortfolioState:
    """Balances, open intents, positions, results."""

    def __init__(self) -> None:
        self._journal = Journal()
        self.session = 0
        self.run = ""
        self.is_stopped = True
        self.balances = Balances(self._journal)
        self.shards: dict[int, Shard] = {}
        self.funded: dict[str, bool] = {}
        """Pairs whose paper inventory exists."""
        self.trades: dict[str, Trade] = {}
        """Open intents by id."""
        self.busy: dict[str, str] = {}
        """The open intent of each pair that has one."""
        self.positions: dict[str, Position] = {}
        """Open positions by id."""
        self.per_symbol_positions: dict[str, dict[str, Position]] = {}
        self.exposure = ZERO
        """Entry notional of all open positions and of entries under way, in reporting currency. Kept, not summed:
        every entry asks for it."""
        self.exposures: dict[Direction, Decimal] = {"buy_home": ZERO, "buy_away": ZERO}
        """The same by direction: what is bought on one venue and sold on the other."""
        self.entering = 0
        """Entries under way."""
        self.closed: OrderedDict[str, Position] = OrderedDict()
        """The newest closed positions, oldest first."""
        self.outcomes: OrderedDict[str, Outcome] = OrderedDict()
        self.refusals: OrderedDict[str, IntentRefused] = OrderedDict()
        self.spent: dict[str, int] = {}
        """By prefix of intent ids: the highest number that has been forgotten. At or below it, an unknown id is
        not a new one."""
        self.results = Results(self._journal)
        self.standing = Standing(self._journal)
        self.reconciled = Reconciled(self._journal)
        self._due: tuple[str, Position, bool] | None = None
        """(intent, position, is new) that the next event must state."""

    # what others ask

    @property
    def per_symbol_orders(self) -> dict[str, tuple[OrderResult, ...]]:
        """Orders of open intents by base."""
        return {pair: self.trades[intent_id].orders for pair, intent_id in self.busy.items()}

    def get_symbol_positions(self, symbol: str) -> tuple[Position, ...]:
        """Open positions of a base."""
        return tuple(self.per_symbol_positions.get(symbol, {}).values())

    def get_symbol_orders(self, symbol: str) -> tuple[OrderResult, ...]:
        """Orders of the open intent of a base, if it has one."""
        intent_id = self.busy.get(symbol)
        return self.trades[intent_id].orders if intent_id is not None else ()

    def get_total_symbol_position_value(self, symbol: str) -> Decimal:
        """Entry notional of a base's open positions, in reporting currency."""
        return sum((position.entry_notional for position in self.get_symbol_positions(symbol)), ZERO)

    def get_symbol_exposure(self, symbol: str) -> Decimal:
        """Entry notional of a base's open positions and of its entry under way."""
        intent_id = self.busy.get(symbol)
        intent = self.trades[intent_id].intent if intent_id is not None else None
        entering = notional_of(intent) if intent is not None and intent.kind == "entry" else ZERO
        return self.get_total_symbol_position_value(symbol) + entering

    def balance(self, venue: str, currency: str) -> Balance:
        """A balance; zero where there never was one."""
        return self.balances.get(venue, currency)

    def state_hash(self) -> str:
        """A hash of everything here: equal after replay and live, or one of them is wrong."""
        return fingerprint(
            (self.session, self.run, self.is_stopped, self.exposure, self.entering, self.results.residue),
            (self.balances.table, self.shards, self.funded, self.trades, self.busy, self.positions),
            (self.per_symbol_positions, self.closed, self.outcomes, self.refusals, self.spent),
            (self.results.run, self.results.run_reasons, self.results.approved, self.results.doubted),
            (self.results.lifetime, self.results.lifetime_reasons, self.results.refused, self.results.daily),
            (self.results.days, self.results.peaks, self.results.streaks, self.results.scatter),
            (self.exposures, *self.standing.parts()),
            self.reconciled.parts(),
        )

    # how it changes

    def apply(self, event: Event) -> None:
        """Take in the next event. Raises ``LedgerDamaged`` when it contradicts what came before."""
        if self._due is not None and not isinstance(event, PositionStatement):
            raise LedgerDamaged(f"no statement of the position follows the end of {self._due[0]}")
        match event:
            case Deposited() | Started() | Stopped() | RefusalsCounted():
                self._apply_housekeeping(event)
            case ShardJoined() | ShardFenced():
                self._apply_shard(event)
            case Halted() | Resumed() | ClosesOrdered() | LimitsChanged() | LimitsScaled():
                self.standing.apply(event)
            case AccountOpened() | DifferenceFound() | DifferenceResolved() | StrayFound() | StrayGone():
                self.reconciled.apply(event)
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
        """The ledger has what was applied: keep it."""
        self._journal.commit()

    def rollback(self) -> None:
        """Be as at the last commit."""
        self._journal.rollback()

    @property
    def is_settled(self) -> bool:
        """Whether nothing stands under reserve."""
        return self._journal.is_empty

    def add_symbol_order(self, trade: Trade, order: Order, hold: Hold) -> None:
        """Part of ``apply``: one more order of an open intent."""
        if trade.result(order.client_id) is not None:
            raise LedgerDamaged(f"{order.client_id} was recorded before")
        self.balances.hold(hold.venue, hold.currency, hold.amount)
        self._journal.put(self.trades, trade.intent.intent_id, trade.extended(order, hold))

    def add_symbol_position(self, position: Position) -> None:
        """Part of ``apply``: an open position, new or changed."""
        mine = self.per_symbol_positions.get(position.pair)
        if mine is None:
            mine = {}
            self._journal.put(self.per_symbol_positions, position.pair, mine)
        if position.position_id not in mine:
            self._expose(position.entry_notional, position.direction)
        self._journal.put(mine, position.position_id, position)
        self._journal.put(self.positions, position.position_id, position)

    def _apply_shard(self, event: ShardJoined | ShardFenced) -> None:
        known = self.shards.get(event.shard, Shard(0, 0))
        match event:
            case ShardJoined():
                if event.epoch < known.fence:
                    raise LedgerDamaged(f"shard {event.shard} joined at the fenced epoch {event.epoch}")
                new = replace(known, epoch=event.epoch, pid=event.pid)
            case ShardFenced():
                new = replace(known, fence=event.epoch + 1, fenced_for=event.reason)
        self._journal.put(self.shards, event.shard, new)

    def _apply_housekeeping(self, event: Deposited | Started | Stopped | RefusalsCounted) -> None:
        match event:
            case Deposited():
                self.balances.add(event.venue, event.currency, event.amount)
                if event.pair:
                    self._journal.put(self.funded, event.pair, True)
            case Started():
                if event.session != self.session + 1:
                    raise LedgerDamaged(f"session {event.session} follows session {self.session}")
                if event.run != self.run:  # epochs are counted anew in each run
                    self._journal.assign(self, "shards", {})
                    self._journal.assign(self, "spent", {})
                    self.results.start_run()
                self._journal.assign(self, "session", event.session)
                self._journal.assign(self, "run", event.run)
                self._journal.assign(self, "is_stopped", False)
            case Stopped():
                if event.balances != self.balances.totals():
                    raise LedgerDamaged("the balances at the stop are not what the fills add up to")
                self._journal.assign(self, "is_stopped", True)
            case RefusalsCounted():
                self.results.count_refusals(event.counts)

    def _approved(self, intent: Intent, holds: tuple[Hold, ...]) -> None:
        if intent.intent_id in self.trades or intent.pair in self.busy:
            raise LedgerDamaged(f"{intent.intent_id} was approved while {intent.pair} was busy")
        for hold in holds:
            self.balances.hold(hold.venue, hold.currency, hold.amount)
        self._journal.put(self.trades, intent.intent_id, Trade.begin(intent, holds))
        self._journal.put(self.busy, intent.pair, intent.intent_id)
        if intent.kind == "entry":
            self._journal.assign(self, "entering", self.entering + 1)
            self._expose(notional_of(intent), intent.direction)
        self.results.count(self.results.approved, intent.pair)

    def _refused(self, event: IntentRefused) -> None:
        self._journal.put(self.refusals, event.intent_id, event)
        if len(self.refusals) > REFUSALS_KEPT:
            self._forget(self._journal.drop_oldest(self.refusals))
        # A name that is no pair's must not become a symbol.
        known = event.reason is not Refusal.UNKNOWN_PAIR
        self.results.count_refusal(event.pair if known else "", event.reason)

    def _reported(self, event: OrderReported) -> None:
        trade = self._trade(event.intent_id)
        old = trade.result(event.client_id)
        if old is None:
            raise LedgerDamaged(f"{event.client_id} is no order of {event.intent_id}")
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
            old.order, event.state, (*old.fills, *event.fills), event.detail, event.decision_price
        )
        kept: Hold | None = None
        if hold is not None:
            if new.is_final:  # nothing more can be spent
                left = ZERO
            self.balances.hold(venue, hold.currency, left - hold.amount)
            kept = Hold(hold.client_id, hold.venue, hold.currency, left) if left else None
        self._journal.put(self.trades, event.intent_id, trade.reported(new, kept))

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
        )
        derived = (position.position_id, position.state) if position is not None else ("", None)
        if derived != (event.position_id, event.position_state):
            raise LedgerDamaged(f"the end of {intent.intent_id} leaves {derived}, not what it states")
        for hold in trade.holds:
            self.balances.hold(hold.venue, hold.currency, -hold.amount)
        self._journal.drop(self.trades, intent.intent_id)
        self._journal.drop(self.busy, intent.pair)
        if intent.kind == "entry":
            self._journal.assign(self, "entering", self.entering - 1)
            self._expose(-notional_of(intent), intent.direction)
        self._journal.put(self.outcomes, intent.intent_id, outcome_of(trade, position))
        if len(self.outcomes) > OUTCOMES_KEPT:
            self._forget(self._journal.drop_oldest(self.outcomes))
        if position is not None:
            day = event.day if event.day is not None else day_of(event.at_ms)
            self._left(position, intent, day, is_new=before is None, done=event.done)
        if not self.per_symbol_positions.get(intent.pair):
            self.standing.became_flat(intent.pair)

    def _left(self, position: Position, intent: Intent, day: int, *, is_new: bool, done: bool) -> None:
        """Book the position that a concluded intent leaves."""
        if is_new:
            self.results.opened(position)
        if position.state == "CLOSED":
            if not is_new:
                self._journal.drop(self.positions, position.position_id)
                self._expose(-position.entry_notional, position.direction)
                self._journal.drop(self.per_symbol_positions[position.pair], position.position_id)
            self._journal.put(self.closed, position.position_id, position)
            if len(self.closed) > CLOSED_KEPT:
                self._journal.drop_oldest(self.closed)
            self.results.closed(position, intent.home.market.venue, intent.away.market.venue, day)
        else:
            if done:
                self.results.count(self.results.doubted, intent.pair)
            self.add_symbol_position(position)
        self._journal.assign(self, "_due", (intent.intent_id, position, is_new))

    def _stated(self, event: PositionStatement) -> None:
        due = self._due
        if due is None or due[:2] != (event.intent_id, event.position):
            raise LedgerDamaged(f"position {event.position.position_id} is not what its fills add up to")
        if not isinstance(event, statement_kind(due[1], is_new=due[2])):
            raise LedgerDamaged(f"position {event.position.position_id} is stated as {type(event).__name__}")
        self._journal.assign(self, "_due", None)

    def _trade(self, intent_id: str) -> Trade:
        trade = self.trades.get(intent_id)
        if trade is None:
            raise LedgerDamaged(f"intent {intent_id} is not open")
        return trade

    def _expose(self, notional: Decimal, direction: Direction) -> None:
        self._journal.assign(self, "exposure", self.exposure + notional)
        self._journal.put(self.exposures, direction, self.exposures[direction] + notional)

    def _forget(self, intent_id: str) -> None:
        prefix, _, number = intent_id.rpartition("-")
        if number.isdecimal():
            self._journal.put(self.spent, prefix, max(self.spent.get(prefix, 0), int(number)))


def statement_kind(position: Position, *, is_new: bool) -> type[PositionStatement]:
    """The event that states ``position`` after a conclusion."""
    if position.state == "CLOSED":
        return PositionClosed
    return PositionOpened if is_new else PositionChanged
