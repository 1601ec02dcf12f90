"""The virtual supervisor runs the real order of a run: all come up, trade, drain, and end one after the other."""

from arbshard.virtual.machine import Simulation
from arbshard.virtual.settings import Settings


def _events(settings: Settings) -> list[str]:
    lines: list[str] = []
    report = Simulation(settings, lines.append).run()
    assert not report.violations
    return [line.rstrip("\n").partition(" ")[2] for line in lines]


def test_a_run_comes_up_drains_and_ends_in_order() -> None:
    events = _events(Settings(3, hours=0.01, faults="none"))
    order = [
        "start run-1",
        "running run-1",
        "draining run-1",
        "ended worker-1.1 code 0",
        "ended risk.1 code 0",
        "ended run-1",
    ]
    places = [events.index(one) for one in order]
    assert places == sorted(places)
    assert events.index("ended worker-0.1 code 0") < events.index("ended risk.1 code 0")
    decisions = [number for number, event in enumerate(events) if event.startswith("decided ")]
    assert places[1] < decisions[0], "nothing is decided before all are up"


def test_a_run_that_is_killed_is_followed_by_one_that_takes_over() -> None:
    events = _events(Settings(3, hours=0.05, faults="heavy", only=("kill_supervisor", "restart")))
    starts = [event for event in events if event.startswith("start ")]
    running = [event for event in events if event.startswith("running ")]
    assert len(starts) == len(running) > 1
    assert events.count(f"ended {starts[-1].removeprefix('start ')}") == 1
