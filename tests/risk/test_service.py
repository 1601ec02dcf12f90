"""A batch: one transaction, ledger first, all or nothing."""

from decimal import Decimal

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from arbshard.clock import ManualClock
from arbshard.errors import LedgerError, SharedMemoryError
from arbshard.ledger.events import DifferenceFound, DifferenceResolved, LimitsScaled, StrayFound, StrayGone
from arbshard.ledger.replay import replay
from arbshard.ledger.store import LedgerStore
from arbshard.model.refusal import Refusal
from arbshard.risk.core import RiskCore
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.risk.portfolio.holdings import Balance
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.service import RiskService, _log_event
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.wire.messages import (
    Approved,
    Close,
    ConfirmCoin,
    Denied,
    Done,
    Fund,
    Funded,
    Halt,
    Noted,
    Refused,
    Report,
    Resume,
    SetApart,
    Submit,
    Welcome,
    decode_command_reply,
    decode_reply,
    encode,
)
from support import world as w


class Feed:
    """A run that goes on."""

    phase = 1
    beat_ns = back_ns = 0


class Desk:
    """A service with everything around it."""

    def __init__(self, tmp_path) -> None:
        self.world = w.World(ready=False)
        self.state = self.world.state
        self.store = LedgerStore.open(tmp_path / "ledger.sqlite", name="sim", mode="sim-paper", now_ms=1)
        self.page = PageWriter.create(tmp_path / "page", COUNTERS, HISTOGRAMS, 0)
        self.reader = PageReader.attach(tmp_path / "page")
        core = RiskCore(self.world.config, self.world.universe, self.state)
        self.clock = ManualClock(wall_ms=self.world.now_ms)
        self.feed = Feed()
        self.service = RiskService(core, self.store, self.page, self.feed, self.clock)

    def ask(self, *requests):
        return [decode_reply(reply) for reply in self.service.handle([encode(one) for one in requests])]

    def stored(self) -> int:
        return sum(1 for _ in self.store.events())

    def close(self) -> None:
        self.store.abandon()
        self.page.close()
        self.reader.close()


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    desk.service.start("run", "v")
    desk.ask(desk.world.hello(), Fund(0, 1, "BTC", w.HOME_PRICE), Fund(0, 1, "ETH", w.HOME_PRICE))
    yield desk
    desk.close()


def test_what_bars_pairs_and_what_ends_it_is_logged(desk) -> None:
    """It is the first thing that a person looks for when nothing is entered."""
    world = desk.world

    def tell(command):
        (raw,) = desk.service.handle([encode(command)])
        return decode_command_reply(raw)

    entry = world.entry("BTC")
    refused = w.OrderResult(entry.away, "REJECTED", detail="-2015: key", fault="venue")
    with capture_logs() as logs:
        desk.ask(SetApart(0, 1, "ETH", "stuck", "0.5 ETH stays naked", "s1-0-1-9"))
        assert isinstance(tell(Resume("I have looked", ("ETH",))), Done)
        assert isinstance(tell(ConfirmCoin("BTC", "I have looked")), Done)
        desk.ask(Submit(0, 1, entry), Report(0, 1, entry.intent_id, refused))
        assert isinstance(tell(Close(("BTC",))), Done)
    said = {line["event"]: line for line in logs}
    apart = said["pair set apart: it enters nothing until a person releases it"]
    assert (apart["pair"], apart["cause"], apart["intent"]) == ("ETH", "stuck", "s1-0-1-9")
    assert said["pair released"]["pair"] == "ETH"
    assert said["coin confirmed"]["pair"] == "BTC"
    barred = said["orders are refused: no entries, exits are tried with pauses"]
    assert (barred["venue"], barred["why"], barred["log_level"]) == ("binance", "-2015: key", "error")
    assert said["closing"]["pairs"] == ["BTC"]


@pytest.mark.parametrize(
    ("event", "said", "shown"),
    [
        (
            DifferenceFound(at_ms=1, venue="upbit", currency="KRW", stated=Decimal(7), booked=Decimal(9)),
            "venue and ledger differ: blocked until reconciled",
            {"venue": "upbit", "currency": "KRW", "stated": "7", "booked": "9"},
        ),
        (
            DifferenceResolved(at_ms=1, venue="upbit", currency="KRW", how="agrees"),
            "venue and ledger agree again",
            {"venue": "upbit", "currency": "KRW", "how": "agrees"},
        ),
        (
            StrayFound(
                at_ms=1, venue="upbit", client_id="x", symbol="KRW-BTC", remaining=Decimal(1), pair="BTC"
            ),
            "an open order of ours that no intent owns",
            {"venue": "upbit", "order": "x", "market": "KRW-BTC"},
        ),
        (StrayGone(at_ms=1, venue="upbit", client_id="x", pair="BTC"), "StrayGone", {"venue": "upbit"}),
        (
            LimitsScaled(at_ms=1, symbol="BTC", factor=Decimal("0.5"), cause="losses"),
            "limits scaled",
            {"symbol": "BTC", "factor": "0.5", "cause": "losses"},
        ),
    ],
)
def test_what_the_venues_and_the_losses_show_is_logged(event, said, shown) -> None:
    with capture_logs() as logs:
        _log_event(event)
    (line,) = logs
    assert line["event"] == said
    assert {key: line[key] for key in shown} == shown


def test_a_batch_is_decided_in_order_and_stored_in_one_commit(desk) -> None:
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


def test_what_is_stored_is_the_live_state(desk) -> None:
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


def test_when_the_ledger_is_full_nothing_has_happened(desk) -> None:
    pages = desk.store._connection.execute("PRAGMA page_count").fetchone()[0]
    desk.store._connection.execute(f"PRAGMA max_page_count = {pages}")
    hashes = []

    def fill_the_disk() -> None:
        for _ in range(100):
            hashes.append((desk.state.state_hash(), desk.stored()))
            desk.clock.advance_ms(11_000)  # repeated sooner, a refusal is only counted
            desk.ask(*(Submit(0, 1, desk.world.entry(base)) for base in ("BTC", "ETH") for _ in range(10)))

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


def test_a_mistake_in_the_program_leaves_no_half_batch(desk, monkeypatch) -> None:
    before = desk.state.state_hash()
    monkeypatch.setattr("arbshard.risk.booking.hold_for", lambda *_: 1 / 0)
    intent = desk.world.entry()
    order = w.Order(
        f"{intent.intent_id}-h1", intent.home.market, "sell", w.Decimal("0.1"), w.Decimal(1), "hedge"
    )
    from arbshard.wire.messages import Extend

    bought = Report(0, 1, intent.intent_id, w.filled(intent.away))
    with pytest.raises(ZeroDivisionError):
        desk.ask(Submit(0, 1, intent), bought, Extend(0, 1, intent.intent_id, order))
    assert desk.state.state_hash() == before


def test_an_operators_command_is_stored_before_it_is_answered(desk) -> None:
    before = desk.stored()
    (raw,) = desk.service.handle([encode(Halt("lunch", flatten=False))])
    assert decode_command_reply(raw) == Done("halted: no new entries until a person resumes; exits go on")
    assert desk.stored() == before + 1
    assert desk.reader.value("halted") == 1
    assert desk.reader.value("commands") == 1
    assert desk.reader.value("instructions") == desk.state.standing.serial == 1
    again = PortfolioState()
    replay(desk.store.events(), again)
    assert again.standing.halt == desk.state.standing.halt


def test_an_order_of_a_batch_before_it_counts_for_what_follows(desk) -> None:
    replies = desk.service.handle(
        [encode(Halt("", flatten=False)), encode(Submit(0, 1, desk.world.entry())), encode(Resume(""))]
    )
    assert decode_reply(replies[1]).reason is Refusal.HALTED
    (reply,) = desk.ask(Submit(0, 1, desk.world.entry()))
    assert isinstance(reply, Approved)


def test_the_word_for_workers_is_there_from_the_start(desk) -> None:
    desk.service.handle([encode(Halt("", flatten=False))])
    desk.service.start("run", "v")
    assert desk.reader.value("instructions") == 1
    assert desk.reader.value("halted") == 1


class TestBooksThatDoNotBalance:
    def spoil(self, desk, venue="upbit", currency="KRW") -> None:
        table = desk.state.balances.table
        old = table[venue, currency]
        table[venue, currency] = Balance(old.total + 1, old.held)

    def test_a_batch_that_touches_them_halts(self, desk) -> None:
        self.spoil(desk)
        intent = desk.world.entry()
        desk.ask(Submit(0, 1, intent))
        assert desk.state.standing.halt is None
        desk.ask(Report(0, 1, intent.intent_id, w.filled(intent.home)))
        assert desk.state.standing.halt.cause == "accounting"
        assert desk.reader.value("breaks") == 1
        (reply,) = desk.ask(Submit(0, 1, desk.world.entry("ETH")))
        assert reply.reason is Refusal.HALTED
        (raw,) = desk.service.handle([encode(Resume(""))])
        assert isinstance(decode_command_reply(raw), Denied)

    def test_what_no_batch_touches_is_found_with_time(self, desk) -> None:
        self.spoil(desk, "binance", "ETH")
        desk.service.tick(feeds_silent=False)
        assert desk.state.standing.halt is None  # the last look was at the start
        desk.clock.advance_ms(10_000)
        desk.service.tick(feeds_silent=False)
        assert desk.state.standing.halt.cause == "accounting"
        assert desk.state.standing.halt.reason.startswith("binance ETH: ")

    def test_it_is_found_at_a_start(self, desk) -> None:
        self.spoil(desk, "binance", "ETH")
        desk.service.start("run", "v")
        assert desk.state.standing.halt.cause == "accounting"

    def test_books_that_balance_halt_nothing(self, desk) -> None:
        for base in ("BTC", "ETH"):
            intent = desk.world.entry(base)
            desk.ask(
                Submit(0, 1, intent),
                Report(0, 1, intent.intent_id, w.filled(intent.home)),
                Report(0, 1, intent.intent_id, w.filled(intent.away)),
            )
        desk.clock.advance_ms(60_000)
        desk.service.tick(feeds_silent=False)
        assert desk.state.standing.halt is None
        assert desk.reader.value("breaks") == 0


def test_silent_feeds_halt_after_a_while(desk) -> None:
    for _ in range(4):
        desk.service.tick(feeds_silent=True)
        desk.clock.advance_ms(10_000)
    assert desk.state.standing.halt.cause == "stale_feeds"


def test_a_new_trading_day_is_news(desk) -> None:
    desk.service.tick(feeds_silent=False)
    desk.service.is_changed = False
    desk.service.tick(feeds_silent=False)
    assert not desk.service.is_changed
    desk.clock.advance_ms(86_400_000)
    desk.service.tick(feeds_silent=False)
    assert desk.service.is_changed


def test_counters(desk) -> None:
    intent = desk.world.entry()
    desk.ask(Submit(0, 1, intent))
    desk.ask(Submit(0, 1, intent), Submit(0, 1, desk.world.entry()), Fund(0, 7, "BTC", w.HOME_PRICE))
    assert desk.reader.value("approvals") == 1
    assert desk.reader.value("repeated") == 1
    assert desk.reader.value("refusals") == 2
    assert desk.reader.value("stale") == 1
    assert desk.reader.value("events") == desk.stored()
    assert desk.reader.histogram("handle").count == 3


class Universes:
    """As ``UniverseFile``, with what the test puts there."""

    def __init__(self, universe) -> None:
        self.universe = universe
        self.is_broken = False
        self.loads = 0

    @property
    def serial(self) -> int:
        return self.universe.serial

    def load(self):
        self.loads += 1
        if self.is_broken:
            raise SharedMemoryError("cut")
        return self.universe


class TestUniverse:
    @pytest.fixture
    def following(self, desk):
        universes = Universes(desk.world.universe)
        core = RiskCore(desk.world.config, desk.world.universe, desk.state)
        desk.service = RiskService(core, desk.store, desk.page, Feed(), desk.clock, universes)
        desk.service.start("run-1", "test")
        desk.told = []
        desk.service.on_universe = desk.told.append
        return universes

    def test_a_newer_one_is_in_force_before_anything_is_decided(self, desk, following):
        (reply,) = desk.ask(desk.world.hello())
        assert reply.strangers == ()
        assert following.loads == 0
        following.universe = replace(desk.world.universe, serial=1, shards=(("ETH",), ("BTC",)))
        (reply,) = desk.ask(Fund(0, 1, "BTC", w.HOME_PRICE))
        assert reply.reason is Refusal.NOT_OWNER
        assert desk.told == [following.universe]
        assert desk.reader.value("universe") == 1
        desk.ask(Fund(0, 1, "ETH", w.HOME_PRICE))
        assert following.loads == 1

    def test_time_alone_will_do(self, desk, following):
        following.universe = replace(desk.world.universe, serial=3)
        desk.service.tick(feeds_silent=False)
        assert desk.reader.value("universe") == 3

    def test_one_that_cannot_be_read_leaves_the_old_one_in_force(self, desk, following):
        desk.ask(desk.world.hello())
        following.universe = replace(desk.world.universe, serial=1, shards=((), ("BTC", "ETH")))
        following.is_broken = True
        (reply,) = desk.ask(Fund(0, 1, "BTC", w.HOME_PRICE))
        assert isinstance(reply, Funded)
        following.is_broken = False
        (reply,) = desk.ask(Fund(0, 1, "ETH", w.HOME_PRICE))
        assert reply.reason is Refusal.NOT_OWNER

    @pytest.mark.parametrize("is_open", [True, False])
    def test_a_pair_that_leaves_with_an_intent_open_is_an_error(self, desk, following, is_open):
        desk.ask(desk.world.hello(), Fund(0, 1, "BTC", w.HOME_PRICE))
        if is_open:
            (reply,) = desk.ask(Submit(0, 1, desk.world.entry("BTC")))
            assert isinstance(reply, Approved)
        pairs = tuple(pair for pair in desk.world.universe.pairs if pair.base != "BTC")
        following.universe = replace(desk.world.universe, serial=1, pairs=pairs, shards=(("ETH",),))
        with capture_logs() as logs:
            desk.service.tick(feeds_silent=False)
        errors = [(one["event"], one["pairs"]) for one in logs if one["log_level"] == "error"]
        assert errors == [("pairs have left the universe with an intent open", ["BTC"])] * is_open


def test_fence_is_in_the_ledger_before_it_is_on_the_page(desk) -> None:
    desk.service.start("run-1", "test")
    desk.ask(desk.world.hello())
    assert desk.reader.value("fence_0") == 1  # whoever joined is the lowest that may trade
    stored = desk.stored()
    desk.service.fence(0, "no beat for 1.02 s")
    assert (desk.stored(), desk.reader.value("fenced"), desk.reader.value("fence_0")) == (stored + 1, 1, 1)
    (reply,) = desk.ask(desk.world.hello())
    assert (type(reply), reply.reason) == (Refused, Refusal.STALE_EPOCH)
    desk.service.show_fences()
    assert desk.reader.value("fence_0") == 2
    desk.service.fence(0, "again")
    assert (desk.stored(), desk.reader.value("fenced")) == (stored + 1, 1)


def test_fences_are_shown_again_when_risk_is_restarted(desk, tmp_path) -> None:
    desk.service.start("run-1", "test")
    desk.ask(desk.world.hello())
    desk.service.fence(0, "no beat for 1.02 s")
    with PageWriter.create(tmp_path / "newer", COUNTERS, HISTOGRAMS, 0) as page:
        core = RiskCore(desk.world.config, desk.world.universe, desk.state)
        RiskService(core, desk.store, page, Feed(), desk.clock).start("run-1", "test")
        with PageReader.attach(tmp_path / "newer") as reader:
            assert reader.value("fence_0") == 2


def test_no_entries_while_the_supervisor_is_silent(desk):
    """The books stand still. Risk goes on, and takes entries again by itself."""
    ms = 1_000_000

    def beat():
        desk.feed.beat_ns = desk.clock.monotonic_ns()

    def reason():
        (reply,) = desk.ask(Submit(0, 1, desk.world.entry()))
        return reply.reason if isinstance(reply, Refused) else None

    desk.clock.advance_ms(10_000)
    beat()
    desk.service.tick(feeds_silent=False)
    desk.clock.advance_ms(1_000.001)
    assert reason() is Refusal.SUPERVISOR_SILENT
    assert desk.clock.monotonic_ns() - desk.feed.beat_ns < 1_001 * ms
    beat()
    desk.feed.back_ns = desk.feed.beat_ns
    assert reason() is Refusal.SUPERVISOR_SILENT  # frames that waited come first
    desk.clock.advance_ms(500)
    beat()
    assert reason() is not Refusal.SUPERVISOR_SILENT
