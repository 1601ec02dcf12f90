"""Frames and answers as the venues send them, keys, and a venue that answers from a script."""

import json
from collections import deque
from decimal import Decimal

import pytest

from arbshard.accounts.stream import StreamListener
from arbshard.errors import VenueUnavailable
from arbshard.model.market import Market
from arbshard.venues.base.account import ReportedFill, ReportedOrder, VenueBalance
from arbshard.venues.base.client import Answer

TAG = "ab12c"


@pytest.fixture(scope="session")
def markets():
    return {
        "upbit": {"KRW-BTC": Market("upbit", "KRW-BTC", "BTC", "KRW")},
        "binance": {"BTCUSDT": Market("binance", "BTCUSDT", "BTC", "USDT")},
    }


@pytest.fixture(scope="session")
def heard():
    """An order of ours as a stream tells it."""

    def build(state="ACCEPTED", filled="0", fill=None, client_id=f"{TAG}-s1-0-1-1-h0", order_id="u-1"):
        return ReportedOrder(
            client_id=client_id,
            venue_order_id=order_id,
            symbol="KRW-BTC",
            side="buy",
            state=state,
            filled=Decimal(filled),
            remaining=Decimal("0.001") - Decimal(filled),
            at_ms=1,
            fill=ReportedFill(fill, Decimal("0.0004"), Decimal(146_000_000), Decimal(29), "")
            if fill
            else None,
        )

    return build


class Script:
    """Implements ``Questioned``: answers by path; ``then`` gives several, the last again and again.

    Paths are given and kept without the root of the venue's calls.
    """

    def __init__(self, **answers):
        self.asked = []
        self.before = lambda path: None
        self._answers = {path.replace("_", "/"): deque([body]) for path, body in answers.items()}

    def then(self, path, *bodies):
        self._answers[path] = deque(bodies)

    async def ask(self, request, *, urgent=False):
        path = request.path.removeprefix("/api/v3/").removeprefix("/v1/")
        self.asked.append((path, dict(request.params), urgent))
        self.before(path)
        bodies = self._answers[path]
        body = bodies.popleft() if len(bodies) > 1 else bodies[0]
        if isinstance(body, Exception):
            raise body
        headers = {"date": "Sat, 21 Nov 2026 05:00:00 GMT"}
        return Answer(200, body if isinstance(body, bytes) else json.dumps(body).encode(), headers)

    @property
    def paths(self):
        return [path for path, _, _ in self.asked]


@pytest.fixture(scope="session")
def script():
    return Script


@pytest.fixture
def lost():
    return VenueUnavailable("no answer")


class Counted:
    """Implements ``stream.Counting``."""

    def __init__(self):
        self.counts = {}

    def count(self, name):
        self.counts[name] = self.counts.get(name, 0) + 1

    def set(self, name, value):
        self.counts[name] = value


@pytest.fixture
def counted():
    return Counted()


class RecordingListener(StreamListener):
    """Implements ``stream.StreamListener``."""

    def __init__(self):
        self.ups = 0
        self.orders = []
        self.balances = {}

    def on_up(self):
        self.ups += 1

    def on_order(self, report):
        self.orders.append(report)

    def on_balances(self, report):
        self.balances |= report.balances


@pytest.fixture
def listener():
    return RecordingListener()


@pytest.fixture(scope="session")
def balance():
    return lambda free, locked="0": VenueBalance(Decimal(free), Decimal(locked))
