"""The desk by hand, over the real processes: halt, resume, close, limits, positions, trades; and kills in between."""

import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

# Nothing leaves by itself: what is closed was closed by hand.
STAYING = """
[sim]
coins = 8
seed = 11
[run]
stuck_after_ms = 30000
shards = 2
[strategy]
entry_bps = 8.0
min_edge_bps = 4.0
round_trip_bps = -100.0
take_profit_bps = 900.0
close_on_spread_reversal = false
stop_loss_bps = 5000.0
max_hold_s = 1000.0
"""


def _load_instance():
    path = Path(__file__).parent / "test_run.py"
    name = "arbshard_test_run"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name].Instance


Instance = _load_instance()


class Desk(Instance):
    """A running instance, and the commands of a person."""

    def __init__(self, folder: Path, config: str = STAYING) -> None:
        super().__init__(folder, config)
        self.process = None

    def run(self) -> None:
        self.process = self.start()
        self.until(lambda s: s["state"] in ("running", "degraded"))  # halted is degraded

    def do(self, *arguments: str, code: int = 0) -> str:
        """What a command says; its exit code must be ``code``."""
        done = self.call(*arguments, "--config", str(self.config))
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def positions(self) -> list[dict]:
        return json.loads(self.do("positions", "--json"))

    def trades(self, *arguments: str) -> list[dict]:
        return json.loads(self.do("trades", "--json", *arguments))

    def limits(self, *arguments: str) -> dict:
        return json.loads(self.do("limits", "show", "--json", *arguments))

    def until_open(self, count: int) -> list[dict]:
        end = time.monotonic() + 40
        while len(found := self.positions()) < count:
            assert time.monotonic() < end, found
            time.sleep(0.2)
        return found

    def entries(self) -> int:
        return self.status()[1]["portfolio"]["entries"]

    def refusals(self) -> dict:
        return self.status()[1]["risk"]["refusals"]

    def kill(self, child: str) -> None:
        """Kill a child of the run, as the kernel would."""
        status = self.status()[1]
        pid = status["risk"]["pid"] if child == "risk" else status["shards"][int(child)]["pid"]
        os.kill(pid, signal.SIGKILL)

    def until_restarted(self, child: str) -> None:
        def is_back(status) -> bool:
            one = status["risk"] if child == "risk" else status["shards"][int(child)]
            return status["state"] in ("running", "degraded") and one["restarts"] == 1

        self.until(is_back)

    def shard_of(self, symbol: str) -> int:
        (run_dir,) = (path for path in self.run_root.iterdir() if (path / "universe.json").exists())
        universe = json.loads((run_dir / "universe.json").read_text())
        return next(number for number, shard in enumerate(universe["shards"]) if symbol in shard)

    def end(self, *arguments: str) -> None:
        self.do("stop", *arguments)
        self.process.communicate(timeout=30)
        checked = self.verify()
        assert checked.returncode == 0, checked.stdout
        assert self.leftovers() == []


@pytest.fixture
def desk(tmp_path):
    one = Desk(tmp_path)
    yield one
    one.close()


def test_halted_it_enters_nothing_over_a_restart_of_everything_until_resumed(desk):
    desk.run()
    desk.until_open(2)
    assert "halted" in desk.do("halt", "--reason", "lunch")
    time.sleep(0.3)  # what was approved before is still brought home
    entries, held = desk.entries(), len(desk.positions())
    assert held >= 2
    assert desk.limits()["halted"] == "operator: lunch"
    desk.kill("risk")
    desk.until_restarted("risk")
    time.sleep(2)
    assert len(desk.positions()) == held == desk.entries() == entries
    desk.end("--keep-positions")

    desk.run()
    time.sleep(2)
    assert desk.entries() == 0
    assert len(desk.positions()) == held
    assert "halted since" in desk.do("resume")
    desk.until(lambda s: s["portfolio"]["entries"] > 0)
    assert desk.do("resume").strip() == "t: nothing is halted"
    desk.end()


def test_flattened_everything_is_closed_and_stays_so(desk):
    desk.run()
    symbols = {one["symbol"] for one in desk.until_open(2)}
    said = desk.do("halt", "--flatten")
    assert "closed" in said
    assert desk.positions() == []
    assert desk.do("positions").strip() == "no open positions"
    closed = desk.trades()
    assert {one["reason"] for one in closed} == {"kill_switch"}
    assert symbols <= {one["symbol"] for one in closed}
    time.sleep(2)
    assert desk.positions() == []
    desk.do("resume")
    desk.until_open(1)
    desk.end()


def test_one_pair_and_all_pairs_are_closed_by_hand(desk):
    desk.run()
    first, *others = desk.until_open(3)
    for one in (first, *others):
        assert one["age_s"] >= 0  # just opened, perhaps
        assert float(one["notional"]) > 0
        assert one["unrealised"] is not None
        assert one["closing"] == ""
    table = desk.do("positions")
    assert first["symbol"] in table
    said = desk.do("close", f"KRW-{first['symbol']}")
    assert f"closed {first['symbol']}" in said
    (trade,) = desk.trades("--symbol", f"{first['symbol']}USDT")
    assert (trade["position_id"], trade["reason"]) == (first["position_id"], "manual")
    assert float(trade["fees"]) > 0
    assert float(trade["pnl"]) != 0
    assert trade["held_s"] > 0
    assert {one["position_id"] for one in others} <= {one["position_id"] for one in desk.positions()}

    desk.do("close", "--all")
    closed = {one["position_id"] for one in desk.trades()}
    assert {one["position_id"] for one in (first, *others)} <= closed
    assert len(desk.trades("--last", "1")) == 1
    table = desk.do("trades")
    assert "manual" in table
    assert "Closed positions" in table
    desk.until_open(1)  # closing is not halting
    for arguments, said in (
        (("close", "NOPE"), "NOPE is not traded in this run"),
        (("close",), "name the pairs to close, or --all"),
        (("close", "BTC", "--all"), "name the pairs to close, or --all"),
        (("limits", "set", "nope=1"), "unknown key 'limits.nope'"),
        (("limits", "set", "daily_loss_max"), "'daily_loss_max' is not KEY=VALUE"),
        (("limits", "set", "daily_loss_max=0"), "limits.daily_loss_max: must be above 0"),
        (("limits", "set", "daily_loss_max=5", "--symbol", "BTC"), "is not a limit of one symbol"),
        (("limits", "show", "--symbol", "NOPE"), "NOPE is not traded in this run"),
    ):
        line = desk.do(*arguments, code=2)
        assert line.count("\n") == 1, line
        assert line.startswith("arbshard: ")
        assert said in line
    desk.end()
    assert len(desk.trades()) >= 3  # from the ledger alone
    for arguments in (("positions",), ("halt",), ("limits", "show")):
        assert "is running" in desk.do(*arguments, code=2)


def test_a_limit_holds_from_the_next_intent_on_and_when_risk_was_killed(desk):
    desk.run()
    desk.until_open(1)
    assert desk.do("limits", "set", "portfolio_notional_max=1").strip() == "t: portfolio_notional_max = 1"
    desk.until(lambda s: s["risk"]["refusals"].get("PORTFOLIO_NOTIONAL", 0) > 0)
    held = len(desk.positions())
    desk.kill("risk")
    desk.until_restarted("risk")
    desk.until(lambda s: s["risk"]["refusals"].get("PORTFOLIO_NOTIONAL", 0) > 2)
    assert len(desk.positions()) == held
    (line,) = (one for one in desk.limits()["lines"] if one["key"] == "portfolio_notional_max")
    assert (line["value"], line["configured"]) == ("1", "100000000")
    assert float(line["used"]) > 1
    assert "changed from 100,000,000" in desk.do("limits", "show")
    desk.do("limits", "set", "portfolio_notional_max=default")
    desk.until_open(held + 1)

    symbol = desk.positions()[0]["symbol"]
    desk.do("limits", "set", "order_notional_max=1", "--symbol", symbol)
    desk.do("close", symbol)
    desk.until(lambda s: s["risk"]["refusals"].get("ORDER_NOTIONAL", 0) > 0, timeout=40)
    assert symbol not in {one["symbol"] for one in desk.positions()}
    desk.end()


@pytest.mark.parametrize("when", ["before it is told", "while its orders are out"])
def test_a_worker_killed_while_it_closes(tmp_path, when):
    """Its successor finishes what was ordered, once."""
    slow = "[paper]\nlatency_ms = 4000.0\nlatency_sigma = 0.0\n" if when != "before it is told" else ""
    desk = Desk(tmp_path, STAYING + slow)
    try:
        desk.run()
        held = desk.until_open(1)[0]
        shard = desk.shard_of(held["symbol"])
        worker = desk.status()[1]["shards"][shard]["pid"]
        if not slow:
            os.kill(worker, signal.SIGSTOP)
        desk.do("close", held["symbol"], "--wait", "0")
        if slow:
            os.kill(worker, signal.SIGKILL)
        (one,) = (p for p in desk.positions() if p["symbol"] == held["symbol"])
        assert one["closing"] == "manual"
        if not slow:
            os.kill(worker, signal.SIGKILL)
        desk.until_restarted(str(shard))
        desk.until(lambda s: s["reasons"].get("manual", 0) == 1)
        closed = [t for t in desk.trades() if t["position_id"] == held["position_id"]]
        assert [t["reason"] for t in closed] == ["manual"]
        assert held["position_id"] not in {p["position_id"] for p in desk.positions()}
        desk.end()
    finally:
        desk.close()


def test_risk_killed_while_pairs_are_being_closed(desk):
    desk.run()
    held = {one["position_id"] for one in desk.until_open(2)}
    desk.do("close", "--all", "--wait", "0")
    desk.kill("risk")
    desk.until_restarted("risk")
    desk.until(lambda s: not held & {p["position_id"] for p in s["positions"]})
    reasons = {t["position_id"]: t["reason"] for t in desk.trades("--last", "1000")}
    assert {reasons[one] for one in held} == {"manual"}
    desk.end()
