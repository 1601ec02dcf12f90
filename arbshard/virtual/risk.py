"""Implements risk as a virtual process: virtual ports for the assembly in ``arbshard.risk``.

Every handled request, every reply, and every stored event is reported to the oracle.
"""

from arbshard.config import Config
from arbshard.errors import LedgerDamaged, LedgerError
from arbshard.ledger.events import Event
from arbshard.model.universe import Universe
from arbshard.risk.assembly import Risk, RiskPorts, exit_code_of
from arbshard.risk.core import RequestOutcome, RiskCore
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.shm.books import BooksReader
from arbshard.shm.universe import UniverseFile
from arbshard.virtual.audit import Audit
from arbshard.virtual.costs import COMMIT_NS, EVENT_NS
from arbshard.virtual.exposure import Stated
from arbshard.virtual.ledger import Disk, MemoryLedger
from arbshard.virtual.loop import VirtualProcess
from arbshard.virtual.network import VirtualReplyServer
from arbshard.virtual.oracle import Oracle
from arbshard.virtual.worker import VirtualSurroundings
from arbshard.wire.messages import Command, CommandReply, Request, Statement
from arbshard.wire.replies import Handler
from arbshard.wire.serve import ReplyServer

_NOTE_EVERY_NS = 5_000_000_000
"""Interval in ns between notes. It is longer than in production because making a note takes long; a fence is noted
at once.
"""


class WatchedCore(RiskCore):
    """Reports every decision to the oracle. ``oracle`` is set before the first request."""

    oracle: Oracle

    def handle(self, request: Request, now_ms: int, phase: int, now_ns: int | None = None) -> RequestOutcome:
        """Handle a request as ``RiskCore`` does, and report it to the oracle."""
        reply, events = super().handle(request, now_ms, phase, now_ns)
        self.oracle.handled(request, reply)
        return reply, events

    def command(
        self, command: Command, now_ms: int, now_ns: int | None = None
    ) -> tuple[CommandReply, list[Event]]:
        """Carry out a command as ``RiskCore`` does, and report it to the oracle."""
        answer = super().command(command, now_ms, now_ns)
        if isinstance(command, Statement) and self.reconciler is not None:
            heard = self.reconciler.last_statement(command.venue)
            if heard.settled_ns == command.read_ns:
                self.oracle.statement(command.venue, is_full=heard.is_exact)
        return answer


class VirtualRisk:
    """Executes one incarnation of risk."""

    def __init__(
        self,
        around: VirtualSurroundings,
        process: VirtualProcess,
        disk: Disk,
        run: str,
        audit: Audit,
        tick_s: float,
    ) -> None:
        """Make a risk process. ``run`` names the supervisor's run."""
        self._around = around
        self.process = process
        self._disk = disk
        self._run_name = run
        self._oracle = around.oracle
        self._audit = audit
        self._tick_s = tick_s
        self._risk: Risk | None = None
        self.core: RiskCore | None = None
        """The core of risk; None before the ledger was replayed."""

    @property
    def is_ready(self) -> bool:
        """Return whether requests are answered."""
        return self._risk is not None and self._risk.is_ready

    async def run(self) -> int:
        """Run until the process ends by itself or is asked to stop. Returns the exit code."""
        around, files = self._around, self._around.files
        ports = RiskPorts(
            clock=around.clock,
            files=files,
            pid=self.process.pid,
            run=self._run_name,
            is_orphan=around.is_orphan,
            open_ledger=lambda: MemoryLedger(self._disk),
            listen=self._listen,
            make_core=self._make_core,
            tick_s=self._tick_s,
            note_every_ns=_NOTE_EVERY_NS,
        )
        with BooksReader.attach(files.books) as books:
            universe = UniverseFile(books, files.universe).load()
            try:
                with Risk(ports, around.config, universe, books) as risk:
                    self._risk = risk
                    code = await risk.run()
            except LedgerError as error:
                self._failed(error)
                return exit_code_of(error)
        if risk.failure is not None:
            self._failed(risk.failure)
        else:
            self._audit.left(risk.core.state)
        return code

    def _make_core(self, config: Config, universe: Universe, state: PortfolioState, tag: str) -> RiskCore:
        self._audit.began(state)
        self._oracle.ended_risk()
        core = WatchedCore(config, universe, state, tag)
        core.oracle = self._oracle
        self.core = core
        return core

    def _listen(self, handler: Handler, stored_replies: int) -> ReplyServer:
        def handle(payloads: list[bytes]) -> list[bytes]:
            before = self._disk.last_seq
            replies = handler(payloads)
            self._oracle.answers(replies)
            assert self.core is not None
            state = self.core.state
            exposures = state.exposures
            valuation = self.core.valuation
            self._oracle.committed(
                Stated(
                    state.exposure, exposures["buy_home"], exposures["buy_away"], state.entering,
                    valuation.equity, valuation.high_water,
                )
            )  # fmt: skip
            stored = self._disk.last_seq - before
            if stored:
                self._around.loop.charge(COMMIT_NS + stored * EVENT_NS, f"stores {stored} events")
            return replies

        return VirtualReplyServer(
            self._around.port, self.process, handle, stored_replies, self._oracle.answers
        )

    def _failed(self, error: LedgerError) -> None:
        if isinstance(error, LedgerDamaged):  # an event that contradicts the state, not a disk without room
            self._audit.damaged(str(error))
        self._oracle.ended_risk()
        if self.core is not None:
            self._audit.rolled_back(self.core.state)
