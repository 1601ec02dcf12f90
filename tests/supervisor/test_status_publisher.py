"""What the supervisor says of its own standing still."""

import pytest

from arbshard.clock import ManualClock
from arbshard.config import Config
from supervisor.status_publisher import StatusPublisher


@pytest.fixture
def publisher(tmp_path):
    one = StatusPublisher(tmp_path / "page", Config(), tmp_path, ManualClock())
    yield one
    one.close()


def test_a_pause_that_stopped_the_trading_is_an_alert_with_its_length(publisher):
    publisher.record_turn(1_600_000_000, 0)
    (line,) = publisher._alerts
    assert line.endswith("the supervisor stood still for 1.6 s: nothing was traded meanwhile")


def test_a_shorter_one_is_not(publisher):
    publisher.record_turn(1_000_000_000, 0)
    assert not publisher._alerts
