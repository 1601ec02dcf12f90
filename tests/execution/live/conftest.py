"""A venue that answers from a script, and a port over it: everything of live execution but the network."""

import asyncio
from collections import Counter, deque

import msgspec
import pytest

from arbshard.clock import SystemClock
from arbshard.config import LiveConfig
from arbshard.execution.live.port import LivePort
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.execution.live.venue_session import VenueSession
from arbshard.shm.budget import Budget
from arbshard.venues.base.client import Answer, NoAnswer, PreparedCall, check
from arbshard.venues.base.signing import SignedRequest, SigningMoment
from arbshard.venues.registry import rate_windows

LIVE = LiveConfig(
    dry_run=False,
    order_timeout_s=0.05,
    ask_pause_ms=1.0,
    ask_pause_max_ms=4.0,
    not_found_after_s=10.0,
    entry_wait_ms=2.0,
    budget_wait_s=0.01,
)


def answer(body, status=200, **headers):
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Answer(status, raw, {name.replace("_", "-"): value for name, value in headers.items()})


class FakeVenue:
    """``VenueClient``: takes the next answer of the path called; an exception is raised, a callable is awaited.

    Paths are given and kept without the root of the venue's calls.
    """

    def __init__(self, name):
        self.name = name
        self.calls = []
        self.script = {}
        self.clock_ms = []
        self.prepared = []
        self.used = []
        self.opens = None
        """Opens a connection, which every call then needs: awaited before the call is written."""
        self.closed = False

    def says(self, path, *answers):
        self.script.setdefault(path, deque()).extend(answers)

    def prepare(self, request):
        self.prepared.append(request)
        return PreparedCall(request, SigningMoment(0, 5000, "n"), SignedRequest("/", None, {}))

    async def keep_open(self):
        await asyncio.Event().wait()

    async def call(self, request, on_sent=None, prepared=None, objection=None):
        if prepared is not None:
            assert prepared.request == request
            self.used.append(prepared)
        if self.opens is not None:
            await self.opens()
            check(objection)
        path = request.path.removeprefix("/api/v3/").removeprefix("/v1/")
        self.calls.append((request.method, path, dict(request.params), request.private))
        await asyncio.sleep(0)
        if on_sent is not None:
            on_sent()
        said = self.script[path].popleft()
        if isinstance(said, Exception):
            raise said
        return await said() if callable(said) else said

    def set_clock(self, ahead_ms):
        self.clock_ms.append(ahead_ms)

    async def close(self):
        self.closed = True

    def paths(self):
        return [path for _, path, _, _ in self.calls]


class Room:
    """A port and all around it."""

    def __init__(self, make, run_dir, clock, live):
        self.make = make
        self.clock = clock
        self.live = live
        self.counts = Counter()
        self.failures = []
        self.budget = Budget.open(run_dir, "worker-0", rate_windows())
        self.gate = RateLimiter(self.budget, live, clock, self.count)
        self.upbit, self.binance = FakeVenue("upbit"), FakeVenue("binance")
        self.books = Books(make)
        self.lines = {
            venue.name: VenueSession(venue.name, venue, self.gate, clock, self.count)
            for venue in (self.upbit, self.binance)
        }
        self.port = LivePort(
            [make.home, make.away],
            self.lines,
            self.gate,
            self.books,
            live,
            clock,
            self.count,
            self.failures.append,
        )
        self.port.tag = "ab1cd"

    def count(self, name):
        self.counts[name] += 1


class Books:
    def __init__(self, make):
        self.books = {make.home.market: make.home_book(), make.away.market: make.away_book()}
        self.rate = make.quote

    def tradable(self, leg):
        return self.books.get(leg.market)

    def tradable_fx(self):
        return self.rate

    def fx(self):
        return self.rate


@pytest.fixture(scope="session")
def said(answers):
    """Answers of the venues."""

    class Said:
        answer = staticmethod(answer)
        binance = staticmethod(answers.binance)
        upbit = staticmethod(answers.upbit)
        lost = NoAnswer("binance: TimeoutError", sent=True)
        unsent = NoAnswer("binance: ClientConnectorError", sent=False)
        not_found = answer({"code": -2013, "msg": "Order does not exist."}, 400)
        upbit_not_found = answer({"error": {"name": "order_not_found", "message": "?"}}, 404)

    return Said


@pytest.fixture
async def open_room(make, tmp_path):
    rooms = []

    def build(clock=None, **changes):
        live = msgspec.structs.replace(LIVE, **changes)
        room = Room(make, tmp_path, clock or SystemClock(), live)
        rooms.append(room)
        return room

    yield build
    for room in rooms:
        await room.port.close()
        room.budget.close()
        assert room.upbit.closed
        assert room.binance.closed
