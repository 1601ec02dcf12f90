"""A worker put together over ports: real shared memory, and risk played by the test."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Self

import msgspec
import pytest

from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.errors import ProtocolError
from arbshard.model.phase import Phase, WorkerState
from arbshard.model.refusal import Refusal
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from arbshard.shm.pages import PageReader
from arbshard.wire.messages import Hello, Noted, Refused, Reply, Request, Welcome, decode_request, encode
from arbshard.worker.assembly import Worker, WorkerPorts
from arbshard.worker.spare import Assignment

WELCOME = Welcome(session=1, positions=(), intents=(), funded=(), available=())


class Risk:
    """The connection to risk, and what risk answers: a reply for each request, or silence for None."""

    def __init__(self, answer: Callable[[Request], Reply | None]) -> None:
        self.answer = answer
        self.asked: list[Request] = []
        self.is_closed = False

    async def request(self, payload: bytes, *, priority: int = 0) -> bytes:
        request = decode_request(payload)
        self.asked.append(request)
        reply = self.answer(request)
        if reply is None:
            await asyncio.Event().wait()
        return encode(reply)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True


class Place:
    """A run directory with everything a worker attaches to."""

    def __init__(self, make, path) -> None:
        self.files = RunFiles(path)
        self.universe = Universe(make.fx_leg, (make.pair,), (("BTC",),))
        self.files.universe.write_bytes(msgspec.json.encode(self.universe))
        self.writer = BooksWriter.create(self.files.books, 3, 8192, epoch=1)
        self.notifier = ShardNotifier.create(path, 0)
        self.reader = BooksReader.attach(self.files.books)
        self.is_orphan = False
        self.began: list[str] = []

    def worker(self, risk: Risk) -> Worker:
        ports = WorkerPorts(
            clock=SystemClock(),
            files=self.files,
            pid=77,
            is_orphan=lambda: self.is_orphan,
            connect=lambda timeout_ms, tries: risk,
            on_trading=lambda: self.began.append("trading"),
            timer_s=0.005,
        )
        return Worker(ports, Config(), self.universe, self.reader, Assignment(0, 3))

    def shown(self) -> dict[str, int]:
        with PageReader.attach(self.files.worker_page(0)) as page:
            return page.values()

    def close(self) -> None:
        self.reader.close()
        self.notifier.close()
        self.writer.close()


@pytest.fixture
def place(make, tmp_path):
    one = Place(make, tmp_path)
    yield one
    one.close()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_it_greets_trades_and_drains(place) -> None:
    risk = Risk(lambda request: WELCOME)
    with place.worker(risk) as worker:
        running = asyncio.ensure_future(worker.run())
        await _until(lambda: place.shown()["state"] == WorkerState.RUNNING)
        assert isinstance(risk.asked[0], Hello)
        assert (risk.asked[0].epoch, risk.asked[0].pid, risk.asked[0].pairs) == (3, 77, ("BTC",))
        assert worker.trading_since_ns > 0
        assert place.began == ["trading"]
        place.writer.set_phase(Phase.DRAINING)
        async with asyncio.timeout(10):
            assert await running == 0
        assert place.shown()["state"] == WorkerState.DRAINED
        assert not risk.is_closed
    assert risk.is_closed


async def test_it_can_be_ended_before_risk_answers(place) -> None:
    risk = Risk(lambda request: None)
    with place.worker(risk) as worker:
        running = asyncio.ensure_future(worker.run())
        await _until(lambda: bool(risk.asked))
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await running == 0
        assert worker.trading_since_ns == 0
        assert place.began == []
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


async def test_one_that_risk_has_replaced_ends_at_once(place) -> None:
    risk = Risk(lambda request: Refused(Refusal.STALE_EPOCH, "shard 0 is at epoch 4"))
    with place.worker(risk) as worker:
        async with asyncio.timeout(10):
            assert await worker.run() == 5
        assert place.began == []


async def test_it_ends_with_its_supervisor(place) -> None:
    with place.worker(Risk(lambda request: WELCOME)) as worker:
        running = asyncio.ensure_future(worker.run())
        await _until(lambda: bool(place.began))
        place.is_orphan = True
        async with asyncio.timeout(10):
            assert await running == 4


async def test_it_ends_with_its_supervisor_also_while_risk_does_not_answer(place) -> None:
    """Found by the simulation: risk had ended together with the supervisor, and the greeting waited for ever."""
    risk = Risk(lambda request: None)
    with place.worker(risk) as worker:
        running = asyncio.ensure_future(worker.run())
        await _until(lambda: bool(risk.asked))
        place.is_orphan = True
        async with asyncio.timeout(10):
            assert await running == 4
    assert place.began == []


async def test_an_error_other_than_a_fence_is_raised(place) -> None:
    """A reply of the wrong kind is a defect: the process logs it and ends with code 1."""
    risk = Risk(lambda request: Noted("i"))
    with place.worker(risk) as worker:
        async with asyncio.timeout(10):
            with pytest.raises(ProtocolError, match="risk answered Noted to Hello"):
                await worker.run()
    assert risk.is_closed


async def test_what_was_opened_is_closed_when_the_rest_cannot_be(place) -> None:
    risk = Risk(lambda request: WELCOME)

    def refuse(*_: object) -> None:
        raise OSError("no key")

    ports = WorkerPorts(
        clock=SystemClock(),
        files=place.files,
        pid=77,
        is_orphan=lambda: False,
        connect=lambda timeout_ms, tries: risk,
        open_live=refuse,
    )
    with pytest.raises(OSError, match="no key"):
        Worker(ports, Config(), place.universe, place.reader, Assignment(0, 3))
    assert risk.is_closed
