"""Handles a batch of requests: decides, stores in one transaction, answers. ``wire.serve`` calls it for each batch.

The ledger comes first: replies are sent, and the state keeps its changes, only when the ledger has all events of the
batch. When it cannot be written the changes are undone, ``LedgerError`` is raised to the owner, and no request is
answered.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from arbshard.clock import Clock
from arbshard.crashpoint import reach
from arbshard.errors import LedgerError, ProtocolError, SharedMemoryError
from arbshard.ledger.events import (
    AccountOpened,
    ClosesOrdered,
    CoinConfirmed,
    Deposited,
    DifferenceFound,
    DifferenceResolved,
    Event,
    Halted,
    LeaderBegan,
    LimitsChanged,
    LimitsScaled,
    PairReleased,
    PairSetApart,
    ReconciliationEvent,
    Resumed,
    ShardFenced,
    ShardGranted,
    ShardJoined,
    StrayFound,
    StrayGone,
    TransferAnnounced,
    TransferEnded,
    VenueStateChanged,
    kind_of,
)
from arbshard.log import get_logger
from arbshard.model.money import plain
from arbshard.model.refusal import Refusal
from arbshard.model.silence import SilenceWatch
from arbshard.model.universe import Universe
from arbshard.risk.core import RiskCore
from arbshard.risk.portfolio.holdings import find_any_break, find_break, touched
from arbshard.risk.rest import next_due
from arbshard.risk.venue_facts import UnexpectedFee
from arbshard.shm.pages import PageWriter
from arbshard.wire.messages import (
    CommandReply,
    Hello,
    Instructions,
    ReadTerms,
    Refused,
    Reply,
    Request,
    Statement,
    Submit,
    decode_command,
    decode_request,
    encode,
)

_AUDIT_EVERY_NS = 10_000_000_000


class EventLedger(Protocol):
    """Keeps events: ``ledger.store.LedgerStore``."""

    last_seq: int
    """The number of the last event."""

    @property
    def balances(self) -> Mapping[tuple[str, str], Decimal]:
        """Return the running balances by (account, currency)."""
        ...

    def append(self, events: Sequence[Event]) -> None:
        """Store all of ``events``, or nothing. Raises ``LedgerError``."""
        ...


class FeedHeader(Protocol):
    """Is the header of the feed, which the supervisor writes: ``shm.books.BooksReader``."""

    @property
    def phase(self) -> int:
        """Return the phase of the run, a value of ``model.phase``."""
        ...

    @property
    def beat_ns(self) -> int:
        """Return the monotonic time of the supervisor's newest beat; 0 before the first."""
        ...

    @property
    def back_ns(self) -> int:
        """Return the monotonic time of the supervisor's first beat after its last silence; 0 if there was none."""
        ...


class UniverseSource(Protocol):
    """Provides universes: ``shm.universe.UniverseFile``."""

    @property
    def serial(self) -> int:
        """Return the serial of the newest universe."""
        ...

    def load(self) -> Universe:
        """Return the newest universe. Raises ``SharedMemoryError``."""
        ...


class RiskService:
    """Joins core, ledger and counters."""

    def __init__(
        self,
        core: RiskCore,
        store: EventLedger,
        page: PageWriter,
        feed: FeedHeader,
        clock: Clock,
        universes: UniverseSource | None = None,
    ) -> None:
        """Make a service. ``universes`` is None where the pairs never change."""
        self._universes = universes
        self._serial = core.ownership.universe.serial
        self.on_universe: Callable[[Universe], None] = _nothing
        """Called with each newer universe once risk uses it."""
        self.on_stored: Callable[[int], None] = _nothing
        """Called with the number of the last event after each commit, before any reply is sent."""
        self._core = core
        self._store = store
        self._page = page
        self._feed = feed
        self._silence = SilenceWatch()
        self._clock = clock
        self._handle = page.histogram("handle")
        self._commit = page.histogram("commit")
        self._approvals = page.counter("approvals")
        self._refusals = page.counter("refusals")
        self._stale = page.counter("stale")
        self._repeated = page.counter("repeated")
        self._events = page.counter("events")
        self._bad = page.counter("bad")
        self._instructions = page.counter("instructions")
        self._terms = page.counter("terms")
        self._halted = page.counter("halted")
        self._listing_wanted = page.counter("listing_wanted")
        self._commands = page.counter("commands")
        self._breaks = page.counter("breaks")
        self._fenced = page.counter("fenced")
        self._universe = page.counter("universe")
        page.set(self._universe, self._serial)
        self._audited_ns = 0
        self._day = 0
        self.is_changed = True
        """Whether the state has changed since this was last set to False."""

    @property
    def is_settled(self) -> bool:
        """Return whether the newest universe is in use."""
        return self._universes is None or self._universes.serial <= self._serial

    def handle(self, payloads: list[bytes]) -> list[bytes]:
        """Return the replies to ``payloads``, in their order. Raises ``LedgerError``; then nothing has happened."""
        self._follow_universe()
        began_ns = self._clock.monotonic_ns()
        self._look_for_silence(began_ns)
        now_ms = self._clock.wall_ms()
        phase = self._feed.phase
        events: list[Event] = []
        try:
            replies = [self._answer(payload, now_ms, began_ns, phase, events) for payload in payloads]
        except BaseException:
            self._core.rollback()
            raise
        # Replies leave only after the ledger has the events: a crash before that leaves no approval without a record.
        self._keep(events)
        self._audit(events, now_ms)
        packed = [encode(reply) for reply in replies]
        self._page.record(self._handle, self._clock.monotonic_ns() - began_ns)
        return packed

    def start(self, run: str, version: str) -> None:
        """Begin a session. Raises ``LedgerError``."""
        self._keep(self._core.start(self._clock.wall_ms(), run, version, self._clock.monotonic_ns()))
        self._audit_all(self._clock.monotonic_ns())
        self.show_fences()
        standing = self._core.state.standing
        if standing.halt is not None:
            get_logger().warning(
                "halted before this start: no entries until a person resumes",
                reason=standing.halt.reason,
                exits="stopped, except by hand" if standing.is_stopped else "go on",
            )

    def fence(self, shard: int, reason: str) -> None:
        """Refuse a shard's incarnation from now on. Raises ``LedgerError``."""
        events = self._core.fence(shard, reason, self._clock.wall_ms())
        self._keep(events)
        self._page.add(self._fenced, len(events))

    def lead(self, term: int, host: str) -> None:
        """Begin a leadership of a cluster; before ``start``. Raises ``LedgerError``."""
        self._keep(self._core.lead(term, host, self._clock.wall_ms()))

    def grant(self, shard: int, host: str, number: int) -> int:
        """Allow a host of the cluster to run a shard, and no other one.

        Return the last event that this rests on. Raises ``LedgerError``.
        """
        self._keep(self._core.grant(shard, host, number, self._clock.wall_ms()))
        self.show_fences()
        return self._store.last_seq

    def show_fences(self) -> None:
        """Put on the page which epochs may still trade: workers and the supervisor act on it."""
        for number, shard in self._core.state.shards.items():
            self._page.set(self._page.counter(f"fence_{number}"), shard.lowest)

    def stop(self, cut_off: str = "") -> None:
        """End the session. ``cut_off``: why the run does not end in order. Raises ``LedgerError``."""
        self._keep(self._core.stop(self._clock.wall_ms(), cut_off))

    def rest(self, ticks: Sequence[int]) -> None:
        """Continue as if ``tick`` had been called at each of ``ticks``, without anything that happens."""
        # An audit is due when the time since the last one has passed, and that one may be of any time.
        due_ns = next_due(ticks, self._audited_ns + _AUDIT_EVERY_NS, _AUDIT_EVERY_NS)
        self._audited_ns = due_ns - _AUDIT_EVERY_NS

    def tick(self, *, feeds_silent: bool) -> None:
        """Let risk do what the time alone requires.

        ``feeds_silent``: no venue sends anything. Raises ``LedgerError``.
        """
        self._follow_universe()
        fx_doubt = self._core.guard.fx.doubt
        now_ms, now_ns = self._clock.wall_ms(), self._clock.monotonic_ns()
        self._look_for_silence(now_ns)
        self._keep(self._core.tick(now_ms, now_ns, feeds_silent=feeds_silent))
        self._page.set(self._terms, self._core.terms.serial)
        # What is known of the gaps is shown, too.
        self.is_changed = self.is_changed or self._core.has_new_terms
        if now_ns - self._audited_ns >= _AUDIT_EVERY_NS:
            self._audit_all(now_ns)
        day = self._core.days.day_at(now_ms).number
        self.is_changed = self.is_changed or day != self._day
        self._day = day
        self._show_fx(fx_doubt)

    def _show_fx(self, before: str) -> None:
        """Log that the FX rate has come into doubt, or is out of it."""
        now = self._core.guard.fx.doubt
        if now != before:
            self.is_changed = True
        if now and not before:
            get_logger().warning("the FX rate is in doubt: no entries", why=now)
        elif before and not now:
            get_logger().warning("the FX rate is trusted again: entries go on")

    def set_lost_feeds(self, lost: frozenset[str]) -> None:
        """Give the core the venues from which no books come."""
        if lost != self._core.lost_feeds:
            self._core.lost_feeds = lost
            self.is_changed = True

    def _look_for_silence(self, now_ns: int) -> None:
        """Refuse entries while the supervisor shows no beat."""
        guard = self._core.guard
        was_silent = guard.is_supervisor_silent
        guard.is_supervisor_silent = self._silence.update(self._feed.beat_ns, self._feed.back_ns, now_ns)
        # A silence that was over before risk began is not logged.
        if guard.is_supervisor_silent is not was_silent and self._silence.silent_ns:
            _log_silence(self._silence)

    def _follow_universe(self) -> None:
        """Read who owns which pair, before anything is decided."""
        if self._universes is None or self.is_settled:
            return
        try:
            universe = self._universes.load()
        except SharedMemoryError as error:
            get_logger().error("the universe cannot be read", error=str(error))  # the next batch tries again
            return
        self._keep(self._core.set_universe(universe, self._clock.wall_ms(), self._clock.monotonic_ns()))
        left = sorted(base for base in self._core.state.busy if base not in self._core.ownership.pairs)
        if left:  # their orders may still be filled, and no worker asks about them any more
            get_logger().error("pairs have left the universe with an intent open", pairs=left)
        self.on_universe(universe)
        self._serial = universe.serial
        self._page.set(self._universe, universe.serial)
        get_logger().info(
            "universe", serial=universe.serial, pairs=len(universe.pairs), moving=list(universe.unassigned())
        )

    def _answer(
        self, payload: bytes, now_ms: int, now_ns: int, phase: int, events: list[Event]
    ) -> Reply | CommandReply:
        try:
            request = decode_request(payload)
        except ProtocolError as error:
            return self._answer_command(payload, now_ms, now_ns, events, error)
        reply, made = self._core.handle(request, now_ms, phase, now_ns)
        self._count(request, reply, made)
        events.extend(made)
        return reply

    def _answer_command(
        self, payload: bytes, now_ms: int, now_ns: int, events: list[Event], error: ProtocolError
    ) -> Reply | CommandReply:
        """Answer a command of an operator. ``error`` says why the payload is not a request of a worker."""
        try:
            command = decode_command(payload)
        except ProtocolError:
            self._page.add(self._bad)
            return Refused(Refusal.MALFORMED, str(error))
        self._page.add(self._commands)
        answer, made = self._core.command(command, now_ms, now_ns)
        events.extend(made)
        # The time of its receipt is shown, too.
        self.is_changed = self.is_changed or isinstance(command, Statement)
        return answer

    def _audit(self, events: list[Event], now_ms: int) -> None:
        accounts = touched(events)
        if accounts:
            self._halt_on(find_break(accounts, self._core.state.balances, self._store.balances), now_ms)

    def _audit_all(self, now_ns: int) -> None:
        self._audited_ns = now_ns
        state = self._core.state
        broken = find_any_break(state.balances, self._store.balances, state.transfers.under_way())
        self._halt_on(broken, self._clock.wall_ms())

    def _halt_on(self, broken: str | None, now_ms: int) -> None:
        if broken is None:
            return
        self._page.add(self._breaks)
        if self._core.broken is None:
            get_logger().error("the books do not balance", what=broken)
        self._keep(self._core.note_break(broken, now_ms))

    def _keep(self, events: list[Event]) -> None:
        if not events:
            return
        began_ns = self._clock.monotonic_ns()
        reach("before_commit")
        try:
            self._store.append(events)
        except LedgerError:
            self._core.rollback()
            raise
        self.on_stored(self._store.last_seq)
        reach("after_commit")
        self._core.commit()
        self._page.record(self._commit, self._clock.monotonic_ns() - began_ns)
        self._page.add(self._events, len(events))
        standing = self._core.state.standing
        self._page.set(self._instructions, standing.serial)
        self._page.set(self._halted, int(standing.halt is not None))
        self._page.set(self._listing_wanted, self._core.venue_facts.listing_wanted)
        self.is_changed = True
        for event in events:
            if isinstance(event, ShardJoined):
                self.show_fences()
            _log_event(event)
        new_fees = self._core.venue_facts.new_fees
        while new_fees:
            _log_fee(new_fees.pop())

    def _count(self, request: Request, reply: Reply, made: list[Event]) -> None:
        if isinstance(reply, Refused):
            self._page.add(self._refusals)
            self.is_changed = True  # the refusal is counted, stored or not
            if reply.reason is Refusal.STALE_EPOCH:
                self._page.add(self._stale)
        elif not made and not isinstance(request, Hello | Instructions | ReadTerms):
            self._page.add(self._repeated)
        elif isinstance(request, Submit):
            self._page.add(self._approvals)


def _nothing(_: object) -> None:
    """Do nothing: the default of the service's callbacks."""


def _log_event(event: Event) -> None:
    """Log what people and rules ordered, and what concerns the accounts at the venues."""
    match event:
        case Halted():
            exits = "stopped, except by hand" if event.level == "stopped" else "go on"
            get_logger().warning("halted", cause=event.cause, reason=event.reason, exits=exits, by=event.by)
        case Resumed():
            get_logger().warning("resumed", reason=event.reason, by=event.by)
        case ShardFenced() | LeaderBegan() | ShardGranted():
            _log_shard(event)
        case ClosesOrdered():
            get_logger().warning("closing", pairs=list(event.pairs), reason=event.reason, by=event.by)
        case PairSetApart() | PairReleased() | CoinConfirmed() | VenueStateChanged():
            _log_barred(event)
        case LimitsChanged():
            get_logger().warning(
                "limits changed", symbol=event.symbol, changes=dict(event.changes), by=event.by
            )
        case LimitsScaled():
            get_logger().warning(
                "limits scaled", symbol=event.symbol, factor=str(event.factor), cause=event.cause
            )
        case AccountOpened() | DifferenceFound() | DifferenceResolved() | StrayFound() | StrayGone():
            _log_reconciliation(event)
        case Deposited() | TransferAnnounced() | TransferEnded():
            _log_move(event)
        case _:
            pass


def _log_shard(event: ShardFenced | LeaderBegan | ShardGranted) -> None:
    """Log who may trade."""
    match event:
        case ShardFenced():
            get_logger().warning("fenced", shard=event.shard, epoch=event.epoch, reason=event.reason)
        case LeaderBegan():
            get_logger().warning("leading", host=event.host, term=event.term)
        case ShardGranted():
            get_logger().info("granted", shard=event.shard, host=event.host, grant=event.grant)


def _log_move(event: Deposited | TransferAnnounced | TransferEnded) -> None:
    """Log what a person has moved or accepted."""
    log = get_logger().bind(currency=event.currency)
    match event:
        case Deposited(why="opening" | "inventory"):
            pass
        case Deposited():
            what, value = f"booked as {event.why}", plain(event.value)
            log.warning(
                what, venue=event.venue, amount=plain(event.amount), value=value, transfer=event.transfer
            )
        case TransferAnnounced():
            ends = {"source": event.source, "target": event.target}
            log.warning("transfer announced", transfer=event.transfer_id, amount=plain(event.amount), **ends)
        case TransferEnded():
            costs = {"fee": plain(event.fee), "lost": plain(event.lost), "value": plain(event.value)}
            log.warning("transfer ended", transfer=event.transfer_id, how=event.how, **costs)


def _log_barred(event: PairSetApart | PairReleased | CoinConfirmed | VenueStateChanged) -> None:
    """Log what keeps a pair, a market or a venue from being entered, and what ends that."""
    match event:
        case PairSetApart():
            get_logger().error(
                "pair set apart: it enters nothing until a person releases it",
                pair=event.pair,
                cause=event.cause,
                reason=event.reason,
                intent=event.intent_id,
            )
        case PairReleased():
            get_logger().warning("pair released", pair=event.pair, reason=event.reason, by=event.by)
        case CoinConfirmed():
            get_logger().warning(
                "coin confirmed", pair=event.pair, ratio=str(event.ratio), reason=event.reason
            )
        case VenueStateChanged():
            log = get_logger().bind(venue=event.venue, market=event.symbol, why=event.why)
            if event.state == "refuses":
                log.error("orders are refused: no entries, exits are tried with pauses", fault=event.fault)
            elif event.state == "unknown":
                log.warning("orders are to be tried again")
            else:
                log.info("orders are taken")


def _log_fee(fee: UnexpectedFee) -> None:
    get_logger().warning(
        "a fee is not the configured one",
        venue=fee.venue,
        side=fee.side,
        market=fee.symbol,
        configured_bps=plain(fee.configured_bps),
        paid_bps=plain(fee.paid_bps),
    )


def _log_silence(silence: SilenceWatch) -> None:
    """Log that the supervisor has become silent, or that it is back."""
    if silence.is_silent:
        get_logger().warning("the supervisor is silent: no entries", silent_ms=silence.silent_ns // 1_000_000)
    else:
        get_logger().warning("the supervisor beats again", silent_ms=silence.silent_ns // 1_000_000)


def _log_reconciliation(event: ReconciliationEvent) -> None:
    match event:
        case DifferenceFound():
            get_logger().warning(
                "venue and ledger differ: blocked until reconciled",
                venue=event.venue,
                currency=event.currency,
                stated=plain(event.stated),
                booked=plain(event.booked),
            )
        case DifferenceResolved():
            get_logger().warning(
                "venue and ledger agree again", venue=event.venue, currency=event.currency, how=event.how
            )
        case StrayFound():
            get_logger().warning(
                "an open order of ours that no intent owns",
                venue=event.venue,
                order=event.client_id,
                market=event.symbol,
            )
        case AccountOpened() | StrayGone():
            get_logger().info(kind_of(event), venue=event.venue)
