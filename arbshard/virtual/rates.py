"""Defines which kinds of faults there are, and how often each comes. These are values; ``faults`` acts on them."""

from collections.abc import Mapping
from typing import Literal

FaultLevel = Literal["none", "usual", "heavy"]

WORKER_POINTS = ("before_report", "after_report", "after_extend", "before_conclude", "after_conclude")
WAKE_POINTS = ("before_report", "after_report", "after_extend", "before_conclude")
"""Crash points at which a worker is stopped until it was fenced: its next request is of another kind at each."""
STRAGGLERS = ("Extend", "Report", "Conclude", "Submit", "Fund")
RISK_POINTS = ("before_commit", "after_commit", "after_answer")

LIVE_WORKER_POINTS = (*WORKER_POINTS, "before_send", "after_send", "after_reply", "after_ask")
ACCOUNTS_POINTS = ("before_publish", "before_state", "after_state")

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
"""Faults per virtual hour at the level ``usual``, by kind."""
LIVE_PER_HOUR: Mapping[str, float] = {
    "slow_calls": 3.0,
    "silent_calls": 3.0,
    "lost_calls": 4.0,
    "lost_answers": 4.0,
    "server_errors": 4.0,
    "rate_limits": 2.0,
    "refusals": 2.0,
    "disordered_events": 4.0,
    "cut_private": 6.0,
    "cut_orders": 6.0,
    "late_replies": 3.0,
    "doubled_replies": 2.0,
    "lost_logons": 2.0,
    "kill_live_worker_at": 8.0,
    "kill_accounts": 1.5,
    "kill_accounts_at": 3.0,
    "stop_accounts": 1.5,
    "by_hand": 2.0,
    "stray": 1.5,
}
"""Additional faults per virtual hour where orders are live."""
UNKIND_PER_HOUR: Mapping[str, float] = {
    "market_refuses": 0.6,
    "pair_refuses": 0.4,
    "venue_refuses": 0.4,
    "market_closes": 0.4,
    "other_rules": 0.4,
    "quiet_book": 0.6,
    "closed_wallet": 0.3,
    "fx_blip": 1.0,
    "wrong_frame": 4.0,
}
"""Faults per virtual hour of unkind exchanges: each lasts from seconds to a quarter of an hour."""
UNKIND_LIVE_PER_HOUR: Mapping[str, float] = {"revoked_key": 0.3, "other_fees": 0.3, "hand_trade": 1.0}
"""Additional faults per virtual hour of unkind exchanges where orders are live."""
FACTOR: Mapping[FaultLevel, float] = {"none": 0.0, "usual": 1.0, "heavy": 6.0}


_ON_PAPER = ("late_fills",)
"""Faults of the paper venue."""


def kinds_of(*, is_live: bool) -> dict[str, float]:
    """Return all kinds of faults and how often each comes, per virtual hour."""
    every = {**PER_HOUR, **UNKIND_PER_HOUR}
    if not is_live:
        return every
    every |= {**LIVE_PER_HOUR, **UNKIND_LIVE_PER_HOUR}
    return {kind: rate for kind, rate in every.items() if kind not in _ON_PAPER}
