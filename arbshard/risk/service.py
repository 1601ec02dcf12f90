"""A batch of requests: decided, stored in one transaction, answered. Called by ``wire.serve`` for each batch.

Ledger first: replies leave, and the state keeps what it was changed by, only when the ledger has all events of the
batch. When it cannot be written the state is taken back, ``LedgerError`` goes to the owner, and nobody is answered.
"""

from typing import Protocol

from arbshard.clock import Clock
from arbshard.errors import LedgerError, ProtocolError
from arbshard.ledger.events import Event
from arbshard.ledger.store import LedgerStore
from arbshard.model.refusal import Refusal
from arbshard.risk.core import RiskCore
from arbshard.shm.pages import PageWriter
from arbshard.wire.messages import Hello, Refused, Reply, Request, Submit, decode_request, encode


class PhaseSource(Protocol):
    """Where the run's phase is read: ``shm.books.BooksReader``."""

    @property
    def phase(self) -> int:
        """See ``model.phase``."""
        ...


class RiskService:
    """Core, ledger and counters together."""

    def __init__(
        self, core: RiskCore, store: LedgerStore, page: PageWriter, feed: PhaseSource, clock: Clock
    ) -> None:
        self._core = core
        self._store = store
        self._page = page
        self._feed = feed
        self._clock = clock
        self._handle = page.histogram("handle")
        self._commit = page.histogram("commit")
        self._approvals = page.counter("approvals")
        self._refusals = page.counter("refusals")
        self._stale = page.counter("stale")
        self._repeated = page.counter("repeated")
        self._events = page.counter("events")
        self._bad = page.counter("bad")
        self.is_changed = True
        """Whether the state has changed since this was last set to False."""

    def handle(self, payloads: list[bytes]) -> list[bytes]:
        """The replies to ``payloads``, in their order. Raises ``LedgerError``; then nothing has happened."""
        began_ns = self._clock.monotonic_ns()
        now_ms = self._clock.wall_ms()
        phase = self._feed.phase
        events: list[Event] = []
        try:
            replies = [self._answer(payload, now_ms, phase, events) for payload in payloads]
        except BaseException:
            self._core.rollback()
            raise
        self._keep(events)
        packed = [encode(reply) for reply in replies]
        self._page.record(self._handle, self._clock.monotonic_ns() - began_ns)
        return packed

    def start(self, run: str, version: str) -> None:
        """Begin a session. Raises ``LedgerError``."""
        self._keep(self._core.start(self._clock.wall_ms(), run, version))

    def stop(self) -> None:
        """End the session. Raises ``LedgerError``."""
        self._keep(self._core.stop(self._clock.wall_ms()))

    def _answer(self, payload: bytes, now_ms: int, phase: int, events: list[Event]) -> Reply:
        try:
            request = decode_request(payload)
        except ProtocolError as error:
            self._page.add(self._bad)
            return Refused(Refusal.MALFORMED, str(error))
        reply, made = self._core.handle(request, now_ms, phase)
        self._count(request, reply, made)
        events.extend(made)
        return reply

    def _keep(self, events: list[Event]) -> None:
        if not events:
            return
        began_ns = self._clock.monotonic_ns()
        try:
            self._store.append(events)
        except LedgerError:
            self._core.rollback()
            raise
        self._core.commit()
        self._page.record(self._commit, self._clock.monotonic_ns() - began_ns)
        self._page.add(self._events, len(events))
        self.is_changed = True

    def _count(self, request: Request, reply: Reply, made: list[Event]) -> None:
        if isinstance(reply, Refused):
            self._page.add(self._refusals)
            if reply.reason is Refusal.STALE_EPOCH:
                self._page.add(self._stale)
        elif not made and not isinstance(request, Hello):
            self._page.add(self._repeated)
        elif isinstance(request, Submit):
            self._page.add(self._approvals)
