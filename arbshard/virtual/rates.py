"""Which kinds of faults there are, and how often each comes. Values; ``faults`` acts on them."""

from collections.abc import Mapping
from typing import Literal

Level = Literal["none", "usual", "heavy"]

WORKER_POINTS = ("before_report", "after_report", "after_extend", "before_conclude", "after_conclude")
WAKE_POINTS = ("before_report", "after_report", "after_extend", "before_conclude")
"""Where a worker is stopped until it was fenced: what it does next is another kind of request at each."""
STRAGGLERS = ("Extend", "Report", "Conclude", "Submit", "Fund")
RISK_POINTS = ("before_commit", "after_commit", "after_answer")

PER_HOUR: Mapping[str, float] = {
    "cut": 8.0,
    "stall": 4.0,
    "outage": 1.0,
    "slow_frames": 3.0,
    "slow_requests": 3.0,
    "lossy": 3.0,
    "straggler": 2.0,
    "late_fills": 3.0,
    "kill_worker": 3.0,
    "kill_worker_at": 5.0,
    "stop_worker": 4.0,
    "wake_fenced": 1.0,
    "kill_risk": 1.5,
    "kill_risk_at": 3.0,
    "stop_risk": 1.0,
    "stop_supervisor": 0.6,
    "slow_callback": 2.0,
    "kill_supervisor": 0.3,
    "restart": 0.3,
    "clock_jump": 1.5,
    "disk_full": 0.25,
    "no_room": 0.25,
    "command": 6.0,
    "move": 6.0,
    "symbols": 2.0,
}
"""Of the level ``usual``."""
FACTOR: Mapping[Level, float] = {"none": 0.0, "usual": 1.0, "heavy": 6.0}
