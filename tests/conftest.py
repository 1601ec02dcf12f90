"""What every test may build: a pair with the rules of real markets, books, orders, fills, positions, a clock."""

import errno
import gc
import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers
from msgspec.structs import replace

import arbshard
from arbshard.clock import ManualClock
from arbshard.config import Config
from arbshard.engine.quality import View
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.intent import FxQuote, Intent
from arbshard.model.market import FeeSchedule, Leg, Market, MarketRules, Pair, TickBand
from arbshard.model.money import BPS, use_money_context
from arbshard.model.order import Fill, Order, OrderResult
from arbshard.model.position import Flows, Position
from arbshard.venues.keys import Keys
from support import cpu
from support.effort import IS_NIGHTLY
from support.order import slow_first

_HELPERS = (
    "handover_model",
    "history",
    "instance",
    "live_chaos",
    "paper_chaos",
    "reach",
    "risk_run",
    "world",
)
pytest.register_assert_rewrite(*(f"support.{name}" for name in _HELPERS), "kills", "fuzzing", "soaking")
use_money_context()  # as every process that touches money does at its start

# The tests start thousands of interpreters. Where this variable is set, as in many containers, each of them would
# compile the product anew, and each worker of xdist all tests: that is half of the CPU time of the whole suite.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No test connects to anything outside this machine. aiohttp reads all authorities that the system trusts when it is
# imported, in the supervisor of each run and in every process that calls venues: a third of the time of its import.
# They trust one whose key was never kept instead; httpx, under Telegram's library, refuses a file without any.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "support" / "nobody.pem")

# The machine is shared: a slow example says nothing about the code. The gate tries the same examples each time.
settings.register_profile("gate", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("nightly", deadline=None, max_examples=800)
settings.load_profile("nightly" if IS_NIGHTLY else "gate")
if not IS_NIGHTLY:
    # Hypothesis draws some values from the constants of all modules of the checkout that are imported. The examples
    # would depend on them, on the order of imports and on the checkout's path, and to parse the modules takes each
    # process 5 s of CPU the first time. There is no setting for it.
    assert callable(providers._get_local_constants)
    providers._get_local_constants = lambda: providers._local_constants

ROOT = Path(__file__).parents[1]
_SIMULATED = {"cases", "virtual"}
"""Folders of tests that take seconds of CPU each."""
SIMULATED_TIMEOUT_S = 600
"""Of one of them. They wait for nothing, so how long one takes depends on its share of the CPU."""
NIGHTLY_TIMEOUT_S = 1800
"""Of one test with ten times the examples; in the gate each test has its own."""
NOW_NS = 10_000_000_000
FX_BID, FX_ASK = 1390.0, 1391.0
AWAY_MID = 105_000.0
TAG = "ab12c"


def _leg(venue, symbol, base, quote, slot, *, tick, lot, notional_min, fee_bps, fee_in_base):
    return Leg(
        market=Market(venue, symbol, base, quote),
        rules=MarketRules(
            ticks=(TickBand(Decimal(0), Decimal(tick)),),
            lot=Decimal(lot),
            quantity_min=Decimal(lot),
            notional_min=Decimal(notional_min),
            notional_max=Decimal(1_000_000_000 if quote == "KRW" else 9_000_000),
        ),
        fees=FeeSchedule(Decimal(fee_bps), Decimal(fee_bps), buy_fee_in_base=fee_in_base),
        slot=slot,
    )


EXTRAS = {
    "live": "cryptography",
    "ccxt": "ccxt",
    "fast": "picows",
    "tls": "trustme",
    "analysis": "pyarrow",
    "tape": "duckdb",
    "metrics": "prometheus_client",
    "alerts": "apprise",
    "telegram": "telegram",
    "sweep": "optuna",
    "cluster": "nats",
    "ray": "ray",
}
"""The library by which it is seen whether an extra is installed. Ray is the large half of ``sweep``, for nightly."""


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped makes the run fail")
    parser.addoption("--cpu", action="store_true", help="show the CPU time of each test and its processes")
    parser.addoption("--installed", action="store_true", help="arbshard must come from an installed wheel")


def pytest_configure(config):
    """With ``--cpu`` what each test costs is shown at the end."""
    if config.getoption("--cpu"):
        config.pluginmanager.register(cpu, "arbshard-cpu")


def pytest_sessionstart(session):
    """With ``--installed`` neither this process nor one that it starts may find the packages in the checkout."""
    if not session.config.getoption("--installed"):
        return
    look = "import arbshard, supervisor; print(arbshard.__file__); print(supervisor.__file__)"
    place = Path(sysconfig.get_path("purelib")).resolve()
    started = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    found = [arbshard.__file__, importlib.import_module("supervisor").__file__, *started.stdout.split()]
    for path in map(Path, found):
        if not path.resolve().is_relative_to(place):
            pytest.exit(f"--installed: {path} is not below {place}", returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """What is collected lives until the end, so the garbage collector need not go through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(config, items):
    """Tests with the marker ``nightly`` belong to ``make nightly`` alone."""
    if IS_NIGHTLY:
        for item in items:
            item.add_marker(pytest.mark.timeout(NIGHTLY_TIMEOUT_S), append=False)
        return
    for item in items:
        if _is_simulated(item) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SIMULATED_TIMEOUT_S))
    kept, left_out = [], []
    for item in items:
        (left_out if item.get_closest_marker("nightly") else kept).append(item)
    if left_out:
        items[:] = kept
        config.hook.pytest_deselected(items=left_out)
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        items[:] = slow_first(items, workers, _is_slow, lambda item: item.nodeid.partition("::")[0])


def _is_slow(item):
    """Whether a test waits for real processes, or computes minutes of virtual time."""
    return item.get_closest_marker("integration") is not None or _is_simulated(item)


def _is_simulated(item):
    return not _SIMULATED.isdisjoint(item.nodeid.partition("::")[0].split("/"))


def pytest_runtest_setup(item):
    """``@pytest.mark.needs("live")``: the test is skipped where that extra is not installed."""
    for marker in item.iter_markers("needs"):
        for extra in marker.args:
            if importlib.util.find_spec(EXTRAS[extra]) is None:
                pytest.skip(f"the extra '{extra}' is not installed")


def pytest_sessionfinish(session):
    """An environment with all extras has no reason to skip anything."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--no-skips"):
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"--no-skips: {len(skipped)} skipped, the first is {skipped[0].nodeid}", red=True)


class Make:
    """Builders; everything not named has a usual value."""

    now_ns = NOW_NS
    now_ms = 1_795_000_000_000
    fx = (FX_BID, FX_ASK)
    quote = FxQuote(Decimal(1390), Decimal(1391))

    def __init__(self) -> None:
        self.home = _leg(
            "upbit", "KRW-BTC", "BTC", "KRW", 1,
            tick=1000, lot="0.00000001", notional_min=5000, fee_bps=5, fee_in_base=False,
        )  # fmt: skip
        self.away = _leg(
            "binance", "BTCUSDT", "BTC", "USDT", 2,
            tick="0.01", lot="0.00001", notional_min=5, fee_bps=10, fee_in_base=True,
        )  # fmt: skip
        self.fx_leg = _leg(
            "upbit", "KRW-USDT", "USDT", "KRW", 0,
            tick=1, lot="0.00000001", notional_min=5000, fee_bps=5, fee_in_base=False,
        )  # fmt: skip
        self.pair = Pair("BTC", self.home, self.away)

    def other_pair(self, base="ETH", slots=(3, 4)) -> Pair:
        """The same rules under another name."""
        home, away = self.home, self.away
        return Pair(
            base,
            replace(home, market=Market("upbit", f"KRW-{base}", base, "KRW"), slot=slots[0]),
            replace(away, market=Market("binance", f"{base}USDT", base, "USDT"), slot=slots[1]),
        )

    def book(self, leg, bids, asks, received_ns=NOW_NS) -> OrderBookSnapshot:
        market = leg.market
        return OrderBookSnapshot(market.venue, market.symbol, tuple(bids), tuple(asks), None, received_ns)

    def fx_book(self, bid=FX_BID, ask=FX_ASK, received_ns=NOW_NS) -> OrderBookSnapshot:
        return self.book(self.fx_leg, [(bid, 1e5)], [(ask, 1e5)], received_ns)

    def away_book(self, mid=AWAY_MID, size=0.02, levels=5, received_ns=NOW_NS) -> OrderBookSnapshot:
        bids = [(round(mid - 0.01 - 0.5 * n, 2), size) for n in range(levels)]
        asks = [(round(mid + 0.01 + 0.5 * n, 2), size) for n in range(levels)]
        return self.book(self.away, bids, asks, received_ns)

    def home_book(self, gap_bps=0.0, size=0.02, levels=5, received_ns=NOW_NS) -> OrderBookSnapshot:
        """Home stands ``gap_bps`` above (below when negative) what away is worth at the FX mid."""
        mid = round(AWAY_MID * (FX_BID + FX_ASK) / 2 * (1 + gap_bps / 1e4), -3)
        bids = [(mid - 1000.0 * (n + 1), size) for n in range(levels)]
        asks = [(mid + 1000.0 * (n + 1), size) for n in range(levels)]
        return self.book(self.home, bids, asks, received_ns)

    def view(self, book, *, live=True, bad=False) -> View:
        return View(book, live, bad)

    def order(self, leg, side, quantity, limit, client_id="s1-0-1-1-h0", role="leg") -> Order:
        return Order(client_id, leg.market, side, Decimal(quantity), Decimal(limit), role)

    def fill(self, order, quantity, price, number=0) -> Fill:
        """With the fee that the order's venue takes."""
        leg = self.home if order.market.venue == "upbit" else self.away
        quantity, price = Decimal(quantity), Decimal(price)
        in_base = order.side == "buy" and leg.fees.buy_fee_in_base
        bps = leg.fees.buy_bps if order.side == "buy" else leg.fees.sell_bps
        fee = quantity * bps / BPS * (1 if in_base else price)
        currency = order.market.base if in_base else order.market.quote
        return Fill(
            f"{order.client_id}:{number}", order.client_id, order.market, order.side,
            quantity, price, fee, currency,
        )  # fmt: skip

    def result(self, order, state, quantity=0, price=None) -> OrderResult:
        """An order in ``state`` with one fill of ``quantity`` (none for 0), by default at its limit."""
        fills = (self.fill(order, quantity, price or order.limit),) if quantity else ()
        return OrderResult(order, state, fills)

    def intent(self, kind="entry", direction="buy_home", quantity="0.001", intent_id="s1-0-1-1") -> Intent:
        """Both legs of about the same base quantity, the buy grossed up for a fee taken in the coin."""
        buys_home = direction == "buy_home"
        lots = Decimal(quantity)
        gross = lots if buys_home else (lots / (1 - Decimal("0.001"))).quantize(Decimal("0.00001"))
        home = self.order(self.home, "buy" if buys_home else "sell", lots, 146_000_000, f"{intent_id}-h0")
        away = self.order(
            self.away,
            "sell" if buys_home else "buy",
            lots if buys_home else gross,
            105_000,
            f"{intent_id}-a0",
        )
        return Intent(
            intent_id=intent_id,
            kind=kind,
            pair="BTC",
            direction=direction,
            position_id=intent_id if kind == "entry" else "s1-0-1-0",
            home=home,
            away=away,
            reason="net_edge" if kind == "entry" else "take_profit",
            edge_bps=40.0,
            fx=self.quote,
            decided_ms=self.now_ms,
        )

    def position(self, direction="buy_home", quantity="0.001", short=None, **changes) -> Position:
        """Open, with ``quantity`` bought (net) and as much (or ``short``) sold at today's prices."""
        long, sold = Decimal(quantity), Decimal(quantity if short is None else short)
        home_price, away_price = Decimal(146_000_000), Decimal(105_000)
        if direction == "buy_home":
            flows = Flows(
                home_base=long,
                home_quote=-long * home_price * (1 + Decimal("0.0005")),
                away_base=-sold,
                away_quote=sold * away_price * (1 - Decimal("0.001")),
            )
            notional = long * home_price
        else:
            flows = Flows(
                home_base=-sold,
                home_quote=sold * home_price * (1 - Decimal("0.0005")),
                away_base=long,
                away_quote=-long / (1 - Decimal("0.001")) * away_price,
            )
            notional = long * away_price * self.quote.ask
        position = Position(
            position_id="s1-0-1-0",
            pair="BTC",
            direction=direction,
            state="OPEN",
            flows=flows,
            entry_home_price=home_price,
            entry_away_price=away_price,
            entry_fx=self.quote,
            entry_notional=notional,
            opened_ms=self.now_ms,
        )
        return replace(position, **changes)


class Frames:
    """Private frames as the venues send them; everything not named has a usual value."""

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
def upbit_keys():
    return Keys("upbit", "demo-access", "demo-secret")


@pytest.fixture(scope="session")
def binance_keys():
    return Keys(
        "binance",
        "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
        "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
    )


class Answers:
    """Answers about an order as the venues send them; everything not named has a usual value."""

    @staticmethod
    def binance(status="FILLED", executed="0.00100000", fills=None, **more):
        """Returns the body with which the venue answers a new order."""
        if fills is None:
            fills = [(5, "60001.00000000", executed, "0.00000100", "BTC")] if float(executed) else []
        return {
            "symbol": "BTCUSDT",
            "orderId": 7,
            "clientOrderId": "ab1cd-s1-0-1-1-a0",
            "executedQty": executed,
            "status": status,
            "fills": [
                dict(zip(("tradeId", "price", "qty", "commission", "commissionAsset"), fill, strict=True))
                for fill in fills
            ],
            **more,
        }

    @staticmethod
    def upbit(state="done", executed="0.001", paid_fee="73.0", trades=None):
        """Returns the body with which the venue answers a question about an order."""
        if trades is None:
            trades = [("t-1", "146000000", executed, "146000")] if float(executed) else []
        return {
            "market": "KRW-BTC",
            "uuid": "u-1",
            "side": "bid",
            "state": state,
            "executed_volume": executed,
            "paid_fee": paid_fee,
            "identifier": "ab1cd-s1-0-1-1-h0",
            "trades": [
                dict(zip(("uuid", "price", "volume", "funds"), trade, strict=True)) for trade in trades
            ],
        }


@pytest.fixture(scope="session")
def answers():
    return Answers()


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(monotonic_ns=NOW_NS)


@pytest.fixture
def bid(make):
    """A buying leg at home."""
    return make.order(make.home, "buy", "0.001", 146_000_000)


@pytest.fixture
def ask(make):
    """A selling leg away."""
    return make.order(make.away, "sell", "0.001", 60_000, client_id="s1-0-1-1-a0")


@pytest.fixture(scope="session")
def config() -> Config:
    return Config()


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many MB in memory and gives its folder; skips where nobody may mount one."""
    mounted: list[Path] = []

    def mount(size_mb: int) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="arbshard-disk-"))
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            folder.rmdir()
            pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], timeout=20, check=True)
        shutil.rmtree(folder)


@pytest.fixture
def fill() -> Callable[[Path], Path]:
    """Leaves nothing free on the disk of a folder; the file that takes the room."""

    def take_all(folder: Path) -> Path:
        path = folder / "fill"
        with path.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)) == 4096:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        return path

    return take_all
