"""Each rule of the monitor at its threshold, over samples that are written down."""

import msgspec
import pytest

from arbshard.campaign.file import RulesConfig
from arbshard.campaign.rules import (
    _RULES,
    Anomalies,
    HeldSample,
    LogLine,
    OddOrder,
    RunSample,
    SampleHistory,
    VenueSample,
    findings,
    keep_s,
    theil_sen,
)
from arbshard.model.verdict import Anomaly

WELL = VenueSample("upbit", is_well=True, state="connected", oldest_ms=50.0, frames=0)


def sample(at_s, **changes):
    """At ``at_s`` seconds; whatever is not named is as it should be, and frames keep coming."""
    venues = (WELL._replace(frames=round(at_s * 100)),)
    usual = {
        "state": "running",
        "venues": venues,
        "max_hold_s": 20.0,
        "disk_free_mb": 5000.0,
        "left_s": 3600.0,
    }
    return RunSample(**{"at_ms": 1_000_000 + round(at_s * 1000), "at_s": at_s, **usual, **changes})


def found(samples, rules=RulesConfig()):  # noqa: B008 - frozen
    history = SampleHistory(keep_s(rules))
    for one in samples:
        history.add(one)
    return {(one.rule, one.subject) for one in findings(history, rules)}


def rules_found(samples, rules=RulesConfig()):  # noqa: B008 - frozen
    return {rule for rule, _ in found(samples, rules)}


def seconds(count, **by_time):
    """One sample a second. A function among ``by_time`` gets the second and returns the field."""
    return [
        sample(float(at), **{name: make(at) for name, make in by_time.items()}) for at in range(count + 1)
    ]


def test_a_sound_run_has_no_anomalies():
    assert found(seconds(400, entries=lambda at: at // 100, edges=lambda at: at)) == set()


@pytest.mark.parametrize(("after", "wanted"), [(299, set()), (300, {"no_entry"})])
def test_no_entry_although_edges_were_there(after, wanted):
    assert rules_found(seconds(after, edges=lambda at: at // 100)) == wanted


def test_no_entry_names_what_refused_since_then():
    rules = RulesConfig()
    history = SampleHistory(keep_s(rules))
    for one in seconds(
        400,
        edges=lambda at: at,
        refusals=lambda at: {
            "REVERTS_TOO_SLOWLY": 7 + at,
            "DRAWDOWN": 900,
            "BOOK_STALE": 9 * at,
            "EXPIRED": at // 8,
        },
    ):
        history.add(one)
    (found_one,) = (one for one in findings(history, rules) if one.rule == "no_entry")
    assert found_one.text == (
        "nothing was entered for 300 s although 300 evaluations found an edge; refused by REVERTS_TOO_SLOWLY 300, "
        "EXPIRED 38"
    )


def test_no_entry_and_no_edge_has_another_name():
    assert rules_found(seconds(300)) == {"no_edge"}


def test_an_entry_ends_the_time_without_one():
    assert rules_found(seconds(400, edges=lambda at: at, entries=lambda at: int(at > 250))) == set()


@pytest.mark.parametrize(
    ("count", "reason", "wanted"),
    [
        (lambda at: at, "DRAWDOWN", {("blocked", "DRAWDOWN")}),
        (lambda at: at, "SYMBOL_POSITIONS", set()),
        (lambda at: at, "BASELINE_UNKNOWN", set()),
        (lambda at: at, "REVERTS_TOO_SLOWLY", set()),
        (lambda at: at, "MARKET_WARNED", set()),
        (lambda at: min(100, at), "HALTED", set()),
        (lambda at: at // 60, "DRAWDOWN", set()),
    ],
)
def test_blocked_is_a_refusal_that_goes_on_all_the_time(count, reason, wanted):
    samples = seconds(180, refusals=lambda at: {reason: count(at)}, entries=lambda at: at)
    assert found(samples) == wanted
    assert found(samples[:-1]) == set()


def test_a_halt_blocks_and_does_not_mean_that_no_edge_was_there():
    halted = seconds(400, halted=lambda at: "by a person" * (at > 50))
    assert found(halted) == {("blocked", "HALTED")}
    assert found(halted[:230]) == set()


def test_each_line_with_an_error_counts():
    line = LogLine("risk", "no", '{"level": "error"}')
    assert found([sample(0.0), sample(1.0, lines=(line,))]) == {("errors", "risk")}
    assert found([sample(0.0, lines=(line,)), sample(1.0)]) == set()


def test_errors_count_also_without_pages():
    line = LogLine("worker-0", "no", "")
    one = RunSample(at_ms=0, at_s=0.0, state="starting", lines=(line,), disk_free_mb=5000.0, is_whole=False)
    assert found([one]) == {("errors", "worker-0")}


@pytest.mark.parametrize(("age_ms", "wanted"), [(10_000, set()), (10_001, {("stale_market", "upbit")})])
def test_a_market_is_stale_after_its_age_and_time(age_ms, wanted):
    stale = seconds(20, venues=lambda at: (WELL._replace(oldest_ms=age_ms, frames=at),))
    assert found(stale) == wanted
    assert found(stale[:9]) == set()


def test_a_venue_that_is_not_connected_is_silent():
    cut = seconds(20, venues=lambda at: (WELL._replace(is_well=False, state="down", frames=at),))
    assert found(cut) == {("silent_market", "upbit")}
    assert found(cut[:10]) == set()


def test_a_venue_without_frames_is_silent_also_when_it_is_connected():
    assert found(seconds(20, venues=lambda _: (WELL._replace(frames=7),))) == {("silent_market", "upbit")}


def test_a_restart_is_found_once():
    assert found([sample(0.0), sample(1.0, restarts=1)]) == {("restart", "")}
    assert found([sample(0.0), sample(1.0, restarts=1), sample(2.0, restarts=1)]) == set()


def test_a_sample_without_pages_is_no_restart():
    bare = RunSample(at_ms=0, at_s=1.0, state="x", disk_free_mb=5000.0, is_whole=False)
    assert found([sample(0.0, restarts=1), bare, sample(2.0, restarts=1)]) == set()


@pytest.mark.parametrize(("age_s", "wanted"), [(80.0, set()), (80.1, {("old_position", "BTC")})])
def test_a_position_is_old_after_its_hold_and_the_margin(age_s, wanted):
    held = HeldSample("BTC", "p", 1_000_000 - round(age_s * 1000))
    assert found([sample(0.0, positions=(held,))]) == wanted


def test_naked_exposure_that_lasts():
    naked = seconds(20, naked=lambda _: 1.0, naked_pairs=lambda _: "ETH")
    assert found(naked) == {("naked", "ETH")}
    assert found(naked[:15]) == set()
    assert found(seconds(20, naked=lambda at: float(at != 12))) == set()


@pytest.mark.parametrize(("age_s", "wanted"), [(29, set()), (30, {("unknown_order", "c-1")})])
def test_an_order_is_unknown_for_too_long(age_s, wanted):
    order = OddOrder("upbit", "c-1", "is unknown", 1_000_000 - age_s * 1000)
    assert found([sample(0.0, odd_orders=(order,))]) == wanted


def test_a_difference_names_its_currency():
    said = sample(0.0, differences=("upbit KRW: the venue says 1, the ledger 2",))
    assert found([said]) == {("difference", "upbit KRW")}


@pytest.mark.parametrize(
    ("field", "per_hour", "wanted"),
    [
        ("memory_mb", 130.0, {"memory"}),
        ("memory_mb", 50.0, set()),
        ("memory_mb", -500.0, set()),
        ("descriptors", 130.0, {"descriptors"}),
        ("descriptors", 0.0, set()),
    ],
)
def test_growth_by_a_fitted_slope(field, per_hour, wanted):
    entries = {"entries": lambda at: at}
    rising = seconds(1200, **{field: lambda at: 500 + per_hour * at / 3600, **entries})
    assert rules_found(rising) == wanted


def test_one_jump_of_memory_is_no_growth():
    jump = seconds(1200, memory_mb=lambda at: 500.0 if at < 1000 else 560.0, entries=lambda at: at)
    assert rules_found(jump) == set()


def test_the_first_two_minutes_are_no_growth():
    filling = seconds(1200, memory_mb=lambda at: min(at, 110) * 3.0, entries=lambda at: at)
    assert rules_found(filling) == set()


@pytest.mark.parametrize(
    ("late_us", "wanted"), [(2000.0, {"latency"}), (500.0, set()), (1700.0, {"latency"}), (800.0, set())]
)
def test_latency_against_the_first_tenth(late_us, wanted):
    drift = seconds(700, p99_us=lambda at: 300.0 if at < 600 else late_us, entries=lambda at: at)
    assert rules_found(drift) == wanted


def test_the_disk_is_nearly_full():
    assert rules_found([sample(0.0, disk_free_mb=299.0)]) == {"disk"}
    assert rules_found([sample(0.0, disk_free_mb=300.0)]) == set()


@pytest.mark.parametrize(("mb_s", "wanted"), [(1.0, set()), (1.4, {"disk"})])
def test_the_disk_will_be_full_before_the_end(mb_s, wanted):
    sinking = seconds(400, disk_free_mb=lambda at: 5000 - mb_s * at, entries=lambda at: at)
    assert rules_found(sinking) == wanted


def test_a_broken_accounting_always_stops():
    history = SampleHistory(60.0)
    history.add(sample(0.0, broken=("1 is not 2",)))
    (one,) = findings(history, RulesConfig())
    assert (one.rule, one.severity, "1 is not 2" in one.text) == ("identity", "stop", True)


def test_a_rule_can_be_turned_off():
    rules = RulesConfig()
    off = msgspec.structs.replace(rules, disk=msgspec.structs.replace(rules.disk, severity="off"))
    assert rules_found([sample(0.0, disk_free_mb=0.0)], off) == set()


def test_every_rule_of_the_file_has_its_function():
    assert tuple(_RULES) == RulesConfig.__struct_fields__


def test_theil_sen_is_not_moved_by_outliers():
    line = [(float(x), 2.0 * x) for x in range(20)]
    line[3] = (3.0, 10_000.0)
    assert theil_sen(line) == pytest.approx(2.0)
    assert theil_sen([(1.0, 5.0)]) == theil_sen([]) == 0.0


def test_the_trend_of_a_long_run_is_bounded_and_keeps_its_slope():
    history = SampleHistory(10.0)
    for at in range(0, 43_200, 2):
        history.add(sample(float(at), memory_mb=500 + at / 100))
    assert len(history.trend) <= 80
    assert len(history.recent) <= 7
    assert history.trend[0].at_s < 1000
    assert theil_sen([(one.at_s, one.memory_mb) for one in history.trend]) == pytest.approx(0.01)


def anomaly(at_ms, rule="errors", severity="stop", subject="", log=None):
    return Anomaly(
        rule=rule,
        severity=severity,
        first_ms=at_ms,
        last_ms=at_ms,
        subject=subject,
        text=f"at {at_ms}",
        log=log,
    )


def test_what_goes_on_is_one_anomaly():
    some = Anomalies()
    for at_ms in (0, 30_000, 80_000, 150_000):
        some.add(anomaly(at_ms, "no_entry"))
    assert [(one.first_ms, one.last_ms, one.text) for one in some.all] == [
        (0, 80_000, "at 80000"),
        (150_000, 150_000, "at 150000"),
    ]


def test_the_first_line_of_an_error_is_kept():
    some = Anomalies()
    some.add(anomaly(0, log="first"))
    some.add(anomaly(10, log="second"))
    assert [(one.log, one.last_ms) for one in some.all] == [("first", 10)]


def test_anomalies_are_bounded():
    some = Anomalies()
    for number in range(600):
        some.add(anomaly(number, subject=str(number)))
    assert (len(some.all), some.left_out) == (500, 100)


def test_a_broken_accounting_is_the_reason_before_all_others():
    some = Anomalies()
    assert some.stop is None
    some.add(anomaly(0, "no_entry", "warn"))
    assert some.stop is None
    some.add(anomaly(1, "restart"))
    some.add(anomaly(2, "identity"))
    assert some.stop is not None
    assert some.stop.rule == "identity"
