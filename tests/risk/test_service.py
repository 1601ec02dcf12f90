"""A batch: one transaction, ledger first, all or nothing."""

import pytest

from arbshard.clock import ManualClock
from arbshard.errors import LedgerError
from arbshard.ledger.replay import replay
from arbshard.ledger.store import LedgerStore
from arbshard.model.refusal import Refusal
from arbshard.risk.core import RiskCore
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.risk.portfolio import PortfolioState
from arbshard.risk.service import RiskService
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.wire.messages import (
    Approved,
    Fund,
    Noted,
    Refused,
    Report,
    Submit,
    Welcome,
    decode_reply,
    encode,
)


class Feed:
    """A run that goes on."""

    phase = 1


class Desk:
    """A service with everything around it."""

    def __init__(self, w, tmp_path) -> None:
        self.world = w.World(ready=False)
        self.state = self.world.state
        self.store = LedgerStore.open(tmp_path / "ledger.sqlite", name="sim", mode="sim-paper", now_ms=1)
        self.page = PageWriter.create(tmp_path / "page", COUNTERS, HISTOGRAMS, 0)
        self.reader = PageReader.attach(tmp_path / "page")
        core = RiskCore(self.world.config, self.world.universe, self.state)
        self.clock = ManualClock(wall_ms=self.world.now_ms)
        self.service = RiskService(core, self.store, self.page, Feed(), self.clock)

    def ask(self, *requests):
        return [decode_reply(reply) for reply in self.service.handle([encode(one) for one in requests])]

    def stored(self) -> int:
        return sum(1 for _ in self.store.events())

    def close(self) -> None:
        self.store.abandon()
        self.page.close()
        self.reader.close()


@pytest.fixture
def desk(w, tmp_path):
    desk = Desk(w, tmp_path)
    desk.service.start("run", "v")
    desk.ask(desk.world.hello(), Fund(0, 1, "BTC", w.HOME_PRICE), Fund(0, 1, "ETH", w.HOME_PRICE))
    yield desk
    desk.close()


def test_a_batch_is_decided_in_order_and_stored_in_one_commit(w, desk) -> None:
    intent = desk.world.entry()
    before = desk.stored()
    commits = desk.reader.histogram("commit").count
    replies = desk.ask(
        Submit(0, 1, intent),
        Submit(0, 1, desk.world.entry()),
        Report(0, 1, intent.intent_id, w.filled(intent.home)),
        desk.world.hello(),
    )
    assert isinstance(replies[0], Approved)
    assert replies[1].reason is Refusal.PAIR_BUSY
    assert isinstance(replies[2], Noted)
    assert isinstance(replies[3], Welcome)
    assert desk.stored() == before + 3
    assert desk.reader.histogram("commit").count == commits + 1


def test_what_is_stored_is_the_live_state(w, desk) -> None:
    intent = desk.world.entry()
    desk.ask(Submit(0, 1, intent), Report(0, 1, intent.intent_id, w.filled(intent.home)))
    desk.service.stop()
    again = PortfolioState()
    replay(desk.store.events(), again)
    assert again.state_hash() == desk.state.state_hash()


def test_a_batch_without_news_is_not_stored(desk) -> None:
    before = desk.stored()
    desk.service.is_changed = False
    desk.ask(desk.world.hello())
    assert desk.stored() == before
    assert not desk.service.is_changed


def test_when_the_ledger_is_full_nothing_has_happened(w, desk) -> None:
    pages = desk.store._connection.execute("PRAGMA page_count").fetchone()[0]
    desk.store._connection.execute(f"PRAGMA max_page_count = {pages}")
    hashes = []

    def fill_the_disk() -> None:
        for _ in range(100):
            hashes.append((desk.state.state_hash(), desk.stored()))
            desk.ask(*(Submit(0, 1, desk.world.entry()) for _ in range(20)))

    with pytest.raises(LedgerError, match="full"):
        fill_the_disk()
    before, stored = hashes[-1]
    assert desk.state.state_hash() == before
    assert desk.state.is_settled
    assert desk.stored() == stored


def test_what_cannot_be_read_is_refused_and_the_rest_answered(desk) -> None:
    replies = desk.service.handle([b"\xc1", encode(Submit(0, 1, desk.world.entry()))])
    bad, good = map(decode_reply, replies)
    assert isinstance(bad, Refused)
    assert bad.reason is Refusal.MALFORMED
    assert isinstance(good, Approved)
    assert desk.reader.value("bad") == 1


def test_a_mistake_in_the_program_leaves_no_half_batch(w, desk, monkeypatch) -> None:
    before = desk.state.state_hash()
    monkeypatch.setattr("arbshard.risk.core.hold_for", lambda *_: 1 / 0)
    intent = desk.world.entry()
    order = w.Order(f"{intent.intent_id}-h1", intent.home.market, "sell", w.Decimal(1), w.Decimal(1), "hedge")
    from arbshard.wire.messages import Extend

    with pytest.raises(ZeroDivisionError):
        desk.ask(Submit(0, 1, intent), Extend(0, 1, intent.intent_id, order))
    assert desk.state.state_hash() == before


def test_counters(w, desk) -> None:
    intent = desk.world.entry()
    desk.ask(Submit(0, 1, intent))
    desk.ask(Submit(0, 1, intent), Submit(0, 1, desk.world.entry()), Fund(0, 7, "BTC", w.HOME_PRICE))
    assert desk.reader.value("approvals") == 1
    assert desk.reader.value("repeated") == 1
    assert desk.reader.value("refusals") == 2
    assert desk.reader.value("stale") == 1
    assert desk.reader.value("events") == desk.stored()
    assert desk.reader.histogram("handle").count == 3
