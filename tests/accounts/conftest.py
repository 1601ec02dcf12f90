"""Frames and answers as the venues send them, keys, and a venue that answers from a script."""

import json
from collections import deque
from decimal import Decimal

import pytest

from arbshard.accounts.stream import Listener
from arbshard.errors import VenueUnavailable
from arbshard.execution.live.clients import Answer
from arbshard.model.market import Market
from arbshard.venues.base.account import Balance, HeardFill, HeardOrder
from arbshard.venues.keys import Keys

TAG = "ab12c"


class Frames:
    """Builders; everything not named has a usual value."""

    def upbit_order(self, state="wait", **changes):
        fields = {
            "type": "myOrder",
            "code": "KRW-BTC",
            "uuid": "u-1",
            "ask_bid": "BID",
            "order_type": "limit",
            "state": state,
            "trade_uuid": None,
            "price": 146000000,
            "avg_price": 0,
            "volume": 0.001,
            "remaining_volume": 0.001,
            "executed_volume": 0,
            "trades_count": 0,
            "reserved_fee": 73,
            "remaining_fee": 73,
            "paid_fee": 0,
            "locked": 146073,
            "executed_funds": 0,
            "time_in_force": "ioc",
            "trade_fee": None,
            "is_maker": None,
            "identifier": f"{TAG}-s1-0-1-1-h0",
            "trade_timestamp": None,
            "order_timestamp": 1795239580701,
            "timestamp": 1795239580704,
            "stream_type": "REALTIME",
        }
        return json.dumps(fields | changes).encode()

    def upbit_trade(self, **changes):
        fields = {
            "trade_uuid": "t-1",
            "volume": 0.0004,
            "price": 145999000,
            "executed_volume": 0.0004,
            "remaining_volume": 0.0006,
            "trade_fee": 29.1998,
            "is_maker": False,
        }
        return self.upbit_order("trade", **(fields | changes))

    def binance_report(self, **changes):
        report = {
            "e": "executionReport", "E": 1795239580704, "s": "BTCUSDT", "c": f"{TAG}-s1-0-1-1-a0", "S": "BUY",
            "o": "LIMIT", "f": "IOC", "q": "0.00100000", "p": "60001.00000000", "P": "0.00000000",
            "F": "0.00000000", "g": -1, "C": "", "x": "NEW", "X": "NEW", "r": "NONE", "i": 7,
            "l": "0.00000000", "z": "0.00000000", "L": "0.00000000", "n": "0", "N": None, "T": 1795239580703,
            "t": -1, "I": 99, "w": True, "m": False, "M": False, "O": 1795239580701, "Z": "0.00000000",
            "Y": "0.00000000", "Q": "0.00000000", "W": 1795239580701, "V": "EXPIRE_MAKER",
        }  # fmt: skip
        return json.dumps({"subscriptionId": 0, "event": report | changes}).encode()

    def binance_trade(self, **changes):
        fields = {
            "x": "TRADE", "X": "PARTIALLY_FILLED", "l": "0.00040000", "z": "0.00040000", "L": "60001.00000000",
            "n": "0.00000040", "N": "BTC", "t": 5, "w": False,
        }  # fmt: skip
        return self.binance_report(**(fields | changes))


@pytest.fixture(scope="session")
def frames():
    return Frames()


@pytest.fixture(scope="session")
def tag():
    return TAG


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
        return HeardOrder(
            client_id=client_id,
            venue_order_id=order_id,
            symbol="KRW-BTC",
            side="buy",
            state=state,
            filled=Decimal(filled),
            remaining=Decimal("0.001") - Decimal(filled),
            at_ms=1,
            fill=HeardFill(fill, Decimal("0.0004"), Decimal(146_000_000), Decimal(29), "") if fill else None,
        )

    return build


@pytest.fixture(scope="session")
def upbit_keys():
    return Keys("upbit", "demo-access", "demo-secret")


@pytest.fixture(scope="session")
def binance_keys():
    return Keys(
        "binance",
        "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
        "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
    )


class Script:
    """Implements ``Questioned``: answers by path; ``then`` gives several, the last again and again."""

    def __init__(self, **answers):
        self.asked = []
        self.before = lambda path: None
        self._answers = {path.replace("_", "/"): deque([body]) for path, body in answers.items()}

    def then(self, path, *bodies):
        self._answers[path] = deque(bodies)

    async def ask(self, request, *, urgent=False):
        self.asked.append((request.path, dict(request.params), urgent))
        self.before(request.path)
        bodies = self._answers[request.path]
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


class Heard(Listener):
    """Implements ``stream.Listener``."""

    def __init__(self):
        self.ups = 0
        self.orders = []
        self.balances = {}

    def on_up(self):
        self.ups += 1

    def on_order(self, heard):
        self.orders.append(heard)

    def on_balances(self, heard):
        self.balances |= heard.balances


@pytest.fixture
def listener():
    return Heard()


@pytest.fixture(scope="session")
def balance():
    return lambda free, locked="0": Balance(Decimal(free), Decimal(locked))
