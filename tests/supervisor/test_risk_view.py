"""What the supervisor reads of risk's page while risk runs, is replaced, or runs on another host."""

from types import SimpleNamespace

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.model.risk_note import NO_NOTE, PositionNote
from arbshard.model.rundir import RunFiles
from arbshard.risk.counters import COUNTERS
from arbshard.shm.pages import PageWriter
from supervisor.processes.health import PageHealth
from supervisor.risk_view import RiskView
from support import world as w


def position(pair, number):
    return PositionNote(number, pair, "buy_home", "1", "1", "1", "1", 1, 0, None, None)


NOTE = replace(NO_NOTE, positions=(position("BTC", "p-1"), position("DOGE", "p-2")), fences={"1": "idle"})


class World:
    """A run directory with the page of risk, and the children of the run."""

    def __init__(self, folder):
        self.files = RunFiles(folder)
        self.child = None
        self.page = None

    def get(self, name):
        assert name == "risk"
        return self.child

    def view(self, *, may_be_elsewhere=False):
        return RiskView(self.files, self, may_be_elsewhere=may_be_elsewhere)

    def show(self, pid, note=NOTE):
        """Have a process write its page: risk, or the agent in its place."""
        self.page = PageWriter.create(self.files.risk_page, COUNTERS)
        self.page.set(self.page.counter("pid"), pid)
        self.page.write_note(msgspec.json.encode(note))

    def start(self, pid):
        self.child = SimpleNamespace(pid=pid, health=PageHealth(self.files.risk_page, "ready", 1))


@pytest.fixture
def world(tmp_path):
    one = World(tmp_path)
    yield one
    if one.page is not None:
        one.page.close()
    if one.child is not None:
        one.child.health.close()


def test_before_risk_has_a_page_there_is_nothing(world):
    view = world.view()
    assert (view.pid, view.text(), view.text_in_force()) == (0, b"", b"")
    assert view.note() == NO_NOTE
    assert (view.held(), view.why_fenced(1)) == (frozenset(), "")


def test_the_note_says_what_is_open_and_what_is_fenced(world):
    world.start(7)
    world.show(7)
    view = world.view()
    assert view.pid == 7
    assert view.held() == {"BTC", "DOGE"}
    assert (view.why_fenced(1), view.why_fenced(0)) == ("idle", "")
    assert view.unattended(w.make_universe("BTC", "ETH")) == ("DOGE p-2",)


@pytest.mark.parametrize("may_be_elsewhere", [False, True])
def test_what_a_former_risk_left_is_not_in_force(world, may_be_elsewhere):
    world.show(7)
    world.start(8)
    view = world.view(may_be_elsewhere=may_be_elsewhere)
    assert view.held() == {"BTC", "DOGE"}
    # On a host of a cluster, the agent writes the page while risk runs elsewhere.
    assert bool(view.text_in_force()) is may_be_elsewhere
