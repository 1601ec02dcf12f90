"""The shell around assignments: what a universe does to file, word and feeds, and orders with their answers."""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest

from arbshard.config import Config, RunConfig
from arbshard.config.run import PAIRS_MAX
from arbshard.errors import UsageError, VenueUnavailable
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import NOT_LISTED, Universe
from arbshard.model.warning import MarketWarning
from arbshard.wire import control
from supervisor.shards.manager import ShardManager, slots_for

SECOND = 1_000_000_000


class Feed:
    def __init__(self, said):
        self.said = said

    def add(self, targets):
        self.said.extend(("add", symbol, *target) for symbol, target in targets.items())

    def remove(self, symbols):
        self.said.extend(("remove", symbol) for symbol in symbols)

    def retarget(self, symbol, shards):
        self.said.append(("retarget", symbol, shards))

    def set_unlisted(self, symbols):
        self.unlisted = symbols


class Books:
    slot_count = 12

    def __init__(self, said):
        self.said = said
        self.sequences = dict.fromkeys(range(12), 0)

    def sequence(self, slot):
        return self.sequences[slot]

    def clear(self, slot):
        self.said.append(("clear", slot))

    def set_universe(self, serial):
        self.said.append(("word", serial))


class ProcessSupervisor:
    def __init__(self, shards):
        self.ending = False
        self.restarted = []
        self.children = tuple(
            SimpleNamespace(name=f"worker-{n}", shard=n, pid=100 + n, epoch=1, state="running")
            for n in range(shards)
        )

    def get(self, name):
        return next((child for child in self.children if child.name == name), None)

    def restart(self, name):
        self.restarted.append(name)


class Page:
    """A worker or risk that does what it is told at once."""

    def __init__(self, path):
        self.path = path

    def is_up(self, pid):
        return True

    def value(self, counter, pid):
        if counter == "listing_wanted":
            return 0
        return msgspec.json.decode(self.path.read_bytes(), type=Universe).serial

    def close(self):
        pass


@pytest.fixture
def room(make, clock, tmp_path):
    files = RunFiles(tmp_path)
    pairs = (make.pair, make.other_pair("ETH", (3, 4)), make.other_pair("SOL", (5, 6)))
    universe = Universe(make.fx_leg, pairs, (("BTC", "ETH"), ("SOL",)))
    files.universe.write_bytes(msgspec.json.encode(universe))
    said, alerts, told = [], [], []
    processes, books = ProcessSupervisor(2), Books(said)
    config = Config(run=RunConfig(rebalance_s=10.0, shards=2))
    desk = ShardManager(
        universe,
        config=config,
        files=files,
        books=books,
        feeds={"upbit": Feed(said), "binance": Feed(said)},
        processes=processes,
        clock=clock,
        alert=alerts.append,
        held=lambda: frozenset({"BTC"}),
        open_pairs=lambda: frozenset({"BTC"}),
        on_universe=told.append,
        find_universe=None,
        read_listings=None,
        cpu_s=lambda _: None,
        wake_workers=lambda: said.append(("wake",)),
    )
    desk._pages = [Page(files.universe), Page(files.universe)]
    desk._risk_page = Page(files.universe)
    processes.children += (SimpleNamespace(name="risk", shard=None, pid=99, epoch=1, state="running"),)
    handlers = {}
    desk.register(SimpleNamespace(on=handlers.__setitem__))
    room = SimpleNamespace(
        desk=desk, files=files, said=said, told=told, processes=processes, books=books, make=make, now_ns=0,
        alerts=alerts,
    )  # fmt: skip
    room.ask = lambda order: handlers[type(order)](order)

    async def until_idle():
        for _ in range(100):
            room.now_ns += SECOND // 50
            desk.step(room.now_ns)
            await asyncio.gather(*desk._searches, return_exceptions=True)  # they look in a thread
            await asyncio.sleep(0)
            if desk.assignments.is_idle:
                return desk.assignments.changes[-1]
        raise AssertionError(desk.assignments.changes)

    room.until_idle = until_idle
    yield room
    desk.close()


async def test_a_move_is_routed_in_two_steps_each_before_its_word(room):
    assert room.ask(control.MovePairs(("krw-btc",), 1)) == control.Accepted(1, "move BTC to shard 1")
    assert (await room.until_idle()).state == "done"
    assert room.said == [
        ("retarget", "KRW-BTC", ()),
        ("retarget", "BTCUSDT", ()),
        ("word", 1),
        ("wake",),
        ("retarget", "KRW-BTC", (1,)),
        ("retarget", "BTCUSDT", (1,)),
        ("word", 2),
        ("wake",),
    ]
    assert [universe.serial for universe in room.told] == [1, 2]
    written = msgspec.json.decode(room.files.universe.read_bytes(), type=Universe)
    assert written.shards == (("ETH",), ("SOL", "BTC"))


async def test_a_pair_that_is_added_and_one_that_is_removed(room):
    async def found(config, names, timeout_s, alert):
        assert (config.run.max_pairs, names, timeout_s) == (PAIRS_MAX, ("XRP",), 30.0)
        xrp = room.make.other_pair("XRP", (1, 2))
        warned = MarketWarning("upbit", "KRW-XRP", "warning")
        return Universe(room.make.fx_leg, (xrp,), ((), ()), warnings=(warned,))

    room.desk._find_universe = found
    room.ask(control.AddSymbols(("XRP",)))
    assert (await room.until_idle()).state == "done"
    assert room.desk.assignments.universe.warnings == (MarketWarning("upbit", "KRW-XRP", "warning"),)
    assert room.said[:2] == [("add", "KRW-XRP", 7, (1,)), ("add", "XRPUSDT", 8, (1,))]
    room.said.clear()
    room.ask(control.RemoveSymbols(("BTC",), keep_positions=True))
    assert (await room.until_idle()).state == "done"
    assert room.said[-6:] == [
        ("remove", "KRW-BTC"),
        ("remove", "BTCUSDT"),
        ("clear", 1),
        ("clear", 2),
        ("word", 4),
        ("wake",),
    ]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (UsageError("'XRP' is not tradable on both venues"), "refused"),
        (VenueUnavailable("upbit does not answer"), "failed"),
        (RuntimeError("a mistake"), "failed"),
    ],
)
async def test_venues_that_do_not_have_it(room, error, state):
    async def found(*_):
        raise error

    room.desk._find_universe = found
    room.ask(control.AddSymbols(("XRP",)))
    change = await room.until_idle()
    assert change.state == state
    assert str(error) in change.text
    assert room.said == []


@pytest.mark.parametrize(
    "order",
    [
        control.MovePairs(("XRP",), 1),
        control.MovePairs((), 1),
        control.MovePairs(("BTC",), 2),
        control.MovePairs(("BTC",), -1),
        control.AddSymbols(("SOL",)),
        control.AddSymbols(()),
        control.RemoveSymbols(("BTC", "ETH", "SOL")),
        control.RestartShard(5),
    ],
)
async def test_what_must_be_asked_otherwise(room, order):
    with pytest.raises(UsageError):
        room.ask(order)
    assert room.desk.assignments.is_idle


async def test_no_move_to_a_shard_that_is_given_up_nor_while_stopping(room):
    room.processes.children[1].state = "quarantined"
    with pytest.raises(UsageError, match="given up"):
        room.ask(control.MovePairs(("BTC",), 1))
    room.processes.children[1].state = "running"
    room.processes.ending = True
    with pytest.raises(UsageError, match="stopping"):
        room.ask(control.MovePairs(("BTC",), 1))


async def test_a_file_that_cannot_be_written_changes_nothing(room, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("supervisor.shards.manager.write_whole", full)
    room.ask(control.MovePairs(("BTC",), 1))
    change = await room.until_idle()
    assert (change.state, "No space" in change.text) == ("failed", True)
    assert room.said == []
    assert room.desk.assignments.universe.owners()["BTC"] == 0


async def test_uneven_load_is_evened_out_by_itself_but_not_of_an_idle_desk(room):
    def look(pids, span_s):
        room.desk._meter.cpu = {0: share}

    room.desk._meter._sample_processes = look
    share = 0.05

    def second():
        room.now_ns += SECOND
        for slot in (1, 2, 3, 4):
            room.books.sequences[slot] += 1000
        room.books.sequences[5] += 10
        room.desk.step(room.now_ns)

    for _ in range(30):
        second()
    assert room.said == []
    share = 0.6
    for _ in range(30):
        second()
    await room.until_idle()
    (change,) = room.desk.assignments.changes
    assert change.what == "move ETH to shard 1 (uneven load)", "BTC has a position"
    serial = room.desk.assignments.universe.serial
    for _ in range(60):
        second()
    assert room.desk.assignments.universe.serial == serial, "and that was all"


async def test_it_is_shown_what_would_be_moved(room):
    for _ in range(3):
        room.now_ns += SECOND
        for slot in (1, 2, 3, 4):
            room.books.sequences[slot] += 1000
        room.desk.step(room.now_ns)
    told = room.ask(control.BalanceShards(dry_run=True))
    assert isinstance(told, control.ControlDone)
    assert "would move ETH to shard 1" in told.text
    shown = room.ask(control.ShowShards())
    assert shown.imbalance == 2.0
    assert [(line.bases, line.frames_s) for line in shown.shards] == [
        (("BTC", "ETH"), 2000.0),
        (("SOL",), 0.0),
    ]
    assert [(pair.base, pair.shard) for pair in shown.pairs] == [("BTC", 0), ("ETH", 0), ("SOL", 1)]
    room.ask(control.BalanceShards())
    assert (await room.until_idle()).state == "done"
    assert isinstance(room.ask(control.MovePairs(("ETH",), 1)), control.ControlDone)


async def test_a_restart_waits_for_the_next_incarnation(room):
    room.ask(control.RestartShard(1))
    assert room.processes.restarted == ["worker-1"]
    for _ in range(5):
        room.now_ns += SECOND // 50
        room.desk.step(room.now_ns)
    assert not room.desk.assignments.is_idle
    room.processes.children[1].epoch = 2
    assert (await room.until_idle()).text == "shard 1 is up"


async def test_the_end(room):
    room.ask(control.MovePairs(("BTC",), 1))
    room.desk.step(1)
    room.desk.end(2)
    assert room.desk.assignments.universe.unassigned() == ()


def test_room_for_more_pairs():
    assert [slots_for(pairs) for pairs in (1, 100, 2950, 3000)] == [259, 457, 6001, 6001]


def test_streams_do_not_ask_for_what_a_venue_does_not_list(room):
    desk = room.desk
    universe = desk.assignments.universe
    feeds = desk._feeds
    stopped = (
        ("upbit", "KRW-ETH", NOT_LISTED),
        ("upbit", "KRW-BTC", "BREAK"),
        ("binance", "SOLUSDT", NOT_LISTED),
    )
    desk.assignments.publish(universe.with_listing((), universe.fx, stopped, 1))
    assert (feeds["upbit"].unlisted, feeds["binance"].unlisted) == ({"KRW-ETH"}, {"SOLUSDT"})
    desk.assignments.publish(desk.assignments.universe.with_listing((), universe.fx, (), 2))
    assert (feeds["upbit"].unlisted, feeds["binance"].unlisted) == (set(), set())
