"""Risk inside the process: ``RiskCore`` behind the transport that a worker's ``RiskLink`` speaks over.

The messages are those of the sharded engine, so the desk cannot tell the difference. Ledger first, here too: no
reply leaves before its events are stored.
"""

from collections.abc import Callable
from pathlib import Path

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.errors import LedgerError
from arbshard.ledger.events import Event
from arbshard.ledger.replay import recover
from arbshard.ledger.store import LedgerStore
from arbshard.model.phase import Phase
from arbshard.model.universe import Universe
from arbshard.risk.assembly import warn_of_untraded
from arbshard.risk.core import RiskCore
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.runner.report import TradeReport, report_refused, report_settled
from arbshard.version import __version__
from arbshard.wire.messages import Conclude, Refused, Reply, Request, Settled, Submit, decode_request, encode

SHARD = 0
"""The one shard there is."""


class LocalRisk:
    """Implements ``worker.risk_link.Transport``. Use ``open`` to make one."""

    def __init__(
        self,
        core: RiskCore,
        store: LedgerStore | None,
        clock: Clock,
        on_report: Callable[[TradeReport], None],
    ) -> None:
        self._core = core
        self._store = store
        self._clock = clock
        self._on_report = on_report
        self._is_broken = False
        self.phase = Phase.RUNNING

    @classmethod
    def open(
        cls,
        config: Config,
        universe: Universe,
        ledger: Path | None,
        mode: str,
        clock: Clock,
        on_report: Callable[[TradeReport], None],
    ) -> "LocalRisk":
        """Carry on from ``ledger``, or begin with nothing and keep everything in memory.

        Raises ``RunDirError`` (another process writes this ledger), ``UsageError`` (it was begun in another
        ``mode``), ``LedgerError``.
        """
        state = PortfolioState()
        store: LedgerStore | None = None
        if ledger is not None:
            store = LedgerStore.open(ledger, name=config.name, mode=mode, now_ms=clock.wall_ms())
        try:
            if store is not None:
                state = recover(store, PortfolioCodec()).state
            warn_of_untraded(state, universe)
            risk = cls(RiskCore(config, universe, state), store, clock, on_report)
            risk.start()
        except BaseException:
            if store is not None:
                store.abandon()
            raise
        return risk

    @property
    def state(self) -> PortfolioState:
        """The one portfolio."""
        return self._core.state

    @property
    def epoch(self) -> int:
        """Of the incarnation to come."""
        known = self.state.shards.get(SHARD)
        return 1 if known is None else known.epoch + 1

    def start(self) -> None:
        """Begin a session. Raises ``LedgerError``."""
        now_ms = self._clock.wall_ms()
        self._keep(self._core.start(now_ms, f"library-{now_ms}", __version__))

    def close(self) -> None:
        """End the session and let go of the ledger. Raises ``LedgerError``."""
        if self._is_broken:
            return
        self._keep(self._core.stop(self._clock.wall_ms()))
        if self._store is not None:
            self._store.close()

    async def request(self, payload: bytes, *, priority: int = 0) -> bytes:
        """One question, one answer, at once. Raises ``LedgerError``; nothing has happened then, nor will any more."""
        del priority  # nobody waits here
        if self._is_broken:
            raise LedgerError("the ledger could not be written; nothing is decided any more")
        request = decode_request(payload)
        tell = self._teller(request)
        try:
            reply, events = self._core.handle(request, self._clock.wall_ms(), self.phase)
        except BaseException:
            self._core.rollback()
            raise
        self._keep(events)
        tell(reply)
        return encode(reply)

    def _keep(self, events: list[Event]) -> None:
        if self._store is not None:
            try:
                self._store.append(events)
                self._store.checkpoint_if_due(is_idle=False)
            except LedgerError:
                self._core.rollback()
                self._is_broken = True
                self._store.abandon()
                raise
        self._core.commit()

    def _teller(self, request: Request) -> Callable[[Reply], None]:
        """What to report once the reply is known; the intent of a conclusion is gone by then."""
        state = self.state
        trade = state.trades.get(request.intent_id) if isinstance(request, Conclude) else None
        before = state.positions.get(trade.intent.position_id) if trade is not None else None

        def tell(reply: Reply) -> None:
            now_ms = self._clock.wall_ms()
            if isinstance(request, Submit) and isinstance(reply, Refused):
                self._on_report(report_refused(request.intent, reply, now_ms))
            elif trade is not None and isinstance(reply, Settled):
                self._on_report(report_settled(trade.intent, reply, before, now_ms))

        return tell
