"""Health: a run with problems lives and trades, a halted one lives and is not ready."""

import json

import pytest
from msgspec.structs import replace

from arbshard.metrics.health import is_alive, is_ready


@pytest.mark.parametrize(
    ("state", "halted", "alive", "ready"),
    [
        ("starting", "", True, False),
        ("running", "", True, True),
        ("degraded", "", True, True),
        ("running", "halted (operator): looked at", True, False),
        ("draining", "", True, False),
        ("ended", "", False, False),
        ("dead", "", False, False),
    ],
)
def test_what_each_state_means(status, state, halted, alive, ready):
    status = replace(status, state=state, halted=halted)
    assert is_alive(status).is_well is alive
    assert is_ready(status).is_well is ready
    assert json.loads(is_ready(status).body) == {
        "state": state,
        "halted": halted,
        "problems": list(status.problems),
    }


def test_without_a_run_nothing_is_well():
    assert not is_alive(None).is_well
    assert json.loads(is_ready(None).body)["state"] == "not running"
