"""How many files a request walks through in risk, from its bytes to the reply: a reader has to open them all."""

import inspect
from pathlib import Path

import pytest

from arbshard.clock import ManualClock
from arbshard.config import BaselineConfig, SeriesConfig
from arbshard.engine.baseline import Baselines
from arbshard.ledger.store import LedgerStore
from arbshard.model.entry_terms import Baseline
from arbshard.risk.core import RiskCore
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.risk.service import RiskService
from arbshard.shm.pages import PageWriter
from arbshard.wire.messages import (
    Approved,
    Conclude,
    Fund,
    Noted,
    Refused,
    Report,
    Request,
    Settled,
    Submit,
    decode_reply,
    encode,
)
from arbshard.wire.replies import StoredReplies
from support import world as w
from support.walk import OURS, Walk, walk

RETURNS = Baseline(level_bps=0.0, band_bps=4.0, half_life_s=3.0, samples=100, returns=5)
REST_MS = 20_000
"""Between two trades: a refusal that is repeated sooner is only counted."""


class Feed:
    """A run that goes on."""

    phase = 1
    beat_ns = back_ns = 0


class Desk:
    """Risk's service over a real ledger and page, asked as over the wire."""

    def __init__(self, folder: Path) -> None:
        self.world = w.World(ready=False)
        self.store = LedgerStore.open(folder / "ledger.sqlite", name="sim", mode="sim-paper", now_ms=1)
        self.page = PageWriter.create(folder / "page", COUNTERS, HISTOGRAMS, 0)
        self._replies = StoredReplies(100)
        self._clock = ManualClock(wall_ms=self.world.now_ms)
        core = RiskCore(self.world.config, self.world.universe, self.world.state)
        baselines = Baselines(SeriesConfig(), BaselineConfig())
        baselines.known.update(dict.fromkeys(self.world.bases, RETURNS))
        core.use_baselines(baselines)
        self.rules = {inspect.getfile(type(rule)).removeprefix(f"{OURS}/") for rule in core.guard.entry_rules}
        """The files of the rules of entry."""
        self.service = RiskService(core, self.store, self.page, Feed(), self._clock)
        self._asked = 0

    def rest(self) -> None:
        self._clock.advance_ms(REST_MS)
        self.world.now_ms += REST_MS

    def ask(self, request: Request, expected: type) -> Walk:
        self._asked += 1
        batch = [(self._asked.to_bytes(16, "big"), encode(request))]
        replies: list[bytes] = []
        walked = walk(lambda: replies.extend(self._replies.answer(batch, self.service.handle)))
        assert isinstance(decode_reply(replies[0]), expected), decode_reply(replies[0])
        return walked


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    made.service.start("run", "v")
    made._replies.answer([(b"\0" * 16, encode(made.world.hello()))], made.service.handle)
    for base in made.world.bases:
        made.ask(Fund(0, 1, base, w.HOME_PRICE), object)
    yield made
    made.store.abandon()
    made.page.close()


def test_a_request_enters_few_files(desk) -> None:
    """The bounds are what it took when they were set. Raise one only for a thought that needs a file of its own.

    Each rule of entry is such a thought, and whoever adds one reads the others only if they want to. So the bounds
    of an approval and of a refusal are those of the way itself; the rules come on top.
    """
    for base in ("BTC", "ETH"):  # the first time opens the ledger for writing
        desk.rest()
        entry = desk.world.entry(base)
        approved = desk.ask(Submit(0, 1, entry), Approved)
        refused = desk.ask(Submit(0, 1, desk.world.entry(base)), Refused)
        fill = desk.ask(Report(0, 1, entry.intent_id, w.filled(entry.home)), Noted)
        desk.ask(Report(0, 1, entry.intent_id, w.filled(entry.away)), Noted)
        concluded = desk.ask(Conclude(0, 1, entry.intent_id, w.HOME_PRICE, w.FX, done=False), Settled)
    assert len(desk.rules) == 4, desk.rules  # two more in live mode: what venues state of balances and fees
    for name, walked, files_max in (
        ("approval", approved, 19),
        ("refusal", refused, 20),  # and the log of refusals
        ("fill", fill, 25),  # two of them for whether the venue takes orders
        ("conclusion", concluded, 26),
    ):
        print(f"{name}: {walked}")
        assert len(walked.files - desk.rules) <= files_max, f"{name}: {walked}"
    assert approved.files >= desk.rules, approved.files
