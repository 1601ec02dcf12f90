"""The children of a run: restarted after a crash, given up after too many, ended in order. Real little programs."""

import asyncio
import errno
import os

import pytest

from arbshard.clock import SystemClock
from arbshard.config import RunConfig
from arbshard.errors import ChildFailed, UsageError
from supervisor.processes.posix import PosixHost
from supervisor.processes.process_supervisor import ProcessSupervisor

pytestmark = pytest.mark.integration

SLEEPS = "import time; time.sleep(60)"
FAILS_ONCE = "import sys, time; EPOCH == 1 and sys.exit('boom'); time.sleep(60)"
STUBBORN = (
    "import signal, time, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    " pathlib.Path(r'{ready}').touch(); time.sleep(60)"
)


class Room:
    def __init__(self, clock=None, **run):
        self.alerts = []
        self.changes = 0
        self.processes = ProcessSupervisor(
            RunConfig(**run), clock or SystemClock(), self.alerts.append, self.changed, PosixHost()
        )

    def changed(self):
        self.changes += 1

    async def watch_until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                self.processes.watch()
                await asyncio.sleep(0.01)


@pytest.fixture
def room():
    made = []

    def build(**run):
        made.append(Room(**run))
        return made[-1]

    yield build
    for one in made:
        one.processes.kill_all()


class TestReady:
    async def test_waits_until_it_is_at_work(self, room, program):
        one, child = room(), program(SLEEPS)
        one.processes.start(child)
        asked = []
        await one.processes.until_ready(child, lambda: len(asked) > 3 or asked.append(1), 10.0)
        assert child.state == "running"
        assert one.processes.children == (child,)
        assert one.changes == 1

    async def test_wrong_settings_are_told_in_the_childs_words(self, room, program):
        one, child = (
            room(),
            program("import sys; print('port 80 is taken', file=sys.stderr); sys.exit(2)", "sim"),
        )
        one.processes.start(child)
        with pytest.raises(UsageError) as caught:
            await one.processes.until_ready(child, lambda: False, 20.0)
        assert str(caught.value) == "port 80 is taken"

    async def test_any_other_end_is_a_failed_start(self, room, program):
        one, child = room(), program("raise RuntimeError('no luck')", "risk")
        one.processes.start(child)
        with pytest.raises(ChildFailed, match=r"risk ended with code 1 at its start: RuntimeError: no luck"):
            await one.processes.until_ready(child, lambda: False, 20.0)

    async def test_silence_is_a_failed_start(self, room, program):
        one, child = room(), program(SLEEPS)
        one.processes.start(child)
        with pytest.raises(ChildFailed, match=r"worker-0 was not ready within 0\.1 s"):
            await one.processes.until_ready(child, lambda: False, 0.1)

    async def test_the_end_of_risk_is_not_waited_out_for_a_worker(self, room, program):
        """Its ledger turned out to be damaged while the workers were starting."""
        one, worker = room(), program(SLEEPS)
        risk = program("import sys; print('risk: damaged', file=sys.stderr); sys.exit(3)", "risk")
        one.processes.start(risk)
        await one.processes.until_ready(risk, lambda: True, 20.0)
        one.processes.start(worker)
        with pytest.raises(ChildFailed, match=r"^risk: the ledger cannot be trusted or written: damaged$"):
            await one.processes.until_ready(worker, lambda: False, 20.0)

    async def test_a_child_that_was_up_is_restarted_while_another_starts(self, room, program):
        one, child, other = room(), program(FAILS_ONCE), program(SLEEPS, "worker-1")
        one.processes.start(child)
        await one.processes.until_ready(child, lambda: True, 20.0)
        one.processes.start(other)
        await one.processes.until_ready(other, lambda: child.epoch >= 2, 20.0)
        assert one.alerts == ["worker-0 ended with code 1; restarted in 0 s: boom"]


class TestWatch:
    async def test_crashed_child_is_restarted_under_a_new_epoch(self, room, program):
        one, child = room(), program(FAILS_ONCE)
        one.processes.start(child)
        await one.watch_until(lambda: child.epoch >= 2)
        assert child.state == "running"
        assert child.pid
        assert one.alerts == ["worker-0 ended with code 1; restarted in 0 s: boom"]
        assert one.changes == 2

    async def test_child_that_ends_without_being_asked_is_restarted_too(self, room, program):
        one, child = room(), program("import sys, time; EPOCH == 1 and sys.exit(0); time.sleep(60)")
        one.processes.start(child)
        await one.watch_until(lambda: child.epoch >= 2)

    async def test_killed_child_did_not_say_why(self, room, program):
        """What it wrote before is no reason: a signal ended it."""
        code = (
            "import os, sys, time; EPOCH == 1 and (sys.stderr.write('chatter'), sys.stderr.flush(),"
            " os.kill(os.getpid(), 9)); time.sleep(60)"
        )
        one, child = room(), program(code)
        one.processes.start(child)
        await one.watch_until(lambda: child.epoch >= 2)
        assert one.alerts == ["worker-0 ended with code -9; restarted in 0 s"]

    async def test_worker_is_given_up_after_too_many_and_the_others_go_on(self, room, program):
        one = room(restart_tries=2)
        child, other = program("raise SystemExit('again')"), program(SLEEPS, "worker-1")
        one.processes.start(child)
        one.processes.start(other)
        await one.watch_until(lambda: child.state == "quarantined")
        assert child.epoch == 3
        assert one.alerts[-1] == "worker-0 ended with code 1 too often and is given up: again"
        one.processes.watch()
        assert child.epoch == 3
        assert other.poll() is None

    @pytest.mark.parametrize("name", ["risk", "sim"])
    async def test_run_cannot_do_without_the_others(self, room, program, name):
        one, child = room(restart_tries=1), program("raise SystemExit(1)", name)
        one.processes.start(child)
        with pytest.raises(ChildFailed, match=f"{name} cannot be kept running"):
            await one.watch_until(lambda: False)
        assert child.state == "quarantined"

    @pytest.mark.parametrize(("code", "why"), [(2, "these settings"), (3, "the ledger")])
    async def test_risk_that_says_it_cannot_is_believed_at_once(self, room, program, code, why):
        one, child = room(), program(f"import sys; print('words', file=sys.stderr); sys.exit({code})", "risk")
        one.processes.start(child)
        with pytest.raises(ChildFailed, match=f"{why}.*: words"):
            await one.watch_until(lambda: False)
        assert child.epoch == 1

    async def test_pause_before_the_next_try_is_kept(self, room, program):
        one, child = room(restart_tries=5), program("raise SystemExit(1)")
        one.processes.start(child)
        await one.watch_until(lambda: child.state == "restarting")
        assert child.pid == 0
        epoch = child.epoch
        one.processes.watch()
        assert child.epoch == epoch
        await one.watch_until(lambda: child.epoch > epoch)

    async def test_child_that_has_done_its_part_while_stopping_stays_ended(self, room, program):
        one, child = room(), program("")
        one.processes.start(child)
        one.processes.ending = True
        await one.watch_until(lambda: child.state == "ended")
        one.processes.watch()
        assert child.epoch == 1
        assert one.alerts == []

    async def test_a_worker_that_may_not_trade_is_not_restarted_where_an_agent_says_what_follows(
        self, room, program
    ):
        one = room()
        one.processes.restarts_fenced = False
        fenced = program("import sys; EPOCH == 1 and sys.exit(5); import time; time.sleep(60)", shard=0)
        one.processes.start(fenced)
        await one.watch_until(lambda: fenced.state == "ended")
        assert (fenced.epoch, one.alerts) == (1, [])

    async def test_a_fenced_worker_is_restarted_on_a_single_host_and_while_stopping(self, room, program):
        for restarts, ending in ((True, False), (False, True)):
            one = room()
            one.processes.restarts_fenced, one.processes.ending = restarts, ending
            fenced = program("import sys; EPOCH == 1 and sys.exit(5); import time; time.sleep(60)", shard=0)
            one.processes.start(fenced)
            await one.watch_until(lambda fenced=fenced: fenced.epoch == 2)

    async def test_crash_while_stopping_is_still_restarted(self, room, program):
        """Its positions have to be closed by somebody."""
        one, child = room(), program(FAILS_ONCE)
        one.processes.start(child)
        one.processes.ending = True
        await one.watch_until(lambda: child.epoch >= 2)


class ChildHealth:
    """A child's, by hand."""

    def __init__(self):
        self.up = False
        self.steps = 0

    def is_up(self, pid):
        return self.up

    def progress(self, pid):
        return self.steps

    def beat_ns(self, pid):
        return 0

    def close(self):
        self.up = False


class TestComingUp:
    async def test_restarted_child_runs_only_when_it_says_so(self, room, program):
        one, child = room(), program(FAILS_ONCE)
        child.health = health = ChildHealth()
        one.processes.start(child)
        await one.watch_until(lambda: child.epoch >= 2)
        one.processes.watch()
        assert child.state == "starting"
        health.up = True
        one.processes.watch()
        assert child.state == "running"

    async def test_end_before_it_was_up_counts_double_and_is_said(self, room, program):
        one, child = room(restart_tries=3), program("raise SystemExit('again')")
        child.health = ChildHealth()
        one.processes.start(child)
        await one.watch_until(lambda: child.state == "quarantined")
        assert child.epoch == 2
        assert one.alerts[0] == "worker-0 ended with code 1 before it was up; restarted in 0.1 s: again"
        assert child.note().reason == "ended with code 1: again"

    async def test_one_that_never_comes_up_is_killed(self, room, program, clock):
        one, child = room(clock=clock, restart_tries=1), program(SLEEPS)
        child.health = health = ChildHealth()
        one.processes.start(child)
        for _ in range(4):  # as long as it gets on, it may
            clock.advance_ms(14_900)
            health.steps += 1
            one.processes.watch()
        assert child.kill_reason == ""
        clock.advance_ms(15_100)
        one.processes.watch()
        assert child.kill_reason == "it did not come up in time"
        await one.watch_until(lambda: child.state == "quarantined")

    async def test_worker_cannot_come_up_before_risk_does(self, room, program, clock):
        one, child, risk = room(clock=clock), program(SLEEPS), program(SLEEPS, "risk")
        child.health, child.shard, risk.health = ChildHealth(), 0, ChildHealth()
        one.processes.start(risk)
        one.processes.start(child)
        for _ in range(4):
            clock.advance_ms(14_900)
            risk.health.steps += 1
            one.processes.watch()
        assert child.kill_reason == risk.kill_reason == ""


REFUSALS = [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.ENOSPC]


class TestRefused:
    """The system would not start a process: that costs this process, and for a while only."""

    def stand(self, one, clock, seconds):
        for _ in range(int(seconds * 50)):
            clock.advance_ms(20)
            one.processes.watch()

    async def end_of(self, child):
        async with asyncio.timeout(20):
            while child.poll() is None:
                await asyncio.sleep(0.01)

    @pytest.mark.parametrize("code", REFUSALS)
    @pytest.mark.parametrize("name", ["worker-0", "risk"])
    async def test_it_is_tried_again_after_growing_pauses(self, room, program, refuse, clock, name, code):
        one, child, other = room(clock=clock), program(FAILS_ONCE, name), program(SLEEPS, "worker-1")
        one.processes.start(child)
        one.processes.start(other)
        await self.end_of(child)
        refuse(code, times=4)
        self.stand(one, clock, 1.6)
        assert (child.epoch, child.state, other.poll()) == (2, "running", None)
        refused = f"{name} cannot be started: [Errno {code}] {os.strerror(code)}; tried again in"
        assert one.alerts[1:] == [f"{refused} {pause} s" for pause in ("0.1", "0.2", "0.4", "0.8")]

    async def test_a_worker_is_given_up_when_it_lasts(self, room, program, refuse, clock):
        """Then its pairs go to the others."""
        one, child = room(clock=clock), program(FAILS_ONCE)
        one.processes.start(child)
        await self.end_of(child)
        refuse(errno.EAGAIN)
        self.stand(one, clock, 29)
        assert child.state == "restarting"
        assert "cannot be started" in child.note().reason
        self.stand(one, clock, 8)
        assert child.state == "quarantined"
        assert one.alerts[-1].endswith("for too long; it is given up")

    async def test_risk_never_is(self, room, program, refuse, clock):
        one, child = room(clock=clock), program(FAILS_ONCE, "risk")
        one.processes.start(child)
        await self.end_of(child)
        refuse(errno.EAGAIN, times=70)
        self.stand(one, clock, 360)
        assert (child.epoch, child.state) == (2, "running")
        assert len(one.alerts) == 1 + 7  # one for each longer pause, and no more

    async def test_at_the_start_of_a_run_it_is_said(self, room, program, refuse):
        one, child = room(), program(SLEEPS, "risk")
        refuse(errno.EAGAIN)
        with pytest.raises(ChildFailed, match=r"risk cannot be started: .*Resource temporarily unavailable"):
            one.processes.start(child)
        one.processes.watch()
        assert (child.state, child.epoch) == ("ended", 0)


class TestByHand:
    async def test_given_up_one_is_started_again(self, room, program):
        one, child = room(restart_tries=0), program(FAILS_ONCE)
        one.processes.start(child)
        await one.watch_until(lambda: child.state == "quarantined")
        assert one.processes.restart("worker-0") == "worker-0 was quarantined and is being started"
        await one.watch_until(lambda: child.state == "running")
        assert child.epoch == 2

    async def test_one_that_runs_is_replaced_without_blame(self, room, program):
        one, child = room(restart_tries=1), program(SLEEPS)
        one.processes.start(child)
        for epoch in (2, 3, 4):
            assert one.processes.restart("worker-0") == "worker-0 is being replaced"
            await one.watch_until(lambda wanted=epoch: child.epoch == wanted)
        assert one.alerts[0] == "worker-0 was killed: replaced by hand; restarted in 0 s"

    async def test_nobody_of_that_name(self, room):
        with pytest.raises(UsageError, match="no process named worker-9"):
            room().processes.restart("worker-9")

    async def test_not_while_stopping(self, room, program):
        one, child = room(), program(SLEEPS)
        one.processes.start(child)
        one.processes.ending = True
        with pytest.raises(UsageError, match="ended with the run"):
            one.processes.restart("worker-0")


async def test_viewer_is_given_up_without_harm(room, program):
    one, child = room(restart_tries=0), program("raise SystemExit(1)", "viewer")
    one.processes.start(child)
    await one.watch_until(lambda: child.state == "quarantined")


async def test_a_table_that_ends_with_its_terminal_is_not_drawn_again(room, program):
    one, child = room(), program("raise SystemExit(0)", "viewer", draws=True)
    one.processes.start(child)
    await one.watch_until(lambda: child.state == "ended")
    assert (child.epoch, one.alerts) == (1, [])


async def test_death_is_heard_at_once(room, program):
    one, child = room(), program(SLEEPS)
    one.processes.start(child)
    child.kill("enough")
    async with asyncio.timeout(20):
        await one.processes.until_next(60.0)
    assert child.poll() == -9


class TestEnd:
    async def test_named_children_are_asked_to_end(self, room, program):
        one, child, other = room(), program(SLEEPS), program(SLEEPS, "risk")
        one.processes.start(child)
        one.processes.start(other)
        await one.processes.end(["worker-0", "nobody"], 20.0)
        assert (child.state, child.pid) == ("ended", 0)
        assert other.poll() is None
        one.processes.watch()
        assert child.epoch == 1  # not taken for a crash
        assert one.alerts == []

    async def test_stubborn_child_is_killed_and_that_is_said(self, room, program, tmp_path):
        ready = tmp_path / "ready"
        one, child = room(), program(STUBBORN.format(ready=ready))
        one.processes.start(child)
        await one.processes.until_ready(child, ready.exists, 20.0)
        await one.processes.end(["worker-0"], 0.1)
        assert child.poll() == -9
        assert one.alerts == ["worker-0 did not end within 0.1 s and was killed"]

    async def test_child_waiting_for_its_restart_is_not_started_again(self, room, program):
        one, child = room(), program("raise SystemExit(1)")
        one.processes.start(child)
        await one.watch_until(lambda: child.state == "restarting")
        epoch = child.epoch
        await one.processes.end(["worker-0"], 5.0)
        await asyncio.sleep(0.3)
        one.processes.watch()
        assert (child.state, child.epoch) == ("ended", epoch)

    async def test_quarantined_child_stays_shown_as_such(self, room, program):
        one, child = room(restart_tries=0), program("raise SystemExit(1)")
        one.processes.start(child)
        await one.watch_until(lambda: child.state == "quarantined")
        await one.processes.end(["worker-0"], 5.0)
        assert child.state == "quarantined"

    async def test_last_resort(self, room, program, tmp_path):
        ready = tmp_path / "ready"
        one, child, other = room(), program(STUBBORN.format(ready=ready)), program(SLEEPS, "risk")
        one.processes.start(child)
        one.processes.start(other)
        await one.processes.until_ready(child, ready.exists, 20.0)
        one.processes.kill_all()
        assert child.pid == other.pid == 0
