import pytest

from arbshard.shm.pages import Histogram
from perf.hosts import Reading, Row, held, kind_of, line, main, quantile_us, row_of
from perf.running import MeasurementFailed


def reading(at_s=0.0, messages=0, cpu_s=0.0, decisions=(), epoch=1001):
    return Reading(
        at_s,
        messages,
        {(7, "supervisor"): cpu_s, (8, "agent"): cpu_s / 2},
        {("page-worker-0", epoch): Histogram.of(decisions)},
    )


def test_a_host_did_what_its_readings_differ_in():
    first = reading(10.0, 500, 1.0, [1_000])
    row = row_of(first, reading(20.0, 1_500, 3.0, [1_000, 9_000, 9_000]), {"agent": 40.0})
    assert row.rate == 100.0
    assert row.cpu == pytest.approx({"supervisor": 0.2, "agent": 0.1})
    assert row.decisions.count == 2
    assert quantile_us(row.decisions, 0.5) > 8.0


def test_a_window_in_which_a_shard_moved_is_refused():
    with pytest.raises(MeasurementFailed, match="a shard moved"):
        row_of(reading(epoch=1001), reading(1.0, epoch=2001), {})


def test_cpu_of_a_message_is_that_of_all_hosts_together():
    hosts = [row_of(reading(), reading(1.0, messages, 0.1), {}) for messages in (100, 300)]
    row = Row(tuple(hosts), 0.0)
    assert row.cpu_us == pytest.approx(0.3 / 400 * 1e6)
    assert row.cpu_us_by_kind() == pytest.approx({"supervisor": 500.0, "agent": 250.0})


def test_a_quantile_lies_within_its_bucket():
    found = Histogram.of([1_000_000] * 50 + [3_000_000] * 50)
    assert 900 < quantile_us(found, 0.25) < 1_100
    assert 2_800 < quantile_us(found, 0.75) < 3_200
    assert quantile_us(found, 0.6) < quantile_us(found, 0.9)
    assert quantile_us(Histogram(), 0.5) == 0.0


def test_the_model_is_a_line_through_what_was_measured():
    at_zero, slope = line([(100.0, 0.06), (2_000.0, 0.25)])
    assert (at_zero, slope) == pytest.approx((0.05, 0.0001))
    assert held(3, at_zero, slope, cores=2.0, share=0.5) == pytest.approx(3 * 0.95 / 0.0001)
    assert held(1, 1.2, slope) == 0.0


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["/usr/sbin/nats-server", "-c", "/tmp/nats-a.conf"], "NATS"),
        (["/usr/bin/python", "-m", "arbshard.worker", "--shard", "0"], "workers"),
        (["python", "-m", "arbshard.cluster"], "agent"),
        (["python", "-m", "arbshard.risk"], "risk"),
        (["python", "-m", "arbshard", "run", "--cluster", "/tmp/cluster.toml"], "supervisor"),
        (["python", "-c", "pass"], "other"),
    ],
)
def test_a_process_is_known_by_its_command(command, kind):
    assert kind_of(command) == kind


@pytest.mark.parametrize(
    "arguments",
    [["--turns", "0"], ["--rates", "600,fast"], ["--rates", "600,600"], ["--seconds", "0"], ["--pairs", "2"]],
)
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert arguments[0] in capsys.readouterr().err
