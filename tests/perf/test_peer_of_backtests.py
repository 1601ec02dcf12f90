"""A peer of the backtests that hangs or fails costs its own figures, and does not end the measurement."""

import sys

import pytest

from perf import backtest
from perf.running import MeasurementFailed


@pytest.mark.parametrize(
    ("script", "why"),
    [("import time; time.sleep(30)", "did not end within"), ("raise SystemExit(3)", "ended with code 3")],
)
def test_peer_that_hangs_or_fails_is_a_failed_measurement(monkeypatch, script: str, why: str) -> None:
    monkeypatch.setattr(backtest, "_TIMEOUT_S", 1.0)
    with pytest.raises(MeasurementFailed, match=why):
        backtest._printed_by(sys.executable, "-c", script)
