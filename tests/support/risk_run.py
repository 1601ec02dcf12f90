"""Real risk processes in a run directory where the test acts as supervisor and as worker."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from arbshard.model.intent import Intent
from arbshard.model.phase import Phase
from arbshard.model.risk_note import RiskNote, decode_risk_note
from arbshard.model.rundir import RunFiles
from arbshard.shm.books import BooksWriter
from arbshard.shm.pages import PageReader
from arbshard.wire.messages import (
    Approved,
    Conclude,
    Fund,
    Noted,
    Reply,
    Report,
    Request,
    Settled,
    Submit,
    Welcome,
    decode_reply,
    encode,
)
from arbshard.wire.request import RequestClient
from support import world as w

WAIT_S = 20.0


class RiskRun:
    """A run directory with a supervisor's part in it, and risk processes beside it."""

    def __init__(self, directory: Path) -> None:
        self.files = RunFiles(directory / "run")
        self.files.dir.mkdir()
        self.state_dir = directory / "state"
        self.ledger = self.state_dir / "ledger.sqlite"
        # Makes the intents; what it believes itself is of no interest.
        self.world = w.World(now_ms=time.time_ns() // 1_000_000)
        self.files.config.write_bytes(msgspec.json.encode(self.world.config))
        self.files.universe.write_bytes(msgspec.json.encode(self.world.universe))
        self.books = BooksWriter.create(self.files.books, 8, 64, epoch=1)
        self.books.set_phase(Phase.RUNNING)
        self.beating = True
        self.processes: list[subprocess.Popen[bytes]] = []
        self.client: RequestClient | None = None

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "arbshard.risk", *arguments]
        command += ["--run-dir", str(self.files.dir), "--state-dir", str(self.state_dir)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        self.processes.append(process)
        return process

    async def ready(self, process: subprocess.Popen[bytes]) -> None:
        await self.until(lambda: self.page("pid") == process.pid and self.page("ready") == 1)

    async def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            self.beat()
            await asyncio.sleep(0.01)

    async def ended(self, process: subprocess.Popen[bytes]) -> int:
        await self.until(lambda: process.poll() is not None)
        return process.returncode

    def beat(self) -> None:
        if self.beating:
            self.books.beat(time.monotonic_ns())

    def page(self, name: str) -> int:
        if not self.files.risk_page.exists():
            return -1
        with PageReader.attach(self.files.risk_page) as page:
            return page.value(name)

    def note(self) -> RiskNote:
        with PageReader.attach(self.files.risk_page) as page:
            return decode_risk_note(page.note())

    async def ask(self, request: Request) -> Reply:
        if self.client is None:
            self.client = RequestClient(self.files.risk_endpoint, timeout_ms=300, tries=20)
        answer = asyncio.ensure_future(self.client.request(encode(request)))
        await self.until(answer.done)
        return decode_reply(answer.result())

    async def hello(self, epoch: int = 1) -> Welcome:
        self.world.epoch = epoch
        reply = await self.ask(self.world.hello())
        assert isinstance(reply, Welcome), reply
        return reply

    async def prepare(self) -> None:
        await self.hello()
        for base in self.world.bases:
            await self.ask(Fund(0, 1, base, w.HOME_PRICE))

    def entry(self, base: str = "BTC") -> Intent:
        self.world.now_ms = time.time_ns() // 1_000_000
        return self.world.entry(base)

    async def carry_out(self, intent: Intent, *, done: bool = False) -> Settled:
        epoch = self.world.epoch
        assert isinstance(await self.ask(Submit(0, epoch, intent)), Approved)
        for order in (intent.home, intent.away):
            reply = await self.ask(Report(0, epoch, intent.intent_id, w.filled(order)))
            assert isinstance(reply, Noted)
        reply = await self.ask(Conclude(0, epoch, intent.intent_id, w.HOME_PRICE, w.FX, done))
        assert isinstance(reply, Settled)
        return reply

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=60)
            if process.stderr is not None:
                process.stderr.close()
        if self.client is not None:
            self.client.close()
        self.books.close()
