"""Alerts of real processes arrive at a local receiver: each kind, each once, whatever is killed or down meanwhile."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.alerts.store import FILE, AlertsReader
from arbshard.config import AlertsConfig, Config
from arbshard.model.notes import ChildNote, SupervisorNote, VenueNote
from arbshard.model.phase import WorkerState
from arbshard.model.risk_note import (
    NO_NOTE,
    ApartNote,
    DayNote,
    DifferenceNote,
    EquityNote,
    FxNote,
    HaltNote,
    NakedNote,
    PortfolioTally,
    StrayNote,
    VenueRefusalNote,
)
from arbshard.model.rundir import RunFiles
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.shm.pages import PageWriter
from arbshard.worker.counters import counters as worker_counters
from arbshard.worker.counters import histograms as worker_histograms
from support.effort import effort
from support.instance import LIVE, SIM_KEYS, SMALL, Instance
from support.receiver import Receiver
from support.telegram_api import FakeTelegram, served

pytestmark = [pytest.mark.integration, pytest.mark.needs("alerts"), pytest.mark.timeout(240)]

KINDS = {
    "HALT", "stuck pair BTC", "naked ETH", "unknown order upbit o1", "difference upbit BTC",
    "the ledger does not balance", "orders refused binance", "feed upbit", "restarts", "disk",
    "limit portfolio_notional_max", "degraded fx", "event",
}  # fmt: skip
HOOK = "hook-token-0123456789"
ALERTS = "[alerts]\nnaked_after_s = 0.0\n"


def targets(**sources):
    return "[alerts.targets]\n" + "".join(f'{name} = "{source}"\n' for name, source in sources.items())


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


def address(receiver):
    return f"json://127.0.0.1:{receiver.port}/{HOOK}"


class Pages:
    """A run of which there is nothing but its pages, and the real process of the alerts beside it."""

    def __init__(self, folder, receiver):
        self.state = folder / "state"
        self.state.mkdir()
        (folder / "run").mkdir(mode=0o700)
        files = self.files = RunFiles(folder / "run")
        config = Config(name="t", alerts=AlertsConfig(targets={"phone": "env:PHONE"}, naked_after_s=1.0))
        files.config.write_bytes(msgspec.json.encode(config))
        counters = ("pid", "beat_ns", "errors", "messages", "bad_orders")
        self.supervisor = PageWriter.create(files.supervisor_page, counters, ("loop_gap", "loop_cpu"))
        self.risk = PageWriter.create(files.risk_page, COUNTERS, HISTOGRAMS)
        for name, value in {"pid": os.getpid(), "ready": 1}.items():
            self.risk.set(self.risk.counter(name), value)
        self.worker = PageWriter.create(files.worker_page(0), worker_counters(), worker_histograms())
        self.worker.set(self.worker.counter("state"), WorkerState.RUNNING)
        self.note = replace(NO_NOTE, session=1, day=DayNote("2026-11-27", exits=3, pnl="1234"))
        children = (
            ChildNote("risk", "running", os.getpid(), 1, 0),
            ChildNote("worker-0", "running", os.getpid(), 1, 0),
        )
        self.own = SupervisorNote(
            name="t", mode="live", data="sim", state="running", pid=os.getpid(), started_ms=int(time.time() * 1000),
            state_dir=str(self.state), shards=1, pairs=1, children=children,
            venues=(VenueNote("upbit", "connected", 1, 1, 1, 1.0, 0, 0),),
        )  # fmt: skip
        self.environment = {**os.environ, "PHONE": address(receiver)}

    def start(self):
        self.show(0)
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "arbshard.alerts", "--run-dir", self.files.dir),
                *("--state-dir", self.state, "--parent-pid", str(os.getpid())),
            ],
            env=self.environment,
        )

    def show(self, for_s, until=lambda: False):
        """Beat like a supervisor for a while, or until something is so; returns whether it is."""
        self.risk.write_note(msgspec.json.encode(self.note))
        self.supervisor.write_note(msgspec.json.encode(self.own))
        end = time.monotonic() + for_s
        while True:
            self.supervisor.set(self.supervisor.counter("beat_ns"), time.monotonic_ns())
            if until():
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)

    def break_everything(self):
        now_ms = int(time.time() * 1000)
        self.note = replace(
            self.note,
            halt=HaltNote(now_ms, "drawdown", "10,000,000 KRW below the highest equity"),
            apart={"BTC": ApartNote(now_ms, "stuck", "no venue takes the hedge")},
            equity=EquityNote(naked="50000", naked_by=(NakedNote("p1", "ETH", "1", "50000", "1"),)),
            unknown=(StrayNote("upbit", "o1", "KRW-ETC", "ETC", now_ms),),
            differences=(DifferenceNote("upbit", "BTC", "1", "2", now_ms, 1),),
            broken="balances do not add up",
            refusing=(VenueRefusalNote("binance", "", ("BTC",), "venue", "-2015", now_ms),),
            portfolio=PortfolioTally(exposure="90000000"),
            fx=FxNote(doubt="it jumped", since_ms=now_ms),
        )
        self.risk.set(self.risk.counter("disk_room"), 1)
        children = (self.own.children[0], ChildNote("worker-0", "quarantined", 0, 1, 0))
        down = replace(self.own.venues[0], state="down")
        self.own = replace(
            self.own,
            venues=(down,),
            children=children,
            alerts=(f"{time.strftime('%H:%M:%S', time.gmtime())} a thing happened",),
            alerts_total=1,
        )


def test_each_kind_is_sent_once_and_withdrawn_once(tmp_path, receiver):
    pages = Pages(tmp_path, receiver)
    healthy = pages.note, pages.own
    process = pages.start()
    try:
        assert not pages.show(3, lambda: receiver.got)
        pages.break_everything()
        assert pages.show(60, lambda: set(receiver.titles) >= KINDS), receiver.titles
        assert not pages.show(3, lambda: len(receiver.titles) > len(KINDS))
        assert Counter(receiver.titles) == Counter(KINDS)
        for message in receiver.got:
            assert "\n$ arbshard " in message["message"]
            assert message["message"].endswith("--name t")
        pages.note, own = healthy
        pages.own = replace(own, alerts=pages.own.alerts, alerts_total=1)
        pages.risk.set(pages.risk.counter("disk_room"), 0)
        over = {f"over: {kind}" for kind in KINDS - {"event"}}
        assert pages.show(30, lambda: set(receiver.titles) >= over), receiver.titles
        pages.note = replace(pages.note, day=DayNote("2026-11-28"), days=(pages.note.day,))
        assert pages.show(10, lambda: "day 2026-11-27" in receiver.titles), receiver.titles
        pages.own = replace(pages.own, state="draining")
        pages.show(0)
        process.terminate()
        assert pages.show(20, lambda: process.poll() is not None)
        assert process.returncode == 0
        assert receiver.titles[-1] == "run ended"
        assert Counter(receiver.titles) == Counter([*KINDS, *over, "day 2026-11-27", "run ended"])
    finally:
        process.kill()
        process.wait()
    with AlertsReader(pages.state / FILE) as reader:
        assert all(one.over_ms is not None for one in reader.records(100))


class Desk(Instance):
    """A run whose alerts go to a local receiver."""

    def keeps_alerts(self):
        """Whether the process of the alerts looks at the run."""
        return bool(self.counters(self.files.alerts_page).get("beat_ns"))

    def undelivered(self):
        with contextlib.closing(sqlite3.connect(f"file:{self.state / FILE}?mode=ro", uri=True)) as file:
            return file.execute("SELECT count(*) FROM deliveries WHERE delivered_ms IS NULL").fetchone()[0]

    def has_no_secret(self):
        """No file of the state directory, and nothing that was printed, holds the address."""
        for path in (*self.state.rglob("*"), *self.folder.glob("*.txt")):
            if path.is_file():
                assert HOOK.encode() not in path.read_bytes(), path


def test_what_could_not_be_delivered_arrives_later_each_once(tmp_path, receiver):
    """The receiver is down for a while, and the process of the alerts is killed meanwhile."""
    config = SMALL + "[alerts]\n" + targets(phone="env:PHONE")
    with Desk(tmp_path, config, environment={"PHONE": address(receiver)}) as desk:
        desk.start()
        desk.until_running()
        desk.wait_for(desk.keeps_alerts)
        receiver.close()
        desk.do("halt", "--reason", "first")
        desk.kill("worker-0")
        desk.wait_for(lambda: desk.undelivered() >= 2)
        pid = desk.kill("alerts")
        desk.until_replaced("alerts", pid)
        desk.do("resume")
        status = desk.until(
            lambda status: status["alerting"]["failures"] and status["alerting"]["outbox"] >= 3
        )
        assert status["alerting"]["trouble"].startswith("phone: ")
        assert HOOK not in str(status)
        receiver.open()
        # That the halt is over is known five seconds after its end, which may be after the outbox is empty.
        desk.wait_for(lambda: "over: HALT" in receiver.titles and desk.undelivered() == 0, 60)
        titles = Counter(receiver.titles)
        assert {"HALT", "over: HALT", "event"} <= set(titles)
        assert titles["HALT"] == titles["over: HALT"] == 1
        bodies = [message["message"] for message in receiver.got]
        assert len(set(bodies)) == len(bodies)
        assert any("first" in body and "$ arbshard resume --name t" in body for body in bodies)
        shown = desk.do("alerts")
        assert "no alert holds" in shown
        assert "HALT" in shown
        assert desk.stop().code in (0, 1)
        assert "run ended" in receiver.titles
        assert "HALT" in desk.call("alerts", "--all").out  # nothing runs any more
        desk.has_no_secret()
    assert not desk.leftovers()


def test_a_run_that_is_killed_is_reported_and_withdrawn_by_the_next_start(tmp_path, receiver):
    config = SMALL + "[alerts]\n" + targets(phone="env:PHONE")
    deaths = effort(1, 2)
    with Desk(tmp_path, config, environment={"PHONE": address(receiver)}) as desk:
        desk.start()
        desk.until_running()
        desk.wait_for(desk.keeps_alerts)
        os.kill(desk.pid, signal.SIGKILL)
        desk.ended()
        desk.wait_for(lambda: "THE RUN IS CUT OFF" in receiver.titles)
        receiver.close()
        assert desk.carry_out("alerts").code == 1
        desk.start()
        desk.until_running()
        desk.wait_for(desk.undelivered)  # that the first death is over
        if deaths == 2:
            os.kill(desk.pid, signal.SIGKILL)
            desk.ended()
            time.sleep(3)
            desk.start()  # the process of the alerts still tries; a new run ends it
            desk.until_running()
        receiver.open()
        desk.wait_for(lambda: desk.undelivered() == 0, 60)
        desk.wait_for(
            lambda: receiver.titles.count("over: THE RUN IS CUT OFF") == deaths, 60, lambda: receiver.titles
        )
        assert receiver.titles.count("THE RUN IS CUT OFF") == deaths
        assert desk.stop().code in (0, 1)
    assert not desk.leftovers()


def test_faults_of_venues_and_the_death_of_processes_arrive(tmp_path, receiver):
    """Live orders to the embedded exchanges: a key is revoked, replies are lost, money moves, a worker dies again."""
    config = (
        LIVE
        + "[sim]\ncoins = 4\n[strategy]\nmax_hold_s = 6.0\n[run]\nshards = 1\ndisk_free_min_mb = 1e9\n"
        + "[fx]\ndeparture_bps_max = 1000\njump_bps_max = 1000\n"
        + ALERTS.replace("[alerts]\n", "[alerts]\nrestarts = 2\nmessages_per_min = 300\n")
        + targets(phone="env:PHONE")
    )
    environment = {**SIM_KEYS, "PHONE": address(receiver)}
    with Desk(tmp_path, config, arguments=("--live",), environment=environment) as desk:
        desk.start()
        desk.wait_for(lambda: len(desk.risk_note().positions) >= 2)
        desk.wait_for(lambda: "disk" in receiver.titles)

        def kinds():
            return {title.split()[0] for title in receiver.titles}

        def describe():
            return receiver.titles, desk.status()["problems"]

        desk.set_faults("binance", {"set": {"key_revoked": {"share": 1}}})
        desk.wait_for(lambda: "orders" in kinds(), 60, describe)
        desk.set_faults("binance", {"clear": ["key_revoked"]})
        blind = {
            "lost_reply": {"share": 1, "calls": "all"},
            "silent_stall": {"share": 1, "sockets": "private", "ms_min": 0, "ms_max": 0},
        }
        desk.set_faults("upbit", {"set": blind})
        desk.wait_for(lambda: "unknown" in kinds(), 90, describe)
        desk.set_faults("upbit", {"clear": list(blind)})
        desk.set_faults("upbit", {"set": {"hand_transfer": {"times": 3}}})
        desk.wait_for(lambda: "difference" in kinds(), 60, describe)
        for _ in range(2):
            pid = desk.kill("worker-0")
            desk.until_replaced("worker-0", pid)
        desk.wait_for(lambda: {"restarts", "event"} <= kinds(), 60, describe)
        desk.has_no_secret()


def test_targets_are_tried_by_hand_and_a_failure_has_exit_code_1(tmp_path, receiver):
    gone = Receiver()
    file = tmp_path / "gone"
    file.write_text(address(gone))
    file.chmod(0o600)
    config = SMALL + "[alerts]\n" + targets(phone="env:PHONE", desk=f"file:{file}")
    with Desk(tmp_path, config, environment={"PHONE": address(receiver)}) as desk:
        tried = desk.call("alerts", "test")
        assert tried.code == 1
        assert tried.out.startswith("phone: works\ndesk: FAILED: ")
        assert receiver.titles == ["test"]
        file.chmod(0o644)
        refused = desk.call("alerts", "test")
        assert refused.code == 2
        assert "alerts.targets.desk" in refused.err
        assert "open to others" in refused.err
        started = desk.run()
        assert started.code == 2
        assert started.err.count("\n") == 1
        assert "open to others" in started.err
        desk.has_no_secret()
        assert desk.carry_out("alerts").code == 2


@pytest.mark.needs("telegram")
async def test_a_halt_by_telegram_is_in_the_ledger_and_resuming_is_not_possible(tmp_path):
    """The whole way: a local Bot API, the process of the alerts, risk, the ledger."""
    api = FakeTelegram()
    async with served(api) as address_of_api:
        config = (
            f'{SMALL}[alerts]\nenabled = true\n[alerts.telegram]\ntoken = "env:BOT"\nchats = [42]\n'
            f'api = "{address_of_api}"\n'
        )
        with Desk(tmp_path, config, environment={"BOT": f"1:{HOOK}"}) as desk:
            desk.start()
            await asyncio.to_thread(desk.until_running)

            async def ask(text, chat=42):
                before = len(api.sent)
                api.write(chat, text)
                await asyncio.to_thread(desk.wait_for, lambda: len(api.sent) > before)
                return api.sent[-1][1]

            api.write(7, "/halt")  # a stranger
            assert (await ask("/status")).startswith("t: ")
            assert "Equity" in await ask("/pnl")
            assert "BTC" in await ask("/why BTC")
            assert "does not trade it" in await ask("/why NONSENSE")
            await ask("/positions")
            code = (await ask("/halt lunch")).partition("/confirm ")[2].split()[0]
            assert desk.risk_note().halt is None
            assert "halted" in await ask(f"/confirm {code}")
            for text in ("/resume", "/limits set order_notional_max=1", "/close BTC", f"/confirm {code}"):
                await ask(text)
            halt = desk.risk_note().halt
            assert halt is not None
            assert halt.reason == "lunch"
            assert {chat for chat, _ in api.sent} == {42}
            status = await asyncio.to_thread(
                desk.until, lambda status: status["alerting"]["unknown_chats"] == 1
            )
            assert "halted" in status["halted"]
            events = str(desk.events("Halted"))
            assert "Telegram, chat 42" in events
            tried = await asyncio.to_thread(desk.call, "alerts", "test")
            assert tried.code == 0, tried
            assert tried.out == "Telegram bot @desk_bot: works\nTelegram chat 42: works\n"
            assert "this is a test" in api.sent[-1][1]
            assert (await asyncio.to_thread(desk.stop)).code in (0, 1)
            desk.has_no_secret()
    assert not desk.leftovers()
