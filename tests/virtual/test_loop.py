import asyncio
import gc

import pytest

from arbshard.virtual.clock import WALL_START_MS, VirtualClock
from arbshard.virtual.costs import CALLBACK_NS, SLACK_NS, SLOW_NS
from arbshard.virtual.loop import START_NS, Killed, Stalled, VirtualLoop


@pytest.fixture
def loop():
    loop = VirtualLoop()
    yield loop
    loop.finish()


def _run(loop: VirtualLoop, seconds: float) -> None:
    loop.run_until_complete(asyncio.sleep(seconds))


def test_time_jumps_to_the_next_timer_and_order_is_that_of_planning(loop) -> None:
    seen = []
    loop.call_later(2.0, seen.append, "late")
    loop.call_later(1.0, seen.append, "first")
    loop.call_later(1.0, seen.append, "second")
    loop.call_soon(seen.append, "now")
    _run(loop, 3600.0)
    assert seen == ["now", "first", "second", "late"]
    assert loop.now_ns - START_NS == pytest.approx(3.6e12, abs=10)


def test_a_timer_is_never_early_by_the_loops_own_clock(loop) -> None:
    for step in range(1, 200):
        due_s = loop.time() + step * 0.001037
        early = []
        loop.call_at(due_s, lambda due_s=due_s, early=early: early.append(loop.time() < due_s))
        _run(loop, 1.0)
        assert early == [False]


def test_cancelled_timers_do_not_run_and_do_not_pile_up(loop) -> None:
    seen = []

    async def many() -> None:
        for _ in range(20_000):
            loop.call_later(1e6, seen.append, 1).cancel()

    loop.run_until_complete(many())
    assert not seen
    assert loop.planned < 5_000


def test_timeouts_and_gather_work_on_virtual_time(loop) -> None:
    async def slow() -> str:
        await asyncio.sleep(10)
        return "done"

    async def main() -> tuple[bool, list[str]]:
        try:
            async with asyncio.timeout(5):
                await slow()
            timed_out = False
        except TimeoutError:
            timed_out = True
        return timed_out, await asyncio.gather(slow(), slow())

    assert loop.run_until_complete(main()) == (True, ["done", "done"])


def test_a_killed_process_runs_nothing_more_and_its_finally_has_no_effect(loop) -> None:
    process = loop.new_process("victim")
    seen = []

    async def work() -> None:
        try:
            while True:
                seen.append("works")
                await asyncio.sleep(1)
        finally:
            loop.call_soon(seen.append, "planned while dying")

    loop.spawn(process, work())
    loop.deliver(process, loop.now_ns + 5_500_000_000, seen.append, "never")
    loop.call_later(2.5, loop.kill, process)
    _run(loop, 10)
    assert seen == ["works"] * 3
    assert not process.tasks
    assert not loop.defects


def test_a_process_killed_before_its_work_has_begun_leaves_no_coroutine_unawaited(loop, recwarn) -> None:
    process = loop.new_process("victim")

    async def answer() -> None:
        pass

    async def work(coming) -> None:
        await coming

    loop.spawn(process, work(work(answer())))
    loop.kill(process)
    _run(loop, 1)
    gc.collect()
    assert [str(one.message) for one in recwarn] == []
    assert not loop.defects


def test_a_process_can_die_in_the_middle_of_a_callback(loop) -> None:
    process = loop.new_process("victim")
    seen = []

    def die() -> None:
        seen.append("before")
        loop.kill(process)
        raise Killed

    async def work() -> None:
        die()
        seen.append("after")

    loop.spawn(process, work())
    _run(loop, 1)
    assert seen == ["before"]
    assert not loop.defects


def test_a_stopped_process_does_later_what_came_up_meanwhile(loop) -> None:
    process = loop.new_process("sleeper")
    seen = []

    async def work() -> None:
        for number in range(3):
            await asyncio.sleep(1)
            seen.append((number, round((loop.now_ns - START_NS) / 1e9, 3)))

    loop.spawn(process, work())
    loop.call_later(1.5, loop.stop_process, process)
    loop.call_later(9.0, loop.continue_process, process)
    _run(loop, 20)
    assert seen == [(0, 1.0), (1, 9.0), (2, 10.0)]


def test_callbacks_belong_to_the_process_that_planned_them(loop) -> None:
    one, other = loop.new_process("one"), loop.new_process("other")
    seen = []

    async def work() -> None:
        await asyncio.sleep(0.1)
        process = loop.current_process()
        seen.append(process.name if process is not None else "")

    loop.spawn(one, work())
    loop.spawn(other, work())
    loop.call_later(0.05, loop.kill, other)
    _run(loop, 1)
    assert seen == ["one"]


def test_a_descriptor_rings_once_until_it_is_cleared_also_for_a_later_reader(loop) -> None:
    fd, seen = loop.new_descriptor(), []
    loop.ring(fd)
    loop.add_reader(fd, seen.append, "read")
    loop.ring(fd)
    _run(loop, 1)
    assert seen == ["read"]
    loop.clear(fd)
    loop.ring(fd)
    _run(loop, 1)
    assert seen == ["read", "read"]


def test_what_a_callback_raises_is_kept_as_a_defect(loop) -> None:
    loop.call_soon(lambda: 1 // 0)
    _run(loop, 1)
    assert len(loop.defects) == 1
    assert "ZeroDivisionError" in loop.defects[0]


def test_real_io_and_threads_are_refused(loop) -> None:
    async def threads() -> None:
        await asyncio.to_thread(int)

    async def sockets() -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    for work in (threads, sockets):
        with pytest.raises(NotImplementedError):
            loop.run_until_complete(work())


def test_a_world_in_which_nothing_can_happen_is_told(loop) -> None:
    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stalled):
        loop.run_until_complete(forever())


def test_the_wall_clock_jumps_and_the_monotonic_one_does_not(loop) -> None:
    clock = VirtualClock(loop)
    assert clock.wall_ms() == WALL_START_MS
    clock.jump(-5_000)
    assert clock.wall_ms() == WALL_START_MS - 5_000
    before_ns = clock.monotonic_ns()
    _run(loop, 1)
    assert clock.monotonic_ns() >= before_ns + 1_000_000_000
    assert clock.wall_ms() == WALL_START_MS - 4_000


def _in_process(loop: VirtualLoop, name: str, callback, *args):
    process = loop.new_process(name)
    loop.deliver(process, loop.now_ns, callback, *args)
    return process


def test_what_a_callback_takes_holds_its_process_and_no_other(loop) -> None:
    seen: list[tuple[str, float]] = []

    def note(what: str) -> None:
        seen.append((what, round(loop.time() - START_NS / 1e9, 3)))

    def heavy() -> None:
        note("heavy")
        loop.call_later(0.1, note, "timer")
        loop.call_soon(note, "next")
        loop.charge(50_000_000, "starts")
        loop.charge(450_000_000 - SLOW_NS, "writes")

    process = _in_process(loop, "worker", heavy)
    other = _in_process(loop, "risk", lambda: loop.call_later(0.1, note, "other"))
    loop.deliver(process, loop.now_ns + 200_000_000, note, "arrived")
    _run(loop, 2.0)
    assert seen == [("heavy", 0.0), ("other", 0.1), ("next", 0.4), ("timer", 0.4), ("arrived", 0.4)]
    assert not process.held
    assert not other.held


def test_cheap_callbacks_cost_no_time_before_there_are_many_of_them(loop) -> None:
    times: list[int] = []

    def cheap() -> None:
        times.append(loop.now_ns - START_NS)

    process = loop.new_process("worker")
    for _ in range(3 * SLACK_NS // CALLBACK_NS):
        loop.deliver(process, START_NS, cheap)
    _run(loop, 1.0)
    assert times[: SLACK_NS // CALLBACK_NS] == [0] * (SLACK_NS // CALLBACK_NS)
    assert 0 < times[-1] < 3 * SLACK_NS


def test_a_callback_that_takes_longer_than_any_may_is_told(loop) -> None:
    told: list[tuple[str, int, str]] = []
    loop.on_slow = lambda process, taken_ns, what: told.append((process.name, taken_ns, what))

    def heavy() -> None:
        loop.charge(SLOW_NS // 2, "half of it")
        loop.charge(SLOW_NS // 2, "the other half")
        loop.charge(1, "one more")

    _in_process(loop, "supervisor", heavy)
    loop.charge(10 * SLOW_NS, "of the world around")
    _run(loop, 1.0)
    assert told == [("supervisor", SLOW_NS + 1, "one more")]


def test_who_is_held_and_stopped_goes_on_when_both_are_over(loop) -> None:
    seen: list[float] = []
    process = loop.new_process("worker")
    loop.hold(process, 300_000_000)
    loop.hold(process, 200_000_000)
    loop.deliver(process, loop.now_ns + 1, lambda: seen.append(round(loop.time() - START_NS / 1e9, 3)))
    loop.call_later(0.1, loop.stop_process, process)
    loop.call_later(0.2, loop.continue_process, process)
    _run(loop, 1.0)
    assert seen == [0.5]
    loop.hold(process, 300_000_000)
    loop.stop_process(process)
    loop.deliver(process, loop.now_ns + 1, lambda: seen.append(loop.time()))
    _run(loop, 1.0)
    assert len(seen) == 1
    loop.continue_process(process)
    _run(loop, 1.0)
    assert len(seen) == 2
