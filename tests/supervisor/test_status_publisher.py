"""What the supervisor says of its own standing still."""

import pytest

from arbshard.clock import ManualClock
from arbshard.config import Config
from supervisor.status_publisher import StatusPublisher


@pytest.fixture
def publisher(tmp_path):
    one = StatusPublisher(tmp_path / "page", Config(), tmp_path, ManualClock(), 7, 0.25)
    yield one
    one.close()


def test_only_a_pause_of_more_than_a_second_has_stopped_the_trading(publisher):
    assert publisher.record_turn(1_000_000_001, 875_000_001, 0)
    assert not publisher.record_turn(1_000_000_000, 875_000_000, 0)


def test_an_alert_is_shown_with_its_time(publisher):
    publisher.alert("the disk is full")
    assert list(publisher._alerts) == ["11:06:40 the disk is full"]
