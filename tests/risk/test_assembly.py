"""Risk put together over ports: a real ledger and real shared memory, and requests played by the test."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import pytest

from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.errors import ConfigError, LedgerChanged, LedgerError, UsageError
from arbshard.ledger import snapshots
from arbshard.ledger.store import LedgerStore
from arbshard.model.rundir import RunFiles
from arbshard.risk.assembly import ExitCode, Risk, RiskPorts, exit_code_of
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.pages import PageReader
from arbshard.wire.messages import Hello, Welcome, decode_reply, encode
from arbshard.wire.replies import Handler
from support.world import make_universe

TICK_NS = 100_000_000


class Server:
    """The server of requests, without a socket: the test puts them."""

    requests = batches = unsent = bad = 0

    def __init__(self, handler: Handler, stored_replies: int) -> None:
        self.handler = handler
        self.on_error: Callable[[Exception], None] | None = None
        self.is_closed = False
        self.serve: Callable[[], None] = lambda: None

    def start(self, on_error: Callable[[Exception], None]) -> None:
        self.on_error = on_error

    def ask(self, payloads: Sequence[bytes]) -> list[bytes]:
        """The replies; none when risk could not give any."""
        try:
            return self.handler(list(payloads))
        except LedgerError as error:
            assert self.on_error is not None
            self.on_error(error)
            return []

    def close(self) -> None:
        self.is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Place:
    """A run directory and a ledger."""

    def __init__(self, path: Path) -> None:
        self.universe = make_universe("BTC")
        self.files = RunFiles(path)
        self.ledger = path / "ledger.sqlite"
        self.writer = BooksWriter.create(self.files.books, 3, 8192, epoch=1)
        self.reader = BooksReader.attach(self.files.books)
        self.server: Server | None = None
        self.is_orphan = False

    def open_ledger(self) -> LedgerStore:
        return LedgerStore.open(self.ledger, name="t", mode="sim-paper", now_ms=1)

    def listen(self, handler: Handler, stored_replies: int) -> Server:
        self.server = Server(handler, stored_replies)
        return self.server

    def risk(self) -> Risk:
        ports = RiskPorts(
            clock=SystemClock(),
            files=self.files,
            pid=78,
            run="a run",
            is_orphan=lambda: self.is_orphan,
            open_ledger=self.open_ledger,
            listen=self.listen,
            tick_s=0.005,
        )
        return Risk(ports, Config(), self.universe, self.reader)

    def shown(self) -> dict[str, int]:
        with PageReader.attach(self.files.risk_page) as page:
            return page.values()

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


@pytest.fixture
def place(tmp_path):
    one = Place(tmp_path)
    yield one
    one.close()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_it_answers_until_sigterm_and_ends_its_session(place) -> None:
    with place.risk() as risk:
        assert not risk.is_ready
        running = asyncio.ensure_future(risk.run())
        await _until(lambda: risk.is_ready)
        (reply,) = place.server.ask([encode(Hello(0, 1, 9, ("BTC",)))])
        assert isinstance(decode_reply(reply), Welcome)
        before = place.shown()
        assert (before["pid"], before["ready"], before["session"], before["closed"]) == (78, 1, 1, 0)
        await _until(lambda: place.shown()["beat"] > before["beat"])
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await running is ExitCode.ORDERLY
    after = place.shown()
    assert (after["ready"], after["closed"]) == (0, 1)
    assert place.server.is_closed
    store = place.open_ledger()
    assert store.ended_in_order
    store.close()


async def test_a_restart_within_the_run_goes_on_with_the_same_ledger(place) -> None:
    for session in (1, 2):
        with place.risk() as risk:
            assert risk.core.state.session == session  # the first one was not ended: as after a crash
    for name in (
        "ledger.sqlite",
        "ledger.sqlite-wal",
        "ledger.sqlite-shm",
    ):  # another one is begun in its place
        place.ledger.with_name(name).unlink()
    with pytest.raises(LedgerChanged, match="is not the one this run began with"):
        place.risk()
    place.open_ledger().close()  # and it was let go


async def test_it_ends_with_its_supervisor_and_ends_its_session(place) -> None:
    with place.risk() as risk:
        place.is_orphan = True
        async with asyncio.timeout(10):
            assert await risk.run() is ExitCode.ORPHANED
    assert place.shown()["closed"] == 1


@pytest.mark.parametrize("where", ["a batch", "a tick"])
async def test_a_ledger_that_fails_ends_it_and_not_the_session(place, where, monkeypatch) -> None:
    with place.risk() as risk:
        running = asyncio.ensure_future(risk.run())
        await _until(lambda: risk.is_ready)

        def broken(self, *_: object) -> None:
            raise LedgerError("no room")

        monkeypatch.setattr(LedgerStore, "append" if where == "a batch" else "check_files", broken)
        if where == "a batch":
            assert place.server.ask([encode(Hello(0, 1, 9, ("BTC",)))]) == []
        async with asyncio.timeout(10):
            assert await running is ExitCode.LEDGER
        assert str(risk.failure) == "no room"
    monkeypatch.undo()
    assert (place.shown()["ready"], place.shown()["closed"]) == (0, 0)
    store = place.open_ledger()
    assert not store.ended_in_order
    store.close()


async def test_a_defect_on_a_tick_is_raised(place, monkeypatch) -> None:
    """A timer whose exception was lost would leave risk without its judgement of workers."""
    with place.risk() as risk:
        monkeypatch.setattr(LedgerStore, "check_files", partial(_divide, 0))
        async with asyncio.timeout(10):
            with pytest.raises(ZeroDivisionError):
                await risk.run()


async def test_what_waits_is_answered_before_a_tick(place, monkeypatch) -> None:
    done: list[str] = []
    with place.risk() as risk:
        place.server.serve = partial(done.append, "served")
        monkeypatch.setattr(risk, "_tick", lambda now_ns: done.append("tick"))
        running = asyncio.ensure_future(risk.run())
        await _until(lambda: done.count("tick") > 2)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            await running
    assert done[:6] == ["served", "tick"] * 3


async def test_no_tick_follows_an_answer_that_has_ended_risk(place, monkeypatch) -> None:
    with place.risk() as risk:
        place.server.serve = lambda: place.server.on_error(LedgerError("no room"))
        monkeypatch.setattr(risk, "_tick", lambda now_ns: pytest.fail("a tick"))
        async with asyncio.timeout(10):
            assert await risk.run() is ExitCode.LEDGER
        assert str(risk.failure) == "no room"


@pytest.mark.parametrize(("asks", "is_taken"), [(False, True), (True, False)])
async def test_a_snapshot_is_taken_early_only_while_no_worker_asks(
    place, asks, is_taken, monkeypatch
) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_DUE", 5)
    with place.risk() as risk:
        for epoch in range(1, 7):
            place.server.ask([encode(Hello(0, epoch, 9, ("BTC",)))])
        for number in range(1, 6):  # the state becomes bytes in one pause, and is stored in the next
            place.server.batches += asks
            risk._tick(number * TICK_NS)
        assert (risk._store.snapshot_seq == risk._store.last_seq) is is_taken
        assert risk._store.last_seq > 5


def _divide(by: int, *_: object) -> float:
    return 1 / by


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LedgerError("x"), ExitCode.LEDGER),
        (OSError(28, "No space left on device"), ExitCode.LEDGER),
        (UsageError("x"), ExitCode.USAGE),
        (ConfigError("a", "x"), ExitCode.USAGE),
        (OSError(13, "Permission denied"), ExitCode.FAILED),
    ],
)
def test_exit_codes(error, code) -> None:
    assert exit_code_of(error) is code
