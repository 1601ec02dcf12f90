import pytest

from perf import steadiness
from perf.steadiness import Noise, Steadiness, noise_of, spread_share


def test_the_spread_is_from_the_tenth_percentile_to_the_ninetieth():
    assert spread_share([1.0, *[10.0] * 5, *[12.0] * 5, 99.0]) == pytest.approx(0.2)
    assert spread_share([0.0] * 9) == 0.0
    assert spread_share([]) == 0.0


def test_the_noise_is_the_worst_of_both_times():
    before = Steadiness(loop_ms=3.0, loop_share=0.1, cpu_share=0.05, late_p50_us=9.0, late_p99_us=50.0)
    after = Steadiness(loop_ms=3.0, loop_share=0.2, cpu_share=0.02, late_p50_us=5.0, late_p99_us=90.0)
    assert noise_of((before, after)) == Noise(time_share=0.2, cpu_share=0.05, p50_us=9.0, p99_us=90.0)


def test_a_core_that_became_slower_is_noise_too():
    before = Steadiness(loop_ms=3.0, loop_share=0.0, cpu_share=0.0)
    after = Steadiness(loop_ms=4.5, loop_share=0.0, cpu_share=0.0)
    assert noise_of((before, after)).time_share == pytest.approx(0.5)
    assert noise_of(()) == Noise()


def test_a_machine_can_be_measured(monkeypatch):
    monkeypatch.setattr(steadiness, "_LOOPS", 5)
    monkeypatch.setattr(steadiness, "_TIMES", 20)
    found = steadiness.measure()
    assert found.loop_ms > 0
    assert found.loop_share >= 0
    assert 0 < found.late_p50_us <= found.late_p99_us


def test_a_system_without_such_a_timer_has_no_lateness(monkeypatch):
    def refuse(*_):
        raise OSError(38, "timerfd_create")

    monkeypatch.setattr(steadiness, "_LOOPS", 2)
    monkeypatch.setattr(steadiness, "PeriodicTimer", refuse)
    assert steadiness.measure().late_p99_us == 0.0
