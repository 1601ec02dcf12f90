"""Frames that are late, wrong or of an odd FX rate, in whole runs: what is refused, what is shown, and the return."""

from typing import Any

import pytest

from support.instance import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONFIG = """
[sim]
coins = 8
seed = 11
updates_per_s = 5.0
[run]
shards = 2
[strategy]
max_hold_s = 5.0
[fx]
quiet_s = 3.0
"""


class Desk(Instance):
    """A run on paper, whose exchanges' faults the test sets."""

    def refused(self, reason: str) -> int:
        """How often workers have refused an entry for ``reason``."""
        return sum(shard["refusals"].get(reason, 0) for shard in self.status()["shards"])

    def entries(self) -> int:
        entries: int = self.status()["portfolio"]["entries"]
        return entries

    def venue(self, name: str) -> dict[str, Any]:
        return next(dict(one) for one in self.status()["venues"] if one["name"] == name)

    def until_entering(self) -> None:
        before = self.entries()
        self.wait_for(lambda: self.entries() > before, 60.0, self.status)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """One run for all tests. Each waits until what it has disturbed is over."""
    with Desk(tmp_path_factory.mktemp("desk"), CONFIG) as one:
        one.start()
        one.until(lambda status: status["portfolio"]["entries"] > 0)
        yield one
        assert one.stop().code == 0


def test_nothing_is_entered_on_frames_that_come_late_and_the_run_says_so(desk):
    upbit = desk.wait_for(lambda: (one := desk.venue("upbit"))["lag_ms_max"] and one)
    assert upbit["late"] == ()
    assert -2 <= upbit["lag_ms"] < upbit["lag_ms_max"]  # both clocks are read in whole milliseconds
    assert desk.venue("binance")["lag_ms"] is None  # its frames carry no time
    desk.set_faults("upbit", {"set": {"late_frames": {"share": 1, "late_ms": 3000}}})
    desk.wait_for(lambda: len(desk.venue("upbit")["late"]) == 9)  # eight coins and the FX market
    status = desk.until(lambda _: desk.refused("BOOK_LATE") > 0)
    assert status["state"] == "degraded"
    assert any(line.startswith("books of upbit come late (KRW-") for line in status["problems"])
    assert desk.venue("upbit")["lag_ms"] >= 3000
    before, refused = desk.entries(), desk.refused("BOOK_LATE")
    desk.wait_for(lambda: desk.refused("BOOK_LATE") > refused + 20)
    assert desk.entries() == before
    desk.set_faults("upbit", {"clear": ["late_frames"]})
    desk.until(lambda status: status["state"] == "running" and desk.venue("upbit")["late"] == ())
    desk.until_entering()


def test_nothing_is_entered_on_a_wrong_frame_and_entries_go_on_beside_it(desk):
    """Each second every market of Binance sends one, 4 % off: an entry on it would promise more than a true one."""
    desk.set_faults("binance", {"set": {"wrong_frame": {"share": 1, "bps": -400}}})
    status = desk.until(lambda _: desk.refused("BOOK_JUMPED") > 20)
    assert {shard["id"] for shard in status["shards"] if shard["refusals"].get("BOOK_JUMPED")} == {0, 1}
    desk.until_entering()
    desk.set_faults("binance", {"clear": ["wrong_frame"]})
    desk.until_entering()
    promised = [one["intent"]["edge_bps"] for one in desk.events("IntentApproved")]
    assert len(promised) > 4
    assert max(promised) < 250


def test_nothing_is_entered_while_fx_moves_alone_and_the_run_says_so(desk):
    desk.set_faults("upbit", {"set": {"fx_blip": {"share": 1, "bps": 200, "ms_min": 0, "ms_max": 0}}})
    status = desk.until(lambda status: status["fx"]["doubt"] and desk.refused("FX_DEPARTS") > 0)
    assert status["state"] == "degraded"
    assert any(line.startswith("the FX rate is in doubt since ") for line in status["problems"])
    before, refused = desk.entries(), desk.refused("FX_DEPARTS")
    desk.wait_for(lambda: desk.refused("FX_DEPARTS") > refused + 20)
    assert desk.entries() == before
    desk.set_faults("upbit", {"clear": ["fx_blip"]})
    desk.until(lambda status: status["state"] == "running" and not status["fx"]["doubt"])
    desk.until_entering()
