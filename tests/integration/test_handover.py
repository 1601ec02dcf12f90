"""Pairs move, come and go in a running system of real processes, and the others do not notice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from arbshard.errors import SharedMemoryError
from arbshard.ledger.events import IntentApproved
from arbshard.ledger.reader import LedgerReader
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader
from arbshard.wire import control, messages
from arbshard.wire.serve import ask

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SHARDS = 2
STARTED_WITH = ("BTC", "ETH", "XRP", "SOL", "DOGE", "ADA", "AVAX", "LINK")
CONFIG = f"""
name = "t"
[sim]
coins = 12
seed = 11
[run]
shards = {SHARDS}
symbols = {json.dumps(STARTED_WITH)}
rebalance_s = 0
spare_workers = 0
[strategy]
max_hold_s = 300.0
take_profit_bps = 500.0
close_on_spread_reversal = false
"""
_PAUSE_MAX_S = 1.0
"""Generous: machines are noisy, and every tick of a shard counts, not only those of one pair."""


class Decisions(threading.Thread):
    """Watches the shards' counters of evaluations; knows the longest time that one stood still."""

    def __init__(self, files: RunFiles) -> None:
        super().__init__(daemon=True)
        self._pages = [PageReader.attach(files.worker_page(shard)) for shard in range(SHARDS)]
        self._over = threading.Event()
        self.longest_s = [0.0] * SHARDS

    def run(self) -> None:
        seen = [(time.monotonic(), page.value("ticks")) for page in self._pages]
        while not self._over.is_set():
            now = time.monotonic()
            for shard, page in enumerate(self._pages):
                ticks = page.value("ticks")
                if ticks != seen[shard][1]:
                    self.longest_s[shard] = max(self.longest_s[shard], now - seen[shard][0])
                    seen[shard] = (now, ticks)
            time.sleep(0.002)
        for shard, (since, _) in enumerate(seen):
            self.longest_s[shard] = max(self.longest_s[shard], time.monotonic() - since)

    def end(self) -> None:
        self._over.set()
        self.join()
        for page in self._pages:
            page.close()


class Instance:
    def __init__(self, folder: Path, config: str) -> None:
        self.config = folder / "config.toml"
        self.config.write_text(f'state_dir = "{folder}/state"\n{config}')
        self.ledger = folder / "state" / "ledger.sqlite"
        self.root = folder / "run"
        self.files = RunFiles(self.root / "t")
        self.env = {**os.environ, "ARBSHARD_RUN_ROOT": str(self.root)}
        command = [sys.executable, "-m", "arbshard", "run", "--config", str(self.config)]
        self.process = subprocess.Popen(
            command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def call(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "arbshard", *arguments, "--config", str(self.config)]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def shards(self) -> control.Shards:
        answer = ask(self.files.control_endpoint, control.encode(control.ShowShards()), 3000)
        return control.decode_answer(answer)

    def owner(self, base: str) -> int:
        return next(pair.shard for pair in self.shards().pairs if pair.base == base)

    def until(self, is_so, timeout_s: float = 30.0):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = is_so()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"not within {timeout_s} s")

    def is_running(self) -> bool:
        try:
            with PageReader.attach(self.files.supervisor_page) as page:
                note = page.note()
        except SharedMemoryError:
            return False
        return bool(note) and json.loads(note)["state"] == "running"

    def positions(self) -> list[str]:
        """Bases."""
        answer = ask(self.files.risk_endpoint, messages.encode(messages.ShowPositions()), 3000)
        return [position.pair for position in messages.decode_command_reply(answer).positions]

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@pytest.fixture
def instance():
    folder = Path(tempfile.mkdtemp(prefix="arb"))  # a socket's path must be short
    one = Instance(folder, CONFIG)
    yield one
    one.end()
    shutil.rmtree(folder, ignore_errors=True)


def approved_intents(path: Path) -> list:
    with LedgerReader(path) as reader:
        found = [reader.decode(seq, body) for seq, _, _, _, _, body in reader.rows(["IntentApproved"])]
    return [event.intent for event in found if isinstance(event, IntentApproved)]


def test_moves_adds_and_a_removal_under_load(instance):
    instance.until(instance.is_running)
    held = instance.until(instance.positions)[0]
    others = [base for base in STARTED_WITH if base != held]
    decisions = Decisions(instance.files)
    decisions.start()
    try:
        first = instance.owner(held)
        new = 1 - first
        assert f"moved {held} to shard {new}" in instance.call("shards", "move", held, "--to", str(new))
        instance.call("symbols", "add", "DOT")
        mover = next(base for base in others if instance.owner(base) == first)
        instance.call("shards", "move", mover, "--to", str(new))
        instance.call("symbols", "add", "KRW-LTC")
        instance.call("symbols", "remove", others[-1])
        instance.call("shards", "move", mover, "--to", str(first))
    finally:
        decisions.end()
    shown = instance.shards()
    owners = {pair.base: pair.shard for pair in shown.pairs}
    assert owners.keys() == {*STARTED_WITH, "DOT", "LTC"} - {others[-1]}
    assert (owners[held], owners[mover]) == (new, first)
    assert {change.state for change in shown.changes} == {"done"}
    assert held in instance.positions(), "it moved with its pair"

    refused = {
        ("shards", "move", held, "--to", "9"): "no shard 9",
        ("symbols", "add", "NOPE"): "not tradable on both venues",
        ("symbols", "remove", *owners): "last pairs",
    }
    for arguments, why in refused.items():
        said = instance.call(*arguments, code=2)
        assert why in said
        assert len(said.splitlines()) == 1

    before = json.loads(instance.call("shards", "--json"))["shards"][new]
    assert held in before["pairs"]
    assert before["positions"] >= 1
    assert f"shard {new} is up" in instance.call("shards", "restart", str(new))
    after = json.loads(instance.call("shards", "--json"))["shards"][new]
    assert (after["pairs"], after["epoch"]) == (before["pairs"], before["epoch"] + 1)

    instance.call("close", held)
    assert instance.end() == 1, "a restart is told"
    assert "everything agrees" in instance.call("ledger", "verify")
    approved = approved_intents(instance.ledger)
    ids = [intent.intent_id for intent in approved]
    assert len(set(ids)) == len(ids)
    (exit_id,) = [
        intent.intent_id
        for intent in approved
        if intent.kind == "exit" and intent.pair == held and intent.reason == "manual"
    ]
    assert exit_id.split("-")[1] == str(new), "the new owner closed it"
    assert max(decisions.longest_s) < _PAUSE_MAX_S, decisions.longest_s
