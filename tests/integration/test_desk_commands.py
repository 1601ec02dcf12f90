"""The desk by hand, over the real processes: halt, resume, close, limits, positions, trades; and kills in between."""

import json
import os
import re
import signal
import time

import pytest

from arbshard.wire.messages import Noted, SetApart, decode_reply, encode
from arbshard.wire.request import ask
from support.instance import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

# Nothing leaves by itself: what is closed was closed by hand.
STAYING = """
[sim]
coins = 8
seed = 11
regime = "high-win"
updates_per_s = 5.0
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


class Desk(Instance):
    """A running instance, and the commands of a person."""

    def begin(self) -> None:
        self.start()
        self.until_running()

    def positions(self) -> list[dict]:
        return json.loads(self.do("positions", "--json"))

    def valued_positions(self) -> list[dict]:
        """All positions, once each has an unrealised result; one that is opened at this moment has none."""
        found = self.positions()
        return found if all(one["unrealised"] is not None for one in found) else []

    def trades(self, *arguments: str) -> list[dict]:
        return json.loads(self.do("trades", "--json", *arguments))

    def limits(self, *arguments: str) -> dict:
        return json.loads(self.do("limits", "show", "--json", *arguments))

    def until_open(self, count: int) -> list[dict]:
        self.until(lambda s: s["portfolio"]["open"] >= count)
        return self.positions()

    def entries(self) -> int:
        """How many positions were opened since the ledger began."""
        return len(self.positions()) + len(self.trades("--last", "1000"))

    def refused(self, reason: str) -> int:
        """How many entries risk has refused for this, and workers because risk had told them of it."""
        status = self.status()
        counts = (status["risk"]["refusals"], *(shard["refusals"] for shard in status["shards"]))
        return sum(one.get(reason, 0) for one in counts)

    def has_settled(self) -> bool:
        """Whether risk shows the halt, and nothing that it has approved is under way."""
        note = self.risk_note()
        return note.halt is not None and not note.open_intents

    def kill_and_replace(self, child: str) -> None:
        self.until_replaced(child, self.kill(child))
        self.until(lambda s: s["state"] in ("running", "degraded"))  # halted is degraded

    def shard_of(self, symbol: str) -> int:
        universe = json.loads(self.files.universe.read_text())
        return next(number for number, shard in enumerate(universe["shards"]) if symbol in shard)

    def end(self, *arguments: str) -> None:
        self.do("stop", *arguments)
        self.ended()
        self.verify()
        assert self.leftovers() == []


@pytest.fixture
def desk(tmp_path):
    with Desk(tmp_path, STAYING) as one:
        yield one


@pytest.fixture(scope="class")
def shared(tmp_path_factory):
    """One run for all tests of a class. Each leaves it trading, with the configured limits."""
    with Desk(tmp_path_factory.mktemp("desk"), STAYING) as one:
        one.begin()
        yield one
        one.end()


class TestOneRun:
    """What restarts nothing. The run ends with the class, so that it takes no time from the tests below."""

    def test_flattened_everything_is_closed_and_stays_so(self, shared):
        symbols = {one["symbol"] for one in shared.until_open(2)}
        said = shared.do("halt", "--flatten")
        assert "closed" in said
        assert shared.positions() == []
        assert shared.do("positions").strip() == "no open positions"
        closed = shared.trades("--last", str(len(symbols)))
        assert {one["reason"] for one in closed} == {"kill_switch"}
        assert symbols <= {one["symbol"] for one in shared.trades() if one["reason"] == "kill_switch"}
        time.sleep(2)
        assert shared.positions() == []
        shared.do("resume")
        shared.until_open(1)

    def test_one_pair_and_all_pairs_are_closed_by_hand(self, shared):
        shared.until_open(3)
        first, *others = shared.wait_for(shared.valued_positions)
        for one in (first, *others):
            assert one["age_s"] >= 0  # just opened, perhaps
            assert float(one["notional"]) > 0
            assert one["unrealised"] is not None
            assert one["closing"] == ""
        assert first["symbol"] in shared.do("positions")
        said = shared.do("close", f"KRW-{first['symbol']}")
        assert f"closed {first['symbol']}" in said
        trades = {one["position_id"]: one for one in shared.trades("--symbol", f"{first['symbol']}USDT")}
        trade = trades[first["position_id"]]
        assert trade["reason"] == "manual"
        assert float(trade["fees"]) > 0
        assert float(trade["pnl"]) != 0
        assert trade["held_s"] > 0
        assert {one["position_id"] for one in others} <= {one["position_id"] for one in shared.positions()}

        shared.do("close", "--all")
        closed = {one["position_id"] for one in shared.trades()}
        assert {one["position_id"] for one in (first, *others)} <= closed
        assert len(shared.trades("--last", "1")) == 1
        table = shared.do("trades")
        assert "manual" in table
        assert "Closed positions" in table
        shared.until_open(1)  # closing is not halting

    def test_bad_input_is_one_line_and_changes_nothing(self, shared):
        before = shared.limits()
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
            line = shared.do(*arguments, code=2)
            assert line.count("\n") == 1, line
            assert line.startswith("arbshard: ")
            assert said in line
        configured = [{**line, "used": None} for line in before["lines"]]
        assert [{**line, "used": None} for line in shared.limits()["lines"]] == configured

    @pytest.mark.nightly  # the same commands are carried out above in this process
    def test_each_command_from_the_command_line(self, shared):
        """The other tests carry commands out in their own process; here each is started as a person starts it."""
        symbol = shared.until_open(1)[0]["symbol"]

        def type_it(*arguments: str, code: int = 0) -> str:
            done = shared.call(*arguments)
            assert done.code == code, done
            assert "Traceback" not in done.err
            return done.out if code == 0 else done.err

        assert symbol in {one["symbol"] for one in json.loads(type_it("positions", "--json"))}
        said = type_it("limits", "set", "daily_loss_max=12345").strip()
        assert said.startswith("t: daily_loss_max = 12,345 (it was 5,000,000)")
        assert "changed from" in type_it("limits", "show")
        assert f"closed {symbol}" in type_it("close", symbol)
        assert "manual" in type_it("trades")
        assert "halted" in type_it("halt")
        assert "halted since" in type_it("resume")
        assert type_it("close", "NOPE", code=2).startswith("arbshard: ")
        explained = type_it("why", symbol)
        assert explained.startswith(f"{symbol}  KRW-{symbol} and ")
        assert "buying away: net edge" in explained
        assert json.loads(type_it("why", symbol, "--json"))["now"]["pair"] == symbol
        assert type_it("why", "NOPE", code=2).startswith("arbshard: why NOPE: this run does not trade it")
        type_it("limits", "set", "daily_loss_max=default")

    def test_a_limit_holds_from_the_next_intent_on(self, shared):
        shared.until_open(1)
        before = shared.refused("PORTFOLIO_NOTIONAL")
        assert (
            shared.do("limits", "set", "portfolio_notional_max=1").strip()
            == "t: portfolio_notional_max = 1 (it was 100,000,000): no entry is made any more, because "
            "sizing.entry_notional_min is 20,000; positions are left as usual"
        )
        (line,) = (one for one in shared.limits()["lines"] if one["key"] == "portfolio_notional_max")
        assert (line["value"], line["configured"]) == ("1", "100000000")
        assert float(line["used"]) > 1
        assert "changed from 100,000,000" in shared.do("limits", "show")
        shared.do("close", "--all")  # so that every pair may enter again
        shared.wait_for(lambda: shared.refused("PORTFOLIO_NOTIONAL") > before)
        shared.do("limits", "set", "portfolio_notional_max=default")
        shared.wait_for(shared.positions)  # by risk itself: status may still show what was just closed

        said = shared.do("limits", "set", "order_notional_max=300000")
        assert "(it was 3,000,000): entries are sized down to it" in said
        before = {one["position_id"] for one in shared.positions()}
        shared.do("close", "--all")
        shared.wait_for(
            lambda: [
                float(one["notional"]) <= 300_000
                for one in shared.positions()
                if one["position_id"] not in before
            ].count(True)
        )
        shared.do("limits", "set", "order_notional_max=default")

        symbol = shared.positions()[0]["symbol"]
        before = shared.refused("ORDER_NOTIONAL")
        shared.do("limits", "set", "order_notional_max=1", "--symbol", symbol)
        shared.do("close", symbol)
        shared.wait_for(lambda: shared.refused("ORDER_NOTIONAL") > before)
        assert symbol not in {one["symbol"] for one in shared.positions()}
        shared.do("limits", "set", "order_notional_max=default", "--symbol", symbol)


def test_halted_it_enters_nothing_over_a_restart_of_everything_until_resumed(desk, tmp_path):
    summary = tmp_path / "summary.json"
    desk.start("--summary", str(summary))
    desk.until_running()
    desk.until_open(2)
    assert "halted" in desk.do("halt", "--reason", "lunch")
    desk.wait_for(desk.has_settled)  # what was approved before is still brought home
    entries, held = desk.entries(), len(desk.positions())
    assert held >= 2
    assert desk.limits()["halted"].startswith("operator: lunch; halted: no new entries")
    desk.kill_and_replace("risk")
    time.sleep(2)
    assert len(desk.positions()) == held == desk.entries() == entries
    assert desk.status()["halt"]["reason"] == "lunch"
    desk.do("stop", "--keep-positions")
    ended = desk.ended()
    assert ended.code == 1
    assert "command line (operator): lunch; no entries, exits go on" in " ".join(ended.out.split())
    (halt,) = json.loads(summary.read_text())["halts"]
    assert (halt["cause"], halt["reason"], halt["until_ms"]) == ("operator", "lunch", 0)
    (line,) = desk.log("supervisor", "halted")
    assert re.match(r"halted by .*, command line \(operator\): lunch", line["what"])
    assert len(desk.log("supervisor", "entry")) == entries
    desk.verify()

    desk.start("--summary", str(summary))
    desk.until_running()
    time.sleep(2)
    assert desk.entries() == len(desk.positions()) == held
    what = desk.log("supervisor", "halted")[-1]["what"]
    assert re.match(r"halted before this start by .*, command line \(operator\): lunch", what)
    assert len(desk.log("supervisor", "positions taken over")[-1]["positions"]) == held
    assert "halted since" in desk.do("resume")
    desk.until(lambda s: s["portfolio"]["entries"] > 0)
    assert desk.do("resume").strip() == "t: nothing is halted"
    desk.do("stop")
    assert desk.ended().code == 1  # it was halted for a while
    told = json.loads(summary.read_text())
    assert [one["kind"] for one in told["journal"]][:2] == ["halted", "resumed"]
    assert any(line.startswith("entries were halted from ") for line in told["problems"])
    desk.verify()
    assert len(desk.log("supervisor", "exit")) == len(desk.trades("--last", "1000"))
    assert len(desk.trades()) >= 1  # from the ledger alone
    left = desk.carry_out("positions")
    assert (left.code, left.out) == (0, "no open positions\n")
    assert left.err.startswith("not running: stopped in order at ")
    for arguments in (("halt",), ("limits", "show")):
        assert "is running" in desk.do(*arguments, code=2)


@pytest.mark.nightly  # tests/cases and tests/risk set pairs apart; a halt is kept over restarts above
def test_a_pair_set_apart_enters_nothing_over_restarts_until_it_is_released(desk):
    desk.begin()
    symbol = desk.until_open(2)[0]["symbol"]
    shard = desk.shard_of(symbol)

    def set_apart(cause):
        """Asks risk in the way a worker does."""
        epoch = desk.children()[f"worker-{shard}"].epoch
        request = SetApart(shard, epoch, symbol, cause, "no venue takes the hedge", "")
        assert isinstance(decode_reply(ask(desk.files.risk_endpoint, encode(request), 2000)), Noted)

    set_apart("position_loss")
    degraded = desk.until(lambda s: any("is set apart" in line for line in s["problems"]))
    assert degraded["state"] == "degraded"
    (line,) = (line for line in degraded["problems"] if "is set apart" in line)
    assert f"'arbshard close {symbol} --name t' closes it" in line
    assert desk.log("risk", "pair set apart: it enters nothing until a person releases it")
    assert f"closed {symbol}" in desk.do("close", symbol)  # a person may close it, whatever the cause
    desk.kill_and_replace("risk")
    desk.kill_and_replace(f"worker-{shard}")
    time.sleep(2)
    desk.do("close", "--all")  # every pair may enter again, but one
    others = desk.until_open(2)
    assert symbol not in {one["symbol"] for one in others}
    desk.end("--keep-positions")

    desk.begin()
    desk.until_open(2)
    assert symbol not in {one["symbol"] for one in desk.positions()}
    assert "NOPE is not set apart" in desk.do("resume", "NOPE", code=2)
    assert f"released; {symbol} was set apart since" in desk.do("resume", symbol, "--reason", "looked into")
    assert desk.events("PairReleased")[-1]["reason"] == "looked into"
    desk.wait_for(lambda: symbol in {one["symbol"] for one in desk.positions()})
    assert not [line for line in desk.status()["problems"] if "is set apart" in line]
    desk.end()


class TestKills:
    """Processes of one run are killed one after the other, while something is ordered by hand."""

    def test_a_limit_holds_when_risk_was_killed(self, shared):
        shared.until_open(2)
        shared.do("limits", "set", "portfolio_notional_max=1")
        shared.do("close", shared.positions()[0]["symbol"])  # which may enter again then, and is refused
        shared.wait_for(lambda: shared.refused("PORTFOLIO_NOTIONAL") > 0)
        held = len(shared.positions())
        assert held > 0
        shared.kill_and_replace("risk")
        shared.wait_for(lambda: shared.refused("PORTFOLIO_NOTIONAL") > 2)
        assert len(shared.positions()) == held
        (line,) = (one for one in shared.limits()["lines"] if one["key"] == "portfolio_notional_max")
        assert (line["value"], line["configured"]) == ("1", "100000000")
        shared.do("limits", "set", "portfolio_notional_max=default")

    def test_risk_killed_while_pairs_are_being_closed(self, shared):
        held = {one["position_id"] for one in shared.until_open(2)}
        shared.do("close", "--all", "--wait", "0")
        shared.kill_and_replace("risk")
        shared.until(lambda s: not held & {p["position_id"] for p in s["positions"]})
        reasons = {t["position_id"]: t["reason"] for t in shared.trades("--last", "1000")}
        assert {reasons[one] for one in held} == {"manual"}

    def test_a_worker_killed_before_it_receives_the_order_to_close(self, shared):
        held = shared.until_open(1)[0]
        worker = f"worker-{shared.shard_of(held['symbol'])}"
        pid = shared.pid_of(worker)
        os.kill(pid, signal.SIGSTOP)
        shared.do("close", held["symbol"], "--wait", "0")
        assert_closed_once_by_the_successor(shared, held, worker, pid)


# In the gate the kills of tests/torture come while orders are out.
@pytest.mark.nightly
def test_a_worker_killed_while_the_orders_that_close_are_out(tmp_path):
    with Desk(tmp_path, f"{STAYING}[paper]\nlatency_ms = 4000.0\nlatency_sigma = 0.0\n") as desk:
        desk.begin()
        held = desk.until_open(1)[0]
        worker = f"worker-{desk.shard_of(held['symbol'])}"
        pid = desk.pid_of(worker)
        desk.do("close", held["symbol"], "--wait", "0")
        assert_closed_once_by_the_successor(desk, held, worker, pid)
        desk.end()


def assert_closed_once_by_the_successor(desk, held, worker, pid):
    """Kill a worker that was to close a position; its successor finishes what was ordered, once."""
    (one,) = (p for p in desk.positions() if p["symbol"] == held["symbol"])
    assert one["closing"] == "manual"
    before = desk.status()["reasons"].get("manual", 0)
    os.kill(pid, signal.SIGKILL)
    desk.until_replaced(worker, pid)
    desk.until(lambda s: s["reasons"].get("manual", 0) > before)
    assert held["position_id"] not in {p["position_id"] for p in desk.positions()}
    closed = [t for t in desk.trades("--last", "1000") if t["position_id"] == held["position_id"]]
    assert [t["reason"] for t in closed] == ["manual"]
    assert desk.status()["reasons"]["manual"] == before + 1
