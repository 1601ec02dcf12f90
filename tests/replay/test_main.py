"""What a replay reports while it plays."""

from arbshard.replay.main import LateReports

SECOND_NS = 1_000_000_000


def test_a_replay_that_does_not_keep_its_speed_reports_it_each_time_it_is_twice_as_late() -> None:
    lines: list[str] = []
    reports = LateReports(50.0, lines.append)
    for late_s in (2, 3, 4, 7, 9, 20):
        reports.add(late_s * SECOND_NS)
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == [
        f"{late_s}.0 s later than at speed 50" for late_s in (2, 4, 9, 20)
    ]
    assert "a lower --speed is kept" in lines[0]
