"""A whole instance that is broken piece by piece, with a terminal of its own if need be; and a supervisor's part
played by the test, for what a real one would never let happen.
"""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from typing_extensions import override

from arbshard.config import Config
from arbshard.ledger.events import ShardFenced
from arbshard.ledger.reader import LedgerReader
from arbshard.model.phase import Phase
from arbshard.model.rundir import RunFiles
from arbshard.shm.books import BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from perf.breaking import Breaker, config_of
from perf.running import System
from perf.watching import FollowedPage, Watcher
from support import world as w

SHARDS = 2
STUCK_AFTER_MS = 300.0


def config(**sections):
    """Small, quick to find out, trading all the time."""
    found = config_of(spares=1, shards=SHARDS, coins=6)
    found["sim"]["updates_per_s"] = 5.0  # what is examined does not depend on the load
    found["run"]["stuck_after_ms"] = STUCK_AFTER_MS
    for name, values in sections.items():
        found[name] = {**found.get(name, {}), **values} if isinstance(values, dict) else values
    return found


class OnTerminal(System):
    """A system that believes a person looks on: it draws its table."""

    _drain: threading.Thread | None = None

    @override
    def _open(self, command, environment, out, err):
        master, slave = pty.openpty()
        with os.fdopen(slave, "wb", buffering=0) as terminal:
            process = super()._open(command, {**environment, "TERM": "xterm"}, terminal, terminal)
        self._drain = threading.Thread(target=self._read, args=(master, Path(out.name)))
        self._drain.start()
        return process

    @staticmethod
    def _read(master, path):
        """Until the last process that draws is gone."""
        try:
            with path.open("wb") as output:
                while data := os.read(master, 65536):
                    output.write(data)
        except OSError:
            pass
        finally:
            os.close(master)

    def __exit__(self, *args):
        super().__exit__(*args)
        if self._drain is not None:
            self._drain.join(10)


@pytest.fixture
def make_config():
    return config


@pytest.fixture
def start():
    """Starts systems, and ends them however the test ended."""
    systems = []

    def run(settings, *arguments, kind=System):
        system = kind(("-m", "arbshard", "run", *arguments), settings)
        system.__enter__()
        systems.append(system)
        system.until_running()
        return system

    yield run
    for system in systems:
        system.__exit__(None, None, None)


@pytest.fixture
def on_terminal():
    return OnTerminal


@pytest.fixture
def on_disk():
    """A kind of system whose run directory stands in a place of the test's choice."""

    def choose(place):
        class OnDisk(System):
            def __init__(self, program, settings):
                super().__init__(program, settings)
                self.env["ARBSHARD_RUN_ROOT"] = str(place / "run")
                self.files = RunFiles(place / "run" / self.files.dir.name)

        return OnDisk

    return choose


@pytest.fixture
def breaker(start):
    """A breaker of a system, with short windows: what is looked at here is whether it recovers."""
    watchers = []

    def build(system, shards=SHARDS):
        watcher = Watcher(system, shards)
        watchers.append(watcher)
        return Breaker(system, watcher, shards, window_s=0.1, steady_s=0.0)

    yield build
    for watcher in watchers:
        watcher.__exit__(None, None, None)


class Stage:
    """A run directory with the test in the supervisor's part: books, rings, beats. Risk and workers are real."""

    def __init__(self, folder: Path) -> None:
        self.world = w.World()
        settings = Config()
        self.config = replace(
            settings,
            run=replace(settings.run, stuck_after_ms=STUCK_AFTER_MS),
            baseline=replace(settings.baseline, is_required=False),
            strategy=replace(
                settings.strategy,
                max_hold_s=0.2,
                cooldown_ms=50.0,
                rearm_pause_max_s=0.0,
                no_reversion_exits=0,
            ),
        )
        self.files = RunFiles(folder / "run")
        self.files.dir.mkdir()
        self.state_dir = folder / "state"
        self.files.config.write_bytes(msgspec.json.encode(self.config))
        self.files.universe.write_bytes(msgspec.json.encode(self.world.universe))
        self.books = BooksWriter.create(self.files.books, 5, 8192, epoch=os.getpid())
        self.books.set_phase(Phase.RUNNING)
        self.books.beat(time.monotonic_ns())
        self.notifier = ShardNotifier.create(self.files.dir, 0)
        self.risk_page = FollowedPage(self.files.risk_page)
        self.worker_page = FollowedPage(self.files.worker_page(0))
        self.processes: list[subprocess.Popen[bytes]] = []
        self._turn = 0

    def spawn(self, module: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", module, "--run-dir", str(self.files.dir)]
        command += ["--state-dir", str(self.state_dir), *arguments]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def worker(self, epoch: int) -> "subprocess.Popen[bytes]":
        return self.spawn("arbshard.worker", "--shard", "0", "--epoch", str(epoch))

    def quote(self) -> None:
        """New books of both pairs: the gap is wide one half second, and gone the next."""
        self._turn += 1
        now_ns = time.monotonic_ns()
        self.books.beat(now_ns)
        away = 700.0 if self._turn // 50 % 2 else 714.0
        self._write(0, _upbit("KRW-USDT", 1400.0, 1_000_000.0), now_ns)
        for slot, base in ((1, "BTC"), (3, "ETH")):
            self._write(slot, _upbit(f"KRW-{base}", 1_000_000.0, 5.0), now_ns)
            self._write(slot + 1, _binance(f"{base}USDT", away), now_ns)

    def _write(self, slot: int, frame: bytes, now_ns: int) -> None:
        self.books.write(slot, frame, now_ns)
        self.books.set_live(slot, live=True)
        self.notifier.push(slot)

    def until(self, holds, what: str, timeout_s: float = 60.0) -> None:
        """Quotes go on meanwhile, a hundred a second."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, f"waited in vain: {what}"
            self.quote()
            time.sleep(0.01)

    def events(self):
        """All that is in the ledger, once risk has ended."""
        with LedgerReader(self.state_dir / "ledger.sqlite") as ledger:
            return [ledger.decode(row[0], row[5]) for row in ledger.rows()]

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)
        for one in (self.books, self.notifier, self.risk_page, self.worker_page):
            one.close()


def _upbit(code: str, price: float, size: float) -> bytes:
    units = ",".join(
        f'{{"ap":{price + 0.5 + n},"bp":{price - 0.5 - n},"as":{size},"bs":{size}}}' for n in range(5)
    )
    return (
        f'{{"ty":"orderbook","cd":"{code}","tms":1795000000000,"tas":9,"tbs":9,"obu":[{units}],"st":"REALTIME","lv":0}}'
    ).encode()


def _binance(symbol: str, price: float) -> bytes:
    def side(sign: int) -> str:
        return ",".join(f'["{price + sign * 0.01 * (n + 1):.2f}","5.0"]' for n in range(5))

    stream = f"{symbol.lower()}@depth5@100ms"
    return (
        f'{{"stream":"{stream}","data":{{"lastUpdateId":1,"bids":[{side(-1)}],"asks":[{side(1)}]}}}}'.encode()
    )


@pytest.fixture
def stage(tmp_path):
    one = Stage(tmp_path)
    yield one
    one.close()


@pytest.fixture
def is_fence():
    return lambda event: isinstance(event, ShardFenced)
