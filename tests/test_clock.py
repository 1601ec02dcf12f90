"""Durations go by monotonic time, also those that begin at an instant of the wall clock."""

from arbshard.clock import KnownInstants, ManualClock, monotonic_of

HOUR_MS = 3_600_000


def test_an_instant_of_the_wall_clock_as_monotonic_time():
    assert monotonic_of(1_000, now_ns=50 * 10**9, now_ms=3_500) == 47_500_000_000
    assert monotonic_of(9_000, now_ns=50 * 10**9, now_ms=3_500) == 50 * 10**9  # is still to come


def test_each_instant_is_converted_once():
    clock, known = ManualClock(), KnownInstants()
    at_ms = clock.wall_ms()
    clock.advance_ms(2_000)

    def age_ms(of_ms=at_ms):
        now_ns = clock.monotonic_ns()
        return (now_ns - known.monotonic_of("BTC", of_ms, now_ns, clock.wall_ms())) / 1e6

    assert age_ms() == 2_000
    for step_ms in (HOUR_MS, -2 * HOUR_MS):
        clock.set_wall_ms(clock.wall_ms() + step_ms)
        assert age_ms() == 2_000
    clock.advance_ms(500)
    assert age_ms() == 2_500
    assert age_ms(clock.wall_ms()) == 0  # another instant of the same name
