"""Pairs move, come and go in a running system of real processes, and the others do not notice."""

import json
import threading
import time
from pathlib import Path

import pytest

from arbshard.ledger.events import IntentApproved
from arbshard.ledger.reader import LedgerReader
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader
from arbshard.wire import control, messages
from arbshard.wire.request import ask
from support.instance import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SHARDS = 2
STARTED_WITH = ("BTC", "ETH", "XRP", "SOL", "DOGE", "ADA", "AVAX", "LINK")
CONFIG = f"""
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


class Sharded(Instance):
    """An instance whose pairs change their owners."""

    def shards(self) -> control.Shards:
        answer = ask(self.files.control_endpoint, control.encode(control.ShowShards()), 3000)
        return control.decode_answer(answer)

    def owner(self, base: str) -> int:
        return next(pair.shard for pair in self.shards().pairs if pair.base == base)

    def positions(self) -> list[str]:
        """Bases."""
        answer = ask(self.files.risk_endpoint, messages.encode(messages.ShowPositions()), 3000)
        return [position.pair for position in messages.decode_command_reply(answer).positions]


@pytest.fixture
def instance(tmp_path):
    with Sharded(tmp_path, CONFIG) as one:
        yield one


def approved_intents(path: Path) -> list:
    with LedgerReader(path) as reader:
        found = [reader.decode(seq, body) for seq, _, _, _, _, body in reader.rows(["IntentApproved"])]
    return [event.intent for event in found if isinstance(event, IntentApproved)]


def test_moves_adds_and_a_removal_under_load(instance):
    instance.start()
    instance.until_running()
    held = instance.wait_for(instance.positions)[0]
    others = [base for base in STARTED_WITH if base != held]
    decisions = Decisions(instance.files)
    decisions.start()
    try:
        first = instance.owner(held)
        new = 1 - first
        assert f"moved {held} to shard {new}" in instance.do("shards", "move", held, "--to", str(new))
        instance.do("symbols", "add", "DOT")
        mover = next(base for base in others if instance.owner(base) == first)
        instance.do("shards", "move", mover, "--to", str(new))
        instance.do("symbols", "add", "KRW-LTC")
        instance.do("symbols", "remove", others[-1])
        instance.do("shards", "move", mover, "--to", str(first))
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
        said = instance.do(*arguments, code=2)
        assert why in said
        assert len(said.splitlines()) == 1

    before = json.loads(instance.do("shards", "--json"))["shards"][new]
    assert held in before["pairs"]
    assert before["positions"] >= 1
    assert f"shard {new} is up" in instance.do("shards", "restart", str(new))
    after = json.loads(instance.do("shards", "--json"))["shards"][new]
    assert (after["pairs"], after["epoch"]) == (before["pairs"], before["epoch"] + 1)

    instance.do("close", held)
    assert instance.stop().code == 1, "a restart is told"
    assert "everything agrees" in instance.do("ledger", "verify")
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
