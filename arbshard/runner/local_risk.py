"""Runs risk inside the process: its service is behind the transport that a worker's ``RiskLink`` uses.

Messages, decisions and their order are those of the sharded engine, so the desk works without changes: no reply is
sent before its events are stored.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.engine.baseline import Baselines
from arbshard.errors import LedgerError
from arbshard.ledger.postings import UnstoredLedger
from arbshard.ledger.replay import recover
from arbshard.ledger.store import LedgerStore
from arbshard.model.book import BookTop
from arbshard.model.phase import Phase
from arbshard.model.universe import Universe
from arbshard.risk.assembly import warn_of_untraded
from arbshard.risk.core import RiskCore
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.service import RiskService
from arbshard.runner.report import TradeReport, report_refused, report_settled
from arbshard.shm.pages import private_page
from arbshard.version import __version__
from arbshard.wire.messages import (
    Conclude,
    Refused,
    Reply,
    Request,
    Settled,
    Submit,
    decode_reply,
    decode_request,
)

Result = TypeVar("Result")

SHARD = 0
"""Number of the only shard."""


class LocalRisk:
    """Implements ``worker.risk_link.RiskTransport``. Use ``open`` to make one."""

    beat_ns = back_ns = 0
    """There is no supervisor whose beat could be missed."""

    def __init__(
        self,
        core: RiskCore,
        store: LedgerStore | None,
        clock: Clock,
        on_report: Callable[[TradeReport], None],
    ) -> None:
        self.state: PortfolioState = core.state
        """The only portfolio."""
        self._core = core
        self._store = store
        self._clock = clock
        self._on_report = on_report
        self._is_broken = False
        self.phase = Phase.RUNNING
        _, page = private_page(COUNTERS, HISTOGRAMS)
        ledger = store if store is not None else UnstoredLedger()
        self._service = RiskService(core, ledger, page, self, clock)

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
        """Continue from ``ledger``, or begin with nothing and keep everything in memory.

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
    def epoch(self) -> int:
        """Return the epoch of the next incarnation."""
        known = self.state.shards.get(SHARD)
        return 1 if known is None else known.epoch + 1

    def use_baselines(self, baselines: Baselines) -> None:
        """Judge entries by these baselines; they are changed in place."""
        self._core.use_baselines(baselines)

    def note_gap(self, base: str, gap: float, implied_rate: float, rate: BookTop, now_ns: int) -> None:
        """Pass on a sample of a pair, and the top of the FX book: see ``RiskCore.note_gap``."""
        self._core.guard.fx.set_rate(rate, now_ns)
        self._core.note_gap(base, gap, implied_rate, now_ns)

    def refresh_terms(self) -> int:
        """Compute the terms of entry; return the serial of the newest change."""
        self._core.refresh_terms(self._clock.wall_ms(), self._clock.monotonic_ns())
        return self._core.terms.serial

    def start(self) -> None:
        """Begin a session. Raises ``LedgerError``."""
        self._or_break(lambda: self._service.start(f"library-{self._clock.wall_ms()}", __version__))

    def close(self) -> None:
        """End the session and close the ledger. Raises ``LedgerError``."""
        if self._is_broken:
            return
        self._or_break(self._service.stop)
        if self._store is not None:
            self._store.close()

    async def request(self, payload: bytes, *, priority: int = 0) -> bytes:
        """Answer one request at once. Raises ``LedgerError``: then nothing has happened, and no further request is
        answered.
        """
        del priority  # requests are answered at once, so none overtakes another
        if self._is_broken:
            raise LedgerError("the ledger could not be written; nothing is decided any more")
        report = self._reporter(decode_request(payload))
        (reply,) = self._or_break(lambda: self._service.handle([payload]))
        if report is not None:
            report(decode_reply(reply))
        return reply

    def _or_break(self, work: Callable[[], Result]) -> Result:
        """Return the result of ``work``, which may store events. After a ``LedgerError`` nothing is decided any
        more.
        """
        try:
            result = work()
            if self._store is not None:
                self._store.checkpoint_if_due(is_idle=False)
        except LedgerError:
            self._is_broken = True
            if self._store is not None:
                self._store.abandon()
            raise
        return result

    def _reporter(self, request: Request) -> Callable[[Reply], None] | None:
        """Return a function that reports once the reply is known; None for a request that is not reported.

        It is made before the request is handled, because the intent of a conclusion is gone afterwards.
        """
        state = self.state
        trade = state.trades.get(request.intent_id) if isinstance(request, Conclude) else None
        before = state.positions.get(trade.intent.position_id) if trade is not None else None

        def report(reply: Reply) -> None:
            now_ms = self._clock.wall_ms()
            if isinstance(request, Submit) and isinstance(reply, Refused):
                self._on_report(report_refused(request.intent, reply, now_ms))
            elif trade is not None and isinstance(reply, Settled):
                self._on_report(report_settled(trade.intent, reply, before, now_ms))

        return report if trade is not None or isinstance(request, Submit) else None
