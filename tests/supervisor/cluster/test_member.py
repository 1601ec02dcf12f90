"""What a run does as one host of a cluster: it waits for a leader, follows the universe, and leaves."""

from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from arbshard.clock import ManualClock
from arbshard.config import Config
from arbshard.errors import RunFailed, RunStopped
from arbshard.model.risk_note import NO_NOTE, HaltNote, PositionNote
from arbshard.wire import control
from supervisor.cluster import member as member_module
from supervisor.cluster.held import AgentView
from supervisor.cluster.member import OPEN_STAYS, ClusterMember
from supervisor.shards.assignments import ChangeFailed
from support import world as w

SECOND = 1_000_000_000


class Role:
    """A host whose agent shows ``view``; ``shown`` holds later views, one for each reading."""

    def __init__(self):
        self.view = AgentView()
        self.shown = []
        self.leader = ""
        self.universe = 0
        self.ordered_phase = 0
        self.leaves = self.is_over = False
        self.newest = None
        self.markets = frozenset({1})
        self.away = (0,)
        self.at_work = ()
        self.cut_off = ()
        self.holds = []
        self.led_elsewhere = []
        self.steps = self.renewals = 0

    @property
    def leads(self):
        return self.view.leads

    def read(self):
        if self.shown:
            self.view = self.shown.pop(0)

    def step(self):
        self.steps += 1

    def renew_workers(self):
        self.renewals += 1

    def read_universe(self):
        return self.newest

    def why_no_leader(self):
        return "waiting for a leader: 2 of 3 hosts are needed"

    def others_at_work(self):
        return self.at_work

    def unreached(self):
        return self.cut_off

    def holds_anything(self):
        return self.holds.pop(0) if self.holds else False

    def is_led_elsewhere(self):
        return self.led_elsewhere.pop(0) if self.led_elsewhere else False


class Processes:
    def __init__(self, clock):
        self.clock = clock

    def watch(self, *, with_spares):
        assert not with_spares

    async def until_next(self, seconds):
        self.clock.advance_ms(seconds * 1000)


class Shards:
    """The shards of a run, with ``universe`` in force."""

    def __init__(self, universe):
        self.assignments = SimpleNamespace(universe=universe)
        self.is_other = False
        self.error = None
        self.held = None

    def adopt(self, universe):
        if self.error is not None:
            raise self.error
        self.assignments.universe = universe
        return self.is_other

    def hold(self, markets):
        self.held = markets


class World:
    def __init__(self, mode="paper"):
        self.clock = ManualClock()
        self.role = Role()
        self.status = SimpleNamespace(universe=None, away=())
        self.alerts = []
        self.found = 0
        self.universe = w.make_universe("BTC", "ETH")
        self.member = ClusterMember(
            replace(Config(), mode=mode),
            self.role,
            Processes(self.clock),
            self.status,
            self.clock,
            0.04,
            self.alerts.append,
        )

    async def find(self):
        self.found += 1
        return self.universe


@pytest.fixture
def world():
    return World()


class TestJoining:
    """Where the first universe of a run comes from."""

    async def test_a_leader_without_a_universe_finds_one_and_counts_from_its_term(self, world):
        world.role.shown = [AgentView(term=7, leads=True)]
        universe = await world.member.join(world.find, lambda: False)
        assert universe.serial == world.role.universe == 7
        assert world.found == 1

    @pytest.mark.parametrize(("mode", "checks"), [("paper", 0), ("live", 1)])
    async def test_another_host_takes_the_universe_that_is_there_and_checks_its_keys_live(self, mode, checks):
        world = World(mode)
        world.role.shown = [AgentView(term=7, universe=9)]
        world.role.newest = replace(world.universe, serial=9)
        universe = await world.member.join(world.find, lambda: False)
        assert universe.serial == world.role.universe == 9
        assert world.found == checks

    async def test_a_leader_does_not_find_another_universe_while_the_file_of_the_first_cannot_be_read(
        self, world
    ):
        views = [AgentView(term=7, leads=True, universe=9)] * 3
        world.role.shown = list(views)
        stops = iter([False, False, False, True])
        with pytest.raises(RunStopped, match="stopped while it waited for a leader"):
            await world.member.join(world.find, lambda: next(stops))
        assert world.found == 0

    async def test_an_end_of_all_hosts_ends_one_that_still_waits(self, world):
        world.role.shown = [AgentView(), AgentView(phase=1)]
        with pytest.raises(RunStopped, match="all hosts of the cluster were stopped"):
            await world.member.join(world.find, lambda: False)

    async def test_a_long_wait_is_an_alert_now_and_then(self, world, monkeypatch):
        async def sleep(_):
            world.clock.advance_ms(1000)

        monkeypatch.setattr(member_module.asyncio, "sleep", sleep)
        turns = iter([False] * 26 + [True])
        with pytest.raises(RunStopped):
            await world.member.join(world.find, lambda: next(turns))
        assert world.alerts == ["waiting for a leader: 2 of 3 hosts are needed"] * 3  # after 5, 15 and 25 s

    def test_orders_are_denied_with_the_reason_until_a_leader_is_known(self, world):
        assert world.member.why_not_yet == "this host waits for a leader: 2 of 3 hosts are needed"
        world.role.view = AgentView(leads=True)
        assert world.member.why_not_yet == ""
        world.role.view, world.status.universe = AgentView(), world.universe
        assert not world.member.waits_for_leader


class TestFollowing:
    """What each tick does."""

    @pytest.fixture
    def shards(self, world):
        world.role.universe = 1
        return Shards(replace(world.universe, serial=1))

    def show(self, world, serial, *, leads=False):
        world.role.view = AgentView(term=1, leads=leads, universe=serial)
        world.role.newest = replace(world.universe, serial=serial)

    def test_a_newer_universe_of_the_leader_comes_into_force(self, world, shards):
        self.show(world, 2)
        world.member.follow(shards)
        assert world.role.universe == shards.assignments.universe.serial == 2
        assert (world.role.steps, world.role.renewals) == (1, 0)
        assert (shards.held, world.status.away) == (frozenset({1}), (0,))

    def test_workers_begin_anew_with_a_universe_that_does_not_follow_the_one_before(self, world, shards):
        shards.is_other = True
        self.show(world, 2)
        world.member.follow(shards)
        assert world.role.renewals == 1

    @pytest.mark.parametrize(("serial", "leads"), [(1, False), (2, True)])
    def test_neither_an_old_universe_nor_a_leaders_own_is_adopted(self, world, shards, serial, leads):
        self.show(world, serial, leads=leads)
        shards.error = AssertionError("nothing is adopted")
        world.member.follow(shards)
        assert world.role.universe == 1

    def test_one_that_cannot_be_written_is_tried_again(self, world, shards):
        self.show(world, 2)
        shards.error = ChangeFailed("universe.json: cannot be written: No space left on device")
        with capture_logs() as logs:
            world.member.follow(shards)
        assert [line["event"] for line in logs] == ["the universe of the cluster is not in force yet"]
        assert (world.role.universe, world.role.steps) == (1, 1)
        shards.error = None
        world.member.follow(shards)
        assert world.role.universe == 2


CUT_OFF = "cannot be reached and may go on: stop each of them there"
LEAVES = "this host leaves the cluster; its positions are kept for the other hosts"


@pytest.mark.parametrize(
    ("order", "leader", "cut_off", "phase", "answer"),
    [
        (control.Stop(), "a", (), 1, "stopping all hosts of the cluster"),
        (control.Stop(keep_positions=True), "a", (), 2, "stopping all hosts of the cluster"),
        (control.Stop(), "a", ("b", "c"), 1, f"stopping this host; b, c {CUT_OFF}"),
        (control.Stop(host_only=True), "", (), 0, LEAVES),
        (control.Stop(), "", ("b", "c"), 1, f"stopping this host; b, c {CUT_OFF}; {OPEN_STAYS}"),
        (control.Stop(), "", (), 1, f"stopping all hosts of the cluster; {OPEN_STAYS}"),
        (control.Stop(keep_positions=True), "", (), 2, "stopping all hosts of the cluster"),
    ],
)  # fmt: skip
def test_an_order_to_end_reaches_the_other_hosts_unless_it_is_for_this_one(
    world, order, leader, cut_off, phase, answer
):
    world.role.leader = leader
    world.role.cut_off = cut_off
    assert world.member.order_end(order) == answer
    assert world.role.ordered_phase == phase


POSITION = PositionNote(
    position_id="p-1",
    pair="BTC",
    direction="buy_home",
    quantity="1",
    entry_home_price="1",
    entry_away_price="1",
    notional="1",
    opened_ms=1,
    closed_ms=0,
    reason=None,
    pnl=None,
)
STOPPED = HaltNote(1, "operator", "", "stopped")
HALTED = HaltNote(1, "operator", "")


@pytest.mark.parametrize(
    ("at_work", "leader", "note", "keeps", "waits"),
    [
        (("b",), "", NO_NOTE, True, True),
        ((), "b", NO_NOTE, False, False),
        ((), "b", replace(NO_NOTE, open_intents=1), True, True),
        ((), "", replace(NO_NOTE, open_intents=1), True, False),
        ((), "b", replace(NO_NOTE, positions=(POSITION,)), False, True),
        ((), "b", replace(NO_NOTE, positions=(POSITION,)), True, False),
        ((), "b", replace(NO_NOTE, positions=(POSITION,), halt=HALTED), False, True),
        ((), "b", replace(NO_NOTE, positions=(POSITION,), halt=STOPPED), False, False),
    ],
)
def test_an_ending_cluster_waits_for_what_can_still_be_closed_or_booked(
    world, at_work, leader, note, keeps, waits
):
    world.role.at_work, world.role.leader = at_work, leader
    assert world.member.are_others_at_work(lambda: note, keeps_positions=keeps) is waits


class TestLeaving:
    """How a host gives back what it holds."""

    async def test_it_waits_until_nothing_is_held(self, world):
        world.role.holds = [True, True, False]
        await world.member.leave(lambda: None, is_last=False)
        assert world.role.leaves
        assert world.role.is_over
        assert world.role.steps == 2
        assert world.alerts == []

    @pytest.mark.parametrize(("is_last", "steps"), [(False, 0), (True, 1)])
    async def test_the_leader_goes_first_where_all_end(self, world, is_last, steps):
        world.role.led_elsewhere = [True, False]
        await world.member.leave(lambda: None, is_last=is_last)
        assert world.role.steps == steps

    @pytest.mark.parametrize(("is_last", "limit_s"), [(False, 5), (True, 15)])
    async def test_an_agent_that_gives_nothing_back_is_waited_for_a_while(self, world, is_last, limit_s):
        began_ns = world.clock.monotonic_ns()
        world.role.holds = [True] * 1000
        await world.member.leave(lambda: None, is_last=is_last)
        (line,) = world.alerts
        assert line.startswith("the agent has not given back in time")
        assert limit_s <= (world.clock.monotonic_ns() - began_ns) / SECOND < limit_s + 0.1

    async def test_a_run_that_cannot_go_on_meanwhile_waits_no_more(self, world):
        def check():
            raise RunFailed("the agent cannot be kept running")

        world.role.holds = [True] * 1000
        with pytest.raises(RunFailed):
            await world.member.leave(check, is_last=True)
